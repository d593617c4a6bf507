/* An .npz of images: arr_0, or `images`, uint8 [count, height, width, channels], and perhaps arr_1, or `labels`,
 * integers [count]. What OpenAI's code writes as samples serves as a data set. */
#include <stdlib.h>
#include <string.h>

#include "data/dataset_format.h"
#include "io/file.h"
#include "io/npz.h"

enum { MAX_SIDE = 16384, MAX_LABEL = 65535 };

typedef struct { npz_reader *npz; npz_array images; } npz_set;

static bool npz_probe(const char *path) { return file_has_ending(path, ".npz") && file_exists(path) && !file_is_dir(path); }

static ddpm_status check_images(const dataset *d, const npz_array *a)
{
    if (strcmp(a->descr, "|u1") != 0 || a->ndim != 4)
        return ddpm_fail(DDPM_EFORMAT, "%s: images must be uint8 with 4 dimensions (count, height, width, channels)", d->path);
    const int64_t *s = a->shape;
    if (s[0] < 1 || s[1] < 1 || s[2] < 1 || s[1] > MAX_SIDE || s[2] > MAX_SIDE || (s[3] != 1 && s[3] != 3 && s[3] != 4))
        return ddpm_fail(DDPM_EFORMAT, "%s: images of %lld x %lld with %lld channels are not possible; 1, 3 or 4 channels come last", d->path,
                         (long long)s[1], (long long)s[2], (long long)s[3]);
    return DDPM_OK;
}

static int64_t label_at(const npz_array *a, int64_t i)
{
    int64_t wide;
    int32_t narrow;
    if (a->descr[2] == '1') return a->data[i];
    if (a->descr[2] == '4') {
        memcpy(&narrow, a->data + 4 * i, sizeof narrow);
        return narrow;
    }
    memcpy(&wide, a->data + 8 * i, sizeof wide);
    return wide;
}

static ddpm_status read_labels(dataset *d, const npz_array *a)
{
    int64_t most = 0;
    const bool integers = !strcmp(a->descr, "|u1") || !strcmp(a->descr, "<i4") || !strcmp(a->descr, "<i8");
    if (!integers || a->ndim != 1 || a->shape[0] != d->count)
        return ddpm_fail(DDPM_EFORMAT, "%s: labels must be %lld integers, one for each image; use --labels none", d->path, (long long)d->count);
    for (int64_t i = 0; i < d->count; i++) {
        const int64_t label = label_at(a, i);
        if (label < 0 || label > MAX_LABEL)
            return ddpm_fail(DDPM_EFORMAT, "%s: the label of image %lld is %lld; classes are 0 to %d", d->path, (long long)i, (long long)label, MAX_LABEL);
        if (label > most) most = label;
    }
    DDPM_TRY(classes_from_names(NULL, (int)most + 1, d->count, "array", &d->classes));
    for (int64_t i = 0; i < d->count; i++) d->classes.of[i] = (int)label_at(a, i);
    return DDPM_OK;
}

static ddpm_status npz_open(dataset *d, dataset_part part, const dataset_options *o)
{
    if (part != PART_ANY) return ddpm_fail(DDPM_EINVAL, "%s has no parts; leave out :train or :test", d->path);
    npz_set *f = calloc(1, sizeof *f);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "out of memory for a data set");
    d->state = f;
    DDPM_TRY(npz_reader_open(d->path, &f->npz));
    const bool openai = npz_reader_has(f->npz, "arr_0");
    const char *labels = openai ? "arr_1" : "labels";
    DDPM_TRY(npz_reader_get(f->npz, openai ? "arr_0" : "images", &f->images));
    DDPM_TRY(check_images(d, &f->images));
    d->count = f->images.shape[0];
    d->h = (int)f->images.shape[1];
    d->w = (int)f->images.shape[2];
    d->c = (int)f->images.shape[3];
    bool keep;
    npz_array a;
    DDPM_TRY(classes_stored(d, o->labels, &keep));
    if (!keep || !npz_reader_has(f->npz, labels)) return DDPM_OK;
    DDPM_TRY(npz_reader_get(f->npz, labels, &a));
    return read_labels(d, &a);
}

static ddpm_status npz_read(const dataset *d, dataset_reader *r, int64_t index, image *out)
{
    (void)r;
    const npz_set *f = d->state;
    const int64_t *s = f->images.shape;
    const size_t len = (size_t)(s[1] * s[2] * s[3]);
    *out = (image){.h = (int)s[1], .w = (int)s[2], .c = (int)s[3], .data = malloc(len)};
    if (!out->data) return ddpm_fail(DDPM_ENOMEM, "out of memory for an image");
    memcpy(out->data, f->images.data + (size_t)index * len, len);
    return DDPM_OK;
}

static const char *npz_item(const dataset *d, int64_t index)
{
    (void)d;
    (void)index;
    return "an image";
}

static void npz_close(dataset *d)
{
    npz_set *f = d->state;
    if (f) npz_reader_free(f->npz);
    free(f);
}

const dataset_format dataset_npz = {"npz", npz_probe, npz_open, npz_read, npz_item, npz_close};
