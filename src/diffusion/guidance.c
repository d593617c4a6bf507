#include "diffusion/guidance.h"

#include "base/checked.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t image_len(image_dims d) { return (size_t)d.pixels * (size_t)d.channels; }

/* n images of `dims` as floats, bounded as sampler_reserve bounds them. */
static ddpm_status batch_len(int n, image_dims dims, size_t *len)
{
    assert(n > 0 && dims.pixels > 0 && dims.channels > 0);
    if (checked_mul((size_t)n, (size_t)dims.pixels, len) && checked_mul(*len, (size_t)dims.channels, len) && *len <= INT32_MAX / 4)
        return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "%d images of %d pixels are too many at once to guide; sample in smaller batches", n, dims.pixels);
}

static ddpm_status no_memory(int n) { return ddpm_fail(DDPM_ENOMEM, "no memory to guide %d images at once; use smaller batches", n); }

/* ---- classifier-free --------------------------------------------------------------- */

ddpm_status classifier_free_reserve(classifier_free *g)
{
    size_t len = 0;
    g->t = g->x = g->out = NULL;
    g->y = NULL;
    if (!(g->scale >= 0 && isfinite(g->scale)))
        return ddpm_fail(DDPM_EINVAL, "guidance by %g is impossible; 0 ignores the class, 1 is no guidance, 2 to 5 are usual", g->scale);
    DDPM_TRY(batch_len(g->n, g->dims, &len));
    g->t = calloc(2 * (size_t)g->n, sizeof *g->t);
    g->y = calloc(2 * (size_t)g->n, sizeof *g->y);
    g->x = calloc(2 * len, sizeof *g->x);
    g->out = calloc(2 * len * (process_learns_variance(g->p) ? 2 : 1), sizeof *g->out);
    if (g->t && g->y && g->x && g->out) return DDPM_OK;
    classifier_free_release(g);
    return no_memory(g->n);
}

void classifier_free_release(classifier_free *g)
{
    if (!g) return;
    free(g->t);
    free(g->y);
    free(g->x);
    free(g->out);
    g->t = g->x = g->out = NULL;
    g->y = NULL;
}

/* Everything twice, the second time without a class. */
static void double_batch(const classifier_free *g, size_t n, const float *t, const int *y, const float *x)
{
    const size_t len = n * image_len(g->dims);
    for (int half = 0; half < 2; half++) {
        memcpy(g->t + (size_t)half * n, t, n * sizeof *t);
        memcpy(g->x + (size_t)half * len, x, len * sizeof *x);
    }
    memcpy(g->y, y, n * sizeof *y);
    for (size_t k = 0; k < n; k++) g->y[n + k] = g->null_class;
}

/* out = free + scale (cond - free) in the mean part, cond in the variance part. */
static void mix(const classifier_free *g, size_t n, const float *cond, const float *none, float *out)
{
    const size_t channels = (size_t)g->dims.channels, width = (size_t)process_out_channels(g->p, g->dims.channels);
    const float scale = (float)g->scale;
    for (size_t q = 0; q < n * (size_t)g->dims.pixels; q++) {
        const float *c = cond + q * width, *u = none + q * width;
        for (size_t k = 0; k < channels; k++) out[q * width + k] = u[k] + scale * (c[k] - u[k]);
        for (size_t k = channels; k < width; k++) out[q * width + k] = c[k];
    }
}

/* What scale 0 leaves of both, where the labels' variance is not needed. */
static ddpm_status denoise_without(const classifier_free *g, size_t n, const float *t, const float *x, float *out)
{
    for (size_t k = 0; k < n; k++) g->y[k] = g->null_class;
    return g->denoise(g->ctx, (int)n, t, g->y, x, out);
}

ddpm_status classifier_free_denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    const classifier_free *g = ctx;
    assert(n > 0 && n <= g->n);
    if (g->scale == 1) return g->denoise(g->ctx, n, t, y, x, out);
    if (!y) return ddpm_fail(DDPM_EINVAL, "guidance by %g needs a class for every image; choose a class, or leave the guidance out", g->scale);
    if (g->scale == 0 && !process_learns_variance(g->p)) return denoise_without(g, (size_t)n, t, x, out);
    const size_t half = (size_t)n * (size_t)g->dims.pixels * (size_t)process_out_channels(g->p, g->dims.channels);
    double_batch(g, (size_t)n, t, y, x);
    DDPM_TRY(g->denoise(g->ctx, 2 * n, g->t, g->y, g->x, g->out));
    mix(g, (size_t)n, g->out, g->out + half, out);
    return DDPM_OK;
}

/* ---- by a classifier ---------------------------------------------------------------- */

