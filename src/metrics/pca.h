/* pca.h - principal components: an affine map to the k directions of largest variance. */
#ifndef DDPM_METRICS_PCA_H
#define DDPM_METRICS_PCA_H

#include <stddef.h>

#include "base/status.h"
#include "metrics/moments.h"

typedef struct {
    size_t  dims, k;
    double *mean;            /* [dims]                                                   */
    double *axes;            /* [k,dims] orthonormal, by falling variance; signs as they come */
    double *variance;        /* [k] along the axes                                       */
    double  total;           /* variance of all directions together                      */
} pca;

/* From what `m` has seen. 1 <= k <= dims and k < count, else DDPM_EINVAL. Also DDPM_ENOMEM, DDPM_ENUMERIC. */
ddpm_status pca_fit(moments *m, size_t k, pca *p);
void        pca_free(pca *p);                            /* zeroed or NULL ok */

/* out[n,k] = (rows[n,dims] - mean) axes^T. DDPM_ENOMEM. */
ddpm_status pca_project(const pca *p, const double *rows, size_t n, double *out);

#endif
