#include "lib/lib.h"

#include "api/sample_session.h"

#include <stdlib.h>

void ddpm_sample_config_defaults(ddpm_sample_config *c)
{
    if (c) *c = (ddpm_sample_config){ .n = 1 };
}

/* n images of this model are `len` bytes or floats. */
static ddpm_status check_room(const ddpm_model *m, int32_t n, size_t len)
{
    const size_t one = (size_t)m->net.height * (size_t)m->net.width * (size_t)m->d->s.v.channels;
    if (n >= 1 && len / one == (size_t)n && len % one == 0) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "%d images %dx%dx%d (height, width, channels) are %d times %zu values, there is room for %zu", n, m->net.height, m->net.width,
                     m->d->s.v.channels, n, one, len);
}

static ddpm_status draw(ddpm_model *m, const ddpm_sample_config *c, uint8_t *pixels, float *images, size_t len)
{
    settings *request;
    lib_listener l;
    const sample_memory memory = { .n = c->n, .first = c->first, .seed = c->seeds, .label = c->labels, .latents = c->latents, .pixels = pixels, .images = images };
    DDPM_TRY(check_room(m, c->n, len));
    DDPM_TRY(lib_request(m->ctx, "sample", c->options, &request));
    lib_listen(&l, m->ctx, c->progress, c->user);
    ddpm_status status = lib_model_check(m, request);
    if (status == DDPM_OK) status = lib_model_load(m);
    if (status == DDPM_OK) status = sample_into(m->file, &m->ctx->e, &m->n, request, &l.ev, &memory);
    free(request);
    return status;
}

ddpm_status ddpm_sample(ddpm_model *model, const ddpm_sample_config *c, uint8_t *pixels, size_t size)
{
    if (!model || !c || !pixels) return lib_missing_argument("ddpm_sample");
    return draw(model, c, pixels, NULL, size);
}

ddpm_status ddpm_sample_float(ddpm_model *model, const ddpm_sample_config *c, float *images, size_t len)
{
    if (!model || !c || !images) return lib_missing_argument("ddpm_sample_float");
    return draw(model, c, NULL, images, len);
}
