/* process.h - the forward process q and the learned reverse process p.
 *
 * Images are host float arrays in [-1,1], [pixels, channels]; the arithmetic
 * is element-wise, so several images in a row are an image with more pixels.
 * A network output has `channels` values per pixel, or 2 * channels when the
 * variance is learned: first the mean prediction, then the variance.
 * Coefficients are double in the schedule and rounded to float when used;
 * elements are float arithmetic. i is a row of the schedule. Outputs may be the
 * same array as an input. */
#ifndef DDPM_DIFFUSION_PROCESS_H
#define DDPM_DIFFUSION_PROCESS_H

#include "diffusion/schedule.h"

#include <stddef.h>

typedef enum { MEAN_EPSILON, MEAN_START_X, MEAN_PREVIOUS_X, MEAN_V } mean_type;

typedef enum {
    VAR_FIXED_SMALL,      /* beta-tilde                        */
    VAR_FIXED_LARGE,      /* beta                              */
    VAR_LEARNED,          /* the output is the log variance    */
    VAR_LEARNED_RANGE     /* interpolates the two; IDDPM eq. 15 */
} var_type;

typedef enum {
    CLIP_NONE,            /* DDIM paper                                              */
    CLIP_REDERIVE,        /* clip x_0 to [-1,1], DDIM's eps from the clipped (OpenAI) */
    CLIP_X0               /* clip x_0, DDIM's eps as predicted (diffusers)           */
} clip_mode;

typedef struct process {
    const schedule *s;    /* borrowed */
    mean_type mean;
    var_type  var;
    clip_mode clip;
    bool      rescale_timesteps;  /* the network receives t * 1000 / original_T    */
    bool      final_noise;        /* diffusers' DDPM: noise in row 0 too unless its
                                     original timestep is 0                        */
} process;

typedef struct { int pixels, channels; } image_dims;

/* Names as in the authors' code, any case: "epsilon", "start_x" ("sample"),
 * "previous_x", "v" ("v_prediction"); "fixed_small", ...; "none", "rederive",
 * "x0". EINVAL lists the names. */
ddpm_status mean_type_find(const char *name, mean_type *mean);
ddpm_status var_type_find(const char *name, var_type *var);
ddpm_status clip_mode_find(const char *name, clip_mode *clip);
const char *mean_type_name(mean_type mean);
const char *var_type_name(var_type var);
const char *clip_mode_name(clip_mode clip);

/* EINVAL when the process cannot be evaluated on every row: noise prediction
 * where alpha-bar is 0, a learned range where a step repeats. */
ddpm_status process_check(const process *p);

static inline bool process_learns_variance(const process *p) { return p->var >= VAR_LEARNED; }

/* Values per pixel of the network's output. */
static inline int process_out_channels(const process *p, int channels) { return process_learns_variance(p) ? 2 * channels : channels; }

/* What the network receives for row i. */
float process_model_t(const process *p, int i);

/* q(x_t | x_0): sqrt(ab) x0 + sqrt(1 - ab) noise.                DDPM eq. 4 */
void q_sample(const schedule *s, int i, size_t len, const float *x0, const float *noise, float *xt);
void q_mean_variance(const schedule *s, int i, size_t len, const float *x0, float *mean, float *variance, float *log_variance);

/* q(x_{t-1} | x_t, x_0); variance and log_variance may be NULL.  DDPM eq. 7 */
void q_posterior(const schedule *s, int i, size_t len, const float *x0, const float *xt,
                 float *mean, float *variance, float *log_variance);

void predict_xstart_from_eps(const schedule *s, int i, size_t len, const float *xt, const float *eps, float *x0);
void predict_xstart_from_xprev(const schedule *s, int i, size_t len, const float *xt, const float *xprev, float *x0);
void predict_xstart_from_v(const schedule *s, int i, size_t len, const float *xt, const float *v, float *x0);
/* x_t itself where alpha-bar is 0. */
void predict_eps_from_xstart(const schedule *s, int i, size_t len, const float *xt, const float *x0, float *eps);
void predict_eps_from_v(const schedule *s, int i, size_t len, const float *xt, const float *v, float *eps);
void predict_v(const schedule *s, int i, size_t len, const float *x0, const float *eps, float *v);

/* Each NULL or [pixels, channels]. */
typedef struct { float *mean, *variance, *log_variance, *pred_xstart; } p_moments;

/* p(x_{t-1} | x_t) from the network output `out`, which no moment may alias;
 * x0 is clipped when the process clips. The mean of PREVIOUS_X is the raw
 * output. pred_xstart is needed for the mean. */
void p_mean_variance(const process *p, int i, image_dims d, const float *xt, const float *out, const p_moments *m);

/* The parts of it. p_eps is the noise that the output itself means, unclipped. */
void  p_xstart(const process *p, int i, image_dims d, const float *xt, const float *out, float *x0);
void  p_mean(const process *p, int i, image_dims d, const float *xt, const float *out, const float *x0, float *mean);
void  p_eps(const process *p, int i, image_dims d, const float *xt, const float *out, float *eps);
float p_log_variance(const process *p, int i, float v);   /* v is not read for fixed variances */

#endif
