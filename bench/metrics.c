/* bench/metrics.c - speed of the metrics of features.
 *
 *   bench_metrics [ROWS [DIMS [THREADS [REPEATS]]]]
 *
 * Two sets of ROWS rows of DIMS floats (5000 of 2048, two threads, three repeats). Prints the median seconds of each metric and of the
 * parts of a Frechet distance, on the clock and of the processors. The rows are sums of a few hidden numbers, cut off at 0, so that near and far neighbours
 * differ, as in features of networks. */
#include "base/clock.h"
#include "base/rng.h"
#include "metrics/bootstrap.h"
#include "metrics/frechet.h"
#include "metrics/kernel_distance.h"
#include "metrics/linalg.h"
#include "metrics/manifold.h"
#include "metrics/moments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 64, MAX_REPEATS = 64, CHUNK = 256 };

typedef struct {
    metric_rows x, y;
    pool   *threads;
    int     repeats;
    double *mean, *covariance, *scratch;
    frechet_target *target;
} bench;

static void need(ddpm_status s)
{
    if (s == DDPM_OK) return;
    fprintf(stderr, "bench_metrics: %s\n", ddpm_last_error());
    exit(EXIT_FAILURE);
}

static void *reserve(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (!p) exit(EXIT_FAILURE);
    return p;
}

typedef struct { float *out; const float *weights; size_t dims; uint64_t set; } maker;

static void make_row(void *ctx, int task, int worker)
{
    (void)worker;
    const maker *m = ctx;
    float hidden[HIDDEN], *row = m->out + (size_t)task * m->dims;
    rng_normals((rng_address){ 1, RNG_NOISE, m->set, (uint64_t)task }, 0, HIDDEN, hidden);
    rng_normals((rng_address){ 2, RNG_NOISE, m->set, (uint64_t)task }, 0, m->dims, row);
    for (size_t j = 0; j < m->dims; j++) {
        float sum = 0.1f * (float)m->set + 0.3f * row[j];
        for (size_t k = 0; k < HIDDEN; k++) sum += hidden[k] * m->weights[k * m->dims + j];
        row[j] = sum > 0 ? sum : 0;
    }
}

static metric_rows make_rows(bench *b, size_t n, size_t dims, uint64_t set)
{
    float *weights = reserve(HIDDEN * dims, sizeof *weights);
    maker m = { .out = reserve(n * dims, sizeof(float)), .weights = weights, .dims = dims, .set = set };
    rng_normals((rng_address){ 3, RNG_NOISE, 0, 0 }, 0, HIDDEN * dims, weights);
    for (size_t i = 0; i < HIDDEN * dims; i++) weights[i] *= 0.1f;
    pool_run(b->threads, (int)n, make_row, &m);
    free(weights);
    return (metric_rows){ m.out, n, dims, false };
}

/* Of all threads; a machine's other tenants show in it less than on the clock. */
static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double median(const bench *b, double *seconds)
{
    metrics_sort(seconds, (size_t)b->repeats);
    return seconds[b->repeats / 2];
}

static void measure(bench *b, const char *what, void (*work)(bench *b))
{
    double seconds[MAX_REPEATS], processor[MAX_REPEATS];
    for (int i = 0; i < b->repeats; i++) {
        const double start = clock_now(), spent = processor_seconds();
        work(b);
        seconds[i] = clock_now() - start;
        processor[i] = processor_seconds() - spent;
    }
    printf("%-50s %8.3f s, of processors %8.3f s\n", what, median(b, seconds), median(b, processor));
    fflush(stdout);
}

static void kernel(bench *b)
{
    double value[100];
    const size_t most = 1000;
    const kernel_options o = { .subset_size = b->x.n < most ? b->x.n : most, .subsets = 100, .seed = 1 };
    need(kernel_distances(&b->x, &b->y, &o, &(metric_work){ .threads = b->threads }, value));
}

static void manifold(bench *b)
{
    manifold_result r;
    need(manifold_measure(&b->x, &b->y, NULL, 3, 5, &(metric_work){ .threads = b->threads }, &r));
}

static void covariance(bench *b)
{
    moments *m = NULL;
    double *rows = reserve(CHUNK * b->x.dims, sizeof *rows);
    need(moments_new(b->x.dims, b->threads, &m));
    for (size_t first = 0; first < b->x.n; first += CHUNK) {
        const size_t n = b->x.n - first < CHUNK ? b->x.n - first : CHUNK;
        for (size_t i = 0; i < n; i++) metric_rows_read(&b->x, first + i, rows + i * b->x.dims);
        moments_add(m, rows, n);
    }
    need(moments_read(m, b->mean, b->covariance));
    moments_free(m);
    free(rows);
}

static void target(bench *b)
{
    frechet_target_free(b->target);
    b->target = NULL;
    need(frechet_target_new(b->x.dims, b->mean, b->covariance, &b->target));
}

static void distance(bench *b)
{
    frechet_result r;
    need(frechet_distance(b->target, b->mean, b->covariance, &r));
}

static void product(bench *b) { need(linalg_product(b->x.dims, b->x.dims, b->x.dims, b->covariance, b->covariance, b->scratch)); }

static void eigenvalues(bench *b)
{
    double *w = reserve(b->x.dims, sizeof *w);
    memcpy(b->scratch, b->covariance, b->x.dims * b->x.dims * sizeof *w);
    need(linalg_eigen(b->x.dims, b->scratch, false, w));
    free(w);
}

static int argument(int count, char **value, int at, int otherwise) { return count > at ? atoi(value[at]) : otherwise; }

int main(int count, char **value)
{
    const int rows = argument(count, value, 1, 5000), dims = argument(count, value, 2, 2048), repeats = argument(count, value, 4, 3);
    if (rows < 10 || dims < 1 || dims > LINALG_MAX_DIMS || repeats < 1 || repeats > MAX_REPEATS) return EXIT_FAILURE;
    bench b = { .repeats = repeats };
    need(pool_new(argument(count, value, 3, 2), &b.threads));
    b.x = make_rows(&b, (size_t)rows, (size_t)dims, 1);
    b.y = make_rows(&b, (size_t)rows, (size_t)dims, 2);
    b.mean = reserve((size_t)dims, sizeof(double));
    b.covariance = reserve((size_t)dims * (size_t)dims, sizeof(double));
    b.scratch = reserve((size_t)dims * (size_t)dims, sizeof(double));
    printf("%d rows of %d, %d threads, median of %d\n", rows, dims, pool_threads(b.threads), repeats);
    measure(&b, "kernel distance, 100 subsets of 1000", kernel);
    measure(&b, "precision, recall, density, coverage", manifold);
    measure(&b, "mean and covariance of one set", covariance);
    measure(&b, "Frechet distance: preparing the reference", target);
    measure(&b, "Frechet distance: from its moments", distance);
    measure(&b, "of that: a product of two matrices, one thread", product);
    measure(&b, "of that: eigenvalues", eigenvalues);
    frechet_target_free(b.target);
    free((void *)(uintptr_t)b.x.data);
    free((void *)(uintptr_t)b.y.data);
    free(b.mean);
    free(b.covariance);
    free(b.scratch);
    pool_free(b.threads);
    return 0;
}
