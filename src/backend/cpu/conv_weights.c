#include "backend/cpu/conv.h"

#include "backend/cpu/rows.h"

#include <string.h>

/* The weight gradient: dw[tap][channel][column] += x[pixel + tap][channel] * dout[pixel][column],
 * pixel after pixel. The pixels of an image are filled up to whole steps with
 * zeros, never across images, so that a sum is the same however a batch is cut. */

enum { BLOCK_STEPS = 128 };

typedef struct {
    const nn_call     *call;
    const conv_gather *g;
    int                taps, channels, columns;    /* of the slab; a flat window is one tap */
    int                pixels;                     /* of a unit, filled up                 */
    const char        *rows;
    ptrdiff_t         *offset;                     /* of each pixel's row                  */
    ptrdiff_t         *pair;                       /* of each step in `pairs`              */
    float             *right;                      /* dout, packed                         */
    uint32_t          *pairs;                      /* x of one tap, two pixels in a word   */
    float             *tiles;                      /* the gradient in tile order           */
    bool               first;
} grad_job;

static int pixel_quantum(const conv_gather *g)
{
    return g->tiles ? 32 : g->element == ELEMENT_BF16 ? 2 : 1;
}

static int grad_channels(const conv_gather *g)
{
    return (g->rows == ROWS_FLAT ? g->kernel * g->kernel : 1) * (g->c[0] + g->c[1]);
}

static int filled_pixels(const conv_gather *g, int images, int lines)
{
    return images * conv_round_up(lines * g->ow, pixel_quantum(g));
}

/* Channels in `pairs`, filled up, and columns of dout when it is turned into tiles. */
static int pair_words(const conv_gather *g)
{
    return conv_round_up(grad_channels(g), 16);
}

/* Words from step to step: tiles take panels of 16 channels, vectors whole rows, an odd
 * number of cache lines apart so that the rows use all sets of the cache. */
static int pair_stride(const conv_gather *g)
{
    return g->tiles ? 16 : (pair_words(g) / 16 | 1) * 16;
}

static int tile_columns_of(const conv_gather *g)
{
    return conv_round_up(g->columns, 32);
}

typedef struct { size_t rows, offset, pair, right, pairs, tiles, end; } grad_layout;

static grad_layout layout_of(const conv_gather *g)
{
    const size_t pixels = (size_t)filled_pixels(g, g->unit_images, g->unit_lines);
    const size_t columns = (size_t)conv_round_up(g->columns, 32);
    const bool bf = g->element == ELEMENT_BF16;
    const size_t taps = g->rows == ROWS_FLAT ? 1 : (size_t)(g->kernel * g->kernel);
    grad_layout l = {0};
    l.offset = conv_rows_bytes(g);
    l.pair = l.offset + conv_lines(pixels * sizeof(ptrdiff_t));
    l.right = l.pair + conv_lines(pixels * sizeof(ptrdiff_t));
    l.pairs = l.right + conv_lines(pixels * columns * 4);
    l.tiles = l.pairs + (bf ? conv_lines(pixels / 2 * (size_t)conv_round_up(pair_words(g), pair_stride(g)) * 4) : 0);
    l.end = l.tiles + (g->tiles ? taps * (size_t)pair_words(g) * columns * 4 : 0);
    return l;
}

size_t conv_weight_grad_bytes(const conv_gather *g)
{
    return layout_of(g).end;
}

/* Distances of the unit's pixels with the filling: any row serves there, for dout is zero. */
static void fill_offsets(const grad_job *j, const conv_unit *u)
{
    const int image = u->lines * j->g->ow;
    const int filled = conv_round_up(image, pixel_quantum(j->g));
    if (filled == image) return;
    for (int i = u->images - 1; i >= 0; i--) {
        for (int m = filled - 1; m >= image; m--) j->offset[i * filled + m] = 0;
        for (int m = image - 1; m >= 0; m--) j->offset[i * filled + m] = j->offset[i * image + m];
    }
}

/* dout of filled pixel m, or NULL for the filling; the index of its first element. */
static const void *dout_at(const grad_job *j, const conv_unit *u, int m, size_t *at)
{
    const int image = u->lines * j->g->ow;
    const int filled = conv_round_up(image, pixel_quantum(j->g));
    if (m % filled >= image) return NULL;
    const size_t first = ((size_t)(u->image + m / filled) * (size_t)j->g->oh + (size_t)u->line) * (size_t)j->g->ow;
    *at = (first + (size_t)(m % filled)) * (size_t)j->columns;
    return j->call->dout;
}

