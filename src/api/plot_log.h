/* plot_log.h - the numbers of a run's log.jsonl as columns. */
#ifndef DDPM_API_PLOT_LOG_H
#define DDPM_API_PLOT_LOG_H

#include "api/plot_evals.h"
#include "base/status.h"

typedef enum {
    CURVE_LOSS, CURVE_QUARTER, CURVE_QUARTER_END = CURVE_QUARTER + 4, CURVE_VAL = CURVE_QUARTER_END, CURVE_LR, CURVE_GRAD_NORM, CURVE_NORM_SQ, CURVE_TRACE,
    CURVE_TOP1, CURVE_VAL_TOP1, CURVE_CLEAN_TOP1, CURVE_TOP5, CURVE_VAL_TOP5,
    CURVE_COUNT
} curve;

/* n lines, n >= 1; a number that a line does not have is NaN. */
typedef struct {
    const char *run;                 /* borrowed: the word of the command line */
    int         n;
    double     *step, *value[CURVE_COUNT];
    eval_curves evals;               /* of lines of their own        */
} run_curves;

/* RUN/log.jsonl, strictly: every line is an object with a rising step, numbers are numbers. A last line without its end, which a
 * run is just writing, is left out. Errors: DDPM_EINVAL (not a run, no log), DDPM_EFORMAT with file and line. */
ddpm_status run_curves_read(const char *run, run_curves *c);
void        run_curves_free(run_curves *c);

/* The last number of a column; NaN when there is none. */
double      run_curves_last(const run_curves *c, curve which);

#endif
