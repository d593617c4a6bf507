/* Timesteps drawn by the second moment of their losses: which losses are remembered, how
 * they weigh, what a checkpoint keeps of them; and the bound trained with and without. */
#include "backend/cpu/cpu.h"
#include "checkpoint_tools.h"
#include "isa.h"

enum { SIDE = 8, BATCH = 12, T = 6, IMAGE = SIDE * SIDE, HISTORY = SECOND_MOMENT_HISTORY };

static const char VALUES[] = "image_size=8 channels=1 num_channels=8 norm_groups=4 num_res_blocks=1 channel_mult=1,2 attention_resolutions=4 num_heads=2 "
                             "diffusion_steps=6 noise_schedule=cosine learn_sigma=true use_kl=true schedule_sampler=loss-second-moment "
                             "ema_rate=0.9 batch_size=12 leaves=3 lr=1e-3";

typedef struct { settings s; nn_backend *b; pool *p; schedule full; process process; trainer *tr; trainer_state *state; } fixture;

static void make(fixture *f, timestep_choice how, int threads)
{
    *f = (fixture){ .s = settings_from(VALUES) };
    const unet_config net = settings_unet(&f->s);
    const schedule_config sc = settings_schedule(&f->s);
    MUST(schedule_new(&sc, &f->full));
    f->process = (process){ .s = &f->full, .var = settings_variance(&f->s), .rescale_timesteps = true };
    MUST(pool_new(threads, &f->p));
    MUST(backend_cpu_new(max_isa(), &f->b));
    const trainer_config c = { .p = &f->process, .loss = settings_loss(&f->s), .timesteps = how, .adam = settings_adam(&f->s), .n_ema = 1, .ema_rate = { 0.9 },
                               .batch = BATCH, .leaves = 3, .chunk = 2, .seed = 3 };
    assert_int_equal(c.loss, LOSS_RESCALED_KL);
    MUST(trainer_new(&net, &c, f->b, f->p, NN_F32, &f->tr));
    f->state = trainer_get_state(f->tr);
}

static void unmake(fixture *f)
{
    trainer_free(f->tr);
    nn_backend_free(f->b);
    pool_free(f->p);
    schedule_free(&f->full);
}

/* Bytes of smooth pictures, others in every step. */
static void images(int64_t step, float *x)
{
    for (int i = 0; i < BATCH; i++)
        for (int k = 0; k < IMAGE; k++) {
            const int v = (k % SIDE * 20 + k / SIDE * 9 + i * 31 + (int)step * 13) % 256;
            x[i * IMAGE + k] = (float)v / 127.5f - 1;
        }
}

static step_report step(fixture *f)
{
    static float x[BATCH * IMAGE];
    step_report r;
    images(f->state->step, x);
    const train_batch b = { .x = x };
    MUST(trainer_step(f->tr, &b, &r));
    return r;
}

static void run(fixture *f, int steps)
{
    for (int k = 0; k < steps; k++) assert_false(step(f).dropped);
}

/* --- the history -------------------------------------------------------------------- */

/* The last ten losses of each timestep, kept by the test. */
typedef struct { double loss[T][HISTORY]; int count[T]; } memory;

static void remember(memory *m, const fixture *f)
{
    for (int i = 0; i < BATCH; i++) {
        const int t = trainer_rows(f->tr)[i];
        if (m->count[t] == HISTORY) memmove(m->loss[t], m->loss[t] + 1, (HISTORY - 1) * sizeof m->loss[t][0]);
        else m->count[t]++;
        m->loss[t][m->count[t] - 1] = (double)(float)trainer_terms(f->tr)[i].loss;
    }
}

static bool warm(const memory *m)
{
    for (int t = 0; t < T; t++)
        if (m->count[t] < HISTORY) return false;
    return true;
}

/* Chances of IDDPM's sec. 3.3, a thousandth shared evenly. */
static void chances(const memory *m, double p[T])
{
    double sum = 0;
    for (int t = 0; t < T; t++) {
        double square = 0;
        for (int j = 0; j < HISTORY; j++) square += m->loss[t][j] * m->loss[t][j];
        sum += p[t] = sqrt(square / HISTORY);
    }
    for (int t = 0; t < T; t++) p[t] = 0.999 * p[t] / sum + 0.001 / T;
}

static void check_report(const fixture *f, const step_report *r, const memory *before)
{
    double p[T], loss = 0;
    chances(before, p);
    for (int i = 0; i < BATCH; i++) {
        const double weight = warm(before) ? 1 / (T * p[trainer_rows(f->tr)[i]]) : 1;
        loss += weight * trainer_terms(f->tr)[i].loss / BATCH;
    }
    assert_true(fabs(r->loss - loss) < 1e-6 * loss);
}

