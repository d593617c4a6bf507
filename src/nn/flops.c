#include "nn/flops.h"

static double conv_flops(const nn_node *node)
{
    const double taps = (double)node->attr.conv.kernel_h * node->attr.conv.kernel_w;
    return 2.0 * (double)nn_image_len(node->out->shape) * nn_read_channels(node) * taps;
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

static double tensor_bytes(const nn_tensor *t) { return (double)nn_image_len(t->shape) * (double)nn_dtype_size(t->dtype); }

/* A parameter, or the rows of the table that one image takes. */
static double parameter_bytes(const nn_node *node, const nn_tensor *t, int images, int calls)
{
    if (node->op == NN_EMBED) return (double)images * node->out->shape.c * sizeof(float);
    return (double)calls * (double)nn_len(t->shape) * sizeof(float);
}

static double operand_bytes(const nn_node *node, const nn_tensor *t, int images, int calls)
{
    return t->role == NN_PARAM ? parameter_bytes(node, t, images, calls) : images * tensor_bytes(t);
}

double nn_node_bytes(const nn_node *node, int images, int calls, bool backward)
{
    const unsigned saves = nn_ops[node->op].saves;
    const double out = images * tensor_bytes(node->out), aux = (double)images * (double)nn_image_len(node->aux) * sizeof(float);
    double sum = aux + out;                                       /* backward: its gradient */
    if (backward && saves & NN_SAVE_OUT) sum += out;
    for (int k = 0; k < NN_MAX_IN; k++) {
        const nn_tensor *t = node->in[k];
        if (!t) continue;
        const double bytes = operand_bytes(node, t, images, calls);
        if (!backward || saves & 1u << k) sum += bytes;
        if (backward && t->needs_grad) sum += bytes;
    }
    return sum;
}
