#include "api/train_session.h"

#include "api/judge.h"
#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct train_evaluation {
    train_session *t;
    tool_events    of_judge;
    judge         *j;
    sampling       how;
    int            done;               /* images of the evaluation in work */
    double         begin;
    uint64_t      *address;            /* [2][SAMPLING_BATCH] seeds, indices */
    int           *y;
    float         *x;
    uint8_t       *pixels;
};

/* --- signals and progress ------------------------------------------------------------------- */

/* "Save and go on" is for the loop, which asks after the step; asked here, it would be forgotten. */
static run_request pass_request(void *ctx)
{
    const train_evaluation *v = ctx;
    const run_request r = tool_request(v->t->ev);
    if (r == RUN_SAVE) v->t->save_later = true;
    return r == RUN_SAVE ? RUN_GO_ON : r;
}

static void pass_progress(void *ctx, const tool_progress *p)
{
    const train_evaluation *v = ctx;
    tool_progress q = *p;
    q.line = false;
    if (v->t->ev->progress) v->t->ev->progress(v->t->ev->ctx, &q);
}

static void pass_message(void *ctx, const char *text)
{
    const train_evaluation *v = ctx;
    tool_message(v->t->ev, "%s", text);
}

static ddpm_status before_call(void *ctx, int64_t call)
{
    train_evaluation *v = ctx;
    (void)call;
    if (v->done)
        tool_tell_progress(v->t->ev, (tool_progress){ .what = "evaluating", .unit = "images", .done = v->done, .total = v->t->s->v.eval_samples }, v->begin);
    return pass_request(v) == RUN_SAVE_AND_STOP ? ddpm_fail(DDPM_ESTOPPED, "stopped while evaluating") : DDPM_OK;
}

/* --- drawing ---------------------------------------------------------------------------------- */

/* Images done .. done + n - 1, those that `ddpm sample` draws: x_T is the same at every step, classes come in turn. */
static ddpm_status draw_some(train_evaluation *v, int n)
{
    const train_session *t = v->t;
    const settings_values *s = &t->s->v;
    const size_t len = (size_t)n * train_image_len(t);
    uint64_t *seed = v->address, *index = seed + SAMPLING_BATCH;
    for (int i = 0; i < n; i++) {
        seed[i] = (uint64_t)s->seed;
        index[i] = (uint64_t)(v->done + i);
        v->y[i] = s->class_cond ? (v->done + i) % s->num_classes : 0;
    }
    const drawing d = { .net = t->net, .weights = t->averaged, .p = &v->how.p, .method = v->how.method, .eta = v->how.eta, .sigma_hat = v->how.sigma_hat,
                        .guidance = 1, .null_class = s->num_classes, .before = before_call, .before_ctx = v };
    DDPM_TRY(draw_images(&d, &(draw_batch){ .n = n, .seed = seed, .index = index, .y = s->class_cond ? v->y : NULL, .x = v->x }));
    for (size_t i = 0; i < len; i++)
        if (!isfinite(v->x[i])) return ddpm_fail(DDPM_ENUMERIC, "image %d is not a number everywhere", v->done + (int)(i / train_image_len(t)));
    draw_quantize(v->x, len, (draw_rounding)v->how.quantize, v->pixels);
    return judge_add(v->j, v->pixels, n);
}

static ddpm_status draw_all(train_evaluation *v)
{
    const int all = v->t->s->v.eval_samples;
    v->begin = clock_now();
    nn_weights_pack(v->t->averaged, v->t->e.threads);
    for (v->done = 0; v->done < all; ) {
        const int n = all - v->done < SAMPLING_BATCH ? all - v->done : SAMPLING_BATCH;
        DDPM_TRY(draw_some(v, n));
        v->done += n;
    }
    return DDPM_OK;
}

/* --- the hook --------------------------------------------------------------------------------- */

static void tell(const train_evaluation *v, const log_evaluation *e)
{
    char text[1024];
    size_t used = 0;
    for (int i = 0; i < e->count && used < sizeof text; i++) {
        const log_measure *m = &e->measure[i];
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s %.5g", i ? ", " : "", m->name, m->value);
        if (isfinite(m->low) && used < sizeof text) used += (size_t)snprintf(text + used, sizeof text - used, " (%.4g to %.4g)", m->low, m->high);
    }
    tool_message(v->t->ev, "step %lld: %s; %lld images in %lld steps, %.1f s", (long long)e->step, text, (long long)e->images, (long long)e->sampling_steps,
                 e->seconds);
}

