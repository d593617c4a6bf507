#include "api/classifier.h"

#include "api/network.h"
#include "api/sampling.h"
#include "diffusion/cross_entropy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Noise levels of float schedules differ from those of double ones in the sixth digit. */
static const double SAME_LEVEL = 1e-4;

/* What one thread computes gradients with. */
typedef struct { nn_plan *plan; float *dlogits; } slope;

struct classifier {
    model_file      *file;
    const engine    *e;
    classifier_facts facts;
    schedule         full;
    process          p;
    int              chunk;
    int64_t          calls;

    network          net;                      /* features and logits; net.net NULL: not made yet */
    float          **images;                   /* [workers] chunk images as floats, and zeros for their times behind */

    nn_graph        *graph;                    /* gradients by x; NULL: not made yet */
    unet             u;
    float           *values;
    nn_weights      *weights;
    slope           *slopes;                   /* [workers] */
};

static int    workers_of(const classifier *c) { return pool_threads(c->e->threads); }
static size_t image_len(const classifier *c)  { return (size_t)c->facts.height * (size_t)c->facts.width * (size_t)c->facts.channels; }

static ddpm_status no_memory(const classifier *c) { return ddpm_fail(DDPM_ENOMEM, "no memory for the classifier %s", c->facts.model->path); }

/* --- opening ------------------------------------------------------------------------------ */

static ddpm_status take_facts(classifier *c)
{
    const model_description *d = model_describe(c->file);
    const unet_config u = settings_unet(&d->s);
    if (!u.classes_out) return ddpm_fail(DDPM_EINVAL, "%s is no classifier but a diffusion model; `ddpm classifier train` makes one", d->path);
    c->facts = (classifier_facts){ .model = d, .height = u.height, .width = u.width, .channels = u.in_channels, .classes = u.classes_out,
                                   .dims = u.channels[u.levels - 1] };
    c->chunk = sampling_chunk(u.height, u.width);
    DDPM_TRY(sampling_process(&d->s, &c->full, &c->p));
    return model_fingerprint(c->file, c->facts.fingerprint);
}

ddpm_status classifier_open(const char *run, const engine *e, classifier **out)
{
    *out = NULL;
    classifier *c = calloc(1, sizeof *c);
    if (!c) return ddpm_fail(DDPM_ENOMEM, "no memory to open %s", run);
    c->e = e;
    ddpm_status status = model_open(run, WEIGHTS_EMA, &c->file);
    if (status == DDPM_OK) status = take_facts(c);
    if (status == DDPM_OK) *out = c;
    else classifier_close(c);
    return status;
}

static void drop_features(classifier *c)
{
    for (int i = 0; c->images && i < workers_of(c); i++) free(c->images[i]);
    free(c->images);
    c->images = NULL;
    network_free(&c->net);
}

static void drop_gradients(classifier *c)
{
    for (int i = 0; c->slopes && i < workers_of(c); i++) {
        nn_plan_free(c->slopes[i].plan);
        free(c->slopes[i].dlogits);
    }
    free(c->slopes);
    nn_weights_free(c->weights);
    free(c->values);
    nn_graph_free(c->graph);
    c->slopes = NULL;
    c->weights = NULL;
    c->values = NULL;
    c->graph = NULL;
}

void classifier_close(classifier *c)
{
    if (!c) return;
    drop_features(c);
    drop_gradients(c);
    schedule_free(&c->full);
    model_close(c->file);
    free(c);
}

const classifier_facts *classifier_about(const classifier *c) { return &c->facts; }
int64_t classifier_calls(const classifier *c) { return c->calls; }

static size_t weights_bytes(const classifier *c, const nn_graph *g, bool backward)
{
    return g->params.len * sizeof(float) + nn_weights_bytes(g, c->e->backend, backward);
}

