#include "api/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPERATORS = 48 };

/* Two processes on an idle machine differ by about so much, in percent, where addresses and caches fall differently. */
static const double LEAST_NOISE = 3, MEMORY_NOISE = 5;

/* Operators that take less of a step, in percent, are too short to judge. */
static const double LEAST_SHARE = 1;

static const char SCHEMA[] = "ddpm-bench-1", HERE[] = "this measurement";

/* What one document says of a figure. percent: of the ceiling measured beside it; median 0: there is none. */
typedef struct { const char *name; bench_range ms, percent; double share; } entry;

typedef struct { entry forward, train, operators[MAX_OPERATORS]; int count; double bytes, forward_bytes; } result;

/* --- reading ------------------------------------------------------------------------------------ */

static ddpm_status positive(const json *o, const char *key, const char *where, double *value)
{
    json *j;
    DDPM_TRY(json_need(o, key, where, &j));
    if (!json_as_real(j, value) || !(*value > 0)) return ddpm_fail(DDPM_EFORMAT, "%s: key \"%s\" must be a positive number", where, key);
    return DDPM_OK;
}

static ddpm_status read_range(const json *o, const char *key, const char *where, bench_range *r)
{
    char name[64];
    DDPM_TRY(positive(o, key, where, &r->median));
    snprintf(name, sizeof name, "%s_min", key);
    DDPM_TRY(positive(o, name, where, &r->min));
    snprintf(name, sizeof name, "%s_max", key);
    DDPM_TRY(positive(o, name, where, &r->max));
    if (r->min <= r->median && r->median <= r->max) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s: key \"%s\" must lie between its _min and _max", where, key);
}

static ddpm_status read_text(const json *o, const char *key, const char *where, const char **text)
{
    json *j;
    DDPM_TRY(json_need(o, key, where, &j));
    *text = json_as_string(j);
    return *text ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s: key \"%s\" must be a text", where, key);
}

/* Lines that nothing ran in, such as a step with nothing to add, have no time to read. */
static ddpm_status read_operator(const json *o, const char *where, entry *e)
{
    double ms = 0;
    DDPM_TRY(read_text(o, "name", where, &e->name));
    DDPM_TRY(json_get_real(o, "ms_per_image", &ms));
    if (ms <= 0) return DDPM_OK;
    DDPM_TRY(read_range(o, "ms_per_image", where, &e->ms));
    DDPM_TRY(positive(o, "share_percent", where, &e->share));
    return json_get(o, "ceiling_percent") ? read_range(o, "ceiling_percent", where, &e->percent) : DDPM_OK;
}

static ddpm_status read_operators(const json *document, const char *where, result *r)
{
    const json *list = json_get(document, "operators");
    const size_t n = json_array_len(list);
    if (list && json_kind_of(list) != JSON_KIND_ARRAY) return ddpm_fail(DDPM_EFORMAT, "%s: key \"operators\" must be an array", where);
    if (n > MAX_OPERATORS) return ddpm_fail(DDPM_EFORMAT, "%s: key \"operators\" has %zu elements; a step has at most %d", where, n, MAX_OPERATORS);
    for (r->count = 0; r->count < (int)n; r->count++) DDPM_TRY(read_operator(json_at(list, (size_t)r->count), where, &r->operators[r->count]));
    return DDPM_OK;
}

static ddpm_status read_result(const json *document, const char *where, result *r)
{
    const char *schema;
    *r = (result){ .forward.name = "forward", .train.name = "train" };
    DDPM_TRY(read_text(document, "schema", where, &schema));
    if (strcmp(schema, SCHEMA)) return ddpm_fail(DDPM_EFORMAT, "%s: key \"schema\" is \"%.60s\", not \"%s\"; --compare takes what `ddpm bench --json` printed", where, schema, SCHEMA);
    DDPM_TRY(read_range(document, "forward_ms", where, &r->forward.ms));
    DDPM_TRY(read_range(document, "train_ms", where, &r->train.ms));
    DDPM_TRY(read_range(document, "forward_percent_of_ceiling", where, &r->forward.percent));
    DDPM_TRY(read_range(document, "train_percent_of_ceiling", where, &r->train.percent));
    DDPM_TRY(positive(document, "peak_rss_bytes", where, &r->bytes));
    DDPM_TRY(positive(document, "forward_peak_rss_bytes", where, &r->forward_bytes));
    return read_operators(document, where, r);
}

