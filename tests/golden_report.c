/* Cases, and one line of TAP for each comparison. */
#include "golden_run.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct gold_deferred { struct gold_deferred *next; void (*undo)(void *); void *what; } gold_deferred;

void *gold_alloc(gold_case *c, size_t count, size_t size)
{
    size_t bytes;
    void *p = __builtin_mul_overflow(count, size, &bytes) ? NULL : arena_alloc(c->mem, bytes ? bytes : 1);
    if (p) return p;
    printf("Bail out! out of memory\n");
    exit(2);
}

const char *gold_printf(gold_case *c, const char *fmt, ...)
{
    char text[GOLD_NAME];
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    return memcpy(gold_alloc(c, len + 1, 1), text, len);
}

void gold_defer(gold_case *c, void (*undo)(void *), void *what)
{
    gold_deferred *d = gold_alloc(c, 1, sizeof *d);
    *d = (gold_deferred){ c->deferred, undo, what };
    c->deferred = d;
}

static void line(gold_run *run, bool ok, const char *label, const char *detail)
{
    printf("%s %d - %s%s%s\n", ok ? "ok" : "not ok", ++run->lines, label, *detail ? " " : "", detail);
    run->section.compared++;
    run->section.wrong += !ok;
}

void gold_case_run(gold_run *run, const char *label, gold_fn fn, const void *ctx)
{
    gold_case c = { .run = run, .mem = arena_new() };
    if (!c.mem) {
        printf("Bail out! out of memory\n");
        exit(2);
    }
    c.failed = fn(&c, ctx) != DDPM_OK;
    if (c.failed) line(run, false, label, ddpm_last_error());
    for (gold_deferred *d = c.deferred; d; d = d->next) d->undo(d->what);
    arena_free(c.mem);
}

void gold_skip(gold_run *run, const char *label, const char *reason)
{
    printf("ok %d - %s # SKIP %s\n", ++run->lines, label, reason);
    run->section.skipped++;
}

/* A part of the tolerance that was used up; exact values use none of a tolerance of 0. */
static double ratio_of(double error, double allowed)
{
    if (isnan(error)) return INFINITY;
    return error == 0 ? 0 : error / allowed;
}

static void judge(gold_case *c, const char *label, double ratio, const char *detail)
{
    const bool ok = ratio <= 1;
    gold_counts *s = &c->run->section;
    if (ratio > s->worst) {
        s->worst = ratio;
        snprintf(s->where, sizeof s->where, "%s", label);
    }
    line(c->run, ok, label, ok ? "" : detail);
}

void gold_check(gold_case *c, const char *label, double error, double allowed, const char *detail)
{
    char text[GOLD_NAME];
    snprintf(text, sizeof text, "%s: error %.6g, tolerance %.6g", detail, error, allowed);
    judge(c, label, ratio_of(error, allowed), text);
}

static double error_of(double got, double want) { return got == want ? 0 : fabs(got - want); }

void gold_compare(gold_case *c, const gold_tensor *want, const double *got, const double *allowed)
{
    char detail[GOLD_NAME];
    double worst = -1;
    size_t at = 0;
    for (size_t i = 0; i < want->len; i++) {
        const double ratio = ratio_of(error_of(got[i], want->v[i]), allowed[i]);
        if (ratio <= worst) continue;
        worst = ratio;
        at = i;
    }
    if (!want->len) {
        line(c->run, false, want->label, "has no elements");
        return;
    }
    snprintf(detail, sizeof detail, "got %.9g, expected %.9g, tolerance %.3g, worst element %zu of %zu", got[at], want->v[at], allowed[at],
             at, want->len);
    judge(c, want->label, worst, detail);
}

void gold_compare_near(gold_case *c, const gold_tensor *want, const double *got, double absolute, double relative)
{
    double *allowed = gold_alloc(c, want->len, sizeof *allowed);
    for (size_t i = 0; i < want->len; i++) allowed[i] = absolute + relative * fabs(want->v[i]);
    gold_compare(c, want, got, allowed);
}

void gold_compare_l2(gold_case *c, const gold_tensor *want, const double *got, double allowed)
{
    char detail[GOLD_NAME];
    double error = 0, norm = 0, worst = -1;
    size_t at = 0;
    for (size_t i = 0; i < want->len; i++) {
        const double diff = got[i] - want->v[i];
        error += diff * diff;
        norm += want->v[i] * want->v[i];
        if (!(fabs(diff) <= worst)) {
            worst = fabs(diff);
            at = i;
        }
    }
    error = sqrt(error);
    norm = sqrt(norm);
    if (!want->len) {
        line(c->run, false, want->label, "has no elements");
        return;
    }
    snprintf(detail, sizeof detail, "relative L2 error %.3g, tolerance %.3g, worst element %zu of %zu: got %.9g, expected %.9g",
             norm > 0 ? error / norm : error, allowed, at, want->len, got[at], want->v[at]);
    judge(c, want->label, ratio_of(error, allowed * norm), detail);
}
