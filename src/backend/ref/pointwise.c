/* silu, add, concatenation and nearest upsampling. */
#include "backend/ref/ref_op.h"

#include "base/fixmath.h"

static double sigmoid(double x) { return 1 / (1 + fix_exp(-x)); }

static ddpm_status silu_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    for (size_t i = 0; i < (size_t)c->n * ref_image_in(c, 0); i++) {
        const double x = ref_in(c, 0, i);
        ref_set_out(c, i, x * sigmoid(x));
    }
    return DDPM_OK;
}

static ddpm_status silu_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    for (size_t i = 0; i < (size_t)c->n * ref_image_in(c, 0); i++) {
        const double x = ref_in(c, 0, i), s = sigmoid(x);
        ref_set_din(c, 0, i, ref_dout(c, i) * s * (1 + x * (1 - s)));
    }
    return DDPM_OK;
}

static ddpm_status add_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    for (size_t i = 0; i < (size_t)c->n * ref_image_out(c); i++) ref_set_out(c, i, ref_in(c, 0, i) + ref_in(c, 1, i));
    return DDPM_OK;
}

static ddpm_status add_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < (size_t)c->n * ref_image_out(c) && c->din[k]; i++) ref_set_din(c, k, i, ref_dout(c, i));
    return DDPM_OK;
}

static ddpm_status concat_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const size_t c1 = (size_t)c->node->in[0]->shape.c, c2 = (size_t)c->node->in[1]->shape.c, all = c1 + c2;
    for (size_t i = 0; i < (size_t)c->n * ref_image_out(c); i++) {
        const size_t pixel = i / all, ch = i % all;
        ref_set_out(c, i, ch < c1 ? ref_in(c, 0, pixel * c1 + ch) : ref_in(c, 1, pixel * c2 + ch - c1));
    }
    return DDPM_OK;
}

static ddpm_status concat_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const size_t c1 = (size_t)c->node->in[0]->shape.c, c2 = (size_t)c->node->in[1]->shape.c, all = c1 + c2;
    for (size_t i = 0; i < (size_t)c->n * ref_image_out(c); i++) {
        const size_t pixel = i / all, ch = i % all, part = ch >= c1;
        if (c->din[part]) ref_set_din(c, (int)part, part ? pixel * c2 + ch - c1 : pixel * c1 + ch, ref_dout(c, i));
    }
    return DDPM_OK;
}

/* Element of the coarse image that element i of the fine one of shape f lies under, both counted over the batch. */
static size_t under(nn_shape f, size_t i)
{
    const size_t w = (size_t)f.w, h = (size_t)f.h, channels = (size_t)f.c;
    const size_t ch = i % channels, x = i / channels % w, y = i / channels / w % h, n = i / channels / w / h;
    return ((n * (h / 2) + y / 2) * (w / 2) + x / 2) * channels + ch;
}

/* Element k = 0..3 of the fine image over element i of the coarse one. */
static size_t over(nn_shape f, size_t i, size_t k)
{
    const size_t w = (size_t)f.w, h = (size_t)f.h, channels = (size_t)f.c;
    const size_t ch = i % channels, pixel = i / channels;
    const size_t x = 2 * (pixel % (w / 2)) + k % 2, y = 2 * (pixel / (w / 2) % (h / 2)) + k / 2, n = pixel / (w / 2) / (h / 2);
    return ((n * h + y) * w + x) * channels + ch;
}

static ddpm_status upsample_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    for (size_t i = 0; i < (size_t)c->n * ref_image_out(c); i++)
        ref_set_out(c, i, ref_in(c, 0, under(c->node->out->shape, i)));
    return DDPM_OK;
}

static ddpm_status upsample_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    for (size_t i = 0; i < (size_t)c->n * ref_image_in(c, 0); i++) {
        double sum = 0;
        for (size_t k = 0; k < 4; k++) sum += ref_dout(c, over(c->node->out->shape, i, k));
        ref_set_din(c, 0, i, sum);
    }
    return DDPM_OK;
}

const nn_kernel ref_silu     = { .forward = silu_forward, .backward = silu_backward };
const nn_kernel ref_add      = { .forward = add_forward, .backward = add_backward };
const nn_kernel ref_concat   = { .forward = concat_forward, .backward = concat_backward };
const nn_kernel ref_upsample = { .forward = upsample_forward, .backward = upsample_backward };
