#include "api/bench.h"

#include "api/measure.h"
#include "api/sampling.h"
#include "api/tool.h"
#include "api/train_session.h"
#include "base/rng.h"
#include "io/file.h"
#include "nn/flops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_BATCH = 32 };

static const char DEFAULT_PRESET[] = "ddpm-cifar10";

/* Random images, timesteps and labels of one batch, and room for what the network makes of them. */
typedef struct { float *x, *t, *out; int *y; } bench_batch;

typedef struct {
    settings         *s;
    const tool_events *ev;
    const char       *compare;                         /* borrowed; "": nothing to compare with */
    json             *then;                            /* its document */
    engine            e;
    unet_config       net;
    int               batch, chunk;
    bench_batch       b;
    size_t            parameters;
    double            flops_forward, flops_train;      /* of one image */
    bench_run         forward, train;
    bench_ceilings    best;
    uint64_t          forward_rss, train_rss;
    bench_ops         ops;
} bench;

static size_t image_len(const bench *b, int channels) { return (size_t)b->net.height * (size_t)b->net.width * (size_t)channels; }

static ddpm_status make_batch(bench *b)
{
    const int classes = settings_classes(b->s);
    const size_t n = (size_t)b->batch, in = image_len(b, b->net.in_channels), out = b->net.classes_out ? (size_t)b->net.classes_out : image_len(b, b->net.out_channels);
    b->b = (bench_batch){ malloc(n * in * 4), malloc(n * 4), malloc(n * out * 4), calloc(n, sizeof(int)) };
    if (!b->b.x || !b->b.t || !b->b.out || !b->b.y) return ddpm_fail(DDPM_ENOMEM, "no memory for a batch of %d images", b->batch);
    for (int i = 0; i < b->batch; i++) {
        const rng_address noise = { 0, RNG_NOISE, 0, (uint64_t)i }, t = { 0, RNG_TIMESTEP, 0, (uint64_t)i };
        rng_normals(noise, 0, in, b->b.x + (size_t)i * in);
        b->b.t[i] = (float)rng_below(t, 0, (uint64_t)b->s->v.diffusion_steps);
        b->b.y[i] = classes ? i % classes : 0;
    }
    return DDPM_OK;
}

/* --- the two measurements ------------------------------------------------------------- */

/* What is repeated; `after` may be NULL. */
typedef struct { const char *name; ddpm_status (*work)(void *ctx); void (*after)(void *ctx, int repeat); void *ctx; } job;

/* Once to warm up and to see how much memory it takes, then as often as asked. */
static ddpm_status repeat(bench *b, const job *j, bench_run *run, uint64_t *rss)
{
    const int repeats = b->s->v.repeats;
    DDPM_TRY(j->work(j->ctx));
    *rss = measure_peak_rss();
    if (j->after) j->after(j->ctx, 0);
    DDPM_TRY(bench_ceilings_measure(&b->e, &run->around[0]));
    for (int r = 0; r < repeats; r++) {
        const double start = clock_now();
        DDPM_TRY(j->work(j->ctx));
        run->seconds[r] = clock_now() - start;
        run->count = r + 1;
        if (j->after) j->after(j->ctx, r);
        DDPM_TRY(bench_ceilings_measure(&b->e, &run->around[r + 1]));
        const tool_progress p = { .what = j->name, .unit = "repeats", .done = r + 1, .total = repeats, .extra = "", .line = true };
        if (b->ev->progress) b->ev->progress(b->ev->ctx, &p);
    }
    bench_ceilings_raise(&b->best, run);
    return DDPM_OK;
}

typedef struct { bench *b; trainer *tr; } training;

static ddpm_status train_once(void *ctx)
{
    const training *t = ctx;
    const train_batch batch = { .x = t->b->b.x, .y = settings_classes(t->b->s) ? t->b->b.y : NULL };
    step_report report;
    return trainer_step(t->tr, &batch, &report);
}

