/* Sections 01 (schedules), 02 (respacing) and 05 (importance sampling of t), and
 * the schedules and processes of the other sections. */
#include "golden_run.h"

#include "diffusion/timesteps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void undo_schedule(void *s) { schedule_free(s); }
static void undo_list(void *l)     { step_list_free(l); }
static void undo_moment(void *m)   { second_moment_free(m); }

/* An empty one that is freed with the case. */
static schedule *new_schedule(gold_case *c)
{
    schedule *s = gold_alloc(c, 1, sizeof *s);
    gold_defer(c, undo_schedule, s);
    return s;
}

ddpm_status gold_schedule(gold_case *c, const json *entry, schedule_profile profile, schedule **s)
{
    const char *name = NULL;
    schedule_kind kind;
    int T;
    DDPM_TRY(json_get_string(entry, "beta_schedule", &name));
    if (!name) DDPM_TRY(gold_need_string(entry, "schedule", &name));
    DDPM_TRY(gold_need_int(entry, json_get(entry, "T") ? "T" : "num_train_timesteps", &T));
    DDPM_TRY(schedule_kind_find(name, &kind));
    schedule_config config = schedule_config_of(profile, kind, T);
    DDPM_TRY(json_get_real(entry, "beta_start", &config.beta_start));
    DDPM_TRY(json_get_real(entry, "beta_end", &config.beta_end));
    *s = new_schedule(c);
    return schedule_new(&config, *s);
}

ddpm_status gold_steps(gold_case *c, const schedule *full, const step_list *list, const int *prev, double last, process *p)
{
    schedule *s = new_schedule(c);
    p->s = s;
    return schedule_from_steps(full, list->t, prev, last, list->n, s);
}

ddpm_status gold_process(gold_case *c, const json *entry, process *p)
{
    schedule *full, *s = new_schedule(c);
    const char *spec = "", *mean = "epsilon", *var = "fixed_small";
    bool clip = false;
    *p = (process){ .s = s };
    DDPM_TRY(gold_schedule(c, entry, PROFILE_OPENAI, &full));
    DDPM_TRY(json_get_string(entry, "respacing", &spec));
    DDPM_TRY(schedule_respace_openai(full, spec, s));
    DDPM_TRY(json_get_string(entry, "mean", &mean));
    DDPM_TRY(json_get_string(entry, "var", &var));
    DDPM_TRY(json_get_bool(entry, "clip", &clip));
    DDPM_TRY(json_get_bool(entry, "rescale", &p->rescale_timesteps));
    p->clip = clip ? CLIP_REDERIVE : CLIP_NONE;
    DDPM_TRY(mean_type_find(mean, &p->mean));
    return var_type_find(var, &p->var);
}

static step_list *new_list(gold_case *c)
{
    step_list *l = gold_alloc(c, 1, sizeof *l);
    gold_defer(c, undo_list, l);
    return l;
}

ddpm_status gold_list_ermongroup(gold_case *c, const char *skip, int T, int S, step_list **list)
{
    *list = new_list(c);
    if (!strcmp(skip, "quad")) return respace_ermongroup_quad(T, S, *list);
    if (!strcmp(skip, "uniform")) return respace_ermongroup_uniform(T, S, *list);
    return ddpm_fail(DDPM_EINVAL, "skip type \"%s\" is unknown", skip);
}

ddpm_status gold_list_diffusers(gold_case *c, const char *spacing, int T, int S, int offset, step_list **list)
{
    spacing_kind kind;
    *list = new_list(c);
    DDPM_TRY(spacing_find(spacing, &kind));
    return respace_diffusers(T, S, kind, offset, *list);
}

static const double *table(const schedule *s, const char *name)
{
    const struct { const char *name; const double *values; } tables[] = {
        { "betas", s->betas }, { "alphas_cumprod", s->alphas_cumprod },
        { "alphas_cumprod_prev", s->alphas_cumprod_prev }, { "alphas_cumprod_next", s->alphas_cumprod_next },
        { "sqrt_alphas_cumprod", s->sqrt_alphas_cumprod },
        { "sqrt_one_minus_alphas_cumprod", s->sqrt_one_minus_alphas_cumprod },
        { "log_one_minus_alphas_cumprod", s->log_one_minus_alphas_cumprod },
        { "sqrt_recip_alphas_cumprod", s->sqrt_recip_alphas_cumprod },
        { "sqrt_recipm1_alphas_cumprod", s->sqrt_recipm1_alphas_cumprod },
        { "posterior_variance", s->posterior_variance },
        { "posterior_log_variance_clipped", s->posterior_log_variance_clipped },
        { "posterior_mean_coef1", s->posterior_mean_coef1 }, { "posterior_mean_coef2", s->posterior_mean_coef2 },
    };
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        if (!strcmp(tables[i].name, name)) return tables[i].values;
    return NULL;
}

