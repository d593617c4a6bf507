#include "api/eval_parts.h"

#include "api/measure.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

enum { MIN_REPLICATES = 40 };

void eval_warn(eval_session *s, const char *fmt, ...)
{
    va_list ap;
    if (s->n_warnings == EVAL_MAX_WARNINGS) return;
    char *text = s->warnings[s->n_warnings++];
    va_start(ap, fmt);
    vsnprintf(text, sizeof s->warnings[0], fmt, ap);
    va_end(ap);
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

typedef struct { const eval_session *s; double begin; int told; } resampling;

static ddpm_status between_replicates(void *ctx, int done)
{
    resampling *r = ctx;
    DDPM_TRY(eval_stopped(r->s));
    if (done) eval_progress(r->s, "interval", "resampled sets", r->told, done, r->s->v->bootstrap, r->begin);
    r->told = done;
    return DDPM_OK;
}

ddpm_status eval_resample(const eval_session *s, const double *rows, size_t n, size_t dims, const frechet_target *t, double distance, bootstrap_interval *i)
{
    const int sets = s->v->bootstrap;
    resampling r = { .s = s, .begin = clock_now() };
    const bootstrap_input in = { .rows = rows, .n = n, .dims = dims, .seed = (uint64_t)s->v->seed, .threads = s->threads, .stop = between_replicates, .ctx = &r };
    double *replicate = calloc((size_t)sets, sizeof *replicate);
    const ddpm_status status = replicate ? bootstrap_frechet(&in, t, sets, replicate) : ddpm_fail(DDPM_ENOMEM, "no memory for %d resampled sets", sets);
    if (status == DDPM_OK) bootstrap_summarise(distance, EVAL_LEVEL, replicate, sets, i);
    free(replicate);
    return status;
}

void eval_print_clamped(FILE *f, const frechet_result *r, size_t n, size_t dims)
{
    if (n > dims && r->clamped <= 1e-6 * r->distance) return;
    fprintf(f, "  %seigenvalues that rounding put below 0 count as 0: %.3g in all\n", n <= dims ? "a covariance is singular; " : "", r->clamped);
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
