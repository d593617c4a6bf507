/* loader.h - training batches: order, flips, scaling and decoding ahead.
 *
 * What a batch holds is a pure function of (data set, seed, batch size, step).
 * Sample i of step s is at position p = s * batch + i of an endless sequence of
 * epochs; epoch p / count shows every image once, in an order of its own. No tail is
 * dropped: a batch may span two epochs. Threads, prefetching and the cache change
 * only the time it takes. A bad image is replaced by the next good one in the data
 * set's own numbering, reported once and counted; a strict loader fails instead. */
#ifndef DDPM_DATA_LOADER_H
#define DDPM_DATA_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/dataset.h"

typedef struct loader loader;

typedef struct {
    int batch;
    uint64_t seed;
    bool flip;               /* mirror each sample with probability 1/2              */
    int threads;             /* workers that decode, 1..256                          */
    int prefetch;            /* batches made ready ahead of the caller, 1..64        */
    bool strict;
    size_t max_cache_bytes;  /* decoded images kept; sets larger than this stream    */
    const int64_t *subset;   /* these images only (borrowed); NULL: the whole set    */
    int64_t subset_count;
} loader_options;

/* Batch 128, seed 0, no flip, 2 threads, 2 batches ahead, 2 GiB of cache. */
loader_options loader_defaults(void);

/* Borrowed from the loader: valid until its next loader_next or loader_free. */
typedef struct {
    int n;
    const float *x;          /* [n,h,w,c], v / 127.5 - 1 in float32                  */
    const int *label;        /* [n], -1 without labels                               */
    const int64_t *index;    /* [n], the data set's numbers of the images shown      */
} loader_batch;

/* `d` is borrowed and must outlive the loader. Errors: DDPM_EINVAL, DDPM_ENOMEM,
 * DDPM_EFAIL (the system refuses a thread). */
ddpm_status loader_new(const dataset *d, const loader_options *o, loader **l);
void        loader_free(loader *l);                /* at any time; NULL ok */

/* The batch of `step`; asking for consecutive steps is fast, any other step costs a
 * batch of waiting. One caller at a time. Errors: DDPM_EIO, DDPM_EFORMAT (a bad image
 * and strict, or no good image at all); the same step may be asked for again. */
ddpm_status loader_next(loader *l, uint64_t step, loader_batch *out);

int64_t     loader_bad(loader *l);                 /* bad images met so far          */

/* The image at position 0 <= position < count of an epoch: a permutation for every
 * (seed, epoch). Needs no table, so a set of any size starts at once. */
int64_t     loader_order(uint64_t seed, uint64_t epoch, int64_t position, int64_t count);

#endif
