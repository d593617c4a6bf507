/* graph.h - record a network once, as a straight list of operators.
 *
 * Building never computes. Each call appends one node (and its parameters) and
 * returns its output. Errors are sticky: after the first misfit every builder
 * returns NULL, NULL operands are accepted, and status and sentence are read
 * once from nn_graph_status(). Model code therefore has no error handling.
 * A finished graph is never written again; any number of plans may share it. */
#ifndef DDPM_NN_GRAPH_H
#define DDPM_NN_GRAPH_H

#include "base/arena.h"
#include "nn/op.h"
#include "nn/params.h"

enum { NN_MAX_NODES = 2048, NN_MAX_TENSORS = 8192 };

/* What a training plan does not keep for backward but computes again there: nothing, the outputs of cheap
 * operators (nn_op_info), or these and all that blocks do not hand on. Never changes a bit. */
typedef enum { NN_RECOMPUTE_NONE, NN_RECOMPUTE_CHEAP, NN_RECOMPUTE_BLOCKS } nn_recompute;

typedef struct {
    arena      *mem;                      /* owns nodes, tensors and names       */
    nn_params   params;                   /* owned                               */
    nn_tensor  *tensors[NN_MAX_TENSORS];
    nn_node    *nodes[NN_MAX_NODES];      /* in execution order                  */
    int         n_tensors, n_nodes;
    nn_dtype    dtype;                    /* of activations with more than one pixel; others are f32 */
    nn_dtype    products;                 /* of f32 operands: NN_F32 or NN_F32X3 (op.h)  */
    nn_recompute recompute;
    int         n_blocks, block;          /* block: of the nodes being created; 0: none */
    const char *scope;                    /* prefix of names, e.g. "out."        */
    ddpm_status status;                   /* first error, or DDPM_OK             */
    const char *error;                    /* names the node that failed          */
} nn_graph;

/* precision: NN_F32; NN_BF16, stored and multiplied; or NN_F32X3, stored in f32. NULL when out of memory. */
nn_graph   *nn_graph_new(nn_dtype precision);
void        nn_graph_free(nn_graph *g);
ddpm_status nn_graph_status(const nn_graph *g);      /* also sets the thread's sentence */

/* Names created until the next call are prefixed; "" returns to the root. */
void nn_scope(nn_graph *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Nodes created between these two form a block, a unit of NN_RECOMPUTE_BLOCKS. Blocks do not nest. */
void nn_block_begin(nn_graph *g);
void nn_block_end(nn_graph *g);

nn_tensor *nn_input(nn_graph *g, const char *name, nn_shape shape, nn_dtype dtype, bool needs_grad);

typedef struct {
    nn_tensor    *x, *x2, *chan, *residual;          /* x2, chan, residual may be NULL */
    int           out, kernel, stride, pad;          /* kernel 0 means 1, stride 0 means 1 */
    int           kernel_h, kernel_w, pad_h, pad_w;  /* 0: `kernel`, `pad`             */
    bool          upsample, valid, relu, no_bias, f32_out;
    nn_param_kind kind;                              /* NN_PARAM_CONV when not set     */
    nn_init       weight_init, bias_init;
} nn_conv_args;

typedef struct {
    nn_tensor *x, *x2, *film, *key;                  /* x2, film, key may be NULL      */
    int        groups;
    double     eps, dropout;
    bool       silu;
} nn_norm_args;

typedef struct {
    nn_tensor *x, *x2;                               /* x2 may be NULL */
    bool       max;
    int        kernel, stride, pad;                  /* kernel 0: one window, the whole image; stride 0 means 1 */
} nn_pool_args;

/* Layers: operators with parameters `<scope><name>.weight` and `.bias`. */
nn_tensor *nn_conv2d(nn_graph *g, const char *name, nn_conv_args a);
nn_tensor *nn_group_norm(nn_graph *g, const char *name, nn_norm_args a);
nn_tensor *nn_embed(nn_graph *g, const char *name, nn_tensor *labels, int rows, int dim);

/* Operators without parameters. */
nn_tensor *nn_silu(nn_graph *g, nn_tensor *x);
nn_tensor *nn_add(nn_graph *g, nn_tensor *x, nn_tensor *y);
nn_tensor *nn_concat(nn_graph *g, nn_tensor *x, nn_tensor *y);
nn_tensor *nn_upsample(nn_graph *g, nn_tensor *x);
nn_tensor *nn_pool(nn_graph *g, nn_pool_args a);
nn_tensor *nn_avg_pool(nn_graph *g, nn_tensor *x);        /* 2x2 stride 2, of even sizes only */
nn_tensor *nn_attention(nn_graph *g, nn_tensor *qkv, int heads, nn_head_order order);
nn_tensor *nn_timestep_embed(nn_graph *g, nn_tensor *t, int dim, bool cos_first, double shift, double max_period);

/* t's value outlives an NN_INFER run, for nn_plan_get, as the plan's output does. Before a plan is made; NULL ok. */
void       nn_keep(nn_graph *g, nn_tensor *t);

#endif
