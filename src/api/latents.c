#include "api/latents.h"

#include "io/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char FORMAT[] = "ddpm-latents-1", OPENAI[] = "openai:";

static bool is_listed(const char *spacing) { return !strncmp(spacing, OPENAI, sizeof OPENAI - 1); }

/* --- the chain ---------------------------------------------------------------------------- */

ddpm_status latents_chain(settings *request, bool up, const tool_events *ev)
{
    DDPM_TRY(settings_set(request, "sampler", "ddim", ORIGIN_CONFIG));
    DDPM_TRY(settings_set(request, "eta", "0", ORIGIN_CONFIG));
    if (up && !strcmp(request->v.spacing, "auto")) DDPM_TRY(settings_set(request, "spacing", "uniform", ORIGIN_CONFIG));
    if (request->v.clip == SAMPLE_CLIP_AUTO) return settings_set(request, "clip", "none", ORIGIN_CONFIG);
    if (request->v.clip != SAMPLE_CLIP_NONE) tool_message(ev, "predictions of x_0 are clipped, as asked, which no walk back undoes");
    return DDPM_OK;
}

void latents_meet(generator *g)
{
    const schedule *s = &g->how.steps;
    s->alphas_cumprod_next[s->T - 1] = s->alphas_cumprod[s->T - 1];
}

/* --- writing --------------------------------------------------------------------------- */

enum { TENSORS = 3, TEXT = 64 };

/* The option's value that the chain was made with: the call's, else that of a model whose own profile is in force. */
static void value_in_force(const generator *g, const char *name, char text[OPTION_TEXT_SIZE])
{
    settings usual;
    settings_defaults(&usual);
    const settings *from = sampling_given(g->request, name) ? g->request : g->how.compat == g->model->s.v.compat ? &g->model->s : &usual;
    options_print(settings_options, &from->v, options_find(settings_options, name), text);
}

/* What one tensor is made from. */
typedef struct { const generator *g; const latents *l; } source;

static void planes(const generator *g, int n, const float *x, float *out)
{
    const size_t pixels = (size_t)g->dims.pixels, channels = (size_t)g->dims.channels;
    for (size_t k = 0; k < (size_t)n; k++)
        for (size_t p = 0; p < pixels; p++)
            for (size_t c = 0; c < channels; c++) out[k * g->image_len + c * pixels + p] = x[k * g->image_len + p * channels + c];
}

/* In the order of latents_write: xT, index, y. */
static ddpm_status produce(void *ctx, int tensor, void *buffer)
{
    const source *s = ctx;
    int64_t *number = buffer;
    if (tensor == 0) planes(s->g, s->l->n, s->l->x, buffer);
    for (int k = 0; k < s->l->n && tensor > 0; k++) number[k] = tensor == 1 ? s->l->index[k] : s->l->y[k];
    return DDPM_OK;
}

ddpm_status latents_write(const generator *g, const char *path, const latents *l)
{
    const size_t n = (size_t)l->n;
    char steps[TEXT], guidance[TEXT], compat[OPTION_TEXT_SIZE], offset[OPTION_TEXT_SIZE], last[OPTION_TEXT_SIZE], spacing[OPTION_STRING_SIZE + TEXT];
    const safetensors_tensor tensor[TENSORS] = {
        { .name = "xT", .dtype = ST_F32, .ndim = 4, .shape = { l->n, g->dims.channels, g->height, g->width }, .bytes = n * g->image_len * sizeof *l->x },
        { .name = "index", .dtype = ST_I64, .ndim = 1, .shape = { l->n }, .bytes = n * sizeof *l->index },
        { .name = "y", .dtype = ST_I64, .ndim = 1, .shape = { l->n }, .bytes = n * sizeof(int64_t) },
    };
    snprintf(steps, sizeof steps, "%d", g->how.asked);
    const settings_values profile = { .compat = g->how.compat };
    options_print(settings_options, &profile, options_find(settings_options, "compat"), compat);
    snprintf(guidance, sizeof guidance, "%.17g", g->request->v.guidance);
    snprintf(spacing, sizeof spacing, "%s%s", is_listed(g->request->v.spacing) ? OPENAI : "", g->how.spacing);
    value_in_force(g, "steps_offset", offset);
    value_in_force(g, "set_alpha_to_one", last);
    const safetensors_meta meta[] = { { "format", FORMAT }, { "fingerprint", g->fingerprint }, { "data", l->data }, { "spacing", spacing }, { "compat", compat },
                                      { "clip", clip_mode_name(g->how.p.clip) }, { "guidance", guidance }, { "precision", engine_precision(&g->e) },
                                      { "steps", steps }, { "steps_offset", offset }, { "set_alpha_to_one", last } };
    source s = { g, l };
    return safetensors_write_stream(path, tensor, l->y ? TENSORS : TENSORS - 1, meta, (int)(sizeof meta / sizeof *meta), produce, &s);
}

