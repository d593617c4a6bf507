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

typedef struct {
    double mean, deviation;       /* of the subsets; divisor `subsets`, as torch-fidelity prints it        */
    double standard_error;        /* of the mean, as an estimate from sets of `rows` rows; NAN: not known  */
    metric_interval interval;     /* where the error is known                                              */
} kernel_result;

/* rows: those of the smaller set. Subsets of m out of n rows share rows: they vary by 1 - m/n of what subsets of new rows would, and
 * the mean of them all keeps the variance of the n rows. With v their variance, that is v (m/n) / (1 - m/n), and v / subsets
 * comes from there being no more subsets. Not known where m = n or there is one subset. */
void kernel_summarise(const double *value, const kernel_options *o, size_t rows, kernel_result *r);

#endif
