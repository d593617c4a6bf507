/* bootstrap.h - how far the Frechet distance of a finite set may be off.
 *
 * The set is drawn again from itself, with replacement and at its own size; the spread
 * of the distances of such sets stands for the spread among sets of that size. Draws are
 * addressed (RNG_BOOTSTRAP), so results do not depend on threads. */
#ifndef DDPM_METRICS_BOOTSTRAP_H
#define DDPM_METRICS_BOOTSTRAP_H

#include <stddef.h>
#include <stdint.h>

#include "metrics/frechet.h"
#include "metrics/rows.h"

/* Ascending, for metrics_quantile: of values sorted, linear between them as numpy's percentile; q in [0,1], n >= 1. */
void   metrics_sort(double *values, size_t n);
double metrics_quantile(const double *sorted, size_t n, double q);

/* distance[replicates]: that of replicate b of the rows, at least 2, to `t`. */
typedef struct { const metric_rows *rows; uint64_t seed; metric_work work; } bootstrap_input;
ddpm_status bootstrap_frechet(const bootstrap_input *in, const frechet_target *t, int replicates, double *distance);

typedef struct {
    double low, high;      /* interval for the mean distance of sets of n rows */
    double deviation;      /* standard deviation of the replicates             */
    double bias;           /* mean of the replicates less the estimate: about how much of the
                              estimate is owed to n being finite                             */
} bootstrap_interval;

/* From replicates of `estimate`; `level` of 0.95 leaves 2.5 % at either side. At least two replicates, which get sorted. */
void bootstrap_summarise(double estimate, double level, double *distance, int replicates, bootstrap_interval *interval);

#endif
