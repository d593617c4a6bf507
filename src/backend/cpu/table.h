/* table.h - what one level of the cpu backend consists of (table.c). */
#ifndef DDPM_BACKEND_CPU_TABLE_H
#define DDPM_BACKEND_CPU_TABLE_H

#include "nn/backend.h"

typedef struct {
    const nn_kernel *kernels[NN_OP_COUNT];
    ddpm_status (*upload)(nn_backend *b, const nn_tensor *t, int n, const void *host, void *dst);
    ddpm_status (*download)(nn_backend *b, const nn_tensor *t, int n, const void *src, void *host);
    void        (*accumulate)(nn_backend *b, const nn_tensor *t, int n, void *y, const void *x);
    double      (*loop_f32)(int rounds);      /* ceilings.c: run, and say how many operations that was */
    double      (*loop_bf16)(int rounds);     /* 0: no such products                                   */
    double      (*loop_tiles)(bool wide, int rounds);      /* blocks of sums as convolution makes them; NULL: no tiles */
} cpu_table;

#endif
