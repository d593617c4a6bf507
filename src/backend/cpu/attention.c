/* attention.c - softmax(q k' / sqrt(d)) v over the pixels of an image, head by head.
 *
 * A head's q, k, v are brought into dense rows of words (gemm.h) once, then
 * blocks of query rows are worked on, so that only block x pixels probabilities
 * exist at a time. Backward rebuilds them from aux, the log of each row's
 * denominator. With `compute` bf16 products take operands rounded to bf16: q, k, v
 * and dy as they are stored, probabilities and their gradients after the softmax,
 * which is f32 always. In f32 q and k are scaled by d^-1/4 each, as the authors do;
 * bf16 scales the scores instead, so that q and k need no rounding of their own. */
#include "backend/cpu/amx.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/rows.h"
#include "backend/cpu/tile.h"
#include "base/fixmath.h"
#include "nn/backend.h"

#include <math.h>

enum { ATTENTION_ROWS = 64, ATTENTION_BLOCK_VALUES = 128 * 1024, ATTENTION_SHARE = 16 };   /* rows that no two parts share */

/* Of a product with bf16 compute: operands in pairs, or as f32 that hold rounded values. */
typedef enum { OPERAND_F32, OPERAND_ROUNDED, OPERAND_PAIRS } attention_operand;

typedef struct {
    int       t, heads, d, c;               /* pixels, heads, channels of a head, all channels      */
    int       rows;                         /* query rows in a block; even                          */
    attention_operand operand;
    int       columns;                      /* t rounded up to what a row of probabilities has      */
    int       steps_d, steps_t;             /* words of d channels and of t pixels                  */
    ptrdiff_t head_row, block_row, sum_row; /* floats from row to row of q, of a block, of o dk dv  */
    float     operand_scale, score_scale, gradient_scale;
} attention_dims;

typedef struct {
    float *q, *dy, *x;                /* dense words [t][head_row]; x: k and v, until they are packed */
    float *p, *dp, *ds;               /* blocks [rows][block_row]: scores, then probabilities, and gradients */
    float *o;                         /* [rows][sum_row]: a block of output or of dq         */
    float *dk, *dv;                   /* [t][sum_row]                                        */
    float *turned;                    /* gemm_across                                         */
    gemm_right kt, vt, k, v;          /* d x t, d x t, t x d, t x d                          */
    gemm_right q_rows, dy_rows;       /* rows x d, of a block                                */
} attention_scratch;

/* An odd number of cache lines, so that rows use all sets of the cache. */
static ptrdiff_t attention_row(int floats)
{
    return (gemm_whole(floats) / 16 | 1) * 16;
}

static attention_operand attention_operand_of(const nn_node *n)
{
    if (n->compute != NN_BF16) return OPERAND_F32;
    return BF16_PRODUCTS || AMX_TILES ? OPERAND_PAIRS : OPERAND_ROUNDED;
}

static attention_dims attention_dims_of(const nn_node *n)
{
    const nn_shape s = n->out->shape;
    const int t = s.h * s.w, d = s.c / n->attr.attention.heads, most = ATTENTION_BLOCK_VALUES / t;
    const int rows = most >= ATTENTION_ROWS ? ATTENTION_ROWS : most >= GEMM_WHOLE ? most / GEMM_WHOLE * GEMM_WHOLE : GEMM_WHOLE;
    attention_dims a = { .t = t, .heads = n->attr.attention.heads, .d = d, .c = s.c, .rows = rows < t ? rows : t + t % 2 };
    const double root = sqrt(sqrt((double)d));
    a.operand = attention_operand_of(n);
    const bool pairs = a.operand == OPERAND_PAIRS, scale_scores = a.operand != OPERAND_F32;
    a.columns = pairs ? 2 * gemm_whole((t + 1) / 2) : gemm_whole(t);
    a.steps_d = pairs ? (d + 1) / 2 : d;
    a.steps_t = pairs ? (t + 1) / 2 : t;
    a.head_row = attention_row(a.steps_d);
    a.block_row = attention_row(a.columns);
    a.sum_row = attention_row(d);
    a.operand_scale = scale_scores ? 1 : (float)(1 / root);
    a.score_scale = scale_scores ? (float)(1 / (root * root)) : 1;
    a.gradient_scale = scale_scores ? a.score_scale : a.operand_scale;
    return a;
}

