/* State dicts of PyTorch files as weights: which one, and as the safetensors the rest reads. */
#include "api/checkpoint_parts.h"

#include "io/file.h"
#include "io/torch_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Places in the list that ermongroup's runner saves. */
enum { RUNNER_MODEL = 0, RUNNER_STEP = 3, RUNNER_EMA = 4 };

/* --- which tensors ------------------------------------------------------------------- */

typedef struct {
    const char        *path;
    const torch_value *dict;
    size_t             skip;         /* characters of the prefix that DataParallel puts before every name */
    size_t             bytes;        /* of all tensors          */
} state_dict;

static const char PARALLEL[] = "module.";

/* Names go into JSON and into sentences, so they are plain. */
static ddpm_status check_name(const char *path, const char *name)
{
    bool good = name && name[0] && strlen(name) < NAMES_SIZE;
    for (const char *c = name; good && *c; c++) good = *c > ' ' && *c < 127;
    return good ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s: the name of a tensor is empty, too long or not plain ASCII", path);
}

static bool all_parallel(const torch_value *dict)
{
    for (size_t i = 0; i < torch_len(dict); i++) {
        const char *name = torch_as_string(torch_key(dict, i));
        if (!name || strncmp(name, PARALLEL, sizeof PARALLEL - 1)) return false;
    }
    return true;
}

static ddpm_status find_tensors(const char *path, const torch_value *dict, state_dict *sd)
{
    *sd = (state_dict){ .path = path, .dict = dict, .skip = all_parallel(dict) ? sizeof PARALLEL - 1 : 0 };
    if (torch_kind_of(dict) != TORCH_KIND_DICT || !torch_len(dict))
        return ddpm_fail(DDPM_EFORMAT, "%s holds no state dict: %s stands in its place", path, torch_kind_name(torch_kind_of(dict)));
    for (size_t i = 0; i < torch_len(dict); i++) {
        const char *name = torch_as_string(torch_key(dict, i));
        const torch_tensor *t = torch_as_tensor(torch_at(dict, i));
        DDPM_TRY(check_name(path, name ? name + sd->skip : NULL));
        if (!t) return ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" is %s, not a tensor; this is not a state dict", path, name, torch_kind_name(torch_kind_of(torch_at(dict, i))));
        sd->bytes += torch_tensor_len(t) * torch_dtype_bytes(t->dtype);
    }
    return DDPM_OK;
}

static ddpm_status fail_optimiser(const char *path)
{
    return ddpm_fail(DDPM_EFORMAT, "%s is the state of an optimiser (\"param_groups\"), not of a model; beside it are model*.pt (raw weights) and ema_*.pt (averaged)", path);
}

static void say_weights(weights_said *said, bool raw) { snprintf(said->weights, sizeof said->weights, raw ? "raw" : "ema"); }

/* ermongroup's runner: [model, optimiser, epoch, step, averaged model]. */
static ddpm_status choose_of_list(const char *path, const torch_value *list, int weights, weights_said *said, const torch_value **dict)
{
    const bool raw = weights == WEIGHTS_RAW;
    *dict = torch_at(list, raw ? RUNNER_MODEL : RUNNER_EMA);
    if (torch_kind_of(torch_at(list, RUNNER_MODEL)) != TORCH_KIND_DICT)
        return ddpm_fail(DDPM_EFORMAT, "%s holds no state dict: its list begins with %s", path, torch_kind_name(torch_kind_of(torch_at(list, RUNNER_MODEL))));
    if (!*dict) return ddpm_fail(DDPM_EINVAL, "%s has no averaged weights; use --weights raw", path);
    torch_as_int(torch_at(list, RUNNER_STEP), &said->step);
    say_weights(said, raw);
    return DDPM_OK;
}

static const torch_value *first_of(const torch_value *dict, const char *const *keys)
{
    for (; *keys; keys++)
        if (torch_kind_of(torch_get(dict, *keys)) == TORCH_KIND_DICT) return torch_get(dict, *keys);
    return NULL;
}

/* The same parts under names: what trainers that save one file commonly call them. *dict stays where there are none:
 * then it is the state dict itself. */
static ddpm_status choose_of_dict(const char *path, const torch_value *root, int weights, weights_said *said, const torch_value **dict)
{
    static const char *const averaged[] = { "ema", "ema_model", "model_ema", "ema_state_dict", NULL };
    static const char *const plain[] = { "model", "state_dict", "model_state_dict", "states", NULL };
    static const char *const steps[] = { "step", "global_step", NULL };
    const torch_value *ema = first_of(root, averaged), *raw = first_of(root, plain);
    if (torch_get(root, "param_groups")) return fail_optimiser(path);
    if (!ema && !raw) return DDPM_OK;
    *dict = weights == WEIGHTS_RAW ? raw : ema;
    if (!*dict) return ddpm_fail(DDPM_EINVAL, "%s has no %s weights; use --weights %s", path, ema ? "raw" : "averaged", ema ? "ema" : "raw");
    for (int i = 0; steps[i]; i++) torch_as_int(torch_get(root, steps[i]), &said->step);
    say_weights(said, weights == WEIGHTS_RAW);
    return DDPM_OK;
}

