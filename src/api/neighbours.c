#include "api/generator.h"
#include "api/image_set.h"
#include "api/measure.h"
#include "api/tool.h"
#include "base/pool.h"
#include "io/chart.h"
#include "io/file.h"
#include "io/image.h"
#include "metrics/bootstrap.h"
#include "metrics/neighbours.h"
#include "train/draw.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 4096, CHUNK_BYTES = 64 << 20, DEFAULT_SAMPLES = 1000, ENOUGH = 100, BINS = 50 };
#define NEAR_SHARE 0.01          /* of the control lies nearer than the mark */

/* One set of queries and what is found for it. */
typedef struct {
    image_set  *set;
    int         n;
    uint8_t    *pixels;          /* [n,bytes]                                */
    int64_t    *index;           /* [n] numbers in the set                   */
    neighbours *near;
    double     *distance;        /* [n] to the nearest image, in order of n  */
    double     *sorted;          /* [n] the same by size                     */
} queries;

typedef struct {
    const settings_values *v;
    const tool_events *ev;
    pool      *threads;
    image_set *data;
    queries    samples, control; /* control.set NULL: none                   */
    int        rows, nearest;    /* of the picture                           */
    int64_t    bad, n_data;
    char       chart[OPTION_STRING_SIZE];
    double     begin;
} session;

/* --- images --------------------------------------------------------------------------- */

static ddpm_status read_queries(session *s, queries *q, int64_t asked)
{
    const int64_t all = image_set_count(q->set);
    image_walk w = { .seed = (uint64_t)s->v->seed, .count = asked < all ? asked : all, .strict = s->v->strict };
    const size_t room = (size_t)w.count;
    q->pixels = calloc(room, image_set_bytes(q->set));
    q->index = calloc(room, sizeof *q->index);
    q->distance = calloc(room, sizeof *q->distance);
    q->sorted = calloc(room, sizeof *q->sorted);
    if (!q->pixels || !q->index || !q->distance || !q->sorted) return ddpm_fail(DDPM_ENOMEM, "no memory for %zu images of %s", room, image_set_word(q->set));
    DDPM_TRY(image_set_next(q->set, &w, (int)room, q->pixels, q->index, &q->n));
    s->bad += w.bad;
    if (!q->n) return ddpm_context(DDPM_EFORMAT, "none of the images of %s can be read; the last: ", image_set_word(q->set));
    return neighbours_new(q->pixels, (size_t)q->n, image_set_bytes(q->set), q == &s->samples ? s->nearest : 1, &q->near);
}

static void tell_progress(const session *s, int64_t before, int64_t done, int64_t all)
{
    const double speed = (double)done / (clock_now() - s->begin);
    const tool_progress p = { .what = "search", .unit = "images", .done = done, .total = all, .per_second = speed, .eta_seconds = (double)(all - done) / speed,
                              .extra = "", .line = 4 * done / all > 4 * before / all };
    if (s->ev->progress) s->ev->progress(s->ev->ctx, &p);
}

static ddpm_status search_chunks(session *s, int room, uint8_t *images, int64_t *index)
{
    image_walk w = { .count = image_set_count(s->data), .strict = s->v->strict };
    while (w.next < w.count) {
        const int64_t before = w.next;
        int n;
        if (s->ev->request && s->ev->request(s->ev->ctx) == RUN_SAVE_AND_STOP)
            return ddpm_fail(DDPM_ESTOPPED, "stopped after %lld of %lld images; nothing is written", (long long)w.next, (long long)w.count);
        DDPM_TRY(image_set_next(s->data, &w, room, images, index, &n));
        neighbours_add(s->samples.near, s->threads, images, index, n);
        if (s->control.set) neighbours_add(s->control.near, s->threads, images, index, n);
        s->n_data += n;
        tell_progress(s, before, w.next, w.count);
    }
    s->bad += w.bad;
    return s->n_data ? DDPM_OK : ddpm_context(DDPM_EFORMAT, "none of the images of %s can be read; the last: ", image_set_word(s->data));
}

static ddpm_status search(session *s)
{
    const size_t bytes = image_set_bytes(s->data), fit = CHUNK_BYTES / bytes;
    const int room = fit < 1 ? 1 : fit < CHUNK ? (int)fit : CHUNK;
    uint8_t *images = malloc((size_t)room * bytes);
    int64_t *index = malloc((size_t)room * sizeof *index);
    const ddpm_status status = images && index ? search_chunks(s, room, images, index) : ddpm_fail(DDPM_ENOMEM, "no memory for %d images at once", room);
    free(images);
    free(index);
    return status;
}

/* --- distances ---------------------------------------------------------------------------- */

static void take_distances(queries *q)
{
    for (int i = 0; i < q->n; i++) {
        int found;
        q->sorted[i] = q->distance[i] = sqrt((double)neighbours_of(q->near, (size_t)i, &found)->squared);
    }
    metrics_sort(q->sorted, (size_t)q->n);
}

static double quantile(const queries *q, double share) { return metrics_quantile(q->sorted, (size_t)q->n, share); }

