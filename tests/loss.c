/* Losses, their gradients and the bound against the authors' code (golden set
 * 04), finite differences where the set has nothing (v, sum), and the choice of
 * timesteps (golden set 05). */
#include "golden_file.h"

#include "diffusion/loss.h"
#include "diffusion/respace.h"
#include "diffusion/timesteps.h"

#include <math.h>

enum { N = 5, C = 3, Q = 16, LEN = C * Q };

static const char *const MEANS[] = { "EPSILON", "START_X", "PREVIOUS_X" };
static const char *const VARS[] = { "FIXED_SMALL", "FIXED_LARGE", "LEARNED", "LEARNED_RANGE" };
static const char *const LOSSES[] = { "MSE", "RESCALED_MSE", "KL", "RESCALED_KL" };

typedef struct { golden_file g; schedule full, s; int t[N]; } bench;

static bench open_bench(bool spaced)
{
    bench b;
    b.g = golden_open(spaced ? "tests/golden/04_losses/gauss_spaced_losses.safetensors" : "tests/golden/04_losses/gauss_losses.safetensors");
    const schedule_config c = schedule_config_of(PROFILE_OPENAI, spaced ? SCHEDULE_COSINE : SCHEDULE_LINEAR, spaced ? 4000 : 1000);
    assert_int_equal(schedule_new(&c, &b.full), DDPM_OK);
    assert_int_equal(schedule_respace_openai(&b.full, spaced ? "50" : "", &b.s), DDPM_OK);
    const golden t = golden_tensor(&b.g, "t");
    for (size_t n = 0; n < N; n++) b.t[n] = (int)golden_at(&t, n);
    return b;
}

static void close_bench(bench *b)
{
    schedule_free(&b->s);
    schedule_free(&b->full);
    golden_close(&b->g);
}

typedef struct { float x0[LEN], xt[LEN], noise[LEN], out[2 * LEN]; } inputs;

static void load(const bench *b, const char *mean, const char *var, size_t n, inputs *in)
{
    const bool learned = !strncmp(var, "LEARNED", 7);
    const golden x0 = golden_tensor(&b->g, "x_start"), xt = golden_tensor(&b->g, "x_t"), noise = golden_tensor(&b->g, "noise");
    const golden part = golden_tensor(&b->g, "model_mean_part/%s", mean);
    golden_to_nhwc(&x0, n, C, 0, in->x0);
    golden_to_nhwc(&xt, n, C, 0, in->xt);
    golden_to_nhwc(&noise, n, C, 0, in->noise);
    golden_to_nhwc(&part, n, learned ? 2 * C : C, 0, in->out);
    if (!learned) return;
    const golden v = golden_tensor(&b->g, "model_var_part/%s", var);
    golden_to_nhwc(&v, n, 2 * C, C, in->out);
}

static process make_process(const bench *b, const char *mean, const char *var)
{
    process p = { .s = &b->s };
    assert_int_equal(mean_type_find(mean, &p.mean), DDPM_OK);
    assert_int_equal(var_type_find(var, &p.var), DDPM_OK);
    return p;
}

static void expect_near(const char *what, size_t n, double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance)) fail_msg("%s[%zu]: got %.9g, want %.9g (allowed %.3g)", what, n, got, want, tolerance);
}

/* A term of the dictionary the original returns; absent terms are not compared. */
static int compare_term(const bench *b, const char *prefix, const char *term, size_t n, double got, double scale)
{
    char name[128];
    golden want;
    snprintf(name, sizeof name, "%s/%s", prefix, term);
    if (!golden_find(&b->g, name, &want)) return 0;
    const double w = golden_at(&want, n);
    expect_near(name, n, got, w, (b->t[n] ? 1e-4 : 1e-3) * fabs(w) + 1e-6 * scale);
    return 1;
}

static void compare_gradient(const bench *b, const char *prefix, size_t n, const float *dout, double scale)
{
    const golden want = golden_tensor(&b->g, "%s/grad_model_output", prefix);
    const size_t width = want.shape[1];
    for (size_t half = 0; half < width; half += C) {
        double peak = 0;
        for (size_t q = 0; q < Q; q++)
            for (size_t c = 0; c < C; c++) peak = fmax(peak, fabs(golden_pixel(&want, n, q, half + c)));
        for (size_t q = 0; q < Q; q++)
            for (size_t c = half; c < half + C; c++)
                expect_near(prefix, n, (double)dout[q * width + c], golden_pixel(&want, n, q, c), 3e-4 * peak + 1e-7 * scale);
    }
}

