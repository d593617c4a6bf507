#include "api/checkpoint.h"
#include "api/doctor.h"
#include "api/engine.h"
#include "api/measure.h"
#include "api/tool.h"
#include "backend/cpu/cpu.h"
#include "io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json *levels(FILE *f)
{
    json *list = json_new_array();
    fprintf(f, "instruction sets ");
    for (const char *const *name = cpu_isa_names(); *name; name++) {
        if (!cpu_isa_available(*name)) continue;
        json_append(list, json_new_string(*name));
        fprintf(f, " %s", *name);
    }
    fputc('\n', f);
    return list;
}

static void describe_machine(const engine *e, FILE *f, json *o)
{
    const int cores = pool_default_threads();
    const uint64_t all = measure_memory(), available = measure_available();
    fprintf(f, "processors        %d\n", cores);
    json_put_int(o, "processors", cores);
    json_put(o, "instruction_sets", levels(f));
    fprintf(f, "kernels           %s, %d threads\n", e->backend->isa, pool_threads(e->threads));
    const int tile_columns = strcmp(e->backend->name, "cpu") ? 0 : cpu_tile_columns(e->backend);
    if (tile_columns) fprintf(f, "matrix tiles      blocks of 32 x %d, the faster of two\n", tile_columns);
    fprintf(f, "precision         %s: %s\n", engine_precision(e), e->reason);
    json_put_string(o, "isa", e->backend->isa);
    json_put_int(o, "tile_columns", tile_columns);
    json_put_int(o, "threads", pool_threads(e->threads));
    json_put_string(o, "precision", engine_precision(e));
    json_put_string(o, "precision_reason", e->reason);
    fprintf(f, "memory            %.1f GB, %.1f GB free\n", (double)all / 1e9, (double)available / 1e9);
    json_put_int(o, "memory_bytes", (int64_t)all);
    json_put_int(o, "available_bytes", (int64_t)available);
    fprintf(f, "GPU               not in this build\nMPI               not in this build\n");
    json_put_bool(o, "gpu", false);
    json_put_bool(o, "mpi", false);
}

static ddpm_status describe_models(FILE *f, json *o)
{
    char **names = NULL;
    char places[2 * MODEL_PATH_SIZE];
    int count = 0;
    json *list = json_new_array();
    DDPM_TRY(model_bundled(&names, &count));
    fprintf(f, "bundled models   ");
    for (int i = 0; i < count; i++) {
        fprintf(f, " %s", names[i]);
        json_append(list, json_new_string(names[i]));
    }
    model_bundled_places(places, sizeof places);
    fprintf(f, "%s; looked in %s\n", count ? "" : " none", places);
    json_put_string(o, "bundled_models_places", places);
    dir_list_free(names, count);
    return json_put(o, "bundled_models", list);
}

/* Every test runs; *bad counts those that fail. */
static json *run_tests(const engine *e, FILE *f, int *bad)
{
    json *list = json_new_array();
    for (const doctor_test *t = doctor_tests; t->name; t++) {
        const double start = clock_now();
        const ddpm_status s = t->run(e);
        const double seconds = clock_now() - start;
        json *o = json_new_object();
        json_put_string(o, "name", t->name);
        json_put_bool(o, "ok", s == DDPM_OK);
        json_put_real(o, "seconds", seconds);
        if (s != DDPM_OK) json_put_string(o, "error", ddpm_last_error());
        json_append(list, o);
        fprintf(f, "  %-38s %s%s (%.2f s)\n", t->name, s == DDPM_OK ? "ok" : "FAILED: ", s == DDPM_OK ? "" : ddpm_last_error(), seconds);
        *bad += s != DDPM_OK;
    }
    return list;
}

static ddpm_status examine(const engine *e, FILE *f, json *o, int *bad)
{
    json_put_string(o, "schema", "ddpm-doctor-1");
    json_put_string(o, "version", DDPM_VERSION);
    describe_machine(e, f, o);
    DDPM_TRY(describe_models(f, o));
    fprintf(f, "self-test\n");
    json_put(o, "tests", run_tests(e, f, bad));
    return json_put_bool(o, "ok", *bad == 0);
}

ddpm_status tool_doctor(settings *s, const tool_events *ev, char **text, json **summary)
{
    engine e = { 0 };
    size_t size;
    int bad = 0;
    DDPM_TRY(engine_new(s, &e));
    tool_message(ev, "testing; this takes a few seconds");
    json *o = json_new_object();
    FILE *f = open_memstream(text, &size);
    ddpm_status status = f ? examine(&e, f, o, &bad) : ddpm_fail(DDPM_ENOMEM, "no memory for a report");
    if (f) fclose(f);
    engine_free(&e);
    *summary = o;
    if (status != DDPM_OK) return status;
    return bad ? ddpm_fail(DDPM_EFAIL, "%d of the tests failed: this machine or this build computes wrongly", bad) : DDPM_OK;
}
