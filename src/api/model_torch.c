/* State dicts of PyTorch files as weights: which one, and as the safetensors the rest reads. */
#include "api/checkpoint_parts.h"

#include "io/file.h"
#include "io/torch_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Places in the list that ermongroup's runner saves. */
enum { RUNNER_MODEL = 0, RUNNER_STEP = 3, RUNNER_EMA = 4, SNIFF_SIZE = 512 };

bool model_torch_is(const char *path)
{
    uint8_t bytes[SNIFF_SIZE];
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    return torch_sniff(bytes, n);
}

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
        return ddpm_fail(DDPM_EFORMAT, "%s holds no state dict: a %s stands in its place", path, torch_kind_name(torch_kind_of(dict)));
    for (size_t i = 0; i < torch_len(dict); i++) {
        const char *name = torch_as_string(torch_key(dict, i));
        const torch_tensor *t = torch_as_tensor(torch_at(dict, i));
        DDPM_TRY(check_name(path, name ? name + sd->skip : NULL));
        if (!t) return ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" is a %s, not a tensor; this is not a state dict", path, name, torch_kind_name(torch_kind_of(torch_at(dict, i))));
        sd->bytes += torch_tensor_len(t) * torch_dtype_bytes(t->dtype);
    }
    return DDPM_OK;
}

/* ermongroup's runner: [model, optimiser, epoch, step, averaged model]. */
static ddpm_status choose_of_list(const char *path, const torch_value *list, int weights, model_description *d, const torch_value **dict)
{
    const bool raw = weights == WEIGHTS_RAW;
    *dict = torch_at(list, raw ? RUNNER_MODEL : RUNNER_EMA);
    if (!*dict) return ddpm_fail(DDPM_EINVAL, "%s has no averaged weights; use --weights raw", path);
    torch_as_int(torch_at(list, RUNNER_STEP), &d->step);
    snprintf(d->weights, sizeof d->weights, raw ? "raw" : "ema");
    return DDPM_OK;
}

/* improved-diffusion says in the file's name what it is: ema_RATE_STEP.pt, modelSTEP.pt. */
static void describe_by_name(const char *path, model_description *d)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char rate[16];
    int64_t step;
    if (sscanf(name, "ema_%15[0-9.]_%" SCNd64 ".pt", rate, &step) == 2) snprintf(d->weights, sizeof d->weights, "ema %s", rate);
    else if (sscanf(name, "model%" SCNd64 ".pt", &step) == 1) snprintf(d->weights, sizeof d->weights, "raw");
    else return;
    d->step = step;
}

static ddpm_status choose(const torch_file *f, int weights, model_description *d, state_dict *sd)
{
    const torch_value *root = torch_root(f), *dict = root;
    const torch_kind kind = torch_kind_of(root);
    if (kind == TORCH_KIND_LIST || kind == TORCH_KIND_TUPLE) DDPM_TRY(choose_of_list(torch_path(f), root, weights, d, &dict));
    else describe_by_name(torch_path(f), d);
    DDPM_TRY(find_tensors(torch_path(f), dict, sd));
    if (sd->bytes <= torch_size(f)) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s: its tensors share memory, which those of a network do not", torch_path(f));
}

/* --- as safetensors ------------------------------------------------------------------- */

static ddpm_status dtype_of(const state_dict *sd, const char *name, torch_dtype dtype, const char **text)
{
    static const struct { torch_dtype from; safetensors_dtype to; } rows[] = {
        { TORCH_F64, ST_F64 }, { TORCH_F32, ST_F32 }, { TORCH_F16, ST_F16 }, { TORCH_BF16, ST_BF16 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].from == dtype) {
            *text = safetensors_dtype_name(rows[i].to);
            return DDPM_OK;
        }
    return ddpm_fail(DDPM_EFORMAT, "%s: tensor \"%s\" is of %s, not of real numbers", sd->path, name, torch_dtype_name(dtype));
}

