#include "api/eval_features.h"

#include "api/eval_metrics.h"
#include "api/features.h"
#include "api/measure.h"
#include "api/statistics.h"
#include "io/file.h"
#include "metrics/frechet.h"
#include "metrics/linalg.h"
#include "metrics/moments.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256 };

typedef struct {
    eval_session s;
    const settings *request;
    const char  *samples_path, *reference_path;
    feature_set  samples, reference;
    statistics   stored;               /* REFERENCE is statistics; else empty                  */
    size_t       dims;
    unsigned     wanted;
    frechet_result fd;
    bool         resampled;
    bootstrap_interval interval;       /* of the distance, if resampled                        */
    eval_metrics metrics;
} features_eval;

static bool against_statistics(const features_eval *e) { return e->stored.dims > 0; }

/* --- what is asked for ----------------------------------------------------------------- */

static ddpm_status check_wanted(features_eval *e)
{
    const unsigned all = against_statistics(e) ? METRIC_FD : METRIC_FD | METRIC_KID | METRIC_PR | METRIC_DC;
    DDPM_TRY(eval_metrics_parse(e->s.v->metrics, &e->wanted));
    if (!e->wanted) e->wanted = all | (e->samples.logits.n ? METRIC_IS : 0);
    if (e->wanted & ~(all | METRIC_IS))
        return ddpm_fail(DDPM_EINVAL, "%s holds mean and covariance alone: only --metrics fd (and is) can be measured against it", e->reference_path);
    if (e->wanted & METRIC_IS && !e->samples.logits.n) return ddpm_fail(DDPM_EINVAL, "--metrics is: %s has no array \"logits\"", e->samples_path);
    if (e->wanted & METRIC_FD && e->dims > LINALG_MAX_DIMS)
        return ddpm_fail(DDPM_EINVAL, "%s: %zu features; a covariance is computed for at most %d, --metrics chooses others", e->samples_path, e->dims, LINALG_MAX_DIMS);
    return DDPM_OK;
}

static ddpm_status check_options(const features_eval *e)
{
    static const char *const OF_IMAGES[] = { "features", "fit_data", "fit_count" };
    for (size_t i = 0; i < sizeof OF_IMAGES / sizeof *OF_IMAGES; i++)
        if (settings_origin(e->request, OF_IMAGES[i]) > ORIGIN_DEFAULT)
            return ddpm_fail(DDPM_EINVAL, "--%s is for images; %s holds features", OF_IMAGES[i], e->samples_path);
    if (!e->s.v->save_stats[0]) return DDPM_OK;
    if (against_statistics(e) || !(e->wanted & METRIC_FD)) return ddpm_fail(DDPM_EINVAL, "--save_stats needs features as REFERENCE and the metric fd");
    return file_check_target(e->s.v->save_stats);
}

/* `other` is no set to compare features with: images, or a file that cannot be read. */
static ddpm_status refuse(const char *features, const char *other)
{
    npz_reader *z = NULL;
    if (file_has_ending(other, ".npz") && !file_is_dir(other)) DDPM_TRY(npz_reader_open(other, &z));
    npz_reader_free(z);
    if (statistics_is(other)) return ddpm_fail(DDPM_EINVAL, "%s holds statistics, %s features; give the features first, as SAMPLES", other, features);
    return ddpm_fail(DDPM_EINVAL, "%s holds features, %s does not; give features of both from the same network", features, other);
}

static ddpm_status open_reference(features_eval *e)
{
    const char *path = e->reference_path;
    if (features_is(path)) {
        DDPM_TRY(features_open(path, &e->reference));
        return features_same_space(&e->samples, &e->reference);
    }
    if (!statistics_is(path)) return refuse(e->samples_path, path);
    DDPM_TRY(statistics_read(path, false, &e->stored));
    if (e->stored.map.axes)
        return ddpm_fail(DDPM_EINVAL, "%s is of principal components of pixels; %s holds features of another kind", path, e->samples_path);
    if (e->stored.dims != e->dims)
        return ddpm_fail(DDPM_EINVAL, "%s is of %zu features, %s of %zu; distances exist only within one space", path, e->stored.dims, e->samples_path, e->dims);
    return features_same_names(e->samples_path, e->samples.space, path, e->stored.space);
}