static double share_below(const queries *q, double mark)
{
    int n = 0;
    while (n < q->n && q->sorted[n] < mark) n++;
    return (double)n / q->n;
}

static int copies(const queries *q)
{
    int n = 0;
    while (n < q->n && q->sorted[n] <= 0) n++;
    return n;
}

/* --- the picture ---------------------------------------------------------------------------- */

static ddpm_status fill_cells(session *s, uint8_t *cells)
{
    const size_t bytes = image_set_bytes(s->data);
    for (int r = 0; r < s->rows; r++) {
        int found;
        const neighbour *near = neighbours_of(s->samples.near, (size_t)r, &found);
        uint8_t *row = cells + (size_t)r * (size_t)(s->nearest + 1) * bytes;
        memcpy(row, s->samples.pixels + (size_t)r * bytes, bytes);
        for (int k = 0; k < found; k++) DDPM_TRY(image_set_read(s->data, near[k].index, row + (size_t)(k + 1) * bytes));
    }
    return DDPM_OK;
}

static ddpm_status write_picture(session *s)
{
    const int n = s->rows * (s->nearest + 1), c = image_set_channels(s->data);
    uint8_t *cells = calloc((size_t)n, image_set_bytes(s->data)), *grid = NULL;
    int w, h;
    ddpm_status status = cells ? fill_cells(s, cells) : ddpm_fail(DDPM_ENOMEM, "no memory for the picture");
    if (status == DDPM_OK) status = draw_grid(cells, n, image_set_height(s->data), image_set_width(s->data), c, s->nearest + 1, &grid, &w, &h);
    if (status == DDPM_OK) status = png_write(s->v->output, &(image){ .w = w, .h = h, .c = c, .data = grid }, NULL, 0);
    free(cells);
    free(grid);
    return status;
}

/* --- the histogram ---------------------------------------------------------------------------- */

static void count_bins(const queries *q, double low, double width, double *share)
{
    for (int i = 0; i < q->n; i++) {
        const int bin = width > 0 ? (int)((q->distance[i] - low) / width) : 0;
        share[bin < BINS ? bin : BINS - 1] += 100.0 / q->n;
    }
}

static ddpm_status write_chart(const session *s)
{
    double edge[BINS], share[2][BINS] = { { 0 } };
    const queries *q = &s->samples, *c = s->control.set ? &s->control : q;
    const double low = fmin(q->sorted[0], c->sorted[0]), high = fmax(q->sorted[q->n - 1], c->sorted[c->n - 1]);
    const double width = high > low ? (high - low) / BINS : 1;
    for (int i = 0; i < BINS; i++) edge[i] = low + width * i;
    count_bins(q, low, width, share[0]);
    count_bins(c, low, width, share[1]);
    const chart_series series[2] = { { .name = "samples", .mark = CHART_BARS, .n = BINS, .x = edge, .y = share[0] },
                                     { .name = "control", .mark = CHART_BARS, .n = BINS, .x = edge, .y = share[1] } };
    const chart one = { .title = "Distance to the nearest training image", .x_label = "Euclidean distance of pixels (values 0 to 255)", .y_label = "% of images",
                        .n_series = s->control.set ? 2 : 1, .series = series };
    return chart_write(s->chart, &one, 1, 1);
}

/* --- the result -------------------------------------------------------------------------------- */

static ddpm_status print(const session *s, char **text)
{
    size_t size;
    const queries *q = &s->samples, *c = &s->control;
    FILE *f = open_memstream(text, &size);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the result");
    fprintf(f, "distance to the nearest of %lld images of %s (Euclidean, of pixels from 0 to 255)\n", (long long)s->n_data, image_set_word(s->data));
    fprintf(f, "  %d samples of %s: median %.1f, least %.1f", q->n, image_set_word(q->set), quantile(q, 0.5), q->sorted[0]);
    if (copies(q)) fprintf(f, "; %d are exact copies", copies(q));
    if (c->set) {
        const double mark = quantile(c, NEAR_SHARE);
        fprintf(f, "\n  %d images of %s: median %.1f, least %.1f, 1 %% below %.1f", c->n, image_set_word(c->set), quantile(c, 0.5), c->sorted[0], mark);
        fprintf(f, "\n  %.1f %% of the samples are nearer than that", 100 * share_below(q, mark));
        fprintf(f, q->n >= ENOUGH ? "; copying would show as far more than 1 %%" : "; %d are too few to tell copying from chance", q->n);
    }
    fprintf(f, "\n");
    return fclose(f) == 0 ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the result");
}

static json *describe(const queries *q)
{
    json *o = json_new_object();
    json_put_string(o, "data", image_set_word(q->set));
    json_put_int(o, "images", q->n);
    json_put_real(o, "median", quantile(q, 0.5));
    json_put_real(o, "percentile_1", quantile(q, NEAR_SHARE));
    json_put_real(o, "least", q->sorted[0]);
    json_put_int(o, "copies", copies(q));
    return o;
}

