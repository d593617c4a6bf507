/* bf16.h - bfloat16 conversions: round to nearest even, NaN stays NaN. */
#ifndef DDPM_BASE_BF16_H
#define DDPM_BASE_BF16_H

#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

static inline float bf16_to_f32(bf16 x)
{
    const uint32_t u = (uint32_t)x << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline bf16 bf16_from_f32(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (bf16)(u >> 16 | 0x40);
    return (bf16)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

#endif
