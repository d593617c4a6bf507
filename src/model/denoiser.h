/* denoiser.h - the network as the diffusion code sees it: x_t, t, y -> prediction.
 *
 * Owns the U-Net's graph and one plan for each worker thread, all for the same
 * number of images (`chunk`). The bits of an image depend neither on the worker
 * nor on the images beside it. Weights are borrowed (nn/weights.h), so that raw
 * and averaged weights, training and sampling share graphs and memory. */
#ifndef DDPM_MODEL_DENOISER_H
#define DDPM_MODEL_DENOISER_H

#include "base/pool.h"
#include "model/unet.h"
#include "nn/plan.h"

typedef struct denoiser denoiser;

/* backend and pool are borrowed. One plan of `chunk` images for each thread of the pool. */
ddpm_status denoiser_new(const unet_config *c, nn_backend *b, pool *p, nn_dtype dtype, nn_mode mode, int chunk, denoiser **d);
void        denoiser_free(denoiser *d);

const nn_graph  *denoiser_graph(const denoiser *d);      /* parameters: denoiser_graph(d)->params */
const unet      *denoiser_unet(const denoiser *d);       /* tensors, for tests and features       */
nn_plan         *denoiser_plan(denoiser *d, int worker); /* for tests, features and profiles      */
int              denoiser_chunk(const denoiser *d);
size_t           denoiser_bytes(const denoiser *d);      /* activations of all plans              */

/* All workers: any n images. x [n,h,w,in], t [n], y [n] (NULL when unconditional), out [n,h,w,out].
 * The last denoiser_shared of them are computed by several workers each, so that few images use all threads too. */
ddpm_status denoiser_run(denoiser *d, const nn_weights *w, int n, const float *t, const int *y, const float *x, float *out);

/* What is left when every worker has had as many images as the others, where it is at most half as many as there are workers. */
static inline int denoiser_shared(int n, int workers)
{
    const int rest = n % workers;
    return 2 * rest <= workers ? rest : 0;
}

/* One worker, n <= chunk images, for training. key [n,4]: dropout addresses, NULL without dropout. */
typedef struct { int n; const float *x, *t; const int *y, *key; } denoiser_input;
ddpm_status denoiser_forward(denoiser *d, int worker, const nn_weights *w, denoiser_input in, float *out);

/* After denoiser_forward by the same worker: parameter gradients into the slab `grads`, from zero or
 * continuing what it holds (nn/op.h). dout [n,h,w,out]. */
ddpm_status denoiser_backward(denoiser *d, int worker, const nn_weights *w, int n, const float *dout, float *grads, bool accumulate);

#endif
