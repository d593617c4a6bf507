/* pairs.h - all pairs of two blocks of rows; private to metrics/.
 *
 * A block is PAIR_BLOCK rows in panels of TILE (tile.h), zeros behind the last. Whoever needs all pairs
 * of two sets walks over blocks, so that memory is that of two blocks for each thread. */
#ifndef DDPM_METRICS_PAIRS_H
#define DDPM_METRICS_PAIRS_H

#include "metrics/rows.h"

enum { PAIR_BLOCK = 64 };

static inline size_t pair_blocks(size_t n) { return (n + PAIR_BLOCK - 1) / PAIR_BLOCK; }
static inline size_t pair_rows_in(size_t block, size_t n) { return n - block * PAIR_BLOCK < PAIR_BLOCK ? n - block * PAIR_BLOCK : PAIR_BLOCK; }

/* Room for two blocks and the pairs of each worker. */
typedef struct { size_t dims; double *memory; } pair_scratch;
typedef struct { double *a, *b, *out; } pair_room;           /* out[PAIR_BLOCK,PAIR_BLOCK] */

int         pair_workers(const metric_work *w);              /* how many there are */
ddpm_status pair_scratch_new(const metric_work *w, size_t dims, pair_scratch *s);
void        pair_scratch_free(pair_scratch *s);
pair_room   pair_scratch_of(const pair_scratch *s, int worker);

/* Block number `block` of the n rows that `index` names (NULL: all n in order). */
void pair_pack(const metric_rows *r, const int64_t *index, size_t n, size_t block, double *panels);

/* out[i,k]: the product, or the squared Euclidean distance, of row i of a and row k of b. The distance is a sum of squared
 * differences, so it is the same both ways and 0 between equal rows. */
void pair_products(size_t dims, const pair_room *room);
void pair_distances(size_t dims, const pair_room *room);

/* Tasks 0..tasks-1 on the threads of w; `before` of `all` were done by others. */
ddpm_status pair_run(const metric_work *w, int tasks, int64_t before, int64_t all, void (*fn)(void *ctx, int task, int worker), void *ctx);

#endif
