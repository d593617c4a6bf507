#include "backend/cpu/gemm.h"

#include "backend/cpu/amx_block.h"
#include "backend/cpu/rows.h"
#include "backend/cpu/turn.h"

/* Steps of a block: its columns of the right operand take two thirds of a first-level cache. */
enum { GEMM_STEPS = 128 };

/* Columns packed side by side from `column` on. */
static int gemm_width(bool pairs, int columns, int column)
{
    return AMX_TILES && pairs ? GEMM_WHOLE : tile_group(tile_columns(columns), column);
}

size_t gemm_right_words(int steps, int columns)
{
    return (size_t)gemm_whole(steps) * (size_t)gemm_whole(columns);
}

/* ---- packing ---- */

/* Step k of `lanes` columns from `column` on. */
static vf gemm_step(bool pairs, int summed, const void *src, ptrdiff_t row, int k, int column, int lanes)
{
    if (!pairs) return row_get(NN_F32, src, (size_t)(k * row + column), lanes);
    const bf16 none[LANES] = {0}, *const low = (const bf16 *)src + 2 * k * row + column;
    return row_pair_stored(low, 2 * k + 1 < summed ? low + row : none, lanes);
}

void gemm_pack(gemm_right *right, bool pairs, int summed, int columns, const void *src, ptrdiff_t row)
{
    right->pairs = pairs;
    right->steps = pairs ? (summed + 1) / 2 : summed;
    right->columns = columns;
    const int room = gemm_whole(right->steps), whole = gemm_whole(columns);
    int width = 0;
    for (int j = 0; j < whole; j += width) {
        width = gemm_width(pairs, columns, j);
        float *to = right->packed + (ptrdiff_t)room * j;
        for (int k = 0; k < room; k++)
            for (int i = 0; i < width; i += LANES, to += LANES) {
                const int lanes = row_lanes(columns, j + i);
                if (k >= right->steps || lanes <= 0) vf_store(to, (vf){0});
                else vf_store(to, gemm_step(pairs, summed, src, row, k, j + i, lanes));
            }
    }
}

/* A block of LANES rows and columns; rows from `rows` on are zeros. */
TILE_INLINE void gemm_turn_block(int rows, const float *from, ptrdiff_t from_row, int columns, float *to, ptrdiff_t to_row)
{
    vf row[LANES];
    #pragma GCC unroll 16
    for (int l = 0; l < LANES; l++) row[l] = l < rows ? vf_load(from + l * from_row) : (vf){0};
    turn_words(row);
    #pragma GCC unroll 16
    for (int l = 0; l < LANES; l++)
        if (l < columns) vf_store(to + l * to_row, row[l]);
}

void gemm_turn(int rows, int columns, const float *from, ptrdiff_t from_row, float *to, ptrdiff_t to_row)
{
    for (int k = 0; k < gemm_whole(rows); k += LANES)
        for (int j = 0; j < columns; j += LANES)
            gemm_turn_block(rows - k, from + k * from_row + j, from_row, columns - j, to + j * to_row + k, to_row);
}

void gemm_pack_turned(gemm_right *right, bool pairs, int steps, int columns, const float *src, ptrdiff_t row)
{
    *right = (gemm_right){pairs, steps, columns, right->packed};
    const int room = gemm_whole(steps), whole = gemm_whole(columns);
    int width = 0;
    for (int j = 0; j < whole; j += width) {
        width = gemm_width(pairs, columns, j);
        float *to = right->packed + (ptrdiff_t)room * j;
        for (int i = 0; i < width; i += LANES)
            for (int k = 0; k < room; k += LANES)
                gemm_turn_block(columns - j - i, src + (j + i) * row + k, row, LANES, to + k * width + i, width);
    }
}

/* ---- vectors ---- */

static void gemm_tile(bool pairs, int rows, int vectors, const tile_rows_job *job, const char *const *row, float *c, ptrdiff_t c_row)
{
    if (BF16_PRODUCTS && pairs) TILE_DISPATCH(tile_rows_run, rows, vectors, true, job, row, c, c_row);
    else TILE_DISPATCH(tile_rows_run, rows, vectors, false, job, row, c, c_row);
}

static void gemm_tile_across(bool pairs, int rows, int vectors, const tile_outer_job *job, float *c, ptrdiff_t c_row)
{
    if (BF16_PRODUCTS && pairs) TILE_DISPATCH(tile_outer_run, rows, vectors, true, job, c, c_row);
    else TILE_DISPATCH(tile_outer_run, rows, vectors, false, job, c, c_row);
}

