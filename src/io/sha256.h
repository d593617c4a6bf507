/* sha256.h - SHA-256 (FIPS 180-4) of bytes that come in pieces. */
#ifndef DDPM_IO_SHA256_H
#define DDPM_IO_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32, SHA256_HEX = 2 * SHA256_BYTES + 1, SHA256_BLOCK = 64 };

typedef struct {
    uint32_t h[8];
    uint64_t len;                   /* bytes so far                         */
    uint8_t  rest[SHA256_BLOCK];    /* the len % SHA256_BLOCK last of them  */
} sha256_state;

void sha256_begin(sha256_state *s);
void sha256_add(sha256_state *s, const void *data, size_t len);
void sha256_end(sha256_state *s, uint8_t digest[SHA256_BYTES]);     /* begin before the next use */

/* In lower-case hexadecimal digits, with a 0 byte. */
void sha256_text(const uint8_t digest[SHA256_BYTES], char text[SHA256_HEX]);

#endif
