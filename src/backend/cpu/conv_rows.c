#include "backend/cpu/conv.h"

#include "backend/cpu/rows.h"

#include <string.h>

static void copy_f32(float *to, const void *from, nn_dtype type, size_t at, int count, bool rounded)
{
    for (int i = 0; i < count; i += LANES) {
        const int k = row_lanes(count, i);
        vf v = row_get(type, from, at + (size_t)i, k);
        row_put(NN_F32, to, (size_t)i, k, rounded ? vf_rounded(v) : v);
    }
}

static void copy_bf16(bf16 *to, const void *from, size_t at, int count)
{
    for (int i = 0; i < count; i += LANES) {
        const int k = row_lanes(count, i);
        row_put(NN_BF16, to, (size_t)i, k, row_get(NN_F32, from, at + (size_t)i, k));
    }
}

/* f32 to the two terms of each value. */
static void copy_terms(bf16 *first, bf16 *second, const float *from, int count)
{
    for (int i = 0; i < count; i += LANES) {
        const int k = row_lanes(count, i);
        const vf v = row_get(NN_F32, from, (size_t)i, k);
        row_put(NN_BF16, first, (size_t)i, k, v);
        row_put(NN_BF16, second, (size_t)i, k, vf_remainder(v));
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

/* `bytes` of zeros in each term of a row. */
static void clear_terms(const conv_gather *g, char *to, ptrdiff_t bytes)
{
    for (int t = 0; t < g->terms; t++) memset(to + t * g->term_bytes, 0, (size_t)bytes);
}

/* Channels of `count` pixels from `pixel` on, in the stored order, as one run of elements. */
static void copy_run(const conv_gather *g, const conv_source *s, int part, size_t pixel, int count, char *to)
{
    const int c = g->c[part], all = count * c;
    const size_t at = pixel * (size_t)c;
    if (g->terms == 2) copy_terms((bf16 *)to, (bf16 *)(to + g->term_bytes), (const float *)s->part[part] + at, all);
    else copy_elements(g->element, to, s->part[part], g->type[part], at, all);
}

/* One stored pixel's channels and the zeros that fill up a tap. */
static void copy_channels(const conv_gather *g, const conv_source *s, size_t pixel, char *to)
{
    const ptrdiff_t size = conv_element_size(g);
    int done = 0;
    for (int p = 0; p < 2 && g->c[p]; p++) {
        copy_run(g, s, p, pixel, 1, to + done * size);
        done += g->c[p];
    }
    if (done < g->tap_channels) clear_terms(g, to + done * size, (g->tap_channels - done) * size);
}

/* The stored pixel at the start of line y of the image as it is read. */
static size_t line_start(const conv_gather *g, int image, int y)
{
    const int scale = g->upsample ? 2 : 1;
    return ((size_t)image * (size_t)(g->h / scale) + (size_t)(y / scale)) * (size_t)(g->w / scale);
}

/* The same of pixel (y, x) as it is read; outside the image all are zero. */
static void copy_pixel(const conv_gather *g, const conv_source *s, int image, int y, int x, char *to)
{
    const bool in = y >= 0 && y < g->h && x >= 0 && x < g->w;
    if (in) copy_channels(g, s, line_start(g, image, y) + (size_t)(g->upsample ? x / 2 : x), to);
    else clear_terms(g, to, g->tap_channels * conv_element_size(g));
}

/* Rows that lie as the pixels do, one behind the other. */
static bool rows_are_dense(const conv_gather *g)
{
    return g->terms == 1 && !g->upsample && !g->c[1] && g->row_bytes == g->c[0] * conv_element_size(g);
}

/* The rows of a grid line: its pixels, then the gap. */
static void copy_line(const conv_gather *g, const conv_source *s, int image, int y, char *to)
{
    int x = 0;
    if (y >= 0 && y < g->h) {
        const size_t start = line_start(g, image, y);
        if (rows_are_dense(g)) copy_run(g, s, 0, start, g->w, to);
        else for (; x < g->w; x++) copy_channels(g, s, start + (size_t)(g->upsample ? x / 2 : x), to + x * g->row_bytes);
        x = g->w;
    }
    memset(to + x * g->row_bytes, 0, (size_t)((g->grid_w - x) * g->row_bytes));
}

static int grid_lines(const conv_gather *g, const conv_unit *u)
{
    return (u->lines - 1) * g->stride + g->kernel_h;
}

static ptrdiff_t grid_places(const conv_gather *g, const conv_unit *u)
{
    return (ptrdiff_t)grid_lines(g, u) * g->grid_w + g->pad_w;
}

static void fill_grid(const conv_gather *g, const conv_source *s, const conv_unit *u, char *rows)
{
    const int lines = grid_lines(g, u);
    char *to = rows;
    for (int i = 0; i < u->images; i++) {
        memset(to, 0, (size_t)(g->pad_w * g->row_bytes));
        to += g->pad_w * g->row_bytes;
        for (int l = 0; l < lines; l++, to += g->grid_w * g->row_bytes)
            copy_line(g, s, u->image + i, u->line * g->stride - g->pad_h + l, to);
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
        const int y = (u->line + line % u->lines) * g->stride - g->pad_h, x = m % g->ow * g->stride - g->pad_w;
        for (int t = 0; t < taps->n; t++)
            copy_pixel(g, s, u->image + line / u->lines, y + taps->tap[t].dy, x + taps->tap[t].dx, to + t * tap_bytes);
        clear_terms(g, to + taps->n * tap_bytes, g->term_bytes - taps->n * tap_bytes);
    }
}

/* Of few channels, the lines that a unit reads of one image are first laid out with their borders, so that
 * the taps of a line are one run. Pixels of such a line, its bytes, and those of all lines; term after term. */
static int flat_span(const conv_gather *g)
{
    return (g->ow - 1) * g->stride + g->kernel_w;
}

static ptrdiff_t flat_line(const conv_gather *g)
{
    return flat_span(g) * g->tap_channels * conv_element_size(g);
}

static ptrdiff_t flat_bytes(const conv_gather *g, int lines)
{
    return ((lines - 1) * g->stride + g->kernel_h) * flat_line(g);
}

static size_t flat_room(const conv_gather *g)
{
    return g->rows == ROWS_FLAT ? conv_lines((size_t)(g->terms * flat_bytes(g, g->unit_lines))) : 0;
}

static void flat_lines(const conv_gather *g, const conv_source *s, const conv_unit *u, int image, char *to)
{
    const ptrdiff_t pixel = g->tap_channels * conv_element_size(g), bytes = flat_bytes(g, u->lines);
    conv_gather lines = *g;
    lines.term_bytes = bytes;
    memset(to, 0, (size_t)(g->terms * bytes));
    const int most = g->w < flat_span(g) - g->pad_w ? g->w : flat_span(g) - g->pad_w;
    for (int l = 0; l < grid_lines(g, u); l++) {
        const int y = u->line * g->stride - g->pad_h + l;
        char *first = to + l * flat_line(g) + g->pad_w * pixel;
        if (y < 0 || y >= g->h) continue;
        if (!g->upsample && !g->c[1]) copy_run(&lines, s, 0, line_start(g, image, y), most, first);
        else for (int x = 0; x < most; x++) copy_pixel(&lines, s, image, y, x, first + x * pixel);
    }
}

/* Some bytes: as two halves that may overlap, for memcpy of a size that is not known costs more than such a copy. */
static inline void copy_short(char *to, const char *from, size_t bytes)
{
    if (bytes < 16 || bytes > 64) {
        memcpy(to, from, bytes);
    } else if (bytes > 32) {
        memcpy(to, from, 32);
        memcpy(to + bytes - 32, from + bytes - 32, 32);
    } else {
        memcpy(to, from, 16);
        memcpy(to + bytes - 16, from + bytes - 16, 16);
    }
}

/* One term of the windows of a line: `windows` rows from `to` on, of lines laid out from `from` on. */
static void copy_windows(const conv_gather *g, int windows, const char *from, char *to)
{
    const ptrdiff_t pixel = g->tap_channels * conv_element_size(g), across = g->stride * pixel, run = g->kernel_w * pixel;
    const ptrdiff_t line = flat_line(g), row = g->row_bytes, lines = g->kernel_h;
    for (int x = 0; x < windows; x++, from += across, to += row)
        for (ptrdiff_t dy = 0; dy < lines; dy++) copy_short(to + dy * run, from + dy * line, (size_t)run);
}

static void fill_flat(const conv_gather *g, const conv_source *s, const conv_unit *u, char *rows, char *memory)
{
    const ptrdiff_t bytes = flat_bytes(g, u->lines);
    memset(rows, 0, (size_t)(u->m * g->row_bytes));
    for (int i = 0; i < u->images; i++) {
        flat_lines(g, s, u, u->image + i, memory);
        for (int t = 0; t < g->terms; t++)
            for (int l = 0; l < u->lines; l++) {
                char *to = rows + (ptrdiff_t)(i * u->lines + l) * g->ow * g->row_bytes + t * g->term_bytes;
                copy_windows(g, g->ow, memory + t * bytes + l * g->stride * flat_line(g), to);
            }
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
    return conv_lines((size_t)((places + beyond) * g->row_bytes)) + flat_room(g);
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
    if (g->rows == ROWS_FLAT) fill_flat(g, s, u, memory, (char *)memory + conv_rows_bytes(g) - flat_room(g));
    else fill_window(g, taps, s, u, memory);
    return memory;
}

ptrdiff_t conv_tap_offset(const conv_gather *g, const conv_tap *t, int place)
{
    if (g->rows == ROWS_GRID) return ((ptrdiff_t)t->dy * g->grid_w + t->dx) * g->row_bytes;
    return place * g->tap_channels * conv_element_size(g);
}
