#include "backend/cpu/conv.h"

#include "backend/cpu/cpu.h"
#include "backend/cpu/rows.h"

#include <assert.h>
#include <stdlib.h>

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static ddpm_status conv_prepare(nn_backend *b, const nn_node *node, void **state, size_t *scratch)
{
    conv_state *s = malloc(sizeof *s);
    if (!s) return ddpm_fail(DDPM_ENOMEM, "no memory to prepare %s", node->name);
    const ddpm_status status = conv_plan(node, s);
    if (status != DDPM_OK) {
        free(s);
        return status;
    }
    s->forward.wide = s->data.wide = s->weights.wide = s->forward.tiles && cpu_tile_columns(b) == 32;
    const size_t gathers = larger(conv_run_bytes(&s->forward), conv_run_bytes(&s->data));
    *scratch = larger(gathers, conv_weight_grad_bytes(&s->weights));
    *state = s;
    return DDPM_OK;
}

static void conv_release(nn_backend *b, void *state)
{
    (void)b;
    free(state);
}

enum { STORE_COLUMNS = 64 };     /* at least what a unit hands over at once, on every level */

/* What is added to the sums of a pixel, in this order, before they are rounded: some columns of it. */
typedef struct {
    bool        bias, chan;
    const void *residual;
    float       bias_of[STORE_COLUMNS], chan_of[STORE_COLUMNS];
} conv_addends;

/* `pixels` pixels whose sums are `width` apart; `n` columns of them to elements at, at + columns, ... */
ROW_INLINE void store_pixels(nn_dtype type, nn_dtype residual, bool relu, const conv_addends *add, const float *sum, int width,
                             int pixels, int n, void *out, size_t at, size_t columns)
{
    for (int m = 0; m < pixels; m++, sum += width, at += columns)
        for (int j = 0; j < n; j += LANES) {
            const int k = row_lanes(n, j);
            vf v = vf_load(sum + j);
            if (add->bias) v += vf_load(add->bias_of + j);
            if (add->chan) v += vf_load(add->chan_of + j);
            if (add->residual) v += row_get(residual, add->residual, at + (size_t)j, k);
            if (relu) v = row_pick(v < 0, (vf){0}, v);
            row_put(type, out, at + (size_t)j, k, v);
        }
}

static void store_output(const void *ctx, const conv_unit *u, int column, int width, const float *sum)
{
    assert(width <= STORE_COLUMNS);
    const nn_call *c = ctx;
    const nn_tensor *out = c->node->out, *chan = c->node->in[CONV_CHAN], *residual = c->node->in[CONV_RESIDUAL];
    const size_t columns = (size_t)out->shape.c, from = (size_t)column;
    const bool relu = c->node->attr.conv.relu;
    const int n = out->shape.c - column < width ? out->shape.c - column : width, pixels = u->m / u->images;
    conv_addends add = {.bias = c->in[CONV_B], .chan = chan, .residual = residual ? c->in[CONV_RESIDUAL] : NULL};
    if (add.bias) row_load(add.bias_of, c->in[CONV_B], NN_F32, from, (size_t)n);
    for (int i = 0; i < u->images; i++, sum += (ptrdiff_t)pixels * width) {
        const size_t image = (size_t)(u->image + i), pixel = (image * (size_t)out->shape.h + (size_t)u->line) * (size_t)out->shape.w;
        if (add.chan) row_load(add.chan_of, c->in[CONV_CHAN], chan->dtype, image * columns + from, (size_t)n);
        const nn_dtype added = residual ? residual->dtype : out->dtype;
        const size_t at = pixel * columns + from;
        if (relu) ROW_TYPED(store_pixels, out->dtype, added, true, &add, sum, width, pixels, n, c->out, at, columns);
        else ROW_TYPED(store_pixels, out->dtype, added, false, &add, sum, width, pixels, n, c->out, at, columns);
    }
}

static ddpm_status conv_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    assert(c->n > 0 && c->n <= c->node->out->shape.n && c->packed && c->scratch);
    const conv_state *s = c->state;
    const conv_taps taps = conv_window(&s->forward);
    const conv_job job = {
        .g = &s->forward, .taps = &taps, .source = {{c->in[CONV_X], c->in[CONV_X2]}}, .n = c->n,
        .part = c->part, .parts = c->parts, .packed = c->packed, .scratch = c->scratch, .store = store_output, .ctx = c,
    };
    conv_run(&job);
    return DDPM_OK;
}

extern const nn_kernel ISA(cpu_conv2d);

const nn_kernel ISA(cpu_conv2d) = {
    .prepare = conv_prepare, .forward = conv_forward, .backward = conv_backward, .release = conv_release,
    .pack_bytes = conv_pack_bytes, .pack = conv_pack, .phases = 1,
};
