/* rng.h - counter-based randomness: a number is a function of its address.
 *
 * Philox4x32-10 (Salmon et al. 2011). There is no generator state. A draw is
 * named by (seed, stream, step, sample, element), so results do not depend on
 * threads, batches, micro-batches or processes, and a resumed run continues
 * exactly. Normals come from fixed operations only (base/fixmath.h), so other
 * machines and a GPU draw the same bits. Test vectors: tests/rng.c. */
#ifndef DDPM_BASE_RNG_H
#define DDPM_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

/* What a draw is for. Values are part of the format of a run: never renumber. */
typedef enum {
    RNG_INIT = 1,        /* initial parameters: sample = parameter number     */
    RNG_SHUFFLE = 2,     /* order of the data: step = epoch                   */
    RNG_TIMESTEP = 3,    /* t of a training sample                            */
    RNG_NOISE = 4,       /* eps of a training sample                          */
    RNG_FLIP = 5,        /* random horizontal flip                            */
    RNG_DROPOUT = 6,     /* dropout masks                                     */
    RNG_LABEL = 7,       /* label dropout                                     */
    RNG_XT = 8,          /* x_T of sample `sample`                            */
    RNG_SAMPLE_NOISE = 9,/* noise of the sampler: step = its step index       */
    RNG_CLASS = 10,      /* random class of a drawn sample                    */
    RNG_VAL = 11,        /* fixed noise and t of the held-out loss            */
    RNG_NLL = 12,        /* likelihood: noise and choice of the bound's terms */
    RNG_START = 13,      /* forward noise of an image that a chain starts from: step = which one of several */
    RNG_BOOTSTRAP = 14,  /* images of a resampled set: step = which resampling */
    RNG_SUBSET = 15      /* rows of a subset that a distance is extrapolated from: step = which subset */
} rng_stream;

/* The address of a sequence. step and sample are below 2^48, stream below 256.
 * Different addresses give unrelated sequences; seeds from 2^56 on share their
 * sequences with smaller seeds under other streams (rng.c). */
typedef struct { uint64_t seed; rng_stream stream; uint64_t step, sample; } rng_address;

/* Four random words: block 0..2^32-1 of the sequence at `a`. The functions below
 * draw from the same blocks, so one address serves one of them. */
void     rng_words(rng_address a, uint64_t block, uint32_t out[4]);

/* Number `index` < 2^33 of a sequence of uniforms in (0,1): the odd multiples of
 * 2^-53, symmetric about 1/2. Words 2 (index mod 2) and the next of block index/2. */
double   rng_uniform(rng_address a, uint64_t index);

/* Number `index` < 2^33 of a sequence of integers in 0..n-1, n > 0, from the same
 * words as rng_uniform. Probabilities are off by less than n 2^-64, relatively. */
uint64_t rng_below(rng_address a, uint64_t index, uint64_t n);

/* z[k - first] for k in first .. first+len-1 of the sequence of standard normals at
 * `a`, k < 2^33. A value depends on k alone, not on `first` or `len`. */
void     rng_normals(rng_address a, size_t first, size_t len, float *z);

#endif
