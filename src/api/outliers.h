/* outliers.h - a picture of what precision and recall lose: images of one set that are unlike all of the other.
 *
 * Samples outside the reference's manifold, then reference images outside the samples', the farthest first, each beside the image of the
 * other set that is nearest to it. */
#ifndef DDPM_API_OUTLIERS_H
#define DDPM_API_OUTLIERS_H

#include "api/image_set.h"
#include "io/json.h"
#include "metrics/outliers.h"

/* Images and their features; index[rows.n]: the number in `images` of each row, NULL: that of the row. Borrowed. */
typedef struct { image_set *images; metric_rows rows; const int64_t *index; } outlier_set;

/* Before anything is computed. EINVAL: the name does not end in .svg or .png, images of two sizes; those of svg_check_target. */
ddpm_status outliers_check(const char *path, const image_set *samples, const image_set *reference);

/* Looks for them with balls to the k-th nearest and writes at most `most` of either kind. space: the name of the features. *summary (may be
 * NULL): what was found, for a document; the caller frees. EINVAL: no more than k rows in a set; errors of outliers_find, image_set_read, sheet_write. */
ddpm_status outliers_write(const char *path, const outlier_set *samples, const outlier_set *reference, int k, int most, const char *space,
                           const metric_work *w, json **summary);

#endif
