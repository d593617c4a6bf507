#include "backend/cpu/conv.h"

#include "backend/cpu/amx_block.h"
#include "backend/cpu/rows.h"
#include "backend/cpu/turn.h"

#include <string.h>

/* The weight gradient: dw[tap][channel][column] += x[pixel + tap][channel] * dout[pixel][column],
 * pixel after pixel. The pixels of an image are filled up to whole steps with
 * zeros, never across images, so that a sum is the same however a batch is cut. */

enum { BLOCK_STEPS = 128, FILLING = -1, PLACE_BYTES = 256 << 10 };

typedef struct {
    const nn_call     *call;
    const conv_gather *g;
    int                taps, channels, columns;    /* of the slab; a flat window is one tap */
    int                pixels;                     /* of a unit, filled up                 */
    const char        *rows;
    ptrdiff_t         *offset;                     /* of each pixel's row                  */
    ptrdiff_t         *pair;                       /* of each step in `pairs`              */
    ptrdiff_t         *dout;                       /* first element of each pixel; FILLING */
    float             *right;                      /* dout, packed                         */
    uint32_t          *pairs;                      /* x of one tap, two pixels in a word; term after term */
    float             *tiles;                      /* the gradient in tile order           */
    bool               first;
} grad_job;

static int pixel_quantum(const conv_gather *g)
{
    return g->tiles ? 32 : g->element == ELEMENT_BF16 ? 2 : 1;
}

