#include "metrics/pca.h"

#include <stdlib.h>

#include "metrics/linalg.h"

static ddpm_status reserve(size_t dims, size_t k, pca *p)
{
    *p = (pca){ .dims = dims, .k = k, .mean = calloc(dims, sizeof *p->mean), .axes = calloc(k * dims, sizeof *p->axes),
                .variance = calloc(k, sizeof *p->variance) };
    return p->mean && p->axes && p->variance ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for %zu principal components of %zu numbers", k, dims);
}

ddpm_status pca_fit(moments *m, size_t k, pca *p)
{
    const size_t dims = moments_dims(m);
    *p = (pca){ 0 };
    if (k < 1 || k > dims) return ddpm_fail(DDPM_EINVAL, "%zu principal components are asked for, the data have %zu dimensions", k, dims);
    if ((int64_t)k >= moments_count(m))
        return ddpm_fail(DDPM_EINVAL, "%zu principal components need more than %zu rows to be fitted to, there are %lld; ask for fewer", k, k, (long long)moments_count(m));
    double *covariance = calloc(dims * dims, sizeof *covariance);
    ddpm_status status = covariance ? reserve(dims, k, p) : ddpm_fail(DDPM_ENOMEM, "no memory for the covariance of %zu numbers", dims);
    if (status == DDPM_OK) status = moments_read(m, p->mean, covariance);
    for (size_t i = 0; status == DDPM_OK && i < dims; i++) p->total += covariance[i * dims + i];
    if (status == DDPM_OK) status = linalg_eigen_top(dims, covariance, k, p->variance, p->axes);
    for (size_t i = 0; status == DDPM_OK && i < k; i++) p->variance[i] = p->variance[i] > 0 ? p->variance[i] : 0;
    if (status != DDPM_OK) pca_free(p);
    free(covariance);
    return status;
}

void pca_free(pca *p)
{
    if (!p) return;
    free(p->mean);
    free(p->axes);
    free(p->variance);
    *p = (pca){ 0 };
}

ddpm_status pca_project(const pca *p, const double *rows, size_t n, double *out)
{
    double *centred = malloc(n * p->dims * sizeof *centred + 1);
    if (!centred) return ddpm_fail(DDPM_ENOMEM, "no memory for %zu images at once", n);
    for (size_t i = 0; i < n * p->dims; i++) centred[i] = rows[i] - p->mean[i % p->dims];
    const ddpm_status status = linalg_product(n, p->k, p->dims, centred, p->axes, out);
    free(centred);
    return status;
}