static vf dout_vector(const grad_job *j, const void *dout, size_t at, int column)
{
    if (!dout || column >= j->columns) return (vf){0};
    return row_get(j->call->node->out->dtype, dout, at + (size_t)column, row_lanes(j->columns, column));
}

static vf round_bf16(vf v)
{
    return (vf)(__builtin_convertvector(vh_round(v), vu) << 16);
}

/* The words low | high << 16 of two rows of values rounded to bf16. */
static vf pair_vectors(vf low, vf high)
{
    return (vf)(__builtin_convertvector(vh_round(low), vu) | __builtin_convertvector(vh_round(high), vu) << 16);
}

/* dout in column groups, [step][width] each, a step being a pixel or a pair of pixels. */
static void pack_right(const grad_job *j, const conv_unit *u)
{
    const bool bf = j->g->element == ELEMENT_BF16, rounded = j->g->element == ELEMENT_ROUNDED;
    const int columns = conv_round_up(j->columns, LANES), steps = bf ? j->pixels / 2 : j->pixels;
    for (int s = 0; s < steps; s++) {
        size_t at = 0, next = 0;
        const void *dout = dout_at(j, u, bf ? 2 * s : s, &at);
        const void *second = bf ? dout_at(j, u, 2 * s + 1, &next) : NULL;
        int width = 0;
        for (int c = 0; c < columns; c += width) {
            width = tile_group(columns, c);
            float *to = j->right + (ptrdiff_t)steps * c + (ptrdiff_t)s * width;
            for (int i = 0; i < width; i += LANES) {
                vf v = dout_vector(j, dout, at, c + i);
                if (bf) v = pair_vectors(v, dout_vector(j, second, next, c + i));
                vf_store(to + i, rounded ? round_bf16(v) : v);
            }
        }
    }
}

/* Rows of one tap, two pixels in a word: what a product of bf16 pairs over pixels reads. */
static void pack_pairs(const grad_job *j, ptrdiff_t tap)
{
    const int stride = pair_stride(j->g), steps = j->pixels / 2;
    for (int s = 0; s < steps; s++) {
        const bf16 *low = (const bf16 *)(j->rows + j->offset[2 * s] + tap);
        const bf16 *high = (const bf16 *)(j->rows + j->offset[2 * s + 1] + tap);
        for (int from = 0; from < j->channels; from += stride) {
            uint32_t *to = j->pairs + (ptrdiff_t)from * steps + (ptrdiff_t)s * stride;
            const int most = j->channels - from < stride ? j->channels - from : stride;
            for (int c = 0; c < most; c++) to[c] = low[from + c] | (uint32_t)high[from + c] << 16;
            for (int c = most; c < stride; c++) to[c] = 0;
        }
    }
}

static void outer_run(bool bf, int rows, int vectors, const tile_outer_job *t, float *sum, ptrdiff_t sum_row)
{
    if (BF16_PRODUCTS && bf) TILE_DISPATCH(tile_outer_run, rows, vectors, true, t, sum, sum_row);
    else TILE_DISPATCH(tile_outer_run, rows, vectors, false, t, sum, sum_row);
}

/* A tile of sums in the slab; the last columns, when they are no whole vector, on the side. */
static void outer_tile(const grad_job *j, int rows, int column, int width, const tile_outer_job *t, float *slab)
{
    const bool bf = j->g->element == ELEMENT_BF16;
    const int most = j->columns - column;
    if (width <= most) {
        outer_run(bf, rows, width / LANES, t, slab, j->columns);
        return;
    }
    float part[TILE_ROWS * TILE_WIDTH] = {0};
    for (int r = 0; r < rows && !t->first; r++)
        memcpy(part + r * width, slab + (ptrdiff_t)r * j->columns, (size_t)most * sizeof *part);
    outer_run(bf, rows, width / LANES, t, part, width);
    for (int r = 0; r < rows; r++)
        memcpy(slab + (ptrdiff_t)r * j->columns, part + r * width, (size_t)most * sizeof *part);
}

/* A block of steps: all channels of one tap times some columns. */
typedef struct { int tap, column, width, from, steps; } grad_block;

static void tap_block(const grad_job *j, const grad_block *b, const char *left)
{
    const bool bf = j->g->element == ELEMENT_BF16;
    const int all = bf ? j->pixels / 2 : j->pixels;
    float *slab = (float *)j->call->din[CONV_W] + (ptrdiff_t)b->tap * j->channels * j->columns + b->column;
    tile_outer_job t = {
        .steps = b->steps, .row = (bf ? j->pair : j->offset) + b->from,
        .b = j->right + (ptrdiff_t)all * b->column + (ptrdiff_t)b->from * b->width, .first = j->first && b->from == 0,
    };
    for (int c = 0; c < j->channels; c += TILE_ROWS) {
        const int rows = j->channels - c < TILE_ROWS ? j->channels - c : TILE_ROWS;
        t.a = left + (ptrdiff_t)c * 4;
        outer_tile(j, rows, b->column, b->width, &t, slab + (ptrdiff_t)c * j->columns);
    }
}

