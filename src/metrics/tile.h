/* tile.h - the inner loops of the room; private to metrics/.
 *
 * Operands are packed in panels of TILE columns: element (r, i) of a panel is at
 * r * TILE + i. An element of the result is a sum in the order of r, so neither the
 * order of tiles nor the thread that computes one shows in the bits. */
#ifndef DDPM_METRICS_TILE_H
#define DDPM_METRICS_TILE_H

#include <stddef.h>

enum { TILE = 4 };

/* c[i * stride + j] += sum over r < n of a(r, i) b(r, j) */
static inline void tile_add(const double *a, const double *b, size_t n, double *c, size_t stride)
{
    double s[TILE][TILE] = { { 0 } };
    for (size_t r = 0; r < n; r++)
        for (int i = 0; i < TILE; i++)
            for (int j = 0; j < TILE; j++) s[i][j] += a[r * TILE + (size_t)i] * b[r * TILE + (size_t)j];
    for (size_t i = 0; i < TILE; i++)
        for (size_t j = 0; j < TILE; j++) c[i * stride + j] += s[i][j];
}

/* c[i * stride + j] += sum over r < n of (a(r, i) - b(r, j))^2 */
static inline void tile_add_squares(const double *a, const double *b, size_t n, double *c, size_t stride)
{
    double s[TILE][TILE] = { { 0 } };
    for (size_t r = 0; r < n; r++)
        for (int i = 0; i < TILE; i++)
            for (int j = 0; j < TILE; j++) {
                const double d = a[r * TILE + (size_t)i] - b[r * TILE + (size_t)j];
                s[i][j] += d * d;
            }
    for (size_t i = 0; i < TILE; i++)
        for (size_t j = 0; j < TILE; j++) c[i * stride + j] += s[i][j];
}

static inline size_t tile_panels(size_t columns) { return (columns + TILE - 1) / TILE; }

#endif