static void take_times(void *ctx, int repeat)
{
    const training *t = ctx;
    bench_ops_take(&t->b->ops, t->tr, repeat);
}

static ddpm_status repeat_training(bench *b, trainer *tr)
{
    training t = { b, tr };
    job j = { .name = "training", .work = train_once, .ctx = &t };
    if (b->s->v.ops) {
        DDPM_TRY(bench_ops_new(tr, &b->e, b->batch, b->s->v.leaves, &b->ops));
        trainer_profile(tr, true);
        j.after = take_times;
    }
    return repeat(b, &j, &b->train, &b->train_rss);
}

static ddpm_status time_training(bench *b)
{
    const settings_values *v = &b->s->v;
    schedule full = { 0 };
    process p;
    trainer *tr = NULL;
    DDPM_TRY(sampling_process(b->s, &full, &p));
    trainer_config c = { .p = &p, .loss = settings_loss(b->s), .adam = settings_adam(b->s), .clip = v->grad_clip, .n_ema = v->ema_rate.n,
                         .batch = b->batch, .leaves = v->leaves, .chunk = b->chunk, .small_size = v->small_size, .seed = 0 };
    for (int k = 0; k < c.n_ema; k++) c.ema_rate[k] = v->ema_rate.v[k];
    ddpm_status s = trainer_new(&b->net, &c, b->e.backend, b->e.threads, b->e.dtype, &tr);
    if (s == DDPM_OK) s = repeat_training(b, tr);
    trainer_free(tr);
    schedule_free(&full);
    return s;
}

typedef struct { const bench *b; denoiser *d; nn_weights *w; } forwarding;

static ddpm_status forward_once(void *ctx)
{
    const forwarding *f = ctx;
    const bench *b = f->b;
    return denoiser_run(f->d, f->w, b->batch, b->b.t, b->net.num_classes ? b->b.y : NULL, b->b.x, b->b.out);
}

static ddpm_status run_forward(bench *b, denoiser *d)
{
    const nn_graph *g = denoiser_graph(d);
    forwarding f = { .b = b, .d = d };
    float *values = calloc(g->params.len, sizeof *values);
    if (!values) return ddpm_fail(DDPM_ENOMEM, "no memory for the weights");
    nn_params_init(&g->params, 0, values);
    ddpm_status s = nn_weights_new(g, b->e.backend, values, false, &f.w);
    const job j = { .name = "forward", .work = forward_once, .ctx = &f };
    if (s == DDPM_OK) s = repeat(b, &j, &b->forward, &b->forward_rss);
    b->flops_forward = nn_graph_flops(g, false);
    b->flops_train = b->flops_forward + nn_graph_flops(g, true);
    nn_weights_free(f.w);
    free(values);
    return s;
}

static ddpm_status time_forward(bench *b)
{
    denoiser *d = NULL;
    DDPM_TRY(denoiser_new(&b->net, b->e.backend, b->e.threads, b->e.dtype, NN_INFER, sampling_chunk(b->net.height, b->net.width), &d));
    const ddpm_status s = run_forward(b, d);
    denoiser_free(d);
    return s;
}

static ddpm_status measure(bench *b)
{
    measure_peak_reset();
    DDPM_TRY(time_forward(b));
    measure_peak_reset();
    return time_training(b);
}

/* --- results ------------------------------------------------------------------------------ */

typedef struct { bench_range seconds, percent; double per_s, gflops; } figures;

static figures figures_of(const bench *b, const bench_run *run, double flops)
{
    double percent[BENCH_MAX_REPEATS];
    for (int r = 0; r < run->count; r++) {
        const bench_ceilings c = bench_ceilings_of(run, r);
        const double top = bench_products(&c, b->e.dtype);
        percent[r] = top > 0 ? 100e-9 * flops * b->batch / run->seconds[r] / top : 0;
    }
    const bench_range seconds = bench_range_of(run->seconds, run->count);
    return (figures){ seconds, bench_range_of(percent, run->count), b->batch / seconds.median, 1e-9 * flops * b->batch / seconds.median };
}

