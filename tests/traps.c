/* Mistakes that other implementations of these papers made, one test for each, by the numbers of the list
 * they were collected in: what would be wrong here if this program made them too. Models and
 * their files are in traps_models.c, the program from outside in cli/traps.bats. */
#include "traps_tools.h"

#include "api/sampling.h"
#include "data/loader.h"
#include "diffusion/guidance.h"
#include "diffusion/loss.h"
#include "diffusion/respace.h"
#include "io/image.h"
#include "metrics/frechet.h"
#include "train/draw.h"

static schedule make_schedule(schedule_profile profile, schedule_kind kind, int T)
{
    const schedule_config c = schedule_config_of(profile, kind, T);
    schedule s;
    MUST(schedule_new(&c, &s));
    return s;
}

/* --- 1: ermongroup trains with the sum over an image, everybody else with the mean ------------ */

static void trap_01_the_sum_loss(void **state)
{
    (void)state;
    enum { LEN = 12 };
    float x0[LEN] = { 0 }, noise[LEN], out[LEN], grad[LEN];
    double sum = 0;
    const settings ddim = of_preset("ddim-cifar10"), ho = of_preset("ddpm-cifar10");
    assert_int_equal(settings_loss(&ddim), LOSS_MSE_SUM);
    for (int k = 0; k < LEN; k++) {
        noise[k] = 0.25f * (float)k - 1;
        out[k] = noise[k] + 0.5f + (float)(k % 3);
        sum += pow(0.5 + k % 3, 2);
    }
    schedule s = make_schedule(PROFILE_ERMONGROUP, SCHEDULE_LINEAR, 1000);
    const process p = { .s = &s };
    for (int mean = 0; mean < 2; mean++) {
        loss_terms terms;
        loss_eval(&(loss_input){ &p, settings_loss(mean ? &ho : &ddim), 500, { LEN / 3, 3 }, 1, x0, x0, noise, out }, &terms, grad);
        expect_near("loss", terms.loss, mean ? sum / LEN : sum, 1e-6 * sum);
        for (int k = 0; k < LEN; k++) expect_near("gradient", (double)grad[k], 2 * (0.5 + k % 3) / (mean ? LEN : 1), 1e-6);
    }
    schedule_free(&s);
}

/* --- 2: diffusers' schedulers; its files are in traps_models.c ---------------------------------- */

static void trap_02_a_large_variance_is_beta(void **state)
{
    (void)state;
    schedule s = make_schedule(PROFILE_DIFFUSERS, SCHEDULE_LINEAR, 1000);
    const process large = { .s = &s, .var = VAR_FIXED_LARGE };
    for (int i = 1; i < s.T; i++) expect_near("log of beta", (double)p_log_variance(&large, i, 0), log(s.betas[i]), 1e-6 * fabs(log(s.betas[i])));
    schedule_free(&s);
}

/* There a step of linspace leads to t - T/S, which is not where the next one starts. */
static void trap_02_every_step_leads_to_the_next(void **state)
{
    (void)state;
    schedule full = make_schedule(PROFILE_DIFFUSERS, SCHEDULE_LINEAR, 1000);
    for (int kind = SPACING_LEADING; kind <= SPACING_LOGSNR; kind++)
        for (int S = 1; S <= 37; S += 9) {
            step_list list;
            schedule s;
            MUST(respace_exact(&full, S, (spacing_kind)kind, &list));
            MUST(schedule_respace(&full, list.t, list.n, &s));
            assert_int_equal(s.T, S);
            for (int k = 0; k < S; k++) {
                assert_true(s.alphas_cumprod[k] == full.alphas_cumprod[list.t[k]]);
                assert_true(s.alphas_cumprod_prev[k] == (k ? full.alphas_cumprod[list.t[k - 1]] : 1));
            }
            schedule_free(&s);
            step_list_free(&list);
        }
    schedule_free(&full);
}

