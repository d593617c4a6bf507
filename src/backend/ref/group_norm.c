/* u = (x - mean) rstd; v = (u gamma + beta) (1 + scale) + shift; y = mask silu(v). */
#include "backend/ref/ref_op.h"

#include "base/fixmath.h"
#include "nn/dropout.h"

#include <math.h>
#include <string.h>

typedef struct {
    size_t pixels, channels, per_group;
    int    groups;
    bool   silu;
    double *sums;          /* scratch: dgamma, dbeta, dscale, dshift of one image, by channel */
    float  *mask;          /* scratch: dropout factors of one image */
} norm;

static norm norm_of(const nn_call *c)
{
    const nn_node *d = c->node;
    const nn_shape x = d->in[NORM_X]->shape;
    const size_t channels = (size_t)nn_read_channels(d);
    norm v = { (size_t)x.h * (size_t)x.w, channels, channels / (size_t)d->attr.norm.groups, d->attr.norm.groups,
               d->attr.norm.silu, c->scratch, NULL };
    v.mask = (float *)(v.sums + 4 * channels);
    return v;
}

static ddpm_status norm_prepare(nn_backend *b, const nn_node *d, void **state, size_t *scratch)
{
    (void)b;
    (void)state;
    *scratch = 4 * (size_t)nn_read_channels(d) * sizeof(double) + nn_image_len(d->out->shape) * sizeof(float);
    return DDPM_OK;
}

static void draw_mask(const nn_call *c, const norm *v, int n)
{
    const size_t len = v->pixels * v->channels;
    const float rate = c->node->attr.norm.dropout;
    if (c->in[NORM_KEY] && rate > 0)
        nn_dropout_mask((const int *)c->in[NORM_KEY] + 4 * n, c->node->attr.norm.salt, rate, 0, len, v->mask);
    else
        for (size_t i = 0; i < len; i++) v->mask[i] = 1;
}

static double film(const nn_call *c, const norm *v, int n, size_t part, size_t ch)
{
    return c->in[NORM_FILM] ? ref_in(c, NORM_FILM, ((size_t)n * 2 + part) * v->channels + ch) : 0;
}

typedef struct { double mean, rstd; } statistics;

static statistics group_statistics(const nn_call *c, const norm *v, int n, int g)
{
    const size_t first = (size_t)g * v->per_group, count = v->pixels * v->per_group;
    double sum = 0, squares = 0;
    for (size_t p = 0; p < v->pixels; p++)
        for (size_t k = 0; k < v->per_group; k++) sum += ref_read(c, (size_t)n * v->pixels + p, first + k);
    const double mean = sum / (double)count;
    for (size_t p = 0; p < v->pixels; p++)
        for (size_t k = 0; k < v->per_group; k++) {
            const double u = ref_read(c, (size_t)n * v->pixels + p, first + k) - mean;
            squares += u * u;
        }
    return (statistics){ mean, 1 / sqrt(squares / (double)count + (double)c->node->attr.norm.eps) };
}

static double sigmoid(double x) { return 1 / (1 + fix_exp(-x)); }

static void forward_group(const nn_call *c, const norm *v, int n, int g)
{
    const statistics s = group_statistics(c, v, n, g);
    const size_t aux = ((size_t)n * (size_t)v->groups + (size_t)g) * 2;
    c->aux[aux] = (float)s.mean;
    c->aux[aux + 1] = (float)s.rstd;
    for (size_t p = 0; p < v->pixels; p++)
        for (size_t ch = (size_t)g * v->per_group; ch < ((size_t)g + 1) * v->per_group; ch++) {
            const size_t pixel = (size_t)n * v->pixels + p;
            const double u = (ref_read(c, pixel, ch) - s.mean) * s.rstd;
            double y = u * ref_in(c, NORM_GAMMA, ch) + ref_in(c, NORM_BETA, ch);
            y = y * (1 + film(c, v, n, 0, ch)) + film(c, v, n, 1, ch);
            if (v->silu) y *= sigmoid(y);
            ref_set_out(c, pixel * v->channels + ch, y * (double)v->mask[p * v->channels + ch]);
        }
}

static ddpm_status norm_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const norm v = norm_of(c);
    for (int n = 0; n < c->n; n++) {
        draw_mask(c, &v, n);
        for (int g = 0; g < v.groups; g++) forward_group(c, &v, n, g);
    }
    return DDPM_OK;
}

/* Gradients of one element: of u gamma + beta before film, and of v after it. */
typedef struct { double u, affine, d_affine, dv; } element;

static element differentiate(const nn_call *c, const norm *v, int n, size_t p, size_t ch, statistics s)
{
    const size_t pixel = (size_t)n * v->pixels + p;
    const double scale = 1 + film(c, v, n, 0, ch);
    element e;
    e.u = (ref_read(c, pixel, ch) - s.mean) * s.rstd;
    e.affine = e.u * ref_in(c, NORM_GAMMA, ch) + ref_in(c, NORM_BETA, ch);
    e.dv = ref_dout(c, pixel * v->channels + ch) * (double)v->mask[p * v->channels + ch];
    if (v->silu) {
        const double value = e.affine * scale + film(c, v, n, 1, ch), sig = sigmoid(value);
        e.dv *= sig * (1 + value * (1 - sig));
    }
    e.d_affine = e.dv * scale;
    return e;
}

static void backward_group(const nn_call *c, const norm *v, int n, int g)
{
    const statistics s = group_statistics(c, v, n, g);
    const size_t first = (size_t)g * v->per_group, end = first + v->per_group, C = v->channels;
    double du_sum = 0, duu_sum = 0;
    for (size_t p = 0; p < v->pixels; p++)
        for (size_t ch = first; ch < end; ch++) {
            const element e = differentiate(c, v, n, p, ch, s);
            const double du = e.d_affine * ref_in(c, NORM_GAMMA, ch);
            du_sum += du;
            duu_sum += du * e.u;
            v->sums[ch] += e.d_affine * e.u;
            v->sums[C + ch] += e.d_affine;
            v->sums[2 * C + ch] += e.dv * e.affine;
            v->sums[3 * C + ch] += e.dv;
        }
    if (!c->din[NORM_X] && !c->din[NORM_X2]) return;
    const double count = (double)(v->pixels * v->per_group);
    for (size_t p = 0; p < v->pixels; p++)
        for (size_t ch = first; ch < end; ch++) {
            const element e = differentiate(c, v, n, p, ch, s);
            const double du = e.d_affine * ref_in(c, NORM_GAMMA, ch);
            ref_write_read_gradient(c, (size_t)n * v->pixels + p, ch, s.rstd * (du - (du_sum + e.u * duu_sum) / count));
        }
}

static ddpm_status norm_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const norm v = norm_of(c);
    for (int n = 0; n < c->n; n++) {
        draw_mask(c, &v, n);
        memset(v.sums, 0, 4 * v.channels * sizeof *v.sums);
        for (int g = 0; g < v.groups; g++) backward_group(c, &v, n, g);
        if (c->din[NORM_GAMMA]) ref_add_gradient(c, n, c->din[NORM_GAMMA], v.channels, v.sums);
        if (c->din[NORM_BETA]) ref_add_gradient(c, n, c->din[NORM_BETA], v.channels, v.sums + v.channels);
        for (size_t i = 0; i < 2 * v.channels && c->din[NORM_FILM]; i++)
            ref_set_din(c, NORM_FILM, (size_t)n * 2 * v.channels + i, v.sums[2 * v.channels + i]);
    }
    return DDPM_OK;
}

const nn_kernel ref_group_norm = { .prepare = norm_prepare, .forward = norm_forward, .backward = norm_backward };