static int check_loss(const bench *b, int m, int v, int l, size_t n)
{
    char prefix[96];
    inputs in;
    loss_type type;
    loss_terms terms;
    float dout[2 * LEN];
    const process p = make_process(b, MEANS[m], VARS[v]);
    assert_int_equal(loss_type_find(LOSSES[l], &type), DDPM_OK);
    snprintf(prefix, sizeof prefix, "loss/%s/%s/%s", MEANS[m], VARS[v], LOSSES[l]);
    load(b, MEANS[m], VARS[v], n, &in);
    const loss_input input = { &p, type, b->t[n], { Q, C }, 1.0 / N, in.x0, in.xt, in.noise, in.out };
    loss_eval(&input, &terms, dout);
    const double scale = type == LOSS_RESCALED_KL ? b->s.T : 1;
    compare_gradient(b, prefix, n, dout, scale);
    return compare_term(b, prefix, "loss", n, terms.loss, scale) + compare_term(b, prefix, "mse", n, terms.mse, scale) +
           compare_term(b, prefix, "vb", n, terms.vb, scale);
}

static void test_golden_losses(void **state)
{
    (void)state;
    int compared = 0;
    for (int spaced = 0; spaced < 2; spaced++) {
        bench b = open_bench(spaced);
        for (int m = 0; m < 3; m++)
            for (int v = 0; v < 4; v++)
                for (int l = 0; l < 4; l++)
                    for (size_t n = 0; n < N; n++) compared += check_loss(&b, m, v, l, n);
        close_bench(&b);
    }
    assert_int_equal(compared, 2 * N * (48 + 24 + 12));   /* loss everywhere, mse in half, vb beside mse when learned */
}

static void test_golden_bound(void **state)
{
    (void)state;
    for (int spaced = 0; spaced < 2; spaced++) {
        bench b = open_bench(spaced);
        for (int m = 0; m < 3; m++)
            for (int v = 0; v < 4; v++)
                for (int clip = 0; clip < 2; clip++)
                    for (size_t n = 0; n < N; n++) {
                        char prefix[64], name[32];
                        inputs in;
                        process p = make_process(&b, MEANS[m], VARS[v]);
                        p.clip = clip ? CLIP_REDERIVE : CLIP_NONE;
                        load(&b, MEANS[m], VARS[v], n, &in);
                        snprintf(prefix, sizeof prefix, "vb_terms/%s/%s", MEANS[m], VARS[v]);
                        snprintf(name, sizeof name, "clip%d", clip);
                        const double vb = vb_terms(&p, b.t[n], (image_dims){ Q, C }, in.x0, in.xt, in.out);
                        assert_int_equal(compare_term(&b, prefix, name, n, vb, 1), 1);
                    }
        const golden prior = golden_tensor(&b.g, "prior_bpd");
        for (size_t n = 0; n < N; n++) {
            inputs in;
            load(&b, "EPSILON", "FIXED_SMALL", n, &in);
            expect_near("prior_bpd", n, prior_bpd(&b.s, LEN, in.x0), golden_at(&prior, n), 1e-6);
        }
        close_bench(&b);
    }
}

static void test_golden_likelihood(void **state)
{
    (void)state;
    golden_file g = golden_open("tests/golden/04_losses/likelihood.safetensors");
    const golden x = golden_tensor(&g, "x"), means = golden_tensor(&g, "means"), scales = golden_tensor(&g, "log_scales");
    const golden want = golden_tensor(&g, "log_likelihood_f64"), cdf_in = golden_tensor(&g, "cdf_in"), cdf = golden_tensor(&g, "approx_cdf");
    const golden m1 = golden_tensor(&g, "kl_mean1"), l1 = golden_tensor(&g, "kl_logvar1"), m2 = golden_tensor(&g, "kl_mean2");
    const golden l2 = golden_tensor(&g, "kl_logvar2"), kl = golden_tensor(&g, "normal_kl");
    for (size_t i = 0; i < x.len; i++) {
        const double w = golden_at(&want, i), k = golden_at(&kl, i);
        expect_near("log_likelihood", i, discretized_gaussian_log_likelihood(golden_at(&x, i), golden_at(&means, i), golden_at(&scales, i)),
                    w, 1e-8 * fmax(1, fabs(w)));
        expect_near("approx_cdf", i, approx_standard_normal_cdf(golden_at(&cdf_in, i)), golden_at(&cdf, i), 1e-6);
        expect_near("normal_kl", i, normal_kl(golden_at(&m1, i), golden_at(&l1, i), golden_at(&m2, i), golden_at(&l2, i)), k, 1e-4 * fabs(k) + 1e-6);
    }
    golden_close(&g);
}

