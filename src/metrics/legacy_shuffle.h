/* legacy_shuffle.h - numpy's RandomState, as far as torch-fidelity uses it.
 *
 * Which rows a subset has is part of what torch-fidelity's numbers depend on, so equal numbers need
 * equal draws: the Mersenne twister (Matsumoto and Nishimura 1998) and numpy's way of shuffling with it, which numpy keeps as it is.
 * All else in this program draws from base/rng.h. */
#ifndef DDPM_METRICS_LEGACY_SHUFFLE_H
#define DDPM_METRICS_LEGACY_SHUFFLE_H

#include <stddef.h>
#include <stdint.h>

enum { LEGACY_WORDS = 624 };

typedef struct { uint32_t word[LEGACY_WORDS]; int next; } legacy_random;

/* RandomState(seed) */
void legacy_seed(legacy_random *r, uint32_t seed);

/* order[n]: RandomState.permutation(n), whose first m are choice(n, m, replace=False). 1 <= n <= 2^32. */
void legacy_permutation(legacy_random *r, size_t n, int64_t *order);

#endif
