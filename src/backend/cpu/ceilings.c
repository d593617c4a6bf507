/* What the multipliers of a level can do at most: independent chains of the
 * instruction that the kernels multiply with, and nothing else; and what blocks
 * of tiles do with all their loads. */
#include "backend/cpu/table.h"

#include "backend/cpu/amx_block.h"

/* As many as there are registers for, less one for the operand. */
#if defined(__AVX512F__)
enum { CHAINS = 24 };
#else
enum { CHAINS = 12 };
#endif

double ISA(cpu_loop_f32)(int rounds);
double ISA(cpu_loop_bf16)(int rounds);
double ISA(cpu_loop_tiles)(bool wide, int rounds);

/* The operand is volatile so that no product can be left out, and every chain begins elsewhere: equal chains
 * would be one to the compiler. */
double ISA(cpu_loop_f32)(int rounds)
{
    const volatile vf operand = vf_set(0.5f);
    vf s[CHAINS], sum = {0};
    for (int j = 0; j < CHAINS; j++) s[j] = operand + (float)j;
    for (int i = 0; i < rounds; i++) {
        const vf x = operand;
        #pragma GCC unroll 24
        for (int j = 0; j < CHAINS; j++) s[j] = vf_fma(s[j], x, x);
    }
    #pragma GCC unroll 24
    for (int j = 0; j < CHAINS; j++) sum += s[j];
    const volatile vf result = sum;
    (void)result;
    return 2.0 * LANES * CHAINS * rounds;
}

#if defined(__AMX_BF16__) && !defined(CPU_AMX_EMULATED)
/* Six sums hide the latency of a tile product; tiles 6 and 7 are the operands. */
double ISA(cpu_loop_bf16)(int rounds)
{
    enum { TILES = 8, SUMS = 6, FLOP = 2 * 16 * 16 * 32 };
    _Alignas(64) unsigned char config[64] = {1};
    for (int t = 0; t < TILES; t++) {
        config[16 + 2 * t] = 64;
        config[48 + t] = 16;
    }
    __asm__ volatile("ldtilecfg %0\n\ttilezero %%tmm6\n\ttilezero %%tmm7" : : "m"(config) : "memory");
    for (int i = 0; i < rounds; i++)
        __asm__ volatile("tdpbf16ps %%tmm7, %%tmm6, %%tmm0\n\ttdpbf16ps %%tmm7, %%tmm6, %%tmm1\n\t"
                         "tdpbf16ps %%tmm7, %%tmm6, %%tmm2\n\ttdpbf16ps %%tmm7, %%tmm6, %%tmm3\n\t"
                         "tdpbf16ps %%tmm7, %%tmm6, %%tmm4\n\ttdpbf16ps %%tmm7, %%tmm6, %%tmm5" : :);
    __asm__ volatile("tilerelease" : :);
    return (double)SUMS * FLOP * rounds;
}
#elif defined(__AVX512BF16__)
double ISA(cpu_loop_bf16)(int rounds)
{
    const volatile vf operand = vf_set(0.5f);
    vf s[CHAINS], sum = {0};
    for (int j = 0; j < CHAINS; j++) s[j] = operand + (float)j;
    for (int i = 0; i < rounds; i++) {
        const __m512bh x = (__m512bh)operand;
        #pragma GCC unroll 24
        for (int j = 0; j < CHAINS; j++) s[j] = (vf)_mm512_dpbf16_ps((__m512)s[j], x, x);
    }
    #pragma GCC unroll 24
    for (int j = 0; j < CHAINS; j++) sum += s[j];
    const volatile vf result = sum;
    (void)result;
    return 2.0 * 2 * LANES * CHAINS * rounds;
}
#else
/* This level has no products of bf16. */
double ISA(cpu_loop_bf16)(int rounds)
{
    (void)rounds;
    return 0;
}
#endif

/* Operands of 64 steps for a block of 32 x 32: 16 KiB, so that they stay in the first-level cache. */
double ISA(cpu_loop_tiles)(bool wide, int rounds)
{
    enum { STEPS = 64, FLOP = 2 * 16 * 16 * 32 };
    _Alignas(64) char left[32][STEPS * 4] = {0}, right[2][STEPS * 64] = {0};
    _Alignas(64) float sum[32][32];
    const amx_shape shape = {true, wide};
    const amx_sums sums = {&sum[0][0], 32, 16 * 32, 16};
    amx_state amx;
    amx_block_begin(&amx, wide);
    for (int i = 0; i < rounds; i++) {
        amx_operands x = {left[0], left[16], sizeof left[0], right[0], right[1]};
        amx_block_zero(&amx, shape);
        for (int k = 0; k < STEPS; k += 16) {
            amx_block_step(&amx, shape, &x);
            amx_next_steps(&x);
        }
        amx_block_store(&amx, shape, &sums);
    }
    amx_end(&amx);
    return (double)(wide ? 4 : 2) * FLOP * STEPS / 16 * rounds;
}
