/* sampler.h - turn noise into images by calling a network.
 *
 * A sampler owns its loop and walks the rows of the process's schedule from the
 * last to the first: a shorter run or another code base's list of steps is
 * another schedule (schedule_respace, schedule_from_steps), not another sampler.
 * It sees the network only as a denoise_fn, so it is tested with closed-form
 * denoisers.
 * To add one: a file with one function and a row in `samplers`.
 *
 *   ddpm     ancestral                                       1 call per row
 *   ddim     eta 0 deterministic .. 1 ancestral              1 call per row
 *   dpm++2m  DPM-Solver++(2M), order 2                       1 call per row
 *   unipc    UniPC-2 with B2(h), order 2 and a corrector     1 call per row
 *   heun     EDM's Heun, order 2                             2 calls per row, 1 in row 0
 *
 * The last three solve the noiseless equation (they never ask for noise) and see
 * the network as its x_0 prediction only, so the two clipping modes are the same
 * to them. They need even steps in log SNR (SPACING_LOGSNR) or quadratic ones. */
#ifndef DDPM_DIFFUSION_SAMPLER_H
#define DDPM_DIFFUSION_SAMPLER_H

#include "diffusion/process.h"

/* The door to the network: n images x [n, pixels, channels] at times t [n] (as
 * process_model_t gives them), labels y [n] or NULL -> out [n, pixels, C], C =
 * process_out_channels. */
typedef ddpm_status (*denoise_fn)(void *ctx, int n, const float *t, const int *y, const float *x, float *out);

/* Standard normals z [n, pixels, channels] for step k; k = 0 is the first,
 * noisiest step. Called only for steps that use noise. */
typedef void (*noise_fn)(void *ctx, int step, int n, float *z);

/* Told after each step: k, the row's original timestep, the new x and the x_0
 * prediction it was made from. */
typedef void (*observe_fn)(void *ctx, int step, int t, const float *x, const float *pred_xstart);

typedef struct {
    denoise_fn denoise;
    noise_fn   noise;
    observe_fn observe;      /* or NULL                                          */
    void      *ctx;          /* of all three                                     */
    int        n;            /* images                                           */
    image_dims dims;
    const int *y;            /* [n] or NULL, borrowed                            */
    double     eta;          /* DDIM: 0 deterministic, 1 as noisy as ancestral   */
    bool       sigma_hat;    /* DDIM with eta 1: noise of variance beta instead,
                                none in row 0 (ermongroup's ddpm_noisy)          */
    float     *t, *out, *z, *pred_xstart, *memory;   /* work, by sampler_reserve */
} sampler_env;

typedef struct {
    const char *name;
    /* x [n, pixels, channels]: in x_T ~ N(0, I), out x_0. Fails as the network
     * does, EINVAL by process_check. */
    ddpm_status (*run)(const process *p, const sampler_env *e, float *x);
    /* From x_t at a row, as sampler_ddpm_from; NULL: a method that remembers steps. */
    ddpm_status (*run_from)(const process *p, const sampler_env *e, int row, float *x);
    /* Network calls of one run, NULL for one call per row. */
    int (*calls)(const process *p);
} sampler;

extern const sampler samplers[];                        /* ends with a NULL name */
ddpm_status sampler_find(const char *name, const sampler **s);   /* EINVAL lists the names */

int sampler_calls(const sampler *s, const process *p);  /* network calls of one run */

/* Allocate and free the work buffers of e for n, dims and p. */
ddpm_status sampler_reserve(const process *p, sampler_env *e);
void        sampler_release(sampler_env *e);

ddpm_status sampler_ddpm(const process *p, const sampler_env *e, float *x);   /* DDPM algorithm 2 */
ddpm_status sampler_ddim(const process *p, const sampler_env *e, float *x);   /* DDIM eq. 12      */

/* The same from the middle of the chain: x in is x_t at `row`, made by q_sample
 * from an image or kept from a walk; rows `row` .. 0 follow. Steps keep the
 * numbers of the whole walk, T-1-row is the first, so a walk that was left at a
 * row and is taken up there ends in the same image. EINVAL unless 0 <= row < T. */
