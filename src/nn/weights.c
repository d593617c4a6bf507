#include "nn/weights.h"

#include "nn/memory.h"

#include <assert.h>
#include <stdlib.h>

/* Nodes with a packed form, and where it begins. */
typedef struct { int node; size_t offset; } packed_node;

struct nn_weights {
    const nn_graph *g;
    nn_backend     *b;
    const float    *values;
    bool            backward;
    packed_node    *list;
    int             count;
    unsigned char  *slab;
    const void     *packed[];      /* by node; NULL: the kernel reads the slab */
};

enum { PACKED_OPERAND = 1 };       /* the weight is operand 1 of every operator that has one */

static size_t packed_size(const nn_node *d, nn_backend *b, bool backward)
{
    const nn_kernel *k = &b->kernels[d->op];
    return k->pack_bytes ? k->pack_bytes(b, d, backward) : 0;
}

/* Lays the packed forms out behind each other; list may be NULL to measure only. */
static size_t lay_out(const nn_graph *g, nn_backend *b, bool backward, packed_node *list, int *count)
{
    size_t at = 0;
    *count = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        const size_t size = packed_size(g->nodes[i], b, backward);
        if (!size) continue;
        assert(g->nodes[i]->in[PACKED_OPERAND]->role == NN_PARAM);
        if (list) list[*count] = (packed_node){ i, at };
        ++*count;
        at += (size + NN_ALIGNMENT - 1) / NN_ALIGNMENT * NN_ALIGNMENT;
    }
    return at;
}

size_t nn_weights_bytes(const nn_graph *g, nn_backend *b, bool backward)
{
    int count;
    return lay_out(g, b, backward, NULL, &count);
}

ddpm_status nn_weights_new(const nn_graph *g, nn_backend *b, const float *values, bool backward, nn_weights **w)
{
    assert(g && b && values);
    *w = NULL;
    DDPM_TRY(nn_graph_status(g));
    const size_t nodes = (size_t)g->n_nodes;
    nn_weights *r = calloc(1, sizeof *r + nodes * sizeof r->packed[0]);
    packed_node *list = calloc(nodes + 1, sizeof *list);
    if (!r || !list) {
        free(r);
        free(list);
        return ddpm_fail(DDPM_ENOMEM, "no memory for the weights of %d nodes", g->n_nodes);
    }
    r->g = g;
    r->b = b;
    r->values = values;
    r->backward = backward;
    r->list = list;
    const size_t size = lay_out(g, b, backward, list, &r->count);
    const ddpm_status s = size ? b->alloc(b, size, (void **)&r->slab) : DDPM_OK;
    if (s != DDPM_OK) {
        nn_weights_free(r);
        return ddpm_context(s, "allocating %zu bytes of packed weights: ", size);
    }
    for (int i = 0; i < r->count; i++) r->packed[list[i].node] = r->slab + list[i].offset;
    nn_weights_pack(r, NULL);
    *w = r;
    return DDPM_OK;
}

void nn_weights_free(nn_weights *w)
{
    if (!w) return;
    if (w->slab) w->b->free(w->b, w->slab);
    free(w->list);
    free(w);
}

static void pack_one(void *ctx, int task, int worker)
{
    (void)worker;
    nn_weights *w = ctx;
    const nn_node *d = w->g->nodes[w->list[task].node];
    const nn_param *p = &w->g->params.list[d->in[PACKED_OPERAND]->param];
    w->b->kernels[d->op].pack(w->b, d, w->backward, w->values + p->offset, w->slab + w->list[task].offset);
}

void nn_weights_pack(nn_weights *w, pool *p)
{
    if (p) {
        pool_run(p, w->count, pack_one, w);
        return;
    }
    for (int i = 0; i < w->count; i++) pack_one(w, i, 0);
}

const float *nn_weights_values(const nn_weights *w) { return w->values; }

const void *nn_weights_packed(const nn_weights *w, int node)
{
    assert(node >= 0 && node < w->g->n_nodes);
    return w->packed[node];
}
