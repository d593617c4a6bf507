/* tile.h - the inner loops of the room; private to metrics/.
 *
 * Operands are packed in panels of TILE columns: element (r, i) of a panel is at r * TILE + i. An
 * element of a result is one sum in the order of r, each product and each addition rounded. So neither the order of tiles, nor
 * the thread that computes one, nor the instructions that do it show in the bits.
 *
 * The loops are compiled once for each level of instructions (tile/sources.cmake), and the best one that the processor
 * has is chosen at run time: what a compiler may assume of every processor runs at a quarter of the speed. */
#ifndef DDPM_METRICS_TILE_H
#define DDPM_METRICS_TILE_H

#include <stdbool.h>
#include <stddef.h>

enum { TILE = 8, TILE_ROUGH = 16 };

/* a_panels of a with b_panels of b, panels a_step and b_step numbers apart, of `n` rows each. c[i * stride + j] is for
 * column i of a and column j of b. `on`: sums go on from c; otherwise they start from 0 and are then added to c. */
typedef struct {
    const double *a, *b;
    size_t  a_panels, b_panels, a_step, b_step, n;
    double *c;
    size_t  stride;
    bool    on;
} tile_job;

/* The same of floats in panels of TILE_ROUGH columns. */
typedef struct {
    const float *a, *b;
    size_t a_panels, b_panels, a_step, b_step, n;
    float *c;
    size_t stride;
    bool   on;
} tile_rough_job;

typedef struct {
    void (*products)(const tile_job *j);         /* sums of a(r, i) b(r, j)                                */
    void (*squares)(const tile_job *j);          /* sums of (a(r, i) - b(r, j))^2                          */
    void (*rough)(const tile_rough_job *j);      /* sums of products for estimates: their last bits depend
                                                    on the level, which may fuse products with additions   */
} tile_kernels;

/* Of the best level that this processor has. */
const tile_kernels *tile_best(void);

/* Level 0, 1, ... from the plainest on, for tests; NULL beyond what this processor has. */
const tile_kernels *tile_level(int level);

static inline size_t tile_panels(size_t columns) { return (columns + TILE - 1) / TILE; }

#endif
