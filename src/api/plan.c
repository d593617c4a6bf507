#include "api/checkpoint_parts.h"
#include "api/classifier.h"
#include "api/engine.h"
#include "api/measure.h"
#include "api/sample_session.h"
#include "api/sampling.h"
#include "api/tool.h"
#include "api/train_session.h"
#include "data/dataset.h"
#include "io/file.h"
#include "train/leaves.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As train.c and sample.c have them; and the largest parameter so many times while a checkpoint is written (checkpoint_tensors.c
 * three, safetensors.c one). */
enum { SAMPLER_BUFFERS = 6, CHECKPOINT_BUFFERS = 4 };

/* Where the memory of a command goes, in bytes. */
typedef struct { uint64_t program, weights, optimiser, gradients, packed, activations, guide, samples, evaluation, data, files, saving; } memory_need;

typedef struct {
    settings     *s;                /* of the model for sampling                       */
    const settings *request;
    engine        e;
    unet_config   net;
    bool          train;
    int           batch, chunk, steps, calls, images;   /* calls: of the network, for one batch */
    uint64_t      kept_images;      /* that the loader can keep decoded                */
    uint64_t      held;             /* bytes of the data set's files in memory         */
    size_t        slab, parameters; /* bytes of a parameter slab; parameters            */
    memory_need   m;
    uint64_t      by_level[ACTIVATIONS_BLOCKS + 1];     /* training: activations at each level of recomputation */
    uint64_t      checkpoint;       /* bytes of one                                     */
    double        per_image;        /* seconds of one image on one of the busy threads; 0: not measured */
    double        guide_seconds;    /* of --classifier for a batch on all threads      */
} plan;

static uint64_t total(const memory_need *m)
{
    return m->program + m->weights + m->optimiser + m->gradients + m->packed + m->activations + m->guide + m->samples + m->evaluation + m->data + m->files + m->saving;
}

static uint64_t image_bytes(const plan *p, int channels) { return (uint64_t)p->net.height * (uint64_t)p->net.width * (uint64_t)channels * sizeof(float); }

/* --- one network without its memory ------------------------------------------------------ */

typedef struct { uint64_t activations, packed; size_t len, parameters, largest; } network_need;      /* len, largest parameter: bytes */

static size_t largest_parameter(const nn_params *ps)
{
    size_t largest = 0;
    for (int i = 0; i < ps->count; i++)
        if (nn_len(ps->list[i].shape) > largest) largest = nn_len(ps->list[i].shape);
    return largest * sizeof(float);
}

/* Graph and plan of `chunk` images, laid out and thrown away. */
static ddpm_status measure_network(const plan *p, bool training, int chunk, network_need *need)
{
    nn_graph *g = nn_graph_new(p->e.dtype);
    if (!g) return ddpm_fail(DDPM_ENOMEM, "no memory for the network's graph");
    const unet u = unet_build(g, &p->net, chunk, training, false);
    size_t bytes = 0;
    ddpm_status s = nn_graph_status(g);
    if (s == DDPM_OK) s = nn_plan_measure(g, p->e.backend, training ? NN_TRAIN : NN_INFER, u.out, &bytes);
    if (s == DDPM_OK)
        *need = (network_need){ .activations = (uint64_t)bytes * (uint64_t)pool_threads(p->e.threads), .len = g->params.len * sizeof(float),
                                .packed = nn_weights_bytes(g, p->e.backend, training), .parameters = nn_params_total(&g->params),
                                .largest = largest_parameter(&g->params) };
    nn_graph_free(g);
    return s;
}

/* --- time -------------------------------------------------------------------------------------- */

/* One chunk on every thread at once. */
typedef struct { denoiser *d; nn_weights *w; denoiser_input in; float *out, **grads; bool train; ddpm_status status; } time_job;

static void run_chunk(void *ctx, int task, int worker)
{
    time_job *job = ctx;
    (void)worker;
    float *out = job->out + (size_t)task * (size_t)job->in.n * nn_image_len(denoiser_unet(job->d)->out->shape);
    ddpm_status s = denoiser_forward(job->d, task, job->w, job->in, out);
    if (s == DDPM_OK && job->train) s = denoiser_backward(job->d, task, job->w, job->in.n, out, job->grads[task], false);
    if (s != DDPM_OK) __atomic_store_n(&job->status, s, __ATOMIC_RELAXED);
}

