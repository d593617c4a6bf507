#include "api/eval_features.h"
#include "api/eval_metrics.h"
#include "api/features.h"
#include "api/image_set.h"
#include "api/measure.h"
#include "api/statistics.h"
#include "api/tool.h"
#include "io/file.h"
#include "metrics/frechet.h"
#include "metrics/pca.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1024, TASK = 64, MAX_COMPONENTS = 2048, MAX_PIXELS = 12288, SLOW_DIMS = 1500 };

/* Everything one `ddpm eval` holds. */
typedef struct {
    eval_session s;
    image_set  *samples, *reference, *other;      /* other: --fit_data, or NULL                  */
    const char *reference_word;
    bool        features_given, bootstrap_given;
    bool        raw;                              /* the pixels are the features; there is no map */
    unsigned    wanted;
    statistics  stored;                           /* REFERENCE is such a file: its map is `p`; else empty */
    size_t      k, dims;
    char        name[32];                         /* "raw", "pca8": of the features in use        */
    pca         p;
    moments    *pixels, *of_samples, *of_reference;
    double     *features;                         /* [n_samples,k]                               */
    double     *reference_features;               /* [n_reference,k], where a metric needs rows, or NULL */
    int64_t     n_samples, n_reference, n_fit, bad;
    frechet_result     result;
    bool               resampled;
    bootstrap_interval interval;                  /* of v->bootstrap replicates, if resampled     */
    eval_metrics       metrics;                   /* the others of `wanted`                       */
} eval;

/* --- what is asked for ----------------------------------------------------------------- */

static ddpm_status parse_features(eval *e)
{
    const char *text = e->s.v->features;
    char *end = NULL;
    e->raw = !strcmp(text, "raw");
    if (e->raw) return DDPM_OK;
    const bool known = !strncmp(text, "pca", 3) && text[3] >= '1' && text[3] <= '9';
    const long k = known ? strtol(text + 3, &end, 10) : 0;
    if (!known || *end || k > MAX_COMPONENTS)
        return ddpm_fail(DDPM_EINVAL, "--features %s: there are raw, the pixels, and pcaK, their first K principal components, with K from 1 to %d (pca64)",
                         text, MAX_COMPONENTS);
    e->k = (size_t)k;
    return DDPM_OK;
}

static ddpm_status parse_metrics(eval *e)
{
    DDPM_TRY(eval_metrics_parse(e->s.v->metrics, &e->wanted));
    if (!e->wanted) e->wanted = METRIC_FD;
    if (e->wanted & METRIC_IS) return ddpm_fail(DDPM_EINVAL, "--metrics is needs logits of a classifier: give a file that holds them (features, logits) as SAMPLES");
    if (e->raw && (e->s.v->save_stats[0] || e->s.v->fit_data[0]))
        return ddpm_fail(DDPM_EINVAL, "--save_stats and --fit_data are of the axes of --features pcaK; raw pixels have none");
    return DDPM_OK;
}

/* Rows are kept, beside their moments, for these. */
static bool wants_rows(const eval *e) { return e->wanted & (METRIC_KID | METRIC_PR | METRIC_DC); }

