#include "train/trainer.h"

#include "base/clock.h"
#include "base/fixmath.h"
#include "base/rng.h"
#include "diffusion/cross_entropy.h"
#include "model/upsampler.h"
#include "train/leaves.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Work buffers of one worker, `chunk` images each. An up-sampler's input is x_t joined with the enlarged small image;
 * small and enlarged hold one image. spent: seconds by part, when they are measured. */
typedef struct { float *xt, *noise, *out, *dout, *t, *input, *small, *enlarged; int *y, *key; double spent[TRAIN_PARTS]; } workspace;

struct trainer {
    trainer_config c;
    pool          *p;
    denoiser      *d;
    nn_weights    *w;
    nn_backend    *b;
    trainer_state  state;
    leaves        *leaves;           /* gradients                             */
    double        *lengths;          /* [leaves] of their gradients, when they are measured */
    workspace     *work;             /* by worker                             */
    second_moment  moments;          /* empty unless timesteps are drawn by it */
    float         *losses;           /* [batch] for its history               */
    loss_terms    *terms;            /* [batch]                               */
    int           *rows;             /* [batch]                               */
    class_terms   *guesses;          /* [batch] of a classifier, else NULL    */
    upsampler_dims dims;             /* of an image; small 0: an ordinary network */
    int            pixels, channels, classes, null_class;    /* classes: of a classifier, else 0 */
    size_t         image_len, out_len;    /* values of an image and of its output */
    size_t         work_bytes;
    bool           profile;
    train_times    times;
};

static float *slab(size_t len)
{
    void *p = NULL;
    if (posix_memalign(&p, 64, (len ? len : 1) * sizeof(float))) return NULL;
    memset(p, 0, len * sizeof(float));
    return p;
}

static bool alloc_workspace(trainer *tr, workspace *w)
{
    const size_t n = (size_t)tr->c.chunk, image = tr->image_len, wide = tr->out_len;
    *w = (workspace){ .xt = slab(n * image), .noise = slab(n * image), .out = slab(n * wide), .dout = slab(n * wide),
                      .t = slab(n), .y = calloc(n, sizeof(int)), .key = calloc(4 * n, sizeof(int)) };
    tr->work_bytes += n * 2 * (image + wide) * sizeof(float);
    const bool ok = w->xt && w->noise && w->out && w->dout && w->t && w->y && w->key;
    if (!tr->dims.small || !ok) return ok;
    const size_t small = (size_t)(tr->dims.small * tr->dims.small * tr->channels);
    w->input = slab(2 * n * image);
    w->small = slab(small);
    w->enlarged = slab(image);
    tr->work_bytes += (2 * n * image + small + image) * sizeof(float);
    return w->input && w->small && w->enlarged;
}

static ddpm_status allocate(trainer *tr)
{
    trainer_state *s = &tr->state;
    const size_t len = s->params->len;
    bool ok = (s->value = slab(len)) && (s->m = slab(len)) && (s->v = slab(len));
    for (int k = 0; k < s->n_ema && ok; k++) ok = (s->ema[k] = slab(len)) != NULL;
    ok = ok && (tr->lengths = calloc((size_t)tr->c.leaves, sizeof *tr->lengths));
    ok = ok && (tr->work = calloc((size_t)pool_threads(tr->p), sizeof *tr->work));
    for (int k = 0; k < pool_threads(tr->p) && ok; k++) ok = alloc_workspace(tr, &tr->work[k]);
    ok = ok && (tr->terms = calloc((size_t)tr->c.batch, sizeof *tr->terms)) && (tr->rows = calloc((size_t)tr->c.batch, sizeof *tr->rows));
    ok = ok && (!tr->classes || (tr->guesses = calloc((size_t)tr->c.batch, sizeof *tr->guesses)));
    ok = ok && leaves_new(tr->c.leaves, pool_threads(tr->p), len, &tr->leaves) == DDPM_OK;
    return ok ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for training %zu parameters; use a smaller network", nn_params_total(s->params));
}

