/* CIFAR-10 and CIFAR-100 as they are downloaded: the binary version or Python's, a folder or still a .tar.gz. An image is
 * three planes of 32 x 32, in a record behind one or two label bytes, or in a row of an array. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/dataset_format.h"
#include "io/file.h"
#include "io/gzip.h"
#include "io/tar.h"
#include "io/torch_file.h"

enum { SIDE = 32, PLANE = SIDE * SIDE, PIXELS = 3 * PLANE, MAX_FILES = 5, MAX_CLASSES = 100, MAX_NAMES_BYTES = 1 << 16 };

static const size_t max_archive = (size_t)1 << 30, max_file = (size_t)1 << 29;

typedef struct {
    const dataset_format *format;
    bool        python;
    int         classes;
    size_t      record;                         /* bytes of a binary record; the last before the planes is the label */
    const char *train[MAX_FILES + 1], *test[2], *names;
    const char *labels_key, *names_key;         /* of the dictionaries in Python's version */
} variant;

static const variant variants[] = {
    { &dataset_cifar10, false, 10, 1 + PIXELS,
      { "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin" }, { "test_batch.bin" },
      "batches.meta.txt", NULL, NULL },
    { &dataset_cifar10, true, 10, 0, { "data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5" }, { "test_batch" },
      "batches.meta", "labels", "label_names" },
    { &dataset_cifar100, false, 100, 2 + PIXELS, { "train.bin" }, { "test.bin" }, "fine_label_names.txt", NULL, NULL },
    { &dataset_cifar100, true, 100, 0, { "train" }, { "test" }, "meta", "fine_labels", "fine_label_names" },
};
enum { N_VARIANTS = sizeof variants / sizeof variants[0] };

static const char *const cifar10_names[] = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};

typedef struct {
    const uint8_t *bytes;                       /* from the map, the archive, or of its own */
    size_t         len;
    file_map       map;
    char          *where;                       /* for sentences */
    torch_file    *pickle;
    const torch_value *labels;                  /* Python's */
    const uint8_t *planes;                      /* image i at planes + i * stride */
    size_t         stride;
    int64_t        count;
} batch;

typedef struct {
    const variant *v;
    uint8_t       *archive;
    size_t         archive_len;
    batch          batch[MAX_FILES], names;
    int            batches;
} cifar;

static ddpm_status no_memory(void) { return ddpm_fail(DDPM_ENOMEM, "out of memory for a data set"); }

/* --- where the files are ---------------------------------------------------------------- */

static bool has_file(const char *folder, const char *name)
{
    char *path = path_join(folder, name);
    const bool there = path && file_exists(path) && !file_is_dir(path);
    free(path);
    return there;
}

static bool is_archive(const char *path) { return (file_has_ending(path, ".tar.gz") || file_has_ending(path, ".tgz")) && !file_is_dir(path); }

/* Each version has a file of names, but only CIFAR-10's others are named so that they say what they are. */
static bool is_variant(const char *path, const variant *v)
{
    const bool telling = v->format == &dataset_cifar10;
    return (has_file(path, v->train[0]) || has_file(path, v->test[0])) && (telling || has_file(path, v->names));
}

static bool cifar_probe(const char *path)
{
    bool found = is_archive(path) && file_exists(path);
    for (int i = 0; i < N_VARIANTS && !found; i++) found = is_variant(path, &variants[i]);
    return found;
}

