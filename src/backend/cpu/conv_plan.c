#include "backend/cpu/conv.h"

enum {
    FLAT_DEPTH = 64,              /* windows up to this many values are copied whole    */
    UNIT_PIXELS = 384,            /* enough to hide the traffic of the weights          */
    UNIT_BYTES = 400 << 10,       /* rows of a unit; the second-level cache is 1 or 2 MiB */
    UNIT_QUANTUM = 32             /* a band starts at a multiple of this many pixels if that makes none too large */
};

/* Only tiles multiply bf16 at more than three times the rate of f32. Vectors do it at twice
 * the rate at most, so that without tiles f32x3 is faster and exacter as plain f32. */
static int terms_of(const nn_node *node)
{
    return AMX_TILES && node->compute == NN_F32X3 ? 2 : 1;
}

static conv_element element_of(const nn_node *node)
{
    if (terms_of(node) == 2) return ELEMENT_BF16;
    if (node->compute != NN_BF16) return ELEMENT_F32;
    return BF16_PRODUCTS || AMX_TILES ? ELEMENT_BF16 : ELEMENT_ROUNDED;
}

static bool is_direct(const conv_gather *g)
{
    const nn_dtype needs = g->element == ELEMENT_BF16 ? NN_BF16 : NN_F32;
    return conv_tap_count(g) == 1 && g->stride == 1 && !g->upsample && !g->c[1] &&
           g->element != ELEMENT_ROUNDED && g->type[0] == needs && g->tap_channels == g->c[0];
}

/* Sixteen rows of a tile must lie at equal distances: without gaps, or within one line. */
static bool tiles_fit_grid(const conv_gather *g)
{
    const bool dense = conv_tap_count(g) == 1 && g->stride == 1 && g->ow == g->w && g->oh == g->h;
    return dense || g->ow % 16 == 0;
}

static conv_rows rows_of(const conv_gather *g, bool whole_window)
{
    const int c = g->c[0] + g->c[1];
    if (is_direct(g)) return ROWS_DIRECT;
    if (whole_window && conv_tap_count(g) > 1 && c * conv_tap_count(g) <= FLAT_DEPTH) return ROWS_FLAT;
    return g->tiles && !tiles_fit_grid(g) ? ROWS_WINDOW : ROWS_GRID;
}

/* Rows at an odd number of cache lines use all sets of the cache. */
static ptrdiff_t spread(ptrdiff_t bytes)
{
    const ptrdiff_t lines = (bytes + 63) / 64;
    return bytes < 512 ? bytes : (lines | 1) * 64;
}

static int gap_of(const conv_gather *g)
{
    const int right = (g->ow - 1) * g->stride + g->kernel_w - g->pad_w - g->w;
    return right > g->pad_w ? right : g->pad_w;
}

static size_t line_bytes(const conv_gather *g)
{
    const int places = g->rows == ROWS_GRID ? g->grid_w * g->stride : g->ow;
    return (size_t)g->row_bytes * (size_t)places;
}

/* Lines that a band is a multiple of, two at least: pixels of bf16 are summed in pairs, up-sampled lines belong together. */
static int lines_quantum(const conv_gather *g, bool whole_tiles)
{
    int quantum = 2;
    while (quantum * g->ow % UNIT_QUANTUM) quantum++;
    return whole_tiles || quantum * g->ow <= UNIT_PIXELS ? quantum : 2;
}

/* whole_tiles: a band starts at a multiple of UNIT_QUANTUM pixels even where it then is a large one. */
static void plan_unit(conv_gather *g, int n, bool whole_tiles)
{
    const int image = g->oh * g->ow;
    const size_t image_bytes = line_bytes(g) * (size_t)g->oh;
    g->unit_images = 1;
    g->unit_lines = g->oh;
    if (image <= UNIT_PIXELS && image_bytes <= UNIT_BYTES) {
        const int by_bytes = (int)(UNIT_BYTES / image_bytes);
        const int by_pixels = UNIT_PIXELS / image;
        const int most = by_bytes < by_pixels ? by_bytes : by_pixels;
        g->unit_images = most < n ? most : n;
        return;
    }
    const int quantum = lines_quantum(g, whole_tiles);
    const int by_bytes = (int)(UNIT_BYTES / line_bytes(g));
    const int by_pixels = UNIT_PIXELS / g->ow;
    const int most = by_bytes < by_pixels ? by_bytes : by_pixels;
    const int lines = conv_round_up(most < 1 ? 1 : most, quantum);
    const int bands = (g->oh + lines - 1) / lines;
    const int even = conv_round_up((g->oh + bands - 1) / bands, quantum);
    g->unit_lines = even < g->oh ? even : g->oh;
}

/* Everything that follows from the source, the window and the outputs. `whole_window`:
 * every sum takes all taps, so that they may be packed without padding. */
static void plan_gather(conv_gather *g, bool whole_window)
{
    const int c = g->c[0] + g->c[1];
    const int multiple = g->tiles ? 32 : g->element == ELEMENT_BF16 ? 2 : 1;
    const int taps = conv_tap_count(g);
    g->tap_channels = conv_round_up(c, multiple);
    g->rows = rows_of(g, whole_window);
    g->depth = taps * g->tap_channels;
    if (g->rows == ROWS_FLAT) {
        g->tap_channels = c;
        g->depth = conv_round_up(taps * c, multiple);
    }
    g->grid_w = g->w + gap_of(g);
    const bool window = g->rows == ROWS_FLAT || g->rows == ROWS_WINDOW;
    g->term_bytes = (window ? g->depth : g->tap_channels) * conv_element_size(g);
    g->row_bytes = g->terms * g->term_bytes;
    if (g->rows != ROWS_DIRECT) g->row_bytes = spread(g->row_bytes);
}