static ddpm_status add_entry(json *header, const state_dict *sd, const char *name, const torch_tensor *t, size_t begin)
{
    const char *dtype = NULL;
    DDPM_TRY(dtype_of(sd, name, t->dtype, &dtype));
    json *entry = json_new_object(), *shape = json_new_array(), *place = json_new_array();
    const ddpm_status added = json_put(header, name, entry);
    ddpm_status s = json_put_string(entry, "dtype", dtype);
    for (int i = 0; i < t->ndim && s == DDPM_OK; i++) s = json_append(shape, json_new_int(t->shape[i]));
    if (s == DDPM_OK) s = json_append(place, json_new_int((int64_t)begin));
    if (s == DDPM_OK) s = json_append(place, json_new_int((int64_t)(begin + torch_tensor_len(t) * torch_dtype_bytes(t->dtype))));
    const ddpm_status puts[] = { added, s, json_put(entry, "shape", shape), json_put(entry, "data_offsets", place) };
    for (size_t i = 0; i < sizeof puts / sizeof *puts; i++) DDPM_TRY(puts[i]);
    return DDPM_OK;
}

static const char *name_of(const state_dict *sd, size_t i) { return torch_as_string(torch_key(sd->dict, i)) + sd->skip; }

static ddpm_status make_header(const state_dict *sd, char **text)
{
    json *header = json_new_object();
    ddpm_status s = header ? DDPM_OK : DDPM_ENOMEM;
    size_t at = 0;
    for (size_t i = 0; i < torch_len(sd->dict) && s == DDPM_OK; i++) {
        const torch_tensor *t = torch_as_tensor(torch_at(sd->dict, i));
        s = add_entry(header, sd, name_of(sd, i), t, at);
        at += torch_tensor_len(t) * torch_dtype_bytes(t->dtype);
    }
    *text = s == DDPM_OK ? json_text(header, JSON_COMPACT) : NULL;
    json_free(header);
    if (s == DDPM_OK && !*text) s = ddpm_fail(DDPM_ENOMEM, "no memory for the names of %zu tensors", torch_len(sd->dict));
    return s;
}

static ddpm_status copy_tensors(const state_dict *sd, const char *header, uint8_t **bytes, size_t *len)
{
    const uint64_t header_len = strlen(header);
    *len = sizeof header_len + header_len + sd->bytes;           /* both parts are smaller than the file */
    uint8_t *to = *bytes = malloc(*len);
    if (!to) return ddpm_fail(DDPM_ENOMEM, "no memory for the %zu bytes of tensors in %s", sd->bytes, sd->path);
    memcpy(to, &header_len, sizeof header_len);
    memcpy(to + sizeof header_len, header, header_len);
    to += sizeof header_len + header_len;
    for (size_t i = 0; i < torch_len(sd->dict); i++) {
        const torch_tensor *t = torch_as_tensor(torch_at(sd->dict, i));
        torch_tensor_bytes(t, to);
        to += torch_tensor_len(t) * torch_dtype_bytes(t->dtype);
    }
    return DDPM_OK;
}

static ddpm_status convert(const state_dict *sd, uint8_t **bytes, safetensors **st)
{
    char *header = NULL;
    size_t len = 0;
    DDPM_TRY(make_header(sd, &header));
    ddpm_status s = copy_tensors(sd, header, bytes, &len);
    if (s == DDPM_OK) s = safetensors_open_memory(*bytes, len, sd->path, st);
    free(header);
    return s;
}

ddpm_status model_torch_weights(const char *path, int weights, model_description *d, uint8_t **bytes, safetensors **st)
{
    torch_file *f = NULL;
    state_dict sd;
    DDPM_TRY(torch_open(path, &f));
    ddpm_status s = choose(f, weights, d, &sd);
    if (s == DDPM_OK) s = convert(&sd, bytes, st);
    torch_close(f);
    return s;
}
