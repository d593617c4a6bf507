#include "api/plot_log.h"

#include "api/checkpoint_parts.h"
#include "io/file.h"
#include "io/json.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct { curve which; const char *key; } keys[] = {
    { CURVE_LOSS, "loss" }, { CURVE_VAL, "val_loss" }, { CURVE_LR, "lr" }, { CURVE_GRAD_NORM, "grad_norm" },
    { CURVE_NORM_SQ, "grad_norm_sq" }, { CURVE_TRACE, "grad_noise_trace" },
    { CURVE_TOP1, "top1" }, { CURVE_VAL_TOP1, "val_top1" }, { CURVE_CLEAN_TOP1, "val_clean_top1" },
    { CURVE_TOP5, "top5" }, { CURVE_VAL_TOP5, "val_top5" },
};

static ddpm_status read_quarters(const json *line, run_curves *c)
{
    const json *list = json_get(line, "loss_quartiles");
    const json_kind kind = json_kind_of(list);
    if (kind == JSON_KIND_ABSENT || kind == JSON_KIND_NULL) return DDPM_OK;
    if (kind != JSON_KIND_ARRAY || json_array_len(list) != CURVE_QUARTER_END - CURVE_QUARTER)
        return ddpm_fail(DDPM_EFORMAT, "loss_quartiles is not a list of four");
    for (int q = CURVE_QUARTER; q < CURVE_QUARTER_END; q++) {
        const json *value = json_at(list, (size_t)(q - CURVE_QUARTER));
        if (json_kind_of(value) != JSON_KIND_NULL && !json_as_real(value, &c->value[q][c->n]))
            return ddpm_fail(DDPM_EFORMAT, "loss_quartiles holds something that is not a number");
    }
    return DDPM_OK;
}

static ddpm_status read_values(const json *line, run_curves *c)
{
    int64_t step = -1;
    if (json_kind_of(line) != JSON_KIND_OBJECT) return ddpm_fail(DDPM_EFORMAT, "not an object");
    DDPM_TRY(json_get_int(line, "step", &step));
    if (step < 0) return ddpm_fail(DDPM_EFORMAT, "no step");
    if (c->n > 0 && (double)step <= c->step[c->n - 1]) return ddpm_fail(DDPM_EFORMAT, "step %lld does not come after the line before", (long long)step);
    c->step[c->n] = (double)step;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) DDPM_TRY(json_get_real(line, keys[k].key, &c->value[keys[k].which][c->n]));
    if (isnan(c->value[CURVE_NORM_SQ][c->n]) != isnan(c->value[CURVE_TRACE][c->n]))
        return ddpm_fail(DDPM_EFORMAT, "grad_norm_sq and grad_noise_trace come together, here is one without the other");
    return read_quarters(line, c);
}

/* A line of either kind. */
static ddpm_status read_line(const char *text, size_t len, run_curves *c)
{
    json *line = NULL;
    for (int k = 0; k < CURVE_COUNT; k++) c->value[k][c->n] = NAN;
    ddpm_status s = json_parse(text, len, "the line", &line);
    const bool evaluation = s == DDPM_OK && json_kind_of(json_get(line, "eval")) == JSON_KIND_OBJECT;
    if (evaluation) s = eval_curves_read(line, &c->evals);
    else if (s == DDPM_OK) s = read_values(line, c);
    json_free(line);
    if (s == DDPM_OK && !evaluation) c->n++;
    return s;
}

static ddpm_status reserve(run_curves *c, size_t lines)
{
    bool ok = (c->step = calloc(lines, sizeof *c->step)) != NULL;
    for (int k = 0; k < CURVE_COUNT && ok; k++) ok = (c->value[k] = calloc(lines, sizeof **c->value)) != NULL;
    return ok ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for a log of %zu lines", lines);
}

static ddpm_status read_log(const char *path, const file_map *map, run_curves *c)
{
    const char *text = (const char *)map->data, *end = text + map->size;
    size_t lines = 0;
    for (const char *p = text; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++) lines++;
    if (lines == 0) return ddpm_fail(DDPM_EFORMAT, "%s is empty: the run has not logged a step yet", path);
    if (lines > INT_MAX / 2) return ddpm_fail(DDPM_EFORMAT, "%s has %zu lines, more than can be drawn", path, lines);
    DDPM_TRY(reserve(c, lines));
    const char *p = text;
    for (size_t i = 1; i <= lines; i++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        const ddpm_status s = read_line(p, (size_t)(stop - p), c);
        if (s != DDPM_OK) return ddpm_context(s, "%s, line %zu: ", path, i);
        p = stop + 1;
    }
    return c->n ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s has no line of a training step yet", path);
}

ddpm_status run_curves_read(const char *run, run_curves *c)
{
    char path[MODEL_PATH_SIZE];
    file_map map = { 0 };
    *c = (run_curves){ .run = run };
    DDPM_TRY(checkpoint_join(path, run, "log.jsonl"));
    if (!file_is_dir(run)) return ddpm_fail(DDPM_EINVAL, "%s is not a run: no such folder; give the folder that `ddpm train -o` wrote", run);
    if (!file_exists(path))
        return ddpm_fail(DDPM_EINVAL, checkpoint_has(run, "config.json") ? "the run %s has no log.jsonl yet" : "%s is not a run: it has no log.jsonl", run);
    DDPM_TRY(file_map_open(path, &map));
    const ddpm_status s = read_log(path, &map, c);
    file_map_close(&map);
    if (s != DDPM_OK) run_curves_free(c);
    return s;
}

void run_curves_free(run_curves *c)
{
    free(c->step);
    for (int k = 0; k < CURVE_COUNT; k++) free(c->value[k]);
    eval_curves_free(&c->evals);
    *c = (run_curves){ 0 };
}

double run_curves_last(const run_curves *c, curve which)
{
    int i = c->n - 1;
    while (i > 0 && isnan(c->value[which][i])) i--;
    return c->value[which][i];
}