/* Lays out the scratch memory, if there is any yet; returns the floats it takes. */
static size_t attention_layout(attention_dims a, float *memory, attention_scratch *w)
{
    const size_t pixels = (size_t)gemm_whole(a.t), rows = (size_t)gemm_whole(a.rows);
    const size_t head = pixels * (size_t)a.head_row, block = rows * (size_t)a.block_row, sums = pixels * (size_t)a.sum_row;
    const size_t across = gemm_right_words(a.steps_d, a.t), along = gemm_right_words(a.steps_t, a.d);
    const size_t right_rows = gemm_right_words(a.rows, a.d), turned = (size_t)gemm_whole(a.t) * rows;
    float **const part[] = {
        &w->q, &w->dy, &w->x, &w->p, &w->dp, &w->ds, &w->o, &w->dk, &w->dv, &w->turned,
        &w->kt.packed, &w->vt.packed, &w->k.packed, &w->v.packed, &w->q_rows.packed, &w->dy_rows.packed,
    };
    const size_t size[] = {
        head, head, head, block, block, block, rows * (size_t)a.sum_row, sums, sums, turned,
        across, across, along, along, right_rows, right_rows,
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof size / sizeof size[0]; at += size[i], i++) *part[i] = memory ? memory + at : NULL;
    return at;
}

static attention_scratch attention_scratch_at(const nn_call *c, attention_dims a)
{
    attention_scratch w = {0};
    attention_layout(a, c->scratch, &w);
    return w;
}

/* First channel of part 0 (q), 1 (k) or 2 (v) of head h in a row of 3 c. */
static size_t attention_channel(const nn_node *n, attention_dims a, int h, int part)
{
    const int at = n->attr.attention.order == NN_HEADS_QKV ? (3 * h + part) * a.d : part * a.c + h * a.d;
    return (size_t)at;
}

/* d channels of each pixel, `stride` elements apart in a stored array from element `at` on, times scale: dense words. */
static void attention_gather(attention_dims a, float *dst, const void *src, nn_dtype type, size_t at, size_t stride, float scale)
{
    const nn_dtype to = a.operand == OPERAND_PAIRS ? NN_BF16 : NN_F32;
    const size_t bytes = (size_t)a.d * nn_dtype_size(to), row = (size_t)gemm_whole(a.steps_d) * sizeof *dst;
    for (int r = 0; r < a.t; r++, dst += a.head_row, at += stride) {
        memset((char *)dst + bytes, 0, row - bytes);
        if (type == to && a.operand == OPERAND_PAIRS) {
            memcpy(dst, (const bf16 *)src + at, bytes);
            continue;
        }
        for (int i = 0; i < a.d; i += LANES) {
            const int k = row_lanes(a.d, i);
            const vf v = row_get(type, src, at + (size_t)i, k) * scale;
            row_put(to, dst, (size_t)i, k, a.operand == OPERAND_ROUNDED ? vf_rounded(v) : v);
        }
    }
}

/* A row of d sums times scale to a stored array. */
static void attention_scatter(attention_dims a, void *dst, nn_dtype type, size_t at, const float *src, float scale)
{
    for (int i = 0; i < a.d; i += LANES) {
        const int k = row_lanes(a.d, i);
        row_put(type, dst, at + (size_t)i, k, vf_load(src + i) * scale);
    }
}

/* Part `part` of head h of image i as words. */
static void attention_load(const nn_call *c, attention_dims a, int i, int h, int part, float *dst)
{
    const nn_node *const n = c->node;
    const size_t stride = 3 * (size_t)a.c, at = (size_t)i * (size_t)a.t * stride;
    attention_gather(a, dst, c->in[0], n->in[0]->dtype, at + attention_channel(n, a, h, part), stride,
                     part < 2 ? a.operand_scale : 1);
}

