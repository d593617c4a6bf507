#include "api/sampling.h"

#include "api/compat.h"
#include "diffusion/respace.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_STEPS = 50, INPAINT_STEPS = 250, CHUNK_PIXELS = 8192, MAX_CHUNK = 32 };

int sampling_chunk(int height, int width)
{
    const int n = CHUNK_PIXELS / (height * width);
    return n < 1 ? 1 : n > MAX_CHUNK ? MAX_CHUNK : n;
}

static process trained_process(const settings *model, const schedule *full)
{
    return (process){ .s = full, .mean = settings_mean(model), .var = settings_variance(model), .clip = CLIP_REDERIVE,
                      .rescale_timesteps = model->v.rescale_timesteps };
}

ddpm_status sampling_process(const settings *model, schedule *full, process *p)
{
    const schedule_config c = settings_schedule(model);
    DDPM_TRY(schedule_new(&c, full));
    *p = trained_process(model, full);
    return DDPM_OK;
}

static ddpm_status check_weighting(const settings *s, const process *p)
{
    const loss_type loss = settings_loss(s);
    if (s->v.min_snr_gamma <= 0) return DDPM_OK;
    if (loss == LOSS_KL || loss == LOSS_RESCALED_KL)
        return ddpm_fail(DDPM_EINVAL, "--min_snr_gamma %g: the loss %s is the variational bound, whose terms have their own weights; use --loss mse, rescaled_mse or mse_sum",
                         s->v.min_snr_gamma, loss_type_name(loss));
    return min_snr_check(p, s->v.min_snr_gamma);
}

ddpm_status sampling_check_training(const settings *s)
{
    schedule full;
    process p;
    DDPM_TRY(sampling_process(s, &full, &p));
    ddpm_status status = s->v.classes_out ? DDPM_OK : loss_check(settings_loss(s), &p);      /* a classifier's loss is no prediction's */
    if (status == DDPM_OK) status = check_weighting(s, &p);
    schedule_free(&full);
    return status;
}

ddpm_status sampling_variance(const settings *request, var_type trained, var_type *var)
{
    if (!sampling_given(request, "variance") || request->v.variance == VARIANCE_AUTO) {
        if (trained < VAR_LEARNED && sampling_given(request, "sigma_small")) *var = request->v.sigma_small ? VAR_FIXED_SMALL : VAR_FIXED_LARGE;
        return DDPM_OK;
    }
    const var_type asked = settings_variance(request);
    if (asked >= VAR_LEARNED && trained < VAR_LEARNED)
        return ddpm_fail(DDPM_EINVAL, "--variance %s: this model did not learn its variance; use small or large", sampling_variance_word(asked));
    *var = asked >= VAR_LEARNED ? trained : asked;
    return DDPM_OK;
}

const char *sampling_variance_word(var_type var)
{
    static const char *const words[] = { [VAR_FIXED_SMALL] = "small", [VAR_FIXED_LARGE] = "large", [VAR_LEARNED] = "learned", [VAR_LEARNED_RANGE] = "range" };
    return words[var];
}

bool sampling_given(const settings *request, const char *name) { return settings_origin(request, name) > ORIGIN_PRESET; }

/* --- the profile ----------------------------------------------------------------------- */

/* profile: in force, NULL for none. own: it is the model's, so what the model stored beside it counts. */
typedef struct { const settings *model, *request; const compat_profile *profile; bool own; sampling *s; } choice;

static void choose_profile(choice *c)
{
    c->s->compat = sampling_given(c->request, "compat") ? c->request->v.compat : c->model->v.compat;
    c->profile = compat_find(c->s->compat);
    c->own = c->s->compat == c->model->v.compat;
}

static bool is_profile(const choice *c, schedule_profile which) { return c->profile && c->profile->profile == which; }
static bool is_method(const choice *c, const char *name)        { return !strcmp(c->s->method->name, name); }

/* The papers' own methods, which all code bases have lists of steps for; the others want steps that are even in log-SNR. */
static bool plain(const choice *c) { return is_method(c, "ddim") || is_method(c, "ddpm"); }

__attribute__((format(printf, 2, 3))) static void say(const choice *c, const char *fmt, ...)
{
    char *note = c->s->note;
    const size_t size = sizeof c->s->note, used = strlen(note);
    va_list args;
    va_start(args, fmt);
    const int begun = used ? snprintf(note + used, size - used, "; ") : 0;
    if (used + (size_t)begun < size) vsnprintf(note + used + (size_t)begun, size - used - (size_t)begun, fmt, args);
    va_end(args);
}