/* REFERENCE is statistics of ours; its axes are the features. */
static ddpm_status open_stored(eval *e, const char *path)
{
    const image_set *s = e->samples;
    DDPM_TRY(statistics_read(path, false, &e->stored));
    const pca *map = &e->stored.map;
    if (!map->axes)
        return ddpm_fail(DDPM_EINVAL, "%s holds statistics of %zu features of another program, which cannot be computed from the images of %s here; "
                         "give statistics for both, or images for both", path, e->stored.dims, image_set_word(s));
    if (image_set_height(s) != e->stored.h || image_set_width(s) != e->stored.w || image_set_channels(s) != e->stored.c)
        return ddpm_fail(DDPM_EINVAL, "%s is of images of %dx%dx%d, those of %s are %dx%dx%d", path, e->stored.h, e->stored.w, e->stored.c, image_set_word(s),
                         image_set_height(s), image_set_width(s), image_set_channels(s));
    if (e->s.v->fit_data[0] || e->s.v->save_stats[0]) return ddpm_fail(DDPM_EINVAL, "%s has its axes already; --fit_data and --save_stats need images as REFERENCE", path);
    if (e->wanted != METRIC_FD) return ddpm_fail(DDPM_EINVAL, "%s holds mean and covariance alone: only --metrics fd can be measured against it", path);
    if (e->raw) return ddpm_fail(DDPM_EINVAL, "%s holds %zu principal components, not pixels as --features raw asks", path, e->stored.dims);
    if (e->k != e->stored.dims && e->features_given)
        return ddpm_fail(DDPM_EINVAL, "%s holds %zu principal components, --features %s asks for %zu", path, e->stored.dims, e->s.v->features, e->k);
    if (image_set_count(s) < 2) return ddpm_fail(DDPM_EINVAL, "%s has a single image; a covariance needs at least 2", image_set_word(s));
    e->k = e->stored.dims;
    e->dims = map->dims;
    e->n_reference = e->stored.count;
    e->n_fit = e->stored.fitted;
    e->p = *map;
    e->stored.map = (pca){ 0 };
    return DDPM_OK;
}

static ddpm_status open_sets(eval *e, const char *samples, const char *reference)
{
    DDPM_TRY(image_set_open(samples, e->s.v->strict, &e->samples));
    if (statistics_is(reference)) return open_stored(e, reference);
    DDPM_TRY(image_set_open(reference, e->s.v->strict, &e->reference));
    DDPM_TRY(image_set_same_size(e->samples, e->reference));
    if (e->s.v->fit_data[0]) {
        DDPM_TRY(image_set_open(e->s.v->fit_data, e->s.v->strict, &e->other));
        DDPM_TRY(image_set_same_size(e->other, e->reference));
    }
    const image_set *two[] = { e->samples, e->reference };
    for (int i = 0; i < 2; i++)
        if (image_set_count(two[i]) < 2) return ddpm_fail(DDPM_EINVAL, "%s has a single image; a covariance needs at least 2", image_set_word(two[i]));
    e->dims = image_set_bytes(e->samples);
    if (e->dims > MAX_PIXELS)
        return ddpm_fail(DDPM_EINVAL, "%s: %zu values in an image; the covariance of pixels is computed for at most %d (64x64x3)", samples, e->dims, MAX_PIXELS);
    if (e->raw) e->k = e->dims;
    if (e->k > e->dims)
        return ddpm_fail(DDPM_EINVAL, "--features %s: an image of %s has only %zu values", e->s.v->features, samples, e->dims);
    return DDPM_OK;
}

/* --- images by the chunk -------------------------------------------------------------------- */

typedef struct chunk {
    eval    *e;
    uint8_t *images;                              /* [CHUNK,dims]                          */
    double  *rows;                                /* [CHUNK,dims] v / 127.5 - 1            */
    double  *out;                                 /* [CHUNK,k]                             */
    int      n;
    ddpm_status failed[CHUNK / TASK];
} chunk;

typedef ddpm_status (*chunk_fn)(chunk *c);

static ddpm_status chunk_new(eval *e, chunk *c)
{
    *c = (chunk){ .e = e, .images = malloc(CHUNK * e->dims), .rows = malloc(CHUNK * e->dims * sizeof *c->rows), .out = malloc(CHUNK * e->k * sizeof *c->out) };
    return c->images && c->rows && c->out ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for %d images at once", CHUNK);
}

static void chunk_free(chunk *c)
{
    free(c->images);
    free(c->rows);
    free(c->out);
}