static ddpm_status time_chunks(plan *p, time_job *job, int threads, int n)
{
    const unet *u = denoiser_unet(job->d);
    const size_t images = (size_t)n, len = denoiser_graph(job->d)->params.len;
    float *x = calloc(images, nn_image_len(u->x->shape) * sizeof *x), *t = calloc(images, sizeof *t);
    int *y = calloc(5 * images, sizeof *y);
    job->out = calloc((size_t)threads * images, nn_image_len(u->out->shape) * sizeof *job->out);
    job->grads = calloc((size_t)threads, sizeof *job->grads);
    bool ok = x && t && y && job->out && job->grads;
    for (int k = 0; k < threads && ok && p->train; k++) ok = (job->grads[k] = calloc(len, sizeof(float))) != NULL;
    ddpm_status s = ok ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory to time a chunk");
    job->in = (denoiser_input){ .n = n, .x = x, .t = t, .y = y, .key = y ? y + images : NULL };
    for (int pass = 0; pass < 2 && s == DDPM_OK; pass++) {        /* the first one warms up */
        const double start = clock_now();
        pool_run(p->e.threads, threads, run_chunk, job);
        p->per_image = (clock_now() - start) / n;
        s = job->status;
    }
    for (int k = 0; k < threads && job->grads; k++) free(job->grads[k]);
    free(job->grads);
    free(job->out);
    free(x);
    free(t);
    free(y);
    return s;
}

static ddpm_status time_network(plan *p, int n)
{
    time_job job = { .train = p->train };
    DDPM_TRY(denoiser_new(&p->net, p->e.backend, p->e.threads, p->e.dtype, p->train ? NN_TRAIN : NN_INFER, n, &job.d));
    const nn_graph *g = denoiser_graph(job.d);
    float *values = calloc(g->params.len, sizeof *values);
    ddpm_status s = values ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the weights");
    if (s == DDPM_OK) {
        nn_params_init(&g->params, 0, values);
        s = nn_weights_new(g, p->e.backend, values, p->train, &job.w);
    }
    if (s == DDPM_OK) s = time_chunks(p, &job, pool_threads(p->e.threads), n);
    nn_weights_free(job.w);
    free(values);
    denoiser_free(job.d);
    return s;
}

/* Timing needs the activations of a few images; where even they do not fit, there is no time. */
static ddpm_status measure_time(plan *p)
{
    enum { TIMED_IMAGES = 4 };
    const int n = p->chunk < TIMED_IMAGES ? p->chunk : TIMED_IMAGES;
    network_need need;
    DDPM_TRY(measure_network(p, p->train, n, &need));
    const uint64_t wanted = need.activations + need.packed + (uint64_t)need.len * (uint64_t)(1 + pool_threads(p->e.threads));
    return wanted < measure_available() / 2 ? time_network(p, n) : DDPM_OK;
}

/* A classifier's gradients for one batch, and what they took. */
static ddpm_status time_guide(plan *p, classifier *c)
{
    const size_t n = (size_t)p->batch, len = n * image_bytes(p, classifier_about(c)->channels) / sizeof(float);
    float *x = calloc(len, sizeof *x), *grad = calloc(len, sizeof *grad), *t = calloc(n, sizeof *t);
    int *y = calloc(n, sizeof *y);
    ddpm_status s = x && grad && t && y ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory to time a classifier");
    for (int pass = 0; pass < 2 && s == DDPM_OK; pass++) {        /* the first one warms up */
        const double start = clock_now();
        s = classifier_gradient(c, p->batch, t, y, x, grad);
        p->guide_seconds = clock_now() - start;
    }
    p->m.guide = classifier_bytes(c) + len * sizeof *grad;
    free(x);
    free(grad);
    free(t);
    free(y);
    return s;
}

static ddpm_status need_of_guide(plan *p, const model_description *model)
{
    classifier *c = NULL;
    if (!p->request->v.classifier[0]) return DDPM_OK;
    DDPM_TRY(classifier_open(p->request->v.classifier, &p->e, &c));
    ddpm_status s = classifier_fits(c, model);
    if (s == DDPM_OK && p->request->v.classifier_scale != 0) s = time_guide(p, c);
    classifier_close(c);
    return s;
}

