#include "api/image_set.h"
#include "api/measure.h"
#include "api/tool.h"
#include "base/pool.h"
#include "metrics/bootstrap.h"
#include "metrics/frechet.h"
#include "metrics/pca.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1024, TASK = 64, MAX_COMPONENTS = 2048, MAX_PIXELS = 12288, MIN_REPLICATES = 40, MAX_WARNINGS = 4, SLOW_DIMS = 1500 };
#define LEVEL 0.95

/* Everything one `ddpm eval` holds. */
typedef struct {
    const settings_values *v;
    const tool_events *ev;
    pool       *threads;
    image_set  *samples, *reference, *other;      /* other: --fit_data, or NULL                  */
    size_t      k, dims;
    pca         p;
    moments    *pixels, *of_samples, *of_reference;
    double     *features;                         /* [n_samples,k]                               */
    int64_t     n_samples, n_reference, n_fit, bad;
    frechet_result     result;
    bootstrap_interval interval;                  /* of v->bootstrap replicates, when that is > 0 */
    char        warnings[MAX_WARNINGS][256];
    int         n_warnings;
    double      begin;
} eval;

/* --- what is asked for ----------------------------------------------------------------- */

static ddpm_status parse_features(eval *e)
{
    const char *text = e->v->features;
    char *end = NULL;
    const bool known = !strncmp(text, "pca", 3) && text[3] >= '1' && text[3] <= '9';
    const long k = known ? strtol(text + 3, &end, 10) : 0;
    if (!known || *end || k > MAX_COMPONENTS)
        return ddpm_fail(DDPM_EINVAL, "--features %s: the features there are are pcaK, the first K principal components of the pixels, with K from 1 to %d (pca64)",
                         text, MAX_COMPONENTS);
    e->k = (size_t)k;
    return DDPM_OK;
}

static ddpm_status check_replicates(const eval *e)
{
    if (e->v->bootstrap == 0 || e->v->bootstrap >= MIN_REPLICATES) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "--bootstrap %d: an interval of 95 %% needs at least %d resampled sets; 0 gives none", e->v->bootstrap, MIN_REPLICATES);
}

static ddpm_status open_sets(eval *e, const char *samples, const char *reference)
{
    DDPM_TRY(image_set_open(samples, e->v->strict, &e->samples));
    DDPM_TRY(image_set_open(reference, e->v->strict, &e->reference));
    DDPM_TRY(image_set_same_size(e->samples, e->reference));
    if (e->v->fit_data[0]) {
        DDPM_TRY(image_set_open(e->v->fit_data, e->v->strict, &e->other));
        DDPM_TRY(image_set_same_size(e->other, e->reference));
    }
    const image_set *two[] = { e->samples, e->reference };
    for (int i = 0; i < 2; i++)
        if (image_set_count(two[i]) < 2) return ddpm_fail(DDPM_EINVAL, "%s has a single image; a covariance needs at least 2", image_set_word(two[i]));
    e->dims = image_set_bytes(e->samples);
    if (e->dims > MAX_PIXELS)
        return ddpm_fail(DDPM_EINVAL, "%s: %zu values in an image; the covariance of pixels is computed for at most %d (64x64x3)", samples, e->dims, MAX_PIXELS);
    if (e->k > e->dims)
        return ddpm_fail(DDPM_EINVAL, "--features %s: an image of %s has only %zu values", e->v->features, samples, e->dims);
    return DDPM_OK;
}

