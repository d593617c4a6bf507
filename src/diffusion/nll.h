/* nll.h - the variational bound of images in bits per dimension, term by term.
 *
 *   bound = prior + sum over the rows i = T-1 .. 0 of L_i           DDPM eq. 5
 *
 * L_0 is the decoder's, the others are Gaussian KLs. A term is one look of the
 * network at x_i ~ q(x_i | x_0) with noise of its own: no chain is walked, so
 * terms may be computed in any order and grouping, and some may stand for all.
 * The network is a denoise_fn, as for samplers; terms are bpd_step's.
 *
 * Draws are addressed (base/rng.h, stream RNG_NLL, sample = number of the image):
 * step i is the noise of row i, step NLL_CHOICE + k the choice in stratum k. */
#ifndef DDPM_DIFFUSION_NLL_H
#define DDPM_DIFFUSION_NLL_H

#include "diffusion/loss.h"
#include "diffusion/sampler.h"

#include <stdint.h>

#define NLL_CHOICE ((uint64_t)1 << 32)

enum { NLL_MIN_CALLS = 3 };

/* Which rows are looked at. The rows are cut into strata, narrow where terms are
 * large (near row 0) and wider by a constant factor from there. An image looks at
 * every row of a stratum of one or two rows, and at two different ones, drawn
 * evenly, of a stratum of m > 2; these count m/2 each. So the sum is an unbiased
 * estimate of the sum over all rows, the more exact the less terms differ within
 * a stratum, and m(m-2)/4 (a-b)^2 summed over the strata is an unbiased estimate
 * of its variance (a, b the two terms). calls = T is the bound itself. */
typedef struct {
    int  T, calls;          /* rows; terms of an image                     */
    int  strata, *first;    /* stratum k: rows first[k] .. first[k+1] - 1  */
} nll_plan;

/* EINVAL unless NLL_MIN_CALLS <= calls <= T, or calls = T. After an error *plan is empty. */
ddpm_status nll_plan_new(int T, int calls, nll_plan *plan);
void        nll_plan_free(nll_plan *plan);                  /* empties *plan; NULL is fine */

/* The rows of one image, descending, and how often each counts; both [calls]. */
void nll_plan_draw(const nll_plan *plan, uint64_t seed, uint64_t image, int *row, double *factor);

/* Everything about the images is borrowed. */
typedef struct {
    denoise_fn      denoise;
    /* z [pixels, channels] for row `row` of image k of this call; NULL: addressed normals */
    void          (*noise)(void *ctx, int k, int row, float *z);
    void           *ctx;        /* of both                                      */
    int             n;          /* images                                       */
    image_dims      dims;
    const float    *x0;         /* [n, pixels, channels] in [-1,1]              */
    const int      *y;          /* [n] or NULL                                  */
    uint64_t        seed;
    const uint64_t *image;      /* [n] their numbers                            */
    int             together;   /* terms in one call of denoise; > 0            */
} nll_images;

/* Bits per dimension of one image. diffusion: rows above 0. */
typedef struct {
    double total, prior, diffusion, decoder;
    double variance;            /* of total, by the choice of rows              */
    double other;               /* total under the other fixed variance, NaN where it is learned */
} nll_bound;

/* Column k of an image is its row[k], row descending: with calls = T the order of
 * the authors' calc_bpd_loop. */
typedef struct {
    int       *row;             /* [n, calls]                                   */
    double    *factor;          /* [n, calls]                                   */
    bpd_terms *term;            /* [n, calls]                                   */
    double    *other;           /* [n, calls] vb, if a fixed variance were the other one: small for large,
                                   large for small. The network is the same; NULL: not wanted */
    nll_bound *bound;           /* [n]                                          */
} nll_result;

/* Fails as process_check and the network do. x_0 is clipped when p says so (the
 * original's default). An image's bits depend neither on the others nor on
 * `together`, if the network's do not. */
ddpm_status nll_run(const process *p, const nll_plan *plan, const nll_images *in, const nll_result *r);

#endif
