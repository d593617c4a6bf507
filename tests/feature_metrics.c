/* Metrics of features: kernel distance, score of probabilities, precision, recall, density and coverage, against
 * plain loops, closed forms and numbers of numpy and scipy. */
#include "metrics/inception_score.h"
#include "metrics/interval.h"
#include "metrics/kernel_distance.h"
#include "metrics/legacy_shuffle.h"
#include "metrics/manifold.h"

#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metric_tools.h"

/* --- rows -------------------------------------------------------------------------------------- */

static void test_rows(void **state)
{
    (void)state;
    double wide[6] = { 1, 2, 3, 4, 5, 6 }, out[3];
    const float narrow[6] = { 1.5f, 2, 3, 4, INFINITY, 6 };
    char odd[sizeof narrow + 1];
    memcpy(odd + 1, narrow, sizeof narrow);
    const metric_rows a = { wide, 2, 3, true }, b = { odd + 1, 2, 3, false };
    size_t row = 9, column = 9;
    metric_rows_read(&a, 1, out);
    near_to(out[2], 6, 0);
    metric_rows_read(&b, 0, out);
    near_to(out[0], 1.5, 0);
    assert_true(metric_rows_finite(&a, &row, &column));
    assert_false(metric_rows_finite(&b, &row, &column));
    assert_int_equal(row, 1);
    assert_int_equal(column, 1);
    wide[2] = NAN;
    assert_false(metric_rows_finite(&a, &row, &column));
    assert_int_equal(row, 0);
    assert_int_equal(column, 2);
}

/* --- numpy's draws ------------------------------------------------------------------------------ */

static void expect_order(const int64_t *got, const int64_t *want, size_t n)
{
    for (size_t i = 0; i < n; i++) assert_int_equal(got[i], want[i]);
}

/* numpy 2.4: RandomState(2020), then permutation(12), choice(7, 3, replace=False), permutation of 5000, of 1 and of 300. */
static void test_numpy_draws(void **state)
{
    (void)state;
    static int64_t order[5000];
    legacy_random r;
    legacy_seed(&r, 2020);
    legacy_permutation(&r, 12, order);
    expect_order(order, (const int64_t[12]){ 2, 1, 11, 4, 10, 5, 7, 9, 6, 3, 8, 0 }, 12);
    legacy_permutation(&r, 7, order);
    expect_order(order, (const int64_t[3]){ 4, 3, 1 }, 3);
    legacy_permutation(&r, 5000, order);
    expect_order(order, (const int64_t[6]){ 3631, 1375, 27, 2409, 4204, 4885 }, 6);
    legacy_permutation(&r, 1, order);
    assert_int_equal(order[0], 0);
    legacy_permutation(&r, 300, order);
    expect_order(order + 296, (const int64_t[4]){ 291, 192, 229, 93 }, 4);
    legacy_seed(&r, 4294967295U);
    legacy_permutation(&r, 9, order);
    expect_order(order, (const int64_t[9]){ 5, 1, 8, 7, 0, 6, 4, 2, 3 }, 9);
}

/* --- kernel distance ---------------------------------------------------------------------------- */

static double kernel(const double *x, const double *y, size_t dims)
{
    double dot = 0;
    for (size_t i = 0; i < dims; i++) dot += x[i] * y[i];
    return pow(dot / (double)dims + 1, 3);
}

static double plain_distance(const double *x, const int64_t *a, const double *y, const int64_t *b, size_t m, size_t dims)
{
    double xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < m; i++)
        for (size_t k = 0; k < m; k++) {
            const double *xi = x + (size_t)a[i] * dims, *yi = y + (size_t)b[i] * dims, *yk = y + (size_t)b[k] * dims;
            if (i != k) xx += kernel(xi, x + (size_t)a[k] * dims, dims);
            if (i != k) yy += kernel(yi, yk, dims);
            xy += kernel(xi, yk, dims);
        }
    return (xx + yy) / (double)(m * (m - 1)) - 2 * xy / (double)(m * m);
}

