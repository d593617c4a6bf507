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
#define KEY_DESCRIPTION "ddpm.model"           /* ddpm.json inside a single safetensors file */
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
/* The same as a PyTorch file, which has no room for checksums. */
ddpm_status tensor_set_write_torch(tensor_set *set, const char *path);
void        tensor_set_free(tensor_set *set);

/* A slab of slab_len numbers from the file's tensors called prefix + name; the gaps become zero. EFORMAT names the tensor. */
ddpm_status tensors_read(const safetensors *st, const stored_tensor *list, int count, const char *prefix, float *slab, size_t slab_len);

/* Every tensor against the checksums under `key`, which must be there and name the same tensors and extras. */
ddpm_status tensors_check(const safetensors *st, const char *key, const extra_crc *extra, int extra_count);

/* `list` (names, types, shapes, bytes) with the data that `produce` makes as a safetensors image in memory: *bytes outlive *st
 * and are freed by the caller also after a failure. `where` names it in sentences. */
ddpm_status tensors_pack(const safetensors_tensor *list, int count, const char *where, safetensors_produce produce, void *ctx,
                         uint8_t **bytes, safetensors **st);

/* --- training_state.safetensors (checkpoint_state.c) ------------------------------- */

ddpm_status state_write(const char *dir, const checkpoint_source *src, uint32_t config_crc);
/* Opened and every checksum good. */
ddpm_status state_open(const char *dir, safetensors **st);

/* --- ddpm.json (checkpoint_describe.c) ---------------------------------------------- */

ddpm_status describe_write(const char *dir, const checkpoint_source *src, uint32_t *crc);
typedef struct { bool present, has_state; uint32_t crc; } describe_found;
/* Into *d when the file is there: settings resolved and fixed, names, provenance. */
ddpm_status describe_read(const char *dir, model_description *d, describe_found *found);
/* The same from the text of such a file; `where` names it in sentences. */
ddpm_status describe_text(const char *text, size_t len, const char *where, model_description *d);
void        describe_free(model_description *d);
/* The text that describe_write writes, malloc'ed. */
ddpm_status describe_make(const checkpoint_source *src, char **text);
/* A model's values outrank every other source. */
void        describe_fix(settings *s);

/* --- diffusers' JSON (checkpoint_diffusers.c, checkpoint_diffusers_read.c) ---------- */

enum { REASON_SIZE = 256 };
/* Why diffusers would not run this model as we do; "" when it would. */
void        diffusers_reason(const settings *s, char reason[REASON_SIZE]);
ddpm_status diffusers_write(const char *dir, const settings *s);
/* Settings from the configuration of the U-Net and of the scheduler. scheduler_path NULL: what that would say comes from the
 * values given in `request` (NULL: nothing was); EINVAL lists what is missing. */
ddpm_status diffusers_read(const char *unet_path, const char *scheduler_path, bool old_names, const settings *request, settings *s);
/* The same from the files' contents; scheduler NULL: none. */
typedef struct { const json *net, *scheduler; const char *net_path, *scheduler_path; bool old_names; } diffusers_files;
ddpm_status diffusers_read_json(const diffusers_files *files, const settings *request, settings *s);
/* The kind our scheduler file's betas belong to; false: none we know. */
bool        diffusers_named_schedule(schedule_kind kind, const char **name);
/* Attention heads of level `level` on the way down or up; the middle is the last level down. */
int         diffusers_heads(const unet_config *c, int level, bool up);

/* Why improved-diffusion (and guided-diffusion) or ermongroup (and pesser) would not run this model as we do; "" when they
 * would (model_reasons.c). */
void        openai_reason(const settings *s, char reason[REASON_SIZE]);
void        ermongroup_reason(const settings *s, char reason[REASON_SIZE]);
/* The flags that tell improved-diffusion what this model is: "--image_size 32 --num_channels 64 ...". */
void        openai_flags(const settings *s, char *text, size_t size);
/* The options with which this program opens the model in ermongroup's form. */
void        ermongroup_options(const settings *s, char *text, size_t size);

/* --- weights that others wrote ---------------------------------------------------------- */

/* What a file tells of its weights: "ema 0.9999", "raw", or what stood here before; -1: no step. */
typedef struct { char weights[64]; int64_t step; } weights_said;

/* The state dict of a PyTorch file (model_torch.c): improved-diffusion's (bare), ermongroup's (a list; averaged or raw), pesser's
 * (bare), or under "model", "ema" and their like, as safetensors over *bytes, which outlive *st and are freed by the
 * caller also after a failure. */
ddpm_status model_torch_weights(const char *path, int weights, weights_said *said, uint8_t **bytes, safetensors **st);
/* What the name of a PyTorch file says; *said stays where it says nothing. */
void        model_torch_name(const char *path, weights_said *said);
/* One file with a state dict, of PyTorch or safetensors, told by its first bytes (model_single.c); *bytes stays NULL for the latter. */
ddpm_status weights_open(const char *path, uint8_t **bytes, safetensors **st);
/* Whose names these tensors have; NAMES_COUNT: nobody's. */
names_style weights_style(const safetensors *st);

/* Weights in several files: INDEX of the folder, a JSON object with "weight_map" from tensor to file (model_shards.c). */
enum { SHARD_MAX_FILES = 1024, SHARD_MAX_TENSORS = 100000, SHARD_NAME_SIZE = 256 };
typedef struct { const char *name; int file; } shard_tensor;
typedef struct { const char **files; int n_files; shard_tensor *tensors; int n_tensors; } shard_index;    /* names borrowed of the JSON */
ddpm_status shards_open(const char *dir, const char *index, uint8_t **bytes, safetensors **st);
/* Only the index: EFORMAT where it is none, or names a file that is not a plain name. `where` names it in sentences. */
ddpm_status shard_index_read(const json *o, const char *where, shard_index *x);
void        shard_index_free(shard_index *x);

/* d->s: the network from names and shapes (model_infer.c), the rest from what was given in `request` (NULL: nothing).
 * EINVAL: the rest is missing (names it and the presets of this shape), or contradicts the file. */
ddpm_status model_infer(const safetensors *st, names_style style, const settings *request, model_description *d);

/* What a file shows of a network that it does not describe whole. missing "": it does, with what `request` says. */
typedef struct { char form[64], weights[64], network[384], missing[1024]; int64_t step, parameters; } model_glimpse;
/* `network` and `missing` of *g. EFORMAT: the tensors form no network. */
ddpm_status model_infer_glimpse(const safetensors *st, names_style style, const settings *request, model_glimpse *g);
/* All of *g, of a single file (model_single.c). EINVAL: of diffusers, whose names do not show the network. */
ddpm_status single_glimpse(const char *path, int weights, const settings *request, model_glimpse *g);

/* --- a model being opened (model_file.c) ---------------------------------------------------- */

struct model_file {
    model_description d;
    safetensors      *st;
    uint8_t          *bytes;            /* under st where no file is; NULL: a file is mapped */
    const char       *prefix;           /* of the tensors that are loaded */
    names_style       style;
};

/* A checkpoint or what diffusers writes (model_folder.c); a single file (model_single.c). Both fill in *m, which the
 * caller closes also after a failure. */
bool        folder_is_model(const char *dir);
ddpm_status folder_open(const char *dir, int weights, const settings *request, describe_found *found, model_file *m);
bool        single_is_model(const char *path);
ddpm_status single_open(const char *path, int weights, const settings *request, model_file *m);

#endif
