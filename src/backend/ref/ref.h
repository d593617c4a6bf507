/* ref.h - the reference backend: every operator as plain loops in host memory.
 *
 * Sums are formed in double and rounded once, when a value is stored, so its
 * results are the yardstick that other backends are measured with. One thread,
 * no packed weights, no state. */
#ifndef DDPM_BACKEND_REF_REF_H
#define DDPM_BACKEND_REF_REF_H

#include "nn/backend.h"

/* Free with nn_backend_free. DDPM_ENOMEM. */
ddpm_status backend_ref_new(nn_backend **b);

#endif
