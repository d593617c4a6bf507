/* optim.h - Adam and AdamW, EMA, global-norm clipping over flat f32 slabs.
 *
 * Element-wise, so splitting the slab over threads never changes bits. The norm
 * is a fixed tree over blocks of the slab, whatever the number of threads. */
#ifndef DDPM_NN_OPTIM_H
#define DDPM_NN_OPTIM_H

#include "base/pool.h"

#include <stdbool.h>
#include <stddef.h>

/* ADAM_TF: theta -= lr sqrt(1-b2^t)/(1-b1^t) m/(sqrt(v)+eps) (Ho's TensorFlow Adam, eps outside the correction);
 * ADAM_TORCH: theta -= lr/(1-b1^t) m/(sqrt(v)/sqrt(1-b2^t)+eps); both add wd theta to the gradient;
 * ADAM_W: as ADAM_TORCH with decoupled decay theta *= 1 - lr wd first (improved-diffusion, diffusers). */
typedef enum { ADAM_W, ADAM_TORCH, ADAM_TF } adam_kind;

typedef struct adam_config { adam_kind kind; double lr, beta1, beta2, eps, weight_decay; } adam_config;

enum { OPTIM_MAX_EMA = 8 };

/* One update of `len` parameters in one pass over memory. step counts from 1.
 * grad is multiplied by grad_scale first (clipping). ema[k] = rate[k] ema[k] + (1 - rate[k]) value. */
typedef struct {
    size_t       len;
    const float *grad;
    float       *value, *m, *v;
    int          n_ema;
    float       *ema[OPTIM_MAX_EMA];
    double       ema_rate[OPTIM_MAX_EMA];
    double       grad_scale;
} optim_slabs;

void   optim_step(const adam_config *c, long step, const optim_slabs *s, pool *p);
double optim_norm(const float *x, size_t len, pool *p);              /* sqrt of the sum of squares; NaN or inf if any element is */
void   optim_add(float *y, const float *x, size_t len, pool *p);     /* y += x */
bool   optim_finite(const float *x, size_t len, pool *p);

#endif
