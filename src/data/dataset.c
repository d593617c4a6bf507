#include "data/dataset.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/dataset_format.h"
#include "data/resize.h"
#include "io/file.h"

enum { MAX_SIDE = 16384, CELEBA_W = 178, CELEBA_H = 218, CELEBA_SIDE = 128 };

/* In the order of probing: the special ones first, a folder could be anything. */
static const dataset_format *const formats[] = {&dataset_idx, &dataset_cifar10, &dataset_npz, &dataset_zip, &dataset_packed, &dataset_lmdb,
                                                &dataset_file, &dataset_folder};

static const char fashion_path[] = "/usr/share/datasets/fashion-mnist";

char *path_join(const char *a, const char *b)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", a, b) < 0 ? NULL : path;
}

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n > m && strcmp(s + n - m, end) == 0;
}

/* The path and part of a DATA argument. The caller frees *path. */
static ddpm_status spec_split(const char *spec, char **path, dataset_part *part)
{
    *part = PART_ANY;
    size_t n = strlen(spec);
    if (!file_exists(spec)) {
        if (ends_with(spec, ":train")) *part = PART_TRAIN;
        if (ends_with(spec, ":test")) *part = PART_TEST;
        if (*part != PART_ANY) n = (size_t)(strrchr(spec, ':') - spec);
    }
    while (n > 1 && spec[n - 1] == '/') n--;
    *path = strndup(spec, n);
    if (*path && strcmp(*path, "fashion") == 0 && !file_exists(*path)) {
        free(*path);
        *path = strdup(fashion_path);
        if (*path && !file_exists(*path)) {
            free(*path);
            return ddpm_fail(DDPM_EIO, "%s is not there; `fashion` needs the package dataset-fashion-mnist, or name a folder",
                             fashion_path);
        }
    }
    return *path ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "out of memory opening %s", spec);
}

static ddpm_status options_check(const dataset_options *o)
{
    const bool sizes = o->size_h >= 0 && o->size_w >= 0 && o->size_h <= MAX_SIDE && o->size_w <= MAX_SIDE &&
                       (o->size_h == 0) == (o->size_w == 0);
    if (!sizes)
        return ddpm_fail(DDPM_EINVAL, "an image size of %d x %d is not possible; sides are 1 to %d", o->size_h, o->size_w, MAX_SIDE);
    const bool channels = o->channels == 0 || o->channels == 1 || o->channels == 3 || o->channels == 4;
    return channels ? DDPM_OK : ddpm_fail(DDPM_EINVAL, "images have 1, 3 or 4 channels, not %d", o->channels);
}

static const dataset_format *format_find(const char *path)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i]->probe(path)) return formats[i];
    return NULL;
}

static ddpm_status open_path(dataset *d, dataset_part part, const dataset_options *o)
{
    d->format = format_find(d->path);
    if (!d->format && !file_exists(d->path))
        return ddpm_fail(DDPM_EIO, "%s: no such file or folder; name a data set as PATH, PATH:train or PATH:test", d->path);
    if (!d->format)
        return ddpm_fail(DDPM_EFORMAT, "%s is no data set; known are a picture or a folder or zip of pictures, an .npz of images, IDX files (MNIST), "
                         "CIFAR-10 and CIFAR-100 as downloaded, and .ddpmdata of `ddpm data pack`", d->path);
    DDPM_TRY(d->format->open(d, part, o));
    const bool resized = o->crop || (o->size_h && (o->size_h != d->h || o->size_w != d->w));
    if (resized || (o->channels && o->channels != d->c)) d->pixels = NULL;
    d->crop = o->crop;
    if (o->crop) d->h = d->w = CELEBA_SIDE;
    if (o->size_h) {
        d->h = o->size_h;
        d->w = o->size_w;
    }
    if (o->channels) d->c = o->channels;
    assert(d->count > 0 && d->h > 0 && d->w > 0 && d->c > 0);
    return DDPM_OK;
}

ddpm_status dataset_open(const char *spec, const dataset_options *o, dataset **d)
{
    const dataset_options defaults = {0};
    if (!o) o = &defaults;
    *d = NULL;
    DDPM_TRY(options_check(o));
    dataset *opened = calloc(1, sizeof *opened);
    if (!opened) return ddpm_fail(DDPM_ENOMEM, "out of memory opening %s", spec);
    dataset_part part;
    ddpm_status s = spec_split(spec, &opened->path, &part);
    if (s != DDPM_OK) opened->path = NULL;
    else s = open_path(opened, part, o);
    if (s == DDPM_OK) *d = opened;
    else dataset_close(opened);
    return s;
}

void dataset_close(dataset *d)
{
    if (!d) return;
    if (d->format) d->format->close(d);
    classes_free(&d->classes);
    free(d->path);
    free(d);
}

