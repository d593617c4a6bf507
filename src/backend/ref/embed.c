/* Sinusoidal timestep embedding and the label table. */
#include "backend/ref/ref_op.h"

#include "base/fixmath.h"

#include <assert.h>
#include <string.h>

/* Rounded to f32 after each step, as the published code forms it: the argument reaches
 * thousands, where a frequency in double would give other values by up to 1e-4. */
static ddpm_status timestep_embed_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const nn_attr a = c->node->attr;
    const size_t dim = (size_t)a.time.dim, half = dim / 2;
    const float log_period = (float)-fix_log((double)a.time.max_period), span = (float)half - a.time.shift;
    for (size_t n = 0; n < (size_t)c->n; n++) {
        const float t = ((const float *)c->in[0])[n];
        for (size_t i = 0; i < half; i++) {
            const float exponent = log_period * (float)i / span;
            const float arg = t * (float)fix_exp((double)exponent);
            const double cosine = fix_cos((double)arg), sine = fix_sin((double)arg);
            ref_set_out(c, n * dim + i, a.time.cos_first ? cosine : sine);
            ref_set_out(c, n * dim + half + i, a.time.cos_first ? sine : cosine);
        }
        if (dim % 2) ref_set_out(c, n * dim + dim - 1, 0);
    }
    return DDPM_OK;
}

static size_t label(const nn_call *c, int n)
{
    const int y = ((const int *)c->in[0])[n];
    assert(y >= 0 && y < c->node->in[1]->shape.w);
    return (size_t)y;
}

static ddpm_status embed_forward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const size_t dim = ref_image_out(c);
    for (int n = 0; n < c->n; n++)
        for (size_t i = 0; i < dim; i++) ref_set_out(c, (size_t)n * dim + i, ref_in(c, 1, label(c, n) * dim + i));
    return DDPM_OK;
}

static ddpm_status embed_backward(nn_backend *b, const nn_call *c)
{
    (void)b;
    const size_t dim = ref_image_out(c);
    float *table = c->din[1];
    if (!c->accumulate) memset(table, 0, nn_len(c->node->in[1]->shape) * sizeof *table);
    for (int n = 0; n < c->n; n++)
        for (size_t i = 0; i < dim; i++) table[label(c, n) * dim + i] += (float)ref_dout(c, (size_t)n * dim + i);
    return DDPM_OK;
}

const nn_kernel ref_timestep_embed = { .forward = timestep_embed_forward };
const nn_kernel ref_embed          = { .forward = embed_forward, .backward = embed_backward };
