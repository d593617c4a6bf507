#include "api/measure.h"

#include "backend/cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { REPEATS = 3, COPY_BYTES = 64 << 20, ROUNDS = 1 << 14 };

static const double LOOP_SECONDS = 0.05;

double measure_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double measure_median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[count / 2];
}

/* --- memory ----------------------------------------------------------------------- */

uint64_t measure_peak_rss(void)
{
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (uint64_t)u.ru_maxrss * 1024 : 0;
}

static uint64_t page_bytes(int name)
{
    const long pages = sysconf(name), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

/* The first number of a file of the kernel; 0: none, or the word "max". */
static uint64_t number_in(const char *path)
{
    unsigned long long v = 0;
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    if (fscanf(f, "%llu", &v) != 1) v = 0;
    fclose(f);
    return v;
}

uint64_t measure_rss(void)
{
    unsigned long long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    if (fscanf(f, "%llu %llu", &size, &resident) != 2) resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t measure_memory(void)
{
    const uint64_t machine = page_bytes(_SC_PHYS_PAGES), group = number_in("/sys/fs/cgroup/memory.max");
    return group && group < machine ? group : machine;
}

uint64_t measure_available(void)
{
    const uint64_t group = number_in("/sys/fs/cgroup/memory.max"), used = number_in("/sys/fs/cgroup/memory.current");
    unsigned long long kb = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f) && sscanf(line, "MemAvailable: %llu", &kb) != 1) { }
    if (f) fclose(f);
    const uint64_t machine = kb ? kb * 1024 : page_bytes(_SC_AVPHYS_PAGES);
    return group && group > used && group - used < machine ? group - used : machine;
}

/* --- ceilings ------------------------------------------------------------------------ */

typedef struct { const char *isa; bool narrow; double *flop; } loop_job;

static void run_loop(void *ctx, int task, int worker)
{
    const loop_job *job = ctx;
    (void)worker;
    const double end = measure_now() + LOOP_SECONDS;
    double flop, sum = 0;
    do sum += flop = cpu_ceiling_loop(job->isa, job->narrow, ROUNDS);
    while (flop > 0 && measure_now() < end);
    job->flop[task] = sum;
}

double measure_products(pool *p, const char *isa, bool narrow)
{
    const int n = pool_threads(p);
    double *flop = calloc((size_t)n, sizeof *flop), best = 0;
    if (!flop) return 0;
    const loop_job job = { isa, narrow, flop };
    for (int r = 0; r < REPEATS; r++) {
        double sum = 0;
        const double start = measure_now();
        pool_run(p, n, run_loop, (void *)&job);
        for (int i = 0; i < n; i++) sum += flop[i];
        const double speed = 1e-9 * sum / (measure_now() - start);
        if (speed > best) best = speed;
    }
    free(flop);
    return best;
}

typedef struct { unsigned char *from, *to; size_t bytes; } copy_job;

static void run_copy(void *ctx, int task, int worker)
{
    const copy_job *job = ctx;
    const size_t at = (size_t)task * job->bytes;
    (void)worker;
    memcpy(job->to + at, job->from + at, job->bytes);
}

ddpm_status measure_copy(pool *p, double *gb_per_s)
{
    const size_t n = (size_t)pool_threads(p), each = COPY_BYTES / n;
    copy_job job = { malloc(COPY_BYTES), malloc(COPY_BYTES), each };
    const ddpm_status status = job.from && job.to ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory to measure copying");
    if (status == DDPM_OK) {
        memset(job.from, 1, COPY_BYTES);
        memset(job.to, 2, COPY_BYTES);
        *gb_per_s = 0;
        for (int r = 0; r < REPEATS; r++) {
            const double start = measure_now();
            pool_run(p, (int)n, run_copy, &job);
            const double speed = 2e-9 * (double)(each * n) / (measure_now() - start);
            if (speed > *gb_per_s) *gb_per_s = speed;
        }
    }
    free(job.from);
    free(job.to);
    return status;
}
