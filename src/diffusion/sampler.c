#include "diffusion/sampler.h"

#include "base/checked.h"
#include "base/fixmath.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const sampler samplers[] = {
    { "ddpm", sampler_ddpm, sampler_ddpm_from, NULL },
    { "ddim", sampler_ddim, sampler_ddim_from, NULL },
    { "dpm++2m", sampler_dpmpp, NULL, NULL },
    { "unipc", sampler_unipc, NULL, NULL },
    { "heun", sampler_heun, NULL, sampler_heun_calls },
    { 0 }
};

ddpm_status sampler_find(const char *name, const sampler **s)
{
    for (*s = samplers; (*s)->name; (*s)++)
        if (!strcmp((*s)->name, name)) return DDPM_OK;
    *s = NULL;
    char names[128] = "";
    for (const sampler *k = samplers; k->name && strlen(names) + strlen(k->name) + 3 < sizeof names; k++)
        strcat(strcat(names, k == samplers ? "" : ", "), k->name);
    return ddpm_fail(DDPM_EINVAL, "sampler \"%s\" is unknown; use one of: %s", name, names);
}

int sampler_calls(const sampler *s, const process *p) { return s->calls ? s->calls(p) : p->s->T; }

image_dims sampler_dims(const sampler_env *e) { return (image_dims){ e->n * e->dims.pixels, e->dims.channels }; }

ddpm_status sampler_reserve(const process *p, sampler_env *e)
{
    assert(e->n > 0 && e->dims.pixels > 0 && e->dims.channels > 0);
    size_t len = (size_t)e->n, out;
    if (!checked_mul(len, (size_t)e->dims.pixels, &len) || !checked_mul(len, (size_t)e->dims.channels, &len) ||
        len > INT32_MAX || !checked_mul(len, process_learns_variance(p) ? 2 : 1, &out))
        return ddpm_fail(DDPM_EINVAL, "%d images of %d pixels are too many at once; sample in smaller batches", e->n, e->dims.pixels);
    e->t = calloc((size_t)e->n, sizeof *e->t);
    e->out = calloc(out, sizeof *e->out);
    e->z = calloc(len, sizeof *e->z);
    e->pred_xstart = calloc(len, sizeof *e->pred_xstart);
    e->memory = calloc(len, sizeof *e->memory);
    if (e->t && e->out && e->z && e->pred_xstart && e->memory) return DDPM_OK;
    sampler_release(e);
    return ddpm_fail(DDPM_ENOMEM, "no memory to sample %d images of %d pixels at once; use smaller batches", e->n, e->dims.pixels);
}

void sampler_release(sampler_env *e)
{
    if (!e) return;
    free(e->t);
    free(e->out);
    free(e->z);
    free(e->pred_xstart);
    free(e->memory);
    e->t = e->out = e->z = e->pred_xstart = e->memory = NULL;
}

ddpm_status sampler_network(const process *p, const sampler_env *e, int i, const float *x)
{
    const float t = process_model_t(p, i);
    for (int k = 0; k < e->n; k++) e->t[k] = t;
    return e->denoise(e->ctx, e->n, e->t, e->y, x, e->out);
}

double sampler_lambda(double alpha_bar) { return 0.5 * (fix_log(alpha_bar) - fix_log(1 - alpha_bar)); }

ddpm_status sampler_check_row(const process *p, int row)
{
    if (row >= 0 && row < p->s->T) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "a walk cannot start at step %d of a chain of %d; use 0 to %d", row, p->s->T, p->s->T - 1);
}

ddpm_status sampler_check_curve(const process *p)
{
    const schedule *s = p->s;
    DDPM_TRY(process_check(p));
    for (int i = 1; i < s->T; i++)
        if (s->alphas_cumprod_prev[i] != s->alphas_cumprod[i - 1])
            return ddpm_fail(DDPM_EINVAL, "the step at timestep %d does not lead to the next one, %d, but past it, which only the "
                             "samplers ddpm and ddim can follow; use one of them or another list of steps",
                             s->timestep_map[i], s->timestep_map[i - 1]);
    return DDPM_OK;
}
