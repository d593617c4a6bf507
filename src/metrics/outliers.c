#include "metrics/outliers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/manifold.h"
#include "metrics/nearest_rows.h"

typedef struct {
    const metric_rows *set[2];       /* samples, reference                       */
    double  *near[2], *radius[2];    /* [n,k], [n] squared                       */
    uint8_t *inside[2];              /* [n]                                      */
    uint32_t *balls;                 /* [samples], not looked at: manifold_compare counts for density too */
    uint8_t *covered;                /* [reference], the same                    */
} room;

static ddpm_status room_new(const metric_rows *samples, const metric_rows *reference, size_t k, room *m)
{
    bool have = true;
    *m = (room){ .set = { samples, reference }, .balls = calloc(samples->n, sizeof *m->balls), .covered = calloc(reference->n, 1) };
    for (int i = 0; i < 2; i++) {
        const size_t n = m->set[i]->n;
        m->near[i] = calloc(n, k * sizeof *m->near[i]);
        m->radius[i] = calloc(n, sizeof *m->radius[i]);
        m->inside[i] = calloc(n, 1);
        have = have && m->near[i] && m->radius[i] && m->inside[i];
    }
    return have && m->balls && m->covered ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the neighbours of %zu and %zu rows", samples->n, reference->n);
}

static void room_free(room *m)
{
    for (int i = 0; i < 2; i++) {
        free(m->near[i]);
        free(m->radius[i]);
        free(m->inside[i]);
    }
    free(m->balls);
    free(m->covered);
}

static ddpm_status look_inside(room *m, int k, const metric_work *w)
{
    const size_t every = (size_t)k;
    const int64_t tasks[2] = { manifold_tasks(m->set[0]->n), manifold_tasks(m->set[1]->n) }, all = 2 * tasks[0] + tasks[1];
    for (int i = 0; i < 2; i++) {
        DDPM_TRY(manifold_radii(m->set[i], k, w, i ? tasks[0] : 0, all, m->near[i]));
        for (size_t r = 0; r < m->set[i]->n; r++) m->radius[i][r] = m->near[i][r * every + every - 1];
    }
    const manifold_radius radius = { m->radius[0], m->radius[1], m->radius[1] };
    uint64_t held[MANIFOLD_GROUPS];
    const manifold_points points = { m->inside[0], m->inside[1], m->balls, m->covered, held };
    return manifold_compare(m->set[0], m->set[1], &radius, w, tasks[0] + tasks[1], all, &points);
}

/* --- the farthest ---------------------------------------------------------------------------- */

static int farther_first(const void *a, const void *b)
{
    const outlier *x = a, *y = b;
    if (x->distance > y->distance) return -1;
    if (x->distance < y->distance) return 1;
    return x->row < y->row ? -1 : 1;
}

/* Copies of the rows outside, one after the other; the caller frees. */
static void *gather(const metric_rows *set, const uint8_t *inside, outlier_list *out)
{
    const size_t bytes = metric_row_bytes(set);
    char *rows = calloc(out->outside, bytes);
    size_t n = 0;
    for (size_t r = 0; r < set->n && rows; r++) {
        if (inside[r]) continue;
        memcpy(rows + n * bytes, (const char *)set->data + r * bytes, bytes);
        out->list[n++].row = r;
    }
    return rows;
}

static ddpm_status measure(const metric_rows *rows, const metric_rows *other, const metric_work *w, outlier_list *out)
{
    nearest_rows *s;
    int found;
    DDPM_TRY(nearest_rows_new(rows, 1, &s));
    const ddpm_status status = nearest_rows_add(s, w, other, NULL, 0);
    for (size_t i = 0; i < out->outside && status == DDPM_OK; i++) {
        const nearest_row *near = nearest_rows_of(s, i, &found);
        out->list[i].nearest = (size_t)near->index;
        out->list[i].distance = sqrt(near->squared);
    }
    nearest_rows_free(s);
    return status;
}

static ddpm_status find_farthest(const metric_rows *set, const metric_rows *other, const uint8_t *inside, size_t most, const metric_work *w, outlier_list *out)
{
    out->n = set->n;
    for (size_t r = 0; r < set->n; r++) out->outside += !inside[r];
    if (!out->outside) return DDPM_OK;
    out->list = calloc(out->outside, sizeof *out->list);
    void *rows = out->list ? gather(set, inside, out) : NULL;
    if (!rows) return ddpm_fail(DDPM_ENOMEM, "no memory for %zu rows", out->outside);
    const metric_rows outside = { rows, out->outside, set->dims, set->wide };
    const ddpm_status status = measure(&outside, other, w, out);
    free(rows);
    if (status == DDPM_OK) qsort(out->list, out->outside, sizeof *out->list, farther_first);
    out->shown = out->outside < most ? out->outside : most;
    return status;
}

ddpm_status outliers_find(const metric_rows *samples, const metric_rows *reference, int k, size_t most, const metric_work *w, outlier_list out[2])
{
    room m;
    memset(out, 0, 2 * sizeof *out);
    ddpm_status status = room_new(samples, reference, (size_t)k, &m);
    if (status == DDPM_OK) status = look_inside(&m, k, w);
    for (int i = 0; i < 2 && status == DDPM_OK; i++) status = find_farthest(m.set[i], m.set[1 - i], m.inside[i], most, w, &out[i]);
    if (status != DDPM_OK) outliers_free(out);
    room_free(&m);
    return status;
}

void outliers_free(outlier_list out[2])
{
    for (int i = 0; i < 2; i++) free(out[i].list);
    memset(out, 0, 2 * sizeof *out);
}
