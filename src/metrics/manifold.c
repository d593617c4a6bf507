#include "metrics/manifold.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "metrics/near.h"

/* --- radii ---------------------------------------------------------------------------------- */

typedef struct {
    near_set     set;
    int          k;
    near_scratch scratch;
    double      *nearest;
} radii;

/* list[k] stays ascending. */
static void keep(double *list, int k, double squared)
{
    if (squared >= list[k - 1]) return;
    int at = k - 1;
    for (; at > 0 && list[at - 1] > squared; at--) list[at] = list[at - 1];
    list[at] = squared;
}

static void find_radii(void *ctx, int task, int worker)
{
    radii *f = ctx;
    const size_t n = f->set.rows->n, block = (size_t)task, here = pair_rows_in(block, n), k = (size_t)f->k;
    near_room room = near_scratch_of(&f->scratch, worker);
    double *list = f->nearest + block * PAIR_BLOCK * k, limit[PAIR_BLOCK];
    for (size_t i = 0; i < here * k; i++) list[i] = INFINITY;
    near_begin(&room, &f->set, block);
    for (size_t other = 0; other < pair_blocks(n); other++) {
        for (size_t i = 0; i < here; i++) limit[i] = list[i * k + k - 1];
        near_distances(&room, &f->set, other, limit, NULL);
        for (size_t i = 0; i < here; i++)
            for (size_t j = 0; j < pair_rows_in(other, n); j++)
                if (other != block || i != j) keep(list + i * k, f->k, room.out[i * PAIR_BLOCK + j]);
    }
}

int64_t manifold_tasks(size_t n) { return (int64_t)pair_blocks(n); }

ddpm_status manifold_radii(const metric_rows *rows, int k, const metric_work *w, int64_t before, int64_t all, double *nearest)
{
    assert(k >= 1 && k <= MANIFOLD_MAX_K && (size_t)k < rows->n);
    radii f = { .k = k, .nearest = nearest };
    DDPM_TRY(near_set_new(rows, &f.set));
    ddpm_status status = near_scratch_new(w, rows->dims, &f.scratch);
    if (status == DDPM_OK) status = pair_run(w, (int)pair_blocks(rows->n), before, all, find_radii, &f);
    near_scratch_free(&f.scratch);
    near_set_free(&f.set);
    return status;
}

/* --- one set among the balls of the other --------------------------------------------------- */

typedef struct {
    near_set samples, reference;
    const manifold_radius *radius;
    const manifold_points *points;
    double  *widest;                     /* [reference] of a point's two balls */
    near_scratch scratch;
    atomic_uchar *inside, *covered;      /* [reference]; tasks meet there, and what they leave does not depend on their order */
    atomic_uint_least64_t held[MANIFOLD_GROUPS];
} comparison;

static uint8_t mark_of(size_t point) { return (uint8_t)(1 + point % MANIFOLD_GROUPS); }

static void mark(uint8_t *marked, size_t point) { *marked = *marked == 0 || *marked == mark_of(point) ? mark_of(point) : MANIFOLD_SEVERAL; }

/* From 0 to a group and from there to several: no task takes a step back. */
static void mark_shared(atomic_uchar *marked, size_t point)
{
    unsigned char was = atomic_load_explicit(marked, memory_order_relaxed);
    if (was == 0 && atomic_compare_exchange_strong_explicit(marked, &was, mark_of(point), memory_order_relaxed, memory_order_relaxed)) return;
    if (was != mark_of(point) && was != MANIFOLD_SEVERAL) atomic_store_explicit(marked, MANIFOLD_SEVERAL, memory_order_relaxed);
}

static void compare_pair(comparison *c, size_t sample, size_t reference, double squared)
{
    const manifold_radius *r = c->radius;
    if (squared <= r->reference[reference]) mark(&c->points->sample_inside[sample], reference);
    if (squared <= r->sample[sample]) mark_shared(&c->inside[reference], sample);
    if (squared > r->reference_density[reference]) return;
    c->points->balls[sample]++;
    mark_shared(&c->covered[reference], sample);
    atomic_fetch_add_explicit(&c->held[reference % MANIFOLD_GROUPS], 1, memory_order_relaxed);
}

