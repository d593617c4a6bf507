/* How far metrics of features may be off: what they say of it against how they spread where sets are drawn again and again. */
#include "metrics/kernel_distance.h"
#include "metrics/legacy_shuffle.h"
#include "metrics/manifold.h"

#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "metric_tools.h"

/* --- kernel distance ---------------------------------------------------------------------------- */

/* Of one dimension the kernel is a polynomial of products, so that sums over pairs come from sums of powers. */
static double powers(const double *x, const int64_t *order, size_t n, size_t from, size_t to, int power)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += i >= from && i < to ? 0 : pow(x[order[i]], power);
    return sum;
}

static double estimate_of_powers(const double sx[7], double n, const double sy[7], double m)
{
    const double choose[4] = { 1, 3, 3, 1 };
    double sum = 0;
    for (int p = 0; p <= 3; p++)
        sum += choose[p] * ((sx[p] * sx[p] - sx[2 * p]) / (n * (n - 1)) + (sy[p] * sy[p] - sy[2 * p]) / (m * (m - 1)) - 2 * sx[p] * sy[p] / (n * m));
    return sum;
}

/* Without each group of x: what the estimates' squared deviations add up to. */
static double plain_variance(const double *x, const int64_t *a, size_t n, const double *y, const int64_t *b, size_t m)
{
    double sx[7], sy[7], value[20], mean = 0, squares = 0;
    for (int p = 0; p < 7; p++) sy[p] = powers(y, b, m, 0, 0, p);
    for (size_t g = 0; g < 20; g++) {
        for (int p = 0; p < 7; p++) sx[p] = powers(x, a, n, n * g / 20, n * (g + 1) / 20, p);
        value[g] = estimate_of_powers(sx, sx[0], sy, sy[0]);
        mean += value[g] / 20;
    }
    for (size_t g = 0; g < 20; g++) squares += (value[g] - mean) * (value[g] - mean);
    return squares * 19 / 20;
}

static ddpm_status refuse(void *ctx, int64_t done, int64_t all)
{
    (void)ctx;
    (void)done;
    (void)all;
    return ddpm_fail(DDPM_ESTOPPED, "enough");
}

static void test_kernel_variance(void **state)
{
    (void)state;
    enum { N = 4100, M = 67 };
    static double x[N], y[M];
    static int64_t a[N], b[M];
    double got[2];
    normals(91, 0.3, x, N);
    normals(92, 0, y, M);
    legacy_random r;
    legacy_seed(&r, 6);
    legacy_permutation(&r, N, a);
    legacy_permutation(&r, M, b);
    const metric_rows of_x = { x, N, 1, true }, of_y = { y, M, 1, true };
    for (int threads = 0; threads < 2; threads++) {
        pool *p = NULL;
        if (threads) check(pool_new(3, &p));
        check(kernel_variance(&of_x, &of_y, 6, &(metric_work){ .threads = p }, &got[threads]));
        pool_free(p);
    }
    const double want = plain_variance(x, a, 3840, y, b, M) * 3840 / N + plain_variance(y, b, M, x, a, 3840);
    near_to(got[0], want, 1e-9 * want);
    assert_memory_equal(&got[0], &got[1], sizeof got[0]);
    check(kernel_variance(&of_x, &(metric_rows){ y, 19, 1, true }, 6, &ALONE, got));
    assert_true(isnan(got[0]));
    assert_int_equal(kernel_variance(&of_x, &of_y, 6, &(metric_work){ .stop = refuse }, got), DDPM_ESTOPPED);
}

/* Sets drawn again and again: their distances spread as the errors say, and 95 of 100 intervals hold the mean. */
static void expect_kernel_errors(size_t n, size_t m, double shift, double least, double most)
{
    enum { SETS = 100, MOST = 150, D = 2, SUBSETS = 20 };
    static double x[MOST * D], y[MOST * D], value[SUBSETS], mean[SETS];
    static kernel_result r[SETS];
    double variance, error = 0;
    int inside = 0;
    const kernel_options o = { .subset_size = 40, .subsets = SUBSETS, .seed = 3 };
    for (uint64_t s = 0; s < SETS; s++) {
        normals(100 + 2 * s, 0, x, n * D);
        normals(101 + 2 * s, shift, y, m * D);
        const metric_rows of_x = { x, n, D, true }, of_y = { y, m, D, true };
        check(kernel_distances(&of_x, &of_y, &o, &ALONE, value));
        check(kernel_variance(&of_x, &of_y, 3, &ALONE, &variance));
        kernel_summarise(value, &o, variance, &r[s]);
        mean[s] = r[s].mean;
        error += r[s].standard_error / SETS;
    }
    const double truth = interval_mean(mean, SETS), spread = interval_deviation(mean, SETS, SETS - 1);
    for (int s = 0; s < SETS; s++) inside += r[s].interval.low <= truth && truth <= r[s].interval.high;
    if (error < least * spread || error > most * spread) fail_msg("errors of %g, spread %g", error, spread);
    if (inside < SETS * 88 / 100) fail_msg("%d of %d intervals hold the mean", inside, SETS);
}

static void test_kernel_interval(void **state)
{
    (void)state;
    expect_kernel_errors(120, 120, 0.6, 0.8, 1.3);
    expect_kernel_errors(50, 150, 0.6, 0.8, 1.3);
    expect_kernel_errors(60, 150, 0, 1, 2);                 /* alike: too wide, as the header says */
}

/* --- precision and recall ----------------------------------------------------------------------- */

/* Sets drawn again and again: what is measured spreads as the intervals say. */
static void test_manifold_spread(void **state)
{
    (void)state;
    enum { SETS = 60, N = 100, M = 400, D = 8 };
    static double x[N * D], y[M * D], value[4][SETS], error[4][SETS];
    for (uint64_t s = 0; s < SETS; s++) {
        manifold_result r;
        normals(1000 + 2 * s, 0.3, x, N * D);
        normals(1001 + 2 * s, 0, y, M * D);
        check(manifold_measure(&(metric_rows){ x, N, D, true }, &(metric_rows){ y, M, D, true }, NULL, 3, 5, &ALONE, &r));
        const double values[4] = { r.precision, r.recall, r.density, r.coverage };
        const metric_interval intervals[4] = { r.precision_interval, r.recall_interval, r.density_interval, r.coverage_interval };
        for (int i = 0; i < 4; i++) {
            value[i][s] = values[i];
            error[i][s] = (intervals[i].high - intervals[i].low) / (2 * 1.959963984540054);
        }
    }
    for (int i = 0; i < 4; i++) {
        const double spread = interval_deviation(value[i], SETS, SETS - 1), mean = interval_mean(error[i], SETS);
        if (mean < 0.7 * spread || mean > 1.3 * spread) fail_msg("value %d: errors of %g, spread %g", i, mean, spread);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_variance), cmocka_unit_test(test_kernel_interval), cmocka_unit_test(test_manifold_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
