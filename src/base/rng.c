/* How an address becomes Philox's 64-bit key and 128-bit counter. Two draws with
 * the same key have different counters if they differ in block, step or sample:
 *
 *   key        seed, with the stream in the top byte (exclusive or)
 *   counter 0  block
 *   counter 1  sample, bits 0..31
 *   counter 2  step, bits 0..31
 *   counter 3  sample, bits 32..47, above step, bits 32..47
 *
 * Block, step and sample take 32 + 48 + 48 bits, the whole counter, so the stream
 * has to share the key: (seed, stream) is unambiguous for seeds below 2^56. */
#include "base/rng.h"

#include <assert.h>
#include <math.h>

#include "base/fixmath_core.h"

enum { PAIRS = 128 };          /* normals are made in chunks of 2 PAIRS */

typedef struct { uint32_t key[2], counter[4]; } philox_input;

static philox_input place(rng_address a)
{
    assert(a.step >> 48 == 0 && a.sample >> 48 == 0);
    assert((unsigned)a.stream < 256);
    const uint64_t key = a.seed ^ (uint64_t)a.stream << 56;
    const philox_input in = {
        .key = { (uint32_t)key, (uint32_t)(key >> 32) },
        .counter = { 0, (uint32_t)a.sample, (uint32_t)a.step,
                     (uint32_t)(a.sample >> 32 << 16 | a.step >> 32) },
    };
    return in;
}

/* Salmon et al. 2011, section 3.3: ten rounds, the key bumped between them. */
FIX_INLINE void philox(philox_input in, uint32_t block, uint32_t out[4])
{
    uint32_t c0 = block, c1 = in.counter[1], c2 = in.counter[2], c3 = in.counter[3];
    uint32_t k0 = in.key[0], k1 = in.key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xd2511f53u * c0, p1 = (uint64_t)0xcd9e8d57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    out[0] = c0; out[1] = c1; out[2] = c2; out[3] = c3;
}

void rng_words(rng_address a, uint64_t block, uint32_t out[4])
{
    assert(block >> 32 == 0);
    philox(place(a), (uint32_t)block, out);
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
static void normal_chunk(philox_input in, uint32_t pair, float z[2 * PAIRS])
{
    uint64_t w[2][PAIRS];
    for (uint32_t i = 0; i < PAIRS; i++) {
        uint32_t v[4];
        philox(in, pair + i, v);
        w[0][i] = (uint64_t)v[1] << 32 | v[0];
        w[1][i] = (uint64_t)v[3] << 32 | v[2];
    }
    for (int i = 0; i < PAIRS; i++) normal_pair(w[0][i], w[1][i], &z[2 * i], &z[2 * i + 1]);
}

void rng_normals(rng_address a, size_t first, size_t len, float *z)
{
    const philox_input in = place(a);
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
