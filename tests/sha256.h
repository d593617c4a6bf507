/* sha256.h - SHA-256 (FIPS 180-4) of a buffer as text, for files that were recorded by their checksum. */
#ifndef DDPM_TESTS_SHA256_H
#define DDPM_TESTS_SHA256_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static inline uint32_t sha_turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* The first 32 bits of the fractional part of a root of the n-th prime. */
static inline uint32_t sha_prime_bits(int n, bool cube)
{
    int p = 2;
    for (int found = 0; ; p++) {
        bool prime = true;
        for (int d = 2; d * d <= p; d++) prime = prime && p % d;
        if (prime && found++ == n) break;
    }
    const long double r = cube ? cbrtl(p) : sqrtl(p);
    return (uint32_t)((r - floorl(r)) * 4294967296.0L);
}

static inline void sha_block(uint32_t h[8], const uint32_t k[64], const uint8_t *p)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++) w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + (sha_turn(w[i - 15], 7) ^ sha_turn(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] + (sha_turn(w[i - 2], 17) ^ sha_turn(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, h, sizeof s);
    for (int i = 0; i < 64; i++) {
        const uint32_t a = s[0], e = s[4];
        const uint32_t t = s[7] + (sha_turn(e, 6) ^ sha_turn(e, 11) ^ sha_turn(e, 25)) + ((e & s[5]) ^ (~e & s[6])) + k[i] + w[i];
        const uint32_t u = (sha_turn(a, 2) ^ sha_turn(a, 13) ^ sha_turn(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t;
        s[0] = t + u;
    }
    for (int i = 0; i < 8; i++) h[i] += s[i];
}

static inline void sha256(const uint8_t *data, size_t len, char hex[65])
{
    uint32_t h[8], k[64];
    uint8_t last[128] = { 0 };
    for (int i = 0; i < 8; i++) h[i] = sha_prime_bits(i, false);
    for (int i = 0; i < 64; i++) k[i] = sha_prime_bits(i, true);
    size_t at = 0;
    for (; at + 64 <= len; at += 64) sha_block(h, k, data + at);
    const size_t rest = len - at, end = rest < 56 ? 64 : 128;
    if (rest) memcpy(last, data + at, rest);
    last[rest] = 0x80;
    for (size_t i = 0; i < 8; i++) last[end - 1 - i] = (uint8_t)((uint64_t)len * 8 >> (8 * i));
    for (size_t i = 0; i < end; i += 64) sha_block(h, k, last + i);
    for (int i = 0; i < 8; i++) snprintf(hex + 8 * i, 9, "%08x", h[i]);
}

#endif
