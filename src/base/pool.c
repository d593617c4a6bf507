/* The life of a job: the caller fills in fn, ctx and tasks, opens a new round, works,
 * closes the round and waits until nobody is inside. A worker enters, looks whether
 * an open round it has not seen is there, works and leaves. Entering comes before
 * looking and closing before counting, all sequentially consistent, so either the
 * worker sees the closed round or the caller sees the worker. Nobody waits for a
 * worker that slept through a short job. */
#include "base/pool.h"

#include "base/relax.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SPINS = 1000 };         /* some tens of microseconds, the price of a wake-up */

typedef struct { pool *owner; pthread_t thread; int number; } worker;

struct pool {
    int threads;
    worker *workers;               /* workers[0] stands for the caller          */

    void (*fn)(void *ctx, int task, int worker);
    void *ctx;
    unsigned tasks;

    _Alignas(64) atomic_uint next; /* first task nobody has taken               */
    _Alignas(64) atomic_uint round;/* odd while a job is open                   */
    atomic_int inside;             /* workers that may be using the job         */
    atomic_int sleepers;           /* workers waiting on `opened`               */
    atomic_bool caller_waits;      /* for `left`                                */
    atomic_bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t opened, left;
};

static void work(pool *p, int number)
{
    for (;;) {
        const unsigned task = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (task >= p->tasks) return;
        p->fn(p->ctx, (int)task, number);
    }
}

static bool something_new(pool *p, unsigned seen)
{
    const unsigned round = atomic_load(&p->round);
    return (round & 1 && round != seen) || atomic_load(&p->stop);
}

static void wait_for_round(pool *p, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (something_new(p, seen)) return;
        relax();
    }
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->sleepers, 1);
    while (!something_new(p, seen)) pthread_cond_wait(&p->opened, &p->mutex);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->mutex);
}

static void leave(pool *p)
{
    if (atomic_fetch_sub(&p->inside, 1) != 1 || !atomic_load(&p->caller_waits)) return;
    pthread_mutex_lock(&p->mutex);
    pthread_cond_signal(&p->left);
    pthread_mutex_unlock(&p->mutex);
}

static void *worker_main(void *arg)
{
    const worker *w = arg;
    pool *p = w->owner;
    for (unsigned seen = 0; ; ) {
        wait_for_round(p, seen);
        if (atomic_load(&p->stop)) return NULL;
        atomic_fetch_add(&p->inside, 1);
        const unsigned round = atomic_load(&p->round);
        if (round & 1) {
            seen = round;
            work(p, w->number);
        }
        leave(p);
    }
}

static void wake(pool *p, int count)
{
    if (atomic_load(&p->sleepers) == 0) return;
    pthread_mutex_lock(&p->mutex);
    if (count >= p->threads - 1)
        pthread_cond_broadcast(&p->opened);
    else
        for (int i = 0; i < count; i++) pthread_cond_signal(&p->opened);
    pthread_mutex_unlock(&p->mutex);
}

static void wait_until_empty(pool *p)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&p->inside) == 0) return;
        relax();
    }
    pthread_mutex_lock(&p->mutex);
    atomic_store(&p->caller_waits, true);
    while (atomic_load(&p->inside) != 0) pthread_cond_wait(&p->left, &p->mutex);
    atomic_store(&p->caller_waits, false);
    pthread_mutex_unlock(&p->mutex);
}

void pool_run(pool *p, int tasks, void (*fn)(void *ctx, int task, int worker), void *ctx)
{
    assert(tasks >= 0);
    if (p->threads == 1 || tasks <= 1) {
        for (int i = 0; i < tasks; i++) fn(ctx, i, 0);
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    p->tasks = (unsigned)tasks;
    atomic_store(&p->next, 0);
    const unsigned before = atomic_fetch_add(&p->round, 1);
    assert(before % 2 == 0);
    (void)before;
    wake(p, tasks - 1);
    work(p, 0);
    atomic_fetch_add(&p->round, 1);
    wait_until_empty(p);
}

int pool_threads(const pool *p) { return p->threads; }

static void stop_workers(pool *p, int started)
{
    pthread_mutex_lock(&p->mutex);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->opened);
    pthread_mutex_unlock(&p->mutex);
    for (int i = 1; i < started; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->left);
    pthread_cond_destroy(&p->opened);
    pthread_mutex_destroy(&p->mutex);
    free(p->workers);
    free(p);
}

void pool_free(pool *p)
{
    if (p) stop_workers(p, p->threads);
}

/* Signals stay with the program's own threads: workers start with all of them blocked. */
static int start_workers(pool *p, int *started)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    for (*started = 1; *started < p->threads; ++*started) {
        worker *w = &p->workers[*started];
        *w = (worker){ .owner = p, .number = *started };
        error = pthread_create(&w->thread, NULL, worker_main, w);
        if (error) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static pool *pool_alloc(int threads)
{
    pool *p = aligned_alloc(64, sizeof *p);
    if (!p) return NULL;
    memset(p, 0, sizeof *p);
    p->threads = threads;
    p->workers = calloc((size_t)threads, sizeof *p->workers);
    if (!p->workers) { free(p); return NULL; }
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->opened, NULL);
    pthread_cond_init(&p->left, NULL);
    return p;
}

ddpm_status pool_new(int threads, pool **out)
{
    if (threads < 1 || threads > POOL_MAX_THREADS)
        return ddpm_fail(DDPM_EINVAL, "%d threads: the number must be 1..%d", threads, POOL_MAX_THREADS);
    pool *p = pool_alloc(threads);
    if (!p) return ddpm_fail(DDPM_ENOMEM, "no memory for a pool of %d threads", threads);
    int started;
    const int error = start_workers(p, &started);
    if (error) {
        stop_workers(p, started);
        return ddpm_fail(DDPM_EFAIL, "the system started %d of %d threads (%s); use --threads %d or raise the limit",
                         started, threads, strerror(error), started);
    }
    *out = p;
    return DDPM_OK;
}

int pool_default_threads(void)
{
    cpu_set_t set;
    int n = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
    return n < 1 ? 1 : n > POOL_MAX_THREADS ? POOL_MAX_THREADS : n;
}