/* Clipping x_0 without making the noise anew is diffusers' own. Ours is OpenAI's, and ermongroup's DDIM clips nothing. */
static void trap_02_the_default_clip_is_the_authors(void **state)
{
    (void)state;
    static const struct { const char *option, *value; clip_mode clip; } rows[] = {
        { NULL, NULL, CLIP_REDERIVE },            { "clip", "none", CLIP_NONE },             { "clip", "x0", CLIP_X0 },
        { "compat", "openai", CLIP_REDERIVE },    { "compat", "ermongroup", CLIP_NONE },     { "compat", "diffusers", CLIP_X0 },
    };
    const settings model = settings_from(TINY);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        settings request = asked(rows[i].option, rows[i].value);
        sampling s;
        if (i) MUST(settings_set(&request, "sampler", "ddim", ORIGIN_COMMAND_LINE));
        MUST(sampling_new(&model, &request, &s));
        assert_int_equal(s.p.clip, rows[i].clip);
        assert_string_equal(s.method->name, "ddim");
        assert_true(s.eta == 0);
        sampling_free(&s);
    }
}

/* --- 4: flips and dropout differ between papers -------------------------------------------------- */

static void trap_04_flips_and_dropout_by_paper(void **state)
{
    (void)state;
    const settings ho = of_preset("ddpm-cifar10"), cosine = of_preset("iddpm-cifar10-hybrid"), imagenet = of_preset("iddpm-imagenet64");
    assert_true(ho.v.flip && ho.v.dropout == 0.1);
    assert_true(!cosine.v.flip && cosine.v.dropout == 0.3);
    assert_true(!imagenet.v.flip && imagenet.v.dropout == 0);
    const settings plain = asked(NULL, NULL);
    assert_false(plain.v.flip);
}

/* --- 5: improved-diffusion's command line ----------------------------------------------------------- */

/* One number was both the length of the annealing and the only way to stop; tests/cli/traps.bats stops before and after. */
static void trap_05_annealing_is_not_the_end(void **state)
{
    (void)state;
    const trainer_config c = { .adam = { .lr = 2 }, .schedule = RATE_LINEAR, .anneal_steps = 100 }, constant = { .adam = { .lr = 2 }, .anneal_steps = 100 };
    expect_near("rate", trainer_rate(&c, 25), 1.5, 1e-12);
    expect_near("rate at the end", trainer_rate(&c, 100), 0, 1e-12);
    expect_near("rate beyond", trainer_rate(&c, 1000), 0, 1e-12);
    expect_near("constant rate", trainer_rate(&constant, 1000), 2, 1e-12);
}

static void trap_05_ddim_has_an_eta(void **state)
{
    (void)state;
    const settings model = settings_from(TINY);
    settings request = asked("eta", "0.5");
    sampling s;
    MUST(settings_set(&request, "use_ddim", "true", ORIGIN_COMMAND_LINE));
    MUST(settings_set(&request, "timestep_respacing", "ddim25", ORIGIN_COMMAND_LINE));
    MUST(sampling_new(&model, &request, &s));
    assert_true(s.eta == 0.5);
    assert_string_equal(s.method->name, "ddim");
    assert_int_equal(s.steps.T, 25);
    sampling_free(&s);
}

/* 1000 was written into the code. */
static void trap_05_classes_are_counted(void **state)
{
    (void)state;
    settings s = asked("image_size", "8");
    MUST(settings_set(&s, "class_cond", "true", ORIGIN_COMMAND_LINE));
    assert_int_equal(settings_resolve(&s), DDPM_EINVAL);
    MUST(settings_set(&s, "num_classes", "7", ORIGIN_COMMAND_LINE));
    MUST(settings_resolve(&s));
    assert_int_equal(settings_unet(&s).num_classes, 7);
}

/* --- 6: the network's time is raw for some models and scaled for others --------------------------- */

static void trap_06_time_as_the_network_was_trained(void **state)
{
    (void)state;
    const settings raw = of_preset("iddpm-imagenet64-cond"), scaled = of_preset("iddpm-imagenet64"), request = asked("timestep_respacing", "100");
    assert_int_equal(raw.v.diffusion_steps, 4000);
    assert_int_equal(scaled.v.diffusion_steps, 4000);
    for (int i = 0; i < 2; i++) {
        sampling s;
        MUST(sampling_new(i ? &scaled : &raw, &request, &s));
        expect_near("last time", (double)process_model_t(&s.p, s.p.s->T - 1), i ? 999.75 : 3999, 1e-3);
        expect_near("first time", (double)process_model_t(&s.p, 0), 0, 0);
        sampling_free(&s);
    }
}

