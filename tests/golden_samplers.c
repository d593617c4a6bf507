/* Section 07: each step from the stored state, and whole trajectories. Also the
 * loops over whole chains of section 04. */
#include "golden_run.h"

#include "diffusion/loss.h"
#include "diffusion/sampler.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum { METHOD_DDPM, METHOD_DDIM, METHOD_ENCODE } sampling_method;

static void undo_denoiser(void *d) { denoiser_free(d); }
static void undo_weights(void *w)  { nn_weights_free(w); }
static void undo_env(void *e)      { sampler_release(e); }

/* ---- a network that a sampler can call ---- */

typedef struct {
    gold_case   *c;
    gold_net     net;
    denoiser    *d;
    nn_weights  *w;
    sampler_env  env;
    size_t       n, channels, pixels, len;   /* len: of all images together */
    const float *noise;                      /* [draws, len]                */
    size_t       draws;
    bool         noise_missing;
    float       *samples, *xstarts;          /* [steps, len] by observe     */
    size_t       observed;
} engine;

static ddpm_status run_network(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    const engine *e = ctx;
    return denoiser_run(e->d, e->w, n, t, y, x, out);
}

/* Samplers ask only for what they use, and the file holds what the original drew: from step 0 on. */
static void give_noise(void *ctx, int step, int n, float *z)
{
    engine *e = ctx;
    (void)n;
    if ((size_t)step < e->draws) memcpy(z, e->noise + (size_t)step * e->len, e->len * sizeof *z);
    else e->noise_missing = true;
}

static void observe(void *ctx, int step, int t, const float *x, const float *pred_xstart)
{
    engine *e = ctx;
    (void)t;
    memcpy(e->samples + (size_t)step * e->len, x, e->len * sizeof *x);
    memcpy(e->xstarts + (size_t)step * e->len, pred_xstart, e->len * sizeof *x);
    e->observed++;
}

/* Network `name` for images like `like` [n,C,H,W]. */
static ddpm_status open_engine(gold_case *c, gold_file *f, const char *name, const gold_tensor *like, const char *y_name, engine *e)
{
    gold_tensor y;
    *e = (engine){ .c = c, .n = like->shape[0], .channels = like->shape[1], .pixels = like->shape[2] * like->shape[3], .len = like->len };
    DDPM_TRY(gold_net_load(c, name, like->shape[2], like->shape[3], &e->net));
    if ((size_t)e->net.config.in_channels != e->channels)
        return ddpm_fail(DDPM_EFORMAT, "%s has another number of channels than %s", like->label, name);
    DDPM_TRY(denoiser_new(&e->net.config, c->run->backend, c->run->pool, c->run->precision, NN_INFER, (int)e->n, &e->d));
    gold_defer(c, undo_denoiser, e->d);
    DDPM_TRY(nn_weights_new(denoiser_graph(e->d), c->run->backend, e->net.values, false, &e->w));
    gold_defer(c, undo_weights, e->w);
    e->env = (sampler_env){ .denoise = run_network, .noise = give_noise, .observe = observe, .ctx = e, .n = (int)e->n,
                            .dims = { (int)e->pixels, (int)e->channels } };
    if (!e->net.config.num_classes) return DDPM_OK;
    DDPM_TRY(gold_need(c, f, &y, "%s", y_name));
    DDPM_TRY(gold_expect(&y, 1, e->n));
    for (size_t i = 0; i < y.len; i++)
        if (y.v[i] < 0 || y.v[i] >= e->net.config.num_classes)
            return ddpm_fail(DDPM_EFORMAT, "%s[%zu] is no class of the network", y.label, i);
    e->env.y = gold_ints(c, &y);
    return DDPM_OK;
}

static ddpm_status reserve(engine *e, const process *p)
{
    if (e->net.config.out_channels != process_out_channels(p, (int)e->channels))
        return ddpm_fail(DDPM_EFORMAT, "network %s has %d output channels, which does not fit the process", e->net.name,
                         e->net.config.out_channels);
    DDPM_TRY(sampler_reserve(p, &e->env));
    gold_defer(e->c, undo_env, &e->env);
    return DDPM_OK;
}

