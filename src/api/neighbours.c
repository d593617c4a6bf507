#include "api/eval_parts.h"
#include "api/near_images.h"
#include "base/clock.h"
#include "io/chart.h"
#include "io/file.h"
#include "io/sheet.h"
#include "io/svg_png.h"
#include "metrics/bootstrap.h"
#include "train/draw.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 4096, CHUNK_BYTES = 64 << 20, DEFAULT_SAMPLES = 1000, ENOUGH = 100, BINS = 50, NUMBER_SIZE = 24 };
#define NEAR_SHARE 0.01          /* of the control lies nearer than the mark */

/* One set of queries and what is found for it. */
typedef struct {
    image_set  *set;
    int         n;
    uint8_t    *pixels;          /* [n,bytes]                                */
    int64_t    *index;           /* [n] numbers in the set                   */
    near_queries near;
    double     *distance;        /* [n] to the nearest image, in order of n  */
    double     *sorted;          /* [n] the same by size                     */
} queries;

typedef struct {
    settings  *request;
    const settings_values *v;
    const tool_events *ev;
    near_space space;
    image_set *data;
    queries    samples, control; /* control.set NULL: none                   */
    int        rows, nearest;    /* of the picture                           */
    int64_t    bad, n_data;
    bool       words;            /* of the picture: librsvg is there         */
    char       chart[OPTION_STRING_SIZE + 16];
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
    return near_queries_new(&s->space, q->pixels, q->n, q == &s->samples ? s->nearest : 1, &q->near);
}

static ddpm_status search_some(void *ctx, const uint8_t *images, const int64_t *index, int n)
{
    session *s = ctx;
    near_queries *both[] = { &s->samples.near, &s->control.near };
    s->n_data += n;
    return near_space_add(&s->space, both, s->control.set ? 2 : 1, images, index, n);
}

static ddpm_status search(session *s)
{
    const size_t fit = CHUNK_BYTES / image_set_bytes(s->data);
    const int room = fit < 1 ? 1 : fit < CHUNK ? (int)fit : CHUNK;
    const eval_session how = { .v = s->v, .ev = s->ev, .threads = s->space.e.threads, .begin = s->begin };
    image_walk w = { .count = image_set_count(s->data), .strict = s->v->strict };
    DDPM_TRY(eval_walk(&how, s->data, &w, room, "search", search_some, s));
    s->bad += w.bad;
    return s->n_data ? DDPM_OK : ddpm_context(DDPM_EFORMAT, "none of the images of %s can be read; the last: ", image_set_word(s->data));
}

/* --- distances ---------------------------------------------------------------------------- */

