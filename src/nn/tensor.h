/* tensor.h - what a value in the network is: a shape, a type, a role, a name.
 *
 * One logical layout: dense NHWC, channel fastest. A vector batch [n][c] is
 * {n,1,1,c}. There are no strides and no views. A tensor holds no pointer: a
 * plan decides where its bytes are, and a backend how many it needs. */
#ifndef DDPM_NN_TENSOR_H
#define DDPM_NN_TENSOR_H

#include <stdbool.h>
#include <stddef.h>

/* NN_F32X3 is a precision of products (nn_node.compute), never the type of a tensor. */
typedef enum { NN_F32, NN_BF16, NN_I32, NN_F32X3 } nn_dtype;
typedef enum { NN_INPUT, NN_PARAM, NN_ACTIVATION } nn_role;
typedef struct { int n, h, w, c; } nn_shape;

typedef struct nn_tensor {
    int         id;          /* index into nn_graph.tensors                     */
    nn_role     role;
    nn_dtype    dtype;
    nn_shape    shape;       /* n is the largest batch a plan will run          */
    bool        needs_grad;  /* a parameter, or an input that asked for it, is upstream */
    bool        keep;        /* readable after every run (nn_keep)              */
    int         param;       /* NN_PARAM: index into nn_params.list             */
    int         node;        /* NN_ACTIVATION: index of the node that writes it */
    const char *name;        /* "input_blocks.1.0.in_layers.2.weight"           */
} nn_tensor;

static inline size_t nn_len(nn_shape s)     /* number of elements            */
{
    return (size_t)s.n * (size_t)s.h * (size_t)s.w * (size_t)s.c;
}

static inline size_t nn_image_len(nn_shape s)   /* elements of one image     */
{
    return (size_t)s.h * (size_t)s.w * (size_t)s.c;
}

static inline bool nn_shape_eq(nn_shape a, nn_shape b)
{
    return a.n == b.n && a.h == b.h && a.w == b.w && a.c == b.c;
}

static inline size_t nn_dtype_size(nn_dtype t) { return t == NN_BF16 ? 2 : 4; }

#endif