/* TASK images to values, and to features once there are axes. */
static void convert(void *ctx, int task, int worker)
{
    (void)worker;
    chunk *c = ctx;
    const size_t first = (size_t)task * TASK, dims = c->e->dims, n = (size_t)c->n - first < TASK ? (size_t)c->n - first : TASK;
    double *rows = c->rows + first * dims;
    for (size_t i = 0; i < n * dims; i++) rows[i] = c->images[first * dims + i] / 127.5 - 1;
    if (c->e->raw) memcpy(c->out + first * dims, rows, n * dims * sizeof *rows);
    c->failed[task] = c->e->p.axes ? pca_project(&c->e->p, rows, n, c->out + first * c->e->k) : DDPM_OK;
}

/* `count` images of `set`, a chunk at a time, to `fn`. */
static ddpm_status walk_chunks(chunk *c, image_set *set, image_walk *w, const char *what, chunk_fn fn)
{
    const double begin = clock_now();
    while (w->next < w->count) {
        const int64_t before = w->next;
        DDPM_TRY(eval_stopped(&c->e->s));
        DDPM_TRY(image_set_next(set, w, CHUNK, c->images, NULL, &c->n));
        const int tasks = (c->n + TASK - 1) / TASK;
        pool_run(c->e->s.threads, tasks, convert, c);
        for (int i = 0; i < tasks; i++)
            if (c->failed[i] != DDPM_OK) return ddpm_fail(c->failed[i], "no memory for the features of %d images", TASK);
        DDPM_TRY(fn(c));
        eval_progress(&c->e->s, what, "images", before, w->next, w->count, begin);
    }
    return DDPM_OK;
}

static ddpm_status walk(eval *e, image_set *set, int64_t count, uint64_t seed, const char *what, chunk_fn fn)
{
    chunk c;
    image_walk w = { .seed = seed, .count = count < image_set_count(set) ? count : image_set_count(set), .strict = e->s.v->strict };
    ddpm_status status = chunk_new(e, &c);
    if (status == DDPM_OK) status = walk_chunks(&c, set, &w, what, fn);
    chunk_free(&c);
    e->bad += w.bad;
    return status;
}

/* --- features ------------------------------------------------------------------------------- */

static ddpm_status add_pixels(chunk *c)
{
    moments_add(c->e->pixels, c->rows, (size_t)c->n);
    c->e->n_fit += c->n;
    return DDPM_OK;
}

static ddpm_status add_reference(chunk *c)
{
    eval *e = c->e;
    if (e->wanted & METRIC_FD) moments_add(e->of_reference, c->out, (size_t)c->n);
    if (e->reference_features) memcpy(e->reference_features + (size_t)e->n_reference * e->k, c->out, (size_t)c->n * e->k * sizeof *c->out);
    e->n_reference += c->n;
    return DDPM_OK;
}

static ddpm_status add_samples(chunk *c)
{
    eval *e = c->e;
    if (e->wanted & METRIC_FD) moments_add(e->of_samples, c->out, (size_t)c->n);
    memcpy(e->features + (size_t)e->n_samples * e->k, c->out, (size_t)c->n * e->k * sizeof *c->out);
    e->n_samples += c->n;
    return DDPM_OK;
}

/* The axes depend on the images they are fitted to and on nothing else, so that results of other seeds have the same axes. */
static ddpm_status fit(eval *e)
{
    image_set *from = e->other ? e->other : e->reference;
    DDPM_TRY(moments_new(e->dims, e->s.threads, &e->pixels));
    DDPM_TRY(walk(e, from, e->s.v->fit_count, 0, "principal components", add_pixels));
    if (e->dims > SLOW_DIMS) tool_message(e->s.ev, "axes of %zu dimensions: this takes a while and cannot be interrupted", e->dims);
    const ddpm_status status = pca_fit(e->pixels, e->k, &e->p);
    moments_free(e->pixels);
    e->pixels = NULL;
    return status == DDPM_OK ? status : ddpm_context(status, "--features %s, fitted to %lld images of %s: ", e->s.v->features, (long long)e->n_fit, image_set_word(from));
}

