/* Where plans put values: every run is walked through on a map of who owns which bytes. What is read must be
 * whole, whatever was written since, at each level of recomputation, for U-Nets of every kind. */
#include "nn/layout.h"

#include "backend/ref/ref.h"
#include "model/unet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define MUST(expr) do { if ((expr) != DDPM_OK) fail_msg("%s: %s", #expr, ddpm_last_error()); } while (0)

typedef enum { VALUE, GRADIENT, AUX, PART } kind;

typedef struct {
    const nn_graph *g;
    nn_layout       l;
    int            *owner;          /* by NN_ALIGNMENT bytes of the slab */
    int            *runs;           /* by node: forwards                 */
} walk;

/* A value and its second copy are the same thing: a reader does not care where it finds it. */
static int name_of(kind what, int i) { return 1 + 4 * i + (int)what; }

static void write_span(walk *w, const nn_span *s, int name)
{
    assert_true(s->size > 0);
    for (size_t at = s->offset / NN_ALIGNMENT; at * NN_ALIGNMENT < s->offset + s->size; at++) w->owner[at] = name;
}

static void read_span(const walk *w, const nn_span *s, int name)
{
    assert_true(s->size > 0);
    for (size_t at = s->offset / NN_ALIGNMENT; at * NN_ALIGNMENT < s->offset + s->size; at++) assert_int_equal(w->owner[at], name);
}

static const nn_span *place(const walk *w, const nn_tensor *t, bool late) { return late ? nn_layout_late(&w->l, t) : &w->l.value[t->id]; }

static void read_operands(const walk *w, const nn_node *d, bool late, unsigned which)
{
    for (int k = 0; k < NN_MAX_IN; k++)
        if (d->in[k] && d->in[k]->role != NN_PARAM && which & 1u << k) read_span(w, place(w, d->in[k], late), name_of(VALUE, d->in[k]->id));
}

static void walk_forward(walk *w, int i, bool late)
{
    const nn_node *d = w->g->nodes[i];
    const unsigned all = ~0u;
    read_operands(w, d, late, all);
    write_span(w, place(w, d->out, late), name_of(VALUE, d->out->id));
    if (nn_len(d->aux)) write_span(w, &w->l.aux[i], name_of(AUX, i));
    read_operands(w, d, late, all);                     /* they must outlive what they make */
    w->runs[i]++;
}

static void read_for_backward(const walk *w, const nn_node *d)
{
    const unsigned saves = nn_ops[d->op].saves;
    read_operands(w, d, true, saves);
    if (saves & NN_SAVE_OUT) read_span(w, place(w, d->out, true), name_of(VALUE, d->out->id));
    if (nn_len(d->aux)) read_span(w, &w->l.aux[d->index], name_of(AUX, d->index));
    read_span(w, &w->l.grad[d->out->id], name_of(GRADIENT, d->out->id));
}

static void walk_backward(walk *w, int i)
{
    const nn_node *d = w->g->nodes[i];
    read_for_backward(w, d);
    for (int pass = 0; pass < 2; pass++)                /* all are written before any is read */
        for (int k = 0; k < NN_MAX_IN; k++) {
            const nn_tensor *t = d->in[k];
            if (!t || t->role == NN_PARAM || !t->needs_grad) continue;
            const nn_span *s = nn_layout_gradient(&w->l, d, k);
            const bool first = s == &w->l.grad[t->id];
            const int name = first ? name_of(GRADIENT, t->id) : name_of(PART, i * NN_MAX_IN + k);
            if (pass == 0) write_span(w, s, name);
            else read_span(w, s, name);
            if (pass && !first) read_span(w, &w->l.grad[t->id], name_of(GRADIENT, t->id));      /* it is added to this */
        }
    read_for_backward(w, d);
}

