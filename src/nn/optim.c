#include "nn/optim.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* The blocks of a slab depend on its length alone, never on the threads. */
enum { MAX_BLOCKS = 1024, BLOCK_UNIT = 4096 };

typedef struct { size_t len, size; int count; } blocks;

static blocks blocks_of(size_t len)
{
    const size_t units = (len + BLOCK_UNIT - 1) / BLOCK_UNIT;
    const size_t per = (units + MAX_BLOCKS - 1) / MAX_BLOCKS;
    const size_t size = (per ? per : 1) * BLOCK_UNIT;
    return (blocks){ len, size, (int)((len + size - 1) / size) };
}

static size_t block_end(const blocks *b, int task)
{
    const size_t end = ((size_t)task + 1) * b->size;
    return end < b->len ? end : b->len;
}

static void run(pool *p, int tasks, void (*fn)(void *, int, int), void *ctx)
{
    if (p) {
        pool_run(p, tasks, fn, ctx);
        return;
    }
    for (int i = 0; i < tasks; i++) fn(ctx, i, 0);
}

/* ---- Adam: scalars in double, rounded once; slabs in f32, operation for operation as PyTorch's CPU code ---- */

typedef struct {
    const optim_slabs *s;
    blocks blocks;
    float  grad_scale, coupled_decay, keep;   /* keep: 1 - lr wd */
    float  beta1, rest1, beta2, rest2;
    float  step_size, root_correction, eps;
} step_job;

static double power(double x, long n)
{
    double r = 1;
    for (; n; n >>= 1, x *= x)
        if (n & 1) r *= x;
    return r;
}

static void adam_block(const step_job *j, size_t from, size_t to)
{
    float *restrict value = j->s->value, *restrict m = j->s->m, *restrict v = j->s->v;
    const float *restrict grad = j->s->grad;
    for (size_t i = from; i < to; i++) {
        const float kept = value[i] * j->keep;
        const float g = grad[i] * j->grad_scale + kept * j->coupled_decay;
        m[i] = m[i] * j->beta1 + j->rest1 * g;
        v[i] = v[i] * j->beta2 + j->rest2 * g * g;
        const float denominator = sqrtf(v[i]) / j->root_correction + j->eps;
        value[i] = kept - j->step_size * m[i] / denominator;
    }
}

static void ema_block(const step_job *j, int k, size_t from, size_t to)
{
    float *restrict ema = j->s->ema[k];
    const float *restrict value = j->s->value;
    const float rate = (float)j->s->ema_rate[k], rest = (float)(1 - j->s->ema_rate[k]);
    for (size_t i = from; i < to; i++) ema[i] = ema[i] * rate + value[i] * rest;
}

static void step_block(void *ctx, int task, int worker)
{
    enum { CHUNK = 2048 };                    /* the averages find the values still in the cache */
    (void)worker;
    const step_job *j = ctx;
    const size_t end = block_end(&j->blocks, task);
    for (size_t at = (size_t)task * j->blocks.size; at < end; at += CHUNK) {
        const size_t to = at + CHUNK < end ? at + CHUNK : end;
        adam_block(j, at, to);
        for (int k = 0; k < j->s->n_ema; k++) ema_block(j, k, at, to);
    }
}

void optim_step(const adam_config *c, long step, const optim_slabs *s, pool *p)
{
    assert(step >= 1 && s->n_ema >= 0 && s->n_ema <= OPTIM_MAX_EMA);
    const double correction1 = 1 - power(c->beta1, step), correction2 = 1 - power(c->beta2, step);
    const bool tf = c->kind == ADAM_TF, decoupled = c->kind == ADAM_W;
    step_job j = {
        .s = s,
        .blocks = blocks_of(s->len),
        .grad_scale = (float)s->grad_scale,
        .coupled_decay = decoupled ? 0 : (float)c->weight_decay,
        .keep = decoupled ? (float)(1 - c->lr * c->weight_decay) : 1,
        .beta1 = (float)c->beta1, .rest1 = (float)(1 - c->beta1),
        .beta2 = (float)c->beta2, .rest2 = (float)(1 - c->beta2),
        .step_size = (float)(tf ? c->lr * sqrt(correction2) / correction1 : c->lr / correction1),
        .root_correction = tf ? 1 : (float)sqrt(correction2),
        .eps = (float)c->eps,
    };
    run(p, j.blocks.count, step_block, &j);
}

/* ---- reductions ---- */

typedef struct { const float *x; float *y; blocks blocks; double partial[MAX_BLOCKS]; } reduce_job;

static void square_block(void *ctx, int task, int worker)
{
    enum { LANES = 8 };
    (void)worker;
    reduce_job *j = ctx;
    const size_t end = block_end(&j->blocks, task);
    double sum[LANES] = { 0 };
    size_t i = (size_t)task * j->blocks.size;
    for (; i + LANES <= end; i += LANES)
        for (size_t k = 0; k < LANES; k++) sum[k] += (double)j->x[i + k] * (double)j->x[i + k];
    for (size_t k = 0; i < end; i++, k++) sum[k] += (double)j->x[i] * (double)j->x[i];
    j->partial[task] = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

double optim_norm(const float *x, size_t len, pool *p)
{
    reduce_job j = { .x = x, .blocks = blocks_of(len) };
    run(p, j.blocks.count, square_block, &j);
    for (int width = 1; width < j.blocks.count; width *= 2)
        for (int i = 0; i + width < j.blocks.count; i += 2 * width) j.partial[i] += j.partial[i + width];
    return sqrt(j.partial[0]);
}

static void add_block(void *ctx, int task, int worker)
{
    (void)worker;
    const reduce_job *j = ctx;
    const size_t end = block_end(&j->blocks, task);
    for (size_t i = (size_t)task * j->blocks.size; i < end; i++) j->y[i] += j->x[i];
}

void optim_add(float *y, const float *x, size_t len, pool *p)
{
    reduce_job j = { .x = x, .y = y, .blocks = blocks_of(len) };
    run(p, j.blocks.count, add_block, &j);
}

static void finite_block(void *ctx, int task, int worker)
{
    (void)worker;
    reduce_job *j = ctx;
    const size_t end = block_end(&j->blocks, task);
    int bad = 0;
    for (size_t i = (size_t)task * j->blocks.size; i < end; i++) {
        uint32_t u;
        memcpy(&u, &j->x[i], sizeof u);
        bad |= (u & 0x7f800000u) == 0x7f800000u;
    }
    j->partial[task] = bad;
}

bool optim_finite(const float *x, size_t len, pool *p)
{
    reduce_job j = { .x = x, .blocks = blocks_of(len) };
    run(p, j.blocks.count, finite_block, &j);
    double bad = 0;
    for (int i = 0; i < j.blocks.count; i++) bad += j.partial[i];
    return bad == 0;
}
