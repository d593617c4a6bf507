/* tile.h - register tiles: a few rows times a few vectors of running sums.
 *
 * A "step" is 4 bytes of each operand: one f32, or two bf16 that are neighbours
 * in the summed direction. The right operand is packed: per step `nv` vectors
 * that lie side by side. Every sum is one accumulator that takes the steps in
 * order, so tiling never shows in the bits. */
#ifndef DDPM_BACKEND_CPU_TILE_H
#define DDPM_BACKEND_CPU_TILE_H

#include "backend/cpu/isa.h"

#include <stddef.h>

/* Six rows by four vectors fill the 32 registers of AVX-512, six by two the 16
 * of AVX2, and each loaded value is used often enough to feed two multipliers. */
#if defined(__AVX512F__)
enum { TILE_ROWS = 6, TILE_VECTORS = 4 };
#elif defined(__AVX2__)
enum { TILE_ROWS = 6, TILE_VECTORS = 2 };
#else
enum { TILE_ROWS = 3, TILE_VECTORS = 4 };
#endif
enum { TILE_WIDTH = TILE_VECTORS * LANES };

/* Narrower tiles are taller, so that enough sums are under way: of one vector, and between one and the most. */
enum { TILE_TALL = 2 * TILE_ROWS, TILE_MIDDLE = TILE_ROWS + TILE_ROWS / 3 };

/* bf16 products in hardware; elsewhere bf16 operands are kept as f32. */
#if defined(__AVX512BF16__)
enum { BF16_PRODUCTS = 1 };
#else
enum { BF16_PRODUCTS = 0 };
#endif

#define TILE_INLINE static inline __attribute__((always_inline))

/* Columns of the column group that starts at column `from` of `n`, a multiple of
 * LANES: as wide as a tile, and a half or a quarter of that at the end. */
static inline int tile_group(int n, int from)
{
    int width = TILE_WIDTH;
    while (width > LANES && width > n - from) width /= 2;
    return width;
}

/* Rows of the next tile, of `left` that remain. */
static inline int tile_height(int vectors, int left)
{
    if (vectors == 1 && left >= TILE_TALL) return TILE_TALL;
    if (vectors > 1 && vectors < TILE_VECTORS && left >= TILE_MIDDLE) return TILE_MIDDLE;
    return left < TILE_ROWS ? left : TILE_ROWS;
}

/* Sums a column group needs when n columns are rounded up to whole vectors. */
static inline int tile_columns(int n)
{
    return (n + LANES - 1) / LANES * LANES;
}

TILE_INLINE vf tile_broadcast(const char *p)
{
    float f;
    memcpy(&f, p, sizeof f);
    return vf_set(f);
}

TILE_INLINE vf tile_multiply(const bool bf, vf sum, vf a, vf b)
{
#if defined(__AVX512BF16__)
    if (bf) return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#endif
    (void)bf;
    return vf_fma(a, b, sum);
}

/* The left operand of sums along rows: `segments` runs of `steps` steps; row r
 * of run s starts at row[r] + a[s] (bytes), its right operand at b + at[s] (floats). */
typedef struct {
    int              segments, steps;
    const ptrdiff_t *a, *at;
    const float     *b;
    bool             first;          /* sums start from zero instead of from c   */
} tile_rows_job;

