/* respace.h - which of T timesteps a short sampling run visits.
 *
 * Lists are ascending; a sampler walks them from the end. The first group are
 * the other code bases' rules with their quirks, for equal results; the second
 * our own, which give exactly S different steps for every S in 1..T. */
#ifndef DDPM_DIFFUSION_RESPACE_H
#define DDPM_DIFFUSION_RESPACE_H

#include "diffusion/schedule.h"

typedef struct { int n; int *t; } step_list;

void step_list_free(step_list *l);   /* empties *l; NULL is fine */

/* OpenAI's space_timesteps. spec: "10,15,20" steps in equal sections of the
 * chain, "ddimN" N steps at an integer stride, "" all T. EINVAL where the
 * original raises, and for text that is no number. */
ddpm_status respace_openai(int T, const char *spec, step_list *list);

/* respace_openai and schedule_respace in one, with the original's refusal of a
 * chain of a single step. */
ddpm_status schedule_respace_openai(const schedule *full, const char *spec, schedule *s);

/* ermongroup: uniform may return more than S steps, quad may repeat steps and
 * ends near 0.8 T. EINVAL unless 1 <= S <= T (uniform), 1 <= S (quad). */
ddpm_status respace_ermongroup_uniform(int T, int S, step_list *list);
ddpm_status respace_ermongroup_quad(int T, int S, step_list *list);

typedef enum { SPACING_LEADING, SPACING_LINSPACE, SPACING_TRAILING, SPACING_UNIFORM, SPACING_QUAD, SPACING_LOGSNR } spacing_kind;

/* Kind of a name; EINVAL lists the names. */
ddpm_status spacing_find(const char *name, spacing_kind *kind);
const char *spacing_name(spacing_kind kind);

/* diffusers: leading, linspace or trailing. `offset` is added by leading only. */
ddpm_status respace_diffusers(int T, int S, spacing_kind kind, int offset, step_list *list);

/* The step each element leads to in diffusers' DDIM: t - T/S, negative at the
 * end and not always the next element. prev [n]. For schedule_from_steps. */
void respace_diffusers_ddim_prev(int T, int S, const step_list *list, int *prev);

/* Ours: exactly S different steps of `full`, 1 <= S <= T. S = 1 is {T-1}; for
 * S > 1 equal to the rules above wherever those give S different steps. logsnr:
 * even in log(alpha-bar / (1 - alpha-bar)), both ends included. */
ddpm_status respace_exact(const schedule *full, int S, spacing_kind kind, step_list *list);

#endif
