#include "api/sweep.h"

#include "api/sample_session.h"
#include "api/sweep_table.h"
#include "base/clock.h"
#include "io/file.h"
#include "io/svg_png.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_IMAGES = 1000, LONG_PATH = OPTION_STRING_SIZE + 8, MARK_SIZE = 2048 };

typedef struct {
    const settings    *request;
    const tool_events *ev;
    tool_events        of_drawing, of_judge;      /* what is passed on of a cell's own events     */
    const char        *word, *reference;
    char               csv[LONG_PATH], chart[LONG_PATH];      /* "": none                         */
    sweep_grid         grid;
    sweep_table        table;
    settings           cell;                      /* of the cell in work                          */
    char               where[256];                /* its values in words                          */
    char               warned[512];               /* the judge's last message                     */
    model_file        *file;
    char               fingerprint[9];
    engine             e;
    network            n;
    judge             *j;
    int                images;
    double             judging;                   /* seconds of the cell that were not drawing    */
} sweep;

ddpm_status sweep_refuse_options(const settings *request)
{
    for (int i = 0; settings_options[i].name; i++) {
        const option *o = &settings_options[i];
        if ((o->groups & GROUP_SWEEP) && !(o->groups & GROUP_EVAL) && request->origins[i] == ORIGIN_COMMAND_LINE)
            return ddpm_fail(DDPM_EINVAL, "--%s is for --sweep, where SAMPLES is a model and its images are drawn; here they are there already", o->name);
    }
    return DDPM_OK;
}

/* --- what is said while it works -------------------------------------------------------------- */

static run_request pass_request(void *ctx)
{
    const sweep *s = ctx;
    return tool_request(s->ev);
}

/* A line for each cell is enough where lines are kept. */
static void pass_progress(void *ctx, const tool_progress *p)
{
    const sweep *s = ctx;
    tool_progress q = *p;
    q.what = s->where[0] ? s->where : p->what;
    q.line = q.line && !s->where[0];
    if (s->ev->progress) s->ev->progress(s->ev->ctx, &q);
}

/* A warning that holds for every cell is said once. */
static void pass_message(void *ctx, const char *text)
{
    sweep *s = ctx;
    if (!strncmp(s->warned, text, sizeof s->warned - 1)) return;
    snprintf(s->warned, sizeof s->warned, "%s", text);
    tool_message(s->ev, "%s", text);
}

/* --- what is asked for ------------------------------------------------------------------------- */

/* The table and its chart stand side by side; -o names one of them. */
static ddpm_status choose_output(sweep *s)
{
    const char *out = s->request->v.output;
    const bool csv = file_has_ending(out, ".csv"), chart = svg_has_ending(out), drawable = sweep_table_has_chart(&s->grid);
    const int stem = (int)strlen(out) - 4;
    if (!out[0]) return DDPM_OK;
    if (!csv && !chart) return ddpm_fail(DDPM_EINVAL, "-o %s: the name must end in .csv (the table), .svg or .png (its chart); both are written", out);
    if (chart && !drawable) return ddpm_fail(DDPM_EINVAL, "-o %s: no key of the sweep has numbers, which a chart could have as its axis", out);
    snprintf(s->csv, sizeof s->csv, "%.*s.csv", stem, out);
    if (drawable) snprintf(s->chart, sizeof s->chart, "%.*s%s", stem, out, chart ? out + stem : ".svg");
    DDPM_TRY(file_check_target(s->csv));
    return s->chart[0] ? svg_check_target(s->chart) : DDPM_OK;
}

/* Options that no number of the table depends on, or that have a column of their own. */
static bool told_elsewhere(const char *name)
{
    static const char *const names[] = { "threads", "batch_size", "num_samples", "seed", "features", "sweep", "weights", "precision", "max_isa", "device",
                                         "strict", "classifier" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], name)) return true;
    return false;
}