/* By the user, not by a command for itself. */
static bool insisted(const choice *c, const char *name) { return settings_origin(c->request, name) > ORIGIN_CONFIG; }

/* Another code base's sampler holds its own tables of the same schedule. Ho's two code bases differ in the floor. */
static ddpm_status build_schedule(const choice *c)
{
    schedule_config k = settings_schedule(c->model);
    if (c->profile && !c->own) {
        const schedule_config theirs = schedule_config_of(c->profile->profile, k.kind, k.T);
        k.width = theirs.width;
        if (c->profile->profile != PROFILE_HO) k.logvar = theirs.logvar;
    }
    DDPM_TRY(schedule_new(&k, &c->s->full));
    c->s->trained = trained_process(c->model, &c->s->full);
    return DDPM_OK;
}

/* --- which steps -------------------------------------------------------------------------- */

#define OPENAI "openai:"

/* How many steps: asked for, or the method's default. */
static ddpm_status count_steps(const choice *c, int *steps)
{
    const settings_values *v = &c->request->v;
    const int T = c->s->full.T;
    if (v->inpaint[0]) *steps = T < INPAINT_STEPS ? T : INPAINT_STEPS;
    else *steps = is_method(c, "ddpm") || T < DEFAULT_STEPS || (plain(c) && c->profile && c->profile->full_chain) ? T : DEFAULT_STEPS;
    if (!sampling_given(c->request, "steps")) return DDPM_OK;
    if (v->steps < 1 || v->steps > T)
        return ddpm_fail(DDPM_EINVAL, "--steps %lld: this model has T = %d timesteps; 1 to %d steps are possible", (long long)v->steps, T, T);
    *steps = (int)v->steps;
    return DDPM_OK;
}

static ddpm_status openai_steps(const choice *c, int steps)
{
    char *rule = c->s->rule;
    snprintf(rule, sizeof c->s->rule, OPENAI);
    if (steps < c->s->full.T || sampling_given(c->request, "steps")) snprintf(rule, sizeof c->s->rule, OPENAI "%s%d", is_method(c, "ddim") ? "ddim" : "", steps);
    c->s->spacing = rule;
    return schedule_respace_openai(&c->s->full, rule + sizeof OPENAI - 1, &c->s->steps);
}

static ddpm_status ermongroup_steps(const choice *c, spacing_kind kind, int steps)
{
    const schedule *full = &c->s->full;
    step_list list = { 0 };
    DDPM_TRY(kind == SPACING_QUAD ? respace_ermongroup_quad(full->T, steps, &list) : respace_ermongroup_uniform(full->T, steps, &list));
    if (list.n != steps) say(c, "ermongroup's uniform list for %d steps has %d", steps, list.n);
    const ddpm_status status = schedule_from_steps(full, list.t, NULL, 1, list.n, &c->s->steps);
    step_list_free(&list);
    return status;
}

/* The values of diffusers' scheduler that a model stores: asked for, or its own, or diffusers' default. */
static int  steps_offset(const choice *c) { return sampling_given(c->request, "steps_offset") ? c->request->v.steps_offset : c->own ? c->model->v.steps_offset : 0; }
static bool alpha_to_one(const choice *c) { return sampling_given(c->request, "set_alpha_to_one") ? c->request->v.set_alpha_to_one : !c->own || c->model->v.set_alpha_to_one; }

static ddpm_status diffusers_steps(const choice *c, spacing_kind kind, int steps)
{
    const schedule *full = &c->s->full;
    step_list list = { 0 };
    int *prev = NULL;
    DDPM_TRY(respace_diffusers(full->T, steps, kind, steps_offset(c), &list));
    ddpm_status status = DDPM_OK;
    if (is_method(c, "ddim")) {
        prev = malloc((size_t)list.n * sizeof *prev);
        if (prev) respace_diffusers_ddim_prev(full->T, steps, &list, prev);
        else status = ddpm_fail(DDPM_ENOMEM, "no memory for a list of %d timesteps", list.n);
    }
    const double last = prev && !alpha_to_one(c) ? full->alphas_cumprod[0] : 1;
    if (status == DDPM_OK) status = schedule_from_steps(full, list.t, prev, last, list.n, &c->s->steps);
    free(prev);
    step_list_free(&list);
    return status;
}

static ddpm_status own_steps(const choice *c, spacing_kind kind, int steps)
{
    step_list list = { 0 };
    DDPM_TRY(respace_exact(&c->s->full, steps, kind, &list));
    const ddpm_status status = schedule_respace(&c->s->full, list.t, list.n, &c->s->steps);
    step_list_free(&list);
    return status;
}

