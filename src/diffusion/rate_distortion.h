/* rate_distortion.h - the progressive code of DDPM section 4.3 as a curve.
 *
 * A receiver who knows p gets x_T first, at the cost of the prior, then x_{T-1}, x_{T-2}, .. one by one. Row s of the
 * process leads from its own noise level to the next lower one, so its term L_s pays for what is known AFTER row s.
 * What the network sees in row i, and predicts x_0 from, is therefore paid for by the rows above it, without L_i:
 *
 *   rate_i = prior + sum over s > i of L_s        distortion_i = mean (x_0(x_i) - x_0)^2
 *
 * Row T-1 costs the prior alone. Row 0, after T of T reverse steps, costs the whole rate; the decoder's term L_0, which
 * buys the last rounding to bytes, is the paper's "distortion in bits" and belongs to no point of the curve. */
#ifndef DDPM_DIFFUSION_RATE_DISTORTION_H
#define DDPM_DIFFUSION_RATE_DISTORTION_H

/* rate: bits per dimension; mse: of values in [-1,1]; rmse: of values in 0..255. */
typedef struct { double rate, mse, rmse; } rate_point;

/* vb, xstart_mse [T] by row, means over images (diffusion/loss.h, bpd_terms); point [T] by row. A root of mean squares is
 * not the mean of the images' roots: it is the former that means something for a set of images. */
void rate_distortion(int T, double prior, const double *vb, const double *xstart_mse, rate_point *point);

/* The row that is reached after `step` of `steps` equal parts of the reverse process; step 1 .. steps, `steps` is row 0. */
int  rate_distortion_row(int T, int step, int steps);

#endif
