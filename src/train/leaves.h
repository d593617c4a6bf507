/* leaves.h - the gradient tree of a step in few slabs.
 *
 * A leaf is a gradient slab. Leaves are added in pairs: neighbours first, then pairs of pairs, always the later one to
 * the earlier, so the sum's bits depend on their number alone. Not all of them need memory at once: when
 * none is left for the next leaf, finished neighbours are added first. Leaves begin in order. */
#ifndef DDPM_TRAIN_LEAVES_H
#define DDPM_TRAIN_LEAVES_H

#include "base/pool.h"

#include <stddef.h>

typedef struct leaves leaves;

/* Slabs for `count` leaves on `threads` threads. One more than the tree is deep is the least that always goes on; with
 * one more for each thread from the third on, hardly anybody waits. */
int leaves_slabs(int count, int threads);

/* Slabs of len floats. Error: DDPM_ENOMEM. */
ddpm_status leaves_new(int count, int threads, size_t len, leaves **l);
void        leaves_free(leaves *l);

/* A step: restart; then for every leaf, from any thread, take, write the slab, and finish; then the sum.
 * Take waits until the leaves before have been taken and a slab is free. What a slab holds when it is taken is undefined. */
void   leaves_restart(leaves *l);
float *leaves_take(leaves *l, int leaf);
void   leaves_finish(leaves *l, int leaf);

/* Of all leaves, which must be finished; valid until the next restart. Later calls return the same. */
float *leaves_sum(leaves *l, pool *p);

#endif
