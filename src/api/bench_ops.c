#include "api/bench.h"

#include "nn/flops.h"

#include <stdlib.h>
#include <string.h>

enum { SLOWEST = 12 };

static const char *const PART_NAMES[TRAIN_PARTS] = {
    [TRAIN_CORRUPT] = "corrupt", [TRAIN_LOSS] = "loss", [TRAIN_IDLE] = "idle", [TRAIN_ADD] = "add_leaves",
    [TRAIN_NORM] = "gradient_norm", [TRAIN_UPDATE] = "update", [TRAIN_PACK] = "pack",
};

/* --- the pieces of a step ------------------------------------------------------------------ */

/* Runs of the network in a step: every leaf is cut in chunks. */
static int network_calls(int batch, int leaves, int chunk)
{
    int calls = 0;
    for (int64_t l = 0; l < leaves; l++) calls += (int)(((l + 1) * batch / leaves - l * batch / leaves + chunk - 1) / chunk);
    return calls;
}

static void describe_node(const nn_node *node, int batch, int calls, bench_piece *p)
{
    *p = (bench_piece){ .name = strdup(node->name ? node->name : nn_ops[node->op].name), .op = (int)node->op, .compute = node->compute };
    for (int back = 0; back < 2; back++) {
        p->flops[back] = nn_node_flops(node, back) * batch;
        p->bytes[back] = nn_node_bytes(node, batch, calls, back);
        p->call_bytes[back] = p->bytes[back] / calls;
    }
}

/* What the threads do together, a share of the parameters each, moves these bytes: slabs read and written. */
static double part_bytes(trainer *tr, const engine *e, int leaves, train_part part)
{
    const trainer_state *s = trainer_get_state(tr);
    const double slab = (double)s->params->len * sizeof(float);
    switch (part) {
    case TRAIN_ADD:    return 3 * slab * (leaves - 1);
    case TRAIN_NORM:   return slab;
    case TRAIN_UPDATE: return slab * (7 + 2 * s->n_ema);
    case TRAIN_PACK:   return slab + (double)nn_weights_bytes(denoiser_graph(trainer_denoiser(tr)), e->backend, true);
    default:           return 0;
    }
}

static void describe_parts(trainer *tr, const engine *e, int leaves, bench_ops *ops)
{
    bench_piece *p = &ops->pieces[ops->nodes];
    *p++ = (bench_piece){ .name = strdup("between_nodes"), .op = BENCH_BETWEEN };
    for (int part = 0; part < TRAIN_PARTS; part++) {
        if (!PART_NAMES[part]) continue;
        const double bytes = part_bytes(tr, e, leaves, (train_part)part);
        *p++ = (bench_piece){ .name = strdup(PART_NAMES[part]), .op = BENCH_PART + part, .bytes = { bytes, 0 }, .call_bytes = { bytes / ops->threads, 0 } };
    }
    *p++ = (bench_piece){ .name = strdup("other"), .op = BENCH_OTHER };
    ops->count = (int)(p - ops->pieces);
}

ddpm_status bench_ops_new(trainer *tr, const engine *e, int batch, int leaves, bench_ops *ops)
{
    const denoiser *d = trainer_denoiser(tr);
    const nn_graph *g = denoiser_graph(d);
    const size_t most = (size_t)g->n_nodes + 2 + TRAIN_PARTS;
    const int calls = network_calls(batch, leaves, denoiser_chunk(d));
    *ops = (bench_ops){ .images = batch, .threads = pool_threads(e->threads), .nodes = g->n_nodes,
                        .pieces = calloc(most, sizeof *ops->pieces), .seconds = calloc(BENCH_MAX_REPEATS * most, 2 * sizeof *ops->seconds) };
    if (!ops->pieces || !ops->seconds) return ddpm_fail(DDPM_ENOMEM, "no memory for the times of the nodes");
    for (int i = 0; i < g->n_nodes; i++) describe_node(g->nodes[i], batch, calls, &ops->pieces[i]);
    describe_parts(tr, e, leaves, ops);
    for (int i = 0; i < ops->count; i++)
        if (!ops->pieces[i].name) return ddpm_fail(DDPM_ENOMEM, "no memory for the names of the nodes");
    return DDPM_OK;
}

void bench_ops_free(bench_ops *ops)
{
    for (int i = 0; i < ops->count; i++) free(ops->pieces[i].name);
    free(ops->pieces);
    free(ops->seconds);
}

static double *seconds_of(const bench_ops *ops, int repeat, int piece) { return &ops->seconds[2 * ((size_t)repeat * (size_t)ops->count + (size_t)piece)]; }

