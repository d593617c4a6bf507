#include "lib/lib.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

_Static_assert(sizeof(int) == sizeof(int32_t), "labels cross the border as they are");

const char *ddpm_version(void) { return DDPM_VERSION; }

void ddpm_free(void *memory) { free(memory); }

ddpm_status lib_missing_argument(const char *function)
{
    return ddpm_fail(DDPM_EINVAL, "%s: an argument is NULL that must not be; see ddpm.h", function);
}

/* --- the log ------------------------------------------------------------------------ */

void ddpm_set_log(ddpm_log_fn fn, void *user, ddpm_log_level level)
{
    log_set(fn, user, level);
}

/* --- contexts ------------------------------------------------------------------------ */

void ddpm_ctx_config_defaults(ddpm_ctx_config *c)
{
    if (c) *c = (ddpm_ctx_config){ 0 };
}

ddpm_status lib_set_engine(settings *s, const ddpm_ctx_config *c)
{
    char threads[16];
    snprintf(threads, sizeof threads, "%d", c->threads);
    if (c->threads) DDPM_TRY(settings_set(s, "threads", threads, ORIGIN_COMMAND_LINE));
    if (c->device) DDPM_TRY(settings_set(s, "device", c->device, ORIGIN_COMMAND_LINE));
    if (c->precision) DDPM_TRY(settings_set(s, "precision", c->precision, ORIGIN_COMMAND_LINE));
    return c->max_isa ? settings_set(s, "max_isa", c->max_isa, ORIGIN_COMMAND_LINE) : DDPM_OK;
}

ddpm_status ddpm_ctx_new(const ddpm_ctx_config *c, ddpm_ctx **ctx)
{
    if (!ctx) return lib_missing_argument("ddpm_ctx_new");
    *ctx = NULL;
    ddpm_ctx *new = calloc(1, sizeof *new);
    if (!new) return ddpm_fail(DDPM_ENOMEM, "no memory for a context");
    settings_defaults(&new->s);
    ddpm_status status = c ? lib_set_engine(&new->s, c) : DDPM_OK;
    if (status == DDPM_OK) status = engine_new(&new->s, &new->e);
    if (status != DDPM_OK) {
        ddpm_ctx_free(new);
        return status;
    }
    new->message = c ? c->message : NULL;
    new->user = c ? c->user : NULL;
    *ctx = new;
    return DDPM_OK;
}

void ddpm_ctx_free(ddpm_ctx *ctx)
{
    if (!ctx) return;
    engine_free(&ctx->e);
    free(ctx);
}

void ddpm_ctx_get_info(const ddpm_ctx *ctx, ddpm_ctx_info *info)
{
    if (!ctx || !info) return;
    *info = (ddpm_ctx_info){ .threads = pool_threads(ctx->e.threads), .device = ctx->e.backend->name, .isa = ctx->e.backend->isa,
                             .precision = engine_precision(&ctx->e) };
}

/* --- listeners ------------------------------------------------------------------------- */

static void message(void *ctx, const char *text)
{
    const lib_listener *l = ctx;
    if (l->ctx->message) l->ctx->message(l->ctx->user, text);
}

static void progress(void *ctx, const tool_progress *p)
{
    lib_listener *l = ctx;
    const ddpm_progress told = { .what = p->what, .unit = p->unit, .detail = p->extra, .done = p->done, .total = p->total, .per_second = p->per_second,
                                 .eta_seconds = p->eta_seconds, .quantity = p->quantity, .value = p->value };
    if (l->progress && l->progress(l->user, &told)) l->stop = true;
}

static run_request request(void *ctx)
{
    const lib_listener *l = ctx;
    return l->stop ? RUN_SAVE_AND_STOP : RUN_GO_ON;
}

void lib_listen(lib_listener *l, const ddpm_ctx *ctx, ddpm_progress_fn fn, void *user)
{
    *l = (lib_listener){ .progress = fn, .user = user, .ctx = ctx, .ev = { .ctx = l, .message = message, .progress = progress, .request = request } };
}
