#include "metrics/near.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/tile.h"

enum { SPAN = 256,               /* numbers of a row at once                                                    */
       MOST_DIMS = 131072,       /* of the estimate                                                             */
       FEW = 192 };              /* pairs that take less time one by one than all pairs of their blocks together */

/* Below, floats that are too small for their usual precision might matter. */
static const double SMALLEST = 1e-20;

ddpm_status near_set_new(const metric_rows *rows, near_set *s)
{
    double *row = calloc(rows->dims, sizeof *row);
    *s = (near_set){ .rows = rows, .squares = calloc(rows->n, sizeof *s->squares) };
    for (size_t i = 0; row && s->squares && i < rows->n; i++) {
        metric_rows_read(rows, i, row);
        for (size_t k = 0; k < rows->dims; k++) s->squares[i] += row[k] * row[k];
    }
    const bool room = row && s->squares;
    free(row);
    if (room) return DDPM_OK;
    near_set_free(s);
    return ddpm_fail(DDPM_ENOMEM, "no memory for the lengths of %zu rows", rows->n);
}

void near_set_free(near_set *s)
{
    free(s->squares);
    s->squares = NULL;
}

/* --- memory ------------------------------------------------------------------------------------ */

static size_t rough_size(size_t dims) { return 2 * PAIR_BLOCK * dims + PAIR_BLOCK * PAIR_BLOCK; }

ddpm_status near_scratch_new(const metric_work *w, size_t dims, near_scratch *s)
{
    const size_t workers = (size_t)pair_workers(w);
    *s = (near_scratch){ .dims = dims, .rough = calloc(workers, rough_size(dims) * sizeof *s->rough),
                         .few = calloc(workers, (1 + NEAR_TOGETHER) * dims * sizeof *s->few) };
    if (s->rough && s->few) return pair_scratch_new(w, dims, &s->exact);
    return ddpm_fail(DDPM_ENOMEM, "no memory to compare rows of %zu numbers on %zu threads", dims, workers);
}

void near_scratch_free(near_scratch *s)
{
    pair_scratch_free(&s->exact);
    free(s->rough);
    free(s->few);
    *s = (near_scratch){ 0 };
}

near_room near_scratch_of(const near_scratch *s, int worker)
{
    float *at = s->rough + (size_t)worker * rough_size(s->dims);
    const pair_room exact = pair_scratch_of(&s->exact, worker);
    return (near_room){ .dims = s->dims, .exact = exact, .a = at, .b = at + PAIR_BLOCK * s->dims, .products = at + 2 * PAIR_BLOCK * s->dims,
                        .few = s->few + (size_t)worker * (1 + NEAR_TOGETHER) * s->dims, .out = exact.out };
}

/* --- estimates ------------------------------------------------------------------------------------ */

static void read_rough(const metric_rows *r, size_t row, size_t from, size_t len, float *out)
{
    if (!r->wide) {
        memcpy(out, (const char *)r->data + (row * r->dims + from) * sizeof *out, len * sizeof *out);
        return;
    }
    for (size_t i = 0; i < len; i++) {
        double wide;
        memcpy(&wide, (const char *)r->data + (row * r->dims + from + i) * sizeof wide, sizeof wide);
        out[i] = (float)wide;
    }
}

static void pack_rough(const metric_rows *r, size_t block, float *panels)
{
    float part[TILE_ROUGH][SPAN];
    const size_t here = pair_rows_in(block, r->n);
    for (size_t panel = 0; panel < PAIR_BLOCK; panel += TILE_ROUGH)
        for (size_t from = 0; from < r->dims; from += SPAN) {
            const size_t len = r->dims - from < SPAN ? r->dims - from : SPAN;
            float *at = panels + panel * r->dims + from * TILE_ROUGH;
            for (size_t i = 0; i < TILE_ROUGH; i++) {
                if (panel + i < here) read_rough(r, block * PAIR_BLOCK + panel + i, from, len, part[i]);
                else memset(part[i], 0, sizeof part[i]);
            }
            for (size_t k = 0; k < len; k++)
                for (size_t i = 0; i < TILE_ROUGH; i++) at[k * TILE_ROUGH + i] = part[i][k];
        }
}