typedef struct { const float *at; ptrdiff_t row; bool across; } gemm_left;
typedef struct { int width, from, steps; bool pairs, first; const float *packed; } gemm_block;      /* some steps of a column group */

static void block_along(int m, const gemm_left *left, const gemm_block *b, float *c, ptrdiff_t c_row)
{
    const ptrdiff_t none = 0;
    const tile_rows_job job = {1, b->steps, &none, &none, b->packed, b->first};
    int rows = 0;
    for (int i = 0; i < m; i += rows) {
        rows = tile_height(b->width / LANES, m - i);
        const char *row[TILE_TALL];
        for (int r = 0; r < rows; r++) row[r] = (const char *)(left->at + (i + r) * left->row + b->from);
        gemm_tile(b->pairs, rows, b->width / LANES, &job, row, c + i * c_row, c_row);
    }
}

static void block_across(int m, const gemm_left *left, const gemm_block *b, float *c, ptrdiff_t c_row)
{
    ptrdiff_t step[GEMM_STEPS];
    for (int k = 0; k < b->steps; k++) step[k] = (b->from + k) * left->row * (ptrdiff_t)sizeof *left->at;
    tile_outer_job job = {b->steps, NULL, step, b->packed, b->first};
    int rows = 0;
    for (int i = 0; i < m; i += rows) {
        rows = tile_height(b->width / LANES, m - i);
        job.a = (const char *)(left->at + i);
        gemm_tile_across(b->pairs, rows, b->width / LANES, &job, c + i * c_row, c_row);
    }
}

static void gemm_vectors(int m, const gemm_left *left, const gemm_right *right, float *c, ptrdiff_t c_row, bool accumulate)
{
    gemm_block b = {.pairs = right->pairs};
    for (int j = 0; j < right->columns; j += b.width) {
        const float *packed = right->packed + (ptrdiff_t)gemm_whole(right->steps) * j;
        b.width = gemm_width(right->pairs, right->columns, j);
        for (b.from = 0; b.from < right->steps; b.from += GEMM_STEPS) {
            b.steps = right->steps - b.from < GEMM_STEPS ? right->steps - b.from : GEMM_STEPS;
            b.packed = packed + (ptrdiff_t)b.from * b.width;
            b.first = b.from == 0 && !accumulate;
            if (left->across) block_across(m, left, &b, c + j, c_row);
            else block_along(m, left, &b, c + j, c_row);
        }
    }
}

/* ---- tiles ---- */

/* Blocks of 32 rows by 16 columns. */
static void gemm_tiles(int m, const float *left, ptrdiff_t left_row, const gemm_right *right, float *c, ptrdiff_t c_row, bool accumulate)
{
    const int room = gemm_whole(right->steps);
    amx_state amx;
    amx_block_begin(&amx, false);
    for (int j = 0; j < right->columns; j += GEMM_WHOLE)
        for (int i = 0; i < m; i += 2 * GEMM_WHOLE) {
            const amx_shape shape = {.tall = i + GEMM_WHOLE < m};
            const amx_sums sums = {c + i * c_row + j, c_row, GEMM_WHOLE * c_row, 0};
            const char *top = (const char *)(left + i * left_row), *packed = (const char *)(right->packed + (ptrdiff_t)room * j);
            amx_operands x = {top, shape.tall ? top + GEMM_WHOLE * left_row * 4 : top, left_row * 4, packed, packed};
            if (accumulate) amx_block_load(&amx, shape, &sums);
            else amx_block_zero(&amx, shape);
            for (int k = 0; k < room; k += GEMM_WHOLE) {
                amx_block_step(&amx, shape, &x);
                amx_next_steps(&x);
            }
            amx_block_store(&amx, shape, &sums);
        }
    amx_end(&amx);
}

/* ---- products ---- */

void gemm_along(int m, const float *left, ptrdiff_t left_row, const gemm_right *right, float *c, ptrdiff_t c_row)
{
    const gemm_left l = {left, left_row, false};
    if (AMX_TILES && right->pairs) gemm_tiles(m, left, left_row, right, c, c_row, false);
    else gemm_vectors(m, &l, right, c, c_row, false);
}

void gemm_across(int m, const float *left, ptrdiff_t left_row, const gemm_right *right, float *c, ptrdiff_t c_row,
                 bool accumulate, float *turned)
{
    const gemm_left l = {left, left_row, true};
    if (!AMX_TILES || !right->pairs) {
        gemm_vectors(m, &l, right, c, c_row, accumulate);
        return;
    }
    const int steps = gemm_whole(right->steps);
    gemm_turn(right->steps, gemm_whole(m), left, left_row, turned, steps);
    gemm_tiles(m, turned, steps, right, c, c_row, accumulate);
}
