/* A ring of slots, one per step in the window [first, first + slots). The caller holds
 * the slot of `first`; workers fill the others, lowest step first, in small runs of
 * samples, so that all of them share the batch that is waited for. */
#include "data/loader.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "data/loader_source.h"

enum { MAX_THREADS = 256, MAX_PREFETCH = 64, MAX_BATCH = 1 << 20, RUN = 8, SENTENCE = 1024 };
static const uint64_t max_step = (uint64_t)1 << 40;   /* so that step * batch fits */

typedef struct {
    uint64_t step;
    int handed, done;        /* samples given to workers, samples finished */
    float *x;
    int *label;
    int64_t *index;
    ddpm_status status;      /* of its first failure, with the sentence    */
    char sentence[SENTENCE];
} slot;

typedef struct {
    loader *l;
    pthread_t thread;
    source_scratch scratch;
} worker;

struct loader {
    loader_source *source;
    size_t image_len;
    int batch, slots, workers, started;
    slot *slot;
    worker *worker;

    pthread_mutex_t mutex;
    pthread_cond_t work, ready, idle;
    uint64_t first;          /* step of the window's first slot            */
    bool running, paused, stop;
    int active;              /* workers inside a run                       */
};

loader_options loader_defaults(void)
{
    return (loader_options){.batch = 128, .threads = 2, .prefetch = 2, .max_cache_bytes = (size_t)2 << 30};
}

/* --- workers ------------------------------------------------------------------------------- */

static slot *slot_of(loader *l, uint64_t step) { return &l->slot[step % (uint64_t)l->slots]; }

/* The first slot of the window with samples to hand out. Under the mutex. */
static slot *slot_to_fill(loader *l)
{
    if (!l->running || l->paused) return NULL;
    for (int i = 0; i < l->slots; i++) {
        slot *s = slot_of(l, l->first + (uint64_t)i);
        if (s->handed < l->batch) return s;
    }
    return NULL;
}

/* Samples [from, to) of a slot, up to the first failure. */
static ddpm_status run_fill(loader *l, source_scratch *t, const slot *s, int from, int to)
{
    ddpm_status status = DDPM_OK;
    for (int i = from; i < to && status == DDPM_OK; i++)
        status = loader_source_sample(l->source, t, s->step, i, s->x + (size_t)i * l->image_len, &s->label[i], &s->index[i]);
    return status;
}

/* Takes a run of samples from the slot and fills it outside the mutex. */
static void worker_run(loader *l, source_scratch *t, slot *s)
{
    const int from = s->handed, to = l->batch - from < RUN ? l->batch : from + RUN;
    s->handed = to;
    l->active++;
    pthread_mutex_unlock(&l->mutex);
    const ddpm_status status = run_fill(l, t, s, from, to);
    pthread_mutex_lock(&l->mutex);
    l->active--;
    s->done += to - from;
    if (status != DDPM_OK && s->status == DDPM_OK) {
        s->status = status;
        strncpy(s->sentence, ddpm_last_error(), SENTENCE - 1);
    }
    if (s->done == l->batch) pthread_cond_broadcast(&l->ready);
    if (l->active == 0) pthread_cond_broadcast(&l->idle);
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    loader *l = w->l;
    pthread_mutex_lock(&l->mutex);
    while (!l->stop) {
        slot *s = slot_to_fill(l);
        if (s) worker_run(l, &w->scratch, s);
        else pthread_cond_wait(&l->work, &l->mutex);
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

/* --- making and freeing -------------------------------------------------------------------- */

static ddpm_status options_check(const loader_options *o)
{
    if (o->batch < 1 || o->batch > MAX_BATCH)
        return ddpm_fail(DDPM_EINVAL, "a batch of %d images; 1 to %d are possible", o->batch, MAX_BATCH);
    if (o->threads < 1 || o->threads > MAX_THREADS)
        return ddpm_fail(DDPM_EINVAL, "a loader runs 1 to %d threads, not %d", MAX_THREADS, o->threads);
    if (o->prefetch < 1 || o->prefetch > MAX_PREFETCH)
        return ddpm_fail(DDPM_EINVAL, "a loader prepares 1 to %d batches ahead, not %d", MAX_PREFETCH, o->prefetch);
    return DDPM_OK;
}

static ddpm_status slots_alloc(loader *l)
{
    size_t floats;
    bool ok = checked_mul(l->image_len, (size_t)l->batch, &floats);
    l->slot = calloc((size_t)l->slots, sizeof *l->slot);
    l->worker = calloc((size_t)l->workers, sizeof *l->worker);
    ok = ok && l->slot && l->worker;
    for (int i = 0; ok && i < l->slots; i++) {
        slot *s = &l->slot[i];
        s->x = calloc(floats, sizeof *s->x);
        s->label = calloc((size_t)l->batch, sizeof *s->label);
        s->index = calloc((size_t)l->batch, sizeof *s->index);
        ok = s->x && s->label && s->index;
    }
    return ok ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "out of memory for %d batches of %d images", l->slots, l->batch);
}

/* Workers take no signals: those belong to the program's own threads. */
static ddpm_status workers_start(loader *l, const dataset *d)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    ddpm_status s = DDPM_OK;
    for (int i = 0; i < l->workers && s == DDPM_OK; i++) {
        worker *w = &l->worker[i];
        w->l = l;
        s = source_scratch_new(d, &w->scratch);
        if (s == DDPM_OK && pthread_create(&w->thread, NULL, worker_main, w) != 0) {
            source_scratch_free(&w->scratch);
            s = ddpm_fail(DDPM_EFAIL, "the system refuses thread %d of %d for loading images; ask for fewer", i + 1, l->workers);
        }
        if (s == DDPM_OK) l->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return s;
}

ddpm_status loader_new(const dataset *d, const loader_options *o, loader **l)
{
    *l = NULL;
    DDPM_TRY(options_check(o));
    loader *made = calloc(1, sizeof *made);
    if (!made) return ddpm_fail(DDPM_ENOMEM, "out of memory for a loader");
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->work, NULL);
    pthread_cond_init(&made->ready, NULL);
    pthread_cond_init(&made->idle, NULL);
    made->batch = o->batch;
    made->slots = o->prefetch + 1;
    made->workers = o->threads;
    made->image_len = dataset_image_bytes(d);
    ddpm_status s = loader_source_new(d, o, &made->source);
    if (s == DDPM_OK) s = slots_alloc(made);
    if (s == DDPM_OK) s = workers_start(made, d);
    if (s == DDPM_OK) *l = made;
    else loader_free(made);
    return s;
}

