/* op.h - the closed set of operators a network is made of.
 *
 * An operator is added here only when no composition of the others is fast
 * enough or exact enough. Anything that can be composed belongs in model/.
 * No views, no strides, no broadcasting but the named per-channel add, no
 * dynamic shapes except the batch (a plan runs any n up to its own), no passes
 * that rewrite a graph.
 *
 * Rules every operator obeys:
 *   - one output, plus at most one f32 `aux` tensor kept for backward;
 *   - the bits of image i do not depend on how many images run beside it;
 *   - backward OVERWRITES the gradient of every activation it writes; summing
 *     over several consumers is the plan's job, never a kernel's;
 *   - backward of a parameter starts from zero or, when nn_call.accumulate is
 *     set, from what the gradient slab holds, and adds image after image in
 *     order, so that the sum does not depend on how a batch was cut;
 *   - a value that changes from step to step is a tensor, never an attribute,
 *     so that a captured device graph stays valid. */
#ifndef DDPM_NN_OP_H
#define DDPM_NN_OP_H

#include "base/status.h"
#include "nn/tensor.h"

typedef enum {
    /* y = conv(read(x, x2)) + b + chan + residual, or with `relu` the larger of that and 0. A linear layer is kernel 1.
     * in: x [n,h,w,c1]  w [kh,kw,c,o]  b [o] or NULL  x2 [n,h,w,c2] or NULL: concatenated behind x
     *     chan [n,1,1,o] or NULL: added to every pixel   residual [n,h',w',o] or NULL
     * out [n,h',w',o], h' = h * (upsample ? 2 : 1) / stride. `pad_h` rows and `pad_w` columns of zeros
     * precede the image, as many as needed follow (pad 0, kernel 3, stride 2 is Ho's down-sampling).
     * valid: as many follow as precede, and h' = floor((h * (upsample ? 2 : 1) + 2 pad_h - kh) / stride) + 1.
     * With relu there is no gradient. */
    NN_CONV2D,
    /* y = dropout(silu?(norm(read(x, x2)) * (1 + scale) + shift)); group norm with affine gamma, beta.
     * in: x  gamma [c]  beta [c]  x2 or NULL  film [n,1,1,2c] = scale then shift, or NULL
     *     key [n,1,1,4] i32 or NULL: dropout address of each image (no dropout when NULL)
     * aux [n,1,groups,2]: mean and 1/sqrt(var + eps), biased variance, f32 */
    NN_GROUP_NORM,
    NN_SILU,            /* x                       -> same shape                               */
    NN_ADD,             /* x, y of one shape       -> same shape                               */
    NN_CONCAT,          /* x [n,h,w,a], y [n,h,w,b] -> [n,h,w,a+b]; norms and convolutions read two parts themselves */
    NN_UPSAMPLE,        /* x [n,h,w,c]             -> [n,2h,2w,c], nearest                     */
    /* y = mean or maximum of each window of read(x, x2); what lies outside the image belongs to no window.
     * in: x [n,h,w,c1]   x2 [n,h,w,c2] or NULL: concatenated behind x
     * out [n,h',w',c1+c2], h' = floor((h + 2 pad - kernel) / stride) + 1; kernel 0: one window, the whole image.
     * Of the maximum there is no gradient. */
    NN_POOL,
    NN_ATTENTION,       /* qkv [n,h,w,3c]          -> [n,h,w,c]; aux [n,1,heads,h*w]: log of the softmax denominators */
    NN_TIMESTEP_EMBED,  /* t [n,1,1,1] f32         -> [n,1,1,dim] f32                          */
    NN_EMBED,           /* y [n,1,1,1] i32, table [1,1,k,c] -> [n,1,1,c]; forward-checked range is the caller's duty */
    NN_OP_COUNT
} nn_op;

enum { NN_MAX_IN = 6, NN_SAVE_OUT = 1 << NN_MAX_IN };

/* Places of operands in nn_node.in. */
enum { CONV_X, CONV_W, CONV_B, CONV_X2, CONV_CHAN, CONV_RESIDUAL };
enum { NORM_X, NORM_GAMMA, NORM_BETA, NORM_X2, NORM_FILM, NORM_KEY };
enum { POOL_X, POOL_X2 = 3 };

typedef enum {
    NN_HEADS_QKV,   /* per head [q k v], heads outermost: improved-diffusion, "legacy" order  */
    NN_QKV_HEADS    /* all q, all k, all v, each split in heads: guided-diffusion's new order */
} nn_head_order;

typedef union {
    struct { int out, kernel_h, kernel_w, stride, pad_h, pad_w; bool upsample, valid, relu; } conv;
    struct { int groups; float eps; bool silu; float dropout; int salt; } norm;  /* salt: tells the dropout layers apart */
    struct { bool max; int kernel, stride, pad; } pool;                          /* kernel 0: the whole image */
    struct { int heads; nn_head_order order; } attention;
    struct { int dim; bool cos_first; float shift; float max_period; } time;     /* exponent i / (dim/2 - shift) */
} nn_attr;

typedef struct nn_node {
    nn_op       op;
    nn_attr     attr;
    int         index;          /* place in nn_graph.nodes                     */
    int         block;          /* nn_block it belongs to; 0: none             */
    nn_dtype    compute;        /* NN_BF16 (products of operands rounded to bf16, f32 sums) when an operand or `out` is bf16;
                                 * else NN_F32X3 (a backend may sum three products of bf16 terms for each f32 product,
                                 * within 2^-15 of it) where the graph allows it, or NN_F32 */
    nn_tensor  *in[NN_MAX_IN];
    nn_tensor  *out;
    nn_shape    aux;            /* nn_len(aux) == 0: none                      */
    const char *name;
} nn_node;

typedef struct {
    const char *name;
    int         min_in;        /* operands that must not be NULL: in[0 .. min_in-1]; conv's bias may be NULL */
    unsigned    saves;         /* bit i: backward reads in[i]; NN_SAVE_OUT     */
    bool        cheap;         /* forward takes little time, and to keep what it reads for another run takes less memory than to keep `out` */
    /* Check operands, set out->shape and aux. DDPM_ESHAPE with a sentence on misfit. */
    ddpm_status (*infer)(nn_node *node);
} nn_op_info;

extern const nn_op_info nn_ops[NN_OP_COUNT];

/* Whether a node is of a kind that no backend can differentiate. */
bool nn_forward_only(const nn_node *d);

/* Channels of a two-part operand: c of in[0] plus c of in[3] when there is one. */
static inline int nn_read_channels(const nn_node *d)
{
    return d->in[0]->shape.c + (d->in[3] ? d->in[3]->shape.c : 0);
}

#endif
