#include "diffusion/loss.h"

#include "base/fixmath_core.h"

#include <math.h>
#include <strings.h>

static const double LN2 = 0.69314718055994530942;
static const double SQRT_2_OVER_PI = 0.79788456080286535588;

static const char *const names[] = {
    [LOSS_MSE] = "mse", [LOSS_RESCALED_MSE] = "rescaled_mse", [LOSS_KL] = "kl",
    [LOSS_RESCALED_KL] = "rescaled_kl", [LOSS_MSE_SUM] = "mse_sum",
};
enum { LOSSES = sizeof names / sizeof names[0] };

ddpm_status loss_type_find(const char *name, loss_type *type)
{
    for (int i = 0; i < LOSSES; i++)
        if (!strcasecmp(names[i], name)) {
            *type = (loss_type)i;
            return DDPM_OK;
        }
    return ddpm_fail(DDPM_EINVAL, "loss \"%s\" is unknown; use mse, rescaled_mse, kl, rescaled_kl or mse_sum", name);
}

const char *loss_type_name(loss_type type) { return names[type]; }

ddpm_status loss_check(loss_type type, const process *p)
{
    if (type == LOSS_MSE_SUM && process_learns_variance(p))
        return ddpm_fail(DDPM_EINVAL, "the loss mse_sum does not train a learned variance; use rescaled_mse or a fixed variance");
    return process_check(p);
}

ddpm_status min_snr_check(const process *p, double gamma)
{
    if (!(gamma > 0)) return ddpm_fail(DDPM_EINVAL, "the limit of min-SNR weighting is %g; it must be positive (5 is usual)", gamma);
    if (p->mean == MEAN_PREVIOUS_X)
        return ddpm_fail(DDPM_EINVAL, "min-SNR weighting is not defined for previous_x prediction; use epsilon, start_x or v, or leave it out");
    return DDPM_OK;
}

double min_snr_weight(const process *p, int i, double gamma)
{
    const double bar = p->s->alphas_cumprod[i], snr = bar / (1 - bar), capped = fmin(snr, gamma);
    switch (p->mean) {
    case MEAN_EPSILON:    return snr > 0 ? capped / snr : 1;
    case MEAN_START_X:    return capped;
    case MEAN_V:          return capped / (snr + 1);
    case MEAN_PREVIOUS_X: break;
    }
    return 1;
}

/* ---- densities, each with its derivatives ------------------------------------ */

/* KL(N(m1, e^lv1) || N(m2, e^lv2)) in nats, with d/dm2 and d/dlv2. */
typedef struct { double value, d_mean, d_logvar; } density_term;

static density_term kl_term(double mean1, double logvar1, double mean2, double logvar2)
{
    const double diff = mean1 - mean2, inv = fix_exp_core(-logvar2);
    const double ratio = fix_exp_core(logvar1 - logvar2), distance = diff * diff * inv;
    return (density_term){
        0.5 * (-1 + logvar2 - logvar1 + ratio + distance),
        -diff * inv,
        0.5 * (1 - ratio - distance),
    };
}

double normal_kl(double mean1, double logvar1, double mean2, double logvar2)
{
    return kl_term(mean1, logvar1, mean2, logvar2).value;
}

/* The authors' tanh approximation of the normal distribution, and its slope. */
static double cdf(double x, double *slope)
{
    const double t = fix_tanh_core(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x));
    *slope = 0.5 * (1 - t * t) * SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x * x);
    return 0.5 * (1 + t);
}

double approx_standard_normal_cdf(double x)
{
    double slope;
    return cdf(x, &slope);
}

/* log of the mass in the bin of x, with its derivatives by mean and log_scale.
 * The outer bins reach to infinity. Below 1e-12 the mass is held, without slope. */
static density_term bin_term(double x, double mean, double log_scale)
{
    const double centred = x - mean, inv = fix_exp_core(-log_scale);
    const double plus = inv * (centred + 1.0 / 255), minus = inv * (centred - 1.0 / 255);
    double slope_plus, slope_minus;
    const double cdf_plus = cdf(plus, &slope_plus), cdf_minus = cdf(minus, &slope_minus);
    const bool lowest = x < -0.999, highest = x > 0.999;
    if (lowest) slope_minus = 0;
    if (highest) slope_plus = 0;
    const double mass = lowest ? cdf_plus : highest ? 1 - cdf_minus : cdf_plus - cdf_minus;
    if (!(mass >= 1e-12)) return (density_term){ fix_log_core(1e-12), 0, 0 };
    return (density_term){
        fix_log_core(mass),
        -inv * (slope_plus - slope_minus) / mass,
        -(plus * slope_plus - minus * slope_minus) / mass,
    };
}