static ddpm_status reserve(eval *e, int64_t count)
{
    e->features = calloc((size_t)count, e->k * sizeof *e->features);
    if (wants_rows(e)) e->reference_features = calloc((size_t)image_set_count(e->reference), e->k * sizeof *e->features);
    if (!e->features || (wants_rows(e) && !e->reference_features))
        return ddpm_fail(DDPM_ENOMEM, "no memory for the features of %lld images; -n measures fewer", (long long)count);
    if (!(e->wanted & METRIC_FD)) return DDPM_OK;
    DDPM_TRY(moments_new(e->k, e->raw ? e->s.threads : NULL, &e->of_samples));
    return moments_new(e->k, e->raw ? e->s.threads : NULL, &e->of_reference);
}

static ddpm_status extract(eval *e, int64_t asked)
{
    const int64_t all = image_set_count(e->samples), count = asked < all ? asked : all;
    const size_t dims = e->wanted & METRIC_FD ? e->k : 0;              /* only the covariance minds */
    DDPM_TRY(reserve(e, count));
    if (e->reference) DDPM_TRY(walk(e, e->reference, INT64_MAX, 0, "reference", add_reference));
    DDPM_TRY(walk(e, e->samples, asked, (uint64_t)e->s.v->seed, "samples", add_samples));
    DDPM_TRY(eval_check_number(&e->s, image_set_word(e->samples), e->n_samples, dims, "images"));
    return eval_check_number(&e->s, e->reference_word, e->n_reference, dims, "images");
}

/* --- the distance --------------------------------------------------------------------------- */

static ddpm_status save(const eval *e, double *mean, double *covariance)
{
    if (!e->s.v->save_stats[0]) return DDPM_OK;
    const statistics s = { .dims = e->k, .mean = mean, .covariance = covariance, .map = e->p, .h = image_set_height(e->samples), .w = image_set_width(e->samples),
                           .c = image_set_channels(e->samples), .count = e->n_reference, .fitted = e->n_fit };
    DDPM_TRY(statistics_write(e->s.v->save_stats, &s));
    tool_message(e->s.ev, "wrote the statistics of %s to %s", e->reference_word, e->s.v->save_stats);
    return DDPM_OK;
}

static ddpm_status make_target(eval *e, double *mean, double *covariance, frechet_target **reference)
{
    if (!e->reference) return frechet_target_new(e->k, e->stored.mean, e->stored.covariance, reference);
    DDPM_TRY(moments_read(e->of_reference, mean, covariance));
    DDPM_TRY(save(e, mean, covariance));
    return frechet_target_new(e->k, mean, covariance, reference);
}

static ddpm_status compare(eval *e, double *mean, double *covariance)
{
    frechet_target *reference = NULL;
    DDPM_TRY(make_target(e, mean, covariance, &reference));
    ddpm_status status = moments_read(e->of_samples, mean, covariance);
    if (status == DDPM_OK) status = frechet_distance(reference, mean, covariance, &e->result);
    e->resampled = e->s.v->bootstrap && (e->bootstrap_given || e->k <= EVAL_INTERVAL_DIMS);
    if (status == DDPM_OK && e->resampled)
        status = eval_resample(&e->s, e->features, (size_t)e->n_samples, e->k, reference, e->result.distance, &e->interval);
    frechet_target_free(reference);
    return status;
}

static ddpm_status measure_frechet(eval *e)
{
    double *mean = calloc(e->k, sizeof *mean), *covariance = calloc(e->k * e->k, sizeof *covariance);
    const ddpm_status status = mean && covariance ? compare(e, mean, covariance) : ddpm_fail(DDPM_ENOMEM, "no memory for the covariance of %zu features", e->k);
    free(mean);
    free(covariance);
    return status;
}

static ddpm_status measure(eval *e)
{
    const metric_rows samples = { e->features, (size_t)e->n_samples, e->k, true }, reference = { e->reference_features, (size_t)e->n_reference, e->k, true };
    const eval_rows rows = { &samples, &reference, NULL };
    DDPM_TRY(eval_metrics_prepare(&e->s, &rows, e->wanted, &e->metrics));
    if (e->wanted & METRIC_FD) DDPM_TRY(measure_frechet(e));
    return eval_metrics_measure(&e->s, &rows, &e->metrics);
}

