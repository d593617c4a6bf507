#include "backend/cpu/conv.h"

#include "backend/cpu/amx_block.h"

#include <assert.h>

/* Steps of a block: its weights, TILE_WIDTH columns wide, take two thirds of a
 * first-level cache; for tiles 12 KiB, so that the rows they meet fit beside them. */
enum { BLOCK_STEPS = 128, TILE_BLOCK_STEPS = 64 };

/* One block: some steps of some taps, for all rows of a unit. */
typedef struct {
    const conv_job  *job;
    const char      *rows;
    const ptrdiff_t *offset;
    int              m, width;
    int              group;          /* columns packed side by side: width, or half of a wide block of tiles */
    float           *sum;
    tile_rows_job    tile;
} conv_block;

size_t conv_run_bytes(const conv_gather *g)
{
    const size_t m = (size_t)conv_round_up(conv_unit_pixels(g), 32);
    return conv_rows_bytes(g) + conv_lines(m * sizeof(ptrdiff_t)) + m * CONV_MOST_COLUMNS * sizeof(float);
}

static void tile_run(bool bf, int rows, int vectors, const tile_rows_job *t, const char *const *row, float *sum)
{
    if (BF16_PRODUCTS && bf) TILE_DISPATCH(tile_rows_run, rows, vectors, true, t, row, sum, vectors * LANES);
    else TILE_DISPATCH(tile_rows_run, rows, vectors, false, t, row, sum, vectors * LANES);
}

static void block_vectors(const conv_block *b)
{
    const bool bf = b->job->g->element == ELEMENT_BF16;
    int rows = 0;
    for (int m = 0; m < b->m; m += rows) {
        rows = tile_height(b->width / LANES, b->m - m);
        const char *row[TILE_TALL];
        for (int r = 0; r < rows; r++) row[r] = b->rows + b->offset[m + r];
        tile_run(bf, rows, b->width / LANES, &b->tile, row, b->sum + (ptrdiff_t)m * b->width);
    }
}

static void block_tiles(const conv_block *b, amx_state *amx)
{
    const conv_gather *g = b->job->g;
    const ptrdiff_t right = (ptrdiff_t)conv_depth_steps(g) * 64;
    amx_operands x = {.row = g->row_bytes * (g->rows == ROWS_GRID ? g->stride : 1)};
    for (int m = 0; m < b->m; m += 32) {
        const amx_shape shape = {m + 16 < b->m, b->width > 16};
        const amx_sums sums = {b->sum + (ptrdiff_t)m * b->width, b->width, (ptrdiff_t)16 * b->width, 16};
        const char *top = b->rows + b->offset[m], *low = shape.tall ? b->rows + b->offset[m + 16] : top;
        if (b->tile.first) amx_block_zero(amx, shape);
        else amx_block_load(amx, shape, &sums);
        for (int s = 0; s < b->tile.segments; s++) {
            x.left = top + b->tile.a[s];
            x.low = low + b->tile.a[s];
            x.b = (const char *)(b->tile.b + b->tile.at[s]);
            x.right = x.b + right;
            for (int k = 0; k < b->tile.steps; k += 16) {
                amx_block_step(amx, shape, &x);
                amx_next_steps(&x);
            }
        }
        amx_block_store(amx, shape, &sums);
    }
}

static void block_run(const conv_block *b, amx_state *amx)
{
    if (AMX_TILES && b->job->g->tiles) block_tiles(b, amx);
    else block_vectors(b);
}

/* Taps from `from` on that make one block: as many as fit, and for tiles those of
 * one line, whose rows overlap. */
static int block_taps(const conv_gather *g, const conv_taps *taps, int from, int steps, int most)
{
    int n = 1;
    while (from + n < taps->n &&
           (g->tiles ? taps->tap[from + n].dy == taps->tap[from].dy : (n + 1) * steps <= most)) n++;
    return n;
}

/* The products of one term of the rows, `row_term` bytes into each, with one term of the
 * weights: the sums of one column group, block after block. */
