/* Plans on a small U-Net-like network that has everything a real one has: skip connections,
 * values with several readers, embeddings, attention, up- and down-sampling. All with the
 * reference backend, then with the host backend, which also reads what group norm and attention
 * keep beside their outputs. */
#include "nn/plan.h"

#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"
#include "base/rng.h"
#include "isa.h"
#include "nn/optim.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MUST(expr) do { if ((expr) != DDPM_OK) fail_msg("%s: %s", #expr, ddpm_last_error()); } while (0)

/* ---- every allocation is counted (the linker replaces the functions) ---- */

static int allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

void *__wrap_malloc(size_t size)                { allocations++; return __real_malloc(size); }
void *__wrap_calloc(size_t n, size_t size)      { allocations++; return __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t size)      { allocations++; return __real_realloc(p, size); }
void *__wrap_aligned_alloc(size_t alignment, size_t size) { allocations++; return __real_aligned_alloc(alignment, size); }

/* ---- the network ---- */

enum { BATCH = 3, SIZE = 8, CH = 8, LABELS = 4 };

typedef struct {
    nn_graph  *g;
    nn_tensor *x, *t, *y, *key, *out;
    float     *values, *grads;
} net;

static const nn_init small = { NN_INIT_UNIFORM, 0.2f };

static nn_tensor *conv(nn_graph *g, const char *name, nn_conv_args a)
{
    if (a.kernel == 0) a.kernel = 3, a.pad = 1;
    a.weight_init = a.bias_init = small;
    return nn_conv2d(g, name, a);
}

static nn_tensor *linear(nn_graph *g, const char *name, nn_tensor *x, int out)
{
    return conv(g, name, (nn_conv_args){ .x = x, .out = out, .kernel = 1, .kind = NN_PARAM_LINEAR });
}

static nn_tensor *norm(net *u, const char *name, nn_tensor *x, nn_tensor *x2, nn_tensor *film, double dropout)
{
    return nn_group_norm(u->g, name, (nn_norm_args){ .x = x, .x2 = x2, .film = film, .key = dropout > 0 ? u->key : NULL,
                                                     .groups = 2, .eps = 1e-5, .dropout = dropout, .silu = true });
}

/* x + conv(norm(conv(norm(x)))) with the embedding added between, or as film. */
static nn_tensor *block(net *u, const char *scope, nn_tensor *x, nn_tensor *skip, nn_tensor *emb, bool film)
{
    nn_graph *g = u->g;
    nn_scope(g, "%s.", scope);
    nn_block_begin(g);
    nn_tensor *e = linear(g, "emb", nn_silu(g, emb), film ? 2 * CH : CH);
    nn_tensor *h = conv(g, "in", (nn_conv_args){ .x = norm(u, "norm1", x, skip, NULL, 0), .chan = film ? NULL : e, .out = CH });
    h = norm(u, "norm2", h, NULL, film ? e : NULL, 0.2);
    nn_tensor *shortcut = skip ? conv(g, "skip", (nn_conv_args){ .x = x, .x2 = skip, .out = CH, .kernel = 1 }) : x;
    h = conv(g, "out", (nn_conv_args){ .x = h, .residual = shortcut, .out = CH });
    nn_block_end(g);
    return h;
}

static nn_tensor *attend(net *u, const char *scope, nn_tensor *x)
{
    nn_scope(u->g, "%s.", scope);
    nn_block_begin(u->g);
    nn_tensor *qkv = conv(u->g, "qkv", (nn_conv_args){ .x = norm(u, "norm", x, NULL, NULL, 0), .out = 3 * CH, .kernel = 1, .kind = NN_PARAM_CONV1D });
    nn_tensor *a = nn_attention(u->g, qkv, 2, NN_HEADS_QKV);
    x = conv(u->g, "proj", (nn_conv_args){ .x = a, .residual = x, .out = CH, .kernel = 1 });
    nn_block_end(u->g);
    return x;
}

