/* Per head with queries Q, keys K, values V of d channels: P = softmax(Q K^T / sqrt(d)), Y = P V. */
#include "backend/ref/ref_op.h"

#include "base/fixmath.h"

#include <math.h>
#include <string.h>

typedef struct {
    size_t tokens, heads, d, C;
    nn_head_order order;
    double scale;
    double *p, *dp;        /* scratch: one row of P and of its gradient */
    double *grad;          /* scratch: dQ, dK, dV of one head, each [tokens][d] */
} attention;

static attention attention_of(const nn_call *c)
{
    const nn_shape y = c->node->out->shape;
    const size_t heads = (size_t)c->node->attr.attention.heads, d = (size_t)y.c / heads;
    attention a = { (size_t)y.h * (size_t)y.w, heads, d, (size_t)y.c, c->node->attr.attention.order,
                    1 / sqrt((double)d), c->scratch, NULL, NULL };
    a.dp = a.p + a.tokens;
    a.grad = a.dp + a.tokens;
    return a;
}

static ddpm_status attention_prepare(nn_backend *b, const nn_node *node, void **state, size_t *scratch)
{
    (void)b;
    (void)state;
    const nn_shape y = node->out->shape;
    const size_t tokens = (size_t)y.h * (size_t)y.w, d = (size_t)(y.c / node->attr.attention.heads);
    *scratch = (2 * tokens + 3 * tokens * d) * sizeof(double);
    return DDPM_OK;
}

enum { QUERY, KEY, VALUE };

/* Place in qkv of element i of a token's query, key or value. */
static size_t place(const attention *a, size_t n, size_t head, size_t token, size_t part, size_t i)
{
    const size_t row = (n * a->tokens + token) * 3 * a->C;
    return row + (a->order == NN_HEADS_QKV ? (head * 3 + part) * a->d : part * a->C + head * a->d) + i;
}

/* Row `t` of P into a->p; returns the log of the softmax denominator. */
static double probabilities(const nn_call *c, const attention *a, size_t n, size_t head, size_t t)
{
    double top = -INFINITY, sum = 0;
    for (size_t u = 0; u < a->tokens; u++) {
        double dot = 0;
        for (size_t i = 0; i < a->d; i++)
            dot += ref_in(c, 0, place(a, n, head, t, QUERY, i)) * ref_in(c, 0, place(a, n, head, u, KEY, i));
        a->p[u] = dot * a->scale;
        top = fmax(top, a->p[u]);
    }
    for (size_t u = 0; u < a->tokens; u++) sum += a->p[u] = fix_exp(a->p[u] - top);
    for (size_t u = 0; u < a->tokens; u++) a->p[u] /= sum;
    return top + fix_log(sum);
}

static ddpm_status attention_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const attention a = attention_of(c);
    for (size_t n = 0; n < (size_t)c->n; n++)
        for (size_t head = 0; head < a.heads; head++)
            for (size_t t = 0; t < a.tokens; t++) {
                c->aux[(n * a.heads + head) * a.tokens + t] = (float)probabilities(c, &a, n, head, t);
                for (size_t i = 0; i < a.d; i++) {
                    double y = 0;
                    for (size_t u = 0; u < a.tokens; u++) y += a.p[u] * ref_in(c, 0, place(&a, n, head, u, VALUE, i));
                    ref_set_out(c, (n * a.tokens + t) * a.C + head * a.d + i, y);
                }
            }
    return DDPM_OK;
}

/* Add query t's share to dQ, dK and dV of its head. */
static void backward_row(const nn_call *c, const attention *a, size_t n, size_t head, size_t t)
{
    double *dq = a->grad + t * a->d, *dk = a->grad + a->tokens * a->d, *dv = dk + a->tokens * a->d, mean = 0;
    const size_t dy = (n * a->tokens + t) * a->C + head * a->d;
    probabilities(c, a, n, head, t);
    for (size_t u = 0; u < a->tokens; u++) {
        a->dp[u] = 0;
        for (size_t i = 0; i < a->d; i++) {
            const double g = ref_dout(c, dy + i);
            a->dp[u] += g * ref_in(c, 0, place(a, n, head, u, VALUE, i));
            dv[u * a->d + i] += g * a->p[u];
        }
        mean += a->p[u] * a->dp[u];
    }
    for (size_t u = 0; u < a->tokens; u++) {
        const double ds = a->p[u] * (a->dp[u] - mean) * a->scale;
        for (size_t i = 0; i < a->d; i++) {
            dq[i] += ds * ref_in(c, 0, place(a, n, head, u, KEY, i));
            dk[u * a->d + i] += ds * ref_in(c, 0, place(a, n, head, t, QUERY, i));
        }
    }
}

static ddpm_status attention_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const attention a = attention_of(c);
    const size_t len = a.tokens * a.d;
    for (size_t n = 0; n < (size_t)c->n; n++)
        for (size_t head = 0; head < a.heads; head++) {
            memset(a.grad, 0, 3 * len * sizeof *a.grad);
            for (size_t t = 0; t < a.tokens; t++) backward_row(c, &a, n, head, t);
            for (size_t part = 0; part < 3; part++)
                for (size_t j = 0; j < len; j++)
                    ref_set_din(c, 0, place(&a, n, head, j / a.d, part, j % a.d), a.grad[part * len + j]);
        }
    return DDPM_OK;
}

const nn_kernel ref_attention = { .prepare = attention_prepare, .forward = attention_forward, .backward = attention_backward };