static ddpm_status measure(train_evaluation *v, int64_t step)
{
    eval_result r;
    log_measure list[EVAL_MAX_VALUES];
    DDPM_TRY(draw_all(v));
    DDPM_TRY(judge_measure(v->j, &r));
    for (int i = 0; i < r.count; i++)
        list[i] = (log_measure){ r.value[i].key, r.value[i].name, r.value[i].value, r.value[i].interval.low, r.value[i].interval.high };
    const log_evaluation e = { .step = step, .samples = step * v->t->s->v.batch_size, .features = r.space, .images = r.n_samples, .reference = r.n_reference,
                               .sampling_steps = v->how.steps.T, .seconds = clock_now() - v->begin, .count = r.count, .measure = list };
    tell(v, &e);
    return runlog_evaluation(v->t->log, &e);
}

ddpm_status train_evaluate(void *ctx, int64_t step)
{
    train_session *t = ctx;
    return measure(t->evaluation, step);
}

/* --- beginning -------------------------------------------------------------------------------- */

static ddpm_status check_options(const settings *s)
{
    static const char *const names[] = { "eval_samples", "eval_steps", "eval_reference", "features", "metrics", "bootstrap" };
    for (size_t i = 0; i < sizeof names / sizeof *names && !s->v.eval_every; i++)
        if (settings_origin(s, names[i]) == ORIGIN_COMMAND_LINE) return ddpm_fail(DDPM_EINVAL, "--%s does nothing without --eval_every N", names[i]);
    if (!s->v.eval_every) return DDPM_OK;
    if (s->v.classes_out) return ddpm_fail(DDPM_EINVAL, "--eval_every: a classifier draws no images; --val holds some out to measure it");
    if (s->v.small_size)
        return ddpm_fail(DDPM_EINVAL, "--eval_every: an up-sampler draws from small images, which are not given while it is trained; use `ddpm sample` and "
                                      "`ddpm eval`");
    return DDPM_OK;
}

/* As many steps as asked for; the usual number where the chain has them. */
static ddpm_status choose_steps(train_evaluation *v)
{
    const settings *s = v->t->s;
    char steps[32];
    settings *request = malloc(sizeof *request);
    if (!request) return ddpm_fail(DDPM_ENOMEM, "no memory for an evaluation");
    const bool all = settings_origin(s, "eval_steps") == ORIGIN_DEFAULT && s->v.eval_steps > s->v.diffusion_steps;
    settings_defaults(request);
    snprintf(steps, sizeof steps, "%d", all ? s->v.diffusion_steps : s->v.eval_steps);
    ddpm_status status = settings_set(request, "steps", steps, ORIGIN_COMMAND_LINE);
    if (status == DDPM_OK) status = sampling_new(s, request, &v->how);
    free(request);
    return status == DDPM_OK ? status : ddpm_context(status, "--eval_steps: ");
}

static ddpm_status reserve(train_evaluation *v)
{
    const size_t len = SAMPLING_BATCH * train_image_len(v->t);
    v->address = calloc(2 * SAMPLING_BATCH, sizeof *v->address);
    v->y = calloc(SAMPLING_BATCH, sizeof *v->y);
    v->x = calloc(len, sizeof *v->x);
    v->pixels = calloc(len, sizeof *v->pixels);
    return v->address && v->y && v->x && v->pixels ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the images of an evaluation");
}

ddpm_status train_evaluation_new(train_session *t)
{
    const settings_values *s = &t->s->v;
    const char *reference = s->eval_reference[0] ? s->eval_reference : t->data_word;
    DDPM_TRY(check_options(t->s));
    if (!s->eval_every) return DDPM_OK;
    train_evaluation *v = t->evaluation = calloc(1, sizeof *v);
    if (!v) return ddpm_fail(DDPM_ENOMEM, "no memory for an evaluation");
    v->t = t;
    v->of_judge = (tool_events){ .ctx = v, .message = pass_message, .progress = pass_progress, .request = pass_request };
    DDPM_TRY(choose_steps(v));
    DDPM_TRY(reserve(v));
    const ddpm_status status = judge_new(t->s, reference, s->image_size.v[0], s->image_size.v[1], s->channels, &t->e, &v->of_judge, &v->j);
    return status == DDPM_OK || status == DDPM_ESTOPPED ? status : ddpm_context(status, "--eval_every: ");
}

void train_evaluation_free(train_session *t)
{
    train_evaluation *v = t->evaluation;
    if (!v) return;
    judge_free(v->j);
    sampling_free(&v->how);
    free(v->address);
    free(v->y);
    free(v->x);
    free(v->pixels);
    free(v);
    t->evaluation = NULL;
}
