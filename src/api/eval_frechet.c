#include "api/eval_frechet.h"

#include "api/eval_metrics.h"
#include "base/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- the reference ------------------------------------------------------------------------------ */

static ddpm_status save_statistics(const eval_side *reference, const eval_session *s, const feature_space *space, const char *path, const gaussian *whole,
                                   const gaussian *spatial)
{
    statistics file = { .whole = *whole, .spatial = *spatial, .count = reference->count };
    const pca *map = space ? feature_space_map_of(space) : NULL;
    memcpy(file.space, reference->space, sizeof file.space);
    if (map) {
        file.map = *map;
        file.fitted = feature_space_fit_count(space);
        file.h = reference->h;
        file.w = reference->w;
        file.c = reference->c;
    } else if (space) {
        feature_space_identity(space, file.space, sizeof file.space);
    }
    DDPM_TRY(statistics_write(path, &file));
    tool_message(s->ev, "wrote the statistics of %s to %s", reference->word, path);
    return DDPM_OK;
}

/* Sums of numbers that are finite need not be. */
static ddpm_status name_set(ddpm_status status, const char *word) { return status == DDPM_ENUMERIC ? ddpm_context(status, "the covariance of %s: ", word) : status; }

static ddpm_status make_target(eval_side *reference, const eval_session *s, bool spatial, gaussian *g, frechet_target **t)
{
    DDPM_TRY(side_gaussian(reference, s, spatial, g));
    return name_set(frechet_target_new(g->dims, g->mean, g->covariance, t), reference->word);
}

ddpm_status frechet_targets_new(eval_side *reference, const eval_session *s, const feature_space *space, unsigned wanted, const char *save, frechet_targets *t)
{
    gaussian whole = { 0 }, spatial = { 0 };
    ddpm_status status = DDPM_OK;
    *t = (frechet_targets){ 0 };
    if (wanted & (METRIC_FD | METRIC_FID_INF)) status = make_target(reference, s, false, &whole, &t->whole);
    if (status == DDPM_OK && wanted & METRIC_SFID) status = make_target(reference, s, true, &spatial, &t->spatial);
    t->spatial_dims = spatial.dims;
    if (status == DDPM_OK && save[0]) status = save_statistics(reference, s, space, save, &whole, &spatial);
    gaussian_free(&whole);
    gaussian_free(&spatial);
    side_drop_moments(reference);
    return status;
}

void frechet_targets_free(frechet_targets *t)
{
    frechet_target_free(t->whole);
    frechet_target_free(t->spatial);
    *t = (frechet_targets){ 0 };
}

ddpm_status frechet_check_spatial(const frechet_targets *t, const char *samples, size_t dims)
{
    if (!t->spatial || dims == t->spatial_dims) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "%s has %zu spatial features and the reference %zu; --metrics chooses what to measure without them", samples, dims, t->spatial_dims);
}

/* --- measuring ------------------------------------------------------------------------------------ */

static bool all_alike(const gaussian *g)
{
    for (size_t i = 0; i < g->dims; i++)
        if (g->covariance[i * g->dims + i] > 0) return false;
    return true;
}

/* The square roots of eigenvalues that are 0 but for rounding, 1e-16 of the largest, leave a distance of 1e-8 of the variance. */
#define EQUAL 1e-7

static bool is_nothing(double distance, const gaussian *g)
{
    double variance = 0;
    for (size_t i = 0; i < g->dims; i++) variance += g->covariance[i * g->dims + i];
    return distance <= EQUAL * variance;
}

static ddpm_status measure_whole(eval_side *samples, const eval_session *s, const frechet_targets *t, eval_frechet *r)
{
    gaussian g = { 0 };
    ddpm_status status = side_gaussian(samples, s, false, &g);
    if (status == DDPM_OK) status = frechet_distance(t->whole, g.mean, g.covariance, &r->whole);
    r->alike = status == DDPM_OK && all_alike(&g);
    r->equal = status == DDPM_OK && !r->alike && is_nothing(r->whole.distance, &g);
    gaussian_free(&g);
    return name_set(status, samples->word);
}