static net net_new(nn_dtype dtype)
{
    net u = { .g = nn_graph_new(dtype) };
    nn_graph *g = u.g;
    assert_non_null(g);
    u.x = nn_input(g, "x", (nn_shape){ BATCH, SIZE, SIZE, 3 }, NN_F32, true);
    u.t = nn_input(g, "t", (nn_shape){ BATCH, 1, 1, 1 }, NN_F32, false);
    u.y = nn_input(g, "y", (nn_shape){ BATCH, 1, 1, 1 }, NN_I32, false);
    u.key = nn_input(g, "key", (nn_shape){ BATCH, 1, 1, 4 }, NN_I32, false);
    nn_scope(g, "%s", "");
    nn_tensor *emb = linear(g, "time", nn_timestep_embed(g, u.t, 16, true, 0, 10000), 2 * CH);
    emb = nn_add(g, emb, nn_embed(g, "label", u.y, LABELS, 2 * CH));
    nn_tensor *h0 = conv(g, "first", (nn_conv_args){ .x = u.x, .out = CH });
    nn_tensor *h1 = block(&u, "down", h0, NULL, emb, false);
    nn_tensor *h2 = conv(g, "shrink", (nn_conv_args){ .x = h1, .out = CH, .kernel = 3, .stride = 2 });
    h2 = nn_add(g, h2, nn_avg_pool(g, h1));
    nn_tensor *h = attend(&u, "attention", block(&u, "middle", h2, NULL, emb, true));
    h = block(&u, "up1", h, h2, emb, true);
    nn_tensor *grown = conv(g, "grow", (nn_conv_args){ .x = h, .out = CH, .kernel = 3, .pad = 1, .upsample = true });
    h = nn_add(g, grown, nn_upsample(g, h));
    h = block(&u, "up2", h, h1, emb, false);
    h = block(&u, "up3", h, h0, emb, false);
    nn_scope(g, "%s", "");
    h = nn_add(g, h, h);                                        /* one value twice in one node */
    u.out = conv(g, "last", (nn_conv_args){ .x = norm(&u, "norm", h, NULL, NULL, 0), .out = 3, .kernel = 3, .pad = 1, .f32_out = true });
    MUST(nn_graph_status(g));
    u.values = calloc(g->params.len, sizeof *u.values);
    u.grads = calloc(g->params.len, sizeof *u.grads);
    assert_true(u.values && u.grads);
    nn_params_init(&g->params, 9, u.values);
    return u;
}

static void net_free(net *u)
{
    nn_graph_free(u->g);
    free(u->values);
    free(u->grads);
}

enum { X_LEN = BATCH * SIZE * SIZE * 3 };

static void random_images(float *x, uint64_t which)
{
    rng_normals((rng_address){ .seed = 4, .stream = RNG_NOISE, .sample = which }, 0, X_LEN, x);
}

static void set_inputs(const net *u, nn_plan *p, int first, int n, const float *x)
{
    const float t[BATCH] = { 3, 500, 77 };
    const int y[BATCH] = { 1, 3, 1 };
    int key[BATCH][4];
    for (int i = 0; i < BATCH; i++) memcpy(key[i], (int[4]){ 5, 0, 2, i }, sizeof key[i]);
    MUST(nn_plan_set(p, u->x, n, x + first * SIZE * SIZE * 3));
    MUST(nn_plan_set(p, u->t, n, t + first));
    MUST(nn_plan_set(p, u->y, n, y + first));
    MUST(nn_plan_set(p, u->key, n, key[first]));
}

typedef struct { net u; nn_backend *b; nn_weights *w; float x[X_LEN], dout[X_LEN]; } rig;

static ddpm_status cpu_new(nn_backend **b) { return backend_cpu_new(max_isa(), b); }

/* state: which backend, or NULL for the reference. */
static rig *rig_new(void **state, nn_dtype dtype)
{
    rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->u = net_new(dtype);
    MUST(*state ? cpu_new(&r->b) : backend_ref_new(&r->b));
    MUST(nn_weights_new(r->u.g, r->b, r->u.values, true, &r->w));
    random_images(r->x, 0);
    random_images(r->dout, 1);
    return r;
}

