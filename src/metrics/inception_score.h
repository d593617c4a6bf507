/* inception_score.h - the inception score of class probabilities (Salimans et al. 2016, section 4).
 *
 *   exp( mean over x of sum over y of p(y|x) (log p(y|x) - log p(y)) ),  p(y) = mean over x of p(y|x)
 *
 * It is taken over parts of the rows and the parts' scores are averaged; fewer rows in a part give a lower score. */
#ifndef DDPM_METRICS_INCEPTION_SCORE_H
#define DDPM_METRICS_INCEPTION_SCORE_H

#include "metrics/rows.h"

/* rows: probabilities, or with `logits` what the softmax makes them from. order (NULL: as they are) is
 * walked in parts: `splits` of them, part i from i n / splits on (torch-fidelity, Ho), or where splits is 0 of
 * split_size rows each, the last one shorter (guided-diffusion). */
typedef struct { const metric_rows *rows; bool logits; const int64_t *order; size_t splits, split_size; } inception_input;

size_t      inception_parts(const inception_input *in);

/* score[inception_parts]. 1 <= splits <= n. DDPM_ENOMEM; DDPM_EINVAL: a row is no distribution (a number below 0, or a sum that is not 1 within 1e-3). */
ddpm_status inception_score(const inception_input *in, double *score);

#endif
