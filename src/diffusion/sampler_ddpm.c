/* Ancestral sampling, DDPM algorithm 2, with fixed or learned variances. */
#include "diffusion/sampler.h"

#include "base/fixmath.h"

#include <assert.h>

bool sampler_ddpm_noisy(const process *p, int i)
{
    return i > 0 || (p->final_noise && p->s->timestep_map[0] > 0);
}

static void add_fixed_noise(size_t len, float sigma, const float *z, float *x)
{
    for (size_t k = 0; k < len; k++) x[k] += sigma * z[k];
}

static void add_learned_noise(const process *p, int i, const sampler_arrays *a)
{
    const image_dims d = a->d;
    for (int q = 0; q < d.pixels; q++)
        for (int c = 0; c < d.channels; c++) {
            const size_t k = (size_t)q * (size_t)d.channels + (size_t)c;
            const float v = a->out[((size_t)q * 2 + 1) * (size_t)d.channels + (size_t)c];
            a->x[k] += (float)fix_exp(0.5 * (double)p_log_variance(p, i, v)) * a->z[k];
        }
}

void sampler_ddpm_step(const process *p, int i, const sampler_arrays *a)
{
    assert(a->pred_xstart != a->x && a->pred_xstart != a->xt);
    p_xstart(p, i, a->d, a->xt, a->out, a->pred_xstart);
    p_mean(p, i, a->d, a->xt, a->out, a->pred_xstart, a->x);
    if (!sampler_ddpm_noisy(p, i)) return;
    assert(a->z);
    if (process_learns_variance(p)) add_learned_noise(p, i, a);
    else add_fixed_noise((size_t)a->d.pixels * (size_t)a->d.channels, (float)fix_exp(0.5 * (double)p_log_variance(p, i, 0)), a->z, a->x);
}

ddpm_status sampler_ddpm_from(const process *p, const sampler_env *e, int row, float *x)
{
    const sampler_arrays a = { sampler_dims(e), x, e->out, e->z, x, e->pred_xstart };
    DDPM_TRY(process_check(p));
    DDPM_TRY(sampler_check_row(p, row));
    for (int i = row, k = p->s->T - 1 - row; i >= 0; i--, k++) {
        DDPM_TRY(sampler_network(p, e, i, x));
        if (sampler_ddpm_noisy(p, i)) e->noise(e->ctx, k, e->n, e->z);
        sampler_ddpm_step(p, i, &a);
        if (e->observe) e->observe(e->ctx, k, p->s->timestep_map[i], x, e->pred_xstart);
    }
    return DDPM_OK;
}

ddpm_status sampler_ddpm(const process *p, const sampler_env *e, float *x) { return sampler_ddpm_from(p, e, p->s->T - 1, x); }
