/* rng_core.h - the formulas of base/rng.h as inline functions.
 *
 * For rng.c, and for loops that are only fast when these are inlined and
 * vectorised (nn/dropout.h). How an address becomes Philox's 64-bit key and
 * 128-bit counter; two draws with the same key have different counters if they
 * differ in block, step or sample:
 *
 *   key        seed, with the stream in the top byte (exclusive or)
 *   counter 0  block
 *   counter 1  sample, bits 0..31
 *   counter 2  step, bits 0..31
 *   counter 3  sample, bits 32..47, above step, bits 32..47
 *
 * Block, step and sample take 32 + 48 + 48 bits, the whole counter, so the stream
 * has to share the key: (seed, stream) is unambiguous for seeds below 2^56. */
#ifndef DDPM_BASE_RNG_CORE_H
#define DDPM_BASE_RNG_CORE_H

#include "base/rng.h"

#include <assert.h>

#define RNG_INLINE static inline __attribute__((always_inline))

typedef struct { uint32_t key[2], counter[4]; } rng_input;

RNG_INLINE rng_input rng_place(rng_address a)
{
    assert(a.step >> 48 == 0 && a.sample >> 48 == 0);
    assert((unsigned)a.stream < 256);
    const uint64_t key = a.seed ^ (uint64_t)a.stream << 56;
    const rng_input in = {
        .key = { (uint32_t)key, (uint32_t)(key >> 32) },
        .counter = { 0, (uint32_t)a.sample, (uint32_t)a.step,
                     (uint32_t)(a.sample >> 32 << 16 | a.step >> 32) },
    };
    return in;
}

/* Salmon et al. 2011, section 3.3: ten rounds, the key bumped between them. */
RNG_INLINE void rng_philox(rng_input in, uint32_t block, uint32_t out[4])
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

#endif
