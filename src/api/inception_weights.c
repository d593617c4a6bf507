#include "api/inception_weights.h"

#include "io/file.h"
#include "io/safetensors.h"
#include "io/torch_file.h"
#include "model/inception.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PUBLISHED "6726825d"             /* the file's SHA-256 begins with it, and its names carry it */
#define PYTORCH_FID "pt_inception-2015-12-05-6726825d.pth"
#define TORCH_FIDELITY "weights-inception-2015-12-05-6726825d.pth"
#define WHERE_TO_GET_IT "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/" PYTORCH_FID

/* --- where it lies ------------------------------------------------------------------------ */

static bool is_in(const char *folder, const char *below, char path[INCEPTION_PATH_SIZE])
{
    static const char *const names[] = { PYTORCH_FID, TORCH_FIDELITY };
    for (int i = 0; i < 2 && folder[0]; i++) {
        const int n = snprintf(path, INCEPTION_PATH_SIZE, "%s/%s%s", folder, below, names[i]);
        if (n < INCEPTION_PATH_SIZE && file_exists(path)) return true;
    }
    return false;
}

ddpm_status inception_weights_find(const char *cache, char path[INCEPTION_PATH_SIZE])
{
    if (is_in(".", "", path) || is_in(cache, "ddpm/", path) || is_in(cache, "torch/hub/checkpoints/", path)) return DDPM_OK;
    return ddpm_fail(DDPM_EIO, "the Inception network's weights are not here: download %s (95 MB) into %s/ddpm or the working folder, or name the file by "
                               "--inception_weights", WHERE_TO_GET_IT, cache[0] ? cache : "~/.cache");
}

bool inception_weights_published(const char *hash) { return !strncmp(hash, PUBLISHED, strlen(PUBLISHED)); }

/* --- its tensors ------------------------------------------------------------------------------ */

/* One of the two is open. */
typedef struct { const char *path; torch_file *torch; safetensors *st; } tensor_file;

static size_t tensor_count(const tensor_file *f) { return f->torch ? torch_len(torch_root(f->torch)) : (size_t)safetensors_count(f->st); }

/* NULL: a key that is no text. */
static const char *tensor_name(const tensor_file *f, size_t i)
{
    return f->torch ? torch_as_string(torch_key(torch_root(f->torch), i)) : safetensors_at(f->st, (int)i)->name;
}

/* False: absent. */
static bool tensor_shape(const tensor_file *f, const char *name, int *rank, const int64_t **shape)
{
    const torch_tensor *t = f->torch ? torch_as_tensor(torch_get(torch_root(f->torch), name)) : NULL;
    const safetensors_tensor *s = f->st ? safetensors_find(f->st, name) : NULL;
    if (t) *rank = t->ndim, *shape = t->shape;
    if (s) *rank = s->ndim, *shape = s->shape;
    return t || s;
}

static void shape_text(int rank, const int64_t *shape, char text[128])
{
    size_t at = 0;
    text[0] = 0;
    for (int i = 0; i < rank && at < 100; i++) at += (size_t)snprintf(text + at, 128 - at, "%s%lld", i ? "x" : "", (long long)shape[i]);
}

/* An inception_tensor. */
static ddpm_status get_tensor(void *ctx, const char *name, int rank, const int64_t *shape, float *out)
{
    const tensor_file *f = ctx;
    const int64_t *is;
    int is_rank;
    if (!tensor_shape(f, name, &is_rank, &is))
        return ddpm_fail(DDPM_EFORMAT, "tensor \"%s\" is missing; this is not the Inception network of 2015-12-05", name);
    if (is_rank != rank || memcmp(is, shape, (size_t)rank * sizeof *shape)) {
        char got[128], want[128];
        shape_text(is_rank, is, got);
        shape_text(rank, shape, want);
        return ddpm_fail(DDPM_EFORMAT, "tensor \"%s\" is %s, needs %s; this is not the Inception network of 2015-12-05", name, got, want);
    }
    return f->torch ? torch_tensor_f32(torch_get(torch_root(f->torch), name), out) : safetensors_convert_f32(safetensors_find(f->st, name), out);
}

