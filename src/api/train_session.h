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

enum { RUN_PATH_SIZE = MODEL_PATH_SIZE - 128 };

typedef struct {
    settings         *s;             /* resolved                                        */
    settings          stored;        /* of the run that goes on                         */
    const tool_events *ev;
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
} train_session;

/* What training does when nobody says otherwise; `plan` counts with the same. */
enum { TRAIN_BATCH = 128, TRAIN_CACHE_BYTES = 1 << 30 };

int         train_grid_images(const settings *s);  /* of a grid drawn while training    */
int         train_chunk(const settings *s);      /* images computed at once by a worker */
ddpm_status train_write_config(const train_session *t, const char *command);

/* Fill t->hooks and what they need. */
ddpm_status train_hooks_new(train_session *t);
void        train_hooks_free(train_session *t);

#endif
