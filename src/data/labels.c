#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/dataset_format.h"
#include "io/json.h"

enum { MAX_CLASSES = 65536 };

static ddpm_status no_memory(void) { return ddpm_fail(DDPM_ENOMEM, "out of memory for the labels of a data set"); }

void classes_free(dataset_classes *c)
{
    for (int i = 0; c->names && i < c->classes; i++) free(c->names[i]);
    free(c->names);
    free(c->of);
    *c = (dataset_classes){0};
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* names: [classes], or NULL for numbers. Frees what it made when memory ends. */
static ddpm_status classes_fill(const char *const *names, int classes, int64_t count, const char *source, dataset_classes *c)
{
    *c = (dataset_classes){.of = calloc((size_t)count, sizeof *c->of), .source = source};
    c->names = calloc((size_t)classes, sizeof *c->names);
    bool ok = c->of && c->names;
    for (int i = 0; ok && i < classes; i++) {
        c->classes = i + 1;
        if (names) c->names[i] = strdup(names[i]);
        else if (asprintf(&c->names[i], "%d", i) < 0) c->names[i] = NULL;
        ok = c->names[i] != NULL;
    }
    if (ok) return DDPM_OK;
    classes_free(c);
    return no_memory();
}

ddpm_status classes_from_names(const char *const *names, int classes, int64_t count, const char *source, dataset_classes *c)
{
    assert(classes > 0 && count > 0);
    return classes_fill(names, classes, count, source, c);
}

/* Sorts strings and keeps one of each; their number. */
static int64_t unique(const char **key, int64_t count)
{
    qsort(key, (size_t)count, sizeof *key, compare_strings);
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++)
        if (n == 0 || strcmp(key[n - 1], key[i]) != 0) key[n++] = key[i];
    return n;
}

ddpm_status classes_from_keys(const char *const *key, int64_t count, const char *source, dataset_classes *c)
{
    *c = (dataset_classes){0};
    const char **sorted = malloc((size_t)count * sizeof *sorted);
    if (!sorted) return no_memory();
    memcpy(sorted, key, (size_t)count * sizeof *sorted);
    const int64_t n = unique(sorted, count);
    ddpm_status s = n <= MAX_CLASSES ? classes_fill(sorted, (int)n, count, source, c)
                                     : ddpm_fail(DDPM_EINVAL, "%lld classes by %s are more than %d; use --labels none",
                                                 (long long)n, source, MAX_CLASSES);
    for (int64_t i = 0; s == DDPM_OK && i < count; i++) {
        const char **at = bsearch(&key[i], sorted, (size_t)n, sizeof *sorted, compare_strings);
        c->of[i] = (int)(at - sorted);
    }
    free(sorted);
    return s;
}

ddpm_status classes_stored(const dataset *d, dataset_labels mode, bool *keep)
{
    *keep = mode == DATASET_LABELS_AUTO;
    if (*keep || mode == DATASET_LABELS_NONE) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "%s holds its own labels; use --labels auto or none", d->path);
}

/* --- by the names of files ----------------------------------------------------------- */

/* The part of a path that names its class, copied; empty when there is none. */
static char *key_of_folder(const char *file)
{
    const char *slash = strchr(file, '/');
    return strndup(file, slash ? (size_t)(slash - file) : 0);
}

static char *key_of_prefix(const char *file)
{
    const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file, *bar = strchr(base, '_');
    return strndup(base, bar ? (size_t)(bar - base) : 0);
}

static void keys_free(char **key, int64_t count)
{
    for (int64_t i = 0; key && i < count; i++) free(key[i]);
    free(key);
}

/* *missing: the first file without a key, or -1. */
static ddpm_status keys_make(const char *const *file, int64_t count, char *(*key_of)(const char *), char ***key, int64_t *missing)
{
    *missing = -1;
    *key = calloc((size_t)count, sizeof **key);
    if (!*key) return no_memory();
    for (int64_t i = 0; i < count; i++) {
        char *k = (*key)[i] = key_of(file[i]);
        if (!k) {
            keys_free(*key, count);
            *key = NULL;
            return no_memory();
        }
        if (*k == '\0' && *missing < 0) *missing = i;
    }
    return DDPM_OK;
}

/* By folder or prefix. must: a file without a key is an error, else there are then no
 * labels; and only min..max classes count as labels. */
static ddpm_status classes_by(const char *const *file, int64_t count, bool prefix, bool must, int64_t max, dataset_classes *c)
{
    char **key;
    int64_t missing;
    DDPM_TRY(keys_make(file, count, prefix ? key_of_prefix : key_of_folder, &key, &missing));
    ddpm_status s = DDPM_OK;
    if (missing < 0) s = classes_from_keys((const char *const *)key, count, prefix ? "prefix" : "folder", c);
    else if (must && prefix)
        s = ddpm_fail(DDPM_EINVAL, "%s has no class before a '_' in its name; use --labels folder or none", file[missing]);
    else if (must)
        s = ddpm_fail(DDPM_EINVAL, "%s lies in no sub-folder that could be its class; use --labels prefix or none", file[missing]);
    if (!must && (c->classes < 2 || c->classes > max)) classes_free(c);
    keys_free(key, count);
    return s;
}

static ddpm_status classes_auto(const char *const *file, int64_t count, dataset_classes *c)
{
    DDPM_TRY(classes_by(file, count, false, false, MAX_CLASSES, c));
    return c->of ? DDPM_OK : classes_by(file, count, true, false, count / 2, c);
}