/* Returns the bytes of the slab; counts[0]: nodes that ran again, [1]: dear ones among them. */
static size_t walk_through(const nn_graph *g, nn_backend *b, const nn_tensor *out, int counts[2])
{
    walk w = { .g = g };
    MUST(nn_layout_make(g, b, NN_TRAIN, out, &w.l));
    const size_t size = w.l.size;
    w.owner = calloc(size / NN_ALIGNMENT + 1, sizeof *w.owner);
    w.runs = calloc((size_t)g->n_nodes, sizeof *w.runs);
    assert_true(w.owner && w.runs);
    for (int i = 0; i < g->n_tensors; i++)
        if (g->tensors[i]->role == NN_INPUT && w.l.value[i].size) write_span(&w, &w.l.value[i], name_of(VALUE, i));
    for (int i = 0; i < g->n_nodes; i++) walk_forward(&w, i, false);
    write_span(&w, &w.l.grad[out->id], name_of(GRADIENT, out->id));
    int backward = 0;
    for (int k = 0; k < w.l.n_back; k++)
        if (w.l.back[k].again) walk_forward(&w, w.l.back[k].node, true);
        else walk_backward(&w, w.l.back[k].node), backward++;
    read_span(&w, &w.l.value[out->id], name_of(VALUE, out->id));
    counts[0] = counts[1] = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        const nn_op op = g->nodes[i]->op;
        assert_in_range(w.runs[i], 1, 2);
        counts[0] += w.runs[i] - 1;
        counts[1] += (op == NN_CONV2D || op == NN_ATTENTION) * (w.runs[i] - 1);
        backward -= g->nodes[i]->out->needs_grad;
    }
    assert_int_equal(backward, 0);
    nn_layout_free(&w.l);
    free(w.owner);
    free(w.runs);
    return size;
}

static const unet_config nets[] = {
    { .channels = { 16, 32 }, .attention = { false, true }, .conv_resample = true, .dropout = 0.1 },
    { .channels = { 16, 32 }, .attention = { false, true }, .conv_resample = true, .dropout = 0.1, .scale_shift_norm = true, .num_classes = 3 },
    { .channels = { 32, 16 }, .attention = { true, true }, .resblock_updown = true, .scale_shift_norm = true, .num_head_channels = 8 },
    { .channels = { 16, 16 }, .attention = { false, false } },
};

static unet_config net(int which)
{
    unet_config c = nets[which];
    c.height = c.width = 16;
    c.in_channels = c.out_channels = 3;
    c.model_channels = c.stem = 16;
    c.levels = c.num_res_blocks = c.num_heads = 2;
    c.groups = 4;
    c.eps = 1e-5;
    return c;
}

static void what_is_read_is_whole(void **state)
{
    (void)state;
    nn_backend *b;
    MUST(backend_ref_new(&b));
    for (int which = 0; which < (int)(sizeof nets / sizeof *nets); which++)
        for (int k = 0; k < 4; k++) {
            size_t size[3];
            int again[3][2];
            for (int level = NN_RECOMPUTE_NONE; level <= NN_RECOMPUTE_BLOCKS; level++) {
                unet_config c = net(which);
                c.recompute = (nn_recompute)level;
                nn_graph *g = nn_graph_new(k & 1 ? NN_BF16 : NN_F32);
                const unet u = unet_build(g, &c, 3, true, k & 2);
                MUST(nn_graph_status(g));
                size[level] = walk_through(g, b, u.out, again[level]);
                nn_graph_free(g);
            }
            assert_true(size[1] < size[0] * 4 / 5 && size[2] < size[1] * 4 / 5);
            assert_int_equal(again[0][0], 0);
            assert_true(again[1][0] > 10 && again[1][1] == 0);
            assert_true(again[2][0] > again[1][0] && again[2][1] > 10);
        }
    nn_backend_free(b);
}

static void expect_steps(const nn_layout *l, const nn_back_step *want, int count)
{
    assert_int_equal(l->n_back, count);
    for (int i = 0; i < count; i++) {
        assert_int_equal(l->back[i].node, want[i].node);
        assert_int_equal(l->back[i].again, want[i].again);
    }
}

