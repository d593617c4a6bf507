/* Means and maxima of windows; what lies outside the image belongs to none. */
#include "backend/ref/ref_op.h"

/* Of window `at` along one axis of n pixels: its pixels [first, end). */
typedef struct { int first, end; } span;

static span window(const nn_node *d, int at, int n)
{
    if (d->attr.pool.kernel == 0) return (span){ 0, n };
    const int first = at * d->attr.pool.stride - d->attr.pool.pad, end = first + d->attr.pool.kernel;
    return (span){ first > 0 ? first : 0, end < n ? end : n };
}

static size_t pixel_at(nn_shape s, size_t image, int y, int x)
{
    return (image * (size_t)s.h + (size_t)y) * (size_t)s.w + (size_t)x;
}

/* A value that is not a number stays: nothing is greater. */
static double pool_window(const nn_call *c, size_t image, span rows, span columns, size_t ch)
{
    const nn_node *d = c->node;
    const nn_shape s = d->in[POOL_X]->shape;
    double sum = 0, most = ref_read(c, pixel_at(s, image, rows.first, columns.first), ch);
    for (int y = rows.first; y < rows.end; y++)
        for (int x = columns.first; x < columns.end; x++) {
            const double v = ref_read(c, pixel_at(s, image, y, x), ch);
            sum += v;
            if (v > most || v != v) most = v;
        }
    return d->attr.pool.max ? most : sum / ((double)(rows.end - rows.first) * (columns.end - columns.first));
}

static ddpm_status pool_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_shape in = c->node->in[POOL_X]->shape, out = c->node->out->shape;
    const size_t channels = (size_t)out.c, w = (size_t)out.w, h = (size_t)out.h;
    for (size_t i = 0; i < (size_t)c->n * ref_image_out(c); i++) {
        const size_t pixel = i / channels, image = pixel / w / h;
        const span rows = window(c->node, (int)(pixel / w % h), in.h), columns = window(c->node, (int)(pixel % w), in.w);
        ref_set_out(c, i, pool_window(c, image, rows, columns, i % channels));
    }
    return DDPM_OK;
}

/* The gradients of all windows that hold pixel (y, x), each divided by its size. */
static double spread(const nn_call *c, size_t image, int y, int x, size_t ch)
{
    const nn_shape in = c->node->in[POOL_X]->shape, out = c->node->out->shape;
    double sum = 0;
    for (int v = 0; v < out.h; v++)
        for (int u = 0; u < out.w; u++) {
            const span rows = window(c->node, v, in.h), columns = window(c->node, u, in.w);
            if (y < rows.first || y >= rows.end || x < columns.first || x >= columns.end) continue;
            sum += ref_dout(c, pixel_at(out, image, v, u) * (size_t)out.c + ch) /
                   ((double)(rows.end - rows.first) * (columns.end - columns.first));
        }
    return sum;
}

static ddpm_status pool_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_shape in = c->node->in[POOL_X]->shape;
    const size_t pixels = (size_t)in.h * (size_t)in.w, channels = (size_t)c->node->out->shape.c;
    for (size_t i = 0; i < (size_t)c->n * pixels * channels; i++) {
        const size_t pixel = i / channels, place = pixel % pixels, ch = i % channels;
        const int y = (int)(place / (size_t)in.w), x = (int)(place % (size_t)in.w);
        ref_write_read_gradient(c, pixel, ch, spread(c, pixel / pixels, y, x, ch));
    }
    return DDPM_OK;
}

const nn_kernel ref_pool = { .forward = pool_forward, .backward = pool_backward };
