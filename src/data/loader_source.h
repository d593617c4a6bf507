/* loader_source.h - one sample of a batch: order, cache, bad images; private to data/.
 *
 * Shared by the loader's threads without a lock: the cache is filled once per image
 * and published by an atomic state. */
#ifndef DDPM_DATA_LOADER_SOURCE_H
#define DDPM_DATA_LOADER_SOURCE_H

#include "data/loader.h"

typedef struct loader_source loader_source;

/* What a thread needs of its own: a reader and the pixels of one image. */
typedef struct {
    dataset_reader *reader;
    uint8_t *pixels;
} source_scratch;

ddpm_status loader_source_new(const dataset *d, const loader_options *o, loader_source **s);
void        loader_source_free(loader_source *s);                            /* NULL ok */

ddpm_status source_scratch_new(const dataset *d, source_scratch *t);
void        source_scratch_free(source_scratch *t);                          /* zeroed ok */

/* Sample i of `step`: x[h,w,c], its label and the number of the image it shows. */
ddpm_status loader_source_sample(loader_source *s, source_scratch *t, uint64_t step, int i, float *x, int *label, int64_t *index);

int64_t     loader_source_bad(const loader_source *s);

#endif
