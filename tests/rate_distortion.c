/* The rate-distortion curve: a Gaussian, whose optimal model lies on Shannon's bound at every step, and the
 * authors' terms. */
#include "diffusion/rate_distortion.h"
#include "diffusion/schedule.h"
#include "golden_file.h"

#include <math.h>

static void near(const char *what, int i, double got, double want, double allowed)
{
    if (!(fabs(got - want) <= allowed)) fail_msg("%s[%d]: %.12g, not %.12g +- %.2g", what, i, got, want, allowed);
}

/* --- a Gaussian ------------------------------------------------------------------------ */

/* Data N(0, v) and the exact reverse process p(x_{t-1} | x_t), which is Gaussian too: its mean is q's with E[x_0 | x_t],
 * its variance beta-tilde plus that of x_0 given x_t. Then L_i = log2(p's variance / beta-tilde) / 2 on average. */
static void gaussian_terms(const schedule *s, double v, double *vb, double *mse, double *prior)
{
    const int T = s->T;
    for (int i = 0; i < T; i++) {
        const double bar = s->alphas_cumprod[i], before = i ? s->alphas_cumprod[i - 1] : 1, beta = 1 - bar / before;
        const double coefficient = sqrt(before) * beta / (1 - bar), tilde = beta * (1 - before) / (1 - bar);
        mse[i] = v * (1 - bar) / (v * bar + 1 - bar);
        vb[i] = i ? 0.5 * log2(1 + coefficient * coefficient * mse[i] / tilde) : 99;
    }
    *prior = 0.5 * log2((v * s->alphas_cumprod[T - 1] + 1 - s->alphas_cumprod[T - 1]) / (1 - s->alphas_cumprod[T - 1]));
}

/* No code can describe N(0, v) to a mean squared error D with less than log2(v / D) / 2 bits, and this one needs no more. */
static void on_shannons_bound(schedule_kind kind, int T, double v)
{
    schedule s;
    const schedule_config c = schedule_config_of(PROFILE_OPENAI, kind, T);
    if (schedule_new(&c, &s) != DDPM_OK) fail_msg("%s", ddpm_last_error());
    double prior, *vb = calloc((size_t)T, sizeof *vb), *mse = calloc((size_t)T, sizeof *mse);
    rate_point *point = calloc((size_t)T, sizeof *point);
    assert_true(vb && mse && point);
    gaussian_terms(&s, v, vb, mse, &prior);
    rate_distortion(T, prior, vb, mse, point);
    for (int i = 0; i < T; i++) {
        near("rate", i, point[i].rate, 0.5 * log2(v / mse[i]), 1e-9);
        near("mse", i, point[i].mse, mse[i], 0);
        near("rmse", i, point[i].rmse * point[i].rmse, 127.5 * 127.5 * mse[i], 1e-9);
    }
    free(vb);
    free(mse);
    free(point);
    schedule_free(&s);
}

static void test_gaussian(void **state)
{
    (void)state;
    on_shannons_bound(SCHEDULE_LINEAR, 1000, 0.25);
    on_shannons_bound(SCHEDULE_LINEAR, 30, 0.25);
    on_shannons_bound(SCHEDULE_COSINE, 100, 1);
    on_shannons_bound(SCHEDULE_QUAD, 50, 2);
}

/* --- the authors' terms ------------------------------------------------------------------- */

/* Their arrays descend in t. Row 0 holds the bound but for the decoder; a point of image n alone is a curve of its own. */
static void test_authors_terms(void **state)
{
    (void)state;
    enum { MAX_T = 16 };
    static const char *const names[] = { "a_fixedlarge", "a_fixedsmall", "b_range" };
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        char path[200];
        snprintf(path, sizeof path, "tests/golden/04_losses/bpd_%s.safetensors", names[k]);
        golden_file g = golden_open(path);
        const golden vb = golden_tensor(&g, "vb"), xs = golden_tensor(&g, "xstart_mse"), total = golden_tensor(&g, "total_bpd"), prior = golden_tensor(&g, "prior_bpd");
        const size_t N = vb.shape[0], T = vb.shape[1];
        assert_true(T <= MAX_T);
        for (size_t n = 0; n < N; n++) {
            double term[MAX_T], mse[MAX_T];
            rate_point point[MAX_T];
            for (size_t i = 0; i < T; i++) {
                term[i] = golden_at(&vb, n * T + T - 1 - i);
                mse[i] = golden_at(&xs, n * T + T - 1 - i);
            }
            rate_distortion((int)T, golden_at(&prior, n), term, mse, point);
            near("prior", (int)n, point[T - 1].rate, golden_at(&prior, n), 0);
            near("total", (int)n, point[0].rate + golden_at(&vb, n * T + T - 1), golden_at(&total, n), 1e-4 * golden_at(&total, n));
            for (size_t i = 1; i < T; i++) near("step", (int)i, point[i - 1].rate - point[i].rate, golden_at(&vb, n * T + T - 1 - i), 1e-12 + 1e-12 * point[0].rate);
        }
        golden_close(&g);
    }
}

static void test_rows(void **state)
{
    (void)state;
    assert_int_equal(rate_distortion_row(1000, 10, 10), 0);
    assert_int_equal(rate_distortion_row(1000, 9, 10), 100);
    assert_int_equal(rate_distortion_row(1000, 1, 10), 900);
    assert_int_equal(rate_distortion_row(7, 1, 10), 6);
    for (int T = 1; T < 40; T++) {
        int last = T;
        for (int step = 1; step <= 10; step++) {
            const int row = rate_distortion_row(T, step, 10);
            assert_true(row >= 0 && row < T && row <= last);
            last = row;
        }
        assert_int_equal(last, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gaussian),
        cmocka_unit_test(test_authors_terms),
        cmocka_unit_test(test_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
