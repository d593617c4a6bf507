#include "backend/cpu/conv.h"
#include "backend/cpu/rows.h"

/* y[j] (+)= sum of `pixels` consecutive pixels of dout, one running sum per column. */
static void sum_pixels(const nn_call *c, size_t first, size_t pixels, bool zero, nn_dtype type, void *y, size_t at)
{
    enum { most = 4 };
    const nn_tensor *out = c->node->out;
    const int columns = out->shape.c;
    for (int j = 0; j < columns; j += most * LANES) {
        const int vectors = columns - j < most * LANES ? (columns - j + LANES - 1) / LANES : most;
        vf sum[most] = {{0}};
        for (int v = 0; v < vectors && !zero; v++)
            sum[v] = row_get(type, y, at + (size_t)(j + v * LANES), row_lanes(columns, j + v * LANES));
        for (size_t p = first; p < first + pixels; p++)
            for (int v = 0; v < vectors; v++) {
                const int from = j + v * LANES;
                sum[v] += row_get(out->dtype, c->dout, p * (size_t)columns + (size_t)from, row_lanes(columns, from));
            }
        for (int v = 0; v < vectors; v++)
            row_put(type, y, at + (size_t)(j + v * LANES), row_lanes(columns, j + v * LANES), sum[v]);
    }
}

void conv_pixel_sums(const nn_call *c)
{
    const nn_node *node = c->node;
    const nn_shape out = node->out->shape;
    const size_t image = (size_t)out.h * (size_t)out.w;
    if (node->in[CONV_B] && c->din[CONV_B])
        sum_pixels(c, 0, image * (size_t)c->n, !c->accumulate, NN_F32, c->din[CONV_B], 0);
    if (!node->in[CONV_CHAN] || !c->din[CONV_CHAN]) return;
    for (int i = 0; i < c->n; i++)
        sum_pixels(c, (size_t)i * image, image, true, node->in[CONV_CHAN]->dtype, c->din[CONV_CHAN], (size_t)i * (size_t)out.c);
}
