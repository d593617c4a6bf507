/* Section 06, PyTorch files: every tensor by its checksum, the values beside them, and the
 * outputs of the networks they hold, loaded the way the program loads a model. */
#include "golden_run.h"

#include "api/checkpoint.h"
#include "api/settings.h"
#include "io/file.h"
#include "io/torch_file.h"
#include "nn/plan.h"
#include "sha256.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER "06_unet/pt"

/* Places in the list that ermongroup's runner saves. */
enum { RUNNER_MODEL, RUNNER_OPTIMISER, RUNNER_EPOCH, RUNNER_STEP, RUNNER_EMA };

static void undo_torch(void *f)   { torch_close(f); }
static void undo_model(void *m)   { model_close(m); }
static void undo_graph(void *g)   { nn_graph_free(g); }
static void undo_plan(void *p)    { nn_plan_free(p); }
static void undo_weights(void *w) { nn_weights_free(w); }

static const char *path_of(gold_case *c, const char *file)
{
    char *path = gold_alloc(c, strlen(c->run->dir) + strlen(file) + sizeof FOLDER + 2, 1);
    sprintf(path, "%s/" FOLDER "/%s", c->run->dir, file);
    return path;
}

static ddpm_status open_torch(gold_case *c, const char *file, torch_file **f)
{
    DDPM_TRY(torch_open(path_of(c, file), f));
    gold_defer(c, undo_torch, *f);
    return DDPM_OK;
}

/* ---- tensors ---- */

/* The list of tensors that is still to be met. */
typedef struct { gold_case *c; const char *file; const json *list; size_t next; } expectation;

static bool same_dims(const torch_tensor *t, const json *shape)
{
    bool same = json_array_len(shape) == (size_t)t->ndim;
    for (int i = 0; i < t->ndim && same; i++) {
        int64_t d = -1;
        same = json_as_int(json_at(shape, (size_t)i), &d) && d == t->shape[i];
    }
    return same;
}

/* What of the tensor is not as recorded; NULL: nothing. */
static const char *difference(gold_case *c, const torch_tensor *t, const char *path, const json *want)
{
    const char *name = json_as_string(json_get(want, "path")), *dtype = json_as_string(json_get(want, "dtype"));
    const char *sum = json_as_string(json_get(want, "sha256"));
    const size_t len = torch_tensor_len(t) * torch_dtype_bytes(t->dtype);
    uint8_t *bytes = gold_alloc(c, len, 1);
    char hex[65];
    bool parameter = false;
    if (!name || strcmp(name, path)) return gold_printf(c, "stands where %s is expected", name ? name : "nothing");
    if (!dtype || strcmp(dtype, torch_dtype_name(t->dtype))) return gold_printf(c, "is of %s", torch_dtype_name(t->dtype));
    if (!same_dims(t, json_get(want, "shape"))) return "has another shape";
    if (!json_as_bool(json_get(want, "parameter"), &parameter) || parameter != t->parameter) return "differs in being a parameter";
    torch_tensor_bytes(t, bytes);
    sha256(bytes, len, hex);
    return sum && !strcmp(sum, hex) ? NULL : "has another checksum";
}

static void meet(expectation *e, const torch_tensor *t, const char *path)
{
    const char *why = difference(e->c, t, path, json_at(e->list, e->next++));
    gold_check(e->c, gold_printf(e->c, FOLDER "/%s:%s", e->file, path), why ? 1 : 0, 0, why ? why : "");
}

static void walk(expectation *e, const torch_value *v, const char *path)
{
    if (torch_as_tensor(v)) meet(e, torch_as_tensor(v), path);
    for (size_t i = 0; i < torch_len(v); i++) {
        const torch_value *key = torch_key(v, i);
        const char *text = torch_as_string(key), *slash = *path ? "/" : "";
        int64_t number = (int64_t)i;
        torch_as_int(key, &number);
        walk(e, torch_at(v, i), text ? gold_printf(e->c, "%s%s%s", path, slash, text) : gold_printf(e->c, "%s%s%" PRId64, path, slash, number));
    }
}

static ddpm_status tensors(gold_case *c, const char *file, const json *list, const torch_value *root)
{
    expectation e = { c, file, list, 0 };
    walk(&e, root, "");
    if (e.next == json_array_len(list) && e.next) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s holds %zu tensors, its list %zu", file, e.next, json_array_len(list));
}

/* ---- values beside the tensors ---- */

