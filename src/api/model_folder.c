/* Models in folders: our checkpoints, and what diffusers writes in today's and in earlier layouts. */
#include "api/checkpoint_parts.h"

#include "io/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OLD_SCHEDULER   "scheduler_config.json"
#define ABOVE_SCHEDULER "../" FILE_SCHEDULER

/* --- where things are -------------------------------------------------------------------- */

/* unet: the folder of the network, "." for this one. scheduler NULL: there is none. weights: what is known of them. */
typedef struct { const char *kind, *unet, *scheduler, *weights; } folder_layout;

static const char *find_scheduler(const char *dir)
{
    static const char *const places[] = { FILE_SCHEDULER, OLD_SCHEDULER, ABOVE_SCHEDULER };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (checkpoint_has(dir, places[i])) return places[i];
    return NULL;
}

/* A pipeline has unet/ and scheduler/; diffusers' training checkpoints have unet/ and unet_ema/ and lie beside scheduler/;
 * the layout of 2022 is flat; and somebody may name the folder of the network alone. */
static bool find_layout(const char *dir, int weights, folder_layout *l)
{
    *l = (folder_layout){ .kind = "pipeline", .unet = "unet", .scheduler = FILE_SCHEDULER, .weights = "unknown" };
    if (checkpoint_has(dir, FILE_DDPM)) return true;
    l->scheduler = find_scheduler(dir);
    if (checkpoint_has(dir, "unet")) {
        if (!l->scheduler && checkpoint_has(dir, FILE_INDEX)) l->scheduler = FILE_SCHEDULER;      /* whose absence is an error */
        if (!checkpoint_has(dir, "unet_ema")) return true;
        l->kind = "training checkpoint of diffusers";
        l->unet = weights == WEIGHTS_RAW ? "unet" : "unet_ema";
        l->weights = weights == WEIGHTS_RAW ? "raw" : "ema";
        return true;
    }
    l->unet = ".";
    l->kind = l->scheduler && !strcmp(l->scheduler, OLD_SCHEDULER) ? "pipeline (old layout)" : "network of a pipeline";
    const size_t n = strlen(dir), m = strlen("unet_ema");
    if (n >= m && !strcmp(dir + n - m, "unet_ema")) l->weights = "ema";
    if (!l->scheduler && checkpoint_has(dir, FILE_INDEX)) l->scheduler = OLD_SCHEDULER;
    return checkpoint_has(dir, "config.json");
}

bool folder_is_model(const char *dir)
{
    folder_layout l;
    return find_layout(dir, WEIGHTS_EMA, &l);
}

static ddpm_status need_file(const char *dir, const char *name, char path[MODEL_PATH_SIZE])
{
    DDPM_TRY(checkpoint_join(path, dir, name));
    if (file_exists(path)) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s is missing; the model is incomplete", path);
}

/* --- weights ----------------------------------------------------------------------------------- */

/* Names that diffusers has given them, the preferred first. */
static ddpm_status open_foreign(const char *dir, const folder_layout *l, model_file *m)
{
    static const struct { const char *name; bool index; } files[] = {
        { "diffusion_pytorch_model.safetensors", false }, { "diffusion_pytorch_model.safetensors.index.json", true },
        { "diffusion_pytorch_model.bin", false },         { "diffusion_pytorch_model.bin.index.json", true },
        { "diffusion_model.safetensors", false },         { "diffusion_model.bin", false },
        { "diffusion_model.pt", false },
    };
    char folder[MODEL_PATH_SIZE], path[MODEL_PATH_SIZE];
    DDPM_TRY(checkpoint_join(folder, dir, l->unet));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (!checkpoint_has(folder, files[i].name)) continue;
        if (files[i].index) return shards_open(folder, files[i].name, &m->bytes, &m->st);
        DDPM_TRY(checkpoint_join(path, folder, files[i].name));
        return weights_open(path, &m->bytes, &m->st);
    }
    return ddpm_fail(DDPM_EFORMAT, "%s holds no weights: diffusion_pytorch_model.safetensors is missing, and so are .bin and the .index.json of either", folder);
}

static ddpm_status open_own(const char *dir, const describe_found *found, model_file *m)
{
    char path[MODEL_PATH_SIZE];
    const extra_crc extra = { FILE_DDPM, found->crc };
    DDPM_TRY(need_file(dir, FILE_WEIGHTS, path));
    DDPM_TRY(safetensors_open(path, &m->st));
    return tensors_check(m->st, KEY_WEIGHTS_CRC, &extra, 1);
}

static ddpm_status open_raw(const char *dir, model_file *m)
{
    if (!checkpoint_has(dir, FILE_STATE))
        return ddpm_fail(DDPM_EINVAL, "%s has no raw weights (no %s); use --weights ema", dir, FILE_STATE);
    safetensors_close(m->st);
    m->st = NULL;
    DDPM_TRY(state_open(dir, &m->st));
    m->style = NAMES_OPENAI;
    m->prefix = "raw/";
    snprintf(m->d.weights, sizeof m->d.weights, "raw");
    return DDPM_OK;
}

