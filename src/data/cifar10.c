/* CIFAR-10, binary version: records of one label byte and three planes of 32 x 32. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/dataset_format.h"
#include "io/file.h"

enum { SIDE = 32, PLANE = SIDE * SIDE, RECORD = 1 + 3 * PLANE, MAX_FILES = 5, CLASSES = 10 };

typedef struct {
    char *path[MAX_FILES];
    file_map map[MAX_FILES];
    int files;
} cifar10;

static const char *const train_files[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                                          "data_batch_5.bin"};
static const char *const test_files[] = {"test_batch.bin"};

static ddpm_status no_memory(void) { return ddpm_fail(DDPM_ENOMEM, "out of memory for a data set"); }

static bool has_file(const char *folder, const char *name)
{
    char *path = path_join(folder, name);
    const bool there = path && file_exists(path);
    free(path);
    return there;
}

static bool cifar10_probe(const char *path) { return has_file(path, train_files[0]) || has_file(path, test_files[0]); }

static ddpm_status batch_open(cifar10 *f, const char *folder, const char *name, int64_t *count)
{
    const int i = f->files++;
    f->path[i] = path_join(folder, name);
    if (!f->path[i]) return no_memory();
    DDPM_TRY(file_map_open(f->path[i], &f->map[i]));
    const size_t size = f->map[i].size;
    if (size == 0 || size % RECORD != 0)
        return ddpm_fail(DDPM_EFORMAT, "%s: %zu bytes are no whole number of records of %d bytes; the file is truncated or damaged",
                         f->path[i], size, RECORD);
    *count += (int64_t)(size / RECORD);
    return DDPM_OK;
}

/* The record of image `index`; *file is the number of its file. */
static const uint8_t *record_at(const cifar10 *f, int64_t index, int *file)
{
    int i = 0;
    for (int64_t n; index >= (n = (int64_t)(f->map[i].size / RECORD)); i++) index -= n;
    *file = i;
    return f->map[i].data + (size_t)index * RECORD;
}

/* One name a line, at most CLASSES of them; others keep the standard names. */
static void names_from_text(char *text, const char *names[CLASSES])
{
    char *save = NULL;
    int n = 0;
    for (char *line = strtok_r(text, "\r\n", &save); line && n < CLASSES; line = strtok_r(NULL, "\r\n", &save)) names[n++] = line;
}

static ddpm_status labels_read(dataset *d)
{
    const cifar10 *f = d->state;
    const char *names[CLASSES] = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
    uint8_t *text = NULL;
    size_t len = 0;
    char *path = path_join(d->path, "batches.meta.txt");
    ddpm_status s = path ? DDPM_OK : no_memory();
    if (s == DDPM_OK && file_exists(path)) s = file_read_all(path, 1 << 16, &text, &len);
    if (text) names_from_text((char *)text, names);
    if (s == DDPM_OK) s = classes_from_names(names, CLASSES, d->count, "label byte", &d->classes);
    free(text);
    free(path);
    for (int64_t i = 0; s == DDPM_OK && i < d->count; i++) {
        int file;
        const int label = *record_at(f, i, &file);
        d->classes.of[i] = label;
        if (label >= CLASSES) s = ddpm_fail(DDPM_EFORMAT, "%s: image %lld of the set has the label %d, above %d; the file is damaged",
                                            f->path[file], (long long)i, label, CLASSES - 1);
    }
    return s;
}

static ddpm_status cifar10_open(dataset *d, dataset_part part, const dataset_options *o)
{
    cifar10 *f = calloc(1, sizeof *f);
    if (!f) return no_memory();
    d->state = f;
    const bool test = part == PART_TEST;
    const int n = test ? 1 : MAX_FILES;
    for (int i = 0; i < n; i++) DDPM_TRY(batch_open(f, d->path, test ? test_files[i] : train_files[i], &d->count));
    d->h = d->w = SIDE;
    d->c = 3;
    bool keep;
    DDPM_TRY(classes_stored(d, o->labels, &keep));
    return keep ? labels_read(d) : DDPM_OK;
}

static ddpm_status cifar10_read(const dataset *d, dataset_reader *r, int64_t index, image *out)
{
    (void)r;
    int file;
    const uint8_t *planes = record_at(d->state, index, &file) + 1;
    *out = (image){.h = SIDE, .w = SIDE, .c = 3, .data = malloc(3 * PLANE)};
    if (!out->data) return no_memory();
    for (int i = 0; i < PLANE; i++)
        for (int c = 0; c < 3; c++) out->data[3 * i + c] = planes[c * PLANE + i];
    return DDPM_OK;
}

static const char *cifar10_item(const dataset *d, int64_t index)
{
    const cifar10 *f = d->state;
    int file;
    record_at(f, index, &file);
    return strrchr(f->path[file], '/') + 1;
}

static void cifar10_close(dataset *d)
{
    cifar10 *f = d->state;
    if (!f) return;
    for (int i = 0; i < f->files; i++) {
        file_map_close(&f->map[i]);
        free(f->path[i]);
    }
    free(f);
}

const dataset_format dataset_cifar10 = {"cifar10", cifar10_probe, cifar10_open, cifar10_read, cifar10_item, cifar10_close};
