#include "api/eval_side.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/features_parts.h"

enum { BLOCK = 256, FIRST_ROOM = 1024 };

/* --- opening -------------------------------------------------------------------------------- */

static void take_rows(eval_side *side)
{
    side->rows = side->file.rows;
    side->logits = side->file.logits;
    side->spatial_rows = side->file.spatial;
    side->count = (int64_t)side->rows.n;
}

static ddpm_status open_features(eval_side *side, bool merge)
{
    side->kind = SIDE_FEATURES;
    DDPM_TRY(merge ? features_merge(side->word, &side->file) : features_open(side->word, &side->file));
    const feature_set *f = &side->file;
    memcpy(side->space, f->space, sizeof side->space);
    side->dims = f->rows.dims;
    side->classes = f->logits.dims;
    side->spatial_dims = f->spatial.dims;
    take_rows(side);
    return DDPM_OK;
}

ddpm_status side_choose(eval_side *side, uint64_t seed, size_t n)
{
    DDPM_TRY(features_choose(&side->file, seed, n));
    take_rows(side);
    return DDPM_OK;
}

static ddpm_status open_statistics(eval_side *side)
{
    side->kind = SIDE_STATISTICS;
    DDPM_TRY(statistics_read(side->word, &side->stored));
    memcpy(side->space, side->stored.space, sizeof side->space);
    if (side->stored.map.axes) feature_space_map_identity(&side->stored.map, side->space, sizeof side->space);
    side->dims = side->stored.whole.dims;
    side->spatial_dims = side->stored.has_spatial;       /* how many they are is known when they are read */
    side->count = side->stored.count;
    return DDPM_OK;
}

/* At the size that is asked for, if one is: while a model is trained, its images' own. */
static ddpm_status open_images(eval_side *side, const settings *s)
{
    side->kind = SIDE_IMAGES;
    const ddpm_status status = eval_open_images(side->word, s, &side->set);
    if (status != DDPM_OK)
        return features_are_parts(side->word) ? ddpm_context(status, "%s holds .npz, which --merge reads as features; as images: ", side->word) : status;
    side->h = image_set_height(side->set);
    side->w = image_set_width(side->set);
    side->c = image_set_channels(side->set);
    return DDPM_OK;
}

ddpm_status side_open(eval_side *side, const char *word, const settings *s)
{
    const bool parts = s->v.merge && features_are_parts(word);
    *side = (eval_side){ .word = word };
    if (parts || features_is(word)) return open_features(side, parts);
    return statistics_is(word) ? open_statistics(side) : open_images(side, s);
}

void side_close(eval_side *side)
{
    image_set_close(side->set);
    features_close(&side->file);
    statistics_free(&side->stored);
    side_drop_moments(side);
    for (int i = 0; i < 3; i++) free(side->kept[i]);
    free(side->index);
    free(side->numbers);
    free(side->scratch);
    free(side->spatial);
    *side = (eval_side){ 0 };
}

/* --- images ------------------------------------------------------------------------------------ */

ddpm_status side_begin(eval_side *side, const feature_space *space, unsigned keep, pool *threads)
{
    assert(side->kind == SIDE_IMAGES);
    const size_t dims = side->dims = feature_space_dims(space), spatial = side->spatial_dims = feature_space_spatial(space), batch = (size_t)feature_space_batch(space);
    const size_t widest = dims > spatial ? dims : spatial;
    side->classes = feature_space_classes(space);
    side->keep = keep;
    side->batch = (int)batch;
    side->rows = (metric_rows){ .dims = dims, .wide = feature_space_wide(space) };
    side->logits = (metric_rows){ .dims = side->classes };
    side->spatial_rows = (metric_rows){ .dims = spatial };
    side->numbers = calloc(BLOCK * widest, sizeof *side->numbers);
    side->scratch = calloc(batch * dims, sizeof(double));
    if (keep & KEEP_SPATIAL) side->spatial = calloc(batch * spatial, sizeof *side->spatial);
    if (!side->numbers || !side->scratch || (keep & KEEP_SPATIAL && !side->spatial)) return ddpm_fail(DDPM_ENOMEM, "no memory for the features of %zu images", batch);
    if (keep & KEEP_MOMENTS) DDPM_TRY(moments_new(dims, threads, &side->of_rows));
    return keep & KEEP_SPATIAL ? moments_new(spatial, threads, &side->of_spatial) : DDPM_OK;
}

