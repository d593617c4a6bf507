/* attention.c - softmax(q k' / sqrt(d)) v over the pixels of an image, head by head.
 *
 * All in f32: a head's q and k (each scaled by d^-1/4, as the authors do) and v
 * are brought into dense arrays once, then blocks of query rows are worked on,
 * so that only block x pixels probabilities exist at a time. Backward rebuilds
 * them from aux, the log of each row's denominator. */
#include "backend/cpu/gemm.h"
#include "backend/cpu/rows.h"
#include "base/fixmath.h"
#include "nn/backend.h"

#include <math.h>

enum { ATTENTION_ROWS = 64, ATTENTION_BLOCK_VALUES = 128 * 1024 };

typedef struct {
    int    t, heads, d, c;      /* pixels, heads, channels of a head, all channels */
    int    rows;                /* query rows in a block                           */
    size_t padded;              /* t rounded up to whole vectors: stride of a block */
    float  scale;               /* d^-1/4                                          */
} attention_dims;

/* A head's operands [t][d], their transposes [d][t], and blocks [rows][padded]. */
typedef struct {
    float *q, *k, *v, *kt;
    float *p;                   /* scores, then probabilities          */
    float *o;                   /* [rows][d] a block of output or of dq */
    float *vt, *dy, *dk, *dv;   /* backward only                       */
    float *dp;
} attention_scratch;

static attention_dims attention_dims_of(const nn_node *n)
{
    const nn_shape s = n->out->shape;
    const int t = s.h * s.w, d = s.c / n->attr.attention.heads, most = ATTENTION_BLOCK_VALUES / t;
    const int rows = most >= ATTENTION_ROWS ? ATTENTION_ROWS : most >= 8 ? most : 8;
    return (attention_dims){ t, n->attr.attention.heads, d, s.c, rows < t ? rows : t, row_padded(t),
                             (float)(1 / sqrt(sqrt((double)d))) };
}

static size_t attention_floats(attention_dims a)
{
    return 8 * (size_t)a.t * (size_t)a.d + (size_t)a.rows * (2 * a.padded + (size_t)a.d);
}

static attention_scratch attention_scratch_at(const nn_call *c, attention_dims a)
{
    const size_t head = (size_t)a.t * (size_t)a.d, block = (size_t)a.rows * a.padded;
    float *const f = (float *)c->scratch + 2 * block, *const p = c->scratch;
    return (attention_scratch){
        .p = p, .dp = p + block, .q = f, .k = f + head, .v = f + 2 * head, .kt = f + 3 * head,
        .vt = f + 4 * head, .dy = f + 5 * head, .dk = f + 6 * head, .dv = f + 7 * head, .o = f + 8 * head
    };
}

/* First channel of part 0 (q), 1 (k) or 2 (v) of head h in a row of 3 c. */
static size_t attention_channel(const nn_node *n, attention_dims a, int h, int part)
{
    const int at = n->attr.attention.order == NN_HEADS_QKV ? (3 * h + part) * a.d : part * a.c + h * a.d;
    return (size_t)at;
}

/* Rows of d channels, `stride` apart in a stored array from element `at` on, to dense f32 times scale, and back. */
static void attention_gather(float *dst, const void *src, nn_dtype type, size_t at, size_t stride, int rows, int d, float scale)
{
    for (int r = 0; r < rows; r++) {
        float *const row = dst + (size_t)r * (size_t)d;
        row_load(row, src, type, at + (size_t)r * stride, (size_t)d);
        for (int i = 0; i < d; i++) row[i] *= scale;
    }
}

static void attention_scatter(void *dst, nn_dtype type, size_t at, size_t stride, float *src, int rows, int d, float scale)
{
    for (int r = 0; r < rows; r++) {
        float *const row = src + (size_t)r * (size_t)d;
        for (int i = 0; i < d; i++) row[i] *= scale;
        row_store(dst, type, at + (size_t)r * stride, row, (size_t)d);
    }
}

