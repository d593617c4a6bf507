/* op_problem.h - a case of op_cases.h with its data, run by a backend on one or several threads; for tests/ops.c. */
#ifndef DDPM_TESTS_OP_PROBLEM_H
#define DDPM_TESTS_OP_PROBLEM_H

#include "op_cases.h"

#define MUST(expr) do { if ((expr) != DDPM_OK) fail_msg("%s: %s", #expr, ddpm_last_error()); } while (0)

typedef struct {
    const op_case *k;
    nn_dtype       precision;
    nn_graph      *g;
    const nn_node *node;
    float         *values;
    void          *in[NN_MAX_IN];      /* host data of operands that are inputs */
    float         *dout;
    char           name[200];
} problem;

/* Outputs and gradients of the whole batch. */
typedef struct { float *out, *din[NN_MAX_IN], *grads; } result;

static bool has_gradient(const problem *p)
{
    return p->node->out->needs_grad && !nn_forward_only(p->node);
}

static float *normals(size_t len, uint64_t which)
{
    float *x = malloc((len ? len : 1) * sizeof *x);
    assert_non_null(x);
    rng_normals((rng_address){ .seed = 7, .stream = RNG_NOISE, .sample = which }, 0, len, x);
    return x;
}

static void *input_data(const op_case *k, const nn_tensor *t, int place)
{
    const size_t len = nn_len(t->shape);
    if (t->dtype != NN_I32) {
        float *x = normals(len, (uint64_t)place);
        for (size_t i = 0; i < len; i++)
            x[i] = k->op == NN_TIMESTEP_EMBED ? (float)(i * 249) + 0.25f : x[i] + 0.3f;
        return x;
    }
    int *x = malloc(len * sizeof *x);
    assert_non_null(x);
    for (int i = 0; i < (int)len; i++) {
        const int key[4] = { 12345, 6, 17, 100 + i / 4 };
        x[i] = k->op == NN_EMBED ? (i * 2 + i / 3) % k->rows : key[i % 4];
    }
    return x;
}

static problem problem_new(const op_case *k, nn_dtype precision)
{
    problem p = { .k = k, .precision = precision, .g = nn_graph_new(precision) };
    op_describe(k, precision, p.name, sizeof p.name);
    assert_non_null(p.g);
    op_build(p.g, k);
    MUST(nn_graph_status(p.g));
    assert_int_equal(p.g->n_nodes, 1);
    p.node = p.g->nodes[0];
    p.values = calloc(p.g->params.len + 1, sizeof *p.values);
    assert_non_null(p.values);
    nn_params_init(&p.g->params, 3, p.values);
    if (k->op == NN_GROUP_NORM) {                 /* away from 1 and 0, which would hide mistakes */
        float *z = normals(p.g->params.len, 50);
        for (size_t i = 0; i < p.g->params.len; i++) p.values[i] += 0.3f * z[i];
        free(z);
    }
    for (int i = 0; i < NN_MAX_IN; i++)
        if (p.node->in[i] && p.node->in[i]->role == NN_INPUT) p.in[i] = input_data(k, p.node->in[i], i);
    p.dout = normals(nn_len(p.node->out->shape), 40);
    return p;
}

static void problem_free(problem *p)
{
    nn_graph_free(p->g);
    free(p->values);
    free(p->dout);
    for (int i = 0; i < NN_MAX_IN; i++) free(p->in[i]);
}

static bool wants_gradient(const problem *p, int i)
{
    return p->in[i] && p->node->in[i]->needs_grad;
}

static result result_new(const problem *p)
{
    result r = { .out = calloc(nn_len(p->node->out->shape), sizeof(float)),
                 .grads = calloc(p->g->params.len + 1, sizeof(float)) };
    assert_true(r.out && r.grads);
    for (int i = 0; i < NN_MAX_IN; i++) {
        if (!wants_gradient(p, i)) continue;
        r.din[i] = calloc(nn_len(p->node->in[i]->shape), sizeof(float));
        assert_non_null(r.din[i]);
    }
    return r;
}

static void result_free(result *r)
{
    free(r->out);
    free(r->grads);
    for (int i = 0; i < NN_MAX_IN; i++) free(r->din[i]);
}

static void set_inputs(const problem *p, nn_plan *plan, int first, int n)
{
    for (int i = 0; i < NN_MAX_IN; i++) {
        if (!p->in[i]) continue;
        const nn_tensor *t = p->node->in[i];
        MUST(nn_plan_set(plan, t, n, (const char *)p->in[i] + (size_t)first * nn_image_len(t->shape) * 4));
    }
}