static void compare_row(void *ctx, int task, int worker)
{
    comparison *c = ctx;
    const size_t n = c->samples.rows->n, of = c->reference.rows->n, block = (size_t)task, first = block * PAIR_BLOCK;
    near_room room = near_scratch_of(&c->scratch, worker);
    near_begin(&room, &c->samples, block);
    for (size_t i = 0; i < pair_rows_in(block, n); i++) {
        c->points->sample_inside[first + i] = 0;
        c->points->balls[first + i] = 0;
    }
    for (size_t other = 0; other < pair_blocks(of); other++) {
        near_distances(&room, &c->reference, other, c->radius->sample + first, c->widest + other * PAIR_BLOCK);
        for (size_t i = 0; i < pair_rows_in(block, n); i++)
            for (size_t j = 0; j < pair_rows_in(other, of); j++) compare_pair(c, first + i, other * PAIR_BLOCK + j, room.out[i * PAIR_BLOCK + j]);
    }
}

static ddpm_status prepare(const metric_rows *samples, const metric_rows *reference, const metric_work *w, comparison *c)
{
    const manifold_radius *r = c->radius;
    c->inside = calloc(reference->n, sizeof *c->inside);
    c->covered = calloc(reference->n, sizeof *c->covered);
    c->widest = calloc(reference->n, sizeof *c->widest);
    if (!c->inside || !c->covered || !c->widest) return ddpm_fail(DDPM_ENOMEM, "no memory to compare with %zu rows", reference->n);
    for (size_t i = 0; i < reference->n; i++) c->widest[i] = r->reference[i] > r->reference_density[i] ? r->reference[i] : r->reference_density[i];
    DDPM_TRY(near_set_new(samples, &c->samples));
    DDPM_TRY(near_set_new(reference, &c->reference));
    return near_scratch_new(w, samples->dims, &c->scratch);
}

ddpm_status manifold_compare(const metric_rows *samples, const metric_rows *reference, const manifold_radius *r, const metric_work *w, int64_t before,
                             int64_t all, const manifold_points *p)
{
    assert(samples->dims == reference->dims);
    comparison c = { .radius = r, .points = p };
    ddpm_status status = prepare(samples, reference, w, &c);
    if (status == DDPM_OK) status = pair_run(w, (int)pair_blocks(samples->n), before, all, compare_row, &c);
    for (size_t i = 0; status == DDPM_OK && i < reference->n; i++) {
        p->reference_inside[i] = atomic_load(&c.inside[i]);
        p->covered[i] = atomic_load(&c.covered[i]);
    }
    for (int g = 0; g < MANIFOLD_GROUPS; g++) p->held[g] = atomic_load(&c.held[g]);
    near_scratch_free(&c.scratch);
    near_set_free(&c.samples);
    near_set_free(&c.reference);
    free(c.widest);
    free(c.inside);
    free(c.covered);
    return status;
}

/* --- the four numbers ------------------------------------------------------------------------- */

typedef struct {
    double *near[2];                     /* of samples, of the reference: [n,k], k the larger of the two */
    double *radius[3];                   /* sample, reference, reference_density                         */
    manifold_points points;
} room;

/* nearest: the reference's, or NULL. */
static ddpm_status room_new(size_t samples, size_t reference, const double *nearest, size_t k, room *m)
{
    *m = (room){ .near = { calloc(samples, k * sizeof(double)), calloc(nearest ? 1 : reference, k * sizeof(double)) },
                 .radius = { calloc(samples, sizeof(double)), calloc(reference, sizeof(double)), calloc(reference, sizeof(double)) },
                 .points = { .sample_inside = calloc(samples, 1), .reference_inside = calloc(reference, 1), .balls = calloc(samples, sizeof(uint32_t)),
                             .covered = calloc(reference, 1), .held = calloc(MANIFOLD_GROUPS, sizeof(uint64_t)) } };
    const manifold_points *p = &m->points;
    const bool have = m->near[0] && m->near[1] && m->radius[0] && m->radius[1] && m->radius[2] && p->sample_inside && p->reference_inside && p->balls &&
                      p->covered && p->held;
    return have ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the neighbours of %zu and %zu rows", samples, reference);
}

static void room_free(room *m)
{
    for (int i = 0; i < 2; i++) free(m->near[i]);
    for (int i = 0; i < 3; i++) free(m->radius[i]);
    free(m->points.sample_inside);
    free(m->points.reference_inside);
    free(m->points.balls);
    free(m->points.covered);
    free(m->points.held);
}

