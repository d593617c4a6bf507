/* nearest_rows, outliers: against sums in long double over all pairs, and sets whose outliers are placed by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metrics/nearest_rows.h"
#include "metrics/outliers.h"

static const metric_work alone = { 0 };

/* Numbers in [-1,1) that repeat in every run. */
static double noise(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int32_t)(*state >> 32) / 2147483648.0;
}

static long double squared(const metric_rows *a, size_t i, const metric_rows *b, size_t k)
{
    long double sum = 0;
    double *x = malloc(2 * a->dims * sizeof *x), *y = x + a->dims;
    metric_rows_read(a, i, x);
    metric_rows_read(b, k, y);
    for (size_t d = 0; d < a->dims; d++) sum += ((long double)x[d] - y[d]) * ((long double)x[d] - y[d]);
    free(x);
    return sum;
}

/* --- nearest rows --------------------------------------------------------------------------- */

enum { QUERIES = 70, ROWS = 301, DIMS = 37, K = 5 };

static void check_nearest(const nearest_rows *s, const metric_rows *queries, const metric_rows *rows)
{
    for (size_t q = 0; q < QUERIES; q++) {
        int found;
        bool used[ROWS] = { false };
        const nearest_row *list = nearest_rows_of(s, q, &found);
        assert_int_equal(found, K);
        for (int k = 0; k < K; k++) {
            size_t best = ROWS;
            long double least = INFINITY;
            for (size_t r = 0; r < ROWS; r++) {
                const long double d = squared(queries, q, rows, r);
                if (!used[r] && d < least) least = d, best = r;
            }
            used[best] = true;
            assert_int_equal(list[k].index, best + 1000);
            assert_true(fabsl(list[k].squared - least) <= 1e-13L * least);
        }
    }
}

static void test_nearest(void **state)
{
    (void)state;
    static double a[QUERIES * DIMS], b[ROWS * DIMS];
    static float narrow[ROWS * DIMS];
    uint64_t seed = 1;
    for (size_t i = 0; i < QUERIES * DIMS; i++) a[i] = noise(&seed);
    for (size_t i = 0; i < ROWS * DIMS; i++) b[i] = narrow[i] = (float)noise(&seed);
    const metric_rows queries = { a, QUERIES, DIMS, true };
    for (int wide = 0; wide < 2; wide++) {
        const metric_rows rows = { wide ? (void *)b : (void *)narrow, ROWS, DIMS, wide };
        const size_t cut = 123, size = wide ? sizeof(double) : sizeof(float);
        const metric_rows first = { rows.data, cut, DIMS, wide }, second = { (const char *)rows.data + cut * DIMS * size, ROWS - cut, DIMS, wide };
        int64_t index[ROWS];
        for (int i = 0; i < ROWS; i++) index[i] = 1000 + i;
        nearest_rows *s;
        assert_int_equal(nearest_rows_new(&queries, K, &s), DDPM_OK);
        assert_int_equal(nearest_rows_add(s, &alone, &first, index, 0), DDPM_OK);
        assert_int_equal(nearest_rows_add(s, &alone, &second, NULL, 1000 + (int64_t)cut), DDPM_OK);
        check_nearest(s, &queries, &rows);
        nearest_rows_free(s);
    }
}

/* Of equally near rows the first, and fewer than k where there are fewer. */
static void test_ties(void **state)
{
    (void)state;
    const float q[] = { 0, 0 }, rows[] = { 3, 4, -5, 0, 0, 0, 0, 5 };
    const int64_t order[] = { 2, 0, 1, 3 };
    for (int most = 2; most <= 6; most += 2) {
        nearest_rows *s;
        int found;
        assert_int_equal(nearest_rows_new(&(metric_rows){ q, 1, 2, false }, most, &s), DDPM_OK);
        assert_int_equal(nearest_rows_add(s, &alone, &(metric_rows){ rows, 4, 2, false }, NULL, 0), DDPM_OK);
        const nearest_row *list = nearest_rows_of(s, 0, &found);
        assert_int_equal(found, most < 4 ? most : 4);
        for (int k = 0; k < found; k++) {
            assert_int_equal(list[k].index, order[k]);
            assert_true(list[k].squared == (k ? 25 : 0));
        }
        nearest_rows_free(s);
    }
}

/* --- outliers ------------------------------------------------------------------------------- */

enum { MANY = 200, FLAT = 3 };

/* Both sets fill one small box densely; three points of one of them lie far away, at known places. */
static void test_placed(void **state)
{
    (void)state;
    for (int side = 0; side < 2; side++) {
        static float number[2][MANY * FLAT];
        uint64_t seed = 2;
        for (size_t i = 0; i < MANY * FLAT; i++) number[0][i] = (float)noise(&seed), number[1][i] = (float)noise(&seed);
        for (int d = 0; d < FLAT; d++) number[side][17 * FLAT + d] = 40, number[side][90 * FLAT + d] = 90, number[side][5 * FLAT + d] = -60;
        const metric_rows set[2] = { { number[0], MANY, FLAT, false }, { number[1], MANY, FLAT, false } };
        outlier_list out[2];
        assert_int_equal(outliers_find(&set[0], &set[1], 3, 3, &alone, out), DDPM_OK);
        assert_int_equal(out[side].n, MANY);
        assert_true(out[side].outside >= 3 && out[side].outside < 60 && out[side].shown == 3);
        assert_true(out[1 - side].outside < 60);
        const size_t farthest[] = { 90, 5, 17 };
        for (int i = 0; i < 3; i++) {
            const outlier *o = &out[side].list[i];
            long double least = INFINITY;
            for (size_t r = 0; r < MANY; r++) least = fminl(least, squared(&set[side], farthest[i], &set[1 - side], r));
            assert_int_equal(o->row, farthest[i]);
            assert_true(fabsl(o->distance - sqrtl(least)) < 1e-12L * o->distance);
            assert_true(squared(&set[side], farthest[i], &set[1 - side], o->nearest) == least);
        }
        outliers_free(out);
    }
}

/* Four points of a line each; the balls, of the nearest other point, by hand. */
static void test_line(void **state)
{
    (void)state;
    const double samples[] = { 0, 1, 2, 10 }, reference[] = { 0.5, 1.5, 5, 6 };      /* radii 1 1 1 8, 1 1 1 1 */
    const metric_rows a = { samples, 4, 1, true }, b = { reference, 4, 1, true };
    outlier_list out[2];
    assert_int_equal(outliers_find(&a, &b, 1, 10, &alone, out), DDPM_OK);
    assert_int_equal(out[0].outside, 1);                                             /* 10 is 4 from 6 */
    assert_int_equal(out[0].list[0].row, 3);
    assert_int_equal(out[0].list[0].nearest, 3);
    assert_true(out[0].list[0].distance == 4);
    assert_int_equal(out[1].outside, 0);                                             /* 5 and 6 are in the ball about 10 */
    assert_null(out[1].list);
    outliers_free(out);
}

static void test_none(void **state)
{
    (void)state;
    const double set[] = { 0, 1, 3, 7 };
    const metric_rows a = { set, 4, 1, true };
    outlier_list out[2];
    assert_int_equal(outliers_find(&a, &a, 2, 10, &alone, out), DDPM_OK);
    assert_true(out[0].outside == 0 && out[1].outside == 0 && out[0].shown == 0 && out[0].n == 4);
    outliers_free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_nearest), cmocka_unit_test(test_ties), cmocka_unit_test(test_placed), cmocka_unit_test(test_line),
                                        cmocka_unit_test(test_none) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
