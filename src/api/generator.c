#include "api/generator.h"

#include "api/measure.h"
#include "api/model_data.h"

#include "api/compat.h"
#include "base/log.h"
#include "io/safetensors.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 4096 };

/* The classifier that images are to follow. */
static ddpm_status choose_guide(generator *g)
{
    const settings_values *v = &g->request->v;
    if (!v->classifier[0] && !sampling_given(g->request, "classifier_scale")) return DDPM_OK;
    if (!v->classifier[0]) return ddpm_fail(DDPM_EINVAL, "--classifier_scale %g: which classifier's? Give --classifier RUN too", v->classifier_scale);
    if (g->how.p.clip == CLIP_X0 && g->how.method->run != sampler_ddpm)
        return ddpm_fail(DDPM_EINVAL, "--classifier moves the predicted image after it was clipped, and the noise with it, so that --clip x0 has no meaning; "
                                      "give --clip rederive or none");
    DDPM_TRY(classifier_open(v->classifier, &g->e, &g->guide));
    return classifier_fits(g->guide, g->model);
}

/* What the request makes of the file. */
static ddpm_status choose(const char *model, generator *g)
{
    g->model = model_describe(g->file);
    const settings_values *m = &g->model->s.v;
    const bool base = g->request->v.base_samples[0];
    DDPM_TRY(model_check_draws(g->file));
    if (m->small_size && !base)
        return ddpm_fail(DDPM_EINVAL, "%s is an up-sampler of %dx%d images; `ddpm sample` with --base_samples, an .npz or a folder of such images, enlarges "
                                      "them", model,
                         m->small_size, m->small_size);
    if (base && !m->small_size) return ddpm_fail(DDPM_EINVAL, "--base_samples: %s is no up-sampler and starts from noise alone; leave them out", model);
    g->height = m->image_size.v[0];
    g->width = m->image_size.v[1];
    g->dims = (image_dims){ g->height * g->width, m->channels };
    g->image_len = (size_t)g->dims.pixels * (size_t)g->dims.channels;
    DDPM_TRY(sampling_new(&g->model->s, g->request, &g->how));
    return choose_guide(g);
}

ddpm_status generator_open(const char *model, const settings *request, const tool_events *ev, generator *g)
{
    *g = (generator){ .request = request, .ev = ev };
    ddpm_status status = model_open_with(model, request->v.weights, request, &g->file);
    if (status == DDPM_OK) status = choose(model, g);
    if (status == DDPM_OK) status = model_fingerprint(g->file, g->fingerprint);
    if (status != DDPM_OK) generator_close(g);
    return status;
}

ddpm_status generator_borrow(model_file *file, const engine *e, const network *n, const settings *request, const tool_events *ev, generator *g)
{
    *g = (generator){ .request = request, .ev = ev, .file = file, .e = *e, .n = *n, .borrowed = true };
    const ddpm_status status = choose(model_describe(file)->path, g);
    if (status != DDPM_OK) generator_close(g);
    return status;
}

ddpm_status generator_load(generator *g)
{
    DDPM_TRY(engine_new(g->request, &g->e));
    return network_load(g->file, &g->e, &g->n);
}

void generator_close(generator *g)
{
    sampling_free(&g->how);
    classifier_close(g->guide);
    if (!g->borrowed) {
        network_free(&g->n);
        engine_free(&g->e);
        model_close(g->file);
    }
    *g = (generator){ 0 };
}

/* --- words ------------------------------------------------------------------------- */

/* A model is what it is: options that describe another one have no effect, and that is said. */
static void tell_ignored(const generator *g)
{
    settings_values asked = g->request->v;
    if (asked.image_size.n == 1) asked.image_size = (int_list){ 2, { asked.image_size.v[0], asked.image_size.v[0] } };
    for (int i = 0; settings_options[i].name; i++) {
        const option *o = &settings_options[i];
        char a[OPTION_TEXT_SIZE], b[OPTION_TEXT_SIZE];
        const bool used = !strcmp(o->name, "variance") || !strcmp(o->name, "sigma_small") || !strcmp(o->name, "compat") || !(o->groups & GROUP_TRAIN);
        if (!(o->groups & GROUP_MODEL) || used || g->request->origins[i] <= ORIGIN_PRESET) continue;
        options_print(settings_options, &asked, i, a);
        options_print(settings_options, &g->model->s.v, i, b);
        if (strcmp(a, b)) tool_message(g->ev, "--%s %.100s is ignored: this model has %.100s", o->name, a, b[0] ? b : "none");
    }
}

