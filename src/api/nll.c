#include "api/nll_session.h"

#include "diffusion/respace.h"
#include "model/upsampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t nll_image_len(const nll_session *s)
{
    const int_list size = s->model->s.v.image_size;
    return (size_t)size.v[0] * (size_t)size.v[1] * (size_t)s->model->s.v.channels;
}

/* --- the data ------------------------------------------------------------------------- */

static ddpm_status choose_images(nll_session *s)
{
    const settings_values *v = &s->request->v;
    const bool given = settings_origin(s->request, "num_samples") > ORIGIN_DEFAULT;
    const int64_t all = dataset_count(s->data.data), asked = given ? v->num_samples : s->usual;
    s->count = (int)(asked < all ? asked : all);
    if (asked > all && given) tool_message(s->ev, "there are only %lld images; all of them are measured", (long long)all);
    s->batch = v->batch_size ? v->batch_size : SAMPLING_BATCH;
    s->index = calloc((size_t)s->count, sizeof *s->index);
    s->label = calloc((size_t)s->count, sizeof *s->label);
    s->bound = calloc((size_t)s->count, sizeof *s->bound);
    s->finest = calloc((size_t)s->count, sizeof *s->finest);
    if (!s->index || !s->label || !s->bound || !s->finest) return ddpm_fail(DDPM_ENOMEM, "no memory for %d images", s->count);
    model_data_choose(&s->data, s->count, s->index);
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
    if (s->all_terms) return nll_plan_new(T, T, &s->plan);
    if (v->steps > T) return ddpm_fail(DDPM_EINVAL, "--steps %lld: the bound has %d terms", (long long)v->steps, T);
    if (v->steps > 0 && v->steps < NLL_MIN_CALLS && v->steps < T)
        return ddpm_fail(DDPM_EINVAL, "--steps %lld: an estimate needs at least %d of the %d terms", (long long)v->steps, NLL_MIN_CALLS, T);
    return nll_plan_new(T, v->steps > 0 ? (int)v->steps : T, &s->plan);
}

/* Bits are compared to the third decimal, so bf16 is used only when it is asked for. */
static ddpm_status choose_engine(nll_session *s)
{
    const bool ours = engine_prefer_f32(s->request);
    DDPM_TRY(engine_new(s->request, &s->e));
    if (ours) s->e.reason = "likelihoods are";
    return DDPM_OK;
}

static void progress(nll_session *s, int n)
{
    const double before = s->done > 0 ? (double)s->done : 1, all = (double)s->count * s->plan.calls;
    s->done += n;
    const bool line = floor(20 * (double)s->done / all) > floor(20 * before / all);
    char extra[64] = "";
    tool_progress p = { .what = "bound", .unit = "terms", .done = s->done, .total = (int64_t)all, .extra = extra, .line = line };
    if (s->measured) {
        p.quantity = "bits_per_dim";
        p.value = nll_mean(s, offsetof(nll_bound, total));
        snprintf(extra, sizeof extra, "%.4f bits/dim", p.value);
    }
    tool_tell_progress(s->ev, p, s->begin);
}

static ddpm_status denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    nll_session *s = ctx;
    if (tool_request(s->ev) == RUN_SAVE_AND_STOP)
        return ddpm_fail(DDPM_ESTOPPED, "stopped after %d of %d images", s->measured, s->count);
    const int64_t first = s->done - (int64_t)s->measured * s->plan.calls;       /* terms come image by image */
    for (int k = 0; k < n && s->which; k++) s->which[k] = (int)((first + k) / s->plan.calls);
    DDPM_TRY(predictor_denoise(&s->net, n, t, y, x, out));
    progress(s, n);
    return DDPM_OK;
}

/* --- images by the batch ------------------------------------------------------------------ */

/* condition: of an up-sampler, made of the images themselves: the bound is of p(x | its small version). */
typedef struct { float *x, *condition, *small; int *y; nll_result r; } batch_buffers;

static ddpm_status reserve_conditions(nll_session *s, batch_buffers *b)
{
    const settings_values *m = &s->model->s.v;
    const size_t n = (size_t)s->batch;
    if (!m->small_size) return DDPM_OK;
    b->condition = malloc(n * nll_image_len(s) * sizeof *b->condition);
    b->small = malloc((size_t)(m->small_size * m->small_size * m->channels) * sizeof *b->small);
    s->which = calloc(n, sizeof *s->which);
    if (!b->condition || !b->small || !s->which) return ddpm_fail(DDPM_ENOMEM, "no memory for %d images at once; use a smaller --batch", s->batch);
    s->net.condition = b->condition;
    s->net.conditions = s->batch;
    s->net.which = s->which;
    return DDPM_OK;
}

static ddpm_status reserve(nll_session *s, batch_buffers *b)
{
    const size_t n = (size_t)s->batch, terms = n * (size_t)s->plan.calls, len = nll_image_len(s);
    *b = (batch_buffers){ .x = malloc(n * len * sizeof *b->x), .y = calloc(n, sizeof *b->y),
                          .r = { .row = calloc(terms, sizeof *b->r.row), .factor = calloc(terms, sizeof *b->r.factor),
                                 .term = calloc(terms, sizeof *b->r.term), .other = calloc(terms, sizeof *b->r.other) } };
    if (b->x && b->y && b->r.row && b->r.factor && b->r.term && b->r.other) return reserve_conditions(s, b);
    return ddpm_fail(DDPM_ENOMEM, "no memory for %d images at once; use a smaller --batch", s->batch);
}

