/* eval_frechet.h - the Frechet distances of `ddpm eval`: of the features, of the spatial ones, and without the error of a finite number of samples. */
#ifndef DDPM_API_EVAL_FRECHET_H
#define DDPM_API_EVAL_FRECHET_H

#include <stdio.h>

#include "api/eval_side.h"
#include "api/judge.h"
#include "metrics/bootstrap.h"
#include "metrics/extrapolate.h"
#include "metrics/frechet.h"

/* The reference, decomposed once for all that is measured against it; NULL: not wanted. */
typedef struct { frechet_target *whole, *spatial; size_t spatial_dims; } frechet_targets;

/* Of METRIC_FD, METRIC_SFID and METRIC_FID_INF those that are wanted. save: a file for the statistics of the reference; "": none. */
ddpm_status frechet_targets_new(eval_side *reference, const eval_session *s, const feature_space *space, unsigned wanted, const char *save, frechet_targets *t);
/* EINVAL: spatial features of another number than the reference's, where these are wanted. */
ddpm_status frechet_check_spatial(const frechet_targets *t, const char *samples, size_t dims);
void        frechet_targets_free(frechet_targets *t);    /* zeroed is fine */

typedef struct {
    unsigned have;                       /* of METRIC_FD, METRIC_SFID, METRIC_FID_INF                     */
    bool     inception, of_files;        /* names say so; both sides are statistics                       */
    char     in[FEATURES_SPACE_SIZE];    /* the space of pixels, which is part of the name; "": others    */
    const char *input;                   /* whose way of preparing images is Inception's here; "": not known */
    char     key[FEATURES_SPACE_SIZE + 16];      /* of the distance in the document                       */
    size_t   dims, spatial_dims;
    bool     alike;                      /* all samples have the same features                            */
    bool     equal;                      /* both sets have the same mean and covariance, up to rounding   */
    int64_t  n_samples, n_least;         /* n_least: of the smaller set; INT64_MAX: not known             */
    frechet_result     whole, spatial;
    int                replicates, spatial_replicates;           /* resampled sets of the intervals; 0: none  */
    bootstrap_interval interval, spatial_interval;
    extrapolate_result endless;
} eval_frechet;

/* r->have, ->replicates, ->spatial_replicates say what to measure. EINVAL: spatial features of other numbers. The samples' rows are needed for an interval and for METRIC_FID_INF. */
ddpm_status eval_frechet_measure(eval_side *samples, const eval_session *s, const frechet_targets *t, eval_frechet *r);

/* Lines of text, keys of the document, values of a judge. */
void        eval_frechet_print(const eval_frechet *r, FILE *f);
void        eval_frechet_put(const eval_frechet *r, json *o);
void        eval_frechet_values(const eval_frechet *r, eval_result *result);

#endif
