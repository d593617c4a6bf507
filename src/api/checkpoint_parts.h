/* checkpoint_parts.h - what the files behind checkpoint.h share. Not for other files. */
#ifndef DDPM_API_CHECKPOINT_PARTS_H
#define DDPM_API_CHECKPOINT_PARTS_H

#include "api/checkpoint.h"
#include "io/names.h"
#include "io/safetensors.h"

/* Names inside the folder. */
#define FILE_DDPM      "ddpm.json"
#define FILE_INDEX     "model_index.json"
#define FILE_SCHEDULER "scheduler/scheduler_config.json"
#define FILE_UNET      "unet/config.json"
#define FILE_WEIGHTS   "unet/diffusion_pytorch_model.safetensors"
#define FILE_STATE     "training_state.safetensors"
#define KEY_WEIGHTS_CRC "ddpm.crc32c"
#define KEY_STATE_CRC   "crc32c"
#define STATE_FORMAT    "ddpm-training-state 1"

/* DIR/NAME; EINVAL: too long. */
ddpm_status checkpoint_join(char path[MODEL_PATH_SIZE], const char *dir, const char *name);
bool        checkpoint_has(const char *dir, const char *name);

/* --- tensors: slabs to and from files (checkpoint_tensors.c) ----------------------- */

/* What becomes one tensor of a file: a parameter, or one of the three parts of a fused qkv. */
typedef struct {
    char            name[NAMES_SIZE];
    const nn_param *p;
    int             part, parts, heads;   /* parts 3: q, k, v                        */
    bool            new_order;            /* of the fused projection                 */
    int             ndim;
    int64_t         shape[4];
    size_t          len;
} stored_tensor;

/* The tensors of a network in a naming; *list is the caller's to free. */
ddpm_status stored_list(const settings *s, const nn_params *layout, names_style style, stored_tensor **list, int *count);

/* Tensors of several slabs that go into one file. Empty it with {0}. */
typedef struct {
    safetensors_tensor *tensors;          /* names owned                             */
    stored_tensor      *from;
    const float       **slab;             /* NULL: the tensor's own data, as they are */
    int                 count;
    float              *scratch;          /* three times the largest parameter       */
    size_t              largest;          /* its elements                            */
} tensor_set;

typedef struct { const char *name; uint32_t crc; } extra_crc;

ddpm_status tensor_set_add(tensor_set *set, const stored_tensor *list, int count, const char *prefix, const float *slab, bool half);
/* A tensor that is not of the network; its data outlive the set. */
ddpm_status tensor_set_add_plain(tensor_set *set, const safetensors_tensor *t);
/* `meta` has room for one more entry, which becomes crc_key: every tensor's checksum and the extra ones. */
ddpm_status tensor_set_write(tensor_set *set, const char *path, safetensors_meta *meta, int meta_count, const char *crc_key,
                             const extra_crc *extra, int extra_count);
void        tensor_set_free(tensor_set *set);

/* A slab of slab_len numbers from the file's tensors called prefix + name; the gaps become zero. EFORMAT names the tensor. */
ddpm_status tensors_read(const safetensors *st, const stored_tensor *list, int count, const char *prefix, float *slab, size_t slab_len);

/* Every tensor against the checksums under `key`, which must be there and name the same tensors and extras. */
ddpm_status tensors_check(const safetensors *st, const char *key, const extra_crc *extra, int extra_count);

/* --- training_state.safetensors (checkpoint_state.c) ------------------------------- */

ddpm_status state_write(const char *dir, const checkpoint_source *src, uint32_t config_crc);
/* Opened and every checksum good. */
ddpm_status state_open(const char *dir, safetensors **st);

/* --- ddpm.json (checkpoint_describe.c) ---------------------------------------------- */

ddpm_status describe_write(const char *dir, const checkpoint_source *src, uint32_t *crc);
typedef struct { bool present, has_state; uint32_t crc; } describe_found;
/* Into *d when the file is there: settings resolved and fixed, names, provenance. */
ddpm_status describe_read(const char *dir, model_description *d, describe_found *found);
void        describe_free(model_description *d);
/* A model's values outrank every other source. */
void        describe_fix(settings *s);

/* --- diffusers' JSON (checkpoint_diffusers.c, checkpoint_diffusers_read.c) ---------- */

enum { REASON_SIZE = 256 };
/* Why diffusers would not run this model as we do; "" when it would. */
void        diffusers_reason(const settings *s, char reason[REASON_SIZE]);
ddpm_status diffusers_write(const char *dir, const settings *s);
/* Settings from the configuration of the U-Net and of the scheduler. */
ddpm_status diffusers_read(const char *unet_path, const char *scheduler_path, bool old_names, settings *s);
/* The kind our scheduler file's betas belong to; false: none we know. */
bool        diffusers_named_schedule(schedule_kind kind, const char **name);
/* Attention heads of level `level` on the way down or up; the middle is the last level down. */
int         diffusers_heads(const unet_config *c, int level, bool up);

/* --- PyTorch files (model_torch.c, model_torch_infer.c) ------------------------------- */

/* A file that begins like one of torch.save. */
bool        model_torch_is(const char *path);
/* The state dict of improved-diffusion (bare), ermongroup (a list; averaged or raw) or pesser (bare) as
 * safetensors over *bytes, which outlive *st and are freed by the caller also after a failure. Fills d->weights and
 * d->step where the file tells them. */
ddpm_status model_torch_weights(const char *path, int weights, model_description *d, uint8_t **bytes, safetensors **st);
/* d->s and d->kind: the network from names and shapes, the rest from what was given in `request` (NULL: nothing).
 * EINVAL: the rest is missing (names it and the presets of this shape), or contradicts the file. */
ddpm_status model_torch_describe(const safetensors *st, const settings *request, model_description *d, names_style *style);

#endif
