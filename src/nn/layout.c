#include "nn/layout.h"

#include <assert.h>
#include <stdlib.h>

typedef struct {
    const nn_graph  *g;
    nn_backend      *b;
    nn_mode          mode;
    const nn_tensor *out;
    nn_layout       *l;
} maker;

static int n_first(const nn_graph *g)  { return 2 * g->n_tensors + (1 + NN_MAX_IN) * g->n_nodes; }
static int n_spans(const nn_graph *g)  { return n_first(g) + g->n_tensors; }
static int next_step(const maker *m)   { return m->g->n_nodes + 1 + m->l->n_back; }
static int last_step(const maker *m)   { return m->mode == NN_TRAIN ? 3 * m->g->n_nodes : m->g->n_nodes; }   /* after all others */
static bool planned(const nn_tensor *t) { return t && t->role != NN_PARAM; }

static size_t value_size(const maker *m, const nn_tensor *t) { return m->b->value_bytes(m->b, t); }

static void create(nn_span *s, size_t size, int step)
{
    assert(!s->size && size);
    *s = (nn_span){ .size = size, .born = step, .dies = step };
}

static void need(nn_span *s, int step)
{
    assert(s->size && step >= s->born);
    if (step > s->dies) s->dies = step;
}

/* ---- forward ---- */

static void plan_forward(const maker *m)
{
    const nn_layout *l = m->l;
    for (int i = 0; i < m->g->n_nodes; i++) {
        const nn_node *d = m->g->nodes[i];
        for (int k = 0; k < NN_MAX_IN; k++) {
            const nn_tensor *t = d->in[k];
            if (!planned(t)) continue;
            if (!l->value[t->id].size) create(&l->value[t->id], value_size(m, t), 0);      /* the first reader of an input */
            need(&l->value[t->id], i);
        }
        create(&l->value[d->out->id], value_size(m, d->out), i);
        if (nn_len(d->aux)) create(&l->aux[i], nn_len(d->aux) * sizeof(float), i);
    }
    need(&l->value[m->out->id], last_step(m));
    for (int i = 0; i < m->g->n_tensors; i++)
        if (l->value[i].size && (m->mode == NN_KEEP || m->g->tensors[i]->keep)) need(&l->value[i], last_step(m));
}

/* ---- what is computed again ---- */

static void choose_dropped(const maker *m)
{
    const nn_graph *g = m->g;
    bool *dropped = m->l->dropped;
    if (g->recompute == NN_RECOMPUTE_NONE) return;
    for (int i = 0; i < g->n_nodes; i++)
        dropped[i] = nn_ops[g->nodes[i]->op].cheap || (g->recompute == NN_RECOMPUTE_BLOCKS && g->nodes[i]->block);
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < NN_MAX_IN; k++) {
            const nn_tensor *t = g->nodes[i]->in[k];
            if (!t || t->role != NN_ACTIVATION) continue;
            const nn_node *from = g->nodes[t->node];
            if (from->block != g->nodes[i]->block && !nn_ops[from->op].cheap) dropped[t->node] = false;    /* what a block hands on */
        }
}

static nn_span *late(const nn_layout *l, const nn_tensor *t) { return l->again[t->id].size ? &l->again[t->id] : &l->value[t->id]; }

const nn_span *nn_layout_late(const nn_layout *l, const nn_tensor *t) { return late(l, t); }

/* Let node i run again, after everything it reads, unless its value was kept or is there already. Its aux is kept
 * until then, and written with the same bits. */
static void bring_back(const maker *m, int i)
{
    nn_layout *l = m->l;
    const nn_node *d = m->g->nodes[i];
    if (!l->dropped[i] || l->again[d->out->id].size) return;
    for (int k = 0; k < NN_MAX_IN; k++)
        if (d->in[k] && d->in[k]->role == NN_ACTIVATION) bring_back(m, d->in[k]->node);
    const int step = next_step(m);
    l->back[l->n_back++] = (nn_back_step){ i, true };
    for (int k = 0; k < NN_MAX_IN; k++)
        if (planned(d->in[k])) need(late(l, d->in[k]), step);
    if (l->aux[i].size) need(&l->aux[i], step);
    create(&l->again[d->out->id], value_size(m, d->out), step);
}

/* ---- backward ---- */

static bool reads(const nn_node *d, int k) { return planned(d->in[k]) && nn_ops[d->op].saves & 1u << k; }

static void bring_back_operands(const maker *m, int i)
{
    const nn_node *d = m->g->nodes[i];
    if (nn_ops[d->op].saves & NN_SAVE_OUT) bring_back(m, i);
    for (int k = 0; k < NN_MAX_IN; k++)
        if (reads(d, k) && d->in[k]->role == NN_ACTIVATION) bring_back(m, d->in[k]->node);
}

