/* pool.h - a fixed set of worker threads that run numbered tasks.
 *
 * Tasks are handed out dynamically, so a task's result may depend on its number
 * and never on the worker it ran on; `worker` only selects scratch memory. */
#ifndef DDPM_BASE_POOL_H
#define DDPM_BASE_POOL_H

#include "base/status.h"

typedef struct pool pool;

enum { POOL_MAX_THREADS = 1024 };

/* A pool of `threads` workers, 1..POOL_MAX_THREADS; the calling thread is one of
 * them, so threads - 1 are started. Errors: DDPM_EINVAL, DDPM_ENOMEM,
 * DDPM_EFAIL (the system refuses a thread). */
ddpm_status pool_new(int threads, pool **p);

/* Stop and join the workers. No pool_run may be under way. NULL ok. */
void pool_free(pool *p);

int pool_threads(const pool *p);

/* Call fn(ctx, task, worker) once for every task 0..tasks-1 and return when all
 * calls have returned. worker is 0..threads-1; the caller is worker 0. What the
 * tasks wrote is visible to the caller afterwards. One pool_run at a time per
 * pool, and not from inside a task of the same pool. */
void pool_run(pool *p, int tasks, void (*fn)(void *ctx, int task, int worker), void *ctx);

/* The number of CPUs this process may run on, 1..POOL_MAX_THREADS. */
int pool_default_threads(void);

#endif
