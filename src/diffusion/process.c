#include "diffusion/process.h"

#include "base/fixmath.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include <strings.h>

typedef struct { const char *name; int value; } name_row;

/* Value of `name` in a table that ends with a NULL name, or -1. */
static int name_find(const name_row *table, const char *name)
{
    for (; table->name; table++)
        if (!strcasecmp(table->name, name)) return table->value;
    return -1;
}

static const char *name_of(const name_row *table, int value)
{
    for (; table->name; table++)
        if (table->value == value) return table->name;
    return "unknown";
}

static const name_row means[] = {
    { "epsilon", MEAN_EPSILON }, { "start_x", MEAN_START_X }, { "sample", MEAN_START_X },
    { "previous_x", MEAN_PREVIOUS_X }, { "v", MEAN_V }, { "v_prediction", MEAN_V }, { 0 }
};
static const name_row vars[] = {
    { "fixed_small", VAR_FIXED_SMALL }, { "fixed_large", VAR_FIXED_LARGE },
    { "learned", VAR_LEARNED }, { "learned_range", VAR_LEARNED_RANGE }, { 0 }
};
static const name_row clips[] = { { "none", CLIP_NONE }, { "rederive", CLIP_REDERIVE }, { "x0", CLIP_X0 }, { 0 } };

ddpm_status mean_type_find(const char *name, mean_type *mean)
{
    const int value = name_find(means, name);
    if (value < 0)
        return ddpm_fail(DDPM_EINVAL, "prediction type \"%s\" is unknown; use epsilon, start_x (sample), previous_x or v (v_prediction)", name);
    *mean = (mean_type)value;
    return DDPM_OK;
}

ddpm_status var_type_find(const char *name, var_type *var)
{
    const int value = name_find(vars, name);
    if (value < 0)
        return ddpm_fail(DDPM_EINVAL, "variance type \"%s\" is unknown; use fixed_small, fixed_large, learned or learned_range", name);
    *var = (var_type)value;
    return DDPM_OK;
}

ddpm_status clip_mode_find(const char *name, clip_mode *clip)
{
    const int value = name_find(clips, name);
    if (value < 0) return ddpm_fail(DDPM_EINVAL, "clip mode \"%s\" is unknown; use none, rederive or x0", name);
    *clip = (clip_mode)value;
    return DDPM_OK;
}

const char *mean_type_name(mean_type mean) { return name_of(means, (int)mean); }
const char *var_type_name(var_type var) { return name_of(vars, (int)var); }
const char *clip_mode_name(clip_mode clip) { return name_of(clips, (int)clip); }

ddpm_status process_check(const process *p)
{
    const schedule *s = p->s;
    for (int i = 0; i < s->T; i++) {
        if (p->mean == MEAN_EPSILON && s->alphas_cumprod[i] <= 0)
            return ddpm_fail(DDPM_EINVAL, "alpha-bar is 0 at timestep %d, where predicted noise does not determine the image; "
                             "leave that step out or use a network that predicts v or x_0", s->timestep_map[i]);
        const bool log_beta = p->var == VAR_LEARNED_RANGE, coefficient = p->mean == MEAN_PREVIOUS_X;
        if ((log_beta || coefficient) && s->betas[i] <= 0)
            return ddpm_fail(DDPM_EINVAL, "timestep %d is visited twice, which a network with a learned range of variances "
                             "or previous_x prediction does not allow; use a list of different steps", s->timestep_map[i]);
    }
    return DDPM_OK;
}

float process_model_t(const process *p, int i)
{
    assert(i >= 0 && i < p->s->T);
    const float t = (float)p->s->timestep_map[i];
    return p->rescale_timesteps ? t * (float)(1000.0 / p->s->original_T) : t;
}

/* y = a u + b v, with v [pixels, width] of which the first channels count. */
static void combine_strided(image_dims d, int width, float a, const float *u, float b, const float *v, float *y)
{
    if (width == d.channels) {   /* dense: one long row, which the compiler vectorises */
        d.channels *= d.pixels;
        d.pixels = 1;
    }
    for (int q = 0; q < d.pixels; q++) {
        const size_t row = (size_t)q * (size_t)d.channels;
        const float *in = v + (size_t)q * (size_t)width;
        for (int c = 0; c < d.channels; c++) y[row + (size_t)c] = a * u[row + (size_t)c] + b * in[c];
    }
}

static void combine(size_t len, float a, const float *u, float b, const float *v, float *y)
{
    for (size_t k = 0; k < len; k++) y[k] = a * u[k] + b * v[k];
}