void bench_ops_take(bench_ops *ops, trainer *tr, int repeat)
{
    const train_times t = trainer_times(tr);
    double rest[2] = { t.part[TRAIN_FORWARD], t.part[TRAIN_BACKWARD] }, other = t.total;
    for (int part = 0; part < TRAIN_PARTS; part++) other -= t.part[part];
    for (int i = 0; i < ops->nodes; i++)
        for (int back = 0; back < 2; back++) {
            double *s = &seconds_of(ops, repeat, i)[back];
            *s = 0;
            for (int k = 0; k < ops->threads; k++) *s += nn_plan_seconds(denoiser_plan(trainer_denoiser(tr), k), i, back);
            rest[back] -= *s;
        }
    for (int i = ops->nodes; i < ops->count; i++) {
        const int op = ops->pieces[i].op;
        double *s = seconds_of(ops, repeat, i);
        if (op == BENCH_BETWEEN) memcpy(s, rest, sizeof rest);
        else s[0] = op == BENCH_OTHER ? other : t.part[op - BENCH_PART];
    }
    trainer_profile(tr, true);
}

/* --- lines of the report -------------------------------------------------------------------- */

/* One piece, or all of an operator. seconds: of thread time in a step. percent: of the ceiling; 0: nothing is counted. */
typedef struct { const char *name; bench_range seconds, percent; double part[2], flops[2], bytes[2], share; bool memory; } bench_line;

static double larger(double a, double b) { return a > b ? a : b; }

/* Of one thread while all are busy, in bytes a second. */
static double copy_speed(const bench_ops *ops, const bench_ceilings *c, double bytes)
{
    int k = 0;
    while (k < BENCH_COPIES - 1 && (double)bench_copy_bytes[k] < bytes) k++;
    return 1e9 * c->copy[k] / ops->threads;
}

/* The seconds a piece would take at the machine's ceilings: its products, and its bytes. */
typedef struct { double products, memory, nearer; } ideal;

static void add_ideal(const bench_ops *ops, const bench_piece *p, const bench_ceilings *c, ideal *sum)
{
    for (int back = 0; back < 2; back++) {
        const double products = p->flops[back] / (1e9 * bench_products(c, p->compute) / ops->threads);
        const double memory = p->bytes[back] / copy_speed(ops, c, p->call_bytes[back]);
        sum->products += products;
        sum->memory += memory;
        sum->nearer += larger(products, memory);
    }
}

/* Pieces from `first` up to `end` that belong to `op`. */
static bench_line line_of(const bench_ops *ops, const bench_run *run, int first, int end, int op)
{
    double seconds[BENCH_MAX_REPEATS], percent[BENCH_MAX_REPEATS], part[2][BENCH_MAX_REPEATS], spent = 0, all = 0;
    bench_line line = { .name = op < NN_OP_COUNT ? nn_ops[op].name : ops->pieces[first].name };
    ideal sum = { 0 };
    for (int r = 0; r < run->count; r++) {
        const bench_ceilings c = bench_ceilings_of(run, r);
        sum = (ideal){ 0 };
        part[0][r] = part[1][r] = 0;
        for (int i = first; i < end; i++) {
            if (ops->pieces[i].op != op) continue;
            add_ideal(ops, &ops->pieces[i], &c, &sum);
            for (int back = 0; back < 2; back++) part[back][r] += seconds_of(ops, r, i)[back];
        }
        seconds[r] = part[0][r] + part[1][r];
        percent[r] = seconds[r] > 0 ? 100 * sum.nearer / seconds[r] : 0;
        spent += seconds[r];
        all += run->seconds[r] * ops->threads;
    }
    for (int i = first; i < end; i++)
        for (int back = 0; back < 2; back++) {
            if (ops->pieces[i].op != op) continue;
            line.flops[back] += ops->pieces[i].flops[back];
            line.bytes[back] += ops->pieces[i].bytes[back];
        }
    for (int back = 0; back < 2; back++) line.part[back] = bench_range_of(part[back], run->count).median;
    line.seconds = bench_range_of(seconds, run->count);
    line.percent = bench_range_of(percent, run->count);
    line.share = 100 * spent / all;
    line.memory = sum.memory > sum.products;
    return line;
}

static bench_line line_of_piece(const bench_ops *ops, const bench_run *run, int i) { return line_of(ops, run, i, i + 1, ops->pieces[i].op); }

/* Operators, then what is between and around them. */
static int step_lines(const bench_ops *ops, const bench_run *run, bench_line *lines)
{
    int n = 0;
    for (int op = 0; op < NN_OP_COUNT; op++) {
        lines[n] = line_of(ops, run, 0, ops->nodes, op);
        n += lines[n].seconds.max > 0;
    }
    for (int i = ops->nodes; i < ops->count; i++) lines[n++] = line_of_piece(ops, run, i);
    return n;
}

