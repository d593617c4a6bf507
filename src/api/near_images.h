/* near_images.h - the nearest images of a data set, by their pixels or in a space of features.
 *
 * Distances are Euclidean and exact, every pair is compared: of pixels from 0 to 255, or of the features. */
#ifndef DDPM_API_NEAR_IMAGES_H
#define DDPM_API_NEAR_IMAGES_H

#include "api/feature_space.h"
#include "api/image_set.h"
#include "api/tool.h"
#include "metrics/nearest_rows.h"
#include "metrics/neighbours.h"

/* What images are compared by. */
typedef struct {
    engine         e;
    feature_space *space;            /* NULL: the pixels        */
    size_t         bytes;            /* of an image             */
    metric_work    work;
} near_space;

/* Images whose neighbours are looked for. */
typedef struct {
    neighbours   *by_pixels;         /* one of these two        */
    nearest_rows *by_rows;
    void         *features;          /* [n,dims] of by_rows     */
} near_queries;

typedef struct { int64_t index; double distance; } near_image;

/* --features of the settings; "raw": pixels. Principal components are fitted to at most --fit_count images of `data`, a fixed choice; *bad of them could not be read.
 * Errors as of feature_space_open and comparison_fit. Close also after an error. */
ddpm_status near_space_open(settings *s, image_set *data, const tool_events *ev, near_space *space, int64_t *bad);
void        near_space_close(near_space *space);

/* How a distance is meant: "pixels from 0 to 255", "pca64 features". */
void        near_space_words(const near_space *space, char *text, size_t size);
const char *near_space_name(const near_space *space);              /* "raw", or the name of the features */

/* The k nearest of each of images[n,h,w,c], which are borrowed. ENOMEM. */
ddpm_status near_queries_new(near_space *space, const uint8_t *images, int n, int k, near_queries *q);
void        near_queries_free(near_queries *q);                     /* zeroed is fine */

/* More images of the data set, with their numbers; for each of count sets of queries. ENOMEM, or the reason to stop. */
ddpm_status near_space_add(near_space *space, near_queries *const *q, int count, const uint8_t *images, const int64_t *index, int n);

/* The k-th nearest of query i; false: there are fewer. */
bool        near_queries_of(const near_queries *q, int i, int k, near_image *found);

#endif
