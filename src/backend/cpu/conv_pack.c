#include "backend/cpu/conv.h"

/* The weights of one gather, addressed as value(tap, channel, column). */
typedef struct {
    const float *w;
    ptrdiff_t    tap, channel, column;
    int          taps, channels, columns;
    bool         rotated;
} weight_view;

/* Columns [from, from + width) of the padded columns. */
typedef struct { int from, width; } column_group;

int conv_width(const conv_gather *g, int column)
{
    return g->tiles ? 16 : tile_group(conv_packed_columns(g), column);
}

static size_t packed_bytes(const conv_gather *g)
{
    return conv_lines((size_t)conv_depth_steps(g) * (size_t)conv_packed_columns(g) * 4);
}

size_t conv_pack_bytes(nn_backend *b, const nn_node *node, bool backward)
{
    (void)b;
    conv_state s;
    if (conv_plan(node, &s) != DDPM_OK) return 0;
    return packed_bytes(&s.forward) + (backward ? packed_bytes(&s.data) : 0);
}

static float value_at(const weight_view *v, int tap, int channel, int column)
{
    const int t = v->rotated ? v->taps - 1 - tap : tap;
    return v->w[t * v->tap + channel * v->channel + column * v->column];
}

/* One step of a column group, column by column: a channel, or a pair of channels. */
static void pack_step(const conv_gather *g, const weight_view *v, int tap, int channel, column_group group, float *to)
{
    const int from = group.from, width = group.width;
    const int most = v->columns - from < width ? v->columns - from : width;
    if (g->element != ELEMENT_BF16) {
        for (int j = 0; j < most; j++) to[j] = value_at(v, tap, channel, from + j);
        for (int j = most; j < width; j++) to[j] = 0;
        if (g->element == ELEMENT_ROUNDED)
            for (int j = 0; j < most; j++) to[j] = bf16_to_f32(bf16_from_f32(to[j]));
        return;
    }
    bf16 *pair = (bf16 *)to;
    const bool second = channel + 1 < v->channels;
    for (int j = 0; j < most; j++) {
        pair[2 * j] = bf16_from_f32(value_at(v, tap, channel, from + j));
        pair[2 * j + 1] = second ? bf16_from_f32(value_at(v, tap, channel + 1, from + j)) : (bf16)0;
    }
    for (int j = 2 * most; j < 2 * width; j++) pair[j] = 0;
}

static void pack_gather(const conv_gather *g, const weight_view *v, float *packed)
{
    const int each = g->element == ELEMENT_BF16 ? 2 : 1;
    const int columns = conv_packed_columns(g);
    int width = 0;
    for (int j = 0; j < columns; j += width) {
        width = conv_width(g, j);
        for (int t = 0; t < v->taps; t++)
            for (int c = 0; c < g->depth / v->taps; c += each, packed += width)
                if (c < v->channels) pack_step(g, v, t, c, (column_group){j, width}, packed);
                else for (int i = 0; i < width; i++) packed[i] = 0;
    }
}

/* A flat window is one tap with taps * channels channels: in both views consecutive
 * taps and channels may be addressed by one index, rotated or not. */
static float flat_at(const weight_view *v, int index, int column)
{
    return index < v->taps * v->channels ? value_at(v, index / v->channels, index % v->channels, column) : 0;
}

static void pack_flat(const conv_gather *g, const weight_view *v, float *packed)
{
    const int each = g->element == ELEMENT_BF16 ? 2 : 1;
    const int columns = conv_packed_columns(g);
    int width = 0;
    for (int j = 0; j < columns; j += width) {
        width = conv_width(g, j);
        for (int c = 0; c < g->depth; c += each, packed += width)
            for (int i = 0; i < width; i++) {
                const bool in = j + i < v->columns;
                const float low = in ? flat_at(v, c, j + i) : 0;
                if (each == 1) {
                    packed[i] = g->element == ELEMENT_ROUNDED ? bf16_to_f32(bf16_from_f32(low)) : low;
                } else {
                    ((bf16 *)packed)[2 * i] = bf16_from_f32(low);
                    ((bf16 *)packed)[2 * i + 1] = bf16_from_f32(in ? flat_at(v, c + 1, j + i) : 0);
                }
            }
    }
}

static void pack_view(const conv_gather *g, const weight_view *v, void *packed)
{
    if (g->rows == ROWS_FLAT) pack_flat(g, v, packed);
    else pack_gather(g, v, packed);
}

void conv_pack(nn_backend *b, const nn_node *node, bool backward, const float *weight, void *packed)
{
    (void)b;
    conv_state s;
    if (conv_plan(node, &s) != DDPM_OK) return;
    const int k = node->attr.conv.kernel, in = nn_read_channels(node), out = node->attr.conv.out;
    const ptrdiff_t tap = (ptrdiff_t)in * out;
    const weight_view forward = {weight, tap, out, 1, k * k, in, out, false};
    pack_view(&s.forward, &forward, packed);
    if (!backward) return;
    const weight_view data = {weight, tap, 1, out, k * k, out, in, true};
    pack_view(&s.data, &data, (char *)packed + packed_bytes(&s.forward));
}
