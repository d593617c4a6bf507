#include "diffusion/nll.h"

#include "base/fixmath.h"
#include "base/rng.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* ---- which rows ------------------------------------------------------------------ */

/* Rows of the next pair, when `pairs` of them share the rows from b on: each reaches
 * as far beyond the one before it, as a factor of the row's number. */
static int width_of(int b, int T, int pairs)
{
    if (pairs == 1) return T - b;
    return (int)(b * (fix_pow((double)T / b, 1.0 / pairs) - 1));
}

static void cut(nll_plan *plan)
{
    int at = 0;
    for (int left = plan->calls; at < plan->T; ) {
        int width = at && left % 2 == 0 ? width_of(at, plan->T, left / 2) : 1;
        if (width < 1) width = 1;
        left -= width > 1 ? 2 : 1;
        plan->first[plan->strata++] = at;
        at += width;
    }
    plan->first[plan->strata] = at;
    assert(at == plan->T);
}

ddpm_status nll_plan_new(int T, int calls, nll_plan *plan)
{
    *plan = (nll_plan){ 0 };
    assert(T > 0);
    if (calls != T && (calls < NLL_MIN_CALLS || calls > T))
        return ddpm_fail(DDPM_EINVAL, "%d terms of %d: %d is the least an estimate can be made of, %d is all", calls, T,
                         NLL_MIN_CALLS < T ? NLL_MIN_CALLS : T, T);
    *plan = (nll_plan){ .T = T, .calls = calls, .first = calloc((size_t)calls + 1, sizeof *plan->first) };
    if (!plan->first) return ddpm_fail(DDPM_ENOMEM, "no memory for a plan of %d terms", calls);
    if (calls < T) {
        cut(plan);
        return DDPM_OK;
    }
    for (int i = 0; i <= T; i++) plan->first[i] = i;
    plan->strata = T;
    return DDPM_OK;
}

void nll_plan_free(nll_plan *plan)
{
    if (!plan) return;
    free(plan->first);
    *plan = (nll_plan){ 0 };
}

static int rows_of(const nll_plan *plan, int stratum) { return plan->first[stratum + 1] - plan->first[stratum]; }

void nll_plan_draw(const nll_plan *plan, uint64_t seed, uint64_t image, int *row, double *factor)
{
    int k = 0;
    for (int j = plan->strata - 1; j >= 0; j--) {
        const int m = rows_of(plan, j), first = plan->first[j];
        if (m == 1) {
            row[k] = first;
            factor[k++] = 1;
            continue;
        }
        const rng_address address = { seed, RNG_NLL, NLL_CHOICE + (uint64_t)j, image };
        const int a = (int)rng_below(address, 0, (uint64_t)m), other = (int)rng_below(address, 1, (uint64_t)m - 1);
        const int b = other < a ? other : other + 1;        /* any row but a, each as likely */
        row[k] = first + (a > b ? a : b);
        row[k + 1] = first + (a > b ? b : a);
        factor[k] = factor[k + 1] = 0.5 * m;
        k += 2;
    }
    assert(k == plan->calls);
}

/* ---- terms ------------------------------------------------------------------------ */

/* What one call of the network takes, `together` terms. */
typedef struct {
    const process    *p;
    const nll_plan   *plan;
    const nll_images *in;
    const nll_result *r;
    size_t            image, wide;      /* values of an image and of an output */
    float            *xt, *noise, *out, *t;
    int              *y;
} work;

static ddpm_status reserve(work *w)
{
    const size_t n = (size_t)w->in->together;
    w->xt = malloc(n * w->image * sizeof *w->xt);
    w->noise = malloc(n * w->image * sizeof *w->noise);
    w->out = malloc(n * w->wide * sizeof *w->out);
    w->t = malloc(n * sizeof *w->t);
    w->y = malloc(n * sizeof *w->y);
    return w->xt && w->noise && w->out && w->t && w->y ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for %zu terms of the bound at once", n);
}

static void release(work *w)
{
    free(w->xt);
    free(w->noise);
    free(w->out);
    free(w->t);
    free(w->y);
}