static int slower_first(const void *a, const void *b)
{
    const double p = ((const bench_line *)a)->seconds.median, q = ((const bench_line *)b)->seconds.median;
    return (p < q) - (p > q);
}

/* Lines of all nodes, the slowest first; the caller frees. NULL: no memory. */
static bench_line *node_lines(const bench_ops *ops, const bench_run *run)
{
    bench_line *lines = malloc((size_t)ops->nodes * sizeof *lines);
    if (!lines) return NULL;
    for (int i = 0; i < ops->nodes; i++) {
        lines[i] = line_of_piece(ops, run, i);
        lines[i].name = ops->pieces[i].name;
    }
    qsort(lines, (size_t)ops->nodes, sizeof *lines, slower_first);
    return lines;
}

/* --- results ---------------------------------------------------------------------------------- */

static double speed(double work, double seconds) { return seconds > 0 ? 1e-9 * work / seconds : 0; }

static void print_number(FILE *f, int width, double x)
{
    if (x > 0) fprintf(f, " %*.1f", width, x);
    else fprintf(f, " %*s", width, "");
}

static void print_line(const bench_ops *ops, const bench_line *l, FILE *f)
{
    fprintf(f, "  %-30.30s", l->name);
    for (int back = 0; back < 2; back++) {
        fprintf(f, " %8.3f", 1e3 * l->part[back] / ops->images);
        print_number(f, 6, speed(l->flops[back], l->part[back]));
        print_number(f, 6, speed(l->bytes[back], l->part[back]));
    }
    fprintf(f, " %6.1f", l->share);
    if (l->percent.median > 0) fprintf(f, " %6.0f %s", l->percent.median, l->memory ? "memory" : "products");
    fprintf(f, "\n");
}

void bench_ops_print(const bench_ops *ops, const bench_run *run, FILE *f)
{
    bench_line lines[BENCH_KINDS];
    const int n = step_lines(ops, run, lines);
    double sum = 0;
    fprintf(f, "training step, time of one thread for one image:\n  %-30s %23s %23s %6s %6s\n", "", "forward", "backward", "share", "of its");
    fprintf(f, "  %-30s %8s %6s %6s %8s %6s %6s %6s %6s\n", "", "ms", "GFL/s", "GB/s", "ms", "GFL/s", "GB/s", "%", "ceil %");
    for (int i = 0; i < n; i++) {
        print_line(ops, &lines[i], f);
        sum += lines[i].share;
    }
    fprintf(f, "  %-76s %6.1f\nslowest nodes:\n", "sum", sum);
    bench_line *nodes = node_lines(ops, run);
    for (int i = 0; nodes && i < ops->nodes && i < SLOWEST; i++) print_line(ops, &nodes[i], f);
    free(nodes);
}

static json *line_document(const bench_ops *ops, const bench_line *l)
{
    static const char *const KEYS[2][3] = { { "forward_ms_per_image", "forward_gflops", "forward_gb_per_s" },
                                            { "backward_ms_per_image", "backward_gflops", "backward_gb_per_s" } };
    json *o = json_new_object();
    json_put_string(o, "name", l->name);
    bench_range_put(o, "ms_per_image", l->seconds, 1e3 / ops->images);
    for (int back = 0; back < 2; back++) {
        json_put_real(o, KEYS[back][0], 1e3 * l->part[back] / ops->images);
        json_put_real(o, KEYS[back][1], speed(l->flops[back], l->part[back]));
        json_put_real(o, KEYS[back][2], speed(l->bytes[back], l->part[back]));
    }
    json_put_real(o, "share_percent", l->share);
    if (l->percent.median <= 0) return o;
    json_put_string(o, "bound", l->memory ? "memory" : "products");
    bench_range_put(o, "ceiling_percent", l->percent, 1);
    return o;
}

ddpm_status bench_ops_document(const bench_ops *ops, const bench_run *run, json *o)
{
    bench_line lines[BENCH_KINDS];
    json *kinds = json_new_array(), *slowest = json_new_array();
    const int n = step_lines(ops, run, lines);
    for (int i = 0; i < n; i++) json_append(kinds, line_document(ops, &lines[i]));
    bench_line *nodes = node_lines(ops, run);
    for (int i = 0; nodes && i < ops->nodes && i < SLOWEST; i++) json_append(slowest, line_document(ops, &nodes[i]));
    free(nodes);
    json_put(o, "operators", kinds);
    return json_put(o, "slowest_nodes", slowest);
}
