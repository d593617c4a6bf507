/* cpu.h - the host backend: own kernels, one build of them per instruction set.
 *
 * Levels, each containing the one before: "generic" (any machine), "avx2" (with
 * fma, f16c), "avx512" (f, bw, vl, dq), "avx512bf16", "amx" (tile, bf16). The
 * bits of a result depend on the level, never on batch size, thread count or
 * blocking. A node whose compute is NN_BF16 multiplies operands rounded to
 * bf16 on every level; the levels without bf16 products do so in f32. */
#ifndef DDPM_BACKEND_CPU_H
#define DDPM_BACKEND_CPU_H

#include "nn/backend.h"

/* The best level this machine runs, not above max_isa (NULL or "": no limit).
 * The caller frees with nn_backend_free. Errors: DDPM_EINVAL (no such level),
 * DDPM_ENOMEM. */
ddpm_status backend_cpu_new(const char *max_isa, nn_backend **b);

/* Names of the levels in this build, lowest first, NULL-terminated. */
const char *const *cpu_isa_names(void);

/* Whether this machine runs the level; false for an unknown name. */
bool cpu_isa_available(const char *name);

/* Run `rounds` rounds of independent multiply-adds of a level that this machine runs, on the
 * calling thread, and return how many operations that was (two for a multiply-add): with a clock
 * around it, the ceiling of the kernels. narrow: products of bf16 pairs; 0 where there are none. */
double cpu_ceiling_loop(const char *isa, bool narrow, int rounds);

/* Columns of the blocks of sums that convolution keeps in matrix tiles: 16 (4 of the 8 tiles in use) or 32
 * (7); 0 when the level has no tiles. The faster one in a measurement of about a millisecond,
 * made with the backend. The results are the same bits. b: one of backend_cpu_new. */
int cpu_tile_columns(const nn_backend *b);

/* Choose 16 or 32 instead, for plans that are made from now on; the level must have tiles. */
void cpu_set_tile_columns(nn_backend *b, int columns);

#endif
