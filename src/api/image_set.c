#include "api/image_set.h"

#include "base/log.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "io/file.h"
#include "io/npz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct image_set {
    char           *word;
    int64_t         count;
    int             h, w, c;
    dataset        *data;          /* or */
    dataset_reader *reader;
    npz_reader     *npz;
    const uint8_t  *pixels;        /* of the npz */
    bool            fitted;
};

/* --- where images come from ----------------------------------------------------------- */

static void shape_text(const npz_array *a, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "%s [", a->descr);
    for (int i = 0; i < a->ndim && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, i ? ",%lld" : "%lld", (long long)a->shape[i]);
    if (used < size) snprintf(text + used, size - used, "]");
}

static ddpm_status open_npz(image_set *s)
{
    npz_array a;
    DDPM_TRY(npz_reader_open(s->word, &s->npz));
    if (!npz_reader_has(s->npz, "arr_0") && npz_reader_has(s->npz, "mu"))
        return ddpm_fail(DDPM_EFORMAT, "%s holds statistics of another network's features (mu, sigma); give the images themselves (arr_0)", s->word);
    const char *name = npz_reader_has(s->npz, "arr_0") || !npz_reader_has(s->npz, "images") ? "arr_0" : "images";
    DDPM_TRY(npz_reader_get(s->npz, name, &a));
    bool fits = !strcmp(a.descr, "|u1") && a.ndim == 4 && a.shape[0] > 0 && a.shape[3] >= 1 && a.shape[3] <= 4;
    for (int i = 1; i < 3 && fits; i++) fits = a.shape[i] >= 1 && a.shape[i] <= 65536;
    char text[256];
    shape_text(&a, text, sizeof text);
    if (!fits) return ddpm_fail(DDPM_EFORMAT, "%s: %s is %s; images are |u1 [n,height,width,channels], with at most 4 channels", s->word, name, text);
    s->count = a.shape[0];
    s->h = (int)a.shape[1];
    s->w = (int)a.shape[2];
    s->c = (int)a.shape[3];
    s->pixels = a.data;
    return DDPM_OK;
}

static ddpm_status open_data(image_set *s, const dataset_options *o)
{
    DDPM_TRY(dataset_open(s->word, o, &s->data));
    s->count = dataset_count(s->data);
    s->h = dataset_height(s->data);
    s->w = dataset_width(s->data);
    s->c = dataset_channels(s->data);
    s->fitted = o->size_h || o->crop != DATASET_CROP_NONE;
    return dataset_reader_new(s->data, &s->reader);
}

ddpm_status image_set_open_as(const char *word, const dataset_options *o, image_set **set)
{
    image_set *s = calloc(1, sizeof *s);
    if (s) s->word = strdup(word);
    ddpm_status status = s && s->word ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory to open %s", word);
    if (status == DDPM_OK) status = (file_has_ending(word, ".npz") && !file_is_dir(word)) ? open_npz(s) : open_data(s, o);
    if (status == DDPM_OK) *set = s;
    else image_set_close(s);
    return status;
}

void image_set_close(image_set *s)
{
    if (!s) return;
    dataset_reader_free(s->reader);
    dataset_close(s->data);
    npz_reader_free(s->npz);
    free(s->word);
    free(s);
}

/* --- what they are ---------------------------------------------------------------------- */

const char *image_set_word(const image_set *s) { return s->word; }
int64_t image_set_count(const image_set *s) { return s->count; }
int image_set_height(const image_set *s) { return s->h; }
int image_set_width(const image_set *s) { return s->w; }
int image_set_channels(const image_set *s) { return s->c; }
bool image_set_fitted(const image_set *s) { return s->fitted; }
size_t image_set_bytes(const image_set *s) { return (size_t)s->h * (size_t)s->w * (size_t)s->c; }

void image_set_describe(const image_set *s, char *text, size_t size)
{
    snprintf(text, size, "%s, %lld images %dx%dx%d", s->data ? dataset_format_name(s->data) : "npz", (long long)s->count, s->h, s->w, s->c);
}

ddpm_status image_set_same_size(const image_set *a, const image_set *b)
{
    if (a->h == b->h && a->w == b->w && a->c == b->c) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "the images of %s are %dx%dx%d (height, width, channels), those of %s %dx%dx%d; only images of one size can be compared",
                     a->word, a->h, a->w, a->c, b->word, b->h, b->w, b->c);
}

/* --- reading ------------------------------------------------------------------------------ */

int64_t image_set_choice(const image_set *s, uint64_t seed, int64_t k, int64_t n)
{
    return n >= s->count ? k : loader_order(seed, 0, k, s->count);
}

ddpm_status image_set_read(image_set *s, int64_t index, uint8_t *hwc)
{
    if (s->data) return dataset_read(s->data, s->reader, index, hwc, NULL);
    memcpy(hwc, s->pixels + (size_t)index * image_set_bytes(s), image_set_bytes(s));
    return DDPM_OK;
}

ddpm_status image_set_next(image_set *s, image_walk *walk, int room, uint8_t *images, int64_t *index, int *n)
{
    for (*n = 0; *n < room && walk->next < walk->count; walk->next++) {
        const int64_t number = walk->numbers ? walk->numbers[walk->next] : image_set_choice(s, walk->seed, walk->next, walk->count);
        const ddpm_status status = image_set_read(s, number, images + (size_t)*n * image_set_bytes(s));
        if (status == DDPM_EFORMAT && !walk->strict) {
            log_warn("%s; it is left out", ddpm_last_error());
            walk->bad++;
            continue;
        }
        DDPM_TRY(status);
        if (index) index[*n] = number;
        ++*n;
    }
    return DDPM_OK;
}
