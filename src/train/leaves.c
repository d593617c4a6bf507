#include "train/leaves.h"

#include "nn/optim.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* part[k]: the sum of the leaves k .. k + width[k] - 1 that there are; width 0: not finished, or added to another. */
struct leaves {
    int             count, slabs, next;        /* next: the leaf to be taken */
    size_t          len;
    float         **part;                      /* by leaf, NULL: no slab     */
    int            *width;                     /* by leaf, a power of two    */
    float         **unused, **all;
    int             n_unused;
    pthread_mutex_t mutex;                     /* guards all but the slabs   */
    pthread_cond_t  changed;
};

int leaves_slabs(int count, int threads)
{
    int depth = 0;
    while (1 << depth < count) depth++;
    const int slabs = depth + (threads > 2 ? threads - 1 : 1);
    return slabs < count ? slabs : count;
}

static ddpm_status allocate(leaves *l)
{
    const size_t count = (size_t)l->count, slabs = (size_t)l->slabs, bytes = (l->len ? l->len : 1) * sizeof(float);
    l->part = calloc(count, sizeof *l->part);
    l->width = calloc(count, sizeof *l->width);
    l->unused = calloc(slabs, sizeof *l->unused);
    l->all = calloc(slabs, sizeof *l->all);
    bool ok = l->part && l->width && l->unused && l->all;
    for (size_t k = 0; k < slabs && ok; k++) {
        void *p = NULL;
        ok = posix_memalign(&p, 64, bytes) == 0;
        if (ok) l->all[k] = memset(p, 0, bytes);
    }
    return ok ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for %d gradients of %zu numbers", l->slabs, l->len);
}

ddpm_status leaves_new(int count, int threads, size_t len, leaves **out)
{
    assert(count >= 1 && threads >= 1);
    *out = NULL;
    leaves *l = calloc(1, sizeof *l);
    if (!l) return ddpm_fail(DDPM_ENOMEM, "no memory for gradients");
    *l = (leaves){ .count = count, .slabs = leaves_slabs(count, threads), .len = len };
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->changed, NULL);
    const ddpm_status s = allocate(l);
    if (s == DDPM_OK) *out = l;
    else leaves_free(l);
    return s;
}

void leaves_free(leaves *l)
{
    if (!l) return;
    for (int k = 0; l->all && k < l->slabs; k++) free(l->all[k]);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->mutex);
    free(l->part);
    free(l->width);
    free(l->unused);
    free(l->all);
    free(l);
}

void leaves_restart(leaves *l)
{
    memset(l->part, 0, (size_t)l->count * sizeof *l->part);
    memset(l->width, 0, (size_t)l->count * sizeof *l->width);
    memcpy(l->unused, l->all, (size_t)l->slabs * sizeof *l->unused);
    l->n_unused = l->slabs;
    l->next = 0;
}

/* Neighbours of equal width, which can be added; false: there are none. A part whose neighbour would lie behind
 * the last leaf is as good as one of twice its width. */
static bool find_pair(leaves *l, int *left, int *right)
{
    for (int stride = 1; stride < l->count; stride *= 2)
        for (int k = 0; k < l->count; k += 2 * stride) {
            if (l->width[k] != stride) continue;
            *left = k;
            *right = k + stride;
            if (*right >= l->count) l->width[k] *= 2;
            else if (l->width[*right] == stride) return true;
        }
    return false;
}

/* Called with the mutex held, which is released while numbers are added. */
static void add_pair(leaves *l, int left, int right, pool *p)
{
    const int width = l->width[left];
    float *sum = l->part[left], *other = l->part[right];
    l->width[left] = l->width[right] = 0;
    pthread_mutex_unlock(&l->mutex);
    optim_add(sum, other, l->len, p);
    pthread_mutex_lock(&l->mutex);
    l->part[right] = NULL;
    l->width[left] = 2 * width;
    l->unused[l->n_unused++] = other;
}

/* Nobody waits for ever: of n finished leaves and none under way, as many parts remain as n has binary ones. */
float *leaves_take(leaves *l, int leaf)
{
    int left, right;
    pthread_mutex_lock(&l->mutex);
    while (l->next != leaf || !l->n_unused) {
        if (l->next == leaf && find_pair(l, &left, &right)) add_pair(l, left, right, NULL);
        else pthread_cond_wait(&l->changed, &l->mutex);
    }
    float *slab = l->part[leaf] = l->unused[--l->n_unused];
    l->next++;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->mutex);
    return slab;
}

void leaves_finish(leaves *l, int leaf)
{
    pthread_mutex_lock(&l->mutex);
    assert(l->part[leaf] && !l->width[leaf]);
    l->width[leaf] = 1;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->mutex);
}

float *leaves_sum(leaves *l, pool *p)
{
    int left, right;
    pthread_mutex_lock(&l->mutex);
    while (find_pair(l, &left, &right)) add_pair(l, left, right, p);
    pthread_mutex_unlock(&l->mutex);
    assert(l->width[0] >= l->count);
    return l->part[0];
}