static void attention_transpose(float *dst, const float *src, int t, int d)
{
    enum { TILE = 16 };
    for (int r = 0; r < t; r += TILE)
        for (int i = 0; i < d; i++)
            for (int k = r; k < t && k < r + TILE; k++)
                dst[(size_t)i * (size_t)t + (size_t)k] = src[(size_t)k * (size_t)d + (size_t)i];
}

static void attention_load_head(const nn_call *c, attention_dims a, const attention_scratch *w, int i, int h)
{
    const nn_node *const n = c->node;
    const size_t stride = 3 * (size_t)a.c, at = (size_t)i * (size_t)a.t * stride;
    float *const dst[3] = { w->q, w->k, w->v };
    for (int part = 0; part < 3; part++)
        attention_gather(dst[part], c->in[0], n->in[0]->dtype, at + attention_channel(n, a, h, part), stride,
                         a.t, a.d, part < 2 ? a.scale : 1);
    attention_transpose(w->kt, w->k, a.t, a.d);
}

/* Scores of `rows` queries from `first` on; columns beyond t become -inf, which exp takes to nothing. */
static void attention_scores(attention_dims a, const attention_scratch *w, int first, int rows)
{
    ISA(gemm_f32)(rows, a.t, a.d, w->q + (size_t)first * (size_t)a.d, a.d, 1, w->kt, a.t, w->p, (ptrdiff_t)a.padded, false);
    for (int r = 0; r < rows; r++)
        for (size_t j = (size_t)a.t; j < a.padded; j++) w->p[(size_t)r * a.padded + j] = -INFINITY;
}

/* Scores of one row to exp(score - largest); returns their sum. */
static float attention_exponentials(float *p, size_t n, float *largest)
{
    vf most = vf_load(p);
    for (size_t j = LANES; j < n; j += LANES) {
        const vf v = vf_load(p + j);
        most = row_pick(v > most, v, most);
    }
    *largest = row_max(most);
    vf sum = vf_set(0);
    for (size_t j = 0; j < n; j += LANES) {
        const vf e = row_exp(vf_load(p + j) - *largest);
        vf_store(p + j, e);
        sum += e;
    }
    return row_sum(sum);
}

static void attention_forward_block(const nn_call *c, attention_dims a, const attention_scratch *w, int first, float *aux, size_t out_at)
{
    const int rows = a.t - first < a.rows ? a.t - first : a.rows;
    float sums[ATTENTION_ROWS];
    attention_scores(a, w, first, rows);
    for (int r = 0; r < rows; r++) {
        float largest;
        sums[r] = attention_exponentials(w->p + (size_t)r * a.padded, a.padded, &largest);
        aux[first + r] = (float)((double)largest + fix_log((double)sums[r]));
    }
    ISA(gemm_f32)(rows, a.d, a.t, w->p, (ptrdiff_t)a.padded, 1, w->v, a.d, w->o, a.d, false);
    for (int r = 0; r < rows; r++)
        attention_scatter(c->out, c->node->out->dtype, out_at + (size_t)(first + r) * (size_t)a.c, 0,
                          w->o + (size_t)r * (size_t)a.d, 1, a.d, 1 / sums[r]);
}

static ddpm_status attention_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const attention_dims a = attention_dims_of(c->node);
    const attention_scratch w = attention_scratch_at(c, a);
    for (int i = 0; i < c->n; i++)
        for (int h = 0; h < a.heads; h++) {
            attention_load_head(c, a, &w, i, h);
            float *const aux = c->aux + (size_t)(i * a.heads + h) * (size_t)a.t;
            const size_t out_at = (size_t)i * (size_t)a.t * (size_t)a.c + (size_t)(h * a.d);
            for (int first = 0; first < a.t; first += a.rows) attention_forward_block(c, a, &w, first, aux, out_at);
        }
    return DDPM_OK;
}

