/* neighbours.h - the nearest images of a set, by Euclidean distance of their bytes.
 *
 * Squared distances are sums of whole numbers, hence exact: neither order nor threads
 * matter. The set passes by a chunk at a time and need not fit into memory. */
#ifndef DDPM_METRICS_NEIGHBOURS_H
#define DDPM_METRICS_NEIGHBOURS_H

#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "base/status.h"

typedef struct neighbours neighbours;
typedef struct { uint64_t squared; int64_t index; } neighbour;

/* queries[count,bytes] are borrowed; the k nearest of each are kept. count, bytes, k >= 1. DDPM_ENOMEM. */
ddpm_status neighbours_new(const uint8_t *queries, size_t count, size_t bytes, int k, neighbours **nb);
void        neighbours_free(neighbours *nb);                 /* NULL ok */

/* More of the set: images[n,bytes] with the numbers index[n]. */
void        neighbours_add(neighbours *nb, pool *threads, const uint8_t *images, const int64_t *index, int n);

/* The nearest images of query q seen so far, nearest first; of equally near ones the one that came first.
 * Borrowed; *found of them, at most k. */
const neighbour *neighbours_of(const neighbours *nb, size_t q, int *found);

#endif
