/* eval_side.h - one of the two sets that are compared: images, features in a file, or statistics of features.
 *
 * What the metrics ask of it is the same for all: rows, logits, mean and covariance. Images are mapped into a space of
 * features as they come; their rows are kept, once, only where a metric reads rows. */
#ifndef DDPM_API_EVAL_SIDE_H
#define DDPM_API_EVAL_SIDE_H

#include "api/eval_parts.h"
#include "api/feature_space.h"
#include "api/features.h"
#include "api/statistics.h"

typedef enum { SIDE_IMAGES, SIDE_FEATURES, SIDE_STATISTICS } side_kind;

/* What is made of images: rows and logits as they are, mean and covariance of the features and of the spatial ones,
 * the numbers of the images that are read, the spatial features as they are (with KEEP_SPATIAL). */
enum { KEEP_ROWS = 1, KEEP_LOGITS = 2, KEEP_MOMENTS = 4, KEEP_SPATIAL = 8, KEEP_INDEX = 16, KEEP_SPATIAL_ROWS = 32 };

typedef struct {
    const char *word;                        /* borrowed                                               */
    side_kind   kind;
    char        space[FEATURES_SPACE_SIZE];  /* of files; "": not named                                */
    size_t      dims, classes, spatial_dims; /* of a row; 0: none. Of images from side_begin on        */
    int64_t     count, bad;                  /* rows, 0: statistics that do not say; images not read   */
    image_set  *set;                         /* of images that are read; NULL: the caller adds them    */
    int         h, w, c;                     /* of images                                              */
    feature_set file;
    statistics  stored;
    metric_rows rows, logits, spatial_rows;  /* n 0: none, or not kept                                 */

    unsigned    keep;                        /* of images                                              */
    void       *kept[3];                     /* rows, logits, spatial rows                             */
    size_t      room[3];                     /* in rows of them                                        */
    int64_t    *index;                       /* [count] of the images in `set`, with KEEP_INDEX        */
    moments    *of_rows, *of_spatial;
    double     *numbers;                     /* a block of rows as doubles                             */
    void       *scratch;                     /* features of a batch that are not kept                  */
    float      *spatial;                     /* those of a batch                                       */
    int         batch;
} eval_side;

/* Errors of features_open, statistics_read and eval_open_images. `side` is emptied by side_close also after a failure. */
ddpm_status side_open(eval_side *side, const char *word, const settings *s);
void        side_close(eval_side *side);                 /* zeroed is fine */

/* Features: only n of the rows from here on, the choice of features_choose. */
ddpm_status side_choose(eval_side *side, uint64_t seed, size_t n);

/* Images: what to keep of them. pool: for moments; borrowed. */
ddpm_status side_begin(eval_side *side, const feature_space *space, unsigned keep, pool *threads);

/* More images, of the size that `space` maps now. ENUMERIC: features that are not finite. */
ddpm_status side_add(eval_side *side, feature_space *space, const uint8_t *images, int n);

/* All images of side->set, or `most` of them by the seed. */
ddpm_status side_read(eval_side *side, feature_space *space, const eval_session *s, int64_t most, uint64_t seed, const char *what);
void        side_clear(eval_side *side);                 /* as if none had come                     */
void        side_drop_moments(eval_side *side);          /* they take much memory, and are read once */

/* Mean and covariance of the features, or of the spatial ones. */
ddpm_status side_gaussian(eval_side *side, const eval_session *s, bool spatial, gaussian *g);

#endif
