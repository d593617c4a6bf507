/* plan.h - a graph made executable on one backend: addresses and kernels.
 *
 * All memory is laid out when the plan is made. Running a plan allocates
 * nothing. One caller at a time, except of nn_plan_help_forward; several plans of one graph run in parallel.
 *
 *   NN_INFER  activations share memory as soon as their last reader is done (nn_keep: not these)
 *   NN_TRAIN  keeps exactly what each backward declared it reads
 *   NN_KEEP   like NN_INFER, but every value survives the run (tests, features) */
#ifndef DDPM_NN_PLAN_H
#define DDPM_NN_PLAN_H

#include "nn/weights.h"

typedef enum { NN_INFER, NN_TRAIN, NN_KEEP } nn_mode;
typedef struct nn_plan nn_plan;

/* `out` is the tensor whose value callers read. Graph and backend are borrowed. Errors: the
 * graph's, DDPM_ENOSUP (the backend lacks an operator, or NN_TRAIN: a gradient that does not exist), DDPM_EINVAL (NN_TRAIN: a node does not
 * lead to `out`, or nothing upstream of it has a gradient), DDPM_ENOMEM. */
ddpm_status nn_plan_new(const nn_graph *g, nn_backend *b, nn_mode mode, const nn_tensor *out, nn_plan **plan);
void        nn_plan_free(nn_plan *p);

/* Weights to run with, and the gradient slab backward writes (NULL: forward only). Borrowed. */
void        nn_plan_bind(nn_plan *p, const nn_weights *w, float *grads);

/* n images, f32 or i32 host memory, NHWC. Every input must be set again before every
 * forward pass, since its memory is reused once its last reader is done (not NN_KEEP's). */
ddpm_status nn_plan_set(nn_plan *p, const nn_tensor *input, int n, const void *host);
ddpm_status nn_plan_forward(nn_plan *p, int n);
ddpm_status nn_plan_get(nn_plan *p, const nn_tensor *t, int n, float *host);   /* `out`, what nn_keep marked; NN_KEEP: any value */

/* nn_plan_forward by several threads, for the same bits: one begins, cutting the work of every node in
 * `parts`, then any number of threads, at least one, help, each until nothing is left for it. When all have
 * returned the pass is done. `helper`: which parts a thread prefers, so that it meets the pixels that it wrote.
 * `lender`: a plan of the same graph, backend and mode, or p itself, whose scratch nobody else uses
 * meanwhile. A failure is returned to the thread that met it; the output is then undefined. */
void        nn_plan_begin_forward(nn_plan *p, int n, int parts);
ddpm_status nn_plan_help_forward(nn_plan *p, int helper, const nn_plan *lender);

/* host_dout: d(loss)/d(out), f32 [n,...]. Fills the gradient slab: from zero, or
 * continuing it when `accumulate`. Follows nn_plan_forward of the same n images, once. */
ddpm_status nn_plan_backward(nn_plan *p, int n, const float *host_dout, bool accumulate);
ddpm_status nn_plan_get_grad(nn_plan *p, const nn_tensor *input, int n, float *host);   /* inputs with needs_grad */

size_t nn_plan_bytes(const nn_plan *p);        /* planned activation memory and scratch   */
size_t nn_plan_bytes_naive(const nn_plan *p);  /* one buffer per value, for reports       */

/* Bytes nn_plan_new would allocate, without allocating. */
ddpm_status nn_plan_measure(const nn_graph *g, nn_backend *b, nn_mode mode, const nn_tensor *out, size_t *bytes);

/* Seconds spent per node since profiling was switched on (bench --ops). */
void   nn_plan_profile(nn_plan *p, bool on);
double nn_plan_seconds(const nn_plan *p, int node, bool backward);

#endif
