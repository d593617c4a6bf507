/* eval_parts.h - what `ddpm eval`, its sweeps and `ddpm features` and `neighbours` have in common: warnings, progress, walks over images. */
#ifndef DDPM_API_EVAL_PARTS_H
#define DDPM_API_EVAL_PARTS_H

#include <stdio.h>

#include "api/image_set.h"
#include "api/settings.h"
#include "api/tool.h"
#include "base/pool.h"
#include "io/json.h"
#include "metrics/interval.h"

/* With more dimensions every resampled set costs seconds, so that an interval is for those who ask. */
enum { EVAL_MAX_WARNINGS = 8, EVAL_INTERVAL_DIMS = 256 };
#define EVAL_LEVEL 0.95

/* A call. Its warnings are said at once, each of them once, and go into the document. */
typedef struct {
    const settings_values *v;
    const tool_events *ev;
    pool   *threads;
    double  begin;
    char    warnings[EVAL_MAX_WARNINGS][256];
    int     n_warnings;
} eval_session;

void        eval_warn(eval_session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
ddpm_status eval_stopped(const eval_session *s);                   /* DDPM_ESTOPPED where a signal asks for it */

/* image_set_open_as of a word of the command line, with --image_size, --channels, --crop and --strict, without labels. A model is refused with what draws from it. */
ddpm_status eval_open_images(const char *word, const settings *s, image_set **set);

/* Long work of one kind, as metric_work watches it: { s->threads, eval_watch_step, &watch }. */
typedef struct { const eval_session *s; const char *what, *unit; double begin; int64_t told; } eval_watch;
ddpm_status eval_watch_step(void *watch, int64_t done, int64_t all);

/* The images of a walk over `set` with their numbers, at most `room` at a time, to fn, with progress; *w counts those that cannot be read. */
typedef ddpm_status (*eval_images_fn)(void *ctx, const uint8_t *images, const int64_t *index, int n);
ddpm_status eval_walk(const eval_session *s, image_set *set, image_walk *w, int room, const char *what, eval_images_fn fn, void *ctx);

/* DDPM_EINVAL for an interval of too few resampled sets. */
ddpm_status eval_check_replicates(const eval_session *s);

/* DDPM_EINVAL for fewer than two rows; a warning for too few to span a space of `dims` dimensions. unit: "images", "rows". */
ddpm_status eval_check_number(eval_session *s, const char *word, int64_t n, size_t dims, const char *unit);

/* [low, high], or null where they are not numbers. */
void        eval_put_interval(json *o, const char *key, metric_interval i);
void        eval_put_warnings(const eval_session *s, json *o);

#endif
