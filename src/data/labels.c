#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/dataset_format.h"
#include "io/json.h"

enum { MAX_CLASSES = 65536, MAX_LIST_BYTES = 256 << 20 };

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

/* --- by a list beside the files ------------------------------------------------------------------ */

typedef struct { const char *file; const json *label; } json_entry;

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const json_entry *)a)->file, ((const json_entry *)b)->file);
}

static ddpm_status entries_sort(const char *path, json_entry *entry, size_t n)
{
    qsort(entry, n, sizeof *entry, compare_entries);
    for (size_t i = 1; i < n; i++)
        if (strcmp(entry[i - 1].file, entry[i].file) == 0) return ddpm_fail(DDPM_EFORMAT, "%s has two entries for %s", path, entry[i].file);
    return DDPM_OK;
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
    return entries_sort(path, entry, n);
}

/* label[i]: the value for file i, borrowed from the tree. */
static ddpm_status entries_match(const char *path, const json_entry *entry, size_t n, const char *const *file, int64_t count,
                                 const json **label)
{
    for (int64_t i = 0; i < count; i++) {
        const json_entry wanted = {file[i], NULL};
        const json_entry *at = n ? bsearch(&wanted, entry, n, sizeof *entry, compare_entries) : NULL;
        if (!at) return ddpm_fail(DDPM_EFORMAT, "%s has no class for %s; list it, or use --labels folder, prefix or none", path, file[i]);
        if (json_kind_of(at->label) != json_kind_of(i ? label[0] : at->label))
            return ddpm_fail(DDPM_EFORMAT, "%s: the classes of %s and %s are not both numbers or both names", path, file[0], file[i]);
        label[i] = at->label;
    }
    return DDPM_OK;
}

static ddpm_status classes_from_numbers(const char *path, const char *source, const json *const *label, int64_t count, dataset_classes *c)
{
    int64_t max = 0, v = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!json_as_int(label[i], &v) || v < 0 || v >= MAX_CLASSES)
            return ddpm_fail(DDPM_EFORMAT, "%s: a class is neither a name nor a number from 0 to %d", path, MAX_CLASSES - 1);
        max = v > max ? v : max;
    }
    DDPM_TRY(classes_fill(NULL, (int)max + 1, count, source, c));
    for (int64_t i = 0; i < count; i++)
        if (json_as_int(label[i], &v)) c->of[i] = (int)v;
    return DDPM_OK;
}

static ddpm_status classes_from_values(const char *path, const char *source, const json *const *label, int64_t count, dataset_classes *c)
{
    if (json_kind_of(label[0]) != JSON_KIND_STRING) return classes_from_numbers(path, source, label, count, c);
    const char **key = calloc((size_t)count, sizeof *key);
    if (!key) return no_memory();
    for (int64_t i = 0; i < count; i++) key[i] = json_as_string(label[i]);
    const ddpm_status s = classes_from_keys(key, count, source, c);
    free(key);
    return s;
}

/* Entries of files, from whichever list there is. `trees` own what the entries borrow. */
typedef struct { json **trees; size_t n_trees; json_entry *entry; size_t n; const char *folder, *source; } label_list;

static void list_free(label_list *l)
{
    for (size_t i = 0; i < l->n_trees; i++) json_free(l->trees[i]);
    free(l->trees);
    free(l->entry);
}

static ddpm_status list_reserve(label_list *l, size_t trees, size_t entries)
{
    l->trees = calloc(trees + 1, sizeof *l->trees);
    l->entry = calloc(entries + 1, sizeof *l->entry);
    return l->trees && l->entry ? DDPM_OK : no_memory();
}

/* EDM's and StyleGAN's: one object with "labels". A list that is null says that there are none. */
static ddpm_status list_from_dataset_json(const char *path, const char *text, size_t len, label_list *l)
{
    json *tree = NULL;
    DDPM_TRY(json_parse_limit(text, len, MAX_LIST_BYTES, path, &tree));
    const json *labels = json_get(tree, "labels");
    const json_kind kind = json_kind_of(labels);
    const size_t n = kind == JSON_KIND_OBJECT ? json_object_len(labels) : json_array_len(labels);
    ddpm_status s = list_reserve(l, 1, n);
    if (s != DDPM_OK) {
        json_free(tree);
        return s;
    }
    l->trees[l->n_trees++] = tree;
    l->n = n;
    if (kind == JSON_KIND_OBJECT || kind == JSON_KIND_ARRAY) s = entries_read(path, labels, l->entry, n);
    return s;
}

/* Hugging Face's ImageFolder: a line for each file with "file_name" and, among other things, "label". */
static ddpm_status read_line(const char *path, size_t number, const char *line, size_t len, label_list *l)
{
    char where[4200];
    const char *name = NULL;
    snprintf(where, sizeof where, "%s, line %zu", path, number);
    json *tree = NULL;
    DDPM_TRY(json_parse(line, len, where, &tree));
    l->trees[l->n_trees++] = tree;
    DDPM_TRY(json_get_string(tree, "file_name", &name));
    if (!name) return ddpm_fail(DDPM_EFORMAT, "%s has no \"file_name\"", where);
    const json *label = json_get(tree, "label");
    if (json_kind_of(label) != JSON_KIND_ABSENT && json_kind_of(label) != JSON_KIND_NULL) l->entry[l->n++] = (json_entry){name, label};
    return DDPM_OK;
}