static double relative_tolerance(const gold_tensor *t) { return t->dtype == ST_F64 ? 1e-12 : 1e-6; }

/* Every array that the file has under `prefix`; ermongroup's "alpha" begins with t = -1. */
static ddpm_status compare_tables(gold_case *c, gold_file *f, const char *prefix, const schedule *s)
{
    const size_t T = (size_t)s->T;
    for (int i = 0; i < safetensors_count(f->st); i++) {
        const char *array = gold_under(f, i, prefix);
        gold_tensor want;
        if (!array) continue;
        const bool alpha = !strcmp(array, "alpha");
        const double *values = table(s, alpha ? "alphas_cumprod" : array);
        if (!values) continue;
        DDPM_TRY(gold_need(c, f, &want, "%s%s", prefix, array));
        DDPM_TRY(gold_expect(&want, 1, T + alpha));
        double *got = gold_alloc(c, T + 1, sizeof *got);
        got[0] = 1;
        memcpy(got + alpha, values, T * sizeof *got);
        gold_compare_near(c, &want, got, 0, relative_tolerance(&want));
    }
    return DDPM_OK;
}

/* ---- 01 ---- */

typedef struct { gold_file *f; const json *entry; const char *suffix; schedule_profile profile; } schedule_job;

static ddpm_status one_schedule(gold_case *c, const void *ctx)
{
    const schedule_job *job = ctx;
    const char *name;
    schedule *s;
    DDPM_TRY(gold_need_string(job->entry, "prefix", &name));
    const char *prefix = gold_printf(c, "%s%s/", name, job->suffix);
    DDPM_TRY(gold_schedule(c, job->entry, job->profile, &s));
    if (!gold_count_under(job->f, prefix)) return ddpm_fail(DDPM_EFORMAT, "%s has no tensor under %s", job->f->label, prefix);
    return compare_tables(c, job->f, prefix, s);
}

static const struct { const char *group, *suffix; schedule_profile profile; } GROUPS[] = {
    { "openai", "", PROFILE_OPENAI }, { "ho", "", PROFILE_HO }, { "ermongroup", "", PROFILE_HO },
    { "ermongroup", "_f32", PROFILE_ERMONGROUP }, { "diffusers", "_f32", PROFILE_DIFFUSERS },
};

static ddpm_status schedules(gold_case *c, const void *ctx)
{
    const json *section = ctx;
    gold_file *f;
    DDPM_TRY(gold_open(c, "01_schedules/schedules", &f));
    for (size_t g = 0; g < sizeof GROUPS / sizeof GROUPS[0]; g++) {
        const json *group = json_get(section, GROUPS[g].group);
        for (size_t i = 0; i < json_array_len(group); i++) {
            const schedule_job job = { f, json_at(group, i), GROUPS[g].suffix, GROUPS[g].profile };
            gold_case_run(c->run, gold_printf(c, "%s/%s[%zu]%s", f->label, GROUPS[g].group, i, GROUPS[g].suffix), one_schedule, &job);
        }
    }
    return DDPM_OK;
}

void golden_schedules(gold_run *run, const json *section) { gold_case_run(run, "01_schedules/schedules", schedules, section); }

/* ---- 02 ---- */

typedef struct { gold_file *f; const json *entry; } respacing_job;

ddpm_status gold_compare_ints(gold_case *c, const gold_tensor *want, const int *t, int n, bool descending)
{
    double *got = gold_alloc(c, (size_t)n, sizeof *got);
    for (int k = 0; k < n; k++) got[k] = t[descending ? n - 1 - k : k];
    DDPM_TRY(gold_expect(want, 1, (size_t)n));
    gold_compare_near(c, want, got, 0, 0);
    return DDPM_OK;
}

