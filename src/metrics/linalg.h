/* linalg.h - the little dense linear algebra that measuring needs; matrices are row-major.
 *
 * LAPACK is reached only from linalg.c, on one thread: which LAPACK is installed changes
 * rounding, the signs of vectors and the time, no more. */
#ifndef DDPM_METRICS_LINALG_H
#define DDPM_METRICS_LINALG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum { LINALG_MAX_DIMS = 16384 };

/* Eigenvalues w[n], ascending, of the symmetric a[n,n]. vectors: row k of a becomes the
 * unit eigenvector of w[k]; otherwise a is used up. n is 1..LINALG_MAX_DIMS. Errors:
 * DDPM_ENOMEM; DDPM_ENUMERIC (a holds values that are not finite, or no convergence). */
ddpm_status linalg_eigen(size_t n, double *a, bool vectors, double *w);

/* The k largest eigenvalues w[k], falling, and their unit eigenvectors, the rows of vectors[k,n]; `a` is used up.
 * 1 <= k <= n. Where k is much smaller than n this takes a third of the time. Errors as above. */
ddpm_status linalg_eigen_top(size_t n, double *a, size_t k, double *w, double *vectors);

/* The symmetric a[n,n] becomes the upper triangular root with root^T root = a, zeros below its diagonal. *definite: false where rounding
 * leaves a pivot that is not above 0, and a holds nothing then. DDPM_ENUMERIC: values that are not finite. */
ddpm_status linalg_cholesky(size_t n, double *a, bool *definite);

/* out[m,n] = a[m,k] times the transpose of b[n,k]; sums in the order of k. DDPM_ENOMEM. */
ddpm_status linalg_product(size_t m, size_t n, size_t k, const double *a, const double *b, double *out);

#endif
