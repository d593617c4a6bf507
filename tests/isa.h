/* isa.h - the instruction-set level that a test of the cpu backend runs: the best one that
 * the machine has, none above $DDPM_MAX_ISA, as the program itself reads it. */
#ifndef DDPM_TESTS_ISA_H
#define DDPM_TESTS_ISA_H

#include <stdlib.h>

static inline const char *max_isa(void)
{
    return getenv("DDPM_MAX_ISA");
}

#endif