/* By name: the profile's rule where it has one of that name ("auto": its first), else ours of exactly so many steps. */
static ddpm_status named_steps(const choice *c, const char *word, int steps)
{
    const bool automatic = !strcmp(word, "auto"), theirs = c->profile && plain(c);
    spacing_kind kind = !plain(c) ? SPACING_LOGSNR : is_profile(c, PROFILE_ERMONGROUP) ? SPACING_UNIFORM
                      : is_profile(c, PROFILE_DIFFUSERS) ? SPACING_LEADING : SPACING_TRAILING;
    if (!automatic) DDPM_TRY(spacing_find(word, &kind));
    c->s->spacing = spacing_name(kind);
    if (theirs && automatic && is_profile(c, PROFILE_OPENAI)) return openai_steps(c, steps);
    if (theirs && is_profile(c, PROFILE_ERMONGROUP) && (kind == SPACING_UNIFORM || kind == SPACING_QUAD)) return ermongroup_steps(c, kind, steps);
    if (theirs && is_profile(c, PROFILE_DIFFUSERS) && kind <= SPACING_TRAILING) return diffusers_steps(c, kind, steps);
    if (theirs && !automatic && insisted(c, "spacing")) say(c, "%s has no spacing %s; these steps are this program's", c->profile->name, word);
    if (theirs && automatic && steps < c->s->full.T && insisted(c, "steps")) say(c, "%s walks the whole chain; these %d steps are this program's", c->profile->name, steps);
    return own_steps(c, kind, steps);
}

static ddpm_status choose_steps(const choice *c)
{
    const settings_values *v = &c->request->v;
    const char *spec = v->timestep_respacing[0] ? v->timestep_respacing : !strncmp(v->spacing, OPENAI, sizeof OPENAI - 1) ? v->spacing + sizeof OPENAI - 1 : NULL;
    if (v->timestep_respacing[0] && sampling_given(c->request, "spacing"))
        return ddpm_fail(DDPM_EINVAL, "--timestep_respacing contradicts --spacing; both say which steps, give one of them");
    if (spec && sampling_given(c->request, "steps")) return ddpm_fail(DDPM_EINVAL, "--steps contradicts the list of steps \"%s\"; give one of them", spec);
    if (spec) {
        c->s->spacing = spec;
        DDPM_TRY(schedule_respace_openai(&c->s->full, spec, &c->s->steps));
        c->s->asked = c->s->steps.T;
        return DDPM_OK;
    }
    int steps;
    DDPM_TRY(count_steps(c, &steps));
    c->s->asked = steps;
    const bool asked = strcmp(v->spacing, "auto");
    return named_steps(c, asked ? v->spacing : c->own && plain(c) ? c->model->v.spacing : "auto", steps);
}

/* --- the rest --------------------------------------------------------------------------------- */

/* improved-diffusion's command lines mean the ancestral sampler unless they say --use_ddim; RePaint is made of it. */
static ddpm_status choose_method(const choice *c)
{
    const settings *request = c->request;
    const settings_values *v = &request->v;
    const bool chosen = sampling_given(request, "sampler"), theirs = sampling_given(request, "use_ddim") || v->timestep_respacing[0] || v->inpaint[0];
    const settings *words = !chosen && c->profile && c->own ? c->model : request;
    char name[OPTION_TEXT_SIZE];
    options_print(settings_options, &words->v, options_find(settings_options, "sampler"), name);
    if (chosen && v->sampler != SAMPLER_DDIM && v->use_ddim) return ddpm_fail(DDPM_EINVAL, "--use_ddim contradicts --sampler %s; give one of them", name);
    if (!chosen && c->profile && !c->own) snprintf(name, sizeof name, "%s", c->profile->sampler);
    if (!chosen && theirs) snprintf(name, sizeof name, "%s", v->use_ddim ? "ddim" : "ddpm");
    if (v->inpaint[0] && strcmp(name, "ddpm")) return ddpm_fail(DDPM_EINVAL, "--inpaint resamples the ancestral chain, which the sampler %s does not walk; use --sampler ddpm", name);
    if (strcmp(name, "ddim") && sampling_given(request, "eta")) return ddpm_fail(DDPM_EINVAL, "--eta %g: the sampler %s has no eta; use --sampler ddim", v->eta, name);
    if (strcmp(name, "ddim") && v->sigma_hat) return ddpm_fail(DDPM_EINVAL, "--sigma_hat: the sampler %s has no such noise; use --sampler ddim", name);
    if (v->sigma_hat && !(v->eta >= 1 && v->eta <= 1))
        return ddpm_fail(DDPM_EINVAL, "--sigma_hat is the noise of DDPM's larger variance and belongs to --eta 1, not to --eta %g", v->eta);
    c->s->eta = v->eta;
    c->s->sigma_hat = v->sigma_hat;
    return sampler_find(name, &c->s->method);
}