void generator_tell(const generator *g)
{
    const schedule *steps = &g->how.steps;
    tell_ignored(g);
    tool_message(g->ev, "model %s, %s weights, T = %d, on %s with %s kernels, %d threads, %s (%s)", g->model->path, g->model->weights,
                 g->how.full.T, g->e.backend->name, g->e.backend->isa, pool_threads(g->e.threads), engine_precision(&g->e), g->e.reason);
    if (g->how.note[0]) tool_message(g->ev, "%s", g->how.note);
    char how[160];
    generator_describe(g, how, sizeof how);
    tool_message(g->ev, "sampling with %s, spacing %s", how, g->how.spacing);
    if (g->guide) tool_message(g->ev, "towards the classes of the classifier %s, scale %g", classifier_about(g->guide)->model->path, g->request->v.classifier_scale);
    for (int i = steps->T - 1; i >= 0; i--) log_debug("step %d: timestep %d", steps->T - 1 - i, steps->timestep_map[i]);
}

void generator_describe(const generator *g, char *text, size_t size)
{
    static const char *const rounding[] = { [QUANTIZE_ROUND] = "rounded", [QUANTIZE_TRUNCATE] = "truncated", [QUANTIZE_EVEN] = "rounded half to even" };
    const sampling *how = &g->how;
    snprintf(text, size, "%s, %d steps, eta %g, guidance %g, clip %s, variance %s, %s", how->method->name, how->steps.T, how->eta,
             g->request->v.guidance, clip_mode_name(how->p.clip), sampling_variance_word(how->p.var),
             rounding[how->quantize]);
    if (how->compat != COMPAT_NONE) snprintf(text + strlen(text), size - strlen(text), ", profile %s", compat_find(how->compat)->name);
}

int generator_classes(const generator *g)
{
    const settings_values *m = &g->model->s.v;
    return m->class_cond ? m->num_classes : g->guide ? classifier_about(g->guide)->classes : 0;
}

ddpm_status generator_class(const generator *g, const char *word, int64_t *label)
{
    if (!g->guide) return model_class(g->model, word, label);
    const classifier_facts *f = classifier_about(g->guide);
    model_description own = g->model->s.v.class_cond ? *g->model : *f->model;
    own.s.v.class_cond = true;
    own.s.v.num_classes = f->classes;
    if (!strcmp(word, "none"))
        return ddpm_fail(DDPM_EINVAL, "--class none: a classifier leads to a class; name one, and with --guidance 0 the model itself draws without it");
    return model_class(&own, word, label);
}

/* --- drawing -------------------------------------------------------------------------- */

static ddpm_status before_call(void *ctx, int64_t call)
{
    const generator *g = ctx;
    const int64_t done = g->calls + call;
    char extra[64];
    if (g->work.images && g->ev->progress && done > 0) {
        const double speed = (double)done / (clock_now() - g->work.begin), left = (double)(g->work.calls - done) / speed;
        snprintf(extra, sizeof extra, "network call %lld of %lld", (long long)done + 1, (long long)g->work.calls);
        const tool_progress p = { .what = "sampling", .unit = "images", .done = g->work.done, .total = g->work.images, .eta_seconds = left,
                                  .per_second = speed * g->work.images / (double)g->work.calls, .extra = extra };
        g->ev->progress(g->ev->ctx, &p);
    }
    snprintf(extra, sizeof extra, "after %d of %d images", g->work.done, g->work.images);
    return generator_interrupted(g, g->work.images ? extra : "while drawing");
}

drawing generator_drawing(const generator *g)
{
    const compat_profile *profile = compat_find(g->how.compat);
    drawing d = { .net = g->n.net, .weights = g->n.weights, .p = &g->how.p, .method = g->how.method, .eta = g->how.eta, .sigma_hat = g->how.sigma_hat,
                  .guidance = g->request->v.guidance, .null_class = g->model->s.v.num_classes, .before = before_call, .before_ctx = (void *)g };
    if (!g->guide || g->request->v.classifier_scale == 0) return d;
    d.gradient = classifier_gradient;
    d.gradient_ctx = g->guide;
    d.gradient_scale = g->request->v.classifier_scale;
    d.unclipped_score = profile && profile->profile == PROFILE_OPENAI;
    return d;
}

ddpm_status generator_draw(generator *g, const drawing *d, draw_batch b)
{
    b.calls = &g->calls;
    DDPM_TRY(draw_images(d, &b));
    for (size_t i = 0; i < (size_t)b.n * g->image_len; i++)
        if (!isfinite(b.x[i]))
            return ddpm_fail(DDPM_ENUMERIC, "image %llu of seed %llu is not a number everywhere; the model's weights are not, or the precision is too low",
                             (unsigned long long)b.index[i / g->image_len], (unsigned long long)b.seed[i / g->image_len]);
    return DDPM_OK;
}

void generator_quantize(const generator *g, const float *x, size_t len, uint8_t *pixels)
{
    draw_quantize(x, len, (draw_rounding)g->how.quantize, pixels);
}

