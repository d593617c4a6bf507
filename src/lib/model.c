#include "lib/lib.h"

#include "api/model_data.h"
#include "api/sampling.h"

#include <stdlib.h>
#include <string.h>

static ddpm_status open_model(ddpm_model *m, const char *spec, const settings *request)
{
    m->weights = request->v.weights;
    DDPM_TRY(model_open_with(spec, m->weights, request, &m->file));
    DDPM_TRY(model_check_draws(m->file));
    m->d = model_describe(m->file);
    m->net = settings_unet(&m->d->s);
    m->parameters = unet_parameters(&m->net);
    DDPM_TRY(sampling_process(&m->d->s, &m->full, &m->p));
    return model_fingerprint(m->file, m->fingerprint);
}

ddpm_status ddpm_model_open(ddpm_ctx *ctx, const char *spec, const ddpm_options *options, ddpm_model **model)
{
    settings *request;
    if (model) *model = NULL;
    if (!ctx || !spec || !model) return lib_missing_argument("ddpm_model_open");
    DDPM_TRY(lib_request(ctx, "sample", options, &request));
    ddpm_model *m = calloc(1, sizeof *m);
    ddpm_status status = m ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for a model");
    if (m) m->ctx = ctx;
    if (status == DDPM_OK) status = open_model(m, spec, request);
    free(request);
    if (status == DDPM_OK) *model = m;
    else ddpm_model_close(m);
    return status;
}

void ddpm_model_close(ddpm_model *m)
{
    if (!m) return;
    network_free(&m->n);
    schedule_free(&m->full);
    model_close(m->file);
    free(m);
}

ddpm_status lib_model_load(ddpm_model *m)
{
    if (m->n.net) return DDPM_OK;
    const ddpm_status status = network_load(m->file, &m->ctx->e, &m->n);
    if (status != DDPM_OK) network_free(&m->n);
    return status;
}

ddpm_status lib_model_check(const ddpm_model *m, const settings *request)
{
    if (settings_origin(request, "weights") == ORIGIN_DEFAULT || request->v.weights == m->weights) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "weights: the model was opened with %s weights; open it again with the others", m->weights == WEIGHTS_RAW ? "raw" : "averaged");
}

/* --- what it is ------------------------------------------------------------------------ */

static int null_class(const ddpm_model *m) { return m->net.null_class ? m->net.num_classes : -1; }

void ddpm_model_get_info(const ddpm_model *m, ddpm_model_info *info)
{
    if (!m || !info) return;
    const settings_values *v = &m->d->s.v;
    *info = (ddpm_model_info){ .height = m->net.height, .width = m->net.width, .channels = v->channels, .in_channels = m->net.in_channels,
                               .out_channels = m->net.out_channels, .small_size = v->small_size, .classes = m->net.num_classes,
                               .null_class = null_class(m), .timesteps = m->full.T, .parameters = (int64_t)m->parameters, .step = m->d->step,
                               .prediction = mean_type_name(m->p.mean), .variance = var_type_name(m->p.var), .weights = m->d->weights,
                               .kind = m->d->kind, .path = m->d->path, .fingerprint = m->fingerprint };
}

const char *ddpm_model_class_name(const ddpm_model *m, int32_t label)
{
    return m && label >= 0 && label < m->d->n_class_names ? m->d->class_names[label] : NULL;
}

ddpm_status ddpm_model_class(const ddpm_model *m, const char *word, int32_t *label)
{
    int64_t wide;
    if (!m || !word || !label) return lib_missing_argument("ddpm_model_class");
    DDPM_TRY(model_class(m->d, word, &wide));
    *label = (int32_t)wide;
    return DDPM_OK;
}

ddpm_status ddpm_model_alpha_bar(const ddpm_model *m, double *alpha_bar, int32_t count)
{
    if (!m || !alpha_bar) return lib_missing_argument("ddpm_model_alpha_bar");
    if (count != m->full.T) return ddpm_fail(DDPM_EINVAL, "ddpm_model_alpha_bar: there are %d timesteps, and room for %d", m->full.T, count);
    memcpy(alpha_bar, m->full.alphas_cumprod, (size_t)count * sizeof *alpha_bar);
    return DDPM_OK;
}

/* --- the network ------------------------------------------------------------------------ */

static ddpm_status check_call(const ddpm_model *m, int32_t n, const int32_t *t, const int32_t *y, size_t len)
{
    const size_t one = (size_t)m->net.height * (size_t)m->net.width * (size_t)m->net.out_channels;
    if (n < 1 || len / one != (size_t)n || len % one)
        return ddpm_fail(DDPM_EINVAL, "ddpm_model_denoise: the output of %d images has %d times %zu floats, there is room for %zu", n, n, one, len);
    if (!y != !m->net.num_classes)
        return ddpm_fail(DDPM_EINVAL, "ddpm_model_denoise: this model is %s; y must %sbe NULL", y ? "unconditional" : "class-conditional", y ? "" : "not ");
    for (int32_t i = 0; i < n; i++) {
        if (t[i] < 0 || t[i] >= m->full.T) return ddpm_fail(DDPM_EINVAL, "ddpm_model_denoise: t[%d] is %d, this model has 0 to %d", i, t[i], m->full.T - 1);
        if (y && (y[i] < 0 || y[i] >= m->net.num_classes + m->net.null_class))
            return ddpm_fail(DDPM_EINVAL, "ddpm_model_denoise: y[%d] is %d, this model has 0 to %d%s", i, y[i], m->net.num_classes - 1,
                             m->net.null_class ? " and its null class" : "");
    }
    return DDPM_OK;
}

ddpm_status ddpm_model_denoise(ddpm_model *m, int32_t n, const float *x, const int32_t *t, const int32_t *y, float *out, size_t len)
{
    if (!m || !x || !t || !out) return lib_missing_argument("ddpm_model_denoise");
    DDPM_TRY(check_call(m, n, t, y, len));
    DDPM_TRY(lib_model_load(m));
    float *times = malloc((size_t)n * sizeof *times);
    if (!times) return ddpm_fail(DDPM_ENOMEM, "no memory for %d images", n);
    for (int32_t i = 0; i < n; i++) times[i] = process_model_t(&m->p, t[i]);
    const ddpm_status status = denoiser_run(m->n.net, m->n.weights, n, times, y, x, out);
    free(times);
    return status;
}
