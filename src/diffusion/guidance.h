/* guidance.h - towards a class: a denoise_fn around a denoise_fn.
 *
 * A sampler does not know that it is guided. Both wrappers change the mean half
 * of a network's output so that the noise, image or v it means is the guided one,
 * for every mean type. They may be stacked. A sampler_env has one ctx for all its
 * callbacks; its owner's denoise_fn forwards to these.
 *
 * Classifier-free:  eps = eps_u + w (eps_c - eps_u)        Ho & Salimans 2022, with
 *                   w = 1 no guidance (1 + their w). At a given x_t everything a
 *                   network may predict is linear in eps, so outputs are mixed.
 * Classifier:       Dhariwal & Nichol 2021, of g = scale * grad log p(y | x_t),
 *   mean form       mu += Sigma g                          algorithm 1, for ddpm
 *   score form      eps -= sqrt(1 - alpha-bar) g           algorithm 2, for the others */
#ifndef DDPM_DIFFUSION_GUIDANCE_H
#define DDPM_DIFFUSION_GUIDANCE_H

#include "diffusion/sampler.h"

/* Fill in the first group, then reserve. */
typedef struct {
    denoise_fn     denoise;        /* the network, called with up to 2n images   */
    void          *ctx;            /* of denoise                                 */
    const process *p;              /* borrowed; which part of the output is mean */
    double         scale;          /* w: 0 unconditional, 1 plain conditional    */
    int            null_class;     /* the label that means none                  */
    int            n;              /* images in a call, at most                  */
    image_dims     dims;

    float *t, *x, *out;            /* work, by classifier_free_reserve           */
    int   *y;
} classifier_free;

/* EINVAL unless the scale is finite and at least 0. */
ddpm_status classifier_free_reserve(classifier_free *g);
void        classifier_free_release(classifier_free *g);    /* NULL is fine */

/* A denoise_fn whose ctx is a classifier_free. The network is called once, with
 * the n images under their labels followed by the same n under the null class; a
 * learned variance is that of the labels. At scale 1 the call goes straight
 * through: n images, the same bits; at 0, where no variance is learned, the n
 * images are asked for under the null class alone. But at 1 EINVAL without labels. */
ddpm_status classifier_free_denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out);

/* grad [n, pixels, channels] = d log p(y | x_t) / d x at times t [n], as the
 * network receives them. */
typedef ddpm_status (*grad_fn)(void *ctx, int n, const float *t, const int *y, const float *x, float *grad);

typedef enum { GUIDE_MEAN, GUIDE_SCORE } guidance_form;

typedef struct {
    denoise_fn     denoise;
    void          *ctx;            /* of denoise                                  */
    grad_fn        gradient;
    void          *gradient_ctx;
    const process *p;              /* borrowed; the sampler's, but for the clip   */
    guidance_form  form;
    double         scale;
    int            n;
    image_dims     dims;

    float *grad, *x0, *variance;   /* work, by classifier_guided_reserve          */
} classifier_guided;

/* EINVAL where the form has no meaning: at alpha-bar 0 for scores, where a step
 * repeats, for a scale that is not finite. */
ddpm_status classifier_guided_reserve(classifier_guided *g);
void        classifier_guided_release(classifier_guided *g);   /* NULL is fine */

/* A denoise_fn whose ctx is a classifier_guided. When its process clips, x_0 is
 * clipped before it is guided; what comes out may lie outside [-1,1] again, and
 * the authors leave it there. For their numbers let the sampler's process clip
 * nothing. The mean of previous_x is not clipped, as everywhere. */
ddpm_status classifier_guided_denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out);

#endif
