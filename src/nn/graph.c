#include "nn/graph.h"

#include "base/checked.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_DIM = 1 << 24 };              /* so that sums and doubles of dimensions stay in an int */
static const size_t MAX_LEN = (size_t)1 << 40;

nn_graph *nn_graph_new(nn_dtype precision)
{
    assert(precision != NN_I32);
    nn_graph *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    g->mem = arena_new();
    g->dtype = precision == NN_BF16 ? NN_BF16 : NN_F32;
    g->products = precision == NN_F32X3 ? NN_F32X3 : NN_F32;
    g->scope = "";
    if (!g->mem) {
        free(g);
        return NULL;
    }
    return g;
}

void nn_graph_free(nn_graph *g)
{
    if (!g) return;
    nn_params_free(&g->params);
    arena_free(g->mem);
    free(g);
}

ddpm_status nn_graph_status(const nn_graph *g)
{
    if (g->status == DDPM_OK) return DDPM_OK;
    return ddpm_fail(g->status, "%s", g->error);
}

/* Keeps the thread's sentence, prefixed by the node it is about; returns NULL like every failing builder. */
static nn_tensor *fail_at(nn_graph *g, ddpm_status s, const char *name)
{
    assert(s != DDPM_OK);
    if (g->status != DDPM_OK) return NULL;
    g->status = s;
    g->error = arena_printf(g->mem, "%s: %s", name ? name : "?", ddpm_last_error());
    if (!g->error) g->error = ddpm_strerror(s);
    return NULL;
}

static nn_tensor *out_of_memory(nn_graph *g, const char *name)
{
    return fail_at(g, ddpm_fail(DDPM_ENOMEM, "no memory to build the network"), name);
}

void nn_scope(nn_graph *g, const char *fmt, ...)
{
    char buf[128];
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    assert(n >= 0 && (size_t)n < sizeof buf);
    (void)n;
    const char *scope = arena_printf(g->mem, "%s", buf);
    if (scope) g->scope = scope;
    else out_of_memory(g, buf);
}

void nn_block_begin(nn_graph *g)
{
    assert(!g->block);
    g->block = ++g->n_blocks;
}

void nn_block_end(nn_graph *g) { g->block = 0; }

static ddpm_status check_shape(nn_shape s)
{
    const int dims[4] = { s.n, s.h, s.w, s.c };
    size_t len = 1;
    for (int i = 0; i < 4; i++) {
        if (dims[i] < 1 || dims[i] > MAX_DIM)
            return ddpm_fail(DDPM_ESHAPE, "shape %dx%dx%dx%d: sizes must be 1..%d", s.n, s.h, s.w, s.c, MAX_DIM);
        if (!checked_mul(len, (size_t)dims[i], &len) || len > MAX_LEN)
            return ddpm_fail(DDPM_ESHAPE, "shape %dx%dx%dx%d is too large", s.n, s.h, s.w, s.c);
    }
    return DDPM_OK;
}

static nn_tensor *new_tensor(nn_graph *g, nn_role role, nn_dtype dtype, nn_shape shape, const char *name)
{
    if (!name) return out_of_memory(g, name);
    if (g->n_tensors == NN_MAX_TENSORS)
        return fail_at(g, ddpm_fail(DDPM_EINVAL, "the network has more than %d tensors", NN_MAX_TENSORS), name);
    nn_tensor *t = arena_alloc(g->mem, sizeof *t);
    if (!t) return out_of_memory(g, name);
    *t = (nn_tensor){ .id = g->n_tensors, .role = role, .dtype = dtype, .shape = shape, .name = name };
    return g->tensors[g->n_tensors++] = t;
}

nn_tensor *nn_input(nn_graph *g, const char *name, nn_shape shape, nn_dtype dtype, bool needs_grad)
{
    assert(dtype != NN_F32X3 && (dtype != NN_I32 || !needs_grad));
    if (g->status != DDPM_OK) return NULL;
    const ddpm_status s = check_shape(shape);
    if (s != DDPM_OK) return fail_at(g, s, name);
    nn_tensor *t = new_tensor(g, NN_INPUT, dtype, shape, arena_printf(g->mem, "%s", name));
    if (t) t->needs_grad = needs_grad;
    return t;
}