static ddpm_status space_timesteps(gold_case *c, const void *ctx)
{
    const respacing_job *job = ctx;
    const char *key, *spec;
    schedule *full, *s = new_schedule(c);
    gold_tensor map, rescaled;
    DDPM_TRY(gold_need_string(job->entry, "key", &key));
    DDPM_TRY(gold_need_string(job->entry, "spec", &spec));
    DDPM_TRY(gold_schedule(c, job->entry, PROFILE_OPENAI, &full));
    DDPM_TRY(schedule_respace_openai(full, spec, s));
    DDPM_TRY(gold_need(c, job->f, &map, "%s/timestep_map", key));
    DDPM_TRY(gold_compare_ints(c, &map, s->timestep_map, s->T, false));
    DDPM_TRY(compare_tables(c, job->f, gold_printf(c, "%s/", key), s));
    DDPM_TRY(gold_need(c, job->f, &rescaled, "%s/model_timesteps_rescaled", key));
    DDPM_TRY(gold_expect(&rescaled, 1, (size_t)s->T));
    const process p = { .s = s, .rescale_timesteps = true };
    double *got = gold_alloc(c, rescaled.len, sizeof *got);
    for (int k = 0; k < s->T; k++) got[k] = (double)process_model_t(&p, k);
    gold_compare_near(c, &rescaled, got, 0, 0);
    return DDPM_OK;
}

/* The chain is cosine, which every T has; what must fail is its respacing. */
static ddpm_status space_timesteps_error(gold_case *c, const void *ctx)
{
    const respacing_job *job = ctx;
    const char *spec;
    int T;
    DDPM_TRY(gold_need_string(job->entry, "spec", &spec));
    DDPM_TRY(gold_need_int(job->entry, "T", &T));
    const schedule_config config = schedule_config_of(PROFILE_OPENAI, SCHEDULE_COSINE, T);
    schedule *full = new_schedule(c), *s = new_schedule(c);
    DDPM_TRY(schedule_new(&config, full));
    const bool refused = schedule_respace_openai(full, spec, s) != DDPM_OK;
    gold_check(c, gold_printf(c, "02_respacing/respacing/error/T%d_%s", T, spec), refused ? 0 : 1, 0, "was accepted, must be refused");
    return DDPM_OK;
}

static ddpm_status ddim_seq(gold_case *c, const void *ctx)
{
    const respacing_job *job = ctx;
    const char *key, *skip;
    int T, S;
    gold_tensor want;
    step_list *list;
    DDPM_TRY(gold_need_string(job->entry, "key", &key));
    DDPM_TRY(gold_need_string(job->entry, "skip_type", &skip));
    DDPM_TRY(gold_need_int(job->entry, "T", &T));
    DDPM_TRY(gold_need_int(job->entry, "S", &S));
    DDPM_TRY(gold_list_ermongroup(c, skip, T, S, &list));
    DDPM_TRY(gold_need(c, job->f, &want, "%s", key));
    return gold_compare_ints(c, &want, list->t, list->n, false);
}

static ddpm_status diffusers_timesteps(gold_case *c, const void *ctx)
{
    const respacing_job *job = ctx;
    const char *key, *spacing;
    int T, S, offset;
    gold_tensor want;
    step_list *list;
    DDPM_TRY(gold_need_string(job->entry, "key", &key));
    DDPM_TRY(gold_need_string(job->entry, "timestep_spacing", &spacing));
    DDPM_TRY(gold_need_int(job->entry, "T", &T));
    DDPM_TRY(gold_need_int(job->entry, "S", &S));
    DDPM_TRY(gold_need_int(job->entry, "steps_offset", &offset));
    DDPM_TRY(gold_list_diffusers(c, spacing, T, S, offset, &list));
    DDPM_TRY(gold_need(c, job->f, &want, "%s", key));
    return gold_compare_ints(c, &want, list->t, list->n, true);
}

static const struct { const char *key; gold_fn fn; } RESPACINGS[] = {
    { "space_timesteps", space_timesteps }, { "space_timesteps_errors", space_timesteps_error },
    { "ddim_seq", ddim_seq }, { "diffusers_timesteps", diffusers_timesteps },
};

static ddpm_status respacing(gold_case *c, const void *ctx)
{
    (void)ctx;
    const json *index;
    gold_file *f;
    DDPM_TRY(gold_json(c, &index, "02_respacing/respacing.json"));
    DDPM_TRY(gold_open(c, "02_respacing/respacing", &f));
    for (size_t k = 0; k < sizeof RESPACINGS / sizeof RESPACINGS[0]; k++) {
        const json *list = json_get(index, RESPACINGS[k].key);
        for (size_t i = 0; i < json_array_len(list); i++) {
            const respacing_job job = { f, json_at(list, i) };
            gold_case_run(c->run, gold_printf(c, "%s/%s[%zu]", f->label, RESPACINGS[k].key, i), RESPACINGS[k].fn, &job);
        }
    }
    return DDPM_OK;
}

