#include "api/checkpoint_parts.h"

#include "io/crc32c.h"
#include "io/file.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- bundled models --------------------------------------------------------------------------- */

/* Where they lie from the program's file or the shared library's, in the tree that was built and in one that was
 * installed; a library may be a folder deeper, in lib/ARCHITECTURE. */
static const struct { bool library; int up; const char *below; } BUNDLED[] = {
    { false, 2, "models" }, { false, 2, "share/ddpm/models" }, { true, 2, "models" }, { true, 2, "share/ddpm/models" }, { true, 3, "share/ddpm/models" },
};
enum { BUNDLED_PLACES = sizeof BUNDLED / sizeof *BUNDLED };

/* The file this code is in, when that is not the program. */
static bool library_file(const char *program, char path[PATH_MAX])
{
    Dl_info here;
    return dladdr(BUNDLED, &here) && here.dli_fname && realpath(here.dli_fname, path) && strcmp(path, program);
}

/* False: there is no such place. */
static bool place_folder(int i, char folder[MODEL_PATH_SIZE])
{
    char program[PATH_MAX], library[PATH_MAX], *file = BUNDLED[i].library ? library : program;
    if (!realpath("/proc/self/exe", program)) program[0] = 0;
    if (BUNDLED[i].library && !library_file(program, library)) return false;
    for (int up = 0; up < BUNDLED[i].up; up++) {
        char *slash = strrchr(file, '/');
        if (!slash) return false;
        *slash = 0;
    }
    return checkpoint_join(folder, file, BUNDLED[i].below) == DDPM_OK;
}

/* The same for places that are none of the earlier ones: a program may lie beside the library. */
static bool bundled_folder(int i, char folder[MODEL_PATH_SIZE])
{
    char earlier[MODEL_PATH_SIZE];
    if (!place_folder(i, folder)) return false;
    for (int k = 0; k < i; k++)
        if (place_folder(k, earlier) && !strcmp(earlier, folder)) return false;
    return true;
}

void model_bundled_places(char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < BUNDLED_PLACES && used < size; i++) {
        char folder[MODEL_PATH_SIZE];
        if (!bundled_folder(i, folder)) continue;
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
        if (checkpoint_join(path, folder, here[i]) != DDPM_OK || !folder_is_model(path)) continue;
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
        if (bundled_folder(i, folder)) s = add_models(folder, names, count);
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
        if (bundled_folder(i, folder) && checkpoint_join(path, folder, spec) == DDPM_OK && file_is_dir(path)) return true;
    }
    return false;
}

bool model_is_bundled(const char *word)
{
    char path[MODEL_PATH_SIZE];
    return find_bundled(word, path) && folder_is_model(path);
}

bool model_is(const char *spec)
{
    if (!file_exists(spec)) return model_is_bundled(spec);
    if (file_is_dir(spec)) return checkpoint_has(spec, "checkpoints") || folder_is_model(spec);
    const bool archive = file_has_ending(spec, ".npz") || file_has_ending(spec, ".zip");       /* PyTorch's files are zips of other names */
    return !archive && single_is_model(spec);
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
        return ddpm_fail(DDPM_EFORMAT, "%s is a file, but neither PyTorch's nor safetensors; a model is one of those, a run, checkpoint or pipeline folder, or "
                                       "the name of a bundled model", spec);
    *run = checkpoint_has(spec, "checkpoints");
    if (!*run) return DDPM_OK;
    DDPM_TRY(checkpoint_newest(spec, path));
    return path[0] ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "the run %s has no valid checkpoint yet", spec);
}

/* --- the interface --------------------------------------------------------------------------------- */

ddpm_status model_open_with(const char *spec, int weights, const settings *request, model_file **out)
{
    char path[MODEL_PATH_SIZE];
    bool run = false;
    describe_found found = { 0 };
    *out = NULL;
    const bool single = file_exists(spec) && !file_is_dir(spec) && single_is_model(spec);
    if (!single) DDPM_TRY(find_folder(spec, path, &run));
    model_file *m = calloc(1, sizeof *m);
    if (!m) return ddpm_fail(DDPM_ENOMEM, "no memory to open %s", spec);
    const ddpm_status s = single ? single_open(spec, weights, request, m) : folder_open(path, weights, request, &found, m);
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

ddpm_status model_check_draws(const model_file *m)
{
    if (!m->d.s.v.classes_out) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "%s is a classifier of %d classes, which draws nothing; give a model that `ddpm train` made, which `ddpm sample "
                                  "--classifier` can guide by this one", m->d.path, m->d.s.v.classes_out);
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
