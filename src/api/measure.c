#include "api/measure.h"

#include "backend/cpu/cpu.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { REPEATS = 3, ROUNDS = 1 << 14, COPY_MOST = 1 << 29 };

static const double LOOP_SECONDS = 0.02, COPY_SECONDS = 0.005;


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

/* A file of /proc says "KEY   number kB"; 0: it does not. */
static uint64_t kilobytes_in(const char *path, const char *format)
{
    unsigned long long kb = 0;
    char line[128];
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f) && sscanf(line, format, &kb) != 1) { }
    if (f) fclose(f);
    return kb * 1024;
}

/* getrusage would also count what the process was before exec. */
uint64_t measure_peak_rss(void)
{
    struct rusage u;
    const uint64_t peak = kilobytes_in("/proc/self/status", "VmHWM: %llu");
    if (peak) return peak;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (uint64_t)u.ru_maxrss * 1024 : 0;
}

void measure_peak_reset(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f) return;
    fputs("5", f);
    fclose(f);
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
    const uint64_t told = kilobytes_in("/proc/meminfo", "MemAvailable: %llu"), machine = told ? told : page_bytes(_SC_AVPHYS_PAGES);
    return group && group > used && group - used < machine ? group - used : machine;
}

/* --- ceilings ------------------------------------------------------------------------ */

typedef struct { const char *isa; bool narrow; double *flop; } loop_job;

static void run_loop(void *ctx, int task, int worker)
{
    const loop_job *job = ctx;
    (void)worker;
    const double end = clock_now() + LOOP_SECONDS;
    double flop, sum = 0;
    do sum += flop = cpu_ceiling_loop(job->isa, job->narrow, ROUNDS);
    while (flop > 0 && clock_now() < end);
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
        const double start = clock_now();
        pool_run(p, n, run_loop, (void *)&job);
        for (int i = 0; i < n; i++) sum += flop[i];
        const double speed = 1e-9 * sum / (clock_now() - start);
        if (speed > best) best = speed;
    }
    free(flop);
    return best;
}

typedef struct { unsigned char *from, *to; size_t bytes; double *moved; } copy_job;

static void run_copy(void *ctx, int task, int worker)
{
    const copy_job *job = ctx;
    const size_t at = (size_t)task * job->bytes;
    const double end = clock_now() + COPY_SECONDS;
    (void)worker;
    job->moved[task] = 0;
    do {
        memcpy(job->to + at, job->from + at, job->bytes);
        job->moved[task] += 2 * (double)job->bytes;
    } while (clock_now() < end);
}

ddpm_status measure_copy(pool *p, size_t bytes, double *gb_per_s)
{
    const size_t n = (size_t)pool_threads(p), each = (bytes < COPY_MOST / n ? bytes : COPY_MOST / n) / 2;
    copy_job job = { malloc(n * each), malloc(n * each), each, malloc(n * sizeof(double)) };
    const ddpm_status status = job.from && job.to && job.moved ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory to measure copying");
    *gb_per_s = 0;
    if (status == DDPM_OK) {
        memset(job.from, 1, n * each);
        memset(job.to, 2, n * each);
        for (int r = 0; r < REPEATS; r++) {
            double moved = 0;
            const double start = clock_now();
            pool_run(p, (int)n, run_copy, &job);
            const double seconds = clock_now() - start;
            for (size_t i = 0; i < n; i++) moved += job.moved[i];
            if (1e-9 * moved / seconds > *gb_per_s) *gb_per_s = 1e-9 * moved / seconds;
        }
    }
    free(job.from);
    free(job.to);
    free(job.moved);
    return status;
}
