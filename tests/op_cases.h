/* op_cases.h - the table of operator cases: operator x shapes x operand variants.
 *
 * Each case is a network of one node. Shapes cover single pixels, odd sizes, sizes
 * around vector and tile widths, and every operand that may be missing or present. */
#ifndef DDPM_TESTS_OP_CASES_H
#define DDPM_TESTS_OP_CASES_H

#include "nn/graph.h"

#include <math.h>

typedef struct {
    nn_op         op;
    int           n, h, w, c, c2;                      /* c2 > 0: a second part, concatenated */
    int           out, kernel, stride, pad;            /* conv; out: also the size of embeddings */
    bool          upsample, chan, residual, no_bias, f32_out;
    int           groups;
    bool          silu, film;
    double        dropout;
    bool          max;                                 /* pool; kernel 0: global */
    int           heads;
    nn_head_order order;
    bool          cos_first;
    int           rows;
    bool          fixed_inputs;                        /* inputs want no gradient */
    int           kernel_h, kernel_w, pad_h, pad_w;    /* conv; 0: kernel, pad */
    bool          valid, relu;
} op_case;

static const op_case op_cases[] = {
    { NN_CONV2D, 2, 32, 32, 40, .out = 48, .kernel = 3, .pad = 1 },
    { NN_CONV2D, 1, 32, 32, 33, .out = 8, .kernel = 3, .pad = 1 },
    { NN_CONV2D, 2, 1, 1, 1, .out = 1, .kernel = 1 },
    { NN_CONV2D, 3, 1, 1, 7, .out = 513, .kernel = 1 },
    { NN_CONV2D, 2, 1, 1, 513, .out = 5, .kernel = 1 },
    { NN_CONV2D, 5, 1, 1, 128, .out = 64, .kernel = 1, .no_bias = true },
    { NN_CONV2D, 2, 1, 1, 3, .out = 4, .kernel = 3, .pad = 1 },
    { NN_CONV2D, 2, 3, 5, 1, .out = 1, .kernel = 3, .pad = 1 },
    { NN_CONV2D, 5, 3, 5, 3, .out = 17, .kernel = 3, .pad = 1 },
    { NN_CONV2D, 2, 7, 7, 33, .out = 31, .kernel = 3, .pad = 1, .no_bias = true },
    { NN_CONV2D, 2, 7, 7, 16, .out = 48, .kernel = 1 },
    { NN_CONV2D, 1, 28, 28, 3, .out = 32, .kernel = 3, .pad = 1 },
    { NN_CONV2D, 2, 28, 28, 32, .out = 3, .kernel = 3, .pad = 1, .f32_out = true },
    { NN_CONV2D, 2, 8, 8, 64, .out = 64, .kernel = 3, .pad = 1, .chan = true },
    { NN_CONV2D, 2, 8, 8, 64, .out = 64, .kernel = 3, .pad = 1, .residual = true },
    { NN_CONV2D, 3, 5, 4, 20, 12, .out = 24, .kernel = 3, .pad = 1 },
    { NN_CONV2D, 3, 4, 4, 3, 1, .out = 24, .kernel = 1, .residual = true },
    { NN_CONV2D, 2, 8, 8, 96, 65, .out = 33, .kernel = 3, .pad = 1, .chan = true, .residual = true },
    { NN_CONV2D, 2, 7, 7, 32, 32, .out = 64, .kernel = 1, .residual = true, .no_bias = true, .chan = true },
    { NN_CONV2D, 3, 6, 10, 8, .out = 9, .kernel = 3, .stride = 2, .pad = 1 },
    { NN_CONV2D, 3, 6, 10, 8, .out = 9, .kernel = 3, .stride = 2, .pad = 0 },
    { NN_CONV2D, 2, 2, 2, 32, .out = 32, .kernel = 3, .stride = 2, .pad = 0 },
    { NN_CONV2D, 2, 2, 2, 32, .out = 32, .kernel = 3, .stride = 2, .pad = 1 },
    { NN_CONV2D, 2, 16, 16, 40, .out = 40, .kernel = 3, .stride = 2, .pad = 1 },
    { NN_CONV2D, 2, 16, 16, 16, 3, .out = 16, .kernel = 3, .stride = 2, .pad = 0, .chan = true, .residual = true },
    { NN_CONV2D, 2, 1, 1, 6, .out = 5, .kernel = 3, .pad = 1, .upsample = true },
    { NN_CONV2D, 3, 3, 5, 10, .out = 11, .kernel = 3, .pad = 1, .upsample = true },
    { NN_CONV2D, 2, 7, 7, 32, .out = 32, .kernel = 3, .pad = 1, .upsample = true, .residual = true },
    { NN_CONV2D, 2, 4, 4, 16, 8, .out = 16, .kernel = 3, .pad = 1, .upsample = true, .chan = true },
    { NN_CONV2D, 2, 6, 5, 4, .out = 6, .kernel = 5, .pad = 2 },
    { NN_CONV2D, 1, 4, 4, 257, .out = 130, .kernel = 3, .pad = 1 },

    { NN_CONV2D, 2, 17, 17, 12, .out = 40, .kernel_h = 1, .kernel_w = 7, .pad_w = 3 },
    { NN_CONV2D, 2, 17, 17, 40, .out = 12, .kernel_h = 7, .kernel_w = 1, .pad_h = 3 },
    { NN_CONV2D, 2, 16, 16, 12, 5, .out = 33, .kernel_h = 7, .kernel_w = 1, .pad_h = 3, .chan = true, .residual = true },
    { NN_CONV2D, 7, 8, 8, 33, .out = 48, .kernel_h = 1, .kernel_w = 3, .pad_w = 1 },
    { NN_CONV2D, 7, 8, 8, 34, .out = 30, .kernel_h = 3, .kernel_w = 1, .pad_h = 1, .no_bias = true },
    { NN_CONV2D, 2, 6, 4, 16, 8, .out = 7, .kernel_h = 3, .kernel_w = 5, .pad_h = 2, .pad_w = 1 },
    { NN_CONV2D, 2, 4, 6, 3, .out = 9, .kernel_h = 1, .kernel_w = 5, .pad_w = 2 },
    { NN_CONV2D, 2, 5, 3, 3, .out = 9, .kernel_h = 7, .kernel_w = 2, .pad_h = 3, .pad_w = 1 },
    { NN_CONV2D, 2, 6, 8, 10, .out = 12, .kernel_h = 3, .kernel_w = 1, .stride = 2, .pad_h = 1 },
    { NN_CONV2D, 2, 3, 4, 10, .out = 12, .kernel_h = 1, .kernel_w = 3, .pad_w = 1, .upsample = true },
    { NN_CONV2D, 2, 3, 147, 3, .out = 8, .kernel = 3, .stride = 2, .valid = true },
    { NN_CONV2D, 2, 4, 73, 16, .out = 20, .kernel = 3, .valid = true },
    { NN_CONV2D, 1, 21, 73, 8, .out = 12, .kernel = 3, .valid = true },
    { NN_CONV2D, 1, 35, 17, 33, .out = 17, .kernel = 3, .stride = 2, .valid = true },
    { NN_CONV2D, 2, 18, 18, 8, 5, .out = 16, .kernel = 3, .valid = true, .residual = true },
    { NN_CONV2D, 2, 8, 6, 12, .out = 11, .kernel = 3, .stride = 2, .valid = true, .chan = true },
    { NN_CONV2D, 3, 8, 5, 12, .out = 11, .kernel = 3, .stride = 2, .pad = 1, .valid = true },
    { NN_CONV2D, 2, 3, 9, 9, .out = 6, .kernel_h = 3, .kernel_w = 1, .valid = true },
    { NN_CONV2D, 2, 5, 4, 2, .out = 6, .kernel_h = 2, .kernel_w = 4, .stride = 3, .pad_w = 1, .valid = true },
    { NN_CONV2D, 2, 3, 5, 8, .out = 6, .kernel = 3, .valid = true, .upsample = true },
    { NN_CONV2D, 1, 13, 13, 8, .out = 5, .kernel = 3, .pad = 1, .upsample = true },
    { NN_CONV2D, 1, 35, 35, 8, .out = 9, .kernel = 5, .pad = 2, .relu = true },
    { NN_CONV2D, 2, 17, 17, 24, .out = 40, .kernel = 1, .relu = true, .no_bias = true },
    { NN_CONV2D, 2, 7, 7, 24, 9, .out = 40, .kernel = 3, .pad = 1, .relu = true, .residual = true, .chan = true },
    { NN_CONV2D, 2, 9, 7, 24, .out = 19, .kernel = 3, .stride = 2, .valid = true, .relu = true, .f32_out = true },

    { NN_GROUP_NORM, 2, 1, 1, 8, .groups = 2 },
    { NN_GROUP_NORM, 2, 1, 1, 4, .groups = 4, .silu = true },
    { NN_GROUP_NORM, 5, 3, 5, 6, .groups = 3, .silu = true },
    { NN_GROUP_NORM, 2, 3, 5, 1, .groups = 1 },
    { NN_GROUP_NORM, 2, 7, 7, 513, .groups = 27, .silu = true },
    { NN_GROUP_NORM, 2, 28, 28, 32, .groups = 32, .silu = true },
    { NN_GROUP_NORM, 2, 16, 16, 128, .groups = 32, .silu = true },
    { NN_GROUP_NORM, 3, 4, 4, 64, .groups = 32 },
    { NN_GROUP_NORM, 3, 5, 3, 10, 14, .groups = 4, .silu = true },
    { NN_GROUP_NORM, 3, 5, 3, 9, 3, .groups = 3 },
    { NN_GROUP_NORM, 3, 4, 4, 24, .groups = 4, .silu = true, .film = true },
    { NN_GROUP_NORM, 2, 3, 3, 18, 6, .groups = 4, .film = true },
    { NN_GROUP_NORM, 4, 3, 7, 12, .groups = 4, .silu = true, .dropout = 0.3 },
    { NN_GROUP_NORM, 3, 7, 7, 20, 12, .groups = 8, .silu = true, .film = true, .dropout = 0.1 },
    { NN_GROUP_NORM, 2, 1, 1, 24, .groups = 4, .film = true, .dropout = 0.5 },

    { .op = NN_SILU, .n = 3, .h = 1, .w = 1, .c = 513 },
    { .op = NN_SILU, .n = 2, .h = 3, .w = 5, .c = 7 },
    { .op = NN_ADD, .n = 3, .h = 3, .w = 5, .c = 7 },
    { .op = NN_ADD, .n = 2, .h = 1, .w = 1, .c = 65 },
    { .op = NN_CONCAT, .n = 3, .h = 3, .w = 5, .c = 7, .c2 = 18 },
    { .op = NN_CONCAT, .n = 2, .h = 4, .w = 4, .c = 64, .c2 = 32 },
    { .op = NN_UPSAMPLE, .n = 3, .h = 3, .w = 5, .c = 7 },
    { .op = NN_UPSAMPLE, .n = 2, .h = 1, .w = 1, .c = 33 },
    { NN_POOL, 3, 6, 10, 7, .kernel = 2, .stride = 2 },
    { NN_POOL, 2, 2, 2, 33, .kernel = 2, .stride = 2 },
    { NN_POOL, 2, 14, 14, 64, 32, .kernel = 2, .stride = 2 },
    { NN_POOL, 2, 7, 5, 40, .kernel = 3, .stride = 1, .pad = 1 },
    { NN_POOL, 3, 5, 8, 17, 6, .kernel = 3, .stride = 2, .pad = 1 },
    { NN_POOL, 2, 9, 6, 8, .kernel = 3, .stride = 2 },
    { NN_POOL, 2, 5, 4, 9, .kernel = 2, .stride = 3 },
    { NN_POOL, 3, 8, 8, 48, 3, .kernel = 0 },
    { NN_POOL, 2, 3, 5, 65, .kernel = 0 },
    { NN_POOL, 2, 1, 1, 7, .kernel = 0 },
    { NN_POOL, 2, 9, 12, 40, 7, .kernel = 3, .stride = 2, .max = true, .fixed_inputs = true },
    { NN_POOL, 2, 6, 7, 33, .kernel = 3, .stride = 1, .pad = 1, .max = true, .fixed_inputs = true },
    { NN_POOL, 3, 4, 3, 18, 5, .max = true, .fixed_inputs = true },

    { NN_ATTENTION, 2, 1, 1, 12, .heads = 1, .order = NN_HEADS_QKV },
    { NN_ATTENTION, 3, 3, 5, 12, .heads = 2, .order = NN_HEADS_QKV },
    { NN_ATTENTION, 3, 3, 5, 12, .heads = 2, .order = NN_QKV_HEADS },
    { NN_ATTENTION, 2, 7, 7, 99, .heads = 3, .order = NN_HEADS_QKV },
    { NN_ATTENTION, 1, 16, 16, 192, .heads = 1, .order = NN_QKV_HEADS },
    { NN_ATTENTION, 2, 8, 8, 192, .heads = 4, .order = NN_HEADS_QKV },
    { NN_ATTENTION, 5, 4, 4, 3, .heads = 1, .order = NN_QKV_HEADS },

    { NN_TIMESTEP_EMBED, 5, 1, 1, 1, .out = 128 },
    { NN_TIMESTEP_EMBED, 3, 1, 1, 1, .out = 33, .cos_first = true },
    { NN_EMBED, 5, 1, 1, 1, .out = 37, .rows = 3 },
    { NN_EMBED, 2, 1, 1, 1, .out = 512, .rows = 10 },
};