static ddpm_status measure_spatial(eval_side *samples, const eval_session *s, const frechet_targets *t, eval_frechet *r)
{
    gaussian g = { 0 };
    ddpm_status status = side_gaussian(samples, s, true, &g);
    r->spatial_dims = g.dims;
    if (status == DDPM_OK) status = frechet_check_spatial(t, samples->word, g.dims);
    if (status == DDPM_OK) status = frechet_distance(t->spatial, g.mean, g.covariance, &r->spatial);
    gaussian_free(&g);
    return name_set(status, samples->word);
}

/* From resampled sets of the samples. */
static ddpm_status resample(const metric_rows *rows, const eval_session *s, const frechet_target *t, double distance, int sets, bootstrap_interval *interval)
{
    eval_watch w = { .s = s, .what = "interval", .unit = "resampled sets", .begin = clock_now() };
    const bootstrap_input in = { .rows = rows, .seed = (uint64_t)s->v->seed, .work = { s->threads, eval_watch_step, &w } };
    double *replicate = calloc((size_t)sets, sizeof *replicate);
    const ddpm_status status = replicate ? bootstrap_frechet(&in, t, sets, replicate) : ddpm_fail(DDPM_ENOMEM, "no memory for %d resampled sets", sets);
    if (status == DDPM_OK) bootstrap_summarise(distance, EVAL_LEVEL, replicate, sets, interval);
    free(replicate);
    return status;
}

static ddpm_status extrapolate(const metric_rows *rows, const eval_session *s, const frechet_target *t, eval_frechet *r)
{
    eval_watch w = { .s = s, .what = "extrapolation", .unit = "rows", .begin = clock_now() };
    const extrapolate_options o = extrapolate_defaults(rows->n, (uint64_t)s->v->seed);
    return extrapolate_frechet(rows, t, &o, &(metric_work){ s->threads, eval_watch_step, &w }, NULL, NULL, &r->endless);
}

ddpm_status eval_frechet_measure(eval_side *samples, const eval_session *s, const frechet_targets *t, eval_frechet *r)
{
    if (r->have & METRIC_FD) DDPM_TRY(measure_whole(samples, s, t, r));
    if (r->have & METRIC_FD && r->replicates) DDPM_TRY(resample(&samples->rows, s, t->whole, r->whole.distance, r->replicates, &r->interval));
    if (r->have & METRIC_SFID) DDPM_TRY(measure_spatial(samples, s, t, r));
    if (r->have & METRIC_SFID && r->spatial_replicates)
        DDPM_TRY(resample(&samples->spatial_rows, s, t->spatial, r->spatial.distance, r->spatial_replicates, &r->spatial_interval));
    return r->have & METRIC_FID_INF ? extrapolate(&samples->rows, s, t->whole, r) : DDPM_OK;
}

/* --- the result --------------------------------------------------------------------------------------- */

static const char *name_of(const eval_frechet *r)         { return r->inception ? "FID" : "Frechet distance"; }
static const char *spatial_name_of(const eval_frechet *r) { return r->inception ? "sFID" : "spatial Frechet distance"; }
static const char *endless_name_of(const eval_frechet *r) { return r->inception ? "FID-infinity" : "Frechet distance of infinitely many samples"; }
static const char *spatial_key_of(const eval_frechet *r)  { return r->inception && !r->of_files ? "sfid" : "frechet_spatial"; }
static const char *endless_key_of(const eval_frechet *r)  { return r->inception ? "fid_infinity" : "frechet_infinity"; }

static metric_interval interval_of(int replicates, const bootstrap_interval *i)
{
    return replicates ? (metric_interval){ i->low, i->high } : (metric_interval){ NAN, NAN };
}

static metric_interval whole_interval(const eval_frechet *r)   { return interval_of(r->replicates, &r->interval); }
static metric_interval spatial_interval(const eval_frechet *r) { return interval_of(r->spatial_replicates, &r->spatial_interval); }

/* What rounding took from a distance, where the covariance is singular or it is more than nothing. */
static void print_clamped(FILE *f, const frechet_result *d, int64_t n, size_t dims)
{
    const bool singular = n <= (int64_t)dims;
    if (!singular && d->clamped <= 1e-6 * d->distance) return;
    fprintf(f, "  %seigenvalues that rounding put below 0 count as 0: %.3g in all\n", singular ? "a covariance is singular; " : "", d->clamped);
}