/* --- 7: the bound is in bits, the squared error is not ----------------------------------------------- */

/* When the mean is right and the log variance is off by d, the bound is (d - 1 + e^-d) / 2 nats. */
static void trap_07_the_hybrid_weighs_bits(void **state)
{
    (void)state;
    enum { LEN = 6, T = 4000, ROW = 1234 };
    const double d = 0.75, nats = 0.5 * (d - 1 + exp(-d)), error = 0.125;
    schedule s = make_schedule(PROFILE_OPENAI, SCHEDULE_COSINE, T);
    const process p = { .s = &s, .mean = MEAN_EPSILON, .var = VAR_LEARNED };
    float x0[LEN] = { 0 }, xt[LEN], noise[LEN], out[2 * LEN];
    for (int k = 0; k < LEN; k++) {
        noise[k] = 0.3f * (float)(k - 2);
        xt[k] = (float)(s.sqrt_one_minus_alphas_cumprod[ROW] * (double)noise[k]);
        out[2 * k] = noise[k];
        out[2 * k + 1] = (float)(s.posterior_log_variance_clipped[ROW] + d);
    }
    loss_terms hybrid, bound;
    loss_eval(&(loss_input){ &p, LOSS_RESCALED_MSE, ROW, { LEN, 1 }, 1, x0, xt, noise, out }, &hybrid, NULL);
    expect_near("0.001 T bits", hybrid.vb, 0.001 * T * nats / log(2), 1e-4);
    loss_eval(&(loss_input){ &p, LOSS_RESCALED_KL, ROW, { LEN, 1 }, 1, x0, xt, noise, out }, &bound, NULL);
    expect_near("T bits", bound.loss, T * nats / log(2), 0.1);
    expect_near("bits", vb_terms(&p, ROW, (image_dims){ LEN, 1 }, x0, xt, out), nats / log(2), 3e-5);
    for (int k = 0; k < LEN; k++) out[2 * k] += (float)error;
    loss_eval(&(loss_input){ &p, LOSS_RESCALED_MSE, ROW, { LEN, 1 }, 1, x0, xt, noise, out }, &hybrid, NULL);
    expect_near("squared error", hybrid.mse, error * error, 1e-6);
    schedule_free(&s);
}

/* --- 8: guidance of scale 1, and data for statistics ---------------------------------------------------- */

typedef struct { int calls, images; } counting;

/* 10 y + x: what comes out says which label came in. */
static ddpm_status labelled(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    counting *c = ctx;
    (void)t;
    c->calls++;
    c->images += n;
    for (int i = 0; i < n; i++) out[i] = 10 * (float)y[i] + x[i];
    return DDPM_OK;
}

/* There the call unpacked a tuple that is none when the scale is 1. */
static void trap_08_guidance_of_one_is_the_class_alone(void **state)
{
    (void)state;
    enum { N = 3, NONE = 9 };
    schedule s = make_schedule(PROFILE_OPENAI, SCHEDULE_LINEAR, 100);
    const process p = { .s = &s };
    const float x[N] = { 0.5f, -1, 2 }, t[N] = { 7, 7, 7 };
    const int y[N] = { 1, 2, 3 };
    for (int scale = 0; scale <= 3; scale++) {
        counting c = { 0 };
        float out[N];
        classifier_free g = { .denoise = labelled, .ctx = &c, .p = &p, .scale = scale, .null_class = NONE, .n = N, .dims = { 1, 1 } };
        MUST(classifier_free_reserve(&g));
        MUST(classifier_free_denoise(&g, N, t, y, x, out));
        for (int i = 0; i < N; i++) expect_near("guided", (double)out[i], 10 * (NONE + scale * (y[i] - NONE)) + (double)x[i], 1e-4);
        if (scale == 1) assert_true(c.calls == 1 && c.images == N);
        classifier_free_release(&g);
    }
    schedule_free(&s);
}