static void rig_free(rig *r)
{
    nn_weights_free(r->w);
    nn_backend_free(r->b);
    net_free(&r->u);
    free(r);
}

/* The graph as it would have been built for this level: plans made from here on recompute. */
static void rig_recompute(rig *r, int level) { r->u.g->recompute = (nn_recompute)level; }

static nn_plan *rig_plan(rig *r, nn_mode mode)
{
    nn_plan *p;
    MUST(nn_plan_new(r->u.g, r->b, mode, r->u.out, &p));
    nn_plan_bind(p, r->w, mode == NN_TRAIN ? r->u.grads : NULL);
    return p;
}

static void forward(rig *r, nn_plan *p, float *out)
{
    set_inputs(&r->u, p, 0, BATCH, r->x);
    MUST(nn_plan_forward(p, BATCH));
    MUST(nn_plan_get(p, r->u.out, BATCH, out));
}

/* ---- tests ---- */

static void running_allocates_nothing(void **state)
{
    rig *r = rig_new(state, NN_BF16);
    rig_recompute(r, NN_RECOMPUTE_BLOCKS);
    nn_plan *p = rig_plan(r, NN_TRAIN);
    float out[X_LEN], dx[X_LEN];
    const adam_config adam = { ADAM_W, 1e-3, 0.9, 0.999, 1e-8, 0 };
    const size_t len = r->u.g->params.len;
    float *m = calloc(2 * len, sizeof *m);
    pool *threads;
    MUST(pool_new(2, &threads));
    const int before = allocations;
    assert_true(before > 0);
    for (long step = 1; step <= 3; step++) {
        forward(r, p, out);
        MUST(nn_plan_backward(p, BATCH, r->dout, false));
        MUST(nn_plan_get_grad(p, r->u.x, BATCH, dx));
        const optim_slabs s = { .len = len, .grad = r->u.grads, .value = r->u.values, .m = m, .v = m + len, .grad_scale = 1 };
        optim_step(&adam, step, &s, threads);
        nn_weights_pack(r->w, threads);
        nn_plan_bind(p, r->w, r->u.grads);
    }
    assert_int_equal(allocations, before);
    pool_free(threads);
    free(m);
    nn_plan_free(p);
    rig_free(r);
}

static void modes_and_repetitions_agree(void **state)
{
    for (int dtype = NN_F32; dtype <= NN_BF16; dtype++) {
        rig *r = rig_new(state, (nn_dtype)dtype);
        float out[3][X_LEN], again[X_LEN], dx[2][X_LEN];
        const size_t len = r->u.g->params.len * sizeof(float);
        float *kept = malloc(len);
        for (int mode = NN_INFER; mode <= NN_KEEP; mode++) {
            nn_plan *p = rig_plan(r, (nn_mode)mode);
            forward(r, p, out[mode]);
            for (int i = 0; mode == NN_TRAIN && i < 2; i++) {
                MUST(nn_plan_backward(p, BATCH, r->dout, false));
                MUST(nn_plan_get_grad(p, r->u.x, BATCH, dx[i]));
                if (i == 0) memcpy(kept, r->u.grads, len);
                forward(r, p, again);
                assert_memory_equal(again, out[mode], sizeof again);
            }
            nn_plan_free(p);
        }
        assert_memory_equal(out[NN_INFER], out[NN_TRAIN], sizeof again);
        assert_memory_equal(out[NN_INFER], out[NN_KEEP], sizeof again);
        assert_memory_equal(dx[0], dx[1], sizeof again);
        assert_memory_equal(kept, r->u.grads, len);
        free(kept);
        rig_free(r);
    }
}

enum { HELPERS = 5 };

typedef struct { nn_plan *plan, *lender[HELPERS]; ddpm_status status; } shared_run;

static void help(void *ctx, int task, int worker)
{
    (void)task;
    shared_run *s = ctx;
    const ddpm_status status = nn_plan_help_forward(s->plan, worker, s->lender[worker]);
    if (status != DDPM_OK) __atomic_store_n(&s->status, status, __ATOMIC_RELAXED);
}

