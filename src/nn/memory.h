/* memory.h - the offset planner: lifetimes in, offsets out. A pure function.
 *
 * Two spans that are alive at a common step never overlap in memory. Not an
 * optimal packing (that is NP-hard): each takes the lowest free offset, the
 * largest, the longest or the largest product first, whichever needs least. */
#ifndef DDPM_NN_MEMORY_H
#define DDPM_NN_MEMORY_H

#include "base/status.h"

#include <stddef.h>

/* Needed at every step of [born, dies]. size 0: not needed at all. */
typedef struct { size_t size, offset; int born, dies; } nn_span;

enum { NN_ALIGNMENT = 64 };

/* Sets every offset (a multiple of NN_ALIGNMENT); *total receives the slab size. */
ddpm_status nn_memory_place(nn_span *spans, int count, size_t *total);

#endif
