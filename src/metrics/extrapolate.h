/* extrapolate.h - the Frechet distance that infinitely many samples would have (Chong and Forsyth 2020); in features of
 * an Inception network FID-infinity.
 *
 * The distance of n samples to fixed statistics is too large by about c / n (section 3.1), and c depends on the samples, so that
 * comparing two sets at equal n does not help. Distances of random subsets of growing size lie near a line in 1 / n,
 * and where 1 / n is 0 the line has the distance without that error. */
#ifndef DDPM_METRICS_EXTRAPOLATE_H
#define DDPM_METRICS_EXTRAPOLATE_H

#include "metrics/frechet.h"
#include "metrics/interval.h"
#include "metrics/rows.h"

enum { EXTRAPOLATE_SIZES = 15, EXTRAPOLATE_MAX_SIZES = 256, EXTRAPOLATE_SMALLEST = 5000, EXTRAPOLATE_FEWEST_ROWS = 32 };

/* Sizes go from `smallest` to all rows in `sizes` - 1 equal steps, rounded down. A subset is drawn anew for each, without replacement. */
typedef struct { size_t smallest; int sizes; uint64_t seed; } extrapolate_options;

/* The paper's: 15 sizes from 5,000 on. With fewer than 10,000 rows from half of them on: a shorter line is less
 * certain, which the interval shows, while sets that are smaller still bend it, which the interval does not show. */
extrapolate_options extrapolate_defaults(size_t rows, uint64_t seed);

typedef struct {
    double value;               /* at 1 / n = 0; may be below 0 where there is hardly a distance */
    double slope;               /* c: n samples have a distance of about value + slope / n       */
    double standard_error;      /* of value, from the scatter about the line                     */
    metric_interval interval;   /* 95 %, by Student's t with sizes - 2 degrees. That is for other subsets of these rows: other
                                   rows would move all distances together, and about as far as bootstrap.h says */
} extrapolate_result;

/* size[sizes], distance[sizes] (either may be NULL): the points of the line. 2 <= smallest < rows->n, 5 <= sizes <= EXTRAPOLATE_MAX_SIZES.
 * A size costs its moments and a frechet_distance; w->stop is asked at least once a size, with the rows done of those of all sizes.
 * Takes about three dims^2 doubles. DDPM_EINVAL: fewer than EXTRAPOLATE_FEWEST_ROWS rows. DDPM_ENOMEM, DDPM_ENUMERIC, or what `stop` says. */
ddpm_status extrapolate_frechet(const metric_rows *rows, const frechet_target *t, const extrapolate_options *o, const metric_work *w, size_t *size,
                                double *distance, extrapolate_result *r);

/* The least-squares line through (1 / size, distance). n >= 4, sizes not all equal. */
void extrapolate_line(const size_t *size, const double *distance, int n, extrapolate_result *r);

#endif