/* Batches of `batch` images on the threads, in seconds: leaves of a training step or pieces of a batch run in parallel. */
static double step_seconds(const plan *p)
{
    const int threads = pool_threads(p->e.threads), parts = p->s->v.leaves;
    if (!p->train) {
        const int shared = denoiser_shared(p->batch, threads), rest = p->batch - shared;
        return p->per_image * ((rest + threads - 1) / threads + (double)shared / threads) + p->guide_seconds;
    }
    const int each = (p->batch + parts - 1) / parts, rounds = (parts + threads - 1) / threads;
    return p->per_image * each * rounds;
}

static uint64_t file_bytes(const char *folder, const char *name)
{
    char path[MODEL_PATH_SIZE];
    file_map map;
    if (checkpoint_join(path, folder, name) != DDPM_OK || !file_exists(path) || file_map_open(path, &map) != DDPM_OK) return 0;
    const uint64_t size = map.size;
    file_map_close(&map);
    return size;
}

/* Bytes of both files of a checkpoint, which are mapped while their checksums are compared. */
static uint64_t checkpoint_files(const char *folder) { return file_bytes(folder, FILE_WEIGHTS) + file_bytes(folder, FILE_STATE); }

/* --- train ------------------------------------------------------------------------------------------ */

static ddpm_status read_data(plan *p, const char *spec)
{
    settings_values *v = &p->s->v;
    dataset *d = NULL;
    DDPM_TRY(settings_sizes(p->s));
    if (!spec[0]) return DDPM_OK;
    const dataset_options o = settings_dataset(p->s);
    DDPM_TRY(dataset_open(spec, &o, &d));
    if (!v->image_size.n) v->image_size = (int_list){ 2, { dataset_height(d), dataset_width(d) } };
    if (!v->channels) v->channels = dataset_channels(d);
    if (v->class_cond && !v->num_classes) v->num_classes = dataset_n_classes(d);
    if (v->classes_out < 0 && dataset_n_classes(d)) v->classes_out = dataset_n_classes(d);
    p->kept_images = dataset_pixels(d, 0) ? 0 : (uint64_t)dataset_count(d);
    p->held = dataset_held_bytes(d);
    dataset_close(d);
    return DDPM_OK;
}

static void need_of_data(plan *p)
{
    const settings_values *v = &p->s->v;
    const uint64_t pixels = image_bytes(p, v->channels) / sizeof(float), all = p->kept_images * pixels;
    p->m.data = p->held + (uint64_t)(v->prefetch + 1) * (uint64_t)p->batch * image_bytes(p, v->channels) + (all < TRAIN_CACHE_BYTES ? all : TRAIN_CACHE_BYTES / pixels * pixels);
}

/* The network that draws grids and validates. */
static ddpm_status need_of_samples(plan *p)
{
    const settings_values *v = &p->s->v;
    network_need need;
    const bool draws = v->sample_interval > 0 && !v->classes_out;
    if (!draws && v->val <= 0 && !v->eval_every) return DDPM_OK;
    DDPM_TRY(measure_network(p, false, p->chunk, &need));
    const uint64_t grid = draws ? (uint64_t)train_grid_images(p->s) : v->val > 0 ? (uint64_t)p->batch : 0;
    const uint64_t images = v->eval_every && grid < SAMPLING_BATCH ? SAMPLING_BATCH : grid;
    p->m.samples = need.activations + need.packed + images * SAMPLER_BUFFERS * image_bytes(p, p->net.out_channels);
    return DDPM_OK;
}

/* Features of images of pixels values by --features; of a network as many as Inception has, which is the most that is usual. */
static uint64_t feature_dims(const char *word, uint64_t pixels)
{
    enum { INCEPTION_DIMS = 2048 };
    if (!strcmp(word, "raw")) return pixels;
    return strncmp(word, "pca", 3) ? INCEPTION_DIMS : strtoull(word + 3, NULL, 10);
}

/* Symmetric matrices of the Frechet distance at once: the target's root and what it is made of, moments of the samples, the product
 * and the work of its eigenvalues. Measured. */
enum { FRECHET_MATRICES = 8 };

