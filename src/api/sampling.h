/* sampling.h - from settings to a chain of steps: schedule, spacing, process, method.
 *
 * What a model is comes from the model's settings, how to sample from the
 * request's. A value of the request counts only when somebody gave it; then come
 * the words of the profile in force (api/compat.h), the request's or else the
 * model's own, whose details the model may have stored. */
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
    bool           sigma_hat;      /* of ddim                             */
    int            compat, quantize;   /* places in the choices of the table */
    int            asked;          /* steps that the rule was asked for, which some rules do not keep to */
    const char    *spacing;        /* name of the rule, or the spec it came from; borrowed, also from `rule` */
    char           rule[64];
    char           note[512];      /* what the profile does beside what was asked, and where an option wins over it; "" */
} sampling;

/* The trained process of a model; *full is freed with schedule_free. */
ddpm_status sampling_process(const settings *model, schedule *full, process *p);

/* A value that somebody gave for this call, not a preset. */
bool        sampling_given(const settings *request, const char *name);

/* What --variance and --sigma_small make of a trained variance; untouched where they are not given. A learned
 * variance may be left for a fixed one; EINVAL: the other way round. */
ddpm_status sampling_variance(const settings *request, var_type trained, var_type *var);
/* The word of --variance for it. */
const char *sampling_variance_word(var_type var);

/* The model can be trained: its loss and process fit, and so does the weighting. EINVAL, before any work. */
ddpm_status sampling_check_training(const settings *s);

/* EINVAL: --steps beyond T or below 1 or impossible in the profile's code, spacing, contradictions. The object must
 * not move: its processes point into it. */
ddpm_status sampling_new(const settings *model, const settings *request, sampling *s);
void        sampling_free(sampling *s);      /* empties *s */

/* The noisiest row to walk whose timestep, counted from 1 as the papers do, is at most `step`; -1: all lie above it. */
int         sampling_row(const sampling *s, int step);

/* Images in one network call of one worker: keeps a chunk's activations near the cache. */
int         sampling_chunk(int height, int width);

#endif
