#include "api/checkpoint_parts.h"

#include "io/crc32c.h"
#include "io/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct model_file {
    model_description d;
    safetensors      *st;
    uint8_t          *bytes;            /* under st where no file is; NULL: a file is mapped */
    const char       *prefix;           /* of the tensors that are loaded */
    names_style       style;
};

/* --- one folder --------------------------------------------------------------------------- */

/* Where today's layout and the flat one of 2022 keep things. */
typedef struct { const char *kind, *unet, *scheduler, *weights, *pickle; } folder_layout;
static const folder_layout LAYOUTS[] = {
    { "pipeline", FILE_UNET, FILE_SCHEDULER, FILE_WEIGHTS, "unet/diffusion_pytorch_model.bin" },
    { "pipeline (old layout)", "config.json", "scheduler_config.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin" },
};

static const folder_layout *layout_of(const char *dir)
{
    const bool today = checkpoint_has(dir, FILE_DDPM) || checkpoint_has(dir, "unet");
    const folder_layout *l = &LAYOUTS[today ? 0 : 1];
    return today || checkpoint_has(dir, l->unet) ? l : NULL;
}

static ddpm_status need_file(const char *dir, const char *name, char path[MODEL_PATH_SIZE])
{
    DDPM_TRY(checkpoint_join(path, dir, name));
    if (file_exists(path)) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s is missing; the model is incomplete", path);
}

static ddpm_status open_weights(const char *dir, const folder_layout *l, const describe_found *found, model_file *m)
{
    char path[MODEL_PATH_SIZE];
    if (!found->present && !checkpoint_has(dir, l->weights) && checkpoint_has(dir, l->pickle)) {
        DDPM_TRY(checkpoint_join(path, dir, l->pickle));
        const ddpm_status s = model_torch_weights(path, WEIGHTS_EMA, &m->d, &m->bytes, &m->st);
        if (s != DDPM_OK) return ddpm_context(s, "pickled weights (convert them to safetensors): ");
    } else {
        DDPM_TRY(need_file(dir, l->weights, path));
        DDPM_TRY(safetensors_open(path, &m->st));
    }
    m->style = safetensors_find(m->st, "mid_block.attentions.0.query.weight") ? NAMES_DIFFUSERS_OLD : NAMES_DIFFUSERS;
    m->prefix = "";
    const extra_crc extra = { FILE_DDPM, found->crc };
    return found->present ? tensors_check(m->st, KEY_WEIGHTS_CRC, &extra, 1) : DDPM_OK;
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

/* The description, and the checked weights. */
static ddpm_status open_folder(const char *dir, int weights, describe_found *found, model_file *m)
{
    const folder_layout *l = layout_of(dir);
    if (!l) return ddpm_fail(DDPM_EFORMAT, "%s is not a model: it holds neither a run, nor %s, nor unet/, nor config.json", dir, FILE_DDPM);
    m->d.step = -1;
    snprintf(m->d.path, sizeof m->d.path, "%s", dir);
    snprintf(m->d.kind, sizeof m->d.kind, "%s", l->kind);
    snprintf(m->d.weights, sizeof m->d.weights, "unknown");
    DDPM_TRY(describe_read(dir, &m->d, found));
    DDPM_TRY(open_weights(dir, l, found, m));
    if (!found->present) {
        char net[MODEL_PATH_SIZE], scheduler[MODEL_PATH_SIZE];
        DDPM_TRY(need_file(dir, l->unet, net));
        DDPM_TRY(need_file(dir, l->scheduler, scheduler));
        DDPM_TRY(diffusers_read(net, scheduler, m->style == NAMES_DIFFUSERS_OLD, &m->d.s));
    }
    return weights == WEIGHTS_RAW ? open_raw(dir, m) : DDPM_OK;
}

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
    model_file m = { 0 };
    describe_found found = { 0 };
    ddpm_status s = open_folder(dir, WEIGHTS_EMA, &found, &m);
    if (s == DDPM_OK && found.present) s = check_json(dir);
    if (s == DDPM_OK && (found.has_state || (found.present && checkpoint_has(dir, FILE_STATE)))) s = check_state(dir, &found);
    safetensors_close(m.st);
    free(m.bytes);
    describe_free(&m.d);
    return s;
}

/* --- bundled models --------------------------------------------------------------------------- */

/* Below the folder that the program's own is in. */
static const char *const BUNDLED[] = { "models", "share/ddpm/models" };
enum { BUNDLED_PLACES = sizeof BUNDLED / sizeof *BUNDLED };