static ddpm_status allocate_moments(trainer *tr)
{
    if (tr->c.timesteps != TIMESTEPS_SECOND_MOMENT) return DDPM_OK;
    DDPM_TRY(second_moment_new(tr->c.p->s->T, &tr->moments));
    tr->state.moments = &tr->moments;
    tr->losses = calloc((size_t)tr->c.batch, sizeof *tr->losses);
    return tr->losses ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the losses of a step");
}

static ddpm_status check(const unet_config *net, const trainer_config *c)
{
    if (c->batch < 1) return ddpm_fail(DDPM_EINVAL, "batch_size is %d; it must be positive", c->batch);
    if (c->leaves < 1 || c->leaves > c->batch) return ddpm_fail(DDPM_EINVAL, "leaves is %d; with batch_size %d it must be 1 to %d", c->leaves, c->batch, c->batch);
    assert(c->chunk >= 1 && c->n_ema <= OPTIM_MAX_EMA);
    if (c->min_snr_gamma > 0) DDPM_TRY(min_snr_check(c->p, c->min_snr_gamma));
    return net->classes_out ? DDPM_OK : loss_check(c->loss, c->p);
}

static ddpm_status build(trainer *tr, const unet_config *net, nn_backend *b, nn_dtype dtype)
{
    DDPM_TRY(denoiser_new(net, b, tr->p, dtype, NN_TRAIN, tr->c.chunk, &tr->d));
    const nn_graph *g = denoiser_graph(tr->d);
    tr->state.params = &g->params;
    tr->out_len = nn_image_len(denoiser_unet(tr->d)->out->shape);
    DDPM_TRY(allocate(tr));
    DDPM_TRY(allocate_moments(tr));
    nn_params_init(&g->params, tr->c.seed, tr->state.value);
    for (int k = 0; k < tr->state.n_ema; k++) memcpy(tr->state.ema[k], tr->state.value, g->params.len * sizeof(float));
    return nn_weights_new(g, b, tr->state.value, true, &tr->w);
}

static int image_channels(const unet_config *net, const process *p)
{
    if (net->classes_out) return net->in_channels;
    return net->out_channels / (process_learns_variance(p) ? 2 : 1);
}

ddpm_status trainer_new(const unet_config *net, const trainer_config *c, nn_backend *b, pool *p, nn_dtype dtype, trainer **out)
{
    *out = NULL;
    DDPM_TRY(check(net, c));
    trainer *tr = calloc(1, sizeof *tr);
    if (!tr) return ddpm_fail(DDPM_ENOMEM, "no memory for the trainer");
    *tr = (trainer){ .c = *c, .p = p, .b = b, .pixels = net->height * net->width, .channels = image_channels(net, c->p), .classes = net->classes_out,
                     .null_class = net->num_classes };
    tr->image_len = (size_t)(tr->pixels * tr->channels);
    tr->dims = (upsampler_dims){ net->height, net->width, tr->channels, c->small_size };
    assert(net->in_channels == tr->channels * (c->small_size ? 2 : 1));
    if (tr->c.microbatch <= 0) tr->c.microbatch = c->batch;
    tr->state.n_ema = c->n_ema;
    const ddpm_status s = build(tr, net, b, dtype);
    if (s != DDPM_OK) {
        trainer_free(tr);
        return s;
    }
    *out = tr;
    return DDPM_OK;
}

static void free_workspace(workspace *w)
{
    free(w->xt); free(w->noise); free(w->out); free(w->dout); free(w->t); free(w->y); free(w->key);
    free(w->input); free(w->small); free(w->enlarged);
}

void trainer_free(trainer *tr)
{
    if (!tr) return;
    for (int k = 0; tr->work && k < pool_threads(tr->p); k++) free_workspace(&tr->work[k]);
    leaves_free(tr->leaves);
    for (int k = 0; k < tr->state.n_ema; k++) free(tr->state.ema[k]);
    free(tr->state.value); free(tr->state.m); free(tr->state.v);
    free(tr->work); free(tr->lengths); free(tr->terms); free(tr->rows); free(tr->losses); free(tr->guesses);
    second_moment_free(&tr->moments);
    nn_weights_free(tr->w);
    denoiser_free(tr->d);
    free(tr);
}

