#include "metrics/pairs.h"

#include <stdlib.h>
#include <string.h>

#include "metrics/tile.h"

enum { WAVE = 4 };       /* tasks of a thread between two questions whether to stop */

static int threads_of(const metric_work *w) { return w->threads ? pool_threads(w->threads) : 1; }

static size_t room_size(size_t dims) { return 2 * PAIR_BLOCK * dims + PAIR_BLOCK * PAIR_BLOCK; }

ddpm_status pair_scratch_new(const metric_work *w, size_t dims, pair_scratch *s)
{
    *s = (pair_scratch){ .dims = dims, .memory = calloc((size_t)threads_of(w), room_size(dims) * sizeof *s->memory) };
    return s->memory ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory to compare rows of %zu numbers on %d threads", dims, threads_of(w));
}

void pair_scratch_free(pair_scratch *s)
{
    free(s->memory);
    s->memory = NULL;
}

pair_room pair_scratch_of(const pair_scratch *s, int worker)
{
    double *at = s->memory + (size_t)worker * room_size(s->dims);
    return (pair_room){ .a = at, .b = at + PAIR_BLOCK * s->dims, .out = at + 2 * PAIR_BLOCK * s->dims };
}

static void spread(const double *row, size_t dims, double *column)
{
    for (size_t i = 0; i < dims; i++) column[i * TILE] = row[i];
}

void pair_pack(const metric_rows *r, const int64_t *index, size_t n, size_t block, double *panels)
{
    double part[256];
    const size_t first = block * PAIR_BLOCK, size = r->wide ? sizeof(double) : sizeof(float), step = sizeof part / sizeof *part;
    memset(panels, 0, PAIR_BLOCK * r->dims * sizeof *panels);
    for (size_t i = 0; i < pair_rows_in(block, n); i++) {
        const size_t row = index ? (size_t)index[first + i] : first + i;
        double *column = panels + i / TILE * TILE * r->dims + i % TILE;
        for (size_t from = 0; from < r->dims; from += step) {
            const size_t len = r->dims - from < step ? r->dims - from : step;
            const metric_rows piece = { (const char *)r->data + (row * r->dims + from) * size, 1, len, r->wide };
            metric_rows_read(&piece, 0, part);
            spread(part, len, column + from * TILE);
        }
    }
}

void pair_products(size_t dims, const pair_room *room)
{
    memset(room->out, 0, PAIR_BLOCK * PAIR_BLOCK * sizeof *room->out);
    for (size_t i = 0; i < PAIR_BLOCK; i += TILE)
        for (size_t k = 0; k < PAIR_BLOCK; k += TILE) tile_add(room->a + i * dims, room->b + k * dims, dims, room->out + i * PAIR_BLOCK + k, PAIR_BLOCK);
}

void pair_distances(size_t dims, const pair_room *room)
{
    memset(room->out, 0, PAIR_BLOCK * PAIR_BLOCK * sizeof *room->out);
    for (size_t i = 0; i < PAIR_BLOCK; i += TILE)
        for (size_t k = 0; k < PAIR_BLOCK; k += TILE) tile_add_squares(room->a + i * dims, room->b + k * dims, dims, room->out + i * PAIR_BLOCK + k, PAIR_BLOCK);
}

typedef struct { int first; void (*fn)(void *ctx, int task, int worker); void *ctx; } wave;

static void run_one(void *ctx, int task, int worker)
{
    const wave *w = ctx;
    w->fn(w->ctx, w->first + task, worker);
}

ddpm_status pair_run(const metric_work *w, int tasks, int64_t before, int64_t all, void (*fn)(void *ctx, int task, int worker), void *ctx)
{
    const int together = WAVE * threads_of(w);
    for (int first = 0; first < tasks; first += together) {
        const int now = tasks - first < together ? tasks - first : together;
        wave one = { first, fn, ctx };
        if (w->stop) DDPM_TRY(w->stop(w->ctx, before + first, all));
        if (w->threads) pool_run(w->threads, now, run_one, &one);
        else
            for (int i = 0; i < now; i++) run_one(&one, i, 0);
    }
    return DDPM_OK;
}
