#include "train/draw.h"

#include "base/rng.h"
#include "diffusion/guidance.h"
#include "io/image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the sampler's callbacks see. */
typedef struct {
    const drawing    *d;
    const draw_batch *b;
    size_t            image;
    float            *wide;     /* NULL, or the output of a network that says more than the process reads */
    classifier_free   free;
} draw_context;

static ddpm_status network(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    const draw_context *c = ctx;
    const nn_shape s = denoiser_unet(c->d->net)->out->shape;
    const int channels = denoiser_unet(c->d->net)->x->shape.c;
    if (c->b->calls) ++*c->b->calls;
    DDPM_TRY(denoiser_run(c->d->net, c->d->weights, n, t, y, x, c->wide ? c->wide : out));
    if (!c->wide) return DDPM_OK;
    for (size_t i = 0; i < (size_t)n * (size_t)(s.h * s.w); i++)      /* a learned variance that is not asked for */
        memcpy(out + i * (size_t)channels, c->wide + i * (size_t)s.c, (size_t)channels * sizeof *out);
    return DDPM_OK;
}

static ddpm_status denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    draw_context *c = ctx;
    return c->d->guidance == 1 ? network(c, n, t, y, x, out) : classifier_free_denoise(&c->free, n, t, y, x, out);
}

static void normals(const draw_context *c, rng_stream stream, uint64_t step, int n, float *z)
{
    for (int i = 0; i < n; i++) {
        const rng_address a = { c->b->seed[i], stream, step, c->b->index[i] };
        rng_normals(a, 0, c->image, z + (size_t)i * c->image);
    }
}

static void noise(void *ctx, int step, int n, float *z) { normals(ctx, RNG_SAMPLE_NOISE, (uint64_t)step, n, z); }

static void observe(void *ctx, int step, int t, const float *x, const float *pred_xstart)
{
    const draw_context *c = ctx;
    c->d->observe(c->d->observe_ctx, step, t, x, pred_xstart);
}

/* Everything but the images themselves; freed by the caller, also after an error. */
static ddpm_status reserve(draw_context *c, sampler_env *e)
{
    const drawing *d = c->d;
    const nn_shape in = denoiser_unet(d->net)->x->shape, out = denoiser_unet(d->net)->out->shape;
    const bool guided = d->guidance != 1;
    const size_t calls = guided ? 2 : 1;
    *e = (sampler_env){ .denoise = denoise, .noise = noise, .observe = d->observe ? observe : NULL, .ctx = c, .n = c->b->n,
                        .dims = { in.h * in.w, in.c }, .y = c->b->y, .eta = d->eta, .sigma_hat = d->sigma_hat };
    c->free = (classifier_free){ .denoise = network, .ctx = c, .p = d->p, .scale = d->guidance, .null_class = d->null_class,
                                 .n = e->n, .dims = e->dims };
    if (out.c != process_out_channels(d->p, in.c) && !(c->wide = malloc(calls * (size_t)e->n * nn_image_len(out) * sizeof *c->wide)))
        return ddpm_fail(DDPM_ENOMEM, "no memory to draw %d images at once", e->n);
    if (guided) DDPM_TRY(classifier_free_reserve(&c->free));
    return sampler_reserve(d->p, e);
}

ddpm_status draw_images(const drawing *d, const draw_batch *b)
{
    draw_context c = { .d = d, .b = b, .image = nn_image_len(denoiser_unet(d->net)->x->shape) };
    sampler_env e;
    if (!b->given_xT) normals(&c, RNG_XT, 0, b->n, b->x);
    ddpm_status status = reserve(&c, &e);
    if (status == DDPM_OK) status = d->method->run(d->p, &e, b->x);
    sampler_release(&e);
    classifier_free_release(&c.free);
    free(c.wide);
    return status;
}

void draw_quantize(const float *x, size_t len, bool truncate, uint8_t *out)
{
    for (size_t i = 0; i < len; i++) {
        const float v = (x[i] + 1) * 127.5f + (truncate ? 0.0f : 0.5f);
        out[i] = (uint8_t)(v >= 255 ? 255 : v > 0 ? v : 0);    /* NaN becomes 0 */
    }
}

enum { BORDER = 2 };

ddpm_status draw_grid_size(int n, int h, int w, int columns, int *grid_w, int *grid_h)
{
    const int64_t rows = ((int64_t)n + columns - 1) / columns, wide = (int64_t)columns * (w + BORDER) + BORDER, high = rows * (h + BORDER) + BORDER;
    if (wide > IMAGE_MAX_PIXELS || high > IMAGE_MAX_PIXELS / wide)
        return ddpm_fail(DDPM_EINVAL, "a grid of %d images %dx%d is more than one picture can hold (%d pixels); write fewer images, a folder or an .npz",
                         n, h, w, IMAGE_MAX_PIXELS);
    *grid_w = (int)wide;
    *grid_h = (int)high;
    return DDPM_OK;
}

ddpm_status draw_grid(const uint8_t *images, int n, int h, int w, int c, int columns, uint8_t **grid, int *grid_w, int *grid_h)
{
    DDPM_TRY(draw_grid_size(n, h, w, columns, grid_w, grid_h));
    const size_t line = (size_t)*grid_w * (size_t)c, row = (size_t)w * (size_t)c;
    *grid = malloc(line * (size_t)*grid_h);
    if (!*grid) return ddpm_fail(DDPM_ENOMEM, "no memory for a grid of %d images", n);
    memset(*grid, 255, line * (size_t)*grid_h);
    for (int i = 0; i < n; i++)
        for (int y = 0; y < h; y++) {
            const size_t top = (size_t)(BORDER + i / columns * (h + BORDER) + y), left = (size_t)(BORDER + i % columns * (w + BORDER));
            memcpy(*grid + top * line + left * (size_t)c, images + ((size_t)i * (size_t)h + (size_t)y) * row, row);
        }
    return DDPM_OK;
}
