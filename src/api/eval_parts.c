#include "api/eval_parts.h"

#include "api/measure.h"

#include <math.h>
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
    return s->ev->request && s->ev->request(s->ev->ctx) == RUN_SAVE_AND_STOP ? ddpm_fail(DDPM_ESTOPPED, "stopped; nothing is measured yet") : DDPM_OK;
}

void eval_progress(const eval_session *s, const char *what, const char *unit, int64_t before, int64_t done, int64_t all, double begin)
{
    const double speed = (double)done / (clock_now() - begin);
    const tool_progress p = { .what = what, .unit = unit, .done = done, .total = all, .per_second = speed, .eta_seconds = (double)(all - done) / speed,
                              .extra = "", .line = 4 * done / all > 4 * before / all };
    if (s->ev->progress) s->ev->progress(s->ev->ctx, &p);
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
    const double begin = clock_now();
    while (w->next < w->count) {
        const int64_t before = w->next;
        int n;
        DDPM_TRY(eval_stopped(s));
        DDPM_TRY(image_set_next(set, w, room, images, index, &n));
        if (n) DDPM_TRY(fn(ctx, images, index, n));
        eval_progress(s, what, "images", before, w->next, w->count, begin);
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
    json *pair = isfinite(i.low) ? json_new_array() : json_new_null();
    if (isfinite(i.low)) {
        json_append(pair, json_new_real(i.low));
        json_append(pair, json_new_real(i.high));
    }
    json_put(o, key, pair);
}

void eval_put_warnings(const eval_session *s, json *o)
{
    json *list = json_new_array();
    for (int i = 0; i < s->n_warnings; i++) json_append(list, json_new_string(s->warnings[i]));
    json_put(o, "warnings", list);
}