/* Rows of a dense array, from `first` on, as a right operand summed over those rows. */
static void attention_pack_rows(attention_dims a, gemm_right *right, const float *x, int first, int rows)
{
    const bool pairs = a.operand == OPERAND_PAIRS;
    gemm_pack(right, pairs, rows, a.d, x + first * a.head_row, pairs ? 2 * a.head_row : a.head_row);
}

static void attention_pack_turned(attention_dims a, gemm_right *right, const float *x)
{
    gemm_pack_turned(right, a.operand == OPERAND_PAIRS, a.steps_d, a.t, x, a.head_row);
}

/* Scores of `rows` queries from `first` on; columns beyond t become -inf, which exp takes to nothing. */
static void attention_scores(attention_dims a, const attention_scratch *w, int first, int rows)
{
    gemm_along(rows, w->q + first * a.head_row, a.head_row, &w->kt, w->p, a.block_row);
    for (int r = 0; r < rows; r++)
        for (int j = a.t; j < a.columns; j++) w->p[r * a.block_row + j] = -INFINITY;
}

/* ---- forward ---- */

/* Element j on of a left operand that lies along its row. */
ROW_INLINE void attention_put(const attention_operand operand, float *row, int j, vf v)
{
    if (operand == OPERAND_PAIRS) vf_store_bf16((bf16 *)row + j, v);
    else vf_store(row + j, operand == OPERAND_ROUNDED ? vf_rounded(v) : v);
}

/* Scores of one row to e = exp(scale (score - largest)), an operand in the same place; returns their sum. */
ROW_INLINE float attention_exponentials(const attention_operand operand, float *p, int n, float scale, float *largest)
{
    vf most = vf_load(p);
    for (int j = LANES; j < n; j += LANES) {
        const vf v = vf_load(p + j);
        most = row_pick(v > most, v, most);
    }
    *largest = scale * row_max(most);
    const vf by = vf_set(scale), less = vf_set(-*largest);
    vf sum = vf_set(0);
    for (int j = 0; j < n; j += LANES) {
        const vf e = row_exp(vf_fma(vf_load(p + j), by, less));
        sum += e;
        attention_put(operand, p, j, e);
    }
    return row_sum(sum);
}

static float attention_softmax(attention_dims a, float *p, float *largest)
{
    switch (a.operand) {
    case OPERAND_PAIRS:   return attention_exponentials(OPERAND_PAIRS, p, a.columns, a.score_scale, largest);
    case OPERAND_ROUNDED: return attention_exponentials(OPERAND_ROUNDED, p, a.columns, a.score_scale, largest);
    default:              return attention_exponentials(OPERAND_F32, p, a.columns, 1, largest);
    }
}

static void attention_forward_block(const nn_call *c, attention_dims a, const attention_scratch *w, int first, int rows, float *aux, size_t out_at)
{
    float sums[ATTENTION_ROWS];
    attention_scores(a, w, first, rows);
    for (int r = 0; r < rows; r++) {
        float largest;
        sums[r] = attention_softmax(a, w->p + r * a.block_row, &largest);
        aux[first + r] = (float)((double)largest + fix_log((double)sums[r]));
    }
    gemm_along(rows, w->p, a.block_row, &w->v, w->o, a.sum_row);
    for (int r = 0; r < rows; r++)
        attention_scatter(a, c->out, c->node->out->dtype, out_at + (size_t)(first + r) * (size_t)a.c, w->o + r * a.sum_row, 1 / sums[r]);
}

/* Query rows [from, end) of a head. */
static void attention_forward_head(const nn_call *c, attention_dims a, attention_scratch *w, int i, int h, int from, int end)
{
    float *const aux = c->aux + (size_t)(i * a.heads + h) * (size_t)a.t;
    const size_t out_at = (size_t)i * (size_t)a.t * (size_t)a.c + (size_t)(h * a.d);
    attention_load(c, a, i, h, 0, w->q);
    attention_load(c, a, i, h, 1, w->x);
    attention_pack_turned(a, &w->kt, w->x);
    attention_load(c, a, i, h, 2, w->x);
    attention_pack_rows(a, &w->v, w->x, 0, a.t);
    for (int first = from; first < end; first += a.rows)
        attention_forward_block(c, a, w, first, end - first < a.rows ? end - first : a.rows, aux, out_at);
}