/* ---- trajectories ---- */

typedef struct {
    gold_file  *f;
    const json *entry;
    const char *name;
    process     p;
    sampling_method method;
    double      eta;
    bool        sigma_hat, e2e;
    gold_tensor start, sample, xstart, output;
    size_t      steps;
} trajectory;

static ddpm_status load_trajectory(gold_case *c, trajectory *t, const char *net, engine *e)
{
    gold_tensor noise;
    t->steps = (size_t)t->p.s->T;
    DDPM_TRY(gold_need(c, t->f, &t->start, t->method == METHOD_ENCODE ? "%s/x0" : "%s/xT", t->name));
    DDPM_TRY(gold_expect(&t->start, 4, t->start.len));
    DDPM_TRY(gold_need(c, t->f, &t->sample, "%s/sample", t->name));
    DDPM_TRY(gold_need(c, t->f, &t->xstart, "%s/pred_xstart", t->name));
    DDPM_TRY(gold_expect(&t->sample, 5, t->steps * t->start.len));
    DDPM_TRY(gold_expect(&t->xstart, 5, t->steps * t->start.len));
    if (gold_find(c, t->f, &t->output, "%s/model_output", t->name)) DDPM_TRY(gold_expect(&t->output, 5, t->steps * t->start.len));
    DDPM_TRY(open_engine(c, t->f, net, &t->start, gold_printf(c, "%s/y", t->name), e));
    DDPM_TRY(reserve(e, &t->p));
    e->env.eta = t->eta;
    e->env.sigma_hat = t->sigma_hat;
    e->samples = gold_alloc(c, t->sample.len, sizeof *e->samples);
    e->xstarts = gold_alloc(c, t->sample.len, sizeof *e->xstarts);
    if (!gold_find(c, t->f, &noise, "%s/noise", t->name)) return DDPM_OK;
    DDPM_TRY(gold_expect(&noise, 5, noise.shape[0] * e->len));
    e->noise = gold_nhwc(c, &noise);
    e->draws = noise.shape[0];
    return DDPM_OK;
}

static int row_of(const trajectory *t, size_t step) { return (int)(t->method == METHOD_ENCODE ? step : t->steps - 1 - step); }

/* One step from the stored state. output: what the network said. */
static ddpm_status forced_step(const trajectory *t, engine *e, size_t k, float *output)
{
    const gold_tensor before = k ? gold_at(&t->sample, k - 1) : t->start;
    const float *xt = gold_nhwc(e->c, &before);
    const int i = row_of(t, k);
    const sampler_arrays a = { sampler_dims(&e->env), xt, e->env.out, e->env.z, e->samples + k * e->len, e->xstarts + k * e->len };
    DDPM_TRY(sampler_network(&t->p, &e->env, i, xt));
    if (output) memcpy(output, e->env.out, e->len * sizeof *output);
    switch (t->method) {
    case METHOD_DDPM:
        if (sampler_ddpm_noisy(&t->p, i)) give_noise(e, (int)k, e->env.n, e->env.z);
        sampler_ddpm_step(&t->p, i, &a);
        break;
    case METHOD_DDIM:
        if (sampler_ddim_noisy(&t->p, i, t->eta, t->sigma_hat)) give_noise(e, (int)k, e->env.n, e->env.z);
        sampler_ddim_step(&t->p, i, t->eta, t->sigma_hat, &a);
        break;
    case METHOD_ENCODE:
        sampler_encode_step(&t->p, i, &a);
        break;
    }
    return e->noise_missing ? ddpm_fail(DDPM_EFORMAT, "%s/%s: step %zu needs noise that is not stored", t->f->label, t->name, k) : DDPM_OK;
}