static void take_distances(queries *q)
{
    for (int i = 0; i < q->n; i++) {
        near_image nearest = { 0 };
        near_queries_of(&q->near, i, 0, &nearest);
        q->sorted[i] = q->distance[i] = nearest.distance;
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

/* Pixel distances are of the hundreds, those of features of any size. */
static void number(const session *s, double v, char text[NUMBER_SIZE])
{
    snprintf(text, NUMBER_SIZE, s->space.space ? "%.4g" : "%.1f", v);
}

/* --- the picture ---------------------------------------------------------------------------- */

/* A sample, then the images nearest to it. */
typedef struct { sheet_row *row; char (*text)[2][NUMBER_SIZE]; uint8_t *cells; } picture;

static size_t row_bytes(const session *s) { return (size_t)(s->nearest + 1) * image_set_bytes(s->data); }

static ddpm_status picture_new(const session *s, picture *p)
{
    const size_t rows = (size_t)s->rows;
    *p = (picture){ calloc(rows, sizeof *p->row), calloc(rows, sizeof *p->text), calloc(rows, row_bytes(s)) };
    return p->row && p->text && p->cells ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the picture");
}

static void picture_free(picture *p)
{
    free(p->row);
    free(p->text);
    free(p->cells);
}

static ddpm_status fill_rows(session *s, picture *p)
{
    const size_t bytes = image_set_bytes(s->data);
    near_image near;
    for (int r = 0; r < s->rows; r++) {
        uint8_t *cells = p->cells + (size_t)r * row_bytes(s);
        int found = 0;
        memcpy(cells, s->samples.pixels + (size_t)r * bytes, bytes);
        for (; found < s->nearest && near_queries_of(&s->samples.near, r, found, &near); found++)
            DDPM_TRY(image_set_read(s->data, near.index, cells + (size_t)(found + 1) * bytes));
        snprintf(p->text[r][0], NUMBER_SIZE, "%lld", (long long)s->samples.index[r]);
        number(s, s->samples.distance[r], p->text[r][1]);
        p->row[r] = (sheet_row){ p->text[r][0], p->text[r][1], found + 1, cells };
    }
    return DDPM_OK;
}

static sheet sheet_of(const session *s, const sheet_part *part)
{
    return (sheet){ image_set_height(s->data), image_set_width(s->data), image_set_channels(s->data), 1, part };
}

/* The same images without words. */
static ddpm_status write_grid(const session *s, const uint8_t *cells)
{
    image im = { .c = image_set_channels(s->data) };
    DDPM_TRY(draw_grid(cells, s->rows * (s->nearest + 1), image_set_height(s->data), image_set_width(s->data), im.c, s->nearest + 1, &im.data, &im.w, &im.h));
    const ddpm_status status = png_write(s->v->output, &im, NULL, 0);
    free(im.data);
    return status;
}

static ddpm_status write_words(const session *s, const picture *p)
{
    char title[160];
    snprintf(title, sizeof title, "Nearest by %s", s->space.space ? near_space_name(&s->space) : "pixels");
    const sheet_part part = { .title = title, .head = "sample, its nearest training images, distance to the first", .lead = 1, .n_rows = s->rows, .row = p->row };
    const sheet one = sheet_of(s, &part);
    return sheet_write(s->v->output, &one, NULL, 0);
}

static ddpm_status write_picture(session *s)
{
    picture p;
    ddpm_status status = picture_new(s, &p);
    if (status == DDPM_OK) status = fill_rows(s, &p);
    if (status == DDPM_OK) status = s->words ? write_words(s, &p) : write_grid(s, p.cells);
    picture_free(&p);
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
    char words[128], label[160];
    near_space_words(&s->space, words, sizeof words);
    snprintf(label, sizeof label, "Euclidean distance of %s", words);
    const chart one = { .title = "Distance to the nearest training image", .x_label = label, .y_label = "% of images",
                        .n_series = s->control.set ? 2 : 1, .series = series };
    return chart_write(s->chart, &one, 1, 1);
}

/* --- the result -------------------------------------------------------------------------------- */

static void print_set(FILE *f, const session *s, const queries *q, const char *of)
{
    char median[NUMBER_SIZE], least[NUMBER_SIZE];
    number(s, quantile(q, 0.5), median);
    number(s, q->sorted[0], least);
    fprintf(f, "  %d %s %s: median %s, least %s", q->n, of, image_set_word(q->set), median, least);
}

static ddpm_status print(const session *s, char **text)
{
    size_t size;
    char words[128], near[NUMBER_SIZE];
    const queries *q = &s->samples, *c = &s->control;
    FILE *f = open_memstream(text, &size);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the result");
    near_space_words(&s->space, words, sizeof words);
    fprintf(f, "distance to the nearest of %lld images of %s (Euclidean, of %s)\n", (long long)s->n_data, image_set_word(s->data), words);
    if (image_set_fitted(s->data)) fprintf(f, "  images are fitted to %dx%dx%d\n", image_set_height(s->data), image_set_width(s->data), image_set_channels(s->data));
    print_set(f, s, q, "samples of");
    if (copies(q)) fprintf(f, "; %d are %s", copies(q), s->space.space ? "at distance 0" : "exact copies");
    if (c->set) {
        const double mark = quantile(c, NEAR_SHARE);
        fputc('\n', f);
        print_set(f, s, c, "images of");
        number(s, mark, near);
        fprintf(f, ", 1 %% below %s\n  %.1f %% of the samples are nearer than that", near, 100 * share_below(q, mark));
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
        near_image near;
        json *row = json_new_object(), *list = json_new_array();
        for (int k = 0; near_queries_of(&s->samples.near, r, k, &near); k++) {
            json *one = json_new_object();
            json_put_int(one, "index", near.index);
            json_put_real(one, "distance", near.distance);
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
    json_put_string(o, "features", near_space_name(&s->space));
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
    snprintf(s->chart, sizeof s->chart, "%.*s%s", (int)(n - 4), out, s->v->charts == CHARTS_PNG ? "-histogram.png" : ".svg");
    s->words = svg_can_draw() == DDPM_OK;
    DDPM_TRY(file_check_target(out));
    return svg_check_target(s->chart);
}

/* Words and enlarged images take room too. */
static ddpm_status check_words(const session *s)
{
    int w, h;
    sheet_row *rows = calloc((size_t)s->v->rows, sizeof *rows);
    if (!rows) return ddpm_fail(DDPM_ENOMEM, "no memory for %d rows", s->v->rows);
    for (int r = 0; r < s->v->rows; r++) rows[r].n = s->nearest + 1;
    const sheet_part part = { .lead = 1, .n_rows = s->v->rows, .row = rows };
    const sheet one = sheet_of(s, &part);
    const ddpm_status status = s->words ? sheet_size(&one, &w, &h) : DDPM_OK;
    free(rows);
    return status;
}

static ddpm_status open_sets(session *s, const char *samples, const char *data)
{
    int w, h;
    DDPM_TRY(eval_open_images(samples, s->request, &s->samples.set));
    DDPM_TRY(eval_open_images(data, s->request, &s->data));
    DDPM_TRY(image_set_same_size(s->samples.set, s->data));
    if (s->v->control[0]) {
        DDPM_TRY(eval_open_images(s->v->control, s->request, &s->control.set));
        DDPM_TRY(image_set_same_size(s->control.set, s->data));
    }
    const int64_t all = image_set_count(s->data);
    s->nearest = s->v->nearest < all ? s->v->nearest : (int)all;
    DDPM_TRY(draw_grid_size(s->v->rows * (s->nearest + 1), image_set_height(s->data), image_set_width(s->data), s->nearest + 1, &w, &h));
    return check_words(s);
}

static ddpm_status prepare(session *s, const char *samples, const char *data, int64_t asked)
{
    char text[512];
    int64_t fitted_bad;              /* the search meets them again */
    DDPM_TRY(check_output(s));
    DDPM_TRY(open_sets(s, samples, data));
    if (!s->words) tool_message(s->ev, "without librsvg the picture has no words (Debian: apt-get install librsvg2-2 fonts-dejavu-core)");
    if (settings_origin(s->request, "features") <= ORIGIN_DEFAULT) DDPM_TRY(settings_set(s->request, "features", "raw", ORIGIN_CONFIG));
    DDPM_TRY(near_space_open(s->request, s->data, s->ev, &s->space, &fitted_bad));
    DDPM_TRY(read_queries(s, &s->samples, asked));
    s->rows = s->v->rows < s->samples.n ? s->v->rows : s->samples.n;
    if (s->control.set) DDPM_TRY(read_queries(s, &s->control, s->samples.n > DEFAULT_SAMPLES ? s->samples.n : DEFAULT_SAMPLES));
    else tool_message(s->ev, "without --control there is nothing to compare the distances with; give images like the training images, such as DATA:test");
    image_set_describe(s->data, text, sizeof text);
    tool_message(s->ev, "%d images of %s; %s: %s", s->samples.n, samples, data, text);
    return DDPM_OK;
}

static void free_queries(queries *q)
{
    near_queries_free(&q->near);
    image_set_close(q->set);
    free(q->pixels);
    free(q->index);
    free(q->distance);
    free(q->sorted);
}

ddpm_status tool_neighbours(settings *request, const char *samples, const char *data, const tool_events *ev, char **text, json **summary)
{
    session s = { .request = request, .v = &request->v, .ev = ev, .begin = clock_now() };
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
    near_space_close(&s.space);
    return status;
}
