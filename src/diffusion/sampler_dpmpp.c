/* DPM-Solver++(2M): two-step, deterministic, one network call per row. */
#include "diffusion/sampler.h"

#include <math.h>

enum { FEW_ROWS = 15 };     /* below it the last step is of order 1: the authors' rule against artefacts */

/* x' = to_x x + to_m m + to_before m' */
typedef struct { double to_x, to_m, to_before; } dpmpp_row;

static bool second_order(const schedule *s, int i)
{
    if (i + 1 == s->T || s->alphas_cumprod[i + 1] >= s->alphas_cumprod[i]) return false;   /* no slope without two levels */
    return i > 0 || (s->T >= FEW_ROWS && s->alphas_cumprod_prev[0] < 1);
}

static dpmpp_row dpmpp_row_of(const schedule *s, int i)
{
    const double bar = s->alphas_cumprod[i], to = s->alphas_cumprod_prev[i];
    const double ratio = sqrt((1 - to) / (1 - bar));
    const double gain = sqrt(to) - sqrt(bar) * ratio;              /* -alpha_t (e^-h - 1), finite where h is not */
    if (!second_order(s, i)) return (dpmpp_row){ ratio, gain, 0 };
    const double lambda = sampler_lambda(bar), step = sampler_lambda(to) - lambda, before = lambda - sampler_lambda(s->alphas_cumprod[i + 1]);
    const double half = 0.5 * step / before;
    return (dpmpp_row){ ratio, gain * (1 + half), -gain * half };
}

static void advance(dpmpp_row row, size_t len, const float *m, const float *before, float *x)
{
    const float to_x = (float)row.to_x, to_m = (float)row.to_m, to_before = (float)row.to_before;
    for (size_t k = 0; k < len; k++) x[k] = to_x * x[k] + to_m * m[k] + to_before * before[k];
}

ddpm_status sampler_dpmpp(const process *p, const sampler_env *e, float *x)
{
    const image_dims d = sampler_dims(e);
    const size_t len = (size_t)d.pixels * (size_t)d.channels;
    float *m = e->pred_xstart, *before = e->memory;
    DDPM_TRY(sampler_check_curve(p));
    for (int i = p->s->T - 1, k = 0; i >= 0; i--, k++) {
        DDPM_TRY(sampler_network(p, e, i, x));
        p_xstart(p, i, d, x, e->out, m);
        advance(dpmpp_row_of(p->s, i), len, m, k ? before : m, x);
        if (e->observe) e->observe(e->ctx, k, p->s->timestep_map[i], x, m);
        float *const last = before;
        before = m;
        m = last;
    }
    return DDPM_OK;
}