/* --eval_every: the reference's images where they lie in memory, as rows where metrics other than the Frechet distance ask for neighbours, and matrices. */
static void need_of_evaluation(plan *p, const char *data)
{
    const settings_values *v = &p->s->v;
    const char *reference = v->eval_reference[0] ? v->eval_reference : data;
    const dataset_options o = settings_dataset(p->s);
    dataset *d = NULL;
    if (!v->eval_every) return;
    const uint64_t dims = feature_dims(v->features, image_bytes(p, v->channels) / sizeof(float));
    const bool rows = strcmp(v->metrics, "auto") && strcmp(v->metrics, "fd");
    p->m.evaluation = FRECHET_MATRICES * dims * dims * sizeof(double);
    if (!reference[0] || dataset_open(reference, &o, &d) != DDPM_OK) return;         /* statistics, or what training will name */
    p->m.evaluation += dataset_held_bytes(d) + (rows ? (uint64_t)(dataset_count(d) + v->eval_samples) * dims * sizeof(double) : 0);
    dataset_close(d);
}

/* A run that goes on reads its checkpoint before it makes the network for grids. */
static ddpm_status need_of_resuming(plan *p)
{
    char path[MODEL_PATH_SIZE];
    const char *run = p->s->v.output;
    if (!run[0] || !file_is_dir(run)) return DDPM_OK;
    DDPM_TRY(checkpoint_newest(run, path));
    const uint64_t files = path[0] ? checkpoint_files(path) : 0;
    p->m.files = files > p->m.samples ? files - p->m.samples : 0;
    return DDPM_OK;
}

/* Activations and work buffers of the threads, also as they would be at the other levels of recomputation. */
static ddpm_status need_of_steps(plan *p)
{
    const nn_recompute chosen = p->net.recompute;
    const uint64_t buffers = (uint64_t)pool_threads(p->e.threads) * (uint64_t)p->chunk * 2 * (image_bytes(p, p->net.in_channels) + image_bytes(p, p->net.out_channels));
    for (int level = 0; level <= ACTIVATIONS_BLOCKS; level++) {
        network_need need;
        p->net.recompute = (nn_recompute)level;
        DDPM_TRY(measure_network(p, true, p->chunk, &need));
        p->by_level[level] = need.activations + buffers;
    }
    p->net.recompute = chosen;
    p->m.activations = p->by_level[chosen];
    return DDPM_OK;
}

static ddpm_status plan_train(plan *p, const char *data)
{
    settings_values *v = &p->s->v;
    network_need need;
    DDPM_TRY(read_data(p, data));
    p->batch = v->batch_size = v->batch_size ? v->batch_size : TRAIN_BATCH;
    if (v->leaves > v->batch_size) v->leaves = v->batch_size;
    DDPM_TRY(settings_resolve(p->s));
    p->net = settings_unet(p->s);
    DDPM_TRY(unet_check_trainable(&p->net));
    DDPM_TRY(sampling_check_training(p->s));
    p->chunk = train_chunk(p->s);
    p->steps = 1;
    DDPM_TRY(measure_network(p, true, p->chunk, &need));
    p->slab = need.len;
    p->parameters = need.parameters;
    p->m.weights = p->slab;
    p->m.optimiser = p->slab * (uint64_t)(2 + v->ema_rate.n);
    p->m.gradients = p->slab * (uint64_t)leaves_slabs(v->leaves, pool_threads(p->e.threads));
    p->m.packed = need.packed;
    p->m.saving = CHECKPOINT_BUFFERS * need.largest;
    DDPM_TRY(need_of_steps(p));
    need_of_data(p);
    p->checkpoint = (uint64_t)p->parameters * sizeof(float) * (uint64_t)(4 + v->ema_rate.n);
    DDPM_TRY(need_of_samples(p));
    need_of_evaluation(p, data);
    return need_of_resuming(p);
}

/* --- sample ------------------------------------------------------------------------------------------- */

static ddpm_status need_of_sampling(plan *p, const char *folder)
{
    const settings_values *v = &p->request->v;
    sampling how;
    network_need need;
    int told = 0;
    DDPM_TRY(sampling_new(p->s, p->request, &how));
    const ddpm_status status = sample_start_count(p->request, &how, &told, &p->calls);
    p->steps = told < how.steps.T ? told : how.steps.T;
    sampling_free(&how);
    DDPM_TRY(status);
    p->images = sample_sheet_images(p->request, p->s);
    p->batch = v->batch_size ? v->batch_size : SAMPLING_BATCH;
    if (p->batch > p->images) p->batch = p->images;
    p->chunk = sampling_chunk(p->net.height, p->net.width);
    DDPM_TRY(measure_network(p, false, p->chunk, &need));
    p->slab = need.len;
    p->parameters = need.parameters;
    p->m.weights = p->slab;
    p->m.packed = need.packed;
    p->m.activations = need.activations;
    p->m.samples = (uint64_t)p->batch * SAMPLER_BUFFERS * image_bytes(p, p->net.out_channels) +
                   (uint64_t)p->images * (uint64_t)(1 + sample_film_frames(p->request, told)) * image_bytes(p, p->s->v.channels) / sizeof(float);
    if (p->s->v.small_size) p->m.samples += (uint64_t)p->batch * (image_bytes(p, p->s->v.channels) + image_bytes(p, p->net.in_channels));
    /* The weights stay mapped; before anything else there is, the whole checkpoint is. */
    const uint64_t later = p->m.weights + p->m.packed + p->m.activations + p->m.samples, files = checkpoint_files(folder);
    const uint64_t own = file_bytes(folder, FILE_WEIGHTS), mapped = own ? own : p->slab;      /* of other kinds of file the size is not known */
    p->m.files = files > later + mapped ? files - later : mapped;
    return DDPM_OK;
}