static void test_kernel_distance(void **state)
{
    (void)state;
    enum { N = 150, M = 141, D = 7, SUBSETS = 3 };
    static double x[N * D], y[M * D], got[2][SUBSETS];
    static int64_t a[N], b[M];
    normals(1, 0, x, N * D);
    normals(2, 0.5, y, M * D);
    const metric_rows of_x = { x, N, D, true }, of_y = { y, M, D, true };
    const size_t sizes[] = { 2, 64, 130, M };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const kernel_options o = { .subset_size = sizes[s], .subsets = SUBSETS, .seed = 11 };
        for (int threads = 1; threads <= 2; threads++) {
            pool *p = NULL;
            check(pool_new(threads * 2 - 1, &p));
            check(kernel_distances(&of_x, &of_y, &o, &(metric_work){ .threads = threads == 1 ? NULL : p }, got[threads - 1]));
            pool_free(p);
        }
        assert_memory_equal(got[0], got[1], sizeof got[0]);
        legacy_random r;
        legacy_seed(&r, 11);
        for (int i = 0; i < SUBSETS; i++) {
            legacy_permutation(&r, N, a);
            legacy_permutation(&r, M, b);
            near_to(got[0][i], plain_distance(x, a, y, b, sizes[s], D), 1e-12);
        }
    }
}

/* Floats, more of them in a row than are unpacked at once. */
static void test_kernel_of_floats(void **state)
{
    (void)state;
    enum { N = 5, D = 600 };
    static double x[N * D];
    static float narrow[N * D];
    const int64_t order[N] = { 0, 1, 2, 3, 4 };
    double got;
    normals(3, 0.2, x, N * D);
    for (size_t i = 0; i < N * D; i++) x[i] = (double)(narrow[i] = (float)x[i]);
    const metric_rows rows = { narrow, N, D, false };
    check(kernel_distances(&rows, &rows, &(kernel_options){ N, 1, 0 }, &ALONE, &got));
    near_to(got, plain_distance(x, order, x, order, N, D), 1e-10);
    assert_true(got < 0);                                   /* unbiased: of a set and itself it is below 0 */
}

static void test_kernel_summary(void **state)
{
    (void)state;
    const double value[4] = { 1, 2, 3, 6 };
    kernel_result r;
    kernel_summarise(value, &(kernel_options){ 25, 4, 0 }, 0.5, &r);
    near_to(r.mean, 3, 1e-15);
    near_to(r.deviation, sqrt(14.0 / 4), 1e-15);
    near_to(r.standard_error, sqrt(0.5 + 14.0 / 3 / 4), 1e-14);
    near_to(r.interval.high - r.interval.low, 2 * 1.959963984540054 * r.standard_error, 1e-14);
    kernel_summarise(value, &(kernel_options){ 25, 4, 0 }, NAN, &r);
    assert_true(isnan(r.standard_error) && isnan(r.interval.low));
    kernel_summarise(value, &(kernel_options){ 25, 1, 0 }, 0.5, &r);
    assert_true(isnan(r.standard_error));
    near_to(r.mean, 1, 0);
}

static ddpm_status stop_at_once(void *ctx, int64_t done, int64_t all)
{
    (void)ctx;
    return done * 2 >= all ? ddpm_fail(DDPM_ESTOPPED, "enough") : DDPM_OK;
}

static void test_stop(void **state)
{
    (void)state;
    enum { N = 200, D = 2 };
    static double x[N * D], value[4];
    manifold_result r;
    normals(5, 0, x, N * D);
    const metric_rows rows = { x, N, D, true };
    const metric_work w = { .stop = stop_at_once };
    assert_int_equal(kernel_distances(&rows, &rows, &(kernel_options){ 50, 4, 0 }, &w, value), DDPM_ESTOPPED);
    assert_int_equal(manifold_measure(&rows, &rows, NULL, 3, 5, &w, &r), DDPM_ESTOPPED);
}