/* x -> silu -> conv -> silu -> block { conv, silu, conv } -> conv: what runs again, and in which order. */
static void blocks_run_again_but_for_their_last_node(void **state)
{
    (void)state;
    nn_backend *b;
    nn_layout l;
    nn_tensor *h[8];
    MUST(backend_ref_new(&b));
    nn_graph *g = nn_graph_new(NN_F32);
    g->recompute = NN_RECOMPUTE_BLOCKS;
    h[0] = nn_silu(g, nn_input(g, "x", (nn_shape){ 1, 4, 4, 2 }, NN_F32, false));
    h[1] = nn_conv2d(g, "a", (nn_conv_args){ .x = h[0], .out = 2 });
    for (int i = 2; i < 6; i++) {
        if (i == 3) nn_block_begin(g);
        const char name[2] = { (char)('a' + i), 0 };
        h[i] = i % 2 ? nn_conv2d(g, name, (nn_conv_args){ .x = h[i - 1], .out = 2 }) : nn_silu(g, h[i - 1]);
    }
    nn_block_end(g);
    h[6] = nn_conv2d(g, "last", (nn_conv_args){ .x = h[5], .out = 2 });
    MUST(nn_graph_status(g));
    MUST(nn_layout_make(g, b, NN_TRAIN, h[6], &l));
    static const nn_back_step want[] = { { 6, false }, { 2, true }, { 3, true }, { 4, true }, { 5, false }, { 4, false }, { 3, false }, { 2, false },
                                         { 0, true }, { 1, false } };
    expect_steps(&l, want, sizeof want / sizeof *want);
    assert_int_equal(l.value[h[3]->id].dies, 4);          /* its last reader in the forward pass */
    assert_int_equal(l.again[h[3]->id].born, 7 + 1 + 2);
    assert_int_equal(l.again[h[3]->id].dies, 7 + 1 + 5);  /* the backward of the SiLU after it */
    assert_int_equal(l.again[h[5]->id].size, 0);
    nn_layout_free(&l);
    nn_graph_free(g);
    nn_backend_free(b);
}

/* Attention's own backward reads its output, also where nobody else's does. */
static void outputs_come_back_for_their_own_backward(void **state)
{
    (void)state;
    nn_backend *b;
    nn_layout l;
    MUST(backend_ref_new(&b));
    nn_graph *g = nn_graph_new(NN_F32);
    g->recompute = NN_RECOMPUTE_BLOCKS;
    nn_tensor *x = nn_input(g, "x", (nn_shape){ 1, 4, 4, 2 }, NN_F32, false);
    nn_block_begin(g);
    nn_tensor *h = nn_attention(g, nn_conv2d(g, "qkv", (nn_conv_args){ .x = x, .out = 6 }), 1, NN_HEADS_QKV);
    h = nn_add(g, h, x);
    nn_block_end(g);
    h = nn_conv2d(g, "last", (nn_conv_args){ .x = h, .out = 2 });
    MUST(nn_graph_status(g));
    MUST(nn_layout_make(g, b, NN_TRAIN, h, &l));
    static const nn_back_step want[] = { { 3, false }, { 2, false }, { 0, true }, { 1, true }, { 1, false }, { 0, false } };
    expect_steps(&l, want, sizeof want / sizeof *want);
    nn_layout_free(&l);
    nn_graph_free(g);
    nn_backend_free(b);
}

/* It has no backward of its own that would keep its aux, but running again it writes it once more. */
static void aux_lives_until_a_node_without_gradient_ran_again(void **state)
{
    (void)state;
    nn_backend *b;
    nn_layout l;
    MUST(backend_ref_new(&b));
    nn_graph *g = nn_graph_new(NN_F32);
    g->recompute = NN_RECOMPUTE_BLOCKS;
    nn_block_begin(g);
    nn_tensor *h = nn_attention(g, nn_input(g, "x", (nn_shape){ 1, 4, 4, 6 }, NN_F32, false), 1, NN_HEADS_QKV);
    h = nn_conv2d(g, "a", (nn_conv_args){ .x = h, .out = 2 });
    nn_block_end(g);
    h = nn_conv2d(g, "last", (nn_conv_args){ .x = h, .out = 2 });
    MUST(nn_graph_status(g));
    MUST(nn_layout_make(g, b, NN_TRAIN, h, &l));
    static const nn_back_step want[] = { { 2, false }, { 0, true }, { 1, false } };
    expect_steps(&l, want, sizeof want / sizeof *want);
    assert_int_equal(l.aux[0].dies, 3 + 1 + 1);
    nn_layout_free(&l);
    nn_graph_free(g);
    nn_backend_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(what_is_read_is_whole), cmocka_unit_test(blocks_run_again_but_for_their_last_node),
                                        cmocka_unit_test(outputs_come_back_for_their_own_backward),
                                        cmocka_unit_test(aux_lives_until_a_node_without_gradient_ran_again) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