size_t classifier_bytes(const classifier *c)
{
    size_t total = 0;
    if (c->images) total += weights_bytes(c, denoiser_graph(c->net.net), false) + denoiser_bytes(c->net.net);
    if (c->weights) total += weights_bytes(c, c->graph, true);
    for (int i = 0; c->weights && i < workers_of(c); i++) total += nn_plan_bytes(c->slopes[i].plan);
    return total;
}

/* --- for which models ----------------------------------------------------------------------- */

static bool same_levels(const schedule *a, const schedule *b)
{
    for (int i = 0; i < a->T; i++) {
        const double x = a->alphas_cumprod[i], y = b->alphas_cumprod[i];
        if (fabs(x - y) > SAME_LEVEL * fmax(x, y)) return false;
    }
    return true;
}

static const char *schedule_word(const settings *s, char text[OPTION_TEXT_SIZE])
{
    options_print(settings_options, &s->v, options_find(settings_options, "noise_schedule"), text);
    return text;
}

static ddpm_status fits_process(const classifier *c, const model_description *m, const process *p)
{
    const char *path = c->facts.model->path;
    char own[OPTION_TEXT_SIZE], its[OPTION_TEXT_SIZE];
    if (c->full.T != p->s->T)
        return ddpm_fail(DDPM_EINVAL, "--classifier %s was trained on T = %d timesteps of noise and %s on T = %d; train one with --diffusion_steps %d", path,
                         c->full.T, m->path, p->s->T, p->s->T);
    if (!same_levels(&c->full, p->s))
        return ddpm_fail(DDPM_EINVAL, "--classifier %s was trained on other amounts of noise (schedule %s) than %s (schedule %s); train one with the model's "
                                      "schedule", path, schedule_word(&c->facts.model->s, own), m->path, schedule_word(&m->s, its));
    if (c->full.T != 1000 && c->p.rescale_timesteps != p->rescale_timesteps)
        return ddpm_fail(DDPM_EINVAL, "--classifier %s was trained with --rescale_timesteps %s and %s was not; train one that counts timesteps as the model does", path,
                         c->p.rescale_timesteps ? "true" : "false", m->path);
    return DDPM_OK;
}

/* Numbers are what the two have in common; names, where both have them, say whether these mean the same. */
static ddpm_status fits_classes(const classifier *c, const model_description *m)
{
    const model_description *own = c->facts.model;
    if (!m->s.v.class_cond) return DDPM_OK;
    if (m->s.v.num_classes != c->facts.classes)
        return ddpm_fail(DDPM_EINVAL, "--classifier %s tells %d classes apart and %s has %d; train one on the model's classes", own->path, c->facts.classes, m->path,
                         m->s.v.num_classes);
    for (int i = 0; i < c->facts.classes && i < own->n_class_names && i < m->n_class_names; i++)
        if (strcmp(own->class_names[i], m->class_names[i]))
            return ddpm_fail(DDPM_EINVAL, "class %d of --classifier %s is \"%.60s\" and of %s \"%.60s\"; train one on the model's classes", i, own->path,
                             own->class_names[i], m->path, m->class_names[i]);
    return DDPM_OK;
}

ddpm_status classifier_fits(const classifier *c, const model_description *m)
{
    const classifier_facts *f = &c->facts;
    const int h = m->s.v.image_size.v[0], w = m->s.v.image_size.v[1];
    schedule full;
    process p;
    if (!f->model->s.v.noised)
        return ddpm_fail(DDPM_EINVAL, "--classifier %s was trained with --noised false and has seen no noisy images; train one without that", f->model->path);
    if (f->height != h || f->width != w || f->channels != m->s.v.channels)
        return ddpm_fail(DDPM_EINVAL, "--classifier %s knows images of %dx%d with %d channels and %s draws %dx%d with %d; train one on images of the model's "
                                      "size", f->model->path, f->height, f->width, f->channels, m->path, h, w, m->s.v.channels);
    DDPM_TRY(fits_classes(c, m));
    DDPM_TRY(sampling_process(&m->s, &full, &p));
    const ddpm_status status = fits_process(c, m, &p);
    schedule_free(&full);
    return status;
}