/* Tolerance of step k: `share` of the largest value of that step, plus `extra` (by step) when given. */
static void compare_steps(engine *e, const gold_tensor *want, const char *how, const float *x, double share, const double *extra)
{
    const size_t steps = want->shape[0];
    gold_tensor named = *want;
    double *got = gold_alloc(e->c, want->len, sizeof *got), *allowed = gold_alloc(e->c, want->len, sizeof *allowed);
    gold_from_nhwc(x, steps * e->n, e->channels, e->pixels, got);
    for (size_t k = 0; k < steps; k++) {
        const gold_tensor step = gold_at(want, k);
        const double tolerance = share * gold_peak(&step) + (extra ? extra[k] : 0);
        for (size_t i = 0; i < e->len; i++) allowed[k * e->len + i] = tolerance;
    }
    named.label = gold_printf(e->c, "%s%s", want->label, how);
    gold_compare(e->c, &named, got, allowed);
}

static ddpm_status compare_forced(const trajectory *t, engine *e)
{
    double *extra = gold_alloc(e->c, t->steps, sizeof *extra);
    float *outputs = t->output.len ? gold_alloc(e->c, t->output.len, sizeof *outputs) : NULL;
    for (size_t k = 0; k < t->steps; k++) {
        const double bar = t->p.s->alphas_cumprod[row_of(t, k)];
        extra[k] = 6e-5 * (t->p.mean == MEAN_START_X ? 1 : sqrt(1 / bar - 1));
        DDPM_TRY(forced_step(t, e, k, outputs ? outputs + k * e->len : NULL));
    }
    if (outputs) compare_steps(e, &t->output, "", outputs, 5e-5, NULL);
    compare_steps(e, &t->sample, "", e->samples, 5e-5, NULL);
    compare_steps(e, &t->xstart, "", e->xstarts, 5e-5, extra);
    return DDPM_OK;
}

static ddpm_status compare_whole(const trajectory *t, engine *e)
{
    float *x = gold_nhwc(e->c, &t->start);
    e->observed = 0;
    switch (t->method) {
    case METHOD_DDPM:   DDPM_TRY(sampler_ddpm(&t->p, &e->env, x)); break;
    case METHOD_DDIM:   DDPM_TRY(sampler_ddim(&t->p, &e->env, x)); break;
    case METHOD_ENCODE: DDPM_TRY(sampler_encode(&t->p, &e->env, x)); break;
    }
    if (e->observed != t->steps || e->noise_missing) return ddpm_fail(DDPM_EFAIL, "the sampler took %zu steps of %zu", e->observed, t->steps);
    compare_steps(e, &t->sample, " (whole trajectory)", e->samples, 2e-3, NULL);
    return DDPM_OK;
}

/* `list`: the tensor of timesteps, `descending` as diffusers stores it. */
static ddpm_status run_trajectory(gold_case *c, trajectory *t, const char *net, const char *list, bool descending)
{
    engine *e = gold_alloc(c, 1, sizeof *e);
    gold_tensor map;
    DDPM_TRY(load_trajectory(c, t, net, e));
    DDPM_TRY(gold_need(c, t->f, &map, "%s/%s", t->name, list));
    DDPM_TRY(gold_compare_ints(c, &map, t->p.s->timestep_map, t->p.s->T, descending));
    DDPM_TRY(compare_forced(t, e));
    return t->e2e ? compare_whole(t, e) : DDPM_OK;
}

/* ---- the code bases' samplers ---- */

typedef struct { gold_file *f; const json *entry; sampling_method method; } sampler_job;

static ddpm_status begin(const sampler_job *job, trajectory *t)
{
    *t = (trajectory){ .f = job->f, .entry = job->entry, .method = job->method, .e2e = true };
    DDPM_TRY(gold_need_string(job->entry, "name", &t->name));
    DDPM_TRY(json_get_real(job->entry, "eta", &t->eta));
    return json_get_bool(job->entry, "e2e", &t->e2e);
}

static ddpm_status iddpm_trajectory(gold_case *c, const void *ctx)
{
    const sampler_job *job = ctx;
    trajectory t;
    const char *net;
    DDPM_TRY(begin(job, &t));
    DDPM_TRY(gold_need_string(job->entry, "net", &net));
    DDPM_TRY(gold_process(c, job->entry, &t.p));
    return run_trajectory(c, &t, net, "timestep_map", false);
}

