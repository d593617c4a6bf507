/* traps_tools.h - what the two parts of the list of traps share. */
#ifndef DDPM_TESTS_TRAPS_TOOLS_H
#define DDPM_TESTS_TRAPS_TOOLS_H

#include "checkpoint_tools.h"

#define TINY "image_size=8 channels=3 num_channels=8 channel_mult=1,2 num_res_blocks=1 norm_groups=4 num_heads=1 attention_resolutions=4 "

static inline settings of_preset(const char *name)
{
    settings s;
    settings_defaults(&s);
    MUST(settings_preset(&s, name));
    MUST(settings_resolve(&s));
    return s;
}

/* What somebody asks for on a command line. */
static inline settings asked(const char *name, const char *text)
{
    settings s;
    settings_defaults(&s);
    if (name) MUST(settings_set(&s, name, text, ORIGIN_COMMAND_LINE));
    return s;
}

static inline void expect_near(const char *what, double got, double want, double allowed)
{
    if (!(fabs(got - want) <= allowed)) fail_msg("%s: got %.12g, want %.12g (allowed %.3g)", what, got, want, allowed);
}

#endif
