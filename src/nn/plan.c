#include "nn/plan.h"

#include "nn/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Steps of a run, for lifetimes. N nodes: forward of node i is step i; the gradient
 * of `out` arrives at step N; backward of node i is step 2N - i. Inputs are set
 * before step 0 and therefore live from there. */
struct nn_plan {
    const nn_graph  *g;
    nn_backend      *b;
    nn_mode          mode;
    const nn_tensor *out;
    nn_span         *value, *grad, *aux, *sum;   /* by tensor, tensor, node, node * NN_MAX_IN + operand: one array */
    nn_call         *calls;                      /* by node */
    unsigned char   *first;                      /* by node: bit i, din[i] is the first gradient to arrive there */
    int             *images;                     /* by tensor: inputs set and not yet consumed, their batch */
    double          *seconds;                    /* by node, forward; then by node, backward */
    unsigned char   *slab, *scratch;
    size_t           slab_size, scratch_size, naive_size;
    bool             bound, profile;
};

static int step_back(const nn_plan *p, int node) { return 2 * p->g->n_nodes - node; }
static int last_step(const nn_plan *p) { return p->mode == NN_TRAIN ? 2 * p->g->n_nodes : p->g->n_nodes; }
static int n_spans(const nn_graph *g) { return 2 * g->n_tensors + (1 + NN_MAX_IN) * g->n_nodes; }

/* ---- lifetimes ---- */

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

static bool planned(const nn_tensor *t) { return t && t->role != NN_PARAM; }

static size_t value_size(const nn_plan *p, const nn_tensor *t) { return p->b->value_bytes(p->b, t); }

static void plan_forward(nn_plan *p)
{
    const nn_graph *g = p->g;
    for (int i = 0; i < g->n_nodes; i++) {
        const nn_node *d = g->nodes[i];
        for (int k = 0; k < NN_MAX_IN; k++) {
            const nn_tensor *t = d->in[k];
            if (!planned(t)) continue;
            nn_span *s = &p->value[t->id];
            if (!s->size) create(s, value_size(p, t), 0);       /* the first reader of an input */
            need(s, i);
        }
        create(&p->value[d->out->id], value_size(p, d->out), i);
        if (nn_len(d->aux)) create(&p->aux[i], nn_len(d->aux) * sizeof(float), i);
    }
    need(&p->value[p->out->id], last_step(p));
    if (p->mode != NN_KEEP) return;
    for (int i = 0; i < g->n_tensors; i++)
        if (p->value[i].size) need(&p->value[i], last_step(p));
}