/* --- description ------------------------------------------------------------------------------ */

/* A pipeline with more parts than a network and its schedule draws something else than pixels. */
static ddpm_status check_parts(const char *dir)
{
    char path[MODEL_PATH_SIZE];
    json *index = NULL;
    if (!checkpoint_has(dir, FILE_INDEX)) return DDPM_OK;
    DDPM_TRY(checkpoint_join(path, dir, FILE_INDEX));
    DDPM_TRY(json_read_file(path, &index));
    ddpm_status s = DDPM_OK;
    for (const char *key = json_first(index); key && s == DDPM_OK; key = json_next(index, key)) {
        const json *part = json_get(index, key);
        const bool ours = key[0] == '_' || !strcmp(key, "unet") || !strcmp(key, "scheduler");
        if (ours || json_array_len(part) != 2 || json_kind_of(json_at(part, 0)) == JSON_KIND_NULL) continue;
        const char *class = json_as_string(json_at(part, 1));
        s = ddpm_fail(DDPM_EFORMAT, "%s: the pipeline has a part \"%.60s\" (%.60s) beside network and schedule; only networks that work on pixels alone are read", path, key,
                      class ? class : "of no name");
    }
    json_free(index);
    return s;
}

static ddpm_status describe_foreign(const char *dir, const folder_layout *l, const settings *request, model_file *m)
{
    char net[MODEL_PATH_SIZE], scheduler[MODEL_PATH_SIZE], name[64];
    snprintf(name, sizeof name, "%s/config.json", l->unet);
    DDPM_TRY(check_parts(dir));
    DDPM_TRY(need_file(dir, strcmp(l->unet, ".") ? name : "config.json", net));
    if (l->scheduler) DDPM_TRY(need_file(dir, l->scheduler, scheduler));
    return diffusers_read(net, l->scheduler ? scheduler : NULL, m->style == NAMES_DIFFUSERS_OLD, request, &m->d.s);
}

/* The description, and the checked weights. */
ddpm_status folder_open(const char *dir, int weights, const settings *request, describe_found *found, model_file *m)
{
    folder_layout l;
    if (!find_layout(dir, weights, &l)) return ddpm_fail(DDPM_EFORMAT, "%s is not a model: it holds neither a run, nor %s, nor unet/, nor config.json", dir, FILE_DDPM);
    m->d.step = -1;
    m->prefix = "";
    snprintf(m->d.path, sizeof m->d.path, "%s", dir);
    snprintf(m->d.kind, sizeof m->d.kind, "%s", l.kind);
    snprintf(m->d.weights, sizeof m->d.weights, "%s", l.weights);
    DDPM_TRY(describe_read(dir, &m->d, found));
    DDPM_TRY(found->present ? open_own(dir, found, m) : open_foreign(dir, &l, m));
    m->style = weights_style(m->st) == NAMES_DIFFUSERS_OLD ? NAMES_DIFFUSERS_OLD : NAMES_DIFFUSERS;
    if (!found->present) DDPM_TRY(describe_foreign(dir, &l, request, m));
    const bool is_raw = !strcmp(m->d.weights, "raw") && !found->present;
    return weights == WEIGHTS_RAW && !is_raw ? open_raw(dir, m) : DDPM_OK;
}

/* --- validation -------------------------------------------------------------------------------- */

/* Readable although only diffusers reads them. */
static ddpm_status check_json(const char *dir)
{
    static const char *const names[] = { FILE_INDEX, FILE_UNET, FILE_SCHEDULER };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[MODEL_PATH_SIZE];
        json *j = NULL;
        DDPM_TRY(need_file(dir, names[i], path));
        DDPM_TRY(json_read_file(path, &j));
        json_free(j);
    }
    return DDPM_OK;
}

/* The training state belongs to this description. */
static ddpm_status check_state(const char *dir, const describe_found *found)
{
    char hex[16], path[MODEL_PATH_SIZE];
    safetensors *st = NULL;
    DDPM_TRY(need_file(dir, FILE_STATE, path));
    DDPM_TRY(state_open(dir, &st));
    snprintf(hex, sizeof hex, "%08" PRIx32, found->crc);
    const char *want = safetensors_metadata(st, "config_crc32c");
    const bool same = want && !strcmp(want, hex);
    safetensors_close(st);
    return same ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s was saved with another %s; the checkpoint is damaged", path, FILE_DDPM);
}

ddpm_status checkpoint_validate(const char *dir)
{
    model_file *m = calloc(1, sizeof *m);
    describe_found found = { 0 };
    if (!m) return ddpm_fail(DDPM_ENOMEM, "no memory to open %s", dir);
    ddpm_status s = folder_open(dir, WEIGHTS_EMA, NULL, &found, m);
    if (s == DDPM_OK && found.present) s = check_json(dir);
    if (s == DDPM_OK && (found.has_state || (found.present && checkpoint_has(dir, FILE_STATE)))) s = check_state(dir, &found);
    model_close(m);
    return s;
}