static int floor_div(int a, int b)
{
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

/* Gather form of the data gradient: input line s*y + p takes tap ky from output
 * line y + (p + pad - ky) / s where that is whole. Zeros before the outputs and the
 * window's size, along one axis of a convolution with stride s, kernel k and padding `pad`. */
static void plan_data_axis(int s, int k, int pad, int *zeros, int *window)
{
    const int lowest = -floor_div(-(pad - k + 1), s);
    const int highest = (s - 1 + pad) / s;
    *zeros = lowest < 0 ? -lowest : 0;
    *window = highest + *zeros + 1;
}

static void plan_data(const nn_node *node, conv_gather *g)
{
    const int s = node->attr.conv.stride, taps = node->attr.conv.kernel_h * node->attr.conv.kernel_w;
    const nn_shape in = node->in[CONV_X]->shape, out = node->out->shape;
    const int scale = node->attr.conv.upsample ? 2 : 1;
    g->c[0] = out.c;
    g->type[0] = node->out->dtype;
    g->h = out.h;
    g->w = out.w;
    plan_data_axis(s, node->attr.conv.kernel_h, node->attr.conv.pad_h, &g->pad_h, &g->kernel_h);
    plan_data_axis(s, node->attr.conv.kernel_w, node->attr.conv.pad_w, &g->pad_w, &g->kernel_w);
    g->stride = 1;
    g->oh = (in.h * scale + s - 1) / s;
    g->ow = (in.w * scale + s - 1) / s;
    g->columns = nn_read_channels(node);
    plan_gather(g, s == 1);
    g->depth = g->rows == ROWS_FLAT ? g->depth : taps * g->tap_channels;
}

ddpm_status conv_plan(const nn_node *node, conv_state *s)
{
    const int kernel_h = node->attr.conv.kernel_h, kernel_w = node->attr.conv.kernel_w;
    if (kernel_h > CONV_MAX_KERNEL || kernel_w > CONV_MAX_KERNEL)
        return ddpm_fail(DDPM_ENOSUP, "%s: kernel %dx%d is larger than the cpu backend's %dx%d", node->name,
                         kernel_h, kernel_w, CONV_MAX_KERNEL, CONV_MAX_KERNEL);
    const conv_element element = element_of(node);
    const bool tiles = AMX_TILES && element == ELEMENT_BF16;
    const nn_shape in = node->in[CONV_X]->shape;
    const nn_tensor *x2 = node->in[CONV_X2];
    const int scale = node->attr.conv.upsample ? 2 : 1;
    s->phases = node->attr.conv.stride;
    s->forward = (conv_gather){
        .c = {in.c, x2 ? x2->shape.c : 0}, .type = {node->in[CONV_X]->dtype, x2 ? x2->dtype : NN_F32},
        .upsample = node->attr.conv.upsample, .h = in.h * scale, .w = in.w * scale,
        .kernel_h = kernel_h, .kernel_w = kernel_w, .stride = node->attr.conv.stride,
        .pad_h = node->attr.conv.pad_h, .pad_w = node->attr.conv.pad_w,
        .oh = node->out->shape.h, .ow = node->out->shape.w, .columns = node->out->shape.c,
        .element = element, .tiles = tiles, .terms = terms_of(node),
    };
    s->weights = s->forward;
    plan_gather(&s->forward, true);
    s->weights.tiles = false;      /* rows are copied once more, so that they may have gaps */
    plan_gather(&s->weights, true);
    s->weights.tiles = tiles;
    s->data = (conv_gather){.element = element, .tiles = tiles, .terms = terms_of(node)};
    plan_data(node, &s->data);
    plan_unit(&s->forward, in.n, tiles && s->forward.rows == ROWS_DIRECT);     /* so that they are read in place */
    plan_unit(&s->data, in.n, tiles && s->data.rows == ROWS_DIRECT);
    plan_unit(&s->weights, in.n, tiles);                                       /* so that sums of pixels are cut alike */
    return DDPM_OK;
}

conv_taps conv_window(const conv_gather *g)
{
    conv_taps t = {.n = conv_tap_count(g)};
    for (int i = 0; i < t.n; i++) t.tap[i] = (conv_tap){i / g->kernel_w, i % g->kernel_w, i};
    return t;
}

/* The packed weights of the data gradient are rotated: tap (ky, kx) is number (kh-1-ky)*kw + kw-1-kx. */
conv_taps conv_phase(const nn_node *node, const conv_gather *data, int py, int px)
{
    const int s = node->attr.conv.stride, kh = node->attr.conv.kernel_h, kw = node->attr.conv.kernel_w;
    conv_taps t = {.n = 0};
    for (int ky = kh - 1; ky >= 0; ky--)
        for (int kx = kw - 1; kx >= 0; kx--) {
            const int y = py + node->attr.conv.pad_h - ky, x = px + node->attr.conv.pad_w - kx;
            if (y % s || x % s) continue;
            t.tap[t.n++] = (conv_tap){y / s + data->pad_h, x / s + data->pad_w, (kh - 1 - ky) * kw + kw - 1 - kx};
        }
    return t;
}

conv_unit conv_unit_at(const conv_gather *g, int n, int image, int line)
{
    conv_unit u = {image, 1, line, g->oh - line, 0};
    if (u.lines > g->unit_lines) u.lines = g->unit_lines;
    if (g->unit_lines == g->oh) u.images = n - image < g->unit_images ? n - image : g->unit_images;
    u.m = u.images * u.lines * g->ow;
    return u;
}

int conv_unit_pixels(const conv_gather *g)
{
    return g->unit_images * g->unit_lines * g->ow;
}
