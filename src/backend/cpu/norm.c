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

typedef struct { int c, groups, pixels, blocks; size_t padded; } norm_dims;

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
    const int pixels = x.h * x.w;
    return (norm_dims){ c, d->attr.norm.groups, pixels, (pixels + NORM_BLOCK - 1) / NORM_BLOCK, row_padded(c) + LANES };
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

static int norm_block_rows(norm_dims n, int block)
{
    const int left = n.pixels - block * NORM_BLOCK;
    return left < NORM_BLOCK ? left : NORM_BLOCK;
}

/* Sums of a block for each channel of a part, into w->s and w->q. Squares are taken from the block's own mean. */
ROW_INLINE void norm_sum_block(nn_dtype type, const norm_part *p, int block, int rows, const norm_scratch *w)
{
    const size_t pixel = (size_t)block * NORM_BLOCK;
    norm_add_block(type, p, pixel, rows, NULL, w->s);
    for (int k = 0; k < p->c; k++) w->m[k] = w->s[k] / (float)rows;
    norm_add_block(type, p, pixel, rows, w->m, w->q);
}

/* A block's sums s, q of c channels to totals of x and x^2. Only in f64 are squares moved to the
 * origin, where that cancels: sum x^2 = q + 2 m s - rows m^2. */
static void norm_add_totals(int rows, int c, const float *s, const float *q, double *restrict sum, double *restrict square)
{
    for (int k = 0; k < c; k++) {
        const double m = s[k] / (float)rows, total = s[k];
        sum[k] += total;
        square[k] += q[k] + m * (2 * total - rows * m);
    }
}

ROW_INLINE void norm_sum_part(nn_dtype type, norm_dims n, const norm_part *p, const norm_scratch *w)
{
    for (int block = 0; block < n.blocks; block++) {
        const int rows = norm_block_rows(n, block);
        norm_sum_block(type, p, block, rows, w);
        norm_add_totals(rows, p->c, w->s, w->q, w->sum + p->first, w->square + p->first);
    }
}

