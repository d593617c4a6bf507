/* draw.h - images from noise: a sampler, the network and addressed randomness together.
 *
 * Image k depends on the model, its seed, its index and the sampling settings,
 * never on the images drawn beside it. */
#ifndef DDPM_TRAIN_DRAW_H
#define DDPM_TRAIN_DRAW_H

#include "diffusion/sampler.h"
#include "model/denoiser.h"

#include <stdint.h>

typedef struct {
    denoiser         *net;        /* not a training one; borrowed, as the next three */
    const nn_weights *weights;
    const process    *p;          /* its schedule holds the steps to walk            */
    const sampler    *method;
    double            eta;
    double            guidance;   /* classifier-free scale; 1: none, else y and a network with a null class */
    int               null_class; /* its label                                        */
    bool              sigma_hat;
    observe_fn        observe;    /* or NULL; sees all n images after each step      */
    void             *observe_ctx;
} drawing;

/* n images. seed, index [n]; y [n] or NULL; x [n,h,w,c] receives the images, in [-1,1] or a little
 * outside. given_xT: x already holds the latents. *calls (may be NULL) is increased by the network calls. */
typedef struct { int n; const uint64_t *seed, *index; const int *y; bool given_xT; float *x; int64_t *calls; } draw_batch;
ddpm_status draw_images(const drawing *d, const draw_batch *b);

/* [-1,1] floats to 8-bit: round to nearest, or truncated as OpenAI's scripts do. */
void draw_quantize(const float *x, size_t len, bool truncate, uint8_t *out);

/* n images [h,w,c] side by side, `columns` in a row, 2 pixels of border between; malloc'ed, *w x *h x c. EINVAL:
 * more pixels than an image file may have (IMAGE_MAX_PIXELS); draw_grid_size says so before anything is drawn. */
ddpm_status draw_grid(const uint8_t *images, int n, int h, int w, int c, int columns, uint8_t **grid, int *grid_w, int *grid_h);
ddpm_status draw_grid_size(int n, int h, int w, int columns, int *grid_w, int *grid_h);

#endif
