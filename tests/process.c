/* q and p against the authors' code (golden set 03), and identities between the
 * parameterisations that the golden set does not have (v). */
#include "golden_file.h"

#include "diffusion/process.h"
#include "diffusion/respace.h"

#include <math.h>

enum { N = 5, C = 3, Q = 16, LEN = C * Q };

typedef struct { golden_file g; schedule full, s; int t[N]; } bench;

static bench open_bench(bool spaced)
{
    bench b;
    b.g = golden_open(spaced ? "tests/golden/03_gaussian/gauss_spaced.safetensors" : "tests/golden/03_gaussian/gauss.safetensors");
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

static double largest(const golden *t)
{
    double m = 0;
    for (size_t i = 0; i < t->len; i++) m = fmax(m, fabs(golden_at(t, i)));
    return m;
}

/* floor: absolute tolerance; otherwise 1e-5 max(1, |value|). */
static void expect_image(const char *name, const golden *want, size_t n, const float *got, double floor)
{
    for (size_t q = 0; q < Q; q++)
        for (size_t c = 0; c < C; c++) {
            const double w = golden_pixel(want, n, q, c), g = (double)got[q * C + c];
            const double allowed = fmax(floor, 1e-5 * fmax(1, fabs(w)));
            if (!(fabs(g - w) <= allowed)) fail_msg("%s[%zu] pixel %zu.%zu: got %.9g, want %.9g", name, n, q, c, g, w);
        }
}

static void expect_scalar(const bench *b, const char *name, size_t n, float got)
{
    float flat[LEN];
    const golden want = golden_tensor(&b->g, "%s", name);
    for (size_t k = 0; k < LEN; k++) flat[k] = got;
    expect_image(name, &want, n, flat, 0);
}

static void image(const bench *b, const char *name, size_t n, float *x)
{
    const golden t = golden_tensor(&b->g, "%s", name);
    golden_to_nhwc(&t, n, t.shape[1], 0, x);
}

static void compare(const bench *b, const char *name, size_t n, const float *got)
{
    const golden want = golden_tensor(&b->g, "%s", name);
    expect_image(name, &want, n, got, 0);
}

/* What the fake model returns, cut to its mean channels. */
static void mean_part(const bench *b, size_t n, float *x)
{
    float both[2 * LEN];
    image(b, "model_output", n, both);
    for (size_t q = 0; q < Q; q++) memcpy(x + q * C, both + q * 2 * C, C * sizeof *x);
}

static void check_forward(const bench *b, size_t n)
{
    const schedule *s = &b->s;
    const int t = b->t[n];
    float x0[LEN], noise[LEN], xt[LEN], model[LEN], y[LEN], variance, log_variance;
    image(b, "x_start", n, x0);
    image(b, "noise", n, noise);
    image(b, "x_t", n, xt);
    mean_part(b, n, model);
    q_sample(s, t, LEN, x0, noise, y);
    compare(b, "q_sample", n, y);
    q_mean_variance(s, t, LEN, x0, y, &variance, &log_variance);
    compare(b, "q_mean_variance/mean", n, y);
    expect_scalar(b, "q_mean_variance/variance", n, variance);
    expect_scalar(b, "q_mean_variance/log_variance", n, log_variance);
    q_posterior(s, t, LEN, x0, xt, y, &variance, &log_variance);
    compare(b, "q_posterior/mean", n, y);
    expect_scalar(b, "q_posterior/variance", n, variance);
    expect_scalar(b, "q_posterior/log_variance_clipped", n, log_variance);
    predict_xstart_from_eps(s, t, LEN, xt, model, y);
    compare(b, "predict_xstart_from_eps", n, y);
    predict_xstart_from_xprev(s, t, LEN, xt, model, y);
    compare(b, "predict_xstart_from_xprev", n, y);
    predict_eps_from_xstart(s, t, LEN, xt, model, y);
    compare(b, "predict_eps_from_xstart", n, y);
}

static void test_forward(void **state)
{
    (void)state;
    for (int spaced = 0; spaced < 2; spaced++) {
        bench b = open_bench(spaced);
        for (size_t n = 0; n < N; n++) check_forward(&b, n);
        close_bench(&b);
    }
}

static void check_moments(const bench *b, const process *p, const char *prefix, size_t n)
{
    float both[2 * LEN], only[LEN], xt[LEN], mean[LEN], variance[LEN], log_variance[LEN], x0[LEN];
    const p_moments m = { mean, variance, log_variance, x0 };
    char name[4][96];
    static const char *const fields[] = { "mean", "variance", "log_variance", "pred_xstart" };
    for (int k = 0; k < 4; k++) snprintf(name[k], sizeof name[k], "%s/%s", prefix, fields[k]);
    image(b, "x_t", n, xt);
    image(b, "model_output", n, both);
    mean_part(b, n, only);
    p_mean_variance(p, b->t[n], (image_dims){ Q, C }, xt, process_learns_variance(p) ? both : only, &m);
    const golden want_mean = golden_tensor(&b->g, "%s", name[0]), want_x0 = golden_tensor(&b->g, "%s", name[3]);
    expect_image(name[0], &want_mean, n, mean, p->clip == CLIP_NONE ? 1e-4 : 0);
    expect_image(name[3], &want_x0, n, x0, p->clip == CLIP_NONE ? 1e-5 * largest(&want_x0) : 0);
    compare(b, name[1], n, variance);
    compare(b, name[2], n, log_variance);
}

static void test_moments(void **state)
{
    (void)state;
    const char *const means[] = { "EPSILON", "START_X", "PREVIOUS_X" };
    const char *const vars[] = { "FIXED_SMALL", "FIXED_LARGE", "LEARNED", "LEARNED_RANGE" };
    for (int spaced = 0; spaced < 2; spaced++) {
        bench b = open_bench(spaced);
        for (int m = 0; m < 3; m++)
            for (int v = 0; v < 4; v++)
                for (int clip = 0; clip < 2; clip++) {
                    char prefix[64];
                    process p = { .s = &b.s, .clip = clip ? CLIP_REDERIVE : CLIP_NONE };
                    snprintf(prefix, sizeof prefix, "p/%s/%s/clip%d", means[m], vars[v], clip);
                    assert_int_equal(mean_type_find(means[m], &p.mean), DDPM_OK);
                    assert_int_equal(var_type_find(vars[v], &p.var), DDPM_OK);
                    for (size_t n = 0; n < N; n++) check_moments(&b, &p, prefix, n);
                }
        close_bench(&b);
    }
}

/* The same x_0 and noise, told to the process in each of the four ways, must give
 * that x_0 and that noise back. */
static void test_parameterisations_agree(void **state)
{
    (void)state;
    bench b = open_bench(false);
    float x0[LEN], noise[LEN], xt[LEN], out[LEN], back[LEN], eps[LEN];
    const int i = 500;
    image(&b, "x_start", 2, x0);
    image(&b, "noise", 2, noise);
    q_sample(&b.s, i, LEN, x0, noise, xt);
    for (int m = 0; m < 4; m++) {
        const process p = { .s = &b.s, .mean = (mean_type)m };
        const image_dims d = { Q, C };
        if (m == MEAN_EPSILON) memcpy(out, noise, sizeof out);
        if (m == MEAN_START_X) memcpy(out, x0, sizeof out);
        if (m == MEAN_PREVIOUS_X) q_posterior(&b.s, i, LEN, x0, xt, out, NULL, NULL);
        if (m == MEAN_V) predict_v(&b.s, i, LEN, x0, noise, out);
        p_xstart(&p, i, d, xt, out, back);
        p_eps(&p, i, d, xt, out, eps);
        const double tolerance = m == MEAN_PREVIOUS_X ? 2e-3 : 1e-5;   /* its x_0 is divided by coef1 = 0.003 */
        for (int k = 0; k < LEN; k++) {
            assert_true(fabs((double)(back[k] - x0[k])) < tolerance);
            assert_true(fabs((double)(eps[k] - noise[k])) < tolerance);
        }
        if (m != MEAN_V) continue;
        predict_xstart_from_v(&b.s, i, LEN, xt, out, back);
        predict_eps_from_v(&b.s, i, LEN, xt, out, eps);
        for (int k = 0; k < LEN; k++)
            assert_true(fabs((double)(back[k] - x0[k])) < tolerance && fabs((double)(eps[k] - noise[k])) < tolerance);
    }
    close_bench(&b);
}

/* Learned variances lie behind the mean channels of each pixel. */
static void test_output_layout(void **state)
{
    (void)state;
    bench b = open_bench(false);
    const process p = { .s = &b.s, .mean = MEAN_START_X, .var = VAR_LEARNED };
    const float xt[6] = { 0 }, out[12] = { 1, 2, 3, -1, -2, -3, 4, 5, 6, -4, -5, -6 };
    float x0[6], log_variance[6];
    const p_moments m = { .log_variance = log_variance, .pred_xstart = x0 };
    p_mean_variance(&p, 7, (image_dims){ 2, 3 }, xt, out, &m);
    for (int k = 0; k < 6; k++) assert_true(x0[k] == (float)(k + 1) && log_variance[k] == (float)-(k + 1));
    assert_int_equal(process_out_channels(&p, 3), 6);
    close_bench(&b);
}

static void test_checks(void **state)
{
    (void)state;
    const schedule_config c = schedule_config_of(PROFILE_HO, SCHEDULE_JSD, 100);
    const int twice[] = { 3, 3, 50 };
    schedule full, s;
    assert_int_equal(schedule_new(&c, &full), DDPM_OK);
    process p = { .s = &full, .mean = MEAN_EPSILON };
    assert_int_equal(process_check(&p), DDPM_EINVAL);             /* alpha-bar 0 at t = 99 */
    p.mean = MEAN_V;
    assert_int_equal(process_check(&p), DDPM_OK);
    assert_int_equal(schedule_from_steps(&full, twice, NULL, 1, 3, &s), DDPM_OK);
    p = (process){ .s = &s };
    assert_int_equal(process_check(&p), DDPM_OK);
    p.var = VAR_LEARNED_RANGE;
    assert_int_equal(process_check(&p), DDPM_EINVAL);
    mean_type mean;
    var_type var;
    clip_mode clip;
    assert_int_equal(mean_type_find("eps", &mean), DDPM_EINVAL);
    assert_int_equal(var_type_find("big", &var), DDPM_EINVAL);
    assert_int_equal(clip_mode_find("yes", &clip), DDPM_EINVAL);
    assert_int_equal(mean_type_find("v_prediction", &mean), DDPM_OK);
    assert_int_equal(mean, MEAN_V);
    assert_string_equal(mean_type_name(mean), "v");
    schedule_free(&s);
    schedule_free(&full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward), cmocka_unit_test(test_moments), cmocka_unit_test(test_parameterisations_agree),
        cmocka_unit_test(test_output_layout), cmocka_unit_test(test_checks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
