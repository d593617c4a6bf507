/* dropout.h - the mask rule of NN_GROUP_NORM, shared by all host backends.
 *
 * Element e of image i is kept when word e of the image's random sequence, read
 * as a fraction of 2^32, is at least the rate. The sequence is addressed by the
 * image's key and by the layer's salt, so a mask depends neither on the batch
 * nor on the order of layers, and backward draws it again instead of storing it. */
#ifndef DDPM_NN_DROPOUT_H
#define DDPM_NN_DROPOUT_H

#include "base/rng.h"

#include <assert.h>

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
    for (size_t done = 0; done < len; ) {
        uint32_t words[4];
        rng_words(address, (first + done) / 4, words);
        for (size_t j = (first + done) % 4; j < 4 && done < len; j++, done++)
            scale[done] = words[j] >= threshold ? kept : 0;
    }
}

#endif
