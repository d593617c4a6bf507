/* A packed data set: pixels that `ddpm data pack` decoded, mapped and handed out in place. */
#include "data/pack.h"

#include <stdlib.h>
#include <string.h>

#include "data/dataset_format.h"
#include "data/packed_file.h"
#include "io/file.h"

typedef struct {
    file_map map;
    packed_file file;
    packed_about about;
    char sha256[SHA256_HEX];
} packed;

static ddpm_status no_memory(void) { return ddpm_fail(DDPM_ENOMEM, "out of memory for a packed data set"); }

static bool packed_probe(const char *path) { return file_has_ending(path, PACKED_ENDING) && file_exists(path) && !file_is_dir(path); }

static ddpm_status copy_classes(dataset *d, const packed_file *f)
{
    const int classes = (int)f->header.classes;
    const char **names = calloc((size_t)classes, sizeof *names);
    if (!names) return no_memory();
    for (int i = 0; i < classes; i++) names[i] = packed_class_name(f, i);
    const ddpm_status s = classes_from_names(names, classes, d->count, "packed label", &d->classes);
    free(names);
    for (int64_t i = 0; s == DDPM_OK && i < d->count; i++) d->classes.of[i] = f->label[i];
    return s;
}

static ddpm_status packed_open(dataset *d, dataset_part part, const dataset_options *o)
{
    if (part != PART_ANY) return ddpm_fail(DDPM_EINVAL, "%s has no parts; leave out :train or :test", d->path);
    packed *f = calloc(1, sizeof *f);
    if (!f) return no_memory();
    d->state = f;
    DDPM_TRY(file_map_open(d->path, &f->map));
    DDPM_TRY(packed_file_open(f->map.data, f->map.size, d->path, &f->file));
    const packed_header *h = &f->file.header;
    sha256_text(h->sha256, f->sha256);
    f->about = (packed_about){.sha256 = f->sha256, .source = json_as_string(json_get(f->file.text, "source")), .bytes = h->file_len};
    DDPM_TRY(json_get_int(f->file.text, "skipped", &f->about.skipped));
    d->count = h->count;
    d->h = (int)h->h;
    d->w = (int)h->w;
    d->c = (int)h->c;
    d->pixels = f->file.images;
    bool keep;
    DDPM_TRY(classes_stored(d, o->labels, &keep));
    return keep && h->classes ? copy_classes(d, &f->file) : DDPM_OK;
}

/* For those who want another size or other channels; the others take d->pixels. */
static ddpm_status packed_read(const dataset *d, dataset_reader *r, int64_t index, image *out)
{
    (void)r;
    const packed_header *h = &((const packed *)d->state)->file.header;
    const size_t len = (size_t)h->h * h->w * h->c;
    *out = (image){.h = (int)h->h, .w = (int)h->w, .c = (int)h->c, .data = malloc(len)};
    if (!out->data) return no_memory();
    memcpy(out->data, ((const packed *)d->state)->file.images + (size_t)index * len, len);
    return DDPM_OK;
}

static const char *packed_item(const dataset *d, int64_t index)
{
    (void)d;
    (void)index;
    return "an image";
}

static void packed_close(dataset *d)
{
    packed *f = d->state;
    if (!f) return;
    packed_file_close(&f->file);
    file_map_close(&f->map);
    free(f);
}

const packed_about *pack_about(const dataset *d) { return d->format == &dataset_packed ? &((const packed *)d->state)->about : NULL; }

ddpm_status dataset_verify(const dataset *d, const pack_watch *watch)
{
    enum { PIECE = 16 << 20 };
    const packed *f = d->state;
    sha256_state hash;
    uint8_t digest[SHA256_BYTES];
    sha256_begin(&hash);
    for (size_t at = PACKED_HEADER, n; at < f->map.size; at += n) {
        n = f->map.size - at < PIECE ? f->map.size - at : PIECE;
        sha256_add(&hash, f->map.data + at, n);
        if (watch) DDPM_TRY(watch->step(watch->ctx, (int64_t)(at + n), (int64_t)f->map.size));
    }
    sha256_end(&hash, digest);
    if (memcmp(digest, f->file.header.sha256, sizeof digest) == 0) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s is damaged: its contents do not have the SHA-256 that its header says; pack the data again", d->path);
}

const dataset_format dataset_packed = {"packed", packed_probe, packed_open, packed_read, packed_item, packed_close};