static void test_history_and_report(void **state)
{
    (void)state;
    fixture f;
    memory m = { 0 };
    bool weighed = false;
    make(&f, TIMESTEPS_SECOND_MOMENT, 2);
    for (int k = 0; k < 20; k++) {
        const step_report r = step(&f);
        assert_true(isfinite(r.grad_norm));
        check_report(&f, &r, &m);
        weighed = weighed || warm(&m);
        remember(&m, &f);
        for (int t = 0; t < T; t++) {
            assert_int_equal(f.state->moments->count[t], m.count[t]);
            assert_memory_equal(f.state->moments->history + t * HISTORY, m.loss[t], (size_t)m.count[t] * sizeof m.loss[t][0]);
        }
    }
    assert_true(weighed);
    unmake(&f);
}

static void test_draws_follow_the_losses(void **state)
{
    (void)state;
    enum { STEPS = 100 };
    fixture f;
    int count[T] = { 0 };
    double chance[T] = { 0 };
    make(&f, TIMESTEPS_SECOND_MOMENT, 2);
    for (int k = 0; k < 30; k++) step(&f);
    assert_true(second_moment_warm(f.state->moments));
    for (int k = 0; k < STEPS; k++) {
        memory m;
        double p[T];
        memcpy(m.loss, f.state->moments->history, sizeof m.loss);
        chances(&m, p);
        step(&f);
        for (int t = 0; t < T; t++) chance[t] += BATCH * p[t];
        for (int i = 0; i < BATCH; i++) count[trainer_rows(f.tr)[i]]++;
    }
    double least = 1e9, most = 0;
    for (int t = 0; t < T; t++) {
        assert_true(fabs(count[t] - chance[t]) < 5 * sqrt(chance[t]) + 1);
        least = fmin(least, chance[t]);
        most = fmax(most, chance[t]);
    }
    assert_true(most > 2 * least);       /* this is not the uniform choice */
    unmake(&f);
}

/* The gradient is that of given timesteps with given weights. */
static void test_weights_reach_the_gradient(void **state)
{
    (void)state;
    fixture a, b;
    static float x[BATCH * IMAGE];
    memory m = { 0 };
    float weight[BATCH];
    double p[T];
    step_report ra, rb;
    make(&a, TIMESTEPS_SECOND_MOMENT, 1);
    make(&b, TIMESTEPS_UNIFORM, 1);
    for (int k = 0; k < 20; k++) {
        step(&a);
        remember(&m, &a);
    }
    assert_true(warm(&m));
    memcpy(b.state->value, a.state->value, a.state->params->len * sizeof(float));
    b.state->step = a.state->step;
    trainer_changed(b.tr);
    chances(&m, p);
    images(a.state->step, x);
    const train_batch drawn = { .x = x };
    MUST(trainer_step(a.tr, &drawn, &ra));
    for (int i = 0; i < BATCH; i++) weight[i] = (float)(1 / (T * p[trainer_rows(a.tr)[i]]));
    const train_batch given = { .x = x, .t = trainer_rows(a.tr), .weight = weight };
    MUST(trainer_step(b.tr, &given, &rb));
    assert_true(fabs(ra.grad_norm - rb.grad_norm) < 1e-6 * rb.grad_norm && fabs(ra.loss - rb.loss) < 1e-6 * rb.loss);
    unmake(&a);
    unmake(&b);
}

static void test_dropped_steps_are_forgotten(void **state)
{
    (void)state;
    fixture f;
    static float x[BATCH * IMAGE];
    step_report r;
    make(&f, TIMESTEPS_SECOND_MOMENT, 1);
    run(&f, 3);
    second_moment *m = f.state->moments;
    double before[T * HISTORY];
    int count[T];
    memcpy(before, m->history, sizeof before);
    memcpy(count, m->count, sizeof count);
    images(3, x);
    x[7] = NAN;
    const train_batch b = { .x = x };
    MUST(trainer_step(f.tr, &b, &r));
    assert_true(r.dropped);
    assert_memory_equal(m->history, before, sizeof before);
    assert_memory_equal(m->count, count, sizeof count);
    unmake(&f);
}

/* --- checkpoints -------------------------------------------------------------------------- */

static void save(const fixture *f, const char *dir)
{
    const checkpoint_source src = { .s = &f->s, .provenance = "test", .weights = "ema 0.9", .step = f->state->step, .layout = f->state->params,
                                    .values = f->state->ema[0], .state = f->state, .best_val = -1 };
    MUST(checkpoint_write(dir, &src));
    MUST(checkpoint_validate(dir));
}

static void load(fixture *f, const char *dir)
{
    double best;
    MUST(checkpoint_read_state(dir, &f->s, f->state, &best));
    trainer_changed(f->tr);
}