void golden_respacing(gold_run *run, const json *section)
{
    (void)section;
    gold_case_run(run, "02_respacing/respacing", respacing, NULL);
}

/* ---- 05 ---- */

typedef struct { gold_tensor ts, losses, weights, warm, indices, sample_weights; } resampler_data;

static ddpm_status load_resampler(gold_case *c, gold_file *f, size_t T, resampler_data *d)
{
    DDPM_TRY(gold_need(c, f, &d->ts, "update_ts"));
    DDPM_TRY(gold_need(c, f, &d->losses, "update_losses"));
    DDPM_TRY(gold_need(c, f, &d->weights, "weights"));
    DDPM_TRY(gold_need(c, f, &d->warm, "warmed_up"));
    DDPM_TRY(gold_need(c, f, &d->indices, "sample_indices"));
    DDPM_TRY(gold_need(c, f, &d->sample_weights, "sample_weights"));
    DDPM_TRY(gold_expect(&d->losses, 2, d->ts.len));
    DDPM_TRY(gold_expect(&d->ts, 2, d->ts.len));
    DDPM_TRY(gold_expect(&d->indices, 2, d->ts.shape[0] * d->indices.shape[1]));
    DDPM_TRY(gold_expect(&d->weights, 2, d->ts.shape[0] * T));
    DDPM_TRY(gold_expect(&d->warm, 1, d->ts.shape[0]));
    for (size_t i = 0; i < d->ts.len; i++)
        if (d->ts.v[i] < 0 || d->ts.v[i] >= (double)T) return ddpm_fail(DDPM_EFORMAT, "%s[%zu] is no timestep", d->ts.label, i);
    return gold_expect(&d->sample_weights, 2, d->indices.len);
}

static ddpm_status compare_history(gold_case *c, gold_file *f, const second_moment *m)
{
    const size_t T = (size_t)m->T;
    gold_tensor history, counts;
    DDPM_TRY(gold_need(c, f, &history, "final_loss_history"));
    DDPM_TRY(gold_need(c, f, &counts, "final_loss_counts"));
    DDPM_TRY(gold_expect(&history, 2, T * SECOND_MOMENT_HISTORY));
    gold_compare_near(c, &history, m->history, 0, 1e-12);
    return gold_compare_ints(c, &counts, m->count, m->T, false);
}

static ddpm_status resampler(gold_case *c, const void *ctx)
{
    const json *section = ctx;
    gold_file *f;
    resampler_data d;
    int T;
    second_moment *m = gold_alloc(c, 1, sizeof *m);
    DDPM_TRY(gold_need_int(section, "T", &T));
    DDPM_TRY(gold_open(c, "05_resampler/resampler", &f));
    DDPM_TRY(load_resampler(c, f, (size_t)T, &d));
    DDPM_TRY(second_moment_new(T, m));
    gold_defer(c, undo_moment, m);
    const size_t rounds = d.ts.shape[0], draws = d.indices.shape[1];
    double *weights = gold_alloc(c, d.weights.len, sizeof *weights), *warm = gold_alloc(c, rounds, sizeof *warm);
    double *sample = gold_alloc(c, d.indices.len, sizeof *sample);
    for (size_t b = 0; b < rounds; b++) {
        const gold_tensor ts = gold_at(&d.ts, b), losses = gold_at(&d.losses, b);
        second_moment_update(m, (int)ts.len, gold_ints(c, &ts), gold_floats(c, &losses));
        memcpy(weights + b * (size_t)T, m->weights, (size_t)T * sizeof *weights);
        warm[b] = second_moment_warm(m);
        for (size_t k = b * draws; k < (b + 1) * draws; k++) sample[k] = (double)second_moment_loss_weight(m, (int)d.indices.v[k]);
    }
    gold_compare_near(c, &d.weights, weights, 0, 1e-12);
    gold_compare_near(c, &d.warm, warm, 0, 0);
    gold_compare_near(c, &d.sample_weights, sample, 0, 1e-6);
    return compare_history(c, f, m);
}

void golden_resampler(gold_run *run, const json *section)
{
    int64_t history = SECOND_MOMENT_HISTORY;
    double uniform = 0.001;
    if (json_get_int(section, "history", &history) == DDPM_OK && json_get_real(section, "uniform_prob", &uniform) == DDPM_OK &&
        (history != SECOND_MOMENT_HISTORY || uniform > 0.001 || uniform < 0.001))
        gold_skip(run, "05_resampler/resampler", "this program's history length and uniform share are fixed (10, 0.001)");
    else gold_case_run(run, "05_resampler/resampler", resampler, section);
}