/* Its DDIM never clips; its "ddpm_noisy" always does, and is DDIM with eta 1 and the larger noise. */
static ddpm_status ermongroup_trajectory(gold_case *c, const void *ctx)
{
    const sampler_job *job = ctx;
    const json *shared;
    trajectory t;
    const char *net, *type, *skip;
    schedule *full;
    step_list *list;
    int S;
    DDPM_TRY(begin(job, &t));
    DDPM_TRY(gold_need_object(json_get(c->run->cases, "07_samplers"), "ermongroup_process", &shared));
    DDPM_TRY(gold_need_string(shared, "net", &net));
    DDPM_TRY(gold_need_string(job->entry, "type", &type));
    DDPM_TRY(gold_need_string(job->entry, "skip", &skip));
    DDPM_TRY(gold_need_int(job->entry, "S", &S));
    DDPM_TRY(gold_schedule(c, shared, PROFILE_ERMONGROUP, &full));
    DDPM_TRY(gold_list_ermongroup(c, skip, full->T, S, &list));
    DDPM_TRY(gold_steps(c, full, list, NULL, 1, &t.p));
    if (!strcmp(type, "ddpm_noisy")) {
        t.p.clip = CLIP_REDERIVE;
        t.sigma_hat = true;
        t.eta = 1;
    } else if (strcmp(type, "generalized")) {
        return ddpm_fail(DDPM_EFORMAT, "sample type \"%s\" is unknown", type);
    }
    return run_trajectory(c, &t, net, "seq", false);
}

static void undo_json(void *tree) { json_free(tree); }

/* Puts the plain values of `from` into `to`. */
static ddpm_status overlay(json *to, const json *from)
{
    for (const char *key = json_first(from); key; key = json_next(from, key)) {
        const json *j = json_get(from, key);
        int64_t whole;
        double real;
        bool flag;
        if (json_as_int(j, &whole)) DDPM_TRY(json_put_int(to, key, whole));
        else if (json_as_real(j, &real)) DDPM_TRY(json_put_real(to, key, real));
        else if (json_as_bool(j, &flag)) DDPM_TRY(json_put_bool(to, key, flag));
        else if (json_as_string(j)) DDPM_TRY(json_put_string(to, key, json_as_string(j)));
    }
    return DDPM_OK;
}

static ddpm_status diffusers_process(gold_case *c, const json *s, const json *entry, trajectory *t)
{
    const char *spacing, *type, *variance;
    bool clip, to_one = true, rederive = false;
    int S, offset;
    schedule *full;
    step_list *list;
    DDPM_TRY(gold_need_int(entry, "S", &S));
    DDPM_TRY(gold_schedule(c, s, PROFILE_DIFFUSERS, &full));
    DDPM_TRY(gold_need_string(s, "timestep_spacing", &spacing));
    DDPM_TRY(gold_need_string(s, "prediction_type", &type));
    DDPM_TRY(gold_need_string(s, "variance_type", &variance));
    DDPM_TRY(gold_need_int(s, "steps_offset", &offset));
    DDPM_TRY(gold_need_bool(s, "clip_sample", &clip));
    DDPM_TRY(json_get_bool(s, "set_alpha_to_one", &to_one));
    DDPM_TRY(json_get_bool(entry, "ucmo", &rederive));
    DDPM_TRY(gold_list_diffusers(c, spacing, full->T, S, offset, &list));
    int *prev = gold_alloc(c, (size_t)list->n, sizeof *prev);
    respace_diffusers_ddim_prev(full->T, S, list, prev);
    const bool ddim = t->method == METHOD_DDIM;
    t->p = (process){ .clip = rederive ? CLIP_REDERIVE : CLIP_X0, .final_noise = true };
    if (!clip) t->p.clip = CLIP_NONE;
    DDPM_TRY(gold_steps(c, full, list, ddim ? prev : NULL, ddim && !to_one ? full->alphas_cumprod[0] : 1, &t->p));
    DDPM_TRY(mean_type_find(type, &t->p.mean));
    return var_type_find(variance, &t->p.var);
}

