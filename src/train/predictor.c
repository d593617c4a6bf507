#include "train/predictor.h"

#include "model/upsampler.h"

#include <stdlib.h>
#include <string.h>

static ddpm_status reserve(float **buffer, size_t *room, size_t len)
{
    if (len <= *room) return DDPM_OK;
    float *wide = realloc(*buffer, len * sizeof *wide);
    if (!wide) return ddpm_fail(DDPM_ENOMEM, "no memory for so many images at once; use a smaller --batch");
    *buffer = wide;
    *room = len;
    return DDPM_OK;
}

int predictor_channels(const predictor *p)
{
    return denoiser_unet(p->net)->x->shape.c / (p->condition ? 2 : 1);
}

/* x with its conditions, where the network wants them. */
static ddpm_status complete(predictor *p, int n, const float **x)
{
    const nn_shape in = denoiser_unet(p->net)->x->shape;
    const size_t len = nn_image_len(in), own = len / 2;
    if (!p->condition) return DDPM_OK;
    DDPM_TRY(reserve(&p->joined, &p->joined_room, (size_t)n * len));
    for (int k = 0; k < n; k++) {
        const int at = p->which ? p->which[k] : k % p->conditions;
        upsampler_join((size_t)(in.h * in.w), in.c / 2, *x + (size_t)k * own, p->condition + (size_t)at * own, p->joined + (size_t)k * len);
    }
    *x = p->joined;
    return DDPM_OK;
}

ddpm_status predictor_denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    predictor *p = ctx;
    const nn_shape s = denoiser_unet(p->net)->out->shape;
    const size_t has = (size_t)s.c, reads = (size_t)process_out_channels(p->p, predictor_channels(p));
    p->calls++;
    DDPM_TRY(complete(p, n, &x));
    if (has == reads) return denoiser_run(p->net, p->weights, n, t, y, x, out);
    DDPM_TRY(reserve(&p->wide, &p->wide_room, (size_t)n * nn_image_len(s)));
    DDPM_TRY(denoiser_run(p->net, p->weights, n, t, y, x, p->wide));
    for (size_t i = 0; i < (size_t)n * (size_t)(s.h * s.w); i++) memcpy(out + i * reads, p->wide + i * has, reads * sizeof *out);
    return DDPM_OK;
}

void predictor_free(predictor *p)
{
    if (!p) return;
    free(p->wide);
    free(p->joined);
    p->wide = p->joined = NULL;
    p->wide_room = p->joined_room = 0;
}
