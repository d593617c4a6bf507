/* eval_metrics.h - the words of --metrics; those metrics that compare features row by row, and the score of logits. */
#ifndef DDPM_API_EVAL_METRICS_H
#define DDPM_API_EVAL_METRICS_H

#include <stdio.h>

#include "api/eval_parts.h"
#include "api/judge.h"
#include "metrics/kernel_distance.h"
#include "metrics/manifold.h"

enum { METRIC_FD = 1, METRIC_KID = 2, METRIC_PR = 4, METRIC_DC = 8, METRIC_IS = 16, METRIC_SFID = 32, METRIC_FID_INF = 64,
       METRIC_ALL = 128 /* of a parsed word: whatever the two sets allow */ };

/* Those that need the rows of both sets; those of eval_frechet.h. */
enum { METRICS_OF_ROWS = METRIC_KID | METRIC_PR | METRIC_DC, METRICS_FRECHET = METRIC_FD | METRIC_SFID | METRIC_FID_INF };

/* --metrics: a set of them, 0 for auto. DDPM_EINVAL: a word that is none. */
ddpm_status eval_metrics_parse(const char *text, unsigned *wanted);

/* Precision and recall: balls to the third nearest, as Kynkaanniemi et al. 2019 have them. */
enum { PRECISION_K = 3 };

typedef struct {
    unsigned have;                       /* of METRIC_KID, METRIC_PR, METRIC_DC, METRIC_IS */
    bool     inception;                  /* the features are Inception's: names say so     */
    kernel_options  kernel;
    kernel_result   kid;
    manifold_result manifold;
    size_t   splits;
    double   score, score_deviation;
    metric_interval score_interval;
} eval_metrics;

/* Two sets of features of equal dims, each with at least two rows, finite. logits: of the samples, as many rows; NULL: none, which METRIC_IS
 * needs. nearest: eval_metrics_nearest of the reference; NULL where neither METRIC_PR nor METRIC_DC is wanted. Others than METRICS_FRECHET are
 * measured here. */
typedef struct { const metric_rows *samples, *reference, *logits; const double *nearest; } eval_rows;

/* To be called first: settings against the numbers of rows, with warnings. DDPM_EINVAL: a set is too small for what is wanted. */
ddpm_status eval_metrics_prepare(eval_session *s, const eval_rows *rows, unsigned wanted, eval_metrics *m);

/* Distances of the reference's points to their neighbours, for all sets that are measured against it with what is `wanted`; the caller frees. The
 * reference has passed eval_metrics_prepare. */
ddpm_status eval_metrics_nearest(const eval_session *s, const metric_rows *reference, unsigned wanted, double **nearest);
ddpm_status eval_metrics_measure(const eval_session *s, const eval_rows *rows, eval_metrics *m);

/* Lines of text, keys of the document, values of a judge. */
void        eval_metrics_print(const eval_metrics *m, FILE *f);
void        eval_metrics_put(const eval_metrics *m, json *o);
void        eval_metrics_values(const eval_metrics *m, eval_result *result);

/* One more value; key, one that eval_value_words knows, is borrowed. */
void        eval_value_add(eval_result *r, const char *key, double value, metric_interval interval);

#endif