ddpm_status generator_interrupted(const generator *g, const char *what)
{
    return tool_request(g->ev) == RUN_SAVE_AND_STOP ? ddpm_fail(DDPM_ESTOPPED, "stopped %s", what) : DDPM_OK;
}

/* --- latents ---------------------------------------------------------------------------- */

static const safetensors_tensor *latents_of(const generator *g, const safetensors *st)
{
    const safetensors_tensor *t = safetensors_find(st, "xT");
    if (!t && safetensors_count(st) == 1) t = safetensors_at(st, 0);
    return t && t->ndim == 4 && t->shape[1] == g->dims.channels && t->shape[2] == g->height && t->shape[3] == g->width ? t : NULL;
}

static ddpm_status not_latents(const generator *g, const char *path, int64_t count)
{
    return ddpm_fail(DDPM_EFORMAT, "%s: it does not hold a tensor xT [%lld or more,%d,%d,%d]", path, (long long)count, g->dims.channels, g->height, g->width);
}

static ddpm_status take_latents(const generator *g, const char *path, const safetensors_tensor *t, int64_t first, int n, float *x)
{
    const size_t pixels = (size_t)g->dims.pixels, channels = (size_t)g->dims.channels;
    if (!t || t->shape[0] - n < first) return not_latents(g, path, first + n);
    float *all = malloc((size_t)n * g->image_len * sizeof *all);
    if (!all) return ddpm_fail(DDPM_ENOMEM, "no memory for the latents of %s", path);
    safetensors_tensor some = *t;                         /* rows first .. first + n - 1 of it */
    some.bytes = t->bytes / (size_t)t->shape[0] * (size_t)n;
    some.data = (const char *)t->data + t->bytes / (size_t)t->shape[0] * (size_t)first;
    some.shape[0] = n;
    ddpm_status status = safetensors_convert_f32(&some, all);
    for (size_t i = 0; i < (size_t)n * g->image_len && status == DDPM_OK; i++) {
        const size_t one = i / g->image_len, p = i % g->image_len / channels, c = i % channels;
        x[i] = all[one * g->image_len + c * pixels + p];
        if (!isfinite(x[i])) status = ddpm_fail(DDPM_EFORMAT, "%s: latent %lld is not a number everywhere", path, (long long)first + (long long)one);
    }
    free(all);
    return status;
}

ddpm_status generator_read_latents(const generator *g, const char *path, int64_t first, int n, float *x)
{
    safetensors *st = NULL;
    DDPM_TRY(safetensors_open(path, &st));
    const ddpm_status status = take_latents(g, path, latents_of(g, st), first, n, x);
    safetensors_close(st);
    return status;
}

ddpm_status generator_count_latents(const generator *g, const char *path, int64_t *count)
{
    safetensors *st = NULL;
    DDPM_TRY(safetensors_open(path, &st));
    const safetensors_tensor *t = latents_of(g, st);
    *count = t ? t->shape[0] : 0;
    safetensors_close(st);
    return *count > 0 ? DDPM_OK : not_latents(g, path, 1);
}

/* --- pictures ------------------------------------------------------------------------------ */

void generator_provenance(const generator *g, const png_pair *own, int own_count, generator_texts *t)
{
    const png_pair common[] = { { "Software", "ddpm " DDPM_VERSION }, { "model", g->fingerprint }, { "sampler", t->how }, { "spacing", g->how.spacing },
                                { "precision", engine_precision(&g->e) }, { "isa", g->e.backend->isa } };
    t->count = (int)(sizeof common / sizeof *common);
    assert(t->count + 1 + own_count <= GENERATOR_MAX_TEXTS);
    generator_describe(g, t->how, sizeof t->how);
    memcpy(t->pair, common, sizeof common);
    if (g->guide) {
        snprintf(t->guide, sizeof t->guide, "%s, scale %g", classifier_about(g->guide)->fingerprint, g->request->v.classifier_scale);
        t->pair[t->count++] = (png_pair){ "classifier", t->guide };
    }
    for (int i = 0; i < own_count; i++) t->pair[t->count++] = own[i];
}

ddpm_status generator_write_png(const generator *g, const char *path, const image *im, const png_pair *own, int own_count)
{
    generator_texts t;
    generator_provenance(g, own, own_count, &t);
    return png_write(path, im, t.pair, t.count);
}

ddpm_status generator_write_grid(const generator *g, const char *path, const uint8_t *pixels, int n, int columns, const png_pair *own, int own_count)
{
    image im = { .w = g->width, .h = g->height, .c = g->dims.channels, .data = (uint8_t *)pixels };
    if (n == 1) return generator_write_png(g, path, &im, own, own_count);
    DDPM_TRY(draw_grid(pixels, n, g->height, g->width, im.c, columns, &im.data, &im.w, &im.h));
    const ddpm_status status = generator_write_png(g, path, &im, own, own_count);
    free(im.data);
    return status;
}
