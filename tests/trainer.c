/* The training step: bits depend on the leaves alone, bad numbers never reach the
 * weights, a copied state goes on alike, and nothing allocates inside a step. */
#include "backend/cpu/cpu.h"
#include "base/rng.h"
#include "isa.h"
#include "train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = 8, CHANNELS = 3, BATCH = 10, STEPS = 3, IMAGE = SIDE * SIDE * CHANNELS };

/* Linked with --wrap: counts what the program allocates. */
static int allocations;
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
int   __real_posix_memalign(void **p, size_t alignment, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
int   __wrap_posix_memalign(void **p, size_t alignment, size_t n);
void *__wrap_malloc(size_t n)              { __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED); return __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED); return __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n)    { __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED); return __real_realloc(p, n); }
int   __wrap_posix_memalign(void **p, size_t a, size_t n)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __real_posix_memalign(p, a, n);
}

typedef struct { nn_backend *b; pool *p; schedule s; process process; trainer *tr; } fixture;

static void check(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

/* A small class-conditional network with learned variance, and with dropout unless it says otherwise. */
typedef struct { int threads, leaves, chunk; nn_recompute recompute; bool no_dropout; } shape_of_work;

static void make_as(fixture *f, nn_dtype dtype, shape_of_work how)
{
    *f = (fixture){ 0 };
    const unet_config net = { .height = SIDE, .width = SIDE, .in_channels = CHANNELS, .out_channels = 2 * CHANNELS, .model_channels = 16, .stem = 16,
                              .levels = 2, .channels = { 16, 32 }, .num_res_blocks = 1, .attention = { false, true }, .num_heads = 2,
                              .num_classes = 4, .null_class = true, .scale_shift_norm = true, .conv_resample = true, .groups = 8, .eps = 1e-5,
                              .cos_first = true, .dropout = how.no_dropout ? 0 : 0.2, .init = UNET_INIT_TORCH, .recompute = how.recompute };
    const schedule_config sc = schedule_config_of(PROFILE_OPENAI, SCHEDULE_COSINE, 100);
    check(schedule_new(&sc, &f->s));
    f->process = (process){ .s = &f->s, .var = VAR_LEARNED_RANGE, .rescale_timesteps = true };
    check(pool_new(how.threads, &f->p));
    check(backend_cpu_new(dtype == NN_F32X3 && !cpu_isa_available("amx") ? "amx_emulated" : max_isa(), &f->b));    /* elsewhere f32x3 is f32 */
    const trainer_config c = { .p = &f->process, .loss = LOSS_RESCALED_MSE, .adam = { ADAM_W, 1e-3, 0.9, 0.999, 1e-8, 0.01 }, .clip = 1, .n_ema = 2,
                               .ema_rate = { 0.9, 0.99 }, .ema_warmup = true, .batch = BATCH, .leaves = how.leaves, .chunk = how.chunk,
                               .label_dropout = 0.3, .seed = 7 };
    check(trainer_new(&net, &c, f->b, f->p, dtype, &f->tr));
}

static void make(fixture *f, nn_dtype dtype, int threads, int leaves, int chunk) { make_as(f, dtype, (shape_of_work){ threads, leaves, chunk, 0, false }); }

static void unmake(fixture *f)
{
    trainer_free(f->tr);
    nn_backend_free(f->b);
    pool_free(f->p);
    schedule_free(&f->s);
}

static const int LABELS[BATCH] = { 0, 1, 2, 3, 0, 1, 2, 3, 1, 2 };

static void images(uint64_t step, float *x)
{
    rng_normals((rng_address){ 99, RNG_VAL, step, 0 }, 0, BATCH * IMAGE, x);
}

static step_report step(fixture *f, const float *x)
{
    step_report r;
    const train_batch b = { .x = x, .y = LABELS };
    check(trainer_step(f->tr, &b, &r));
    return r;
}

/* Values of a short training, malloc'ed. */
static float *trained_as(nn_dtype dtype, shape_of_work how, size_t *len)
{
    fixture f;
    make_as(&f, dtype, how);
    static float x[BATCH * IMAGE];
    for (uint64_t k = 0; k < STEPS; k++) {
        images(k, x);
        assert_false(step(&f, x).dropped);
    }
    const trainer_state *s = trainer_get_state(f.tr);
    *len = s->params->len;
    float *copy = malloc(*len * sizeof *copy);
    memcpy(copy, s->ema[0], *len * sizeof *copy);
    unmake(&f);
    return copy;
}

static float *trained(nn_dtype dtype, int threads, int leaves, int chunk, size_t *len)
{
    return trained_as(dtype, (shape_of_work){ threads, leaves, chunk, 0, false }, len);
}

static void test_bits_depend_on_leaves_alone(void **state)
{
    (void)state;
    static const struct { int threads, chunk; } other[] = { { 1, 1 }, { 1, 5 }, { 2, 2 }, { 3, 10 }, { 2, 1 } };
    static const nn_dtype precisions[] = { NN_F32, NN_BF16, NN_F32X3 };
    for (size_t p = 0; p < sizeof precisions / sizeof *precisions; p++) {
        const nn_dtype dtype = precisions[p];
        size_t len, n;
        float *base = trained(dtype, 1, 4, 3, &len);
        for (size_t k = 0; k < sizeof other / sizeof *other; k++) {
            float *v = trained(dtype, other[k].threads, 4, other[k].chunk, &n);
            assert_int_equal(n, len);
            assert_memory_equal(v, base, len * sizeof *v);
            free(v);
        }
        float *v = trained(dtype, 1, 1, 3, &n);      /* another tree: other bits, almost the same numbers */
        assert_memory_not_equal(v, base, len * sizeof *v);
        free(v);
        free(base);
    }
}

static void test_recomputation_changes_no_bit(void **state)
{
    (void)state;
    for (nn_dtype dtype = NN_F32; dtype <= NN_BF16; dtype++)
        for (int no_dropout = 0; no_dropout < 2; no_dropout++) {
            size_t len, n;
            float *kept = trained_as(dtype, (shape_of_work){ 1, 4, 3, NN_RECOMPUTE_NONE, no_dropout }, &len);
            for (int k = 0; k < 4; k++) {
                const shape_of_work how = { 1 + k / 2, 4, 1 + k, k & 1 ? NN_RECOMPUTE_BLOCKS : NN_RECOMPUTE_CHEAP, no_dropout };
                float *again = trained_as(dtype, how, &n);
                assert_int_equal(n, len);
                assert_memory_equal(again, kept, len * sizeof *again);
                free(again);
            }
            free(kept);
        }
}

static void test_recomputation_saves_memory(void **state)
{
    (void)state;
    size_t bytes[3];
    for (int level = NN_RECOMPUTE_NONE; level <= NN_RECOMPUTE_BLOCKS; level++) {
        fixture f;
        make_as(&f, NN_F32, (shape_of_work){ 2, 4, 3, (nn_recompute)level, false });
        bytes[level] = trainer_bytes(f.tr);
        unmake(&f);
    }
    assert_true(bytes[0] > bytes[1] && bytes[1] > bytes[2]);
}

static void test_bad_numbers_are_dropped(void **state)
{
    (void)state;
    fixture f;
    make(&f, NN_F32, 2, 4, 4);
    static float x[BATCH * IMAGE];
    trainer_state *s = trainer_get_state(f.tr);
    float *before = malloc(s->params->len * sizeof *before);
    images(0, x);
    assert_false(step(&f, x).dropped);
    memcpy(before, s->value, s->params->len * sizeof *before);
    for (int k = 0; k < 2; k++) {
        x[5 * IMAGE + 17] = k ? INFINITY : NAN;
        assert_true(step(&f, x).dropped);
    }
    assert_memory_equal(s->value, before, s->params->len * sizeof *before);
    assert_int_equal(s->step, 3);
    assert_int_equal(s->updates, 1);
    assert_int_equal(s->dropped, 2);
    assert_int_equal(s->dropped_in_row, 2);
    images(1, x);
    assert_false(step(&f, x).dropped);
    assert_int_equal(s->dropped_in_row, 0);
    assert_memory_not_equal(s->value, before, s->params->len * sizeof *before);
    free(before);
    unmake(&f);
}

static void test_copied_state_goes_on_alike(void **state)
{
    (void)state;
    static float x[BATCH * IMAGE];
    size_t len;
    float *whole = trained(NN_F32, 2, 4, 4, &len);
    fixture a;
    make(&a, NN_F32, 1, 4, 4);
    images(0, x);
    step(&a, x);
    const trainer_state first = *trainer_get_state(a.tr);
    fixture b;
    make(&b, NN_F32, 2, 4, 2);
    trainer_state *s = trainer_get_state(b.tr);
    const size_t bytes = len * sizeof(float);
    memcpy(s->value, first.value, bytes);
    memcpy(s->m, first.m, bytes);
    memcpy(s->v, first.v, bytes);
    for (int k = 0; k < s->n_ema; k++) memcpy(s->ema[k], first.ema[k], bytes);
    s->step = first.step;
    s->updates = first.updates;
    trainer_changed(b.tr);
    for (uint64_t k = 1; k < STEPS; k++) {
        images(k, x);
        step(&b, x);
    }
    assert_memory_equal(s->ema[0], whole, bytes);
    free(whole);
    unmake(&a);
    unmake(&b);
}

static void test_no_allocation_inside_a_step(void **state)
{
    (void)state;
    fixture f;
    make(&f, NN_BF16, 2, 4, 4);
    static float x[BATCH * IMAGE];
    images(0, x);
    step(&f, x);
    const int before = allocations;
    step(&f, x);
    assert_int_equal(allocations, before);
    unmake(&f);
}

/* Adding up the means of micro-batches of 4, 4 and 2 weighs the samples 1/4 and 1/2. */
static void test_microbatch_sum(void **state)
{
    (void)state;
    static float x[BATCH * IMAGE], weight[BATCH];
    images(0, x);
    double norm[2];
    for (int k = 0; k < 2; k++) {
        fixture f;
        make(&f, NN_F32, 1, 4, 4);
        trainer_free(f.tr);
        trainer_config c = { .p = &f.process, .loss = LOSS_RESCALED_MSE, .adam = { ADAM_W, 1e-3, 0.9, 0.999, 1e-8, 0 }, .batch = BATCH, .leaves = 1,
                             .chunk = 4, .seed = 7, .microbatch = 4, .microbatch_sum = k == 0 };
        const unet_config net = { .height = SIDE, .width = SIDE, .in_channels = CHANNELS, .out_channels = 2 * CHANNELS, .model_channels = 16, .stem = 16,
                                  .levels = 1, .channels = { 16 }, .num_res_blocks = 1, .num_heads = 1, .conv_resample = true, .groups = 4, .eps = 1e-5,
                                  .init = UNET_INIT_TORCH };
        check(trainer_new(&net, &c, f.b, f.p, NN_F32, &f.tr));
        for (int i = 0; i < BATCH; i++) weight[i] = k == 0 ? 1.0f : BATCH / (i < 8 ? 4.0f : 2.0f);
        step_report r;
        const train_batch b = { .x = x, .weight = weight };
        check(trainer_step(f.tr, &b, &r));
        norm[k] = r.grad_norm;
        unmake(&f);
    }
    assert_true(fabs(norm[0] - norm[1]) < 1e-6 * norm[0]);
}

/* Squared length of the gradient's part from samples [first, end), each counting 1/BATCH: a step with one leaf in which the others weigh nothing. */
static double part_length(const float *x, int first, int end)
{
    fixture f;
    make(&f, NN_F32, 1, 1, 4);
    float weight[BATCH] = { 0 };
    for (int i = first; i < end; i++) weight[i] = 1;
    step_report r;
    const train_batch b = { .x = x, .y = LABELS, .weight = weight, .measure_noise = true };
    check(trainer_step(f.tr, &b, &r));
    assert_int_equal(r.noise_count, 0);              /* one leaf tells nothing */
    unmake(&f);
    return r.grad_norm * r.grad_norm;
}

/* Four leaves of 2, 3, 2 and 3 samples; the equations of both expectations, solved by Cramer's rule. */
static void test_gradient_noise(void **state)
{
    (void)state;
    static float x[BATCH * IMAGE];
    images(0, x);
    double small = 0, inverse = 0;
    for (int l = 0; l < 4; l++) {
        const int first = l * BATCH / 4, end = (l + 1) * BATCH / 4, n = end - first;
        small += part_length(x, first, end) * BATCH * BATCH / (n * n) / 4;
        inverse += 0.25 / n;
    }
    const double big = part_length(x, 0, BATCH), determinant = 1.0 / BATCH - inverse;
    const double norm_sq = (small / BATCH - inverse * big) / determinant, trace = (big - small) / determinant;
    fixture f;
    step_report r;
    make(&f, NN_F32, 2, 4, 4);
    const train_batch b = { .x = x, .y = LABELS, .measure_noise = true };
    check(trainer_step(f.tr, &b, &r));
    assert_int_equal(r.noise_count, 1);
    assert_true(fabs(r.noise.trace - trace) < 1e-4 * fabs(trace));
    assert_true(fabs(r.noise.norm_sq - norm_sq) < 1e-4 * (fabs(norm_sq) + big));
    unmake(&f);
}

/* Asking changes no weight and allocates nothing. */
static void test_noise_is_only_looked_at(void **state)
{
    (void)state;
    static float x[BATCH * IMAGE];
    fixture f[2];
    for (int k = 0; k < 2; k++) {
        step_report r;
        make(&f[k], NN_F32, 2, 4, 4);
        const train_batch b = { .x = x, .y = LABELS, .measure_noise = k == 1 };
        images(0, x);
        check(trainer_step(f[k].tr, &b, &r));
        const int before = allocations;
        images(1, x);
        check(trainer_step(f[k].tr, &b, &r));
        assert_int_equal(allocations, before);
        assert_int_equal(r.noise_count, k);
    }
    const trainer_state *a = trainer_get_state(f[0].tr), *b = trainer_get_state(f[1].tr);
    assert_memory_equal(a->value, b->value, a->params->len * sizeof *a->value);
    for (int k = 0; k < 2; k++) unmake(&f[k]);
}

/* Sums of micro-batch means are brought back to the mean over the batch; unequal micro-batches have no such mean. */
static void test_noise_of_microbatches(void **state)
{
    (void)state;
    static float x[BATCH * IMAGE];
    images(0, x);
    step_report r[3];
    for (int k = 0; k < 3; k++) {
        fixture f;
        make(&f, NN_F32, 1, 5, 4);
        trainer_free(f.tr);
        const trainer_config c = { .p = &f.process, .loss = LOSS_RESCALED_MSE, .adam = { ADAM_W, 1e-3, 0.9, 0.999, 1e-8, 0 }, .batch = BATCH, .leaves = 5,
                                   .chunk = 4, .seed = 7, .microbatch = k == 2 ? 4 : 5, .microbatch_sum = k > 0 };
        const unet_config net = { .height = SIDE, .width = SIDE, .in_channels = CHANNELS, .out_channels = 2 * CHANNELS, .model_channels = 16, .stem = 16,
                                  .levels = 1, .channels = { 16 }, .num_res_blocks = 1, .num_heads = 1, .conv_resample = true, .groups = 4, .eps = 1e-5,
                                  .init = UNET_INIT_TORCH };
        check(trainer_new(&net, &c, f.b, f.p, NN_F32, &f.tr));
        const train_batch b = { .x = x, .measure_noise = true };
        check(trainer_step(f.tr, &b, &r[k]));
        unmake(&f);
    }
    assert_true(r[0].noise_count == 1 && r[1].noise_count == 1 && r[2].noise_count == 0);
    assert_true(fabs(r[1].grad_norm - 2 * r[0].grad_norm) < 1e-5 * r[1].grad_norm);
    assert_true(fabs(r[1].noise.trace - r[0].noise.trace) < 1e-4 * fabs(r[0].noise.trace));
    assert_true(fabs(r[1].noise.norm_sq - r[0].noise.norm_sq) < 1e-4 * (fabs(r[0].noise.norm_sq) + r[0].grad_norm * r[0].grad_norm));
}

static void test_rate(void **state)
{
    (void)state;
    trainer_config c = { .adam = { .lr = 2 }, .schedule = RATE_LINEAR, .anneal_steps = 4 };
    const double linear[] = { 2, 1.5, 1, 0.5, 0, 0 };
    for (int k = 0; k < 6; k++) assert_true(fabs(trainer_rate(&c, k) - linear[k]) < 1e-15);
    c.schedule = RATE_COSINE;
    const double cosine[] = { 2, 1 + 0.70710678118654752, 1, 1 - 0.70710678118654752, 0 };
    for (int k = 0; k < 5; k++) assert_true(fabs(trainer_rate(&c, k) - cosine[k]) < 1e-15);
    c = (trainer_config){ .adam = { .lr = 2 }, .warmup_steps = 5000 };     /* Ho: no step at step 0 */
    assert_true(trainer_rate(&c, 0) == 0 && fabs(trainer_rate(&c, 1) - 2.0 / 5000) < 1e-18 && trainer_rate(&c, 9999) == 2);
}

/* --- min-SNR ---------------------------------------------------------------------------------- */

static double weight_by_hand(const schedule *s, int row, mean_type mean, double gamma)
{
    const double snr = s->alphas_cumprod[row] / (1 - s->alphas_cumprod[row]), c = snr < gamma ? snr : gamma;
    return mean == MEAN_EPSILON ? c / snr : mean == MEAN_START_X ? c : c / (snr + 1);
}

/* The gradient of one step, [params.len] malloc'ed, as Adam's first moment has it. */
static float *weighted_gradient(const process *p, double gamma, const float *weight, size_t *len, step_report *r)
{
    static const int rows[BATCH] = { 0, 1, 5, 20, 40, 50, 60, 80, 98, 99 };
    const unet_config net = { .height = SIDE, .width = SIDE, .in_channels = CHANNELS, .out_channels = CHANNELS, .model_channels = 8, .stem = 8, .levels = 1,
                              .channels = { 8 }, .num_res_blocks = 1, .num_heads = 1, .conv_resample = true, .groups = 4, .eps = 1e-5, .init = UNET_INIT_TORCH };
    const trainer_config c = { .p = p, .loss = LOSS_MSE, .timesteps = TIMESTEPS_SECOND_MOMENT, .adam = { ADAM_W, 1e-3, 0.5, 0.999, 1e-8, 0 }, .n_ema = 1,
                               .ema_rate = { 0.9 }, .batch = BATCH, .leaves = 2, .chunk = 3, .seed = 3, .min_snr_gamma = gamma };
    static float x[BATCH * IMAGE];
    pool *threads;
    nn_backend *b;
    trainer *tr;
    check(pool_new(1, &threads));
    check(backend_cpu_new("generic", &b));
    check(trainer_new(&net, &c, b, threads, NN_F32, &tr));
    trainer_state *s = trainer_get_state(tr);
    for (size_t k = 0; k < s->params->len; k++) s->value[k] += s->value[k] == 0 ? 0.01f : 0;    /* no layer begins at zero */
    trainer_changed(tr);
    images(0, x);
    check(trainer_step(tr, &(train_batch){ .x = x, .t = rows, .weight = weight }, r));
    *len = s->params->len;
    float *copy = malloc(*len * sizeof *copy);
    memcpy(copy, s->m, *len * sizeof *copy);
    trainer_free(tr);
    nn_backend_free(b);
    pool_free(threads);
    return copy;
}

/* Beside an importance weight the factor of the timestep is a factor of it, and no loss that is told has it. */
static void test_min_snr(void **state)
{
    (void)state;
    static const int rows[BATCH] = { 0, 1, 5, 20, 40, 50, 60, 80, 98, 99 };
    const schedule_config sc = schedule_config_of(PROFILE_OPENAI, SCHEDULE_COSINE, 100);
    schedule s;
    check(schedule_new(&sc, &s));
    static const mean_type means[] = { MEAN_EPSILON, MEAN_START_X, MEAN_V };
    for (size_t k = 0; k < 3; k++) {
        const process p = { .s = &s, .mean = means[k], .var = VAR_FIXED_LARGE };
        float importance[BATCH], both[BATCH];
        for (int i = 0; i < BATCH; i++) {
            importance[i] = 0.25f * (float)(i + 1);
            both[i] = (float)((double)importance[i] * weight_by_hand(&s, rows[i], p.mean, 2.5));
        }
        step_report by_gamma, by_weight, plain;
        size_t len, n;
        float *a = weighted_gradient(&p, 2.5, importance, &len, &by_gamma), *b = weighted_gradient(&p, 0, both, &n, &by_weight);
        float *c = weighted_gradient(&p, 0, importance, &n, &plain);
        double peak = 0, off = 0, apart = 0;
        for (size_t i = 0; i < len; i++) {
            peak = fmax(peak, fabs((double)b[i]));
            off = fmax(off, fabs((double)a[i] - (double)b[i]));
            apart = fmax(apart, fabs((double)a[i] - (double)c[i]));
        }
        assert_true(peak > 0 && off <= 1e-6 * peak && apart > 0.01 * peak);
        assert_true(fabs(by_gamma.grad_norm / by_weight.grad_norm - 1) < 1e-6);
        assert_memory_equal(&by_gamma.loss, &plain.loss, sizeof plain.loss);
        assert_memory_equal(by_gamma.quartile_loss, plain.quartile_loss, sizeof plain.quartile_loss);
        free(a);
        free(b);
        free(c);
    }
    schedule_free(&s);
}

static double network_seconds(fixture *f, bool backward)
{
    double sum = 0;
    for (int worker = 0; worker < pool_threads(f->p); worker++)
        for (int i = 0; i < denoiser_graph(trainer_denoiser(f->tr))->n_nodes; i++)
            sum += nn_plan_seconds(denoiser_plan(trainer_denoiser(f->tr), worker), i, backward);
    return sum;
}

/* The parts of a step are pieces of its time that do not overlap, and its bits are those of steps that nobody times. */
static void test_times(void **state)
{
    (void)state;
    static float x[BATCH * IMAGE];
    fixture f, plain;
    images(1, x);
    make(&f, NN_F32, 2, 4, 2);
    make(&plain, NN_F32, 2, 4, 2);
    trainer_profile(f.tr, true);
    step(&f, x);
    step(&f, x);
    const train_times t = trainer_times(f.tr);
    double sum = 0;
    for (int part = 0; part < TRAIN_PARTS; part++) {
        assert_true(t.part[part] > 0 || part == TRAIN_IDLE);
        sum += t.part[part];
    }
    assert_true(t.part[TRAIN_IDLE] >= 0 && sum <= t.total * (1 + 1e-9));
    assert_true(network_seconds(&f, false) > 0 && network_seconds(&f, false) < t.part[TRAIN_FORWARD]);
    assert_true(network_seconds(&f, true) > 0 && network_seconds(&f, true) < t.part[TRAIN_BACKWARD]);
    step(&plain, x);
    step(&plain, x);
    assert_true(trainer_times(plain.tr).total == 0 && network_seconds(&plain, false) == 0);
    const trainer_state *a = trainer_get_state(f.tr), *b = trainer_get_state(plain.tr);
    assert_memory_equal(a->value, b->value, a->params->len * sizeof(float));
    trainer_profile(f.tr, false);
    step(&f, x);
    assert_true(trainer_times(f.tr).total == 0);
    unmake(&f);
    unmake(&plain);
}

/* A classifier of four classes whose last layer starts with zeros: all classes are as probable, and the first is the guess. */
static void make_classifier(fixture *f, bool clean, int threads, int chunk)
{
    *f = (fixture){ 0 };
    const unet_config net = { .height = SIDE, .width = SIDE, .in_channels = CHANNELS, .out_channels = CHANNELS, .model_channels = 16, .stem = 16, .levels = 2,
                              .channels = { 16, 32 }, .num_res_blocks = 1, .num_heads = 2, .classes_out = 4, .scale_shift_norm = true, .resblock_updown = true,
                              .groups = 8, .eps = 1e-5, .cos_first = true, .init = UNET_INIT_OPENAI };
    const schedule_config sc = schedule_config_of(PROFILE_OPENAI, SCHEDULE_COSINE, 100);
    check(schedule_new(&sc, &f->s));
    f->process = (process){ .s = &f->s, .var = VAR_FIXED_LARGE, .rescale_timesteps = true };
    check(pool_new(threads, &f->p));
    check(backend_cpu_new(max_isa(), &f->b));
    const trainer_config c = { .p = &f->process, .adam = { ADAM_W, 1e-2, 0.9, 0.999, 1e-8, 0 }, .n_ema = 1, .ema_rate = { 0.9 }, .batch = BATCH, .leaves = 4,
                               .chunk = chunk, .clean = clean, .seed = 7 };
    check(trainer_new(&net, &c, f->b, f->p, NN_F32, &f->tr));
}

/* The gradient of the last bias, of which Adam's first moment keeps a tenth: the mean of 1/4 less 1 for each image's own class. */
static void check_first_gradient(const fixture *f)
{
    static const int COUNT[4] = { 2, 3, 3, 2 };
    const trainer_state *s = trainer_get_state(f->tr);
    const nn_param *bias = nn_params_find(s->params, "out.3.bias");
    for (int k = 0; k < 4; k++) assert_true(fabs((double)s->m[bias->offset + (size_t)k] - 0.1 * (0.25 - COUNT[k] / (double)BATCH)) < 1e-8);
}

static void test_classifier(void **state)
{
    (void)state;
    static float x[BATCH * IMAGE];
    images(0, x);
    for (int clean = 0; clean < 2; clean++) {
        fixture f, other;
        int rows = 0;
        make_classifier(&f, clean, 1, 3);
        make_classifier(&other, clean, 2, 2);
        step_report r = step(&f, x);
        for (int i = 0; i < BATCH; i++) rows += trainer_rows(f.tr)[i];
        assert_true(clean ? rows == 0 : rows > 0);
        assert_true(fabs(r.loss - log(4)) < 1e-12 && r.classifier && r.top1 == 0.2 && r.top5 == 1 && r.mse == 0 && r.vb == 0);
        if (clean) assert_true(r.quartile_top1[0] == 0.2 && r.quartile_count[0] == BATCH && fabs(r.quartile_loss[0] - log(4)) < 1e-12);
        check_first_gradient(&f);
        step(&other, x);
        for (int k = 0; k < 40; k++) {
            r = step(&f, x);
            step(&other, x);
        }
        if (clean) assert_true(r.loss < 0.1 && r.top1 == 1);        /* the ten images are learnt by heart */
        const trainer_state *a = trainer_get_state(f.tr), *b = trainer_get_state(other.tr);
        assert_memory_equal(a->value, b->value, a->params->len * sizeof(float));
        unmake(&f);
        unmake(&other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classifier),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_bits_depend_on_leaves_alone),
        cmocka_unit_test(test_recomputation_changes_no_bit),
        cmocka_unit_test(test_recomputation_saves_memory), cmocka_unit_test(test_bad_numbers_are_dropped),
        cmocka_unit_test(test_copied_state_goes_on_alike),  cmocka_unit_test(test_no_allocation_inside_a_step),
        cmocka_unit_test(test_microbatch_sum),              cmocka_unit_test(test_rate),
        cmocka_unit_test(test_gradient_noise),              cmocka_unit_test(test_noise_is_only_looked_at),
        cmocka_unit_test(test_noise_of_microbatches),        cmocka_unit_test(test_min_snr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
