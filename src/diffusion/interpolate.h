/* interpolate.h - the ways from one image to another.
 *
 * DDIM: spherical interpolation of two latents, then the deterministic sampler.
 * DDPM: mix two images at step t and walk from there (sampler_ddpm_from). Any
 * arrays of the same length; outputs may be an input. */
#ifndef DDPM_DIFFUSION_INTERPOLATE_H
#define DDPM_DIFFUSION_INTERPOLATE_H

#include "diffusion/schedule.h"

#include <stddef.h>

/* z = sin((1-a) theta) / sin theta z1 + sin(a theta) / sin theta z2 with theta the
 * angle between the tensors as wholes; a = 0 is z1, a = 1 is z2. Norms between
 * those of z1 and z2, so z is as likely a latent as they are. EINVAL for a
 * tensor of zeros and for opposite ones, between which no way is shortest. */
ddpm_status interpolate_slerp(size_t len, double a, const float *z1, const float *z2, float *z);

/* x_t = (1-lambda) q(x_t | x1; noise1) + lambda q(x_t | x2; noise2) at row i.
 *                                                         DDPM sec. 4.3, fig. 8 */
void interpolate_stochastic(const schedule *s, int i, double lambda, size_t len, const float *x1, const float *noise1,
                            const float *x2, const float *noise2, float *xt);

#endif
