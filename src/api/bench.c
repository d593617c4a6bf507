#include "api/bench.h"

#include "api/engine.h"
#include "api/measure.h"
#include "api/sampling.h"
#include "api/tool.h"
#include "api/train_session.h"
#include "base/rng.h"
#include "nn/flops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_BATCH = 32, REPEATS = 3 };

static const char DEFAULT_PRESET[] = "ddpm-cifar10";

/* Random images, timesteps and labels of one batch, and a random result to differentiate. */
typedef struct { float *x, *t, *out; int *y, *key; } bench_batch;

typedef struct {
    settings         *s;
    const tool_events *ev;
    engine            e;
    unet_config       net;
    int               batch, chunk;
    bench_batch       b;
    size_t            parameters;
    double            flops_forward, flops_train;      /* of one image */
    double            forward_s, train_s, f32, bf16, copy;
    bench_ops         ops;
} bench;

static size_t image_len(const bench *b, int channels) { return (size_t)b->net.height * (size_t)b->net.width * (size_t)channels; }

static ddpm_status make_batch(bench *b)
{
    const size_t n = (size_t)b->batch, in = image_len(b, b->net.in_channels), out = image_len(b, b->net.out_channels);
    b->b = (bench_batch){ malloc(n * in * 4), malloc(n * 4), malloc(n * out * 4), calloc(n, sizeof(int)), calloc(4 * n, sizeof(int)) };
    if (!b->b.x || !b->b.t || !b->b.out || !b->b.y || !b->b.key) return ddpm_fail(DDPM_ENOMEM, "no memory for a batch of %d images", b->batch);
    for (int i = 0; i < b->batch; i++) {
        const rng_address noise = { 0, RNG_NOISE, 0, (uint64_t)i }, t = { 0, RNG_TIMESTEP, 0, (uint64_t)i };
        rng_normals(noise, 0, in, b->b.x + (size_t)i * in);
        b->b.t[i] = (float)rng_below(t, 0, (uint64_t)b->s->v.diffusion_steps);
        b->b.y[i] = b->net.num_classes ? i % b->net.num_classes : 0;
    }
    return DDPM_OK;
}

/* --- the two measurements ------------------------------------------------------------- */

static ddpm_status time_training(bench *b)
{
    const settings_values *v = &b->s->v;
    schedule full = { 0 };
    process p;
    trainer *tr = NULL;
    DDPM_TRY(sampling_process(b->s, &full, &p));
    trainer_config c = { .p = &p, .loss = settings_loss(b->s), .adam = settings_adam(b->s), .clip = v->grad_clip, .n_ema = v->ema_rate.n,
                         .batch = b->batch, .leaves = v->leaves < b->batch ? v->leaves : b->batch, .chunk = b->chunk, .small_size = v->small_size,
                         .seed = 0 };
    for (int k = 0; k < c.n_ema; k++) c.ema_rate[k] = v->ema_rate.v[k];
    ddpm_status s = trainer_new(&b->net, &c, b->e.backend, b->e.threads, b->e.dtype, &tr);
    const train_batch batch = { .x = b->b.x, .y = b->net.num_classes ? b->b.y : NULL };
    double seconds[REPEATS];
    for (int r = -1; r < REPEATS && s == DDPM_OK; r++) {         /* the first one warms up */
        step_report report;
        const double start = measure_now();
        s = trainer_step(tr, &batch, &report);
        if (r >= 0) seconds[r] = measure_now() - start;
        if (b->ev->progress)
            b->ev->progress(b->ev->ctx, &(tool_progress){ .what = "training", .unit = "steps", .done = r + 2, .total = REPEATS + 1, .extra = "", .line = true });
    }
    if (s == DDPM_OK) {
        b->train_s = measure_median(seconds, REPEATS);
        b->parameters = nn_params_total(trainer_get_state(tr)->params);
    }
    trainer_free(tr);
    schedule_free(&full);
    return s;
}

