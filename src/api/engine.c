#include "api/engine.h"

#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"

#include <string.h>

/* Is the product of two bf16 numbers one instruction of this level? */
static bool multiplies_bf16(const char *isa) { return !strcmp(isa, "amx") || !strcmp(isa, "avx512bf16"); }

static const struct { const char *name; nn_dtype dtype; } PRECISIONS[] = {
    [PRECISION_F32] = { "f32", NN_F32 }, [PRECISION_BF16] = { "bf16", NN_BF16 }, [PRECISION_F32X3] = { "f32x3", NN_F32X3 },
};

static void choose_precision(const settings *s, engine *e)
{
    const settings_values *v = &s->v;
    const char *isa = e->backend->isa;
    const bool native = multiplies_bf16(isa);
    const bool asked = settings_origin(s, "precision") > ORIGIN_DEFAULT || v->use_fp16, chosen = v->precision != PRECISION_AUTO;
    e->precision = chosen ? v->precision : native || v->use_fp16 ? PRECISION_BF16 : PRECISION_F32;
    e->dtype = PRECISIONS[e->precision].dtype;
    if (e->precision == PRECISION_F32X3 && strcmp(isa, "amx")) e->reason = "as asked; without AMX the same as f32";
    else e->reason = asked ? "as asked" : chosen ? "the command's choice" : native ? "the processor multiplies bf16" : "the processor does not multiply bf16";
}

static ddpm_status open_backend(const settings_values *v, nn_backend **b)
{
    if (!strcmp(v->device, "ref")) return backend_ref_new(b);
    if (!strncmp(v->device, "cuda", 4))
        return ddpm_fail(DDPM_ENOSUP, "--device %s: this build has no CUDA support; use --device cpu", v->device);
    if (strcmp(v->device, "cpu")) return ddpm_fail(DDPM_EINVAL, "--device %s is not one of cpu, cuda, cuda:i, ref", v->device);
    return backend_cpu_new(v->max_isa[0] ? v->max_isa : NULL, b);
}

ddpm_status engine_new(const settings *s, engine *e)
{
    const settings_values *v = &s->v;
    *e = (engine){ 0 };
    DDPM_TRY(pool_new(v->threads ? v->threads : pool_default_threads(), &e->threads));
    const ddpm_status status = open_backend(v, &e->backend);
    if (status != DDPM_OK) {
        engine_free(e);
        return status;
    }
    choose_precision(s, e);
    return DDPM_OK;
}

bool engine_prefer_f32(settings *s)
{
    if (s->v.precision != PRECISION_AUTO || s->v.use_fp16) return false;
    s->v.precision = PRECISION_F32;
    return true;
}

void engine_free(engine *e)
{
    nn_backend_free(e->backend);
    pool_free(e->threads);
    *e = (engine){ 0 };
}

const char *engine_precision(const engine *e) { return PRECISIONS[e->precision].name; }