/* --- a call on all threads -------------------------------------------------------------------- */

/* Images that go to the workers in equal pieces. */
typedef struct {
    classifier    *c;
    int            n, piece;
    const uint8_t *bytes;                      /* of features */
    float         *features, *logits;          /* or NULL     */
    const float   *t, *x;                      /* of gradients */
    const int     *y;
    float         *grad;
    ddpm_status    status;
} class_job;

/* As few rounds of all workers as chunks allow, so that nobody waits for a last, larger piece. */
static ddpm_status run_job(class_job *job, void (*run)(void *ctx, int task, int worker))
{
    const int workers = workers_of(job->c), round = workers * job->c->chunk, pieces = ((job->n - 1) / round + 1) * workers;
    job->piece = (job->n - 1) / pieces + 1;
    pool_run(job->c->e->threads, (job->n - 1) / job->piece + 1, run, job);
    if (job->status == DDPM_OK) return DDPM_OK;
    return ddpm_fail(job->status, "running the classifier %s failed: %s", job->c->facts.model->path, ddpm_strerror(job->status));
}

static int piece_size(const class_job *job, int first) { return job->n - first < job->piece ? job->n - first : job->piece; }

static void note(class_job *job, ddpm_status s)
{
    if (s != DDPM_OK) __atomic_store_n(&job->status, s, __ATOMIC_RELAXED);
}

/* --- features ------------------------------------------------------------------------------------ */

static ddpm_status make_features(classifier *c)
{
    DDPM_TRY(network_load(c->file, c->e, &c->net));
    const size_t workers = (size_t)workers_of(c), chunk = (size_t)c->chunk;
    c->images = calloc(workers, sizeof *c->images);
    if (!c->images) return no_memory(c);
    for (size_t i = 0; i < workers; i++) {
        c->images[i] = calloc(chunk * (image_len(c) + 1), sizeof **c->images);
        if (!c->images[i]) return no_memory(c);
    }
    return DDPM_OK;
}

static ddpm_status prepare_features(classifier *c)
{
    if (c->images) return DDPM_OK;
    const ddpm_status status = make_features(c);
    if (status != DDPM_OK) drop_features(c);
    return status;
}

static ddpm_status features_of(const class_job *job, int first, int n, int worker)
{
    const classifier *c = job->c;
    const size_t at = (size_t)first, len = (size_t)n * image_len(c);
    const uint8_t *bytes = job->bytes + at * image_len(c);
    denoiser *d = c->net.net;
    const unet *u = denoiser_unet(d);
    nn_plan *plan = denoiser_plan(d, worker);
    float *x = c->images[worker];
    for (size_t i = 0; i < len; i++) x[i] = (float)bytes[i] / 127.5f - 1;
    nn_plan_bind(plan, c->net.weights, NULL);
    DDPM_TRY(nn_plan_set(plan, u->x, n, x));
    DDPM_TRY(nn_plan_set(plan, u->t, n, x + (size_t)c->chunk * image_len(c)));
    DDPM_TRY(nn_plan_forward(plan, n));
    if (job->features) DDPM_TRY(nn_plan_get(plan, u->features, n, job->features + at * (size_t)c->facts.dims));
    return job->logits ? nn_plan_get(plan, u->out, n, job->logits + at * (size_t)c->facts.classes) : DDPM_OK;
}

static void run_features(void *ctx, int task, int worker)
{
    class_job *job = ctx;
    const int first = task * job->piece;
    note(job, features_of(job, first, piece_size(job, first), worker));
}

