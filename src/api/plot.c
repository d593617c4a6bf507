#include "api/plot_log.h"
#include "api/plot_units.h"
#include "api/tool.h"
#include "base/arena.h"
#include "io/chart.h"
#include "io/json.h"
#include "io/svg_png.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RUNS = 16, MAX_CHARTS = 16 + MAX_EVAL_CURVES, MOST_SMOOTHED = 250, MOST_MARKED = 40 };

typedef struct {
    arena      *memory;              /* of everything drawn    */
    run_curves  run[MAX_RUNS];
    const char *name[MAX_RUNS];
    int         runs;
    const char *loss;                /* the label of losses    */
    chart       charts[MAX_CHARTS];
    int         count;
    char        output[OPTION_STRING_SIZE];
} plotting;

/* Points of one column. */
typedef struct { double *x, *y; int n; } points;

static ddpm_status no_memory(void) { return ddpm_fail(DDPM_ENOMEM, "no memory for the charts"); }

static double *numbers(const plotting *p, int n) { return arena_alloc(p->memory, (size_t)(n > 0 ? n : 1) * sizeof(double)); }

/* The lines that have a number. */
static ddpm_status points_of(const plotting *p, const run_curves *r, const double *value, points *out)
{
    *out = (points){ numbers(p, r->n), numbers(p, r->n), 0 };
    if (!out->x || !out->y) return no_memory();
    for (int i = 0; i < r->n; i++) {
        if (!isfinite(value[i])) continue;
        out->x[out->n] = r->step[i];
        out->y[out->n++] = value[i];
    }
    return DDPM_OK;
}

/* --- smoothing ------------------------------------------------------------------------------ */

/* Half the width of the averages, in lines. */
static int half_width(int n, int parts)
{
    const int half = n / parts / 2;
    return half < MOST_SMOOTHED ? half : MOST_SMOOTHED;
}

/* At the start, where curves are steep, the window grows with i, so that it never reaches further to one side; at the end,
 * where they are flat and noisy, it keeps its left half. */
static void averages(const double *v, int n, int half, double *out)
{
    for (int i = 0; i < n; i++) {
        const int w = i < half ? i : half, end = i + w < n ? i + w : n - 1;
        double sum = 0;
        for (int k = i - w; k <= end; k++) sum += v[k];
        out[i] = sum / (end - i + w + 1);
    }
}

static void extremes(const double *v, int n, int half, double *low, double *high)
{
    for (int i = 0; i < n; i++) {
        const int begin = i > half ? i - half : 0, end = i + half < n ? i + half : n - 1;
        low[i] = high[i] = v[i];
        for (int k = begin; k <= end; k++) {
            low[i] = fmin(low[i], v[k]);
            high[i] = fmax(high[i], v[k]);
        }
    }
}

/* --- charts ----------------------------------------------------------------------------------- */

/* Keeps a chart if it has points. */
static void add_chart(plotting *p, const char *title, const char *y_label, bool y_log, int n, const chart_series *series)
{
    bool any = false;
    for (int k = 0; k < n; k++)
        for (int i = 0; i < series[k].n && series[k].y; i++) any = any || (isfinite(series[k].y[i]) && (!y_log || series[k].y[i] > 0));
    if (!any) return;
    p->charts[p->count++] = (chart){ .title = title, .x_label = "training step", .y_label = y_label, .y_log = y_log, .n_series = n, .series = series };
}

/* A smoothed line and, where it has a width, the band of the single values around it. */
static ddpm_status add_smooth(const plotting *p, const char *name, const points *raw, chart_series out[2])
{
    const int half = half_width(raw->n, 50);
    double *mean = numbers(p, raw->n), *low = numbers(p, raw->n), *high = numbers(p, raw->n);
    if (!mean || !low || !high) return no_memory();
    averages(raw->y, raw->n, half, mean);
    extremes(raw->y, raw->n, half, low, high);
    out[0] = (chart_series){ .name = name, .mark = CHART_BAND, .n = half ? raw->n : 0, .x = raw->x, .low = low, .high = high };
    out[1] = (chart_series){ .name = name, .mark = CHART_LINE, .n = raw->n, .x = raw->x, .y = mean };
    return DDPM_OK;
}