static void test_likelihood_numbers(void **state)
{
    (void)state;
    const struct { double x, mean, log_scale, want; } rows[] = {
        { -1, -1, -4, -0.5365428529311618 }, { 1, 0.98, -4, -1.6600112677205452 }, { 1.0 / 255, 0, -4, -1.7973826345898167 },
        { 0.5, 0.1, -3, -27.631021115928547 }, { -1, 1, -5, -27.631021115928547 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_near("log p", i, discretized_gaussian_log_likelihood(rows[i].x, rows[i].mean, rows[i].log_scale), rows[i].want, 1e-12);
    const struct { schedule_kind kind; int T; float x0; double want, tolerance; } priors[] = {
        { SCHEDULE_LINEAR, 1000, 0, 5.8747841008e-10, 2e-15 }, { SCHEDULE_LINEAR, 1000, 0.5f, 7.278676964e-6, 1e-14 },
        { SCHEDULE_LINEAR, 1000, 1, 2.911294542e-5, 1e-14 },
        { SCHEDULE_COSINE, 4000, 1, 1.0949914e-10, 4e-16 }, { SCHEDULE_COSINE, 1000, 1, 1.7519849883e-9, 4e-16 },
    };
    for (size_t i = 0; i < sizeof priors / sizeof priors[0]; i++) {
        const schedule_config c = schedule_config_of(PROFILE_OPENAI, priors[i].kind, priors[i].T);
        schedule s;
        assert_int_equal(schedule_new(&c, &s), DDPM_OK);
        expect_near("prior", i, prior_bpd(&s, 1, &priors[i].x0), priors[i].want, priors[i].tolerance);
        schedule_free(&s);
    }
}

/* Central difference of the loss along its own gradient, for what the golden set
 * lacks: v prediction with each loss, and the sum loss. In the MSE losses the
 * bound does not reach the mean prediction, so there only the variance moves. */
static void check_differences(const bench *b, mean_type mean, var_type var, loss_type type, size_t n)
{
    inputs in;
    float dout[2 * LEN], moved[2 * LEN];
    const process p = { .s = &b->s, .mean = mean, .var = var };
    load(b, "EPSILON", VARS[var], n, &in);
    loss_input input = { &p, type, b->t[n], { Q, C }, 0.7, in.x0, in.xt, in.noise, in.out };
    loss_terms at, plus, minus;
    loss_eval(&input, &at, dout);
    const int width = process_out_channels(&p, C);
    const bool bound_alone = process_learns_variance(&p) && type != LOSS_KL && type != LOSS_RESCALED_KL;
    double norm2 = 0;
    for (int k = 0; k < Q * width; k++) {
        if (bound_alone && k % width < C) dout[k] = 0;
        norm2 += (double)dout[k] * (double)dout[k];
    }
    const double step = 1e-2 / sqrt(norm2);
    input.out = moved;
    for (int sign = -1; sign <= 1; sign += 2) {
        for (int k = 0; k < Q * width; k++) moved[k] = in.out[k] + (float)(sign * step * (double)dout[k]);
        loss_eval(&input, sign < 0 ? &minus : &plus, NULL);
    }
    expect_near("slope along the gradient", n, 0.7 * (plus.loss - minus.loss) / (2 * step), norm2,
                2e-3 * norm2 + 1e-9 * sqrt(norm2));   /* a learned range is narrow: its float log variances move in jumps */
}

static void test_finite_differences(void **state)
{
    (void)state;
    bench b = open_bench(false);
    for (size_t n = 0; n < N; n++) {
        for (int type = LOSS_MSE; type <= LOSS_RESCALED_KL; type++)
            for (int var = VAR_FIXED_SMALL; var <= VAR_LEARNED_RANGE; var++) check_differences(&b, MEAN_V, (var_type)var, (loss_type)type, n);
        check_differences(&b, MEAN_EPSILON, VAR_FIXED_LARGE, LOSS_MSE_SUM, n);
    }
    const process learned = { .s = &b.s, .var = VAR_LEARNED };
    assert_int_equal(loss_check(LOSS_MSE_SUM, &learned), DDPM_EINVAL);
    assert_int_equal(loss_check(LOSS_RESCALED_MSE, &learned), DDPM_OK);
    loss_type type;
    assert_int_equal(loss_type_find("l1", &type), DDPM_EINVAL);
    close_bench(&b);
}

/* The sum loss is the mean loss times the number of elements, gradient too. */
static void test_sum_is_scaled_mean(void **state)
{
    (void)state;
    bench b = open_bench(false);
    inputs in;
    float dmean[LEN], dsum[LEN];
    loss_terms mean, sum;
    load(&b, "EPSILON", "FIXED_SMALL", 3, &in);
    const process p = { .s = &b.s };
    loss_input input = { &p, LOSS_MSE, b.t[3], { Q, C }, 1, in.x0, in.xt, in.noise, in.out };
    loss_eval(&input, &mean, dmean);
    input.type = LOSS_MSE_SUM;
    loss_eval(&input, &sum, dsum);
    expect_near("sum", 0, sum.loss, mean.loss * LEN, 1e-9);
    for (size_t k = 0; k < LEN; k++) expect_near("gradient", k, (double)dsum[k], (double)dmean[k] * LEN, 1e-5);
    close_bench(&b);
}

/* A network that knows the noise has no error but the variance's. */
static void test_bpd_step(void **state)
{
    (void)state;
    bench b = open_bench(false);
    inputs in;
    load(&b, "EPSILON", "FIXED_SMALL", 2, &in);
    const process p = { .s = &b.s, .clip = CLIP_REDERIVE };
    const bpd_terms right = bpd_step(&p, b.t[2], (image_dims){ Q, C }, in.x0, in.xt, in.noise, in.noise);
    expect_near("vb", 0, right.vb, 0, 1e-6);
    expect_near("xstart_mse", 0, right.xstart_mse, 0, 1e-9);
    for (size_t k = 0; k < LEN; k++) in.out[k] = in.noise[k] + 0.01f;
    const process open_p = { .s = &b.s };
    const bpd_terms off = bpd_step(&open_p, b.t[2], (image_dims){ Q, C }, in.x0, in.xt, in.noise, in.out);
    const double ratio = 1 / b.s.alphas_cumprod[b.t[2]] - 1;
    expect_near("mse", 0, off.mse, 1e-4, 1e-7);
    expect_near("xstart_mse", 0, off.xstart_mse, 1e-4 * ratio, 1e-4 * ratio * 1e-3);
    close_bench(&b);
}

static void test_golden_resampler(void **state)
{
    (void)state;
    golden_file g = golden_open("tests/golden/05_resampler/resampler.safetensors");
    const golden ts = golden_tensor(&g, "update_ts"), losses = golden_tensor(&g, "update_losses"), weights = golden_tensor(&g, "weights");
    const golden warm = golden_tensor(&g, "warmed_up"), indices = golden_tensor(&g, "sample_indices"), want = golden_tensor(&g, "sample_weights");
    const golden history = golden_tensor(&g, "final_loss_history"), counts = golden_tensor(&g, "final_loss_counts");
    const int T = 6;
    second_moment m;
    assert_int_equal(second_moment_new(T, &m), DDPM_OK);
    for (size_t round = 0; round < 20; round++) {
        int t[8];
        float loss[8];
        for (size_t k = 0; k < 8; k++) {
            t[k] = (int)golden_at(&ts, round * 8 + k);
            loss[k] = (float)golden_at(&losses, round * 8 + k);
        }
        second_moment_update(&m, 8, t, loss);
        assert_int_equal(second_moment_warm(&m), (int)golden_at(&warm, round));
        for (size_t i = 0; i < 6; i++) expect_near("weights", round, m.weights[i], golden_at(&weights, round * 6 + i), 1e-12);
        for (size_t k = 0; k < 4; k++) {
            const float w = second_moment_loss_weight(&m, (int)golden_at(&indices, round * 4 + k));
            expect_near("sample_weights", round, (double)w, golden_at(&want, round * 4 + k), 1e-6);
        }
    }
    for (size_t k = 0; k < history.len; k++) expect_near("history", k, m.history[k], golden_at(&history, k), 1e-12);
    for (size_t k = 0; k < counts.len; k++) assert_int_equal(m.count[k], (int)golden_at(&counts, k));
    second_moment_free(&m);
    golden_close(&g);
}

/* Frequencies of draws against their probabilities, within five standard deviations. */
static void test_draws(void **state)
{
    (void)state;
    enum { T = 4, DRAWS = 40000 };
    second_moment m;
    int uniform[T] = { 0 }, drawn[T] = { 0 };
    assert_int_equal(second_moment_new(T, &m), DDPM_OK);
    for (int k = 0; k < SECOND_MOMENT_HISTORY; k++) {
        const int t[T] = { 0, 1, 2, 3 };
        const float loss[T] = { 1, 2, 3, 4 };
        second_moment_update(&m, T, t, loss);
    }
    for (uint64_t k = 0; k < DRAWS; k++) {
        uniform[timestep_uniform(11, 3, k, T)]++;
        drawn[second_moment_draw(&m, 11, 3, k)]++;
    }
    for (int t = 0; t < T; t++) {
        const double p = (t + 1) / 10.0 * 0.999 + 0.001 / T;
        expect_near("uniform", (size_t)t, uniform[t], DRAWS / 4.0, 5 * sqrt(DRAWS * 0.25 * 0.75));
        expect_near("importance", (size_t)t, drawn[t], DRAWS * p, 5 * sqrt(DRAWS * p * (1 - p)));
    }
    second_moment_free(&m);
}

static void test_antithetic(void **state)
{
    (void)state;
    for (uint64_t batch = 1; batch <= 9; batch++) {
        const uint64_t drawn = batch / 2 + 1;
        for (uint64_t k = 0; k < batch; k++) {
            const int t = timestep_antithetic(5, 17, k, batch, 1000);
            if (k < drawn) assert_int_equal(t, timestep_uniform(5, 17, k, 1000));
            else assert_int_equal(t + timestep_antithetic(5, 17, k - drawn, batch, 1000), 999);
        }
    }
}

/* Whatever is predicted, the weighted error is min(SNR, gamma) times that of x_0. */
static void test_min_snr(void **state)
{
    (void)state;
    const schedule_config c = schedule_config_of(PROFILE_OPENAI, SCHEDULE_LINEAR, 1000);
    const mean_type means[] = { MEAN_EPSILON, MEAN_START_X, MEAN_V };
    const float out = 0.3f, off = 0.55f, xt = -0.2f;
    schedule s;
    assert_int_equal(schedule_new(&c, &s), DDPM_OK);
    for (int m = 0; m < 3; m++)
        for (int i = 0; i < 1000; i += 37) {
            const process p = { .s = &s, .mean = means[m] };
            const double snr = s.alphas_cumprod[i] / (1 - s.alphas_cumprod[i]);
            float right, wrong;
            p_xstart(&p, i, (image_dims){ 1, 1 }, &xt, &out, &right);
            p_xstart(&p, i, (image_dims){ 1, 1 }, &xt, &off, &wrong);
            const double x0_error = pow((double)wrong - (double)right, 2), error = pow((double)off - (double)out, 2);
            expect_near("min-SNR", (size_t)i, min_snr_weight(&p, i, 5) * error, fmin(snr, 5) * x0_error, 1e-3 * fmin(snr, 5) * x0_error);
        }
    process p = { .s = &s };
    assert_int_equal(min_snr_check(&p, 5), DDPM_OK);
    assert_int_equal(min_snr_check(&p, 0), DDPM_EINVAL);
    assert_int_equal(min_snr_check(&p, NAN), DDPM_EINVAL);
    p.mean = MEAN_PREVIOUS_X;
    assert_int_equal(min_snr_check(&p, 5), DDPM_EINVAL);
    schedule_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_losses), cmocka_unit_test(test_golden_bound), cmocka_unit_test(test_golden_likelihood),
        cmocka_unit_test(test_likelihood_numbers), cmocka_unit_test(test_finite_differences), cmocka_unit_test(test_sum_is_scaled_mean),
        cmocka_unit_test(test_bpd_step), cmocka_unit_test(test_golden_resampler), cmocka_unit_test(test_draws),
        cmocka_unit_test(test_antithetic), cmocka_unit_test(test_min_snr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