enum { N_OP_CASES = sizeof op_cases / sizeof *op_cases };

static nn_tensor *op_input(nn_graph *g, const op_case *k, const char *name, nn_shape s)
{
    return nn_input(g, name, s, s.h > 1 || s.w > 1 ? g->dtype : NN_F32, !k->fixed_inputs);
}

static int op_kernel_h(const op_case *k) { return k->kernel_h ? k->kernel_h : k->kernel; }
static int op_kernel_w(const op_case *k) { return k->kernel_w ? k->kernel_w : k->kernel; }
static int op_taps(const op_case *k)     { return op_kernel_h(k) * op_kernel_w(k); }

/* Size of a convolution's output along one axis. */
static int op_windows(const op_case *k, int size, int kernel, int pad)
{
    const int read = size * (k->upsample ? 2 : 1), stride = k->stride ? k->stride : 1;
    return k->valid ? (read + 2 * (pad ? pad : k->pad) - kernel) / stride + 1 : read / stride;
}

static nn_tensor *op_build_conv(nn_graph *g, const op_case *k)
{
    const int oh = op_windows(k, k->h, op_kernel_h(k), k->pad_h), ow = op_windows(k, k->w, op_kernel_w(k), k->pad_w);
    const float deviation = 1 / sqrtf((float)(op_taps(k) * (k->c + k->c2)));
    return nn_conv2d(g, "conv", (nn_conv_args){
        .x = op_input(g, k, "x", (nn_shape){ k->n, k->h, k->w, k->c }),
        .x2 = k->c2 ? op_input(g, k, "x2", (nn_shape){ k->n, k->h, k->w, k->c2 }) : NULL,
        .chan = k->chan ? op_input(g, k, "chan", (nn_shape){ k->n, 1, 1, k->out }) : NULL,
        .residual = k->residual ? op_input(g, k, "residual", (nn_shape){ k->n, oh, ow, k->out }) : NULL,
        .out = k->out, .kernel = k->kernel, .stride = k->stride, .pad = k->pad, .upsample = k->upsample,
        .kernel_h = k->kernel_h, .kernel_w = k->kernel_w, .pad_h = k->pad_h, .pad_w = k->pad_w, .valid = k->valid, .relu = k->relu,
        .no_bias = k->no_bias, .f32_out = k->f32_out,
        .weight_init = { NN_INIT_NORMAL, deviation }, .bias_init = { NN_INIT_NORMAL, 0.5f },
    });
}

