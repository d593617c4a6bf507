#include "api/inception.h"

#include "api/inception_weights.h"
#include "base/log.h"
#include "model/inception_input.h"
#include "nn/plan.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Images of a plan: enough that the small layers fill the processor, few enough that a thread needs 40 MB. */
enum { CHUNK = 4, NAME_SIZE = 48, SPATIAL_CHANNELS = 7 };

/* What a thread works with. */
typedef struct { nn_plan *plan; float *input, *spatial; } worker;

struct inception_net {
    const engine     *e;
    inception_profile profile;
    nn_graph         *g;
    inception         u;
    float            *values;
    nn_weights       *weights;
    worker           *workers;
    char              name[NAME_SIZE];
};

static void name_space(inception_net *n, const char *path, const char *hash)
{
    const char *profile = n->profile == INCEPTION_PYTORCH ? "pytorch" : "tensorflow";
    if (inception_weights_published(hash)) {
        snprintf(n->name, sizeof n->name, "inception-2015-12-05-%s", profile);
    } else {
        snprintf(n->name, sizeof n->name, "inception-%.8s-%s", hash, profile);
        log_warn("%s is not the published file of Inception's weights (SHA-256 6726825d...): distances of these features are no FIDs", path);
    }
}

static ddpm_status load(inception_net *n, const char *weights)
{
    char hash[SHA256_HEX];
    n->values = malloc(n->g->params.len * sizeof *n->values);
    if (!n->values) return ddpm_fail(DDPM_ENOMEM, "no memory for Inception's weights");
    DDPM_TRY(inception_weights_read(weights, &n->g->params, n->values, hash));
    name_space(n, weights, hash);
    return DDPM_OK;
}

static ddpm_status worker_new(inception_net *n, worker *w)
{
    DDPM_TRY(nn_plan_new(n->g, n->e->backend, NN_INFER, n->u.logits, &w->plan));
    nn_plan_bind(w->plan, n->weights, NULL);
    w->input = malloc(nn_len(n->u.x->shape) * sizeof *w->input);
    w->spatial = malloc(nn_len(n->u.spatial->shape) * sizeof *w->spatial);
    return w->input && w->spatial ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the input of Inception");
}

static ddpm_status set_up(inception_net *n, const char *weights)
{
    const int threads = pool_threads(n->e->threads);
    n->g = nn_graph_new(n->e->dtype);
    n->workers = calloc((size_t)threads, sizeof *n->workers);
    if (!n->g || !n->workers) return ddpm_fail(DDPM_ENOMEM, "no memory for the Inception network");
    n->u = inception_build(n->g, CHUNK);
    DDPM_TRY(nn_graph_status(n->g));
    DDPM_TRY(load(n, weights));
    DDPM_TRY(nn_weights_new(n->g, n->e->backend, n->values, false, &n->weights));
    for (int i = 0; i < threads; i++) DDPM_TRY(worker_new(n, &n->workers[i]));
    return DDPM_OK;
}

ddpm_status inception_open(const char *weights, inception_profile profile, const engine *e, inception_net **out)
{
    *out = NULL;
    inception_net *n = calloc(1, sizeof *n);
    if (!n) return ddpm_fail(DDPM_ENOMEM, "no memory for the Inception network");
    *n = (inception_net){ .e = e, .profile = profile };
    const ddpm_status s = set_up(n, weights);
    if (s == DDPM_OK) *out = n;
    else inception_free(n);
    return s;
}

void inception_free(inception_net *n)
{
    if (!n) return;
    for (int i = 0; n->workers && i < pool_threads(n->e->threads); i++) {
        nn_plan_free(n->workers[i].plan);
        free(n->workers[i].input);
        free(n->workers[i].spatial);
    }
    free(n->workers);
    nn_weights_free(n->weights);
    free(n->values);
    nn_graph_free(n->g);
    free(n);
}

const char *inception_name(const inception_net *n) { return n->name; }

/* --- running ---------------------------------------------------------------------------- */

typedef struct {
    inception_net *n;
    const uint8_t *images;
    int            count, h, w, c, piece;
    float         *pool3, *logits, *spatial;
    ddpm_status    status;
} batch;

/* The first channels of [pixels][192]. */
static void cut_channels(const float *from, int channels, size_t pixels, float *to)
{
    for (size_t p = 0; p < pixels; p++)
        memcpy(to + p * SPATIAL_CHANNELS, from + p * (size_t)channels, SPATIAL_CHANNELS * sizeof *to);
}

static ddpm_status read_outputs(const batch *b, const worker *w, size_t first, int count)
{
    const inception *u = &b->n->u;
    if (b->pool3) DDPM_TRY(nn_plan_get(w->plan, u->pool3, count, b->pool3 + first * INCEPTION_POOL3));
    if (b->logits) DDPM_TRY(nn_plan_get(w->plan, u->logits, count, b->logits + first * INCEPTION_LOGITS));
    if (!b->spatial) return DDPM_OK;
    const nn_shape s = u->spatial->shape;
    DDPM_TRY(nn_plan_get(w->plan, u->spatial, count, w->spatial));
    cut_channels(w->spatial, s.c, (size_t)count * (size_t)s.h * (size_t)s.w, b->spatial + first * INCEPTION_SPATIAL);
    return DDPM_OK;
}

static ddpm_status run_images(const batch *b, const worker *w, int first, int count)
{
    const inception_net *n = b->n;
    const size_t image = (size_t)b->h * (size_t)b->w * (size_t)b->c;
    for (int i = 0; i < count; i++)
        inception_input_make(b->images + (size_t)(first + i) * image, b->h, b->w, b->c, n->profile == INCEPTION_PYTORCH,
                             w->input + (size_t)i * nn_image_len(n->u.x->shape));
    DDPM_TRY(nn_plan_set(w->plan, n->u.x, count, w->input));
    DDPM_TRY(nn_plan_forward(w->plan, count));
    return read_outputs(b, w, (size_t)first, count);
}

static void run_chunk(void *ctx, int task, int which)
{
    batch *b = ctx;
    const int first = task * b->piece, left = b->count - first;
    const ddpm_status s = run_images(b, &b->n->workers[which], first, left < b->piece ? left : b->piece);
    if (s != DDPM_OK) __atomic_store_n(&b->status, s, __ATOMIC_RELAXED);
}

ddpm_status inception_run(inception_net *n, const uint8_t *images, int count, int h, int w, int c, float *pool3, float *logits, float *spatial)
{
    if (c != 1 && c != 3) return ddpm_fail(DDPM_EINVAL, "Inception takes images of 1 or 3 channels, not of %d", c);
    assert(count >= 0 && h >= 1 && w >= 1);
    const int threads = pool_threads(n->e->threads), share = (count + threads - 1) / threads;
    batch b = { .n = n, .images = images, .count = count, .h = h, .w = w, .c = c, .piece = share < CHUNK ? share : CHUNK,
                .pool3 = pool3, .logits = logits, .spatial = spatial };
    if (count) pool_run(n->e->threads, (count + b.piece - 1) / b.piece, run_chunk, &b);
    if (b.status != DDPM_OK) return ddpm_fail(b.status, "running the Inception network failed: %s", ddpm_strerror(b.status));
    return DDPM_OK;
}