/* The word of an option; of a classifier's folder also what is in it now, since it may be trained on. */
static ddpm_status identify(const char *word, char *text, size_t size)
{
    model_file *m = NULL;
    char hex[9];
    snprintf(text, size, "%s", word);
    if (!file_is_dir(word)) return DDPM_OK;
    DDPM_TRY(model_open(word, WEIGHTS_EMA, &m));
    const ddpm_status status = model_fingerprint(m, hex);
    if (status == DDPM_OK) snprintf(text, size, "%s (%s)", word, hex);
    model_close(m);
    return status;
}

/* What else was given, in words that are equal where the numbers are. */
static void describe_settings(const sweep *s, const char *guide, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "precision=%s isa=%s%s%s", engine_precision(&s->e), s->e.backend->isa, guide[0] ? " classifier=" : "", guide);
    for (int i = 0; settings_options[i].name && used < size; i++) {
        const option *o = &settings_options[i];
        char value[OPTION_TEXT_SIZE];
        if (!(o->groups & (GROUP_EVAL | GROUP_SWEEP)) || (o->groups & GROUP_CALL) || s->request->origins[i] == ORIGIN_DEFAULT || told_elsewhere(o->name)) continue;
        options_print(settings_options, &s->request->v, i, value);
        used += (size_t)snprintf(text + used, size - used, " %s=%s", o->name, value);
    }
}

static ddpm_status mark_table(sweep *s)
{
    char images[32], seed[32], features[LONG_PATH + 16], guide[LONG_PATH + 16], others[MARK_SIZE];
    snprintf(images, sizeof images, "%d", s->images);
    snprintf(seed, sizeof seed, "%lld", (long long)s->request->v.seed);
    DDPM_TRY(identify(s->request->v.features, features, sizeof features));
    DDPM_TRY(identify(s->request->v.classifier, guide, sizeof guide));
    describe_settings(s, guide, others, sizeof others);
    const struct { const char *name, *text; } marks[SWEEP_MARKS] = {
        { "model", s->fingerprint }, { "weights", model_describe(s->file)->weights }, { "reference", s->reference }, { "features", features },
        { "images", images }, { "seed", seed }, { "settings", others },
    };
    DDPM_TRY(sweep_table_new(&s->grid, &s->table));
    for (int i = 0; i < SWEEP_MARKS; i++) DDPM_TRY(sweep_table_mark(&s->table, i, marks[i].name, marks[i].text));
    return s->csv[0] ? sweep_table_read(&s->table, s->csv) : DDPM_OK;
}

/* --- the cells ------------------------------------------------------------------------------------ */

static ddpm_status choose_cell(sweep *s, int cell)
{
    s->cell = *s->request;
    sweep_describe(&s->grid, cell, 0, s->grid.keys, s->where, sizeof s->where);
    return sweep_apply(&s->grid, cell, &s->cell);
}

static ddpm_status check_class(const generator *g, const settings *cell)
{
    const char *word = cell->v.class_label;
    int64_t label;
    if (!sampling_given(cell, "class") || (generator_classes(g) && (!strcmp(word, "all") || !strcmp(word, "random")))) return DDPM_OK;
    return generator_class(g, word, &label);
}

/* A combination that cannot be drawn must not show after hours of those that can. */
static ddpm_status check_cells(sweep *s)
{
    const tool_events silent = { .ctx = s };
    for (int i = 0; i < s->grid.cells; i++) {
        generator g;
        DDPM_TRY(choose_cell(s, i));
        ddpm_status status = generator_borrow(s->file, &s->e, &s->n, &s->cell, &silent, &g);
        if (status == DDPM_OK) status = check_class(&g, &s->cell);
        if (status == DDPM_OK && g.how.note[0]) tool_message(s->ev, "%s: %s", s->where, g.how.note);
        generator_close(&g);
        if (status != DDPM_OK) return ddpm_context(status, "--sweep, with %s: ", s->where);
    }
    s->where[0] = 0;
    return DDPM_OK;
}

