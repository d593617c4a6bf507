#include "api/near_images.h"

#include "api/comparison.h"
#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the space ------------------------------------------------------------------------------- */

static ddpm_status asked_to_stop(void *ctx, int64_t done, int64_t all)
{
    const tool_events *ev = ctx;
    (void)done;
    (void)all;
    return tool_request(ev) == RUN_SAVE_AND_STOP ? ddpm_fail(DDPM_ESTOPPED, "stopped while distances were computed; nothing is written") : DDPM_OK;
}

ddpm_status near_space_open(settings *s, image_set *data, const tool_events *ev, near_space *space, int64_t *bad)
{
    *bad = 0;
    *space = (near_space){ .bytes = image_set_bytes(data) };
    engine_prefer_f32(s);
    DDPM_TRY(engine_new(s, &space->e));
    space->work = (metric_work){ .threads = space->e.threads, .stop = asked_to_stop, .ctx = (void *)(uintptr_t)ev };
    if (!strcmp(s->v.features, "raw")) return DDPM_OK;
    DDPM_TRY(feature_space_open(s->v.features, s, image_set_height(data), image_set_width(data), image_set_channels(data), &space->e, &space->space));
    const eval_session session = { .v = &s->v, .ev = ev, .threads = space->e.threads, .begin = clock_now() };
    return comparison_fit(&session, data, space->space, bad);
}

void near_space_close(near_space *space)
{
    feature_space_free(space->space);
    engine_free(&space->e);
}

const char *near_space_name(const near_space *space) { return space->space ? feature_space_name(space->space) : "raw"; }

void near_space_words(const near_space *space, char *text, size_t size)
{
    if (space->space) snprintf(text, size, "%s features", feature_space_name(space->space));
    else snprintf(text, size, "pixels from 0 to 255");
}

/* Features of the images; the caller frees. */
static ddpm_status map_images(near_space *space, const uint8_t *images, int n, metric_rows *rows, void **features)
{
    *rows = (metric_rows){ NULL, (size_t)n, feature_space_dims(space->space), feature_space_wide(space->space) };
    rows->data = *features = calloc((size_t)n, metric_row_bytes(rows));
    if (!*features) return ddpm_fail(DDPM_ENOMEM, "no memory for %zu features of %d images", rows->dims, n);
    DDPM_TRY(feature_space_map(space->space, images, n, *features, NULL, NULL));
    size_t row, column;
    if (metric_rows_finite(rows, &row, &column)) return DDPM_OK;
    return ddpm_fail(DDPM_ENUMERIC, "a feature of %s is not a finite number", near_space_name(space));
}

/* --- searching ------------------------------------------------------------------------------- */

ddpm_status near_queries_new(near_space *space, const uint8_t *images, int n, int k, near_queries *q)
{
    metric_rows rows;
    *q = (near_queries){ 0 };
    if (!space->space) return neighbours_new(images, (size_t)n, space->bytes, k, &q->by_pixels);
    DDPM_TRY(map_images(space, images, n, &rows, &q->features));
    return nearest_rows_new(&rows, k, &q->by_rows);
}

void near_queries_free(near_queries *q)
{
    neighbours_free(q->by_pixels);
    nearest_rows_free(q->by_rows);
    free(q->features);
}

ddpm_status near_space_add(near_space *space, near_queries *const *q, int count, const uint8_t *images, const int64_t *index, int n)
{
    void *features = NULL;
    metric_rows rows = { 0 };
    ddpm_status status = space->space ? map_images(space, images, n, &rows, &features) : DDPM_OK;
    for (int i = 0; i < count && status == DDPM_OK; i++) {
        if (space->space) status = nearest_rows_add(q[i]->by_rows, &space->work, &rows, index, 0);
        else neighbours_add(q[i]->by_pixels, space->e.threads, images, index, n);
    }
    free(features);
    return status;
}

bool near_queries_of(const near_queries *q, int i, int k, near_image *found)
{
    int n;
    if (q->by_rows) {
        const nearest_row *list = nearest_rows_of(q->by_rows, (size_t)i, &n);
        if (k < n) *found = (near_image){ list[k].index, sqrt(list[k].squared) };
    } else {
        const neighbour *list = neighbours_of(q->by_pixels, (size_t)i, &n);
        if (k < n) *found = (near_image){ list[k].index, sqrt((double)list[k].squared) };
    }
    return k < n;
}