/* Mean and 1/sqrt(var + eps) of groups of one image from the totals, into stat [groups][2]. */
static void norm_group_statistics(norm_dims n, int first, int end, float eps, const norm_scratch *w, float *stat)
{
    const int per = n.c / n.groups;
    const double count = (double)per * n.pixels;
    for (int g = first; g < end; g++) {
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

static void norm_statistics(norm_dims n, const norm_part *part, int parts, float eps, const norm_scratch *w, float *stat)
{
    memset(w->sum, 0, 2 * n.padded * sizeof *w->sum);
    for (int k = 0; k < parts; k++) {
        if (part[k].type == NN_BF16) norm_sum_part(NN_BF16, n, &part[k], w);
        else norm_sum_part(NN_F32, n, &part[k], w);
    }
    norm_group_statistics(n, 0, n.groups, eps, w, stat);
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

/* LANES channels from `ch` on of a few pixels; what the channels have alone stays in registers. */
ROW_INLINE void norm_apply_few(nn_dtype type, nn_dtype out, const norm_part *p, norm_dims n, row_range pixels, int ch, bool silu,
                               const norm_scratch *w, const float *mask, char *y)
{
    const int k = row_lanes(p->c, ch);
    const vf a = vf_load(w->a + p->first + ch), b = vf_load(w->b + p->first + ch);
    for (size_t pixel = pixels.first; pixel < pixels.end; pixel++) {
        const size_t at = pixel * (size_t)n.c + (size_t)(p->first + ch);
        vf v = vf_fma(row_get(type, p->x, pixel * (size_t)p->c + (size_t)ch, k), a, b);
        if (silu) v = row_silu(v);
        if (mask) v *= row_get(NN_F32, mask, at, k);
        row_put(out, y, at, k, v);
    }
}

/* The next NORM_BLOCK pixels of a range, or what is left of it. */
ROW_INLINE row_range norm_next(size_t first, size_t end)
{
    return (row_range){ first, first + NORM_BLOCK < end ? first + NORM_BLOCK : end };
}

ROW_INLINE void norm_apply_part(nn_dtype type, nn_dtype out, const norm_part *p, norm_dims n, row_range pixels, bool silu,
                                const norm_scratch *w, const float *mask, char *y)
{
    for (size_t at = pixels.first; at < pixels.end; at += NORM_BLOCK)
        for (int ch = 0; ch < p->c; ch += LANES)
            norm_apply_few(type, out, p, n, norm_next(at, pixels.end), ch, silu, w, mask, y);
}

/* Image i, once its statistics are known. */
static void norm_apply(const nn_call *c, norm_dims n, int i, row_range pixels, const norm_scratch *w)
{
    const nn_node *const d = c->node;
    const nn_dtype type = d->in[NORM_X]->dtype, out = d->out->dtype;
    norm_part part[2];
    const int parts = norm_parts(c, i, part);
    norm_coefficients(c, n, i, w);
    const float *const mask = norm_mask(c, n, i, w);
    char *const y = (char *)c->out + (size_t)i * nn_image_len(d->out->shape) * nn_dtype_size(out);
    for (int k = 0; k < parts; k++)
        ROW_TYPED(norm_apply_part, type, out, &part[k], n, pixels, d->attr.norm.silu, w, mask, y);
}

static float *norm_statistics_at(const nn_call *c, norm_dims n, int i)
{
    return c->aux + (size_t)i * (size_t)n.groups * 2;
}

static void norm_images(const nn_call *c, norm_dims n, const norm_scratch *w)
{
    for (int i = 0; i < c->n; i++) {
        norm_part part[2];
        const int parts = norm_parts(c, i, part);
        norm_statistics(n, part, parts, c->node->attr.norm.eps, w, norm_statistics_at(c, n, i));
        norm_apply(c, n, i, (row_range){ 0, (size_t)n.pixels }, w);
    }
}

/* ---- forward by parts, in three phases: sums of blocks, statistics of groups, pixels ---- */

enum { NORM_PHASES = 3 };

/* Sums s, then q, of all channels of a block. They wait in the memory of the output, which holds
 * two floats for each block and channel, and whose values come last. */
static float *norm_kept_sums(const nn_call *c, norm_dims n, int i, int block)
{
    return (float *)c->out + ((size_t)i * (size_t)n.blocks + (size_t)block) * 2 * (size_t)n.c;
}

static bool norm_keeps_sums(const nn_node *d, norm_dims n)
{
    return (size_t)n.blocks * 2 * sizeof(float) <= (size_t)n.pixels * nn_dtype_size(d->out->dtype);
}

static void norm_phase_sums(const nn_call *c, norm_dims n, const norm_scratch *w)
{
    const size_t blocks = (size_t)n.blocks;
    const row_range share = row_share((size_t)c->n * blocks, 1, c->part, c->parts);
    for (size_t at = share.first; at < share.end; at++) {
        const int i = (int)(at / blocks), block = (int)(at % blocks), rows = norm_block_rows(n, block);
        float *const kept = norm_kept_sums(c, n, i, block);
        norm_part part[2];
        const int parts = norm_parts(c, i, part);
        for (int k = 0; k < parts; k++) {
            if (part[k].type == NN_BF16) norm_sum_block(NN_BF16, &part[k], block, rows, w);
            else norm_sum_block(NN_F32, &part[k], block, rows, w);
            memcpy(kept + part[k].first, w->s, (size_t)part[k].c * sizeof *kept);
            memcpy(kept + n.c + part[k].first, w->q, (size_t)part[k].c * sizeof *kept);
        }
    }
}

/* Groups [first, end) of image i. */
static void norm_kept_statistics(const nn_call *c, norm_dims n, int i, int first, int end, const norm_scratch *w)
{
    const int per = n.c / n.groups, from = first * per, channels = (end - first) * per;
    memset(w->sum, 0, 2 * n.padded * sizeof *w->sum);
    for (int block = 0; block < n.blocks; block++) {
        const float *const kept = norm_kept_sums(c, n, i, block) + from;
        norm_add_totals(norm_block_rows(n, block), channels, kept, kept + n.c, w->sum + from, w->square + from);
    }
    norm_group_statistics(n, first, end, c->node->attr.norm.eps, w, norm_statistics_at(c, n, i));
}

static void norm_phase_statistics(const nn_call *c, norm_dims n, const norm_scratch *w)
{
    const size_t groups = (size_t)n.groups;
    const row_range share = row_share((size_t)c->n * groups, 1, c->part, c->parts);
    for (size_t at = share.first, next; at < share.end; at = next) {
        const size_t start = at / groups * groups;
        next = start + groups < share.end ? start + groups : share.end;
        norm_kept_statistics(c, n, (int)(at / groups), (int)(at - start), (int)(next - start), w);
    }
}

static void norm_phase_pixels(const nn_call *c, norm_dims n, const norm_scratch *w)
{
    const size_t pixels = (size_t)n.pixels;
    const row_range share = row_share((size_t)c->n * pixels, 1, c->part, c->parts);
    for (size_t at = share.first, next; at < share.end; at = next) {
        const size_t start = at / pixels * pixels;
        next = start + pixels < share.end ? start + pixels : share.end;
        norm_apply(c, n, (int)(at / pixels), (row_range){ at - start, next - start }, w);
    }
}

static ddpm_status norm_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const norm_dims n = norm_dims_of(c->node);
    if (c->parts > 1 && !norm_keeps_sums(c->node, n) && c->part + c->phase > 0) return DDPM_OK;
    const norm_scratch w = norm_scratch_at(c, n);
    if (c->parts == 1 || !norm_keeps_sums(c->node, n)) norm_images(c, n, &w);
    else if (c->phase == 0) norm_phase_sums(c, n, &w);
    else if (c->phase == 1) norm_phase_statistics(c, n, &w);
    else norm_phase_pixels(c, n, &w);
    return DDPM_OK;
}

/* ---- backward ---- */

/* One value per channel, of LANES channels: v = x a + b enters the SiLU, u = x u1 + u0. */
typedef struct { vf a, b, u0, u1; } norm_affine;

ROW_INLINE norm_affine norm_affine_at(const norm_scratch *w, size_t at)
{
    return (norm_affine){ vf_load(w->a + at), vf_load(w->b + at), vf_load(w->u0 + at), vf_load(w->u1 + at) };
}

/* d(loss)/d(v) of one vector. */
ROW_INLINE vf norm_dv(nn_dtype out, vf x, const char *dy, size_t at, int k, bool silu, const norm_affine *f, const float *mask)
{
    vf dv = row_get(out, dy, at, k);
    if (mask) dv *= row_get(NN_F32, mask, at, k);
    if (silu) dv *= row_dsilu(vf_fma(x, f->a, f->b));
    return dv;
}

/* Sums of dv and of dv u over a few pixels, of LANES channels from `ch` on. */
ROW_INLINE void norm_sum_few(nn_dtype type, nn_dtype out, const norm_part *p, norm_dims n, row_range pixels, int ch, bool silu,
                             const norm_scratch *w, const float *mask, const char *dy)
{
    const int k = row_lanes(p->c, ch);
    const size_t first = (size_t)(p->first + ch);
    const norm_affine f = norm_affine_at(w, first);
    vf s = vf_set(0), q = vf_set(0);
    for (size_t pixel = pixels.first; pixel < pixels.end; pixel++) {
        const vf x = row_get(type, p->x, pixel * (size_t)p->c + (size_t)ch, k);
        const vf dv = norm_dv(out, x, dy, pixel * (size_t)n.c + first, k, silu, &f, mask);
        s += dv;
        q = vf_fma(dv, vf_fma(x, f.u1, f.u0), q);
    }
    vf_store(w->s + ch, s);
    vf_store(w->q + ch, q);
}

/* Totals of dv and of dv u for each channel of a part. */
ROW_INLINE void norm_sum_dv(nn_dtype type, nn_dtype out, const norm_part *p, norm_dims n, bool silu,
                            const norm_scratch *w, const float *mask, const char *dy)
{
    const size_t c = (size_t)p->c, first = (size_t)p->first;
    for (size_t start = 0; start < (size_t)n.pixels; start += NORM_BLOCK) {
        for (int ch = 0; ch < p->c; ch += LANES)
            norm_sum_few(type, out, p, n, norm_next(start, (size_t)n.pixels), ch, silu, w, mask, dy);
        for (size_t k = 0; k < c; k++) {
            w->sum[first + k] += w->s[k];
            w->square[first + k] += w->q[k];
        }
    }
}

/* dx = a dv + x u1 + u0 of a few pixels, of LANES channels from `ch` on. */
ROW_INLINE void norm_write_few(nn_dtype type, nn_dtype out, const norm_part *p, norm_dims n, row_range pixels, int ch, bool silu,
                               const norm_scratch *w, const float *mask, const char *dy)
{
    const int k = row_lanes(p->c, ch);
    const size_t first = (size_t)(p->first + ch);
    const norm_affine f = norm_affine_at(w, first);
    for (size_t pixel = pixels.first; pixel < pixels.end; pixel++) {
        const size_t from = pixel * (size_t)p->c + (size_t)ch;
        const vf x = row_get(type, p->x, from, k);
        const vf dv = norm_dv(out, x, dy, pixel * (size_t)n.c + first, k, silu, &f, mask);
        row_put(type, p->dx, from, k, vf_fma(f.a, dv, vf_fma(x, f.u1, f.u0)));
    }
}

ROW_INLINE void norm_write_dx(nn_dtype type, nn_dtype out, const norm_part *p, norm_dims n, bool silu,
                              const norm_scratch *w, const float *mask, const char *dy)
{
    for (size_t start = 0; start < (size_t)n.pixels; start += NORM_BLOCK)
        for (int ch = 0; ch < p->c; ch += LANES)
            norm_write_few(type, out, p, n, norm_next(start, (size_t)n.pixels), ch, silu, w, mask, dy);
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

const nn_kernel ISA(cpu_group_norm) = { .prepare = norm_prepare, .forward = norm_forward, .backward = norm_backward, .phases = NORM_PHASES };
