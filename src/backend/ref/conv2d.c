/* y[p,q,o] = b[o] + chan[o] + residual[p,q,o] + sum over taps (r,t) and i of
 * x[(p s + r - pad_h) / up, (q s + t - pad_w) / up, i] w[r,t,i,o]; x is zero outside the image. With relu, the
 * larger of that and 0. */
#include "backend/ref/ref_op.h"

#include <string.h>

typedef struct {
    int    n, h, w, oh, ow;                 /* images, input and output size   */
    int    taps, kw, stride, pad_h, pad_w, up;
    size_t ci, co;
    double *pixel, *weight, *sum;           /* scratch: ci or co, taps ci co, ci co */
} conv;

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

static int taps_of(const nn_node *d) { return d->attr.conv.kernel_h * d->attr.conv.kernel_w; }

static conv conv_of(const nn_call *c)
{
    const nn_node *d = c->node;
    const nn_shape x = d->in[CONV_X]->shape, y = d->out->shape;
    conv v = { c->n, x.h, x.w, y.h, y.w, taps_of(d), d->attr.conv.kernel_w, d->attr.conv.stride,
               d->attr.conv.pad_h, d->attr.conv.pad_w, d->attr.conv.upsample ? 2 : 1,
               (size_t)nn_read_channels(d), (size_t)y.c, c->scratch, NULL, NULL };
    v.weight = v.pixel + most(v.ci, v.co);
    v.sum = v.weight + (size_t)v.taps * v.ci * v.co;
    return v;
}

static ddpm_status conv_prepare(nn_backend *b, const nn_node *d, void **state, size_t *scratch)
{
    (void)b;
    (void)state;
    const size_t ci = (size_t)nn_read_channels(d), co = (size_t)d->out->shape.c, taps = (size_t)taps_of(d);
    *scratch = (most(ci, co) + (taps + 1) * ci * co + most(ci, co)) * sizeof(double);
    return DDPM_OK;
}

/* Weights in the precision of the products. */
static void load_weights(const nn_call *c, const conv *v)
{
    for (size_t i = 0; i < (size_t)v->taps * v->ci * v->co; i++)
        v->weight[i] = ref_operand(c->node->compute, ref_in(c, CONV_W, i));
}

static size_t out_pixel(const conv *v, int n, int p, int q) { return ((size_t)n * (size_t)v->oh + (size_t)p) * (size_t)v->ow + (size_t)q; }
static size_t in_pixel(const conv *v, int n, int p, int q)  { return ((size_t)n * (size_t)v->h + (size_t)p) * (size_t)v->w + (size_t)q; }

/* The input row (or column) that output p sees through tap r; -1 outside `size` (before upsampling). */
static int source(const conv *v, int p, int r, int pad, int size)
{
    const int at = p * v->stride + r - pad;
    return at < 0 || at >= size * v->up ? -1 : at / v->up;
}

static int source_row(const conv *v, int p, int tap) { return source(v, p, tap / v->kw, v->pad_h, v->h); }
static int source_col(const conv *v, int q, int tap) { return source(v, q, tap % v->kw, v->pad_w, v->w); }

static void load_x(const nn_call *c, const conv *v, size_t pixel)
{
    for (size_t i = 0; i < v->ci; i++) v->pixel[i] = ref_operand(c->node->compute, ref_read(c, pixel, i));
}

static void load_dout(const nn_call *c, const conv *v, size_t pixel)
{
    for (size_t o = 0; o < v->co; o++) v->pixel[o] = ref_operand(c->node->compute, ref_dout(c, pixel * v->co + o));
}

static void output_pixel(const nn_call *c, const conv *v, int n, int p, int q)
{
    const size_t at = out_pixel(v, n, p, q) * v->co;
    double *restrict y = v->sum;
    for (size_t o = 0; o < v->co; o++) {
        y[o] = c->in[CONV_B] ? ref_in(c, CONV_B, o) : 0;
        if (c->in[CONV_CHAN]) y[o] += ref_in(c, CONV_CHAN, (size_t)n * v->co + o);
        if (c->in[CONV_RESIDUAL]) y[o] += ref_in(c, CONV_RESIDUAL, at + o);
    }
    for (int tap = 0; tap < v->taps; tap++) {
        const int row = source_row(v, p, tap), col = source_col(v, q, tap);
        if (row < 0 || col < 0) continue;
        load_x(c, v, in_pixel(v, n, row, col));
        for (size_t i = 0; i < v->ci; i++) {
            const double x = v->pixel[i], *restrict w = v->weight + ((size_t)tap * v->ci + i) * v->co;
            for (size_t o = 0; o < v->co; o++) y[o] += x * w[o];
        }
    }
    const bool relu = c->node->attr.conv.relu;
    for (size_t o = 0; o < v->co; o++) ref_set_out(c, at + o, relu && y[o] < 0 ? 0 : y[o]);
}

