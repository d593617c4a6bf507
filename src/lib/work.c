#include "lib/lib.h"

#include "api/eval_metrics.h"
#include "api/nll_session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void ddpm_call_defaults(ddpm_call *call)
{
    if (call) *call = (ddpm_call){ 0 };
}

/* A call in the making: what the program's command of that name would be given. */
typedef struct { lib_listener listener; settings *request; json *document; char *text; } job;

static ddpm_status job_begin(job *j, const ddpm_ctx *ctx, const char *command, const ddpm_call *call)
{
    const ddpm_call none = { 0 };
    if (!call) call = &none;
    *j = (job){ 0 };
    lib_listen(&j->listener, ctx, call->progress, call->user);
    return lib_request(ctx, command, call->options, &j->request);
}

static void job_end(job *j)
{
    json_free(j->document);
    free(j->text);
    free(j->request);
}

/* --- measuring ------------------------------------------------------------------------ */

/* What the document does not have stays as it is. */
static ddpm_status read_nll(const json *o, ddpm_nll_result *r)
{
    *r = (ddpm_nll_result){ .standard_error = NAN };
    DDPM_TRY(json_get_real(o, "bits_per_dim", &r->bits_per_dim));
    DDPM_TRY(json_get_real(o, "standard_error", &r->standard_error));
    DDPM_TRY(json_get_real(o, "prior", &r->prior));
    DDPM_TRY(json_get_real(o, "diffusion", &r->diffusion));
    DDPM_TRY(json_get_real(o, "decoder", &r->decoder));
    DDPM_TRY(json_get_real(o, "rmse", &r->rmse));
    DDPM_TRY(json_get_int(o, "images", &r->images));
    DDPM_TRY(json_get_int(o, "bad_images", &r->bad_images));
    DDPM_TRY(json_get_int(o, "terms", &r->terms));
    return json_get_int(o, "timesteps", &r->timesteps);
}

ddpm_status ddpm_nll(ddpm_model *m, const char *data, const ddpm_call *call, ddpm_nll_result *result)
{
    job j;
    if (!m || !data || !result) return lib_missing_argument("ddpm_nll");
    ddpm_status status = job_begin(&j, m->ctx, "nll", call);
    if (status == DDPM_OK) status = lib_model_check(m, j.request);
    if (status == DDPM_OK) {
        nll_session s = { .request = j.request, .ev = &j.listener.ev, .usual = NLL_IMAGES, .file = m->file, .given = true };
        status = nll_command(&s, m->d->path, data, &j.text, &j.document);
    }
    if (status == DDPM_OK) status = read_nll(j.document, result);
    job_end(&j);
    return status;
}

/* The distance is called by its features ("frechet_pca64"), or "frechet" of statistics, before their spatial one. */
static ddpm_status read_eval(const json *o, ddpm_eval_result *r)
{
    const json *interval = json_get(o, "interval");
    const char *key = json_first(o);
    while (key && strncmp(key, "frechet", 7)) key = json_next(o, key);
    *r = (ddpm_eval_result){ .distance = NAN, .low = NAN, .high = NAN, .bias = NAN };
    if (key) DDPM_TRY(json_get_real(o, key, &r->distance));
    json_as_real(json_at(interval, 0), &r->low);
    json_as_real(json_at(interval, 1), &r->high);
    DDPM_TRY(json_get_real(o, "bias", &r->bias));
    DDPM_TRY(json_get_real(o, "of_means", &r->of_means));
    DDPM_TRY(json_get_int(o, "n_samples", &r->samples));
    DDPM_TRY(json_get_int(o, "n_reference", &r->reference));
    return json_get_int(o, "bad_images", &r->bad_images);
}

/* What ddpm_eval_result has no place for. */
static ddpm_status check_metrics(const settings *request)
{
    unsigned wanted;
    DDPM_TRY(eval_metrics_parse(request->v.metrics, &wanted));
    if (!wanted || wanted & METRIC_FD) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "ddpm_eval gives the Frechet distance, which is not among the metrics \"%s\"; add fd to them", request->v.metrics);
}

ddpm_status ddpm_eval(ddpm_ctx *ctx, const char *samples, const char *reference, const ddpm_call *call, ddpm_eval_result *result)
{
    job j;
    if (!ctx || !samples || !reference || !result) return lib_missing_argument("ddpm_eval");
    ddpm_status status = job_begin(&j, ctx, "eval", call);
    if (status == DDPM_OK) status = check_metrics(j.request);
    if (status == DDPM_OK) status = tool_eval(j.request, samples, reference, &j.listener.ev, &j.text, &j.document);
    if (status == DDPM_OK) status = read_eval(j.document, result);
    job_end(&j);
    return status;
}

/* --- training --------------------------------------------------------------------------- */

static ddpm_status read_train(const json *o, ddpm_train_result *r)
{
    *r = (ddpm_train_result){ 0 };
    DDPM_TRY(json_get_int(o, "step", &r->step));
    DDPM_TRY(json_get_int(o, "dropped", &r->dropped));
    DDPM_TRY(json_get_int(o, "parameters", &r->parameters));
    return json_get_int(o, "bad_images", &r->bad_images);
}

ddpm_status ddpm_train(ddpm_ctx *ctx, const char *data, const ddpm_call *call, ddpm_train_result *result)
{
    job j;
    if (!ctx || !data || !result) return lib_missing_argument("ddpm_train");
    ddpm_status status = job_begin(&j, ctx, "train", call);
    if (status == DDPM_OK) status = tool_train(j.request, data, "ddpm_train", &j.listener.ev, &j.document);
    if (status == DDPM_OK || (status == DDPM_ESTOPPED && j.document)) {
        const ddpm_status read = read_train(j.document, result);
        if (status == DDPM_OK) status = read;
    }
    job_end(&j);
    return status;
}

/* --- files -------------------------------------------------------------------------------- */

ddpm_status ddpm_convert(ddpm_ctx *ctx, const char *model, const char *out, const ddpm_call *call)
{
    job j;
    if (!ctx || !model || !out) return lib_missing_argument("ddpm_convert");
    ddpm_status status = job_begin(&j, ctx, "convert", call);
    if (status == DDPM_OK) status = tool_convert(j.request, model, out, &j.listener.ev, &j.document);
    job_end(&j);
    return status;
}

ddpm_status ddpm_describe(ddpm_ctx *ctx, const char *path, const ddpm_call *call, char **document)
{
    job j;
    if (document) *document = NULL;
    if (!ctx || !path || !document) return lib_missing_argument("ddpm_describe");
    ddpm_status status = job_begin(&j, ctx, "info", call);
    if (status == DDPM_OK) status = tool_info(j.request, path, &j.text, &j.document);
    if (status == DDPM_OK && !(*document = json_text(j.document, 2))) status = ddpm_fail(DDPM_ENOMEM, "no memory for the document");
    job_end(&j);
    return status;
}
