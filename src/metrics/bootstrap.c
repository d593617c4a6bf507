#include "metrics/bootstrap.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "metrics/moments.h"

/* Replicates whose moments are made at the same time, one for each thread. */
typedef struct {
    const bootstrap_input *in;
    int       first;
    moments **of;           /* [together]                */
    double   *row;          /* [together,dims] of doubles */
} batch;

static void resample(void *ctx, int task, int worker)
{
    (void)worker;
    const batch *b = ctx;
    const bootstrap_input *in = b->in;
    const rng_address at = { in->seed, RNG_BOOTSTRAP, (uint64_t)(b->first + task), 0 };
    const metric_rows *rows = in->rows;
    double *row = b->row + (size_t)task * rows->dims;
    moments_clear(b->of[task]);
    for (size_t i = 0; i < rows->n; i++) {
        metric_rows_read(rows, rng_below(at, i, rows->n), row);
        moments_add(b->of[task], row, 1);
    }
}

static ddpm_status run(batch *b, int together, const frechet_target *t, int replicates, double *mean, double *covariance, double *distance)
{
    const bootstrap_input *in = b->in;
    for (b->first = 0; b->first < replicates; b->first += together) {
        const int now = replicates - b->first < together ? replicates - b->first : together;
        if (in->work.stop) DDPM_TRY(in->work.stop(in->work.ctx, b->first, replicates));
        pool_run(in->work.threads, now, resample, b);
        for (int i = 0; i < now; i++) {
            frechet_result r;
            DDPM_TRY(moments_read(b->of[i], mean, covariance));
            DDPM_TRY(frechet_distance(t, mean, covariance, &r));
            distance[b->first + i] = r.distance;
        }
    }
    return DDPM_OK;
}

ddpm_status bootstrap_frechet(const bootstrap_input *in, const frechet_target *t, int replicates, double *distance)
{
    const int together = pool_threads(in->work.threads);
    const size_t dims = in->rows->dims;
    double *mean = calloc(dims, sizeof *mean), *covariance = calloc(dims * dims, sizeof *covariance);
    batch b = { .in = in, .of = calloc((size_t)together, sizeof *b.of), .row = calloc((size_t)together * dims, sizeof *b.row) };
    ddpm_status status = mean && covariance && b.of && b.row ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory to resample %zu rows", in->rows->n);
    for (int i = 0; i < together && status == DDPM_OK; i++) status = moments_new(dims, NULL, &b.of[i]);
    if (status == DDPM_OK) status = run(&b, together, t, replicates, mean, covariance, distance);
    for (int i = 0; b.of && i < together; i++) moments_free(b.of[i]);
    free(b.of);
    free(b.row);
    free(mean);
    free(covariance);
    return status;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void metrics_sort(double *values, size_t n) { qsort(values, n, sizeof *values, compare); }

double metrics_quantile(const double *sorted, size_t n, double q)
{
    const double place = q * (double)(n - 1);
    const size_t k = (size_t)place;
    return k + 1 < n ? sorted[k] + (place - (double)k) * (sorted[k + 1] - sorted[k]) : sorted[n - 1];
}

/* Replicates lie above the estimate as the estimate lies above the truth, both for being
 * distances of finite sets. So their quantiles are taken about their own mean. */
void bootstrap_summarise(double estimate, double level, double *distance, int replicates, bootstrap_interval *interval)
{
    double mean = 0, squares = 0;
    for (int i = 0; i < replicates; i++) mean += distance[i] / replicates;
    for (int i = 0; i < replicates; i++) squares += (distance[i] - mean) * (distance[i] - mean);
    metrics_sort(distance, (size_t)replicates);
    const double tail = (1 - level) / 2, low = estimate + metrics_quantile(distance, (size_t)replicates, tail) - mean;
    *interval = (bootstrap_interval){ .low = low > 0 ? low : 0, .high = estimate + metrics_quantile(distance, (size_t)replicates, 1 - tail) - mean,
                                      .deviation = sqrt(squares / (replicates - 1)), .bias = mean - estimate };
}
