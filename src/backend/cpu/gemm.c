#include "backend/cpu/gemm.h"

#include "backend/cpu/tile.h"

#include <string.h>

enum { GEMM_STEPS = 128 };

typedef struct {
    int          m, n, k;             /* of this block                            */
    const float *a;
    ptrdiff_t    a_row, a_k;
    const float *packed;              /* the right operand, `width` columns a step */
    int          width;
    float       *c;
    ptrdiff_t    c_row;
    bool         first;
} gemm_block;

/* b's rows side by side, `width` columns each, zeros beyond column n. */
static void gemm_pack(int n, int k, int width, const float *b, ptrdiff_t b_row, float *packed)
{
    for (int p = 0; p < k; p++) {
        const float *from = b + p * b_row;
        float *to = packed + p * width;
        for (int j = 0; j < width; j += LANES) {
            if (j + LANES <= n) {
                vf_store(to + j, vf_load(from + j));
            } else {
                for (int l = 0; l < LANES; l++) to[j + l] = j + l < n ? from[j + l] : 0;
            }
        }
    }
}

static void gemm_tile(int rows, int vectors, const tile_rows_job *job, const char *const *row, float *c, ptrdiff_t c_row)
{
    TILE_DISPATCH(tile_rows_run, rows, vectors, false, job, row, c, c_row);
}

static void gemm_tile_across(int rows, int vectors, const tile_outer_job *job, float *c, ptrdiff_t c_row)
{
    TILE_DISPATCH(tile_outer_run, rows, vectors, false, job, c, c_row);
}

/* Rows of a as runs of consecutive floats: in place, or copied when a_k is not 1. */
static void gemm_rows(const gemm_block *g, int from, int rows, float *copy, const char **row)
{
    for (int r = 0; r < rows; r++) {
        const float *a = g->a + (from + r) * g->a_row;
        row[r] = (const char *)a;
        if (g->a_k == 1) continue;
        float *to = copy + r * GEMM_STEPS;
        for (int p = 0; p < g->k; p++) to[p] = a[p * g->a_k];
        row[r] = (const char *)to;
    }
}

/* Sums of a part of a vector go through a tile of their own: c has no room for the rest. */
static void gemm_copy(int rows, int n, const float *from, ptrdiff_t from_row, float *to, ptrdiff_t to_row)
{
    for (int r = 0; r < rows; r++) memcpy(to + r * to_row, from + r * from_row, (size_t)n * sizeof *to);
}

/* One tile of sums: along the rows of a, or across them when a is given transposed. */
static void gemm_sums(const gemm_block *g, int from, int rows, float *c, ptrdiff_t c_row)
{
    if (g->a_row == 1 && g->a_k != 1) {
        ptrdiff_t step[GEMM_STEPS];
        for (int p = 0; p < g->k; p++) step[p] = p * g->a_k * (ptrdiff_t)sizeof *g->a;
        const tile_outer_job job = {g->k, (const char *)(g->a + from), step, g->packed, g->first};
        gemm_tile_across(rows, g->width / LANES, &job, c, c_row);
        return;
    }
    const ptrdiff_t none = 0;
    const tile_rows_job job = {1, g->k, &none, &none, g->packed, g->first};
    _Alignas(64) float copy[TILE_ROWS * GEMM_STEPS];
    const char *row[TILE_ROWS];
    gemm_rows(g, from, rows, copy, row);
    gemm_tile(rows, g->width / LANES, &job, row, c, c_row);
}

static void gemm_run(const gemm_block *g)
{
    _Alignas(64) float part[TILE_ROWS * TILE_WIDTH] = {0};
    for (int i = 0; i < g->m; i += TILE_ROWS) {
        const int rows = g->m - i < TILE_ROWS ? g->m - i : TILE_ROWS;
        float *c = g->c + i * g->c_row;
        if (g->width <= g->n) {
            gemm_sums(g, i, rows, c, g->c_row);
            continue;
        }
        if (!g->first) gemm_copy(rows, g->n, c, g->c_row, part, g->width);
        gemm_sums(g, i, rows, part, g->width);
        gemm_copy(rows, g->n, part, g->width, c, g->c_row);
    }
}

void ISA(gemm_f32)(int m, int n, int k, const float *a, ptrdiff_t a_row, ptrdiff_t a_k,
                   const float *b, ptrdiff_t b_row, float *c, ptrdiff_t c_row, bool accumulate)
{
    _Alignas(64) float packed[GEMM_STEPS * TILE_WIDTH];
    int width = 0;
    for (int j = 0; j < n; j += width) {
        width = tile_group(n, j);
        int steps = 0;
        for (int p = 0; p < k || p == 0; p += steps) {
            steps = k - p < GEMM_STEPS ? k - p : GEMM_STEPS;
            const int columns = n - j < width ? n - j : width;
            gemm_pack(columns, steps, width, b + p * b_row + j, b_row, packed);
            const gemm_block g = {
                .m = m, .n = columns, .k = steps, .a = a + p * a_k, .a_row = a_row, .a_k = a_k,
                .packed = packed, .width = width, .c = c + j, .c_row = c_row, .first = p == 0 && !accumulate,
            };
            gemm_run(&g);
            if (steps == 0) break;
        }
    }
}
