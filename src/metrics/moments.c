#include "metrics/moments.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/linalg.h"
#include "metrics/tile.h"

enum { GROUP = 4 };              /* panels of rows in a task */

struct moments {
    size_t   dims, width;        /* width: dims rounded up to panels                          */
    pool    *threads;
    int64_t  count;              /* rows in mean and sums                                     */
    size_t   waiting;            /* rows in block                                             */
    double  *origin;             /* [width] the first row; block and means are counted from it, so that
                                    they are of the size of the deviations                    */
    double  *block;              /* panels of TILE columns, MOMENTS_BLOCK rows each           */
    double  *mean, *block_mean;  /* [width]                                                   */
    double  *sums;               /* [width,width] products about the mean; above the diagonal anything */
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

static double share_of_block(const moments *m) { return (double)m->waiting / (double)moments_count(m); }

/* The products of the block, which are in the sums about its own mean, from row `first` on. */
static void join_rows(moments *m, size_t first, size_t end)
{
    const double weight = (double)m->count * share_of_block(m);
    for (size_t i = first; i < end; i++) {
        const double d = m->block_mean[i] - m->mean[i];
        double *row = m->sums + i * m->width;
        for (size_t j = 0; j <= i; j++) row[j] += weight * d * (m->block_mean[j] - m->mean[j]);
    }
}

/* When all rows are joined. */
static void join_means(moments *m)
{
    const double share = share_of_block(m);
    for (size_t i = 0; i < m->width; i++) m->mean[i] += share * (m->block_mean[i] - m->mean[i]);
    m->count += (int64_t)m->waiting;
    m->waiting = 0;
}

static void centre(void *ctx, int panel, int worker)
{
    (void)worker;
    moments *m = ctx;
    for (size_t i = 0; i < TILE; i++) {
        double *column = m->block + (size_t)panel * TILE * MOMENTS_BLOCK + i, sum = 0;
        for (size_t r = 0; r < m->waiting; r++) sum += column[r * TILE];
        const double mean = m->block_mean[(size_t)panel * TILE + i] = sum / (double)m->waiting;
        for (size_t r = 0; r < m->waiting; r++) column[r * TILE] -= mean;
    }
}

/* Of some panels of rows the products with all columns up to theirs, and their joining. */
static void add_products(void *ctx, int group, int worker)
{
    (void)worker;
    moments *m = ctx;
    const size_t panels = tile_panels(m->dims), first = (size_t)group * GROUP, end = first + GROUP < panels ? first + GROUP : panels;
    tile_best()->products(&(tile_job){ .a = m->block + first * TILE * MOMENTS_BLOCK, .b = m->block, .a_panels = end - first, .b_panels = end,
                                       .a_step = TILE * MOMENTS_BLOCK, .b_step = TILE * MOMENTS_BLOCK, .n = m->waiting,
                                       .c = m->sums + first * TILE * m->width, .stride = m->width });
    join_rows(m, first * TILE, end * TILE);
}

static void on_threads(moments *m, int tasks, void (*fn)(void *ctx, int task, int worker))
{
    if (m->threads) pool_run(m->threads, tasks, fn, m);
    else
        for (int i = 0; i < tasks; i++) fn(m, i, 0);
}

static void take_block(moments *m)
{
    if (!m->waiting) return;
    const size_t panels = tile_panels(m->dims);
    on_threads(m, (int)panels, centre);
    on_threads(m, (int)((panels + GROUP - 1) / GROUP), add_products);
    join_means(m);
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
