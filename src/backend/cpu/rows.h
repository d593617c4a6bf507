/* rows.h - rows of contiguous channels: partial vectors, exp, SiLU.
 *
 * Kernels walk a row in steps of LANES values (isa.h), held in f32 whatever the
 * storage (f32, or bf16 rounded to nearest even). No function here depends on
 * addresses, on the batch or on the neighbours of a lane, so the bits of an
 * element depend on the instruction set only; on generic nothing is fused and
 * they are the same on every machine.
 *
 * A row ends with a partial vector of k < LANES elements: the lanes beyond read
 * as 0 and are not written. */
#ifndef DDPM_BACKEND_CPU_ROWS_H
#define DDPM_BACKEND_CPU_ROWS_H

#include "backend/cpu/isa.h"

#include <string.h>

#define ROW_INLINE static inline __attribute__((always_inline))
#define ROW_COLD   __attribute__((noinline, cold, unused)) static

/* Run f(type_a, type_b, ...) with the types as constants where both are the same. */
#define ROW_TYPED(f, type_a, type_b, ...)                                                      \
    do {                                                                                       \
        if ((type_a) == NN_F32 && (type_b) == NN_F32) f(NN_F32, NN_F32, __VA_ARGS__);          \
        else if ((type_a) == NN_BF16 && (type_b) == NN_BF16) f(NN_BF16, NN_BF16, __VA_ARGS__); \
        else f(type_a, type_b, __VA_ARGS__);                                                   \
    } while (0)

/* n rounded up to whole vectors. */
ROW_INLINE size_t row_padded(int n)
{
    return ((size_t)n + LANES - 1) / LANES * LANES;
}

/* Elements, pixels, rows or groups [first, end). */
typedef struct { size_t first, end; } row_range;

/* What falls to one part of n of them (nn_call), cut at multiples of `step`. */
ROW_INLINE row_range row_share(size_t n, size_t step, int part, int parts)
{
    const size_t steps = (n + step - 1) / step;
    const size_t first = steps * (size_t)part / (size_t)parts * step, end = steps * (size_t)(part + 1) / (size_t)parts * step;
    return (row_range){ first < n ? first : n, end < n ? end : n };
}

/* Elements in the vector that starts at element `at` of a row of n. */
ROW_INLINE int row_lanes(int n, int at)
{
    return n - at < LANES ? n - at : LANES;
}

/* k < LANES elements by instructions that do not touch what lies beyond, or one by one. */
#if defined(__AVX512BW__) && defined(__AVX512VL__)
ROW_INLINE vf row_get_few(nn_dtype type, const void *p, size_t at, int k)
{
    const __mmask16 few = (__mmask16)((1u << k) - 1);
    if (type != NN_BF16) return (vf)_mm512_maskz_loadu_ps(few, (const float *)p + at);
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(few, (const bf16 *)p + at)), 16);
}

ROW_INLINE void row_put_few(nn_dtype type, void *p, size_t at, int k, vf v)
{
    const __mmask16 few = (__mmask16)((1u << k) - 1);
    if (type == NN_BF16) _mm256_mask_storeu_epi16((bf16 *)p + at, few, (__m256i)vh_round(v));
    else _mm512_mask_storeu_ps((float *)p + at, few, (__m512)v);
}
#else
ROW_COLD void row_get_part(nn_dtype type, const void *p, size_t at, int k, float *lanes)
{
    for (int i = 0; i < LANES; i++) lanes[i] = i < k ? f32_load_as(p, type, at + (size_t)i) : 0;
}

ROW_COLD void row_put_part(nn_dtype type, void *p, size_t at, int k, const float *lanes)
{
    for (int i = 0; i < k; i++) f32_store_as(p, type, at + (size_t)i, lanes[i]);
}

ROW_INLINE vf row_get_few(nn_dtype type, const void *p, size_t at, int k)
{
    float lanes[LANES];
    row_get_part(type, p, at, k, lanes);
    return vf_load(lanes);
}

ROW_INLINE void row_put_few(nn_dtype type, void *p, size_t at, int k, vf v)
{
    float lanes[LANES];
    vf_store(lanes, v);
    row_put_part(type, p, at, k, lanes);
}
#endif

/* k elements from element `at` of an array stored as `type`. */
ROW_INLINE vf row_get(nn_dtype type, const void *p, size_t at, int k)
{
    if (__builtin_expect(k == LANES, 1)) return vf_load_as(p, type, at);
    return row_get_few(type, p, at, k);
}

ROW_INLINE void row_put(nn_dtype type, void *p, size_t at, int k, vf v)
{
    if (__builtin_expect(k == LANES, 1)) vf_store_as(p, type, at, v);
    else row_put_few(type, p, at, k, v);
}

