/* features.h - a set of features that some network made, as .npz.
 *
 * `features` [n,d] and, if there, `logits` [n,c] and `spatial` [n,s], <f4 or <f8; `space`, |u1, the name of the features in ASCII. What
 * `ddpm features` writes also has `index` and `total` (features_parts.h). */
#ifndef DDPM_API_FEATURES_H
#define DDPM_API_FEATURES_H

#include "io/npz.h"
#include "metrics/rows.h"

enum { FEATURES_SPACE_SIZE = 128 };

typedef struct {
    const char *path;                    /* borrowed                                         */
    npz_reader *file;
    void       *copies[3];               /* of the rows, where they do not lie in one file as they are used */
    metric_rows rows, logits, spatial;   /* n is 0 where there are none                      */
    char        space[FEATURES_SPACE_SIZE];      /* "": the file does not say                */
} feature_set;

/* An .npz with `features` and without images (arr_0). */
bool        features_is(const char *path);

/* EFORMAT: shapes or types that do not fit, a number that is not finite (its row is named), fewer than one row. The rows stay in the file's
 * memory. *f is emptied by features_close also after a failure. */
ddpm_status features_open(const char *path, feature_set *f);
void        features_close(feature_set *f);              /* zeroed is fine */

/* Only n of the rows from here on, with their logits and spatial features: the choice of image_set_choice. ENOMEM. */
ddpm_status features_choose(feature_set *f, uint64_t seed, size_t n);

/* Whether the space of this name is the 2015-12-05 Inception network's: only then its distances may be called FID and KID. */
bool        features_are_inception(const char *space);

/* The array `space` of an open file; "" where it has none. EFORMAT: it is no name. */
ddpm_status features_read_space(npz_reader *file, const char *path, char space[FEATURES_SPACE_SIZE]);

/* EINVAL: two files whose features have not the same name of a space; both may have none. */
ddpm_status features_same_names(const char *a_path, const char *a_space, const char *b_path, const char *b_space);

/* EINVAL: other dimensions, or spaces of other names. */
ddpm_status features_same_space(const feature_set *a, const feature_set *b);

#endif