static ddpm_status diffusers_trajectory(gold_case *c, const void *ctx)
{
    const sampler_job *job = ctx;
    const json *shared, *defaults;
    json *s = json_new_object();                        /* the defaults under the entry's own parameters */
    trajectory t;
    const char *net, *kind;
    double range = 1;
    gold_defer(c, undo_json, s);
    DDPM_TRY(begin(job, &t));
    DDPM_TRY(gold_need_object(json_get(c->run->cases, "07_samplers"), "diffusers_process", &shared));
    DDPM_TRY(gold_need_object(shared, "defaults", &defaults));
    DDPM_TRY(overlay(s, defaults));
    DDPM_TRY(overlay(s, json_get(job->entry, "cfg")));
    DDPM_TRY(gold_need_string(shared, "net", &net));
    DDPM_TRY(gold_need_string(job->entry, "kind", &kind));
    t.method = !strcmp(kind, "ddim") ? METHOD_DDIM : METHOD_DDPM;
    DDPM_TRY(json_get_real(s, "clip_sample_range", &range));
    if (range < 1 || range > 1) {
        gold_skip(c->run, gold_printf(c, "07_samplers/diffusers/%s", t.name), "this program clips to [-1, 1] only");
        return DDPM_OK;
    }
    DDPM_TRY(diffusers_process(c, s, job->entry, &t));
    return run_trajectory(c, &t, net, "timesteps", true);
}

static const struct { const char *key; gold_fn fn; sampling_method method; } GROUPS[] = {
    { "iddpm_ddpm", iddpm_trajectory, METHOD_DDPM },      { "iddpm_ddim", iddpm_trajectory, METHOD_DDIM },
    { "iddpm_reverse", iddpm_trajectory, METHOD_ENCODE }, { "ermongroup", ermongroup_trajectory, METHOD_DDIM },
    { "diffusers", diffusers_trajectory, METHOD_DDPM },
};

typedef struct { const json *section; size_t group; } group_job;

static ddpm_status run_group(gold_case *c, const void *ctx)
{
    const group_job *job = ctx;
    const char *key = GROUPS[job->group].key;
    const json *list = json_get(job->section, key);
    gold_file *f;
    DDPM_TRY(gold_open(c, gold_printf(c, "07_samplers/%s", key), &f));
    for (size_t i = 0; i < json_array_len(list); i++) {
        const sampler_job one = { f, json_at(list, i), GROUPS[job->group].method };
        const char *name = "without a name";
        (void)json_get_string(one.entry, "name", &name);
        gold_case_run(c->run, gold_printf(c, "%s/%s", f->label, name), GROUPS[job->group].fn, &one);
    }
    return DDPM_OK;
}

void golden_samplers(gold_run *run, const json *section)
{
    static const char *const known[] = { "shape", "ermongroup_process", "diffusers_process" };
    for (const char *key = json_first(section); key; key = json_next(section, key)) {
        char label[GOLD_NAME];
        bool found = false;
        snprintf(label, sizeof label, "07_samplers/%s", key);
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) found = found || !strcmp(key, known[i]);
        for (size_t i = 0; i < sizeof GROUPS / sizeof GROUPS[0]; i++) {
            const group_job job = { section, i };
            if (strcmp(key, GROUPS[i].key)) continue;
            gold_case_run(run, label, run_group, &job);
            found = true;
        }
        if (!found) gold_skip(run, label, "unknown sampler");
    }
}

/* ---- bits per dimension ---- */

typedef struct { double *vb, *xstart_mse, *mse, *total, *prior; } bits;

/* Column k of the results is row T-1-k of the process. */
static ddpm_status walk_chain(engine *e, const process *p, const float *x0, const bits *b)
{
    const size_t T = (size_t)p->s->T, one = e->len / e->n, out_one = one * (process_learns_variance(p) ? 2 : 1);
    const image_dims d = { (int)e->pixels, (int)e->channels };
    float *xt = gold_alloc(e->c, e->len, sizeof *xt);
    for (size_t n = 0; n < e->n; n++) b->total[n] = b->prior[n] = prior_bpd(p->s, one, x0 + n * one);
    for (size_t k = 0; k < T; k++) {
        const int i = (int)(T - 1 - k);
        const float *noise = e->noise + k * e->len;
        q_sample(p->s, i, e->len, x0, noise, xt);
        DDPM_TRY(sampler_network(p, &e->env, i, xt));
        for (size_t n = 0; n < e->n; n++) {
            const bpd_terms t = bpd_step(p, i, d, x0 + n * one, xt + n * one, noise + n * one, e->env.out + n * out_one);
            b->vb[n * T + k] = t.vb;
            b->xstart_mse[n * T + k] = t.xstart_mse;
            b->mse[n * T + k] = t.mse;
            b->total[n] += t.vb;
        }
    }
    return DDPM_OK;
}

