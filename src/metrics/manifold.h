/* manifold.h - precision and recall, density and coverage of two sets of features.
 *
 * The manifold of a set is the union of balls about its points, each as wide as the distance to the k-th
 * nearest other point of the set. Distances are exact: sums of squared differences in
 * doubles, every pair of points, a block of pairs at a time; no matrix of all pairs is held. A point on the edge of a ball is inside.
 *
 * How far the four numbers may be off has two parts. One are other points among the same balls: a share of them is binomial. The other
 * are other balls: the delete-a-group jackknife over the set that owns them (for coverage over the samples, which the balls have to hold),
 * in MANIFOLD_GROUPS groups by index. Without a group those points are not inside that it alone held; density without a group is that of
 * the balls that are left. Radii stay as they are: that neighbours of a missing point would have wider balls is left out, which makes errors of
 * precision, recall and density in few dimensions up to one and a half times the spread of independent sets (tests/metric_errors.c has it within 30 % in
 * eight); and so is that radii of few points vary, which matters to density alone. Rows are taken as independent of each other. */
#ifndef DDPM_METRICS_MANIFOLD_H
#define DDPM_METRICS_MANIFOLD_H

#include "metrics/interval.h"
#include "metrics/rows.h"

enum { MANIFOLD_MAX_K = 16, MANIFOLD_GROUPS = 20 };

/* nearest[n,k]: squared distances to the k nearest other rows, ascending. 1 <= k <= MANIFOLD_MAX_K, k < n. `before` of `all` tasks
 * of the caller's work are done; this is manifold_tasks(n) of them. DDPM_ENOMEM, or what `stop` says. */
ddpm_status manifold_radii(const metric_rows *rows, int k, const metric_work *w, int64_t before, int64_t all, double *nearest);
int64_t     manifold_tasks(size_t n);

/* What a point of one set is to the other; arrays of the caller. Bytes are 0 for no point of the other set, 1 + g where those are all
 * of one group, that of the indices g modulo MANIFOLD_GROUPS, else MANIFOLD_SEVERAL. */
enum { MANIFOLD_SEVERAL = 255 };
typedef struct {
    uint8_t  *sample_inside;      /* [samples] points of the reference in whose balls it is       */
    uint8_t  *reference_inside;   /* [reference] samples in whose balls it is                     */
    uint32_t *balls;              /* [samples] how many balls of the reference it is in           */
    uint8_t  *covered;            /* [reference] samples in its ball                              */
    uint64_t *held;               /* [MANIFOLD_GROUPS] samples in the balls of these points of the
                                     reference, as often as they are in one                       */
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
                                  /* for other points of both sets                                                         */
} manifold_result;

/* Both pairs in one walk. k < rows of either set. nearest: manifold_radii of the reference for the larger k, for callers that
 * measure several sets; NULL: found here. */
ddpm_status manifold_measure(const metric_rows *samples, const metric_rows *reference, const double *nearest, int precision_k, int density_k,
                             const metric_work *w, manifold_result *r);

#endif
