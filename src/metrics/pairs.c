#include "metrics/pairs.h"

#include <stdlib.h>
#include <string.h>

#include "metrics/tile.h"

enum { WAVE = 4,         /* tasks of a thread between two questions whether to stop */
       SPAN = 256 };     /* numbers of a row at once */

int pair_workers(const metric_work *w) { return w->threads ? pool_threads(w->threads) : 1; }

static size_t room_size(size_t dims) { return 2 * PAIR_BLOCK * dims + PAIR_BLOCK * PAIR_BLOCK; }

ddpm_status pair_scratch_new(const metric_work *w, size_t dims, pair_scratch *s)
{
    *s = (pair_scratch){ .dims = dims, .memory = calloc((size_t)pair_workers(w), room_size(dims) * sizeof *s->memory) };
    return s->memory ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory to compare rows of %zu numbers on %d threads", dims, pair_workers(w));
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

/* Column i of a panel is row i of these; `from` is where its numbers begin. */
static void spread(const double (*rows)[SPAN], size_t len, double *panel)
{
    for (size_t r = 0; r < len; r++)
        for (size_t i = 0; i < TILE; i++) panel[r * TILE + i] = rows[i][r];
}

void pair_pack(const metric_rows *r, const int64_t *index, size_t n, size_t block, double *panels)
{
    double part[TILE][SPAN];
    const size_t first = block * PAIR_BLOCK, size = r->wide ? sizeof(double) : sizeof(float), here = pair_rows_in(block, n);
    for (size_t panel = 0; panel < PAIR_BLOCK; panel += TILE)
        for (size_t from = 0; from < r->dims; from += SPAN) {
            const size_t len = r->dims - from < SPAN ? r->dims - from : SPAN;
            for (size_t i = 0; i < TILE; i++) {
                const size_t at = first + panel + i;
                if (panel + i >= here) {
                    memset(part[i], 0, sizeof part[i]);
                    continue;
                }
                const metric_rows piece = { (const char *)r->data + ((index ? (size_t)index[at] : at) * r->dims + from) * size, 1, len, r->wide };
                metric_rows_read(&piece, 0, part[i]);
            }
            spread((const double (*)[SPAN])part, len, panels + panel * r->dims + from * TILE);
        }
}

/* A span of the rows at a time, so that panels stay in the nearest caches. */
static void all_pairs(void (*kernel)(const tile_job *), size_t dims, const pair_room *room)
{
    memset(room->out, 0, PAIR_BLOCK * PAIR_BLOCK * sizeof *room->out);
    for (size_t from = 0; from < dims; from += SPAN)
        kernel(&(tile_job){ .a = room->a + from * TILE, .b = room->b + from * TILE, .a_panels = PAIR_BLOCK / TILE, .b_panels = PAIR_BLOCK / TILE,
                            .a_step = TILE * dims, .b_step = TILE * dims, .n = dims - from < SPAN ? dims - from : SPAN, .c = room->out,
                            .stride = PAIR_BLOCK, .on = true });
}

void pair_products(size_t dims, const pair_room *room) { all_pairs(tile_best()->products, dims, room); }
void pair_distances(size_t dims, const pair_room *room) { all_pairs(tile_best()->squares, dims, room); }

typedef struct { int first; void (*fn)(void *ctx, int task, int worker); void *ctx; } wave;

static void run_one(void *ctx, int task, int worker)
{
    const wave *w = ctx;
    w->fn(w->ctx, w->first + task, worker);
}

ddpm_status pair_run(const metric_work *w, int tasks, int64_t before, int64_t all, void (*fn)(void *ctx, int task, int worker), void *ctx)
{
    const int together = WAVE * pair_workers(w);
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