/* Of the distance, how much comes from there being so few samples. */
static void print_bias(const eval_frechet *r, FILE *f)
{
    const double bias = r->interval.bias;
    const long long n = (long long)r->n_samples;
    if (r->equal) return;
    if (bias < r->whole.distance) fprintf(f, "; about %.4g is owed to there being only %lld samples", bias, n);
    else fprintf(f, "; the whole is no more than what %lld samples cost, about %.4g: it does not tell the sets apart", n, bias);
}

static void print_whole(const eval_frechet *r, FILE *f)
{
    const bool sets = r->replicates > 0;
    fprintf(f, "%s %.6g", name_of(r), r->whole.distance);
    if (r->input[0]) fprintf(f, " (%s's input)", r->input);
    if (sets) fprintf(f, ", 95 %% interval %.6g to %.6g", r->interval.low, r->interval.high);
    fprintf(f, "%s%s: lower is closer, 0 is equal\n", r->in[0] ? " in " : "", r->in);
    fprintf(f, "  of this %.6g is the distance of the means", r->whole.of_means);
    if (r->equal) fprintf(f, "; the two sets have the same mean and covariance");
    if (sets) {
        print_bias(r, f);
        fprintf(f, ".\n  The interval (%d resampled sets) is that of other sets of so many samples, for this reference", r->replicates);
    }
    fprintf(f, ".\n");
    print_clamped(f, &r->whole, r->n_least, r->dims);
}

void eval_frechet_print(const eval_frechet *r, FILE *f)
{
    if (r->have & METRIC_FD) print_whole(r, f);
    if (r->have & METRIC_FID_INF)
        fprintf(f, "%s %.6g, 95 %% interval %.6g to %.6g: on the line through random subsets of the samples, which adds %.4g for %lld of them\n", endless_name_of(r),
                r->endless.value, r->endless.interval.low, r->endless.interval.high, r->endless.slope / (double)r->n_samples, (long long)r->n_samples);
    if (!(r->have & METRIC_SFID)) return;
    fprintf(f, "%s %.6g", spatial_name_of(r), r->spatial.distance);
    if (r->spatial_replicates) fprintf(f, ", 95 %% interval %.6g to %.6g", r->spatial_interval.low, r->spatial_interval.high);
    fprintf(f, ", lower is closer (%zu spatial features)\n", r->spatial_dims);
    print_clamped(f, &r->spatial, r->n_least, r->spatial_dims);
}

void eval_frechet_put(const eval_frechet *r, json *o)
{
    const bool have = r->have & METRIC_FD, sets = r->replicates > 0;
    if (have) json_put_real(o, r->key, r->whole.distance);
    eval_put_interval(o, "interval", whole_interval(r));
    json_put_real(o, "level", EVAL_LEVEL);
    json_put_int(o, "bootstrap", r->replicates);
    json_put_real(o, "standard_error", sets ? r->interval.deviation : NAN);
    json_put_real(o, "bias", sets ? r->interval.bias : NAN);
    json_put_real(o, "of_means", have ? r->whole.of_means : NAN);
    json_put_real(o, "clamped", have ? r->whole.clamped : NAN);
    char interval[64];
    if (r->have & METRIC_SFID) {
        snprintf(interval, sizeof interval, "%s_interval", spatial_key_of(r));
        json_put_real(o, spatial_key_of(r), r->spatial.distance);
        if (!r->of_files) eval_put_interval(o, interval, spatial_interval(r));
    } else if (r->of_files) json_put(o, spatial_key_of(r), json_new_null());
    if (!(r->have & METRIC_FID_INF)) return;
    snprintf(interval, sizeof interval, "%s_interval", endless_key_of(r));
    json_put_real(o, endless_key_of(r), r->endless.value);
    eval_put_interval(o, interval, r->endless.interval);
}

void eval_frechet_values(const eval_frechet *r, eval_result *result)
{
    if (r->have & METRIC_FD) eval_value_add(result, r->key, r->whole.distance, whole_interval(r));
    if (r->have & METRIC_SFID) eval_value_add(result, spatial_key_of(r), r->spatial.distance, spatial_interval(r));
    if (r->have & METRIC_FID_INF) eval_value_add(result, endless_key_of(r), r->endless.value, r->endless.interval);
}
