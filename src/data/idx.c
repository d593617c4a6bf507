/* IDX, the format of MNIST and its successors: big-endian 00 00 08 D, D dimensions of
 * 32 bits, then bytes. Both files are held in memory whole, inflated. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "data/dataset_format.h"
#include "io/file.h"
#include "io/gzip.h"

static const size_t max_bytes = (size_t)4 << 30;
enum { MAX_SIDE = 16384 };

typedef struct {
    char *path;              /* of the images */
    uint8_t *bytes;
    size_t image_bytes;
} idx;

/* --- finding the pair ------------------------------------------------------------------------ */

/* The images of `part` in the folder `path` or under names that begin with it; NULL:
 * none. The caller frees. */
static char *images_of_part(const char *path, const char *part)
{
    static const char *const between[] = {"/", "", "-"};
    static const char *const suffix[] = {"-images-idx3-ubyte", "-images-idx3-ubyte.gz", "-images.idx3-ubyte"};
    for (size_t i = 0; i < 9; i++) {
        char *found = NULL;
        if (asprintf(&found, "%s%s%s%s", path, between[i / 3], part, suffix[i % 3]) < 0) return NULL;
        if (file_exists(found)) return found;
        free(found);
    }
    return NULL;
}

/* `path` may also be the file of images itself, or its name up to "-images". */
static char *find_images(const char *path, dataset_part part)
{
    if (part == PART_ANY) {
        if (strstr(path, "images") && strstr(path, "idx3-ubyte") && file_exists(path) && !file_is_dir(path)) return strdup(path);
        char *found = images_of_part(path, "");
        return found ? found : images_of_part(path, "train");
    }
    if (part == PART_TRAIN) return images_of_part(path, "train");
    char *found = images_of_part(path, "t10k");
    return found ? found : images_of_part(path, "test");
}

/* "...images-idx3..." to "...labels-idx1..."; gzipped or not. */
static char *find_labels(const char *images)
{
    char *labels = malloc(strlen(images) + 4);
    if (!labels) return NULL;
    strcpy(labels, images);
    const char *slash = strrchr(labels, '/');
    char *word = strstr(slash ? labels + (slash - labels) : labels, "images"), *kind = word ? strstr(word, "idx3") : NULL;
    if (!kind) {
        free(labels);
        return NULL;
    }
    memcpy(word, "labels", 6);
    kind[3] = '1';
    if (file_exists(labels)) return labels;
    char *gz = strstr(kind, ".gz");
    if (gz) *gz = '\0';
    else strcat(labels, ".gz");
    if (file_exists(labels)) return labels;
    free(labels);
    return NULL;
}

static bool idx_probe(const char *path)
{
    char *train = find_images(path, PART_ANY), *test = find_images(path, PART_TEST);
    const bool found = train || test;
    free(train);
    free(test);
    return found;
}

/* --- reading --------------------------------------------------------------------------------- */

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The file with `dims` dimensions; they must account for its length exactly. */
static ddpm_status idx_load(const char *path, int dims, uint8_t **bytes, uint32_t *dim)
{
    size_t len = 0;
    DDPM_TRY(gzip_read_all(path, max_bytes, bytes, &len));
    const size_t head = 4 + 4 * (size_t)dims;
    const uint8_t magic[4] = {0, 0, 8, (uint8_t)dims};
    if (len < head || memcmp(*bytes, magic, 4) != 0)
        return ddpm_fail(DDPM_EFORMAT, "%s: not an IDX file of bytes with %d dimensions", path, dims);
    size_t size = 1;
    bool fits = true;
    for (int i = 0; i < dims; i++) {
        dim[i] = big_endian(*bytes + 4 + 4 * i);
        fits = fits && dim[i] > 0 && checked_mul(size, dim[i], &size);
    }
    if (fits && size == len - head) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s: the header tells of %u items, which does not agree with the %zu bytes after it; "
                     "the file is truncated or damaged", path, dim[0], len - head);
}

