/* An LMDB database of pictures, as LSUN is given out: the values are the bytes of WebP or JPEG files, in the order of their keys.
 * It can only be walked through, once, so there are always the pictures of a window; training never opens one. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/dataset_format.h"
#include "io/file.h"
#include "io/lmdb_stream.h"

typedef struct { uint8_t *bytes; size_t len; } record;

typedef struct {
    lmdb_stream *stream;
    record *records;             /* of images first to first + n - 1 */
    int64_t first, n, capacity;
    bool sized, ended;           /* sizes may differ; the last record was the last */
} lmdb_set;

static ddpm_status no_memory(void) { return ddpm_fail(DDPM_ENOMEM, "out of memory for the records of a database"); }

static bool lmdb_probe(const char *path) { return lmdb_is_folder(path); }

static void forget_records(lmdb_set *f)
{
    for (int64_t i = 0; i < f->n; i++) free(f->records[i].bytes);
    f->first += f->n;
    f->n = 0;
}

static ddpm_status make_room(lmdb_set *f, int64_t n)
{
    if (n <= f->capacity) return DDPM_OK;
    record *grown = realloc(f->records, (size_t)n * sizeof *grown);
    if (!grown) return no_memory();
    f->records = grown;
    f->capacity = n;
    return DDPM_OK;
}

/* Fills the window up to n records, each of the set's size where that was not asked for. */
static ddpm_status read_records(dataset *d, int64_t n)
{
    lmdb_set *f = d->state;
    while (f->n < n) {
        record *r = &f->records[f->n];
        int w, h, c;
        DDPM_TRY(lmdb_stream_next(f->stream, &r->bytes, &r->len));
        if (!r->bytes) return ddpm_fail(DDPM_EFORMAT, "%s ends after %lld of %lld records", d->path, (long long)(f->first + f->n), (long long)d->count);
        f->n++;
        if (f->sized || d->h == 0 || image_probe(r->bytes, r->len, &w, &h, &c) != DDPM_OK || (w == d->w && h == d->h)) continue;
        return ddpm_fail(DDPM_EFORMAT, "%s holds images of different sizes: one is %dx%d, others are %dx%d (width x height); --image_size N fits all of them to one size",
                         d->path, w, h, d->w, d->h);
    }
    return DDPM_OK;
}

/* The stream's own end has to come, or there is more than the database says. */
static ddpm_status check_end(lmdb_set *f)
{
    record more = {0};
    if (f->ended) return DDPM_OK;
    DDPM_TRY(lmdb_stream_next(f->stream, &more.bytes, &more.len));
    free(more.bytes);
    f->ended = true;
    return DDPM_OK;
}

ddpm_status lmdb_window(dataset *d, int64_t first, int n)
{
    lmdb_set *f = d->state;
    if (first != f->first) {
        forget_records(f);
        assert(first == f->first);
    }
    DDPM_TRY(make_room(f, n));
    DDPM_TRY(read_records(d, n));
    return first + n == d->count ? check_end(f) : DDPM_OK;
}

/* The first record that is a picture would do as well, but a set whose first value is none is rarely pictures. */
static ddpm_status probe_first(dataset *d)
{
    lmdb_set *f = d->state;
    int c;
    DDPM_TRY(lmdb_window(d, 0, 1));
    const ddpm_status s = image_probe(f->records[0].bytes, f->records[0].len, &d->w, &d->h, &c);
    d->c = 3;
    return s == DDPM_OK ? s : ddpm_context(s, "%s: the first value is no picture: ", d->path);
}

static ddpm_status lmdb_open(dataset *d, dataset_part part, const dataset_options *o)
{
    if (part != PART_ANY) return ddpm_fail(DDPM_EINVAL, "%s has no parts; leave out :train or :test", d->path);
    if (!o->stream)
        return ddpm_fail(DDPM_EINVAL, "%s is an LMDB database, which is not read at random; pack it first: ddpm data pack %s FILE.ddpmdata", d->path, d->path);
    if (o->labels != DATASET_LABELS_AUTO && o->labels != DATASET_LABELS_NONE)
        return ddpm_fail(DDPM_EINVAL, "%s: a database of pictures has no labels; leave out --labels", d->path);
    lmdb_set *f = calloc(1, sizeof *f);
    if (!f) return no_memory();
    d->state = f;
    f->sized = o->size_h > 0 || o->crop;
    DDPM_TRY(lmdb_stream_open(d->path, &f->stream));
    d->count = lmdb_stream_count(f->stream);
    if (d->count == 0) return ddpm_fail(DDPM_EFORMAT, "%s is an empty database", d->path);
    return probe_first(d);
}

static ddpm_status lmdb_read(const dataset *d, dataset_reader *r, int64_t index, image *out)
{
    const lmdb_set *f = d->state;
    assert(index >= f->first && index < f->first + f->n);
    const record *rec = &f->records[index - f->first];
    const ddpm_status s = image_decoder_decode(r->decoder, rec->bytes, rec->len, 0, out);
    return s == DDPM_OK ? s : ddpm_context(s, "%s, record %lld: ", d->path, (long long)index);
}

static const char *lmdb_item(const dataset *d, int64_t index)
{
    (void)d;
    (void)index;
    return "a record";
}

static void lmdb_close(dataset *d)
{
    lmdb_set *f = d->state;
    if (!f) return;
    forget_records(f);
    free(f->records);
    lmdb_stream_close(f->stream);
    free(f);
}

const dataset_format dataset_lmdb = {"lmdb", lmdb_probe, lmdb_open, lmdb_read, lmdb_item, lmdb_close};