static json *describe_rows(const session *s)
{
    json *rows = json_new_array();
    for (int r = 0; r < s->rows; r++) {
        int found;
        const neighbour *near = neighbours_of(s->samples.near, (size_t)r, &found);
        json *row = json_new_object(), *list = json_new_array();
        for (int k = 0; k < found; k++) {
            json *one = json_new_object();
            json_put_int(one, "index", near[k].index);
            json_put_real(one, "distance", sqrt((double)near[k].squared));
            json_append(list, one);
        }
        json_put_int(row, "sample", s->samples.index[r]);
        json_put(row, "nearest", list);
        json_append(rows, row);
    }
    return rows;
}

static ddpm_status summarise(const session *s, json **summary)
{
    if (!summary) return DDPM_OK;
    const bool control = s->control.set;
    json *o = *summary = json_new_object();
    json_put_string(o, "schema", "ddpm-neighbours-1");
    json_put_string(o, "data", image_set_word(s->data));
    json_put_int(o, "images", s->n_data);
    json_put(o, "samples", describe(&s->samples));
    json_put(o, "control", control ? describe(&s->control) : json_new_null());
    json_put(o, "share_nearer", control ? json_new_real(share_below(&s->samples, quantile(&s->control, NEAR_SHARE))) : json_new_null());
    json_put(o, "rows", describe_rows(s));
    json_put_int(o, "bad_images", s->bad);
    json_put_int(o, "seed", s->v->seed);
    json_put_string(o, "picture", s->v->output);
    json_put_string(o, "chart", s->chart);
    return json_put_real(o, "seconds", clock_now() - s->begin);
}

/* --- the command ----------------------------------------------------------------------------- */

static ddpm_status check_output(session *s)
{
    const char *out = s->v->output;
    const size_t n = strlen(out);
    if (!out[0]) return ddpm_fail(DDPM_EINVAL, "no output; give -o FILE.png");
    if (!file_has_ending(out, ".png")) return ddpm_fail(DDPM_EINVAL, "-o %s: the name must end in .png; the histogram goes beside it, as .svg", out);
    snprintf(s->chart, sizeof s->chart, "%.*s.svg", (int)(n - 4), out);
    DDPM_TRY(file_check_target(out));
    return file_check_target(s->chart);
}

static ddpm_status open_sets(session *s, const char *samples, const char *data)
{
    int w, h;
    DDPM_TRY(image_set_open(samples, s->v->strict, &s->samples.set));
    DDPM_TRY(image_set_open(data, s->v->strict, &s->data));
    DDPM_TRY(image_set_same_size(s->samples.set, s->data));
    if (s->v->control[0]) {
        DDPM_TRY(image_set_open(s->v->control, s->v->strict, &s->control.set));
        DDPM_TRY(image_set_same_size(s->control.set, s->data));
    }
    const int64_t all = image_set_count(s->data);
    s->nearest = s->v->nearest < all ? s->v->nearest : (int)all;
    return draw_grid_size(s->v->rows * (s->nearest + 1), image_set_height(s->data), image_set_width(s->data), s->nearest + 1, &w, &h);
}

static ddpm_status prepare(session *s, const char *samples, const char *data, int64_t asked)
{
    char text[512];
    DDPM_TRY(check_output(s));
    DDPM_TRY(open_sets(s, samples, data));
    DDPM_TRY(read_queries(s, &s->samples, asked));
    s->rows = s->v->rows < s->samples.n ? s->v->rows : s->samples.n;
    if (s->control.set) DDPM_TRY(read_queries(s, &s->control, s->samples.n > DEFAULT_SAMPLES ? s->samples.n : DEFAULT_SAMPLES));
    else tool_message(s->ev, "without --control there is nothing to compare the distances with; give images like the training images, such as DATA:test");
    image_set_describe(s->data, text, sizeof text);
    tool_message(s->ev, "%d images of %s; %s: %s", s->samples.n, samples, data, text);
    return pool_new(s->v->threads ? s->v->threads : pool_default_threads(), &s->threads);
}

static void free_queries(queries *q)
{
    neighbours_free(q->near);
    image_set_close(q->set);
    free(q->pixels);
    free(q->index);
    free(q->distance);
    free(q->sorted);
}

ddpm_status tool_neighbours(settings *request, const char *samples, const char *data, const tool_events *ev, char **text, json **summary)
{
    session s = { .v = &request->v, .ev = ev, .begin = clock_now() };
    const bool some = settings_origin(request, "num_samples") > ORIGIN_DEFAULT;
    ddpm_status status = prepare(&s, samples, data, some ? request->v.num_samples : DEFAULT_SAMPLES);
    if (status == DDPM_OK) status = search(&s);
    if (status == DDPM_OK) take_distances(&s.samples);
    if (status == DDPM_OK && s.control.set) take_distances(&s.control);
    if (status == DDPM_OK) status = write_picture(&s);
    if (status == DDPM_OK) status = write_chart(&s);
    if (status == DDPM_OK) tool_message(ev, "picture %s, histogram %s", s.v->output, s.chart);
    if (status == DDPM_OK) status = print(&s, text);
    if (status == DDPM_OK) status = summarise(&s, summary);
    free_queries(&s.samples);
    free_queries(&s.control);
    image_set_close(s.data);
    pool_free(s.threads);
    return status;
}
