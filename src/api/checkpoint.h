/* checkpoint.h - models in files: what they are, their weights, and a run's state.
 *
 * A checkpoint of ours is a diffusers pipeline folder:
 *   model_index.json, scheduler/scheduler_config.json, unet/config.json,
 *   unet/diffusion_pytorch_model.safetensors      averaged weights, diffusers' names
 *   ddpm.json                                     the full description, in our options' words
 *   training_state.safetensors                    raw weights, moments, every average, counters (runs only)
 * ddpm.json is believed where it is present; without it the description comes
 * from diffusers' files. A network that diffusers cannot represent keeps the
 * folder's shape under a class name of its own, so diffusers refuses it. */
#ifndef DDPM_API_CHECKPOINT_H
#define DDPM_API_CHECKPOINT_H

#include "api/settings.h"
#include "nn/params.h"
#include "train/trainer.h"

enum { MODEL_PATH_SIZE = 4096 };

/* What a model is. */
typedef struct {
    settings s;                      /* GROUP_MODEL values, resolved, with the strongest origin: nothing changes them */
    char   **class_names;            /* [n_class_names], owned; NULL without names         */
    int      n_class_names;
    char     kind[64];               /* "run", "pipeline", "pipeline (old layout)"         */
    char     weights[64];            /* what will be loaded: "ema 0.9999", "raw", "unknown" */
    char     path[MODEL_PATH_SIZE];  /* of the folder that holds it                        */
    char     provenance[1024];       /* program, version, command and data that made it    */
    int64_t  step;                   /* training steps; -1: unknown                        */
} model_description;

typedef struct model_file model_file;

/* spec: a run folder (its newest checkpoint that validates; a damaged one is reported and skipped), a
 * checkpoint or pipeline folder (today's layout or the old flat one), or the name of a bundled model.
 * weights: WEIGHTS_EMA or WEIGHTS_RAW (raw needs training_state.safetensors).
 * EFORMAT: damaged, or not a model; EINVAL: nothing of that name (lists the bundled ones). */
ddpm_status model_open(const char *spec, int weights, model_file **m);
/* The same, or a PyTorch file (x.pt, x.pth, x.ckpt, told by its first bytes) with a state dict of improved-diffusion,
 * ermongroup or pesser. What such a file cannot say (image size, T, schedule, heads) comes from the values that
 * were given in `request` (NULL: nothing was); EINVAL lists what is missing. Folders describe themselves. */
ddpm_status model_open_with(const char *spec, int weights, const settings *request, model_file **m);
void        model_close(model_file *m);                    /* NULL ok */
/* EINVAL: the model is a classifier and draws nothing. */
ddpm_status model_check_draws(const model_file *m);
const model_description *model_describe(const model_file *m);

/* The weights into a slab of `layout` (the network of model_describe()->s). Every tensor's name, shape and
 * finiteness is checked; EFORMAT names the tensor. */
ddpm_status model_load(const model_file *m, const nn_params *layout, float *slab);

/* SHA-free identity for provenance: CRC-32C over the tensors' bytes, as 8 hex digits. */
ddpm_status model_fingerprint(const model_file *m, char hex[9]);

/* Names of the bundled models, sorted, for messages; the caller frees them with dir_list_free. Looked for
 * beside the program: <its folder>/../models, then <its folder>/../share/ddpm/models; and likewise beside libddpm.so. */
ddpm_status model_bundled(char ***names, int *count);
/* Whether this word alone is the name of a bundled model, or names any: one of those, a run, a folder or a file. */
bool        model_is_bundled(const char *word);
bool        model_is(const char *spec);
/* Those folders, for messages: "A and B". */
void        model_bundled_places(char *text, size_t size);

/* What is written. */
typedef struct {
    const settings  *s;              /* resolved                                           */
    char *const     *class_names;
    int              n_class_names;
    const char      *provenance, *weights;   /* weights: "ema 0.9999" or "raw"             */
    int64_t          step;
    const nn_params *layout;
    const float     *values;         /* slab of the pipeline's weights                     */
    bool             bf16;           /* store them as BF16 instead of F32                  */
    const trainer_state *state;      /* NULL: no training_state.safetensors                */
    double           best_val;       /* < 0: none                                          */
} checkpoint_source;

/* Write the folder `dir` durably: complete or not there. An older folder of that name is removed once the
 * new one is durable; until then it is `dir` or, for an instant, `dir`.old-PID, which readers accept. Leftovers
 * of processes that died while writing beside it are cleared. EIO: disk full and so on. */
ddpm_status checkpoint_write(const char *dir, const checkpoint_source *src);

/* Fill an allocated trainer_state from DIR/training_state.safetensors; checks every tensor's CRC-32C.
 * The number and rates of averages must be those of `s`. *best_val: -1 when there is none. */
ddpm_status checkpoint_read_state(const char *dir, const settings *s, trainer_state *state, double *best_val);

/* RUN/checkpoints/step-XXXXXXXX of `step` (best: checkpoints/best); and the newest that validates, "" when
 * there is none. checkpoint_prune removes all but the newest `keep` up to `step`, the one just
 * saved: a later one was damaged when the run went on, and must not count. */
void        checkpoint_path(const char *run, int64_t step, bool best, char path[MODEL_PATH_SIZE]);
ddpm_status checkpoint_newest(const char *run, char path[MODEL_PATH_SIZE]);
ddpm_status checkpoint_prune(const char *run, int64_t step, int keep);

/* Every tensor of both files readable, complete and as its CRC says; every JSON file readable. Folders that
 * others wrote have no checksums: then only the structure is checked. EFORMAT, EIO. */
ddpm_status checkpoint_validate(const char *dir);

#endif
