/* cross_entropy.h - the loss of a classifier of noisy images p(y | x_t).
 *
 * Dhariwal & Nichol 2021, section 4. Like loss.h it works on the host, one image at a
 * time, with the gradient written by hand; sums are double. */
#ifndef DDPM_DIFFUSION_CROSS_ENTROPY_H
#define DDPM_DIFFUSION_CROSS_ENTROPY_H

#include <stdbool.h>

/* loss: -log p(label), in nats. topK: fewer than K classes are thought more probable; of equal ones the first is. */
typedef struct { double loss; bool top1, top5; } class_terms;

/* logits [classes], 0 <= label < classes. dlogits [classes]: `weight` times the gradient of the loss, also in place of
 * the logits; NULL: none. */
class_terms cross_entropy(int classes, const float *logits, int label, double weight, float *dlogits);

#endif