/* --- score of probabilities -------------------------------------------------------------------- */

static double score_of(const double *p, size_t n, size_t classes, bool logits, const int64_t *order, size_t splits, size_t size)
{
    double score[16];
    const metric_rows rows = { p, n, classes, true };
    const inception_input in = { &rows, logits, order, splits, size };
    assert_true(inception_parts(&in) <= 16);
    check(inception_score(&in, score));
    return interval_mean(score, inception_parts(&in));
}

static void test_score_extremes(void **state)
{
    (void)state;
    double same[4 * 5], sure[10 * 5] = { 0 };
    for (size_t i = 0; i < 20; i++) same[i] = 0.2;
    for (size_t i = 0; i < 10; i++) sure[i * 5 + i % 5] = 1;
    near_to(score_of(same, 4, 5, false, NULL, 1, 0), 1, 1e-14);      /* nothing is said of a sample */
    near_to(score_of(sure, 10, 5, false, NULL, 1, 0), 5, 1e-13);     /* all is said, evenly */
    near_to(score_of(sure, 10, 5, false, NULL, 2, 0), 5, 1e-13);
    near_to(score_of(sure, 10, 5, false, NULL, 0, 4), (4 + 4 + 2) / 3.0, 1e-13);
    near_to(score_of(sure, 10, 5, false, NULL, 3, 0), (3 + 3 + 4) / 3.0, 1e-13);     /* rows 0-2, 3-5, 6-9 */
    near_to(score_of(sure, 10, 5, false, (const int64_t[10]){ 0, 5, 1, 6, 2, 7, 3, 8, 4, 9 }, 5, 0), 1, 1e-13);
}

static void test_score_of_logits(void **state)
{
    (void)state;
    enum { N = 30, C = 6 };
    double logit[N * C], p[N * C], far[2 * 2] = { 5000, 0, 0, 5000 };
    normals(6, 0, logit, N * C);
    for (size_t i = 0; i < N; i++) {
        double sum = 0;
        for (size_t c = 0; c < C; c++) sum += exp(logit[i * C + c]);
        for (size_t c = 0; c < C; c++) p[i * C + c] = exp(logit[i * C + c]) / sum;
        for (size_t c = 0; c < C; c++) logit[i * C + c] += (double)i * 10;           /* the softmax does not see it */
    }
    near_to(score_of(logit, N, C, true, NULL, 3, 0), score_of(p, N, C, false, NULL, 3, 0), 1e-11);
    near_to(score_of(far, 2, 2, true, NULL, 1, 0), 2, 1e-14);
    double score;
    const metric_rows rows = { logit, N, C, true };
    const metric_rows half = { (double[2]){ 0.25, 0.25 }, 1, 2, true };
    assert_int_equal(inception_score(&(inception_input){ .rows = &rows, .splits = 1 }, &score), DDPM_EINVAL);
    assert_int_equal(inception_score(&(inception_input){ .rows = &half, .splits = 1 }, &score), DDPM_EINVAL);
}

/* --- precision, recall, density, coverage -------------------------------------------------------- */

