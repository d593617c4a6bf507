#include "api/outliers.h"

#include "io/sheet.h"
#include "io/svg_png.h"

#include <stdio.h>
#include <stdlib.h>

enum { WORDS = 64, HEAD = 160 };

/* One of the two kinds: rows of `set` beside rows of `other`. */
typedef struct {
    const char *called, *other_called;      /* an image of either */
    const outlier_set *set, *other;
    const outlier_list *found;
    uint8_t   *pixels;               /* [shown,2,h,w,c]      */
    sheet_row *row;
    char     (*text)[2][WORDS];
    char       title[HEAD], head[HEAD];
} half;

ddpm_status outliers_check(const char *path, const image_set *samples, const image_set *reference)
{
    if (!svg_has_ending(path)) return ddpm_fail(DDPM_EINVAL, "--outliers %s: the name must end in .png or .svg", path);
    DDPM_TRY(image_set_same_size(samples, reference));
    return svg_check_target(path);
}

static int64_t number_of(const outlier_set *s, size_t row) { return s->index ? s->index[row] : (int64_t)row; }

/* --- the picture ----------------------------------------------------------------------------- */

static ddpm_status fill(half *h)
{
    const size_t bytes = image_set_bytes(h->set->images);
    for (size_t i = 0; i < h->found->shown; i++) {
        const outlier *o = &h->found->list[i];
        uint8_t *pair = h->pixels + 2 * i * bytes;
        DDPM_TRY(image_set_read(h->set->images, number_of(h->set, o->row), pair));
        DDPM_TRY(image_set_read(h->other->images, number_of(h->other, o->nearest), pair + bytes));
        snprintf(h->text[i][0], WORDS, "%s %lld", h->called, (long long)number_of(h->set, o->row));
        snprintf(h->text[i][1], WORDS, "%s %lld, distance %.4g", h->other_called, (long long)number_of(h->other, o->nearest), o->distance);
        h->row[i] = (sheet_row){ h->text[i][0], h->text[i][1], 2, pair };
    }
    return DDPM_OK;
}

/* Of sets[which] beside the other; sets: samples, reference. */
static ddpm_status half_new(int which, const outlier_set *const sets[2], const outlier_list *found, half *h)
{
    static const char *const called[2] = { "sample", "reference" };
    const outlier_set *set = sets[which];
    const size_t n = found->shown ? found->shown : 1;
    *h = (half){ .called = called[which], .other_called = called[1 - which], .set = set, .other = sets[1 - which], .found = found,
                 .pixels = calloc(2 * n, image_set_bytes(set->images)), .row = calloc(n, sizeof *h->row), .text = calloc(n, sizeof *h->text) };
    return h->pixels && h->row && h->text ? fill(h) : ddpm_fail(DDPM_ENOMEM, "no memory for a picture of %zu outliers", n);
}

static void half_free(half *h)
{
    free(h->pixels);
    free(h->row);
    free(h->text);
}

static sheet_part part_of(half *h, const char *what, const char *space)
{
    snprintf(h->title, HEAD, "%s: %zu of %zu", what, h->found->outside, h->found->n);
    snprintf(h->head, HEAD, "each beside the nearest %s in %s", h->other_called, space);
    return (sheet_part){ .title = h->title, .head = h->head, .lead = 1, .n_rows = (int)h->found->shown, .row = h->row };
}

static ddpm_status draw(const char *path, half h[2], const char *space)
{
    const sheet_part parts[2] = { part_of(&h[0], "Samples outside the reference", space), part_of(&h[1], "Reference outside the samples", space) };
    const image_set *set = h[0].set->images;
    const sheet both = { image_set_height(set), image_set_width(set), image_set_channels(set), 2, parts };
    return sheet_write(path, &both, NULL, 0);
}

/* --- the document ---------------------------------------------------------------------------- */

static json *describe(const half *h)
{
    json *o = json_new_object(), *list = json_new_array();
    json_put_int(o, "outside", (int64_t)h->found->outside);
    json_put_int(o, "of", (int64_t)h->found->n);
    for (size_t i = 0; i < h->found->shown; i++) {
        json *one = json_new_object();
        json_put_int(one, "index", number_of(h->set, h->found->list[i].row));
        json_put_int(one, "nearest", number_of(h->other, h->found->list[i].nearest));
        json_put_real(one, "distance", h->found->list[i].distance);
        json_append(list, one);
    }
    json_put(o, "farthest", list);
    return o;
}

static ddpm_status summarise(const char *path, const half h[2], json **summary)
{
    json *o = *summary = json_new_object();
    json_put_string(o, "picture", path);
    json_put(o, "samples", describe(&h[0]));
    return json_put(o, "reference", describe(&h[1]));
}

static ddpm_status write_found(const char *path, const outlier_set *samples, const outlier_set *reference, const outlier_list found[2], const char *space,
                               json **summary)
{
    const outlier_set *const sets[2] = { samples, reference };
    half h[2] = { 0 };
    ddpm_status status = half_new(0, sets, &found[0], &h[0]);
    if (status == DDPM_OK) status = half_new(1, sets, &found[1], &h[1]);
    if (status == DDPM_OK) status = draw(path, h, space);
    if (status == DDPM_OK && summary) status = summarise(path, h, summary);
    half_free(&h[0]);
    half_free(&h[1]);
    return status;
}

ddpm_status outliers_write(const char *path, const outlier_set *samples, const outlier_set *reference, int k, int most, const char *space,
                           const metric_work *w, json **summary)
{
    const outlier_set *two[] = { samples, reference };
    for (int i = 0; i < 2; i++)
        if (two[i]->rows.n <= (size_t)k)
            return ddpm_fail(DDPM_EINVAL, "%s has %zu images; --outliers needs more than %d", image_set_word(two[i]->images), two[i]->rows.n, k);
    outlier_list found[2];
    DDPM_TRY(outliers_find(&samples->rows, &reference->rows, k, (size_t)most, w, found));
    const ddpm_status status = write_found(path, samples, reference, found, space, summary);
    outliers_free(found);
    return status;
}
