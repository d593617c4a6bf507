#include "api/sweep_table.h"

#include "base/arena.h"
#include "io/chart.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_SIZE = 64 };

/* --- text --------------------------------------------------------------------------------- */

/* The first key goes down, the last one across; those between them make a block each. */
typedef struct { int rows, blocks, columns; } layout;

static layout layout_of(const sweep_grid *g)
{
    const int rows = g->key[0].count, columns = g->keys > 1 ? g->key[g->keys - 1].count : 1;
    return (layout){ rows, g->cells / rows / columns, columns };
}

static int cell_at(const layout *l, int row, int block, int column) { return (row * l->blocks + block) * l->columns + column; }

/* Of metric `which`; its number after the last one: what drawing cost. */
static void cell_text(const sweep_table *t, int cell, int which, char text[TEXT_SIZE])
{
    const sweep_cell *c = &t->cell[cell];
    if (!c->done) snprintf(text, TEXT_SIZE, "-");
    else if (which == t->metrics) snprintf(text, TEXT_SIZE, "%d, %.3g", c->calls, c->seconds);
    else if (isfinite(c->interval[which].low)) snprintf(text, TEXT_SIZE, "%.5g (%.4g to %.4g)", c->value[which], c->interval[which].low, c->interval[which].high);
    else snprintf(text, TEXT_SIZE, "%.5g", c->value[which]);
}

static void column_title(const sweep_table *t, int column, char text[TEXT_SIZE])
{
    const sweep_grid *g = t->grid;
    if (g->keys > 1) snprintf(text, TEXT_SIZE, "%.30s %.30s", sweep_key_name(g, g->keys - 1), g->key[g->keys - 1].value[column]);
    else text[0] = 0;
}

static int wider(int width, const char *text)
{
    const int len = (int)strlen(text);
    return len > width ? len : width;
}

static void print_block(const sweep_table *t, int which, int block, FILE *f)
{
    const layout l = layout_of(t->grid);
    const sweep_key *key = &t->grid->key[0];
    char text[TEXT_SIZE];
    int first = (int)strlen(sweep_key_name(t->grid, 0));
    for (int r = 0; r < l.rows; r++) first = wider(first, key->value[r]);
    for (int r = -1; r < l.rows; r++) {
        fprintf(f, "  %*s", first, r < 0 ? sweep_key_name(t->grid, 0) : key->value[r]);
        for (int c = 0; c < l.columns; c++) {
            column_title(t, c, text);
            int width = wider(0, text);
            for (int i = 0; i < l.rows; i++) {
                cell_text(t, cell_at(&l, i, block, c), which, text);
                width = wider(width, text);
            }
            if (r < 0) column_title(t, c, text);
            else cell_text(t, cell_at(&l, r, block, c), which, text);
            if (text[0]) fprintf(f, "  %*s", width, text);
        }
        fputc('\n', f);
    }
}

void sweep_table_print(const sweep_table *t, FILE *f)
{
    const layout l = layout_of(t->grid);
    for (int which = 0; which <= t->metrics; which++)
        for (int block = 0; block < l.blocks; block++) {
            char where[256];
            sweep_describe(t->grid, cell_at(&l, 0, block, 0), 1, t->grid->keys - 1, where, sizeof where);
            if (which < t->metrics) fprintf(f, "%s, %s is better", t->metric[which].name, t->metric[which].lower_is_better ? "lower" : "higher");
            else fprintf(f, "network calls and seconds of an image");
            fprintf(f, "%s%s\n", where[0] ? "; " : "", where);
            print_block(t, which, block, f);
        }
}

/* --- document ------------------------------------------------------------------------------ */

static json *value_json(const sweep_grid *g, int cell, int key)
{
    const char *value = sweep_value(g, cell, key);
    const option_type type = settings_options[g->key[key].row].type;
    if (type == OPT_INT || type == OPT_I64) return json_new_int(strtoll(value, NULL, 10));
    if (type == OPT_REAL) return json_new_real(strtod(value, NULL));
    if (type == OPT_BOOL) return json_new_bool(!strcmp(value, "true"));
    return json_new_string(value);
}

static json *cell_json(const sweep_table *t, int cell)
{
    const sweep_cell *c = &t->cell[cell];
    json *o = json_new_object(), *settings_of = json_new_object(), *values = json_new_object();
    for (int k = 0; k < t->grid->keys; k++) json_put(settings_of, sweep_key_name(t->grid, k), value_json(t->grid, cell, k));
    for (int i = 0; i < t->metrics; i++) {
        json *one = json_new_object();
        json_put_real(one, "value", c->value[i]);
        json_put(one, "interval", json_new_interval(c->interval[i].low, c->interval[i].high));
        json_put(values, t->metric[i].key, one);
    }
    json_put(o, "settings", settings_of);
    json_put(o, "metrics", values);
    json_put_int(o, "network_calls", c->calls);
    json_put_real(o, "seconds_per_image", c->seconds);
    json_put_bool(o, "reused", c->reused);
    return o;
}

json *sweep_table_cells(const sweep_table *t)
{
    json *list = json_new_array();
    for (int i = 0; i < t->grid->cells; i++)
        if (t->cell[i].done) json_append(list, cell_json(t, i));
    return list;
}

/* --- chart --------------------------------------------------------------------------------- */

/* A line of cells that differ in one key. about: what all of them are of. */
typedef struct { const sweep_table *t; arena *memory; const char *about; int key, stride; int order[SWEEP_MAX_VALUES]; } drawing_plan;