/* --- the result --------------------------------------------------------------------------------- */

static double share_of_variance(const eval *e)
{
    double sum = 0;
    if (e->raw) return 1;
    for (size_t i = 0; i < e->k; i++) sum += e->p.variance[i];
    return e->p.total > 0 ? sum / e->p.total : 1;
}

static const char *fitted_to(const eval *e) { return e->other ? image_set_word(e->other) : e->reference_word; }

static void print_frechet(const eval *e, FILE *f)
{
    fprintf(f, "Frechet distance %.4f", e->result.distance);
    if (e->resampled) fprintf(f, ", 95 %% interval %.4f to %.4f", e->interval.low, e->interval.high);
    fprintf(f, " in %s: lower is closer, 0 is equal\n", e->name);
    fprintf(f, "  of this %.4f is the distance of the means", e->result.of_means);
    if (e->resampled) {
        fprintf(f, "; about %.4f is owed to there being only %lld samples.\n", e->interval.bias, (long long)e->n_samples);
        fprintf(f, "  The interval (%d resampled sets) is that of other sets of so many samples, for this reference", e->s.v->bootstrap);
    }
    fprintf(f, ".\n");
    eval_print_clamped(f, &e->result, (size_t)(e->n_samples < e->n_reference ? e->n_samples : e->n_reference), e->k);
}

static void print_features(const eval *e, FILE *f)
{
    const int h = image_set_height(e->samples), w = image_set_width(e->samples), c = image_set_channels(e->samples);
    if (e->raw) {
        fprintf(f, "  features  the %dx%dx%d pixels in [-1,1]\n", h, w, c);
        return;
    }
    fprintf(f, "  features  the first %zu principal components of %dx%dx%d pixels in [-1,1], fitted to %lld images of %s;\n", e->k, h, w, c,
            (long long)e->n_fit, fitted_to(e));
    fprintf(f, "            they hold %.1f %% of those images' variance\n", 100 * share_of_variance(e));
}

static ddpm_status print(const eval *e, char **text)
{
    size_t size;
    FILE *f = open_memstream(text, &size);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the result");
    if (e->wanted & METRIC_FD) print_frechet(e, f);
    eval_metrics_print(&e->metrics, f);
    fprintf(f, "  samples   %lld images of %s\n", (long long)e->n_samples, image_set_word(e->samples));
    fprintf(f, "  reference %lld images of %s\n", (long long)e->n_reference, e->reference_word);
    print_features(e, f);
    fprintf(f, "  This is not an FID: pixels and their principal components see layout and contrast, not what an image shows.\n"
               "  Compare it only with values of the same features and similar numbers of images.\n");
    return fclose(f) == 0 ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the result");
}

static void put_frechet(const eval *e, json *o)
{
    const bool have = e->wanted & METRIC_FD;
    char key[64];
    snprintf(key, sizeof key, "frechet_%s", e->name);
    if (have) json_put_real(o, key, e->result.distance);
    eval_put_interval(o, "interval", (metric_interval){ e->resampled ? e->interval.low : NAN, e->resampled ? e->interval.high : NAN });
    json_put_real(o, "level", EVAL_LEVEL);
    json_put_int(o, "bootstrap", e->resampled ? e->s.v->bootstrap : 0);
    json_put_real(o, "standard_error", e->resampled ? e->interval.deviation : NAN);
    json_put_real(o, "bias", e->resampled ? e->interval.bias : NAN);
    json_put_real(o, "of_means", have ? e->result.of_means : NAN);
    json_put_real(o, "clamped", have ? e->result.clamped : NAN);
}

