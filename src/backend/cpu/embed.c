/* embed.c - embeddings of the time step and of class labels. */
#include "backend/cpu/rows.h"
#include "base/fixmath.h"
#include "nn/backend.h"

/* ---- time step ---- */

/* Frequency i of `half`, rounded to f32 after each step as the authors do: networks
 * are trained with those values, and exact ones move the embedding by up to 1e-4. */
static float embed_frequency(const nn_node *d, int i, int half)
{
    const float log_period = (float)-fix_log((double)d->attr.time.max_period);
    const float exponent = log_period * (float)i / ((float)half - d->attr.time.shift);
    return (float)fix_exp((double)exponent);
}

static ddpm_status embed_time_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_node *const d = c->node;
    const int dim = d->attr.time.dim, half = dim / 2;
    const int cos_at = d->attr.time.cos_first ? 0 : half, sin_at = half - cos_at;
    const float *const t = c->in[0];
    float *const y = c->out;
    memset(y, 0, (size_t)c->n * (size_t)dim * sizeof *y);
    for (int i = 0; i < half; i++) {
        const float frequency = embed_frequency(d, i, half);
        for (int k = 0; k < c->n; k++) {
            const float angle = t[k] * frequency;
            float *const row = y + (size_t)k * (size_t)dim;
            row[cos_at + i] = (float)fix_cos((double)angle);
            row[sin_at + i] = (float)fix_sin((double)angle);
        }
    }
    return DDPM_OK;
}

const nn_kernel ISA(cpu_timestep_embed) = { .forward = embed_time_forward };

/* ---- class labels ---- */

static ddpm_status embed_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_tensor *const y = c->node->out;
    const size_t dim = (size_t)y->shape.c;
    const int *const label = c->in[0];
    const float *const table = c->in[1];
    for (int i = 0; i < c->n; i++)
        row_store(c->out, y->dtype, (size_t)i * dim, table + (size_t)label[i] * dim, dim);
    return DDPM_OK;
}

static ddpm_status embed_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_node *const d = c->node;
    const int dim = d->out->shape.c;
    const int *const label = c->in[0];
    float *const dtable = c->din[1];
    if (!dtable) return DDPM_OK;
    if (!c->accumulate) memset(dtable, 0, nn_len(d->in[1]->shape) * sizeof *dtable);
    for (int i = 0; i < c->n; i++) {
        float *const row = dtable + (size_t)label[i] * (size_t)dim;
        for (int ch = 0; ch < dim; ch += LANES) {
            const int k = row_lanes(dim, ch);
            const vf dy = row_get(d->out->dtype, c->dout, (size_t)i * (size_t)dim + (size_t)ch, k);
            row_put(NN_F32, row, (size_t)ch, k, row_get(NN_F32, row, (size_t)ch, k) + dy);
        }
    }
    return DDPM_OK;
}

const nn_kernel ISA(cpu_embed) = { .forward = embed_forward, .backward = embed_backward };
