#include "api/bench.h"

#include "base/rng.h"
#include "nn/flops.h"

#include <stdlib.h>
#include <string.h>

enum { SLOWEST = 12 };

/* What the threads share while every one runs a chunk of its own. */
typedef struct {
    denoiser         *d;
    const nn_weights *w;
    denoiser_input    in;
    float            *dout, **grads, **out;
    ddpm_status       status;
} ops_job;

static void run_chunk(void *ctx, int task, int worker)
{
    ops_job *job = ctx;
    (void)worker;
    ddpm_status s = denoiser_forward(job->d, task, job->w, job->in, job->out[task]);
    if (s == DDPM_OK) s = denoiser_backward(job->d, task, job->w, job->in.n, job->dout, job->grads[task], false);
    if (s != DDPM_OK) __atomic_store_n(&job->status, s, __ATOMIC_RELAXED);
}

static void collect_node(const denoiser *d, int threads, int node, bench_ops *ops)
{
    const nn_graph *g = denoiser_graph(d);
    const nn_node *at = g->nodes[node];
    bench_node *n = &ops->nodes[node];
    n->name = nn_ops[at->op].name;
    n->label = strdup(at->name ? at->name : "");
    for (int back = 0; back < 2; back++) {
        for (int k = 0; k < threads; k++) n->time.seconds[back] += nn_plan_seconds(denoiser_plan((denoiser *)d, k), node, back);
        n->time.flops[back] = nn_node_flops(at, back) * ops->images;
        ops->kind[at->op].seconds[back] += n->time.seconds[back];
        ops->kind[at->op].flops[back] += n->time.flops[back];
    }
}

static int slower_first(const void *a, const void *b)
{
    const bench_time *x = &((const bench_node *)a)->time, *y = &((const bench_node *)b)->time;
    const double p = x->seconds[0] + x->seconds[1], q = y->seconds[0] + y->seconds[1];
    return (p < q) - (p > q);
}

static ddpm_status collect(const denoiser *d, int threads, int chunk, bench_ops *ops)
{
    ops->images = threads * chunk;
    ops->nodes = calloc((size_t)denoiser_graph(d)->n_nodes, sizeof *ops->nodes);
    if (!ops->nodes) return ddpm_fail(DDPM_ENOMEM, "no memory for the times of the nodes");
    ops->count = denoiser_graph(d)->n_nodes;
    for (int i = 0; i < ops->count; i++) collect_node(d, threads, i, ops);
    qsort(ops->nodes, (size_t)ops->count, sizeof *ops->nodes, slower_first);
    return DDPM_OK;
}

/* Buffers of the job; the caller frees them, also after a failure. */
static ddpm_status fill_job(ops_job *job, int threads, int chunk)
{
    const nn_graph *g = denoiser_graph(job->d);
    const unet *u = denoiser_unet(job->d);
    const size_t n = (size_t)chunk, in = n * nn_image_len(u->x->shape), out = n * nn_image_len(u->out->shape);
    float *x = malloc(in * sizeof *x), *t = calloc(n, sizeof *t);
    job->in = (denoiser_input){ .n = chunk, .x = x, .t = t, .y = calloc(n, sizeof(int)), .key = calloc(4 * n, sizeof(int)) };
    job->dout = malloc(out * sizeof *job->dout);
    job->grads = calloc((size_t)threads, sizeof *job->grads);
    job->out = calloc((size_t)threads, sizeof *job->out);
    bool ok = x && t && job->in.y && job->in.key && job->dout && job->grads && job->out;
    for (int k = 0; k < threads && ok; k++) {
        job->grads[k] = calloc(g->params.len, sizeof(float));
        job->out[k] = malloc(out * sizeof(float));
        ok = job->grads[k] && job->out[k];
    }
    if (!ok) return ddpm_fail(DDPM_ENOMEM, "no memory to time the operators");
    rng_normals((rng_address){ 0, RNG_NOISE, 0, 0 }, 0, in, x);
    rng_normals((rng_address){ 0, RNG_NOISE, 0, 1 }, 0, out, job->dout);
    return DDPM_OK;
}

static void free_job(ops_job *job, int threads)
{
    for (int k = 0; k < threads; k++) {
        if (job->grads) free(job->grads[k]);
        if (job->out) free(job->out[k]);
    }
    free((void *)job->in.x);
    free((void *)job->in.t);
    free((void *)job->in.y);
    free((void *)job->in.key);
    free(job->grads);
    free(job->out);
    free(job->dout);
}