double discretized_gaussian_log_likelihood(double x, double mean, double log_scale)
{
    return bin_term(x, mean, log_scale).value;
}

/* ---- the variational bound ------------------------------------------------------ */

/* Mean and log variance of p at one element and their derivatives by the output.
 * Everything that depends on the row alone. */
typedef struct {
    const process *p;
    int    i;
    double x0_of_xt, x0_of_out;     /* x_0 = x0_of_xt x_t + x0_of_out out   */
    double coef1, coef2;            /* posterior mean                       */
    double logvar;                  /* of the posterior, clipped            */
    double d_logvar;                /* log variance of p by its output      */
    bool   clip;
} bound_row;

/* x_0 is what the mean type says; see xstart_form_of in process.c for the floats. */
static bound_row bound_row_of(const process *p, int i, bool clip)
{
    const schedule *s = p->s;
    bound_row r = { .p = p, .i = i, .coef1 = s->posterior_mean_coef1[i], .coef2 = s->posterior_mean_coef2[i],
                    .logvar = s->posterior_log_variance_clipped[i], .clip = clip };
    switch (p->mean) {
    case MEAN_EPSILON:
        r.x0_of_xt = s->sqrt_recip_alphas_cumprod[i];
        r.x0_of_out = -s->sqrt_recipm1_alphas_cumprod[i];
        break;
    case MEAN_V:
        r.x0_of_xt = s->sqrt_alphas_cumprod[i];
        r.x0_of_out = -s->sqrt_one_minus_alphas_cumprod[i];
        break;
    case MEAN_START_X:
    case MEAN_PREVIOUS_X:
        r.x0_of_out = 1;
        break;
    }
    if (p->var == VAR_LEARNED) r.d_logvar = 1;
    if (p->var == VAR_LEARNED_RANGE) r.d_logvar = 0.5 * (s->log_betas[i] - s->posterior_log_variance_clipped[i]);
    return r;
}

/* One element of L_t in nats, with its derivatives by the two outputs. */
static density_term bound_element(const bound_row *r, double x0, double xt, double out, double v)
{
    const double logvar = (double)p_log_variance(r->p, r->i, (float)v);
    double xstart = r->x0_of_xt * xt + r->x0_of_out * out, d_mean = r->coef1 * r->x0_of_out;
    if (r->clip && !(xstart >= -1 && xstart <= 1)) {
        xstart = xstart < -1 ? -1 : xstart > 1 ? 1 : xstart;
        d_mean = 0;
    }
    double mean = r->coef1 * xstart + r->coef2 * xt;
    if (r->p->mean == MEAN_PREVIOUS_X) {
        mean = out;
        d_mean = 1;
    }
    density_term t;
    if (r->i > 0) t = kl_term(r->coef1 * x0 + r->coef2 * xt, r->logvar, mean, logvar);
    else {
        t = bin_term(x0, mean, 0.5 * logvar);
        t = (density_term){ -t.value, -t.d_mean, -0.5 * t.d_logvar };
    }
    return (density_term){ t.value, t.d_mean * d_mean, t.d_logvar * r->d_logvar };
}

/* Which derivatives of the bound are wanted, and what they are multiplied by. */
typedef struct { double scale; bool mean, variance; float *dout; } bound_gradient;

/* Mean over the image in bits. The gradient is written for the parts wanted. */
static double bound_bits(const bound_row *r, image_dims d, const float *x0, const float *xt, const float *out, const bound_gradient *g)
{
    const size_t channels = (size_t)d.channels, width = (size_t)process_out_channels(r->p, d.channels);
    const size_t to_v = width - channels;           /* 0 when the variance is fixed: any number will do */
    const double share = 1 / (LN2 * (double)d.pixels * (double)d.channels);
    double sum = 0;
    for (size_t q = 0; q < (size_t)d.pixels; q++)
        for (size_t c = 0; c < channels; c++) {
            const size_t k = q * channels + c, o = q * width + c;
            const density_term t = bound_element(r, (double)x0[k], (double)xt[k], (double)out[o], (double)out[o + to_v]);
            sum += t.value;
            if (g && g->mean) g->dout[o] = (float)(g->scale * share * t.d_mean);
            if (g && g->variance) g->dout[o + to_v] = (float)(g->scale * share * t.d_logvar);
        }
    return sum * share;
}

double vb_terms(const process *p, int i, image_dims d, const float *x0, const float *xt, const float *out)
{
    const bound_row r = bound_row_of(p, i, p->clip != CLIP_NONE);
    return bound_bits(&r, d, x0, xt, out, NULL);
}