static ddpm_status plan_sample(plan *p, const char *model)
{
    model_file *m = NULL;
    DDPM_TRY(model_open_with(model, p->request->v.weights, p->request, &m));
    *p->s = model_describe(m)->s;
    p->net = settings_unet(p->s);
    ddpm_status s = model_check_draws(m);
    if (s == DDPM_OK) s = need_of_sampling(p, model_describe(m)->path);
    if (s == DDPM_OK) s = need_of_guide(p, model_describe(m));
    model_close(m);
    return s;
}

/* --- results --------------------------------------------------------------------------------------------- */

static void row(FILE *f, json *o, const char *key, const char *label, uint64_t bytes)
{
    if (bytes) fprintf(f, "  %-38s %10.1f MB\n", label, (double)bytes / 1e6);
    json_put_int(o, key, (int64_t)bytes);
}

static void level_name(int level, char *text)
{
    settings_values v = { .checkpoint_activations = level };
    options_print(settings_options, &v, options_find(settings_options, "checkpoint_activations"), text);
}

static void print_levels(const plan *p, FILE *f, json *o)
{
    char name[OPTION_TEXT_SIZE];
    json *levels = json_new_object();
    fprintf(f, "activations by --checkpoint_activations:");
    for (int level = 0; level <= ACTIVATIONS_BLOCKS; level++) {
        level_name(level, name);
        fprintf(f, "%s %s %.1f MB", level ? "," : "", name, (double)p->by_level[level] / 1e6);
        json_put_int(levels, name, (int64_t)p->by_level[level]);
    }
    fprintf(f, "\n");
    level_name(p->s->v.checkpoint_activations, name);
    json_put_string(o, "checkpoint_activations", name);
    json_put(o, "activations_by_level", levels);
}

static void print_memory(const plan *p, FILE *f, json *o)
{
    const memory_need *m = &p->m;
    json *parts = json_new_object();
    fprintf(f, "memory %49.1f MB\n", (double)total(m) / 1e6);
    row(f, parts, "program", "program and libraries", m->program);
    row(f, parts, "weights", "weights", m->weights);
    row(f, parts, "packed", "weights as the kernels read them", m->packed);
    row(f, parts, "optimiser", "moments and averages", m->optimiser);
    row(f, parts, "gradients", "gradients", m->gradients);
    row(f, parts, "activations", "activations", m->activations);
    if (m->guide) row(f, parts, "classifier", "the classifier", m->guide);
    row(f, parts, "samples", p->train ? "grids and validation" : "images", m->samples);
    if (m->evaluation) row(f, parts, "evaluation", "evaluations", m->evaluation);
    row(f, parts, "data", "data, decoded", m->data);
    row(f, parts, "files", "mapped file", m->files);
    row(f, parts, "saving", "buffers to write a checkpoint", m->saving);
    json_put_int(o, "memory_bytes", (int64_t)total(m));
    json_put(o, "memory", parts);
    if (p->train) print_levels(p, f, o);
}

static void print_fit(const plan *p, FILE *f, json *o)
{
    const uint64_t all = measure_memory(), available = measure_available(), need = total(&p->m);
    fprintf(f, "machine %48.1f MB, %.1f MB of it free\n", (double)all / 1e6, (double)available / 1e6);
    if (need > all) fprintf(f, "It does not fit the memory of this machine; use %sa smaller --batch_size, --microbatch or network, or fewer --threads.\n",
                            p->train && p->net.recompute != NN_RECOMPUTE_BLOCKS ? "--checkpoint_activations blocks, " : "");
    else if (need > available) fprintf(f, "It does not fit what is free now.\n");
    json_put_int(o, "machine_bytes", (int64_t)all);
    json_put_int(o, "available_bytes", (int64_t)available);
    json_put_bool(o, "fits", need <= available);
}

