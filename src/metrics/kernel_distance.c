#include "metrics/kernel_distance.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "metrics/legacy_shuffle.h"
#include "metrics/pairs.h"

enum { GROUP = 2 };      /* blocks that a task compares with each block, which is packed but once for them */

/* One subset at a time. Tasks are groups of rows of blocks: of x with x, y with y, x with y. */
typedef struct {
    const metric_rows *set[2];
    int64_t  *order[2];      /* the first `size` are the subset                */
    size_t    size, blocks, groups;
    pair_scratch scratch;
    double   *left;          /* [workers,GROUP] packed blocks                  */
    double   *part;          /* [3 * blocks] sums over a row of blocks         */
} kernel_work;

/* Of one pair of blocks; same: the rows are the same ones, and none is paired with itself. */
static double add_block(size_t dims, const pair_room *room, size_t rows, size_t columns, bool same)
{
    double sum = 0;
    pair_products(dims, room);
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < columns; k++) {
            const double base = room->out[i * PAIR_BLOCK + k] / (double)dims + 1;
            sum += same && i == k ? 0 : base * base * base;
        }
    return sum;
}

static void add_rows(void *ctx, int task, int worker)
{
    kernel_work *w = ctx;
    const size_t kind = (size_t)task / w->groups, first = (size_t)task % w->groups * GROUP, n = w->size, dims = w->set[0]->dims;
    const size_t last = first + GROUP < w->blocks ? first + GROUP : w->blocks;
    const int left = kind == 1, right = kind != 0;
    pair_room room = pair_scratch_of(&w->scratch, worker);
    double *packed = w->left + (size_t)worker * GROUP * PAIR_BLOCK * dims, *sum = w->part + kind * w->blocks;
    for (size_t block = first; block < last; block++) {
        pair_pack(w->set[left], w->order[left], n, block, packed + (block - first) * PAIR_BLOCK * dims);
        sum[block] = 0;
    }
    for (size_t k = 0; k < (kind == 2 ? w->blocks : last); k++) {           /* of a symmetric matrix the lower half */
        pair_pack(w->set[right], w->order[right], n, k, room.b);
        for (size_t block = kind == 2 || k < first ? first : k; block < last; block++) {
            const bool same = kind != 2 && k == block;
            room.a = packed + (block - first) * PAIR_BLOCK * dims;
            const double part = add_block(dims, &room, pair_rows_in(block, n), pair_rows_in(k, n), same);
            sum[block] += kind != 2 && !same ? 2 * part : part;
        }
    }
}

static double sum_of(const kernel_work *w, size_t kind)
{
    double sum = 0;
    for (size_t i = 0; i < w->blocks; i++) sum += w->part[kind * w->blocks + i];
    return sum;
}

static ddpm_status run(kernel_work *w, const kernel_options *o, const metric_work *how, double *value)
{
    const int tasks = (int)(3 * w->groups);
    const double m = (double)w->size;
    legacy_random random;
    legacy_seed(&random, o->seed);
    for (int i = 0; i < o->subsets; i++) {
        for (int side = 0; side < 2; side++) legacy_permutation(&random, w->set[side]->n, w->order[side]);
        DDPM_TRY(pair_run(how, tasks, (int64_t)i * tasks, (int64_t)o->subsets * tasks, add_rows, w));
        value[i] = (sum_of(w, 0) + sum_of(w, 1)) / (m * (m - 1)) - 2 * sum_of(w, 2) / (m * m);
    }
    return DDPM_OK;
}

ddpm_status kernel_distances(const metric_rows *x, const metric_rows *y, const kernel_options *o, const metric_work *how, double *value)
{
    assert(x->dims == y->dims && o->subset_size >= 2 && o->subset_size <= x->n && o->subset_size <= y->n);
    kernel_work w = { .set = { x, y }, .order = { calloc(x->n, sizeof(int64_t)), calloc(y->n, sizeof(int64_t)) }, .size = o->subset_size,
                      .blocks = pair_blocks(o->subset_size) };
    w.groups = (w.blocks + GROUP - 1) / GROUP;
    w.part = calloc(3 * w.blocks, sizeof *w.part);
    w.left = calloc((size_t)pair_workers(how) * GROUP * PAIR_BLOCK, x->dims * sizeof *w.left);
    ddpm_status status = w.order[0] && w.order[1] && w.part && w.left ? pair_scratch_new(how, x->dims, &w.scratch)
                                                            : ddpm_fail(DDPM_ENOMEM, "no memory for subsets of %zu and %zu rows", x->n, y->n);
    if (status == DDPM_OK) status = run(&w, o, how, value);
    pair_scratch_free(&w.scratch);
    free(w.order[0]);
    free(w.order[1]);
    free(w.left);
    free(w.part);
    return status;
}

/* --- how far off ------------------------------------------------------------------------------ */

/* Sums over the pairs of two groups. Tasks are groups of x with x, y with y, x with y. */
typedef struct {
    const metric_rows *set[2];
    int64_t *order[2];
    size_t   size[2];        /* rows used */
    pair_scratch scratch;
    double   sum[3][KERNEL_GROUPS][KERNEL_GROUPS];
} group_work;