static ddpm_status take(void *ctx, const uint8_t *pixels, int n)
{
    sweep *s = ctx;
    const double begin = clock_now();
    const ddpm_status status = judge_add(s->j, pixels, n);
    s->judging += clock_now() - begin;
    return status;
}

static void tell_cell(const sweep *s, int cell)
{
    const sweep_cell *c = &s->table.cell[cell];
    tool_message(s->ev, "%d of %d: %s: %s %.5g, %.3g s an image", sweep_table_done(&s->table), s->grid.cells, s->where, s->table.metric[0].name, c->value[0],
                 c->seconds);
}

static ddpm_status measure_cell(sweep *s, int cell)
{
    int calls = 0;
    eval_result r;
    const sample_memory memory = { .n = s->images, .take = take, .take_ctx = s, .calls = &calls };
    DDPM_TRY(choose_cell(s, cell));
    s->judging = 0;
    const double begin = clock_now();
    DDPM_TRY(sample_into(s->file, &s->e, &s->n, &s->cell, &s->of_drawing, &memory));
    const double seconds = (clock_now() - begin - s->judging) / s->images;
    DDPM_TRY(judge_measure(s->j, &r));
    DDPM_TRY(sweep_table_put(&s->table, cell, &r, calls, seconds));
    if (s->csv[0]) DDPM_TRY(sweep_table_write(&s->table, s->csv));
    tell_cell(s, cell);
    s->where[0] = 0;
    return DDPM_OK;
}

static ddpm_status stopped(const sweep *s)
{
    const int done = sweep_table_done(&s->table);
    if (s->csv[0]) return ddpm_fail(DDPM_ESTOPPED, "stopped; %d of %d combinations are in %s, and the same command goes on", done, s->grid.cells, s->csv);
    return ddpm_fail(DDPM_ESTOPPED, "stopped after %d of %d combinations; -o FILE.csv keeps what is done", done, s->grid.cells);
}

static ddpm_status measure_cells(sweep *s)
{
    const model_description *m = model_describe(s->file);
    if (sweep_table_done(&s->table) == s->grid.cells) return DDPM_OK;
    DDPM_TRY(network_load(s->file, &s->e, &s->n));
    DDPM_TRY(judge_new(s->request, s->reference, m->s.v.image_size.v[0], m->s.v.image_size.v[1], m->s.v.channels, &s->e, &s->of_judge, &s->j));
    for (int i = 0; i < s->grid.cells; i++) {
        if (s->table.cell[i].done) continue;
        const ddpm_status status = pass_request(s) == RUN_SAVE_AND_STOP ? DDPM_ESTOPPED : measure_cell(s, i);
        if (status == DDPM_ESTOPPED) return stopped(s);
        if (status != DDPM_OK) return ddpm_context(status, "%s: ", s->where);
    }
    return DDPM_OK;
}

/* --- the result ------------------------------------------------------------------------------------- */

static void tell(const sweep *s)
{
    const int done = sweep_table_done(&s->table);
    const model_description *m = model_describe(s->file);
    tool_message(s->ev, "model %s (%s), %s weights, on %s with %s kernels, %d threads, %s (%s)", m->path, s->fingerprint, m->weights, s->e.backend->name,
                 s->e.backend->isa, pool_threads(s->e.threads), engine_precision(&s->e), s->e.reason);
    tool_message(s->ev, "%d combinations, %d images each; image i begins from the same x_T in all of them (seed %lld)", s->grid.cells, s->images,
                 (long long)s->request->v.seed);
    if (done) tool_message(s->ev, "%d of them are in %s", done, s->csv);
}

static ddpm_status print(const sweep *s, char **text)
{
    size_t size;
    FILE *f = open_memstream(text, &size);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the table");
    fprintf(f, "%s (%s, %s weights) against %s in %s: %d images in each cell, from the same x_T in all (seed %lld)\n", s->word, s->fingerprint,
            model_describe(s->file)->weights, s->reference, s->request->v.features, s->images, (long long)s->request->v.seed);
    sweep_table_print(&s->table, f);
    fprintf(f, "In brackets 95 %% intervals. Compare only values of the same features, reference and number of images.\n");
    return fclose(f) == 0 ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the table");
}

