/* The gradient tree against the tree written down: the same bits whoever finishes when, in few slabs. */
#include "train/leaves.h"

#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { LEN = 3000, MAX_LEAVES = 21 };

static void check(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

/* Magnitudes differ so much that every other order of the sums gives other bits. */
static void fill(uint64_t trial, int leaf, float *x)
{
    rng_normals((rng_address){ 5, RNG_NOISE, trial, (uint64_t)leaf }, 0, LEN, x);
    for (int i = 0; i < LEN; i++) x[i] = ldexpf(x[i], (i * 7 + leaf * 5) % 30);
}

static void tree(uint64_t trial, int count, float *sum)
{
    static float leaf[MAX_LEAVES][LEN];
    for (int k = 0; k < count; k++) fill(trial, k, leaf[k]);
    for (int stride = 1; stride < count; stride *= 2)
        for (int k = 0; k + stride < count; k += 2 * stride)
            for (int i = 0; i < LEN; i++) leaf[k][i] += leaf[k + stride][i];
    memcpy(sum, leaf[0], sizeof leaf[0]);
}

typedef struct { leaves *l; uint64_t trial; } job;

static void wait_ms(int ms) { nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000L }, NULL); }

/* Some leaves take far longer than others, so that the order of finishing is anything. Some threads are late: without an
 * order among the leaves, those of four threads that are not would leave no slab for leaves 1, 5 and 9 of 16, and none to add. */
static void run_leaf(void *ctx, int leaf, int worker)
{
    (void)worker;
    const job *j = ctx;
    if (leaf % 4 == 1 && leaf < 12) wait_ms(3);
    float *slab = leaves_take(j->l, leaf);
    for (int i = 0; i < LEN; i++) slab[i] = NAN;
    if (rng_below((rng_address){ 6, RNG_NOISE, j->trial, (uint64_t)leaf }, 0, 6) == 0) wait_ms(1);
    fill(j->trial, leaf, slab);
    leaves_finish(j->l, leaf);
}

static void sums_are_those_of_the_tree(void **state)
{
    (void)state;
    static float want[LEN];
    for (int threads = 1; threads <= 4; threads++) {
        pool *p;
        check(pool_new(threads, &p));
        for (int count = 1; count <= MAX_LEAVES; count++) {
            job j = { .l = NULL };
            check(leaves_new(count, threads, LEN, &j.l));
            for (j.trial = 0; j.trial < 2; j.trial++) {
                leaves_restart(j.l);
                pool_run(p, count, run_leaf, &j);
                tree(j.trial, count, want);
                const float *sum = leaves_sum(j.l, p);
                assert_memory_equal(sum, want, sizeof want);
                assert_ptr_equal(leaves_sum(j.l, p), sum);
            }
            leaves_free(j.l);
        }
        pool_free(p);
    }
}

/* No more than the depth of the tree and one, where one thread does the leaves in turn. */
static void few_slabs_do(void **state)
{
    (void)state;
    static const struct { int count, threads, slabs; } rows[] = {
        { 1, 1, 1 }, { 1, 8, 1 }, { 2, 1, 2 }, { 4, 1, 3 }, { 4, 2, 3 }, { 4, 4, 4 }, { 5, 2, 4 }, { 8, 2, 4 }, { 16, 1, 5 }, { 16, 4, 7 }, { 64, 2, 7 },
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) assert_int_equal(leaves_slabs(rows[k].count, rows[k].threads), rows[k].slabs);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(sums_are_those_of_the_tree), cmocka_unit_test(few_slabs_do) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
