/* ref_op.h - what the operators of the reference backend share. */
#ifndef DDPM_BACKEND_REF_REF_OP_H
#define DDPM_BACKEND_REF_REF_OP_H

#include "base/bf16.h"
#include "nn/backend.h"

/* Element i of a value of type t, widened. */
static inline double ref_get(const void *p, nn_dtype t, size_t i)
{
    return (double)(t == NN_BF16 ? bf16_to_f32(((const bf16 *)p)[i]) : ((const float *)p)[i]);
}

/* Store with one rounding (bf16 by way of f32, which double rounding affects only in ties of f32). */
static inline void ref_put(void *p, nn_dtype t, size_t i, double v)
{
    if (t == NN_BF16) ((bf16 *)p)[i] = bf16_from_f32((float)v);
    else ((float *)p)[i] = (float)v;
}

/* An operand of a product, in the precision the node multiplies with. */
static inline double ref_operand(nn_dtype compute, double v)
{
    return compute == NN_BF16 ? (double)bf16_to_f32(bf16_from_f32((float)v)) : v;
}

static inline double ref_in(const nn_call *c, int k, size_t i)  { return ref_get(c->in[k], c->node->in[k]->dtype, i); }
static inline double ref_dout(const nn_call *c, size_t i)       { return ref_get(c->dout, c->node->out->dtype, i); }
static inline void ref_set_out(const nn_call *c, size_t i, double v) { ref_put(c->out, c->node->out->dtype, i, v); }
static inline void ref_set_din(const nn_call *c, int k, size_t i, double v) { ref_put(c->din[k], c->node->in[k]->dtype, i, v); }

static inline size_t ref_image_in(const nn_call *c, int k) { return nn_image_len(c->node->in[k]->shape); }
static inline size_t ref_image_out(const nn_call *c)       { return nn_image_len(c->node->out->shape); }

/* Element of the concatenation of in[0] and in[3]: channel ch of a pixel counted over the batch. */
static inline double ref_read(const nn_call *c, size_t pixel, size_t ch)
{
    const size_t c1 = (size_t)c->node->in[0]->shape.c;
    if (ch < c1) return ref_in(c, 0, pixel * c1 + ch);
    return ref_in(c, 3, pixel * (size_t)c->node->in[3]->shape.c + ch - c1);
}

/* Its gradient; parts that are not wanted are dropped. */
static inline void ref_write_read_gradient(const nn_call *c, size_t pixel, size_t ch, double v)
{
    const size_t c1 = (size_t)c->node->in[0]->shape.c;
    if (ch < c1) {
        if (c->din[0]) ref_set_din(c, 0, pixel * c1 + ch, v);
    } else if (c->din[3]) {
        ref_set_din(c, 3, pixel * (size_t)c->node->in[3]->shape.c + ch - c1, v);
    }
}

/* Continue, or for the first image of a fresh gradient start, a parameter's gradient with
 * one image's share. Rounding once per image is what makes the sum independent of how a
 * batch was cut into calls. */
static inline void ref_add_gradient(const nn_call *c, int image, float *grad, size_t len, const double *share)
{
    const bool fresh = image == 0 && !c->accumulate;
    for (size_t i = 0; i < len; i++) grad[i] = (float)((fresh ? 0 : (double)grad[i]) + share[i]);
}

extern const nn_kernel ref_conv2d, ref_group_norm, ref_attention;
extern const nn_kernel ref_silu, ref_add, ref_concat, ref_upsample, ref_pool, ref_timestep_embed, ref_embed;

#endif