static int grad_channels(const conv_gather *g)
{
    return (g->rows == ROWS_FLAT ? conv_tap_count(g) : 1) * (g->c[0] + g->c[1]);
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

/* Words of all channels of a step. */
static size_t pair_channels(const conv_gather *g)
{
    return (size_t)conv_round_up(pair_words(g), pair_stride(g));
}

static int tile_columns_of(const conv_gather *g)
{
    return conv_round_up(g->columns, 32);
}

/* Grid rows that a unit has at most. */
static size_t place_count(const conv_gather *g)
{
    return conv_rows_bytes(g) / (size_t)g->row_bytes;
}

/* Whether each place is paired with the next one, once for all taps: where pixels of a pair are neighbours in
 * a line, so that taps are distances, and the pairs stay in the second-level cache. */
static bool by_places(const conv_gather *g)
{
    return g->element == ELEMENT_BF16 && !g->tiles && g->rows == ROWS_GRID && g->stride == 1 && g->ow % 2 == 0 &&
           place_count(g) * pair_channels(g) * 4 <= PLACE_BYTES;
}

typedef struct { size_t rows, offset, pair, dout, right, pairs, tiles, end; } grad_layout;

static grad_layout layout_of(const conv_gather *g)
{
    const size_t pixels = (size_t)filled_pixels(g, g->unit_images, g->unit_lines);
    const size_t columns = (size_t)conv_round_up(g->columns, 32);
    const bool bf = g->element == ELEMENT_BF16;
    const size_t taps = g->rows == ROWS_FLAT ? 1 : (size_t)conv_tap_count(g);
    grad_layout l = {0};
    l.offset = conv_rows_bytes(g);
    l.pair = l.offset + conv_lines(pixels * sizeof(ptrdiff_t));
    l.dout = l.pair + conv_lines(pixels * sizeof(ptrdiff_t));
    l.right = l.dout + conv_lines(pixels * sizeof(ptrdiff_t));
    l.pairs = l.right + conv_lines(pixels * columns * 4);
    const size_t steps = by_places(g) ? place_count(g) : (size_t)g->terms * pixels / 2;
    l.tiles = l.pairs + (bf ? conv_lines(steps * pair_channels(g) * 4) : 0);
    l.end = l.tiles + (g->tiles ? taps * (size_t)pair_words(g) * columns * 4 : 0);
    return l;
}

size_t conv_weight_grad_bytes(const conv_gather *g)
{
    return layout_of(g).end;
}

/* Where a term of dout and of the pairs starts. For tiles `right` holds two bytes a value, and has room for four. */
static float *right_term(const grad_job *j, int term)
{
    return j->right + (ptrdiff_t)term * tile_columns_of(j->g) * (j->pixels / 2);
}

static uint32_t *pairs_term(const grad_job *j, int term)
{
    return j->pairs + (ptrdiff_t)term * (ptrdiff_t)pair_channels(j->g) * (j->pixels / 2);
}

/* Distances of the unit's pixels with the filling: any row serves there, for dout is zero. */
static void fill_offsets(const grad_job *j, const conv_unit *u)
{
    const int image = u->lines * j->g->ow;
    const int filled = conv_round_up(image, pixel_quantum(j->g));
    for (int i = u->images - 1; i >= 0; i--) {
        const ptrdiff_t first = ((ptrdiff_t)(u->image + i) * j->g->oh + u->line) * j->g->ow;
        for (int m = filled - 1; m >= image; m--) {
            j->offset[i * filled + m] = 0;
            j->dout[i * filled + m] = FILLING;
        }
        for (int m = image - 1; m >= 0; m--) {
            j->offset[i * filled + m] = j->offset[i * image + m];
            j->dout[i * filled + m] = (first + m) * j->columns;
        }
    }
}

/* Columns from `column` on of filled pixel m. */
static vf dout_vector(const grad_job *j, int m, int column)
{
    if (j->dout[m] == FILLING || column >= j->columns) return (vf){0};
    return row_get(j->call->node->out->dtype, j->call->dout, (size_t)(j->dout[m] + column), row_lanes(j->columns, column));
}

/* dout in column groups, [step][width] each, a step being a pixel or a pair of pixels. */
static void pack_right(const grad_job *j)
{
    const bool bf = j->g->element == ELEMENT_BF16, rounded = j->g->element == ELEMENT_ROUNDED;
    const int columns = conv_round_up(j->columns, LANES), steps = bf ? j->pixels / 2 : j->pixels;
    for (int s = 0; s < steps; s++) {
        int width = 0;
        for (int c = 0; c < columns; c += width) {
            width = tile_group(columns, c);
            float *to = j->right + (ptrdiff_t)steps * c + (ptrdiff_t)s * width;
            for (int i = 0; i < width; i += LANES) {
                vf v = dout_vector(j, bf ? 2 * s : s, c + i);
                if (bf) v = row_pair(v, dout_vector(j, 2 * s + 1, c + i));
                vf_store(to + i, rounded ? vf_rounded(v) : v);
            }
        }
    }
}

/* Two rows of x, two pixels in a word: what a product of bf16 pairs over pixels reads. */
static void pack_pair(const grad_job *j, const char *first, const char *second, uint32_t *to, ptrdiff_t panel)
{
    const bf16 *const low = (const bf16 *)first, *const high = (const bf16 *)second;
    const int stride = pair_stride(j->g), words = stride < pair_words(j->g) ? stride : pair_words(j->g);
    for (int from = 0; from < j->channels; from += stride, to += panel)
        for (int c = 0; c < words; c += LANES) {
            const int k = row_lanes(j->channels, from + c);
            vf_store((float *)to + c, k > 0 ? row_pair_stored(low + from + c, high + from + c, k) : (vf){0});
        }
}

/* The pairs of one tap. */
static void pack_pairs(const grad_job *j, ptrdiff_t tap, uint32_t *pairs)
{
    const int steps = j->pixels / 2;
    const ptrdiff_t stride = pair_stride(j->g);
    for (int s = 0; s < steps; s++)
        pack_pair(j, j->rows + j->offset[2 * s] + tap, j->rows + j->offset[2 * s + 1] + tap, pairs + s * stride, stride * steps);
}

/* Each place of the unit with the next one. */
static void pack_places(const grad_job *j, ptrdiff_t last_tap)
{
    const ptrdiff_t row = j->g->row_bytes, stride = pair_stride(j->g);
    const ptrdiff_t last = (j->offset[j->pixels - 2] + last_tap) / row;
    for (ptrdiff_t p = 0; p <= last; p++) pack_pair(j, j->rows + p * row, j->rows + (p + 1) * row, j->pairs + p * stride, 0);
    for (int s = 0; s < j->pixels / 2; s++) j->pair[s] = j->offset[2 * s] / row * stride * 4;
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
    float part[TILE_TALL * TILE_WIDTH] = {0};
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
    int rows = 0;
    for (int c = 0; c < j->channels; c += rows) {
        rows = tile_height(b->width / LANES, j->channels - c);
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

/* Reads the rows of all taps in place, or the pairs of all places; other pairs are made for one tap at a time. */
static void unit_vectors(const grad_job *j, const conv_taps *taps)
{
    const conv_gather *g = j->g;
    const bool places = by_places(g), bf = g->element == ELEMENT_BF16;
    const char *left[CONV_MAX_TAPS];
    for (int t = 0; t < j->taps; t++) {
        const ptrdiff_t tap = conv_tap_offset(g, &taps->tap[t], 0);
        left[t] = !bf ? j->rows + tap : (const char *)j->pairs + (places ? tap / g->row_bytes * pair_stride(g) * 4 : 0);
    }
    if (places) pack_places(j, conv_tap_offset(g, &taps->tap[j->taps - 1], 0));
    if (places || !bf) {
        tap_blocks(j, 0, j->taps, left);
        return;
    }
    for (int t = 0; t < j->taps; t++) {
        pack_pairs(j, conv_tap_offset(g, &taps->tap[t], 0), j->pairs);
        tap_blocks(j, t, 1, left);
    }
}

/* Tiles take dout as the left operand, [column][pixel], turned once for all taps,
 * and the pairs of one tap as the right one; so the sums are [column][channel]
 * and live in tiles of scratch memory until the last unit is done. */
static void turn_right(const grad_job *j, int term)
{
    const int columns = tile_columns_of(j->g), steps = j->pixels / 2;
    float *right = right_term(j, term);
    for (int s = 0; s < steps; s += LANES)
        for (int c = 0; c < columns; c += LANES) {
            vf row[LANES];
            for (int l = 0; l < LANES; l++) {
                const vf a = dout_vector(j, 2 * (s + l), c), b = dout_vector(j, 2 * (s + l) + 1, c);
                row[l] = term ? row_pair(vf_remainder(a), vf_remainder(b)) : row_pair(a, b);
            }
            turn_words(row);
            for (int l = 0; l < LANES; l++) vf_store(right + (ptrdiff_t)(c + l) * steps + s, row[l]);
        }
}

static float *tile_sums(const grad_job *j, int tap, int column, int channel)
{
    const int across = pair_words(j->g) / 16, down = tile_columns_of(j->g) / 16;
    return j->tiles + (((ptrdiff_t)tap * across + channel / 16) * down + column / 16) * 256;
}

/* All products of 32 pixels before the next 32, so that the order does not show how pixels were cut into units. */
static void block_pixels(const grad_job *j, amx_shape shape, amx_operands *x, amx_state *amx)
{
    const ptrdiff_t dout_term = (const char *)right_term(j, 1) - (const char *)j->right;
    const ptrdiff_t x_term = (const char *)pairs_term(j, 1) - (const char *)j->pairs;
    for (int m = 0; m < j->pixels; m += 32) {
        if (j->g->terms == 2) {
            amx_block_step(amx, shape, &(amx_operands){x->left + dout_term, x->low + dout_term, x->row, x->b, x->right});
            amx_block_step(amx, shape, &(amx_operands){x->left, x->low, x->row, x->b + x_term, x->right + x_term});
        }
        amx_block_step(amx, shape, x);
        amx_next_steps(x);
    }
}

static void tap_tiles(const grad_job *j, int tap, amx_state *amx)
{
    const int words = pair_words(j->g), columns = tile_columns_of(j->g);
    const ptrdiff_t dout_row = (ptrdiff_t)j->pixels * 2, panel = (ptrdiff_t)j->pixels / 2 * 64;
    const int step = j->g->wide ? 32 : 16;
    for (int c = 0; c < words; c += step)
        for (int o = 0; o < columns; o += 32) {
            const amx_sums sums = {tile_sums(j, tap, o, c), 16, 256, (ptrdiff_t)columns * 16};
            const char *dout = (const char *)j->right + o * dout_row, *pairs = (const char *)j->pairs + c / 16 * panel;
            amx_operands x = {dout, dout + 16 * dout_row, dout_row, pairs, pairs + panel};
            const amx_shape shape = {true, j->g->wide && c + 16 < words};
            amx_block_load(amx, shape, &sums);
            block_pixels(j, shape, &x, amx);
            amx_block_store(amx, shape, &sums);
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
        for (int term = 0; term < j->g->terms; term++)
            pack_pairs(j, conv_tap_offset(j->g, &taps->tap[t], 0) + term * j->g->term_bytes, pairs_term(j, term));
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
        for (int term = 0; term < j->g->terms; term++) turn_right(j, term);
        unit_tiles(j, taps, amx);
        return;
    }
    pack_right(j);
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
        .call = c, .g = g, .taps = g->rows == ROWS_FLAT ? 1 : conv_tap_count(g),
        .channels = grad_channels(g), .columns = g->columns, .first = !c->accumulate,
        .offset = (ptrdiff_t *)(memory + l.offset), .pair = (ptrdiff_t *)(memory + l.pair), .dout = (ptrdiff_t *)(memory + l.dout),
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
        amx_block_begin(&amx, j.g->wide);
    }
    all_units(&j, &taps, &amx);
    if (tiles) {
        amx_end(&amx);
        tiles_to_slab(&j);
    }
}
