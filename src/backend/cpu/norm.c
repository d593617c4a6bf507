/* norm.c - group normalisation with its affine map, film, SiLU and dropout.
 *
 * Everything per group or per image is first brought down to arrays with one
 * value per channel, so that the loops over pixels run along contiguous
 * channels and know nothing of groups: y = act(x a + b). The two tensors of a
 * concatenated operand are two parts, each with its own range of channels; a
 * group may lie in both. */
#include "backend/cpu/rows.h"
#include "nn/backend.h"
#include "nn/dropout.h"

#include <math.h>

enum { NORM_BLOCK = 32 };       /* pixels summed in f32 before the sums join the f64 totals */

typedef struct { int c, groups, pixels; size_t padded; } norm_dims;

/* One tensor of the operand x, at the current image. */
typedef struct {
    const char *x;
    char       *dx;             /* NULL: not wanted                        */
    nn_dtype    type;
    int         c, first;       /* its channels are first .. first + c - 1 */
} norm_part;

/* Per-channel arrays of `padded` values; a vector may be read at any channel. */
typedef struct {
    double *sum, *square;       /* totals over the pixels                                    */
    float  *s, *q;              /* the same over one block; q of squared deviations from m   */
    float  *m;                  /* mean of the block                                         */
    float  *gain, *a, *b;       /* gain = gamma (1 + scale); before the SiLU v = x a + b     */
    float  *u0, *u1;            /* normalised value u = x u1 + u0; later dx = a dv + x u1 + u0 */
    float  *film;               /* [2 padded] scale and shift of this image                  */
    float  *mask;               /* [pixels][c] dropout factors, only with a key              */
} norm_scratch;

enum { NORM_FLOATS = 10 };

static norm_dims norm_dims_of(const nn_node *d)
{
    const int c = nn_read_channels(d);
    const nn_shape x = d->in[NORM_X]->shape;
    return (norm_dims){ c, d->attr.norm.groups, x.h * x.w, row_padded(c) + LANES };
}

static size_t norm_bytes(const nn_node *d)
{
    const norm_dims n = norm_dims_of(d);
    const size_t mask = d->in[NORM_KEY] ? (size_t)n.pixels * (size_t)n.c : 0;
    return n.padded * (2 * sizeof(double) + NORM_FLOATS * sizeof(float)) + mask * sizeof(float);
}

static norm_scratch norm_scratch_at(const nn_call *c, norm_dims n)
{
    memset(c->scratch, 0, n.padded * (2 * sizeof(double) + NORM_FLOATS * sizeof(float)));
    double *const d = c->scratch;
    float *const f = (float *)(d + 2 * n.padded);
    const size_t p = n.padded;
    return (norm_scratch){
        .sum = d, .square = d + p, .s = f, .q = f + p, .m = f + 2 * p, .gain = f + 3 * p,
        .a = f + 4 * p, .b = f + 5 * p, .u0 = f + 6 * p, .u1 = f + 7 * p, .film = f + 8 * p,
        .mask = c->node->in[NORM_KEY] ? f + NORM_FLOATS * p : NULL
    };
}

/* The parts of the operand at image i; returns how many there are. */
static int norm_parts(const nn_call *c, int i, norm_part part[2])
{
    const int place[2] = { NORM_X, NORM_X2 };
    int count = 0, first = 0;
    for (int k = 0; k < 2; k++) {
        const nn_tensor *const t = c->node->in[place[k]];
        if (!t) continue;
        const size_t at = (size_t)i * nn_image_len(t->shape) * nn_dtype_size(t->dtype);
        char *const dx = c->din[place[k]];
        part[count++] = (norm_part){ (const char *)c->in[place[k]] + at, dx ? dx + at : NULL, t->dtype, t->shape.c, first };
        first += t->shape.c;
    }
    return count;
}

/* ---- statistics ---- */

/* s += x, or with a mean (x - m)^2, over `rows` pixels; four at a time so that the sums are loaded less often. */
ROW_INLINE void norm_add_rows(nn_dtype type, const norm_part *p, size_t pixel, int rows, const float *m, float *s)
{
    const size_t c = (size_t)p->c;
    for (int ch = 0; ch < p->c; ch += LANES) {
        const int k = row_lanes(p->c, ch);
        vf v[4] = { 0 };
        for (int r = 0; r < rows; r++) {
            v[r] = row_get(type, p->x, (pixel + (size_t)r) * c + (size_t)ch, k);
            if (m) {
                v[r] -= vf_load(m + ch);
                v[r] *= v[r];
            }
        }
        vf_store(s + ch, vf_load(s + ch) + ((v[0] + v[1]) + (v[2] + v[3])));
    }
}

