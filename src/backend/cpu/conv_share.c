#include "backend/cpu/conv.h"

#include <stdint.h>

/* What a part pays besides its products, as products: to read the weights costs about as much as
 * this many pixels, to fill a row as much as this many columns. Estimates from rates of products, copies
 * and reading of one processor; where they are off, a share is slower, not wrong. */
enum { WEIGHT_PIXELS = 16, ROW_COLUMNS = 8 };

static int least(int a, int b)
{
    return a < b ? a : b;
}

static int parts_of(int n, int part)
{
    return (n + part - 1) / part;
}

static int groups_of(const conv_gather *g)
{
    int n = 0;
    for (int column = 0; column < g->columns; column += conv_width(g, column)) n++;
    return n;
}

static int group_column(const conv_gather *g, int group)
{
    int column = 0;
    for (int i = 0; i < group; i++) column += conv_width(g, column);
    return column;
}

static int units_of(const conv_gather *g, int n)
{
    return g->unit_lines == g->oh ? parts_of(n, g->unit_images) : n * parts_of(g->oh, g->unit_lines);
}

/* Lines that tiles take without a remainder. */
static int tile_lines(const conv_gather *g)
{
    int lines = 1;
    while (g->tiles && lines * g->ow % 32) lines++;
    return lines;
}

/* Smaller units, so that `bands` parts find as many as each other. */
static conv_gather cut_units(conv_gather g, int n, int bands)
{
    if (n >= bands) {
        g.unit_images = least(g.unit_images, parts_of(n, bands));
        return g;
    }
    const int lines = parts_of(g.oh, parts_of(bands, n));
    const int even = parts_of(lines, parts_of(lines, g.unit_lines));
    g.unit_images = 1;
    g.unit_lines = least(g.unit_lines, conv_round_up(even, tile_lines(&g)));
    return g;
}

/* What the busiest part has to do when columns are cut in `slices`. */
static int64_t cost_of(const conv_gather *g, int n, int parts, int groups, int slices)
{
    const int bands = parts / slices;
    const conv_gather cut = cut_units(*g, n, bands);
    const int64_t pixels = (int64_t)parts_of(units_of(&cut, n), bands) * conv_unit_pixels(&cut);
    const int64_t columns = least(parts_of(groups, slices) * conv_width(g, 0), conv_packed_columns(g));
    return (pixels + WEIGHT_PIXELS) * columns * g->depth + pixels * ROW_COLUMNS * g->tap_channels;
}

static int best_slices(const conv_gather *g, int n, int parts, int groups)
{
    int best = 1;
    for (int slices = 2; slices <= least(groups, parts); slices++)
        if (cost_of(g, n, parts, groups, slices) < cost_of(g, n, parts, groups, best)) best = slices;
    return best;
}

conv_share conv_share_of(const conv_gather *g, int n, int part, int parts)
{
    if (parts == 1) return (conv_share){*g, 0, units_of(g, n), 0, g->columns};
    const int groups = groups_of(g), slices = best_slices(g, n, parts, groups), bands = parts / slices;
    const int band = part / slices, slice = part % slices;
    conv_share s = {.g = cut_units(*g, n, bands)};
    if (band >= bands) return s;
    const int units = units_of(&s.g, n);
    s.unit = units * band / bands;
    s.unit_end = units * (band + 1) / bands;
    s.column = group_column(g, groups * slice / slices);
    s.column_end = group_column(g, groups * (slice + 1) / slices);
    return s;
}

conv_unit conv_share_unit(const conv_share *s, int n, int unit)
{
    const conv_gather *g = &s->g;
    if (g->unit_lines == g->oh) return conv_unit_at(g, n, unit * g->unit_images, 0);
    const int each = parts_of(g->oh, g->unit_lines);
    return conv_unit_at(g, n, unit / each, unit % each * g->unit_lines);
}