/* Whether v is what the JSON says; of an object, the keys that it has. */
static bool same_value(const json *want, const torch_value *v)
{
    double a, b;
    bool p, q;
    const char *text;
    switch (json_kind_of(want)) {
    case JSON_KIND_NULL:   return torch_kind_of(v) == TORCH_KIND_NONE;
    case JSON_KIND_BOOL:   return json_as_bool(want, &p) && torch_as_bool(v, &q) && p == q;
    case JSON_KIND_INT:
    case JSON_KIND_REAL:   return json_as_real(want, &a) && torch_as_real(v, &b) && !(a < b) && !(a > b);
    case JSON_KIND_STRING: text = torch_as_string(v); return text && !strcmp(text, json_as_string(want));
    case JSON_KIND_ARRAY:
        if (json_array_len(want) != torch_len(v)) return false;
        for (size_t i = 0; i < torch_len(v); i++)
            if (!same_value(json_at(want, i), torch_at(v, i))) return false;
        return true;
    case JSON_KIND_OBJECT:
        for (const char *key = json_first(want); key; key = json_next(want, key))
            if (!same_value(json_get(want, key), torch_get(v, key))) return false;
        return true;
    default:               return false;
    }
}

/* "_NAME_scalars" beside NAME.pth: what the runner saved with the tensors. */
static ddpm_status scalars(gold_case *c, const char *file, const json *index, const torch_value *root)
{
    const char *dot = strrchr(file, '.');
    const json *all = json_get(index, gold_printf(c, "_%.*s_scalars", dot ? (int)(dot - file) : (int)strlen(file), file));
    for (const char *key = json_first(all); key; key = json_next(all, key)) {
        const torch_value *v = !strcmp(key, "epoch") ? torch_at(root, RUNNER_EPOCH) : !strcmp(key, "step") ? torch_at(root, RUNNER_STEP)
                             : !strcmp(key, "optimizer_param_groups") ? torch_get(torch_at(root, RUNNER_OPTIMISER), "param_groups") : NULL;
        gold_check(c, gold_printf(c, FOLDER "/%s:%s", file, key), same_value(json_get(all, key), v) ? 0 : 1, 0, "the value differs");
    }
    return DDPM_OK;
}

/* ---- networks ---- */

/* What a state dict cannot say. */
static ddpm_status request(const json *config, bool openai, size_t size, settings *s)
{
    char text[24];
    int64_t heads = 1, groups = 32;
    DDPM_TRY(json_get_int(config, "num_heads", &heads));
    DDPM_TRY(json_get_int(config, "groups", &groups));
    settings_defaults(s);
    snprintf(text, sizeof text, "%zu", size);
    DDPM_TRY(settings_set(s, "image_size", text, ORIGIN_COMMAND_LINE));
    snprintf(text, sizeof text, "%" PRId64, heads);
    if (openai) DDPM_TRY(settings_set(s, "num_heads", text, ORIGIN_COMMAND_LINE));
    snprintf(text, sizeof text, "%" PRId64, groups);
    DDPM_TRY(settings_set(s, "norm_groups", text, ORIGIN_COMMAND_LINE));
    DDPM_TRY(settings_set(s, "diffusion_steps", "1000", ORIGIN_COMMAND_LINE));
    return settings_set(s, "noise_schedule", "linear", ORIGIN_COMMAND_LINE);
}

typedef struct { gold_tensor x, t, y, out; } exchange;

static ddpm_status read_exchange(gold_case *c, gold_file *io, const char *group, const char *out, exchange *e)
{
    DDPM_TRY(gold_need(c, io, &e->x, "%s/x", group));
    DDPM_TRY(gold_expect(&e->x, 4, e->x.len));
    DDPM_TRY(gold_need(c, io, &e->t, "%s/t", group));
    DDPM_TRY(gold_expect(&e->t, 1, e->x.shape[0]));
    DDPM_TRY(gold_need(c, io, &e->out, "%s/%s", group, out));
    if (gold_find(c, io, &e->y, "%s/y", group)) DDPM_TRY(gold_expect(&e->y, 1, e->x.shape[0]));
    return DDPM_OK;
}

static ddpm_status forward(gold_case *c, const model_file *m, const exchange *e, double **out)
{
    const unet_config config = settings_unet(&model_describe(m)->s);
    const int n = (int)e->x.shape[0];
    nn_weights *w;
    nn_plan *plan;
    nn_graph *g = nn_graph_new(NN_F32);
    if (!g) return ddpm_fail(DDPM_ENOMEM, "no memory for a graph");
    gold_defer(c, undo_graph, g);
    const unet u = unet_build(g, &config, n, false, false);
    DDPM_TRY(nn_graph_status(g));
    DDPM_TRY(gold_expect(&e->x, 4, nn_len(u.x->shape)));
    DDPM_TRY(gold_expect(&e->out, 4, nn_len(u.out->shape)));
    float *values = gold_alloc(c, g->params.len, sizeof *values), *got = gold_alloc(c, e->out.len, sizeof *got);
    DDPM_TRY(model_load(m, &g->params, values));
    DDPM_TRY(nn_weights_new(g, c->run->backend, values, false, &w));
    gold_defer(c, undo_weights, w);
    DDPM_TRY(nn_plan_new(g, c->run->backend, NN_INFER, u.out, &plan));
    gold_defer(c, undo_plan, plan);
    nn_plan_bind(plan, w, NULL);
    DDPM_TRY(nn_plan_set(plan, u.x, n, gold_nhwc(c, &e->x)));
    DDPM_TRY(nn_plan_set(plan, u.t, n, gold_floats(c, &e->t)));
    if (u.y) {
        DDPM_TRY(gold_expect(&e->y, 1, (size_t)n));
        DDPM_TRY(nn_plan_set(plan, u.y, n, gold_ints(c, &e->y)));
    }
    DDPM_TRY(nn_plan_forward(plan, n));
    DDPM_TRY(nn_plan_get(plan, u.out, n, got));
    *out = gold_alloc(c, e->out.len, sizeof **out);
    gold_from_nhwc(got, (size_t)n, e->out.shape[1], e->out.shape[2] * e->out.shape[3], *out);
    return DDPM_OK;
}

