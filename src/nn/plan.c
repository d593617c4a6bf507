#include "nn/plan.h"

#include "base/clock.h"
#include "base/team.h"
#include "nn/layout.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int node, phase; } plan_step;

struct nn_plan {
    const nn_graph  *g;
    nn_backend      *b;
    nn_mode          mode;
    const nn_tensor *out;
    nn_layout        l;
    nn_call         *forward, *backward;         /* by node; the latter also runs a node's forward again. One array */
    int             *images;                     /* by tensor: inputs set and not yet consumed, their batch */
    double          *seconds;                    /* by node, forward; then by node, backward */
    unsigned char   *slab, *scratch;
    size_t           scratch_size;
    plan_step       *steps;                      /* of threads that share the plan */
    team            *team;                       /* hands out the steps            */
    int              n_steps, parts;
    bool             bound, profile;
};

static bool planned(const nn_tensor *t) { return t && t->role != NN_PARAM; }

/* ---- construction ---- */

static void *value_at(const nn_plan *p, const nn_tensor *t)
{
    assert(planned(t) && p->l.value[t->id].size);
    return p->slab + p->l.value[t->id].offset;
}

static void *late_value_at(const nn_plan *p, const nn_tensor *t) { return p->slab + nn_layout_late(&p->l, t)->offset; }

static bool has_backward(const nn_plan *p, int i) { return nn_layout_has_backward(p->g, p->mode, i); }