/* The bits of one thread by any number of them, for any number of parts; also what backward reads. */
static void threads_may_share_a_plan(void **state)
{
    static const int parts[] = { 1, 2, 3, 5, 1000 };
    for (int dtype = NN_F32; dtype <= NN_BF16; dtype++) {
        rig *r = rig_new(state, (nn_dtype)dtype);
        shared_run s = { .plan = rig_plan(r, NN_TRAIN) };
        for (int i = 0; i < HELPERS; i++) s.lender[i] = rig_plan(r, NN_TRAIN);
        const size_t len = r->u.g->params.len * sizeof(float);
        float alone[X_LEN], together[X_LEN], *grads = malloc(len);
        forward(r, s.plan, alone);
        MUST(nn_plan_backward(s.plan, BATCH, r->dout, false));
        memcpy(grads, r->u.grads, len);
        for (int threads = 1; threads <= HELPERS; threads += 2) {
            pool *p;
            MUST(pool_new(threads, &p));
            const int before = allocations;
            for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
                set_inputs(&r->u, s.plan, 0, BATCH, r->x);
                nn_plan_begin_forward(s.plan, BATCH, parts[i]);
                pool_run(p, threads, help, &s);
                assert_int_equal(s.status, DDPM_OK);
                MUST(nn_plan_get(s.plan, r->u.out, BATCH, together));
                assert_memory_equal(alone, together, sizeof alone);
                MUST(nn_plan_backward(s.plan, BATCH, r->dout, false));
                assert_memory_equal(grads, r->u.grads, len);
            }
            assert_int_equal(allocations, before);
            pool_free(p);
        }
        for (int i = 0; i < HELPERS; i++) nn_plan_free(s.lender[i]);
        nn_plan_free(s.plan);
        free(grads);
        rig_free(r);
    }
}

static void batches_may_be_cut(void **state)
{
    rig *r = rig_new(state, NN_F32);
    nn_plan *p = rig_plan(r, NN_TRAIN);
    float together[X_LEN], alone[X_LEN];
    const size_t len = r->u.g->params.len * sizeof(float);
    forward(r, p, together);
    MUST(nn_plan_backward(p, BATCH, r->dout, false));
    float *kept = malloc(len);
    memcpy(kept, r->u.grads, len);
    for (int i = 0; i < BATCH; i++) {
        set_inputs(&r->u, p, i, 1, r->x);
        MUST(nn_plan_forward(p, 1));
        MUST(nn_plan_get(p, r->u.out, 1, alone + i * X_LEN / BATCH));
        MUST(nn_plan_backward(p, 1, r->dout + i * X_LEN / BATCH, i > 0));
    }
    assert_memory_equal(together, alone, sizeof alone);
    assert_memory_equal(kept, r->u.grads, len);
    MUST(nn_plan_get(p, r->u.out, 1, alone));                   /* the output outlives backward */
    assert_memory_equal(alone, together + X_LEN - X_LEN / BATCH, sizeof alone / BATCH);
    free(kept);
    nn_plan_free(p);
    rig_free(r);
}

/* Output, input gradient and parameter gradients of two batches, the second of one image, in one array. */
static float *results_of(rig *r, size_t *size)
{
    const size_t len = r->u.g->params.len;
    float *all = calloc(2 * (2 * X_LEN + len), sizeof *all), *at = all;
    assert_non_null(all);
    nn_plan *p = rig_plan(r, NN_TRAIN);
    for (int n = BATCH; n >= 1; n -= BATCH - 1) {
        set_inputs(&r->u, p, 0, n, r->x);
        MUST(nn_plan_forward(p, n));
        MUST(nn_plan_get(p, r->u.out, n, at));
        MUST(nn_plan_backward(p, n, r->dout, n == 1));
        MUST(nn_plan_get_grad(p, r->u.x, n, at + X_LEN));
        memcpy(at + 2 * X_LEN, r->u.grads, len * sizeof *at);
        at += 2 * X_LEN + len;
    }
    *size = nn_plan_bytes(p);
    nn_plan_free(p);
    return all;
}