static void print_figures(const bench *b, const char *name, const char *unit, const bench_run *run, double flops, FILE *f)
{
    const figures x = figures_of(b, run, flops);
    fprintf(f, "%-14s  %8.2f images/s  %8.1f ms a %-6s (%.1f to %.1f)  %6.1f GFLOP/s  %5.1f %% of the ceiling\n", name, x.per_s, 1e3 * x.seconds.median, unit,
            1e3 * x.seconds.min, 1e3 * x.seconds.max, x.gflops, x.percent.median);
}

static void print(const bench *b, FILE *f)
{
    const settings_values *v = &b->s->v;
    fprintf(f, "%s, %zu parameters, batch %d, %s with %s kernels, %d threads, %s (%s)\n", v->preset[0] ? v->preset : "network", b->parameters, b->batch,
            b->e.backend->name, b->e.backend->isa, pool_threads(b->e.threads), engine_precision(&b->e), b->e.reason);
    fprintf(f, "ceilings        %8.1f GFLOP/s f32", b->best.f32);
    if (b->best.bf16 > 0) fprintf(f, ", %.1f GFLOP/s bf16", b->best.bf16);
    fprintf(f, ", %.0f GB/s copying in the cache, %.1f in memory\n", b->best.copy[0], b->best.copy[BENCH_COPIES - 1]);
    print_figures(b, "forward", "batch", &b->forward, b->flops_forward, f);
    print_figures(b, "training step", "step", &b->train, b->flops_train, f);
    fprintf(f, "peak memory     %8.1f MB training, %.1f MB forward\n", (double)b->train_rss / 1e6, (double)b->forward_rss / 1e6);
    if (v->ops) bench_ops_print(&b->ops, &b->train, f);
}

static void put_figures(const bench *b, const char *name, const bench_run *run, double flops, json *o)
{
    const figures x = figures_of(b, run, flops);
    char key[64];
    snprintf(key, sizeof key, "%s_images_per_s", name);
    json_put_real(o, key, x.per_s);
    snprintf(key, sizeof key, "%s_ms", name);
    bench_range_put(o, key, x.seconds, 1e3);
    snprintf(key, sizeof key, "%s_gflop_per_image", name);
    json_put_real(o, key, 1e-9 * flops);
    snprintf(key, sizeof key, "%s_percent_of_ceiling", name);
    bench_range_put(o, key, x.percent, 1);
}

static json *ceilings_document(const bench *b)
{
    const bench_ceilings *c = &b->best;
    json *o = json_new_object(), *copies = json_new_array();
    json_put_real(o, "f32_gflops", c->f32);
    json_put(o, "bf16_gflops", c->bf16 > 0 ? json_new_real(c->bf16) : json_new_null());
    json_put_real(o, "copy_gb_per_s", c->copy[BENCH_COPIES - 1]);
    for (int k = 0; k < BENCH_COPIES; k++) {
        json *copy = json_new_object();
        json_put_int(copy, "bytes_per_thread", (int64_t)bench_copy_bytes[k]);
        json_put_real(copy, "gb_per_s", c->copy[k]);
        json_append(copies, copy);
    }
    json_put(o, "copies", copies);
    return o;
}

static ddpm_status document(const bench *b, json *o)
{
    json *values = NULL;
    json_put_string(o, "schema", "ddpm-bench-1");
    json_put_string(o, "version", DDPM_VERSION);
    json_put_string(o, "preset", b->s->v.preset);
    json_put_int(o, "parameters", (int64_t)b->parameters);
    json_put_int(o, "batch_size", b->batch);
    json_put_int(o, "threads", pool_threads(b->e.threads));
    json_put_string(o, "device", b->e.backend->name);
    json_put_string(o, "isa", b->e.backend->isa);
    json_put_string(o, "precision", engine_precision(&b->e));
    json_put_int(o, "repeats", b->s->v.repeats);
    put_figures(b, "forward", &b->forward, b->flops_forward, o);
    put_figures(b, "train", &b->train, b->flops_train, o);
    json_put_int(o, "peak_rss_bytes", (int64_t)b->train_rss);
    json_put_int(o, "forward_peak_rss_bytes", (int64_t)b->forward_rss);
    json_put(o, "ceilings", ceilings_document(b));
    DDPM_TRY(settings_to_json(b->s, GROUP_BENCH, &values));
    DDPM_TRY(json_put(o, "values", values));
    return b->s->v.ops ? bench_ops_document(&b->ops, &b->train, o) : DDPM_OK;
}

