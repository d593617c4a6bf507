/* runlog.h - the numbers of a run: log.jsonl and progress.csv.
 *
 * log.jsonl has one JSON object a line and is the truth; progress.csv repeats it
 * with improved-diffusion's columns. Both are appended in whole lines. Opening
 * for a resumed run drops what lies behind the checkpoint (those steps come
 * again) and a line that a crash cut short. */
#ifndef DDPM_TRAIN_RUNLOG_H
#define DDPM_TRAIN_RUNLOG_H

#include "train/trainer.h"

typedef struct runlog runlog;

/* Means since the last entry; val < 0: none; seconds: since this
 * process began to train. */
typedef struct {
    int64_t     step, samples, dropped;      /* steps and images so far            */
    step_report mean;
    double      images_per_s, wait_share, seconds, val;
} log_entry;

/* dir is the run folder; entries behind `step` are dropped. */
ddpm_status runlog_open(const char *dir, int64_t step, runlog **l);
ddpm_status runlog_write(runlog *l, const log_entry *e);
void        runlog_close(runlog *l);         /* NULL ok */

#endif