/* One column of every run. */
static ddpm_status add_column(plotting *p, const char *title, const char *y_label, bool y_log, curve which, bool smooth)
{
    chart_series *s = arena_alloc(p->memory, 2 * (size_t)p->runs * sizeof *s);
    if (!s) return no_memory();
    for (int k = 0; k < p->runs; k++) {
        points raw;
        DDPM_TRY(points_of(p, &p->run[k], p->run[k].value[which], &raw));
        s[2 * k] = (chart_series){ .name = p->name[k], .mark = CHART_BAND };
        s[2 * k + 1] = (chart_series){ .name = p->name[k], .mark = CHART_LINE, .n = raw.n, .x = raw.x, .y = raw.y };
        if (!smooth && which != CURVE_LR && raw.n <= MOST_MARKED)
            s[2 * k] = (chart_series){ .name = p->name[k], .mark = CHART_POINTS, .n = raw.n, .x = raw.x, .y = raw.y };
        if (smooth) DDPM_TRY(add_smooth(p, p->name[k], &raw, s + 2 * k));
    }
    add_chart(p, title, y_label, y_log, 2 * p->runs, s);
    return DDPM_OK;
}

static const char *const QUARTERS[] = { "t < T/4", "T/4 \xe2\x89\xa4 t < T/2", "T/2 \xe2\x89\xa4 t < 3T/4", "t \xe2\x89\xa5 3T/4" };

/* One run: its quarters in one chart. Several: a chart for each quarter. */
static ddpm_status add_quarters(plotting *p)
{
    static const char *const titles[] = { "Loss, t < T/4", "Loss, T/4 \xe2\x89\xa4 t < T/2", "Loss, T/2 \xe2\x89\xa4 t < 3T/4", "Loss, t \xe2\x89\xa5 3T/4" };
    for (int q = 0; q < 4 && p->runs > 1; q++) DDPM_TRY(add_column(p, titles[q], p->loss, true, CURVE_QUARTER + (curve)q, true));
    if (p->runs > 1) return DDPM_OK;
    chart_series *s = arena_alloc(p->memory, 8 * sizeof *s);
    if (!s) return no_memory();
    for (int q = 0; q < 4; q++) {
        points raw;
        DDPM_TRY(points_of(p, &p->run[0], p->run[0].value[CURVE_QUARTER + q], &raw));
        DDPM_TRY(add_smooth(p, QUARTERS[q], &raw, s + 2 * q));
        s[2 * q].n = 0;
    }
    add_chart(p, "Loss by timestep", p->loss, true, 8, s);
    return DDPM_OK;
}

/* Trace and squared norm are averaged apart; a quotient of noisy numbers has no mean. */
static ddpm_status noise_scale(const plotting *p, const run_curves *r, points *out)
{
    points trace, norm;
    DDPM_TRY(points_of(p, r, r->value[CURVE_TRACE], &trace));
    DDPM_TRY(points_of(p, r, r->value[CURVE_NORM_SQ], &norm));
    *out = (points){ trace.x, numbers(p, trace.n), trace.n };
    double *a = numbers(p, trace.n), *b = numbers(p, norm.n);
    if (!out->y || !a || !b) return no_memory();
    const int half = half_width(out->n, 15);
    averages(trace.y, out->n, half, a);
    averages(norm.y, out->n, half, b);
    for (int i = 0; i < out->n; i++) out->y[i] = b[i] > 0 ? a[i] / b[i] : NAN;
    return DDPM_OK;
}

static ddpm_status add_noise_scale(plotting *p)
{
    chart_series *s = arena_alloc(p->memory, (size_t)p->runs * sizeof *s);
    if (!s) return no_memory();
    for (int k = 0; k < p->runs; k++) {
        points scale;
        DDPM_TRY(noise_scale(p, &p->run[k], &scale));
        s[k] = (chart_series){ .name = p->name[k], .mark = CHART_LINE, .n = scale.n, .x = scale.x, .y = scale.y };
    }
    add_chart(p, "Gradient noise scale", "noise scale (images)", true, p->runs, s);
    return DDPM_OK;
}