static void workers_stop(loader *l)
{
    pthread_mutex_lock(&l->mutex);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->mutex);
    for (int i = 0; i < l->started; i++) {
        pthread_join(l->worker[i].thread, NULL);
        source_scratch_free(&l->worker[i].scratch);
    }
}

void loader_free(loader *l)
{
    if (!l) return;
    workers_stop(l);
    for (int i = 0; l->slot && i < l->slots; i++) {
        free(l->slot[i].x);
        free(l->slot[i].label);
        free(l->slot[i].index);
    }
    free(l->slot);
    free(l->worker);
    loader_source_free(l->source);
    pthread_cond_destroy(&l->idle);
    pthread_cond_destroy(&l->ready);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->mutex);
    free(l);
}

/* --- the caller's side ----------------------------------------------------------------------- */

static void slot_assign(loader *l, uint64_t step)
{
    slot *s = slot_of(l, step);
    s->step = step;
    s->handed = s->done = 0;
    s->status = DDPM_OK;
}

/* Makes `step` the window's first. Under the mutex. The next step in sequence frees one
 * slot, which is complete; any other begins anew, when no worker writes any more. */
static void window_move(loader *l, uint64_t step)
{
    const uint64_t slots = (uint64_t)l->slots;
    if (l->running && step == l->first + 1) {
        slot_assign(l, l->first + slots);
    } else {
        l->paused = true;
        while (l->active > 0) pthread_cond_wait(&l->idle, &l->mutex);
        l->paused = false;
        for (uint64_t s = step; s < step + slots; s++) slot_assign(l, s);
    }
    l->first = step;
    l->running = true;
    pthread_cond_broadcast(&l->work);
}

ddpm_status loader_next(loader *l, uint64_t step, loader_batch *out)
{
    *out = (loader_batch){0};
    if (step >= max_step) return ddpm_fail(DDPM_EINVAL, "step %llu is beyond the order of the data", (unsigned long long)step);
    pthread_mutex_lock(&l->mutex);
    slot *s = slot_of(l, step);
    const bool again = l->running && step == l->first && s->status == DDPM_OK;
    if (!again) window_move(l, step);
    while (s->done < l->batch) pthread_cond_wait(&l->ready, &l->mutex);
    const ddpm_status status = s->status == DDPM_OK ? DDPM_OK : ddpm_fail(s->status, "%s", s->sentence);
    pthread_mutex_unlock(&l->mutex);
    if (status == DDPM_OK) *out = (loader_batch){.n = l->batch, .x = s->x, .label = s->label, .index = s->index};
    return status;
}

int64_t loader_bad(loader *l) { return loader_source_bad(l->source); }