static ddpm_status summarise(const sweep *s, double begin, json **summary)
{
    if (!summary) return DDPM_OK;
    json *o = *summary = json_new_object(), *metrics = json_new_array();
    json_put_string(o, "schema", "ddpm-sweep-1");
    json_put_string(o, "model", model_describe(s->file)->path);
    json_put_string(o, "fingerprint", s->fingerprint);
    json_put_string(o, "weights", model_describe(s->file)->weights);
    json_put_string(o, "reference", s->reference);
    json_put_string(o, "features", s->request->v.features);
    json_put_int(o, "images", s->images);
    json_put_int(o, "seed", s->request->v.seed);
    json_put_string(o, "settings", s->table.mark[SWEEP_MARKS - 1].text);
    json_put_string(o, "sweep", s->request->v.sweep);
    for (int i = 0; i < s->table.metrics; i++) {
        json *m = json_new_object();
        json_put_string(m, "key", s->table.metric[i].key);
        json_put_string(m, "name", s->table.metric[i].name);
        json_put_bool(m, "lower_is_better", s->table.metric[i].lower_is_better);
        json_append(metrics, m);
    }
    json_put(o, "metrics", metrics);
    json_put(o, "cells", sweep_table_cells(&s->table));
    json_put_string(o, "note", "image i begins from the same x_T in every cell");
    return json_put_real(o, "seconds", clock_now() - begin);
}

static ddpm_status prepare(sweep *s)
{
    if (s->images < 2) return ddpm_fail(DDPM_EINVAL, "-n %d: what is measured of images needs at least two of each combination", s->images);
    DDPM_TRY(sweep_grid_parse(s->request->v.sweep, s->request, &s->grid));
    DDPM_TRY(choose_output(s));
    const ddpm_status status = model_open_with(s->word, s->request->v.weights, s->request, &s->file);
    if (status != DDPM_OK) return ddpm_context(status, "--sweep draws from a model, given as SAMPLES: ");
    DDPM_TRY(model_fingerprint(s->file, s->fingerprint));
    DDPM_TRY(engine_new(s->request, &s->e));
    DDPM_TRY(mark_table(s));
    return check_cells(s);
}

static void close_sweep(sweep *s)
{
    judge_free(s->j);
    network_free(&s->n);
    engine_free(&s->e);
    model_close(s->file);
    sweep_table_free(&s->table);
    free(s);
}

ddpm_status tool_sweep(const settings *request, const char *model, const char *reference, const tool_events *ev, char **text, json **summary)
{
    sweep *s = calloc(1, sizeof *s);
    if (!s) return ddpm_fail(DDPM_ENOMEM, "no memory for a sweep");
    const double begin = clock_now();
    s->request = request;
    s->ev = ev;
    s->word = model;
    s->reference = reference;
    s->images = settings_origin(request, "num_samples") > ORIGIN_DEFAULT ? request->v.num_samples : DEFAULT_IMAGES;
    s->of_drawing = (tool_events){ .ctx = s, .progress = pass_progress, .request = pass_request };
    s->of_judge = (tool_events){ .ctx = s, .progress = pass_progress, .request = pass_request, .message = pass_message };
    ddpm_status status = prepare(s);
    if (status == DDPM_OK) {
        tell(s);
        status = measure_cells(s);
    }
    if (status == DDPM_OK && s->chart[0]) status = sweep_table_draw(&s->table, s->word, s->chart);
    if (status == DDPM_OK && s->chart[0]) tool_message(ev, "wrote %s and %s", s->csv, s->chart);
    if (status == DDPM_OK) status = print(s, text);
    if (status == DDPM_OK) status = summarise(s, begin, summary);
    close_sweep(s);
    return status;
}