/* What was measured of drawn images under this key, of every run that has it. */
static ddpm_status add_evaluation(plotting *p, const eval_curve *first)
{
    chart_series *s = arena_alloc(p->memory, 2 * (size_t)p->runs * sizeof *s);
    if (!s) return no_memory();
    for (int k = 0; k < p->runs; k++) {
        const eval_curve *c = eval_curves_find(&p->run[k].evals, first->key);
        const bool bars = c && c->intervals;
        s[2 * k] = (chart_series){ .name = p->name[k], .mark = CHART_LINE, .n = c ? c->n : 0, .x = c ? c->step : NULL, .y = c ? c->value : NULL };
        s[2 * k + 1] = s[2 * k];
        s[2 * k + 1].mark = CHART_POINTS;
        s[2 * k + 1].low = bars ? c->low : NULL;
        s[2 * k + 1].high = bars ? c->high : NULL;
    }
    add_chart(p, first->name, first->label, false, 2 * p->runs, s);
    return DDPM_OK;
}

/* Each key once, at the first run that has it. */
static ddpm_status add_evaluations(plotting *p)
{
    for (int k = 0; k < p->runs; k++)
        for (int i = 0; i < p->run[k].evals.count; i++) {
            const eval_curve *c = &p->run[k].evals.curve[i];
            bool earlier = false;
            for (int j = 0; j < k; j++) earlier = earlier || eval_curves_find(&p->run[j].evals, c->key);
            if (!earlier && p->count < MAX_CHARTS) DDPM_TRY(add_evaluation(p, c));
        }
    return DDPM_OK;
}

/* One that holds for all runs. */
static const char *loss_label(const plotting *p)
{
    const char *label = plot_loss_label(p->run[0].run);
    for (int k = 1; k < p->runs; k++) if (strcmp(label, plot_loss_label(p->run[k].run))) return "loss";
    return label;
}

static ddpm_status build(plotting *p)
{
    p->loss = loss_label(p);
    DDPM_TRY(add_column(p, "Training loss", p->loss, true, CURVE_LOSS, true));
    DDPM_TRY(add_quarters(p));
    DDPM_TRY(add_column(p, "Validation loss", p->loss, true, CURVE_VAL, false));
    DDPM_TRY(add_column(p, "Training accuracy", "top-1 accuracy", false, CURVE_TOP1, true));
    DDPM_TRY(add_column(p, "Training accuracy", "top-5 accuracy", false, CURVE_TOP5, true));
    DDPM_TRY(add_column(p, "Validation accuracy", "top-1 accuracy", false, CURVE_VAL_TOP1, false));
    DDPM_TRY(add_column(p, "Validation accuracy", "top-5 accuracy", false, CURVE_VAL_TOP5, false));
    DDPM_TRY(add_column(p, "Validation accuracy without noise", "top-1 accuracy", false, CURVE_CLEAN_TOP1, false));
    DDPM_TRY(add_column(p, "Learning rate", "learning rate", false, CURVE_LR, false));
    DDPM_TRY(add_column(p, "Gradient norm before clipping", "norm of the gradient", true, CURVE_GRAD_NORM, true));
    DDPM_TRY(add_noise_scale(p));
    return add_evaluations(p);
}

/* --- runs and names ----------------------------------------------------------------------------- */

/* The folder's own name; the whole word where that says nothing. */
static const char *own_name(plotting *p, const char *run)
{
    size_t len = strlen(run);
    while (len > 1 && run[len - 1] == '/') len--;
    size_t begin = len;
    while (begin > 0 && run[begin - 1] != '/') begin--;
    const char *name = arena_printf(p->memory, "%.*s", (int)(len - begin), run + begin);
    return name && (!name[0] || !strcmp(name, ".") || !strcmp(name, "..")) ? run : name;
}

static ddpm_status name_runs(plotting *p)
{
    for (int k = 0; k < p->runs; k++) if (!(p->name[k] = own_name(p, p->run[k].run))) return no_memory();
    for (int k = 0; k < p->runs; k++)
        for (int j = 0; j < k; j++) {
            if (!strcmp(p->run[k].run, p->run[j].run)) return ddpm_fail(DDPM_EINVAL, "%s is given twice", p->run[k].run);
            if (!strcmp(p->name[k], p->name[j])) p->name[k] = p->run[k].run, p->name[j] = p->run[j].run;
        }
    return DDPM_OK;
}