ROW_INLINE void norm_add_block(nn_dtype type, const norm_part *p, size_t pixel, int rows, const float *m, float *s)
{
    memset(s, 0, row_padded(p->c) * sizeof *s);
    int r = 0;
    for (; r + 4 <= rows; r += 4) norm_add_rows(type, p, pixel + (size_t)r, 4, m, s);
    for (; r < rows; r++) norm_add_rows(type, p, pixel + (size_t)r, 1, m, s);
}

/* Totals of x and of x^2 for each channel of a part. Within a block squares are
 * taken from the block's own mean, and only their f64 sums are moved to the
 * origin: sum x^2 = q + 2 m s - rows m^2, which cancels in f64 only. */
ROW_INLINE void norm_sum_part(nn_dtype type, const norm_part *p, int pixels, const norm_scratch *w)
{
    double *const restrict sum = w->sum + p->first, *const restrict square = w->square + p->first;
    for (int i = 0; i < pixels; i += NORM_BLOCK) {
        const int rows = pixels - i < NORM_BLOCK ? pixels - i : NORM_BLOCK;
        norm_add_block(type, p, (size_t)i, rows, NULL, w->s);
        for (int k = 0; k < p->c; k++) w->m[k] = w->s[k] / (float)rows;
        norm_add_block(type, p, (size_t)i, rows, w->m, w->q);
        for (int k = 0; k < p->c; k++) {
            const double m = w->m[k], s = w->s[k];
            sum[k] += s;
            square[k] += w->q[k] + m * (2 * s - rows * m);
        }
    }
}

/* Mean and 1/sqrt(var + eps) of every group of one image, into stat [groups][2]. */
static void norm_statistics(norm_dims n, const norm_part *part, int parts, float eps, const norm_scratch *w, float *stat)
{
    memset(w->sum, 0, 2 * n.padded * sizeof *w->sum);
    for (int k = 0; k < parts; k++) {
        if (part[k].type == NN_BF16) norm_sum_part(NN_BF16, &part[k], n.pixels, w);
        else norm_sum_part(NN_F32, &part[k], n.pixels, w);
    }
    const int per = n.c / n.groups;
    const double count = (double)per * n.pixels;
    for (int g = 0; g < n.groups; g++) {
        double sum = 0, square = 0;
        for (int k = g * per; k < (g + 1) * per; k++) {
            sum += w->sum[k];
            square += w->square[k];
        }
        const double mean = sum / count, var = square / count - mean * mean;
        stat[2 * g] = (float)mean;
        stat[2 * g + 1] = (float)(1 / sqrt((var > 0 ? var : 0) + (double)eps));
    }
}

/* ---- one value per channel ---- */

/* Fills film, gain, a, b, u0, u1 for image i from aux and the parameters. */
static void norm_coefficients(const nn_call *c, norm_dims n, int i, const norm_scratch *w)
{
    const nn_tensor *const film = c->node->in[NORM_FILM];
    const float *const stat = c->aux + (size_t)i * (size_t)n.groups * 2;
    const float *const gamma = c->in[NORM_GAMMA], *const beta = c->in[NORM_BETA];
    const size_t len = (size_t)n.c;
    const int per = n.c / n.groups;
    if (film) {
        row_load(w->film, c->in[NORM_FILM], film->dtype, (size_t)i * 2 * len, len);
        row_load(w->film + n.padded, c->in[NORM_FILM], film->dtype, ((size_t)i * 2 + 1) * len, len);
    }
    for (int g = 0; g < n.groups; g++)
        for (int k = g * per; k < (g + 1) * per; k++) {
            const float mean = stat[2 * g], rstd = stat[2 * g + 1], scale = 1 + w->film[k];
            w->gain[k] = gamma[k] * scale;
            w->a[k] = rstd * w->gain[k];
            w->b[k] = (beta[k] * scale + w->film[n.padded + (size_t)k]) - mean * w->a[k];
            w->u1[k] = rstd;
            w->u0[k] = -mean * rstd;
        }
}

static const float *norm_mask(const nn_call *c, norm_dims n, int i, const norm_scratch *w)
{
    if (!w->mask) return NULL;
    const nn_node *const d = c->node;
    nn_dropout_mask((const int *)c->in[NORM_KEY] + (size_t)i * 4, d->attr.norm.salt, d->attr.norm.dropout,
                    0, (size_t)n.pixels * (size_t)n.c, w->mask);
    return w->mask;
}