/* --- times ---------------------------------------------------------------------- */

static double lap_begin(const trainer *tr) { return tr->profile ? clock_now() : 0; }

/* The time since *from, on `threads` threads, was a part's; *from becomes now. */
static void lap(const trainer *tr, double *from, int threads, double *part)
{
    if (!tr->profile) return;
    const double now = clock_now();
    *part += threads * (now - *from);
    *from = now;
}

void trainer_profile(trainer *tr, bool on)
{
    tr->profile = on;
    tr->times = (train_times){ .total = 0 };
    for (int k = 0; k < pool_threads(tr->p); k++) {
        memset(tr->work[k].spent, 0, sizeof tr->work[k].spent);
        nn_plan_profile(denoiser_plan(tr->d, k), on);
    }
}

train_times trainer_times(const trainer *tr)
{
    train_times t = tr->times;
    for (int part = 0; part < TRAIN_PARTS; part++)
        for (int k = 0; k < pool_threads(tr->p); k++) {
            t.part[part] += tr->work[k].spent[part];
            t.part[TRAIN_IDLE] -= tr->work[k].spent[part];      /* until here all of the leaves' time */
        }
    return t;
}

denoiser *trainer_denoiser(trainer *tr) { return tr->d; }

/* --- the leaves ------------------------------------------------------------------- */

/* What the tasks of one step share. */
typedef struct { trainer *tr; const train_batch *batch; ddpm_status status; } step_job;

/* How much the loss of sample i, whose row is drawn, counts. */
static double importance(const trainer *tr, const train_batch *batch, int i)
{
    if (batch->weight) return (double)batch->weight[i];
    return tr->state.moments ? (double)second_moment_loss_weight(tr->state.moments, tr->rows[i]) : 1.0;
}

/* Factor of sample i's gradient: its share of the mean, times its importance weight, times that of its timestep. */
static double sample_weight(const trainer *tr, const train_batch *batch, int i)
{
    const int B = tr->c.batch, m = tr->c.microbatch;
    const int first = i / m * m, size = tr->c.microbatch_sum ? (B - first < m ? B - first : m) : B;
    const double level = tr->c.min_snr_gamma > 0 ? min_snr_weight(tr->c.p, tr->rows[i], tr->c.min_snr_gamma) : 1;
    return level * importance(tr, batch, i) / size;
}

static int draw_row(const trainer *tr, uint64_t step, int i)
{
    const uint64_t B = (uint64_t)tr->c.batch, sample = (uint64_t)i;
    const int T = tr->c.p->s->T;
    if (tr->c.clean) return 0;
    if (tr->state.moments) return second_moment_draw(tr->state.moments, tr->c.seed, step, sample);
    return tr->c.timesteps == TIMESTEPS_ANTITHETIC ? timestep_antithetic(tr->c.seed, step, sample, B, T)
                                                   : timestep_uniform(tr->c.seed, step, sample, T);
}

/* The network's input in place k: x_t beside the small version of the clean image x_0. */
static void join_condition(const trainer *tr, const float *x0, int k, workspace *w)
{
    const size_t at = (size_t)k * tr->image_len;
    upsampler_condition(tr->dims, x0, w->small, w->enlarged);
    upsampler_join((size_t)tr->pixels, tr->channels, w->xt + at, w->enlarged, w->input + 2 * at);
}

/* Noise and x_t of sample i in place k, at its row. */
static void add_noise(const trainer *tr, const train_batch *batch, int i, int k, workspace *w)
{
    const size_t len = tr->image_len, at = (size_t)k * len;
    const rng_address noise = { tr->c.seed, RNG_NOISE, (uint64_t)tr->state.step, (uint64_t)i };
    const float *x0 = batch->x + (size_t)i * len;
    if (tr->c.clean) {
        memcpy(w->xt + at, x0, len * sizeof(float));
        return;
    }
    if (batch->noise) memcpy(w->noise + at, batch->noise + (size_t)i * len, len * sizeof(float));
    else rng_normals(noise, 0, len, w->noise + at);
    q_sample(tr->c.p->s, tr->rows[i], len, x0, w->noise + at, w->xt + at);
}

