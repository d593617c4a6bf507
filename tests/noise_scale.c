/* noise_scale: the estimates against sums by hand and, in expectation, against a Gaussian whose mean and covariance are known. */
#include "train/noise_scale.h"

#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { DIM = 5, BATCH = 10, MAX_PARTS = BATCH };

static const double MEAN[DIM] = { 0.5, -1, 0.25, 0, 2 };                /* |G|^2 = 5.3125 */
static const double SPREAD[DIM] = { 1, 2, 0.5, 3, 1.5 };               /* of uncorrelated parts */

/* Sample k: G + L z with L z = SPREAD * z plus z[0] in every component, so that Sigma has correlations. */
static void sample(uint64_t draw, uint64_t k, double g[DIM])
{
    float z[DIM];
    rng_normals((rng_address){ 5, RNG_NOISE, draw, k }, 0, DIM, z);
    for (int d = 0; d < DIM; d++) g[d] = MEAN[d] + SPREAD[d] * (double)z[d] + (d ? (double)z[0] : 0);
}

static const double TRACE = 1 + 4 + 0.25 + 9 + 2.25 + 4, NORM_SQ = 0.25 + 1 + 0.0625 + 4;

static double mean_length(uint64_t draw, int first, int end)
{
    double sum[DIM] = { 0 }, square = 0;
    for (int k = first; k < end; k++) {
        double g[DIM];
        sample(draw, (uint64_t)k, g);
        for (int d = 0; d < DIM; d++) sum[d] += g[d];
    }
    for (int d = 0; d < DIM; d++) square += sum[d] * sum[d] / ((end - first) * (end - first));
    return square;
}

static gradient_noise draw_estimate(uint64_t draw, int parts)
{
    noise_parts p = { 0 };
    gradient_noise e = { NAN, NAN };
    for (int l = 0; l < parts; l++) {
        const int first = l * BATCH / parts, end = (l + 1) * BATCH / parts;
        noise_add(&p, mean_length(draw, first, end), end - first);
    }
    assert_true(noise_estimate(&p, mean_length(draw, 0, BATCH), BATCH, &e));
    return e;
}

/* Six standard errors of the mean over the draws, measured from the draws: a right estimator fails once in 5e8. */
static void check_expectation(int parts)
{
    enum { DRAWS = 6000 };
    double sum[2] = { 0 }, square[2] = { 0 };
    static const double *want[2] = { &NORM_SQ, &TRACE };
    for (uint64_t k = 0; k < DRAWS; k++) {
        const gradient_noise e = draw_estimate(k, parts);
        const double v[2] = { e.norm_sq, e.trace };
        for (int c = 0; c < 2; c++) sum[c] += v[c], square[c] += v[c] * v[c];
    }
    for (int c = 0; c < 2; c++) {
        const double mean = sum[c] / DRAWS, error = sqrt((square[c] / DRAWS - mean * mean) / DRAWS);
        assert_true(error < 0.04 * *want[c]);
        assert_true(fabs(mean - *want[c]) < 6 * error);
    }
}

static void test_expectation(void **state)
{
    (void)state;
    check_expectation(2);
    check_expectation(10);
}

static void test_unequal_parts(void **state)
{
    (void)state;
    check_expectation(4);              /* 2, 3, 2, 3 samples */
    check_expectation(7);
}

/* Equal parts of b: the two formulas of the appendix, in numbers. */
static void test_by_hand(void **state)
{
    (void)state;
    noise_parts p = { 0 };
    gradient_noise e = { 7, 7 };
    noise_add(&p, 10, 2);
    assert_false(noise_estimate(&p, 3, 8, &e));
    assert_true(e.norm_sq == 7 && e.trace == 7);
    noise_add(&p, 6, 2);
    noise_add(&p, 9, 2);
    noise_add(&p, 7, 2);
    assert_true(noise_estimate(&p, 5, 8, &e));       /* small 8, big 5: (8*5 - 2*8) / 6 and 3 / (1/2 - 1/8) */
    assert_true(fabs(e.norm_sq - 4) < 1e-14 && fabs(e.trace - 8) < 1e-14);
    assert_false(noise_estimate(&p, NAN, 8, &e));
    assert_false(noise_estimate(&p, INFINITY, 8, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_expectation), cmocka_unit_test(test_unequal_parts), cmocka_unit_test(test_by_hand) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