/* ---- forward ---- */

ROW_INLINE void norm_apply_part(nn_dtype type, nn_dtype out, const norm_part *p, norm_dims n, bool silu,
                                const norm_scratch *w, const float *mask, char *y)
{
    for (size_t pixel = 0; pixel < (size_t)n.pixels; pixel++)
        for (int ch = 0; ch < p->c; ch += LANES) {
            const int k = row_lanes(p->c, ch);
            const size_t at = pixel * (size_t)n.c + (size_t)(p->first + ch);
            const vf x = row_get(type, p->x, pixel * (size_t)p->c + (size_t)ch, k);
            vf v = vf_fma(x, vf_load(w->a + p->first + ch), vf_load(w->b + p->first + ch));
            if (silu) v = row_silu(v);
            if (mask) v *= row_get(NN_F32, mask, at, k);
            row_put(out, y, at, k, v);
        }
}

static ddpm_status norm_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_node *const d = c->node;
    const norm_dims n = norm_dims_of(d);
    const norm_scratch w = norm_scratch_at(c, n);
    const nn_dtype type = d->in[NORM_X]->dtype, out = d->out->dtype;
    for (int i = 0; i < c->n; i++) {
        norm_part part[2];
        const int parts = norm_parts(c, i, part);
        norm_statistics(n, part, parts, d->attr.norm.eps, &w, c->aux + (size_t)i * (size_t)n.groups * 2);
        norm_coefficients(c, n, i, &w);
        const float *const mask = norm_mask(c, n, i, &w);
        char *const y = (char *)c->out + (size_t)i * nn_image_len(d->out->shape) * nn_dtype_size(out);
        for (int k = 0; k < parts; k++)
            ROW_TYPED(norm_apply_part, type, out, &part[k], n, d->attr.norm.silu, &w, mask, y);
    }
    return DDPM_OK;
}

/* ---- backward ---- */

/* d(loss)/d(v) of one vector, v being what enters the SiLU. */
ROW_INLINE vf norm_dv(nn_dtype out, vf x, const char *dy, size_t at, int k, bool silu,
                           const float *a, const float *b, const float *mask)
{
    vf dv = row_get(out, dy, at, k);
    if (mask) dv *= row_get(NN_F32, mask, at, k);
    if (silu) dv *= row_dsilu(vf_fma(x, vf_load(a), vf_load(b)));
    return dv;
}

/* Totals of dv and of dv u for each channel of a part. */
ROW_INLINE void norm_sum_dv(nn_dtype type, nn_dtype out, const norm_part *p, norm_dims n, bool silu,
                            const norm_scratch *w, const float *mask, const char *dy)
{
    const size_t c = (size_t)p->c, first = (size_t)p->first;
    for (size_t start = 0; start < (size_t)n.pixels; start += NORM_BLOCK) {
        const size_t end = start + NORM_BLOCK < (size_t)n.pixels ? start + NORM_BLOCK : (size_t)n.pixels;
        memset(w->s, 0, 2 * n.padded * sizeof *w->s);
        for (size_t pixel = start; pixel < end; pixel++)
            for (int ch = 0; ch < p->c; ch += LANES) {
                const int k = row_lanes(p->c, ch);
                const size_t at = first + (size_t)ch;
                const vf x = row_get(type, p->x, pixel * c + (size_t)ch, k);
                const vf dv = norm_dv(out, x, dy, pixel * (size_t)n.c + at, k, silu, w->a + at, w->b + at, mask);
                const vf u = vf_fma(x, vf_load(w->u1 + at), vf_load(w->u0 + at));
                vf_store(w->s + ch, vf_load(w->s + ch) + dv);
                vf_store(w->q + ch, vf_fma(dv, u, vf_load(w->q + ch)));
            }
        for (size_t k = 0; k < c; k++) {
            w->sum[first + k] += w->s[k];
            w->square[first + k] += w->q[k];
        }
    }
}

/* dx = a dv + x u1 + u0 */
ROW_INLINE void norm_write_dx(nn_dtype type, nn_dtype out, const norm_part *p, norm_dims n, bool silu,
                              const norm_scratch *w, const float *mask, const char *dy)
{
    for (size_t pixel = 0; pixel < (size_t)n.pixels; pixel++)
        for (int ch = 0; ch < p->c; ch += LANES) {
            const int k = row_lanes(p->c, ch);
            const size_t at = (size_t)(p->first + ch), from = pixel * (size_t)p->c + (size_t)ch;
            const vf x = row_get(type, p->x, from, k);
            const vf dv = norm_dv(out, x, dy, pixel * (size_t)n.c + at, k, silu, w->a + at, w->b + at, mask);
            const vf rest = vf_fma(x, vf_load(w->u1 + at), vf_load(w->u0 + at));
            row_put(type, p->dx, from, k, vf_fma(vf_load(w->a + at), dv, rest));
        }
}