TILE_INLINE void tile_rows_run(const int mr, const int nv, const bool bf, const tile_rows_job *j,
                               const char *const *row, float *c, ptrdiff_t c_row)
{
    vf sum[TILE_TALL][TILE_VECTORS];
    #pragma GCC unroll 12
    for (int r = 0; r < mr; r++)
        #pragma GCC unroll 4
        for (int v = 0; v < nv; v++) sum[r][v] = j->first ? (vf){0} : vf_load(c + r * c_row + v * LANES);
    for (int s = 0; s < j->segments; s++) {
        const float *b = j->b + j->at[s];
        const char *a[TILE_TALL];
        #pragma GCC unroll 12
        for (int r = 0; r < mr; r++) a[r] = row[r] + j->a[s];
        const ptrdiff_t end = (ptrdiff_t)j->steps * 4;
        for (ptrdiff_t k = 0; k < end; k += 4) {
            vf column[TILE_VECTORS];
            #pragma GCC unroll 4
            for (int v = 0; v < nv; v++) column[v] = vf_load(b + v * LANES);
            #pragma GCC unroll 12
            for (int r = 0; r < mr; r++) {
                const vf x = tile_broadcast(a[r] + k);
                #pragma GCC unroll 4
                for (int v = 0; v < nv; v++) sum[r][v] = tile_multiply(bf, sum[r][v], x, column[v]);
            }
            b += nv * LANES;
        }
    }
    #pragma GCC unroll 12
    for (int r = 0; r < mr; r++)
        #pragma GCC unroll 4
        for (int v = 0; v < nv; v++) vf_store(c + r * c_row + v * LANES, sum[r][v]);
}

/* Sums across rows: step k multiplies the mr values at a + row[k] + 4 r (bytes)
 * by the nv vectors at b + k * nv * LANES. */
typedef struct {
    int              steps;
    const char      *a;
    const ptrdiff_t *row;
    const float     *b;
    bool             first;
} tile_outer_job;

TILE_INLINE void tile_outer_run(const int mr, const int nv, const bool bf, const tile_outer_job *j,
                                float *c, ptrdiff_t c_row)
{
    vf sum[TILE_TALL][TILE_VECTORS];
    #pragma GCC unroll 12
    for (int r = 0; r < mr; r++)
        #pragma GCC unroll 4
        for (int v = 0; v < nv; v++) sum[r][v] = j->first ? (vf){0} : vf_load(c + r * c_row + v * LANES);
    const float *b = j->b;
    for (int k = 0; k < j->steps; k++) {
        const char *a = j->a + j->row[k];
        vf column[TILE_VECTORS];
        #pragma GCC unroll 4
        for (int v = 0; v < nv; v++) column[v] = vf_load(b + v * LANES);
        #pragma GCC unroll 12
        for (int r = 0; r < mr; r++) {
            const vf x = tile_broadcast(a + 4 * r);
            #pragma GCC unroll 4
            for (int v = 0; v < nv; v++) sum[r][v] = tile_multiply(bf, sum[r][v], x, column[v]);
        }
        b += nv * LANES;
    }
    #pragma GCC unroll 12
    for (int r = 0; r < mr; r++)
        #pragma GCC unroll 4
        for (int v = 0; v < nv; v++) vf_store(c + r * c_row + v * LANES, sum[r][v]);
}

/* Call run(rows, vectors, ...) with both as constants. */
#define TILE_DISPATCH_ROWS(run, mr, nv, ...)                 \
    do {                                                     \
        switch (mr) {                                        \
        case 1: run(1, nv, __VA_ARGS__); break;              \
        case 2: run(2, nv, __VA_ARGS__); break;              \
        case 3: run(3, nv, __VA_ARGS__); break;              \
        case 4: run(TILE_ROWS > 3 ? 4 : 1, nv, __VA_ARGS__); break; \
        case 5: run(TILE_ROWS > 3 ? 5 : 1, nv, __VA_ARGS__); break; \
        default: run(TILE_ROWS, nv, __VA_ARGS__); break;     \
        }                                                    \
    } while (0)

#define TILE_DISPATCH(run, mr, nv, ...)                                                      \
    do {                                                                                     \
        if ((nv) == TILE_VECTORS) TILE_DISPATCH_ROWS(run, mr, TILE_VECTORS, __VA_ARGS__);    \
        else if ((nv) > 1 && (mr) == TILE_MIDDLE) run(TILE_MIDDLE, TILE_VECTORS / 2, __VA_ARGS__); \
        else if ((nv) > 1) TILE_DISPATCH_ROWS(run, mr, TILE_VECTORS / 2, __VA_ARGS__);       \
        else if ((mr) == TILE_TALL) run(TILE_TALL, 1, __VA_ARGS__);                          \
        else TILE_DISPATCH_ROWS(run, mr, 1, __VA_ARGS__);                                    \
    } while (0)

#endif
