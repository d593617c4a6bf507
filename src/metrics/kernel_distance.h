/* kernel_distance.h - the kernel distance of two sets of features (Binkowski et al. 2018); in features of
 * an Inception network the KID.
 *
 * Section 4: the unbiased estimate of the squared maximum mean discrepancy for the kernel k(x, y) = (x.y / dims + 1)^3,
 *
 *   sum_{i != j} k(x_i, x_j) / m(m-1) + sum_{i != j} k(y_i, y_j) / m(m-1) - 2 sum_{i, j} k(x_i, y_j) / m^2
 *
 * over m rows of either set, averaged over several such subsets. It may be below 0. Subsets
 * are torch-fidelity's, drawn by its generator, so that equal features and seeds give its numbers up to rounding. */
#ifndef DDPM_METRICS_KERNEL_DISTANCE_H
#define DDPM_METRICS_KERNEL_DISTANCE_H

#include "metrics/interval.h"
#include "metrics/rows.h"

typedef struct { size_t subset_size; int subsets; uint32_t seed; } kernel_options;

/* value[subsets]. x and y have equal dims; 2 <= subset_size <= rows of either, fewer than 2^31 rows. Takes the row
 * numbers and four blocks of rows a thread. DDPM_ENOMEM, or what `stop` says. */
ddpm_status kernel_distances(const metric_rows *x, const metric_rows *y, const kernel_options *o, const metric_work *w, double *value);

/* At most KERNEL_GROUPS * KERNEL_GROUP_ROWS rows of either set, a multiple of what is compared at once, tell how far the estimate is off. */
enum { KERNEL_GROUPS = 20, KERNEL_GROUP_ROWS = 192 };

/* Variance of the estimate above from all rows of both sets, for other rows of them: the delete-a-group jackknife, over x and over y, of
 * the estimate from the first rows of random orders by the seed, in KERNEL_GROUPS groups, each part times rows used / rows of the set. That is
 * how the part linear in the rows shrinks; the part that pairs add shrinks faster, and a jackknife counts it twice, so where
 * the two sets are alike the variance is up to two times too large, or more with far more rows than are used. NAN: fewer than KERNEL_GROUPS
 * rows. DDPM_ENOMEM, or what `stop` says. */
ddpm_status kernel_variance(const metric_rows *x, const metric_rows *y, uint32_t seed, const metric_work *w, double *variance);

typedef struct {
    double mean, deviation;       /* of the subsets; divisor `subsets`, as torch-fidelity prints it        */
    double standard_error;        /* of the mean; NAN: not known                                           */
    metric_interval interval;     /* where the error is known                                              */
} kernel_result;

/* The error is that of kernel_variance and of there being no more subsets than there are. Not known of one subset. */
void kernel_summarise(const double *value, const kernel_options *o, double variance, kernel_result *r);

#endif
