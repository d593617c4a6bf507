#include "metrics/neighbours.h"

#include <assert.h>
#include <stdlib.h>

enum { QUERIES = 16, SPAN = 16384 };     /* queries of a task; bytes whose squares 32 bits hold */

struct neighbours {
    const uint8_t *queries;
    size_t     count, bytes;
    int        k;
    neighbour *nearest;      /* [count,k] sorted */
    int       *found;        /* [count]          */
};

ddpm_status neighbours_new(const uint8_t *queries, size_t count, size_t bytes, int k, neighbours **nb)
{
    assert(count && bytes && k >= 1);
    neighbours *made = calloc(1, sizeof *made);
    if (made)
        *made = (neighbours){ .queries = queries, .count = count, .bytes = bytes, .k = k, .nearest = calloc(count, (size_t)k * sizeof *made->nearest),
                              .found = calloc(count, sizeof *made->found) };
    if (made && made->nearest && made->found) {
        *nb = made;
        return DDPM_OK;
    }
    neighbours_free(made);
    return ddpm_fail(DDPM_ENOMEM, "no memory for %d neighbours of %zu images", k, count);
}

void neighbours_free(neighbours *nb)
{
    if (!nb) return;
    free(nb->nearest);
    free(nb->found);
    free(nb);
}

static uint64_t squared_distance(const uint8_t *a, const uint8_t *b, size_t len)
{
    uint64_t sum = 0;
    for (size_t from = 0; from < len; from += SPAN) {
        const size_t to = len - from < SPAN ? len : from + SPAN;
        int part = 0;
        for (size_t i = from; i < to; i++) {
            const int16_t d = (int16_t)(a[i] - b[i]);
            part += d * d;
        }
        sum += (uint64_t)part;
    }
    return sum;
}

static void keep(neighbours *nb, size_t q, neighbour one)
{
    neighbour *list = nb->nearest + q * (size_t)nb->k;
    int at = nb->found[q];
    if (at == nb->k && list[at - 1].squared <= one.squared) return;
    if (at == nb->k) at--;
    else nb->found[q]++;
    for (; at && list[at - 1].squared > one.squared; at--) list[at] = list[at - 1];
    list[at] = one;
}

typedef struct { neighbours *nb; const uint8_t *images; const int64_t *index; int n; } chunk;

/* A few queries and one image at a time stay in the first-level cache. */
static void search(void *ctx, int task, int worker)
{
    (void)worker;
    const chunk *c = ctx;
    neighbours *nb = c->nb;
    const size_t first = (size_t)task * QUERIES, end = nb->count - first < QUERIES ? nb->count : first + QUERIES;
    for (int i = 0; i < c->n; i++)
        for (size_t q = first; q < end; q++)
            keep(nb, q, (neighbour){ squared_distance(nb->queries + q * nb->bytes, c->images + (size_t)i * nb->bytes, nb->bytes), c->index[i] });
}

void neighbours_add(neighbours *nb, pool *threads, const uint8_t *images, const int64_t *index, int n)
{
    chunk c = { nb, images, index, n };
    pool_run(threads, (int)((nb->count + QUERIES - 1) / QUERIES), search, &c);
}

const neighbour *neighbours_of(const neighbours *nb, size_t q, int *found)
{
    *found = nb->found[q];
    return nb->nearest + q * (size_t)nb->k;
}
