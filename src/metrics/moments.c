#include "metrics/moments.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/linalg.h"
#include "metrics/tile.h"

struct moments {
    size_t   dims, width;        /* width: dims rounded up to panels                          */
    pool    *threads;
    int64_t  count;              /* rows in mean and sums                                     */
    size_t   waiting;            /* rows in block                                             */
    double  *origin;             /* [width] the first row; block and means are counted from it, so that
                                    they are of the size of the deviations                    */
    double  *block;              /* panels of TILE columns, MOMENTS_BLOCK rows each           */
    double  *mean, *block_mean;  /* [width]                                                   */
    double  *sums;               /* [width,width] products about the mean; panels below the diagonal */
};

ddpm_status moments_new(size_t dims, pool *threads, moments **m)
{
    assert(dims >= 1 && dims <= LINALG_MAX_DIMS);
    moments *made = *m = calloc(1, sizeof *made);
    if (!made) return ddpm_fail(DDPM_ENOMEM, "no memory for the moments of %zu numbers", dims);
    const size_t width = tile_panels(dims) * TILE;
    *made = (moments){ .dims = dims, .width = width, .threads = threads, .block = calloc(width * MOMENTS_BLOCK, sizeof(double)),
                       .origin = calloc(width, sizeof(double)), .mean = calloc(width, sizeof(double)), .block_mean = calloc(width, sizeof(double)),
                       .sums = calloc(width * width, sizeof(double)) };
    if (made->origin && made->block && made->mean && made->block_mean && made->sums) return DDPM_OK;
    moments_free(made);
    *m = NULL;
    return ddpm_fail(DDPM_ENOMEM, "no memory for the covariance of %zu numbers", dims);
}

void moments_free(moments *m)
{
    if (!m) return;
    free(m->origin);
    free(m->block);
    free(m->mean);
    free(m->block_mean);
    free(m->sums);
    free(m);
}

void moments_clear(moments *m)
{
    m->count = 0;
    m->waiting = 0;
    memset(m->mean, 0, m->width * sizeof *m->mean);
    memset(m->sums, 0, m->width * m->width * sizeof *m->sums);
}

size_t  moments_dims(const moments *m) { return m->dims; }
int64_t moments_count(const moments *m) { return m->count + (int64_t)m->waiting; }

/* What n rows about `mean` with products `sums` (NULL: already added) change. */
static void join(moments *m, const double *mean, int64_t n, const double *sums)
{
    const double share = (double)n / (double)(m->count + n), weight = (double)m->count * share;
    for (size_t i = 0; i < m->width; i++) {
        const double d = mean[i] - m->mean[i];
        double *row = m->sums + i * m->width;
        for (size_t j = 0; j <= i; j++) row[j] += weight * d * (mean[j] - m->mean[j]) + (sums ? sums[i * m->width + j] : 0);
    }
    for (size_t i = 0; i < m->width; i++) m->mean[i] += share * (mean[i] - m->mean[i]);
    m->count += n;
}

static void centre(moments *m)
{
    for (size_t i = 0; i < m->width; i++) {
        double *column = m->block + i / TILE * TILE * MOMENTS_BLOCK + i % TILE, sum = 0;
        for (size_t r = 0; r < m->waiting; r++) sum += column[r * TILE];
        m->block_mean[i] = sum / (double)m->waiting;
        for (size_t r = 0; r < m->waiting; r++) column[r * TILE] -= m->block_mean[i];
    }
}

/* Row `panel` of the tiles, up to the diagonal. */
static void add_products(void *ctx, int panel, int worker)
{
    (void)worker;
    moments *m = ctx;
    const size_t i = (size_t)panel * TILE;
    for (size_t j = 0; j <= i; j += TILE)
        tile_add(m->block + i * MOMENTS_BLOCK, m->block + j * MOMENTS_BLOCK, m->waiting, m->sums + i * m->width + j, m->width);
}

static void take_block(moments *m)
{
    if (!m->waiting) return;
    const int panels = (int)tile_panels(m->dims);
    centre(m);
    if (m->threads) pool_run(m->threads, panels, add_products, m);
    else
        for (int i = 0; i < panels; i++) add_products(m, i, 0);
    join(m, m->block_mean, (int64_t)m->waiting, NULL);
    m->waiting = 0;
}

void moments_add(moments *m, const double *rows, size_t n)
{
    if (n && !moments_count(m)) memcpy(m->origin, rows, m->dims * sizeof *rows);
    for (size_t k = 0; k < n; k++) {
        double *at = m->block + m->waiting * TILE;
        for (size_t i = 0; i < m->dims; i++) at[i / TILE * TILE * MOMENTS_BLOCK + i % TILE] = rows[k * m->dims + i] - m->origin[i];
        if (++m->waiting == MOMENTS_BLOCK) take_block(m);
    }
}

void moments_join(moments *m, moments *other)
{
    assert(m->dims == other->dims && m != other);
    take_block(m);
    take_block(other);
    if (!other->count) return;
    if (!m->count) memcpy(m->origin, other->origin, m->dims * sizeof *m->origin);
    for (size_t i = 0; i < m->dims; i++) m->block_mean[i] = other->mean[i] + (other->origin[i] - m->origin[i]);
    join(m, m->block_mean, other->count, other->sums);
}

ddpm_status moments_read(moments *m, double *mean, double *covariance)
{
    take_block(m);
    if (m->count < 2) return ddpm_fail(DDPM_EINVAL, "a covariance needs at least two rows, there is %s", m->count ? "one" : "none");
    for (size_t i = 0; i < m->dims; i++) mean[i] = m->origin[i] + m->mean[i];
    for (size_t i = 0; i < m->dims; i++)
        for (size_t j = 0; j <= i; j++)
            covariance[i * m->dims + j] = covariance[j * m->dims + i] = m->sums[i * m->width + j] / (double)(m->count - 1);
    return DDPM_OK;
}
