/* compare_kinds.h - which two sets can be compared, by what; private to comparison.c. */
#ifndef DDPM_API_COMPARE_KINDS_H
#define DDPM_API_COMPARE_KINDS_H

#include "api/comparison.h"

/* EINVAL: the kinds of the two sides, and the options given, make no comparison. Before the space is opened. */
ddpm_status compare_check_kinds(const comparison *c);

/* c->wanted, where --metrics leaves it open. EINVAL: what a side has not. */
ddpm_status compare_choose_metrics(comparison *c);

/* c->name. EINVAL: the sides are of different spaces. When the space is fitted. */
ddpm_status compare_check_space(comparison *c);

#endif