static const char *base_name(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

/* A file of the archive by the last part of its name; b->bytes stays NULL when there is none. */
static ddpm_status find_archived(const cifar *f, const char *path, const char *name, batch *b)
{
    size_t at = 0;
    for (;;) {
        tar_entry e;
        bool found;
        DDPM_TRY(tar_next(f->archive, f->archive_len, path, &at, &e, &found));
        if (!found) return DDPM_OK;
        if (strcmp(base_name(e.name), name) != 0) continue;
        b->bytes = e.data;
        b->len = e.size;
        return DDPM_OK;
    }
}

/* b->bytes: the file, or NULL when it is not there. */
static ddpm_status open_file(const cifar *f, const char *path, const char *name, batch *b)
{
    b->where = path_join(path, name);
    if (!b->where) return no_memory();
    if (f->archive) return find_archived(f, path, name, b);
    if (!has_file(path, name)) return DDPM_OK;
    DDPM_TRY(file_map_open(b->where, &b->map));
    b->bytes = b->map.data;
    b->len = b->map.size;
    return b->len <= max_file ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s: %zu bytes are too many for CIFAR", b->where, b->len);
}

static void close_batch(batch *b)
{
    torch_close(b->pickle);
    file_map_close(&b->map);
    free(b->where);
    *b = (batch){0};
}

static ddpm_status find_variant(cifar *f, const char *path)
{
    for (int i = 0; i < N_VARIANTS; i++) {
        const variant *v = &variants[i];
        batch b = {0};
        if (!f->archive && !is_variant(path, v)) continue;
        const ddpm_status s = f->archive ? open_file(f, path, v->train[0], &b) : DDPM_OK;
        const bool found = !f->archive || b.bytes;
        close_batch(&b);
        DDPM_TRY(s);
        f->v = v;
        if (found) return DDPM_OK;
    }
    return ddpm_fail(DDPM_EFORMAT, "%s holds neither CIFAR-10 nor CIFAR-100; other archives are to be unpacked first", path);
}

/* --- images and labels of one file ------------------------------------------------------ */

static ddpm_status open_records(const variant *v, batch *b)
{
    if (b->len == 0 || b->len % v->record != 0)
        return ddpm_fail(DDPM_EFORMAT, "%s: %zu bytes are no whole number of records of %zu bytes; the file is truncated or damaged", b->where, b->len, v->record);
    b->count = (int64_t)(b->len / v->record);
    b->stride = v->record;
    b->planes = b->bytes + (v->record - PIXELS);
    return DDPM_OK;
}

static ddpm_status open_pickle(const variant *v, batch *b)
{
    DDPM_TRY(torch_open_arrays(b->bytes, b->len, b->where, &b->pickle));
    const torch_value *root = torch_root(b->pickle);
    const torch_tensor *t = torch_as_tensor(torch_get(root, "data"));
    b->labels = torch_get(root, v->labels_key);
    if (!t || t->ndim != 2 || t->shape[0] < 1 || t->shape[1] != PIXELS || torch_kind_of(b->labels) != TORCH_KIND_LIST ||
        torch_len(b->labels) != (size_t)t->shape[0])
        return ddpm_fail(DDPM_EFORMAT, "%s: not a batch of CIFAR: it needs \"data\", uint8 [n,%d], and a list \"%s\" of n", b->where, PIXELS, v->labels_key);
    b->count = t->shape[0];
    b->stride = PIXELS;
    b->planes = t->storage->data;
    return DDPM_OK;
}

static int64_t label_at(const batch *b, int64_t i)
{
    int64_t label = -1;
    if (!b->labels) return b->planes[(size_t)i * b->stride - 1];
    return torch_as_int(torch_at(b->labels, (size_t)i), &label) ? label : -1;
}

static ddpm_status open_batches(dataset *d, cifar *f, bool test)
{
    const char *const *names = test ? f->v->test : f->v->train;
    for (; names[f->batches]; f->batches++) {
        batch *b = &f->batch[f->batches];
        DDPM_TRY(open_file(f, d->path, names[f->batches], b));
        if (!b->bytes) return ddpm_fail(f->archive ? DDPM_EFORMAT : DDPM_EIO, "%s is not there; the download is incomplete", b->where);
        DDPM_TRY(f->v->python ? open_pickle(f->v, b) : open_records(f->v, b));
        d->count += b->count;
    }
    return DDPM_OK;
}

/* --- classes --------------------------------------------------------------------------- */

/* One name a line, at most `classes` of them. */
static int names_from_text(char *text, int classes, const char *names[MAX_CLASSES])
{
    char *save = NULL;
    int n = 0;
    for (char *line = strtok_r(text, "\r\n", &save); line && n < classes; line = strtok_r(NULL, "\r\n", &save)) names[n++] = line;
    return n;
}

static int names_from_list(const torch_value *list, int classes, const char *names[MAX_CLASSES])
{
    int n = 0;
    for (; n < classes && torch_as_string(torch_at(list, (size_t)n)); n++) names[n] = torch_as_string(torch_at(list, (size_t)n));
    return n;
}

/* Without a file of names, or with fewer, CIFAR-10 has its own and CIFAR-100 numbers. */
static ddpm_status make_classes(dataset *d, const cifar *f, char *text)
{
    const char *names[MAX_CLASSES];
    const variant *v = f->v;
    int n = 0;
    if (v->classes == 10) memcpy(names, cifar10_names, sizeof cifar10_names);
    if (f->names.pickle) n = names_from_list(torch_get(torch_root(f->names.pickle), v->names_key), v->classes, names);
    else if (text) n = names_from_text(text, v->classes, names);
    return classes_from_names(v->classes == 10 || n == v->classes ? names : NULL, v->classes, d->count, "label byte", &d->classes);
}

static ddpm_status read_names(dataset *d, cifar *f)
{
    DDPM_TRY(open_file(f, d->path, f->v->names, &f->names));
    if (!f->names.bytes) return make_classes(d, f, NULL);
    if (f->names.len > MAX_NAMES_BYTES) return ddpm_fail(DDPM_EFORMAT, "%s: %zu bytes are too many for names", f->names.where, f->names.len);
    if (f->v->python) {
        DDPM_TRY(torch_open_arrays(f->names.bytes, f->names.len, f->names.where, &f->names.pickle));
        return make_classes(d, f, NULL);
    }
    char *text = strndup((const char *)f->names.bytes, f->names.len);
    const ddpm_status s = text ? make_classes(d, f, text) : no_memory();
    free(text);
    return s;
}

static ddpm_status read_labels(dataset *d, cifar *f)
{
    int64_t at = 0;
    DDPM_TRY(read_names(d, f));
    for (int k = 0; k < f->batches; k++)
        for (int64_t i = 0; i < f->batch[k].count; i++, at++) {
            const int64_t label = label_at(&f->batch[k], i);
            if (label < 0 || label >= f->v->classes)
                return ddpm_fail(DDPM_EFORMAT, "%s: image %lld of the set has the label %lld, above %d or none; the file is damaged", f->batch[k].where,
                                 (long long)at, (long long)label, f->v->classes - 1);
            d->classes.of[at] = (int)label;
        }
    return DDPM_OK;
}

/* --- the format ------------------------------------------------------------------------ */

static ddpm_status cifar_open(dataset *d, dataset_part part, const dataset_options *o)
{
    cifar *f = calloc(1, sizeof *f);
    if (!f) return no_memory();
    d->state = f;
    if (is_archive(d->path)) DDPM_TRY(gzip_read_all(d->path, max_archive, &f->archive, &f->archive_len));
    d->held = f->archive_len;
    DDPM_TRY(find_variant(f, d->path));
    d->format = f->v->format;
    DDPM_TRY(open_batches(d, f, part == PART_TEST));
    d->h = d->w = SIDE;
    d->c = 3;
    bool keep;
    DDPM_TRY(classes_stored(d, o->labels, &keep));
    return keep ? read_labels(d, f) : DDPM_OK;
}

/* The file of image *index, which becomes its number there. */
static const batch *batch_of(const cifar *f, int64_t *index)
{
    int k = 0;
    for (; *index >= f->batch[k].count; k++) *index -= f->batch[k].count;
    return &f->batch[k];
}

static ddpm_status cifar_read(const dataset *d, dataset_reader *r, int64_t index, image *out)
{
    (void)r;
    const batch *b = batch_of(d->state, &index);
    const uint8_t *planes = b->planes + (size_t)index * b->stride;
    *out = (image){.h = SIDE, .w = SIDE, .c = 3, .data = malloc(PIXELS)};
    if (!out->data) return no_memory();
    for (int i = 0; i < PLANE; i++)
        for (int c = 0; c < 3; c++) out->data[3 * i + c] = planes[c * PLANE + i];
    return DDPM_OK;
}

static const char *cifar_item(const dataset *d, int64_t index)
{
    return base_name(batch_of(d->state, &index)->where);
}

static void cifar_close(dataset *d)
{
    cifar *f = d->state;
    if (!f) return;
    for (int k = 0; k < MAX_FILES; k++) close_batch(&f->batch[k]);
    close_batch(&f->names);
    free(f->archive);
    free(f);
}

const dataset_format dataset_cifar10 = {"cifar10", cifar_probe, cifar_open, cifar_read, cifar_item, cifar_close};
const dataset_format dataset_cifar100 = {"cifar100", cifar_probe, cifar_open, cifar_read, cifar_item, cifar_close};
