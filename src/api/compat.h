/* compat.h - what the four code bases do where they differ.
 *
 * A profile is a set of defaults. It is chosen by --compat or stored with a model; options
 * that are given win over it. What a code base does to its schedule belongs to
 * the model (compat_resolve), the rest to sampling (sampling.c). */
#ifndef DDPM_API_COMPAT_H
#define DDPM_API_COMPAT_H

#include "api/settings.h"

typedef struct {
    const char      *name;
    schedule_profile profile;      /* of schedule_config_of                               */
    const char      *sampler;      /* when nobody says                                    */
    bool             full_chain;   /* all T steps when nobody says how many, DDIM's too   */
    bool             has_ddim;     /* the code has it; all have ancestral sampling        */
    clip_mode        clip, ddim_clip;
    int              quantize;
} compat_profile;

/* NULL: COMPAT_NONE, this program's own defaults. */
const compat_profile *compat_find(int compat);

/* A new model of a profile gets what nobody gave: width of the schedule, scaling of the linear betas, floor of
 * the posterior's log variance, timesteps as the network sees them, sampler. */
void compat_resolve(settings *s);

#endif
