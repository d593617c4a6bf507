/* layout.h - what a plan runs in which order, and where every value lies meanwhile.
 *
 * Graph in, steps and places out; nothing is run here and no value has memory yet.
 * With N nodes, forward of node i is step i, the gradient of the output arrives at
 * step N, and entry k of `back` is step N + 1 + k. In front of the backward of a node
 * stand the nodes that it reads and that were not kept (nn_graph.recompute): their
 * forward runs again into other places, which serve until the last backward reader. */
#ifndef DDPM_NN_LAYOUT_H
#define DDPM_NN_LAYOUT_H

#include "nn/memory.h"
#include "nn/plan.h"

typedef struct { int node; bool again; } nn_back_step;    /* again: forward once more, else backward */

/* A span of size 0 is not needed. Inputs are set before step 0 and therefore live from there. */
typedef struct {
    nn_span       *value, *grad;            /* by tensor                                            */
    nn_span       *aux, *sum;               /* by node; by node * NN_MAX_IN + operand               */
    nn_span       *again;                   /* by tensor: the second place; aux has but one         */
    unsigned char *first;                   /* by node: bit k, din[k] is the first gradient to arrive there */
    bool          *dropped;                 /* by node: computed again where backward needs it      */
    nn_back_step  *back;
    int            n_back;
    size_t         size, naive;             /* bytes of the slab; with one buffer for each value    */
} nn_layout;

/* Backward passes for NN_TRAIN. On success and on failure the caller frees `l`. Errors: as nn_plan_new. */
ddpm_status nn_layout_make(const nn_graph *g, nn_backend *b, nn_mode mode, const nn_tensor *out, nn_layout *l);
void        nn_layout_free(nn_layout *l);

/* Whether node i has a backward step. */
bool nn_layout_has_backward(const nn_graph *g, nn_mode mode, int i);

/* Where a value is for the backward pass: in its second place when it has one. */
const nn_span *nn_layout_late(const nn_layout *l, const nn_tensor *t);

/* Where the gradient that node i makes of its operand k goes. */
const nn_span *nn_layout_gradient(const nn_layout *l, const nn_node *d, int k);

#endif
