#include "metrics/extrapolate.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "metrics/moments.h"

extrapolate_options extrapolate_defaults(size_t rows, uint64_t seed)
{
    return (extrapolate_options){ .smallest = rows < 2 * EXTRAPOLATE_SMALLEST ? rows / 2 : EXTRAPOLATE_SMALLEST, .sizes = EXTRAPOLATE_SIZES, .seed = seed };
}

void extrapolate_line(const size_t *size, const double *distance, int n, extrapolate_result *r)
{
    double x = 0, y = 0, xx = 0, xy = 0, squares = 0;
    for (int i = 0; i < n; i++) x += 1 / (double)size[i] / n;
    for (int i = 0; i < n; i++) y += distance[i] / n;
    for (int i = 0; i < n; i++) {
        const double from_mean = 1 / (double)size[i] - x;
        xx += from_mean * from_mean;
        xy += from_mean * (distance[i] - y);
    }
    *r = (extrapolate_result){ .value = y - xy / xx * x, .slope = xy / xx };
    for (int i = 0; i < n; i++) {
        const double off = distance[i] - y - r->slope * (1 / (double)size[i] - x);
        squares += off * off;
    }
    r->standard_error = sqrt(squares / (n - 2) * (1.0 / n + x * x / xx));
    r->interval = interval_student_error(r->value, r->standard_error, n - 2);
}

typedef struct {
    const metric_rows    *rows;
    const frechet_target *target;
    const extrapolate_options *o;
    const metric_work    *how;
    moments *m;
    size_t  *order;                  /* [rows->n]                             */
    double  *mean, *covariance;      /* of a subset                           */
    double  *chunk;                  /* [MOMENTS_BLOCK,dims]                  */
    int64_t  done, all;              /* rows of subsets                       */
    size_t   size[EXTRAPOLATE_MAX_SIZES];
    double   distance[EXTRAPOLATE_MAX_SIZES];
} extrapolation;

/* The first rows of a shuffle that is carried no further than they go. */
static void choose(const extrapolation *e, int which, size_t size)
{
    const rng_address at = { e->o->seed, RNG_SUBSET, (uint64_t)which, 0 };
    for (size_t i = 0; i < e->rows->n; i++) e->order[i] = i;
    for (size_t i = 0; i < size; i++) {
        const size_t other = i + rng_below(at, i, e->rows->n - i), row = e->order[other];
        e->order[other] = e->order[i];
        e->order[i] = row;
    }
}

static ddpm_status measure(extrapolation *e, int which)
{
    const size_t dims = e->rows->dims, size = e->size[which];
    choose(e, which, size);
    moments_clear(e->m);
    for (size_t first = 0; first < size; first += MOMENTS_BLOCK) {
        const size_t n = size - first < MOMENTS_BLOCK ? size - first : MOMENTS_BLOCK;
        if (e->how->stop) DDPM_TRY(e->how->stop(e->how->ctx, e->done, e->all));
        for (size_t i = 0; i < n; i++) metric_rows_read(e->rows, e->order[first + i], e->chunk + i * dims);
        moments_add(e->m, e->chunk, n);
        e->done += (int64_t)n;
    }
    frechet_result r;
    DDPM_TRY(moments_read(e->m, e->mean, e->covariance));
    DDPM_TRY(frechet_distance(e->target, e->mean, e->covariance, &r));
    e->distance[which] = r.distance;
    return DDPM_OK;
}

static ddpm_status reserve(extrapolation *e)
{
    const size_t dims = e->rows->dims;
    e->order = calloc(e->rows->n, sizeof *e->order);
    e->mean = calloc(dims, sizeof *e->mean);
    e->covariance = calloc(dims * dims, sizeof *e->covariance);
    e->chunk = calloc(MOMENTS_BLOCK * dims, sizeof *e->chunk);
    if (!e->order || !e->mean || !e->covariance || !e->chunk) return ddpm_fail(DDPM_ENOMEM, "no memory for subsets of %zu rows of %zu numbers", e->rows->n, dims);
    return moments_new(dims, e->how->threads, &e->m);
}

static void drop(extrapolation *e)
{
    moments_free(e->m);
    free(e->order);
    free(e->mean);
    free(e->covariance);
    free(e->chunk);
    free(e);
}

ddpm_status extrapolate_frechet(const metric_rows *rows, const frechet_target *t, const extrapolate_options *o, const metric_work *w, size_t *size,
                                double *distance, extrapolate_result *r)
{
    if (rows->n < EXTRAPOLATE_FEWEST_ROWS)
        return ddpm_fail(DDPM_EINVAL, "%zu samples are too few to extrapolate the Frechet distance from; it takes %d or more", rows->n, EXTRAPOLATE_FEWEST_ROWS);
    assert(o->smallest >= 2 && o->smallest < rows->n && o->sizes >= 5 && o->sizes <= EXTRAPOLATE_MAX_SIZES);
    extrapolation *e = calloc(1, sizeof *e);
    if (!e) return ddpm_fail(DDPM_ENOMEM, "no memory for %d distances", o->sizes);
    e->rows = rows;
    e->target = t;
    e->o = o;
    e->how = w;
    for (int i = 0; i < o->sizes; i++) {
        e->size[i] = o->smallest + (rows->n - o->smallest) * (size_t)i / (size_t)(o->sizes - 1);
        e->all += (int64_t)e->size[i];
    }
    ddpm_status status = reserve(e);
    for (int i = 0; i < o->sizes && status == DDPM_OK; i++) status = measure(e, i);
    if (status == DDPM_OK) extrapolate_line(e->size, e->distance, o->sizes, r);
    if (status == DDPM_OK && size) memcpy(size, e->size, (size_t)o->sizes * sizeof *size);
    if (status == DDPM_OK && distance) memcpy(distance, e->distance, (size_t)o->sizes * sizeof *distance);
    drop(e);
    return status;
}
