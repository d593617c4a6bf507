/* trainer.h - one optimisation step of algorithm 1 (DDPM), start to finish.
 *
 * A classifier of noisy images (unet_config.classes_out) is trained in the same way; its loss
 * is the cross entropy of the images' classes, and `loss` below is not read.
 *
 * The gradient of a global batch is a fixed tree over `leaves` leaves: leaf l is
 * the ordered sum over samples [l B / K, (l+1) B / K), and leaves are added
 * pairwise. Every random number is a function of (seed, step, sample of the
 * batch). So the bits of a step depend on K and on nothing else: not on
 * threads, chunk, micro-batch, or who computes a leaf. */
#ifndef DDPM_TRAIN_TRAINER_H
#define DDPM_TRAIN_TRAINER_H

#include "diffusion/loss.h"
#include "diffusion/timesteps.h"
#include "model/denoiser.h"
#include "nn/optim.h"
#include "train/noise_scale.h"

#include <stdint.h>

/* SECOND_MOMENT weighs losses and gradients by 1/(T p_t), so their expectation stays. A step's losses enter the
 * history after it, unweighted and in the order of the batch; those of a dropped step do not. */
typedef enum { TIMESTEPS_UNIFORM, TIMESTEPS_ANTITHETIC, TIMESTEPS_SECOND_MOMENT } timestep_choice;
typedef enum { RATE_CONSTANT, RATE_LINEAR, RATE_COSINE } rate_schedule;

typedef struct {
    const process  *p;              /* borrowed                                              */
    loss_type       loss;
    timestep_choice timesteps;
    adam_config     adam;           /* lr: before schedule and warm-up                       */
    rate_schedule   schedule;
    int64_t         anneal_steps;   /* length of RATE_LINEAR and RATE_COSINE                 */
    int64_t         warmup_steps;   /* lr times min(step / warmup_steps, 1); 0: none         */
    double          clip;           /* of the global gradient norm; 0: none                  */
    int             n_ema;
    double          ema_rate[OPTIM_MAX_EMA];
    bool            ema_warmup;     /* rate min(rate, (1+s)/(10+s)), s: updates so far       */
    int             batch, leaves, chunk;
    int             microbatch;     /* only with microbatch_sum; <= 0: the batch             */
    bool            microbatch_sum; /* add up micro-batch means, as improved-diffusion does  */
    double          label_dropout;  /* probability that a label becomes the null class       */
    double          min_snr_gamma;  /* > 0: gradients are weighed by min_snr_weight, reported losses are not; 0: equally */
    int             small_size;     /* > 0: an up-sampler; its condition is made of the clean image by reducing it to this size */
    bool            clean;          /* a classifier sees the images themselves, at t = 0, instead of x_t */
    uint64_t        seed;
} trainer_config;

typedef struct trainer trainer;

/* Borrowed arrays of one global batch: x [batch,h,w,c] in [-1,1], y [batch], or NULL where the network knows no classes. The others replace
 * what would be drawn, when not NULL: t [batch] rows of the process, noise like x, weight [batch] (also in place of
 * the weights of the timestep choice). measure_noise: report the gradient's noise too, which reads every leaf once more. */
typedef struct { const float *x; const int *y; const int *t; const float *noise; const float *weight; bool measure_noise; } train_batch;

enum { TRAIN_QUARTILES = 4 };

typedef struct {
    double loss, mse, vb;                    /* weighted means over the batch                    */
    double quartile_loss[TRAIN_QUARTILES];   /* mean unweighted loss of t in each quarter of T   */
    int    quartile_count[TRAIN_QUARTILES];
    bool   classifier;                       /* mse and vb are 0, and these hold: shares of right guesses */
    double top1, top5, quartile_top1[TRAIN_QUARTILES];
    double grad_norm, lr;
    gradient_noise noise;                    /* of one image's weighted gradient, from the leaves    */
    int    noise_count;                      /* 1: known. 0: not asked for, one leaf, or micro-batch means of unequal sizes */
    bool   dropped;                          /* loss or gradient not finite: nothing was changed */
} step_report;

ddpm_status trainer_new(const unet_config *net, const trainer_config *c, nn_backend *b, pool *p, nn_dtype dtype, trainer **tr);
void        trainer_free(trainer *tr);

/* One step, counted even when its update is dropped. */
ddpm_status trainer_step(trainer *tr, const train_batch *batch, step_report *r);

/* Per-sample terms of the last step [batch] and the rows it drew [batch]. */
const loss_terms *trainer_terms(const trainer *tr);
const int        *trainer_rows(const trainer *tr);

/* The learning rate of a step, counted from 0. */
double trainer_rate(const trainer_config *c, int64_t step);

/* What a checkpoint holds. Slabs have nn_params layout and may be written by their owner's loader;
 * call trainer_changed() afterwards. */
typedef struct {
    const nn_params *params;
    float  *value, *m, *v, *ema[OPTIM_MAX_EMA];
    int     n_ema;
    second_moment *moments;      /* of TIMESTEPS_SECOND_MOMENT, else NULL; loaders write history and count */
    int64_t step, updates, dropped, dropped_in_row;
} trainer_state;
trainer_state *trainer_get_state(trainer *tr);
void           trainer_changed(trainer *tr);

size_t trainer_bytes(const trainer *tr);      /* slabs, packed weights, activations, work buffers */

/* The parts of a step. Up to TRAIN_IDLE the threads take leaves in turn; a thread that finds none left is idle until the
 * others are done. What follows they do together, but for gradients that are measured or added between leaves (leaves.h). */
typedef enum { TRAIN_CORRUPT, TRAIN_FORWARD, TRAIN_LOSS, TRAIN_BACKWARD, TRAIN_IDLE, TRAIN_ADD, TRAIN_NORM, TRAIN_UPDATE, TRAIN_PACK, TRAIN_PARTS } train_part;

/* Thread-seconds: a part that all threads do together counts once for each of them. `total` is the whole of the
 * steps, so the parts add up to it but for what is between them. */
typedef struct { double part[TRAIN_PARTS], total; } train_times;

/* Measure the steps from here on, also each node of the network (nn_plan_profile); off: costs nothing. */
void        trainer_profile(trainer *tr, bool on);
train_times trainer_times(const trainer *tr);
denoiser   *trainer_denoiser(trainer *tr);    /* for the times of its nodes */

#endif