static ddpm_status open_sets(features_eval *e)
{
    const bool some = settings_origin(e->request, "num_samples") > ORIGIN_DEFAULT;
    if (!features_is(e->samples_path)) return refuse(e->reference_path, e->samples_path);
    DDPM_TRY(features_open(e->samples_path, &e->samples));
    e->dims = e->samples.rows.dims;
    DDPM_TRY(open_reference(e));
    if (some) DDPM_TRY(features_choose(&e->samples, (uint64_t)e->s.v->seed, (size_t)e->s.v->num_samples));
    DDPM_TRY(check_wanted(e));
    DDPM_TRY(check_options(e));
    DDPM_TRY(eval_check_replicates(&e->s));
    e->metrics.inception = features_are_inception(e->samples.space);
    return pool_new(e->s.v->threads ? e->s.v->threads : pool_default_threads(), &e->s.threads);
}

static ddpm_status check_numbers(features_eval *e)
{
    const size_t dims = e->wanted & METRIC_FD ? e->dims : 0;           /* only the covariance minds */
    DDPM_TRY(eval_check_number(&e->s, e->samples_path, (int64_t)e->samples.rows.n, dims, "rows"));
    return against_statistics(e) ? DDPM_OK : eval_check_number(&e->s, e->reference_path, (int64_t)e->reference.rows.n, dims, "rows");
}

/* --- the Frechet distance ----------------------------------------------------------------- */

static ddpm_status read_moments(const features_eval *e, const metric_rows *rows, double *mean, double *covariance)
{
    moments *m = NULL;
    double *chunk = calloc(CHUNK * rows->dims, sizeof *chunk);
    ddpm_status status = chunk ? moments_new(rows->dims, e->s.threads, &m) : ddpm_fail(DDPM_ENOMEM, "no memory for %d rows", CHUNK);
    for (size_t first = 0; status == DDPM_OK && first < rows->n; first += CHUNK) {
        const size_t n = rows->n - first < CHUNK ? rows->n - first : CHUNK;
        for (size_t i = 0; i < n; i++) metric_rows_read(rows, first + i, chunk + i * rows->dims);
        moments_add(m, chunk, n);
        status = eval_stopped(&e->s);
    }
    if (status == DDPM_OK) status = moments_read(m, mean, covariance);
    moments_free(m);
    free(chunk);
    return status;
}

static ddpm_status make_target(const features_eval *e, double *mean, double *covariance, frechet_target **t)
{
    if (against_statistics(e)) return frechet_target_new(e->dims, e->stored.mean, e->stored.covariance, t);
    DDPM_TRY(read_moments(e, &e->reference.rows, mean, covariance));
    statistics s = { .dims = e->dims, .mean = mean, .covariance = covariance };
    memcpy(s.space, e->reference.space, sizeof s.space);
    if (e->s.v->save_stats[0]) DDPM_TRY(statistics_write(e->s.v->save_stats, &s));
    return frechet_target_new(e->dims, mean, covariance, t);
}

static ddpm_status find_interval(features_eval *e, const frechet_target *t)
{
    const metric_rows *r = &e->samples.rows;
    e->resampled = e->s.v->bootstrap && (e->dims <= EVAL_INTERVAL_DIMS || settings_origin(e->request, "bootstrap") > ORIGIN_DEFAULT);
    if (!e->resampled) return DDPM_OK;
    double *rows = calloc(r->n, r->dims * sizeof *rows);
    if (!rows) return ddpm_fail(DDPM_ENOMEM, "no memory to resample %zu rows; --bootstrap 0 does without", r->n);
    for (size_t i = 0; i < r->n; i++) metric_rows_read(r, i, rows + i * r->dims);
    const ddpm_status status = eval_resample(&e->s, rows, r->n, r->dims, t, e->fd.distance, &e->interval);
    free(rows);
    return status;
}

static ddpm_status compare(features_eval *e, double *mean, double *covariance)
{
    frechet_target *t = NULL;
    DDPM_TRY(make_target(e, mean, covariance, &t));
    ddpm_status status = read_moments(e, &e->samples.rows, mean, covariance);
    if (status == DDPM_OK) status = frechet_distance(t, mean, covariance, &e->fd);
    if (status == DDPM_OK) status = find_interval(e, t);
    frechet_target_free(t);
    return status;
}

static ddpm_status measure_frechet(features_eval *e)
{
    double *mean = calloc(e->dims, sizeof *mean), *covariance = calloc(e->dims * e->dims, sizeof *covariance);
    const ddpm_status status = mean && covariance ? compare(e, mean, covariance) : ddpm_fail(DDPM_ENOMEM, "no memory for the covariance of %zu features", e->dims);
    free(mean);
    free(covariance);
    return status;
}

static ddpm_status measure(features_eval *e)
{
    const eval_rows rows = { &e->samples.rows, &e->reference.rows, &e->samples.logits };
    DDPM_TRY(eval_metrics_prepare(&e->s, &rows, e->wanted, &e->metrics));
    if (e->wanted & METRIC_FD) DDPM_TRY(measure_frechet(e));
    return eval_metrics_measure(&e->s, &rows, &e->metrics);
}

