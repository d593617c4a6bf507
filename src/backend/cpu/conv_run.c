#include "backend/cpu/conv.h"

/* Steps of a block: its weights, TILE_WIDTH columns wide, take two thirds of a
 * first-level cache; for tiles 12 KiB, so that the rows they meet fit beside them. */
enum { BLOCK_STEPS = 128, TILE_BLOCK_STEPS = 64 };

/* One block: some steps of some taps, for all rows of a unit. */
typedef struct {
    const conv_job  *job;
    const char      *rows;
    const ptrdiff_t *offset;
    int              m, width;
    float           *sum;
    tile_rows_job    tile;
} conv_block;

size_t conv_run_bytes(const conv_gather *g)
{
    const size_t m = (size_t)conv_round_up(conv_unit_pixels(g), 32);
    const size_t width = g->tiles ? 16 : TILE_WIDTH;
    return conv_rows_bytes(g) + conv_lines(m * sizeof(ptrdiff_t)) + m * width * sizeof(float);
}

static void tile_run(bool bf, int rows, int vectors, const tile_rows_job *t, const char *const *row, float *sum)
{
    if (BF16_PRODUCTS && bf) TILE_DISPATCH(tile_rows_run, rows, vectors, true, t, row, sum, vectors * LANES);
    else TILE_DISPATCH(tile_rows_run, rows, vectors, false, t, row, sum, vectors * LANES);
}

static void block_vectors(const conv_block *b)
{
    const bool bf = b->job->g->element == ELEMENT_BF16;
    for (int m = 0; m < b->m; m += TILE_ROWS) {
        const int rows = b->m - m < TILE_ROWS ? b->m - m : TILE_ROWS;
        const char *row[TILE_ROWS];
        for (int r = 0; r < rows; r++) row[r] = b->rows + b->offset[m + r];
        tile_run(bf, rows, b->width / LANES, &b->tile, row, b->sum + (ptrdiff_t)m * b->width);
    }
}

/* 32 rows by 16 columns: two sums, one left and one right operand, four live tiles. */
static void block_tiles(const conv_block *b, amx_state *amx)
{
    const conv_gather *g = b->job->g;
    const ptrdiff_t stride = g->row_bytes * (g->rows == ROWS_GRID ? g->stride : 1);
    for (int m = 0; m < b->m; m += 32) {
        const bool two = m + 16 < b->m;
        const char *top = b->rows + b->offset[m], *low = two ? b->rows + b->offset[m + 16] : top;
        float *sum = b->sum + (ptrdiff_t)m * 16;
        if (b->tile.first) {
            amx_zero(amx, 0);
            amx_zero(amx, 1);
        } else {
            amx_load(amx, 0, sum, 64);
            amx_load(amx, 1, sum + 256, 64);
        }
        for (int s = 0; s < b->tile.segments; s++) {
            const float *w = b->tile.b + b->tile.at[s];
            const ptrdiff_t end = b->tile.a[s] + (ptrdiff_t)b->tile.steps * 4;
            for (ptrdiff_t a = b->tile.a[s]; a < end; a += 64, w += 256) {
                amx_load(amx, 3, w, 64);
                amx_load(amx, 2, top + a, stride);
                amx_dp(amx, 0, 2, 3);
                if (!two) continue;
                amx_load(amx, 2, low + a, stride);
                amx_dp(amx, 1, 2, 3);
            }
        }
        amx_store(amx, 0, sum, 64);
        amx_store(amx, 1, sum + 256, 64);
    }
}

static void block_run(const conv_block *b, amx_state *amx)
{
    if (AMX_TILES && b->job->g->tiles) block_tiles(b, amx);
    else block_vectors(b);
}

/* Taps from `from` on that make one block: as many as fit, and for tiles those of
 * one line, whose rows overlap. */
static int block_taps(const conv_gather *g, const conv_taps *taps, int from, int steps)
{
    int n = 1;
    while (from + n < taps->n &&
           (g->tiles ? taps->tap[from + n].dy == taps->tap[from].dy : (n + 1) * steps <= BLOCK_STEPS)) n++;
    return n;
}

/* The sums of one column group, block after block. */
static void group_sums(conv_block *b, const float *packed, amx_state *amx)
{
    const conv_gather *g = b->job->g;
    const conv_taps *taps = b->job->taps;
    const conv_taps flat = {.n = 1};
    if (g->rows == ROWS_FLAT) taps = &flat;
    const int each = g->element == ELEMENT_BF16 ? 2 : 1;
    const int steps = (g->rows == ROWS_FLAT ? g->depth : g->tap_channels) / each;
    const int most = g->tiles ? TILE_BLOCK_STEPS : BLOCK_STEPS;
    const int chunks = (steps + most - 1) / most;
    const int chunk = conv_round_up((steps + chunks - 1) / chunks, g->tiles ? 16 : 1);
    ptrdiff_t a[CONV_MAX_TAPS], at[CONV_MAX_TAPS];
    b->tile = (tile_rows_job){0, 0, a, at, packed, true};
    for (int from = 0; from < taps->n; from += b->tile.segments) {
        b->tile.segments = block_taps(g, taps, from, steps);
        for (int k = 0; k < steps; k += chunk) {
            b->tile.steps = steps - k < chunk ? steps - k : chunk;
            for (int s = 0; s < b->tile.segments; s++) {
                const conv_tap *t = &taps->tap[from + s];
                a[s] = conv_tap_offset(g, t, from + s) + (ptrdiff_t)k * 4;
                at[s] = ((ptrdiff_t)t->index * steps + k) * b->width;
            }
            block_run(b, amx);
            b->tile.first = false;
        }
    }
    if (b->tile.first)
        for (int i = 0; i < b->m * b->width; i++) b->sum[i] = 0;
}

static void unit_run(const conv_job *job, const conv_unit *u, amx_state *amx)
{
    const conv_gather *g = job->g;
    const size_t m = (size_t)conv_round_up(conv_unit_pixels(g), 32);
    char *memory = job->scratch;
    ptrdiff_t *offset = (ptrdiff_t *)(memory + conv_rows_bytes(g));
    conv_block b = {.job = job, .offset = offset, .m = u->m, .sum = (float *)((char *)offset + conv_lines(m * sizeof *offset))};
    b.rows = conv_rows_fill(g, job->taps, &job->source, u, memory, offset);
    for (int j = 0; j < g->columns; j += b.width) {
        b.width = conv_width(g, j);
        group_sums(&b, (const float *)job->packed + (ptrdiff_t)conv_depth_steps(g) * j, amx);
        job->store(job->ctx, u, j, b.width, b.sum);
    }
}

static void run_units(const conv_job *job, amx_state *amx)
{
    conv_unit u;
    for (int image = 0; image < job->n; image += u.images) {
        u = conv_unit_at(job->g, job->n, image, 0);
        for (int line = 0; line < job->g->oh; line += u.lines) {
            u = conv_unit_at(job->g, job->n, image, line);
            unit_run(job, &u, amx);
        }
    }
}

void conv_run(const conv_job *job)
{
    const bool tiles = AMX_TILES && job->g->tiles;
    amx_state amx;
    if (tiles) amx_begin(&amx);
    run_units(job, &amx);
    if (tiles) amx_end(&amx);
}