static ddpm_status check_guided(const classifier_guided *g)
{
    const schedule *s = g->p->s;
    if (!isfinite(g->scale)) return ddpm_fail(DDPM_EINVAL, "guidance by %g is impossible; 0 is none, 1 follows the classifier", g->scale);
    DDPM_TRY(process_check(g->p));
    for (int i = 0; i < s->T; i++) {
        if (s->betas[i] <= 0)
            return ddpm_fail(DDPM_EINVAL, "timestep %d is visited twice, and guidance cannot tell the visits apart; use a list of different steps",
                             s->timestep_map[i]);
        if (g->form == GUIDE_SCORE && s->alphas_cumprod[i] <= 0)
            return ddpm_fail(DDPM_EINVAL, "alpha-bar is 0 at timestep %d, where a score does not move the predicted image; leave that step out, "
                             "or guide the mean of ancestral sampling", s->timestep_map[i]);
    }
    return DDPM_OK;
}

ddpm_status classifier_guided_reserve(classifier_guided *g)
{
    size_t len = 0;
    g->grad = g->x0 = g->variance = NULL;
    DDPM_TRY(check_guided(g));
    DDPM_TRY(batch_len(g->n, g->dims, &len));
    g->grad = calloc(len, sizeof *g->grad);
    g->x0 = calloc(image_len(g->dims), sizeof *g->x0);
    g->variance = calloc(image_len(g->dims), sizeof *g->variance);
    if (g->grad && g->x0 && g->variance) return DDPM_OK;
    classifier_guided_release(g);
    return no_memory(g->n);
}

void classifier_guided_release(classifier_guided *g)
{
    if (!g) return;
    free(g->grad);
    free(g->x0);
    free(g->variance);
    g->grad = g->x0 = g->variance = NULL;
}

/* The row whose time the network was told; times grow with the rows. */
static int row_of_time(const process *p, float t)
{
    int low = 0, high = p->s->T - 1;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (process_model_t(p, middle) < t) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* d x_0 / d output */
static double xstart_slope(const process *p, int i)
{
    const schedule *s = p->s;
    switch (p->mean) {
    case MEAN_EPSILON:    return -s->sqrt_recipm1_alphas_cumprod[i];
    case MEAN_START_X:    return 1;
    case MEAN_PREVIOUS_X: return 1 / s->posterior_mean_coef1[i];
    case MEAN_V:          return -s->sqrt_one_minus_alphas_cumprod[i];
    }
    return 1;
}

/* g moves x_0 by `factor` times a variance: that of p, or, for the score, 1. */
static double shift_factor(const classifier_guided *g, int i)
{
    const schedule *s = g->p->s;
    return g->form == GUIDE_MEAN ? 1 / s->posterior_mean_coef1[i] : (1 - s->alphas_cumprod[i]) / s->sqrt_alphas_cumprod[i];
}

/* The output that means x_0 clipped, where that is asked for, and moved. */
static void move_output(const classifier_guided *g, int i, const float *x, const float *grad, float *out)
{
    const process *p = g->p;
    const process raw = { .s = p->s, .mean = p->mean, .var = p->var };
    const size_t channels = (size_t)g->dims.channels, width = (size_t)process_out_channels(p, g->dims.channels);
    const double slope = xstart_slope(p, i), factor = g->scale * shift_factor(g, i);
    const bool clip = p->clip != CLIP_NONE && !(g->form == GUIDE_MEAN && p->mean == MEAN_PREVIOUS_X);
    p_xstart(&raw, i, g->dims, x, out, g->x0);
    if (g->form == GUIDE_MEAN) p_mean_variance(p, i, g->dims, x, out, &(p_moments){ .variance = g->variance });
    for (size_t k = 0; k < image_len(g->dims); k++) {
        const double x0 = (double)g->x0[k], clipped = !clip ? x0 : x0 < -1 ? -1 : x0 > 1 ? 1 : x0;
        const double variance = g->form == GUIDE_MEAN ? (double)g->variance[k] : 1;
        float *const o = out + k / channels * width + k % channels;
        *o = (float)((double)*o + (clipped - x0 + factor * variance * (double)grad[k]) / slope);
    }
}

ddpm_status classifier_guided_denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    const classifier_guided *g = ctx;
    const size_t len = image_len(g->dims), width = (size_t)g->dims.pixels * (size_t)process_out_channels(g->p, g->dims.channels);
    assert(n > 0 && n <= g->n);
    DDPM_TRY(g->denoise(g->ctx, n, t, y, x, out));
    DDPM_TRY(g->gradient(g->gradient_ctx, n, t, y, x, g->grad));
    for (size_t k = 0; k < (size_t)n; k++) {
        const int i = row_of_time(g->p, t[k]);
        assert(process_model_t(g->p, i) >= t[k] && process_model_t(g->p, i) <= t[k]);
        move_output(g, i, x + k * len, g->grad + k * len, out + k * width);
    }
    return DDPM_OK;
}
