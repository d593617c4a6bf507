/* schedule.h - the noise schedule: every number that depends on t alone.
 *
 * Tables are double and one row per step, row i = 0 .. T-1, row 0 the least
 * noisy (the paper's t is i + 1). A row stands alone: it knows the noise level
 * it is left from (alphas_cumprod) and the one it leads to (alphas_cumprod_prev).
 * A sampler walks the rows from T-1 down to 0, so a shortened or otherwise
 * rearranged chain is just another schedule. Pure arithmetic, no randomness.
 *
 *   betas                          beta, variance of one forward step   DDPM eq. 2
 *   alphas_cumprod                 alpha-bar, prod (1 - beta)           DDPM eq. 4
 *   posterior_variance             beta-tilde                           DDPM eq. 7
 *   posterior_mean_coef1, coef2    factors of x_0 and x_t               DDPM eq. 7
 */
#ifndef DDPM_DIFFUSION_SCHEDULE_H
#define DDPM_DIFFUSION_SCHEDULE_H

#include "base/status.h"

#include <stdbool.h>

typedef enum {
    SCHEDULE_LINEAR,     /* DDPM sec. 4                                          */
    SCHEDULE_QUAD,       /* linear in sqrt(beta); "scaled_linear" in diffusers   */
    SCHEDULE_COSINE,     /* IDDPM eq. 17; "squaredcos_cap_v2" in diffusers       */
    SCHEDULE_SIGMOID,
    SCHEDULE_CONST,
    SCHEDULE_JSD,        /* 1/T .. 1                                             */
    SCHEDULE_WARMUP10, SCHEDULE_WARMUP50,
    SCHEDULE_CUSTOM      /* betas given                                          */
} schedule_kind;

/* In which floating point the betas and alpha-bar of the original are made. */
typedef enum {
    SCHEDULE_F64,        /* Ho, OpenAI                                           */
    SCHEDULE_F32,        /* ermongroup: f64 betas rounded to f32                 */
    SCHEDULE_F32_TORCH   /* diffusers: torch.linspace in f32                     */
} schedule_width;

/* beta-tilde is 0 in row 0; what stands under its logarithm there. */
typedef enum {
    LOGVAR_BORROW,       /* beta-tilde of row 1 (Ho, OpenAI)                     */
    LOGVAR_FLOOR         /* max(beta-tilde, 1e-20) (diffusers, ermongroup)       */
} schedule_logvar;

typedef enum { PROFILE_HO, PROFILE_OPENAI, PROFILE_ERMONGROUP, PROFILE_DIFFUSERS } schedule_profile;

typedef struct {
    schedule_kind   kind;
    int             T;                     /* 2 .. SCHEDULE_MAX_T               */
    double          beta_start, beta_end;  /* linear, quad, sigmoid, const, warmup */
    bool            scaled;                /* linear only: both ends times 1000/T  */
    schedule_width  width;
    schedule_logvar logvar;
    const double   *custom;                /* [T] betas of SCHEDULE_CUSTOM, borrowed */
    bool            zero_terminal_snr;     /* shift and scale sqrt(alpha-bar) so that it ends at 0 and
                                              row 0 stays (Lin et al. 2023, algorithm 1): x_T is pure
                                              noise, so the network must predict v or x_0 */
} schedule_config;

enum { SCHEDULE_MAX_T = 1000000 };

typedef struct schedule {
    int             T;
    int             original_T;    /* rows of the chain the network was trained on */
    schedule_width  width;
    schedule_logvar logvar;
    int            *timestep_map;  /* [T] row of the original chain              */
    double *betas, *log_betas,
           *alphas_cumprod, *alphas_cumprod_prev, *alphas_cumprod_next,
           *sqrt_alphas_cumprod, *sqrt_one_minus_alphas_cumprod, *log_one_minus_alphas_cumprod,
           *sqrt_recip_alphas_cumprod, *sqrt_recipm1_alphas_cumprod,
           *posterior_variance, *posterior_log_variance_clipped,
           *posterior_mean_coef1, *posterior_mean_coef2;
} schedule;

/* Kind of a name, the authors' and diffusers' names alike. EINVAL lists them. */
ddpm_status schedule_kind_find(const char *name, schedule_kind *kind);
const char *schedule_kind_name(schedule_kind kind);

/* beta 1e-4 .. 0.02 and the conventions of one code base. */
schedule_config schedule_config_of(schedule_profile profile, schedule_kind kind, int T);

/* EINVAL: T too small, a beta outside (0,1], scaled linear with T <= 20. The
 * caller frees *s; after an error *s is empty. */
ddpm_status schedule_new(const schedule_config *c, schedule *s);

/* The rows list[0..n-1] (strictly ascending) of `full` as a chain of its own:
 * betas re-derived from alpha-bar as OpenAI's SpacedDiffusion does, f32
 * schedules as their own samplers do. n = 1 works (LOGVAR_FLOOR in its row). */
ddpm_status schedule_respace(const schedule *full, const int *list, int n, schedule *s);

/* Explicit steps: row k goes from row list[k] of `full` to row prev[k], or to
 * alpha-bar = last where prev[k] < 0. prev NULL: the element before, `last` at
 * the end. The list may repeat rows (such a step does nothing). The logarithm
 * of the posterior variance is floored. Used to walk other people's lists. */
ddpm_status schedule_from_steps(const schedule *full, const int *list, const int *prev, double last, int n, schedule *s);

void schedule_free(schedule *s);   /* empties *s; NULL and empty are fine */

#endif