/* --- by dataset.json --------------------------------------------------------------------- */

typedef struct { const char *file; const json *label; } json_entry;

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const json_entry *)a)->file, ((const json_entry *)b)->file);
}

static ddpm_status entries_read(const char *path, const json *labels, json_entry *entry, size_t n)
{
    if (json_kind_of(labels) == JSON_KIND_OBJECT) {
        size_t i = 0;
        for (const char *k = json_first(labels); k; k = json_next(labels, k)) entry[i++] = (json_entry){k, json_get(labels, k)};
    } else {
        for (size_t i = 0; i < n; i++) {
            const json *pair = json_at(labels, i);
            entry[i] = (json_entry){json_as_string(json_at(pair, 0)), json_at(pair, 1)};
            if (!entry[i].file || json_array_len(pair) != 2)
                return ddpm_fail(DDPM_EFORMAT, "%s: entry %zu of \"labels\" is not [\"file\", class]", path, i);
        }
    }
    qsort(entry, n, sizeof *entry, compare_entries);
    for (size_t i = 1; i < n; i++)
        if (strcmp(entry[i - 1].file, entry[i].file) == 0)
            return ddpm_fail(DDPM_EFORMAT, "%s: \"labels\" has two entries for %s", path, entry[i].file);
    return DDPM_OK;
}

/* label[i]: the value for file i, borrowed from the tree. */
static ddpm_status entries_match(const char *path, const json_entry *entry, size_t n, const char *const *file, int64_t count,
                                 const json **label)
{
    for (int64_t i = 0; i < count; i++) {
        const json_entry wanted = {file[i], NULL};
        const json_entry *at = n ? bsearch(&wanted, entry, n, sizeof *entry, compare_entries) : NULL;
        if (!at) return ddpm_fail(DDPM_EFORMAT, "%s: \"labels\" has no entry for %s", path, file[i]);
        if (json_kind_of(at->label) != json_kind_of(i ? label[0] : at->label))
            return ddpm_fail(DDPM_EFORMAT, "%s: the classes of %s and %s are not both numbers or both names", path, file[0], file[i]);
        label[i] = at->label;
    }
    return DDPM_OK;
}

static ddpm_status classes_from_numbers(const char *path, const json *const *label, int64_t count, dataset_classes *c)
{
    int64_t max = 0, v = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!json_as_int(label[i], &v) || v < 0 || v >= MAX_CLASSES)
            return ddpm_fail(DDPM_EFORMAT, "%s: a class is neither a name nor a number from 0 to %d", path, MAX_CLASSES - 1);
        max = v > max ? v : max;
    }
    DDPM_TRY(classes_fill(NULL, (int)max + 1, count, "dataset.json", c));
    for (int64_t i = 0; i < count; i++)
        if (json_as_int(label[i], &v)) c->of[i] = (int)v;
    return DDPM_OK;
}

static ddpm_status classes_from_values(const char *path, const json *const *label, int64_t count, dataset_classes *c)
{
    if (json_kind_of(label[0]) != JSON_KIND_STRING) return classes_from_numbers(path, label, count, c);
    const char **key = calloc((size_t)count, sizeof *key);
    if (!key) return no_memory();
    for (int64_t i = 0; i < count; i++) key[i] = json_as_string(label[i]);
    const ddpm_status s = classes_from_keys(key, count, "dataset.json", c);
    free(key);
    return s;
}

static ddpm_status classes_from_tree(const char *path, const json *tree, const char *const *file, int64_t count, dataset_classes *c)
{
    const json *labels = json_get(tree, "labels");
    const json_kind kind = json_kind_of(labels);
    if (kind != JSON_KIND_OBJECT && kind != JSON_KIND_ARRAY)
        return ddpm_fail(DDPM_EFORMAT, "%s has no list \"labels\"; use --labels folder, prefix or none", path);
    const size_t n = kind == JSON_KIND_OBJECT ? json_object_len(labels) : json_array_len(labels);
    json_entry *entry = calloc(n + 1, sizeof *entry);
    const json **label = calloc((size_t)count, sizeof *label);
    ddpm_status s = entry && label ? DDPM_OK : no_memory();
    if (s == DDPM_OK) s = entries_read(path, labels, entry, n);
    if (s == DDPM_OK) s = entries_match(path, entry, n, file, count, label);
    if (s == DDPM_OK) s = classes_from_values(path, label, count, c);
    free(entry);
    free(label);
    return s;
}

static ddpm_status classes_json(const char *root, const char *const *file, int64_t count, dataset_classes *c)
{
    char *path = path_join(root, "dataset.json");
    if (!path) return no_memory();
    json *tree = NULL;
    ddpm_status s = json_read_file(path, &tree);
    if (s == DDPM_OK) s = classes_from_tree(path, tree, file, count, c);
    json_free(tree);
    free(path);
    return s;
}

ddpm_status classes_of_files(const char *root, const char *const *file, int64_t count, dataset_labels mode, dataset_classes *c)
{
    *c = (dataset_classes){0};
    switch (mode) {
    case DATASET_LABELS_AUTO: return classes_auto(file, count, c);
    case DATASET_LABELS_FOLDER: return classes_by(file, count, false, true, MAX_CLASSES, c);
    case DATASET_LABELS_PREFIX: return classes_by(file, count, true, true, MAX_CLASSES, c);
    case DATASET_LABELS_JSON: return classes_json(root, file, count, c);
    case DATASET_LABELS_NONE: break;
    }
    return DDPM_OK;
}