/* Algorithm 1, lines 2 to 4, for sample i in place k of the chunk: t, eps, x_t. */
static void corrupt(trainer *tr, const train_batch *batch, int i, int k, workspace *w)
{
    const uint64_t step = (uint64_t)tr->state.step;
    const rng_address label = { tr->c.seed, RNG_LABEL, step, (uint64_t)i };
    tr->rows[i] = batch->t ? batch->t[i] : draw_row(tr, step, i);
    w->t[k] = process_model_t(tr->c.p, tr->rows[i]);
    add_noise(tr, batch, i, k, w);
    if (batch->y) w->y[k] = rng_uniform(label, 0) < tr->c.label_dropout ? tr->null_class : batch->y[i];
    const int key[4] = { (int)(uint32_t)tr->c.seed, (int)(uint32_t)(tr->c.seed >> 32), (int)(uint32_t)step, i };
    memcpy(w->key + 4 * k, key, sizeof key);
    if (tr->dims.small) join_condition(tr, batch->x + (size_t)i * tr->image_len, k, w);
}

static void measure_class(trainer *tr, const train_batch *batch, int i, int k, workspace *w)
{
    const size_t at = (size_t)k * tr->out_len;
    tr->guesses[i] = cross_entropy(tr->classes, w->out + at, batch->y[i], sample_weight(tr, batch, i), w->dout + at);
    tr->terms[i] = (loss_terms){ .loss = tr->guesses[i].loss };
}

static void measure_image(trainer *tr, const train_batch *batch, int i, int k, workspace *w)
{
    const size_t len = tr->image_len, wide = tr->out_len, at = (size_t)k;
    const loss_input in = { .p = tr->c.p, .type = tr->c.loss, .i = tr->rows[i], .dims = { tr->pixels, tr->channels },
                            .weight = sample_weight(tr, batch, i), .x0 = batch->x + (size_t)i * len, .xt = w->xt + at * len,
                            .noise = w->noise + at * len, .out = w->out + at * wide };
    loss_eval(&in, &tr->terms[i], w->dout + at * wide);
}

/* Samples first .. first + n - 1: forward, loss, backward into the leaf's slab. */
static ddpm_status run_chunk(step_job *job, int worker, int first, int n, float *grads, bool accumulate)
{
    trainer *tr = job->tr;
    workspace *w = &tr->work[worker];
    double at = lap_begin(tr);
    for (int k = 0; k < n; k++) corrupt(tr, job->batch, first + k, k, w);
    lap(tr, &at, 1, &w->spent[TRAIN_CORRUPT]);
    const denoiser_input in = { .n = n, .x = tr->dims.small ? w->input : w->xt, .t = w->t, .y = w->y, .key = w->key };
    DDPM_TRY(denoiser_forward(tr->d, worker, tr->w, in, w->out));
    lap(tr, &at, 1, &w->spent[TRAIN_FORWARD]);
    for (int k = 0; k < n; k++) (tr->classes ? measure_class : measure_image)(tr, job->batch, first + k, k, w);
    lap(tr, &at, 1, &w->spent[TRAIN_LOSS]);
    const ddpm_status status = denoiser_backward(tr->d, worker, tr->w, n, w->dout, grads, accumulate);
    lap(tr, &at, 1, &w->spent[TRAIN_BACKWARD]);
    return status;
}

