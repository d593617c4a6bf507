#include "api/nll_session.h"

#include "data/loader.h"
#include "diffusion/respace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { DEFAULT_IMAGES = 1000 };

size_t nll_image_len(const nll_session *s)
{
    const int_list size = s->model->s.v.image_size;
    return (size_t)size.v[0] * (size_t)size.v[1] * (size_t)s->model->s.v.channels;
}

/* --- the data ------------------------------------------------------------------------- */

/* Bits of an image that was resized are not those of the image, so that is done only when asked for. */
static ddpm_status check_images(const nll_session *s, const char *data)
{
    const settings_values *m = &s->model->s.v;
    const int h = dataset_height(s->data), w = dataset_width(s->data), c = dataset_channels(s->data);
    if (h == m->image_size.v[0] && w == m->image_size.v[1] && c == m->channels) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "the images of %s are %dx%dx%d (height, width, channels), this model's are %dx%dx%d; --fit resizes them as training does",
                     data, h, w, c, m->image_size.v[0], m->image_size.v[1], m->channels);
}

/* The model's number of the data's class of this name; -1: none. */
static int class_of_name(const model_description *m, const char *name)
{
    for (int i = 0; i < m->n_class_names; i++)
        if (!strcasecmp(m->class_names[i], name)) return i;
    return -1;
}

/* A part of a data set may number its classes differently: names decide when the model knows all of them. */
static ddpm_status map_classes(nll_session *s, const char *data)
{
    const model_description *m = s->model;
    const int classes = dataset_n_classes(s->data), known = m->s.v.num_classes;
    if (!m->s.v.class_cond) return DDPM_OK;
    if (!classes)
        return ddpm_fail(DDPM_EINVAL, "this model is class-conditional and %s has no labels; --labels says where they come from", data);
    s->class_of = calloc((size_t)classes, sizeof *s->class_of);
    if (!s->class_of) return ddpm_fail(DDPM_ENOMEM, "no memory for %d classes", classes);
    bool by_name = true;
    for (int i = 0; i < classes; i++) {
        s->class_of[i] = class_of_name(m, dataset_class_name(s->data, i));
        by_name = by_name && s->class_of[i] >= 0;
    }
    if (by_name) return DDPM_OK;
    if (classes > known) return ddpm_fail(DDPM_EINVAL, "%s has %d classes, this model %d", data, classes, known);
    for (int i = 0; i < classes; i++) s->class_of[i] = i;
    if (m->n_class_names) tool_message(s->ev, "the classes of %s have other names than the model's; their numbers are used", data);
    return DDPM_OK;
}

static ddpm_status open_data(nll_session *s, const char *data)
{
    const settings_values *v = &s->request->v, *m = &s->model->s.v;
    dataset_options o = { .labels = (dataset_labels)v->labels, .strict = v->strict };
    if (v->fit) {
        o.size_h = m->image_size.v[0];
        o.size_w = m->image_size.v[1];
        o.channels = m->channels;
    }
    DDPM_TRY(dataset_open(data, &o, &s->data));
    DDPM_TRY(check_images(s, data));
    DDPM_TRY(map_classes(s, data));
    return dataset_reader_new(s->data, &s->reader);
}

/* The first `count` of a permutation, so that a sorted folder gives images of every class. */
static ddpm_status choose_images(nll_session *s)
{
    const settings_values *v = &s->request->v;
    const int64_t all = dataset_count(s->data), asked = settings_origin(s->request, "num_samples") == ORIGIN_DEFAULT ? DEFAULT_IMAGES : v->num_samples;
    s->count = (int)(asked < all ? asked : all);
    if (asked > all && settings_origin(s->request, "num_samples") > ORIGIN_DEFAULT)
        tool_message(s->ev, "there are only %lld images; all of them are measured", (long long)all);
    s->batch = v->batch_size ? v->batch_size : SAMPLING_BATCH;
    s->index = calloc((size_t)s->count, sizeof *s->index);
    s->label = calloc((size_t)s->count, sizeof *s->label);
    s->bound = calloc((size_t)s->count, sizeof *s->bound);
    s->finest = calloc((size_t)s->count, sizeof *s->finest);
    if (!s->index || !s->label || !s->bound || !s->finest) return ddpm_fail(DDPM_ENOMEM, "no memory for %d images", s->count);
    for (int k = 0; k < s->count; k++)
        s->index[k] = (uint64_t)(s->count == all ? k : loader_order((uint64_t)v->seed, 0, k, all));
    return DDPM_OK;
}

/* --- the bound ------------------------------------------------------------------------- */

