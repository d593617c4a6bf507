#include "api/eval_metrics.h"

#include "base/clock.h"
#include "metrics/inception_score.h"
#include "metrics/legacy_shuffle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { DENSITY_K = 5, SUBSET_SIZE = 1000 };

/* Our words, then those of other programs for the same. */
static const struct { const char *word; unsigned metric; } WORDS[] = {
    { "fd", METRIC_FD }, { "kid", METRIC_KID }, { "pr", METRIC_PR }, { "dc", METRIC_DC }, { "is", METRIC_IS },
    { "sfid", METRIC_SFID }, { "fid_inf", METRIC_FID_INF }, { "all", METRIC_ALL | METRIC_FD }, { "fid", METRIC_FD }, { "frechet", METRIC_FD },
    { "prc", METRIC_PR }, { "precision", METRIC_PR }, { "recall", METRIC_PR }, { "prdc", METRIC_PR | METRIC_DC }, { "density", METRIC_DC },
    { "coverage", METRIC_DC }, { "isc", METRIC_IS }, { "inception_score", METRIC_IS }, { "fid_infinity", METRIC_FID_INF },
};
enum { N_WORDS = sizeof WORDS / sizeof *WORDS, WORD_SIZE = 24 };

static ddpm_status refuse_word(const char *text, const char *word)
{
    const char *names[N_WORDS + 1] = { NULL };
    for (int i = 0; i < N_WORDS; i++) names[i] = WORDS[i].word;
    const char *near = options_nearest_word(names, word);
    return ddpm_fail(DDPM_EINVAL, "--metrics %s: there is no \"%s\"%s%s%s; the metrics are fd (Frechet distance, or fid), kid (kernel distance), pr (precision and "
                     "recall), dc (density and coverage), is (score of the logits), sfid (Frechet distance of spatial features), fid_inf (fd of infinitely many "
                     "samples) and all, with commas between them", text, word, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

ddpm_status eval_metrics_parse(const char *text, unsigned *wanted)
{
    *wanted = 0;
    if (!strcasecmp(text, "auto")) return DDPM_OK;
    for (const char *at = text, *end; ; at = end + 1) {
        char word[WORD_SIZE];
        unsigned found = 0;
        end = at + strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", (int)(end - at), at);
        for (int i = 0; i < N_WORDS; i++)
            if (!strcasecmp(WORDS[i].word, word)) found = WORDS[i].metric;
        if (!found) return refuse_word(text, word);
        *wanted |= found;
        if (!*end) return DDPM_OK;
    }
}

/* --- measuring ------------------------------------------------------------------------------ */

static size_t smaller(const eval_rows *r) { return r->samples->n < r->reference->n ? r->samples->n : r->reference->n; }

static int density_k(unsigned wanted) { return wanted & METRIC_DC ? DENSITY_K : PRECISION_K; }

static ddpm_status choose_subsets(eval_session *s, size_t rows, kernel_options *o)
{
    const int asked = s->v->kid_subset_size;
    *o = (kernel_options){ .subset_size = asked ? (size_t)asked : SUBSET_SIZE, .subsets = s->v->kid_subsets, .seed = (uint32_t)s->v->seed };
    if (asked == 1) return ddpm_fail(DDPM_EINVAL, "--kid_subset_size 1: pairs of rows need at least 2");
    if (o->subset_size <= rows) return DDPM_OK;
    if (asked) return ddpm_fail(DDPM_EINVAL, "--kid_subset_size %d: the smaller set has %zu rows", asked, rows);
    o->subset_size = rows / 2 < 2 ? 2 : rows / 2;
    eval_warn(s, "the smaller set has %zu rows: the kernel distance is of subsets of %zu, not of %d", rows, o->subset_size, SUBSET_SIZE);
    return DDPM_OK;
}

static ddpm_status check_manifold(const eval_rows *r, unsigned wanted)
{
    const int k = density_k(wanted);
    if (smaller(r) <= (size_t)k)
        return ddpm_fail(DDPM_EINVAL, "%s of the %d nearest neighbours: either set needs more than %d rows, the smaller one has %zu; --metrics chooses others",
                         wanted & METRIC_DC ? "density and coverage are" : "precision and recall are", k, k, smaller(r));
    return DDPM_OK;
}

ddpm_status eval_metrics_prepare(eval_session *s, const eval_rows *rows, unsigned wanted, eval_metrics *m)
{
    m->have = wanted & ~(unsigned)METRICS_FRECHET;
    if (wanted & METRIC_KID) DDPM_TRY(choose_subsets(s, smaller(rows), &m->kernel));
    return wanted & (METRIC_PR | METRIC_DC) ? check_manifold(rows, wanted) : DDPM_OK;
}

static ddpm_status measure_kernel(const eval_session *s, const eval_rows *r, eval_metrics *m)
{
    eval_watch w = { .s = s, .what = "kernel distance", .unit = "blocks", .begin = clock_now() };
    double variance, *value = calloc((size_t)m->kernel.subsets, sizeof *value);
    ddpm_status status = value ? kernel_distances(r->samples, r->reference, &m->kernel, &(metric_work){ s->threads, eval_watch_step, &w }, value)
                               : ddpm_fail(DDPM_ENOMEM, "no memory for %d subsets", m->kernel.subsets);
    w = (eval_watch){ .s = s, .what = "error of the kernel distance", .unit = "blocks", .begin = clock_now() };
    if (status == DDPM_OK) status = kernel_variance(r->samples, r->reference, m->kernel.seed, &(metric_work){ s->threads, eval_watch_step, &w }, &variance);
    if (status == DDPM_OK) kernel_summarise(value, &m->kernel, variance, &m->kid);
    free(value);
    return status;
}

ddpm_status eval_metrics_nearest(const eval_session *s, const metric_rows *reference, unsigned wanted, double **nearest)
{
    eval_watch w = { .s = s, .what = "neighbours in the reference", .unit = "blocks", .begin = clock_now() };
    const int k = density_k(wanted);
    double *made = calloc(reference->n, (size_t)k * sizeof *made);
    if (!made) return ddpm_fail(DDPM_ENOMEM, "no memory for the neighbours of %zu rows", reference->n);
    const ddpm_status status = manifold_radii(reference, k, &(metric_work){ s->threads, eval_watch_step, &w }, 0, manifold_tasks(reference->n), made);
    if (status == DDPM_OK) *nearest = made;
    else free(made);
    return status;
}

static ddpm_status measure_manifold(const eval_session *s, const eval_rows *r, eval_metrics *m)
{
    eval_watch w = { .s = s, .what = "neighbours", .unit = "blocks", .begin = clock_now() };
    return manifold_measure(r->samples, r->reference, r->nearest, PRECISION_K, density_k(m->have), &(metric_work){ s->threads, eval_watch_step, &w }, &m->manifold);
}

static ddpm_status score_parts(const eval_session *s, const metric_rows *logits, int64_t *order, double *score, eval_metrics *m)
{
    const size_t n = m->splits;
    legacy_random random;
    legacy_seed(&random, (uint32_t)s->v->seed);
    legacy_permutation(&random, logits->n, order);
    DDPM_TRY(inception_score(&(inception_input){ .rows = logits, .logits = true, .order = order, .splits = n }, score));
    m->score = interval_mean(score, n);
    m->score_deviation = interval_deviation(score, n, n);
    m->score_interval = n > 3 ? interval_student(m->score, interval_deviation(score, n, n - 1), n) : (metric_interval){ NAN, NAN };
    return DDPM_OK;
}

static ddpm_status measure_score(const eval_session *s, const metric_rows *logits, eval_metrics *m)
{
    m->splits = (size_t)s->v->is_splits < logits->n ? (size_t)s->v->is_splits : logits->n;
    int64_t *order = calloc(logits->n, sizeof *order);
    double *score = calloc(m->splits, sizeof *score);
    const ddpm_status status = order && score ? score_parts(s, logits, order, score, m) : ddpm_fail(DDPM_ENOMEM, "no memory for the order of %zu rows", logits->n);
    free(order);
    free(score);
    return status;
}

ddpm_status eval_metrics_measure(const eval_session *s, const eval_rows *rows, eval_metrics *m)
{
    if (m->have & METRIC_KID) DDPM_TRY(measure_kernel(s, rows, m));
    if (m->have & (METRIC_PR | METRIC_DC)) DDPM_TRY(measure_manifold(s, rows, m));
    return m->have & METRIC_IS ? measure_score(s, rows->logits, m) : DDPM_OK;
}

/* --- the result --------------------------------------------------------------------------------- */

static void print_interval(FILE *f, metric_interval i)
{
    if (isfinite(i.low)) fprintf(f, ", 95 %% interval %.4g to %.4g", i.low, i.high);
}

static void print_share(FILE *f, const char *name, double value, metric_interval i, int k, const char *what)
{
    fprintf(f, "%s %.4f", name, value);
    print_interval(f, i);
    fprintf(f, " (%s, k = %d)\n", what, k);
}

void eval_metrics_print(const eval_metrics *m, FILE *f)
{
    const manifold_result *p = &m->manifold;
    if (m->have & METRIC_KID) {
        fprintf(f, "%s %.6g", m->inception ? "KID" : "kernel distance", m->kid.mean);
        print_interval(f, m->kid.interval);
        fprintf(f, ", lower is closer (%d subsets of %zu, which deviate by %.3g)\n", m->kernel.subsets, m->kernel.subset_size, m->kid.deviation);
        if (m->kid.interval.high < 0)
            fprintf(f, "  below 0, as of sets with rows in common: the unbiased estimate leaves out pairs within a set, not the equal ones across\n");
    }
    if (m->have & METRIC_PR) {
        print_share(f, "precision", p->precision, p->precision_interval, PRECISION_K, "samples near the reference");
        print_share(f, "recall", p->recall, p->recall_interval, PRECISION_K, "reference near the samples");
    }
    if (m->have & METRIC_DC) {
        print_share(f, "density", p->density, p->density_interval, DENSITY_K, "reference points that a sample is near, over k");
        print_share(f, "coverage", p->coverage, p->coverage_interval, DENSITY_K, "reference points with a sample near");
    }
    if (m->have & METRIC_IS) {
        fprintf(f, "%s %.4f", m->inception ? "inception score" : "score of the logits", m->score);
        print_interval(f, m->score_interval);
        fprintf(f, ", higher is better (%zu parts, which deviate by %.3g)\n", m->splits, m->score_deviation);
    }
}

static const char *kernel_key(const eval_metrics *m) { return m->inception ? "kernel_inception_distance_mean" : "kernel_distance_mean"; }
static const char *score_key(const eval_metrics *m)  { return m->inception ? "inception_score_mean" : "logits_score_mean"; }

static void put_kernel(const eval_metrics *m, json *o)
{
    json_put_real(o, kernel_key(m), m->kid.mean);
    json_put_real(o, m->inception ? "kernel_inception_distance_std" : "kernel_distance_std", m->kid.deviation);
    json_put_real(o, "kernel_distance_standard_error", m->kid.standard_error);
    eval_put_interval(o, "kernel_distance_interval", m->kid.interval);
    json_put_int(o, "kid_subsets", m->kernel.subsets);
    json_put_int(o, "kid_subset_size", (int64_t)m->kernel.subset_size);
}

static void put_share(json *o, const char *key, double value, metric_interval i)
{
    char name[64];
    json_put_real(o, key, value);
    snprintf(name, sizeof name, "%s_interval", key);
    eval_put_interval(o, name, i);
}

void eval_metrics_put(const eval_metrics *m, json *o)
{
    const manifold_result *p = &m->manifold;
    const double both = p->precision + p->recall;
    if (m->have & METRIC_KID) put_kernel(m, o);
    if (m->have & METRIC_PR) {
        put_share(o, "precision", p->precision, p->precision_interval);
        put_share(o, "recall", p->recall, p->recall_interval);
        json_put_real(o, "f_score", both > 0 ? 2 * p->precision * p->recall / both : 0);
    }
    if (m->have & METRIC_DC) {
        put_share(o, "density", p->density, p->density_interval);
        put_share(o, "coverage", p->coverage, p->coverage_interval);
    }
    if (!(m->have & METRIC_IS)) return;
    json_put_real(o, score_key(m), m->score);
    json_put_real(o, m->inception ? "inception_score_std" : "logits_score_std", m->score_deviation);
    eval_put_interval(o, m->inception ? "inception_score_interval" : "logits_score_interval", m->score_interval);
    json_put_int(o, "is_splits", (int64_t)m->splits);
}

void eval_metrics_values(const eval_metrics *m, eval_result *r)
{
    const manifold_result *p = &m->manifold;
    if (m->have & METRIC_KID) eval_value_add(r, kernel_key(m), m->kid.mean, m->kid.interval);
    if (m->have & METRIC_PR) {
        eval_value_add(r, "precision", p->precision, p->precision_interval);
        eval_value_add(r, "recall", p->recall, p->recall_interval);
    }
    if (m->have & METRIC_DC) {
        eval_value_add(r, "density", p->density, p->density_interval);
        eval_value_add(r, "coverage", p->coverage, p->coverage_interval);
    }
    if (m->have & METRIC_IS) eval_value_add(r, score_key(m), m->score, m->score_interval);
}
