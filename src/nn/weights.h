/* weights.h - parameter values in the form a backend computes with.
 *
 * Borrows an f32 slab (nn_params layout) and owns what the backend packs from
 * it. Made once per change of the values, read by any number of plans. */
#ifndef DDPM_NN_WEIGHTS_H
#define DDPM_NN_WEIGHTS_H

#include "base/pool.h"
#include "nn/backend.h"
#include "nn/graph.h"

typedef struct nn_weights nn_weights;

/* `values` is borrowed and must outlive the result. backward: also what gradients need. */
ddpm_status  nn_weights_new(const nn_graph *g, nn_backend *b, const float *values, bool backward, nn_weights **w);
void         nn_weights_free(nn_weights *w);
void         nn_weights_pack(nn_weights *w, pool *p);      /* after the values changed; p may be NULL */
const float *nn_weights_values(const nn_weights *w);
const void  *nn_weights_packed(const nn_weights *w, int node);    /* NULL: the kernel reads the slab */
size_t       nn_weights_bytes(const nn_graph *g, nn_backend *b, bool backward);  /* of the packed form */

#endif
