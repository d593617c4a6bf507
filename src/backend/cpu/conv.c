#include "backend/cpu/conv.h"

#include "backend/cpu/rows.h"

#include <assert.h>
#include <stdlib.h>

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static ddpm_status conv_prepare(nn_backend *b, const nn_node *node, void **state, size_t *scratch)
{
    (void)b;
    conv_state *s = malloc(sizeof *s);
    if (!s) return ddpm_fail(DDPM_ENOMEM, "no memory to prepare %s", node->name);
    const ddpm_status status = conv_plan(node, s);
    if (status != DDPM_OK) {
        free(s);
        return status;
    }
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

/* What is added to the sums of one pixel, in this order, before they are rounded. */
typedef struct {
    const float *bias;
    const void  *chan, *residual;
    nn_dtype     chan_type, residual_type;
} conv_addends;

static conv_addends addends_of(const nn_call *c)
{
    const nn_tensor *chan = c->node->in[CONV_CHAN], *residual = c->node->in[CONV_RESIDUAL];
    return (conv_addends){
        c->in[CONV_B], chan ? c->in[CONV_CHAN] : NULL, residual ? c->in[CONV_RESIDUAL] : NULL,
        chan ? chan->dtype : NN_F32, residual ? residual->dtype : NN_F32,
    };
}

static void store_output(const void *ctx, const conv_unit *u, int column, int width, const float *sum)
{
    const nn_call *c = ctx;
    const nn_tensor *out = c->node->out;
    const conv_addends add = addends_of(c);
    const int columns = out->shape.c, image = out->shape.h * out->shape.w;
    const int most = columns - column < width ? columns - column : width;
    for (int m = 0; m < u->m; m++) {
        const size_t pixel = (size_t)u->image * (size_t)image + (size_t)(u->line * out->shape.w + m);
        const size_t at = pixel * (size_t)columns + (size_t)column;
        const size_t chan_at = pixel / (size_t)image * (size_t)columns + (size_t)column;
        for (int j = 0; j < most; j += LANES) {
            const int k = row_lanes(most, j);
            const size_t lane = (size_t)j;
            vf v = vf_load(sum + (ptrdiff_t)m * width + j);
            if (add.bias) v += row_get(NN_F32, add.bias, (size_t)column + lane, k);
            if (add.chan) v += row_get(add.chan_type, add.chan, chan_at + lane, k);
            if (add.residual) v += row_get(add.residual_type, add.residual, at + lane, k);
            row_put(out->dtype, c->out, at + lane, k, v);
        }
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
        .packed = c->packed, .scratch = c->scratch, .store = store_output, .ctx = c,
    };
    conv_run(&job);
    return DDPM_OK;
}

extern const nn_kernel ISA(cpu_conv2d);

const nn_kernel ISA(cpu_conv2d) = {
    .prepare = conv_prepare, .forward = conv_forward, .backward = conv_backward, .release = conv_release,
    .pack_bytes = conv_pack_bytes, .pack = conv_pack,
};
