#include "base/rng_core.h"

#include <math.h>

#include "base/fixmath_core.h"

enum { PAIRS = 128 };          /* normals are made in chunks of 2 PAIRS */

void rng_words(rng_address a, uint64_t block, uint32_t out[4])
{
    assert(block >> 32 == 0);
    rng_philox(rng_place(a), (uint32_t)block, out);
}

static uint64_t word64(rng_address a, uint64_t index)
{
    uint32_t w[4];
    rng_words(a, index / 2, w);
    const size_t half = 2 * (index & 1);
    return (uint64_t)w[half + 1] << 32 | w[half];
}

/* The top 52 bits of `w` as an odd multiple of 2^-53 in (0,1). */
FIX_INLINE double unit(uint64_t w)
{
    return fix_double(w >> 12 | 0x3ff0000000000000u) - (1 - 0x1p-53);
}

double rng_uniform(rng_address a, uint64_t index) { return unit(word64(a, index)); }

uint64_t rng_below(rng_address a, uint64_t index, uint64_t n)
{
    assert(n > 0);
    __extension__ typedef unsigned __int128 product;
    return (uint64_t)((product)word64(a, index) * n >> 64);
}

/* Box-Muller: a radius from the first 64 bits of a block, an angle from the others,
 * whose top two bits choose a quadrant and whose rest an angle in (-pi/4, pi/4). */
FIX_INLINE void normal_pair(uint64_t for_radius, uint64_t for_angle, float *z0, float *z1)
{
    const double radius = sqrt(-2 * fix_log_normal(unit(for_radius), 0));
    double cosine, sine;
    fix_rotate(for_angle >> 62, (unit(for_angle << 2) - 0.5) * FIX_HALF_PI, 0, &cosine, &sine);
    *z0 = (float)(radius * cosine);
    *z1 = (float)(radius * sine);
}

/* Pairs pair .. pair+PAIRS-1 of the sequence. Two loops, since the first works on
 * 32-bit and the second on 64-bit lanes. */
static void normal_chunk(rng_input in, uint32_t pair, float z[2 * PAIRS])
{
    uint64_t w[2][PAIRS];
    for (uint32_t i = 0; i < PAIRS; i++) {
        uint32_t v[4];
        rng_philox(in, pair + i, v);
        w[0][i] = (uint64_t)v[1] << 32 | v[0];
        w[1][i] = (uint64_t)v[3] << 32 | v[2];
    }
    for (int i = 0; i < PAIRS; i++) normal_pair(w[0][i], w[1][i], &z[2 * i], &z[2 * i + 1]);
}

void rng_normals(rng_address a, size_t first, size_t len, float *z)
{
    const rng_input in = rng_place(a);
    assert(len == 0 || (uint64_t)first + len - 1 < UINT64_C(1) << 33);
    float chunk[2 * PAIRS];
    for (size_t done = 0; done < len; ) {
        const size_t at = first + done, skip = at & 1;
        normal_chunk(in, (uint32_t)(at / 2), chunk);
        size_t n = 2 * PAIRS - skip;
        if (n > len - done) n = len - done;
        memcpy(z + done, chunk + skip, n * sizeof *z);
        done += n;
    }
}