static ddpm_status summarise(const eval *e, json **summary)
{
    if (!summary) return DDPM_OK;
    json *o = *summary = json_new_object();
    json_put_string(o, "schema", "ddpm-eval-1");
    json_put_string(o, "samples", image_set_word(e->samples));
    json_put_string(o, "reference", e->reference_word);
    json_put_string(o, "features", e->name);
    put_frechet(e, o);
    eval_metrics_put(&e->metrics, o);
    json_put_int(o, "n_samples", e->n_samples);
    json_put_int(o, "n_reference", e->n_reference);
    json_put_int(o, "n_fit", e->n_fit);
    json_put_int(o, "bad_images", e->bad);
    json_put(o, "fit_data", e->raw ? json_new_null() : json_new_string(fitted_to(e)));
    json_put_real(o, "variance_share", share_of_variance(e));
    json_put_int(o, "seed", e->s.v->seed);
    eval_put_warnings(&e->s, o);
    json_put_string(o, "note", e->raw ? "not an FID: pixels" : "not an FID: principal components of the pixels");
    return json_put_real(o, "seconds", clock_now() - e->s.begin);
}

static void close_eval(eval *e)
{
    moments_free(e->pixels);
    moments_free(e->of_samples);
    moments_free(e->of_reference);
    pca_free(&e->p);
    statistics_free(&e->stored);
    free(e->features);
    free(e->reference_features);
    image_set_close(e->samples);
    image_set_close(e->reference);
    image_set_close(e->other);
    pool_free(e->s.threads);
}

static ddpm_status prepare(eval *e, const char *samples, const char *reference)
{
    char text[2][512];
    DDPM_TRY(parse_features(e));
    DDPM_TRY(parse_metrics(e));
    DDPM_TRY(eval_check_replicates(&e->s));
    if (e->s.v->save_stats[0]) DDPM_TRY(file_check_target(e->s.v->save_stats));
    DDPM_TRY(open_sets(e, samples, reference));
    if (e->raw) snprintf(e->name, sizeof e->name, "raw");
    else snprintf(e->name, sizeof e->name, "pca%zu", e->k);
    image_set_describe(e->samples, text[0], sizeof text[0]);
    if (e->reference) image_set_describe(e->reference, text[1], sizeof text[1]);
    else snprintf(text[1], sizeof text[1], "statistics of %lld images", (long long)e->stored.count);
    tool_message(e->s.ev, "samples %s: %s; reference %s: %s", samples, text[0], reference, text[1]);
    return pool_new(e->s.v->threads ? e->s.v->threads : pool_default_threads(), &e->s.threads);
}

static ddpm_status compare_statistics(const settings *request, const char *samples, const char *reference, char **text, json **summary)
{
    unsigned wanted;
    DDPM_TRY(eval_metrics_parse(request->v.metrics, &wanted));
    if (wanted & ~(unsigned)METRIC_FD) return ddpm_fail(DDPM_EINVAL, "%s holds mean and covariance alone: only --metrics fd can be measured", samples);
    return statistics_compare(samples, reference, text, summary);
}

ddpm_status tool_eval(settings *request, const char *samples, const char *reference, const tool_events *ev, char **text, json **summary)
{
    if (features_is(samples) || features_is(reference)) return eval_features(request, samples, reference, ev, text, summary);
    if (statistics_is(samples)) return compare_statistics(request, samples, reference, text, summary);
    eval e = { .s = { .v = &request->v, .ev = ev, .begin = clock_now() }, .reference_word = reference,
               .features_given = settings_origin(request, "features") > ORIGIN_DEFAULT, .bootstrap_given = settings_origin(request, "bootstrap") > ORIGIN_DEFAULT };
    const bool some = settings_origin(request, "num_samples") > ORIGIN_DEFAULT;
    ddpm_status status = prepare(&e, samples, reference);
    if (status == DDPM_OK && e.reference && !e.raw) status = fit(&e);
    if (status == DDPM_OK) status = extract(&e, some ? request->v.num_samples : INT64_MAX);
    if (status == DDPM_OK) status = measure(&e);
    if (status == DDPM_OK) status = print(&e, text);
    if (status == DDPM_OK) status = summarise(&e, summary);
    close_eval(&e);
    return status;
}