static ddpm_status choose_process(nll_session *s)
{
    const settings_values *v = &s->request->v;
    DDPM_TRY(sampling_process(&s->model->s, &s->full, &s->p));
    if (v->timestep_respacing[0]) {
        DDPM_TRY(schedule_respace_openai(&s->full, v->timestep_respacing, &s->respaced));
        s->p.s = &s->respaced;
    }
    s->p.clip = v->clip_denoised ? CLIP_REDERIVE : CLIP_NONE;
    DDPM_TRY(sampling_variance(s->request, s->p.var, &s->p.var));
    DDPM_TRY(process_check(&s->p));
    const int T = s->p.s->T;
    if (v->steps > T) return ddpm_fail(DDPM_EINVAL, "--steps %lld: the bound has %d terms", (long long)v->steps, T);
    if (v->steps > 0 && v->steps < NLL_MIN_CALLS && v->steps < T)
        return ddpm_fail(DDPM_EINVAL, "--steps %lld: an estimate needs at least %d of the %d terms", (long long)v->steps, NLL_MIN_CALLS, T);
    return nll_plan_new(T, v->steps > 0 ? (int)v->steps : T, &s->plan);
}

/* Bits are compared to the third decimal, so bf16 is used only when it is asked for. */
static ddpm_status choose_engine(nll_session *s)
{
    const bool chosen = s->request->v.precision != PRECISION_AUTO || s->request->v.use_fp16;
    if (!chosen) s->request->v.precision = PRECISION_F32;
    DDPM_TRY(engine_new(s->request, &s->e));
    if (!chosen) s->e.reason = "likelihoods are";
    return DDPM_OK;
}

static ddpm_status load_network(nll_session *s)
{
    DDPM_TRY(network_load(s->file, &s->e, &s->n));
    const size_t wide = nn_image_len(denoiser_unet(s->n.net)->out->shape);
    if (wide == nll_image_len(s) * (process_learns_variance(&s->p) ? 2 : 1)) return DDPM_OK;
    s->wide = malloc((size_t)s->batch * wide * sizeof *s->wide);
    return s->wide ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for %d images at once; use a smaller --batch", s->batch);
}

static void progress(nll_session *s, int n)
{
    const double before = s->done > 0 ? (double)s->done : 1, all = (double)s->count * s->plan.calls;
    s->done += n;
    const double speed = (double)s->done / (measure_now() - s->begin);
    const bool line = floor(20 * (double)s->done / all) > floor(20 * before / all);
    char extra[64] = "";
    if (s->measured) snprintf(extra, sizeof extra, "%.4f bits/dim", nll_mean(s, offsetof(nll_bound, total)));
    const tool_progress p = { .what = "bound", .unit = "terms", .done = s->done, .total = (int64_t)all, .per_second = speed,
                              .eta_seconds = (all - (double)s->done) / speed, .extra = extra, .line = line };
    if (s->ev->progress) s->ev->progress(s->ev->ctx, &p);
}

static ddpm_status denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    nll_session *s = ctx;
    if (s->ev->request && s->ev->request(s->ev->ctx) == RUN_SAVE_AND_STOP)
        return ddpm_fail(DDPM_ESTOPPED, "stopped after %d of %d images", s->measured, s->count);
    DDPM_TRY(denoiser_run(s->n.net, s->n.weights, n, t, y, x, s->wide ? s->wide : out));
    const size_t channels = (size_t)s->model->s.v.channels, width = (size_t)denoiser_unet(s->n.net)->out->shape.c;
    for (size_t i = 0; s->wide && i < (size_t)n * nll_image_len(s) / channels; i++)      /* a learned variance that is not asked for */
        memcpy(out + i * channels, s->wide + i * width, channels * sizeof *out);
    progress(s, n);
    return DDPM_OK;
}

/* --- images by the batch ------------------------------------------------------------------ */

typedef struct { float *x; int *y; uint8_t *bytes; nll_result r; } batch_buffers;

static ddpm_status reserve(const nll_session *s, batch_buffers *b)
{
    const size_t n = (size_t)s->batch, terms = n * (size_t)s->plan.calls, len = nll_image_len(s);
    *b = (batch_buffers){ .x = malloc(n * len * sizeof *b->x), .y = calloc(n, sizeof *b->y), .bytes = malloc(len),
                          .r = { .row = calloc(terms, sizeof *b->r.row), .factor = calloc(terms, sizeof *b->r.factor),
                                 .term = calloc(terms, sizeof *b->r.term) } };
    return b->x && b->y && b->bytes && b->r.row && b->r.factor && b->r.term
               ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for %d images at once; use a smaller --batch", s->batch);
}

static void release(batch_buffers *b)
{
    free(b->x);
    free(b->y);
    free(b->bytes);
    free(b->r.row);
    free(b->r.factor);
    free(b->r.term);
}