/* Room for n more rows of kept[which]; *at is where they go. */
static ddpm_status reserve(eval_side *side, int which, metric_rows *rows, size_t n, void **at)
{
    if (rows->n + n > side->room[which]) {
        size_t room = side->room[which] ? side->room[which] : FIRST_ROOM;
        while (room < rows->n + n) room *= 2;
        void *more = reallocarray(side->kept[which], room, metric_row_bytes(rows));
        if (!more) return ddpm_fail(DDPM_ENOMEM, "no memory for the features of %zu images; -n measures fewer", room);
        rows->data = side->kept[which] = more;
        side->room[which] = room;
    }
    *at = (char *)side->kept[which] + rows->n * metric_row_bytes(rows);
    return DDPM_OK;
}

/* The BLOCK rows from `first` on, or as many as there are; numbers [BLOCK,dims] is scratch. */
static void add_block(moments *m, const metric_rows *rows, size_t first, double *numbers)
{
    const size_t n = rows->n - first < BLOCK ? rows->n - first : BLOCK;
    for (size_t i = 0; i < n; i++) metric_rows_read(rows, first + i, numbers + i * rows->dims);
    moments_add(m, numbers, n);
}

static void add_moments(eval_side *side, moments *m, const metric_rows *rows)
{
    for (size_t first = 0; first < rows->n; first += BLOCK) add_block(m, rows, first, side->numbers);
}

static ddpm_status check_finite(const eval_side *side, const char *what, const metric_rows *rows)
{
    size_t row, column;
    if (!rows->data || metric_rows_finite(rows, &row, &column)) return DDPM_OK;
    return ddpm_fail(DDPM_ENUMERIC, "%s %zu of image %lld of those read from %s (they count from 0) is not a finite number", what, column,
                     (long long)side->count + (long long)row, side->word);
}

static ddpm_status add_batch(eval_side *side, feature_space *space, const uint8_t *images, int n)
{
    void *features = side->scratch, *logits = NULL, *spatials = side->spatial;
    if (side->keep & KEEP_ROWS) DDPM_TRY(reserve(side, 0, &side->rows, (size_t)n, &features));
    if (side->keep & KEEP_LOGITS) DDPM_TRY(reserve(side, 1, &side->logits, (size_t)n, &logits));
    if (side->keep & KEEP_SPATIAL_ROWS) DDPM_TRY(reserve(side, 2, &side->spatial_rows, (size_t)n, &spatials));
    DDPM_TRY(feature_space_map(space, images, n, features, logits, spatials));
    const metric_rows rows = { features, (size_t)n, side->dims, side->rows.wide }, spatial = { spatials, (size_t)n, side->spatial_dims, false };
    const metric_rows scores = { logits, (size_t)n, side->classes, false };
    DDPM_TRY(check_finite(side, "feature", &rows));
    DDPM_TRY(check_finite(side, "logit", &scores));
    DDPM_TRY(check_finite(side, "spatial feature", &spatial));
    if (side->keep & KEEP_ROWS) side->rows.n += (size_t)n;
    if (side->keep & KEEP_LOGITS) side->logits.n += (size_t)n;
    if (side->keep & KEEP_SPATIAL_ROWS) side->spatial_rows.n += (size_t)n;
    if (side->of_rows) add_moments(side, side->of_rows, &rows);
    if (side->of_spatial) add_moments(side, side->of_spatial, &spatial);
    side->count += n;
    return DDPM_OK;
}

