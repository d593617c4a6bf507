/* conv.h - the parts of the convolution kernel (one level of the cpu backend).
 *
 * All three passes read images as ROWS: one row of converted channels for every
 * place of a zero-bordered grid, so that tap (dy, dx) of every output pixel is a
 * constant distance away and sums need no tests. The zero columns between
 * two image rows serve the right edge of one and the left edge of the next.
 * Work is cut into units - a band of output rows of one image, or several small
 * images - whose rows stay in the second-level cache. Units, blocks and tiles
 * depend on the node alone or do not show in the bits: a sum takes its taps in
 * order and the channels of a tap in order, one accumulator, rounded to f32; tiles
 * add 32 products at a time (amx.h). */
#ifndef DDPM_BACKEND_CPU_CONV_H
#define DDPM_BACKEND_CPU_CONV_H

#include "backend/cpu/amx.h"
#include "backend/cpu/isa.h"
#include "backend/cpu/tile.h"
#include "nn/backend.h"

enum { CONV_MAX_KERNEL = 7, CONV_MAX_TAPS = CONV_MAX_KERNEL * CONV_MAX_KERNEL };

/* Elements of a row: f32, f32 holding values rounded to bf16, or bf16. */
typedef enum { ELEMENT_F32, ELEMENT_ROUNDED, ELEMENT_BF16 } conv_element;

typedef enum {
    ROWS_DIRECT,      /* kernel 1, nothing to convert: the tensor itself          */
    ROWS_GRID,        /* a row per place; taps are distances                      */
    ROWS_WINDOW,      /* a row per output pixel holding all taps, each padded     */
    ROWS_FLAT         /* the same for few channels: taps packed without padding   */
} conv_rows;

/* A gather: out(y, x) sums over taps of in(y*stride - pad_h + dy, x*stride - pad_w + dx). */
typedef struct {
    int          c[2];            /* channels of the two parts of the source      */
    nn_dtype     type[2];
    bool         upsample;        /* each stored pixel is read as 2 x 2            */
    int          h, w;            /* of the source as read                         */
    int          kernel_h, kernel_w, stride, pad_h, pad_w;
    int          oh, ow;          /* outputs of one image                          */
    int          columns;         /* output channels                               */
    conv_element element;
    bool         tiles;           /* AMX                                           */
    bool         wide;            /* blocks of sums in tiles have up to 32 columns, not 16 */
    int          terms;           /* numbers that stand for a value: 1, or 2 (f32x3): its rounding to bf16 and the remainder's */
    conv_rows    rows;
    int          tap_channels;    /* of a tap in a row and in the packed weights   */
    int          depth;           /* elements one sum takes, padding included      */
    ptrdiff_t    term_bytes;      /* a row holds the first term of all it holds, then the second */
    ptrdiff_t    row_bytes;
    int          grid_w;          /* places in a grid line                         */
    int          unit_images, unit_lines;
} conv_gather;

typedef struct { int dy, dx, index; } conv_tap;       /* index: place in the packed weights */
typedef struct { int n; conv_tap tap[CONV_MAX_TAPS]; } conv_taps;

typedef struct { const void *part[2]; } conv_source;

/* Output lines [line, line + lines) of images [image, image + images); m pixels. */
typedef struct { int image, images, line, lines, m; } conv_unit;

typedef struct {
    conv_gather forward, data, weights;
    int         phases;          /* stride: the data gradient is phases^2 gathers */
} conv_state;

/* What one part of a call computes: units [unit, unit_end) of the gather `g`, whose units
 * may be smaller than planned, and columns [column, column_end). */
typedef struct {
    conv_gather g;
    int         unit, unit_end, column, column_end;
} conv_share;

/* Columns of a block of sums: of a column group, or of a wide block of tiles. */
enum { CONV_MOST_COLUMNS = TILE_WIDTH > 32 ? TILE_WIDTH : 32 };

/* Sums of `width` columns from `column` on; sum[m * width + j]. */
typedef void conv_store(const void *ctx, const conv_unit *u, int column, int width, const float *sum);

typedef struct {
    const conv_gather *g;
    const conv_taps   *taps;
    conv_source        source;
    int                n;
    int                part, parts;     /* as in nn_call */
    const void        *packed;
    void              *scratch;
    conv_store        *store;
    const void        *ctx;
} conv_job;