static void run_leaf(void *ctx, int leaf, int worker)
{
    step_job *job = ctx;
    const trainer *tr = job->tr;
    const int64_t B = tr->c.batch, K = tr->c.leaves;
    const int begin = (int)(leaf * B / K), end = (int)((leaf + 1) * B / K);
    double at = lap_begin(tr);
    float *grads = leaves_take(tr->leaves, leaf);
    lap(tr, &at, 1, &tr->work[worker].spent[TRAIN_ADD]);
    for (int i = begin; i < end; i += tr->c.chunk) {
        const int n = end - i < tr->c.chunk ? end - i : tr->c.chunk;
        const ddpm_status s = run_chunk(job, worker, i, n, grads, i > begin);
        if (s != DDPM_OK) __atomic_store_n(&job->status, s, __ATOMIC_RELAXED);
    }
    at = lap_begin(tr);
    if (job->batch->measure_noise) tr->lengths[leaf] = optim_norm(grads, tr->state.params->len, NULL);
    lap(tr, &at, 1, &tr->work[worker].spent[TRAIN_NORM]);
    leaves_finish(tr->leaves, leaf);
}

/* What turns a sum of leaves into the mean over its images times their share of the batch; 0: images count unequally. */
static double mean_factor(const trainer *tr)
{
    const int B = tr->c.batch, m = tr->c.microbatch;
    if (!tr->c.microbatch_sum || m >= B) return 1;
    return B % m == 0 ? (double)m / B : 0;
}

static void measure_leaves(const trainer *tr, noise_parts *parts)
{
    const int64_t B = tr->c.batch, K = tr->c.leaves;
    for (int64_t l = 0; l < K; l++) {
        const int n = (int)((l + 1) * B / K - l * B / K);
        const double length = tr->lengths[l] * mean_factor(tr) * (double)B / n;
        noise_add(parts, length * length, n);
    }
}

static void report_losses(const trainer *tr, const train_batch *batch, step_report *r)
{
    const int T = tr->c.p->s->T;
    double sum[TRAIN_QUARTILES] = { 0 };
    for (int i = 0; i < tr->c.batch; i++) {
        const double share = importance(tr, batch, i) / tr->c.batch;
        const int q = (int)((int64_t)TRAIN_QUARTILES * tr->rows[i] / T);
        r->loss += share * tr->terms[i].loss;
        r->mse += share * tr->terms[i].mse;
        r->vb += share * tr->terms[i].vb;
        sum[q] += tr->terms[i].loss;
        r->quartile_count[q]++;
    }
    for (int q = 0; q < TRAIN_QUARTILES; q++)
        r->quartile_loss[q] = r->quartile_count[q] ? sum[q] / r->quartile_count[q] : 0;
}

static void report_guesses(const trainer *tr, const train_batch *batch, step_report *r)
{
    const int T = tr->c.p->s->T;
    r->classifier = true;
    for (int i = 0; i < tr->c.batch; i++) {
        const double weight = importance(tr, batch, i);
        r->top1 += weight * tr->guesses[i].top1;
        r->top5 += weight * tr->guesses[i].top5;
        r->quartile_top1[(int)((int64_t)TRAIN_QUARTILES * tr->rows[i] / T)] += tr->guesses[i].top1;
    }
    r->top1 /= tr->c.batch;
    r->top5 /= tr->c.batch;
    for (int q = 0; q < TRAIN_QUARTILES; q++) r->quartile_top1[q] /= r->quartile_count[q] ? r->quartile_count[q] : 1;
}

double trainer_rate(const trainer_config *c, int64_t step)
{
    const double part = c->anneal_steps > 0 ? fmin(1, (double)step / (double)c->anneal_steps) : 0;
    double lr = c->adam.lr;
    if (c->schedule == RATE_LINEAR) lr *= 1 - part;
    if (c->schedule == RATE_COSINE) lr *= 0.5 * (1 + fix_cos(3.14159265358979323846 * part));
    if (c->warmup_steps > 0) lr *= fmin(1, (double)step / (double)c->warmup_steps);
    return lr;
}