double prior_bpd(const schedule *s, size_t len, const float *x0)
{
    const double scale = s->sqrt_alphas_cumprod[s->T - 1], logvar = s->log_one_minus_alphas_cumprod[s->T - 1];
    double sum = 0;
    for (size_t k = 0; k < len; k++) sum += normal_kl(scale * (double)x0[k], logvar, 0, 0);
    return sum / (LN2 * (double)len);
}

bpd_terms bpd_step(const process *p, int i, image_dims d, const float *x0, const float *xt, const float *noise, const float *out)
{
    const schedule *s = p->s;
    const size_t len = (size_t)d.pixels * (size_t)d.channels;
    const float recip = (float)s->sqrt_recip_alphas_cumprod[i], recipm1 = (float)s->sqrt_recipm1_alphas_cumprod[i];
    const int width = process_out_channels(p, d.channels);
    double of_x0 = 0, of_eps = 0;
    for (int q = 0; q < d.pixels; q++)
        for (int c = 0; c < d.channels; c++) {
            const size_t k = (size_t)q * (size_t)d.channels + (size_t)c;
            float xstart;
            p_xstart(p, i, (image_dims){ 1, 1 }, xt + k, out + (size_t)q * (size_t)width + (size_t)c, &xstart);
            const double dx = (double)(xstart - x0[k]), de = (double)((recip * xt[k] - xstart) / recipm1 - noise[k]);
            of_x0 += dx * dx;
            of_eps += de * de;
        }
    return (bpd_terms){ vb_terms(p, i, d, x0, xt, out), of_x0 / (double)len, of_eps / (double)len };
}

/* ---- training losses -------------------------------------------------------------- */

/* target = of_x0 x_0 + of_noise noise + of_xt x_t */
typedef struct { float of_x0, of_noise, of_xt; } mse_target;

static mse_target mse_target_of(const process *p, int i)
{
    const schedule *s = p->s;
    switch (p->mean) {
    case MEAN_EPSILON:    return (mse_target){ 0, 1, 0 };
    case MEAN_START_X:    return (mse_target){ 1, 0, 0 };
    case MEAN_PREVIOUS_X: return (mse_target){ (float)s->posterior_mean_coef1[i], 0, (float)s->posterior_mean_coef2[i] };
    case MEAN_V:          return (mse_target){ -(float)s->sqrt_one_minus_alphas_cumprod[i], (float)s->sqrt_alphas_cumprod[i], 0 };
    }
    return (mse_target){ 0, 0, 0 };
}

/* Sum of squares; the gradient of scale * sum goes to the mean half of dout. */
static double squares(const loss_input *in, double scale, float *dout)
{
    const mse_target m = mse_target_of(in->p, in->i);
    const size_t channels = (size_t)in->dims.channels, width = (size_t)process_out_channels(in->p, in->dims.channels);
    double sum = 0;
    for (size_t q = 0; q < (size_t)in->dims.pixels; q++)
        for (size_t c = 0; c < channels; c++) {
            const size_t k = q * channels + c, o = q * width + c;
            const float target = m.of_x0 * in->x0[k] + m.of_noise * in->noise[k] + m.of_xt * in->xt[k];
            const float diff = in->out[o] - target;
            sum += (double)diff * (double)diff;
            if (dout) dout[o] = (float)(2 * scale * (double)diff);
        }
    return sum;
}

static double bound(const loss_input *in, double scale, bool to_mean, float *dout)
{
    const bound_row r = bound_row_of(in->p, in->i, false);
    const bound_gradient g = { in->weight * scale, to_mean, process_learns_variance(in->p), dout };
    return scale * bound_bits(&r, in->dims, in->x0, in->xt, in->out, dout ? &g : NULL);
}

void loss_eval(const loss_input *in, loss_terms *terms, float *dout)
{
    const double T = in->p->s->T, len = (double)in->dims.pixels * (double)in->dims.channels;
    *terms = (loss_terms){ 0 };
    switch (in->type) {
    case LOSS_KL:
    case LOSS_RESCALED_KL:
        terms->vb = bound(in, in->type == LOSS_KL ? 1 : T, true, dout);
        break;
    case LOSS_MSE:
    case LOSS_RESCALED_MSE:
        terms->mse = squares(in, in->weight / len, dout) / len;
        if (process_learns_variance(in->p)) terms->vb = bound(in, in->type == LOSS_MSE ? 1 : T / 1000, false, dout);
        break;
    case LOSS_MSE_SUM:
        terms->mse = squares(in, in->weight, dout);
        break;
    }
    terms->loss = terms->mse + terms->vb;
}