static nn_tensor *param(nn_graph *g, const char *layer, const char *leaf, nn_shape shape, nn_param_kind kind, nn_init init)
{
    if (g->status != DDPM_OK) return NULL;
    const char *name = arena_printf(g->mem, "%s%s.%s", g->scope, layer, leaf);
    if (!name) return out_of_memory(g, layer);
    if (nn_params_find(&g->params, name))
        return fail_at(g, ddpm_fail(DDPM_EINVAL, "two parameters have this name"), name);
    const ddpm_status s = check_shape(shape);
    if (s != DDPM_OK) return fail_at(g, s, name);
    if (!nn_params_add(&g->params, name, shape, kind, init)) return out_of_memory(g, name);
    nn_tensor *t = new_tensor(g, NN_PARAM, NN_F32, shape, name);
    if (!t) return NULL;
    t->param = g->params.count - 1;
    t->needs_grad = true;
    return t;
}

static bool many_pixels(nn_shape s) { return s.h > 1 || s.w > 1; }

static bool touches_bf16(const nn_node *d)
{
    bool any = d->out->dtype == NN_BF16;
    for (int i = 0; i < NN_MAX_IN; i++) any = any || (d->in[i] && d->in[i]->dtype == NN_BF16);
    return any;
}

/* Append a node; its operands that are NULL and must not be belong to an earlier error. */
static nn_tensor *append(nn_graph *g, nn_node node, const char *name, bool f32_out)
{
    if (g->status != DDPM_OK) return NULL;
    const char *full = arena_printf(g->mem, "%s%s", g->scope, name);
    nn_node *d = arena_alloc(g->mem, sizeof *d);
    if (!d || !full) return out_of_memory(g, name);
    if (g->n_nodes == NN_MAX_NODES)
        return fail_at(g, ddpm_fail(DDPM_EINVAL, "the network has more than %d nodes", NN_MAX_NODES), full);

    *d = node;
    d->name = full;
    d->index = g->n_nodes;
    d->block = g->block;
    for (int i = 0; i < nn_ops[d->op].min_in; i++)
        if (!d->in[i]) return fail_at(g, ddpm_fail(DDPM_EINVAL, "operand %d is missing", i), full);
    d->out = new_tensor(g, NN_ACTIVATION, NN_F32, (nn_shape){ 1, 1, 1, 1 }, full);
    if (!d->out) return NULL;
    d->out->node = d->index;
    ddpm_status s = nn_ops[d->op].infer(d);
    if (s == DDPM_OK) s = check_shape(d->out->shape);
    if (s != DDPM_OK) return fail_at(g, s, full);

    if (many_pixels(d->out->shape) && !f32_out) d->out->dtype = g->dtype;
    d->compute = touches_bf16(d) ? NN_BF16 : g->products;
    for (int i = 0; i < NN_MAX_IN; i++) d->out->needs_grad |= d->in[i] && d->in[i]->needs_grad;
    g->nodes[g->n_nodes++] = d;
    return d->out;
}

static int channels(const nn_tensor *x, const nn_tensor *x2) { return x->shape.c + (x2 ? x2->shape.c : 0); }

static int or_else(int value, int otherwise) { return value ? value : otherwise; }

nn_tensor *nn_conv2d(nn_graph *g, const char *name, nn_conv_args a)
{
    if (g->status != DDPM_OK) return NULL;
    assert(a.x && "the graph is sound, so the operand was forgotten");
    const int k = or_else(a.kernel, 1), kh = or_else(a.kernel_h, k), kw = or_else(a.kernel_w, k);
    assert(a.kind == NN_PARAM_CONV || (kh == 1 && kw == 1));
    assert(a.kind != NN_PARAM_VECTOR && a.kind != NN_PARAM_TABLE);
    nn_tensor *w = param(g, name, "weight", (nn_shape){ kh, kw, channels(a.x, a.x2), a.out }, a.kind, a.weight_init);
    nn_tensor *b = a.no_bias ? NULL : param(g, name, "bias", (nn_shape){ 1, 1, 1, a.out }, NN_PARAM_VECTOR, a.bias_init);
    nn_node d = { .op = NN_CONV2D, .in = { a.x, w, b, a.x2, a.chan, a.residual } };
    d.attr.conv.out = a.out;
    d.attr.conv.kernel_h = kh;
    d.attr.conv.kernel_w = kw;
    d.attr.conv.stride = or_else(a.stride, 1);
    d.attr.conv.pad_h = or_else(a.pad_h, a.pad);
    d.attr.conv.pad_w = or_else(a.pad_w, a.pad);
    d.attr.conv.upsample = a.upsample;
    d.attr.conv.valid = a.valid;
    d.attr.conv.relu = a.relu;
    return append(g, d, name, a.f32_out);
}