/* Whether `name` is the pattern to its end; %n must stand there. */
static bool is_all(const char *name, int end) { return end > 0 && !name[end]; }

/* The file's name says what it is: improved-diffusion's ema_RATE_STEP.pt and modelSTEP.pt, pesser's ema_diffusion_X/model-STEP.ckpt
 * and diffusion_X/model-STEP.ckpt. */
void model_torch_name(const char *path, weights_said *said)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *folder = slash;
    while (folder && folder > path && folder[-1] != '/') folder--;
    char rate[16];
    int64_t step;
    int end = 0;
    if (sscanf(name, "ema_%15[0-9.]_%" SCNd64 ".pt%n", rate, &step, &end) == 2 && is_all(name, end)) {
        snprintf(said->weights, sizeof said->weights, "ema %s", rate);
    } else if (sscanf(name, "model-%" SCNd64 ".ckpt%n", &step, &end) == 1 && is_all(name, end) && folder) {
        const bool averaged = !strncmp(folder, "ema_diffusion_", 14);
        if (!averaged && strncmp(folder, "diffusion_", 10)) return;
        say_weights(said, !averaged);
    } else if (sscanf(name, "model%" SCNd64 ".pt%n", &step, &end) == 1 && is_all(name, end)) {
        say_weights(said, true);
    } else {
        return;
    }
    if (step >= 0) said->step = step;
}

static ddpm_status choose(const torch_file *f, int weights, weights_said *said, state_dict *sd)
{
    const torch_value *root = torch_root(f), *dict = root;
    const torch_kind kind = torch_kind_of(root);
    if (kind == TORCH_KIND_LIST || kind == TORCH_KIND_TUPLE) DDPM_TRY(choose_of_list(torch_path(f), root, weights, said, &dict));
    else DDPM_TRY(choose_of_dict(torch_path(f), root, weights, said, &dict));
    if (dict == root) model_torch_name(torch_path(f), said);
    DDPM_TRY(find_tensors(torch_path(f), dict, sd));
    if (sd->bytes <= torch_size(f)) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s: its tensors share memory, which those of a network do not", torch_path(f));
}

/* --- as safetensors ------------------------------------------------------------------- */

static ddpm_status dtype_of(const state_dict *sd, const char *name, torch_dtype dtype, safetensors_dtype *to)
{
    static const struct { torch_dtype from; safetensors_dtype to; } rows[] = {
        { TORCH_F64, ST_F64 }, { TORCH_F32, ST_F32 }, { TORCH_F16, ST_F16 }, { TORCH_BF16, ST_BF16 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].from == dtype) {
            *to = rows[i].to;
            return DDPM_OK;
        }
    return ddpm_fail(DDPM_EFORMAT, "%s: tensor \"%s\" is of %s, not of real numbers", sd->path, name, torch_dtype_name(dtype));
}

/* Entry i of the dictionary as the rest sees a tensor. */
static ddpm_status tensor_of(const state_dict *sd, size_t i, safetensors_tensor *to)
{
    const torch_tensor *t = torch_as_tensor(torch_at(sd->dict, i));
    *to = (safetensors_tensor){ .name = torch_as_string(torch_key(sd->dict, i)) + sd->skip, .ndim = t->ndim,
                                .bytes = torch_tensor_len(t) * torch_dtype_bytes(t->dtype) };
    memcpy(to->shape, t->shape, (size_t)t->ndim * sizeof *t->shape);
    return dtype_of(sd, to->name, t->dtype, &to->dtype);
}

static ddpm_status produce(void *ctx, int i, void *buffer)
{
    const state_dict *sd = ctx;
    torch_tensor_bytes(torch_as_tensor(torch_at(sd->dict, (size_t)i)), buffer);
    return DDPM_OK;
}

static ddpm_status convert(state_dict *sd, uint8_t **bytes, safetensors **st)
{
    const size_t count = torch_len(sd->dict);
    safetensors_tensor *list = calloc(count, sizeof *list);
    ddpm_status s = list ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the names of %zu tensors", count);
    for (size_t i = 0; i < count && s == DDPM_OK; i++) s = tensor_of(sd, i, &list[i]);
    if (s == DDPM_OK) s = tensors_pack(list, (int)count, sd->path, produce, sd, bytes, st);
    free(list);
    return s;
}

ddpm_status model_torch_weights(const char *path, int weights, weights_said *said, uint8_t **bytes, safetensors **st)
{
    torch_file *f = NULL;
    state_dict sd;
    DDPM_TRY(torch_open(path, &f));
    ddpm_status s = choose(f, weights, said, &sd);
    if (s == DDPM_OK) s = convert(&sd, bytes, st);
    torch_close(f);
    return s;
}
