/* Section 09: the Inception network with generated weights, at every block.
 *
 * It computes on the cpu backend whatever the run was given: the reference backend would take minutes. */
#include "golden_hash.h"
#include "golden_run.h"

#include "backend/cpu/cpu.h"
#include "model/inception.h"
#include "model/inception_input.h"
#include "nn/plan.h"

#include <stdlib.h>
#include <string.h>

static void undo_graph(void *g)   { nn_graph_free(g); }
static void undo_plan(void *p)    { nn_plan_free(p); }
static void undo_weights(void *w) { nn_weights_free(w); }
static void undo_backend(void *b) { nn_backend_free(b); }

typedef struct { const json *tensors; uint64_t seed; } generator;

/* An inception_tensor: the generator's values where the list of tensors has that shape. */
static ddpm_status generate(void *ctx, const char *name, int rank, const int64_t *shape, float *out)
{
    const generator *g = ctx;
    const json *entry, *dims;
    double lo, hi;
    size_t len = 1;
    DDPM_TRY(gold_need_object(g->tensors, name, &entry));
    DDPM_TRY(gold_need_real(entry, "lo", &lo));
    DDPM_TRY(gold_need_real(entry, "hi", &hi));
    dims = json_get(entry, "shape");
    for (int i = 0; i < rank; i++) {
        int64_t d = 0;
        if (json_array_len(dims) != (size_t)rank || !json_as_int(json_at(dims, (size_t)i), &d) || d != shape[i])
            return ddpm_fail(DDPM_EFORMAT, "%s has another shape in inception_weights.json", name);
        len *= (size_t)d;
    }
    const uint64_t hash = golden_hash_name(name);
    for (size_t i = 0; i < len; i++) out[i] = golden_hash_value(hash, g->seed, i, lo, hi);
    return DDPM_OK;
}

typedef struct { inception u; nn_graph *g; nn_plan *plan; float *bias; uint64_t seed; } network;

static ddpm_status load(gold_case *c, float *values, network *n)
{
    const json *weights;
    int64_t seed = 0;
    DDPM_TRY(gold_json(c, &weights, "09_metrics/inception_weights.json"));
    if (!json_as_int(json_get(weights, "hash_seed"), &seed)) return ddpm_fail(DDPM_EFORMAT, "inception_weights.json has no hash_seed");
    generator from = { json_get(weights, "tensors"), n->seed = (uint64_t)seed };
    DDPM_TRY(inception_fold(&n->g->params, generate, &from, values));
    n->bias = gold_alloc(c, INCEPTION_LOGITS, sizeof *n->bias);
    return generate(&from, "fc.bias", 1, &(int64_t){ INCEPTION_LOGITS }, n->bias);
}

static ddpm_status build(gold_case *c, int images, network *n)
{
    nn_backend *b = c->run->backend;
    nn_weights *w;
    if (strcmp(b->name, "cpu")) {
        DDPM_TRY(backend_cpu_new(NULL, &b));
        gold_defer(c, undo_backend, b);
    }
    n->g = nn_graph_new(c->run->precision);
    if (!n->g) return ddpm_fail(DDPM_ENOMEM, "no memory for a graph");
    gold_defer(c, undo_graph, n->g);
    n->u = inception_build(n->g, images);
    DDPM_TRY(nn_graph_status(n->g));
    float *values = gold_alloc(c, n->g->params.len, sizeof *values);
    DDPM_TRY(load(c, values, n));
    DDPM_TRY(nn_weights_new(n->g, b, values, false, &w));
    gold_defer(c, undo_weights, w);
    DDPM_TRY(nn_plan_new(n->g, b, NN_KEEP, n->u.logits, &n->plan));
    gold_defer(c, undo_plan, n->plan);
    nn_plan_bind(n->plan, w, NULL);
    return DDPM_OK;
}

/* What the file has of one set of images. */
typedef struct { gold_file *f; const char *set; network *net; int images; float *input; } subject;

static float *value_of(gold_case *c, const subject *s, const nn_tensor *t)
{
    float *v = gold_alloc(c, nn_len(t->shape), sizeof *v);
    return nn_plan_get(s->net->plan, t, s->images, v) == DDPM_OK ? v : NULL;
}

/* rows 0.. of the resized image from `first` on, as it was before 2x - 1. */
static ddpm_status resized(gold_case *c, const subject *s, const char *name, bool last)
{
    gold_tensor want;
    if (!gold_find(c, s->f, &want, "%s/%s", s->set, name)) return DDPM_OK;
    DDPM_TRY(gold_expect(&want, 4, want.len));
    const size_t h = want.shape[2], w = want.shape[3], side = INCEPTION_SIZE, skip = last ? side - h : 0;
    double *got = gold_alloc(c, want.len, sizeof *got);
    for (size_t i = 0; i < want.len; i++) {
        const size_t x = i % w + skip, y = i / w % h + skip, ch = i / w / h % 3, image = i / w / h / 3;
        got[i] = ((double)s->input[((image * side + y) * side + x) * 3 + ch] + 1) / 2;
    }
    gold_compare_near(c, &want, got, 2e-6, 0);
    return DDPM_OK;
}

