#include "data/pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "data/dataset_format.h"
#include "data/packed_file.h"
#include "io/file.h"

enum { PIECE_BYTES = 32 << 20, PIECE_MOST = 4096 };

/* A piece is so many images in a row: decoded by all threads, then written in order by one. */
typedef struct {
    dataset *d;
    bool strict;
    const pack_watch *watch;
    dataset_reader **reader;         /* [threads]                               */
    int threads;
    size_t image_len;
    int64_t first;                   /* image of the piece's first place        */
    uint8_t *pixels;                 /* [places,h,w,c]                          */
    ddpm_status *status;             /* [places]                                */
    char **sentence;                 /* [places], why it failed; else NULL      */
    int places;
    file_writer *w;
    sha256_state hash;
    int32_t *label;                  /* [count of the set], of the images kept  */
    int64_t kept, skipped;
    char reason[512];                /* why the first of the skipped failed     */
} packing;

static ddpm_status no_memory(void) { return ddpm_fail(DDPM_ENOMEM, "out of memory for packing a data set"); }

/* --- decoding -------------------------------------------------------------------------------- */

/* Sentences belong to threads, so the worker keeps its own for the one that reports it. */
static void decode_one(void *ctx, int place, int worker)
{
    packing *k = ctx;
    k->status[place] = dataset_read(k->d, k->reader[worker], k->first + place, k->pixels + (size_t)place * k->image_len, NULL);
    k->sentence[place] = k->status[place] == DDPM_OK ? NULL : strdup(ddpm_last_error());
}

static ddpm_status image_failed(packing *k, int place)
{
    const char *why = k->sentence[place] ? k->sentence[place] : "out of memory";
    if (k->status[place] != DDPM_EFORMAT || k->strict) return ddpm_fail(k->status[place], "%s", why);
    if (!k->skipped++) snprintf(k->reason, sizeof k->reason, "%s", why);
    log_warn("%s (left out)", why);
    return DDPM_OK;
}

/* Moves the good images of a piece together and takes their labels; *n of them remain. */
static ddpm_status keep_good(packing *k, int places, int *n)
{
    *n = 0;
    for (int i = 0; i < places; i++) {
        if (k->status[i] != DDPM_OK) {
            DDPM_TRY(image_failed(k, i));
            continue;
        }
        if (*n != i) memcpy(k->pixels + (size_t)*n * k->image_len, k->pixels + (size_t)i * k->image_len, k->image_len);
        k->label[k->kept++] = dataset_label(k->d, k->first + i);
        ++*n;
    }
    return DDPM_OK;
}

static void forget_sentences(packing *k)
{
    for (int i = 0; k->sentence && i < k->places; i++) {
        free(k->sentence[i]);
        k->sentence[i] = NULL;
    }
}

/* --- writing --------------------------------------------------------------------------------- */

static ddpm_status put(packing *k, const void *data, size_t len)
{
    sha256_add(&k->hash, data, len);
    return file_writer_write(k->w, data, len);
}

/* Zeros up to the offset of a section. */
static ddpm_status put_padding(packing *k, uint64_t to)
{
    static const uint8_t zeros[PACKED_ALIGN];
    return put(k, zeros, (size_t)(to - file_writer_offset(k->w)));
}

/* A stream has the images of a window at a time. */
static ddpm_status go_to(packing *k, int places) { return k->d->format == &dataset_lmdb ? lmdb_window(k->d, k->first, places) : DDPM_OK; }

static ddpm_status put_images(packing *k, pool *p)
{
    for (int64_t all = dataset_count(k->d); k->first < all; k->first += k->places) {
        const int places = all - k->first < k->places ? (int)(all - k->first) : k->places;
        int n;
        DDPM_TRY(go_to(k, places));
        pool_run(p, places, decode_one, k);
        const ddpm_status s = keep_good(k, places, &n);
        forget_sentences(k);
        DDPM_TRY(s);
        DDPM_TRY(put(k, k->pixels, (size_t)n * k->image_len));
        if (k->watch) DDPM_TRY(k->watch->step(k->watch->ctx, k->first + places, all));
    }
    if (k->kept) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s: none of the %lld images can be read; the first: %s", dataset_name(k->d), (long long)k->skipped, k->reason);
}