/* Kernels' states and the largest scratch any of them wants. */
static ddpm_status prepare_kernels(nn_plan *p)
{
    for (int i = 0; i < p->g->n_nodes; i++) {
        const nn_node *d = p->g->nodes[i];
        const nn_kernel *k = &p->b->kernels[d->op];
        const bool backward = has_backward(p, i);
        if (backward && nn_forward_only(d))
            return ddpm_fail(DDPM_ENOSUP, "%s: this kind of %s has no gradient", d->name, nn_ops[d->op].name);
        if (!k->forward || (backward && !k->backward))
            return ddpm_fail(DDPM_ENOSUP, "%s: backend %s has no %s of %s", d->name, p->b->name,
                             k->forward ? "gradient" : "forward pass", nn_ops[d->op].name);
        size_t want = 0;
        if (k->prepare) {
            const ddpm_status s = k->prepare(p->b, d, &p->forward[i].state, &want);
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
        nn_call *c = &p->forward[i], *late = &p->backward[i];
        c->node = d;
        c->scratch = p->scratch;
        c->parts = 1;
        c->out = value_at(p, d->out);
        if (p->l.aux[i].size) c->aux = (float *)(void *)(p->slab + p->l.aux[i].offset);
        *late = *c;
        late->out = late_value_at(p, d->out);
        const bool backward = has_backward(p, i);
        if (backward) late->dout = p->slab + p->l.grad[d->out->id].offset;
        for (int k = 0; k < NN_MAX_IN; k++) {
            if (!planned(d->in[k])) continue;
            c->in[k] = value_at(p, d->in[k]);
            late->in[k] = late_value_at(p, d->in[k]);
            if (backward && d->in[k]->needs_grad) late->din[k] = p->slab + nn_layout_gradient(&p->l, d, k)->offset;
        }
    }
}

static ddpm_status allocate_tables(nn_plan *p)
{
    const size_t tensors = (size_t)p->g->n_tensors, nodes = (size_t)p->g->n_nodes;
    p->forward = calloc(2 * nodes, sizeof *p->forward);
    p->images = calloc(tensors, sizeof *p->images);
    p->seconds = calloc(2 * nodes, sizeof *p->seconds);
    if (!p->forward || !p->images || !p->seconds) return ddpm_fail(DDPM_ENOMEM, "no memory to plan %zu nodes", nodes);
    p->backward = p->forward + nodes;
    return DDPM_OK;
}

/* Everything but the memory the plan runs in. */
static ddpm_status lay_out(nn_plan *p)
{
    DDPM_TRY(allocate_tables(p));
    DDPM_TRY(nn_layout_make(p->g, p->b, p->mode, p->out, &p->l));
    return prepare_kernels(p);
}

/* What threads that share the plan do, phase after phase of node after node. */
static int n_phases(const nn_plan *p, int i)
{
    const int phases = p->b->kernels[p->g->nodes[i]->op].phases;
    return phases ? phases : 1;
}

static ddpm_status plan_steps(nn_plan *p)
{
    for (int i = 0; i < p->g->n_nodes; i++) p->n_steps += n_phases(p, i);
    p->steps = calloc((size_t)p->n_steps, sizeof *p->steps);
    if (!p->steps) return ddpm_fail(DDPM_ENOMEM, "no memory to plan %d steps", p->n_steps);
    for (int i = 0, at = 0; i < p->g->n_nodes; i++)
        for (int phase = 0; phase < n_phases(p, i); phase++) p->steps[at++] = (plan_step){ i, phase };
    return team_new(&p->team);
}

static ddpm_status allocate_memory(nn_plan *p)
{
    ddpm_status s = p->b->alloc(p->b, p->l.size, (void **)&p->slab);
    if (s == DDPM_OK && p->scratch_size) s = p->b->alloc(p->b, p->scratch_size, (void **)&p->scratch);
    if (s != DDPM_OK) return ddpm_context(s, "allocating %zu bytes of activations: ", nn_plan_bytes(p));
    set_addresses(p);
    return plan_steps(p);
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
    for (int i = 0; p->forward && i < p->g->n_nodes; i++) {
        const nn_kernel *k = &p->b->kernels[p->g->nodes[i]->op];
        if (k->release && p->forward[i].state) k->release(p->b, p->forward[i].state);
    }
    if (p->slab) p->b->free(p->b, p->slab);
    if (p->scratch) p->b->free(p->b, p->scratch);
    nn_layout_free(&p->l);
    free(p->forward);
    free(p->images);
    free(p->seconds);
    team_free(p->team);
    free(p->steps);
    free(p);
}

void nn_plan_bind(nn_plan *p, const nn_weights *w, float *grads)
{
    assert(w);
    const float *values = nn_weights_values(w);
    for (int i = 0; i < p->g->n_nodes; i++) {
        const nn_node *d = p->g->nodes[i];
        nn_call *c = &p->forward[i], *late = &p->backward[i];
        c->packed = late->packed = nn_weights_packed(w, i);
        for (int k = 0; k < NN_MAX_IN; k++) {
            if (!d->in[k] || d->in[k]->role != NN_PARAM) continue;
            const size_t offset = p->g->params.list[d->in[k]->param].offset;
            c->in[k] = late->in[k] = values + offset;
            if (has_backward(p, i)) late->din[k] = grads ? grads + offset : NULL;
        }
    }
    p->bound = true;
}

/* ---- running ---- */

ddpm_status nn_plan_set(nn_plan *p, const nn_tensor *t, int n, const void *host)
{
    assert(t->role == NN_INPUT && n >= 1 && n <= t->shape.n);
    if (!p->l.value[t->id].size) return DDPM_OK;          /* an input that no node reads */
    p->images[t->id] = n;
    return p->b->upload(p->b, t, n, host, value_at(p, t));
}

/* Every input must be fresh, since its memory is reused once its last reader is done. */
static void check_inputs(nn_plan *p, int n)
{
    for (int i = 0; i < p->g->n_tensors; i++) {
        const nn_tensor *t = p->g->tensors[i];
        if (t->role != NN_INPUT || !p->l.value[i].size) continue;
        assert(p->images[i] == n && "nn_plan_set every input for this batch before every run");
        if (p->mode != NN_KEEP) p->images[i] = 0;
    }
    (void)n;
}

/* `late`: in the backward pass, where a node's forward may run again too. */
static ddpm_status call_kernel(nn_plan *p, const nn_call *c, bool late, bool backward)
{
    const nn_kernel *k = &p->b->kernels[c->node->op];
    const bool profile = p->profile && c->part == 0;
    const double start = profile ? clock_now() : 0;
    const ddpm_status s = (backward ? k->backward : k->forward)(p->b, c);
    if (profile) p->seconds[c->node->index + (late ? p->g->n_nodes : 0)] += clock_now() - start;
    return s;
}

static void begin_forward(nn_plan *p, int n)
{
    assert(p->bound && n >= 1 && n <= p->out->shape.n);
    check_inputs(p, n);
    for (int i = 0; i < p->g->n_nodes; i++) p->forward[i].n = p->backward[i].n = n;
}

ddpm_status nn_plan_forward(nn_plan *p, int n)
{
    begin_forward(p, n);
    for (int i = 0; i < p->g->n_nodes; i++) DDPM_TRY(call_kernel(p, &p->forward[i], false, false));
    return DDPM_OK;
}

/* ---- forward by several threads ---- */

void nn_plan_begin_forward(nn_plan *p, int n, int parts)
{
    begin_forward(p, n);
    p->parts = parts < TEAM_MAX_PARTS ? parts : TEAM_MAX_PARTS;
    team_begin(p->team, p->n_steps, p->parts);
}

static ddpm_status call_share(nn_plan *p, team_share share, void *scratch)
{
    const plan_step step = p->steps[share.step];
    nn_call c = p->forward[step.node];
    const bool whole = p->parts == 1 || p->b->kernels[c.node->op].phases == 0;
    if (whole && (share.part > 0 || step.phase > 0)) return DDPM_OK;
    c.part = share.part;
    c.parts = whole ? 1 : p->parts;
    c.phase = step.phase;
    c.scratch = scratch;
    return call_kernel(p, &c, false, false);
}

/* After a failure this thread does the rest of its shares too: others wait for them. */
ddpm_status nn_plan_help_forward(nn_plan *p, int helper, const nn_plan *lender)
{
    assert(lender->scratch_size >= p->scratch_size);
    ddpm_status first = DDPM_OK;
    for (team_share share = TEAM_NOTHING; team_next(p->team, helper, &share);) {
        const ddpm_status s = call_share(p, share, lender->scratch);
        if (first == DDPM_OK) first = s;
    }
    return first;
}

ddpm_status nn_plan_get(nn_plan *p, const nn_tensor *t, int n, float *host)
{
    assert(n >= 1 && n <= t->shape.n && t->dtype != NN_I32);
    assert(t == p->out || t->keep || p->mode == NN_KEEP);
    return p->b->download(p->b, t, n, value_at(p, t), host);
}

/* Add the gradients of node i that were not the first to arrive to those that were. */
static void sum_gradients(nn_plan *p, int i, int n)
{
    const nn_node *d = p->g->nodes[i];
    for (int k = 0; k < NN_MAX_IN; k++) {
        if (!p->l.sum[i * NN_MAX_IN + k].size) continue;
        const nn_tensor *t = d->in[k];
        p->b->accumulate(p->b, t, n, p->slab + p->l.grad[t->id].offset, p->backward[i].din[k]);
    }
}

ddpm_status nn_plan_backward(nn_plan *p, int n, const float *host_dout, bool accumulate)
{
    assert(p->mode == NN_TRAIN && p->bound && n >= 1 && n <= p->out->shape.n);
    DDPM_TRY(p->b->upload(p->b, p->out, n, host_dout, p->slab + p->l.grad[p->out->id].offset));
    for (int k = 0; k < p->l.n_back; k++) {
        const nn_back_step step = p->l.back[k];
        nn_call *c = &p->backward[step.node];
        assert(c->n == n && "backward follows a forward of the same batch");
        c->accumulate = accumulate;
        DDPM_TRY(call_kernel(p, c, true, !step.again));
        if (!step.again) sum_gradients(p, step.node, n);
    }
    return DDPM_OK;
}

ddpm_status nn_plan_get_grad(nn_plan *p, const nn_tensor *t, int n, float *host)
{
    assert(p->mode == NN_TRAIN && t->role == NN_INPUT && t->needs_grad);
    assert(n >= 1 && n <= t->shape.n);
    if (!p->l.grad[t->id].size) {                         /* no node reads it */
        memset(host, 0, (size_t)n * nn_image_len(t->shape) * sizeof *host);
        return DDPM_OK;
    }
    return p->b->download(p->b, t, n, p->slab + p->l.grad[t->id].offset, host);
}

/* ---- reports ---- */

size_t nn_plan_bytes(const nn_plan *p)       { return p->l.size + p->scratch_size; }
size_t nn_plan_bytes_naive(const nn_plan *p) { return p->l.naive + p->scratch_size; }

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
