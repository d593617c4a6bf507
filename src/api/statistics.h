/* statistics.h - mean and covariance of a set of images in a space of features, as .npz.
 *
 * `mu` [k] and `sigma` [k,k] are what pytorch-fid and guided-diffusion write and read; guided-diffusion's also have `mu_s` and `sigma_s`, of
 * spatial features. Numbers of different features say nothing about each other, and their files do not name them. Ours therefore
 * also hold the name of the features (features.h), or the map to them: principal components, with which new images can be measured
 * against the file. */
#ifndef DDPM_API_STATISTICS_H
#define DDPM_API_STATISTICS_H

#include <stdbool.h>
#include <stdint.h>

#include "api/features.h"
#include "metrics/pca.h"

/* mean[dims] and covariance[dims,dims] with divisor count - 1; dims 0: none. */
typedef struct { size_t dims; double *mean, *covariance; } gaussian;

ddpm_status gaussian_new(size_t dims, gaussian *g);      /* zeros. DDPM_ENOMEM          */
void        gaussian_free(gaussian *g);                  /* zeroed is fine; empties *g  */

typedef struct {
    gaussian whole, spatial; /* of the features; of the spatial ones, where they were read or are to be written */
    bool     has_spatial;    /* the file has them                                       */
    pca      map;            /* from pixels to these features; axes NULL: not known     */
    int      h, w, c;        /* of the images, where the map is known                   */
    int64_t  count, fitted;  /* images, and those that the map was fitted to; 0: not known */
    char     space[FEATURES_SPACE_SIZE];      /* name of the features, as in features.h; "": the file does not say */
} statistics;

/* An .npz with mu and sigma and without images (arr_0). */
bool        statistics_is(const char *path);

/* All but the spatial part. <f4 or <f8. EFORMAT: shapes that do not fit, a number that is not
 * finite, a covariance that is not symmetric or has an eigenvalue further below 0 than rounding puts it. *s is emptied by statistics_free also after a failure. */
ddpm_status statistics_read(const char *path, statistics *s);
ddpm_status statistics_read_spatial(const char *path, statistics *s);      /* which s->has_spatial says is there */

/* With the spatial part, the map and the name where s has them. Atomic. */
ddpm_status statistics_write(const char *path, const statistics *s);
void        statistics_free(statistics *s);              /* zeroed is fine */

/* Are they of the same space: as many numbers, the same name or none, and the same axes where either has axes? EINVAL naming both files. */
ddpm_status statistics_same_space(const char *a_path, const statistics *a, const char *b_path, const statistics *b);

#endif