static ddpm_status attention_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const attention_dims a = attention_dims_of(c->node);
    attention_scratch w = attention_scratch_at(c, a);
    const size_t t = (size_t)a.t, heads = (size_t)a.heads;
    const row_range share = row_share((size_t)c->n * heads * t, ATTENTION_SHARE, c->part, c->parts);
    for (size_t row = share.first, next; row < share.end; row = next) {
        const size_t head = row / t, whole = (head + 1) * t;
        next = whole < share.end ? whole : share.end;
        attention_forward_head(c, a, &w, (int)(head / heads), (int)(head % heads), (int)(row - head * t), (int)(next - head * t));
    }
    return DDPM_OK;
}

/* ---- backward ---- */

/* One row: scores s and dp to probabilities p = exp(scale s - lse) in s; returns sum p dp. */
static float attention_probabilities(float *s, const float *dp, int n, float scale, float lse)
{
    const vf by = vf_set(scale), less = vf_set(-lse);
    vf dot = vf_set(0);
    for (int j = 0; j < n; j += LANES) {
        const vf p = row_exp(vf_fma(vf_load(s + j), by, less));
        vf_store(s + j, p);
        dot = vf_fma(p, vf_load(dp + j), dot);
    }
    return row_sum(dot);
}

/* dp to ds = p (dp - total); p and ds become operands. */
static void attention_row_gradient(attention_dims a, float *p, float *dp, float total)
{
    const bool rounded = a.operand == OPERAND_ROUNDED;
    for (int j = 0; j < a.columns; j += LANES) {
        const vf x = vf_load(p + j), ds = x * (vf_load(dp + j) - total);
        vf_store(p + j, rounded ? vf_rounded(x) : x);
        vf_store(dp + j, rounded ? vf_rounded(ds) : ds);
    }
}

/* The same of two rows, as pairs: words of both in the places of the first, and ds along each row. */
static void attention_pair_gradient(attention_dims a, float *p, float *dp, float *ds, const float total[2])
{
    const ptrdiff_t row = a.block_row;
    for (int j = 0; j < a.columns; j += LANES) {
        const vf p0 = vf_load(p + j), p1 = vf_load(p + row + j);
        const vf ds0 = p0 * (vf_load(dp + j) - total[0]), ds1 = p1 * (vf_load(dp + row + j) - total[1]);
        vf_store(p + j, row_pair(p0, p1));
        vf_store(dp + j, row_pair(ds0, ds1));
        attention_put(OPERAND_PAIRS, ds, j, ds0);
        attention_put(OPERAND_PAIRS, ds + row, j, ds1);
    }
}

/* A row beyond the block's, for the last one to make a pair with: no probability and no gradient. */
static void attention_empty_row(attention_dims a, const attention_scratch *w, int r)
{
    for (int j = 0; j < a.columns; j++) w->p[r * a.block_row + j] = -INFINITY;
    memset(w->dp + r * a.block_row, 0, (size_t)a.columns * sizeof *w->dp);
}

/* Scores and dp of a block to operands: p, dp across rows, ds along them. */
static void attention_gradients(attention_dims a, const attention_scratch *w, int rows, const float *aux)
{
    const bool pairs = a.operand == OPERAND_PAIRS;
    float total[2] = {0};
    if (pairs && rows % 2) attention_empty_row(a, w, rows);
    for (int r = 0; r < (pairs ? rows + rows % 2 : rows); r++) {
        float *const p = w->p + r * a.block_row, *const dp = w->dp + r * a.block_row;
        for (int j = a.t; j < a.columns; j++) dp[j] = 0;
        total[r % 2] = attention_probabilities(p, dp, a.columns, a.score_scale, r < rows ? aux[r] : 0);
        if (!pairs) attention_row_gradient(a, p, dp, total[r % 2]);
        else if (r % 2) attention_pair_gradient(a, p - a.block_row, dp - a.block_row, w->ds + (r - 1) * a.block_row, total);
    }
}

