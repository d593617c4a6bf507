/* Section 09: Frechet distances, the moments of features, inception scores, precision and recall. */
#include "golden_run.h"

#include "metrics/frechet.h"
#include "metrics/inception_score.h"
#include "metrics/interval.h"
#include "metrics/manifold.h"
#include "metrics/moments.h"

#include <math.h>

static void undo_target(void *t)  { frechet_target_free(t); }
static void undo_moments(void *m) { moments_free(m); }

static ddpm_status distance(gold_case *c, const gold_tensor *m1, const gold_tensor *s1, const gold_tensor *m2, const gold_tensor *s2, double *d)
{
    frechet_target *t = NULL;
    frechet_result r;
    const size_t n = m1->len;
    DDPM_TRY(gold_expect(m2, 1, n));
    DDPM_TRY(gold_expect(s1, 2, n * n));
    DDPM_TRY(gold_expect(s2, 2, n * n));
    DDPM_TRY(frechet_target_new(n, m1->v, s1->v, &t));
    gold_defer(c, undo_target, t);
    DDPM_TRY(frechet_distance(t, m2->v, s2->v, &r));
    *d = r.distance;
    return DDPM_OK;
}

typedef struct { gold_file *f; size_t number; } fid_job;

/* pytorch-fid's square root is inexact where covariances are singular: by as much as it differs from the exact value. */
static ddpm_status fid(gold_case *c, const void *ctx)
{
    const fid_job *job = ctx;
    gold_tensor m1, s1, m2, s2, want, theirs;
    double got, trace = 0;
    DDPM_TRY(gold_need(c, job->f, &m1, "fid/%zu/mu1", job->number));
    DDPM_TRY(gold_need(c, job->f, &s1, "fid/%zu/sigma1", job->number));
    DDPM_TRY(gold_need(c, job->f, &m2, "fid/%zu/mu2", job->number));
    DDPM_TRY(gold_need(c, job->f, &s2, "fid/%zu/sigma2", job->number));
    DDPM_TRY(gold_need(c, job->f, &want, "fid/%zu/fid_exact", job->number));
    DDPM_TRY(gold_need(c, job->f, &theirs, "fid/%zu/fid", job->number));
    DDPM_TRY(gold_expect(&want, 0, 1));
    DDPM_TRY(gold_expect(&theirs, 0, 1));
    DDPM_TRY(distance(c, &m1, &s1, &m2, &s2, &got));
    for (size_t i = 0; i < m1.len; i++) trace += s1.v[i * (m1.len + 1)] + s2.v[i * (m1.len + 1)];
    gold_compare_near(c, &want, &got, 1e-6 * trace, 0);
    gold_compare_near(c, &theirs, &got, 1e-6 * trace + fabs(want.v[0] - theirs.v[0]), 0);
    return DDPM_OK;
}

static ddpm_status moments_of(gold_case *c, gold_file *f, int side, gold_tensor *mean, gold_tensor *covariance)
{
    gold_tensor rows;
    moments *m = NULL;
    DDPM_TRY(gold_need(c, f, &rows, "feat/act%d", side));
    DDPM_TRY(gold_need(c, f, mean, "feat/mu%d", side));
    DDPM_TRY(gold_need(c, f, covariance, "feat/sigma%d", side));
    DDPM_TRY(gold_expect(&rows, 2, rows.len));
    const size_t n = rows.shape[1];
    DDPM_TRY(gold_expect(mean, 1, n));
    DDPM_TRY(gold_expect(covariance, 2, n * n));
    double *got = gold_alloc(c, n, sizeof *got), *got_covariance = gold_alloc(c, n * n, sizeof *got);
    DDPM_TRY(moments_new(n, NULL, &m));
    gold_defer(c, undo_moments, m);
    moments_add(m, rows.v, rows.shape[0]);
    DDPM_TRY(moments_read(m, got, got_covariance));
    gold_compare_near(c, mean, got, 1e-10 * gold_peak(mean), 0);
    gold_compare_near(c, covariance, got_covariance, 1e-10 * gold_peak(covariance), 0);
    return DDPM_OK;
}

static ddpm_status features(gold_case *c, const void *ctx)
{
    gold_file *f = *(gold_file *const *)ctx;
    gold_tensor mean[2], covariance[2], want;
    double got;
    for (int side = 0; side < 2; side++) DDPM_TRY(moments_of(c, f, side + 1, &mean[side], &covariance[side]));
    DDPM_TRY(gold_need(c, f, &want, "feat/fid"));
    DDPM_TRY(gold_expect(&want, 0, 1));
    DDPM_TRY(distance(c, &mean[0], &covariance[0], &mean[1], &covariance[1], &got));
    gold_compare_near(c, &want, &got, 0, 1e-8);
    return DDPM_OK;
}

static metric_rows rows_of(const gold_tensor *t) { return (metric_rows){ t->v, t->shape[0], t->shape[1], true }; }

typedef struct { gold_file *f; const json *section; } section_job;