/* One row: scores s and dp to probabilities p = exp(s - lse) and ds = p (dp - sum p dp). */
static void attention_row_gradient(float *s, float *dp, size_t n, float lse)
{
    vf dot = vf_set(0);
    for (size_t j = 0; j < n; j += LANES) {
        const vf p = row_exp(vf_load(s + j) - lse);
        vf_store(s + j, p);
        dot = vf_fma(p, vf_load(dp + j), dot);
    }
    const float total = row_sum(dot);
    for (size_t j = 0; j < n; j += LANES)
        vf_store(dp + j, vf_load(s + j) * (vf_load(dp + j) - total));
}

/* A block's share of dk and dv, and all of its dq (in w->o). */
static void attention_backward_block(attention_dims a, const attention_scratch *w, int first, const float *aux)
{
    const int rows = a.t - first < a.rows ? a.t - first : a.rows;
    const ptrdiff_t t = a.t, d = a.d, stride = (ptrdiff_t)a.padded;
    const float *const q = w->q + first * d, *const dy = w->dy + first * d;
    attention_scores(a, w, first, rows);
    ISA(gemm_f32)(rows, a.t, a.d, dy, d, 1, w->vt, t, w->dp, stride, false);
    for (int r = 0; r < rows; r++) {
        float *const dp = w->dp + r * stride;
        for (ptrdiff_t j = t; j < stride; j++) dp[j] = 0;
        attention_row_gradient(w->p + r * stride, dp, a.padded, aux[first + r]);
    }
    const bool more = first > 0;
    ISA(gemm_f32)(a.t, a.d, rows, w->p, 1, stride, dy, d, w->dv, d, more);
    ISA(gemm_f32)(a.t, a.d, rows, w->dp, 1, stride, q, d, w->dk, d, more);
    ISA(gemm_f32)(rows, a.d, a.t, w->dp, stride, 1, w->k, d, w->o, d, false);
}

static void attention_backward_head(const nn_call *c, attention_dims a, const attention_scratch *w, int i, int h)
{
    const nn_node *const n = c->node;
    const size_t stride = 3 * (size_t)a.c, at = (size_t)i * (size_t)a.t * stride;
    const nn_dtype type = n->in[0]->dtype;
    attention_load_head(c, a, w, i, h);
    attention_transpose(w->vt, w->v, a.t, a.d);
    attention_gather(w->dy, c->dout, n->out->dtype, (size_t)i * (size_t)a.t * (size_t)a.c + (size_t)(h * a.d),
                     (size_t)a.c, a.t, a.d, 1);
    const float *const aux = c->aux + (size_t)(i * a.heads + h) * (size_t)a.t;
    for (int first = 0; first < a.t; first += a.rows) {
        const int rows = a.t - first < a.rows ? a.t - first : a.rows;
        attention_backward_block(a, w, first, aux);
        attention_scatter(c->din[0], type, at + attention_channel(n, a, h, 0) + (size_t)first * stride, stride,
                          w->o, rows, a.d, a.scale);
    }
    attention_scatter(c->din[0], type, at + attention_channel(n, a, h, 1), stride, w->dk, a.t, a.d, a.scale);
    attention_scatter(c->din[0], type, at + attention_channel(n, a, h, 2), stride, w->dv, a.t, a.d, 1);
}

static ddpm_status attention_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const attention_dims a = attention_dims_of(c->node);
    const attention_scratch w = attention_scratch_at(c, a);
    for (int i = 0; c->din[0] && i < c->n; i++)
        for (int h = 0; h < a.heads; h++) attention_backward_head(c, a, &w, i, h);
    return DDPM_OK;
}

static ddpm_status attention_prepare(nn_backend *b, const nn_node *node, void **state, size_t *scratch)
{
    (void)b;
    (void)state;
    *scratch = attention_floats(attention_dims_of(node)) * sizeof(float);
    return DDPM_OK;
}

const nn_kernel ISA(cpu_attention) = { .prepare = attention_prepare, .forward = attention_forward, .backward = attention_backward };