/* --- the result --------------------------------------------------------------------------------- */

static size_t smallest(const features_eval *e)
{
    const size_t a = e->samples.rows.n, b = e->reference.rows.n;
    return against_statistics(e) || a < b ? a : b;
}

static void print_frechet(const features_eval *e, FILE *f)
{
    fprintf(f, "%s %.6g", e->metrics.inception ? "FID" : "Frechet distance", e->fd.distance);
    if (e->resampled) fprintf(f, ", 95 %% interval %.6g to %.6g", e->interval.low, e->interval.high);
    fprintf(f, ": lower is closer, 0 is equal; of this %.6g is the distance of the means\n", e->fd.of_means);
    if (e->resampled) fprintf(f, "  about %.4g of it is owed to there being only %zu samples\n", e->interval.bias, e->samples.rows.n);
    eval_print_clamped(f, &e->fd, smallest(e), e->dims);
}

static ddpm_status print(const features_eval *e, char **text)
{
    size_t size;
    FILE *f = open_memstream(text, &size);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the result");
    if (e->wanted & METRIC_FD) print_frechet(e, f);
    eval_metrics_print(&e->metrics, f);
    fprintf(f, "  samples   %zu rows of %s\n", e->samples.rows.n, e->samples_path);
    if (against_statistics(e)) fprintf(f, "  reference mean and covariance in %s\n", e->reference_path);
    else fprintf(f, "  reference %zu rows of %s\n", e->reference.rows.n, e->reference_path);
    fprintf(f, "  features  %zu, %s\n", e->dims, e->samples.space[0] ? e->samples.space : "of a space that the file does not name");
    if (!e->metrics.inception) fprintf(f, "  Not an FID or KID, unless both files are of the Inception network of 2015-12-05.\n");
    return fclose(f) == 0 ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the result");
}

static void put_frechet(const features_eval *e, json *o)
{
    const bool have = e->wanted & METRIC_FD;
    const metric_interval interval = { e->resampled ? e->interval.low : NAN, e->resampled ? e->interval.high : NAN };
    if (have) json_put_real(o, e->metrics.inception ? "frechet_inception_distance" : "frechet_distance", e->fd.distance);
    eval_put_interval(o, "interval", interval);
    json_put_real(o, "level", EVAL_LEVEL);
    json_put_int(o, "bootstrap", e->resampled ? e->s.v->bootstrap : 0);
    json_put_real(o, "standard_error", e->resampled ? e->interval.deviation : NAN);
    json_put_real(o, "bias", e->resampled ? e->interval.bias : NAN);
    json_put_real(o, "of_means", have ? e->fd.of_means : NAN);
    json_put_real(o, "clamped", have ? e->fd.clamped : NAN);
}

static ddpm_status summarise(const features_eval *e, json **summary)
{
    if (!summary) return DDPM_OK;
    json *o = *summary = json_new_object();
    json_put_string(o, "schema", "ddpm-eval-features-1");
    json_put_string(o, "samples", e->samples_path);
    json_put_string(o, "reference", e->reference_path);
    json_put(o, "space", e->samples.space[0] ? json_new_string(e->samples.space) : json_new_null());
    json_put_int(o, "features", (int64_t)e->dims);
    put_frechet(e, o);
    eval_metrics_put(&e->metrics, o);
    json_put_int(o, "n_samples", (int64_t)e->samples.rows.n);
    json_put_int(o, "n_reference", (int64_t)e->reference.rows.n);                /* 0: statistics do not say */
    json_put_int(o, "bad_images", 0);
    json_put_int(o, "seed", e->s.v->seed);
    eval_put_warnings(&e->s, o);
    return json_put_real(o, "seconds", clock_now() - e->s.begin);
}

ddpm_status eval_features(settings *request, const char *samples, const char *reference, const tool_events *ev, char **text, json **summary)
{
    features_eval e = { .s = { .v = &request->v, .ev = ev, .begin = clock_now() }, .request = request, .samples_path = samples, .reference_path = reference };
    ddpm_status status = open_sets(&e);
    if (status == DDPM_OK) status = check_numbers(&e);
    if (status == DDPM_OK) status = measure(&e);
    if (status == DDPM_OK) status = print(&e, text);
    if (status == DDPM_OK) status = summarise(&e, summary);
    features_close(&e.samples);
    features_close(&e.reference);
    statistics_free(&e.stored);
    pool_free(e.s.threads);
    return status;
}