/* Gradients of gamma, beta and film from the totals of image i. */
static void norm_channel_gradients(const nn_call *c, norm_dims n, int i, const norm_scratch *w)
{
    const float *const gamma = c->in[NORM_GAMMA], *const beta = c->in[NORM_BETA];
    float *const dgamma = c->din[NORM_GAMMA], *const dbeta = c->din[NORM_BETA];
    for (int k = 0; k < n.c; k++) {
        const double scale = 1 + (double)w->film[k];
        if (dgamma) dgamma[k] += (float)(scale * w->square[k]);
        if (dbeta) dbeta[k] += (float)(scale * w->sum[k]);
    }
    if (!c->din[NORM_FILM]) return;
    const nn_dtype type = c->node->in[NORM_FILM]->dtype;
    const size_t len = (size_t)n.c;
    for (size_t k = 0; k < len; k++) {
        w->film[k] = (float)(gamma[k] * w->square[k] + beta[k] * w->sum[k]);
        w->film[n.padded + k] = (float)w->sum[k];
    }
    row_store(c->din[NORM_FILM], type, (size_t)i * 2 * len, w->film, len);
    row_store(c->din[NORM_FILM], type, ((size_t)i * 2 + 1) * len, w->film + n.padded, len);
}

/* With m1 and m2 the means over a group of gain dv and gain dv u,
 * dx = rstd (gain dv - m1 - u m2): u0 and u1 become what is added to a dv. */
static void norm_group_gradients(norm_dims n, const float *stat, const norm_scratch *w)
{
    const int per = n.c / n.groups;
    for (int g = 0; g < n.groups; g++) {
        double m1 = 0, m2 = 0;
        for (int k = g * per; k < (g + 1) * per; k++) {
            m1 += w->gain[k] * w->sum[k];
            m2 += w->gain[k] * w->square[k];
        }
        const double count = (double)per * n.pixels, mean = stat[2 * g], rstd = stat[2 * g + 1];
        const double by_x = -rstd * rstd * (m2 / count), constant = -rstd * (m1 / count) - mean * by_x;
        for (int k = g * per; k < (g + 1) * per; k++) {
            w->u1[k] = (float)by_x;
            w->u0[k] = (float)constant;
        }
    }
}

static void norm_backward_image(const nn_call *c, norm_dims n, int i, const norm_scratch *w)
{
    const nn_node *const d = c->node;
    const nn_dtype type = d->in[NORM_X]->dtype, out = d->out->dtype;
    const char *const dy = (const char *)c->dout + (size_t)i * nn_image_len(d->out->shape) * nn_dtype_size(out);
    norm_part part[2];
    const int parts = norm_parts(c, i, part);
    norm_coefficients(c, n, i, w);
    const float *const mask = norm_mask(c, n, i, w);
    memset(w->sum, 0, 2 * n.padded * sizeof *w->sum);
    for (int k = 0; k < parts; k++)
        ROW_TYPED(norm_sum_dv, type, out, &part[k], n, d->attr.norm.silu, w, mask, dy);
    norm_channel_gradients(c, n, i, w);
    norm_group_gradients(n, c->aux + (size_t)i * (size_t)n.groups * 2, w);
    for (int k = 0; k < parts; k++)
        if (part[k].dx) ROW_TYPED(norm_write_dx, type, out, &part[k], n, d->attr.norm.silu, w, mask, dy);
}

static ddpm_status norm_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const norm_dims n = norm_dims_of(c->node);
    const norm_scratch w = norm_scratch_at(c, n);
    for (int k = NORM_GAMMA; k <= NORM_BETA; k++)
        if (c->din[k] && !c->accumulate) memset(c->din[k], 0, (size_t)n.c * sizeof(float));
    for (int i = 0; i < c->n; i++) norm_backward_image(c, n, i, &w);
    return DDPM_OK;
}

static ddpm_status norm_prepare(nn_backend *b, const nn_node *node, void **state, size_t *scratch)
{
    (void)b;
    (void)state;
    *scratch = norm_bytes(node);
    return DDPM_OK;
}

const nn_kernel ISA(cpu_group_norm) = { .prepare = norm_prepare, .forward = norm_forward, .backward = norm_backward };
