/* outliers.h - the points that precision and recall lose: those of one set that lie in no ball of the other (manifold.h). */
#ifndef DDPM_METRICS_OUTLIERS_H
#define DDPM_METRICS_OUTLIERS_H

#include "metrics/rows.h"

/* A row of one set, its nearest row of the other, and how far that is. */
typedef struct { size_t row, nearest; double distance; } outlier;

/* Of the outside rows among n the `shown` that are farthest from the other set, the farthest first; of equally far ones the first row. */
typedef struct { size_t n, outside, shown; outlier *list; } outlier_list;

/* out[0]: samples outside the reference's manifold, out[1]: reference outside the samples'; at most `most` of each. Balls reach to the k-th nearest;
 * 1 <= k <= MANIFOLD_MAX_K, k < rows of either set. ENOMEM, or what w->stop says; then *out is empty. */
ddpm_status outliers_find(const metric_rows *samples, const metric_rows *reference, int k, size_t most, const metric_work *w, outlier_list out[2]);
void        outliers_free(outlier_list out[2]);              /* zeroed is fine */

#endif
