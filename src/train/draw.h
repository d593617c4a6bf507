/* draw.h - images from noise: a sampler, the network and addressed randomness together.
 *
 * Image k depends on the model, its seed, its index and the sampling settings,
 * never on the images drawn beside it. */
#ifndef DDPM_TRAIN_DRAW_H
#define DDPM_TRAIN_DRAW_H

#include "diffusion/guidance.h"
#include "diffusion/inpaint.h"
#include "diffusion/sampler.h"
#include "train/predictor.h"

#include "base/rng.h"

#include <stdint.h>

/* `call` counts from 0 in each draw. A failure ends the draw and is what it returns. */
typedef ddpm_status (*draw_before_fn)(void *ctx, int64_t call);

typedef struct {
    denoiser         *net;        /* not a training one; borrowed, as the next three */
    const nn_weights *weights;
    const process    *p;          /* its schedule holds the steps to walk            */
    const sampler    *method;
    double            eta;
    double            guidance;   /* classifier-free scale; 1: none, else y and a network with a null class */
    int               null_class; /* its label                                        */
    grad_fn           gradient;   /* or NULL; a classifier's, towards the y of each image: ancestral steps are guided by
                                     their mean, others by their score                */
    void             *gradient_ctx;
    double            gradient_scale;
    bool              unclipped_score;   /* x_0 that a score has moved stays where it is, as guided-diffusion leaves it; else it is clipped again, where p clips */
    bool              sigma_hat;
    bool              encode;     /* walk up instead: images in, latents out; method, eta are not read */
    int               skip;       /* steps left out at the noisy end: x comes in as x_t of row T-1-skip, not as x_T */
    const inpainting *fill;       /* or NULL; arrays for the batch's n images. DDPM steps, method is not read */
    draw_before_fn    before;     /* or NULL; asked before each network call         */
    void             *before_ctx;
    observe_fn        observe;    /* or NULL; sees all n images after each step      */
    void             *observe_ctx;
} drawing;

/* n images. seed, index [n]; y [n] or NULL; x [n,h,w,c] receives the images, in [-1,1] or a little
 * outside. given_xT: x already holds the latents. *calls (may be NULL) is increased by the network calls.
 * condition [n,h,w,c]: the enlarged small images, for an up-sampler and only for one. */
typedef struct { int n; const uint64_t *seed, *index; const int *y; bool given_xT; float *x; int64_t *calls; const float *condition; } draw_batch;

/* EINVAL: skip with a method that cannot start in the middle (it remembers earlier steps), or beyond the chain; a
 * gradient where classifier_guided_reserve refuses it. */
ddpm_status draw_images(const drawing *d, const draw_batch *b);

/* z [n,h,w,c] standard normals of the images' own addresses: stream RNG_XT is x_T, RNG_START the forward noise
 * that brings an image to the step it starts from. `len` values each. */
void draw_normals(const draw_batch *b, rng_stream stream, uint64_t step, size_t len, float *z);

/* How [-1,1] becomes 8-bit: half up (ermongroup), cut off (OpenAI's scripts), half to even (diffusers). */
typedef enum { ROUND_HALF_UP, ROUND_TRUNCATE, ROUND_HALF_EVEN } draw_rounding;
void draw_quantize(const float *x, size_t len, draw_rounding how, uint8_t *out);

/* n images [h,w,c] side by side, `columns` in a row, 2 pixels of border between; malloc'ed, *w x *h x c. EINVAL:
 * more pixels than an image file may have (IMAGE_MAX_PIXELS); draw_grid_size says so before anything is drawn. */
ddpm_status draw_grid(const uint8_t *images, int n, int h, int w, int c, int columns, uint8_t **grid, int *grid_w, int *grid_h);
ddpm_status draw_grid_size(int n, int h, int w, int columns, int *grid_w, int *grid_h);

#endif