nn_tensor *nn_group_norm(nn_graph *g, const char *name, nn_norm_args a)
{
    if (g->status != DDPM_OK) return NULL;
    assert(a.x && "the graph is sound, so the operand was forgotten");
    const nn_shape c = { 1, 1, 1, channels(a.x, a.x2) };
    nn_tensor *gamma = param(g, name, "weight", c, NN_PARAM_VECTOR, (nn_init){ NN_INIT_CONSTANT, 1 });
    nn_tensor *beta = param(g, name, "bias", c, NN_PARAM_VECTOR, (nn_init){ NN_INIT_CONSTANT, 0 });
    nn_node d = { .op = NN_GROUP_NORM, .in = { a.x, gamma, beta, a.x2, a.film, a.key } };
    d.attr.norm.groups = a.groups;
    d.attr.norm.eps = (float)a.eps;
    d.attr.norm.silu = a.silu;
    d.attr.norm.dropout = (float)a.dropout;
    d.attr.norm.salt = g->n_nodes;
    return append(g, d, name, false);
}

nn_tensor *nn_embed(nn_graph *g, const char *name, nn_tensor *labels, int rows, int dim)
{
    if (g->status != DDPM_OK) return NULL;
    nn_tensor *table = param(g, name, "weight", (nn_shape){ 1, 1, rows, dim }, NN_PARAM_TABLE, (nn_init){ NN_INIT_NORMAL, 1 });
    return append(g, (nn_node){ .op = NN_EMBED, .in = { labels, table } }, name, false);
}

static nn_tensor *plain(nn_graph *g, nn_op op, nn_tensor *x, nn_tensor *y)
{
    return append(g, (nn_node){ .op = op, .in = { x, y } }, nn_ops[op].name, false);
}

nn_tensor *nn_silu(nn_graph *g, nn_tensor *x)             { return plain(g, NN_SILU, x, NULL); }
nn_tensor *nn_add(nn_graph *g, nn_tensor *x, nn_tensor *y) { return plain(g, NN_ADD, x, y); }

nn_tensor *nn_concat(nn_graph *g, nn_tensor *x, nn_tensor *y) { return plain(g, NN_CONCAT, x, y); }
nn_tensor *nn_upsample(nn_graph *g, nn_tensor *x)         { return plain(g, NN_UPSAMPLE, x, NULL); }

nn_tensor *nn_pool(nn_graph *g, nn_pool_args a)
{
    nn_node d = { .op = NN_POOL, .in = { [POOL_X] = a.x, [POOL_X2] = a.x2 } };
    d.attr.pool.max = a.max;
    d.attr.pool.kernel = a.kernel;
    d.attr.pool.stride = a.stride ? a.stride : 1;
    d.attr.pool.pad = a.pad;
    return append(g, d, a.max ? "max_pool" : "avg_pool", false);
}

nn_tensor *nn_avg_pool(nn_graph *g, nn_tensor *x)
{
    if (g->status == DDPM_OK && x && (x->shape.h % 2 || x->shape.w % 2))
        return fail_at(g, ddpm_fail(DDPM_ESHAPE, "x is %dx%d, halving needs even sizes", x->shape.h, x->shape.w), "avg_pool");
    return nn_pool(g, (nn_pool_args){ .x = x, .kernel = 2, .stride = 2 });
}

void nn_keep(nn_graph *g, nn_tensor *t)
{
    if (!t) return;
    assert(g->tensors[t->id] == t);
    t->keep = true;
}

nn_tensor *nn_attention(nn_graph *g, nn_tensor *qkv, int heads, nn_head_order order)
{
    nn_node d = { .op = NN_ATTENTION, .in = { qkv } };
    d.attr.attention.heads = heads;
    d.attr.attention.order = order;
    return append(g, d, nn_ops[d.op].name, false);
}

nn_tensor *nn_timestep_embed(nn_graph *g, nn_tensor *t, int dim, bool cos_first, double shift, double max_period)
{
    nn_node d = { .op = NN_TIMESTEP_EMBED, .in = { t } };
    d.attr.time.dim = dim;
    d.attr.time.cos_first = cos_first;
    d.attr.time.shift = (float)shift;
    d.attr.time.max_period = (float)max_period;
    return append(g, d, nn_ops[d.op].name, false);
}