/* Every block of `taps` taps from `tap` on; the rows of tap t start at left[t]. */
static void tap_blocks(const grad_job *j, int tap, int taps, const char *const *left)
{
    const int steps = j->g->element == ELEMENT_BF16 ? j->pixels / 2 : j->pixels;
    const int columns = conv_round_up(j->columns, LANES);
    grad_block b = {0};
    for (b.column = 0; b.column < columns; b.column += b.width) {
        b.width = tile_group(columns, b.column);
        for (b.from = 0; b.from < steps; b.from += BLOCK_STEPS) {
            b.steps = steps - b.from < BLOCK_STEPS ? steps - b.from : BLOCK_STEPS;
            for (b.tap = tap; b.tap < tap + taps; b.tap++) tap_block(j, &b, left[b.tap]);
        }
    }
}

/* f32 reads the rows of all taps in place; pairs are made for one tap at a time. */
static void unit_vectors(const grad_job *j, const conv_taps *taps)
{
    const bool bf = j->g->element == ELEMENT_BF16;
    const char *left[CONV_MAX_TAPS];
    for (int t = 0; t < j->taps; t++)
        left[t] = bf ? (const char *)j->pairs : j->rows + conv_tap_offset(j->g, &taps->tap[t], 0);
    if (!bf) tap_blocks(j, 0, j->taps, left);
    for (int t = 0; t < j->taps && bf; t++) {
        pack_pairs(j, conv_tap_offset(j->g, &taps->tap[t], 0));
        tap_blocks(j, t, 1, left);
    }
}

/* One stage of a transposition: the off-diagonal blocks of d x d change places. */
TILE_INLINE void transpose_stage(const int d, vf *row)
{
    vi low, high;
    #pragma GCC unroll 16
    for (int l = 0; l < LANES; l++) {
        low[l] = l & d ? LANES + l - d : l;
        high[l] = l & d ? LANES + l : l + d;
    }
    #pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) {
        if (i & d) continue;
        const vf a = row[i], b = row[i + d];
        row[i] = __builtin_shuffle(a, b, low);
        row[i + d] = __builtin_shuffle(a, b, high);
    }
}

TILE_INLINE void transpose(vf *row)
{
    transpose_stage(1, row);
    transpose_stage(2, row);
    if (LANES > 4) transpose_stage(LANES > 4 ? 4 : 1, row);
    if (LANES > 8) transpose_stage(LANES > 8 ? 8 : 1, row);
}

/* Tiles take dout as the left operand, [column][pixel], turned once for all taps,
 * and the pairs of one tap as the right one; so the sums are [column][channel]
 * and live in tiles of scratch memory until the last unit is done. */
static void turn_right(const grad_job *j, const conv_unit *u)
{
    const int columns = tile_columns_of(j->g), steps = j->pixels / 2;
    for (int s = 0; s < steps; s += LANES)
        for (int c = 0; c < columns; c += LANES) {
            vf row[LANES];
            for (int l = 0; l < LANES; l++) {
                size_t at = 0, next = 0;
                const void *low = dout_at(j, u, 2 * (s + l), &at), *high = dout_at(j, u, 2 * (s + l) + 1, &next);
                row[l] = pair_vectors(dout_vector(j, low, at, c), dout_vector(j, high, next, c));
            }
            transpose(row);
            for (int l = 0; l < LANES; l++) vf_store(j->right + (ptrdiff_t)(c + l) * steps + s, row[l]);
        }
}

static float *tile_sums(const grad_job *j, int tap, int column, int channel)
{
    const int across = pair_words(j->g) / 16, down = tile_columns_of(j->g) / 16;
    return j->tiles + (((ptrdiff_t)tap * across + channel / 16) * down + column / 16) * 256;
}