static void recomputation_changes_no_bit(void **state)
{
    for (int dtype = NN_F32; dtype <= NN_BF16; dtype++) {
        rig *r = rig_new(state, (nn_dtype)dtype);
        size_t bytes[3];
        float *kept = results_of(r, &bytes[0]);
        for (int level = NN_RECOMPUTE_CHEAP; level <= NN_RECOMPUTE_BLOCKS; level++) {
            rig_recompute(r, level);
            float *again = results_of(r, &bytes[level]);
            assert_memory_equal(again, kept, 2 * (2 * X_LEN + r->u.g->params.len) * sizeof *again);
            free(again);
        }
        assert_true(bytes[NN_RECOMPUTE_CHEAP] < bytes[NN_RECOMPUTE_NONE] && bytes[NN_RECOMPUTE_BLOCKS] < bytes[NN_RECOMPUTE_CHEAP]);
        free(kept);
        rig_free(r);
    }
}

static double loss(rig *r, nn_plan *p)
{
    float out[X_LEN];
    nn_weights_pack(r->w, NULL);
    forward(r, p, out);
    double sum = 0;
    for (int i = 0; i < X_LEN; i++) sum += (double)out[i] * (double)r->dout[i];
    return sum;
}

/* One random direction of signs, best of three steps; relative to the gradient's norm. A gradient
 * sum that is forgotten, or memory that is reused too early, is off by about 1. */
static void check_gradient(rig *r, nn_plan *p, const char *name, float *x, const float *grad, size_t len, uint64_t seed)
{
    float *sign = malloc(2 * len * sizeof *sign), *keep = sign + len;
    rng_normals((rng_address){ .seed = 8, .stream = RNG_NOISE, .sample = seed }, 0, len, sign);
    memcpy(keep, x, len * sizeof *x);
    double want = 0, norm = 0, best = 1e30;
    for (size_t i = 0; i < len; i++) {
        sign[i] = sign[i] < 0 ? -1.0f : 1.0f;
        want += (double)grad[i] * (double)sign[i];
        norm += (double)grad[i] * (double)grad[i];
    }
    for (double step = 0x1p-13; step < 0x1p-6; step *= 8) {
        double got = 0;
        for (int side = -1; side <= 1; side += 2) {
            for (size_t i = 0; i < len; i++) x[i] = keep[i] + (float)(side * step) * sign[i];
            got += side * loss(r, p);
        }
        best = fmin(best, fabs(got / (2 * step) - want) / (sqrt(norm) + 1e-2));
    }
    memcpy(x, keep, len * sizeof *x);
    nn_weights_pack(r->w, NULL);
    free(sign);
    if (!(best < 5e-3)) fail_msg("gradient of %s is off by %.1e of its norm", name, best);
}

static void gradients_of_a_network(void **state)
{
    rig *r = rig_new(state, NN_F32);
    nn_plan *train = rig_plan(r, NN_TRAIN), *p = rig_plan(r, NN_INFER);
    float out[X_LEN], dx[X_LEN];
    forward(r, train, out);
    MUST(nn_plan_backward(train, BATCH, r->dout, false));
    MUST(nn_plan_get_grad(train, r->u.x, BATCH, dx));
    check_gradient(r, p, "x", r->x, dx, X_LEN, 1000);
    for (int i = 0; i < r->u.g->params.count; i++) {
        const nn_param *q = &r->u.g->params.list[i];
        check_gradient(r, p, q->name, r->u.values + q->offset, r->u.grads + q->offset, nn_len(q->shape), (uint64_t)i);
    }
    nn_plan_free(train);
    nn_plan_free(p);
    rig_free(r);
}

