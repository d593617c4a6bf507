#include "train/draw.h"

#include "io/image.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* What the sampler's callbacks see. */
typedef struct {
    const drawing    *d;
    const draw_batch *b;
    size_t            image;
    predictor         net;
    classifier_free   free;
    classifier_guided guided;
    process           p;             /* the sampler's */
} draw_context;

static ddpm_status predict(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    draw_context *c = ctx;
    return c->d->guidance == 1 ? predictor_denoise(&c->net, n, t, y, x, out) : classifier_free_denoise(&c->free, n, t, y, x, out);
}

static ddpm_status denoise(void *ctx, int n, const float *t, const int *y, const float *x, float *out)
{
    draw_context *c = ctx;
    if (c->d->before) DDPM_TRY(c->d->before(c->d->before_ctx, c->net.calls));
    return c->d->gradient ? classifier_guided_denoise(&c->guided, n, t, y, x, out) : predict(c, n, t, y, x, out);
}

void draw_normals(const draw_batch *b, rng_stream stream, uint64_t step, size_t len, float *z)
{
    for (int i = 0; i < b->n; i++) {
        const rng_address a = { b->seed[i], stream, step, b->index[i] };
        rng_normals(a, 0, len, z + (size_t)i * len);
    }
}

static void noise(void *ctx, int step, int n, float *z)
{
    const draw_context *c = ctx;
    assert(n == c->b->n);
    draw_normals(c->b, RNG_SAMPLE_NOISE, (uint64_t)step, c->image, z);
}

static void observe(void *ctx, int step, int t, const float *x, const float *pred_xstart)
{
    const draw_context *c = ctx;
    c->d->observe(c->d->observe_ctx, step, t, x, pred_xstart);
}

/* A prediction is clipped before it is guided. A mean that was moved must not be cut. An x_0 that a score moved may be anywhere at the noisy end,
 * where its shift has the factor (1 - alpha-bar) / sqrt(alpha-bar). */
static ddpm_status reserve_guided(draw_context *c, const sampler_env *e)
{
    const drawing *d = c->d;
    if (!d->gradient) return DDPM_OK;
    const bool ancestral = d->fill || d->method->run == sampler_ddpm;
    c->guided = (classifier_guided){ .denoise = predict, .ctx = c, .gradient = d->gradient, .gradient_ctx = d->gradient_ctx, .p = d->p,
                                     .form = ancestral ? GUIDE_MEAN : GUIDE_SCORE, .scale = d->gradient_scale, .n = e->n, .dims = e->dims };
    if (ancestral || d->unclipped_score) c->p.clip = CLIP_NONE;
    return classifier_guided_reserve(&c->guided);
}

/* Everything but the images themselves; freed by the caller, also after an error. */
static ddpm_status reserve(draw_context *c, sampler_env *e)
{
    const drawing *d = c->d;
    const nn_shape in = denoiser_unet(d->net)->x->shape;
    *e = (sampler_env){ .denoise = denoise, .noise = noise, .observe = d->observe ? observe : NULL, .ctx = c, .n = c->b->n,
                        .dims = { in.h * in.w, predictor_channels(&c->net) }, .y = c->b->y, .eta = d->eta, .sigma_hat = d->sigma_hat };
    c->free = (classifier_free){ .denoise = predictor_denoise, .ctx = &c->net, .p = d->p, .scale = d->guidance, .null_class = d->null_class,
                                 .n = e->n, .dims = e->dims };
    if (d->guidance != 1) DDPM_TRY(classifier_free_reserve(&c->free));
    DDPM_TRY(reserve_guided(c, e));
    return sampler_reserve(d->p, e);
}

static ddpm_status walk(const draw_context *c, const sampler_env *e, float *x)
{
    const drawing *d = c->d;
    const process *p = &c->p;
    if (d->encode) return sampler_encode(p, e, x);
    if (d->fill) return sampler_inpaint(p, e, d->fill, x);
    if (!d->skip) return d->method->run(p, e, x);
    if (d->method->run_from) return d->method->run_from(p, e, p->s->T - 1 - d->skip, x);
    return ddpm_fail(DDPM_EINVAL, "the sampler %s cannot start in the middle of the chain; use ddpm or ddim", d->method->name);
}

ddpm_status draw_images(const drawing *d, const draw_batch *b)
{
    const nn_shape in = denoiser_unet(d->net)->x->shape;
    draw_context c = { .d = d, .b = b, .p = *d->p, .net = { .net = d->net, .weights = d->weights, .p = d->p, .condition = b->condition, .conditions = b->n } };
    sampler_env e;
    c.image = (size_t)(in.h * in.w) * (size_t)predictor_channels(&c.net);
    if (!b->given_xT && !d->encode && !d->skip) draw_normals(b, RNG_XT, 0, c.image, b->x);
    ddpm_status status = reserve(&c, &e);
    if (status == DDPM_OK) status = walk(&c, &e, b->x);
    if (b->calls) *b->calls += c.net.calls;
    sampler_release(&e);
    classifier_free_release(&c.free);
    classifier_guided_release(&c.guided);
    predictor_free(&c.net);
    return status;
}

void draw_quantize(const float *x, size_t len, draw_rounding how, uint8_t *out)
{
    for (size_t i = 0; i < len; i++) {
        const float exact = (x[i] + 1) * 127.5f, v = how == ROUND_HALF_UP ? exact + 0.5f : exact;
        const float cut = v >= 255 ? 255 : v > 0 ? v : 0;    /* NaN becomes 0 */
        out[i] = (uint8_t)(how == ROUND_HALF_EVEN ? (cut + 0x1p23f) - 0x1p23f : cut);   /* whose last bit is worth 1 */
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
