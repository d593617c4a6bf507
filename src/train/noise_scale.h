/* noise_scale.h - how noisy a gradient is, from gradients of two batch sizes.
 *
 * The gradient of one sample has the mean G and the covariance Sigma. The squared length of the mean over n samples is
 * |G|^2 + tr(Sigma) / n in expectation if the samples are independent (antithetic times are not quite), so two sizes give both without bias (McCandlish et al. 2018, appendix A.1).
 * tr(Sigma) / |G|^2 is the simple noise scale, in samples (Improved DDPM, section 3.3). Average each over many
 * steps before dividing: single estimates are noisy, and either may be negative. */
#ifndef DDPM_TRAIN_NOISE_SCALE_H
#define DDPM_TRAIN_NOISE_SCALE_H

#include <stdbool.h>

typedef struct { double norm_sq, trace; } gradient_noise;      /* |G|^2 and tr(Sigma) */

/* The parts of a batch, one at a time. */
typedef struct { double norm_sq, inverse; int parts; } noise_parts;

/* One more part: the squared length of its mean gradient, over n samples. Parts may differ in size. */
void noise_add(noise_parts *p, double norm_sq, int n);

/* `norm_sq`: the squared length of the mean gradient of all n samples. False, and nothing set: fewer than two parts,
 * or an estimate that is not finite. */
bool noise_estimate(const noise_parts *p, double norm_sq, int n, gradient_noise *out);

#endif