static size_t group_begin(const group_work *w, int side, size_t group) { return w->size[side] * group / KERNEL_GROUPS; }
static size_t group_rows(const group_work *w, int side, size_t group) { return group_begin(w, side, group + 1) - group_begin(w, side, group); }

static double add_groups(const group_work *w, const pair_room *room, const int *side, const size_t *group, bool same)
{
    const size_t dims = w->set[0]->dims, rows = group_rows(w, side[0], group[0]), columns = group_rows(w, side[1], group[1]);
    double sum = 0;
    for (size_t i = 0; i < pair_blocks(rows); i++) {
        pair_pack(w->set[side[0]], w->order[side[0]] + group_begin(w, side[0], group[0]), rows, i, room->a);
        for (size_t k = 0; k < pair_blocks(columns); k++) {
            pair_pack(w->set[side[1]], w->order[side[1]] + group_begin(w, side[1], group[1]), columns, k, room->b);
            sum += add_block(dims, room, pair_rows_in(i, rows), pair_rows_in(k, columns), same && i == k);
        }
    }
    return sum;
}

static void add_group(void *ctx, int task, int worker)
{
    group_work *w = ctx;
    const int kind = task / KERNEL_GROUPS, side[2] = { kind == 1, kind != 0 };
    const size_t first = (size_t)task % KERNEL_GROUPS, last = kind == 2 ? KERNEL_GROUPS - 1 : first;
    const pair_room room = pair_scratch_of(&w->scratch, worker);
    for (size_t other = 0; other <= last; other++) {
        const double sum = add_groups(w, &room, side, (const size_t[2]){ first, other }, kind != 2 && other == first);
        w->sum[kind][first][other] = sum;
        if (kind != 2) w->sum[kind][other][first] = sum;
    }
}

/* Without the rows' group `left` and the columns' group `right`; KERNEL_GROUPS: with all. */
static double group_sum(const group_work *w, int kind, size_t left, size_t right)
{
    double sum = 0;
    for (size_t a = 0; a < KERNEL_GROUPS; a++)
        for (size_t b = 0; b < KERNEL_GROUPS; b++) sum += a == left || b == right ? 0 : w->sum[kind][a][b];
    return sum;
}

static double estimate_without(const group_work *w, const size_t *left_out)
{
    double rows[2], within = 0;
    for (int side = 0; side < 2; side++) {
        const size_t out = left_out[side];
        rows[side] = (double)(w->size[side] - (out < KERNEL_GROUPS ? group_rows(w, side, out) : 0));
        within += group_sum(w, side, out, out) / (rows[side] * (rows[side] - 1));
    }
    return within - 2 * group_sum(w, 2, left_out[0], left_out[1]) / (rows[0] * rows[1]);
}

static double variance_of(const group_work *w)
{
    double variance = 0, without[KERNEL_GROUPS];
    for (int side = 0; side < 2; side++) {
        size_t out[2] = { KERNEL_GROUPS, KERNEL_GROUPS };
        for (out[side] = 0; out[side] < KERNEL_GROUPS; out[side]++) without[out[side]] = estimate_without(w, out);
        variance += interval_jackknife(without, KERNEL_GROUPS) * (double)w->size[side] / (double)w->set[side]->n;
    }
    return variance;
}

ddpm_status kernel_variance(const metric_rows *x, const metric_rows *y, uint32_t seed, const metric_work *how, double *variance)
{
    const size_t most = KERNEL_GROUPS * KERNEL_GROUP_ROWS;
    group_work w = { .set = { x, y }, .order = { calloc(x->n, sizeof(int64_t)), calloc(y->n, sizeof(int64_t)) },
                     .size = { x->n < most ? x->n : most, y->n < most ? y->n : most } };
    ddpm_status status = w.order[0] && w.order[1] ? pair_scratch_new(how, x->dims, &w.scratch)
                                                  : ddpm_fail(DDPM_ENOMEM, "no memory for the order of %zu and %zu rows", x->n, y->n);
    *variance = NAN;
    if (status == DDPM_OK && w.size[0] >= KERNEL_GROUPS && w.size[1] >= KERNEL_GROUPS) {
        legacy_random random;
        legacy_seed(&random, seed);
        for (int side = 0; side < 2; side++) legacy_permutation(&random, w.set[side]->n, w.order[side]);
        status = pair_run(how, 3 * KERNEL_GROUPS, 0, 3 * KERNEL_GROUPS, add_group, &w);
        if (status == DDPM_OK) *variance = variance_of(&w);
    }
    pair_scratch_free(&w.scratch);
    free(w.order[0]);
    free(w.order[1]);
    return status;
}

void kernel_summarise(const double *value, const kernel_options *o, double variance, kernel_result *r)
{
    const size_t n = (size_t)o->subsets;
    *r = (kernel_result){ .mean = interval_mean(value, n), .deviation = interval_deviation(value, n, n), .standard_error = NAN, .interval = { NAN, NAN } };
    if (n < 2 || isnan(variance)) return;
    const double spread = interval_deviation(value, n, n - 1);
    r->standard_error = sqrt(variance + spread * spread / (double)n);
    r->interval = interval_normal(r->mean, r->standard_error);
}
