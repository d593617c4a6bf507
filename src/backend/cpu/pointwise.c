/* pointwise.c - SiLU, sums, up-sampling, and the way in and out of the backend. */
#include "backend/cpu/rows.h"
#include "nn/backend.h"

/* Elements of the call's images of a value. */
static size_t pointwise_len(const nn_tensor *t, int n)
{
    return (size_t)n * nn_image_len(t->shape);
}

ROW_INLINE int pointwise_lanes(size_t n, size_t at)
{
    return n - at < LANES ? (int)(n - at) : LANES;
}

/* A part's elements of a value of the call's images; no two parts write one cache line. */
static row_range pointwise_share(const nn_call *c, const nn_tensor *t)
{
    return row_share(pointwise_len(t, c->n), 64, c->part, c->parts);
}

/* ---- silu ---- */

ROW_INLINE void silu_map(nn_dtype in, nn_dtype out, const void *x, void *y, row_range r)
{
    for (size_t i = r.first; i < r.end; i += LANES) {
        const int k = pointwise_lanes(r.end, i);
        row_put(out, y, i, k, row_silu(row_get(in, x, i, k)));
    }
}

static ddpm_status silu_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_tensor *const x = c->node->in[0], *const y = c->node->out;
    ROW_TYPED(silu_map, x->dtype, y->dtype, c->in[0], c->out, pointwise_share(c, y));
    return DDPM_OK;
}

ROW_INLINE void silu_gradient(nn_dtype in, nn_dtype out, const void *x, const void *dy, void *dx, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        const int k = pointwise_lanes(n, i);
        row_put(in, dx, i, k, row_get(out, dy, i, k) * row_dsilu(row_get(in, x, i, k)));
    }
}

static ddpm_status silu_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_tensor *const x = c->node->in[0], *const y = c->node->out;
    if (c->din[0]) ROW_TYPED(silu_gradient, x->dtype, y->dtype, c->in[0], c->dout, c->din[0], pointwise_len(y, c->n));
    return DDPM_OK;
}

const nn_kernel ISA(cpu_silu) = { .forward = silu_forward, .backward = silu_backward, .phases = 1 };

/* ---- sums and copies ---- */

/* y = x + z; y may be x. */
ROW_INLINE void add_map(nn_dtype in, nn_dtype out, const void *x, nn_dtype other, const void *z, void *y, row_range r)
{
    for (size_t i = r.first; i < r.end; i += LANES) {
        const int k = pointwise_lanes(r.end, i);
        row_put(out, y, i, k, row_get(in, x, i, k) + row_get(other, z, i, k));
    }
}

static ddpm_status add_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_node *const d = c->node;
    ROW_TYPED(add_map, d->in[0]->dtype, d->out->dtype, c->in[0], d->in[1]->dtype, c->in[1], c->out,
              pointwise_share(c, d->out));
    return DDPM_OK;
}

ROW_INLINE void copy_map(nn_dtype in, nn_dtype out, const void *x, void *y, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        const int k = pointwise_lanes(n, i);
        row_put(out, y, i, k, row_get(in, x, i, k));
    }
}

static void copy_values(nn_dtype in, nn_dtype out, const void *x, void *y, size_t n)
{
    if (in == out) memcpy(y, x, n * nn_dtype_size(in));
    else if (in == NN_F32) copy_map(NN_F32, NN_BF16, x, y, n);
    else copy_map(NN_BF16, NN_F32, x, y, n);
}

static ddpm_status add_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_node *const d = c->node;
    for (int k = 0; k < 2; k++)
        if (c->din[k]) copy_values(d->out->dtype, d->in[k]->dtype, c->dout, c->din[k], pointwise_len(d->out, c->n));
    return DDPM_OK;
}

const nn_kernel ISA(cpu_add) = { .forward = add_forward, .backward = add_backward, .phases = 1 };

/* Bytes of one pixel of a value. */
static size_t pixel_bytes(const nn_tensor *t) { return (size_t)t->shape.c * nn_dtype_size(t->dtype); }

static ddpm_status concat_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_tensor *const x = c->node->in[0], *const y = c->node->in[1], *const out = c->node->out;
    const size_t pixels = pointwise_len(out, c->n) / (size_t)out->shape.c, skip = (size_t)x->shape.c * nn_dtype_size(out->dtype);
    const row_range r = row_share(pixels, 1, c->part, c->parts);
    for (size_t i = r.first; i < r.end; i++) {
        char *const row = (char *)c->out + i * pixel_bytes(out);
        copy_values(x->dtype, out->dtype, (const char *)c->in[0] + i * pixel_bytes(x), row, (size_t)x->shape.c);
        copy_values(y->dtype, out->dtype, (const char *)c->in[1] + i * pixel_bytes(y), row + skip, (size_t)y->shape.c);
    }
    return DDPM_OK;
}