#define conv_plan        ISA(conv_plan)
#define conv_window      ISA(conv_window)
#define conv_phase       ISA(conv_phase)
#define conv_unit_at     ISA(conv_unit_at)
#define conv_unit_pixels ISA(conv_unit_pixels)
#define conv_share_of    ISA(conv_share_of)
#define conv_share_unit  ISA(conv_share_unit)
#define conv_rows_bytes  ISA(conv_rows_bytes)
#define conv_rows_fill   ISA(conv_rows_fill)
#define conv_tap_offset  ISA(conv_tap_offset)
#define conv_width       ISA(conv_width)
#define conv_pack_bytes  ISA(conv_pack_bytes)
#define conv_pack        ISA(conv_pack)
#define conv_run         ISA(conv_run)
#define conv_run_bytes   ISA(conv_run_bytes)
#define conv_backward    ISA(conv_backward)
#define conv_weight_grad ISA(conv_weight_grad)
#define conv_weight_grad_bytes ISA(conv_weight_grad_bytes)
#define conv_pixel_sums  ISA(conv_pixel_sums)

/* Geometry of the three passes of a node. DDPM_ENOSUP: the kernel is too large. */
ddpm_status conv_plan(const nn_node *node, conv_state *s);

/* All taps of the window, or those that reach the output pixels of one phase
 * (y = py, x = px modulo the stride) in the data gradient of a node. */
conv_taps conv_window(const conv_gather *g);
conv_taps conv_phase(const nn_node *node, const conv_gather *data, int py, int px);

/* The unit that starts at (image, line) of n images. */
conv_unit conv_unit_at(const conv_gather *g, int n, int image, int line);
int       conv_unit_pixels(const conv_gather *g);                     /* at most, in one unit */

/* The share of a part in a call of n images: the parts' shares cover every output once. Cuts pixels or
 * column groups, whichever leaves the busiest part less to do. */
conv_share conv_share_of(const conv_gather *g, int n, int part, int parts);
conv_unit  conv_share_unit(const conv_share *s, int n, int unit);

/* Rows of a unit, at `memory` (conv_rows_bytes) or in place. offset[m] receives the
 * distance of output pixel m's row from the result, in bytes. */
size_t      conv_rows_bytes(const conv_gather *g);
const char *conv_rows_fill(const conv_gather *g, const conv_taps *taps, const conv_source *s, const conv_unit *u,
                           void *memory, ptrdiff_t *offset);
ptrdiff_t   conv_tap_offset(const conv_gather *g, const conv_tap *t, int place);  /* place: of the tap in its list */

/* Columns packed side by side from `column` on. A column group starts depth * column elements into the weights;
 * those of the second term follow those of the first. */
int    conv_width(const conv_gather *g, int column);
size_t conv_pack_bytes(nn_backend *b, const nn_node *node, bool backward);
void   conv_pack(nn_backend *b, const nn_node *node, bool backward, const float *weight, void *packed);

/* The sums of n images that fall to job->part, unit after unit, handed to job->store. */
size_t conv_run_bytes(const conv_gather *g);
void   conv_run(const conv_job *job);

ddpm_status conv_backward(nn_backend *b, const nn_call *c);

/* The weight gradient, and sums of dout over pixels for bias and `chan`. */
size_t conv_weight_grad_bytes(const conv_gather *g);
void   conv_weight_grad(const nn_call *c);
void   conv_pixel_sums(const nn_call *c);

static inline size_t conv_lines(size_t bytes)      /* whole cache lines */
{
    return (bytes + 63) / 64 * 64;
}

static inline int conv_round_up(int n, int to)
{
    return (n + to - 1) / to * to;
}

static inline int conv_depth_steps(const conv_gather *g)    /* steps (tile.h) of a whole sum */
{
    return g->element == ELEMENT_BF16 ? g->depth / 2 : g->depth;
}

static inline ptrdiff_t conv_element_size(const conv_gather *g)
{
    return g->element == ELEMENT_BF16 ? 2 : 4;
}

/* Columns of all groups, the padding included. */
static inline int conv_packed_columns(const conv_gather *g)
{
    return conv_round_up(g->columns, g->tiles ? 16 : LANES);
}

static inline int conv_tap_count(const conv_gather *g)
{
    return g->kernel_h * g->kernel_w;
}

/* Words of the packed weights of one term. */
static inline size_t conv_packed_words(const conv_gather *g)
{
    return (size_t)conv_depth_steps(g) * (size_t)conv_packed_columns(g);
}

#endif
