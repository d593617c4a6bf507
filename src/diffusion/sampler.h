/* sampler.h - turn noise into images by calling a network.
 *
 * A sampler owns its loop and walks the rows of the process's schedule from the
 * last to the first, one network call per row: a shorter run or another code
 * base's list of steps is another schedule (schedule_respace,
 * schedule_from_steps), not another sampler. It sees the network only as a
 * denoise_fn, so it is tested with closed-form denoisers.
 * To add one: a file with one function and a row in `samplers`. */
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
    float     *t, *out, *z, *pred_xstart;   /* work, by sampler_reserve          */
} sampler_env;

typedef struct {
    const char *name;
    /* x [n, pixels, channels]: in x_T ~ N(0, I), out x_0. Exactly one network
     * call per row. Fails as the network does, EINVAL by process_check. */
    ddpm_status (*run)(const process *p, const sampler_env *e, float *x);
} sampler;

extern const sampler samplers[];                        /* ends with a NULL name */
ddpm_status sampler_find(const char *name, const sampler **s);   /* EINVAL lists the names */

/* Allocate and free the work buffers of e for n, dims and p. */
ddpm_status sampler_reserve(const process *p, sampler_env *e);
void        sampler_release(sampler_env *e);

ddpm_status sampler_ddpm(const process *p, const sampler_env *e, float *x);   /* DDPM algorithm 2 */
ddpm_status sampler_ddim(const process *p, const sampler_env *e, float *x);   /* DDIM eq. 12      */

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

#endif
