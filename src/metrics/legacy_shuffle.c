#include "metrics/legacy_shuffle.h"

enum { APART = 397 };

void legacy_seed(legacy_random *r, uint32_t seed)
{
    for (uint32_t i = 0; i < LEGACY_WORDS; i++) {
        r->word[i] = seed;
        seed = 1812433253U * (seed ^ (seed >> 30)) + i + 1;
    }
    r->next = LEGACY_WORDS;
}

static void refill(legacy_random *r)
{
    for (int i = 0; i < LEGACY_WORDS; i++) {
        const uint32_t joined = (r->word[i] & 0x80000000U) | (r->word[(i + 1) % LEGACY_WORDS] & 0x7fffffffU);
        r->word[i] = r->word[(i + APART) % LEGACY_WORDS] ^ (joined >> 1) ^ (joined & 1 ? 0x9908b0dfU : 0);
    }
    r->next = 0;
}

static uint32_t draw(legacy_random *r)
{
    if (r->next == LEGACY_WORDS) refill(r);
    uint32_t y = r->word[r->next++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680U;
    y ^= (y << 15) & 0xefc60000U;
    return y ^ (y >> 18);
}

/* 0..highest: bits are thrown away until they are not above it. */
static uint32_t draw_up_to(legacy_random *r, uint32_t highest)
{
    uint32_t mask = highest;
    for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
    for (;;) {
        const uint32_t value = draw(r) & mask;
        if (value <= highest) return value;
    }
}

void legacy_permutation(legacy_random *r, size_t n, int64_t *order)
{
    for (size_t i = 0; i < n; i++) order[i] = (int64_t)i;
    for (size_t i = n - 1; i > 0; i--) {
        const size_t k = draw_up_to(r, (uint32_t)i);
        const int64_t kept = order[i];
        order[i] = order[k];
        order[k] = kept;
    }
}
