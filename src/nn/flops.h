/* flops.h - how much work a node is: the multiply-adds of its products, and the bytes it moves.
 *
 * Counts convolutions (every tap, also those on padding) and the two products of
 * attention; a multiply-add is two operations. Norms, sums and activations are
 * bound by memory and count nothing. For one image.
 *
 * Bytes are those no kernel can avoid: every operand read once, every result written once. */
#ifndef DDPM_NN_FLOPS_H
#define DDPM_NN_FLOPS_H

#include "nn/graph.h"

/* backward: the gradients of the weights, and of the operands that need one. */
double nn_node_flops(const nn_node *node, bool backward);

double nn_graph_flops(const nn_graph *g, bool backward);

/* Bytes of `images` images done in `calls` calls, each of which reads the parameters anew. backward: what the operator
 * declares that it saved, and the gradients it takes and makes. */
double nn_node_bytes(const nn_node *node, int images, int calls, bool backward);

#endif
