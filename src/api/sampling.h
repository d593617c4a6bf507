/* sampling.h - from settings to a chain of steps: schedule, spacing, process, method.
 *
 * What a model is comes from the model's settings, how to sample from the
 * request's. A value of the request counts only when somebody gave it. */
#ifndef DDPM_API_SAMPLING_H
#define DDPM_API_SAMPLING_H

#include "api/settings.h"
#include "diffusion/sampler.h"

enum { SAMPLING_BATCH = 32 };      /* images at once when nobody says */

typedef struct {
    schedule       full, steps;    /* the trained chain; the rows to walk */
    process        trained, p;     /* on full; on steps                   */
    const sampler *method;
    double         eta;
    const char    *spacing;        /* name of the rule, or the spec it came from; borrowed      */
} sampling;

/* The trained process of a model; *full is freed with schedule_free. */
ddpm_status sampling_process(const settings *model, schedule *full, process *p);

/* What --variance and --sigma_small make of a trained variance; untouched where they are not given. A learned
 * variance may be left for a fixed one; EINVAL: the other way round. */
ddpm_status sampling_variance(const settings *request, var_type trained, var_type *var);

/* EINVAL: --steps beyond T or below 1, spacing, contradictions. The object must not move: its
 * processes point into it. */
ddpm_status sampling_new(const settings *model, const settings *request, sampling *s);
void        sampling_free(sampling *s);      /* empties *s */

/* Images in one network call of one worker: keeps a chunk's activations near the cache. */
int         sampling_chunk(int height, int width);

#endif