static bool is_fashion(const char *path)
{
    const char *last = strrchr(path, '/');
    while (last && last > path && last[-1] != '/') last--;
    return strcasestr(last ? last : path, "fashion") != NULL;
}

static ddpm_status classes_from_bytes(const char *path, const uint8_t *label, int64_t count, dataset_classes *c)
{
    static const char *const fashion[] = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                          "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"};
    int max = 0;
    for (int64_t i = 0; i < count; i++) max = label[i] > max ? label[i] : max;
    const bool named = is_fashion(path) && max < 10;
    DDPM_TRY(classes_from_names(named ? fashion : NULL, named ? 10 : max + 1, count, "label file", c));
    for (int64_t i = 0; i < count; i++) c->of[i] = label[i];
    return DDPM_OK;
}

static ddpm_status idx_read_labels(dataset *d, const char *path)
{
    uint8_t *bytes = NULL;
    uint32_t n = 0;
    ddpm_status s = idx_load(path, 1, &bytes, &n);
    if (s == DDPM_OK && n != d->count)
        s = ddpm_fail(DDPM_EFORMAT, "%s holds %u labels for %lld images", path, n, (long long)d->count);
    if (s == DDPM_OK) s = classes_from_bytes(path, bytes + 8, d->count, &d->classes);
    free(bytes);
    return s;
}

static ddpm_status idx_open_labels(dataset *d, const char *images, dataset_labels mode)
{
    bool keep;
    DDPM_TRY(classes_stored(d, mode, &keep));
    char *path = keep ? find_labels(images) : NULL;
    const ddpm_status s = path ? idx_read_labels(d, path) : DDPM_OK;
    free(path);
    return s;
}

static ddpm_status idx_open(dataset *d, dataset_part part, const dataset_options *o)
{
    idx *f = calloc(1, sizeof *f);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "out of memory opening %s", d->path);
    d->state = f;
    f->path = find_images(d->path, part);
    if (!f->path)
        return ddpm_fail(DDPM_EIO, "%s has no IDX images of the part \"%s\"", d->path, part == PART_TEST ? "test" : "train");
    uint32_t dim[3] = {0};
    DDPM_TRY(idx_load(f->path, 3, &f->bytes, dim));
    if (dim[1] > MAX_SIDE || dim[2] > MAX_SIDE)
        return ddpm_fail(DDPM_EFORMAT, "%s: images of %u x %u are too large", f->path, dim[1], dim[2]);
    d->count = dim[0];
    d->h = (int)dim[1];
    d->w = (int)dim[2];
    d->c = 1;
    f->image_bytes = (size_t)dim[1] * dim[2];
    d->held = (size_t)d->count * f->image_bytes;
    d->pixels = f->bytes + 16;           /* behind the magic number and three dimensions */
    return idx_open_labels(d, f->path, o->labels);
}

static ddpm_status idx_read(const dataset *d, dataset_reader *r, int64_t index, image *out)
{
    (void)r;
    const idx *f = d->state;
    const uint8_t *dims = f->bytes + 8;
    *out = (image){.h = (int)big_endian(dims), .w = (int)big_endian(dims + 4), .c = 1, .data = malloc(f->image_bytes)};
    if (!out->data) return ddpm_fail(DDPM_ENOMEM, "out of memory for an image");
    memcpy(out->data, f->bytes + 16 + (size_t)index * f->image_bytes, f->image_bytes);
    return DDPM_OK;
}

static const char *idx_item(const dataset *d, int64_t index)
{
    (void)index;
    return ((const idx *)d->state)->path;
}

static void idx_close(dataset *d)
{
    idx *f = d->state;
    if (!f) return;
    free(f->path);
    free(f->bytes);
    free(f);
}

const dataset_format dataset_idx = {"idx", idx_probe, idx_open, idx_read, idx_item, idx_close};