static ddpm_status run_forward(bench *b, denoiser *d)
{
    const nn_graph *g = denoiser_graph(d);
    nn_weights *w = NULL;
    float *values = calloc(g->params.len, sizeof *values);
    if (!values) return ddpm_fail(DDPM_ENOMEM, "no memory for the weights");
    nn_params_init(&g->params, 0, values);
    ddpm_status s = nn_weights_new(g, b->e.backend, values, false, &w);
    double seconds[REPEATS];
    for (int r = -1; r < REPEATS && s == DDPM_OK; r++) {
        const double start = measure_now();
        s = denoiser_run(d, w, b->batch, b->b.t, b->net.num_classes ? b->b.y : NULL, b->b.x, b->b.out);
        if (r >= 0) seconds[r] = measure_now() - start;
    }
    if (s == DDPM_OK) b->forward_s = measure_median(seconds, REPEATS);
    b->flops_forward = nn_graph_flops(g, false);
    b->flops_train = b->flops_forward + nn_graph_flops(g, true);
    nn_weights_free(w);
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

/* --- results ------------------------------------------------------------------------------ */

static double ceiling(const bench *b) { return b->e.dtype == NN_BF16 && b->bf16 > 0 ? b->bf16 : b->f32; }

static double reached(const bench *b, double flops, double seconds)
{
    const double top = ceiling(b);
    return top > 0 ? 100 * 1e-9 * flops * b->batch / seconds / top : 0;
}

static void print(const bench *b, FILE *f)
{
    const settings_values *v = &b->s->v;
    fprintf(f, "%s, %zu parameters, batch %d, %s with %s kernels, %d threads, %s (%s)\n", v->preset[0] ? v->preset : "network", b->parameters, b->batch,
            b->e.backend->name, b->e.backend->isa, pool_threads(b->e.threads), engine_precision(&b->e), b->e.reason);
    fprintf(f, "ceilings        %8.1f GFLOP/s f32", b->f32);
    if (b->bf16 > 0) fprintf(f, ", %.1f GFLOP/s bf16", b->bf16);
    fprintf(f, ", %.1f GB/s copying\n", b->copy);
    fprintf(f, "forward         %8.2f images/s  %8.1f ms a batch  %6.1f GFLOP/s", b->batch / b->forward_s, 1e3 * b->forward_s, 1e-9 * b->flops_forward * b->batch / b->forward_s);
    fprintf(f, "  %5.1f %% of the ceiling\n", reached(b, b->flops_forward, b->forward_s));
    fprintf(f, "training step   %8.2f images/s  %8.1f ms a step   %6.1f GFLOP/s", b->batch / b->train_s, 1e3 * b->train_s, 1e-9 * b->flops_train * b->batch / b->train_s);
    fprintf(f, "  %5.1f %% of the ceiling\n", reached(b, b->flops_train, b->train_s));
    fprintf(f, "peak memory     %8.1f MB\n", (double)measure_peak_rss() / 1e6);
    if (b->s->v.ops) bench_ops_print(&b->ops, f);
}

static ddpm_status document(const bench *b, json **summary)
{
    json *o = json_new_object(), *c = json_new_object();
    json_put_string(o, "schema", "ddpm-bench-1");
    json_put_string(o, "preset", b->s->v.preset);
    json_put_int(o, "parameters", (int64_t)b->parameters);
    json_put_int(o, "batch_size", b->batch);
    json_put_int(o, "threads", pool_threads(b->e.threads));
    json_put_string(o, "device", b->e.backend->name);
    json_put_string(o, "isa", b->e.backend->isa);
    json_put_string(o, "precision", engine_precision(&b->e));
    json_put_real(o, "forward_images_per_s", b->batch / b->forward_s);
    json_put_real(o, "train_images_per_s", b->batch / b->train_s);
    json_put_real(o, "forward_ms", 1e3 * b->forward_s);
    json_put_real(o, "train_ms", 1e3 * b->train_s);
    json_put_real(o, "forward_gflop_per_image", 1e-9 * b->flops_forward);
    json_put_real(o, "train_gflop_per_image", 1e-9 * b->flops_train);
    json_put_real(o, "forward_percent_of_ceiling", reached(b, b->flops_forward, b->forward_s));
    json_put_real(o, "train_percent_of_ceiling", reached(b, b->flops_train, b->train_s));
    json_put_int(o, "peak_rss_bytes", (int64_t)measure_peak_rss());
    json_put_real(c, "f32_gflops", b->f32);
    json_put(c, "bf16_gflops", b->bf16 > 0 ? json_new_real(b->bf16) : json_new_null());
    json_put_real(c, "copy_gb_per_s", b->copy);
    json_put_int(o, "repeats", REPEATS);
    *summary = o;
    DDPM_TRY(json_put(o, "ceilings", c));
    return b->s->v.ops ? bench_ops_document(&b->ops, o) : DDPM_OK;
}

/* --- the command --------------------------------------------------------------------------- */

static ddpm_status prepare(bench *b)
{
    settings *s = b->s;
    if (!s->v.preset[0]) DDPM_TRY(settings_preset(s, DEFAULT_PRESET));
    const bool asked = settings_origin(s, "batch_size") > ORIGIN_PRESET && s->v.batch_size > 0;
    if (!asked) s->v.batch_size = DEFAULT_BATCH;
    if (s->v.leaves > s->v.batch_size) s->v.leaves = s->v.batch_size;
    DDPM_TRY(settings_resolve(s));
    DDPM_TRY(engine_new(s, &b->e));
    b->net = settings_unet(s);
    b->batch = s->v.batch_size;
    b->chunk = train_chunk(s);
    return make_batch(b);
}

static double larger(double a, double b) { return a > b ? a : b; }

/* A ceiling is the best that was seen: a machine that others use changes its speed. */
static ddpm_status measure_ceilings(bench *b)
{
    double copy;
    b->f32 = larger(b->f32, measure_products(b->e.threads, b->e.backend->isa, false));
    b->bf16 = larger(b->bf16, measure_products(b->e.threads, b->e.backend->isa, true));
    DDPM_TRY(measure_copy(b->e.threads, &copy));
    b->copy = larger(b->copy, copy);
    return DDPM_OK;
}

static ddpm_status measure(bench *b)
{
    DDPM_TRY(measure_ceilings(b));
    DDPM_TRY(time_training(b));
    DDPM_TRY(measure_ceilings(b));
    DDPM_TRY(time_forward(b));
    DDPM_TRY(measure_ceilings(b));
    return b->s->v.ops ? bench_ops_measure(&b->e, &b->net, b->chunk, &b->ops) : DDPM_OK;
}

ddpm_status tool_bench(settings *s, const tool_events *ev, char **text, json **summary)
{
    bench b = { .s = s, .ev = ev };
    size_t size;
    ddpm_status status = prepare(&b);
    if (status == DDPM_OK) status = measure(&b);
    if (status == DDPM_OK) {
        FILE *f = open_memstream(text, &size);
        if (f) {
            print(&b, f);
            fclose(f);
        }
        status = f ? document(&b, summary) : ddpm_fail(DDPM_ENOMEM, "no memory for a report");
    }
    bench_ops_free(&b.ops);
    free(b.b.x);
    free(b.b.t);
    free(b.b.out);
    free(b.b.y);
    free(b.b.key);
    engine_free(&b.e);
    return status;
}