static ddpm_status bundled_folder(int i, char folder[MODEL_PATH_SIZE])
{
    char exe[MODEL_PATH_SIZE];
    const ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0) return file_fail("cannot find the program through", "/proc/self/exe");
    exe[n] = 0;
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(exe, '/');
        if (slash) *slash = 0;
    }
    return checkpoint_join(folder, exe, BUNDLED[i]);
}

void model_bundled_places(char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < BUNDLED_PLACES && used < size; i++) {
        char folder[MODEL_PATH_SIZE];
        if (bundled_folder(i, folder) != DDPM_OK) continue;
        used += (size_t)snprintf(text + used, size - used, "%s%s", used ? " and " : "", folder);
    }
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Adds the folders in `folder` that are models to the list. */
static ddpm_status add_models(const char *folder, char ***names, int *count)
{
    char **here = NULL;
    int n = 0;
    if (!file_is_dir(folder)) return DDPM_OK;
    DDPM_TRY(dir_list(folder, &here, &n));
    char **grown = reallocarray(*names, (size_t)(*count + n) + 1, sizeof *grown);
    if (grown) *names = grown;
    for (int i = 0; i < n && grown; i++) {
        char path[MODEL_PATH_SIZE];
        if (checkpoint_join(path, folder, here[i]) != DDPM_OK || !layout_of(path)) continue;
        grown[(*count)++] = here[i];
        here[i] = NULL;
    }
    dir_list_free(here, n);
    return grown ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the names of bundled models");
}

ddpm_status model_bundled(char ***names, int *count)
{
    *names = NULL;
    *count = 0;
    ddpm_status s = DDPM_OK;
    for (int i = 0; i < BUNDLED_PLACES && s == DDPM_OK; i++) {
        char folder[MODEL_PATH_SIZE];
        s = bundled_folder(i, folder);
        if (s == DDPM_OK) s = add_models(folder, names, count);
    }
    if (s != DDPM_OK) {
        dir_list_free(*names, *count);
        *names = NULL;
        *count = 0;
        return s;
    }
    if (*count > 1) qsort(*names, (size_t)*count, sizeof **names, compare_names);
    return DDPM_OK;
}

static ddpm_status fail_unknown(const char *spec)
{
    char text[512] = "", places[512], **names = NULL;
    int count = 0;
    size_t used = 0;
    DDPM_TRY(model_bundled(&names, &count));
    model_bundled_places(places, sizeof places);
    for (int i = 0; i < count && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? ", " : "", names[i]);
    dir_list_free(names, count);
    return ddpm_fail(DDPM_EINVAL, "there is no model \"%.200s\": neither a folder nor a bundled model (%s%s; looked in %s)", spec,
                     count ? "bundled: " : "none are installed", text, places);
}

static bool find_bundled(const char *spec, char path[MODEL_PATH_SIZE])
{
    if (!spec[0] || spec[0] == '.' || strchr(spec, '/')) return false;
    for (int i = 0; i < BUNDLED_PLACES; i++) {
        char folder[MODEL_PATH_SIZE];
        if (bundled_folder(i, folder) == DDPM_OK && checkpoint_join(path, folder, spec) == DDPM_OK && file_is_dir(path)) return true;
    }
    return false;
}

/* --- finding the folder ------------------------------------------------------------------------- */

/* A folder that was set aside by a process that died before its successor was in place. */
static bool find_set_aside(const char *spec, char path[MODEL_PATH_SIZE])
{
    const char *slash = strrchr(spec, '/'), *name = slash ? slash + 1 : spec;
    char parent[MODEL_PATH_SIZE], **names = NULL;
    int count = 0;
    bool found = false;
    snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - spec) : 1, slash ? spec : ".");
    if (!name[0] || !file_is_dir(parent) || dir_list(parent, &names, &count) != DDPM_OK) return false;
    for (int i = 0; i < count && !found; i++)
        found = !strncmp(names[i], name, strlen(name)) && !strncmp(names[i] + strlen(name), ".old-", 5) && checkpoint_join(path, parent, names[i]) == DDPM_OK;
    dir_list_free(names, count);
    return found;
}