static void term_sums(conv_block *b, ptrdiff_t row_term, const float *packed, amx_state *amx)
{
    const conv_gather *g = b->job->g;
    const conv_taps *taps = b->job->taps;
    const conv_taps flat = {.n = 1};
    if (g->rows == ROWS_FLAT) taps = &flat;
    const int each = g->element == ELEMENT_BF16 ? 2 : 1;
    const int steps = (g->rows == ROWS_FLAT ? g->depth : g->tap_channels) / each;
    const int most = g->tiles ? TILE_BLOCK_STEPS : BLOCK_STEPS * TILE_WIDTH / b->width;
    const int chunks = (steps + most - 1) / most;
    const int chunk = conv_round_up((steps + chunks - 1) / chunks, g->tiles ? 16 : 1);
    ptrdiff_t a[CONV_MAX_TAPS], at[CONV_MAX_TAPS];
    b->tile.a = a;
    b->tile.at = at;
    b->tile.b = packed;
    for (int from = 0; from < taps->n; from += b->tile.segments) {
        b->tile.segments = block_taps(g, taps, from, steps, most);
        for (int k = 0; k < steps; k += chunk) {
            b->tile.steps = steps - k < chunk ? steps - k : chunk;
            for (int s = 0; s < b->tile.segments; s++) {
                const conv_tap *t = &taps->tap[from + s];
                a[s] = conv_tap_offset(g, t, from + s) + row_term + (ptrdiff_t)k * 4;
                at[s] = ((ptrdiff_t)t->index * steps + k) * b->group;
            }
            block_run(b, amx);
            b->tile.first = false;
        }
    }
}

/* Of two terms, the products with a remainder come first: all of them together are 2^-8
 * of the sum, so that rounding errors of size come from one addition of three. */
static void group_sums(conv_block *b, const float *packed, amx_state *amx)
{
    const conv_gather *g = b->job->g;
    b->tile.first = true;
    if (g->terms == 2) {
        term_sums(b, g->term_bytes, packed, amx);
        term_sums(b, 0, packed + conv_packed_words(g), amx);
    }
    term_sums(b, 0, packed, amx);
    if (b->tile.first)
        for (int i = 0; i < b->m * b->width; i++) b->sum[i] = 0;
}

static void unit_run(const conv_job *job, const conv_share *share, const conv_unit *u, amx_state *amx)
{
    const conv_gather *g = job->g;
    const size_t m = (size_t)conv_round_up(conv_unit_pixels(g), 32);
    char *memory = job->scratch;
    ptrdiff_t *offset = (ptrdiff_t *)(memory + conv_rows_bytes(g));
    conv_block b = {.job = job, .offset = offset, .m = u->m, .sum = (float *)((char *)offset + conv_lines(m * sizeof *offset))};
    b.rows = conv_rows_fill(g, job->taps, &job->source, u, memory, offset);
    for (int j = share->column; j < share->column_end; j += b.width) {
        b.group = conv_width(g, j);
        b.width = g->wide && j + b.group < share->column_end ? 2 * b.group : b.group;
        group_sums(&b, (const float *)job->packed + (ptrdiff_t)conv_depth_steps(g) * j, amx);
        job->store(job->ctx, u, j, b.width, b.sum);
    }
}

void conv_run(const conv_job *job)
{
    const conv_share share = conv_share_of(job->g, job->n, job->part, job->parts);
    assert(conv_run_bytes(&share.g) <= conv_run_bytes(job->g));
    conv_job mine = *job;
    mine.g = &share.g;
    const bool tiles = AMX_TILES && share.g.tiles;
    amx_state amx;
    if (tiles) amx_block_begin(&amx, share.g.wide);
    for (int i = share.unit; i < share.unit_end; i++) {
        const conv_unit u = conv_share_unit(&share, job->n, i);
        unit_run(&mine, &share, &u, &amx);
    }
    if (tiles) amx_end(&amx);
}