/* One file's network with one of its sets of weights. The set states no rounding error here, so ten times
 * that of its other networks is taken: 4e-5 of the output's root mean square. */
typedef struct { const char *file, *config, *group, *out; int weights; } holder;

static ddpm_status output(gold_case *c, const holder *h, gold_file *io)
{
    const json *config, *section = json_get(json_get(c->run->cases, "06_unet"), "pt");
    settings *s = gold_alloc(c, 1, sizeof *s);
    exchange e = { 0 };
    model_file *m = NULL;
    double *got = NULL;
    DDPM_TRY(gold_need_object(section, h->config, &config));
    DDPM_TRY(read_exchange(c, io, h->group, h->out, &e));
    DDPM_TRY(request(config, !strcmp(h->config, "iddpm"), e.x.shape[2], s));
    DDPM_TRY(model_open_with(path_of(c, h->file), h->weights, s, &m));
    gold_defer(c, undo_model, m);
    DDPM_TRY(forward(c, m, &e, &got));
    e.out.label = gold_printf(c, "%s (%s)", e.out.label, h->file);
    gold_compare_near(c, &e.out, got, 4e-5 * gold_rms(&e.out), 0);
    return DDPM_OK;
}

/* Files of improved-diffusion, of ermongroup's runner, and of its averaged weights alone. */
static ddpm_status outputs(gold_case *c, const char *file, const torch_value *root, gold_file *io)
{
    if (torch_get(root, "time_embed.0.weight")) return output(c, &(holder){ file, "iddpm", "iddpm", "out", WEIGHTS_EMA }, io);
    if (torch_get(root, "temb.dense.0.weight")) return output(c, &(holder){ file, "ermongroup", "ddim", "out_ema", WEIGHTS_EMA }, io);
    if (!torch_len(torch_at(root, RUNNER_MODEL)) || !torch_len(torch_at(root, RUNNER_EMA))) return DDPM_OK;
    DDPM_TRY(output(c, &(holder){ file, "ermongroup", "ddim", "out_model", WEIGHTS_RAW }, io));
    return output(c, &(holder){ file, "ermongroup", "ddim", "out_ema", WEIGHTS_EMA }, io);
}

/* ---- the files ---- */

typedef struct { const char *file; const json *index; gold_file *io; } job;

static ddpm_status one_file(gold_case *c, const void *ctx)
{
    const job *j = ctx;
    torch_file *f;
    DDPM_TRY(open_torch(c, j->file, &f));
    DDPM_TRY(tensors(c, j->file, json_get(j->index, j->file), torch_root(f)));
    DDPM_TRY(scalars(c, j->file, j->index, torch_root(f)));
    return outputs(c, j->file, torch_root(f), j->io);
}

/* Files that the index does not list are compared with nothing. */
static ddpm_status name_unlisted(gold_case *c, const json *index)
{
    char **names;
    int count;
    DDPM_TRY(dir_list(path_of(c, ""), &names, &count));
    for (int i = 0; i < count; i++) {
        const char *dot = strrchr(names[i], '.');
        if (dot && (!strcmp(dot, ".pt") || !strcmp(dot, ".pth") || !strcmp(dot, ".ckpt")) && !json_get(index, names[i]))
            gold_skip(c->run, gold_printf(c, FOLDER "/%s", names[i]), "index.json does not list it");
    }
    dir_list_free(names, count);
    return DDPM_OK;
}

static ddpm_status all_files(gold_case *c, const void *ctx)
{
    (void)ctx;
    const json *index;
    gold_file *io;
    int files = 0;
    DDPM_TRY(gold_json(c, &index, FOLDER "/index.json"));
    DDPM_TRY(gold_open(c, FOLDER "/pt_io", &io));
    for (const char *name = json_first(index); name; name = json_next(index, name)) {
        if (*name == '_') continue;
        const job j = { name, index, io };
        gold_case_run(c->run, gold_printf(c, FOLDER "/%s", name), one_file, &j);
        files++;
    }
    if (!files) return ddpm_fail(DDPM_EFORMAT, "index.json lists no file");
    return name_unlisted(c, index);
}

void golden_torch(gold_run *run) { gold_case_run(run, FOLDER, all_files, NULL); }
