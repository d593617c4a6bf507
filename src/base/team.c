#include "base/team.h"

#include "base/relax.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SPINS = 1000 };                /* some tens of microseconds, the price of a wake-up */

/* One word, so that it moves between processors as seldom as possible: the step, which of its
 * parts are given, and how many of them are done. */
enum { DONE_BITS = 8, STEP_AT = DONE_BITS + TEAM_MAX_PARTS };

struct team {
    unsigned steps, parts;
    uint64_t all;                     /* parts of a step, as bits */
    _Alignas(64) _Atomic uint64_t state;
    _Alignas(64) atomic_int sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t  progress;
};

static unsigned step_of(uint64_t state) { return (unsigned)(state >> STEP_AT); }
static unsigned done_of(uint64_t state) { return (unsigned)(state & ((1u << DONE_BITS) - 1)); }
static uint64_t bit_of(unsigned part) { return (uint64_t)1 << (DONE_BITS + part); }

ddpm_status team_new(team **out)
{
    team *t = aligned_alloc(64, sizeof *t);
    if (!t) return ddpm_fail(DDPM_ENOMEM, "no memory for a team of threads");
    memset(t, 0, sizeof *t);
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->progress, NULL);
    *out = t;
    return DDPM_OK;
}

void team_free(team *t)
{
    if (!t) return;
    pthread_cond_destroy(&t->progress);
    pthread_mutex_destroy(&t->mutex);
    free(t);
}

void team_begin(team *t, int steps, int parts)
{
    assert(steps >= 0 && steps <= TEAM_MAX_STEPS && parts >= 1 && parts <= TEAM_MAX_PARTS);
    assert(step_of(atomic_load(&t->state)) == t->steps);
    t->steps = (unsigned)steps;
    t->parts = (unsigned)parts;
    t->all = bit_of(t->parts) - bit_of(0);
    atomic_store(&t->state, 0);
}

/* A sleeper counts itself before it looks, and who ends a step does so before it looks for
 * sleepers, all sequentially consistent: one of the two sees the other. */
static void wait_for_end(team *t, unsigned step)
{
    for (int i = 0; i < SPINS; i++) {
        if (step_of(atomic_load_explicit(&t->state, memory_order_relaxed)) != step) return;
        relax();
    }
    pthread_mutex_lock(&t->mutex);
    atomic_fetch_add(&t->sleepers, 1);
    while (step_of(atomic_load(&t->state)) == step) pthread_cond_wait(&t->progress, &t->mutex);
    atomic_fetch_sub(&t->sleepers, 1);
    pthread_mutex_unlock(&t->mutex);
}

/* The last part of a step is done. All are given, so that the others only look: the step ends,
 * and the next one's preferred part is taken with the same write. */
static bool end_step(team *t, unsigned preferred, team_share *share)
{
    const unsigned step = (unsigned)share->step + 1;
    const bool more = step < t->steps;
    atomic_store(&t->state, (uint64_t)step << STEP_AT | (more ? bit_of(preferred) : 0));
    if (atomic_load(&t->sleepers) > 0) {
        pthread_mutex_lock(&t->mutex);
        pthread_cond_broadcast(&t->progress);
        pthread_mutex_unlock(&t->mutex);
    }
    *share = (team_share){ (int)step, (int)preferred };
    return more;
}

/* Nobody takes a part before it may begin, so that who waits holds nothing that others need. */
bool team_next(team *t, int member, team_share *share)
{
    const unsigned preferred = (unsigned)member % t->parts;
    if (share->step >= 0 && done_of(atomic_fetch_add(&t->state, 1)) + 1 == t->parts) return end_step(t, preferred, share);
    uint64_t state = atomic_load(&t->state);
    for (;;) {
        const unsigned step = step_of(state);
        const uint64_t open = ~state & t->all;
        if (step >= t->steps || (!open && step + 1 == t->steps)) return false;
        if (!open) {
            wait_for_end(t, step);
            state = atomic_load(&t->state);
            continue;
        }
        const unsigned part = open & bit_of(preferred) ? preferred : (unsigned)__builtin_ctzll(open) - DONE_BITS;
        if (atomic_compare_exchange_weak(&t->state, &state, state | bit_of(part))) {
            *share = (team_share){ (int)step, (int)part };
            return true;
        }
    }
}
