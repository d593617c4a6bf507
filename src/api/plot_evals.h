/* plot_evals.h - the lines of a run's log.jsonl that --eval_every writes, as columns. */
#ifndef DDPM_API_PLOT_EVALS_H
#define DDPM_API_PLOT_EVALS_H

#include <stdbool.h>

#include "base/status.h"
#include "io/json.h"

enum { MAX_EVAL_CURVES = 16, EVAL_KEY_SIZE = 64 };

/* One metric over the steps, n >= 1. label: where it was measured and which way is better. intervals: every value has one, low to high. */
typedef struct {
    char    key[EVAL_KEY_SIZE], name[EVAL_KEY_SIZE], label[2 * EVAL_KEY_SIZE];
    int     n, room;
    bool    intervals;
    double *step, *value, *low, *high;
} eval_curve;

typedef struct { int count; eval_curve curve[MAX_EVAL_CURVES]; } eval_curves;

/* Adds a line that has "eval". EFORMAT: it is not what the log holds, its step does not come after the line's before. */
ddpm_status eval_curves_read(const json *line, eval_curves *c);
void        eval_curves_free(eval_curves *c);

/* NULL: no metric of this key. */
const eval_curve *eval_curves_find(const eval_curves *c, const char *key);

#endif
