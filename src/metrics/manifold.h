/* manifold.h - precision and recall, density and coverage of two sets of features.
 *
 * The manifold of a set is the union of balls about its points, each as wide as the distance to the k-th
 * nearest other point of the set. Distances are exact: sums of squared differences in
 * doubles, every pair of points, a block of pairs at a time; no matrix of all pairs is held. A point on the edge of a ball is inside. */
#ifndef DDPM_METRICS_MANIFOLD_H
#define DDPM_METRICS_MANIFOLD_H

#include "metrics/interval.h"
#include "metrics/rows.h"

enum { MANIFOLD_MAX_K = 16 };

/* nearest[n,k]: squared distances to the k nearest other rows, ascending. 1 <= k <= MANIFOLD_MAX_K, k < n. `before` of `all` tasks
 * of the caller's work are done; this is manifold_tasks(n) of them. DDPM_ENOMEM, or what `stop` says. */
ddpm_status manifold_radii(const metric_rows *rows, int k, const metric_work *w, int64_t before, int64_t all, double *nearest);
int64_t     manifold_tasks(size_t n);

/* What a point of one set is to the balls of the other; arrays of the caller. */
typedef struct {
    uint8_t  *sample_inside;      /* [samples] in a ball of the reference       */
    uint8_t  *reference_inside;   /* [reference] in a ball of the samples       */
    uint32_t *balls;              /* [samples] of the reference that it is in   */
    uint8_t  *covered;            /* [reference] a sample is in its ball        */
} manifold_points;

/* Squared radii of the two sets' points: `sample` and `reference` say who is inside, `reference_density` counts balls and covers. */
typedef struct { const double *sample, *reference, *reference_density; } manifold_radius;
ddpm_status manifold_compare(const metric_rows *samples, const metric_rows *reference, const manifold_radius *r, const metric_work *w, int64_t before,
                             int64_t all, const manifold_points *p);

typedef struct {
    double precision, recall;     /* Kynkaanniemi et al. 2019, equations 1 and 2: shares of samples and of reference inside */
    double density, coverage;     /* Naeem et al. 2020, equations 6 and 7: balls of the reference a sample is in, over k
                                     (its mean may exceed 1); share of the reference's balls that hold a sample          */
    metric_interval precision_interval, recall_interval, density_interval, coverage_interval;
                                  /* for other points among the same balls: of samples for precision and density, of
                                     reference for recall and coverage                                                     */
} manifold_result;

/* Both pairs in one walk. k < rows of either set. */
ddpm_status manifold_measure(const metric_rows *samples, const metric_rows *reference, int precision_k, int density_k, const metric_work *w, manifold_result *r);

#endif