/* --- the same work -------------------------------------------------------------------------------- */

/* How something is measured, not what. */
static bool of_measuring(const char *name) { return !strcmp(name, "ops") || !strcmp(name, "repeats"); }

static ddpm_status check_values(const settings *s, const settings *old, const char *where)
{
    for (int i = 0; settings_options[i].name; i++) {
        char asked[OPTION_TEXT_SIZE], there[OPTION_TEXT_SIZE];
        if (s->origins[i] <= ORIGIN_CONFIG || !(settings_options[i].groups & GROUP_BENCH) || settings_options[i].groups & GROUP_CALL) continue;
        options_print(settings_options, &s->v, i, asked);
        options_print(settings_options, &old->v, i, there);
        if (!strcmp(asked, there) || of_measuring(settings_options[i].name)) continue;
        return ddpm_fail(DDPM_EINVAL, "%s was measured with --%s %.60s, not %.60s; leave the option out, or compare with a file of the same work", where,
                         settings_options[i].name, there[0] ? there : "\"\"", asked);
    }
    return DDPM_OK;
}

static ddpm_status adopt(settings *s, settings *old, const json *values, const char *where)
{
    settings_defaults(old);
    DDPM_TRY(settings_from_json(old, values, where, ORIGIN_CONFIG));
    DDPM_TRY(check_values(s, old, where));
    if (old->v.preset[0]) DDPM_TRY(settings_preset(s, old->v.preset));
    return settings_from_json(s, values, where, ORIGIN_CONFIG);
}

ddpm_status bench_compare_adopt(settings *s, const json *file, const char *where)
{
    json *values;
    result *r = malloc(sizeof *r);
    settings *old = malloc(sizeof *old);
    ddpm_status status = r && old ? read_result(file, where, r) : ddpm_fail(DDPM_ENOMEM, "no memory for an earlier measurement");
    if (status == DDPM_OK) status = json_need(file, "values", where, &values);
    if (status == DDPM_OK && json_kind_of(values) != JSON_KIND_OBJECT) status = ddpm_fail(DDPM_EFORMAT, "%s: key \"values\" must be an object", where);
    if (status == DDPM_OK) status = adopt(s, old, values, where);
    free(r);
    free(old);
    return status;
}

ddpm_status bench_compare_network(const json *file, const char *where, size_t parameters)
{
    double there;
    DDPM_TRY(positive(file, "parameters", where, &there));
    if (there == (double)parameters) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s: key \"parameters\" is %.0f, but this network has %zu: it is other work", where, there, parameters);
}

/* --- ratios ------------------------------------------------------------------------------------------- */

static double spread(bench_range r) { return r.median > 0 ? 100 * (r.max - r.min) / r.median : 0; }

/* Ratios are now / then of times: above 1 is slower. In a state in which the machine's ceiling is half, everything takes twice
 * as long; `ratio` sees that and `reached`, the ratio of the shares of the ceiling, does not. noise: percent of `reached`. */
typedef struct { const char *name; double then, now, ratio, reached, noise; bool judged, worse; } comparison;

static comparison compare_entries(const entry *then, const entry *now)
{
    comparison c = { .name = now->name, .then = then->ms.median, .now = now->ms.median, .ratio = now->ms.median / then->ms.median, .judged = true };
    const bool ceilings = then->percent.median > 0 && now->percent.median > 0;
    const bench_range a = ceilings ? then->percent : then->ms, b = ceilings ? now->percent : now->ms;
    c.reached = ceilings ? then->percent.median / now->percent.median : c.ratio;
    c.noise = fmax(LEAST_NOISE, sqrt(spread(a) * spread(a) + spread(b) * spread(b)));
    return c;
}

static comparison compare_operators(const entry *then, const entry *now)
{
    comparison c = compare_entries(then, now);
    c.judged = now->percent.median > 0 && fmax(then->share, now->share) >= LEAST_SHARE;
    return c;
}

