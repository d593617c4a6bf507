#include "data/loader_source.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rng.h"

enum { UNKNOWN, FILLING, CACHED, BAD };

struct loader_source {
    const dataset *data;
    loader_options o;
    int64_t count;                 /* images in the subset                              */
    int64_t cached;                /* the first so many of the set have a place in cache */
    uint8_t *cache;                /* [cached,h,w,c]                                    */
    atomic_uchar *state;           /* [images of the set]                               */
    atomic_llong bad;
    _Atomic(char *) reason;        /* why the first bad image is bad; NULL: none was */
    float scaled[256];             /* of every byte                                     */
};

/* --- order --------------------------------------------------------------------------------- */

/* A Feistel network on the smallest even number of bits that holds `count` numbers:
 * a permutation whose rounds are drawn from the shuffle's stream. */
static uint64_t feistel(uint64_t seed, uint64_t epoch, uint64_t v, unsigned half)
{
    enum { ROUNDS = 8 };
    const uint64_t mask = ((uint64_t)1 << half) - 1;
    uint64_t left = v >> half, right = v & mask;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint32_t words[4];
        rng_words((rng_address){seed, RNG_SHUFFLE, epoch, round}, right, words);
        const uint64_t next = left ^ (words[0] & mask);
        left = right;
        right = next;
    }
    return left << half | right;
}

/* Numbers beyond count are sent through again until they fall inside, which keeps it
 * a permutation; fewer than four times on average, as the domain is below 4 count. */
int64_t loader_order(uint64_t seed, uint64_t epoch, int64_t position, int64_t count)
{
    assert(position >= 0 && position < count);
    unsigned half = 1;
    while (half < 31 && (int64_t)1 << (2 * half) < count) half++;
    uint64_t v = (uint64_t)position;
    do v = feistel(seed, epoch, v, half);
    while (v >= (uint64_t)count);
    return (int64_t)v;
}

/* --- making and freeing -------------------------------------------------------------------- */

static ddpm_status subset_check(const dataset *d, const loader_options *o)
{
    if (!o->subset) return DDPM_OK;
    if (o->subset_count < 1) return ddpm_fail(DDPM_EINVAL, "a loader needs at least one image");
    for (int64_t i = 0; i < o->subset_count; i++)
        if (o->subset[i] < 0 || o->subset[i] >= dataset_count(d))
            return ddpm_fail(DDPM_EINVAL, "image %lld of a subset is not one of the %lld images", (long long)o->subset[i],
                             (long long)dataset_count(d));
    return DDPM_OK;
}

/* Untouched pages of the cache cost nothing: it fills as images are decoded. What lies decoded in memory needs none. */
static ddpm_status source_alloc(loader_source *s, size_t all)
{
    const size_t bytes = dataset_image_bytes(s->data), room = dataset_pixels(s->data, 0) ? 0 : s->o.max_cache_bytes;
    const size_t fitting = room / bytes, cached = fitting < all ? fitting : all;
    s->cached = (int64_t)cached;
    s->cache = cached ? calloc(cached, bytes) : NULL;
    s->state = calloc(all, sizeof *s->state);
    if ((s->cache || !cached) && s->state) return DDPM_OK;
    return ddpm_fail(DDPM_ENOMEM, "out of memory for a cache of %zu images of %zu bytes; allow it less", cached, bytes);
}

ddpm_status loader_source_new(const dataset *d, const loader_options *o, loader_source **s)
{
    *s = NULL;
    DDPM_TRY(subset_check(d, o));
    loader_source *made = calloc(1, sizeof *made);
    if (!made) return ddpm_fail(DDPM_ENOMEM, "out of memory for a loader");
    made->data = d;
    made->o = *o;
    made->count = o->subset ? o->subset_count : dataset_count(d);
    for (int v = 0; v < 256; v++) made->scaled[v] = (float)v / 127.5f - 1.0f;
    const ddpm_status status = source_alloc(made, (size_t)dataset_count(d));
    if (status == DDPM_OK) *s = made;
    else loader_source_free(made);
    return status;
}

void loader_source_free(loader_source *s)
{
    if (!s) return;
    free(atomic_load(&s->reason));
    free(s->cache);
    free(s->state);
    free(s);
}

ddpm_status source_scratch_new(const dataset *d, source_scratch *t)
{
    *t = (source_scratch){.pixels = malloc(dataset_image_bytes(d))};
    if (!t->pixels) return ddpm_fail(DDPM_ENOMEM, "out of memory for an image");
    const ddpm_status s = dataset_reader_new(d, &t->reader);
    if (s != DDPM_OK) source_scratch_free(t);
    return s;
}

