/* statistics.h - mean and covariance of a set of images in a space of features, as .npz.
 *
 * `mu` [k] and `sigma` [k,k] are what pytorch-fid and guided-diffusion write and read. Numbers of different
 * features say nothing about each other, and their files do not name them. Ours therefore also hold the name of the features
 * (features.h), or the map to them: principal components, with which new images can be measured against the file. */
#ifndef DDPM_API_STATISTICS_H
#define DDPM_API_STATISTICS_H

#include <stdbool.h>
#include <stdint.h>

#include "api/features.h"
#include "io/json.h"
#include "metrics/pca.h"

typedef struct {
    size_t  dims;            /* k                                                       */
    double *mean;            /* [k]                                                     */
    double *covariance;      /* [k,k], divisor count - 1                                */
    pca     map;             /* from pixels to these features; axes NULL: not known     */
    int     h, w, c;         /* of the images, where the map is known                   */
    int64_t count, fitted;   /* images, and those that the map was fitted to; 0: not known */
    char    space[FEATURES_SPACE_SIZE];      /* name of the features, as in features.h; "": the file does not say */
} statistics;

/* An .npz with mu and sigma and without images (arr_0). */
bool        statistics_is(const char *path);

/* mu and sigma, and the map where it is there; spatial: mu_s and sigma_s of guided-diffusion instead, which have no
 * map (*s stays empty where the file has none). <f4 or <f8. EFORMAT: shapes that do not fit, a number that is not
 * finite, a covariance that is not symmetric or has an eigenvalue further below 0 than rounding puts it. *s is emptied by statistics_free also after a failure. */
ddpm_status statistics_read(const char *path, bool spatial, statistics *s);

/* With the map and the name where s has them. Atomic. */
ddpm_status statistics_write(const char *path, const statistics *s);
void        statistics_free(statistics *s);              /* zeroed is fine */

/* `ddpm eval A B` of two such files: the Frechet distance of their features, which must be as many, and of the spatial ones where
 * both have them. EINVAL: B is no statistics, or of other features. */
ddpm_status statistics_compare(const char *a, const char *b, char **text, json **summary);

#endif