static void print_disk(const plan *p, FILE *f, json *o)
{
    const settings_values *v = &p->request->v;
    uint64_t free_bytes;
    if (!p->train) return;
    fprintf(f, "a checkpoint %43.1f MB, %d are kept\n", (double)p->checkpoint / 1e6, v->keep);
    json_put_int(o, "checkpoint_bytes", (int64_t)p->checkpoint);
    json_put_int(o, "disk_bytes", (int64_t)p->checkpoint * (v->keep + 1));
    if (dir_free_bytes(v->output[0] && file_is_dir(v->output) ? v->output : ".", &free_bytes) != DDPM_OK) return;
    json_put_int(o, "disk_free_bytes", (int64_t)free_bytes);
    if (free_bytes < p->checkpoint * (uint64_t)(v->keep + 1)) fprintf(f, "The disk has only %.1f MB free.\n", (double)free_bytes / 1e6);
}

static void print_time(const plan *p, FILE *f, json *o)
{
    if (p->per_image <= 0) {
        fprintf(f, "There is not enough free memory to measure the time.\n");
        return;
    }
    const double step = step_seconds(p);
    json_put_real(o, "seconds_per_step", step);
    if (p->train) {
        const int64_t steps = p->s->v.steps ? p->s->v.steps : p->s->v.lr_anneal_steps;
        fprintf(f, "a step of %d images %36.2f s, %.1f images/s\n", p->batch, step, p->batch / step);
        if (steps) fprintf(f, "%lld steps %46.1f hours\n", (long long)steps, step * (double)steps / 3600);
        if (steps) json_put_real(o, "seconds", step * (double)steps);
        return;
    }
    const int batches = (p->images + p->batch - 1) / p->batch;
    fprintf(f, "%d images of %d steps %34.1f s\n", p->images, p->steps, step * p->calls * batches);
    json_put_int(o, "network_calls", (int64_t)p->calls * batches);
    json_put_real(o, "seconds", step * p->calls * batches);
}

static ddpm_status print(const plan *p, char **text, json **summary)
{
    size_t size;
    json *o = json_new_object();
    FILE *f = open_memstream(text, &size);
    if (!f || !o) return ddpm_fail(DDPM_ENOMEM, "no memory for a report");
    json_put_string(o, "schema", "ddpm-plan-1");
    json_put_string(o, "command", p->train ? "train" : "sample");
    json_put_int(o, "parameters", (int64_t)p->parameters);
    json_put_string(o, "precision", engine_precision(&p->e));
    json_put_string(o, "isa", p->e.backend->isa);
    json_put_int(o, "threads", pool_threads(p->e.threads));
    fprintf(f, "%zu parameters, %d threads, %s, chunks of %d images\n", p->parameters, pool_threads(p->e.threads), engine_precision(&p->e), p->chunk);
    print_memory(p, f, o);
    print_fit(p, f, o);
    print_disk(p, f, o);
    print_time(p, f, o);
    fclose(f);
    *summary = o;
    return DDPM_OK;
}

/* What is not in the sums: stacks, tables of the plans, decoders, the allocator's own. Measured. */
static const uint64_t TRAIN_OVERHEAD = 4 << 20, SAMPLE_OVERHEAD = 3 << 19;

static ddpm_status plan_command(plan *p, const char *subject)
{
    DDPM_TRY(engine_new(p->request, &p->e));
    p->m.program = measure_rss() + (p->train ? TRAIN_OVERHEAD : SAMPLE_OVERHEAD);
    DDPM_TRY(p->train ? plan_train(p, subject) : plan_sample(p, subject));
    return measure_time(p);
}

ddpm_status tool_plan(settings *s, const char *command, const char *subject, char **text, json **summary)
{
    settings *model = malloc(sizeof *model);
    if (!model) return ddpm_fail(DDPM_ENOMEM, "no memory for a plan");
    *model = *s;
    plan p = { .s = model, .request = s, .train = !strcmp(command, "train") };
    ddpm_status status = plan_command(&p, subject);
    if (status == DDPM_OK) status = print(&p, text, summary);
    engine_free(&p.e);
    free(model);
    return status;
}
