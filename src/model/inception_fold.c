#include "model/inception.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 64 };
static const double EPSILON = 1e-3;      /* added to variances */

/* Of a layer's batch normalisation: gamma (y - mean) / sqrt(variance + epsilon) + beta. */
enum { GAMMA, BETA, MEAN, VARIANCE, N_VECTORS };
static const char *const vectors[N_VECTORS] = { "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var" };

typedef struct {
    const nn_params *layout;
    inception_tensor get;
    void            *ctx;
    float           *file, *bn;          /* the largest parameter; N_VECTORS times as many channels as any layer has */
    size_t           channels;
} folder;

static ddpm_status fetch(const folder *f, const char *name, int rank, const int64_t *shape, float *out)
{
    size_t len = 1;
    for (int i = 0; i < rank; i++) len *= (size_t)shape[i];
    DDPM_TRY(f->get(f->ctx, name, rank, shape, out));
    for (size_t i = 0; i < len; i++)
        if (!isfinite(out[i])) return ddpm_fail(DDPM_EFORMAT, "tensor \"%s\" holds %g in place %zu", name, (double)out[i], i);
    return DDPM_OK;
}

/* "Conv2d_1a_3x3.conv.weight" and a leaf such as "bn.bias": the layer's tensor of that name. */
static void sibling(char name[NAME_SIZE], const nn_param *weight, const char *leaf)
{
    snprintf(name, NAME_SIZE, "%.*s%s", (int)(strlen(weight->name) - strlen("conv.weight")), weight->name, leaf);
}

static ddpm_status fetch_norm(const folder *f, const nn_param *weight)
{
    const int64_t channels = weight->shape.c;
    char name[NAME_SIZE];
    for (int v = 0; v < N_VECTORS; v++) {
        sibling(name, weight, vectors[v]);
        DDPM_TRY(fetch(f, name, 1, &channels, f->bn + (size_t)v * f->channels));
    }
    for (int64_t c = 0; c < channels; c++)
        if (f->bn[VARIANCE * f->channels + (size_t)c] < 0)
            return ddpm_fail(DDPM_EFORMAT, "tensor \"%s\" holds a variance of %g", name, (double)f->bn[VARIANCE * f->channels + (size_t)c]);
    return DDPM_OK;
}

static double scale_of(const folder *f, size_t c) { return (double)f->bn[GAMMA * f->channels + c] / sqrt((double)f->bn[VARIANCE * f->channels + c] + EPSILON); }

static ddpm_status fold_layer(const folder *f, const nn_param *weight, float *slab)
{
    int64_t shape[4];
    char name[NAME_SIZE];
    const int rank = nn_param_file_shape(weight, shape);
    DDPM_TRY(fetch(f, weight->name, rank, shape, f->file));
    DDPM_TRY(fetch_norm(f, weight));
    sibling(name, weight, "conv.bias");
    float *bias = slab + nn_params_find(f->layout, name)->offset;
    const size_t channels = (size_t)weight->shape.c, len = nn_len(weight->shape) / channels;
    for (size_t c = 0; c < channels; c++) {
        const double scale = scale_of(f, c);
        for (size_t i = c * len; i < (c + 1) * len; i++) f->file[i] = (float)(scale * (double)f->file[i]);
        bias[c] = (float)((double)f->bn[BETA * f->channels + c] - scale * (double)f->bn[MEAN * f->channels + c]);
    }
    nn_param_from_file(weight, f->file, slab + weight->offset);
    return DDPM_OK;
}

static ddpm_status fold_parameter(const folder *f, const nn_param *p, float *slab)
{
    int64_t shape[4];
    if (p->kind == NN_PARAM_VECTOR) return DDPM_OK;                  /* comes with its layer's weight */
    if (p->kind == NN_PARAM_CONV) return fold_layer(f, p, slab);
    DDPM_TRY(fetch(f, p->name, nn_param_file_shape(p, shape), shape, f->file));
    nn_param_from_file(p, f->file, slab + p->offset);
    return DDPM_OK;
}

ddpm_status inception_fold(const nn_params *layout, inception_tensor get, void *ctx, float *slab)
{
    folder f = { .layout = layout, .get = get, .ctx = ctx };
    size_t largest = 0;
    for (int i = 0; i < layout->count; i++) {
        const size_t len = nn_len(layout->list[i].shape), channels = (size_t)layout->list[i].shape.c;
        if (len > largest) largest = len;
        if (channels > f.channels) f.channels = channels;
    }
    memset(slab, 0, layout->len * sizeof *slab);
    f.file = malloc(largest * sizeof *f.file);
    f.bn = malloc(N_VECTORS * f.channels * sizeof *f.bn);
    ddpm_status s = f.file && f.bn ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for a layer of %zu values", largest);
    for (int i = 0; i < layout->count && s == DDPM_OK; i++) s = fold_parameter(&f, &layout->list[i], slab);
    free(f.file);
    free(f.bn);
    return s;
}