static ddpm_status conv_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const conv v = conv_of(c);
    load_weights(c, &v);
    for (int n = 0; n < v.n; n++)
        for (int p = 0; p < v.oh; p++)
            for (int q = 0; q < v.ow; q++) output_pixel(c, &v, n, p, q);
    return DDPM_OK;
}

/* dx[i] += sum over o of dy[p,q,o] w[tap,i,o] */
static void pull_tap(const nn_call *c, const conv *v, size_t dy_pixel, int tap)
{
    load_dout(c, v, dy_pixel);
    for (size_t i = 0; i < v->ci; i++) {
        const double *w = v->weight + ((size_t)tap * v->ci + i) * v->co;
        double dot = 0;
        for (size_t o = 0; o < v->co; o++) dot += v->pixel[o] * w[o];
        v->sum[i] += dot;
    }
}

/* Output row that sees row `at` of the (upsampled) image through tap r, or -1. */
static int target(const conv *v, int at, int r, int pad, int size)
{
    const int p = at + pad - r;
    return p < 0 || p % v->stride || p / v->stride >= size ? -1 : p / v->stride;
}

static void gradient_x(const nn_call *c, const conv *v, int n, int row, int col)
{
    const size_t at = in_pixel(v, n, row, col);
    memset(v->sum, 0, v->ci * sizeof *v->sum);
    for (int sub = 0; sub < v->up * v->up; sub++)
        for (int tap = 0; tap < v->taps; tap++) {
            const int p = target(v, row * v->up + sub / v->up, tap / v->kw, v->pad_h, v->oh);
            const int q = target(v, col * v->up + sub % v->up, tap % v->kw, v->pad_w, v->ow);
            if (p >= 0 && q >= 0) pull_tap(c, v, out_pixel(v, n, p, q), tap);
        }
    for (size_t i = 0; i < v->ci; i++) ref_write_read_gradient(c, at, i, v->sum[i]);
}

/* dw[tap,i,o] = sum over the pixels of image n of x[..,i] dy[p,q,o] */
static void gradient_tap(const nn_call *c, const conv *v, int n, int tap)
{
    const size_t len = v->ci * v->co;
    double *restrict sum = v->sum, *restrict dy = v->weight;      /* the weights are not needed here */
    memset(sum, 0, len * sizeof *sum);
    for (int p = 0; p < v->oh; p++)
        for (int q = 0; q < v->ow; q++) {
            const int row = source_row(v, p, tap), col = source_col(v, q, tap);
            if (row < 0 || col < 0) continue;
            load_dout(c, v, out_pixel(v, n, p, q));
            memcpy(dy, v->pixel, v->co * sizeof *dy);
            load_x(c, v, in_pixel(v, n, row, col));
            for (size_t i = 0; i < v->ci; i++)
                for (size_t o = 0; o < v->co; o++) sum[i * v->co + o] += v->pixel[i] * dy[o];
        }
    ref_add_gradient(c, n, (float *)c->din[CONV_W] + (size_t)tap * len, len, sum);
}

/* The gradients of what is added to every pixel: bias and chan. */
static void gradient_channels(const nn_call *c, const conv *v, int n)
{
    const size_t pixels = (size_t)v->oh * (size_t)v->ow, first = (size_t)n * pixels;
    memset(v->sum, 0, v->co * sizeof *v->sum);
    for (size_t p = 0; p < pixels; p++)
        for (size_t o = 0; o < v->co; o++) v->sum[o] += ref_dout(c, (first + p) * v->co + o);
    if (c->din[CONV_B]) ref_add_gradient(c, n, c->din[CONV_B], v->co, v->sum);
    if (c->din[CONV_CHAN])
        for (size_t o = 0; o < v->co; o++) ref_set_din(c, CONV_CHAN, (size_t)n * v->co + o, v->sum[o]);
}

static ddpm_status conv_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const conv v = conv_of(c);
    if (c->din[CONV_X] || c->din[CONV_X2]) {
        load_weights(c, &v);
        for (int n = 0; n < v.n; n++)
            for (int p = 0; p < v.h; p++)
                for (int q = 0; q < v.w; q++) gradient_x(c, &v, n, p, q);
    }
    for (int n = 0; n < v.n; n++) {
        for (int tap = 0; tap < v.taps && c->din[CONV_W]; tap++) gradient_tap(c, &v, n, tap);
        if (c->din[CONV_B] || c->din[CONV_CHAN]) gradient_channels(c, &v, n);
    }
    if (c->din[CONV_RESIDUAL])
        for (size_t i = 0; i < (size_t)v.n * ref_image_out(c); i++) ref_set_din(c, CONV_RESIDUAL, i, ref_dout(c, i));
    return DDPM_OK;
}

const nn_kernel ref_conv2d = { .prepare = conv_prepare, .forward = conv_forward, .backward = conv_backward };