/* Images into the batch until it is full or there are no more. One that cannot be read is left out. */
static ddpm_status read_batch(nll_session *s, batch_buffers *b, int *n)
{
    const size_t len = nll_image_len(s);
    *n = 0;
    while (*n < s->batch && s->measured + *n < s->count) {
        const int k = s->measured + *n;
        int label;
        const ddpm_status status = dataset_read(s->data, s->reader, (int64_t)s->index[k], b->bytes, &label);
        if (status == DDPM_EFORMAT && !s->request->v.strict) {
            log_warn("%s; it is left out", ddpm_last_error());
            s->bad++;
            memmove(s->index + k, s->index + k + 1, (size_t)(--s->count - k) * sizeof *s->index);
            continue;
        }
        DDPM_TRY(status);
        for (size_t i = 0; i < len; i++) b->x[(size_t)*n * len + i] = (float)b->bytes[i] / 127.5f - 1;
        s->label[k] = label;
        b->y[(*n)++] = s->class_of ? s->class_of[label] : 0;
    }
    return DDPM_OK;
}

static ddpm_status measure_batch(nll_session *s, batch_buffers *b, int n)
{
    const settings_values *m = &s->model->s.v;
    const size_t calls = (size_t)s->plan.calls;
    const nll_images in = { .denoise = denoise, .ctx = s, .n = n, .dims = { m->image_size.v[0] * m->image_size.v[1], m->channels }, .x0 = b->x,
                            .y = s->class_of ? b->y : NULL, .seed = (uint64_t)s->request->v.seed, .image = s->index + s->measured, .together = s->batch };
    b->r.bound = s->bound + s->measured;
    DDPM_TRY(nll_run(&s->p, &s->plan, &in, &b->r));
    for (int k = 0; k < n; k++) {
        if (!isfinite(b->r.bound[k].total))
            return ddpm_fail(DDPM_ENUMERIC, "the bound of image %llu is not a finite number; the model's outputs are not, or the precision is too low",
                             (unsigned long long)s->index[s->measured + k]);
        s->finest[s->measured + k] = b->r.term[((size_t)k + 1) * calls - 1].xstart_mse;
    }
    nll_keep_terms(s, &b->r, n);
    s->measured += n;
    return DDPM_OK;
}

static ddpm_status measure_all(nll_session *s)
{
    batch_buffers b;
    s->begin = measure_now();
    ddpm_status status = reserve(s, &b);
    while (status == DDPM_OK && s->measured < s->count) {
        int n;
        status = read_batch(s, &b, &n);
        if (status == DDPM_OK && n) status = measure_batch(s, &b, n);
    }
    release(&b);
    if (status == DDPM_OK && !s->measured) return ddpm_fail(DDPM_EFORMAT, "none of the images can be read");
    return status;
}

/* --- the command ----------------------------------------------------------------------------- */

static void tell(const nll_session *s, const char *data)
{
    char text[512];
    dataset_describe(s->data, text, sizeof text);
    tool_message(s->ev, "model %s, %s weights; data %s: %s", s->model->path, s->model->weights, data, text);
    tool_message(s->ev, "%d images, %d of %d terms each, variance %s; on %s with %s kernels, %d threads, %s (%s)", s->count, s->plan.calls, s->plan.T,
                 var_type_name(s->p.var), s->e.backend->name, s->e.backend->isa, pool_threads(s->e.threads), engine_precision(&s->e), s->e.reason);
}

static ddpm_status prepare(nll_session *s, const char *model, const char *data)
{
    DDPM_TRY(nll_check_output(s));
    DDPM_TRY(model_open_with(model, s->request->v.weights, s->request, &s->file));
    s->model = model_describe(s->file);
    DDPM_TRY(choose_process(s));
    DDPM_TRY(open_data(s, data));
    DDPM_TRY(choose_images(s));
    DDPM_TRY(nll_reserve_terms(s));
    DDPM_TRY(model_fingerprint(s->file, s->fingerprint));
    DDPM_TRY(choose_engine(s));
    return load_network(s);
}

static void close_session(nll_session *s)
{
    network_free(&s->n);
    free(s->wide);
    engine_free(&s->e);
    dataset_reader_free(s->reader);
    dataset_close(s->data);
    model_close(s->file);
    nll_plan_free(&s->plan);
    schedule_free(&s->full);
    schedule_free(&s->respaced);
    free(s->class_of);
    free(s->index);
    free(s->label);
    free(s->bound);
    free(s->finest);
    nll_free_terms(s);
}

ddpm_status tool_nll(settings *request, const char *model, const char *data, const tool_events *ev, char **text, json **summary)
{
    nll_session s = { .request = request, .ev = ev };
    ddpm_status status = prepare(&s, model, data);
    if (status == DDPM_OK) tell(&s, data);
    if (status == DDPM_OK) status = measure_all(&s);
    if (status == DDPM_OK) status = nll_write(&s);
    if (status == DDPM_OK) status = nll_report(&s, data, text, summary);
    close_session(&s);
    return status;
}
