/* interval.h - 95 % intervals in closed form. */
#ifndef DDPM_METRICS_INTERVAL_H
#define DDPM_METRICS_INTERVAL_H

#include <stddef.h>

typedef struct { double low, high; } metric_interval;

/* Mean and standard deviation of values[n], n >= 1; with divisor n, as torch-fidelity, or n - 1 (n >= 2). */
double interval_mean(const double *values, size_t n);
double interval_deviation(const double *values, size_t n, size_t divisor);

/* Of a share of n independent points (Wilson 1927): within [0,1] also where the share is 0 or 1. n >= 1. */
metric_interval interval_share(double share, size_t n);

/* The same where the share varies by `variance` (>= 0) for another reason too: Wilson's for as many points as would vary by that much
 * in all. 0: interval_share. */
metric_interval interval_share_spread(double share, size_t n, double variance);

/* Variance of an estimate by the delete-a-group jackknife: value[groups], at least 2, are the estimates without one of the groups. */
double interval_jackknife(const double *value, size_t groups);

/* estimate +- 1.96 standard errors. */
metric_interval interval_normal(double estimate, double standard_error);

/* estimate +- standard errors by Student's t with `degrees` of freedom, at least 2; its quantile (Fisher and Cornish 1960) is within 2 %
 * from 3 degrees on. */
metric_interval interval_student_error(double estimate, double standard_error, double degrees);

/* Of the mean of n values, n >= 3: n - 1 degrees. */
metric_interval interval_student(double mean, double deviation, size_t n);

#endif
