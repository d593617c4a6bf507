/* timesteps.h - which timestep a training sample gets.
 *
 * Choices are functions of addresses (base/rng.h, stream RNG_TIMESTEP): the
 * same in any split of the batch. `sample` is the index in the step's global
 * batch, 0 .. batch-1. */
#ifndef DDPM_DIFFUSION_TIMESTEPS_H
#define DDPM_DIFFUSION_TIMESTEPS_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

int timestep_uniform(uint64_t seed, uint64_t step, uint64_t sample, int T);

/* The first batch/2 + 1 samples draw t, the others get T-1-t of the first ones (ermongroup). */
int timestep_antithetic(uint64_t seed, uint64_t step, uint64_t sample, uint64_t batch, int T);

/* Importance sampling by the second moment of the last losses (IDDPM sec. 3.3).
 * Uniform until every timestep has SECOND_MOMENT_HISTORY losses. */
enum { SECOND_MOMENT_HISTORY = 10 };
typedef struct {
    int     T;
    double *history;     /* [T, SECOND_MOMENT_HISTORY], oldest first */
    int    *count;       /* [T]                                      */
    double *weights;     /* [T] unnormalised; all 1 until warmed up  */
} second_moment;

ddpm_status second_moment_new(int T, second_moment *m);
void        second_moment_free(second_moment *m);        /* NULL is fine */
bool        second_moment_warm(const second_moment *m);

/* Append unweighted losses in order, then renew the weights. */
void        second_moment_update(second_moment *m, int n, const int *t, const float *loss);

/* Draw t and its loss weight 1/(T p_t). */
int         second_moment_draw(const second_moment *m, uint64_t seed, uint64_t step, uint64_t sample);
float       second_moment_loss_weight(const second_moment *m, int t);

#endif