void q_sample(const schedule *s, int i, size_t len, const float *x0, const float *noise, float *xt)
{
    combine(len, (float)s->sqrt_alphas_cumprod[i], x0, (float)s->sqrt_one_minus_alphas_cumprod[i], noise, xt);
}

void q_mean_variance(const schedule *s, int i, size_t len, const float *x0, float *mean, float *variance, float *log_variance)
{
    const float a = (float)s->sqrt_alphas_cumprod[i];
    for (size_t k = 0; k < len; k++) mean[k] = a * x0[k];
    *variance = (float)(1 - s->alphas_cumprod[i]);
    *log_variance = (float)s->log_one_minus_alphas_cumprod[i];
}

void q_posterior(const schedule *s, int i, size_t len, const float *x0, const float *xt,
                 float *mean, float *variance, float *log_variance)
{
    combine(len, (float)s->posterior_mean_coef1[i], x0, (float)s->posterior_mean_coef2[i], xt, mean);
    if (variance) *variance = (float)s->posterior_variance[i];
    if (log_variance) *log_variance = (float)s->posterior_log_variance_clipped[i];
}

/* x_0 = of_xt x_t + of_out (network output), for each thing a network may predict. */
typedef struct { float of_xt, of_out; } xstart_form;

static xstart_form xstart_form_of(const schedule *s, int i, mean_type mean)
{
    switch (mean) {
    case MEAN_EPSILON:    return (xstart_form){ (float)s->sqrt_recip_alphas_cumprod[i], -(float)s->sqrt_recipm1_alphas_cumprod[i] };
    case MEAN_START_X:    return (xstart_form){ 0, 1 };
    case MEAN_PREVIOUS_X: return (xstart_form){ -(float)(s->posterior_mean_coef2[i] / s->posterior_mean_coef1[i]),
                                                (float)(1 / s->posterior_mean_coef1[i]) };
    case MEAN_V:          return (xstart_form){ (float)s->sqrt_alphas_cumprod[i], -(float)s->sqrt_one_minus_alphas_cumprod[i] };
    }
    return (xstart_form){ 0, 0 };
}

static void predict_xstart(const schedule *s, int i, size_t len, mean_type mean, const float *xt, const float *out, float *x0)
{
    const xstart_form f = xstart_form_of(s, i, mean);
    combine(len, f.of_xt, xt, f.of_out, out, x0);
}

void predict_xstart_from_eps(const schedule *s, int i, size_t len, const float *xt, const float *eps, float *x0)
{
    predict_xstart(s, i, len, MEAN_EPSILON, xt, eps, x0);
}

void predict_xstart_from_xprev(const schedule *s, int i, size_t len, const float *xt, const float *xprev, float *x0)
{
    predict_xstart(s, i, len, MEAN_PREVIOUS_X, xt, xprev, x0);
}

void predict_xstart_from_v(const schedule *s, int i, size_t len, const float *xt, const float *v, float *x0)
{
    predict_xstart(s, i, len, MEAN_V, xt, v, x0);
}

/* Where alpha-bar is 0, x_t is its noise, whatever x_0 is. */
static bool all_noise(const schedule *s, int i) { return s->alphas_cumprod[i] <= 0; }

void predict_eps_from_xstart(const schedule *s, int i, size_t len, const float *xt, const float *x0, float *eps)
{
    if (all_noise(s, i)) {
        memmove(eps, xt, len * sizeof *eps);
        return;
    }
    const float a = (float)s->sqrt_recip_alphas_cumprod[i], b = (float)s->sqrt_recipm1_alphas_cumprod[i];
    for (size_t k = 0; k < len; k++) eps[k] = (a * xt[k] - x0[k]) / b;
}

void predict_eps_from_v(const schedule *s, int i, size_t len, const float *xt, const float *v, float *eps)
{
    combine(len, (float)s->sqrt_one_minus_alphas_cumprod[i], xt, (float)s->sqrt_alphas_cumprod[i], v, eps);
}

void predict_v(const schedule *s, int i, size_t len, const float *x0, const float *eps, float *v)
{
    combine(len, -(float)s->sqrt_one_minus_alphas_cumprod[i], x0, (float)s->sqrt_alphas_cumprod[i], eps, v);
}

static size_t dims_len(image_dims d) { return (size_t)d.pixels * (size_t)d.channels; }

