#include "backend/cpu/conv.h"

#include "backend/cpu/rows.h"

#include <assert.h>
#include <string.h>

/* The gradients of the two parts of the input, and which input pixels a gather covers. */
typedef struct {
    void    *part[2];
    int      c[2];
    nn_dtype type[2];
    int      h, w;             /* as read, that is after up-sampling                */
    int      stride, py, px;   /* output (y, x) of the gather is pixel (y*stride + py, x*stride + px) */
    bool     upsample;
    int      ow;
} data_target;

/* Columns [column, column + n) of one pixel to the part or parts they belong to. */
static void store_columns(const data_target *t, size_t pixel, int column, int n, const float *sum)
{
    int start = 0;
    for (int p = 0; p < 2; start += t->c[p], p++) {
        const int from = column > start ? column : start;
        const int end = column + n < start + t->c[p] ? column + n : start + t->c[p];
        if (!t->part[p]) continue;
        for (int j = from; j < end; j += LANES) {
            const int k = row_lanes(end, j);
            const vf v = row_get(NN_F32, sum, (size_t)(j - column), k);
            row_put(t->type[p], t->part[p], pixel * (size_t)t->c[p] + (size_t)(j - start), k, v);
        }
    }
}

static void store_pixels(const data_target *t, const conv_unit *u, int column, int width, int n, const float *sum)
{
    for (int l = 0; l < u->images * u->lines; l++, sum += (ptrdiff_t)t->ow * width) {
        const int y = (u->line + l % u->lines) * t->stride + t->py;
        if (y >= t->h) continue;
        const size_t start = ((size_t)(u->image + l / u->lines) * (size_t)t->h + (size_t)y) * (size_t)t->w;
        for (int m = 0, x = t->px; m < t->ow && x < t->w; m++, x += t->stride)
            store_columns(t, start + (size_t)x, column, n, sum + (ptrdiff_t)m * width);
    }
}

/* A stored pixel was read as 2 x 2: its gradient is the sum of the four. */
static void store_quarters(const data_target *t, const conv_unit *u, int column, int width, int n, const float *sum)
{
    for (int l = 0; l < u->images * u->lines; l += 2)
        for (int x = 0; x < t->ow; x += 2) {
            const float *top = sum + ((ptrdiff_t)l * t->ow + x) * width, *low = top + (ptrdiff_t)t->ow * width;
            float four[CONV_MOST_COLUMNS];
            for (int j = 0; j < n; j++) four[j] = (top[j] + top[width + j]) + (low[j] + low[width + j]);
            const size_t image = (size_t)(u->image + l / u->lines);
            const size_t line = (size_t)((u->line + l % u->lines) / 2);
            const size_t pixel = (image * (size_t)(t->h / 2) + line) * (size_t)(t->w / 2) + (size_t)(x / 2);
            store_columns(t, pixel, column, n, four);
        }
}

static void store_data(const void *ctx, const conv_unit *u, int column, int width, const float *sum)
{
    const data_target *t = ctx;
    const int columns = t->c[0] + t->c[1];
    const int n = columns - column < width ? columns - column : width;
    if (t->upsample) store_quarters(t, u, column, width, n, sum);
    else store_pixels(t, u, column, width, n, sum);
}

static void data_grad(const nn_call *c)
{
    const conv_state *s = c->state;
    const nn_node *node = c->node;
    const nn_tensor *x = node->in[CONV_X], *x2 = node->in[CONV_X2];
    const int scale = node->attr.conv.upsample ? 2 : 1;
    data_target target = {
        .part = {c->din[CONV_X], x2 ? c->din[CONV_X2] : NULL}, .c = {x->shape.c, x2 ? x2->shape.c : 0},
        .type = {x->dtype, x2 ? x2->dtype : NN_F32}, .h = x->shape.h * scale, .w = x->shape.w * scale,
        .stride = s->phases, .upsample = node->attr.conv.upsample, .ow = s->data.ow,
    };
    for (target.py = 0; target.py < s->phases; target.py++)
        for (target.px = 0; target.px < s->phases; target.px++) {
            const conv_taps taps = conv_phase(node, &s->data, target.py, target.px);
            const conv_job job = {
                .g = &s->data, .taps = &taps, .source = {{c->dout, NULL}}, .n = c->n, .parts = 1,
                .packed = (const char *)c->packed + conv_pack_bytes(NULL, node, false),
                .scratch = c->scratch, .store = store_data, .ctx = &target,
            };
            conv_run(&job);
        }
}

static void residual_grad(const nn_call *c)
{
    const nn_tensor *out = c->node->out, *residual = c->node->in[CONV_RESIDUAL];
    const size_t len = nn_image_len(out->shape) * (size_t)c->n;
    if (out->dtype == residual->dtype) {
        memcpy(c->din[CONV_RESIDUAL], c->dout, len * nn_dtype_size(out->dtype));
        return;
    }
    for (size_t i = 0; i < len; i++)
        f32_store_as(c->din[CONV_RESIDUAL], residual->dtype, i, f32_load_as(c->dout, out->dtype, i));
}

ddpm_status conv_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    assert(c->n > 0 && c->n <= c->node->out->shape.n && c->packed && c->scratch && c->dout);
    conv_pixel_sums(c);
    if (c->node->in[CONV_RESIDUAL] && c->din[CONV_RESIDUAL]) residual_grad(c);
    if (c->din[CONV_W]) conv_weight_grad(c);
    if (c->din[CONV_X] || (c->node->in[CONV_X2] && c->din[CONV_X2])) data_grad(c);
    return DDPM_OK;
}
