/* upsampler.h - what an up-sampler sees beside x_t: the small image, enlarged.
 *
 * improved-diffusion's SuperResModel is a U-Net whose input has the channels of x_t
 * followed by those of the enlarged small image (Nichol & Dhariwal 2021, section 4.2).
 * Diffusion code knows nothing of it: who calls the network joins the two. The
 * arithmetic is PyTorch's F.interpolate on the float values of an image in [-1,1]. */
#ifndef DDPM_MODEL_UPSAMPLER_H
#define DDPM_MODEL_UPSAMPLER_H

#include <stddef.h>

/* A large image [h,w,c] and its small one [small,small,c]. All positive. */
typedef struct { int h, w, c, small; } upsampler_dims;

/* mode "area": each small pixel is the mean of rows [floor(i h / small), ceil((i+1) h / small)) and columns alike. */
void upsampler_reduce(upsampler_dims d, const float *large, float *small);

/* mode "bilinear", align_corners false: from the small image to [h,w,c]. */
void upsampler_enlarge(upsampler_dims d, const float *small, float *large);

/* Both, one after the other: what is left of an image. `small` is room for the small one. */
void upsampler_condition(upsampler_dims d, const float *image, float *small, float *condition);

/* The network's input [pixels,2c] from x and the enlarged images [pixels,c]; pixels of any number of images. */
void upsampler_join(size_t pixels, int c, const float *x, const float *condition, float *input);

#endif