/* A block's share of dk and dv, and all of its dq (in w->o). */
static void attention_backward_block(attention_dims a, attention_scratch *w, int first, const float *aux)
{
    const int rows = a.t - first < a.rows ? a.t - first : a.rows;
    const bool pairs = a.operand == OPERAND_PAIRS, more = first > 0;
    attention_scores(a, w, first, rows);
    gemm_along(rows, w->dy + first * a.head_row, a.head_row, &w->vt, w->dp, a.block_row);
    attention_gradients(a, w, rows, aux + first);
    const ptrdiff_t step = pairs ? 2 * a.block_row : a.block_row;
    attention_pack_rows(a, &w->dy_rows, w->dy, first, rows);
    gemm_across(a.t, w->p, step, &w->dy_rows, w->dv, a.sum_row, more, w->turned);
    attention_pack_rows(a, &w->q_rows, w->q, first, rows);
    gemm_across(a.t, w->dp, step, &w->q_rows, w->dk, a.sum_row, more, w->turned);
    gemm_along(rows, pairs ? w->ds : w->dp, a.block_row, &w->k, w->o, a.sum_row);
}

static void attention_backward_head(const nn_call *c, attention_dims a, attention_scratch *w, int i, int h)
{
    const nn_node *const n = c->node;
    const size_t stride = 3 * (size_t)a.c, at = (size_t)i * (size_t)a.t * stride;
    const nn_dtype type = n->in[0]->dtype;
    attention_load(c, a, i, h, 0, w->q);
    attention_load(c, a, i, h, 1, w->x);
    attention_pack_turned(a, &w->kt, w->x);
    attention_pack_rows(a, &w->k, w->x, 0, a.t);
    attention_load(c, a, i, h, 2, w->x);
    attention_pack_turned(a, &w->vt, w->x);
    attention_gather(a, w->dy, c->dout, n->out->dtype, (size_t)i * (size_t)a.t * (size_t)a.c + (size_t)(h * a.d), (size_t)a.c, 1);
    const float *const aux = c->aux + (size_t)(i * a.heads + h) * (size_t)a.t;
    for (int first = 0; first < a.t; first += a.rows) {
        attention_backward_block(a, w, first, aux);
        for (int r = 0; r < a.rows && first + r < a.t; r++)
            attention_scatter(a, c->din[0], type, at + attention_channel(n, a, h, 0) + (size_t)(first + r) * stride,
                              w->o + r * a.sum_row, a.gradient_scale);
    }
    for (int r = 0; r < a.t; r++) {
        const size_t pixel = at + (size_t)r * stride;
        attention_scatter(a, c->din[0], type, pixel + attention_channel(n, a, h, 1), w->dk + r * a.sum_row, a.gradient_scale);
        attention_scatter(a, c->din[0], type, pixel + attention_channel(n, a, h, 2), w->dv + r * a.sum_row, 1);
    }
}

static ddpm_status attention_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const attention_dims a = attention_dims_of(c->node);
    attention_scratch w = attention_scratch_at(c, a);
    for (int i = 0; c->din[0] && i < c->n; i++)
        for (int h = 0; h < a.heads; h++) attention_backward_head(c, a, &w, i, h);
    return DDPM_OK;
}

static ddpm_status attention_prepare(nn_backend *b, const nn_node *node, void **state, size_t *scratch)
{
    (void)b;
    (void)state;
    attention_scratch w;
    *scratch = attention_layout(attention_dims_of(node), NULL, &w) * sizeof(float);
    return DDPM_OK;
}

const nn_kernel ISA(cpu_attention) = { .prepare = attention_prepare, .forward = attention_forward, .backward = attention_backward, .phases = 1 };
