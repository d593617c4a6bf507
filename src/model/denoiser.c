#include "model/denoiser.h"

#include <assert.h>
#include <stdlib.h>

struct denoiser {
    nn_graph *g;
    unet      u;
    pool     *p;
    nn_mode   mode;
    int       chunk, workers;
    nn_plan **plans;               /* by worker */
};

static ddpm_status build(denoiser *d, const unet_config *c, nn_backend *b, nn_dtype dtype)
{
    d->g = nn_graph_new(dtype);
    d->plans = calloc((size_t)d->workers, sizeof *d->plans);
    if (!d->g || !d->plans) return ddpm_fail(DDPM_ENOMEM, "no memory for the network's graph");
    d->u = unet_build(d->g, c, d->chunk, d->mode == NN_TRAIN, false);
    DDPM_TRY(nn_graph_status(d->g));
    for (int i = 0; i < d->workers; i++) DDPM_TRY(nn_plan_new(d->g, b, d->mode, d->u.out, &d->plans[i]));
    return DDPM_OK;
}

ddpm_status denoiser_new(const unet_config *c, nn_backend *b, pool *p, nn_dtype dtype, nn_mode mode, int chunk, denoiser **out)
{
    *out = NULL;
    assert(chunk >= 1);
    DDPM_TRY(unet_check(c));
    denoiser *d = calloc(1, sizeof *d);
    if (!d) return ddpm_fail(DDPM_ENOMEM, "no memory for the network");
    *d = (denoiser){ .p = p, .mode = mode, .chunk = chunk, .workers = pool_threads(p) };
    const ddpm_status s = build(d, c, b, dtype);
    if (s != DDPM_OK) {
        denoiser_free(d);
        return s;
    }
    *out = d;
    return DDPM_OK;
}

void denoiser_free(denoiser *d)
{
    if (!d) return;
    for (int i = 0; d->plans && i < d->workers; i++) nn_plan_free(d->plans[i]);
    free(d->plans);
    nn_graph_free(d->g);
    free(d);
}

const nn_graph *denoiser_graph(const denoiser *d)      { return d->g; }
const unet     *denoiser_unet(const denoiser *d)       { return &d->u; }
nn_plan        *denoiser_plan(denoiser *d, int worker) { return d->plans[worker]; }
int             denoiser_chunk(const denoiser *d)      { return d->chunk; }

size_t denoiser_bytes(const denoiser *d)
{
    size_t total = 0;
    for (int i = 0; i < d->workers; i++) total += nn_plan_bytes(d->plans[i]);
    return total;
}

static ddpm_status set_inputs(const denoiser *d, nn_plan *p, denoiser_input in)
{
    assert(in.n >= 1 && in.n <= d->chunk);
    DDPM_TRY(nn_plan_set(p, d->u.x, in.n, in.x));
    DDPM_TRY(nn_plan_set(p, d->u.t, in.n, in.t));
    if (d->u.y) DDPM_TRY(nn_plan_set(p, d->u.y, in.n, in.y));
    if (d->u.key) DDPM_TRY(nn_plan_set(p, d->u.key, in.n, in.key));
    return DDPM_OK;
}

ddpm_status denoiser_forward(denoiser *d, int worker, const nn_weights *w, denoiser_input in, float *out)
{
    nn_plan *p = d->plans[worker];
    nn_plan_bind(p, w, NULL);
    DDPM_TRY(set_inputs(d, p, in));
    DDPM_TRY(nn_plan_forward(p, in.n));
    return nn_plan_get(p, d->u.out, in.n, out);
}

ddpm_status denoiser_backward(denoiser *d, int worker, const nn_weights *w, int n, const float *dout, float *grads, bool accumulate)
{
    nn_plan *p = d->plans[worker];
    nn_plan_bind(p, w, grads);
    return nn_plan_backward(p, n, dout, accumulate);
}

/* A batch for all workers: in.n images that each go to one worker, `piece` at a time, and
 * `shared` images behind them that the workers compute together. */
typedef struct {
    denoiser         *d;
    const nn_weights *w;
    denoiser_input    in;
    float            *out;
    int               piece, shared;
    ddpm_status       status;
} batch_job;

static denoiser_input images_of(const batch_job *job, int first, int n)
{
    const size_t at = (size_t)first, len = nn_image_len(job->d->u.x->shape);
    return (denoiser_input){ .n = n, .x = job->in.x + at * len, .t = job->in.t + at, .y = job->in.y ? job->in.y + at : NULL };
}

static float *output_of(const batch_job *job, int first) { return job->out + (size_t)first * nn_image_len(job->d->u.out->shape); }

static void note(batch_job *job, ddpm_status s)
{
    if (s != DDPM_OK) __atomic_store_n(&job->status, s, __ATOMIC_RELAXED);
}

static void run_piece(void *ctx, int task, int worker)
{
    batch_job *job = ctx;
    const int first = task * job->piece, left = job->in.n - first, n = left < job->piece ? left : job->piece;
    note(job, denoiser_forward(job->d, worker, job->w, images_of(job, first, n), output_of(job, first)));
}

/* Equal pieces in as few rounds of all workers as chunks allow: nobody waits for a last, larger piece. */
static void run_pieces(batch_job *job)
{
    const denoiser *d = job->d;
    const int n = job->in.n, rounds = (n + d->workers * d->chunk - 1) / (d->workers * d->chunk), pieces = rounds * d->workers;
    job->piece = (n + pieces - 1) / pieces;
    pool_run(d->p, (n + job->piece - 1) / job->piece, run_piece, job);
}

/* Images that all workers share, each in a plan of its own: a worker has one to begin with and
 * helps with the others when nothing is left for it there. */
static void run_shared(void *ctx, int task, int worker)
{
    (void)task;
    batch_job *job = ctx;
    nn_plan *const *plans = job->d->plans;
    for (int i = 0; i < job->shared; i++)
        note(job, nn_plan_help_forward(plans[(worker + i) % job->shared], worker / job->shared, plans[worker]));
}

static ddpm_status share_images(batch_job *job)
{
    denoiser *d = job->d;
    for (int i = 0; i < job->shared; i++) {
        nn_plan_bind(d->plans[i], job->w, NULL);
        DDPM_TRY(set_inputs(d, d->plans[i], images_of(job, job->in.n + i, 1)));
    }
    for (int i = 0; i < job->shared; i++) nn_plan_begin_forward(d->plans[i], 1, d->workers / job->shared);
    pool_run(d->p, d->workers, run_shared, job);
    for (int i = 0; i < job->shared; i++) DDPM_TRY(nn_plan_get(d->plans[i], d->u.out, 1, output_of(job, job->in.n + i)));
    return DDPM_OK;
}

ddpm_status denoiser_run(denoiser *d, const nn_weights *w, int n, const float *t, const int *y, const float *x, float *out)
{
    assert(!d->u.key && (!d->u.y || y));
    const int shared = denoiser_shared(n, d->workers);
    batch_job job = { .d = d, .w = w, .in = { .n = n - shared, .x = x, .t = t, .y = y }, .out = out, .shared = shared };
    if (job.in.n) run_pieces(&job);
    if (shared) note(&job, share_images(&job));
    if (job.status != DDPM_OK) return ddpm_fail(job.status, "running the network failed: %s", ddpm_strerror(job.status));
    return DDPM_OK;
}
