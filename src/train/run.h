/* run.h - a training run: when to log, save, sample, validate and stop.
 *
 * Knows the run folder's rhythm, not its files: what a checkpoint holds and what
 * a grid looks like is the caller's, through the hooks. */
#ifndef DDPM_TRAIN_RUN_H
#define DDPM_TRAIN_RUN_H

#include "data/loader.h"
#include "train/runlog.h"
#include "train/trainer.h"

/* What a signal asked for; the caller's handler writes it, the run reads it between steps. */
typedef enum { RUN_GO_ON, RUN_SAVE, RUN_SAVE_AND_STOP } run_request;

/* top1: a classifier's share of right guesses in the step. */
typedef struct {
    int64_t step, steps;            /* done, and the last one (0: no end)          */
    double  loss, top1, lr, images_per_s, eta_seconds;
    bool    logged;                 /* a new line went to the log                  */
} run_progress;

/* ctx is the caller's. A save that fails with EIO, or ENUMERIC (weights that are not finite), is reported
 * and training goes on; so is a draw or an evaluation that fails. */
typedef struct {
    void *ctx;
    ddpm_status (*save)(void *ctx, int64_t step, bool best);
    ddpm_status (*draw)(void *ctx, int64_t step);            /* NULL: no grids      */
    ddpm_status (*validate)(void *ctx, run_validation *v);   /* NULL: no validation */
    ddpm_status (*evaluate)(void *ctx, int64_t step);        /* NULL: none; images are drawn and measured */
    run_request (*request)(void *ctx);
    void        (*progress)(void *ctx, const run_progress *p);
} run_hooks;

/* Where the time went; the parts add up to the total. */
typedef struct { double seconds[RUN_ACTIVITIES], total; } run_times;

typedef struct {
    trainer *tr;
    loader  *data;
    runlog  *log;
    int      batch;
    int64_t  steps;                 /* stop at this step; 0: never                 */
    double   hours;                 /* stop after; 0: never                        */
    int64_t  log_every, save_every, draw_every, val_every, eval_every;   /* draw_every, eval_every 0: never */
    bool     labelled;              /* the network takes classes, or tells them apart */
    double  *best_val;              /* borrowed: the best so far, < 0: none; a checkpoint saves it */
    int64_t  saved;                 /* step of the checkpoint the run went on from; -1: a new run */
    const char *last_checkpoint;    /* named when the run gives up; may be ""      */
    run_times   times;              /* a result, also of a run that fails          */
} run_config;

enum { RUN_MAX_DROPPED = 10 };

/* Ends with DDPM_OK when the run is done, DDPM_ESTOPPED when a signal or --hours asked to stop
 * (state saved), DDPM_ENUMERIC after RUN_MAX_DROPPED dropped steps in a row. */
ddpm_status run_train(run_config *c, const run_hooks *h);

#endif
