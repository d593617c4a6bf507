/* frechet.h - the Frechet distance of two Gaussians.
 *
 *   |m1 - m2|^2 + Tr S1 + Tr S2 - 2 Tr (S1^1/2 S2 S1^1/2)^1/2
 *
 * In features of an Inception network this is the FID. The last matrix is symmetric, so
 * its eigenvalues are real and the trace is the sum of their square roots; a general
 * square root of S1 S2 is never taken, and covariances of fewer samples than dimensions
 * are as good as any. Eigenvalues that rounding put below 0 count as 0. */
#ifndef DDPM_METRICS_FRECHET_H
#define DDPM_METRICS_FRECHET_H

#include <stddef.h>

#include "base/status.h"

/* One of the two, prepared: its decomposition is made once for many distances. */
typedef struct frechet_target frechet_target;

/* mean[dims], covariance[dims,dims] (symmetric) are copied. DDPM_ENOMEM, DDPM_ENUMERIC. */
ddpm_status frechet_target_new(size_t dims, const double *mean, const double *covariance, frechet_target **t);
void        frechet_target_free(frechet_target *t);        /* NULL ok */

typedef struct {
    double distance;    /* squared units of the features; never below 0                          */
    double of_means;    /* |m1 - m2|^2, its first part                                           */
    double clamped;     /* what counted as 0, in the same units: -w of negative eigenvalues w of
                           S1 (where it is singular), (-w)^1/2 of those of the product, a distance below 0; rounding */
} frechet_result;

ddpm_status frechet_distance(const frechet_target *t, const double *mean, const double *covariance, frechet_result *r);

#endif