static void update(trainer *tr, const step_report *r)
{
    trainer_state *s = &tr->state;
    optim_slabs slabs = { .len = s->params->len, .grad = leaves_sum(tr->leaves, tr->p), .value = s->value, .m = s->m, .v = s->v, .n_ema = s->n_ema,
                          .grad_scale = tr->c.clip > 0 ? fmin(1, tr->c.clip / (r->grad_norm + 1e-6)) : 1 };
    for (int k = 0; k < s->n_ema; k++) {
        const double warm = (1.0 + (double)s->updates) / (10.0 + (double)s->updates);
        slabs.ema[k] = s->ema[k];
        slabs.ema_rate[k] = tr->c.ema_warmup ? fmin(tr->c.ema_rate[k], warm) : tr->c.ema_rate[k];
    }
    adam_config adam = tr->c.adam;
    adam.lr = r->lr;
    s->updates++;
    double at = lap_begin(tr);
    optim_step(&adam, (long)s->updates, &slabs, tr->p);
    lap(tr, &at, pool_threads(tr->p), &tr->times.part[TRAIN_UPDATE]);
    nn_weights_pack(tr->w, tr->p);
    lap(tr, &at, pool_threads(tr->p), &tr->times.part[TRAIN_PACK]);
}

static void remember_losses(trainer *tr)
{
    if (!tr->state.moments) return;
    for (int i = 0; i < tr->c.batch; i++) tr->losses[i] = (float)tr->terms[i].loss;
    second_moment_update(tr->state.moments, tr->c.batch, tr->rows, tr->losses);
}

/* The sum of the leaves, with its length and noise. */
static void sum_leaves(trainer *tr, const train_batch *batch, step_report *r)
{
    const int threads = pool_threads(tr->p);
    noise_parts parts = { 0 };
    double at = lap_begin(tr);
    if (batch->measure_noise && mean_factor(tr) > 0) measure_leaves(tr, &parts);
    const float *sum = leaves_sum(tr->leaves, tr->p);
    lap(tr, &at, threads, &tr->times.part[TRAIN_ADD]);
    r->grad_norm = optim_norm(sum, tr->state.params->len, tr->p);
    lap(tr, &at, threads, &tr->times.part[TRAIN_NORM]);
    const double length = r->grad_norm * mean_factor(tr);
    r->noise_count = noise_estimate(&parts, length * length, tr->c.batch, &r->noise);
}

ddpm_status trainer_step(trainer *tr, const train_batch *batch, step_report *r)
{
    const int threads = pool_threads(tr->p);
    double begin = lap_begin(tr), at = begin;
    *r = (step_report){ .lr = trainer_rate(&tr->c, tr->state.step) };
    step_job job = { .tr = tr, .batch = batch };
    leaves_restart(tr->leaves);
    pool_run(tr->p, tr->c.leaves, run_leaf, &job);
    if (job.status != DDPM_OK) return ddpm_fail(job.status, "step %lld: the network failed: %s", (long long)tr->state.step, ddpm_strerror(job.status));
    lap(tr, &at, threads, &tr->times.part[TRAIN_IDLE]);
    sum_leaves(tr, batch, r);
    report_losses(tr, batch, r);
    if (tr->classes) report_guesses(tr, batch, r);
    r->dropped = !isfinite(r->loss) || !isfinite(r->grad_norm);
    tr->state.step++;
    tr->state.dropped += r->dropped;
    tr->state.dropped_in_row = r->dropped ? tr->state.dropped_in_row + 1 : 0;
    if (!r->dropped) {
        update(tr, r);
        remember_losses(tr);
    }
    lap(tr, &begin, threads, &tr->times.total);
    return DDPM_OK;
}

const loss_terms *trainer_terms(const trainer *tr) { return tr->terms; }
const int        *trainer_rows(const trainer *tr)  { return tr->rows; }
trainer_state    *trainer_get_state(trainer *tr)   { return &tr->state; }

void trainer_changed(trainer *tr)
{
    nn_weights_pack(tr->w, tr->p);
    if (tr->state.moments) second_moment_update(tr->state.moments, 0, NULL, NULL);      /* weights of the history */
}

size_t trainer_bytes(const trainer *tr)
{
    const size_t slabs = 3 + (size_t)tr->state.n_ema + (size_t)leaves_slabs(tr->c.leaves, pool_threads(tr->p));
    return slabs * tr->state.params->len * sizeof(float) + nn_weights_bytes(denoiser_graph(tr->d), tr->b, true) + denoiser_bytes(tr->d) + tr->work_bytes;
}