static void release(batch_buffers *b)
{
    free(b->x);
    free(b->condition);
    free(b->small);
    free(b->y);
    free(b->r.row);
    free(b->r.factor);
    free(b->r.term);
    free(b->r.other);
}

/* Images into the batch until it is full or there are no more. One that cannot be read is left out. */
static ddpm_status read_batch(nll_session *s, batch_buffers *b, int *n)
{
    const size_t len = nll_image_len(s);
    *n = 0;
    while (*n < s->batch && s->measured + *n < s->count) {
        const int k = s->measured + *n;
        const ddpm_status status = model_data_read(&s->data, (int64_t)s->index[k], b->x + (size_t)*n * len, b->y + *n, s->label + k);
        if (status == DDPM_EFORMAT && !s->request->v.strict) {
            log_warn("%s; it is left out", ddpm_last_error());
            s->bad++;
            memmove(s->index + k, s->index + k + 1, (size_t)(--s->count - k) * sizeof *s->index);
            continue;
        }
        DDPM_TRY(status);
        ++*n;
    }
    return DDPM_OK;
}

static ddpm_status measure_batch(nll_session *s, batch_buffers *b, int n)
{
    const settings_values *m = &s->model->s.v;
    const size_t calls = (size_t)s->plan.calls, len = nll_image_len(s);
    const upsampler_dims dims = { m->image_size.v[0], m->image_size.v[1], m->channels, m->small_size };
    for (int k = 0; k < n && b->condition; k++) upsampler_condition(dims, b->x + (size_t)k * len, b->small, b->condition + (size_t)k * len);
    const nll_images in = { .denoise = denoise, .ctx = s, .n = n, .dims = { m->image_size.v[0] * m->image_size.v[1], m->channels }, .x0 = b->x,
                            .y = m->class_cond ? b->y : NULL, .seed = (uint64_t)s->request->v.seed, .image = s->index + s->measured, .together = s->batch };
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

ddpm_status nll_measure(nll_session *s)
{
    batch_buffers b;
    s->begin = clock_now();
    ddpm_status status = reserve(s, &b);
    while (status == DDPM_OK && s->measured < s->count) {
        int n;
        status = read_batch(s, &b, &n);
        if (status == DDPM_OK && n) status = measure_batch(s, &b, n);
    }
    release(&b);
    if (status == DDPM_OK && !s->measured) return ddpm_context(DDPM_EFORMAT, "none of the images can be read; the last: ");
    return status;
}

/* --- the command ----------------------------------------------------------------------------- */

static void tell(const nll_session *s, const char *data)
{
    char text[512];
    dataset_describe(s->data.data, text, sizeof text);
    tool_message(s->ev, "model %s, %s weights; data %s: %s", s->model->path, s->model->weights, data, text);
    tool_message(s->ev, "%d images, %d of %d terms each, variance %s; on %s with %s kernels, %d threads, %s (%s)", s->count, s->plan.calls, s->plan.T,
                 sampling_variance_word(s->p.var), s->e.backend->name, s->e.backend->isa, pool_threads(s->e.threads), engine_precision(&s->e), s->e.reason);
}

ddpm_status nll_open(nll_session *s, const char *model, const char *data)
{
    if (!s->given) DDPM_TRY(model_open_with(model, s->request->v.weights, s->request, &s->file));
    DDPM_TRY(model_check_draws(s->file));
    s->model = model_describe(s->file);
    DDPM_TRY(choose_process(s));
    DDPM_TRY(model_data_open(s->model, s->request, data, s->own_labels, s->ev, &s->data));
    DDPM_TRY(choose_images(s));
    DDPM_TRY(nll_reserve_terms(s));
    return model_fingerprint(s->file, s->fingerprint);
}

ddpm_status nll_load(nll_session *s)
{
    DDPM_TRY(choose_engine(s));
    DDPM_TRY(network_load(s->file, &s->e, &s->n));
    s->net = (predictor){ .net = s->n.net, .weights = s->n.weights, .p = &s->p };
    return DDPM_OK;
}

void nll_close(nll_session *s)
{
    predictor_free(&s->net);
    network_free(&s->n);
    engine_free(&s->e);
    model_data_close(&s->data);
    if (!s->given) model_close(s->file);
    nll_plan_free(&s->plan);
    schedule_free(&s->full);
    schedule_free(&s->respaced);
    free(s->which);
    free(s->index);
    free(s->label);
    free(s->bound);
    free(s->finest);
    nll_free_terms(s);
}

ddpm_status nll_command(nll_session *s, const char *model, const char *data, char **text, json **summary)
{
    ddpm_status status = nll_check_output(s);
    if (status == DDPM_OK) status = nll_open(s, model, data);
    if (status == DDPM_OK) status = nll_load(s);
    if (status == DDPM_OK) tell(s, data);
    if (status == DDPM_OK) status = nll_measure(s);
    if (status == DDPM_OK) status = nll_write(s);
    if (status == DDPM_OK) status = nll_report(s, data, text, summary);
    nll_close(s);
    return status;
}

ddpm_status tool_nll(settings *request, const char *model, const char *data, const tool_events *ev, char **text, json **summary)
{
    nll_session s = { .request = request, .ev = ev, .usual = NLL_IMAGES };
    return nll_command(&s, model, data, text, summary);
}
