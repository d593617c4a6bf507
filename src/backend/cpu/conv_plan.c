#include "backend/cpu/conv.h"

enum {
    FLAT_DEPTH = 64,              /* windows up to this many values are copied whole    */
    UNIT_PIXELS = 384,            /* enough to hide the traffic of the weights          */
    UNIT_BYTES = 400 << 10,       /* rows of a unit; the second-level cache is 1 or 2 MiB */
    UNIT_QUANTUM = 32             /* a band starts at a multiple of this many pixels    */
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
    return g->kernel == 1 && g->stride == 1 && g->pad == 0 && !g->upsample && !g->c[1] &&
           g->element != ELEMENT_ROUNDED && g->type[0] == needs && g->tap_channels == g->c[0];
}

/* Sixteen rows of a tile must lie at equal distances: without gaps, or within one line. */
static bool tiles_fit_grid(const conv_gather *g)
{
    const bool dense = g->kernel == 1 && g->stride == 1 && g->pad == 0 && g->ow == g->w && g->oh == g->h;
    return dense || g->ow % 16 == 0;
}

static conv_rows rows_of(const conv_gather *g, bool whole_window)
{
    const int c = g->c[0] + g->c[1];
    if (is_direct(g)) return ROWS_DIRECT;
    if (whole_window && g->kernel > 1 && c * g->kernel * g->kernel <= FLAT_DEPTH) return ROWS_FLAT;
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
    const int right = (g->ow - 1) * g->stride + g->kernel - g->pad - g->w;
    return right > g->pad ? right : g->pad;
}

static size_t line_bytes(const conv_gather *g)
{
    const int places = g->rows == ROWS_GRID ? g->grid_w * g->stride : g->ow;
    return (size_t)g->row_bytes * (size_t)places;
}

static void plan_unit(conv_gather *g, int n)
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
    int quantum = 2;
    while (quantum * g->ow % UNIT_QUANTUM) quantum++;
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
static void plan_gather(conv_gather *g, int n, bool whole_window)
{
    const int c = g->c[0] + g->c[1];
    const int multiple = g->tiles ? 32 : g->element == ELEMENT_BF16 ? 2 : 1;
    const int taps = g->kernel * g->kernel;
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
    plan_unit(g, n);
}

static int floor_div(int a, int b)
{
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

/* Gather form of the data gradient: input line s*y + p takes tap ky from output
 * line y + (p + pad - ky) / s where that is whole. `pad` lines of zeros precede. */
static void plan_data(const nn_node *node, conv_gather *g)
{
    const int s = node->attr.conv.stride, k = node->attr.conv.kernel, pad = node->attr.conv.pad;
    const int lowest = -floor_div(-(pad - k + 1), s);
    const int highest = (s - 1 + pad) / s;
    const nn_shape in = node->in[CONV_X]->shape, out = node->out->shape;
    const int scale = node->attr.conv.upsample ? 2 : 1;
    g->c[0] = out.c;
    g->type[0] = node->out->dtype;
    g->h = out.h;
    g->w = out.w;
    g->pad = lowest < 0 ? -lowest : 0;
    g->kernel = highest + g->pad + 1;
    g->stride = 1;
    g->oh = (in.h * scale + s - 1) / s;
    g->ow = (in.w * scale + s - 1) / s;
    g->columns = nn_read_channels(node);
    plan_gather(g, in.n, s == 1 && pad < k);
    g->depth = g->rows == ROWS_FLAT ? g->depth : k * k * g->tap_channels;
}

ddpm_status conv_plan(const nn_node *node, conv_state *s)
{
    const int kernel = node->attr.conv.kernel;
    if (kernel > CONV_MAX_KERNEL)
        return ddpm_fail(DDPM_ENOSUP, "%s: kernel %d is larger than the cpu backend's %d", node->name, kernel, CONV_MAX_KERNEL);
    const conv_element element = element_of(node);
    const bool tiles = AMX_TILES && element == ELEMENT_BF16;
    const nn_shape in = node->in[CONV_X]->shape;
    const nn_tensor *x2 = node->in[CONV_X2];
    const int scale = node->attr.conv.upsample ? 2 : 1;
    s->phases = node->attr.conv.stride;
    s->forward = (conv_gather){
        .c = {in.c, x2 ? x2->shape.c : 0}, .type = {node->in[CONV_X]->dtype, x2 ? x2->dtype : NN_F32},
        .upsample = node->attr.conv.upsample, .h = in.h * scale, .w = in.w * scale,
        .kernel = kernel, .stride = node->attr.conv.stride, .pad = node->attr.conv.pad,
        .oh = node->out->shape.h, .ow = node->out->shape.w, .columns = node->out->shape.c,
        .element = element, .tiles = tiles, .terms = terms_of(node),
    };
    s->weights = s->forward;
    plan_gather(&s->forward, in.n, true);
    s->weights.tiles = false;      /* rows are copied once more, so that they may have gaps */
    plan_gather(&s->weights, in.n, true);
    s->weights.tiles = tiles;
    s->data = (conv_gather){.element = element, .tiles = tiles, .terms = terms_of(node)};
    plan_data(node, &s->data);
    return DDPM_OK;
}

conv_taps conv_window(const conv_gather *g)
{
    conv_taps t = {.n = g->kernel * g->kernel};
    for (int i = 0; i < t.n; i++) t.tap[i] = (conv_tap){i / g->kernel, i % g->kernel, i};
    return t;
}

/* The packed weights of the data gradient are rotated: tap (ky, kx) is number (k-1-ky)*k + k-1-kx. */
conv_taps conv_phase(const nn_node *node, const conv_gather *data, int py, int px)
{
    const int s = node->attr.conv.stride, k = node->attr.conv.kernel, pad = node->attr.conv.pad;
    conv_taps t = {.n = 0};
    for (int ky = k - 1; ky >= 0; ky--)
        for (int kx = k - 1; kx >= 0; kx--) {
            const int y = py + pad - ky, x = px + pad - kx;
            if (y % s || x % s) continue;
            t.tap[t.n++] = (conv_tap){y / s + data->pad, x / s + data->pad, (k - 1 - ky) * k + k - 1 - kx};
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
