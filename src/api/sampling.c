#include "api/sampling.h"

#include "diffusion/respace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_STEPS = 50, CHUNK_PIXELS = 8192, MAX_CHUNK = 32 };

int sampling_chunk(int height, int width)
{
    const int n = CHUNK_PIXELS / (height * width);
    return n < 1 ? 1 : n > MAX_CHUNK ? MAX_CHUNK : n;
}

ddpm_status sampling_process(const settings *model, schedule *full, process *p)
{
    const schedule_config c = settings_schedule(model);
    DDPM_TRY(schedule_new(&c, full));
    *p = (process){ .s = full, .mean = settings_mean(model), .var = settings_variance(model), .clip = CLIP_REDERIVE,
                    .rescale_timesteps = model->v.rescale_timesteps };
    return DDPM_OK;
}

static bool given(const settings *s, const char *name) { return settings_origin(s, name) > ORIGIN_PRESET; }

/* How many steps: asked for, or the method's default. */
static ddpm_status count_steps(const settings *request, const sampler *method, int T, int *steps)
{
    const settings_values *v = &request->v;
    *steps = !strcmp(method->name, "ddpm") || T < DEFAULT_STEPS ? T : DEFAULT_STEPS;
    if (!given(request, "steps")) return DDPM_OK;
    if (v->steps < 1 || v->steps > T)
        return ddpm_fail(DDPM_EINVAL, "--steps %lld: this model has T = %d timesteps; 1 to %d steps are possible", (long long)v->steps, T, T);
    *steps = (int)v->steps;
    return DDPM_OK;
}

/* The papers' own methods; the others want steps that are even in log-SNR. */
static bool plain(const sampler *method) { return !strcmp(method->name, "ddim") || !strcmp(method->name, "ddpm"); }

static ddpm_status choose_steps(const settings *request, sampling *s)
{
    static const char OPENAI[] = "openai:";
    const settings_values *v = &request->v;
    const char *spec = v->timestep_respacing[0] ? v->timestep_respacing : !strncmp(v->spacing, OPENAI, sizeof OPENAI - 1) ? v->spacing + sizeof OPENAI - 1 : NULL;
    if (spec) {
        if (given(request, "steps")) return ddpm_fail(DDPM_EINVAL, "--steps contradicts the list of steps \"%s\"; give one of them", spec);
        s->spacing = spec;
        return schedule_respace_openai(&s->full, spec, &s->steps);
    }
    int steps;
    spacing_kind kind = plain(s->method) ? SPACING_TRAILING : SPACING_LOGSNR;
    step_list list = { 0 };
    DDPM_TRY(count_steps(request, s->method, s->full.T, &steps));
    if (strcmp(v->spacing, "auto")) DDPM_TRY(spacing_find(v->spacing, &kind));
    s->spacing = spacing_name(kind);
    DDPM_TRY(respace_exact(&s->full, steps, kind, &list));
    const ddpm_status status = schedule_respace(&s->full, list.t, list.n, &s->steps);
    step_list_free(&list);
    return status;
}

static ddpm_status choose_clip(const settings *request, clip_mode *clip)
{
    const settings_values *v = &request->v;
    if (v->clip != SAMPLE_CLIP_AUTO) *clip = (clip_mode)(v->clip - SAMPLE_CLIP_NONE);
    if (v->clip_denoised) return DDPM_OK;
    if (v->clip > SAMPLE_CLIP_NONE) return ddpm_fail(DDPM_EINVAL, "--clip_denoised false contradicts --clip; give one of them");
    *clip = CLIP_NONE;
    return DDPM_OK;
}

ddpm_status sampling_variance(const settings *request, var_type trained, var_type *var)
{
    if (!given(request, "variance") || request->v.variance == VARIANCE_AUTO) {
        if (trained < VAR_LEARNED && given(request, "sigma_small")) *var = request->v.sigma_small ? VAR_FIXED_SMALL : VAR_FIXED_LARGE;
        return DDPM_OK;
    }
    const var_type asked = settings_variance(request);
    if (asked >= VAR_LEARNED && trained < VAR_LEARNED)
        return ddpm_fail(DDPM_EINVAL, "--variance %s: this model did not learn its variance; use small or large", var_type_name(asked));
    *var = asked >= VAR_LEARNED ? trained : asked;
    return DDPM_OK;
}

/* improved-diffusion's command lines mean the ancestral sampler unless they say --use_ddim. */
static ddpm_status choose_method(const settings *request, const sampler **method)
{
    const settings_values *v = &request->v;
    const bool chosen = given(request, "sampler"), theirs = given(request, "use_ddim") || v->timestep_respacing[0];
    char name[OPTION_TEXT_SIZE];
    options_print(settings_options, v, options_find(settings_options, "sampler"), name);
    if (chosen && v->sampler != SAMPLER_DDIM && v->use_ddim) return ddpm_fail(DDPM_EINVAL, "--use_ddim contradicts --sampler %s; give one of them", name);
    if (!chosen && theirs) snprintf(name, sizeof name, "%s", v->use_ddim ? "ddim" : "ddpm");
    if (strcmp(name, "ddim") && given(request, "eta")) return ddpm_fail(DDPM_EINVAL, "--eta %g: the sampler %s has no eta; use --sampler ddim", v->eta, name);
    return sampler_find(name, method);
}

/* Guidance compares a class with none, which only label dropout teaches. */
static ddpm_status check_guidance(const settings *model, const settings *request)
{
    if (request->v.guidance == 1 || (model->v.class_cond && model->v.label_dropout > 0)) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "--guidance %g: this model was trained without %s; train with --class_cond and --label_dropout to guide it",
                     request->v.guidance, model->v.class_cond ? "label dropout" : "classes");
}

static ddpm_status choose(const settings *model, const settings *request, sampling *s)
{
    DDPM_TRY(sampling_process(model, &s->full, &s->trained));
    DDPM_TRY(choose_method(request, &s->method));
    DDPM_TRY(check_guidance(model, request));
    DDPM_TRY(choose_steps(request, s));
    s->p = s->trained;
    s->p.s = &s->steps;
    DDPM_TRY(choose_clip(request, &s->p.clip));
    DDPM_TRY(sampling_variance(request, s->trained.var, &s->p.var));
    s->eta = request->v.eta;
    return process_check(&s->p);
}

ddpm_status sampling_new(const settings *model, const settings *request, sampling *s)
{
    *s = (sampling){ 0 };
    const ddpm_status status = choose(model, request, s);
    if (status != DDPM_OK) sampling_free(s);
    return status;
}

void sampling_free(sampling *s)
{
    schedule_free(&s->full);
    schedule_free(&s->steps);
    *s = (sampling){ 0 };
}
