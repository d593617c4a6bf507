/* loss.h - training objectives of one image, their gradient by the network
 * output, and the terms of the likelihood.
 *
 * The gradient is written by hand: short, exact, backend-free, checked against
 * the authors' autograd. Bits are per dimension. Sums are double. */
#ifndef DDPM_DIFFUSION_LOSS_H
#define DDPM_DIFFUSION_LOSS_H

#include "diffusion/process.h"

typedef enum {
    LOSS_MSE,           /* DDPM eq. 14; with a learned variance plus vb (lambda = 1/T) */
    LOSS_RESCALED_MSE,  /* the same with vb * T/1000: IDDPM's hybrid eq. 16            */
    LOSS_KL,            /* vb, gradient to mean and variance                           */
    LOSS_RESCALED_KL,   /* vb * T                                                      */
    LOSS_MSE_SUM        /* ermongroup: sum of squares; fixed variances only            */
} loss_type;

/* "mse", "rescaled_mse", "kl", "rescaled_kl", "mse_sum", any case; EINVAL lists them. */
ddpm_status loss_type_find(const char *name, loss_type *type);
const char *loss_type_name(loss_type type);

/* EINVAL when the loss does not train what the process learns, and by process_check: what nobody could sample from is not trained. */
ddpm_status loss_check(loss_type type, const process *p);

typedef struct { double loss, mse, vb; } loss_terms;   /* a term without part in the loss is 0 */

/* One image at row i of the process. All arrays borrowed; x0, xt, noise
 * [pixels, channels], out as the network gives it. */
typedef struct {
    const process *p;
    loss_type      type;
    int            i;
    image_dims     dims;
    double         weight;          /* factor of the gradient: 1/n, importance weight */
    const float   *x0, *xt, *noise, *out;
} loss_input;

/* dout: same layout as out, or NULL. As in the original, x0 is not clipped here
 * and in the MSE losses vb does not reach the mean prediction. The terms are
 * unweighted. */
void loss_eval(const loss_input *in, loss_terms *terms, float *dout);

/* L_t of the bound in bits/dim: KL for i > 0, decoder NLL in row 0; clips as
 * the process says.                                          DDPM eq. 5, 13 */
double vb_terms(const process *p, int i, image_dims d, const float *x0, const float *xt, const float *out);

/* L_T in bits/dim: KL(q(x_T | x_0) || N(0,1)). */
double prior_bpd(const schedule *s, size_t len, const float *x0);

/* One step of the full bound: vb, mean (x0_hat - x0)^2, mean (eps_hat - noise)^2
 * with eps_hat from x0_hat. */
typedef struct { double vb, xstart_mse, mse; } bpd_terms;
bpd_terms bpd_step(const process *p, int i, image_dims d, const float *x0, const float *xt, const float *noise, const float *out);

/* Min-SNR-gamma (Hang et al. 2023): the factor of an image's mse at row i that
 * weighs its x_0 error by c = min(SNR, gamma), SNR = alpha-bar / (1 - alpha-bar):
 * c / SNR when the network predicts noise, c for x_0, c / (SNR + 1) for v. Meant
 * for loss_input.weight, so it scales the bound of a learned variance as well. */
double min_snr_weight(const process *p, int i, double gamma);

/* EINVAL for previous_x, which has no such weight, and unless gamma > 0. */
ddpm_status min_snr_check(const process *p, double gamma);

double normal_kl(double mean1, double logvar1, double mean2, double logvar2);
double approx_standard_normal_cdf(double x);

/* log of the mass that N(mean, exp(log_scale)^2) gives to the 8-bit bin around x. */
double discretized_gaussian_log_likelihood(double x, double mean, double log_scale);

#endif
