/* Heun's method as EDM uses it: a DDIM step, corrected by the slope at its end. */
#include "diffusion/sampler.h"

#include <math.h>

/* Has row i's step a slope at both ends? */
static bool corrected(const schedule *s, int i) { return i > 0 && s->alphas_cumprod[i] > 0; }

int sampler_heun_calls(const process *p)
{
    int calls = p->s->T;
    for (int i = 0; i < p->s->T; i++) calls += corrected(p->s, i);
    return calls;
}

static void euler(const schedule *s, int i, size_t len, const float *m, float *x)
{
    const double bar = s->alphas_cumprod[i], to = s->alphas_cumprod_prev[i], ratio = sqrt((1 - to) / (1 - bar));
    const float to_x = (float)ratio, to_m = (float)(sqrt(to) - sqrt(bar) * ratio);
    for (size_t k = 0; k < len; k++) x[k] = to_x * x[k] + to_m * m[k];
}

/* Half of the difference of the slopes. */
static void average_slopes(const schedule *s, int i, size_t len, const float *m, const float *next, float *x)
{
    const double bar = s->alphas_cumprod[i], to = s->alphas_cumprod_prev[i];
    const float gain = (float)(0.5 * sqrt(to) * (sqrt((1 - bar) / bar * (to / (1 - to))) - 1));
    for (size_t k = 0; k < len; k++) x[k] += gain * (next[k] - m[k]);
}

ddpm_status sampler_heun(const process *p, const sampler_env *e, float *x)
{
    const image_dims d = sampler_dims(e);
    const size_t len = (size_t)d.pixels * (size_t)d.channels;
    DDPM_TRY(sampler_check_curve(p));
    for (int i = p->s->T - 1, k = 0; i >= 0; i--, k++) {
        DDPM_TRY(sampler_network(p, e, i, x));
        p_xstart(p, i, d, x, e->out, e->pred_xstart);
        euler(p->s, i, len, e->pred_xstart, x);
        if (corrected(p->s, i)) {
            DDPM_TRY(sampler_network(p, e, i - 1, x));
            p_xstart(p, i - 1, d, x, e->out, e->memory);
            average_slopes(p->s, i, len, e->pred_xstart, e->memory, x);
        }
        if (e->observe) e->observe(e->ctx, k, p->s->timestep_map[i], x, e->pred_xstart);
    }
    return DDPM_OK;
}