/* --- reading ----------------------------------------------------------------------------- */

/* The file's value of an option into the request, unless somebody gave one: then it is said when that is another. */
static ddpm_status take_value(const char *path, const char *name, const char *text, settings *request, const tool_events *ev)
{
    char file[OPTION_TEXT_SIZE], own[OPTION_TEXT_SIZE];
    const int i = options_find(settings_options, name);
    settings scratch;
    settings_defaults(&scratch);
    DDPM_TRY(settings_set(&scratch, name, text, ORIGIN_CONFIG));
    if (!sampling_given(request, name)) return settings_set(request, name, text, ORIGIN_CONFIG);
    options_print(settings_options, &scratch.v, i, file);
    options_print(settings_options, &request->v, i, own);
    if (strcmp(file, own)) tool_message(ev, "--%s %.100s: %s was encoded with %.100s, so this is another walk than the one that encoded", name, own, path, file);
    return DDPM_OK;
}

/* A list of steps says how many there are, so one that was given leaves out the other's number, and a number the file's list. */
static ddpm_status take_values(const char *path, const safetensors *st, settings *request, const tool_events *ev)
{
    static const char *const KEYS[] = { "compat", "spacing", "steps", "steps_offset", "set_alpha_to_one", "clip", "guidance" };
    const char *spacing = safetensors_metadata(st, "spacing");
    const bool listed = spacing && is_listed(spacing), steps = sampling_given(request, "steps"), list = is_listed(request->v.spacing);
    if (listed && steps)
        tool_message(ev, "--steps %lld: %s was encoded with %.100s, so this is another walk than the one that encoded", (long long)request->v.steps, path, spacing);
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        const char *text = safetensors_metadata(st, KEYS[i]);
        const bool left_out = (!strcmp(KEYS[i], "steps") && (listed || list)) || (!strcmp(KEYS[i], "spacing") && listed && steps);
        if (text && !left_out) DDPM_TRY(take_value(path, KEYS[i], text, request, ev));
    }
    return DDPM_OK;
}

ddpm_status latents_settings(const char *path, settings *request, const tool_events *ev)
{
    safetensors *st = NULL;
    DDPM_TRY(safetensors_open(path, &st));
    const char *format = safetensors_metadata(st, "format");
    const ddpm_status status = format && !strcmp(format, FORMAT) ? take_values(path, st, request, ev) : DDPM_OK;
    safetensors_close(st);
    return status == DDPM_EINVAL ? ddpm_context(DDPM_EFORMAT, "%s: ", path) : status;
}

static ddpm_status read_classes(const generator *g, const char *path, const safetensors_tensor *t, int64_t first, int n, int64_t *label)
{
    const settings_values *m = &g->model->s.v;
    const int classes = m->num_classes, last = classes - (m->label_dropout > 0 ? 0 : 1);      /* the null class is the last */
    if (t->dtype != ST_I64 || t->ndim != 1 || t->shape[0] - n < first)
        return ddpm_fail(DDPM_EFORMAT, "%s: its tensor y is not the classes of %lld latents", path, (long long)first + n);
    memcpy(label, (const char *)t->data + (size_t)first * sizeof *label, (size_t)n * sizeof *label);
    for (int k = 0; k < n; k++)
        if (label[k] < 0 || label[k] > last)
            return ddpm_fail(DDPM_EFORMAT, "%s: latent %lld has class %lld; this model has classes 0 to %d", path, (long long)first + k, (long long)label[k], classes - 1);
    return DDPM_OK;
}

ddpm_status latents_classes(const generator *g, const char *path, int64_t first, int n, int64_t *label, bool *found)
{
    safetensors *st = NULL;
    DDPM_TRY(safetensors_open(path, &st));
    const safetensors_tensor *t = safetensors_find(st, "y");
    *found = t != NULL;
    const ddpm_status status = t ? read_classes(g, path, t, first, n, label) : DDPM_OK;
    safetensors_close(st);
    return status;
}

ddpm_status latents_check(const generator *g, const char *path, int64_t *count)
{
    safetensors *st = NULL;
    DDPM_TRY(generator_count_latents(g, path, count));
    DDPM_TRY(safetensors_open(path, &st));
    const char *made = safetensors_metadata(st, "fingerprint");
    if (made && strcmp(made, g->fingerprint))
        tool_message(g->ev, "%s was made with the weights %.16s, and these are %s: its images will be other ones", path, made, g->fingerprint);
    safetensors_close(st);
    return DDPM_OK;
}