static bool ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), k = strlen(end);
    return n >= k && !strcmp(name + n - k, end);
}

/* What files hold beside what the features need: counters, the bias of the logits, the head that training alone used. */
static bool is_spare(const char *name)
{
    return ends_with(name, ".bn.num_batches_tracked") || !strcmp(name, "fc.bias") || !strncmp(name, "AuxLogits.", strlen("AuxLogits."));
}

static bool is_known(const nn_params *layout, const char *name)
{
    char conv[128];
    const char *bn = strstr(name, ".bn.");
    if (nn_params_find(layout, name) && !ends_with(name, ".conv.bias")) return true;
    if (!bn) return false;
    snprintf(conv, sizeof conv, "%.*s.conv.weight", bn - name < 64 ? (int)(bn - name) : 64, name);
    return nn_params_find(layout, conv) && (!strcmp(bn, ".bn.weight") || !strcmp(bn, ".bn.bias") || !strcmp(bn, ".bn.running_mean") || !strcmp(bn, ".bn.running_var"));
}

/* A larger network with these layers in it is another network. */
static ddpm_status check_names(const tensor_file *f, const nn_params *layout)
{
    if (f->torch && torch_kind_of(torch_root(f->torch)) != TORCH_KIND_DICT)
        return ddpm_fail(DDPM_EFORMAT, "%s stands in place of a state dict", torch_kind_name(torch_kind_of(torch_root(f->torch))));
    for (size_t i = 0; i < tensor_count(f); i++) {
        const char *name = tensor_name(f, i);
        if (!name || (!is_spare(name) && !is_known(layout, name)))
            return ddpm_fail(DDPM_EFORMAT, "tensor \"%.64s\" is none of the Inception network's of 2015-12-05", name ? name : "(a number)");
    }
    return DDPM_OK;
}

enum { HEADER = 8 };      /* bytes of safetensors before its JSON */

static ddpm_status read_open(const file_map *map, tensor_file *f, const nn_params *layout, float *slab)
{
    if (torch_sniff(map->data, map->size)) DDPM_TRY(torch_open_memory(map->data, map->size, f->path, &f->torch));
    else if (map->size <= HEADER || map->data[HEADER] != '{')
        return ddpm_fail(DDPM_EFORMAT, "%s is neither a PyTorch file nor safetensors, so it holds no weights; was its download cut short, or is it a page that says why?", f->path);
    else DDPM_TRY(safetensors_open_memory(map->data, map->size, f->path, &f->st));
    ddpm_status s = check_names(f, layout);
    if (s == DDPM_OK) s = inception_fold(layout, get_tensor, f, slab);
    torch_close(f->torch);
    safetensors_close(f->st);
    return s == DDPM_OK ? s : ddpm_context(s, "%s: ", f->path);
}

/* --- the whole ---------------------------------------------------------------------------------- */

static ddpm_status check_hash(const char *path, const file_map *map, char hash[SHA256_HEX])
{
    uint8_t digest[SHA256_BYTES];
    sha256_state state;
    sha256_begin(&state);
    sha256_add(&state, map->data, map->size);
    sha256_end(&state, digest);
    sha256_text(digest, hash);
    const char *slash = strrchr(path, '/');
    if (inception_weights_published(hash) || !strstr(slash ? slash : path, PUBLISHED)) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s is damaged: its SHA-256 is %.8s..., and by its name should begin with " PUBLISHED "; download it again from %s", path,
                     hash, WHERE_TO_GET_IT);
}

ddpm_status inception_weights_read(const char *path, const nn_params *layout, float *slab, char hash[SHA256_HEX])
{
    file_map map = { 0 };
    tensor_file f = { .path = path };
    DDPM_TRY(file_map_open(path, &map));
    ddpm_status s = check_hash(path, &map, hash);
    if (s == DDPM_OK) s = read_open(&map, &f, layout, slab);
    file_map_close(&map);
    return s;
}
