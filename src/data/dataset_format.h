/* dataset_format.h - what a format has to provide; private to data/.
 *
 * To add a format: one file with a dataset_format, one row in dataset.c. */
#ifndef DDPM_DATA_DATASET_FORMAT_H
#define DDPM_DATA_DATASET_FORMAT_H

#include "data/dataset.h"
#include "data/files.h"
#include "io/image.h"

typedef enum { PART_ANY, PART_TRAIN, PART_TEST } dataset_part;

/* Labels in the making and afterwards. `of` is NULL without labels. */
typedef struct {
    int *of;                 /* [count] */
    char **names;            /* [classes] */
    int classes;
    const char *source;      /* "folder", "file name", ...: static; for the description */
} dataset_classes;

typedef struct dataset_format dataset_format;

struct dataset {
    const dataset_format *format;
    void *state;             /* the format's own, freed by its close */
    char *path;              /* without the part */
    int64_t count;
    int h, w, c;
    const uint8_t *pixels;   /* [count,h,w,c] decoded in memory, the format's; NULL: none, or not as they are asked for */
    size_t held;             /* bytes of files that open read or unpacked into memory */
    dataset_crop crop;
    dataset_classes classes;
};

struct dataset_reader {
    image_decoder *decoder;
};

/* open sets state, count, h, w, c (the data's own where the options leave them open) and
 * classes; what it has set when it fails is freed as after success. */
struct dataset_format {
    const char *name;
    bool (*probe)(const char *path);
    ddpm_status (*open)(dataset *d, dataset_part part, const dataset_options *o);
    /* An image of any size and channels; the caller frees it. */
    ddpm_status (*read)(const dataset *d, dataset_reader *r, int64_t index, image *out);
    const char *(*item)(const dataset *d, int64_t index);   /* its name for messages */
    void (*close)(dataset *d);
};

extern const dataset_format dataset_folder, dataset_file, dataset_zip, dataset_npz, dataset_idx, dataset_cifar10, dataset_cifar100, dataset_packed,
    dataset_lmdb;

/* Images [first, first + n) of an LMDB database become readable, those before them are gone. Windows follow each other; the
 * same one may be asked for again with a larger n. DDPM_EFORMAT: damaged, or images of different sizes. */
ddpm_status lmdb_window(dataset *d, int64_t first, int n);

/* --- labels (labels.c) --------------------------------------------------------------- */

/* Classes named in `key`, one string per item: numbered in the order of strcmp. The
 * strings are borrowed during the call only. */
ddpm_status classes_from_keys(const char *const *key, int64_t count, const char *source, dataset_classes *c);

/* `classes` fixed names, copied (NULL: "0", "1", ...), with `count` labels still 0. */
ddpm_status classes_from_names(const char *const *names, int classes, int64_t count, const char *source, dataset_classes *c);

void classes_free(dataset_classes *c);

/* Labels of picture files as the mode asks for. */
ddpm_status classes_of_files(const files *f, dataset_labels mode, dataset_classes *c);

/* Formats that store labels: AUTO gives *keep = true, NONE false, others DDPM_EINVAL. */
ddpm_status classes_stored(const dataset *d, dataset_labels mode, bool *keep);

/* "a/b" joined; the caller frees. NULL: out of memory. */
char *path_join(const char *a, const char *b);

#endif
