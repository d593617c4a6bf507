/* clock.h - durations. */
#ifndef DDPM_BASE_CLOCK_H
#define DDPM_BASE_CLOCK_H

#include <time.h>

/* Seconds of a clock that nobody sets; only differences mean something. */
static inline double clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