static comparison compare_memory(const char *name, double then, double now)
{
    return (comparison){ .name = name, .then = then / 1e6, .now = now / 1e6, .ratio = now / then, .reached = now / then, .noise = MEMORY_NOISE, .judged = true };
}

static const entry *find(const result *r, const char *name)
{
    for (int i = 0; i < r->count; i++)
        if (!strcmp(r->operators[i].name, name)) return &r->operators[i];
    return NULL;
}

static json *comparison_document(const comparison *c, const char *unit)
{
    char key[32];
    json *o = json_new_object();
    json_put_string(o, "name", c->name);
    snprintf(key, sizeof key, "then_%s", unit);
    json_put_real(o, key, c->then);
    snprintf(key, sizeof key, "now_%s", unit);
    json_put_real(o, key, c->now);
    json_put_real(o, "ratio", c->ratio);
    json_put_real(o, "ratio_to_ceiling", c->reached);
    json_put_real(o, "noise_percent", c->noise);
    json_put_bool(o, "judged", c->judged);
    json_put_bool(o, "worse", c->worse);
    return o;
}

/* One line of text and one element of the document. */
static void tell(comparison c, const char *unit, FILE *f, json *list, int *worse)
{
    c.worse = c.judged && c.reached > 1 + c.noise / 100;
    *worse += c.worse;
    fprintf(f, "  %-24s %10.3f -> %10.3f %-8s %7.3f %11.3f %8.1f  %s\n", c.name, c.then, c.now, unit, c.ratio, c.reached, c.noise,
            c.worse ? "WORSE" : !c.judged ? "not judged" : c.reached < 1 - c.noise / 100 ? "better" : "");
    json_append(list, comparison_document(&c, !strcmp(unit, "MB") ? "mb" : "ms"));
}

/* Text keys that say with what was measured; a difference is told. */
static void tell_circumstances(const json *then, const json *now, FILE *f)
{
    static const char *const KEYS[] = { "isa", "device", "version" };
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        const char *a = json_as_string(json_get(then, KEYS[i])), *b = json_as_string(json_get(now, KEYS[i]));
        if (a && b && strcmp(a, b)) fprintf(f, "  %s: %.40s then, %.40s now\n", KEYS[i], a, b);
    }
}

static void tell_all(const result *then, const result *now, FILE *f, json *o, int *worse)
{
    json *figures = json_new_array(), *operators = json_new_array();
    fprintf(f, "  %-24s %10s    %10s %-8s %7s %11s %8s\n", "", "then", "now", "", "ratio", "to ceiling", "noise %");
    tell(compare_entries(&then->forward, &now->forward), "ms", f, figures, worse);
    tell(compare_entries(&then->train, &now->train), "ms", f, figures, worse);
    tell(compare_memory("peak memory", then->bytes, now->bytes), "MB", f, figures, worse);
    tell(compare_memory("peak memory, forward", then->forward_bytes, now->forward_bytes), "MB", f, figures, worse);
    for (int i = 0; i < now->count; i++) {
        const entry *e = find(then, now->operators[i].name);
        if (e && e->ms.median > 0 && now->operators[i].ms.median > 0) tell(compare_operators(e, &now->operators[i]), "ms/image", f, operators, worse);
    }
    json_put(o, "figures", figures);
    json_put(o, "operators", operators);
}

static ddpm_status compare_documents(const json *then, const char *where, json *now, result *r, FILE *f, int *slower)
{
    DDPM_TRY(read_result(then, where, &r[0]));
    DDPM_TRY(read_result(now, HERE, &r[1]));
    json *o = json_new_object();
    *slower = 0;
    json_put_string(o, "file", where);
    fprintf(f, "against %s; ratios above 1 are worse, \"to ceiling\" after allowing for the state of the machine:\n", where);
    tell_circumstances(then, now, f);
    tell_all(&r[0], &r[1], f, o, slower);
    json_put_int(o, "worse", *slower);
    return json_put(now, "comparison", o);
}

ddpm_status bench_compare(const json *then, const char *where, json *now, FILE *f, int *slower)
{
    result *r = malloc(2 * sizeof *r);
    if (!r) return ddpm_fail(DDPM_ENOMEM, "no memory for a comparison");
    const ddpm_status status = compare_documents(then, where, now, r, f, slower);
    free(r);
    return status;
}