static ddpm_status run_passes(const engine *e, ops_job *job, int chunk, bench_ops *ops)
{
    const int threads = pool_threads(e->threads);
    ddpm_status s = fill_job(job, threads, chunk);
    for (int pass = 0; pass < 2 && s == DDPM_OK; pass++) {        /* the first one warms up */
        for (int k = 0; k < threads; k++) nn_plan_profile(denoiser_plan(job->d, k), true);
        pool_run(e->threads, threads, run_chunk, job);
        s = job->status;
    }
    if (s == DDPM_OK) s = collect(job->d, threads, chunk, ops);
    free_job(job, threads);
    return s;
}

ddpm_status bench_ops_measure(const engine *e, const unet_config *net, int chunk, bench_ops *ops)
{
    denoiser *d = NULL;
    nn_weights *w = NULL;
    DDPM_TRY(denoiser_new(net, e->backend, e->threads, e->dtype, NN_TRAIN, chunk, &d));
    const nn_graph *g = denoiser_graph(d);
    float *values = calloc(g->params.len, sizeof *values);
    ddpm_status s = values ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the weights");
    if (s == DDPM_OK) {
        nn_params_init(&g->params, 0, values);
        s = nn_weights_new(g, e->backend, values, true, &w);
    }
    ops_job job = { .d = d, .w = w };
    if (s == DDPM_OK) s = run_passes(e, &job, chunk, ops);
    nn_weights_free(w);
    free(values);
    denoiser_free(d);
    return s;
}

void bench_ops_free(bench_ops *ops)
{
    for (int i = 0; i < ops->count; i++) free(ops->nodes[i].label);
    free(ops->nodes);
}

/* --- results ---------------------------------------------------------------------------- */

static double both(const bench_time *t) { return t->seconds[0] + t->seconds[1]; }

static double total(const bench_ops *ops)
{
    double sum = 0;
    for (int i = 0; i < NN_OP_COUNT; i++) sum += both(&ops->kind[i]);
    return sum > 0 ? sum : 1;
}

static double speed(const bench_time *t, int back) { return t->seconds[back] > 0 ? 1e-9 * t->flops[back] / t->seconds[back] : 0; }

static void print_row(const bench_ops *ops, const char *name, const bench_time *t, FILE *f)
{
    fprintf(f, "  %-44s", name);
    for (int back = 0; back < 2; back++) fprintf(f, " %9.2f %8.1f", 1e3 * t->seconds[back] / ops->images, speed(t, back));
    fprintf(f, " %6.1f\n", 100 * both(t) / total(ops));
}

void bench_ops_print(const bench_ops *ops, FILE *f)
{
    fprintf(f, "by operator, one thread:                       forward           backward\n  %-44s %9s %8s %9s %8s %6s\n", "", "ms/image", "GFLOP/s", "ms/image", "GFLOP/s", "%");
    for (int i = 0; i < NN_OP_COUNT; i++)
        if (both(&ops->kind[i]) > 0) print_row(ops, nn_ops[i].name, &ops->kind[i], f);
    fprintf(f, "slowest nodes:\n");
    for (int i = 0; i < ops->count && i < SLOWEST; i++) {
        char name[96];
        snprintf(name, sizeof name, "%.40s", ops->nodes[i].label);
        print_row(ops, name[0] ? name : ops->nodes[i].name, &ops->nodes[i].time, f);
    }
}

static json *row_document(const bench_ops *ops, const char *name, const bench_time *t)
{
    json *o = json_new_object();
    json_put_string(o, "name", name);
    json_put_real(o, "forward_ms_per_image", 1e3 * t->seconds[0] / ops->images);
    json_put_real(o, "backward_ms_per_image", 1e3 * t->seconds[1] / ops->images);
    json_put_real(o, "forward_gflops", speed(t, 0));
    json_put_real(o, "backward_gflops", speed(t, 1));
    json_put_real(o, "percent", 100 * both(t) / total(ops));
    return o;
}

ddpm_status bench_ops_document(const bench_ops *ops, json *o)
{
    json *kinds = json_new_array(), *nodes = json_new_array();
    for (int i = 0; i < NN_OP_COUNT; i++)
        if (both(&ops->kind[i]) > 0) json_append(kinds, row_document(ops, nn_ops[i].name, &ops->kind[i]));
    for (int i = 0; i < ops->count && i < SLOWEST; i++) json_append(nodes, row_document(ops, ops->nodes[i].label, &ops->nodes[i].time));
    json_put(o, "operators", kinds);
    return json_put(o, "slowest_nodes", nodes);
}