/* Parts of a stated size, as guided-diffusion makes them. */
static ddpm_status scores(gold_case *c, const void *ctx)
{
    const section_job *job = ctx;
    const json *sizes = json_get(job->section, "splits");
    gold_tensor softmax, want;
    DDPM_TRY(gold_need(c, job->f, &softmax, "is/softmax"));
    DDPM_TRY(gold_expect(&softmax, 2, softmax.len));
    const metric_rows rows = rows_of(&softmax);
    for (size_t i = 0; i < json_array_len(sizes); i++) {
        int64_t size;
        if (!json_as_int(json_at(sizes, i), &size) || size < 1) return ddpm_fail(DDPM_EFORMAT, "\"splits\" holds something else than sizes");
        const inception_input in = { .rows = &rows, .split_size = (size_t)size };
        double *score = gold_alloc(c, inception_parts(&in), sizeof *score);
        DDPM_TRY(gold_need(c, job->f, &want, "is/score_split%lld", (long long)size));
        DDPM_TRY(gold_expect(&want, 0, 1));
        DDPM_TRY(inception_score(&in, score));
        const double mean = interval_mean(score, inception_parts(&in));
        gold_compare_near(c, &want, &mean, 0, 1e-10);
    }
    return DDPM_OK;
}

static double *widest(gold_case *c, const double *nearest, size_t n, int k)
{
    double *radius = gold_alloc(c, n, sizeof *radius);
    for (size_t i = 0; i < n; i++) radius[i] = nearest[i * (size_t)k + (size_t)k - 1];
    return radius;
}

/* squared[n]: of the points of `set`, whose radii are compared. */
static ddpm_status radii(gold_case *c, gold_file *f, const char *set, const metric_rows *rows, int k, double **squared)
{
    const metric_work alone = { .threads = NULL };
    gold_tensor want;
    double *nearest = gold_alloc(c, rows->n * (size_t)k, sizeof *nearest), *root = gold_alloc(c, rows->n, sizeof *root);
    DDPM_TRY(gold_need(c, f, &want, "pr/%s_radius", set));
    DDPM_TRY(gold_expect(&want, 1, rows->n));
    DDPM_TRY(manifold_radii(rows, k, &alone, 0, 1, nearest));
    *squared = widest(c, nearest, rows->n, k);
    for (size_t i = 0; i < rows->n; i++) root[i] = sqrt((*squared)[i]);
    gold_compare_near(c, &want, root, 0, 1e-10);
    return DDPM_OK;
}

static ddpm_status members(gold_case *c, gold_file *f, const char *name, const uint8_t *flag, size_t n)
{
    gold_tensor want;
    double *got = gold_alloc(c, n, sizeof *got);
    DDPM_TRY(gold_need(c, f, &want, "pr/%s", name));
    DDPM_TRY(gold_expect(&want, 1, n));
    for (size_t i = 0; i < n; i++) got[i] = flag[i] != 0;
    gold_compare_near(c, &want, got, 0, 0);
    return DDPM_OK;
}

static ddpm_status precision_recall(gold_case *c, const void *ctx)
{
    const section_job *job = ctx;
    const metric_work alone = { .threads = NULL };
    gold_tensor real, made, want;
    double *real_radius, *made_radius;
    int k;
    DDPM_TRY(gold_need_int(job->section, "k", &k));
    DDPM_TRY(gold_need(c, job->f, &real, "pr/real"));
    DDPM_TRY(gold_need(c, job->f, &made, "pr/gen"));
    DDPM_TRY(gold_need(c, job->f, &want, "pr/precision_recall"));
    DDPM_TRY(gold_expect(&real, 2, real.len));
    DDPM_TRY(gold_expect(&made, 2, made.shape[0] * real.shape[1]));
    DDPM_TRY(gold_expect(&want, 1, 2));
    const metric_rows reference = rows_of(&real), samples = rows_of(&made);
    DDPM_TRY(radii(c, job->f, "real", &reference, k, &real_radius));
    DDPM_TRY(radii(c, job->f, "gen", &samples, k, &made_radius));
    const manifold_points p = { gold_alloc(c, samples.n, 1), gold_alloc(c, reference.n, 1), gold_alloc(c, samples.n, sizeof *p.balls), gold_alloc(c, reference.n, 1),
                                gold_alloc(c, MANIFOLD_GROUPS, sizeof *p.held) };
    DDPM_TRY(manifold_compare(&samples, &reference, &(manifold_radius){ made_radius, real_radius, real_radius }, &alone, 0, 1, &p));
    DDPM_TRY(members(c, job->f, "gen_in_real", p.sample_inside, samples.n));
    DDPM_TRY(members(c, job->f, "real_in_gen", p.reference_inside, reference.n));
    manifold_result r;
    DDPM_TRY(manifold_measure(&samples, &reference, NULL, k, k, &alone, &r));
    gold_compare_near(c, &want, (double[2]){ r.precision, r.recall }, 0, 1e-10);
    return DDPM_OK;
}

static ddpm_status metrics(gold_case *c, const void *ctx)
{
    const json *section = ctx;
    gold_file *f;
    DDPM_TRY(gold_open(c, "09_metrics/metrics", &f));
    for (size_t i = 0; i < json_array_len(json_get(section, "fid")); i++) {
        const fid_job job = { f, i };
        gold_case_run(c->run, gold_printf(c, "%s/fid/%zu", f->label, i), fid, &job);
    }
    if (json_get(section, "feat")) gold_case_run(c->run, gold_printf(c, "%s/feat", f->label), features, &f);
    const section_job is = { f, json_get(section, "softmax") }, pr = { f, json_get(section, "pr") };
    if (is.section) gold_case_run(c->run, gold_printf(c, "%s/is", f->label), scores, &is);
    if (pr.section) gold_case_run(c->run, gold_printf(c, "%s/pr", f->label), precision_recall, &pr);
    return DDPM_OK;
}

void golden_metrics(gold_run *run, const json *section)
{
    gold_case_run(run, "09_metrics/metrics", metrics, section);
    if (json_get(section, "inception")) golden_inception(run, json_get(section, "inception"));
}
