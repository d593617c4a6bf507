/* DDIM: one family from the deterministic path (eta 0) to ancestral noise (eta 1). */
#include "diffusion/sampler.h"

#include <assert.h>
#include <math.h>

/* DDIM eq. 12 at one row: x' = to_x0 x_0 + to_eps eps + to_noise z. */
typedef struct { double to_x0, to_eps, to_noise; } ddim_row;

static ddim_row ddim_row_of(const schedule *s, int i, double eta, bool sigma_hat)
{
    const double bar = s->alphas_cumprod[i], prev = s->alphas_cumprod_prev[i];
    const double sigma = eta * sqrt((1 - prev) / (1 - bar)) * sqrt(1 - bar / prev);      /* DDIM eq. 16 */
    const double direction = sqrt(fmax(1 - prev - sigma * sigma, 0));                    /* rounding below 0 at eta 1 */
    return (ddim_row){ sqrt(prev), direction, !sigma_hat ? sigma : i ? sqrt(s->betas[i]) : 0 };
}

bool sampler_ddim_noisy(const process *p, int i, double eta, bool sigma_hat)
{
    return ddim_row_of(p->s, i, eta, sigma_hat).to_noise > 0;
}

/* x = to_x0 x_0 + to_eps eps. Which eps is what the clip modes differ in. */
static void combine_prediction(const process *p, int i, ddim_row row, const sampler_arrays *a)
{
    assert(a->pred_xstart != a->x && a->pred_xstart != a->xt);
    const size_t len = (size_t)a->d.pixels * (size_t)a->d.channels;
    const float to_x0 = (float)row.to_x0, to_eps = (float)row.to_eps;
    p_xstart(p, i, a->d, a->xt, a->out, a->pred_xstart);
    if (p->clip == CLIP_REDERIVE) predict_eps_from_xstart(p->s, i, len, a->xt, a->pred_xstart, a->x);
    else p_eps(p, i, a->d, a->xt, a->out, a->x);
    for (size_t k = 0; k < len; k++) a->x[k] = to_x0 * a->pred_xstart[k] + to_eps * a->x[k];
}

void sampler_ddim_step(const process *p, int i, double eta, bool sigma_hat, const sampler_arrays *a)
{
    const ddim_row row = ddim_row_of(p->s, i, eta, sigma_hat);
    combine_prediction(p, i, row, a);
    if (!(row.to_noise > 0)) return;
    assert(a->z);
    const size_t len = (size_t)a->d.pixels * (size_t)a->d.channels;
    const float to_noise = (float)row.to_noise;
    for (size_t k = 0; k < len; k++) a->x[k] += to_noise * a->z[k];
}

void sampler_encode_step(const process *p, int i, const sampler_arrays *a)
{
    const double next = p->s->alphas_cumprod_next[i];
    combine_prediction(p, i, (ddim_row){ sqrt(next), sqrt(1 - next), 0 }, a);
}

static ddpm_status check_noise(const sampler_env *e)
{
    if (!(e->eta >= 0 && e->eta <= 1))
        return ddpm_fail(DDPM_EINVAL, "eta is %g; DDIM's noise goes from 0 (none) to 1 (as much as ancestral sampling)", e->eta);
    if (e->sigma_hat && e->eta < 1)
        return ddpm_fail(DDPM_EINVAL, "the larger noise sigma-hat belongs to eta 1, not %g", e->eta);
    return DDPM_OK;
}

ddpm_status sampler_ddim_from(const process *p, const sampler_env *e, int row, float *x)
{
    const sampler_arrays a = { sampler_dims(e), x, e->out, e->z, x, e->pred_xstart };
    DDPM_TRY(process_check(p));
    DDPM_TRY(check_noise(e));
    DDPM_TRY(sampler_check_row(p, row));
    for (int i = row, k = p->s->T - 1 - row; i >= 0; i--, k++) {
        DDPM_TRY(sampler_network(p, e, i, x));
        if (sampler_ddim_noisy(p, i, e->eta, e->sigma_hat)) e->noise(e->ctx, k, e->n, e->z);
        sampler_ddim_step(p, i, e->eta, e->sigma_hat, &a);
        if (e->observe) e->observe(e->ctx, k, p->s->timestep_map[i], x, e->pred_xstart);
    }
    return DDPM_OK;
}

ddpm_status sampler_ddim(const process *p, const sampler_env *e, float *x) { return sampler_ddim_from(p, e, p->s->T - 1, x); }

ddpm_status sampler_encode(const process *p, const sampler_env *e, float *x)
{
    const sampler_arrays a = { sampler_dims(e), x, e->out, NULL, x, e->pred_xstart };
    DDPM_TRY(process_check(p));
    for (int i = 0; i < p->s->T; i++) {
        DDPM_TRY(sampler_network(p, e, i, x));
        sampler_encode_step(p, i, &a);
        if (e->observe) e->observe(e->ctx, i, p->s->timestep_map[i], x, e->pred_xstart);
    }
    return DDPM_OK;
}
