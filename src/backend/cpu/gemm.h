/* gemm.h - the f32 matrix product of attention: one running sum per element. */
#ifndef DDPM_BACKEND_CPU_GEMM_H
#define DDPM_BACKEND_CPU_GEMM_H

#include "backend/cpu/isa.h"

/* c[i][j] (+)= sum over k of a[i*a_row + k*a_k] * b[k*b_row + j] for i < m, j < n:
 * c[i*c_row + j] is one accumulator to which products are added in ascending k
 * (vf_fma), whatever m, n and the blocking are. Starts from zero, or from c
 * when `accumulate`. c overlaps neither a nor b. Needs about 40 KiB of stack. */
void ISA(gemm_f32)(int m, int n, int k, const float *a, ptrdiff_t a_row, ptrdiff_t a_k,
                   const float *b, ptrdiff_t b_row, float *c, ptrdiff_t c_row, bool accumulate);

#endif
