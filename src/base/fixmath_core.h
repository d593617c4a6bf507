/* fixmath_core.h - the formulas of base/fixmath.h as inline functions.
 *
 * For fixmath.c, and for loops that are only fast when these are inlined and
 * vectorised (rng.c). No branches, no tables, no conversions between 64-bit
 * integers and doubles (SSE2 has none): integers are read from and written to
 * the bits of a double. Polynomials are the Taylor series, whose coefficients
 * are exact quotients; the truncation error at the end of each reduced range is
 * given beside it. Constants in several parts are leading bits and remainders of
 * pi/2 and log 2, short enough that multiplying them by the integer k is exact. */
#ifndef DDPM_BASE_FIXMATH_CORE_H
#define DDPM_BASE_FIXMATH_CORE_H

#include <stdint.h>
#include <string.h>

#define FIX_INLINE static inline __attribute__((always_inline))

#define FIX_ROUND   0x1.8p+52               /* x + this - this rounds x to an integer */
#define FIX_LN2_HI  0x1.62e42fefa3800p-1    /* 42 bits */
#define FIX_LN2_LO  0x1.ef35793c76730p-45
#define FIX_HALF_PI 0x1.921fb54442d18p+0

FIX_INLINE uint64_t fix_bits(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

FIX_INLINE double fix_double(uint64_t u)
{
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* if_true where `mask` is all ones, if_false where it is 0. */
FIX_INLINE double fix_pick(uint64_t mask, double if_true, double if_false)
{
    return fix_double((fix_bits(if_true) & mask) | (fix_bits(if_false) & ~mask));
}

/* (exp(r) - 1 - r) / r^2 for |r| <= log(2)/2; truncation 4e-18. */
FIX_INLINE double fix_exp_tail(double r)
{
    double p = 1.0 / 6227020800;
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    return p * r + 0.5;
}

/* x = k log 2 + r with |r| <= log(2)/2; returns exp(r) - 1, and 2^half and 2^rest
 * with product 2^k, each in range on its own. -750 <= x <= 750, or NaN. */
FIX_INLINE double fix_exp_reduced(double x, double *half, double *rest)
{
    const double t = x * 0x1.71547652b82fep+0 + FIX_ROUND;
    const double k = t - FIX_ROUND;
    const double hi = x - k * FIX_LN2_HI, lo = k * FIX_LN2_LO;
    const double r = hi - lo, error = (hi - r) - lo;
    const uint64_t n = (fix_bits(t) + 2048) & 4095;       /* k + 2048 */
    const uint64_t n1 = n >> 1, n2 = n - n1;              /* exponents k/2, each biased by 1024 */
    *half = fix_double((n1 - 1) << 52);
    *rest = fix_double((n2 - 1) << 52);
    return r + (error + r * r * fix_exp_tail(r));
}

FIX_INLINE double fix_exp_core(double x)
{
    x = x > 710 ? 710 : x;
    x = x < -750 ? -750 : x;
    double half, rest;
    const double e = fix_exp_reduced(x, &half, &rest);
    return (1 + e) * half * rest;
}

/* log(x) for x positive, finite and normal, plus k_extra log 2.
 *
 * x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); with s = f / (2 + f),
 * log(1 + f) = 2 atanh(s) = f - f^2/2 + s (f^2/2 + R(s^2)), where R collects the
 * series of 2 atanh from the cubic term on. |s| <= 0.1716; truncation 1e-18. */
FIX_INLINE double fix_log_normal(double x, double k_extra)
{
    const uint64_t root_half = 0x3fe6a09e667f3bcdu, one = 0x3ff0000000000000u;
    const uint64_t u = fix_bits(x), shifted = u - root_half + one;
    const uint64_t biased = shifted >> 52;                 /* k + 1023 */
    const double k = (fix_double(biased | 0x4330000000000000u) - (0x1p52 + 1023)) + k_extra;
    const double f = fix_double((shifted & 0xfffffffffffffu) + root_half) - 1;
    const double s = f / (2 + f), z = s * s;
    double p = 2.0 / 23;
    p = p * z + 2.0 / 21;
    p = p * z + 2.0 / 19;
    p = p * z + 2.0 / 17;
    p = p * z + 2.0 / 15;
    p = p * z + 2.0 / 13;
    p = p * z + 2.0 / 11;
    p = p * z + 2.0 / 9;
    p = p * z + 2.0 / 7;
    p = p * z + 2.0 / 5;
    p = p * z + 2.0 / 3;
    const double half_square = 0.5 * f * f;
    return k * FIX_LN2_HI + (f - (half_square - (s * (half_square + p * z) + k * FIX_LN2_LO)));
}

FIX_INLINE double fix_log_core(double x)
{
    const int tiny = x < 0x1p-1022;
    double y = fix_log_normal(tiny ? x * 0x1p54 : x, tiny ? -54.0 : 0.0);
    y = x <= 0x1.fffffffffffffp+1023 ? y : x;                /* inf and NaN stay */
    y = x == 0 ? -fix_double(0x7ff0000000000000u) : y;
    return x < 0 ? fix_double(0x7ff8000000000000u) : y;
}

/* sin(r + e) for |r| <= pi/4, |e| < ulp(r); truncation 1e-19. */
FIX_INLINE double fix_sin_reduced(double r, double e)
{
    const double z = r * r;
    double p = 1.0 / 355687428096000;
    p = p * z - 1.0 / 1307674368000;
    p = p * z + 1.0 / 6227020800;
    p = p * z - 1.0 / 39916800;
    p = p * z + 1.0 / 362880;
    p = p * z - 1.0 / 5040;
    p = p * z + 1.0 / 120;
    p = p * z - 1.0 / 6;
    return r + (r * z * p + e * (1 - 0.5 * z));
}

/* cos(r + e) for |r| <= pi/4, |e| < ulp(r); truncation 2e-18. */
FIX_INLINE double fix_cos_reduced(double r, double e)
{
    const double z = r * r;
    double p = 1.0 / 20922789888000;
    p = p * z - 1.0 / 87178291200;
    p = p * z + 1.0 / 479001600;
    p = p * z - 1.0 / 3628800;
    p = p * z + 1.0 / 40320;
    p = p * z - 1.0 / 720;
    p = p * z + 1.0 / 24;
    const double half = 0.5 * z, w = 1 - half;
    return w + (((1 - w) - half) + (z * z * p - r * e));
}

/* cos and sin of (pi/2) quadrant + r + e; only the two low bits of `quadrant` count. */
FIX_INLINE void fix_rotate(uint64_t quadrant, double r, double e, double *cosine, double *sine)
{
    const double s = fix_sin_reduced(r, e), c = fix_cos_reduced(r, e);
    const uint64_t odd = 0 - (quadrant & 1);
    const uint64_t sine_sign = (quadrant & 2) << 62, cosine_sign = ((quadrant + 1) & 2) << 62;
    *cosine = fix_double(fix_bits(fix_pick(odd, s, c)) ^ cosine_sign);
    *sine = fix_double(fix_bits(fix_pick(odd, c, s)) ^ sine_sign);
}

/* What a - b lost in rounding to d. */
FIX_INLINE double fix_lost(double a, double b, double d)
{
    const double b_virtual = a - d, a_virtual = d + b_virtual;
    return (a - a_virtual) + (b_virtual - b);
}

/* cos and sin of x for |x| <= 2^20 (NaN beyond): k quarter turns are taken away in
 * four parts, the first three of 33 bits, so that nothing is lost even where x is
 * the double nearest to a multiple of pi/2. */
FIX_INLINE void fix_sincos_core(double x, double *cosine, double *sine)
{
    x = x <= 0x1p20 && x >= -0x1p20 ? x : fix_double(0x7ff8000000000000u);
    const double t = x * 0x1.45f306dc9c883p-1 + FIX_ROUND;
    const double k = t - FIX_ROUND;
    const double a = x - k * 0x1.921fb544p+0;
    const double w2 = k * 0x1.0b4611a6p-34, b = a - w2;
    const double w3 = k * 0x1.3198a2ep-69, c = b - w3;
    const double low = (fix_lost(a, w2, b) + fix_lost(b, w3, c)) - k * 0x1.b839a252049c1p-104;
    const double r = c + low;
    fix_rotate(fix_bits(t), r, (c - r) + low, cosine, sine);
}

/* tanh|x| = e / (e + 2) with e = exp(2|x|) - 1, which keeps small x exact. */
FIX_INLINE double fix_tanh_core(double x)
{
    const uint64_t sign = fix_bits(x) & 0x8000000000000000u;
    double y = fix_double(fix_bits(x) ^ sign);
    y = y > 22 ? 22 : y;
    double half, rest;
    const double p = fix_exp_reduced(2 * y, &half, &rest), power = half * rest;
    const double e = power * p + (power - 1);
    return fix_double(fix_bits(e / (e + 2)) | sign);
}

#endif