/* What the backward of node i reads, and where the gradients it makes go. */
static void plan_node_backward(nn_plan *p, int i)
{
    const nn_node *d = p->g->nodes[i];
    const unsigned saves = nn_ops[d->op].saves;
    const int step = step_back(p, i);
    need(&p->grad[d->out->id], step);
    if (p->aux[i].size) need(&p->aux[i], step);
    if (saves & NN_SAVE_OUT) need(&p->value[d->out->id], step);
    for (int k = 0; k < NN_MAX_IN; k++) {
        const nn_tensor *t = d->in[k];
        if (!planned(t)) continue;
        if (saves & 1u << k) need(&p->value[t->id], step);
        if (!t->needs_grad) continue;
        nn_span *grad = &p->grad[t->id];
        if (!grad->size) {
            p->first[i] |= (unsigned char)(1u << k);
            create(grad, value_size(p, t), step);
        } else {
            create(&p->sum[i * NN_MAX_IN + k], value_size(p, t), step);
        }
        if (t->role == NN_INPUT) need(grad, last_step(p));       /* read after the run */
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
static bool has_backward(const nn_plan *p, int i)
{
    return p->mode == NN_TRAIN && p->g->nodes[i]->out->needs_grad;
}

static ddpm_status plan_backward(nn_plan *p)
{
    const nn_graph *g = p->g;
    if (!p->out->needs_grad)
        return ddpm_fail(DDPM_EINVAL, "%s: depends on no parameter, so there is nothing to train", p->out->name);
    for (int i = 0; i < g->n_nodes; i++)
        if (g->nodes[i]->out != p->out && !is_read(g, g->nodes[i]->out))
            return ddpm_fail(DDPM_EINVAL, "%s: nobody reads its output, and it is not the network's", g->nodes[i]->name);
    create(&p->grad[p->out->id], value_size(p, p->out), g->n_nodes);
    for (int i = g->n_nodes - 1; i >= 0; i--)
        if (has_backward(p, i)) plan_node_backward(p, i);
    return DDPM_OK;
}

/* ---- construction ---- */

static void *value_at(const nn_plan *p, const nn_tensor *t)
{
    assert(planned(t) && p->value[t->id].size);
    return p->slab + p->value[t->id].offset;
}

static const nn_span *gradient_span(const nn_plan *p, int i, int k)
{
    const nn_tensor *t = p->g->nodes[i]->in[k];
    return p->first[i] & 1u << k ? &p->grad[t->id] : &p->sum[i * NN_MAX_IN + k];
}

/* Kernels' states and the largest scratch any of them wants. */
static ddpm_status prepare_kernels(nn_plan *p)
{
    for (int i = 0; i < p->g->n_nodes; i++) {
        const nn_node *d = p->g->nodes[i];
        const nn_kernel *k = &p->b->kernels[d->op];
        const bool backward = has_backward(p, i);
        if (!k->forward || (backward && !k->backward))
            return ddpm_fail(DDPM_ENOSUP, "%s: backend %s has no %s of %s", d->name, p->b->name,
                             k->forward ? "gradient" : "forward pass", nn_ops[d->op].name);
        size_t want = 0;
        if (k->prepare) {
            const ddpm_status s = k->prepare(p->b, d, &p->calls[i].state, &want);
            if (s != DDPM_OK) return ddpm_context(s, "%s: ", d->name);
        }
        if (want > p->scratch_size) p->scratch_size = want;
    }
    return DDPM_OK;
}

static void set_addresses(nn_plan *p)
{
    for (int i = 0; i < p->g->n_nodes; i++) {
        const nn_node *d = p->g->nodes[i];
        nn_call *c = &p->calls[i];
        const bool backward = has_backward(p, i);
        c->node = d;
        c->scratch = p->scratch;
        c->out = value_at(p, d->out);
        if (p->aux[i].size) c->aux = (float *)(void *)(p->slab + p->aux[i].offset);
        if (backward) c->dout = p->slab + p->grad[d->out->id].offset;
        for (int k = 0; k < NN_MAX_IN; k++) {
            if (!planned(d->in[k])) continue;
            c->in[k] = value_at(p, d->in[k]);
            if (backward && d->in[k]->needs_grad) c->din[k] = p->slab + gradient_span(p, i, k)->offset;
        }
    }
}

static ddpm_status allocate_tables(nn_plan *p)
{
    const size_t tensors = (size_t)p->g->n_tensors, nodes = (size_t)p->g->n_nodes;
    p->value = calloc((size_t)n_spans(p->g), sizeof *p->value);
    p->calls = calloc(nodes, sizeof *p->calls);
    p->first = calloc(nodes, sizeof *p->first);
    p->images = calloc(tensors, sizeof *p->images);
    p->seconds = calloc(2 * nodes, sizeof *p->seconds);
    if (!p->value || !p->calls || !p->first || !p->images || !p->seconds)
        return ddpm_fail(DDPM_ENOMEM, "no memory to plan %zu nodes", nodes);
    p->grad = p->value + tensors;
    p->aux = p->grad + tensors;
    p->sum = p->aux + nodes;
    return DDPM_OK;
}

/* Everything but the memory the plan runs in. */
static ddpm_status lay_out(nn_plan *p)
{
    DDPM_TRY(allocate_tables(p));
    plan_forward(p);
    if (p->mode == NN_TRAIN) DDPM_TRY(plan_backward(p));
    DDPM_TRY(nn_memory_place(p->value, n_spans(p->g), &p->slab_size));
    DDPM_TRY(prepare_kernels(p));
    for (int i = 0; i < n_spans(p->g); i++) p->naive_size += p->value[i].size;
    p->naive_size += p->scratch_size;
    return DDPM_OK;
}

static ddpm_status allocate_memory(nn_plan *p)
{
    ddpm_status s = p->b->alloc(p->b, p->slab_size, (void **)&p->slab);
    if (s == DDPM_OK && p->scratch_size) s = p->b->alloc(p->b, p->scratch_size, (void **)&p->scratch);
    if (s != DDPM_OK) return ddpm_context(s, "allocating %zu bytes of activations: ", nn_plan_bytes(p));
    set_addresses(p);
    return DDPM_OK;
}

static ddpm_status begin(const nn_graph *g, nn_backend *b, nn_mode mode, const nn_tensor *out, nn_plan **plan)
{
    assert(g && b && plan);
    *plan = NULL;
    DDPM_TRY(nn_graph_status(g));
    assert(out && out->role == NN_ACTIVATION && g->n_nodes > 0);
    assert(out->id < g->n_tensors && g->tensors[out->id] == out);
    nn_plan *p = calloc(1, sizeof *p);
    if (!p) return ddpm_fail(DDPM_ENOMEM, "no memory for a plan");
    *p = (nn_plan){ .g = g, .b = b, .mode = mode, .out = out };
    const ddpm_status s = lay_out(p);
    if (s == DDPM_OK) *plan = p;
    else nn_plan_free(p);
    return s;
}

ddpm_status nn_plan_new(const nn_graph *g, nn_backend *b, nn_mode mode, const nn_tensor *out, nn_plan **plan)
{
    nn_plan *p;
    *plan = NULL;
    DDPM_TRY(begin(g, b, mode, out, &p));
    const ddpm_status s = allocate_memory(p);
    if (s == DDPM_OK) *plan = p;
    else nn_plan_free(p);
    return s;
}

ddpm_status nn_plan_measure(const nn_graph *g, nn_backend *b, nn_mode mode, const nn_tensor *out, size_t *bytes)
{
    nn_plan *p;
    DDPM_TRY(begin(g, b, mode, out, &p));
    *bytes = nn_plan_bytes(p);
    nn_plan_free(p);
    return DDPM_OK;
}

void nn_plan_free(nn_plan *p)
{
    if (!p) return;
    for (int i = 0; p->calls && i < p->g->n_nodes; i++) {
        const nn_kernel *k = &p->b->kernels[p->g->nodes[i]->op];
        if (k->release && p->calls[i].state) k->release(p->b, p->calls[i].state);
    }
    if (p->slab) p->b->free(p->b, p->slab);
    if (p->scratch) p->b->free(p->b, p->scratch);
    free(p->value);
    free(p->calls);
    free(p->first);
    free(p->images);
    free(p->seconds);
    free(p);
}

void nn_plan_bind(nn_plan *p, const nn_weights *w, float *grads)
{
    assert(w);
    const float *values = nn_weights_values(w);
    for (int i = 0; i < p->g->n_nodes; i++) {
        const nn_node *d = p->g->nodes[i];
        nn_call *c = &p->calls[i];
        c->packed = nn_weights_packed(w, i);
        for (int k = 0; k < NN_MAX_IN; k++) {
            if (!d->in[k] || d->in[k]->role != NN_PARAM) continue;
            const size_t offset = p->g->params.list[d->in[k]->param].offset;
            c->in[k] = values + offset;
            if (has_backward(p, i)) c->din[k] = grads + offset;
        }
    }
    p->bound = true;
}

/* ---- running ---- */

ddpm_status nn_plan_set(nn_plan *p, const nn_tensor *t, int n, const void *host)
{
    assert(t->role == NN_INPUT && n >= 1 && n <= t->shape.n);
    if (!p->value[t->id].size) return DDPM_OK;          /* an input that no node reads */
    p->images[t->id] = n;
    return p->b->upload(p->b, t, n, host, value_at(p, t));
}

/* Every input must be fresh, since its memory is reused once its last reader is done. */
static void check_inputs(nn_plan *p, int n)
{
    for (int i = 0; i < p->g->n_tensors; i++) {
        const nn_tensor *t = p->g->tensors[i];
        if (t->role != NN_INPUT || !p->value[i].size) continue;
        assert(p->images[i] == n && "nn_plan_set every input for this batch before every run");
        if (p->mode != NN_KEEP) p->images[i] = 0;
    }
    (void)n;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static ddpm_status call_kernel(nn_plan *p, int i, bool backward)
{
    const nn_kernel *k = &p->b->kernels[p->g->nodes[i]->op];
    const double start = p->profile ? now() : 0;
    const ddpm_status s = (backward ? k->backward : k->forward)(p->b, &p->calls[i]);
    if (p->profile) p->seconds[i + (backward ? p->g->n_nodes : 0)] += now() - start;
    return s;
}

ddpm_status nn_plan_forward(nn_plan *p, int n)
{
    assert(p->bound && n >= 1 && n <= p->out->shape.n);
    check_inputs(p, n);
    for (int i = 0; i < p->g->n_nodes; i++) {
        p->calls[i].n = n;
        DDPM_TRY(call_kernel(p, i, false));
    }
    return DDPM_OK;
}

ddpm_status nn_plan_get(nn_plan *p, const nn_tensor *t, int n, float *host)
{
    assert(n >= 1 && n <= t->shape.n && t->dtype != NN_I32);
    assert(t == p->out || p->mode == NN_KEEP);
    return p->b->download(p->b, t, n, value_at(p, t), host);
}

/* Add the gradients of node i that were not the first to arrive to those that were. */
static void sum_gradients(nn_plan *p, int i, int n)
{
    const nn_node *d = p->g->nodes[i];
    for (int k = 0; k < NN_MAX_IN; k++) {
        if (!p->sum[i * NN_MAX_IN + k].size) continue;
        const nn_tensor *t = d->in[k];
        p->b->accumulate(p->b, t, n, p->slab + p->grad[t->id].offset, p->calls[i].din[k]);
    }
}

ddpm_status nn_plan_backward(nn_plan *p, int n, const float *host_dout, bool accumulate)
{
    assert(p->mode == NN_TRAIN && p->bound && n >= 1 && n <= p->out->shape.n);
    DDPM_TRY(p->b->upload(p->b, p->out, n, host_dout, p->slab + p->grad[p->out->id].offset));
    for (int i = p->g->n_nodes - 1; i >= 0; i--) {
        nn_call *c = &p->calls[i];
        if (!has_backward(p, i)) continue;
        assert(c->n == n && "backward follows a forward of the same batch");
        c->accumulate = accumulate;
        DDPM_TRY(call_kernel(p, i, true));
        sum_gradients(p, i, n);
    }
    return DDPM_OK;
}

ddpm_status nn_plan_get_grad(nn_plan *p, const nn_tensor *t, int n, float *host)
{
    assert(p->mode == NN_TRAIN && t->role == NN_INPUT && t->needs_grad);
    assert(n >= 1 && n <= t->shape.n);
    if (!p->grad[t->id].size) {                         /* no node reads it */
        memset(host, 0, (size_t)n * nn_image_len(t->shape) * sizeof *host);
        return DDPM_OK;
    }
    return p->b->download(p->b, t, n, p->slab + p->grad[t->id].offset, host);
}

/* ---- reports ---- */

size_t nn_plan_bytes(const nn_plan *p)       { return p->slab_size + p->scratch_size; }
size_t nn_plan_bytes_naive(const nn_plan *p) { return p->naive_size; }

void nn_plan_profile(nn_plan *p, bool on)
{
    p->profile = on;
    memset(p->seconds, 0, 2 * (size_t)p->g->n_nodes * sizeof *p->seconds);
}

double nn_plan_seconds(const nn_plan *p, int node, bool backward)
{
    assert(node >= 0 && node < p->g->n_nodes);
    return p->seconds[node + (backward ? p->g->n_nodes : 0)];
}