static void take_radius(const double *near, size_t n, int stride, int k, double *radius)
{
    for (size_t i = 0; i < n; i++) radius[i] = near[i * (size_t)stride + (size_t)k - 1];
}

static size_t groups_of(size_t owners) { return owners < MANIFOLD_GROUPS ? owners : MANIFOLD_GROUPS; }

/* The share of marked[n] that are marked by any of `owners` points. How many points a group alone marks varies also because there are
 * only n of them, which the binomial part counts: that much, a Poisson number's variance, is not the groups'. */
static double share(const uint8_t *marked, size_t n, size_t owners, metric_interval *interval)
{
    const size_t groups = groups_of(owners);
    const double kept = (double)(groups - 1) / (double)groups;
    size_t count = 0, any = 0, alone[MANIFOLD_GROUPS] = { 0 };
    double without[MANIFOLD_GROUPS];
    for (size_t i = 0; i < n; i++) {
        count += marked[i] != 0;
        if (!marked[i] || marked[i] == MANIFOLD_SEVERAL) continue;
        alone[marked[i] - 1]++;
        any++;
    }
    const double value = (double)count / (double)n;
    for (size_t g = 0; g < groups; g++) without[g] = (double)(count - alone[g]) / (double)n;
    *interval = interval_share_spread(value, n, fmax(0, interval_jackknife(without, groups) - kept * kept * (double)any / ((double)n * (double)n)));
    return value;
}

/* Variance of the density among other balls. */
static double density_spread(const manifold_points *p, size_t samples, size_t reference, int k)
{
    const size_t groups = groups_of(reference);
    double without[MANIFOLD_GROUPS];
    uint64_t all = 0;
    for (size_t g = 0; g < groups; g++) all += p->held[g];
    for (size_t g = 0; g < groups; g++) {
        const size_t left = reference - (reference - g + MANIFOLD_GROUPS - 1) / MANIFOLD_GROUPS;
        without[g] = (double)(all - p->held[g]) / k / (double)samples * ((double)reference / (double)left);
    }
    return interval_jackknife(without, groups);
}

static void summarise(const manifold_points *p, size_t samples, size_t reference, int k, manifold_result *r)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < samples; i++) sum += (double)p->balls[i] / k;
    const double density = sum / (double)samples;
    for (size_t i = 0; i < samples; i++) squares += ((double)p->balls[i] / k - density) * ((double)p->balls[i] / k - density);
    const double error = sqrt(squares / (double)(samples - 1) / (double)samples + density_spread(p, samples, reference, k));
    *r = (manifold_result){ .density = density, .density_interval = interval_normal(density, error) };
    r->precision = share(p->sample_inside, samples, reference, &r->precision_interval);
    r->recall = share(p->reference_inside, reference, samples, &r->recall_interval);
    r->coverage = share(p->covered, reference, samples, &r->coverage_interval);
    if (r->density_interval.low < 0) r->density_interval.low = 0;
}

ddpm_status manifold_measure(const metric_rows *samples, const metric_rows *reference, const double *nearest, int precision_k, int density_k,
                             const metric_work *w, manifold_result *r)
{
    const int k = precision_k > density_k ? precision_k : density_k;
    const int64_t first = manifold_tasks(samples->n), second = first + (nearest ? 0 : manifold_tasks(reference->n)), all = second + first;
    room m;
    ddpm_status status = room_new(samples->n, reference->n, nearest, (size_t)k, &m);
    if (status == DDPM_OK) status = manifold_radii(samples, k, w, 0, all, m.near[0]);
    if (status == DDPM_OK && !nearest) status = manifold_radii(reference, k, w, first, all, m.near[1]);
    if (status == DDPM_OK) {
        take_radius(m.near[0], samples->n, k, precision_k, m.radius[0]);
        take_radius(nearest ? nearest : m.near[1], reference->n, k, precision_k, m.radius[1]);
        take_radius(nearest ? nearest : m.near[1], reference->n, k, density_k, m.radius[2]);
        const manifold_radius radius = { m.radius[0], m.radius[1], m.radius[2] };
        status = manifold_compare(samples, reference, &radius, w, second, all, &m.points);
    }
    if (status == DDPM_OK) summarise(&m.points, samples->n, reference->n, density_k, r);
    room_free(&m);
    return status;
}
