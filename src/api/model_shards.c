/* Weights in several files, as diffusers writes large models: an index of which tensor is in which. */
#include "api/checkpoint_parts.h"

#include "io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void shard_index_free(shard_index *x)
{
    free(x->files);
    free(x->tensors);
    *x = (shard_index){ 0 };
}

/* A file of this folder and no other: an index is somebody else's, and must not make us read what lies elsewhere. */
static ddpm_status check_file(const char *where, const char *tensor, const char *file)
{
    bool plain = file && file[0] && file[0] != '.' && strlen(file) < SHARD_NAME_SIZE;
    for (const char *c = file; plain && *c; c++) plain = *c > ' ' && *c < 127 && *c != '/' && *c != '\\';
    if (plain) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s: \"weight_map\" places tensor \"%.100s\" in \"%.60s\"; it must name a file in the same folder", where, tensor,
                     file ? file : "(no text)");
}

static ddpm_status find_file(shard_index *x, const char *where, const char *file, int *found)
{
    for (*found = 0; *found < x->n_files; (*found)++)
        if (!strcmp(x->files[*found], file)) return DDPM_OK;
    if (x->n_files == SHARD_MAX_FILES) return ddpm_fail(DDPM_EFORMAT, "%s names more than %d files", where, SHARD_MAX_FILES);
    x->files[x->n_files++] = file;
    return DDPM_OK;
}

static ddpm_status read_map(const json *map, const char *where, shard_index *x)
{
    for (const char *name = json_first(map); name; name = json_next(map, name)) {
        const char *file = json_as_string(json_get(map, name));
        shard_tensor *t = &x->tensors[x->n_tensors++];
        t->name = name;
        DDPM_TRY(check_file(where, name, file));
        DDPM_TRY(find_file(x, where, file, &t->file));
    }
    return DDPM_OK;
}

ddpm_status shard_index_read(const json *o, const char *where, shard_index *x)
{
    json *map = NULL;
    *x = (shard_index){ 0 };
    DDPM_TRY(json_need(o, "weight_map", where, &map));
    const size_t count = json_object_len(map);
    if (!count || count > SHARD_MAX_TENSORS)
        return ddpm_fail(DDPM_EFORMAT, "%s: \"weight_map\" must name the files of 1 to %d tensors", where, SHARD_MAX_TENSORS);
    x->files = calloc(SHARD_MAX_FILES, sizeof *x->files);
    x->tensors = calloc(count, sizeof *x->tensors);
    const ddpm_status s = x->files && x->tensors ? read_map(map, where, x) : ddpm_fail(DDPM_ENOMEM, "no memory for the index of %zu tensors", count);
    if (s != DDPM_OK) shard_index_free(x);
    return s;
}

/* --- the files ------------------------------------------------------------------------- */

typedef struct { safetensors *st; uint8_t *bytes; } shard;

static ddpm_status open_shard(const char *dir, const char *file, shard *s)
{
    char path[MODEL_PATH_SIZE];
    DDPM_TRY(checkpoint_join(path, dir, file));
    if (!file_exists(path)) return ddpm_fail(DDPM_EFORMAT, "%s is missing; the model is incomplete", path);
    return weights_open(path, &s->bytes, &s->st);
}

/* The tensors of the index, each in its file, and no others. */
static ddpm_status collect(const shard_index *x, const char *where, const shard *shards, safetensors_tensor *list)
{
    int stored = 0;
    for (int i = 0; i < x->n_files; i++) stored += safetensors_count(shards[i].st);
    for (int i = 0; i < x->n_tensors; i++) {
        const safetensors_tensor *t = NULL;
        DDPM_TRY(safetensors_need(shards[x->tensors[i].file].st, x->tensors[i].name, &t));
        list[i] = *t;
    }
    if (stored == x->n_tensors) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s lists %d tensors, its files hold %d", where, x->n_tensors, stored);
}

static ddpm_status produce(void *ctx, int i, void *buffer)
{
    const safetensors_tensor *list = ctx;
    if (list[i].bytes) memcpy(buffer, list[i].data, list[i].bytes);
    return DDPM_OK;
}

static ddpm_status join(const char *dir, const char *where, const shard_index *x, shard *shards, uint8_t **bytes, safetensors **st)
{
    for (int i = 0; i < x->n_files; i++) DDPM_TRY(open_shard(dir, x->files[i], &shards[i]));
    safetensors_tensor *list = calloc((size_t)x->n_tensors, sizeof *list);
    ddpm_status s = list ? collect(x, where, shards, list) : ddpm_fail(DDPM_ENOMEM, "no memory for the names of %d tensors", x->n_tensors);
    if (s == DDPM_OK) s = tensors_pack(list, x->n_tensors, where, produce, list, bytes, st);
    free(list);
    return s;
}

ddpm_status shards_open(const char *dir, const char *index, uint8_t **bytes, safetensors **st)
{
    char path[MODEL_PATH_SIZE];
    json *o = NULL;
    shard_index x = { 0 };
    DDPM_TRY(checkpoint_join(path, dir, index));
    DDPM_TRY(json_read_file(path, &o));
    ddpm_status s = shard_index_read(o, path, &x);
    shard *shards = s == DDPM_OK ? calloc((size_t)x.n_files, sizeof *shards) : NULL;
    if (s == DDPM_OK) s = shards ? join(dir, path, &x, shards, bytes, st) : ddpm_fail(DDPM_ENOMEM, "no memory for %d files", x.n_files);
    for (int i = 0; shards && i < x.n_files; i++) {
        safetensors_close(shards[i].st);
        free(shards[i].bytes);
    }
    free(shards);
    shard_index_free(&x);
    json_free(o);
    return s;
}
