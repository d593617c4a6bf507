#include "backend/ref/ref.h"

#include "backend/ref/ref_op.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

static size_t value_bytes(nn_backend *b, const nn_tensor *t)
{
    (void)b;
    return nn_len(t->shape) * nn_dtype_size(t->dtype);
}

static ddpm_status host_alloc(nn_backend *b, size_t size, void **p)
{
    (void)b;
    if (size > SIZE_MAX - ALIGNMENT) return ddpm_fail(DDPM_ENOMEM, "%zu bytes cannot be addressed", size);
    const size_t padded = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    *p = aligned_alloc(ALIGNMENT, padded ? padded : ALIGNMENT);
    if (!*p) return ddpm_fail(DDPM_ENOMEM, "no memory for %zu bytes", size);
    memset(*p, 0, padded);
    return DDPM_OK;
}

static void host_free(nn_backend *b, void *p)
{
    (void)b;
    free(p);
}

static ddpm_status upload(nn_backend *b, const nn_tensor *t, int n, const void *host, void *dst)
{
    (void)b;
    const size_t len = (size_t)n * nn_image_len(t->shape);
    if (t->dtype == NN_BF16)
        for (size_t i = 0; i < len; i++) ((bf16 *)dst)[i] = bf16_from_f32(((const float *)host)[i]);
    else
        memcpy(dst, host, len * nn_dtype_size(t->dtype));
    return DDPM_OK;
}

static ddpm_status download(nn_backend *b, const nn_tensor *t, int n, const void *src, void *host)
{
    (void)b;
    const size_t len = (size_t)n * nn_image_len(t->shape);
    if (t->dtype == NN_BF16)
        for (size_t i = 0; i < len; i++) ((float *)host)[i] = bf16_to_f32(((const bf16 *)src)[i]);
    else
        memcpy(host, src, len * nn_dtype_size(t->dtype));
    return DDPM_OK;
}

static void accumulate(nn_backend *b, const nn_tensor *t, int n, void *y, const void *x)
{
    (void)b;
    assert(t->dtype != NN_I32);
    const size_t len = (size_t)n * nn_image_len(t->shape);
    for (size_t i = 0; i < len; i++) ref_put(y, t->dtype, i, ref_get(y, t->dtype, i) + ref_get(x, t->dtype, i));
}

static void release(nn_backend *b) { free(b); }

ddpm_status backend_ref_new(nn_backend **b)
{
    *b = malloc(sizeof **b);
    if (!*b) return ddpm_fail(DDPM_ENOMEM, "no memory for a backend");
    **b = (nn_backend){
        .name = "ref", .isa = "generic",
        .value_bytes = value_bytes, .alloc = host_alloc, .free = host_free,
        .upload = upload, .download = download, .accumulate = accumulate, .release = release,
        .kernels = {
            [NN_CONV2D] = ref_conv2d,
            [NN_GROUP_NORM] = ref_group_norm,
            [NN_SILU] = ref_silu,
            [NN_ADD] = ref_add,
            [NN_CONCAT] = ref_concat,
            [NN_UPSAMPLE] = ref_upsample,
            [NN_POOL] = ref_pool,
            [NN_ATTENTION] = ref_attention,
            [NN_TIMESTEP_EMBED] = ref_timestep_embed,
            [NN_EMBED] = ref_embed,
        },
    };
    return DDPM_OK;
}