static double squared(const double *x, const double *y, size_t dims)
{
    double sum = 0;
    for (size_t i = 0; i < dims; i++) sum += (x[i] - y[i]) * (x[i] - y[i]);
    return sum;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double plain_radius(const double *x, size_t n, size_t dims, size_t of, int k)
{
    double all[512];
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (i != of) all[count++] = squared(x + i * dims, x + of * dims, dims);
    qsort(all, count, sizeof *all, ascending);
    return all[k - 1];
}

static void plain_manifold(const double *x, size_t n, const double *y, size_t m, size_t dims, int k, int density_k, double out[4])
{
    double balls = 0, inside = 0, back = 0, covered = 0;
    for (size_t i = 0; i < n; i++) {
        bool in = false;
        for (size_t j = 0; j < m; j++) {
            const double d = squared(x + i * dims, y + j * dims, dims);
            in |= d <= plain_radius(y, m, dims, j, k);
            balls += d <= plain_radius(y, m, dims, j, density_k);
        }
        inside += in;
    }
    for (size_t j = 0; j < m; j++) {
        bool in = false, cover = false;
        for (size_t i = 0; i < n; i++) {
            const double d = squared(x + i * dims, y + j * dims, dims);
            in |= d <= plain_radius(x, n, dims, i, k);
            cover |= d <= plain_radius(y, m, dims, j, density_k);
        }
        back += in;
        covered += cover;
    }
    const double want[4] = { inside / (double)n, back / (double)m, balls / (double)n / density_k, covered / (double)m };
    memcpy(out, want, sizeof want);
}

static void expect_manifold(const double *x, size_t n, const double *y, size_t m, size_t dims)
{
    double want[4];
    manifold_result r[2];
    plain_manifold(x, n, y, m, dims, 3, 5, want);
    for (int threads = 0; threads < 2; threads++) {
        pool *p = NULL;
        if (threads) check(pool_new(3, &p));
        check(manifold_measure(&(metric_rows){ x, n, dims, true }, &(metric_rows){ y, m, dims, true }, NULL, 3, 5, &(metric_work){ .threads = p }, &r[threads]));
        pool_free(p);
    }
    assert_memory_equal(&r[0], &r[1], sizeof r[0]);
    near_to(r[0].precision, want[0], 1e-15);
    near_to(r[0].recall, want[1], 1e-15);
    near_to(r[0].density, want[2], 1e-13);
    near_to(r[0].coverage, want[3], 1e-15);
}

static void test_manifold(void **state)
{
    (void)state;
    enum { N = 100, M = 65, D = 3 };
    static double x[N * D], y[M * D];
    normals(7, 0.7, x, N * D);
    normals(8, 0, y, M * D);
    expect_manifold(x, N, y, M, D);
    expect_manifold(y, M, x, N, D);
    for (size_t i = 0; i < N * D; i++) x[i] = round(x[i]);       /* many equal points and equal distances */
    for (size_t i = 0; i < M * D; i++) y[i] = round(y[i]);
    expect_manifold(x, N, y, M, D);
}

/* Shares and density without group g of x (of g 20: with all), of y; radii rx, ry, dy are squared, from the whole sets. */
typedef struct { size_t n, m, dims; const double *x, *y, *rx, *ry, *dy; } balls;

static void without_groups(const balls *b, size_t gx, size_t gy, double out[4])
{
    double inside = 0, back = 0, held = 0, covered = 0, left = 0;
    for (size_t i = 0; i < b->n; i++) {
        bool in = false;
        for (size_t j = 0; j < b->m; j++) {
            const double d = squared(b->x + i * b->dims, b->y + j * b->dims, b->dims);
            in |= j % 20 != gy && d <= b->ry[j];
            held += j % 20 != gy && d <= b->dy[j];
        }
        inside += in;
    }
    for (size_t j = 0; j < b->m; j++) {
        bool in = false, cover = false;
        for (size_t i = 0; i < b->n; i++) {
            const double d = squared(b->x + i * b->dims, b->y + j * b->dims, b->dims);
            in |= i % 20 != gx && d <= b->rx[i];
            cover |= i % 20 != gx && d <= b->dy[j];
        }
        back += in;
        covered += cover;
        left += j % 20 != gy;
    }
    const double want[4] = { inside / (double)b->n, back / (double)b->m, held / 5 / (double)b->n * (double)b->m / left, covered / (double)b->m };
    memcpy(out, want, sizeof want);
}

/* What the groups add to the variance of out[which]; n points are tested, 0: no share. */
static double plain_spread(const balls *b, int which, bool of_x, size_t n)
{
    const size_t owners = of_x ? b->n : b->m, groups = owners < 20 ? owners : 20;
    const double kept = (double)(groups - 1) / (double)groups;
    double all[4], value[20], lost = 0, mean = 0, squares = 0, out[4];
    without_groups(b, 20, 20, all);
    for (size_t g = 0; g < groups; g++) {
        without_groups(b, of_x ? g : 20, of_x ? 20 : g, out);
        value[g] = out[which];
        mean += value[g] / (double)groups;
        lost += all[which] - value[g];
    }
    for (size_t g = 0; g < groups; g++) squares += (value[g] - mean) * (value[g] - mean);
    const double variance = squares * kept - (n ? kept * kept * lost / (double)n : 0);
    return variance > 0 ? variance : 0;
}

static void same_interval(metric_interval got, metric_interval want)
{
    near_to(got.low, want.low, 1e-12);
    near_to(got.high, want.high, 1e-12);
}

static void expect_groups(size_t n, size_t m)
{
    enum { MOST = 90, D = 3 };
    static double x[MOST * D], y[MOST * D], rx[MOST], ry[MOST], dy[MOST];
    const metric_rows of_x = { x, n, D, true }, of_y = { y, m, D, true };
    const balls b = { n, m, D, x, y, rx, ry, dy };
    manifold_result r;
    double each[MOST];
    normals(17, 0.7, x, n * D);
    normals(18, 0, y, m * D);
    for (size_t i = 0; i < n; i++) rx[i] = plain_radius(x, n, D, i, 3);
    for (size_t j = 0; j < m; j++) ry[j] = plain_radius(y, m, D, j, 3);
    for (size_t j = 0; j < m; j++) dy[j] = plain_radius(y, m, D, j, 5);
    check(manifold_measure(&of_x, &of_y, NULL, 3, 5, &ALONE, &r));
    same_interval(r.precision_interval, interval_share_spread(r.precision, n, plain_spread(&b, 0, false, n)));
    same_interval(r.recall_interval, interval_share_spread(r.recall, m, plain_spread(&b, 1, true, m)));
    same_interval(r.coverage_interval, interval_share_spread(r.coverage, m, plain_spread(&b, 3, true, m)));
    for (size_t i = 0; i < n; i++) {
        each[i] = 0;
        for (size_t j = 0; j < m; j++) each[i] += squared(x + i * D, y + j * D, D) <= dy[j] ? 0.2 : 0;
    }
    const double error = interval_deviation(each, n, n - 1);
    metric_interval density = interval_normal(r.density, sqrt(error * error / (double)n + plain_spread(&b, 2, false, 0)));
    if (density.low < 0) density.low = 0;
    same_interval(r.density_interval, density);
    assert_true(m < 65 || plain_spread(&b, 0, false, n) + plain_spread(&b, 1, true, m) + plain_spread(&b, 3, true, m) > 0);
}

static void test_manifold_groups(void **state)
{
    (void)state;
    expect_groups(90, 65);
    expect_groups(12, 65);                 /* fewer points than groups */
    expect_groups(90, 12);
}

static void test_manifold_of_given_radii(void **state)
{
    (void)state;
    enum { N = 70, M = 130, D = 4 };
    static double x[N * D], y[M * D], nearest[M * 5];
    manifold_result found, given;
    normals(27, 0.2, x, N * D);
    normals(28, 0, y, M * D);
    const metric_rows of_x = { x, N, D, true }, of_y = { y, M, D, true };
    check(manifold_measure(&of_x, &of_y, NULL, 3, 5, &ALONE, &found));
    check(manifold_radii(&of_y, 5, &ALONE, 0, 1, nearest));
    check(manifold_measure(&of_x, &of_y, nearest, 3, 5, &ALONE, &given));
    assert_memory_equal(&found, &given, sizeof found);
    memset(nearest, 0, sizeof nearest);
    check(manifold_measure(&of_x, &of_y, nearest, 3, 5, &ALONE, &given));
    near_to(given.precision + given.density + given.coverage, 0, 0);
    near_to(given.recall, found.recall, 0);
}

/* On a line with unit distances the radii are known. */
static void test_manifold_on_a_line(void **state)
{
    (void)state;
    enum { N = 70 };
    double x[N], near[N * 4];
    manifold_result r;
    for (size_t i = 0; i < N; i++) x[i] = 1000 + (double)i;
    check(manifold_radii(&(metric_rows){ x, N, 1, true }, 4, &ALONE, 0, 1, near));
    for (size_t i = 0; i < N; i++) near_to(near[i * 4 + 1], i == 0 || i == N - 1 ? 4 : 1, 0);
    near_to(near[3], 16, 0);
    near_to(near[35 * 4 + 3], 4, 0);
    check(manifold_measure(&(metric_rows){ x, N, 1, true }, &(metric_rows){ (double[8]){ 0, 1, 2, 3, 4, 5, 6, 7 }, 8, 1, true }, NULL, 3, 5, &ALONE, &r));
    near_to(r.precision + r.recall + r.density + r.coverage, 0, 0);        /* nowhere near */
    near_to(r.precision_interval.low, 0, 0);
    assert_true(r.precision_interval.high > 0);
    near_to(r.density_interval.high, 0, 0);
}

/* --- intervals ------------------------------------------------------------------------------------- */

/* scipy: binomtest(...).proportion_ci(method="wilson"), stats.t.ppf(0.975, n - 1). */
static void test_intervals(void **state)
{
    (void)state;
    const struct { double share, low, high; size_t n; } wilson[] = {
        { 0.8, 0.6696289406777458, 0.8875624998422389, 50 }, { 0.0, 0.0, 0.16112515805281935, 20 }, { 1.0, 0.8388748419471808, 1.0, 20 },
    };
    for (size_t i = 0; i < 3; i++) {
        const metric_interval got = interval_share(wilson[i].share, wilson[i].n);
        near_to(got.low, wilson[i].low, 1e-12);
        near_to(got.high, wilson[i].high, 1e-12);
    }
    const struct { size_t n; double quantile, allowed; } student[] = {
        { 4, 3.182446305284263, 0.02 }, { 10, 2.2621571627409915, 1e-3 }, { 30, 2.045229642132703, 1e-4 },
    };
    for (size_t i = 0; i < 3; i++) {
        const metric_interval got = interval_student(5, 2, student[i].n);
        near_to((got.high - 5) * sqrt((double)student[i].n) / 2, student[i].quantile, student[i].allowed * student[i].quantile);
        near_to(got.high - 5, 5 - got.low, 1e-14);
    }
    same_interval(interval_share_spread(0.8, 50, 0), interval_share(0.8, 50));
    same_interval(interval_share_spread(0.5, 96, 0.25 / 96), interval_share(0.5, 48));
    const double point = 52.0 / 54 * 2 / 54, all_of = point / (point / 50 + 0.01);
    near_to(interval_share_spread(1, 50, 0.01).low, all_of / (all_of + 1.959963984540054 * 1.959963984540054), 1e-14);
    near_to(interval_jackknife((double[3]){ 1, 2, 6 }, 3), 2.0 / 3 * 14, 1e-14);
    near_to(interval_normal(1, 0.5).low, 1 - 0.979981992270027, 1e-14);
    const double v[3] = { 1, 2, 6 };
    near_to(interval_mean(v, 3), 3, 0);
    near_to(interval_deviation(v, 3, 2), sqrt(7), 1e-15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),            cmocka_unit_test(test_numpy_draws),     cmocka_unit_test(test_kernel_distance),
        cmocka_unit_test(test_kernel_of_floats), cmocka_unit_test(test_kernel_summary),  cmocka_unit_test(test_manifold_groups),
        cmocka_unit_test(test_manifold_of_given_radii),
        cmocka_unit_test(test_stop),            cmocka_unit_test(test_score_extremes),  cmocka_unit_test(test_score_of_logits),
        cmocka_unit_test(test_manifold),        cmocka_unit_test(test_manifold_on_a_line), cmocka_unit_test(test_intervals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