/* The gradient of operand k that node i makes: the first to arrive, or one to be added to it. */
static void plan_gradient(const maker *m, int i, int k, int step)
{
    nn_layout *l = m->l;
    const nn_tensor *t = m->g->nodes[i]->in[k];
    nn_span *grad = &l->grad[t->id];
    if (!grad->size) {
        l->first[i] |= (unsigned char)(1u << k);
        create(grad, value_size(m, t), step);
    } else {
        create(&l->sum[i * NN_MAX_IN + k], value_size(m, t), step);
    }
    if (t->role == NN_INPUT) need(grad, last_step(m));       /* read after the run */
}

/* What the backward of node i reads, and where the gradients it makes go. */
static void plan_node_backward(const maker *m, int i)
{
    nn_layout *l = m->l;
    const nn_node *d = m->g->nodes[i];
    bring_back_operands(m, i);
    const int step = next_step(m);
    l->back[l->n_back++] = (nn_back_step){ i, false };
    need(&l->grad[d->out->id], step);
    if (l->aux[i].size) need(&l->aux[i], step);
    if (nn_ops[d->op].saves & NN_SAVE_OUT) need(late(l, d->out), step);
    for (int k = 0; k < NN_MAX_IN; k++) {
        if (reads(d, k)) need(late(l, d->in[k]), step);
        if (planned(d->in[k]) && d->in[k]->needs_grad) plan_gradient(m, i, k, step);
    }
}

static bool is_read(const nn_graph *g, const nn_tensor *t)
{
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < NN_MAX_IN; k++)
            if (g->nodes[i]->in[k] == t) return true;
    return false;
}

/* Every output is read on the way to `out`, so each that needs a gradient gets one. */
bool nn_layout_has_backward(const nn_graph *g, nn_mode mode, int i)
{
    return mode == NN_TRAIN && g->nodes[i]->out->needs_grad;
}

static ddpm_status plan_backward(const maker *m)
{
    const nn_graph *g = m->g;
    if (!m->out->needs_grad)
        return ddpm_fail(DDPM_EINVAL, "%s: depends on no parameter, so there is nothing to train", m->out->name);
    for (int i = 0; i < g->n_nodes; i++)
        if (g->nodes[i]->out != m->out && !is_read(g, g->nodes[i]->out))
            return ddpm_fail(DDPM_EINVAL, "%s: nobody reads its output, and it is not the network's", g->nodes[i]->name);
    create(&m->l->grad[m->out->id], value_size(m, m->out), g->n_nodes);
    choose_dropped(m);
    for (int i = g->n_nodes - 1; i >= 0; i--)
        if (nn_layout_has_backward(g, m->mode, i)) plan_node_backward(m, i);
    return DDPM_OK;
}

/* ---- the whole ---- */

const nn_span *nn_layout_gradient(const nn_layout *l, const nn_node *d, int k)
{
    return l->first[d->index] & 1u << k ? &l->grad[d->in[k]->id] : &l->sum[d->index * NN_MAX_IN + k];
}

static ddpm_status allocate(const nn_graph *g, nn_layout *l)
{
    const size_t tensors = (size_t)g->n_tensors, nodes = (size_t)g->n_nodes;
    l->value = calloc((size_t)n_spans(g), sizeof *l->value);
    l->first = calloc(nodes, sizeof *l->first);
    l->dropped = calloc(nodes, sizeof *l->dropped);
    l->back = calloc(2 * nodes, sizeof *l->back);
    if (!l->value || !l->first || !l->dropped || !l->back) return ddpm_fail(DDPM_ENOMEM, "no memory to plan %zu nodes", nodes);
    l->grad = l->value + tensors;
    l->aux = l->grad + tensors;
    l->sum = l->aux + nodes;
    l->again = l->sum + nodes * NN_MAX_IN;
    return DDPM_OK;
}

ddpm_status nn_layout_make(const nn_graph *g, nn_backend *b, nn_mode mode, const nn_tensor *out, nn_layout *l)
{
    const maker m = { .g = g, .b = b, .mode = mode, .out = out, .l = l };
    *l = (nn_layout){ 0 };
    DDPM_TRY(allocate(g, l));
    plan_forward(&m);
    if (mode == NN_TRAIN) DDPM_TRY(plan_backward(&m));
    for (int i = 0; i < n_first(g); i++) l->naive += l->value[i].size;
    return nn_memory_place(l->value, n_spans(g), &l->size);
}

void nn_layout_free(nn_layout *l)
{
    free(l->value);
    free(l->first);
    free(l->dropped);
    free(l->back);
}
