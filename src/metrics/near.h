/* near.h - the pairs of rows that are not farther apart than a limit; private to metrics/.
 *
 * Most pairs are too far apart to matter, and products p of floats tell so in a fraction of the time that distances take. With u = 2^-24 and
 * rows of d numbers, of which each is rounded to a float, and each of d products and additions too, p is within
 * 1.01 (d + 3) u |a| |b| of a.b where (d + 3) u < 0.01. Since 2 |a| |b| <= |a|^2 + |b|^2,
 *
 *   |a - b|^2 >= (|a|^2 + |b|^2) (1 - 1.02 (d + 3) u) - 2 p,
 *
 * the last hundredth being for what doubles round. Pairs that this does not exclude are measured as pairs.h does, to the same
 * bits. So no result depends on an estimate, only the time it takes. */
#ifndef DDPM_METRICS_NEAR_H
#define DDPM_METRICS_NEAR_H

#include "metrics/pairs.h"

/* Rows, borrowed, and their squared lengths. */
typedef struct { const metric_rows *rows; double *squares; } near_set;

ddpm_status near_set_new(const metric_rows *rows, near_set *s);        /* DDPM_ENOMEM */
void        near_set_free(near_set *s);

typedef struct { size_t dims; pair_scratch exact; float *rough; double *few; } near_scratch;

/* What a worker has; out[PAIR_BLOCK,PAIR_BLOCK]. */
typedef struct {
    size_t    dims;
    pair_room exact;
    float    *a, *b, *products;      /* as in pair_room, of floats                                    */
    double   *few;                   /* [1 + NEAR_TOGETHER,dims] rows that are measured one by one    */
    double   *out;
    const near_set *left;
    size_t    block;
    bool      packed;                /* exact.a holds the block                                       */
} near_room;

enum { NEAR_TOGETHER = 4 };

ddpm_status near_scratch_new(const metric_work *w, size_t dims, near_scratch *s);
void        near_scratch_free(near_scratch *s);
near_room   near_scratch_of(const near_scratch *s, int worker);

/* From now on pairs are of block `block` of `left`. */
void near_begin(near_room *room, const near_set *left, size_t block);

/* out[i,k]: the squared distance of row i of that block and row k of block `block` of `right`, or INFINITY if it is
 * above both left_limit[i] and right_limit[k] (NULL: none), arrays of the blocks' rows. */
void near_distances(near_room *room, const near_set *right, size_t block, const double *left_limit, const double *right_limit);

#endif