static ddpm_status choose_output(plotting *p, const char *output, const char *const *runs)
{
    const size_t len = strlen(output);
    if (!len && p->runs > 1) return ddpm_fail(DDPM_EINVAL, "there are %d runs: say where their charts go with -o FILE.svg or FILE.png", p->runs);
    if (len && !svg_has_ending(output)) return ddpm_fail(DDPM_EINVAL, "-o %s: the name must end in .svg or .png", output);
    const int n = len ? snprintf(p->output, sizeof p->output, "%s", output) : snprintf(p->output, sizeof p->output, "%s/curves.svg", runs[0]);
    return (size_t)n < sizeof p->output ? DDPM_OK : ddpm_fail(DDPM_EINVAL, "%.100s...: the name is too long", runs[0]);
}

/* --- what is said ---------------------------------------------------------------------------------- */

static ddpm_status describe_run(const plotting *p, int k, json *list)
{
    const run_curves *r = &p->run[k];
    points scale;
    json *o = json_new_object();
    json_put_string(o, "run", r->run);
    json_put_string(o, "name", p->name[k]);
    json_put_int(o, "lines", r->n);
    json_put_int(o, "step", (int64_t)r->step[r->n - 1]);
    json_put_real(o, "loss", run_curves_last(r, CURVE_LOSS));
    json_put_real(o, "val_loss", run_curves_last(r, CURVE_VAL));
    json_put_real(o, "top1", run_curves_last(r, CURVE_TOP1));
    json_put_real(o, "val_top1", run_curves_last(r, CURVE_VAL_TOP1));
    json_put_real(o, "val_clean_top1", run_curves_last(r, CURVE_CLEAN_TOP1));
    json_put_real(o, "lr", run_curves_last(r, CURVE_LR));
    json_put_real(o, "grad_norm", run_curves_last(r, CURVE_GRAD_NORM));
    const ddpm_status s = noise_scale(p, r, &scale);
    if (s != DDPM_OK) {
        json_free(o);
        return s;
    }
    json_put_real(o, "noise_scale", scale.n ? scale.y[scale.n - 1] : NAN);
    for (int i = 0; i < r->evals.count; i++) json_put_real(o, r->evals.curve[i].key, r->evals.curve[i].value[r->evals.curve[i].n - 1]);
    return json_append(list, o);
}

static ddpm_status describe(const plotting *p, char **text, json **summary)
{
    json *o = json_new_object(), *list = json_new_array(), *titles = json_new_array();
    ddpm_status s = json_put_string(o, "schema", "ddpm-plot-1");
    json_put_string(o, "output", p->output);
    for (int k = 0; k < p->count; k++) json_append(titles, json_new_string(p->charts[k].title));
    json_put(o, "charts", titles);
    for (int k = 0; k < p->runs && s == DDPM_OK; k++) s = describe_run(p, k, list);
    const ddpm_status put = json_put(o, "runs", list);
    if (s == DDPM_OK) s = put;
    if (s == DDPM_OK && asprintf(text, "%s: %d charts of %d run%s\n", p->output, p->count, p->runs, p->runs > 1 ? "s" : "") < 0) {
        *text = NULL;
        s = no_memory();
    }
    if (s != DDPM_OK) json_free(o);
    else *summary = o;
    return s;
}

static ddpm_status plot(plotting *p, const settings *s, const char *const *runs, int count, char **text, json **summary)
{
    if (count < 1) return ddpm_fail(DDPM_EINVAL, "no RUN is given; --help shows how to call the command");
    if (count > MAX_RUNS) return ddpm_fail(DDPM_EINVAL, "%d runs are more than one chart can show; give at most %d", count, MAX_RUNS);
    p->runs = count;
    if (!(p->memory = arena_new())) return no_memory();
    DDPM_TRY(choose_output(p, s->v.output, runs));
    for (int k = 0; k < count; k++) DDPM_TRY(run_curves_read(runs[k], &p->run[k]));
    DDPM_TRY(name_runs(p));
    DDPM_TRY(build(p));
    DDPM_TRY(chart_write(p->output, p->charts, p->count, p->count > 6 ? 3 : 2));
    return describe(p, text, summary);
}

ddpm_status tool_plot(const settings *s, const char *const *runs, int count, char **text, json **summary)
{
    plotting *p = calloc(1, sizeof *p);
    if (!p) return no_memory();
    const ddpm_status status = plot(p, s, runs, count, text, summary);
    for (int k = 0; k < p->runs; k++) run_curves_free(&p->run[k]);
    arena_free(p->memory);
    free(p);
    return status;
}
