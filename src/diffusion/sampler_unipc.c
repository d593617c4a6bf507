/* UniPC of order 2: a two-step predictor, and a corrector that costs no call. */
#include "diffusion/sampler.h"

#include "base/fixmath.h"

#include <math.h>

/* x' = to_x x + to_m m + to_before m', and what the corrector adds to that:
 * fix_next m_t + fix_m m + fix_before m'. The sum of the three is 0. */
typedef struct { double to_x, to_m, to_before, fix_next, fix_m, fix_before; } unipc_row;

/* Right-hand sides of the corrector's two conditions, with y = -h:
 * b1 = (e^y - 1 - y) / y / B, b2 = 2 (e^y - 1 - y - y^2/2) / y^2 / B, B = e^y - 1. */
typedef struct { double b1, b2; } unipc_moments;

/* The differences cancel for short steps, where the series of the last is short. */
static unipc_moments moments_of(double h)
{
    const double y = -h;
    if (h >= 0.5) {
        const double b = fix_exp(y) - 1, first = b / y - 1;
        return (unipc_moments){ first / b, 2 * (first / y - 0.5) / b };
    }
    double phi3 = 0;                                /* sum of y^k / (k + 3)! */
    for (int k = 15; k >= 1; k--) phi3 = (phi3 + 1) * y / (k + 3);
    phi3 = (phi3 + 1) / 6;
    const double phi2 = 0.5 + y * phi3, phi1 = 1 + y * phi2;
    return (unipc_moments){ phi2 / phi1, 2 * phi3 / phi1 };
}

static bool second_order(const schedule *s, int i)
{
    return i > 0 && i + 1 < s->T && s->alphas_cumprod[i + 1] < s->alphas_cumprod[i];
}

static unipc_row unipc_row_of(const schedule *s, int i)
{
    const double bar = s->alphas_cumprod[i], to = s->alphas_cumprod_prev[i];
    const double ratio = sqrt((1 - to) / (1 - bar));
    const double gain = sqrt(to) - sqrt(bar) * ratio;                        /* -alpha_t B, finite where h is not */
    if (!second_order(s, i)) return (unipc_row){ ratio, gain, 0, 0.5 * gain, -0.5 * gain, 0 };
    const double lambda = sampler_lambda(bar), h = sampler_lambda(to) - lambda;
    const double slope = h / (lambda - sampler_lambda(s->alphas_cumprod[i + 1]));      /* -1/r; D = slope (m - m') */
    const unipc_moments b = moments_of(h);
    const double rho1 = slope * (b.b1 - b.b2) / (1 + slope), rho2 = b.b1 - rho1;
    const double predict = 0.5 * slope, correct = (rho1 - 0.5) * slope;
    return (unipc_row){ ratio, gain * (1 + predict), -gain * predict, gain * rho2, gain * (correct - rho2), -gain * correct };
}

static void predict(const unipc_row *row, size_t len, const float *m, const float *before, float *x)
{
    const float to_x = (float)row->to_x, to_m = (float)row->to_m, to_before = (float)row->to_before;
    for (size_t k = 0; k < len; k++) x[k] = to_x * x[k] + to_m * m[k] + to_before * before[k];
}

static void correct(const unipc_row *row, size_t len, const float *next, const float *m, const float *before, float *x)
{
    const float fix_next = (float)row->fix_next, fix_m = (float)row->fix_m, fix_before = (float)row->fix_before;
    for (size_t k = 0; k < len; k++) x[k] += fix_next * next[k] + fix_m * m[k] + fix_before * before[k];
}

ddpm_status sampler_unipc(const process *p, const sampler_env *e, float *x)
{
    const image_dims d = sampler_dims(e);
    const size_t len = (size_t)d.pixels * (size_t)d.channels;
    float *next = e->pred_xstart, *m = e->memory, *before = e->z;
    unipc_row row = { 0 };                          /* of the step that led to x */
    DDPM_TRY(sampler_check_curve(p));
    for (int i = p->s->T - 1, k = 0; i >= 0; i--, k++) {
        DDPM_TRY(sampler_network(p, e, i, x));
        p_xstart(p, i, d, x, e->out, next);
        if (k > 0) correct(&row, len, next, m, k > 1 ? before : m, x);
        row = unipc_row_of(p->s, i);
        predict(&row, len, next, k > 0 ? m : next, x);
        if (e->observe) e->observe(e->ctx, k, p->s->timestep_map[i], x, next);
        float *const oldest = before;
        before = m;
        m = next;
        next = oldest;
    }
    return DDPM_OK;
}