/* Means over the pixels and the first channels of the first pixels of a block. */
static ddpm_status block(gold_case *c, const subject *s, int b)
{
    const nn_tensor *t = s->net->u.block[b];
    const size_t pixels = (size_t)(t->shape.h * t->shape.w), channels = (size_t)t->shape.c;
    const float *v = value_of(c, s, t);
    gold_tensor want;
    if (v && gold_find(c, s->f, &want, "%s/block%d_mean", s->set, b)) {
        DDPM_TRY(gold_expect(&want, 2, (size_t)s->images * channels));
        double *mean = gold_alloc(c, want.len, sizeof *mean);
        for (size_t i = 0; i < want.len * pixels; i++) {
            const size_t ch = i % channels, image = i / channels / pixels;
            mean[image * channels + ch] += (double)v[i] / (double)pixels;
        }
        gold_compare_near(c, &want, mean, 1e-3 * gold_rms(&want), 0);
    }
    if (v && gold_find(c, s->f, &want, "%s/block%d_corner", s->set, b)) {
        DDPM_TRY(gold_expect(&want, 4, want.len));
        const size_t deep = want.shape[1], h = want.shape[2], w = want.shape[3];
        double *corner = gold_alloc(c, want.len, sizeof *corner);
        for (size_t i = 0; i < want.len; i++) {
            const size_t x = i % w, y = i / w % h, ch = i / w / h % deep, image = i / w / h / deep;
            corner[i] = (double)v[(image * pixels + y * (size_t)t->shape.w + x) * channels + ch];
        }
        gold_compare_near(c, &want, corner, 1e-3 * gold_rms(&want), 0);
    }
    return v ? DDPM_OK : DDPM_ENOMEM;
}

static ddpm_status run_set(gold_case *c, subject *s, const uint8_t *bytes, size_t h, size_t w)
{
    network *n = s->net;
    const size_t side = INCEPTION_SIZE * INCEPTION_SIZE * 3;
    gold_tensor want;
    s->input = gold_alloc(c, (size_t)s->images * side, sizeof *s->input);
    for (size_t i = 0; i < (size_t)s->images; i++)
        inception_input_make(bytes + i * h * w * 3, (int)h, (int)w, 3, true, s->input + i * side);
    DDPM_TRY(nn_plan_set(n->plan, n->u.x, s->images, s->input));
    DDPM_TRY(nn_plan_forward(n->plan, s->images));
    DDPM_TRY(resized(c, s, "resized_corner", false));
    DDPM_TRY(resized(c, s, "resized_end", true));
    for (int b = 0; b < 4; b++) DDPM_TRY(block(c, s, b));
    DDPM_TRY(gold_need(c, s->f, &want, "%s/pool3", s->set));
    DDPM_TRY(gold_expect(&want, 2, (size_t)s->images * INCEPTION_POOL3));
    gold_compare_near(c, &want, gold_widen(c, value_of(c, s, n->u.pool3), want.len), 1e-3 * gold_rms(&want), 0);
    DDPM_TRY(gold_need(c, s->f, &want, "%s/logits", s->set));
    DDPM_TRY(gold_expect(&want, 2, (size_t)s->images * INCEPTION_LOGITS));
    double *logits = gold_widen(c, value_of(c, s, n->u.logits), want.len);
    for (size_t i = 0; i < want.len; i++) logits[i] += (double)n->bias[i % INCEPTION_LOGITS];
    gold_compare_near(c, &want, logits, 1e-3 * gold_rms(&want), 0);
    return DDPM_OK;
}

/* Bytes [images][3][h][w] -> [images][h][w][3]. */
static uint8_t *turn(gold_case *c, const uint8_t *from, size_t images, size_t h, size_t w)
{
    uint8_t *to = gold_alloc(c, images * 3 * h * w, 1);
    for (size_t i = 0; i < images * 3 * h * w; i++) {
        const size_t pixel = i % (h * w), ch = i / (h * w) % 3, image = i / (h * w) / 3;
        to[(image * h * w + pixel) * 3 + ch] = from[i];
    }
    return to;
}

static ddpm_status stored_images(gold_case *c, subject *s)
{
    gold_tensor t;
    DDPM_TRY(gold_need(c, s->f, &t, "%s/input_u8", s->set));
    DDPM_TRY(gold_expect(&t, 4, (size_t)s->images * 3 * t.shape[2] * t.shape[3]));
    uint8_t *bytes = gold_alloc(c, t.len, 1);
    for (size_t i = 0; i < t.len; i++) bytes[i] = (uint8_t)t.v[i];
    return run_set(c, s, turn(c, bytes, (size_t)s->images, t.shape[2], t.shape[3]), t.shape[2], t.shape[3]);
}

static ddpm_status generated_images(gold_case *c, subject *s)
{
    enum { SIDE = INCEPTION_SIZE };
    gold_tensor first;
    const size_t len = (size_t)s->images * 3 * SIDE * SIDE;
    const uint64_t name = golden_hash_name("input299");
    uint8_t *bytes = gold_alloc(c, len, 1);
    for (size_t i = 0; i < len; i++) bytes[i] = (uint8_t)(golden_hash_bits(name, s->net->seed, i) >> 16);
    DDPM_TRY(gold_need(c, s->f, &first, "%s/input_u8_first", s->set));
    double *begin = gold_alloc(c, first.len, sizeof *begin);
    for (size_t i = 0; i < first.len && i < len; i++) begin[i] = bytes[i];
    gold_compare_near(c, &first, begin, 0, 0);
    return run_set(c, s, turn(c, bytes, (size_t)s->images, SIDE, SIDE), SIDE, SIDE);
}

static ddpm_status both(gold_case *c, const void *ctx)
{
    const json *section = ctx;
    network n;
    subject s = { .net = &n };
    DDPM_TRY(gold_need_int(section, "images", &s.images));
    DDPM_TRY(gold_open(c, "09_metrics/inception", &s.f));
    DDPM_TRY(build(c, s.images, &n));
    s.set = "big";
    DDPM_TRY(generated_images(c, &s));
    s.set = "small";
    return stored_images(c, &s);
}

void golden_inception(gold_run *run, const json *section) { gold_case_run(run, "09_metrics/inception", both, section); }