/* Term `item` of all, image by image, into place k of the call. */
static void corrupt(const work *w, size_t item, size_t k)
{
    const nll_images *in = w->in;
    const size_t image = item / (size_t)w->plan->calls;
    const int row = w->r->row[item];
    float *z = w->noise + k * w->image;
    if (in->noise) in->noise(in->ctx, (int)image, row, z);
    else rng_normals((rng_address){ in->seed, RNG_NLL, (uint64_t)row, in->image[image] }, 0, w->image, z);
    q_sample(w->p->s, row, w->image, in->x0 + image * w->image, z, w->xt + k * w->image);
    w->t[k] = process_model_t(w->p, row);
    if (in->y) w->y[k] = in->y[image];
}

/* A fixed variance is chosen after training, so both bounds are of interest and cost one look of the network. */
static process other_process(const process *p)
{
    process other = *p;
    other.var = p->var == VAR_FIXED_SMALL ? VAR_FIXED_LARGE : VAR_FIXED_SMALL;
    return other;
}

static ddpm_status run_some(const work *w, size_t first, size_t n)
{
    const process other = other_process(w->p);
    for (size_t k = 0; k < n; k++) corrupt(w, first + k, k);
    DDPM_TRY(w->in->denoise(w->in->ctx, (int)n, w->t, w->in->y ? w->y : NULL, w->xt, w->out));
    for (size_t k = 0; k < n; k++) {
        const size_t item = first + k, at = k * w->image;
        const float *x0 = w->in->x0 + item / (size_t)w->plan->calls * w->image;
        w->r->term[item] = bpd_step(w->p, w->r->row[item], w->in->dims, x0, w->xt + at, w->noise + at, w->out + k * w->wide);
        if (w->r->other && !process_learns_variance(w->p))
            w->r->other[item] = vb_terms(&other, w->r->row[item], w->in->dims, x0, w->xt + at, w->out + k * w->wide);
    }
    return DDPM_OK;
}

/* ---- sums ------------------------------------------------------------------------- */

static void add_up(const work *w, int image)
{
    const nll_plan *plan = w->plan;
    const size_t at = (size_t)image * (size_t)plan->calls;
    const bpd_terms *term = w->r->term + at;
    const double *factor = w->r->factor + at;
    nll_bound b = { .prior = prior_bpd(w->p->s, w->image, w->in->x0 + (size_t)image * w->image), .decoder = term[plan->calls - 1].vb };
    for (int k = 0; k < plan->calls - 1; k++) b.diffusion += factor[k] * term[k].vb;
    for (int j = plan->strata - 1, k = 0; j >= 0; j--) {
        const double m = rows_of(plan, j), gap = m > 1 ? term[k].vb - term[k + 1].vb : 0;
        b.variance += 0.25 * m * (m - 2) * gap * gap;
        k += m > 1 ? 2 : 1;
    }
    b.total = b.prior + b.diffusion + b.decoder;
    b.other = w->r->other && !process_learns_variance(w->p) ? b.prior : NAN;
    for (int k = 0; w->r->other && k < plan->calls; k++) b.other += factor[k] * w->r->other[at + (size_t)k];
    w->r->bound[image] = b;
}

ddpm_status nll_run(const process *p, const nll_plan *plan, const nll_images *in, const nll_result *r)
{
    const size_t calls = (size_t)plan->calls, all = (size_t)in->n * calls, image = (size_t)in->dims.pixels * (size_t)in->dims.channels;
    work w = { .p = p, .plan = plan, .in = in, .r = r, .image = image,
               .wide = (size_t)in->dims.pixels * (size_t)process_out_channels(p, in->dims.channels) };
    assert(plan->T == p->s->T && in->together > 0);
    DDPM_TRY(process_check(p));
    ddpm_status status = reserve(&w);
    for (size_t k = 0; k < (size_t)in->n && status == DDPM_OK; k++)
        nll_plan_draw(plan, in->seed, in->image[k], r->row + k * calls, r->factor + k * calls);
    for (size_t first = 0; first < all && status == DDPM_OK; first += (size_t)in->together)
        status = run_some(&w, first, all - first < (size_t)in->together ? all - first : (size_t)in->together);
    for (int k = 0; k < in->n && status == DDPM_OK; k++) add_up(&w, k);
    release(&w);
    return status;
}
