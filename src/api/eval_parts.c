#include "api/eval_parts.h"

#include "api/checkpoint.h"
#include "base/clock.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MIN_REPLICATES = 40 };

void eval_warn(eval_session *s, const char *fmt, ...)
{
    va_list ap;
    if (s->n_warnings == EVAL_MAX_WARNINGS) return;
    char *text = s->warnings[s->n_warnings];
    va_start(ap, fmt);
    vsnprintf(text, sizeof s->warnings[0], fmt, ap);
    va_end(ap);
    for (int i = 0; i < s->n_warnings; i++)
        if (!strcmp(s->warnings[i], text)) return;
    s->n_warnings++;
    tool_message(s->ev, "warning: %s", text);
}

ddpm_status eval_stopped(const eval_session *s)
{
    return tool_request(s->ev) == RUN_SAVE_AND_STOP ? ddpm_fail(DDPM_ESTOPPED, "stopped; nothing is measured yet") : DDPM_OK;
}

ddpm_status eval_open_images(const char *word, const settings *s, image_set **set)
{
    dataset_options o = settings_dataset(s);
    o.labels = DATASET_LABELS_NONE;
    const ddpm_status status = image_set_open_as(word, &o, set);
    if (status == DDPM_OK || !model_is(word)) return status;
    return ddpm_fail(DDPM_EINVAL, "%s is a model, and images are measured here: draw some with `ddpm sample %s -n N -o X.npz`, or give `ddpm eval %s REFERENCE "
                                  "--sweep \"steps=50\"`, which draws and measures", word, word, word);
}

static void tell_progress(eval_watch *w, int64_t done, int64_t all)
{
    const tool_progress p = { .what = w->what, .unit = w->unit, .done = done, .total = all, .line = tool_quarter(w->told, done, all) };
    tool_tell_progress(w->s->ev, p, w->begin);
    w->told = done;
}

ddpm_status eval_watch_step(void *watch, int64_t done, int64_t all)
{
    eval_watch *w = watch;
    DDPM_TRY(eval_stopped(w->s));
    if (done) tell_progress(w, done, all);
    return DDPM_OK;
}

ddpm_status eval_check_replicates(const eval_session *s)
{
    if (s->v->bootstrap == 0 || s->v->bootstrap >= MIN_REPLICATES) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "--bootstrap %d: an interval of 95 %% needs at least %d resampled sets; 0 gives none", s->v->bootstrap, MIN_REPLICATES);
}

ddpm_status eval_check_number(eval_session *s, const char *word, int64_t n, size_t dims, const char *unit)
{
    if (n < 2) return ddpm_fail(DDPM_EINVAL, "%s: a distance needs at least two %s, there is %s", word, unit, n ? "one" : "none");
    if ((size_t)n <= dims)
        eval_warn(s, "%lld %s of %s span fewer than %zu dimensions: the distance says more about their number than about them", (long long)n, unit, word, dims);
    return DDPM_OK;
}

static ddpm_status walk_chunks(const eval_session *s, image_set *set, image_walk *w, const char *what, int room, uint8_t *images, int64_t *index,
                               eval_images_fn fn, void *ctx)
{
    eval_watch watch = { .s = s, .what = what, .unit = "images", .begin = clock_now() };
    while (w->next < w->count) {
        int n;
        DDPM_TRY(eval_stopped(s));
        DDPM_TRY(image_set_next(set, w, room, images, index, &n));
        if (n) DDPM_TRY(fn(ctx, images, index, n));
        tell_progress(&watch, w->next, w->count);
    }
    return DDPM_OK;
}

ddpm_status eval_walk(const eval_session *s, image_set *set, image_walk *w, int room, const char *what, eval_images_fn fn, void *ctx)
{
    uint8_t *images = calloc((size_t)room, image_set_bytes(set));
    int64_t *index = calloc((size_t)room, sizeof *index);
    const ddpm_status status = images && index ? walk_chunks(s, set, w, what, room, images, index, fn, ctx)
                                               : ddpm_fail(DDPM_ENOMEM, "no memory for %d images at once", room);
    free(images);
    free(index);
    return status;
}

void eval_put_interval(json *o, const char *key, metric_interval i)
{
    json_put(o, key, json_new_interval(i.low, i.high));
}

void eval_put_warnings(const eval_session *s, json *o)
{
    json *list = json_new_array();
    for (int i = 0; i < s->n_warnings; i++) json_append(list, json_new_string(s->warnings[i]));
    json_put(o, "warnings", list);
}
