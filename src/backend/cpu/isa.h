/* isa.h - one source, several instruction sets: names, vectors, conversions.
 *
 * Every kernel file is compiled once per level with CPU_ISA set to its name;
 * ISA(f) is this level's f. Vectors are gcc vector extensions of LANES floats,
 * so arithmetic is written with operators. Contraction is off: a fused
 * multiply-add is written vf_fma, which rounds once where the level has it
 * and twice on generic. */
#ifndef DDPM_BACKEND_CPU_ISA_H
#define DDPM_BACKEND_CPU_ISA_H

#include "base/bf16.h"
#include "nn/tensor.h"

#if defined(__x86_64__) && defined(__FMA__)
#include <immintrin.h>
#endif

#define ISA_PASTE_(name, isa) name##_##isa
#define ISA_PASTE(name, isa) ISA_PASTE_(name, isa)
#define ISA(name) ISA_PASTE(name, CPU_ISA)

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

typedef float    vf __attribute__((vector_size(LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));     /* also the result of comparing two vf, as vi */
typedef int32_t  vi __attribute__((vector_size(LANES * 4)));
typedef uint16_t vh __attribute__((vector_size(LANES * 2)));     /* bf16 bits */
typedef float    vf_any __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint16_t vh_any __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

static inline vf vf_load(const float *p) { return *(const vf_any *)p; }
static inline void vf_store(float *p, vf v) { *(vf_any *)p = v; }

static inline vf vf_set(float x)
{
    return x - (vf){0};
}

static inline vf vf_fma(vf a, vf b, vf c)
{
#if defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

static inline vf vf_load_bf16(const bf16 *p)
{
#if defined(__AVX512F__)
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)*(const vh_any *)p), 16);
#else
    return (vf)(__builtin_convertvector(*(const vh_any *)p, vu) << 16);
#endif
}

/* Round to nearest even, NaN stays NaN. The levels with bf16 products flush
 * subnormal inputs to zero, as those products do. */
static inline vh vh_round(vf v)
{
#if defined(__AVX512BF16__)
    return (vh)_mm512_cvtneps_pbh((__m512)v);
#else
    const vu u = (vu)v, nan = (vu)(v != v);
    const vu r = ((nan & (u | 0x400000u)) | (~nan & (u + 0x7fffu + (u >> 16 & 1u)))) >> 16;
#if defined(__AVX512F__)
    return (vh)_mm512_cvtepi32_epi16((__m512i)r);
#elif defined(__AVX2__)
    return (vh)_mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32((__m256i)r, (__m256i)r), 8));
#else
    return __builtin_convertvector(r, vh);
#endif
#endif
}

static inline void vf_store_bf16(bf16 *p, vf v) { *(vh_any *)p = vh_round(v); }

/* v rounded to bf16, as f32; and what that rounding took away, exactly. */
static inline vf vf_rounded(vf v) { return (vf)(__builtin_convertvector(vh_round(v), vu) << 16); }
static inline vf vf_remainder(vf v) { return v - vf_rounded(v); }

/* LANES elements of a value of type t (NN_F32 or NN_BF16), from element i on. */
static inline vf vf_load_as(const void *p, nn_dtype t, size_t i)
{
    return t == NN_BF16 ? vf_load_bf16((const bf16 *)p + i) : vf_load((const float *)p + i);
}

static inline void vf_store_as(void *p, nn_dtype t, size_t i, vf v)
{
    if (t == NN_BF16) vf_store_bf16((bf16 *)p + i, v);
    else vf_store((float *)p + i, v);
}

/* One element, with the same rounding. */
static inline float f32_load_as(const void *p, nn_dtype t, size_t i)
{
    return t == NN_BF16 ? bf16_to_f32(((const bf16 *)p)[i]) : ((const float *)p)[i];
}

static inline void f32_store_as(void *p, nn_dtype t, size_t i, float v)
{
    if (t == NN_BF16) ((bf16 *)p)[i] = vh_round(vf_set(v))[0];
    else ((float *)p)[i] = v;
}

#endif