static void memory_is_shared(void **state)
{
    rig *r = rig_new(state, NN_F32);
    nn_plan *infer = rig_plan(r, NN_INFER), *train = rig_plan(r, NN_TRAIN), *keep = rig_plan(r, NN_KEEP);
    assert_true(nn_plan_bytes(infer) < nn_plan_bytes_naive(infer) / 2);
    assert_true(nn_plan_bytes(train) < nn_plan_bytes_naive(train) * 2 / 3);
    assert_true(nn_plan_bytes(infer) < nn_plan_bytes(keep) && nn_plan_bytes(infer) < nn_plan_bytes(train));
    const nn_mode modes[3] = { NN_INFER, NN_TRAIN, NN_KEEP };
    const nn_plan *plans[3] = { infer, train, keep };
    for (int i = 0; i < 3; i++) {
        size_t bytes;
        MUST(nn_plan_measure(r->u.g, r->b, modes[i], r->u.out, &bytes));
        assert_int_equal(bytes, nn_plan_bytes(plans[i]));
    }
    nn_plan_free(infer);
    nn_plan_free(train);
    nn_plan_free(keep);
    rig_free(r);
}

static void kept_values_can_be_read(void **state)
{
    rig *r = rig_new(state, NN_F32);
    nn_plan *p = rig_plan(r, NN_KEEP);
    float out[X_LEN], again[X_LEN], pooled[BATCH * SIZE / 2 * SIZE / 2 * CH];
    float h1[BATCH * SIZE * SIZE * CH];
    forward(r, p, out);
    const nn_node *pool_node = NULL;
    for (int i = 0; i < r->u.g->n_nodes; i++)
        if (r->u.g->nodes[i]->op == NN_POOL) pool_node = r->u.g->nodes[i];
    MUST(nn_plan_get(p, pool_node->in[0], BATCH, h1));
    MUST(nn_plan_get(p, pool_node->out, BATCH, pooled));
    for (int c = 0; c < CH; c++) {
        const double mean = 0.25 * ((double)h1[c] + (double)h1[CH + c] + (double)h1[SIZE * CH + c] + (double)h1[(SIZE + 1) * CH + c]);
        assert_true(fabs((double)pooled[c] - mean) < 1e-6);
    }
    MUST(nn_plan_forward(p, BATCH));                            /* inputs survive too */
    MUST(nn_plan_get(p, r->u.out, BATCH, again));
    assert_memory_equal(out, again, sizeof out);
    nn_plan_free(p);
    rig_free(r);
}

/* A value from the middle survives the nodes behind it. */
static void inner_values_can_be_the_output(void **state)
{
    rig *r = rig_new(state, NN_F32);
    nn_plan *all = rig_plan(r, NN_KEEP), *p;
    float want[X_LEN], got[BATCH * SIZE * SIZE * CH], kept[BATCH * SIZE * SIZE * CH];
    forward(r, all, want);
    const nn_tensor *inner = r->u.g->nodes[6]->out;
    assert_true(nn_len(inner->shape) <= sizeof got / sizeof *got && r->u.g->n_nodes > 20);
    MUST(nn_plan_new(r->u.g, r->b, NN_INFER, inner, &p));
    nn_plan_bind(p, r->w, NULL);
    set_inputs(&r->u, p, 0, BATCH, r->x);
    MUST(nn_plan_forward(p, BATCH));
    MUST(nn_plan_get(p, inner, BATCH, got));
    MUST(nn_plan_get(all, inner, BATCH, kept));
    assert_memory_equal(got, kept, nn_len(inner->shape) * sizeof *got);
    nn_plan_free(all);
    nn_plan_free(p);
    rig_free(r);
}

static void marked_values_survive(void **state)
{
    rig *r = rig_new(state, NN_F32);
    nn_plan *all = rig_plan(r, NN_KEEP);
    float want[X_LEN], out[X_LEN], inner_want[BATCH * SIZE * SIZE * CH], got[BATCH * SIZE * SIZE * CH];
    forward(r, all, want);
    nn_tensor *inner = r->u.g->nodes[6]->out;
    MUST(nn_plan_get(all, inner, BATCH, inner_want));
    nn_keep(r->u.g, inner);
    nn_plan *marked = rig_plan(r, NN_INFER);
    forward(r, marked, out);
    MUST(nn_plan_get(marked, inner, BATCH, got));
    assert_memory_equal(out, want, sizeof out);
    assert_memory_equal(got, inner_want, nn_len(inner->shape) * sizeof *got);
    nn_plan_free(all);
    nn_plan_free(marked);
    rig_free(r);
}

