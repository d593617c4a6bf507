/* pool.c - means and maxima of windows, over vectors of channels.
 *
 * A mean is the sum of its rows' sums, each from left to right, so that it does not depend on how rows of
 * the output fall to parts. Of two parts (x, x2) each is pooled by itself, into its columns of the output. */
#include "backend/cpu/rows.h"
#include "nn/backend.h"

/* Pixels [first, end) of one axis. */
typedef struct { int first, end; } pool_span;

/* One of the node's two parts: its values, its channels, and where in a pixel of the output they begin. */
typedef struct { const nn_node *d; const void *x; void *y; nn_shape in; int at; } pool_part;

ROW_INLINE pool_span pool_window(const nn_node *d, int at, int n)
{
    if (d->attr.pool.kernel == 0) return (pool_span){ 0, n };
    const int first = at * d->attr.pool.stride - d->attr.pool.pad, end = first + d->attr.pool.kernel;
    return (pool_span){ first > 0 ? first : 0, end < n ? end : n };
}

ROW_INLINE float pool_size(pool_span rows, pool_span columns)
{
    return (float)(rows.end - rows.first) * (float)(columns.end - columns.first);
}

/* The larger one; what is not a number stays. */
ROW_INLINE vf pool_larger(vf most, vf v)
{
    return row_pick((most >= v) | (most != most), most, v);
}

/* k channels from element `at` of a line of `line` elements, `pixel` elements to the right for each column. */
ROW_INLINE vf pool_max(nn_dtype in, const void *x, size_t at, size_t line, size_t pixel, int rows, int columns, int k)
{
    vf most = row_get(in, x, at, k);
    for (int r = 0; r < rows; r++)
        for (int q = 0; q < columns; q++) most = pool_larger(most, row_get(in, x, at + (size_t)r * line + (size_t)q * pixel, k));
    return most;
}

ROW_INLINE vf pool_sum(nn_dtype in, const void *x, size_t at, size_t line, size_t pixel, int rows, int columns, int k)
{
    vf sum = vf_set(0);
    for (int r = 0; r < rows; r++) {
        vf row = row_get(in, x, at + (size_t)r * line, k);
        for (int q = 1; q < columns; q++) row += row_get(in, x, at + (size_t)r * line + (size_t)q * pixel, k);
        sum = r ? sum + row : row;
    }
    return sum;
}

/* Output rows r of all images, image after image. */
ROW_INLINE void pool_rows(nn_dtype in, nn_dtype out, bool max, const pool_part *p, row_range r)
{
    const nn_shape s = p->in, y = p->d->out->shape;
    const size_t pixel = (size_t)s.c, line = (size_t)s.w * pixel;
    for (size_t row = r.first; row < r.end; row++) {
        const pool_span rows = pool_window(p->d, (int)(row % (size_t)y.h), s.h);
        const size_t top = (row / (size_t)y.h * (size_t)s.h + (size_t)rows.first) * line;
        for (int u = 0; u < y.w; u++) {
            const pool_span columns = pool_window(p->d, u, s.w);
            const int nr = rows.end - rows.first, nq = columns.end - columns.first;
            const size_t from = top + (size_t)columns.first * pixel, to = (row * (size_t)y.w + (size_t)u) * (size_t)y.c + (size_t)p->at;
            for (int ch = 0; ch < s.c; ch += LANES) {
                const int k = row_lanes(s.c, ch);
                const vf v = max ? pool_max(in, p->x, from + (size_t)ch, line, pixel, nr, nq, k)
                                 : pool_sum(in, p->x, from + (size_t)ch, line, pixel, nr, nq, k) / pool_size(rows, columns);
                row_put(out, p->y, to + (size_t)ch, k, v);
            }
        }
    }
}

/* Part i of a node's operand, i = POOL_X or POOL_X2. */
static pool_part pool_operand(const nn_call *c, int i, const void *x, void *y)
{
    const nn_node *const d = c->node;
    return (pool_part){ .d = d, .x = x, .y = y, .in = d->in[i]->shape, .at = i == POOL_X ? 0 : d->in[POOL_X]->shape.c };
}

static ddpm_status pool_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_node *const d = c->node;
    const row_range r = row_share((size_t)c->n * (size_t)d->out->shape.h, 1, c->part, c->parts);
    for (int i = POOL_X; i <= POOL_X2; i += POOL_X2) {
        if (!d->in[i]) continue;
        const pool_part p = pool_operand(c, i, c->in[i], c->out);
        if (d->attr.pool.max) ROW_TYPED(pool_rows, d->in[i]->dtype, d->out->dtype, true, &p, r);
        else ROW_TYPED(pool_rows, d->in[i]->dtype, d->out->dtype, false, &p, r);
    }
    return DDPM_OK;
}

/* The windows [first, end) of n that hold pixel `at`. */
ROW_INLINE pool_span pool_holders(const nn_node *d, int at, int n)
{
    const int k = d->attr.pool.kernel, s = d->attr.pool.stride, from = at + d->attr.pool.pad;
    if (k == 0) return (pool_span){ 0, 1 };
    const int first = from < k ? 0 : (from - k) / s + 1, end = from / s + 1;
    return (pool_span){ first, end < n ? end : n };
}

/* dx of a mean: each pixel receives from every window that holds it, row after row, that window's gradient over its size. */
ROW_INLINE void pool_spread(nn_dtype out, nn_dtype in, const pool_part *p, int n)
{
    const nn_shape s = p->in, y = p->d->out->shape;
    for (int row = 0; row < n * s.h; row++) {
        const pool_span vs = pool_holders(p->d, row % s.h, y.h);
        for (int x = 0; x < s.w; x++) {
            const pool_span us = pool_holders(p->d, x, y.w);
            for (int ch = 0; ch < s.c; ch += LANES) {
                const int k = row_lanes(s.c, ch);
                vf sum = vf_set(0);
                for (int v = vs.first; v < vs.end; v++)
                    for (int u = us.first; u < us.end; u++) {
                        const size_t at = (((size_t)(row / s.h) * (size_t)y.h + (size_t)v) * (size_t)y.w + (size_t)u) * (size_t)y.c;
                        const float size = pool_size(pool_window(p->d, v, s.h), pool_window(p->d, u, s.w));
                        sum += row_get(out, p->x, at + (size_t)(p->at + ch), k) / size;
                    }
                row_put(in, p->y, ((size_t)row * (size_t)s.w + (size_t)x) * (size_t)s.c + (size_t)ch, k, sum);
            }
        }
    }
}

static ddpm_status pool_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_node *const d = c->node;
    for (int i = POOL_X; i <= POOL_X2; i += POOL_X2) {
        if (!c->din[i]) continue;
        const pool_part p = pool_operand(c, i, c->dout, c->din[i]);
        ROW_TYPED(pool_spread, d->out->dtype, d->in[i]->dtype, &p, c->n);
    }
    return DDPM_OK;
}

const nn_kernel ISA(cpu_pool) = { .forward = pool_forward, .backward = pool_backward, .phases = 1 };
