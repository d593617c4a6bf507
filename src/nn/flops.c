#include "nn/flops.h"

static double conv_flops(const nn_node *node)
{
    const int k = node->attr.conv.kernel;
    return 2.0 * (double)nn_image_len(node->out->shape) * nn_read_channels(node) * k * k;
}

/* Scores and the weighted sum: each pixels x pixels x channels. */
static double attention_flops(const nn_node *node)
{
    const nn_shape s = node->out->shape;
    const double pixels = (double)s.h * s.w;
    return 2 * 2 * pixels * pixels * s.c;
}

/* Backward of attention recomputes the scores and has four products of its own. */
double nn_node_flops(const nn_node *node, bool backward)
{
    if (node->op == NN_ATTENTION) return attention_flops(node) * (backward ? 2.5 : 1);
    if (node->op != NN_CONV2D) return 0;
    const bool data = node->in[CONV_X]->needs_grad;
    return conv_flops(node) * (!backward ? 1 : data ? 2 : 1);
}

double nn_graph_flops(const nn_graph *g, bool backward)
{
    double sum = 0;
    for (int i = 0; i < g->n_nodes; i++) sum += nn_node_flops(g->nodes[i], backward);
    return sum;
}
