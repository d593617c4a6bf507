#include "io/gif_palette.h"

#include <stdbool.h>
#include <stdlib.h>

enum { PARTS = 32, BINS = PARTS * PARTS * PARTS, SLOTS = 1024 };

/* --- few colours ---------------------------------------------------------------------- */

/* The slot of a colour or the free one where it belongs; 0 is free, colours are stored plus 1. */
static size_t find_slot(const uint32_t *slot, uint32_t colour)
{
    size_t at = (colour * 2654435761u) >> 22;
    while (slot[at] && slot[at] != colour + 1) at = (at + 1) % SLOTS;
    return at;
}

/* False: more than there is room for; palette and index are then to be made again. */
static bool keep_all(const uint8_t *rgb, size_t n, uint8_t palette[GIF_COLOURS][3], int *used, uint8_t *index)
{
    uint32_t slot[SLOTS] = { 0 };
    uint8_t number[SLOTS];
    *used = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *p = rgb + 3 * i;
        const uint32_t colour = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        const size_t at = find_slot(slot, colour);
        if (!slot[at]) {
            if (*used == GIF_COLOURS) return false;
            slot[at] = colour + 1;
            number[at] = (uint8_t)*used;
            for (int c = 0; c < 3; c++) palette[*used][c] = p[c];
            ++*used;
        }
        index[i] = number[at];
    }
    return true;
}

/* --- median cut ------------------------------------------------------------------------- */

typedef struct { uint32_t count; uint64_t sum[3]; } bin;
typedef struct { int low[3], high[3]; uint64_t count; } box;      /* bins low .. high, both in it */

typedef struct {
    uint8_t low[3], high[3];            /* of the picture's channels */
    bin     bins[BINS];
    uint8_t colour[BINS];
    box     boxes[GIF_COLOURS];
    int     used;
} cutter;

static size_t bin_at(int r, int g, int b) { return ((size_t)r * PARTS + (size_t)g) * PARTS + (size_t)b; }

static size_t bin_of(const cutter *k, const uint8_t *p)
{
    int part[3];
    for (int c = 0; c < 3; c++) part[c] = (p[c] - k->low[c]) * PARTS / (k->high[c] - k->low[c] + 1);
    return bin_at(part[0], part[1], part[2]);
}

static void count_colours(cutter *k, const uint8_t *rgb, size_t n)
{
    for (int c = 0; c < 3; c++) k->low[c] = k->high[c] = rgb[c];
    for (size_t i = 0; i < 3 * n; i++) {
        if (rgb[i] < k->low[i % 3]) k->low[i % 3] = rgb[i];
        if (rgb[i] > k->high[i % 3]) k->high[i % 3] = rgb[i];
    }
    for (size_t i = 0; i < n; i++) {
        bin *to = &k->bins[bin_of(k, rgb + 3 * i)];
        to->count++;
        for (int c = 0; c < 3; c++) to->sum[c] += rgb[3 * i + (size_t)c];
    }
}

/* along[axis][part]: pixels of a box by one of its coordinates. */
static void profile(const cutter *k, const box *b, uint64_t along[3][PARTS])
{
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < PARTS; i++) along[c][i] = 0;
    for (int r = b->low[0]; r <= b->high[0]; r++)
        for (int g = b->low[1]; g <= b->high[1]; g++)
            for (int l = b->low[2]; l <= b->high[2]; l++) {
                const uint32_t count = k->bins[bin_at(r, g, l)].count;
                along[0][r] += count;
                along[1][g] += count;
                along[2][l] += count;
            }
}

/* The box without its empty sides, and its pixels. */
static void shrink(const cutter *k, box *b)
{
    uint64_t along[3][PARTS];
    profile(k, b, along);
    for (int c = 0; c < 3; c++) {
        while (b->low[c] < b->high[c] && !along[c][b->low[c]]) b->low[c]++;
        while (b->high[c] > b->low[c] && !along[c][b->high[c]]) b->high[c]--;
    }
    b->count = 0;
    for (int r = b->low[0]; r <= b->high[0]; r++) b->count += along[0][r];
}

static int longest_axis(const box *b)
{
    int axis = 0;
    for (int c = 1; c < 3; c++)
        if (b->high[c] - b->low[c] > b->high[axis] - b->low[axis]) axis = c;
    return axis;
}

static uint64_t weight(const box *b)
{
    const int axis = longest_axis(b);
    return b->count * (uint64_t)(b->high[axis] - b->low[axis]);
}

/* Cuts b where half of its pixels are passed; both halves keep some, since the ends of a shrunk box are occupied. */
static void cut(cutter *k, box *b)
{
    uint64_t along[3][PARTS], before;
    const int axis = longest_axis(b);
    int last = b->low[axis];
    profile(k, b, along);
    for (before = along[axis][last]; 2 * before < b->count && last < b->high[axis] - 1; before += along[axis][++last]) continue;
    box *other = &k->boxes[k->used++];
    *other = *b;
    b->high[axis] = last;
    other->low[axis] = last + 1;
    shrink(k, b);
    shrink(k, other);
}

static void cut_all(cutter *k)
{
    k->boxes[0] = (box){ .high = { PARTS - 1, PARTS - 1, PARTS - 1 } };
    k->used = 1;
    shrink(k, &k->boxes[0]);
    while (k->used < GIF_COLOURS) {
        box *heaviest = &k->boxes[0];
        for (int i = 1; i < k->used; i++)
            if (weight(&k->boxes[i]) > weight(heaviest)) heaviest = &k->boxes[i];
        if (!weight(heaviest)) return;
        cut(k, heaviest);
    }
}

static void mean_colour(cutter *k, int number, uint8_t mean[3])
{
    const box *b = &k->boxes[number];
    uint64_t sum[3] = { 0 };
    for (int r = b->low[0]; r <= b->high[0]; r++)
        for (int g = b->low[1]; g <= b->high[1]; g++)
            for (int l = b->low[2]; l <= b->high[2]; l++) {
                const size_t at = bin_at(r, g, l);
                k->colour[at] = (uint8_t)number;
                for (int c = 0; c < 3; c++) sum[c] += k->bins[at].sum[c];
            }
    for (int c = 0; c < 3; c++) mean[c] = (uint8_t)((sum[c] + b->count / 2) / b->count);
}

ddpm_status gif_palette(const uint8_t *rgb, size_t n, uint8_t palette[GIF_COLOURS][3], int *used, uint8_t *index)
{
    if (keep_all(rgb, n, palette, used, index)) return DDPM_OK;
    cutter *k = calloc(1, sizeof *k);
    if (!k) return ddpm_fail(DDPM_ENOMEM, "no memory for a palette");
    count_colours(k, rgb, n);
    cut_all(k);
    for (int i = 0; i < k->used; i++) mean_colour(k, i, palette[i]);
    for (size_t i = 0; i < n; i++) index[i] = k->colour[bin_of(k, rgb + 3 * i)];
    *used = k->used;
    free(k);
    return DDPM_OK;
}