void p_xstart(const process *p, int i, image_dims d, const float *xt, const float *out, float *x0)
{
    const xstart_form f = xstart_form_of(p->s, i, p->mean);
    combine_strided(d, process_out_channels(p, d.channels), f.of_xt, xt, f.of_out, out, x0);
    if (p->clip == CLIP_NONE) return;
    const size_t len = dims_len(d);
    for (size_t k = 0; k < len; k++) x0[k] = x0[k] < -1 ? -1 : x0[k] > 1 ? 1 : x0[k];   /* NaN stays */
}

void p_mean(const process *p, int i, image_dims d, const float *xt, const float *out, const float *x0, float *mean)
{
    if (p->mean == MEAN_PREVIOUS_X) combine_strided(d, process_out_channels(p, d.channels), 0, xt, 1, out, mean);
    else q_posterior(p->s, i, dims_len(d), x0, xt, mean, NULL, NULL);
}

/* Predicted x_0 turned into the noise that makes x_t of it. One pass, so that
 * eps may be xt. */
static void eps_through_xstart(const process *p, int i, image_dims d, const float *xt, const float *out, float *eps)
{
    if (all_noise(p->s, i)) {
        memmove(eps, xt, dims_len(d) * sizeof *eps);
        return;
    }
    const xstart_form f = xstart_form_of(p->s, i, p->mean);
    const float recip = (float)p->s->sqrt_recip_alphas_cumprod[i], recipm1 = (float)p->s->sqrt_recipm1_alphas_cumprod[i];
    const int width = process_out_channels(p, d.channels);
    for (int q = 0; q < d.pixels; q++)
        for (int c = 0; c < d.channels; c++) {
            const size_t k = (size_t)q * (size_t)d.channels + (size_t)c;
            const float x0 = f.of_xt * xt[k] + f.of_out * out[(size_t)q * (size_t)width + (size_t)c];
            eps[k] = (recip * xt[k] - x0) / recipm1;
        }
}

void p_eps(const process *p, int i, image_dims d, const float *xt, const float *out, float *eps)
{
    const int width = process_out_channels(p, d.channels);
    const schedule *s = p->s;
    if (p->mean == MEAN_EPSILON) combine_strided(d, width, 0, xt, 1, out, eps);
    else if (p->mean == MEAN_V)
        combine_strided(d, width, (float)s->sqrt_one_minus_alphas_cumprod[i], xt, (float)s->sqrt_alphas_cumprod[i], out, eps);
    else eps_through_xstart(p, i, d, xt, out, eps);
}

float p_log_variance(const process *p, int i, float v)
{
    const float small = (float)p->s->posterior_log_variance_clipped[i], large = (float)p->s->log_betas[i];
    switch (p->var) {
    case VAR_FIXED_SMALL: return small;
    case VAR_FIXED_LARGE: return i == 0 && p->s->logvar == LOGVAR_BORROW ? small : large;   /* both borrow beta-tilde of row 1 */
    case VAR_LEARNED:     return v;
    case VAR_LEARNED_RANGE: {
        const float frac = (v + 1) / 2;
        return frac * large + (1 - frac) * small;
    }
    }
    return 0;
}

/* The variance beside p_log_variance; for VAR_FIXED_SMALL it is the unclipped one. */
static float variance_of(const process *p, int i, float log_variance)
{
    const schedule *s = p->s;
    if (p->var == VAR_FIXED_SMALL) return (float)s->posterior_variance[i];
    if (p->var == VAR_FIXED_LARGE)
        return (float)(i == 0 && s->logvar == LOGVAR_BORROW ? s->posterior_variance[1] : s->betas[i]);
    return (float)fix_exp((double)log_variance);
}

static void fill_variances(const process *p, int i, image_dims d, const float *out, const p_moments *m)
{
    const int width = process_out_channels(p, d.channels);
    const float *v = process_learns_variance(p) ? out + d.channels : out;
    for (int q = 0; q < d.pixels; q++)
        for (int c = 0; c < d.channels; c++) {
            const size_t k = (size_t)q * (size_t)d.channels + (size_t)c;
            const float log_variance = p_log_variance(p, i, v[(size_t)q * (size_t)width + (size_t)c]);
            if (m->log_variance) m->log_variance[k] = log_variance;
            if (m->variance) m->variance[k] = variance_of(p, i, log_variance);
        }
}

void p_mean_variance(const process *p, int i, image_dims d, const float *xt, const float *out, const p_moments *m)
{
    assert(m->pred_xstart || !m->mean);
    if (m->pred_xstart) p_xstart(p, i, d, xt, out, m->pred_xstart);
    if (m->mean) p_mean(p, i, d, xt, out, m->pred_xstart, m->mean);
    if (m->variance || m->log_variance) fill_variances(p, i, d, out, m);
}
