/* features_parts.h - features of a set of images in several files, which machines made each for a part of it.
 *
 * What `ddpm features` writes has, beside `features`: `index` [n] `<i8`, ascending, the images' numbers in the set; `total` [1] `<i8`, how many
 * rows all parts have together; `left_out` [m] `<i8`, if there, the numbers of images that could not be read, which count in `total`. */
#ifndef DDPM_API_FEATURES_PARTS_H
#define DDPM_API_FEATURES_PARTS_H

#include "api/features.h"

/* A folder that holds an .npz. */
bool        features_are_parts(const char *path);

/* All .npz of a folder as one set, rows in the order of index. EINVAL naming the files: an index that two have or none has, other totals, other
 * spaces or other arrays; EFORMAT: not such a file, or none there. Errors of features_open. *f is emptied by features_close also after a failure. */
ddpm_status features_merge(const char *folder, feature_set *f);

#endif
