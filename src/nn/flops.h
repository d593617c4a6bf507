/* flops.h - how much arithmetic a node is: the multiply-adds of its products.
 *
 * Counts convolutions (every tap, also those on padding) and the two products of
 * attention; a multiply-add is two operations. Norms, sums and activations are
 * bound by memory and count nothing. For one image. */
#ifndef DDPM_NN_FLOPS_H
#define DDPM_NN_FLOPS_H

#include "nn/graph.h"

/* backward: the gradients of the weights, and of the operands that need one. */
double nn_node_flops(const nn_node *node, bool backward);

double nn_graph_flops(const nn_graph *g, bool backward);

#endif
