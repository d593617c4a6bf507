/* runlog.h - the numbers of a run: log.jsonl, progress.csv and tb/ for TensorBoard.
 *
 * log.jsonl has one JSON object a line and is the truth; progress.csv repeats it
 * with improved-diffusion's columns, tb/ with its names as tags. All are appended in
 * whole entries. Opening for a resumed run drops what lies behind the checkpoint (those
 * steps come again; io/events.h) and a line that a crash cut short. */
#ifndef DDPM_TRAIN_RUNLOG_H
#define DDPM_TRAIN_RUNLOG_H

#include "io/events.h"
#include "train/trainer.h"

typedef struct runlog runlog;

/* What a run does, one after the other: optimisation steps, waiting for their data, and what is between steps. */
typedef enum { DOING_STEP, DOING_WAIT, DOING_VALIDATE, DOING_SAVE, DOING_DRAW, DOING_LOG, RUN_ACTIVITIES } run_activity;

const char *run_activity_name(run_activity a);     /* "step", "wait", ... */

/* Means since the last entry; share: of the time since then, adding up to 1; val < 0: none;
 * seconds: since this process began to train. */
typedef struct {
    int64_t     step, samples, dropped;      /* steps and images so far            */
    step_report mean;
    double      images_per_s, seconds, val, share[RUN_ACTIVITIES];
} log_entry;

/* dir is the run folder; entries behind `step` are dropped. */
ddpm_status runlog_open(const char *dir, int64_t step, runlog **l);
ddpm_status runlog_write(runlog *l, const log_entry *e);
/* The sample grid of `step`, for TensorBoard. */
ddpm_status runlog_grid(runlog *l, int64_t step, const events_png *grid);
void        runlog_close(runlog *l);         /* NULL ok */

#endif