ddpm_status sampler_ddpm_from(const process *p, const sampler_env *e, int row, float *x);
ddpm_status sampler_ddim_from(const process *p, const sampler_env *e, int row, float *x);

/* With alpha^2 = alpha-bar, sigma^2 = 1 - alpha-bar, lambda = log(alpha / sigma)
 * of the levels s (left) and t (reached), h = lambda_t - lambda_s, m = x_0(x_s)
 * and h', m' those of the step before:
 *
 *   x_t = (sigma_t / sigma_s) x_s - alpha_t (e^-h - 1) (m + (h / 2h') (m - m'))
 *
 * Without the last term in the first step, in row 0 of chains of fewer than 15
 * rows, and wherever row 0 ends at alpha-bar 1, where x_t = m.
 *                                     Lu et al. 2022, DPM-Solver++ algorithm 2 */
ddpm_status sampler_dpmpp(const process *p, const sampler_env *e, float *x);

/* The step above as predictor; m_t = x_0(x_t) is then also used to correct x_t,
 * with B = e^-h - 1, D = (h / h') (m - m'):
 *
 *   x_t = (sigma_t / sigma_s) x_s - alpha_t B (m + rho_1 D + rho_2 (m_t - m))
 *
 * Order 1 in the first step and in row 0 of every chain; row 0 is not corrected.
 *                              Zhao et al. 2023, UniPC with B_2(h), data prediction */
ddpm_status sampler_unipc(const process *p, const sampler_env *e, float *x);

/* Heun's method on the rows' own noise levels s = sigma / alpha. In x, with D =
 * x_0(x_s), x' the Euler (DDIM) step and D' = x_0(x'):
 *
 *   x_t = x' + (alpha_t / 2) (s_s / s_t - 1) (D' - D)
 *
 * Euler alone where the slope is not finite or has no network to ask: in row 0
 * and from alpha-bar 0. A step of order 2 needs a call at each end, so a chain of
 * T rows takes 2 T - 1 calls (sampler_heun_calls), not T.
 *                                                  Karras et al. 2022, algorithm 1 */
ddpm_status sampler_heun(const process *p, const sampler_env *e, float *x);
int         sampler_heun_calls(const process *p);

/* The deterministic path upwards: x in an image, out its latent. Walks the rows
 * from 0 to T-1; step k is row k. */
ddpm_status sampler_encode(const process *p, const sampler_env *e, float *x);

/* Single steps, for loops of one's own. d counts the pixels of all images. xt:
 * the state the network saw, out: its output, z: noise or NULL where the step
 * uses none. x may be xt; x, pred_xstart: no other array. */
typedef struct {
    image_dims   d;
    const float *xt, *out, *z;
    float       *x, *pred_xstart;
} sampler_arrays;

bool sampler_ddpm_noisy(const process *p, int i);       /* does row i use noise? */
void sampler_ddpm_step(const process *p, int i, const sampler_arrays *a);
bool sampler_ddim_noisy(const process *p, int i, double eta, bool sigma_hat);
void sampler_ddim_step(const process *p, int i, double eta, bool sigma_hat, const sampler_arrays *a);
void sampler_encode_step(const process *p, int i, const sampler_arrays *a);

/* For samplers: run the network on x at row i into e->out. */
ddpm_status sampler_network(const process *p, const sampler_env *e, int i, const float *x);
image_dims  sampler_dims(const sampler_env *e);         /* of all images together */

/* log(alpha / sigma), half the log SNR; infinite at alpha-bar 0 and 1. */
double      sampler_lambda(double alpha_bar);

ddpm_status sampler_check_row(const process *p, int row);   /* EINVAL unless a row of p */

/* process_check, and EINVAL unless every row leads to the level of the row below
 * it: a method that remembers predictions needs one curve through all of them. */
ddpm_status sampler_check_curve(const process *p);

#endif