static void estimate(const near_room *room)
{
    memset(room->products, 0, PAIR_BLOCK * PAIR_BLOCK * sizeof *room->products);
    for (size_t from = 0; from < room->dims; from += SPAN)
        tile_best()->rough(&(tile_rough_job){ .a = room->a + from * TILE_ROUGH, .b = room->b + from * TILE_ROUGH, .a_panels = PAIR_BLOCK / TILE_ROUGH,
                                              .b_panels = PAIR_BLOCK / TILE_ROUGH, .a_step = TILE_ROUGH * room->dims, .b_step = TILE_ROUGH * room->dims,
                                              .n = room->dims - from < SPAN ? room->dims - from : SPAN, .c = room->products, .stride = PAIR_BLOCK, .on = true });
}

/* Where floats or doubles overflow nothing is excluded, nor are rows of NaN. */
static bool excluded(size_t dims, double squares, float product, double limit)
{
    const double bound = squares * (1 - 1.02 * (double)(dims + 3) * 0x1p-24) - 2 * (double)product;
    return squares >= SMALLEST && fabsf(product) <= FLT_MAX && bound > limit;
}

/* --- distances ------------------------------------------------------------------------------------- */

typedef struct { uint8_t row, column; } place;

/* Which pairs of the blocks are to be measured, all of them if it is more than `most`. */
static size_t find(const near_room *room, const near_set *right, size_t block, const double *left_limit, const double *right_limit, place *found, size_t most)
{
    const double *a = room->left->squares + room->block * PAIR_BLOCK, *b = right->squares + block * PAIR_BLOCK;
    const size_t rows = pair_rows_in(room->block, room->left->rows->n), columns = pair_rows_in(block, right->rows->n);
    size_t count = 0;
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < columns; k++) {
            const double limit = right_limit && right_limit[k] > left_limit[i] ? right_limit[k] : left_limit[i];
            if (excluded(room->dims, a[i] + b[k], room->products[i * PAIR_BLOCK + k], limit)) continue;
            if (count == most) return most + 1;
            found[count++] = (place){ (uint8_t)i, (uint8_t)k };
        }
    return count;
}

/* The order of each sum is that of pair_distances; several are under way, since an addition waits for the one before. */
static void measure_together(size_t dims, const double *a, const double *b, double *squared)
{
    double sum[NEAR_TOGETHER] = { 0 };
    for (size_t r = 0; r < dims; r++)
        for (size_t i = 0; i < NEAR_TOGETHER; i++) {
            const double d = a[r] - b[i * dims + r];
            sum[i] += d * d;
        }
    memcpy(squared, sum, sizeof sum);
}

/* Places of one row of the left block follow each other. */
static void measure_few(const near_room *room, const metric_rows *right, size_t block, const place *found, size_t count)
{
    double *row = room->few, *columns = room->few + room->dims, squared[NEAR_TOGETHER];
    for (size_t i = 0; i < PAIR_BLOCK * PAIR_BLOCK; i++) room->out[i] = INFINITY;
    for (size_t at = 0, n; at < count; at += n) {
        for (n = 0; n < NEAR_TOGETHER && at + n < count && found[at + n].row == found[at].row; n++)
            metric_rows_read(right, block * PAIR_BLOCK + found[at + n].column, columns + n * room->dims);
        if (!at || found[at].row != found[at - 1].row) metric_rows_read(room->left->rows, room->block * PAIR_BLOCK + found[at].row, row);
        measure_together(room->dims, row, columns, squared);
        for (size_t i = 0; i < n; i++) room->out[(size_t)found[at].row * PAIR_BLOCK + found[at + i].column] = squared[i];
    }
}

static void measure_all(near_room *room, const metric_rows *right, size_t block)
{
    if (!room->packed) pair_pack(room->left->rows, NULL, room->left->rows->n, room->block, room->exact.a);
    room->packed = true;
    pair_pack(right, NULL, right->n, block, room->exact.b);
    pair_distances(room->dims, &room->exact);
}

void near_begin(near_room *room, const near_set *left, size_t block)
{
    room->left = left;
    room->block = block;
    room->packed = false;
    if (room->dims <= MOST_DIMS) pack_rough(left->rows, block, room->a);
}

void near_distances(near_room *room, const near_set *right, size_t block, const double *left_limit, const double *right_limit)
{
    place found[FEW];
    size_t count = FEW + 1;
    if (room->dims <= MOST_DIMS) {
        pack_rough(right->rows, block, room->b);
        estimate(room);
        count = find(room, right, block, left_limit, right_limit, found, FEW);
    }
    if (count > FEW) measure_all(room, right->rows, block);
    else measure_few(room, right->rows, block, found, count);
}
