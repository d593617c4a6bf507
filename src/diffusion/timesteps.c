#include "diffusion/timesteps.h"

#include "base/rng.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static rng_address address(uint64_t seed, uint64_t step, uint64_t sample)
{
    return (rng_address){ .seed = seed, .stream = RNG_TIMESTEP, .step = step, .sample = sample };
}

int timestep_uniform(uint64_t seed, uint64_t step, uint64_t sample, int T)
{
    assert(T > 0);
    return (int)rng_below(address(seed, step, sample), 0, (uint64_t)T);
}

int timestep_antithetic(uint64_t seed, uint64_t step, uint64_t sample, uint64_t batch, int T)
{
    assert(sample < batch);
    const uint64_t drawn = batch / 2 + 1;
    return sample < drawn ? timestep_uniform(seed, step, sample, T)
                          : T - 1 - timestep_uniform(seed, step, sample - drawn, T);
}

/* A timestep that stops being drawn would keep its weight for ever, so each
 * keeps this share of the uniform choice. */
static const double UNIFORM_SHARE = 0.001;

ddpm_status second_moment_new(int T, second_moment *m)
{
    assert(T > 0);
    const size_t n = (size_t)T;
    *m = (second_moment){
        .T = T,
        .history = calloc(n * SECOND_MOMENT_HISTORY, sizeof *m->history),
        .count = calloc(n, sizeof *m->count),
        .weights = calloc(n, sizeof *m->weights),
    };
    if (!m->history || !m->count || !m->weights) {
        second_moment_free(m);
        return ddpm_fail(DDPM_ENOMEM, "no memory for the loss history of %d timesteps", T);
    }
    for (int t = 0; t < T; t++) m->weights[t] = 1;
    return DDPM_OK;
}

void second_moment_free(second_moment *m)
{
    if (!m) return;
    free(m->history);
    free(m->count);
    free(m->weights);
    *m = (second_moment){ 0 };
}

bool second_moment_warm(const second_moment *m)
{
    for (int t = 0; t < m->T; t++)
        if (m->count[t] < SECOND_MOMENT_HISTORY) return false;
    return true;
}

static void append(second_moment *m, int t, double loss)
{
    double *row = m->history + (size_t)t * SECOND_MOMENT_HISTORY;
    if (m->count[t] < SECOND_MOMENT_HISTORY) {
        row[m->count[t]++] = loss;
        return;
    }
    memmove(row, row + 1, (SECOND_MOMENT_HISTORY - 1) * sizeof *row);
    row[SECOND_MOMENT_HISTORY - 1] = loss;
}

static double root_mean_square(const double *row)
{
    double sum = 0;
    for (int j = 0; j < SECOND_MOMENT_HISTORY; j++) sum += row[j] * row[j];
    return sqrt(sum / SECOND_MOMENT_HISTORY);
}

static double weight_sum(const second_moment *m)
{
    double sum = 0;
    for (int t = 0; t < m->T; t++) sum += m->weights[t];
    return sum;
}

void second_moment_update(second_moment *m, int n, const int *t, const float *loss)
{
    for (int k = 0; k < n; k++) {
        assert(t[k] >= 0 && t[k] < m->T);
        append(m, t[k], (double)loss[k]);
    }
    if (!second_moment_warm(m)) return;
    for (int i = 0; i < m->T; i++) m->weights[i] = root_mean_square(m->history + (size_t)i * SECOND_MOMENT_HISTORY);
    const double sum = weight_sum(m);
    for (int i = 0; i < m->T; i++)
        m->weights[i] = (sum > 0 ? m->weights[i] / sum : 1.0 / m->T) * (1 - UNIFORM_SHARE) + UNIFORM_SHARE / m->T;
}

int second_moment_draw(const second_moment *m, uint64_t seed, uint64_t step, uint64_t sample)
{
    if (!second_moment_warm(m)) return timestep_uniform(seed, step, sample, m->T);
    double left = rng_uniform(address(seed, step, sample), 0) * weight_sum(m);
    int t = 0;
    while (t < m->T - 1 && left >= m->weights[t]) left -= m->weights[t++];
    return t;
}

float second_moment_loss_weight(const second_moment *m, int t)
{
    return (float)(1 / (m->T * (m->weights[t] / weight_sum(m))));
}