ddpm_status classifier_features(classifier *c, const uint8_t *images, int count, int h, int w, int channels, float *features, float *logits)
{
    const classifier_facts *f = &c->facts;
    class_job job = { .c = c, .n = count, .bytes = images, .features = features, .logits = logits };
    if (h != f->height || w != f->width || channels != f->channels)
        return ddpm_fail(DDPM_EINVAL, "the classifier %s knows images of %dx%d with %d channels, and these are %dx%d with %d; resize them first, or train one "
                                      "on images of their size", f->model->path, f->height, f->width, f->channels, h, w, channels);
    if (count < 1) return DDPM_OK;
    DDPM_TRY(prepare_features(c));
    return run_job(&job, run_features);
}

/* --- gradients -------------------------------------------------------------------------------------- */

static ddpm_status make_gradients(classifier *c)
{
    const unet_config config = settings_unet(&c->facts.model->s);
    const size_t workers = (size_t)workers_of(c);
    c->graph = nn_graph_new(c->e->dtype);
    c->slopes = calloc(workers, sizeof *c->slopes);
    if (!c->graph || !c->slopes) return no_memory(c);
    c->u = unet_build(c->graph, &config, c->chunk, false, true);
    DDPM_TRY(nn_graph_status(c->graph));
    c->values = calloc(c->graph->params.len, sizeof *c->values);
    if (!c->values) return no_memory(c);
    DDPM_TRY(model_load(c->file, &c->graph->params, c->values));
    for (size_t i = 0; i < workers; i++) {
        c->slopes[i].dlogits = calloc((size_t)c->chunk * (size_t)c->facts.classes, sizeof(float));
        if (!c->slopes[i].dlogits) return no_memory(c);
        DDPM_TRY(nn_plan_new(c->graph, c->e->backend, NN_TRAIN, c->u.out, &c->slopes[i].plan));
    }
    return nn_weights_new(c->graph, c->e->backend, c->values, true, &c->weights);
}

static ddpm_status prepare_gradients(classifier *c)
{
    if (c->weights) return DDPM_OK;
    const ddpm_status status = make_gradients(c);
    if (status != DDPM_OK) drop_gradients(c);
    return status;
}

static ddpm_status gradients_of(const class_job *job, int first, int n, int worker)
{
    const classifier *c = job->c;
    const size_t at = (size_t)first, len = image_len(c);
    nn_plan *plan = c->slopes[worker].plan;
    float *dlogits = c->slopes[worker].dlogits;
    nn_plan_bind(plan, c->weights, NULL);
    DDPM_TRY(nn_plan_set(plan, c->u.x, n, job->x + at * len));
    DDPM_TRY(nn_plan_set(plan, c->u.t, n, job->t + at));
    DDPM_TRY(nn_plan_forward(plan, n));
    DDPM_TRY(nn_plan_get(plan, c->u.out, n, dlogits));
    for (int k = 0; k < n; k++) {
        float *of = dlogits + (size_t)k * (size_t)c->facts.classes;
        cross_entropy(c->facts.classes, of, job->y[first + k], -1, of);
    }
    DDPM_TRY(nn_plan_backward(plan, n, dlogits, false));
    return nn_plan_get_grad(plan, c->u.x, n, job->grad + at * len);
}

static void run_gradients(void *ctx, int task, int worker)
{
    class_job *job = ctx;
    const int first = task * job->piece;
    note(job, gradients_of(job, first, piece_size(job, first), worker));
}

ddpm_status classifier_gradient(void *ctx, int n, const float *t, const int *y, const float *x, float *grad)
{
    classifier *c = ctx;
    class_job job = { .c = c, .n = n, .t = t, .x = x, .y = y, .grad = grad };
    for (int k = 0; k < n; k++)
        if (!y || y[k] < 0 || y[k] >= c->facts.classes)
            return ddpm_fail(DDPM_EINVAL, "a classifier leads to a class, one of 0 to %d, and image %d has none of them", c->facts.classes - 1, k);
    DDPM_TRY(prepare_gradients(c));
    c->calls++;
    return run_job(&job, run_gradients);
}
