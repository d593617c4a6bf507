#include "api/plot_evals.h"

#include "api/judge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 64 };

const eval_curve *eval_curves_find(const eval_curves *c, const char *key)
{
    for (int i = 0; i < c->count; i++)
        if (!strcmp(c->curve[i].key, key)) return &c->curve[i];
    return NULL;
}

static bool widen(double **column, int room)
{
    double *wider = realloc(*column, (size_t)room * sizeof **column);
    if (wider) *column = wider;
    return wider;
}

static ddpm_status reserve(eval_curve *c)
{
    if (c->n < c->room) return DDPM_OK;
    const int room = c->room ? 2 * c->room : FIRST_ROOM;
    if (!widen(&c->step, room) || !widen(&c->value, room) || !widen(&c->low, room) || !widen(&c->high, room))
        return ddpm_fail(DDPM_ENOMEM, "no memory for the evaluations of a run");
    c->room = room;
    return DDPM_OK;
}

/* The axes of pcaK are fitted to the run's own data; which they are, the log says in full. */
static void write_label(const char *key, const char *features, char label[2 * EVAL_KEY_SIZE])
{
    const char *name;
    bool lower;
    const bool known = eval_value_words(key, &name, &lower);
    const int len = strncmp(features, "pca", 3) ? 60 : (int)strcspn(features, "-");
    snprintf(label, 2 * EVAL_KEY_SIZE, "in %.*s%s", len < 60 ? len : 60, features, !known ? "" : lower ? ", lower is better" : ", higher is better");
}

static ddpm_status find_or_add(eval_curves *c, const char *key, const char *name, const char *features, eval_curve **found)
{
    *found = (eval_curve *)eval_curves_find(c, key);
    if (*found) return DDPM_OK;
    if (c->count == MAX_EVAL_CURVES) return ddpm_fail(DDPM_EFORMAT, "more than %d metrics", MAX_EVAL_CURVES);
    *found = &c->curve[c->count++];
    **found = (eval_curve){ .intervals = true };
    snprintf((*found)->key, EVAL_KEY_SIZE, "%s", key);
    snprintf((*found)->name, EVAL_KEY_SIZE, "%s", name);
    write_label(key, features, (*found)->label);
    return DDPM_OK;
}

static ddpm_status add(eval_curves *c, const json *m, const char *features, int64_t step)
{
    const char *key = json_as_string(json_get(m, "key")), *name = json_as_string(json_get(m, "name"));
    const json *pair = json_get(m, "interval");
    double value = NAN, low = NAN, high = NAN;
    eval_curve *curve;
    if (!key || !name || !json_as_real(json_get(m, "value"), &value)) return ddpm_fail(DDPM_EFORMAT, "a metric of \"eval\" has no key, name or value");
    if (json_array_len(pair) == 2 && (!json_as_real(json_at(pair, 0), &low) || !json_as_real(json_at(pair, 1), &high)))
        return ddpm_fail(DDPM_EFORMAT, "the interval of %s is not two numbers", key);
    DDPM_TRY(find_or_add(c, key, name, features, &curve));
    DDPM_TRY(reserve(curve));
    if (curve->n && (double)step <= curve->step[curve->n - 1])
        return ddpm_fail(DDPM_EFORMAT, "the evaluation of step %lld does not come after the one before", (long long)step);
    curve->step[curve->n] = (double)step;
    curve->value[curve->n] = value;
    curve->low[curve->n] = low;
    curve->high[curve->n++] = high;
    curve->intervals = curve->intervals && isfinite(low) && isfinite(high);
    return DDPM_OK;
}

ddpm_status eval_curves_read(const json *line, eval_curves *c)
{
    const json *list = json_get(json_get(line, "eval"), "metrics");
    const char *features = json_as_string(json_get(json_get(line, "eval"), "features"));
    int64_t step = -1;
    DDPM_TRY(json_get_int(line, "step", &step));
    if (step < 0 || !features || json_kind_of(list) != JSON_KIND_ARRAY)
        return ddpm_fail(DDPM_EFORMAT, "an evaluation without a step, its features or its metrics");
    for (size_t i = 0; i < json_array_len(list); i++) DDPM_TRY(add(c, json_at(list, i), features, step));
    return DDPM_OK;
}

void eval_curves_free(eval_curves *c)
{
    for (int i = 0; i < c->count; i++) {
        free(c->curve[i].step);
        free(c->curve[i].value);
        free(c->curve[i].low);
        free(c->curve[i].high);
    }
    *c = (eval_curves){ 0 };
}