/* The caller frees *text. */
static ddpm_status make_text(const packing *k, char **text)
{
    char source[512];
    json *o = json_new_object(), *names = json_new_array();
    dataset_describe(k->d, source, sizeof source);
    for (int i = 0; i < dataset_n_classes(k->d); i++) json_append(names, json_new_string(dataset_class_name(k->d, i)));
    json_put_string(o, "name", dataset_name(k->d));
    json_put_string(o, "source", source);
    json_put_int(o, "skipped", k->skipped);
    const ddpm_status s = json_put(o, "class_names", names);
    *text = s == DDPM_OK ? json_text(o, JSON_COMPACT) : NULL;
    json_free(o);
    return *text ? DDPM_OK : no_memory();
}

/* The header comes last: before, the number of good images and the hash are not known. */
static ddpm_status put_rest(packing *k, const char *text, pack_result *r)
{
    const dataset *d = k->d;
    packed_header h = {.h = (uint32_t)d->h, .w = (uint32_t)d->w, .c = (uint32_t)d->c, .count = k->kept, .classes = dataset_n_classes(d), .text_len = strlen(text)};
    if (!packed_layout(&h)) return ddpm_fail(DDPM_EINVAL, "%s is too large to be packed", dataset_name(d));
    if (h.classes) {
        DDPM_TRY(put_padding(k, h.labels));
        DDPM_TRY(put(k, k->label, (size_t)k->kept * sizeof *k->label));
    }
    DDPM_TRY(put_padding(k, h.text));
    DDPM_TRY(put(k, text, (size_t)h.text_len));
    sha256_end(&k->hash, h.sha256);
    packed_seal(&h);
    *r = (pack_result){.images = k->kept, .skipped = k->skipped, .bytes = h.file_len};
    sha256_text(h.sha256, r->sha256);
    return file_writer_replace(k->w, 0, &h, sizeof h);
}

static ddpm_status put_all(packing *k, pool *p, pack_result *r)
{
    static const uint8_t no_header[PACKED_HEADER];
    char *text = NULL;
    DDPM_TRY(file_writer_write(k->w, no_header, sizeof no_header));
    DDPM_TRY(put_images(k, p));
    DDPM_TRY(make_text(k, &text));
    const ddpm_status s = put_rest(k, text, r);
    free(text);
    return s;
}

/* --- beginning and end ----------------------------------------------------------------------- */

static ddpm_status packing_open(packing *k, const char *out)
{
    const size_t fitting = PIECE_BYTES / k->image_len, all = (size_t)dataset_count(k->d), most = all < PIECE_MOST ? all : PIECE_MOST;
    k->places = (int)(fitting < 1 ? 1 : fitting < most ? fitting : most);
    k->reader = calloc((size_t)k->threads, sizeof *k->reader);
    k->pixels = malloc((size_t)k->places * k->image_len);
    k->status = calloc((size_t)k->places, sizeof *k->status);
    k->sentence = calloc((size_t)k->places, sizeof *k->sentence);
    k->label = calloc(all, sizeof *k->label);
    if (!k->reader || !k->pixels || !k->status || !k->sentence || !k->label) return no_memory();
    for (int i = 0; i < k->threads; i++) DDPM_TRY(dataset_reader_new(k->d, &k->reader[i]));
    sha256_begin(&k->hash);
    return file_writer_open(out, &k->w);
}

static void packing_close(packing *k)
{
    for (int i = 0; k->reader && i < k->threads; i++) dataset_reader_free(k->reader[i]);
    forget_sentences(k);
    free(k->reader);
    free(k->pixels);
    free(k->status);
    free(k->sentence);
    free(k->label);
    file_writer_abort(k->w);
}

ddpm_status pack_check_name(const char *out)
{
    if (file_has_ending(out, PACKED_ENDING)) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "%s: the name of a packed data set ends in %s, by which it is known later", out, PACKED_ENDING);
}

ddpm_status dataset_pack(dataset *d, const char *out, pool *p, bool strict, const pack_watch *watch, pack_result *r)
{
    packing k = {.d = d, .strict = strict, .watch = watch, .threads = pool_threads(p), .image_len = dataset_image_bytes(d)};
    ddpm_status s = packing_open(&k, out);
    if (s == DDPM_OK) s = put_all(&k, p, r);
    if (s == DDPM_OK) {
        s = file_writer_finish(k.w);
        k.w = NULL;
    }
    packing_close(&k);
    return s;
}
