/* moments.h - mean and covariance of rows that come a few at a time.
 *
 * Rows are taken in blocks of MOMENTS_BLOCK: a block is centred on its own mean, its
 * products are summed, and the block is joined to what came before with the
 * correction for the distance of the two means. All is counted from the first row, so
 * nothing cancels, however far the data lie from 0. The bits depend on the rows and their order, not on how many come at
 * once or on threads. */
#ifndef DDPM_METRICS_MOMENTS_H
#define DDPM_METRICS_MOMENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "base/status.h"

typedef struct moments moments;

enum { MOMENTS_BLOCK = 256 };

/* Rows of `dims` numbers, 1..LINALG_MAX_DIMS. threads: borrowed, used by moments_add; NULL: the
 * calling thread alone. Takes about dims^2 doubles. DDPM_ENOMEM. */
ddpm_status moments_new(size_t dims, pool *threads, moments **m);
void        moments_free(moments *m);                    /* NULL ok */
void        moments_clear(moments *m);                   /* as if no row had come */

void        moments_add(moments *m, const double *rows, size_t n);     /* rows[n,dims] */

size_t      moments_dims(const moments *m);
int64_t     moments_count(const moments *m);

/* mean[dims], covariance[dims,dims] with divisor count - 1, as numpy's cov. DDPM_EINVAL: fewer than two rows. */
ddpm_status moments_read(moments *m, double *mean, double *covariance);

#endif
