/* dropout.h - the mask rule of NN_GROUP_NORM, shared by all host backends.
 *
 * Element e of image i is kept when word e of the image's random sequence, read
 * as a fraction of 2^32, is at least the rate. The sequence is addressed by the
 * image's key and by the layer's salt, so a mask depends neither on the batch
 * nor on the order of layers, and backward draws it again instead of storing it. */
#ifndef DDPM_NN_DROPOUT_H
#define DDPM_NN_DROPOUT_H

#include "base/rng_core.h"

#include <string.h>

enum { NN_DROPOUT_BLOCKS = 64 };        /* blocks of four words drawn at a time */

/* scale[j] = 0 or 1/(1 - rate) for elements first .. first+len-1 of an image, counted
 * in [h][w][c] order. key: {seed low, seed high, step, sample}. salt is below 2^16,
 * rate in [0, 1). */
static inline void nn_dropout_mask(const int *key, int salt, float rate, size_t first, size_t len, float *scale)
{
    assert(salt >= 0 && salt < 1 << 16);
    assert(rate >= 0 && rate < 1);
    const rng_address address = {
        .seed = (uint32_t)key[0] | (uint64_t)(uint32_t)key[1] << 32,
        .stream = RNG_DROPOUT,
        .step = (uint32_t)key[2] | (uint64_t)salt << 32,     /* a key's step has 32 bits of the 48 */
        .sample = (uint32_t)key[3],
    };
    const uint32_t threshold = (uint32_t)((double)rate * 0x1p32);
    const float kept = (float)(1 / (1 - (double)rate));
    const rng_input in = rng_place(address);
    for (size_t done = 0; done < len; ) {
        const size_t block = (first + done) / 4, skip = (first + done) % 4;
        float chunk[4 * NN_DROPOUT_BLOCKS];
        for (uint32_t i = 0; i < NN_DROPOUT_BLOCKS; i++) {
            uint32_t words[4];
            rng_philox(in, (uint32_t)block + i, words);
            for (int j = 0; j < 4; j++) chunk[4 * i + (uint32_t)j] = words[j] >= threshold ? kept : 0;
        }
        const size_t some = 4 * NN_DROPOUT_BLOCKS - skip, n = some < len - done ? some : len - done;
        memcpy(scale + done, chunk + skip, n * sizeof *scale);
        done += n;
    }
}

#endif
