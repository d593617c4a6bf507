#include <setjmp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/pool.h"

enum { TASKS = 1000 };

typedef struct { atomic_int runs[TASKS]; atomic_int busy[8]; int threads; atomic_bool wrong; } record;

static void count(void *ctx, int task, int worker)
{
    record *r = ctx;
    if (task < 0 || task >= TASKS || worker < 0 || worker >= r->threads) {
        atomic_store(&r->wrong, true);
        return;
    }
    /* Two tasks at once under one worker number would share scratch memory. */
    if (atomic_fetch_add(&r->busy[worker], 1) != 0) atomic_store(&r->wrong, true);
    atomic_fetch_add(&r->runs[task], 1);
    atomic_fetch_sub(&r->busy[worker], 1);
}

static void test_every_task_runs_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 8; threads++) {
        pool *p;
        assert_int_equal(pool_new(threads, &p), DDPM_OK);
        assert_int_equal(pool_threads(p), threads);
        record *r = calloc(1, sizeof *r);
        assert_non_null(r);
        r->threads = threads;
        const int sizes[] = { 0, 1, 2, 3, 7, 100, TASKS };
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            memset(r->runs, 0, sizeof r->runs);
            pool_run(p, sizes[k], count, r);
            for (int i = 0; i < TASKS; i++) assert_int_equal(atomic_load(&r->runs[i]), i < sizes[k]);
        }
        assert_false(atomic_load(&r->wrong));
        free(r);
        pool_free(p);
    }
}

static void square(void *ctx, int task, int worker)
{
    (void)worker;
    ((long *)ctx)[task] = (long)task * task;
}

/* Plain writes of one job are read by the next and by the caller (thread sanitizer). */
static void add_previous(void *ctx, int task, int worker)
{
    (void)worker;
    long *v = ctx;
    v[TASKS + task] = v[task] + v[TASKS - 1 - task];
}

static void test_many_short_jobs(void **state)
{
    (void)state;
    pool *p;
    assert_int_equal(pool_new(4, &p), DDPM_OK);
    static const int tasks[] = { 2, 5, 64, TASKS };
    long *v = malloc(2 * TASKS * sizeof *v);
    assert_non_null(v);
    for (int round = 0; round < 2000; round++) {
        const int n = tasks[round % 4];
        memset(v, 0, 2 * TASKS * sizeof *v);
        pool_run(p, n, square, v);
        pool_run(p, TASKS, add_previous, v);
        for (long i = 0; i < TASKS; i++) {
            const long j = TASKS - 1 - i, a = i < n ? i * i : 0, b = j < n ? j * j : 0;
            assert_true(v[TASKS + i] == a + b);
        }
    }
    free(v);
    pool_free(p);
}

/* Workers fall asleep between jobs and within long ones, and wake up again. */
static void nap(void *ctx, int task, int worker)
{
    (void)worker;
    const struct timespec ms = { 0, 2000000 };
    nanosleep(&ms, NULL);
    atomic_fetch_add((atomic_int *)ctx, task);
}

static void test_sleeping_workers(void **state)
{
    (void)state;
    pool *p;
    assert_int_equal(pool_new(3, &p), DDPM_OK);
    for (int round = 0; round < 10; round++) {
        const struct timespec ms = { 0, 5000000 };
        nanosleep(&ms, NULL);
        atomic_int sum = 0;
        pool_run(p, 7, nap, &sum);
        assert_int_equal(atomic_load(&sum), 21);
    }
    pool_free(p);
}

/* Tasks that wait for each other only end early if every thread takes part, each
 * under a number of its own. */
typedef struct { atomic_int arrived, met, workers; } meeting;

static void meet(void *ctx, int task, int worker)
{
    (void)task;
    meeting *m = ctx;
    atomic_fetch_add(&m->arrived, 1);
    atomic_fetch_or(&m->workers, 1 << worker);
    const struct timespec t = { 0, 100000 };
    for (int i = 0; i < 20000 && atomic_load(&m->arrived) < 3; i++) nanosleep(&t, NULL);
    if (atomic_load(&m->arrived) == 3) atomic_fetch_add(&m->met, 1);
}

static void test_tasks_run_at_the_same_time(void **state)
{
    (void)state;
    pool *p;
    assert_int_equal(pool_new(3, &p), DDPM_OK);
    const struct timespec ms = { 0, 5000000 };
    nanosleep(&ms, NULL);                        /* let the workers go to sleep first */
    meeting m = { 0 };
    pool_run(p, 3, meet, &m);
    assert_int_equal(atomic_load(&m.met), 3);
    assert_int_equal(atomic_load(&m.workers), 7);
    pool_free(p);
}

static void test_arguments(void **state)
{
    (void)state;
    pool *p = NULL;
    assert_int_equal(pool_new(0, &p), DDPM_EINVAL);
    assert_int_equal(pool_new(-1, &p), DDPM_EINVAL);
    assert_int_equal(pool_new(POOL_MAX_THREADS + 1, &p), DDPM_EINVAL);
    assert_null(p);
    pool_free(NULL);
}

static void test_default_threads_follow_affinity(void **state)
{
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(pool_default_threads(), CPU_COUNT(&before));
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &before)) { CPU_SET(i, &one); break; }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(pool_default_threads(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_task_runs_once), cmocka_unit_test(test_many_short_jobs),
        cmocka_unit_test(test_sleeping_workers), cmocka_unit_test(test_tasks_run_at_the_same_time),
        cmocka_unit_test(test_arguments), cmocka_unit_test(test_default_threads_follow_affinity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