/* Records the case's node and its inputs; returns the node's output. */
static nn_tensor *op_build(nn_graph *g, const op_case *k)
{
    const nn_shape x = { k->n, k->h, k->w, k->c }, vector = { k->n, 1, 1, 1 };
    switch (k->op) {
    case NN_CONV2D:
        return op_build_conv(g, k);
    case NN_GROUP_NORM:
        return nn_group_norm(g, "norm", (nn_norm_args){
            .x = op_input(g, k, "x", x),
            .x2 = k->c2 ? op_input(g, k, "x2", (nn_shape){ k->n, k->h, k->w, k->c2 }) : NULL,
            .film = k->film ? op_input(g, k, "film", (nn_shape){ k->n, 1, 1, 2 * (k->c + k->c2) }) : NULL,
            .key = k->dropout > 0 ? nn_input(g, "key", (nn_shape){ k->n, 1, 1, 4 }, NN_I32, false) : NULL,
            .groups = k->groups, .eps = 1e-5, .dropout = k->dropout, .silu = k->silu,
        });
    case NN_SILU:           return nn_silu(g, op_input(g, k, "x", x));
    case NN_CONCAT: {
        nn_tensor *a = op_input(g, k, "x", x);
        return nn_concat(g, a, op_input(g, k, "y", (nn_shape){ k->n, k->h, k->w, k->c2 }));
    }
    case NN_ADD: {
        nn_tensor *a = op_input(g, k, "x", x);
        return nn_add(g, a, op_input(g, k, "y", x));
    }
    case NN_UPSAMPLE:       return nn_upsample(g, op_input(g, k, "x", x));
    case NN_POOL:
        return nn_pool(g, (nn_pool_args){
            .x = op_input(g, k, "x", x), .x2 = k->c2 ? op_input(g, k, "x2", (nn_shape){ k->n, k->h, k->w, k->c2 }) : NULL,
            .max = k->max, .kernel = k->kernel, .stride = k->stride, .pad = k->pad,
        });
    case NN_ATTENTION:      return nn_attention(g, op_input(g, k, "qkv", x), k->heads, k->order);
    case NN_TIMESTEP_EMBED: return nn_timestep_embed(g, nn_input(g, "t", vector, NN_F32, false), k->out, k->cos_first,
                                                     k->cos_first ? 0 : 1, 10000);
    case NN_EMBED:          return nn_embed(g, "label", nn_input(g, "y", vector, NN_I32, false), k->rows, k->out);
    case NN_OP_COUNT:       break;
    }
    return NULL;
}

/* "conv2d 2x8x8x96+65 -> 33, kernel 3, ..." into buf, for messages. */
static const char *op_describe(const op_case *k, nn_dtype precision, char *buf, size_t size)
{
    static const char *const precisions[] = { [NN_F32] = "f32", [NN_BF16] = "bf16", [NN_F32X3] = "f32x3" };
    snprintf(buf, size, "%s %s %dx%dx%dx%d+%d out %d k%dx%d s%d p%d %d %d%s%s%s%s%s%s groups %d%s%s dropout %g heads %d order %d",
             nn_ops[k->op].name, precisions[precision], k->n, k->h, k->w, k->c, k->c2, k->out, op_kernel_h(k), op_kernel_w(k),
             k->stride, k->pad, k->pad_h, k->pad_w, k->valid ? " valid" : "", k->relu ? " relu" : k->max ? " max" : "", k->upsample ? " up" : "", k->chan ? " chan" : "", k->residual ? " residual" : "",
             k->no_bias ? " no-bias" : "", k->groups, k->silu ? " silu" : "", k->film ? " film" : "", k->dropout,
             k->heads, (int)k->order);
    return buf;
}

#endif
