#include "api/latents.h"

#include "io/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char FORMAT[] = "ddpm-latents-1";

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
    static const char OPENAI[] = "openai:";
    const bool listed = g->request->v.timestep_respacing[0] || !strncmp(g->request->v.spacing, OPENAI, sizeof OPENAI - 1);
    const size_t n = (size_t)l->n;
    char steps[TEXT], guidance[TEXT], compat[OPTION_TEXT_SIZE], spacing[OPTION_STRING_SIZE + TEXT];
    const safetensors_tensor tensor[TENSORS] = {
        { .name = "xT", .dtype = ST_F32, .ndim = 4, .shape = { l->n, g->dims.channels, g->height, g->width }, .bytes = n * g->image_len * sizeof *l->x },
        { .name = "index", .dtype = ST_I64, .ndim = 1, .shape = { l->n }, .bytes = n * sizeof *l->index },
        { .name = "y", .dtype = ST_I64, .ndim = 1, .shape = { l->n }, .bytes = n * sizeof(int64_t) },
    };
    snprintf(steps, sizeof steps, "%d", g->how.asked);
    const settings_values profile = { .compat = g->how.compat };
    options_print(settings_options, &profile, options_find(settings_options, "compat"), compat);
    snprintf(guidance, sizeof guidance, "%.17g", g->request->v.guidance);
    snprintf(spacing, sizeof spacing, "%s%s", listed ? OPENAI : "", g->how.spacing);
    const safetensors_meta meta[] = { { "format", FORMAT }, { "fingerprint", g->fingerprint }, { "data", l->data }, { "spacing", spacing }, { "compat", compat },
                                      { "clip", clip_mode_name(g->how.p.clip) }, { "guidance", guidance }, { "precision", engine_precision(&g->e) },
                                      { "steps", steps } };
    source s = { g, l };
    return safetensors_write_stream(path, tensor, l->y ? TENSORS : TENSORS - 1, meta, (int)(sizeof meta / sizeof *meta), produce, &s);
}

/* --- reading ----------------------------------------------------------------------------- */

ddpm_status latents_settings(const char *path, settings *request)
{
    static const char *const KEYS[] = { "compat", "spacing", "steps", "clip", "guidance" };
    safetensors *st = NULL;
    DDPM_TRY(safetensors_open(path, &st));
    const char *format = safetensors_metadata(st, "format"), *spacing = safetensors_metadata(st, "spacing");
    const bool listed = spacing && !strncmp(spacing, "openai:", 7), ours = format && !strcmp(format, FORMAT);
    ddpm_status status = DDPM_OK;
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS && ours && status == DDPM_OK; i++) {
        const char *text = safetensors_metadata(st, KEYS[i]);
        if (!text || (listed && !strcmp(KEYS[i], "steps"))) continue;
        status = settings_set(request, KEYS[i], text, ORIGIN_CONFIG);
    }
    safetensors_close(st);
    return status == DDPM_OK ? status : ddpm_context(status, "%s: ", path);
}

static ddpm_status read_classes(const generator *g, const char *path, const safetensors_tensor *t, int64_t first, int n, int64_t *label)
{
    const int classes = g->model->s.v.num_classes;
    if (t->dtype != ST_I64 || t->ndim != 1 || t->shape[0] - n < first)
        return ddpm_fail(DDPM_EFORMAT, "%s: its tensor y is not the classes of %lld latents", path, (long long)first + n);
    memcpy(label, (const char *)t->data + (size_t)first * sizeof *label, (size_t)n * sizeof *label);
    for (int k = 0; k < n; k++)
        if (label[k] < 0 || label[k] >= classes)
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