/* The model's folder from what the user wrote; *run: it is a run's newest. */
static ddpm_status find_folder(const char *spec, char path[MODEL_PATH_SIZE], bool *run)
{
    *run = false;
    if (snprintf(path, MODEL_PATH_SIZE, "%s", spec) >= MODEL_PATH_SIZE) return ddpm_fail(DDPM_EINVAL, "the model's path %.60s... is too long", spec);
    if (!file_exists(spec)) return find_bundled(spec, path) || find_set_aside(spec, path) ? DDPM_OK : fail_unknown(spec);
    if (!file_is_dir(spec))
        return ddpm_fail(DDPM_EFORMAT, "%s is a file, but not PyTorch's; a model is a run, checkpoint or pipeline folder, a .pt file, or the name of a bundled model", spec);
    *run = checkpoint_has(spec, "checkpoints");
    if (!*run) return DDPM_OK;
    DDPM_TRY(checkpoint_newest(spec, path));
    return path[0] ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "the run %s has no valid checkpoint yet", spec);
}

/* --- the interface --------------------------------------------------------------------------------- */

static ddpm_status open_torch(const char *path, int weights, const settings *request, model_file *m)
{
    m->d.step = -1;
    m->prefix = "";
    snprintf(m->d.path, sizeof m->d.path, "%s", path);
    snprintf(m->d.weights, sizeof m->d.weights, "unknown");
    DDPM_TRY(model_torch_weights(path, weights, &m->d, &m->bytes, &m->st));
    return model_torch_describe(m->st, request, &m->d, &m->style);
}

ddpm_status model_open_with(const char *spec, int weights, const settings *request, model_file **out)
{
    char path[MODEL_PATH_SIZE];
    bool run = false;
    describe_found found = { 0 };
    *out = NULL;
    const bool torch = file_exists(spec) && !file_is_dir(spec) && model_torch_is(spec);
    if (!torch) DDPM_TRY(find_folder(spec, path, &run));
    model_file *m = calloc(1, sizeof *m);
    if (!m) return ddpm_fail(DDPM_ENOMEM, "no memory to open %s", spec);
    const ddpm_status s = torch ? open_torch(spec, weights, request, m) : open_folder(path, weights, &found, m);
    if (s != DDPM_OK) {
        model_close(m);
        return s;
    }
    if (run) snprintf(m->d.kind, sizeof m->d.kind, "run");
    *out = m;
    return DDPM_OK;
}

ddpm_status model_open(const char *spec, int weights, model_file **m) { return model_open_with(spec, weights, NULL, m); }

void model_close(model_file *m)
{
    if (!m) return;
    safetensors_close(m->st);
    free(m->bytes);
    describe_free(&m->d);
    free(m);
}

const model_description *model_describe(const model_file *m) { return &m->d; }

static bool is_loaded(const model_file *m, const safetensors_tensor *t) { return !strncmp(t->name, m->prefix, strlen(m->prefix)); }

static ddpm_status check_no_other(const model_file *m, const stored_tensor *list, int count)
{
    int have = 0;
    for (int i = 0; i < safetensors_count(m->st); i++) {
        const safetensors_tensor *t = safetensors_at(m->st, i);
        if (!is_loaded(m, t)) continue;
        have++;
        if (have <= count) continue;
        for (int k = 0; k < safetensors_count(m->st); k++) {       /* name one that is too many */
            const char *name = safetensors_at(m->st, k)->name;
            bool known = !is_loaded(m, safetensors_at(m->st, k));
            for (int j = 0; j < count && !known; j++) known = !strcmp(name + strlen(m->prefix), list[j].name);
            if (!known) return ddpm_fail(DDPM_EFORMAT, "%s: tensor \"%.100s\" is none of this network", safetensors_path(m->st), name);
        }
    }
    return DDPM_OK;
}

ddpm_status model_load(const model_file *m, const nn_params *layout, float *slab)
{
    stored_tensor *list = NULL;
    int count;
    DDPM_TRY(stored_list(&m->d.s, layout, m->style, &list, &count));
    ddpm_status s = tensors_read(m->st, list, count, m->prefix, slab, layout->len);
    if (s == DDPM_OK) s = check_no_other(m, list, count);
    free(list);
    return s;
}

ddpm_status model_fingerprint(const model_file *m, char hex[9])
{
    uint32_t crc = 0;
    for (int i = 0; i < safetensors_count(m->st); i++) {
        const safetensors_tensor *t = safetensors_at(m->st, i);
        if (is_loaded(m, t)) crc = crc32c(crc, t->data, t->bytes);
    }
    snprintf(hex, 9, "%08" PRIx32, crc);
    return DDPM_OK;
}