static void tap_tiles(const grad_job *j, int tap, amx_state *amx)
{
    const int words = pair_words(j->g), columns = tile_columns_of(j->g);
    const ptrdiff_t left_row = (ptrdiff_t)j->pixels * 2;
    for (int c = 0; c < words; c += 16)
        for (int o = 0; o < columns; o += 32) {
            float *sum = tile_sums(j, tap, o, c);
            amx_load(amx, 0, sum, 64);
            amx_load(amx, 1, sum + 256, 64);
            const uint32_t *right = j->pairs + (ptrdiff_t)c * (j->pixels / 2);
            const char *top = (const char *)j->right + o * left_row, *low = top + 16 * left_row;
            for (ptrdiff_t m = 0; m < left_row; m += 64, right += 256) {
                amx_load(amx, 3, right, 64);
                amx_load(amx, 2, top + m, left_row);
                amx_dp(amx, 0, 2, 3);
                amx_load(amx, 2, low + m, left_row);
                amx_dp(amx, 1, 2, 3);
            }
            amx_store(amx, 0, sum, 64);
            amx_store(amx, 1, sum + 256, 64);
        }
}

/* Between the slab and the tiles; what lies outside the slab starts as zero. */
static void tiles_from_slab(const grad_job *j)
{
    const float *slab = j->call->din[CONV_W];
    const size_t len = (size_t)j->taps * (size_t)pair_words(j->g) * (size_t)tile_columns_of(j->g);
    memset(j->tiles, 0, len * sizeof *j->tiles);
    if (!j->call->accumulate) return;
    for (int t = 0; t < j->taps; t++)
        for (int c = 0; c < j->channels; c++)
            for (int o = 0; o < j->columns; o++)
                tile_sums(j, t, o, c)[o % 16 * 16 + c % 16] = slab[((ptrdiff_t)t * j->channels + c) * j->columns + o];
}

static void tiles_to_slab(const grad_job *j)
{
    float *slab = j->call->din[CONV_W];
    for (int t = 0; t < j->taps; t++)
        for (int c = 0; c < j->channels; c++)
            for (int o = 0; o < j->columns; o++)
                slab[((ptrdiff_t)t * j->channels + c) * j->columns + o] = tile_sums(j, t, o, c)[o % 16 * 16 + c % 16];
}

static void unit_tiles(const grad_job *j, const conv_taps *taps, amx_state *amx)
{
    for (int t = 0; t < j->taps; t++) {
        pack_pairs(j, conv_tap_offset(j->g, &taps->tap[t], 0));
        tap_tiles(j, t, amx);
    }
}

static void unit_grad(grad_job *j, const conv_taps *taps, const conv_unit *u, amx_state *amx)
{
    const conv_source source = {{j->call->in[CONV_X], j->call->in[CONV_X2]}};
    j->pixels = filled_pixels(j->g, u->images, u->lines);
    j->rows = conv_rows_fill(j->g, taps, &source, u, j->call->scratch, j->offset);
    fill_offsets(j, u);
    if (AMX_TILES && j->g->tiles) {
        turn_right(j, u);
        unit_tiles(j, taps, amx);
        return;
    }
    pack_right(j, u);
    unit_vectors(j, taps);
    j->first = false;
}

static void all_units(grad_job *j, const conv_taps *taps, amx_state *amx)
{
    conv_unit u;
    for (int image = 0; image < j->call->n; image += u.images) {
        u = conv_unit_at(j->g, j->call->n, image, 0);
        for (int line = 0; line < j->g->oh; line += u.lines) {
            u = conv_unit_at(j->g, j->call->n, image, line);
            unit_grad(j, taps, &u, amx);
        }
    }
}

static grad_job job_of(const nn_call *c)
{
    const conv_state *s = c->state;
    const conv_gather *g = &s->weights;
    const grad_layout l = layout_of(g);
    char *memory = c->scratch;
    grad_job j = {
        .call = c, .g = g, .taps = g->rows == ROWS_FLAT ? 1 : g->kernel * g->kernel,
        .channels = grad_channels(g), .columns = g->columns, .first = !c->accumulate,
        .offset = (ptrdiff_t *)(memory + l.offset), .pair = (ptrdiff_t *)(memory + l.pair),
        .right = (float *)(memory + l.right), .pairs = (uint32_t *)(memory + l.pairs), .tiles = (float *)(memory + l.tiles),
    };
    const int most = filled_pixels(g, g->unit_images, g->unit_lines);
    for (int step = 0; step < most; step++) j.pair[step] = (ptrdiff_t)step * pair_stride(g) * 4;
    return j;
}

void conv_weight_grad(const nn_call *c)
{
    grad_job j = job_of(c);
    const conv_taps taps = conv_window(j.g);
    const bool tiles = AMX_TILES && j.g->tiles;
    amx_state amx;
    if (tiles) {
        tiles_from_slab(&j);
        amx_begin(&amx);
    }
    all_units(&j, &taps, &amx);
    if (tiles) {
        amx_end(&amx);
        tiles_to_slab(&j);
    }
}
