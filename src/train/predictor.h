/* predictor.h - a network as the mathematics wants to ask it: a denoise_fn.
 *
 * Keeps of the network's output what the process reads: a network that learned a
 * variance may be asked for its mean alone. Adds to its input what the mathematics does
 * not know of: an up-sampler reads the enlarged small image beside x (model/upsampler.h). */
#ifndef DDPM_TRAIN_PREDICTOR_H
#define DDPM_TRAIN_PREDICTOR_H

#include "diffusion/process.h"
#include "model/denoiser.h"

#include <stdint.h>

/* Fill in the first group; the rest starts at zero. Everything is borrowed. */
typedef struct {
    denoiser         *net;
    const nn_weights *weights;
    const process    *p;
    const float      *condition; /* [conditions,h,w,c]: enlarged images of an up-sampler; NULL: an ordinary network */
    int               conditions;
    const int        *which;     /* [n] the condition of each image of a call; NULL: image k has condition k modulo conditions */

    int64_t           calls;     /* of predictor_denoise so far          */
    float            *wide;      /* the whole output, where it is wider  */
    float            *joined;    /* x with its condition                 */
    size_t            wide_room, joined_room;
} predictor;

/* A denoise_fn (diffusion/sampler.h) whose ctx is a predictor. Any n; allocates when n grows (ENOMEM). */
ddpm_status predictor_denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out);
void        predictor_free(predictor *p);        /* its buffers; NULL is fine */

/* Channels of x: the network's, or half of them where it reads a condition too. */
int         predictor_channels(const predictor *p);

#endif
