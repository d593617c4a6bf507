/* train_session.h - everything one `ddpm train` holds; shared by train.c (what the
 * run is) and train_hooks.c (what it writes while it runs). */
#ifndef DDPM_API_TRAIN_SESSION_H
#define DDPM_API_TRAIN_SESSION_H

#include "api/checkpoint.h"
#include "api/engine.h"
#include "api/sampling.h"
#include "api/tool.h"
#include "data/dataset.h"
#include "io/file.h"
#include "train/draw.h"

/* --eval_every (train_eval.c). */
typedef struct train_evaluation train_evaluation;

enum { RUN_PATH_SIZE = MODEL_PATH_SIZE - 128 };

typedef struct {
    settings         *s;             /* resolved                                        */
    settings          stored;        /* of the run that goes on                         */
    const tool_events *ev;
    const char       *data_word;     /* DATA, borrowed                                  */
    bool              resuming;
    char              run[RUN_PATH_SIZE], last[MODEL_PATH_SIZE];   /* folder; newest checkpoint or "" */
    char              provenance[1024];
    run_lock         *lock;
    int               made;          /* folders, the last of them the run's             */
    dataset          *data;
    char            **class_names;   /* [n_class_names], the strings are the data set's */
    int               n_class_names;
    engine            e;
    schedule          full;
    process           p;             /* on `full`                                       */
    trainer          *tr;
    int64_t          *order;         /* permutation of the images when some are held out */
    int64_t           n_val;
    int               val_batch;
    loader           *loader, *val_loader;
    runlog           *log;
    double            best_val;
    run_hooks         hooks;
    double            begun, startup; /* when the command began; seconds until it trained */
    run_times         times;         /* from then on                                    */
    /* for grids and validation: the averaged weights, without dropout */
    denoiser         *net;
    nn_weights       *averaged;
    sampling          how;
    train_evaluation *evaluation;    /* or NULL                                         */
    bool              save_later;    /* a signal asked for it while an evaluation ran   */
} train_session;

/* What training does when nobody says otherwise; `plan` counts with the same. */
enum { TRAIN_BATCH = 128, TRAIN_CACHE_BYTES = 1 << 30 };

size_t      train_image_len(const train_session *t);           /* values of an image    */
int         train_grid_images(const settings *s);  /* of a grid drawn while training    */
int         train_chunk(const settings *s);      /* images computed at once by a worker */
ddpm_status train_write_config(const train_session *t, const char *command);

/* Buffers of a batch of held-out images: rows of the process, x_t, noise, the network's output, t; the enlarged small images of an
 * up-sampler, else NULL. */
typedef struct { int *row; float *xt, *noise, *out, *t, *condition; } val_buffers;

/* t and x_t of the first n images of a batch, the first of which is held-out image number `first`: the same every time. */
void        train_noise_held_out(const train_session *t, const loader_batch *b, int n, int64_t first, const val_buffers *w);

/* Adds what a classifier makes of these n images to the sums *v (train_classifier.c). */
ddpm_status train_judge_classes(train_session *t, const loader_batch *b, int n, int64_t first, val_buffers *w, run_validation *v);

/* Opens what evaluations need: t->net and t->averaged are asked for when one runs. EINVAL: options that do not fit the model or the data. Without
 * --eval_every t->evaluation stays NULL. */
ddpm_status train_evaluation_new(train_session *t);
void        train_evaluation_free(train_session *t);
ddpm_status train_evaluate(void *session, int64_t step);       /* a hook of run_hooks */

/* Fill t->hooks and what they need. */
ddpm_status train_hooks_new(train_session *t);
void        train_hooks_free(train_session *t);

#endif
