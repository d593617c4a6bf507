/* measure.h - clocks and memory of this machine, for bench, plan and doctor. */
#ifndef DDPM_API_MEASURE_H
#define DDPM_API_MEASURE_H

#include "base/clock.h"
#include "base/pool.h"
#include "nn/backend.h"

#include <stdint.h>

double measure_median(double *values, int count);         /* sorts them                                */

/* Bytes, of this process since measure_peak_reset, or since it began where the kernel does not take a reset. */
uint64_t measure_peak_rss(void);
void     measure_peak_reset(void);
uint64_t measure_rss(void);                               /* bytes, now; 0 where it cannot be read     */
uint64_t measure_memory(void);                            /* of the machine, or of its control group   */
uint64_t measure_available(void);                         /* that a new process could get              */

/* The best of three runs on all threads of the pool. */
double measure_products(pool *p, const char *isa, bool narrow);   /* GFLOP/s; 0: no such products      */
/* Every thread copies over and over, so that `bytes` bytes are read and written each time: the speed depends on
 * which cache holds them. */
ddpm_status measure_copy(pool *p, size_t bytes, double *gb_per_s);

#endif