int64_t dataset_count(const dataset *d) { return d->count; }
int dataset_height(const dataset *d) { return d->h; }
int dataset_width(const dataset *d) { return d->w; }
int dataset_channels(const dataset *d) { return d->c; }
size_t dataset_image_bytes(const dataset *d) { return (size_t)d->h * (size_t)d->w * (size_t)d->c; }
size_t dataset_held_bytes(const dataset *d) { return d->held; }
const uint8_t *dataset_pixels(const dataset *d, int64_t index) { return d->pixels ? d->pixels + (size_t)index * dataset_image_bytes(d) : NULL; }
bool dataset_has_labels(const dataset *d) { return d->classes.of != NULL; }
int dataset_n_classes(const dataset *d) { return d->classes.classes; }
const char *dataset_format_name(const dataset *d) { return d->format->name; }

const char *dataset_class_name(const dataset *d, int label)
{
    return label >= 0 && label < d->classes.classes ? d->classes.names[label] : NULL;
}

int dataset_label(const dataset *d, int64_t index)
{
    assert(index >= 0 && index < d->count);
    return d->classes.of ? d->classes.of[index] : -1;
}

const char *dataset_name(const dataset *d)
{
    const char *slash = strrchr(d->path, '/');
    return slash && slash[1] ? slash + 1 : d->path;
}

void dataset_describe(const dataset *d, char *text, size_t size)
{
    const int n = snprintf(text, size, "%s, %lld image%s %dx%dx%d, ", d->format->name, (long long)d->count,
                           d->count == 1 ? "" : "s", d->h, d->w, d->c);
    if (n < 0 || (size_t)n >= size) return;
    if (!d->classes.of) snprintf(text + n, size - (size_t)n, "no labels");
    else snprintf(text + n, size - (size_t)n, "%d classes by %s", d->classes.classes, d->classes.source);
}

ddpm_status dataset_reader_new(const dataset *d, dataset_reader **r)
{
    (void)d;
    *r = calloc(1, sizeof **r);
    if (!*r) return ddpm_fail(DDPM_ENOMEM, "out of memory for a reader of images");
    const ddpm_status s = image_decoder_new(&(*r)->decoder);
    if (s == DDPM_OK) return DDPM_OK;
    free(*r);
    *r = NULL;
    return s;
}

void dataset_reader_free(dataset_reader *r)
{
    if (!r) return;
    image_decoder_free(r->decoder);
    free(r);
}

static ddpm_status crop_celeba(image *im)
{
    enum { TOP = 121 - CELEBA_SIDE / 2, LEFT = 89 - CELEBA_SIDE / 2 };
    if (im->w != CELEBA_W || im->h != CELEBA_H)
        return ddpm_fail(DDPM_EINVAL, "it is %dx%d (width x height); --crop celeba is for CelebA's aligned pictures, %dx%d", im->w, im->h, CELEBA_W, CELEBA_H);
    const size_t c = (size_t)im->c;
    for (size_t y = 0; y < CELEBA_SIDE; y++)       /* to the front, in place */
        memmove(im->data + y * CELEBA_SIDE * c, im->data + ((TOP + y) * CELEBA_W + LEFT) * c, CELEBA_SIDE * c);
    im->w = im->h = CELEBA_SIDE;
    return DDPM_OK;
}

/* Resizing comes before conversion, as in improved-diffusion, where it matters: with
 * alpha, and for grey made of colour. */
ddpm_status dataset_read(const dataset *d, dataset_reader *r, int64_t index, uint8_t *hwc, int *label)
{
    assert(index >= 0 && index < d->count);
    image raw = {0}, fitted = {0};
    DDPM_TRY(d->format->read(d, r, index, &raw));
    ddpm_status s = d->crop ? crop_celeba(&raw) : DDPM_OK;
    const bool fits = raw.h == d->h && raw.w == d->w;
    if (s == DDPM_OK && !fits) s = image_fit(&raw, d->h, d->w, &fitted);
    const image *im = fits ? &raw : &fitted;
    const size_t pixels = (size_t)d->h * (size_t)d->w;
    if (s == DDPM_OK && im->c == d->c) memcpy(hwc, im->data, pixels * (size_t)d->c);
    else if (s == DDPM_OK) image_convert(im->data, im->c, hwc, d->c, pixels);
    image_free(&raw);
    image_free(&fitted);
    if (s == DDPM_OK && label) *label = dataset_label(d, index);
    /* A shape that cannot be fitted is a fault of this image, not of the caller. */
    return s == DDPM_EINVAL ? ddpm_context(DDPM_EFORMAT, "%s/%s: ", d->path, d->format->item(d, index)) : s;
}
