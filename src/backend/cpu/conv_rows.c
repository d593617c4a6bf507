#include "backend/cpu/conv.h"

#include "backend/cpu/rows.h"

#include <string.h>

static void copy_f32(float *to, const void *from, nn_dtype type, size_t at, int count, bool rounded)
{
    for (int i = 0; i < count; i += LANES) {
        const int k = row_lanes(count, i);
        vf v = row_get(type, from, at + (size_t)i, k);
        if (rounded) v = (vf)(__builtin_convertvector(vh_round(v), vu) << 16);
        row_put(NN_F32, to, (size_t)i, k, v);
    }
}

static void copy_bf16(bf16 *to, const void *from, size_t at, int count)
{
    for (int i = 0; i < count; i += LANES) {
        const int k = row_lanes(count, i);
        row_put(NN_BF16, to, (size_t)i, k, row_get(NN_F32, from, at + (size_t)i, k));
    }
}

/* `count` elements from `at` on, converted to the row's element. */
static void copy_elements(conv_element element, void *to, const void *from, nn_dtype type, size_t at, int count)
{
    const bool same = element == ELEMENT_BF16 ? type == NN_BF16 : element == ELEMENT_F32 && type == NN_F32;
    const size_t size = nn_dtype_size(type);
    if (same) memcpy(to, (const char *)from + at * size, (size_t)count * size);
    else if (element == ELEMENT_BF16) copy_bf16(to, from, at, count);
    else copy_f32(to, from, type, at, count, element == ELEMENT_ROUNDED && type == NN_F32);
}

/* One pixel's channels and the zeros that fill up a tap; outside the image all are zero. */
static void copy_pixel(const conv_gather *g, const conv_source *s, int image, int y, int x, char *to)
{
    const size_t size = (size_t)conv_element_size(g);
    int done = 0;
    if (y >= 0 && y < g->h && x >= 0 && x < g->w) {
        const int scale = g->upsample ? 2 : 1;
        const int lines = g->h / scale, line = g->w / scale;
        const size_t pixel = ((size_t)image * (size_t)lines + (size_t)(y / scale)) * (size_t)line + (size_t)(x / scale);
        for (int p = 0; p < 2 && g->c[p]; p++) {
            copy_elements(g->element, to + (size_t)done * size, s->part[p], g->type[p], pixel * (size_t)g->c[p], g->c[p]);
            done += g->c[p];
        }
    }
    memset(to + (size_t)done * size, 0, (size_t)(g->tap_channels - done) * size);
}

static int grid_lines(const conv_gather *g, const conv_unit *u)
{
    return (u->lines - 1) * g->stride + g->kernel;
}

static ptrdiff_t grid_places(const conv_gather *g, const conv_unit *u)
{
    return (ptrdiff_t)grid_lines(g, u) * g->grid_w + g->pad;
}

static void fill_grid(const conv_gather *g, const conv_source *s, const conv_unit *u, char *rows)
{
    const int lines = grid_lines(g, u);
    char *to = rows;
    for (int i = 0; i < u->images; i++) {
        for (int p = 0; p < g->pad; p++, to += g->row_bytes) memset(to, 0, (size_t)g->row_bytes);
        for (int l = 0; l < lines; l++) {
            const int y = u->line * g->stride - g->pad + l;
            for (int x = 0; x < g->grid_w; x++, to += g->row_bytes) copy_pixel(g, s, u->image + i, y, x, to);
        }
    }
}

static void grid_offsets(const conv_gather *g, const conv_unit *u, ptrdiff_t *offset)
{
    const ptrdiff_t places = grid_places(g, u);
    for (int i = 0; i < u->images; i++)
        for (int l = 0; l < u->lines; l++)
            for (int x = 0; x < g->ow; x++)
                *offset++ = (i * places + ((ptrdiff_t)l * g->grid_w + x) * g->stride) * g->row_bytes;
}

static void fill_window(const conv_gather *g, const conv_taps *taps, const conv_source *s, const conv_unit *u, char *rows)
{
    const ptrdiff_t tap_bytes = g->tap_channels * conv_element_size(g);
    char *to = rows;
    for (int m = 0; m < u->m; m++, to += g->row_bytes) {
        const int line = m / g->ow;
        const int y = (u->line + line % u->lines) * g->stride - g->pad, x = m % g->ow * g->stride - g->pad;
        for (int t = 0; t < taps->n; t++)
            copy_pixel(g, s, u->image + line / u->lines, y + taps->tap[t].dy, x + taps->tap[t].dx, to + t * tap_bytes);
        memset(to + taps->n * tap_bytes, 0, (size_t)(g->row_bytes - taps->n * tap_bytes));
    }
}

/* Tiles read whole groups of 16 rows, in place only where the unit has them. */
static bool in_place(const conv_gather *g, const conv_unit *u)
{
    return g->rows == ROWS_DIRECT && !(g->tiles && u->m % 16);
}

size_t conv_rows_bytes(const conv_gather *g)
{
    const conv_unit u = {0, g->unit_images, 0, g->unit_lines, conv_unit_pixels(g)};
    const bool grid = g->rows == ROWS_GRID;
    const ptrdiff_t beyond = g->tiles ? 32 * g->stride : 0;
    const ptrdiff_t places = grid ? u.images * grid_places(g, &u) : u.m;
    if (g->rows == ROWS_DIRECT && !g->tiles) return 0;
    return conv_lines((size_t)((places + beyond) * g->row_bytes));
}

const char *conv_rows_fill(const conv_gather *g, const conv_taps *taps, const conv_source *s, const conv_unit *u,
                           void *memory, ptrdiff_t *offset)
{
    if (g->rows == ROWS_GRID) {
        fill_grid(g, s, u, memory);
        grid_offsets(g, u, offset);
        return memory;
    }
    for (int m = 0; m < u->m; m++) offset[m] = m * g->row_bytes;
    if (in_place(g, u)) {
        const ptrdiff_t pixel = ((ptrdiff_t)u->image * g->oh + u->line) * g->ow;
        return (const char *)s->part[0] + pixel * g->row_bytes;
    }
    fill_window(g, taps, s, u, memory);
    return memory;
}

ptrdiff_t conv_tap_offset(const conv_gather *g, const conv_tap *t, int place)
{
    if (g->rows == ROWS_GRID) return ((ptrdiff_t)t->dy * g->grid_w + t->dx) * g->row_bytes;
    return place * g->tap_channels * conv_element_size(g);
}
