/* engine.h - what every command that computes needs: threads, a backend, a precision.
 *
 * Chosen once from the settings and printed; not for anything that depends on a model. */
#ifndef DDPM_API_ENGINE_H
#define DDPM_API_ENGINE_H

#include "api/settings.h"
#include "base/pool.h"
#include "nn/backend.h"

typedef struct {
    pool       *threads;
    nn_backend *backend;
    int         precision;      /* PRECISION_..., never _AUTO       */
    nn_dtype    dtype;          /* the same for networks (nn_graph_new) */
    const char *reason;         /* why this precision; static       */
} engine;

/* Uses threads, device, precision and max_isa. ENOSUP: the device or the instruction set is not there. */
ddpm_status engine_new(const settings *s, engine *e);
/* For results that are compared to many digits: f32 unless a precision was asked for. True when this decided. */
bool        engine_prefer_f32(settings *s);
void        engine_free(engine *e);          /* empties *e */

const char *engine_precision(const engine *e);                 /* "f32", "bf16" or "f32x3" */

#endif
