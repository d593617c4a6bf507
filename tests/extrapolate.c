/* The Frechet distance of infinitely many samples: the line against numbers of scipy, the extrapolation against
 * Gaussians whose distance is known. */
#include "metrics/extrapolate.h"
#include "metrics/moments.h"

#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const metric_work ALONE = { .threads = NULL };

static void check(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

static void near_to(double got, double want, double allowed)
{
    if (!(fabs(got - want) <= allowed)) fail_msg("%.17g, want %.17g within %g", got, want, allowed);
}

/* --- the line ------------------------------------------------------------------------------------- */

static void test_line(void **state)
{
    (void)state;
    const size_t size[5] = { 2, 4, 5, 10, 20 };
    extrapolate_result r;
    extrapolate_line(size, (const double[5]){ 7, 5.2, 4.1, 3.9, 3.1 }, 5, &r);
    near_to(r.value, 2.801626016260162, 1e-14);            /* scipy.stats.linregress over 1 / size, 1.18 */
    near_to(r.slope, 8.447154471544716, 1e-13);
    near_to(r.standard_error, 0.249794901217206, 1e-14);
    near_to(r.interval.high, 2.801626016260162 + 3.182446305 * 0.249794901217206, 0.02 * 0.795);
    near_to(r.interval.low + r.interval.high, 2 * r.value, 1e-14);
    extrapolate_line(size, (const double[5]){ 3 - 10 / 2.0, 3 - 10 / 4.0, 3 - 10 / 5.0, 2, 2.5 }, 5, &r);
    near_to(r.value, 3, 1e-14);
    near_to(r.slope, -10, 1e-13);
    near_to(r.standard_error, 0, 1e-14);
}

static void test_defaults(void **state)
{
    (void)state;
    const size_t rows[4] = { 50000, 10000, 9999, 32 }, smallest[4] = { 5000, 5000, 4999, 16 };
    for (int i = 0; i < 4; i++) {
        const extrapolate_options o = extrapolate_defaults(rows[i], 7);
        assert_int_equal(o.smallest, smallest[i]);
        assert_int_equal(o.sizes, 15);
        assert_int_equal(o.seed, 7);
    }
}

/* --- known distances --------------------------------------------------------------------------------- */

enum { DIMS = 16, ROWS = 600 };

/* Rows of shift + spread z; the reference is the standard normal distribution. */
static void draw(uint64_t set, double shift, double spread, double *x)
{
    for (size_t i = 0; i < ROWS; i++) {
        float z[DIMS];
        rng_normals((rng_address){ 80, RNG_NOISE, set, i }, 0, DIMS, z);
        for (size_t k = 0; k < DIMS; k++) x[i * DIMS + k] = shift + spread * (double)z[k];
    }
}

static frechet_target *standard_normal(void)
{
    double mean[DIMS] = { 0 }, covariance[DIMS * DIMS];
    frechet_target *t = NULL;
    for (size_t i = 0; i < DIMS * DIMS; i++) covariance[i] = i % (DIMS + 1) == 0;
    check(frechet_target_new(DIMS, mean, covariance, &t));
    return t;
}

static double plain_distance(const double *x, const frechet_target *t)
{
    moments *m = NULL;
    double mean[DIMS], covariance[DIMS * DIMS];
    frechet_result r;
    check(moments_new(DIMS, NULL, &m));
    moments_add(m, x, ROWS);
    check(moments_read(m, mean, covariance));
    check(frechet_distance(t, mean, covariance, &r));
    moments_free(m);
    return r.distance;
}

/* Over many sets the plain distances are too large by more than ten of their standard errors, the others are not. */
static void check_bias(double shift, double spread)
{
    enum { SETS = 60 };
    static double x[ROWS * DIMS];
    const double want = DIMS * (shift * shift + (spread - 1) * (spread - 1));
    const metric_rows rows = { x, ROWS, DIMS, true };
    double plain = 0, mean = 0, squares = 0, slope = 0;
    frechet_target *t = standard_normal();
    for (uint64_t set = 0; set < SETS; set++) {
        const extrapolate_options o = extrapolate_defaults(ROWS, set);
        extrapolate_result r;
        draw(set, shift, spread, x);
        check(extrapolate_frechet(&rows, t, &o, &ALONE, NULL, NULL, &r));
        plain += (plain_distance(x, t) - want) / SETS;
        mean += (r.value - want) / SETS;
        slope += r.slope / SETS;
        squares += (r.value - want) * (r.value - want);
    }
    frechet_target_free(t);
    const double error = sqrt(squares) / SETS;
    if (plain < 10 * error) fail_msg("a bias of %g with an error of %g shows nothing", plain, error);
    near_to(mean, 0, 3 * error);
    near_to(slope / ROWS, plain, 4 * error);
}

static void test_bias(void **state)
{
    (void)state;
    check_bias(0, 1);
    check_bias(0.02, 1.01);
}

/* --- subsets ------------------------------------------------------------------------------------------ */

typedef struct { int64_t done, all, asked, give_up; } watch;

static ddpm_status look(void *ctx, int64_t done, int64_t all)
{
    watch *w = ctx;
    assert_true(done >= w->done && done < all);
    w->done = done;
    w->all = all;
    return ++w->asked == w->give_up ? DDPM_ESTOPPED : DDPM_OK;
}

static void test_subsets(void **state)
{
    (void)state;
    static double x[ROWS * DIMS];
    const metric_rows rows = { x, ROWS, DIMS, true };
    const extrapolate_options o = { .smallest = 100, .sizes = 6, .seed = 3 }, other = { .smallest = 100, .sizes = 6, .seed = 4 }, later = { .smallest = 200, .sizes = 5, .seed = 3 };
    frechet_target *t = standard_normal();
    size_t size[6];
    double distance[4][6];
    extrapolate_result r[4], line;
    watch w = { 0 };
    pool *threads = NULL;
    check(pool_new(3, &threads));
    draw(1000, 0.1, 1.2, x);
    check(extrapolate_frechet(&rows, t, &o, &(metric_work){ NULL, look, &w }, size, distance[0], &r[0]));
    for (size_t i = 0; i < 6; i++) assert_int_equal(size[i], 100 + 100 * i);
    assert_int_equal(w.all, 2100);
    assert_true(w.asked >= 6 && w.done > 1500);
    near_to(distance[0][5], plain_distance(x, t), 1e-11);             /* no row twice */
    for (int i = 0; i < 5; i++) assert_true(fabs(distance[0][i] - distance[0][5]) > 1e-6);
    extrapolate_line(size, distance[0], 6, &line);
    assert_memory_equal(&line, &r[0], sizeof line);
    check(extrapolate_frechet(&rows, t, &o, &(metric_work){ .threads = threads }, NULL, distance[1], &r[1]));
    check(extrapolate_frechet(&rows, t, &other, &ALONE, NULL, distance[2], &r[2]));
    check(extrapolate_frechet(&rows, t, &later, &ALONE, NULL, distance[3], &r[3]));
    assert_memory_equal(distance[0], distance[1], sizeof distance[0]);
    for (int i = 0; i < 4; i++) assert_true(distance[3][i] != distance[0][i + 1]);         /* as many rows, but others */
    for (int i = 0; i < 5; i++) assert_true(distance[2][i] != distance[0][i]);
    pool_free(threads);
    frechet_target_free(t);
}

static void test_refusals(void **state)
{
    (void)state;
    static double x[ROWS * DIMS];
    draw(0, 0, 1, x);
    const metric_rows few = { x, 31, DIMS, true }, rows = { x, ROWS, DIMS, true };
    const extrapolate_options o = extrapolate_defaults(31, 0), all = extrapolate_defaults(ROWS, 0);
    extrapolate_result r;
    frechet_target *t = standard_normal();
    watch w = { .give_up = 9 };
    assert_int_equal(extrapolate_frechet(&few, t, &o, &ALONE, NULL, NULL, &r), DDPM_EINVAL);
    assert_int_equal(extrapolate_frechet(&rows, t, &all, &(metric_work){ NULL, look, &w }, NULL, NULL, &r), DDPM_ESTOPPED);
    assert_int_equal(w.asked, 9);
    frechet_target_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_line), cmocka_unit_test(test_defaults), cmocka_unit_test(test_bias),
                                        cmocka_unit_test(test_subsets), cmocka_unit_test(test_refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