void source_scratch_free(source_scratch *t)
{
    dataset_reader_free(t->reader);
    free(t->pixels);
    *t = (source_scratch){0};
}

int64_t loader_source_bad(const loader_source *s) { return atomic_load(&s->bad); }

/* --- one image --------------------------------------------------------------------------- */

/* Keeps freshly decoded pixels. Another thread may be storing the same image. */
static void cache_put(loader_source *s, int64_t index, const uint8_t *pixels)
{
    unsigned char expected = UNKNOWN;
    if (index >= s->cached || !atomic_compare_exchange_strong(&s->state[index], &expected, FILLING)) return;
    const size_t bytes = dataset_image_bytes(s->data);
    memcpy(s->cache + (size_t)index * bytes, pixels, bytes);
    atomic_store_explicit(&s->state[index], CACHED, memory_order_release);
}

/* Sentences belong to threads, and the one that finds no good image may not be the one that read them. */
static void keep_reason(loader_source *s)
{
    char *none = NULL, *why = atomic_load(&s->reason) ? NULL : strdup(ddpm_last_error());
    if (why && !atomic_compare_exchange_strong(&s->reason, &none, why)) free(why);
}

/* *pixels: the image, borrowed from the data set, the cache or the scratch. A bad one is noted. */
static ddpm_status image_get(loader_source *s, source_scratch *t, int64_t index, const uint8_t **pixels)
{
    *pixels = dataset_pixels(s->data, index);
    if (*pixels) return DDPM_OK;
    const unsigned char state = atomic_load_explicit(&s->state[index], memory_order_acquire);
    *pixels = t->pixels;
    if (state == CACHED) {
        *pixels = s->cache + (size_t)index * dataset_image_bytes(s->data);
        return DDPM_OK;
    }
    if (state == BAD && !s->o.strict) return DDPM_EFORMAT;
    const ddpm_status status = dataset_read(s->data, t->reader, index, t->pixels, NULL);
    if (status == DDPM_OK) cache_put(s, index, t->pixels);
    unsigned char expected = UNKNOWN;
    if (status == DDPM_EFORMAT) keep_reason(s);
    if (status == DDPM_EFORMAT && atomic_compare_exchange_strong(&s->state[index], &expected, BAD)) {
        atomic_fetch_add(&s->bad, 1);
        if (!s->o.strict) log_warn("%s (skipped; the next good image takes its place)", ddpm_last_error());
    }
    return status;
}

static int64_t index_at(const loader_source *s, int64_t place) { return s->o.subset ? s->o.subset[place] : place; }

/* The image at `place` of the subset or, where it is bad, the next good one. */
static ddpm_status image_get_good(loader_source *s, source_scratch *t, int64_t place, int64_t *index, const uint8_t **pixels)
{
    for (int64_t tried = 0; tried < s->count; tried++, place = (place + 1) % s->count) {
        *index = index_at(s, place);
        const ddpm_status status = image_get(s, t, *index, pixels);
        if (status != DDPM_EFORMAT || s->o.strict) return status;
    }
    const char *why = atomic_load(&s->reason);
    return ddpm_fail(DDPM_EFORMAT, "%s: none of the %lld images can be read; the first: %s", dataset_name(s->data), (long long)s->count, why ? why : "out of memory");
}

/* Bytes to [-1,1]; `flip` mirrors each row. */
static void scale_image(const loader_source *s, const uint8_t *pixels, bool flip, float *x)
{
    const size_t h = (size_t)dataset_height(s->data), w = (size_t)dataset_width(s->data), c = (size_t)dataset_channels(s->data);
    if (!flip) {
        for (size_t i = 0; i < h * w * c; i++) x[i] = s->scaled[pixels[i]];
        return;
    }
    for (size_t row = 0; row < h; row++)
        for (size_t col = 0; col < w; col++)
            for (size_t k = 0; k < c; k++) x[(row * w + col) * c + k] = s->scaled[pixels[(row * w + w - 1 - col) * c + k]];
}

ddpm_status loader_source_sample(loader_source *s, source_scratch *t, uint64_t step, int i, float *x, int *label, int64_t *index)
{
    const uint64_t position = step * (uint64_t)s->o.batch + (uint64_t)i, count = (uint64_t)s->count;
    const int64_t place = loader_order(s->o.seed, position / count, (int64_t)(position % count), s->count);
    const uint8_t *pixels = t->pixels;
    DDPM_TRY(image_get_good(s, t, place, index, &pixels));
    const bool flip = s->o.flip && rng_below((rng_address){s->o.seed, RNG_FLIP, step, (uint64_t)i}, 0, 2) == 1;
    scale_image(s, pixels, flip, x);
    *label = dataset_label(s->data, *index);
    return DDPM_OK;
}