enum { MOST_PARTS = 5 };

/* A plan and who runs it forward: the caller (parts 1), or as many threads as parts, each with another plan's scratch. */
typedef struct { nn_plan *plan, *lender[MOST_PARTS]; pool *threads; int parts; ddpm_status status; } runner;

static runner runner_new(const problem *p, nn_backend *b, int parts)
{
    runner r = { .parts = parts };
    const nn_mode mode = has_gradient(p) ? NN_TRAIN : NN_INFER;
    MUST(nn_plan_new(p->g, b, mode, p->node->out, &r.plan));
    if (parts == 1) return r;
    MUST(pool_new(parts, &r.threads));
    for (int i = 0; i < parts; i++) MUST(nn_plan_new(p->g, b, mode, p->node->out, &r.lender[i]));
    return r;
}

static void runner_free(runner *r)
{
    for (int i = 0; i < MOST_PARTS; i++) nn_plan_free(r->lender[i]);
    nn_plan_free(r->plan);
    pool_free(r->threads);
}

static void help(void *ctx, int task, int worker)
{
    (void)task;
    runner *r = ctx;
    const ddpm_status s = nn_plan_help_forward(r->plan, worker, r->lender[worker]);
    if (s != DDPM_OK) __atomic_store_n(&r->status, s, __ATOMIC_RELAXED);
}

static void run_forward(runner *r, int n)
{
    if (r->parts == 1) {
        MUST(nn_plan_forward(r->plan, n));
        return;
    }
    nn_plan_begin_forward(r->plan, n, r->parts);
    pool_run(r->threads, r->parts, help, r);
    assert_int_equal(r->status, DDPM_OK);
}

/* Images first .. first+n-1 by one forward and one backward pass. */
static void run_images(const problem *p, runner *how, int first, int n, bool accumulate, result *r)
{
    const nn_tensor *out = p->node->out;
    const size_t at = (size_t)first * nn_image_len(out->shape);
    nn_plan *plan = how->plan;
    set_inputs(p, plan, first, n);
    run_forward(how, n);
    MUST(nn_plan_get(plan, out, n, r->out + at));
    if (!has_gradient(p)) return;
    MUST(nn_plan_backward(plan, n, p->dout + at, accumulate));
    for (int i = 0; i < NN_MAX_IN; i++)
        if (r->din[i]) {
            const nn_tensor *t = p->node->in[i];
            MUST(nn_plan_get_grad(plan, t, n, r->din[i] + (size_t)first * nn_image_len(t->shape)));
        }
}

/* The whole batch, `per_call` images at a time; garbage in the gradients first shows what is not written. */
static result run_by(const problem *p, nn_backend *b, int per_call, int parts)
{
    result r = result_new(p);
    for (size_t i = 0; i < p->g->params.len; i++) r.grads[i] = 1e30f;
    nn_weights *w;
    MUST(nn_weights_new(p->g, b, p->values, true, &w));
    runner how = runner_new(p, b, parts);
    nn_plan_bind(how.plan, w, r.grads);
    for (int first = 0; first < p->k->n; first += per_call) {
        const int left = p->k->n - first;
        run_images(p, &how, first, left < per_call ? left : per_call, first > 0, &r);
    }
    runner_free(&how);
    nn_weights_free(w);
    return r;
}

static result run(const problem *p, nn_backend *b, int per_call) { return run_by(p, b, per_call, 1); }

static double work(const op_case *k)
{
    const double pixels = (double)(k->n * k->h * k->w) * (k->upsample ? 4 : 1);
    switch (k->op) {
    case NN_CONV2D:    return pixels * (k->c + k->c2) * k->out * op_taps(k);
    case NN_ATTENTION: return pixels * k->h * k->w * k->c;
    default:           return pixels * (k->c + k->c2) * 10;
    }
}

/* Has it products? Those of the largest case would take emulated tiles seconds. */
static bool f32x3_matters(const op_case *k)
{
    return (k->op == NN_CONV2D || k->op == NN_ATTENTION) && work(k) < 2e7;
}

static void each_case(nn_backend *b, void (*test)(const problem *p, nn_backend *b))
{
    static const nn_dtype precisions[] = { NN_F32, NN_BF16, NN_F32X3 };
    for (size_t j = 0; j < sizeof precisions / sizeof *precisions; j++)
        for (int i = 0; i < N_OP_CASES; i++) {
            if (precisions[j] == NN_F32X3 && !f32x3_matters(&op_cases[i])) continue;
            problem p = problem_new(&op_cases[i], precisions[j]);
            test(&p, b);
            problem_free(&p);
        }
}

#endif
