#include "backend/cpu/conv.h"

#include "backend/cpu/rows.h"
#include "backend/cpu/turn.h"

/* The weights of one gather, addressed as value(tap, channel, column). */
typedef struct {
    const float *w;
    ptrdiff_t    tap, channel, column;
    int          taps, channels, columns;
    bool         rotated;
    bool         remainder;      /* values are what rounding to bf16 takes from the weights */
} weight_view;

/* Columns [from, from + width) of the padded columns. */
typedef struct { int from, width; } column_group;

int conv_width(const conv_gather *g, int column)
{
    return g->tiles ? 16 : tile_group(conv_packed_columns(g), column);
}

static size_t packed_bytes(const conv_gather *g)
{
    return conv_lines((size_t)g->terms * conv_packed_words(g) * 4);
}

size_t conv_pack_bytes(nn_backend *b, const nn_node *node, bool backward)
{
    (void)b;
    conv_state s;
    if (conv_plan(node, &s) != DDPM_OK) return 0;
    return packed_bytes(&s.forward) + (backward ? packed_bytes(&s.data) : 0);
}

/* LANES consecutive weights from w on, of which k exist, as an operand holds them. */
static vf weight_vector(const conv_gather *g, const weight_view *v, const float *w, int k)
{
    vf x = k > 0 ? row_get(NN_F32, w, 0, k) : (vf){0};
    if (v->remainder) x = vf_remainder(x);
    return g->element == ELEMENT_ROUNDED ? vf_rounded(x) : x;
}

static const float *weight_at(const weight_view *v, int tap, int channel, int column)
{
    return v->w + (v->rotated ? v->taps - 1 - tap : tap) * v->tap + channel * v->channel + column * v->column;
}

/* A channel, or a pair of channels, of LANES columns, where columns lie side by side. */
static vf step_words(const conv_gather *g, const weight_view *v, int tap, int channel, int column)
{
    const int k = row_lanes(v->columns, column);
    if (channel >= v->channels) return (vf){0};
    const vf low = weight_vector(g, v, weight_at(v, tap, channel, column), k);
    if (g->element != ELEMENT_BF16) return low;
    const bool second = channel + 1 < v->channels;
    return row_pair(low, second ? weight_vector(g, v, weight_at(v, tap, channel + 1, column), k) : (vf){0});
}

/* LANES words of one column from `channel` on, where channels lie side by side. */
static vf column_words(const conv_gather *g, const weight_view *v, int tap, int channel, int column)
{
    if (column >= v->columns) return (vf){0};
    const float *w = weight_at(v, tap, channel, column);
    const vf low = weight_vector(g, v, w, row_lanes(v->channels, channel));
    if (g->element != ELEMENT_BF16) return low;
    bf16 pairs[2 * LANES];
    vf_store_bf16(pairs, low);
    vf_store_bf16(pairs + LANES, weight_vector(g, v, w + LANES, row_lanes(v->channels, channel + LANES)));
    return vf_load((const float *)(const void *)pairs);
}

/* All steps of one tap of a column group, [step][width], where columns lie side by side. */
static void pack_steps(const conv_gather *g, const weight_view *v, int tap, column_group group, int steps, float *to)
{
    const int each = g->element == ELEMENT_BF16 ? 2 : 1;
    for (int s = 0; s < steps; s++, to += group.width)
        for (int i = 0; i < group.width; i += LANES) vf_store(to + i, step_words(g, v, tap, s * each, group.from + i));
}

/* The same where channels lie side by side. */
static void pack_turned(const conv_gather *g, const weight_view *v, int tap, column_group group, int steps, float *to)
{
    const int each = g->element == ELEMENT_BF16 ? 2 : 1;
    for (int i = 0; i < group.width; i += LANES)
        for (int s = 0; s < steps; s += LANES) {
            vf row[LANES];
            #pragma GCC unroll 16
            for (int l = 0; l < LANES; l++) row[l] = column_words(g, v, tap, s * each, group.from + i + l);
            turn_words(row);
            #pragma GCC unroll 16
            for (int l = 0; l < LANES; l++)
                if (s + l < steps) vf_store(to + (ptrdiff_t)(s + l) * group.width + i, row[l]);
        }
}

static void pack_tap(const conv_gather *g, const weight_view *v, int tap, column_group group, int steps, float *to)
{
    if (v->column == 1) pack_steps(g, v, tap, group, steps, to);
    else pack_turned(g, v, tap, group, steps, to);
}

static void pack_gather(const conv_gather *g, const weight_view *v, float *packed)
{
    const int steps = conv_depth_steps(g) / v->taps, columns = conv_packed_columns(g);
    int width = 0;
    for (int j = 0; j < columns; j += width) {
        width = conv_width(g, j);
        for (int t = 0; t < v->taps; t++, packed += (ptrdiff_t)steps * width)
            pack_tap(g, v, t, (column_group){j, width}, steps, packed);
    }
}

static float value_at(const weight_view *v, int tap, int channel, int column)
{
    const float w = *weight_at(v, tap, channel, column);
    return v->remainder ? w - bf16_to_f32(bf16_from_f32(w)) : w;
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

static void pack_view(const conv_gather *g, weight_view v, float *packed)
{
    for (int term = 0; term < g->terms; term++, packed += conv_packed_words(g)) {
        v.remainder = term > 0;
        if (g->rows == ROWS_FLAT) pack_flat(g, &v, packed);
        else pack_gather(g, &v, packed);
    }
}

void conv_pack(nn_backend *b, const nn_node *node, bool backward, const float *weight, void *packed)
{
    (void)b;
    conv_state s;
    if (conv_plan(node, &s) != DDPM_OK) return;
    const int taps = conv_tap_count(&s.forward), in = nn_read_channels(node), out = node->attr.conv.out;
    const ptrdiff_t tap = (ptrdiff_t)in * out;
    const weight_view forward = {weight, tap, out, 1, taps, in, out, .rotated = false};
    pack_view(&s.forward, forward, packed);
    if (!backward) return;
    const weight_view data = {weight, tap, 1, out, taps, out, in, .rotated = true};
    pack_view(&s.data, data, (float *)((char *)packed + packed_bytes(&s.forward)));
}