static void warn(eval *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void warn(eval *e, const char *fmt, ...)
{
    va_list ap;
    if (e->n_warnings == MAX_WARNINGS) return;
    char *text = e->warnings[e->n_warnings++];
    va_start(ap, fmt);
    vsnprintf(text, sizeof e->warnings[0], fmt, ap);
    va_end(ap);
    tool_message(e->ev, "warning: %s", text);
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
    c->failed[task] = c->e->p.axes ? pca_project(&c->e->p, rows, n, c->out + first * c->e->k) : DDPM_OK;
}

static void tell_progress(const eval *e, const char *what, const char *unit, int64_t before, int64_t done, int64_t all, double begin)
{
    const double speed = (double)done / (measure_now() - begin);
    const tool_progress p = { .what = what, .unit = unit, .done = done, .total = all, .per_second = speed, .eta_seconds = (double)(all - done) / speed,
                              .extra = "", .line = 4 * done / all > 4 * before / all };
    if (e->ev->progress) e->ev->progress(e->ev->ctx, &p);
}

static ddpm_status stopped(const eval *e)
{
    return e->ev->request && e->ev->request(e->ev->ctx) == RUN_SAVE_AND_STOP ? ddpm_fail(DDPM_ESTOPPED, "stopped; nothing is measured yet") : DDPM_OK;
}

/* `count` images of `set`, a chunk at a time, to `fn`. */
static ddpm_status walk_chunks(chunk *c, image_set *set, image_walk *w, const char *what, chunk_fn fn)
{
    const double begin = measure_now();
    while (w->next < w->count) {
        const int64_t before = w->next;
        DDPM_TRY(stopped(c->e));
        DDPM_TRY(image_set_next(set, w, CHUNK, c->images, NULL, &c->n));
        const int tasks = (c->n + TASK - 1) / TASK;
        pool_run(c->e->threads, tasks, convert, c);
        for (int i = 0; i < tasks; i++)
            if (c->failed[i] != DDPM_OK) return ddpm_fail(c->failed[i], "no memory for the features of %d images", TASK);
        DDPM_TRY(fn(c));
        tell_progress(c->e, what, "images", before, w->next, w->count, begin);
    }
    return DDPM_OK;
}

static ddpm_status walk(eval *e, image_set *set, int64_t count, uint64_t seed, const char *what, chunk_fn fn)
{
    chunk c;
    image_walk w = { .seed = seed, .count = count < image_set_count(set) ? count : image_set_count(set), .strict = e->v->strict };
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
    moments_add(c->e->of_reference, c->out, (size_t)c->n);
    c->e->n_reference += c->n;
    return DDPM_OK;
}

static ddpm_status add_samples(chunk *c)
{
    eval *e = c->e;
    moments_add(e->of_samples, c->out, (size_t)c->n);
    memcpy(e->features + (size_t)e->n_samples * e->k, c->out, (size_t)c->n * e->k * sizeof *c->out);
    e->n_samples += c->n;
    return DDPM_OK;
}

/* The axes depend on the images they are fitted to and on nothing else, so that results of other seeds have the same axes. */
static ddpm_status fit(eval *e)
{
    image_set *from = e->other ? e->other : e->reference;
    DDPM_TRY(moments_new(e->dims, e->threads, &e->pixels));
    DDPM_TRY(walk(e, from, e->v->fit_count, 0, "principal components", add_pixels));
    if (e->dims > SLOW_DIMS) tool_message(e->ev, "axes of %zu dimensions: this takes a while and cannot be interrupted", e->dims);
    const ddpm_status status = pca_fit(e->pixels, e->k, &e->p);
    moments_free(e->pixels);
    e->pixels = NULL;
    return status == DDPM_OK ? status : ddpm_context(status, "--features %s, fitted to %lld images of %s: ", e->v->features, (long long)e->n_fit, image_set_word(from));
}

static ddpm_status check_number(eval *e, const image_set *set, int64_t n)
{
    if (n < 2) return ddpm_fail(DDPM_EINVAL, "%s: a distance needs at least two images, there is %s", image_set_word(set), n ? "one" : "none");
    if ((size_t)n <= e->k)
        warn(e, "%lld images of %s span fewer than %zu dimensions: the distance says more about their number than about them", (long long)n,
             image_set_word(set), e->k);
    return DDPM_OK;
}

static ddpm_status extract(eval *e, int64_t asked)
{
    const int64_t all = image_set_count(e->samples), count = asked < all ? asked : all;
    e->features = calloc((size_t)count, e->k * sizeof *e->features);
    if (!e->features) return ddpm_fail(DDPM_ENOMEM, "no memory for the features of %lld images; -n measures fewer", (long long)count);
    DDPM_TRY(moments_new(e->k, NULL, &e->of_samples));
    DDPM_TRY(moments_new(e->k, NULL, &e->of_reference));
    DDPM_TRY(walk(e, e->reference, INT64_MAX, 0, "reference", add_reference));
    DDPM_TRY(walk(e, e->samples, asked, (uint64_t)e->v->seed, "samples", add_samples));
    DDPM_TRY(check_number(e, e->samples, e->n_samples));
    return check_number(e, e->reference, e->n_reference);
}

/* --- the distance --------------------------------------------------------------------------- */

typedef struct { const eval *e; double begin; int told; } resampling;

static ddpm_status between_replicates(void *ctx, int done)
{
    resampling *r = ctx;
    DDPM_TRY(stopped(r->e));
    if (done) tell_progress(r->e, "interval", "resampled sets", r->told, done, r->e->v->bootstrap, r->begin);
    r->told = done;
    return DDPM_OK;
}

static ddpm_status find_interval(eval *e, const frechet_target *reference)
{
    if (!e->v->bootstrap) return DDPM_OK;
    resampling r = { .e = e, .begin = measure_now() };
    const bootstrap_input in = { .rows = e->features, .n = (size_t)e->n_samples, .dims = e->k, .seed = (uint64_t)e->v->seed, .threads = e->threads,
                                 .stop = between_replicates, .ctx = &r };
    double *distance = calloc((size_t)e->v->bootstrap, sizeof *distance);
    ddpm_status status = distance ? bootstrap_frechet(&in, reference, e->v->bootstrap, distance)
                                  : ddpm_fail(DDPM_ENOMEM, "no memory for %d resampled sets", e->v->bootstrap);
    if (status == DDPM_OK) bootstrap_summarise(e->result.distance, LEVEL, distance, e->v->bootstrap, &e->interval);
    free(distance);
    return status;
}

static ddpm_status compare(eval *e, double *mean, double *covariance)
{
    frechet_target *reference = NULL;
    DDPM_TRY(moments_read(e->of_reference, mean, covariance));
    DDPM_TRY(frechet_target_new(e->k, mean, covariance, &reference));
    ddpm_status status = moments_read(e->of_samples, mean, covariance);
    if (status == DDPM_OK) status = frechet_distance(reference, mean, covariance, &e->result);
    if (status == DDPM_OK) status = find_interval(e, reference);
    frechet_target_free(reference);
    return status;
}

static ddpm_status measure(eval *e)
{
    double *mean = calloc(e->k, sizeof *mean), *covariance = calloc(e->k * e->k, sizeof *covariance);
    const ddpm_status status = mean && covariance ? compare(e, mean, covariance) : ddpm_fail(DDPM_ENOMEM, "no memory for the covariance of %zu features", e->k);
    free(mean);
    free(covariance);
    return status;
}

/* --- the result --------------------------------------------------------------------------------- */

static double share_of_variance(const eval *e)
{
    double sum = 0;
    for (size_t i = 0; i < e->k; i++) sum += e->p.variance[i];
    return e->p.total > 0 ? sum / e->p.total : 1;
}

static const char *fitted_to(const eval *e) { return image_set_word(e->other ? e->other : e->reference); }

static ddpm_status print(const eval *e, char **text)
{
    size_t size;
    FILE *f = open_memstream(text, &size);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the result");
    fprintf(f, "Frechet distance %.4f", e->result.distance);
    if (e->v->bootstrap) fprintf(f, ", 95 %% interval %.4f to %.4f", e->interval.low, e->interval.high);
    fprintf(f, " in %s: lower is closer, 0 is equal\n", e->v->features);
    fprintf(f, "  samples   %lld images of %s\n", (long long)e->n_samples, image_set_word(e->samples));
    fprintf(f, "  reference %lld images of %s\n", (long long)e->n_reference, image_set_word(e->reference));
    fprintf(f, "  features  the first %zu principal components of %dx%dx%d pixels in [-1,1], fitted to %lld images of %s;\n", e->k, image_set_height(e->samples),
            image_set_width(e->samples), image_set_channels(e->samples), (long long)e->n_fit, fitted_to(e));
    fprintf(f, "            they hold %.1f %% of those images' variance\n", 100 * share_of_variance(e));
    fprintf(f, "  of this %.4f is the distance of the means", e->result.of_means);
    if (e->v->bootstrap) {
        fprintf(f, "; about %.4f is owed to there being only %lld samples.\n", e->interval.bias, (long long)e->n_samples);
        fprintf(f, "  The interval (%d resampled sets) is that of other sets of so many samples, for this reference", e->v->bootstrap);
    }
    fprintf(f, ".\n  This is not an FID: pixel principal components see layout and contrast, not what an image shows. Compare it\n"
               "  only with values of the same features and similar numbers of images.\n");
    return fclose(f) == 0 ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the result");
}

static void put_numbers(const eval *e, json *o)
{
    char name[64];
    snprintf(name, sizeof name, "frechet_pca%zu", e->k);
    json_put_real(o, name, e->result.distance);
    json *interval = e->v->bootstrap ? json_new_array() : json_new_null();
    if (e->v->bootstrap) {
        json_append(interval, json_new_real(e->interval.low));
        json_append(interval, json_new_real(e->interval.high));
    }
    json_put(o, "interval", interval);
    json_put_real(o, "level", LEVEL);
    json_put_int(o, "bootstrap", e->v->bootstrap);
    json_put(o, "standard_error", e->v->bootstrap ? json_new_real(e->interval.deviation) : json_new_null());
    json_put(o, "bias", e->v->bootstrap ? json_new_real(e->interval.bias) : json_new_null());
    json_put_real(o, "of_means", e->result.of_means);
    json_put_real(o, "clamped", e->result.clamped);
}

static ddpm_status summarise(const eval *e, json **summary)
{
    if (!summary) return DDPM_OK;
    json *o = *summary = json_new_object(), *warnings = json_new_array();
    for (int i = 0; i < e->n_warnings; i++) json_append(warnings, json_new_string(e->warnings[i]));
    json_put_string(o, "schema", "ddpm-eval-1");
    json_put_string(o, "samples", image_set_word(e->samples));
    json_put_string(o, "reference", image_set_word(e->reference));
    json_put_string(o, "features", e->v->features);
    put_numbers(e, o);
    json_put_int(o, "n_samples", e->n_samples);
    json_put_int(o, "n_reference", e->n_reference);
    json_put_int(o, "n_fit", e->n_fit);
    json_put_int(o, "bad_images", e->bad);
    json_put_string(o, "fit_data", fitted_to(e));
    json_put_real(o, "variance_share", share_of_variance(e));
    json_put_int(o, "seed", e->v->seed);
    json_put(o, "warnings", warnings);
    json_put_string(o, "note", "not an FID: principal components of the pixels");
    return json_put_real(o, "seconds", measure_now() - e->begin);
}

static void close_eval(eval *e)
{
    moments_free(e->pixels);
    moments_free(e->of_samples);
    moments_free(e->of_reference);
    pca_free(&e->p);
    free(e->features);
    image_set_close(e->samples);
    image_set_close(e->reference);
    image_set_close(e->other);
    pool_free(e->threads);
}

static ddpm_status prepare(eval *e, const char *samples, const char *reference)
{
    char text[2][512];
    DDPM_TRY(parse_features(e));
    DDPM_TRY(check_replicates(e));
    DDPM_TRY(open_sets(e, samples, reference));
    image_set_describe(e->samples, text[0], sizeof text[0]);
    image_set_describe(e->reference, text[1], sizeof text[1]);
    tool_message(e->ev, "samples %s: %s; reference %s: %s", samples, text[0], reference, text[1]);
    return pool_new(e->v->threads ? e->v->threads : pool_default_threads(), &e->threads);
}

ddpm_status tool_eval(settings *request, const char *samples, const char *reference, const tool_events *ev, char **text, json **summary)
{
    eval e = { .v = &request->v, .ev = ev, .begin = measure_now() };
    const bool some = settings_origin(request, "num_samples") > ORIGIN_DEFAULT;
    ddpm_status status = prepare(&e, samples, reference);
    if (status == DDPM_OK) status = fit(&e);
    if (status == DDPM_OK) status = extract(&e, some ? request->v.num_samples : INT64_MAX);
    if (status == DDPM_OK) status = measure(&e);
    if (status == DDPM_OK) status = print(&e, text);
    if (status == DDPM_OK) status = summarise(&e, summary);
    close_eval(&e);
    return status;
}