/* Statistics were taken of flipped images: reading a set changes nothing unless training asks for it. */
static void trap_08_reading_does_not_augment(void **state)
{
    char path[MODEL_PATH_SIZE];
    uint8_t pixels[4 * 6 * 3], read[sizeof pixels];
    dataset *d = NULL;
    dataset_reader *r = NULL;
    image im = { .w = 6, .h = 4, .c = 3, .data = pixels };
    for (size_t k = 0; k < sizeof pixels; k++) pixels[k] = (uint8_t)(k * k % 251);
    MUST(dir_make(under(*state, "set", path)));
    MUST(png_write(under(*state, "set/a.png", path), &im, NULL, 0));
    MUST(dataset_open(under(*state, "set", path), NULL, &d));
    MUST(dataset_reader_new(d, &r));
    for (int i = 0; i < 20; i++) {
        MUST(dataset_read(d, r, 0, read, NULL));
        assert_memory_equal(read, pixels, sizeof pixels);
    }
    dataset_reader_free(r);
    assert_false(loader_defaults().flip);
    int mirrored = 0;
    for (int flip = 0; flip < 2; flip++) {
        loader_options o = loader_defaults();
        loader_batch b;
        loader *l = NULL;
        o.batch = 40;
        o.flip = flip;
        MUST(loader_new(d, &o, &l));
        MUST(loader_next(l, 0, &b));
        for (int i = 0; i < b.n; i++) mirrored += flip && b.x[i * 72] != (float)pixels[0] / 127.5f - 1;
        for (int i = 0; i < b.n && !flip; i++)
            for (int k = 0; k < 72; k++) expect_near("pixel", (double)b.x[i * 72 + k], pixels[k] / 127.5 - 1, 1e-6);
        loader_free(l);
    }
    assert_in_range(mirrored, 5, 35);                                       /* 20 of 40, within five deviations */
    dataset_close(d);
}

/* --- 9: clipping x_0 after the mean was made of it does nothing ------------------------------------------- */

/* That code base's own files are no models here: other_dicts in checkpoint_torch.c. */
static void trap_09_the_mean_is_of_the_clipped_image(void **state)
{
    (void)state;
    enum { ROW = 300 };
    schedule s = make_schedule(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000);
    const float out[2] = { 3, -0.25f }, xt[2] = { 0.5f, 0.5f };
    float mean[2], x0[2];
    const process p = { .s = &s, .mean = MEAN_START_X, .clip = CLIP_REDERIVE };
    p_mean_variance(&p, ROW, (image_dims){ 2, 1 }, xt, out, &(p_moments){ .mean = mean, .pred_xstart = x0 });
    const double bar = s.alphas_cumprod[ROW], prev = s.alphas_cumprod[ROW - 1], beta = 1 - bar / prev;
    const double from[2] = { 1, -0.25 };
    for (int k = 0; k < 2; k++) {
        expect_near("x_0", (double)x0[k], from[k], 0);
        expect_near("mean", (double)mean[k], (beta * sqrt(prev) * from[k] + (1 - prev) * sqrt(1 - beta) * (double)xt[k]) / (1 - bar), 1e-6);
    }
    schedule_free(&s);
}

/* --- 14: four roundings ------------------------------------------------------------------------------------------ */

static int quantized(float x, draw_rounding how)
{
    uint8_t pixel;
    draw_quantize(&x, 1, how, &pixel);
    return pixel;
}

static void trap_14_rounding_is_chosen_and_exact(void **state)
{
    (void)state;
    enum { FINE = 16 };
    int ties = 0;
    for (int n = 0; n < 255 * FINE; n++) {
        const int k = n / FINE, part = n % FINE;              /* sixteenths above the grey level k */
        const float x = (float)((double)n / FINE / 127.5 - 1);
        const bool tie = part == FINE / 2;
        if (part == 0 || (tie && (double)((x + 1) * 127.5f) - k != 0.5)) continue;      /* not exactly there in float */
        ties += tie;
        assert_int_equal(quantized(x, ROUND_TRUNCATE), k);
        assert_int_equal(quantized(x, ROUND_HALF_UP), k + (part >= FINE / 2));
        assert_int_equal(quantized(x, ROUND_HALF_EVEN), k + (tie ? k % 2 : part > FINE / 2));
    }
    assert_in_range(ties, 50, 255);
    for (int how = ROUND_HALF_UP; how <= ROUND_HALF_EVEN; how++) {
        static const float outside[] = { -1.0f, -7, -1.001f, 1.0f, 7, 1.001f };
        for (int i = 0; i < 6; i++) assert_int_equal(quantized(outside[i], (draw_rounding)how), i < 3 ? 0 : 255);
    }
    for (int k = 0; k < 256; k++) {                           /* what was 8-bit before comes back */
        assert_int_equal(quantized((float)k / 127.5f - 1, ROUND_HALF_UP), k);
        assert_int_equal(quantized((float)k / 127.5f - 1, ROUND_HALF_EVEN), k);
    }
    const settings nobody = asked(NULL, NULL);
    assert_int_equal(nobody.v.quantize, QUANTIZE_ROUND);
}

