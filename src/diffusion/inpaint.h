/* inpaint.h - fill in the unknown part of images with an unconditional network.
 *
 * RePaint (Lugmayr et al. 2022, algorithm 1): each row's ancestral step makes the
 * unknown pixels, the forward process the known ones at the level reached,
 *
 *   x_{t-1} = known (sqrt(ab') x_0 + sqrt(1 - ab') z) + unknown p(x_{t-1} | x_t)
 *
 * ab' the alpha-bar the row leads to. One pass leaves the two parts strangers, so
 * the chain jumps back: `jump` rows of x <- sqrt(1 - beta) x + sqrt(beta) z, then
 * down again, `resamples` times in all from every jump-th row. Jumps start at the
 * levels of rows 0, jump, 2 jump, .. below T - jump, never from the finished
 * image. jump 1 is the paper's listing; resamples 1 is no jump. */
#ifndef DDPM_DIFFUSION_INPAINT_H
#define DDPM_DIFFUSION_INPAINT_H

#include "diffusion/sampler.h"

enum { INPAINT_JUMP = 10, INPAINT_RESAMPLES = 10 };   /* the paper's, for chains of 250 rows */

typedef struct {
    const float         *image;      /* [n, pixels, channels] in [-1,1], borrowed  */
    const unsigned char *mask;       /* [n, pixels], 1 = known, borrowed           */
    int                  jump;       /* rows of one jump, >= 1                     */
    int                  resamples;  /* passes over what a jump undid, >= 1        */
} inpainting;

/* EINVAL: jump or resamples below 1, more than a million calls. */
ddpm_status inpaint_check(const process *p, const inpainting *in);

/* Network calls of one run. */
int inpaint_calls(const process *p, const inpainting *in);

/* x [n, pixels, channels]: in x_T ~ N(0, I), out the filled images, whose known
 * pixels are those of `image`. Steps are numbered as they happen: one network
 * call is one observed step. e's noise_fn is asked for draw 0, 1, 2, .. in the
 * order of use - for a step its own noise, then that of the known pixels, for a
 * jump one per row - so every draw has its address. */
ddpm_status sampler_inpaint(const process *p, const sampler_env *e, const inpainting *in, float *x);

#endif
