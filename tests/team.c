#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/pool.h"
#include "base/team.h"

enum { STEPS = 400, MOST = TEAM_MAX_PARTS };

/* What was done, by step and part; plain, so that the thread sanitizer sees what a step may read. */
typedef struct { team *t; int steps, parts, runs[STEPS][MOST]; atomic_int wrong; bool slow; } work;

static void work_begin(work *w, int steps, int parts)
{
    w->steps = steps;
    w->parts = parts;
    memset(w->runs, 0, sizeof w->runs);
    team_begin(w->t, steps, parts);
}

/* All parts of the step before are done once, and this one is not. */
static void do_share(work *w, team_share s)
{
    if (s.step < 0 || s.step >= w->steps || s.part < 0 || s.part >= w->parts) {
        atomic_fetch_add(&w->wrong, 1);
        return;
    }
    for (int i = 0; s.step > 0 && i < w->parts; i++)
        if (w->runs[s.step - 1][i] != 1) atomic_fetch_add(&w->wrong, 1);
    const struct timespec nap = { 0, 200000 };
    if (w->slow && s.part == 0 && s.step % 20 == 0) nanosleep(&nap, NULL);
    if (w->runs[s.step][s.part]++ != 0) atomic_fetch_add(&w->wrong, 1);
}

static void help(void *ctx, int task, int worker)
{
    (void)task;
    work *w = ctx;
    for (team_share s = TEAM_NOTHING; team_next(w->t, worker, &s);) do_share(w, s);
}

static void check_all_done(work *w)
{
    assert_int_equal(atomic_load(&w->wrong), 0);
    for (int i = 0; i < w->steps; i++)
        for (int k = 0; k < w->parts; k++) assert_int_equal(w->runs[i][k], 1);
}

static work *work_new(void)
{
    work *w = calloc(1, sizeof *w);
    assert_non_null(w);
    assert_int_equal(team_new(&w->t), DDPM_OK);
    return w;
}

static void work_free(work *w)
{
    team_free(w->t);
    free(w);
}

static void steps_follow_each_other(void **state)
{
    (void)state;
    static const int parts[] = { 1, 2, 3, 5, MOST }, steps[] = { 0, 1, STEPS };
    work *w = work_new();
    for (int threads = 1; threads <= 5; threads++) {
        pool *p;
        assert_int_equal(pool_new(threads, &p), DDPM_OK);
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
                work_begin(w, steps[k], parts[i]);
                pool_run(p, threads, help, w);
                check_all_done(w);
            }
        pool_free(p);
    }
    work_free(w);
}

/* Parts that take longer than anybody spins: the others sleep and are woken. */
static void who_waits_long_sleeps(void **state)
{
    (void)state;
    work *w = work_new();
    pool *p;
    assert_int_equal(pool_new(3, &p), DDPM_OK);
    w->slow = true;
    work_begin(w, STEPS, 3);
    pool_run(p, 3, help, w);
    check_all_done(w);
    pool_free(p);
    work_free(w);
}

/* One that has come does all, whoever else was expected; its preferred part comes first. */
static void one_thread_is_enough(void **state)
{
    (void)state;
    work *w = work_new();
    work_begin(w, STEPS, 5);
    team_share s = TEAM_NOTHING;
    for (int step = 0; step < STEPS; step++)
        for (int k = 0; k < 5; k++) {
            assert_true(team_next(w->t, 7, &s));
            assert_int_equal(s.step, step);
            if (k == 0) assert_int_equal(s.part, 2);
            do_share(w, s);
        }
    assert_false(team_next(w->t, 7, &s));
    check_all_done(w);
    work_free(w);
    team_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_follow_each_other), cmocka_unit_test(who_waits_long_sleeps), cmocka_unit_test(one_thread_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