static void profile_counts_time(void **state)
{
    rig *r = rig_new(state, NN_F32);
    nn_plan *p = rig_plan(r, NN_TRAIN);
    float out[X_LEN];
    const int last = r->u.g->n_nodes - 1;
    forward(r, p, out);
    assert_true(nn_plan_seconds(p, last, false) == 0);
    nn_plan_profile(p, true);
    forward(r, p, out);
    MUST(nn_plan_backward(p, BATCH, r->dout, false));
    assert_true(nn_plan_seconds(p, last, false) > 0 && nn_plan_seconds(p, last, true) > 0);
    assert_true(nn_plan_seconds(p, 0, true) == 0);              /* the timestep embedding has no gradient */
    nn_plan_profile(p, false);
    assert_true(nn_plan_seconds(p, last, false) == 0);
    nn_plan_free(p);
    rig_free(r);
}

/* ---- packed weights, with a backend that packs the sum of the weights ---- */

static size_t sum_bytes(nn_backend *b, const nn_node *d, bool backward)
{
    (void)b;
    (void)d;
    return backward ? 8 : 4;
}

static void sum_pack(nn_backend *b, const nn_node *d, bool backward, const float *weight, void *packed)
{
    (void)b;
    (void)backward;
    float sum = 0;
    for (size_t i = 0; i < nn_len(d->in[CONV_W]->shape); i++) sum += weight[i];
    *(float *)packed = sum;
}

static void weights_are_packed(void **state)
{
    rig *r = rig_new(state, NN_F32);
    nn_backend packing = *r->b;
    packing.kernels[NN_CONV2D].pack_bytes = sum_bytes;
    packing.kernels[NN_CONV2D].pack = sum_pack;
    nn_weights *w;
    MUST(nn_weights_new(r->u.g, &packing, r->u.values, true, &w));
    assert_ptr_equal(nn_weights_values(w), r->u.values);
    assert_int_equal(nn_weights_bytes(r->u.g, r->b, true), 0);
    pool *p;
    MUST(pool_new(2, &p));
    size_t bytes = 0;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < r->u.g->n_nodes; i++) {
            const nn_node *d = r->u.g->nodes[i];
            const float *packed = nn_weights_packed(w, i);
            assert_int_equal(packed != NULL, d->op == NN_CONV2D);
            if (!packed) continue;
            float want;
            sum_pack(NULL, d, true, r->u.values + r->u.g->params.list[d->in[CONV_W]->param].offset, &want);
            assert_true(*packed == want);
            assert_int_equal((uintptr_t)packed % 64, 0);
            bytes += round ? 0 : 64;
        }
        for (size_t i = 0; i < r->u.g->params.len; i++) r->u.values[i] *= 3;
        nn_weights_pack(w, p);
    }
    assert_int_equal(nn_weights_bytes(r->u.g, &packing, true), bytes);
    pool_free(p);
    nn_weights_free(w);
    rig_free(r);
}

int main(void)
{
    static char cpu[] = "cpu";
    const struct CMUnitTest packing[] = { cmocka_unit_test(weights_are_packed) };
    int failures = cmocka_run_group_tests_name("packing", packing, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        void *backend = i ? cpu : NULL;
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(running_allocates_nothing, backend), cmocka_unit_test_prestate(modes_and_repetitions_agree, backend),
            cmocka_unit_test_prestate(recomputation_changes_no_bit, backend), cmocka_unit_test_prestate(threads_may_share_a_plan, backend),
            cmocka_unit_test_prestate(batches_may_be_cut, backend),        cmocka_unit_test_prestate(gradients_of_a_network, backend),
            cmocka_unit_test_prestate(memory_is_shared, backend),          cmocka_unit_test_prestate(kept_values_can_be_read, backend),
            cmocka_unit_test_prestate(inner_values_can_be_the_output, backend), cmocka_unit_test_prestate(marked_values_survive, backend),
            cmocka_unit_test_prestate(profile_counts_time, backend),
        };
        failures += cmocka_run_group_tests_name(i ? cpu : "ref", tests, NULL, NULL);
    }
    return failures;
}
