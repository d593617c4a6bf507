/* rows.h - features as the metrics take them: rows that may lie in a file, read as doubles. */
#ifndef DDPM_METRICS_ROWS_H
#define DDPM_METRICS_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "base/status.h"

/* data[n,dims] in C order, borrowed: doubles if wide, else floats, at any address. */
typedef struct { const void *data; size_t n, dims; bool wide; } metric_rows;

static inline size_t metric_row_bytes(const metric_rows *r) { return r->dims * (r->wide ? sizeof(double) : sizeof(float)); }

/* Row `row` as out[dims]. */
void metric_rows_read(const metric_rows *r, size_t row, double *out);

/* Whether every number is finite; *row and *column say where the first is that is not. */
bool metric_rows_finite(const metric_rows *r, size_t *row, size_t *column);

/* How long work is done: on the threads of a pool (NULL: the calling one). Now and then `stop` (may be NULL) is asked
 * with `ctx` and how much of how much is done; what it returns other than DDPM_OK ends the work. No result depends on these. */
typedef struct { pool *threads; ddpm_status (*stop)(void *ctx, int64_t done, int64_t all); void *ctx; } metric_work;

#endif