/* The report, then how it compares; what became slower makes the command fail. */
static ddpm_status report(const bench *b, char **text, json **summary)
{
    size_t size;
    int slower = 0;
    FILE *f = open_memstream(text, &size);
    *summary = json_new_object();
    if (!f || !*summary) return ddpm_fail(DDPM_ENOMEM, "no memory for a report");
    print(b, f);
    ddpm_status s = document(b, *summary);
    if (s == DDPM_OK && b->then) s = bench_compare(b->then, b->compare, *summary, f, &slower);
    fclose(f);
    if (s == DDPM_OK && b->s->v.output[0]) s = json_write_file(b->s->v.output, *summary);
    if (s != DDPM_OK || !slower) return s;
    return ddpm_fail(DDPM_EFAIL, "%d of the figures are worse than in %s by more than the noise", slower, b->compare);
}

/* --- the command --------------------------------------------------------------------------- */

/* What --compare names decides the work; else the options, with a batch that is quick to measure. */
static ddpm_status choose_work(bench *b)
{
    settings *s = b->s;
    if (b->compare[0]) {
        DDPM_TRY(json_read_file(b->compare, &b->then));
        DDPM_TRY(bench_compare_adopt(s, b->then, b->compare));
    }
    if (!s->v.preset[0]) DDPM_TRY(settings_preset(s, DEFAULT_PRESET));
    const bool asked = settings_origin(s, "batch_size") > ORIGIN_PRESET && s->v.batch_size > 0;
    if (!asked) s->v.batch_size = DEFAULT_BATCH;
    if (s->v.leaves > s->v.batch_size) s->v.leaves = s->v.batch_size;
    return settings_resolve(s);
}

static ddpm_status prepare(bench *b)
{
    settings *s = b->s;
    char threads[16];
    if (s->v.output[0]) DDPM_TRY(file_check_target(s->v.output));
    DDPM_TRY(choose_work(b));
    DDPM_TRY(engine_new(s, &b->e));
    snprintf(threads, sizeof threads, "%d", pool_threads(b->e.threads));
    DDPM_TRY(settings_set(s, "threads", threads, ORIGIN_COMMAND_LINE));                        /* what was chosen is what is written */
    DDPM_TRY(settings_set(s, "precision", engine_precision(&b->e), ORIGIN_COMMAND_LINE));
    b->net = settings_unet(s);
    b->parameters = unet_parameters(&b->net);
    if (b->then) DDPM_TRY(bench_compare_network(b->then, b->compare, b->parameters));
    b->batch = s->v.batch_size;
    b->chunk = train_chunk(s);
    return make_batch(b);
}

ddpm_status tool_bench(settings *s, const tool_events *ev, char **text, json **summary)
{
    bench *b = calloc(1, sizeof *b);
    if (!b) return ddpm_fail(DDPM_ENOMEM, "no memory for a measurement");
    b->s = s;
    b->ev = ev;
    b->compare = s->v.compare;
    ddpm_status status = prepare(b);
    if (status == DDPM_OK) status = measure(b);
    if (status == DDPM_OK) status = report(b, text, summary);
    bench_ops_free(&b->ops);
    free(b->b.x);
    free(b->b.t);
    free(b->b.out);
    free(b->b.y);
    engine_free(&b->e);
    json_free(b->then);
    free(b);
    return status;
}