static ddpm_status list_from_lines(const char *path, const char *text, size_t len, label_list *l)
{
    size_t lines = 1, number = 0;
    for (size_t i = 0; i < len; i++) lines += text[i] == '\n';
    DDPM_TRY(list_reserve(l, lines, lines));
    for (const char *at = text, *end = text + len; at < end; ) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        number++;
        if (stop > at && !(stop == at + 1 && *at == '\r')) DDPM_TRY(read_line(path, number, at, (size_t)(stop - at), l));
        at = stop + 1;
    }
    return entries_sort(path, l->entry, l->n);
}

typedef ddpm_status (*list_opener)(const files *f, const char *name, size_t most, uint8_t **bytes, size_t *len);

/* l->source stays NULL where there is no list. */
static ddpm_status list_read_in(const files *f, const char *folder, list_opener open, label_list *l)
{
    static const struct { const char *name; ddpm_status (*read)(const char *path, const char *text, size_t len, label_list *l); } lists[] = {
        {"dataset.json", list_from_dataset_json}, {"metadata.jsonl", list_from_lines},
    };
    ddpm_status s = DDPM_OK;
    for (size_t i = 0; i < sizeof lists / sizeof *lists && s == DDPM_OK && !l->source; i++) {
        uint8_t *text = NULL;
        size_t len;
        s = open(f, lists[i].name, MAX_LIST_BYTES, &text, &len);
        if (s != DDPM_OK || !text) continue;
        char *path = path_join(folder, lists[i].name);
        l->folder = folder;
        l->source = lists[i].name;
        s = path ? lists[i].read(path, (const char *)text, len, l) : no_memory();
        free(path);
        free(text);
    }
    return s;
}

/* Of a list of several parts, the entries of one, with names that begin below it; their order stays. */
static void list_keep_part(label_list *l, const char *part)
{
    const size_t len = strlen(part);
    size_t kept = 0;
    for (size_t i = 0; i < l->n; i++)
        if (!strncmp(l->entry[i].file, part, len) && l->entry[i].file[len] == '/') l->entry[kept++] = (json_entry){l->entry[i].file + len + 1, l->entry[i].label};
    l->n = kept;
}

/* A part's own list counts before the one of all parts. */
static ddpm_status list_read(const files *f, label_list *l)
{
    DDPM_TRY(list_read_in(f, files_root(f), files_read_named, l));
    if (l->source || !files_part(f)) return DDPM_OK;
    DDPM_TRY(list_read_in(f, files_above(f), files_read_above, l));
    list_keep_part(l, files_part(f));
    return DDPM_OK;
}

static ddpm_status classes_from_list(const files *f, const label_list *l, dataset_classes *c)
{
    const int64_t count = files_count(f);
    char *path = path_join(l->folder, l->source);
    const json **label = calloc((size_t)count, sizeof *label);
    ddpm_status s = path && label ? DDPM_OK : no_memory();
    if (s == DDPM_OK) s = entries_match(path, l->entry, l->n, files_names(f), count, label);
    if (s == DDPM_OK) s = classes_from_values(path, l->source, label, count, c);
    free(label);
    free(path);
    return s;
}

/* must: no list, or one without classes, is an error. */
static ddpm_status classes_json(const files *f, bool must, dataset_classes *c)
{
    label_list l = {0};
    ddpm_status s = list_read(f, &l);
    if (s == DDPM_OK && l.n) s = classes_from_list(f, &l, c);
    else if (s == DDPM_OK && must)
        s = ddpm_fail(DDPM_EFORMAT, "%s has no dataset.json with a list \"labels\" and no metadata.jsonl with \"label\"; use --labels folder, "
                      "prefix or none", files_root(f));
    list_free(&l);
    return s;
}

/* A list that comes with the files knows better than their names. */
static ddpm_status classes_auto(const files *f, dataset_classes *c)
{
    DDPM_TRY(classes_json(f, false, c));
    if (!c->of) DDPM_TRY(classes_by(files_names(f), files_count(f), false, false, MAX_CLASSES, c));
    return c->of ? DDPM_OK : classes_by(files_names(f), files_count(f), true, false, files_count(f) / 2, c);
}

ddpm_status classes_of_files(const files *f, dataset_labels mode, dataset_classes *c)
{
    *c = (dataset_classes){0};
    switch (mode) {
    case DATASET_LABELS_AUTO: return classes_auto(f, c);
    case DATASET_LABELS_FOLDER: return classes_by(files_names(f), files_count(f), false, true, MAX_CLASSES, c);
    case DATASET_LABELS_PREFIX: return classes_by(files_names(f), files_count(f), true, true, MAX_CLASSES, c);
    case DATASET_LABELS_JSON: return classes_json(f, true, c);
    case DATASET_LABELS_NONE: break;
    }
    return DDPM_OK;
}