/* n elements from `first` of a stored array, as f32. */
ROW_INLINE void row_load(float *dst, const void *src, nn_dtype type, size_t first, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) vf_store(dst + i, vf_load_as(src, type, first + i));
    if (i < n) row_put(NN_F32, dst, i, (int)(n - i), row_get(type, src, first + i, (int)(n - i)));
}

/* n f32 values into elements from `first` of a stored array. */
ROW_INLINE void row_store(void *dst, nn_dtype type, size_t first, const float *src, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) vf_store_as(dst, type, first + i, vf_load(src + i));
    if (i < n) row_put(type, dst, first + i, (int)(n - i), row_get(NN_F32, src, i, (int)(n - i)));
}

/* The words low | high << 16 of two rows of values rounded to bf16. */
ROW_INLINE vf row_pair(vf low, vf high)
{
    return (vf)(__builtin_convertvector(vh_round(low), vu) | __builtin_convertvector(vh_round(high), vu) << 16);
}

/* The words low | high << 16 of k elements of two rows stored as bf16. */
ROW_INLINE vf row_pair_stored(const bf16 *low, const bf16 *high, int k)
{
    return (vf)((vu)row_get(NN_BF16, low, 0, k) >> 16 | (vu)row_get(NN_BF16, high, 0, k));
}

/* if_true where `mask` is all ones, if_false where it is 0. */
ROW_INLINE vf row_pick(vi mask, vf if_true, vf if_false)
{
    return (vf)((mask & (vi)if_true) | (~mask & (vi)if_false));
}

/* Sum and maximum of the lanes, by halving. */
ROW_INLINE float row_sum(vf v)
{
    float lanes[LANES];
    vf_store(lanes, v);
    for (int w = LANES / 2; w > 0; w /= 2)
        for (int i = 0; i < w; i++) lanes[i] += lanes[i + w];
    return lanes[0];
}

ROW_INLINE float row_max(vf v)
{
    float lanes[LANES];
    vf_store(lanes, v);
    for (int w = LANES / 2; w > 0; w /= 2)
        for (int i = 0; i < w; i++) lanes[i] = lanes[i] > lanes[i + w] ? lanes[i] : lanes[i + w];
    return lanes[0];
}

/* x held between lo and hi; NaN stays NaN (the instructions return their second operand then). */
ROW_INLINE vf row_clamp(vf x, float lo, float hi)
{
#if defined __AVX512F__
    return (vf)_mm512_min_ps(_mm512_set1_ps(hi), _mm512_max_ps(_mm512_set1_ps(lo), (__m512)x));
#elif defined __AVX2__
    return (vf)_mm256_min_ps(_mm256_set1_ps(hi), _mm256_max_ps(_mm256_set1_ps(lo), (__m256)x));
#else
    x = row_pick(x < lo, vf_set(lo), x);
    return row_pick(x > hi, vf_set(hi), x);
#endif
}

/* exp(x), relative error below 2e-7 for -87.3 <= x <= 88; held at exp(-87.3) and
 * exp(88) outside, NaN stays NaN.
 *
 * x = k log 2 + r with |r| <= log(2)/2; adding and taking away 1.5 * 2^23 rounds to
 * an integer and leaves k in the low bits. log 2 is in two parts, the first of 9
 * bits, so that k times it is exact. (exp(r) - 1 - r) / r^2 is the polynomial of
 * degree 4 with the least largest relative error in exp(r), 3e-9. */
ROW_INLINE vf row_exp(vf x)
{
    x = row_clamp(x, -87.3f, 88.0f);
    const vf t = vf_fma(x, vf_set(0x1.715476p+0f), vf_set(0x1.8p+23f));
    const vf k = t - 0x1.8p+23f;
    const vf r = vf_fma(k, vf_set(0x1.bd0106p-13f), vf_fma(k, vf_set(-0x1.63p-1f), x));
    vf p = vf_fma(r, vf_set(0x1.6a23cep-10f), vf_set(0x1.123a20p-7f));
    p = vf_fma(p, r, vf_set(0x1.5558f2p-5f));
    p = vf_fma(p, r, vf_set(0x1.555492p-3f));
    p = vf_fma(p, r, vf_set(0x1.fffffcp-2f));
    const vf power = (vf)(((vu)t + 127u) << 23);
    return (vf_fma(p, r * r, r) + 1.0f) * power;
}

ROW_INLINE vf row_sigmoid(vf x)
{
    return 1.0f / (1.0f + row_exp(-x));
}

ROW_INLINE vf row_silu(vf x)
{
    return x / (1.0f + row_exp(-x));
}

/* Derivative of SiLU. */
ROW_INLINE vf row_dsilu(vf x)
{
    const vf s = row_sigmoid(x);
    return s * vf_fma(x, 1.0f - s, vf_set(1.0f));
}

#endif
