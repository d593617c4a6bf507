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
typedef enum { DOING_STEP, DOING_WAIT, DOING_VALIDATE, DOING_SAVE, DOING_DRAW, DOING_EVALUATE, DOING_LOG, RUN_ACTIVITIES } run_activity;

/* Of the held-out images. loss < 0: not measured. top1, top5: a classifier's shares of right guesses at the times of the loss,
 * clean_top1 of the images themselves at t = 0; else < 0. */
typedef struct { double loss, top1, top5, clean_top1; } run_validation;
extern const run_validation RUN_NOT_VALIDATED;

const char *run_activity_name(run_activity a);     /* "step", "wait", ... */

/* Means since the last entry; share: of the time since then, adding up to 1;
 * seconds: since this process began to train. */
typedef struct {
    int64_t     step, samples, dropped;      /* steps and images so far            */
    step_report mean;
    double      images_per_s, seconds, share[RUN_ACTIVITIES];
    run_validation val;
} log_entry;

/* dir is the run folder; entries behind `step` are dropped. */
ddpm_status runlog_open(const char *dir, int64_t step, runlog **l);
ddpm_status runlog_write(runlog *l, const log_entry *e);
/* What was measured of images drawn at `step`: a line of its own. key: "frechet_pca64", name: for people; low, high: NAN where there
 * is no interval. progress.csv has the first one. */
typedef struct { const char *key, *name; double value, low, high; } log_measure;
typedef struct {
    int64_t     step, samples;               /* samples: images trained on so far, as in log_entry */
    const char *features;
    int64_t     images, sampling_steps;      /* drawn, and steps of the sampler that drew them     */
    int64_t     reference;                   /* images compared with                               */
    double      seconds;
    int         count;                       /* at least 1                                         */
    const log_measure *measure;
} log_evaluation;
ddpm_status runlog_evaluation(runlog *l, const log_evaluation *e);
int64_t     runlog_evaluated(const runlog *l);       /* step of the last one, also of an earlier process; -1: none */

/* The sample grid of `step`, for TensorBoard. */
ddpm_status runlog_grid(runlog *l, int64_t step, const events_png *grid);
void        runlog_close(runlog *l);         /* NULL ok */

#endif
