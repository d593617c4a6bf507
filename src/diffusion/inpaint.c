#include "diffusion/inpaint.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

enum { MOST_CALLS = 1000000 };

/* Rows from whose level the chain jumps. */
static int jump_points(int T, int jump) { return T > jump ? (T - jump - 1) / jump + 1 : 0; }

static int64_t count_calls(int T, const inpainting *in)
{
    return T + (int64_t)jump_points(T, in->jump) * (in->resamples - 1) * in->jump;
}

ddpm_status inpaint_check(const process *p, const inpainting *in)
{
    if (in->jump < 1 || in->resamples < 1)
        return ddpm_fail(DDPM_EINVAL, "inpainting with jumps of %d steps, %d times, is impossible; both must be at least 1", in->jump, in->resamples);
    if (in->jump < p->s->T && in->resamples > MOST_CALLS)
        return ddpm_fail(DDPM_EINVAL, "resampling %d times would take more than %d network calls; use less", in->resamples, MOST_CALLS);
    if (count_calls(p->s->T, in) > MOST_CALLS)
        return ddpm_fail(DDPM_EINVAL, "inpainting in %d steps with jumps of %d, %d times, takes %lld network calls, more than %d; use fewer steps "
                         "or less resampling", p->s->T, in->jump, in->resamples, (long long)count_calls(p->s->T, in), MOST_CALLS);
    return DDPM_OK;
}

int inpaint_calls(const process *p, const inpainting *in) { return (int)count_calls(p->s->T, in); }

/* A run, and how far it is. */
typedef struct {
    const process     *p;
    const sampler_env *e;
    const inpainting  *in;
    float             *x;
    int                draws, steps;
    int               *left;         /* [jump_points] jumps still to be made */
} run;

static const float *draw(run *r)
{
    r->e->noise(r->e->ctx, r->draws++, r->e->n, r->e->z);
    return r->e->z;
}

/* Known pixels at the level that row i leads to. */
static void put_known(run *r, int i)
{
    const double to = r->p->s->alphas_cumprod_prev[i];
    const float of_image = (float)sqrt(to), of_noise = (float)sqrt(1 - to);
    const size_t pixels = (size_t)r->e->n * (size_t)r->e->dims.pixels, channels = (size_t)r->e->dims.channels;
    const float *z = to < 1 ? draw(r) : r->in->image;             /* with factor 0 */
    for (size_t q = 0; q < pixels; q++)
        for (size_t k = q * channels; r->in->mask[q] && k < (q + 1) * channels; k++)
            r->x[k] = of_image * r->in->image[k] + of_noise * z[k];
}

static ddpm_status step_down(run *r, int i)
{
    const sampler_env *e = r->e;
    const sampler_arrays a = { sampler_dims(e), r->x, e->out, e->z, r->x, e->pred_xstart };
    DDPM_TRY(sampler_network(r->p, e, i, r->x));
    if (sampler_ddpm_noisy(r->p, i)) draw(r);
    sampler_ddpm_step(r->p, i, &a);
    put_known(r, i);
    if (e->observe) e->observe(e->ctx, r->steps, r->p->s->timestep_map[i], r->x, e->pred_xstart);
    r->steps++;
    return DDPM_OK;
}

/* q(x_t | x_{t-1}) of row i: DDPM eq. 2. */
static void step_up(run *r, int i)
{
    const size_t len = (size_t)r->e->n * (size_t)r->e->dims.pixels * (size_t)r->e->dims.channels;
    const float keep = (float)sqrt(1 - r->p->s->betas[i]), add = (float)sqrt(r->p->s->betas[i]);
    const float *z = draw(r);
    for (size_t k = 0; k < len; k++) r->x[k] = keep * r->x[k] + add * z[k];
}

static bool jumps_from(run *r, int level)
{
    const int jump = r->in->jump;
    return level >= 0 && level % jump == 0 && level + jump < r->p->s->T && r->left[level / jump]-- > 0;
}

static ddpm_status walk(run *r)
{
    for (int i = r->p->s->T - 1; i >= 0; i--) {
        DDPM_TRY(step_down(r, i));
        if (!jumps_from(r, i - 1)) continue;
        const int top = i - 1 + r->in->jump;
        for (int up = i; up <= top; up++) step_up(r, up);
        i = top + 1;                                              /* the next step is row top */
    }
    return DDPM_OK;
}

ddpm_status sampler_inpaint(const process *p, const sampler_env *e, const inpainting *in, float *x)
{
    run r = { .p = p, .e = e, .in = in, .x = x };
    DDPM_TRY(sampler_check_curve(p));
    DDPM_TRY(inpaint_check(p, in));
    const int points = jump_points(p->s->T, in->jump);
    r.left = calloc((size_t)points + 1, sizeof *r.left);
    if (!r.left) return ddpm_fail(DDPM_ENOMEM, "no memory for %d jumps", points);
    for (int k = 0; k < points; k++) r.left[k] = in->resamples - 1;
    const ddpm_status status = walk(&r);
    assert(status != DDPM_OK || r.steps == inpaint_calls(p, in));
    free(r.left);
    return status;
}
