#include "nn/memory.h"

#include "base/checked.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int larger_first(const void *a, const void *b)
{
    const nn_span *x = *(nn_span *const *)a, *y = *(nn_span *const *)b;
    if (x->size != y->size) return x->size < y->size ? 1 : -1;
    if (x->born != y->born) return x->born < y->born ? -1 : 1;
    return x < y ? -1 : x > y;           /* of one array: the result must not depend on qsort */
}

static int longer_first(const void *a, const void *b)
{
    const nn_span *x = *(nn_span *const *)a, *y = *(nn_span *const *)b;
    const int longer = (y->dies - y->born) - (x->dies - x->born);
    return longer ? longer : larger_first(a, b);
}

static int more_first(const void *a, const void *b)     /* size times length */
{
    const nn_span *x = *(nn_span *const *)a, *y = *(nn_span *const *)b;
    const double p = (double)x->size * (x->dies - x->born + 1), q = (double)y->size * (y->dies - y->born + 1);
    return p != q ? (p < q) - (p > q) : larger_first(a, b);
}

typedef int (*span_order)(const void *a, const void *b);

static const span_order ORDERS[] = { larger_first, longer_first, more_first };
enum { N_ORDERS = sizeof ORDERS / sizeof *ORDERS };

static size_t rounded(size_t size) { return (size + NN_ALIGNMENT - 1) / NN_ALIGNMENT * NN_ALIGNMENT; }

static bool overlap_in_time(const nn_span *a, const nn_span *b)
{
    return a->born <= b->dies && b->born <= a->dies;
}

/* `placed` is sorted by offset; `s` takes the lowest gap that no live neighbour touches. */
static void place_one(nn_span *s, nn_span **placed, int n)
{
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        const nn_span *o = placed[i];
        if (!overlap_in_time(s, o)) continue;
        if (o->offset >= at + s->size) break;
        const size_t end = o->offset + rounded(o->size);
        if (end > at) at = end;
    }
    s->offset = at;
    int where = n;
    while (where > 0 && placed[where - 1]->offset > at) where--;
    memmove(placed + where + 1, placed + where, (size_t)(n - where) * sizeof *placed);
    placed[where] = s;
}

/* `list` has room for n more. Returns the end of the last span. */
static size_t place_all(nn_span **list, int n, span_order order)
{
    size_t total = 0;
    qsort(list, (size_t)n, sizeof *list, order);
    for (int i = 0; i < n; i++) {
        place_one(list[i], list + n, i);
        const size_t end = list[i]->offset + rounded(list[i]->size);
        if (end > total) total = end;
    }
    return total;
}

/* Each order wins for some networks. */
static size_t place_best(nn_span **list, int n)
{
    size_t least = SIZE_MAX, total = 0;
    int best = 0;
    for (int i = 0; i < N_ORDERS; i++) {
        total = place_all(list, n, ORDERS[i]);
        if (total < least) {
            least = total;
            best = i;
        }
    }
    return best == N_ORDERS - 1 ? total : place_all(list, n, ORDERS[best]);
}

ddpm_status nn_memory_place(nn_span *spans, int count, size_t *total)
{
    assert(count >= 0);
    *total = 0;
    nn_span **list = malloc((2 * (size_t)count + 1) * sizeof *list);
    if (!list) return ddpm_fail(DDPM_ENOMEM, "no memory to plan %d buffers", count);

    int n = 0;
    size_t sum = 0;
    bool fits = true;
    for (int i = 0; i < count; i++) {
        assert(spans[i].born <= spans[i].dies || !spans[i].size);
        spans[i].offset = 0;
        if (!spans[i].size) continue;
        list[n++] = &spans[i];
        size_t padded;
        fits = fits && checked_add(spans[i].size, NN_ALIGNMENT, &padded) && checked_add(sum, padded, &sum);
    }
    if (fits) *total = place_best(list, n);
    free(list);
    return fits ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "%d buffers need more memory than can be addressed", n);
}