/* --- 15: the linear schedule at few steps ------------------------------------------------------------------------- */

/* Betas are scaled by 1000/T: at T = 20 the last is 1, and everything after it infinite. */
static void trap_15_short_linear_schedules(void **state)
{
    (void)state;
    for (int T = 2; T <= 60; T++) {
        const schedule_config c = schedule_config_of(PROFILE_OPENAI, SCHEDULE_LINEAR, T);
        schedule s;
        const ddpm_status status = schedule_new(&c, &s);
        assert_int_equal(status, T <= 20 ? DDPM_EINVAL : DDPM_OK);
        if (status != DDPM_OK) {
            assert_non_null(strstr(ddpm_last_error(), "use more steps"));
            continue;
        }
        const double *const tables[] = { s.betas, s.log_betas, s.alphas_cumprod, s.sqrt_recip_alphas_cumprod, s.sqrt_recipm1_alphas_cumprod,
                                         s.log_one_minus_alphas_cumprod, s.posterior_log_variance_clipped, s.posterior_mean_coef1, s.posterior_mean_coef2 };
        for (size_t k = 0; k < sizeof tables / sizeof *tables; k++)
            for (int i = 0; i < T; i++) assert_true(isfinite(tables[k][i]));
        expect_near("last beta", s.betas[T - 1], 20.0 / T, 1e-12);
        schedule_free(&s);
    }
}

/* --- 16: fewer images than features --------------------------------------------------------------------------------- */

/* Covariances of rank 2 in 16 dimensions, one twice the other: tr(S + 2S) - 2 sqrt(2) tr S, and nothing added to the diagonal. */
static void trap_16_singular_covariances(void **state)
{
    (void)state;
    enum { D = 16 };
    double mean[D] = { 0 }, moved[D] = { 0 }, s1[D * D], s2[D * D], trace = 0;
    for (int i = 0; i < D; i++)
        for (int k = 0; k < D; k++) {
            s1[i * D + k] = sin(i + 1) * sin(k + 1) + 1e-6 * cos(3 * i) * cos(3 * k);
            s2[i * D + k] = 2 * s1[i * D + k];
            if (i == k) trace += s1[i * D + k];
        }
    moved[3] = 0.5;
    frechet_target *t = NULL;
    frechet_result r;
    MUST(frechet_target_new(D, mean, s1, &t));
    MUST(frechet_distance(t, mean, s1, &r));
    expect_near("distance to itself", r.distance, 0, 1e-6 * trace);
    MUST(frechet_distance(t, moved, s2, &r));
    expect_near("distance", r.distance, 0.25 + (3 - 2 * sqrt(2)) * trace, 1e-6 * trace);
    frechet_target_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_01_the_sum_loss),
        cmocka_unit_test(trap_02_a_large_variance_is_beta),
        cmocka_unit_test(trap_02_every_step_leads_to_the_next),
        cmocka_unit_test(trap_02_the_default_clip_is_the_authors),
        cmocka_unit_test(trap_04_flips_and_dropout_by_paper),
        cmocka_unit_test(trap_05_annealing_is_not_the_end),
        cmocka_unit_test(trap_05_ddim_has_an_eta),
        cmocka_unit_test(trap_05_classes_are_counted),
        cmocka_unit_test(trap_06_time_as_the_network_was_trained),
        cmocka_unit_test(trap_07_the_hybrid_weighs_bits),
        cmocka_unit_test(trap_08_guidance_of_one_is_the_class_alone),
        cmocka_unit_test_setup_teardown(trap_08_reading_does_not_augment, enter, leave),
        cmocka_unit_test(trap_09_the_mean_is_of_the_clipped_image),
        cmocka_unit_test(trap_14_rounding_is_chosen_and_exact),
        cmocka_unit_test(trap_15_short_linear_schedules),
        cmocka_unit_test(trap_16_singular_covariances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
