/* dataset.h - labelled images by number, whatever they are stored as.
 *
 * A data set is opened from a DATA argument: PATH, PATH:train or PATH:test (a file
 * or folder whose name really ends so wins); the word `fashion` is Debian's copy of
 * Fashion-MNIST. Without a part, a set that has parts gives its training part.
 * Formats: a folder or a zip of pictures (io/image.h) or one picture, an .npz of arrays, an IDX pair (MNIST), CIFAR-10 and
 * CIFAR-100 as they are downloaded, what `ddpm data pack` wrote; one row each in dataset.c. A data set is read-only after it is opened
 * and may be shared between threads; every thread reads through its own
 * dataset_reader. Order, flips and scaling belong to loader.h. */
#ifndef DDPM_DATA_DATASET_H
#define DDPM_DATA_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct dataset dataset;
typedef struct dataset_reader dataset_reader;

/* Where labels come from. FOLDER: the first sub-folder; PREFIX: the file name up to
 * its first '_'; JSON: a list beside the files, dataset.json of {"labels": [["a/b.png", 3], ...]} or
 * {"labels": {"a/b.png": "cat", ...}}, or metadata.jsonl of {"file_name": "a/b.png", "label": 3} lines; for a part also in
 * the folder above it, with names that begin with the part's.
 * AUTO: what the format stores; for files JSON where there are labels in such a list, else
 * FOLDER with two or more sub-folders that hold all images, else PREFIX when every
 * name has one and there are two to count / 2 different ones, else NONE. */
typedef enum { DATASET_LABELS_AUTO, DATASET_LABELS_FOLDER, DATASET_LABELS_PREFIX, DATASET_LABELS_JSON,
               DATASET_LABELS_NONE } dataset_labels;

/* CELEBA: of the aligned pictures of CelebA, 178 x 218, the 128 x 128 about the face that Song et al. take
 * (ermongroup/ddim, datasets/__init__.py: centre at column 89, row 121). */
typedef enum { DATASET_CROP_NONE, DATASET_CROP_CELEBA } dataset_crop;

/* Whether a folder is a run of `ddpm train`. Its pictures are drawn ones: as DATA it is refused (DDPM_EINVAL), and inside of a
 * folder of pictures it is left out. */
bool dataset_is_run(const char *path);

/* All zero is a good default. */
typedef struct {
    int size_h, size_w;     /* images are fitted to this (image_fit); 0: the data's own */
    int channels;           /* 1, 3 or 4; 0: the data's own (4 only if all have alpha)   */
    dataset_labels labels;
    dataset_crop crop;      /* before fitting                                             */
    bool strict;            /* an unreadable image found while opening is an error        */
    bool stream;            /* also sets that can only be read once, from first to last (LMDB); pack.h does */
} dataset_options;

/* o NULL: defaults. Errors: DDPM_EIO, DDPM_EFORMAT (damaged, no images, sizes differ
 * and no size was asked for), DDPM_EINVAL (labels that this format cannot give). */
ddpm_status dataset_open(const char *spec, const dataset_options *o, dataset **d);
void        dataset_close(dataset *d);                     /* NULL ok */

int64_t     dataset_count(const dataset *d);               /* >= 1 */
int         dataset_height(const dataset *d);
int         dataset_width(const dataset *d);
int         dataset_channels(const dataset *d);
size_t      dataset_image_bytes(const dataset *d);         /* h * w * c */
const uint8_t *dataset_pixels(const dataset *d, int64_t index);   /* [h,w,c] where it lies in memory already, as long as d; NULL: dataset_read */
size_t      dataset_held_bytes(const dataset *d);          /* of its files in memory for as long as d; what is mapped does not count */
bool        dataset_has_labels(const dataset *d);
int         dataset_n_classes(const dataset *d);           /* 0 without labels */
const char *dataset_class_name(const dataset *d, int label); /* NULL: no such class */
int         dataset_label(const dataset *d, int64_t index);  /* -1 without labels */
const char *dataset_format_name(const dataset *d);         /* "folder", "idx", "cifar10" */
const char *dataset_name(const dataset *d);                /* last component of its path */

/* "folder, 50000 images 32x32x3, 10 classes by folder" (height first), cut to `size`. */
void        dataset_describe(const dataset *d, char *text, size_t size);

ddpm_status dataset_reader_new(const dataset *d, dataset_reader **r);
void        dataset_reader_free(dataset_reader *r);        /* NULL ok; before dataset_close */

/* Image `index` (0 <= index < count) as hwc[h,w,c]; *label as dataset_label, label
 * may be NULL. DDPM_EFORMAT, naming the file: this one image is bad, others may be
 * read. DDPM_EIO: the file cannot be read. */
ddpm_status dataset_read(const dataset *d, dataset_reader *r, int64_t index, uint8_t *hwc, int *label);

#endif
