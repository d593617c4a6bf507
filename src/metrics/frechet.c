#include "metrics/frechet.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/linalg.h"

struct frechet_target {
    size_t  dims;
    double *mean;         /* [dims]                                                       */
    double *root;         /* [dims,dims]: root^T root is S1, so that root S root^T has the
                             eigenvalues of S1^1/2 S S1^1/2                                */
    double  trace, clamped;
};

/* Rows of the root are eigenvectors times w^1/2. */
static ddpm_status root_of_any(const double *covariance, frechet_target *t)
{
    const size_t n = t->dims;
    double *w = calloc(n, sizeof *w);
    if (!w) return ddpm_fail(DDPM_ENOMEM, "no memory for a Gaussian of %zu dimensions", n);
    memcpy(t->root, covariance, n * n * sizeof *covariance);
    const ddpm_status status = linalg_eigen(n, t->root, true, w);
    for (size_t i = 0; status == DDPM_OK && i < n; i++) {
        const double root = w[i] > 0 ? sqrt(w[i]) : 0;
        t->clamped += w[i] < 0 ? -w[i] : 0;
        for (size_t j = 0; j < n; j++) t->root[i * n + j] *= root;
    }
    free(w);
    return status;
}

/* Any root will do, and a triangular one is found in a fraction of the time of eigenvectors. It exists where no eigenvalue is 0. */
static ddpm_status find_root(const double *covariance, frechet_target *t)
{
    bool definite;
    memcpy(t->root, covariance, t->dims * t->dims * sizeof *covariance);
    DDPM_TRY(linalg_cholesky(t->dims, t->root, &definite));
    return definite ? DDPM_OK : root_of_any(covariance, t);
}

ddpm_status frechet_target_new(size_t dims, const double *mean, const double *covariance, frechet_target **t)
{
    frechet_target *made = calloc(1, sizeof *made);
    if (made) *made = (frechet_target){ .dims = dims, .mean = calloc(dims, sizeof *mean), .root = calloc(dims * dims, sizeof *made->root) };
    ddpm_status status = made && made->mean && made->root ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for a Gaussian of %zu dimensions", dims);
    if (status == DDPM_OK) {
        memcpy(made->mean, mean, dims * sizeof *mean);
        for (size_t i = 0; i < dims; i++) made->trace += covariance[i * dims + i];
        status = find_root(covariance, made);
    }
    if (status == DDPM_OK) *t = made;
    else frechet_target_free(made);
    return status;
}

void frechet_target_free(frechet_target *t)
{
    if (!t) return;
    free(t->mean);
    free(t->root);
    free(t);
}

static void finish(const frechet_target *t, const double *mean, const double *covariance, const double *w, frechet_result *r)
{
    double roots = 0, trace = t->trace;
    *r = (frechet_result){ .clamped = t->clamped };
    for (size_t i = 0; i < t->dims; i++) {
        const double d = mean[i] - t->mean[i];
        r->of_means += d * d;
        trace += covariance[i * t->dims + i];
        if (w[i] > 0) roots += sqrt(w[i]);
        else r->clamped += sqrt(-w[i]);
    }
    r->distance = r->of_means + trace - 2 * roots;
    if (r->distance >= 0) return;
    r->clamped -= r->distance;
    r->distance = 0;
}

ddpm_status frechet_distance(const frechet_target *t, const double *mean, const double *covariance, frechet_result *r)
{
    const size_t n = t->dims;
    double *half = calloc(n * n, sizeof *half), *product = calloc(n * n, sizeof *product), *w = calloc(n, sizeof *w);
    ddpm_status status = half && product && w ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the distance of Gaussians of %zu dimensions", n);
    if (status == DDPM_OK) status = linalg_product(n, n, n, t->root, covariance, half);
    if (status == DDPM_OK) status = linalg_product(n, n, n, half, t->root, product);
    if (status == DDPM_OK) status = linalg_eigen(n, product, false, w);
    if (status == DDPM_OK) finish(t, mean, covariance, w, r);
    free(half);
    free(product);
    free(w);
    return status;
}