/* Guidance compares a class with none, which only label dropout teaches. */
static ddpm_status check_guidance(const settings *model, const settings *request)
{
    if (request->v.guidance == 1 || (model->v.class_cond && model->v.label_dropout > 0)) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "--guidance %g: this model was trained without %s; train with --class_cond and --label_dropout to guide it",
                     request->v.guidance, model->v.class_cond ? "label dropout" : "classes");
}

/* DDIM with the larger noise is ermongroup's "ddpm_noisy", which clips although its DDIM does not. */
static clip_mode usual_clip(const choice *c)
{
    if (c->own && c->model->v.clip != SAMPLE_CLIP_AUTO) return (clip_mode)(c->model->v.clip - SAMPLE_CLIP_NONE);
    if (!c->profile) return CLIP_REDERIVE;
    return is_method(c, "ddim") && !c->s->sigma_hat ? c->profile->ddim_clip : c->profile->clip;
}

static ddpm_status choose_clip(const choice *c, clip_mode *clip)
{
    const settings_values *v = &c->request->v;
    const clip_mode usual = *clip = usual_clip(c);
    if (v->clip != SAMPLE_CLIP_AUTO) *clip = (clip_mode)(v->clip - SAMPLE_CLIP_NONE);
    if (!v->clip_denoised && v->clip > SAMPLE_CLIP_NONE) return ddpm_fail(DDPM_EINVAL, "--clip_denoised false contradicts --clip; give one of them");
    if (!v->clip_denoised) *clip = CLIP_NONE;
    if (c->profile && *clip != usual && (insisted(c, "clip") || insisted(c, "clip_denoised"))) say(c, "clipping is %s as asked for, not %s's %s", clip_mode_name(*clip), c->profile->name, clip_mode_name(usual));
    return DDPM_OK;
}

static void choose_rounding(const choice *c)
{
    static const char *const names[] = { [QUANTIZE_ROUND] = "round", [QUANTIZE_TRUNCATE] = "truncate", [QUANTIZE_EVEN] = "even" };
    const int usual = c->profile ? c->profile->quantize : QUANTIZE_ROUND;
    c->s->quantize = sampling_given(c->request, "quantize") ? c->request->v.quantize : usual;
    if (c->profile && c->s->quantize != usual) say(c, "rounding is %s as asked for, not %s's %s", names[c->s->quantize], c->profile->name, names[usual]);
}

/* ermongroup's ancestral sampler knows only beta. */
static ddpm_status choose_variance(const choice *c, var_type *var)
{
    if (is_profile(c, PROFILE_ERMONGROUP) && is_method(c, "ddpm") && *var < VAR_LEARNED) *var = VAR_FIXED_LARGE;
    return sampling_variance(c->request, c->s->trained.var, var);
}

static ddpm_status choose(choice *c)
{
    sampling *s = c->s;
    choose_profile(c);
    DDPM_TRY(build_schedule(c));
    DDPM_TRY(choose_method(c));
    DDPM_TRY(check_guidance(c->model, c->request));
    DDPM_TRY(choose_steps(c));
    if (c->profile && (!plain(c) || (is_method(c, "ddim") && !c->profile->has_ddim))) say(c, "%s has no sampler %s", c->profile->name, s->method->name);
    s->p = s->trained;
    s->p.s = &s->steps;
    s->p.final_noise = is_profile(c, PROFILE_DIFFUSERS) && is_method(c, "ddpm");
    DDPM_TRY(choose_clip(c, &s->p.clip));
    DDPM_TRY(choose_variance(c, &s->p.var));
    choose_rounding(c);
    return process_check(&s->p);
}

ddpm_status sampling_new(const settings *model, const settings *request, sampling *s)
{
    choice c = { .model = model, .request = request, .s = s };
    *s = (sampling){ 0 };
    const ddpm_status status = choose(&c);
    if (status != DDPM_OK) sampling_free(s);
    return status;
}

void sampling_free(sampling *s)
{
    schedule_free(&s->full);
    schedule_free(&s->steps);
    *s = (sampling){ 0 };
}

int sampling_row(const sampling *s, int step)
{
    int row = s->steps.T - 1;
    while (row >= 0 && s->steps.timestep_map[row] >= step) row--;
    return row;
}
