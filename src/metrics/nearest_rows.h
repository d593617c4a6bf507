/* nearest_rows.h - the nearest rows of a set to each of some rows, by Euclidean distance of features.
 *
 * Every pair is compared: squared distances are sums of squared differences in doubles, so an equal row is at 0. The set passes by a
 * chunk at a time and need not fit into memory. Neither threads nor chunks change the result. */
#ifndef DDPM_METRICS_NEAREST_ROWS_H
#define DDPM_METRICS_NEAREST_ROWS_H

#include "metrics/rows.h"

typedef struct nearest_rows nearest_rows;
typedef struct { double squared; int64_t index; } nearest_row;

/* queries are borrowed; the k nearest of each are kept. queries->n, k >= 1. ENOMEM. */
ddpm_status nearest_rows_new(const metric_rows *queries, int k, nearest_rows **s);
void        nearest_rows_free(nearest_rows *s);              /* NULL ok */

/* More of the set: rows with the numbers index[rows->n] (NULL: first, first + 1, ...). ENOMEM, or what w->stop says. */
ddpm_status nearest_rows_add(nearest_rows *s, const metric_work *w, const metric_rows *rows, const int64_t *index, int64_t first);

/* The nearest to query q seen so far, nearest first; of equally near ones the one that came first. Borrowed; *found of them, at most k. */
const nearest_row *nearest_rows_of(const nearest_rows *s, size_t q, int *found);

#endif
