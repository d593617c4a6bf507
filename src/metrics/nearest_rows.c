#include "metrics/nearest_rows.h"

#include <assert.h>
#include <stdlib.h>

#include "metrics/pairs.h"

struct nearest_rows {
    metric_rows  queries;
    int          k;
    nearest_row *nearest;    /* [n,k] sorted */
    int         *found;      /* [n]          */
};

ddpm_status nearest_rows_new(const metric_rows *queries, int k, nearest_rows **s)
{
    assert(queries->n && k >= 1);
    nearest_rows *made = calloc(1, sizeof *made);
    if (made)
        *made = (nearest_rows){ .queries = *queries, .k = k, .nearest = calloc(queries->n, (size_t)k * sizeof *made->nearest),
                                .found = calloc(queries->n, sizeof *made->found) };
    if (made && made->nearest && made->found) {
        *s = made;
        return DDPM_OK;
    }
    nearest_rows_free(made);
    return ddpm_fail(DDPM_ENOMEM, "no memory for %d neighbours of %zu rows", k, queries->n);
}

void nearest_rows_free(nearest_rows *s)
{
    if (!s) return;
    free(s->nearest);
    free(s->found);
    free(s);
}

static void keep(nearest_rows *s, size_t q, nearest_row one)
{
    nearest_row *list = s->nearest + q * (size_t)s->k;
    int at = s->found[q];
    if (at == s->k && list[at - 1].squared <= one.squared) return;
    if (at == s->k) at--;
    else s->found[q]++;
    for (; at && list[at - 1].squared > one.squared; at--) list[at] = list[at - 1];
    list[at] = one;
}

typedef struct { nearest_rows *s; const metric_rows *rows; const int64_t *index; int64_t first; pair_scratch scratch; } chunk;

/* A block of queries with all rows of the chunk, in order. */
static void search(void *ctx, int task, int worker)
{
    const chunk *c = ctx;
    const size_t n = c->s->queries.n, block = (size_t)task;
    const pair_room room = pair_scratch_of(&c->scratch, worker);
    pair_pack(&c->s->queries, NULL, n, block, room.a);
    for (size_t other = 0; other < pair_blocks(c->rows->n); other++) {
        pair_pack(c->rows, NULL, c->rows->n, other, room.b);
        pair_distances(c->rows->dims, &room);
        for (size_t i = 0; i < pair_rows_in(block, n); i++)
            for (size_t j = 0; j < pair_rows_in(other, c->rows->n); j++) {
                const size_t row = other * PAIR_BLOCK + j;
                keep(c->s, block * PAIR_BLOCK + i, (nearest_row){ room.out[i * PAIR_BLOCK + j], c->index ? c->index[row] : c->first + (int64_t)row });
            }
    }
}

ddpm_status nearest_rows_add(nearest_rows *s, const metric_work *w, const metric_rows *rows, const int64_t *index, int64_t first)
{
    assert(rows->dims == s->queries.dims);
    chunk c = { .s = s, .rows = rows, .index = index, .first = first };
    const int tasks = (int)pair_blocks(s->queries.n);
    DDPM_TRY(pair_scratch_new(w, rows->dims, &c.scratch));
    const ddpm_status status = pair_run(w, tasks, 0, tasks, search, &c);
    pair_scratch_free(&c.scratch);
    return status;
}

const nearest_row *nearest_rows_of(const nearest_rows *s, size_t q, int *found)
{
    *found = s->found[q];
    return s->nearest + q * (size_t)s->k;
}
