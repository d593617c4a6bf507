/* sweep.h - `ddpm eval` with and without --sweep: which options belong to it. */
#ifndef DDPM_API_SWEEP_H
#define DDPM_API_SWEEP_H

#include "api/settings.h"

/* EINVAL: an option of drawing on the command line, which nothing but --sweep listens to. */
ddpm_status sweep_refuse_options(const settings *request);

#endif
