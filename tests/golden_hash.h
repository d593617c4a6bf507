/* golden_hash.h - numbers that are generated instead of stored: splitmix64 from the FNV-1a hash of a name
 * (the generator of 06_unet/hashgen.h). */
#ifndef DDPM_TESTS_GOLDEN_HASH_H
#define DDPM_TESTS_GOLDEN_HASH_H

#include <stdint.h>

static inline uint64_t golden_hash_name(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    return h;
}

/* 24 bits. */
static inline uint32_t golden_hash_bits(uint64_t name, uint64_t seed, uint64_t i)
{
    uint64_t z = (name ^ seed) + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (uint32_t)(z >> 40);
}

static inline float golden_hash_value(uint64_t name, uint64_t seed, uint64_t i, double lo, double hi)
{
    return (float)(lo + (hi - lo) * ((double)golden_hash_bits(name, seed, i) / 16777216.0));
}

#endif