static ddpm_status compare_bits(gold_case *c, gold_file *f, const char *name, const double *got, size_t n, size_t T)
{
    gold_tensor want;
    DDPM_TRY(gold_need(c, f, &want, "%s", name));
    DDPM_TRY(gold_expect(&want, 0, n * T));
    double *allowed = gold_alloc(c, want.len, sizeof *allowed);
    for (size_t i = 0; i < want.len; i++) allowed[i] = (T > 1 && i % T == T - 1 ? 1e-3 : 1e-4) * fabs(want.v[i]) + 1e-6;
    gold_compare(c, &want, got, allowed);
    return DDPM_OK;
}

static ddpm_status one_chain(gold_case *c, const void *ctx)
{
    const json *entry = ctx;
    const char *name, *net;
    process p;
    gold_file *f;
    gold_tensor x, noise, map, prior;
    engine *e = gold_alloc(c, 1, sizeof *e);
    DDPM_TRY(gold_need_string(entry, "name", &name));
    DDPM_TRY(gold_need_string(entry, "net", &net));
    DDPM_TRY(gold_process(c, entry, &p));
    DDPM_TRY(gold_open(c, gold_printf(c, "04_losses/bpd_%s", name), &f));
    DDPM_TRY(gold_need(c, f, &x, "x"));
    DDPM_TRY(gold_expect(&x, 4, x.len));
    const size_t T = (size_t)p.s->T, n = x.shape[0];
    DDPM_TRY(open_engine(c, f, net, &x, "y", e));
    DDPM_TRY(reserve(e, &p));
    DDPM_TRY(gold_need(c, f, &noise, "noise"));
    DDPM_TRY(gold_expect(&noise, 5, T * x.len));
    e->noise = gold_nhwc(c, &noise);
    DDPM_TRY(gold_need(c, f, &map, "timestep_map"));
    DDPM_TRY(gold_compare_ints(c, &map, p.s->timestep_map, p.s->T, false));
    const bits b = { gold_alloc(c, n * T, sizeof(double)), gold_alloc(c, n * T, sizeof(double)), gold_alloc(c, n * T, sizeof(double)),
                     gold_alloc(c, n, sizeof(double)), gold_alloc(c, n, sizeof(double)) };
    DDPM_TRY(walk_chain(e, &p, gold_nhwc(c, &x), &b));
    DDPM_TRY(compare_bits(c, f, "vb", b.vb, n, T));
    DDPM_TRY(compare_bits(c, f, "xstart_mse", b.xstart_mse, n, T));
    DDPM_TRY(compare_bits(c, f, "mse", b.mse, n, T));
    DDPM_TRY(compare_bits(c, f, "total_bpd", b.total, n, 1));
    DDPM_TRY(gold_need(c, f, &prior, "prior_bpd"));
    DDPM_TRY(gold_expect(&prior, 1, n));
    gold_compare_near(c, &prior, b.prior, 1e-6, 0);
    gold_find(c, f, &x, "x_u8");                        /* the bytes behind x */
    return DDPM_OK;
}

void golden_bits(gold_run *run, const json *list)
{
    for (size_t i = 0; i < json_array_len(list); i++) {
        char label[GOLD_NAME];
        const char *name = "without a name";
        (void)json_get_string(json_at(list, i), "name", &name);
        snprintf(label, sizeof label, "04_losses/bpd_%s", name);
        gold_case_run(run, label, one_chain, json_at(list, i));
    }
}