ddpm_status side_add(eval_side *side, feature_space *space, const uint8_t *images, int n)
{
    const size_t bytes = (size_t)side->h * (size_t)side->w * (size_t)side->c;
    for (int first = 0; first < n; first += side->batch) {
        const int some = n - first < side->batch ? n - first : side->batch;
        DDPM_TRY(add_batch(side, space, images + (size_t)first * bytes, some));
    }
    return DDPM_OK;
}

typedef struct { eval_side *side; feature_space *space; } reading;

static ddpm_status add_read(void *ctx, const uint8_t *images, const int64_t *index, int n)
{
    const reading *r = ctx;
    if (r->side->keep & KEEP_INDEX) memcpy(r->side->index + r->side->count, index, (size_t)n * sizeof *index);
    return side_add(r->side, r->space, images, n);
}

ddpm_status side_read(eval_side *side, feature_space *space, const eval_session *s, int64_t most, uint64_t seed, const char *what)
{
    const int64_t all = image_set_count(side->set);
    image_walk w = { .seed = seed, .count = most < all ? most : all, .strict = s->v->strict };
    if (side->keep & KEEP_INDEX && !(side->index = calloc((size_t)w.count, sizeof *side->index)))
        return ddpm_fail(DDPM_ENOMEM, "no memory for the numbers of %lld images", (long long)w.count);
    if (!feature_space_of_pixels(space)) DDPM_TRY(feature_space_resize(space, side->h, side->w, side->c));
    DDPM_TRY(eval_walk(s, side->set, &w, side->batch, what, add_read, &(reading){ side, space }));
    side->bad += w.bad;
    return DDPM_OK;
}

void side_clear(eval_side *side)
{
    side->rows.n = side->logits.n = side->spatial_rows.n = 0;
    side->count = side->bad = 0;
    if (side->of_rows) moments_clear(side->of_rows);
    if (side->of_spatial) moments_clear(side->of_spatial);
}

void side_drop_moments(eval_side *side)
{
    moments_free(side->of_rows);
    moments_free(side->of_spatial);
    side->of_rows = side->of_spatial = NULL;
}

/* --- mean and covariance ---------------------------------------------------------------------------- */

static ddpm_status read_rows(const eval_session *s, const metric_rows *rows, gaussian *g)
{
    moments *m = NULL;
    double *block = calloc(BLOCK * rows->dims, sizeof *block);
    ddpm_status status = block ? moments_new(rows->dims, s->threads, &m) : ddpm_fail(DDPM_ENOMEM, "no memory for %d rows", BLOCK);
    for (size_t first = 0; status == DDPM_OK && first < rows->n; first += BLOCK) {
        add_block(m, rows, first, block);
        status = eval_stopped(s);
    }
    if (status == DDPM_OK) status = moments_read(m, g->mean, g->covariance);
    moments_free(m);
    free(block);
    return status;
}

static ddpm_status copy_stored(eval_side *side, bool spatial, gaussian *g)
{
    statistics *stored = &side->stored;
    if (spatial && !stored->spatial.dims) DDPM_TRY(statistics_read_spatial(side->word, stored));
    const gaussian *from = spatial ? &stored->spatial : &stored->whole;
    DDPM_TRY(gaussian_new(from->dims, g));
    memcpy(g->mean, from->mean, g->dims * sizeof *g->mean);
    memcpy(g->covariance, from->covariance, g->dims * g->dims * sizeof *g->covariance);
    return DDPM_OK;
}

ddpm_status side_gaussian(eval_side *side, const eval_session *s, bool spatial, gaussian *g)
{
    if (side->kind == SIDE_STATISTICS) return copy_stored(side, spatial, g);
    DDPM_TRY(gaussian_new(spatial ? side->spatial_dims : side->dims, g));
    if (side->kind == SIDE_FEATURES) return read_rows(s, spatial ? &side->file.spatial : &side->file.rows, g);
    return moments_read(spatial ? side->of_spatial : side->of_rows, g->mean, g->covariance);
}