static int chart_key(const sweep_grid *g)
{
    for (int k = 0; k < g->keys; k++)
        if (sweep_numeric(g, k)) return k;
    return -1;
}

bool sweep_table_has_chart(const sweep_grid *g) { return chart_key(g) >= 0; }

static double key_number(const sweep_key *key, int place) { return strtod(key->value[place], NULL); }

/* Lines join their points in order of x, however the values were given. */
static void plan(const sweep_table *t, int key, drawing_plan *p)
{
    const sweep_key *k = &t->grid->key[key];
    *p = (drawing_plan){ .t = t, .memory = p->memory, .key = key, .stride = 1 };
    for (int i = key + 1; i < t->grid->keys; i++) p->stride *= t->grid->key[i].count;
    for (int i = 0; i < k->count; i++) {
        int at = i;
        for (; at > 0 && key_number(k, p->order[at - 1]) > key_number(k, i); at--) p->order[at] = p->order[at - 1];
        p->order[at] = i;
    }
}

static ddpm_status no_memory(void) { return ddpm_fail(DDPM_ENOMEM, "no memory for the chart of a sweep"); }

/* The line and, on it, points with their error bars. */
static ddpm_status add_line(const drawing_plan *p, int base, int which, chart_series s[2])
{
    const sweep_key *key = &p->t->grid->key[p->key];
    char before[256], after[256];
    double *number = arena_alloc(p->memory, 4 * (size_t)key->count * sizeof *number);
    if (!number) return no_memory();
    double *x = number, *y = x + key->count, *low = y + key->count, *high = low + key->count;
    bool intervals = true;
    int n = 0;
    for (int i = 0; i < key->count; i++) {
        const sweep_cell *c = &p->t->cell[base + p->order[i] * p->stride];
        if (!c->done) continue;
        x[n] = key_number(key, p->order[i]);
        y[n] = c->value[which];
        low[n] = c->interval[which].low;
        high[n] = c->interval[which].high;
        intervals = intervals && isfinite(low[n]) && isfinite(high[n]);
        n++;
    }
    sweep_describe(p->t->grid, base, 0, p->key, before, sizeof before);
    sweep_describe(p->t->grid, base, p->key + 1, p->t->grid->keys, after, sizeof after);
    const char *name = arena_printf(p->memory, "%s%s%s", before, before[0] && after[0] ? ", " : "", after);
    if (!name) return no_memory();
    s[0] = (chart_series){ .name = name[0] ? name : NULL, .mark = CHART_LINE, .n = n, .x = x, .y = y };
    s[1] = s[0];
    s[1].mark = CHART_POINTS;
    s[1].low = intervals ? low : NULL;
    s[1].high = intervals ? high : NULL;
    return DDPM_OK;
}

static const char *mark_of(const sweep_table *t, const char *name)
{
    const sweep_mark *mark = t->mark;
    while (strcmp(mark->name, name)) mark++;
    return mark->text;
}

/* What a path ends in. */
static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* Values of other images, or of another number of them, are not to be compared with these. */
static const char *about_all(const drawing_plan *p, const char *model)
{
    const sweep_table *t = p->t;
    return arena_printf(p->memory, "%s (%s): %s images against %s", last_part(model), mark_of(t, "model"), mark_of(t, "images"), last_part(mark_of(t, "reference")));
}

/* Where the metric was measured, and which way is better. */
static const char *value_label(const drawing_plan *p, const sweep_metric *m)
{
    return arena_printf(p->memory, "in %s, %s is better", mark_of(p->t, "features"), m->lower_is_better ? "lower" : "higher");
}

static ddpm_status add_chart(const drawing_plan *p, int which, chart *c)
{
    const sweep_grid *g = p->t->grid;
    const sweep_metric *m = &p->t->metric[which];
    const char *label = value_label(p, m);
    int series = 0;
    chart_series *s = arena_alloc(p->memory, 2 * (size_t)(g->cells / g->key[p->key].count) * sizeof *s);
    if (!s || !label) return no_memory();
    for (int cell = 0; cell < g->cells; cell++)
        if (sweep_place(g, cell, p->key) == 0) {
            DDPM_TRY(add_line(p, cell, which, &s[series]));
            series += 2;
        }
    const char *key = sweep_key_name(g, p->key);
    *c = (chart){ .title = m->name, .subtitle = p->about, .x_label = key, .y_label = label, .x_log = !strcmp(key, "steps"), .x_of_points = true,
                  .n_series = series, .series = s };
    return DDPM_OK;
}

ddpm_status sweep_table_draw(const sweep_table *t, const char *model, const char *path)
{
    const int key = chart_key(t->grid);
    if (key < 0) return ddpm_fail(DDPM_EINVAL, "%s: no key of the sweep has numbers, which a chart could have as its axis", path);
    chart charts[EVAL_MAX_VALUES];
    drawing_plan p = { .memory = arena_new() };
    if (!p.memory) return no_memory();
    plan(t, key, &p);
    p.about = about_all(&p, model);
    ddpm_status status = p.about ? DDPM_OK : no_memory();
    for (int i = 0; i < t->metrics && status == DDPM_OK; i++) status = add_chart(&p, i, &charts[i]);
    if (status == DDPM_OK) status = chart_write(path, charts, t->metrics, t->metrics > 4 ? 3 : t->metrics > 1 ? 2 : 1);
    arena_free(p.memory);
    return status;
}