/* Stopped before the history is full and after: the rest is the same to the bit. */
static void test_resumed_run_is_the_same(void **state)
{
    char dir[MODEL_PATH_SIZE];
    enum { ALL = 24 };
    static const int stops[] = { 2, 16, 23 };
    fixture whole;
    make(&whole, TIMESTEPS_SECOND_MOMENT, 2);
    run(&whole, ALL);
    const size_t bytes = whole.state->params->len * sizeof(float);
    for (size_t k = 0; k < sizeof stops / sizeof *stops; k++) {
        fixture first, second;
        make(&first, TIMESTEPS_SECOND_MOMENT, 1);
        run(&first, stops[k]);
        assert_int_equal(second_moment_warm(first.state->moments), stops[k] > 10);
        save(&first, under(*state, "ckpt", dir));
        unmake(&first);
        make(&second, TIMESTEPS_SECOND_MOMENT, 2);
        load(&second, dir);
        run(&second, ALL - stops[k]);
        assert_memory_equal(second.state->value, whole.state->value, bytes);
        assert_memory_equal(second.state->ema[0], whole.state->ema[0], bytes);
        assert_memory_equal(second.state->moments->history, whole.state->moments->history, T * HISTORY * sizeof(double));
        assert_memory_equal(second.state->moments->weights, whole.state->moments->weights, T * sizeof(double));
        unmake(&second);
    }
    unmake(&whole);
}

static void test_state_files_are_checked(void **state)
{
    char with[MODEL_PATH_SIZE], without[MODEL_PATH_SIZE], bad[MODEL_PATH_SIZE];
    double best;
    fixture a, b;
    make(&a, TIMESTEPS_SECOND_MOMENT, 1);
    make(&b, TIMESTEPS_UNIFORM, 1);
    run(&a, 3);
    run(&b, 3);
    assert_null(b.state->moments);
    save(&a, under(*state, "with", with));
    save(&b, under(*state, "without", without));
    assert_int_equal(checkpoint_read_state(without, &a.s, a.state, &best), DDPM_EINVAL);
    assert_int_equal(checkpoint_read_state(with, &b.s, b.state, &best), DDPM_EINVAL);
    for (int k = 0; k < 3; k++) {
        fixture c;
        make(&c, TIMESTEPS_SECOND_MOMENT, 1);
        run(&c, 1);
        if (k == 0) c.state->moments->count[4] = HISTORY + 1;
        if (k == 1) c.state->moments->count[0] = -1;
        if (k == 2) c.state->moments->history[5] = NAN;
        save(&c, under(*state, "bad", bad));
        assert_int_equal(checkpoint_read_state(bad, &a.s, a.state, &best), DDPM_EFORMAT);
        assert_non_null(strstr(ddpm_last_error(), "loss history"));
        unmake(&c);
    }
    unmake(&a);
    unmake(&b);
}

/* A chain of another length has another history. */
static void test_another_number_of_timesteps(void **state)
{
    char dir[MODEL_PATH_SIZE];
    double best;
    fixture a;
    second_moment longer;
    make(&a, TIMESTEPS_SECOND_MOMENT, 1);
    save(&a, under(*state, "ckpt", dir));
    MUST(second_moment_new(T + 1, &longer));
    trainer_state other = *a.state;
    other.moments = &longer;
    assert_int_equal(checkpoint_read_state(dir, &a.s, &other, &best), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "lsm_history"));
    second_moment_free(&longer);
    unmake(&a);
}

/* --- training the bound ---------------------------------------------------------------------- */

static void test_the_bound_falls(void **state)
{
    (void)state;
    enum { STEPS = 150, MEAN = 15 };
    for (timestep_choice how = TIMESTEPS_UNIFORM; how <= TIMESTEPS_SECOND_MOMENT; how += 2) {
        fixture f;
        double first = 0, last = 0;
        make(&f, how, 2);
        for (int k = 0; k < STEPS; k++) {
            const step_report r = step(&f);
            assert_true(!r.dropped && isfinite(r.loss) && isfinite(r.grad_norm) && r.grad_norm > 0);
            assert_true(r.mse == 0);
            if (k < MEAN) first += r.loss / MEAN;
            if (k >= STEPS - MEAN) last += r.loss / MEAN;
        }
        print_message("L_vlb %.3f, then %.3f bits/dim\n", first, last);
        assert_true(last < 0.7 * first);
        unmake(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_history_and_report),          cmocka_unit_test(test_draws_follow_the_losses),
        cmocka_unit_test(test_weights_reach_the_gradient),  cmocka_unit_test(test_dropped_steps_are_forgotten),
        cmocka_unit_test_setup_teardown(test_resumed_run_is_the_same, enter, leave),
        cmocka_unit_test_setup_teardown(test_state_files_are_checked, enter, leave),
        cmocka_unit_test_setup_teardown(test_another_number_of_timesteps, enter, leave),
        cmocka_unit_test(test_the_bound_falls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