static ddpm_status concat_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_tensor *const out = c->node->out;
    const size_t pixels = pointwise_len(out, c->n) / (size_t)out->shape.c;
    for (int k = 0; k < 2; k++) {
        const nn_tensor *const part = c->node->in[k];
        const size_t skip = k ? (size_t)c->node->in[0]->shape.c * nn_dtype_size(out->dtype) : 0;
        for (size_t i = 0; i < pixels && c->din[k]; i++)
            copy_values(out->dtype, part->dtype, (const char *)c->dout + i * pixel_bytes(out) + skip,
                        (char *)c->din[k] + i * pixel_bytes(part), (size_t)part->shape.c);
    }
    return DDPM_OK;
}

const nn_kernel ISA(cpu_concat) = { .forward = concat_forward, .backward = concat_backward, .phases = 1 };

void ISA(cpu_accumulate)(nn_backend *b, const nn_tensor *t, int n, void *y, const void *x)
{
    (void)b;
    ROW_TYPED(add_map, t->dtype, t->dtype, y, t->dtype, x, y, (row_range){ 0, pointwise_len(t, n) });
}

ddpm_status ISA(cpu_upload)(nn_backend *b, const nn_tensor *t, int n, const void *host, void *dst)
{
    (void)b;
    copy_values(t->dtype == NN_I32 ? NN_I32 : NN_F32, t->dtype, host, dst, pointwise_len(t, n));
    return DDPM_OK;
}

ddpm_status ISA(cpu_download)(nn_backend *b, const nn_tensor *t, int n, const void *src, void *host)
{
    (void)b;
    copy_values(t->dtype, t->dtype == NN_I32 ? NN_I32 : NN_F32, src, host, pointwise_len(t, n));
    return DDPM_OK;
}

/* ---- 2x2 resampling: one coarse row against two fine rows ---- */

/* A part's share of the rows of a call's images, s being the coarse shape. */
static row_range resample_rows(const nn_call *c, nn_shape s)
{
    return row_share((size_t)(c->n * s.h), 1, c->part, c->parts);
}

/* Rows of w coarse pixels: each fine pixel receives scale times its coarse one. */
ROW_INLINE void resample_spread(nn_dtype in, nn_dtype out, const void *coarse, void *fine, row_range r, int w, int c, float scale)
{
    const size_t len = (size_t)w * (size_t)c;
    for (size_t row = r.first; row < r.end; row++)
        for (int x = 0; x < w; x++)
            for (int ch = 0; ch < c; ch += LANES) {
                const int k = row_lanes(c, ch);
                const vf v = row_get(in, coarse, row * len + (size_t)(x * c + ch), k) * scale;
                const size_t at = row * 4 * len + (size_t)(2 * x * c + ch);
                row_put(out, fine, at, k, v);
                row_put(out, fine, at + (size_t)c, k, v);
                row_put(out, fine, at + 2 * len, k, v);
                row_put(out, fine, at + 2 * len + (size_t)c, k, v);
            }
}

/* Each coarse pixel receives scale times the sum of its four: (top left + top right) + (bottom left + bottom right). */
ROW_INLINE void resample_gather(nn_dtype in, nn_dtype out, const void *fine, void *coarse, row_range r, int w, int c, float scale)
{
    const size_t len = (size_t)w * (size_t)c;
    for (size_t row = r.first; row < r.end; row++)
        for (int x = 0; x < w; x++)
            for (int ch = 0; ch < c; ch += LANES) {
                const int k = row_lanes(c, ch);
                const size_t at = row * 4 * len + (size_t)(2 * x * c + ch);
                const vf top = row_get(in, fine, at, k) + row_get(in, fine, at + (size_t)c, k);
                const vf bottom = row_get(in, fine, at + 2 * len, k) + row_get(in, fine, at + 2 * len + (size_t)c, k);
                row_put(out, coarse, row * len + (size_t)(x * c + ch), k, (top + bottom) * scale);
            }
}

static ddpm_status upsample_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_tensor *const x = c->node->in[0];
    const nn_shape s = x->shape;
    ROW_TYPED(resample_spread, x->dtype, c->node->out->dtype, c->in[0], c->out, resample_rows(c, s), s.w, s.c, 1);
    return DDPM_OK;
}

static ddpm_status upsample_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_tensor *const x = c->node->in[0];
    const nn_shape s = x->shape;
    if (c->din[0])
        ROW_TYPED(resample_gather, c->node->out->dtype, x->dtype, c->dout, c->din[0], resample_rows(c, s), s.w, s.c, 1);
    return DDPM_OK;
}

const nn_kernel ISA(cpu_upsample) = { .forward = upsample_forward, .backward = upsample_backward, .phases = 1 };
