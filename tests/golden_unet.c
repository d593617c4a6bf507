/* Section 06: one forward and backward pass of each network. */
#include "golden_run.h"

#include "nn/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double GRADIENT_L2 = 1e-4;      /* relative error of a gradient in f32 */

static void undo_graph(void *g)   { nn_graph_free(g); }
static void undo_plan(void *p)    { nn_plan_free(p); }
static void undo_weights(void *w) { nn_weights_free(w); }

/* One network with its inputs, on the run's backend. */
typedef struct {
    gold_case *c;
    gold_file *f;
    gold_net   net;
    gold_tensor x, out;
    float     *t, *images;
    int       *y;
    int        n;
    double     out_error;       /* rounding error of the reference's out */
} pass;

/* A graph of the network made executable: its plan, weights and (for training) gradients. */
typedef struct { unet u; nn_plan *plan; float *grads; } executable;

static ddpm_status prepare(pass *p, nn_mode mode, executable *e)
{
    gold_case *c = p->c;
    nn_weights *w;
    nn_graph *g = nn_graph_new(c->run->precision);
    if (!g) return ddpm_fail(DDPM_ENOMEM, "no memory for a graph");
    gold_defer(c, undo_graph, g);
    e->u = unet_build(g, &p->net.config, p->n, mode == NN_TRAIN, mode == NN_TRAIN);
    DDPM_TRY(nn_graph_status(g));
    DDPM_TRY(nn_weights_new(g, c->run->backend, p->net.values, mode == NN_TRAIN, &w));
    gold_defer(c, undo_weights, w);
    DDPM_TRY(nn_plan_new(g, c->run->backend, mode, e->u.out, &e->plan));
    gold_defer(c, undo_plan, e->plan);
    e->grads = gold_alloc(c, g->params.len, sizeof *e->grads);
    nn_plan_bind(e->plan, w, mode == NN_TRAIN ? e->grads : NULL);
    DDPM_TRY(nn_plan_set(e->plan, e->u.x, p->n, p->images));
    DDPM_TRY(nn_plan_set(e->plan, e->u.t, p->n, p->t));
    if (e->u.y) DDPM_TRY(nn_plan_set(e->plan, e->u.y, p->n, p->y));
    return nn_plan_forward(e->plan, p->n);
}

/* Value of a tensor [n,h,w,c] as NCHW doubles. */
static ddpm_status value_of(const pass *p, nn_plan *plan, const nn_tensor *t, double **v)
{
    const size_t n = (size_t)p->n, pixels = (size_t)t->shape.h * (size_t)t->shape.w, channels = (size_t)t->shape.c;
    float *host = gold_alloc(p->c, n * pixels * channels, sizeof *host);
    DDPM_TRY(nn_plan_get(plan, t, p->n, host));
    *v = gold_alloc(p->c, n * pixels * channels, sizeof **v);
    gold_from_nhwc(host, n, channels, pixels, *v);
    return DDPM_OK;
}

static ddpm_status labels(pass *p)
{
    gold_tensor y;
    if (!p->net.config.num_classes) return DDPM_OK;
    DDPM_TRY(gold_need(p->c, p->f, &y, "y"));
    DDPM_TRY(gold_expect(&y, 1, (size_t)p->n));
    for (size_t i = 0; i < y.len; i++)
        if (y.v[i] < 0 || y.v[i] >= p->net.config.num_classes)
            return ddpm_fail(DDPM_EFORMAT, "%s[%zu] is no class of the network", y.label, i);
    p->y = gold_ints(p->c, &y);
    return DDPM_OK;
}

static ddpm_status load(gold_case *c, const char *name, pass *p)
{
    gold_net about;
    gold_tensor t;
    *p = (pass){ .c = c };
    DDPM_TRY(gold_net_describe(c, name, &about));
    DDPM_TRY(gold_open(c, about.io_label, &p->f));
    DDPM_TRY(gold_need(c, p->f, &p->x, "x"));
    DDPM_TRY(gold_expect(&p->x, 4, p->x.len));
    DDPM_TRY(gold_net_load(c, name, p->x.shape[2], p->x.shape[3], &p->net));
    const size_t n = p->x.shape[0], pixels = p->x.shape[2] * p->x.shape[3];
    DDPM_TRY(gold_expect(&p->x, 4, n * pixels * (size_t)p->net.config.in_channels));
    p->n = (int)n;
    p->images = gold_nhwc(c, &p->x);
    DDPM_TRY(gold_need(c, p->f, &t, "t"));
    DDPM_TRY(gold_expect(&t, 1, n));
    p->t = gold_floats(c, &t);
    DDPM_TRY(labels(p));
    DDPM_TRY(gold_need(c, p->f, &p->out, "out"));
    DDPM_TRY(gold_expect(&p->out, 4, n * pixels * (size_t)p->net.config.out_channels));
    return gold_need_real(p->net.info, "out_max_abs_err_f32_vs_f64", &p->out_error);
}

/* out, and the loss with its gradient by out. */
static ddpm_status compare_out(const pass *p, const double *got, float *dout)
{
    gold_case *c = p->c;
    gold_tensor f64, target, loss;
    gold_compare_near(c, &p->out, got, 10 * p->out_error * c->run->wider, 0);
    if (gold_find(c, p->f, &f64, "out_f64")) {
        DDPM_TRY(gold_expect(&f64, 4, p->out.len));
        gold_compare_near(c, &f64, got, 10 * p->out_error * c->run->wider, 0);
    }
    DDPM_TRY(gold_need(c, p->f, &target, "target"));
    DDPM_TRY(gold_expect(&target, 4, p->out.len));
    DDPM_TRY(gold_need(c, p->f, &loss, "loss"));
    DDPM_TRY(gold_expect(&loss, 1, 1));
    const double len = (double)target.len;
    double sum = 0;
    gold_tensor slope = target;
    double *v = gold_alloc(c, target.len, sizeof *v);
    for (size_t i = 0; i < target.len; i++) {
        sum += (got[i] - target.v[i]) * (got[i] - target.v[i]);
        v[i] = 2 * (got[i] - target.v[i]) / len;
    }
    slope.v = v;
    memcpy(dout, gold_nhwc(c, &slope), target.len * sizeof *dout);
    sum /= len;
    gold_compare_near(c, &loss, &sum, 0, 1e-5 * c->run->wider);
    return DDPM_OK;
}

/* sum, sum of squares and largest |.|, each within what a relative L2 error of GRADIENT_L2 can change. */
static void compare_statistics(const pass *p, const gold_tensor *want, const float *g, size_t len, double zero)
{
    double got[3] = { 0 };
    for (size_t i = 0; i < len; i++) {
        got[0] += (double)g[i];
        got[1] += (double)g[i] * (double)g[i];
        got[2] = fmax(got[2], fabs((double)g[i]));
    }
    const double norm = sqrt(want->v[1]), n = (double)len, l2 = GRADIENT_L2 * p->c->run->wider;
    const double near[3] = { sqrt(n) * l2 * norm, (2 + l2) * l2 * want->v[1], l2 * norm };
    const double noise[3] = { n * zero, n * zero * zero, zero };
    gold_compare(p->c, want, got, zero > 0 ? noise : near);
}

/* Gradient of one parameter. Exactly-zero ones are rounding noise: small compared with the largest of all. */
static ddpm_status compare_parameter(const pass *p, const gold_param *param, const float *grads, double largest)
{
    gold_case *c = p->c;
    gold_tensor want, stat;
    size_t stride;
    if (!gold_find_strided(c, p->f, "grad", param->name, &want, &stride))
        return ddpm_fail(DDPM_EFORMAT, "%s has no gradient of %s", p->f->label, param->name);
    DDPM_TRY(gold_expect(&want, 0, (param->len + stride - 1) / stride));
    DDPM_TRY(gold_need(c, p->f, &stat, "grad_stat/%s", param->name));
    DDPM_TRY(gold_expect(&stat, 1, 3));
    float *g = gold_alloc(c, param->len, sizeof *g);
    double *got = gold_alloc(c, want.len, sizeof *got);
    gold_param_to_file(c, &p->net, param, grads, g);
    for (size_t i = 0; i < want.len; i++) got[i] = (double)g[i * stride];
    const bool noise = gold_net_zero_gradient(&p->net, param);
    const double zero = noise ? 1e-6 * c->run->wider * largest : 0;
    if (noise) gold_compare_near(c, &want, got, zero, 0);
    else gold_compare_l2(c, &want, got, GRADIENT_L2 * c->run->wider);
    compare_statistics(p, &stat, g, param->len, zero);
    return DDPM_OK;
}

static ddpm_status compare_gradients(const pass *p, const executable *e, const float *dout)
{
    gold_case *c = p->c;
    gold_tensor want;
    double largest;
    DDPM_TRY(nn_plan_backward(e->plan, p->n, dout, false));
    DDPM_TRY(gold_need(c, p->f, &want, "grad_x"));
    DDPM_TRY(gold_expect(&want, 4, p->x.len));
    float *dx = gold_alloc(c, want.len, sizeof *dx);
    double *got = gold_alloc(c, want.len, sizeof *got);
    DDPM_TRY(nn_plan_get_grad(e->plan, e->u.x, p->n, dx));
    gold_from_nhwc(dx, (size_t)p->n, want.shape[1], want.shape[2] * want.shape[3], got);
    gold_compare_l2(c, &want, got, GRADIENT_L2 * c->run->wider);
    DDPM_TRY(gold_need_real(p->net.info, "grad_max_abs", &largest));
    for (int i = 0; i < p->net.n_params; i++) DDPM_TRY(compare_parameter(p, &p->net.params[i], e->grads, largest));
    return DDPM_OK;
}

/* "time_embed", "middle", "down.3", "up.0" */
static const nn_tensor *feature(const unet *u, const char *name)
{
    int i, used = 0;
    if (!strcmp(name, "time_embed")) return u->time_embed;
    if (!strcmp(name, "middle")) return u->middle;
    if (sscanf(name, "down.%d%n", &i, &used) == 1 && !name[used]) return i >= 0 && i < u->n_down ? u->down[i] : NULL;
    if (sscanf(name, "up.%d%n", &i, &used) == 1 && !name[used]) return i >= 0 && i < u->n_up ? u->up[i] : NULL;
    return NULL;
}

/* Tolerance: that of out, relative to the sizes of the two. */
static ddpm_status compare_features(pass *p)
{
    executable e;
    DDPM_TRY(prepare(p, NN_KEEP, &e));
    for (int i = 0; i < safetensors_count(p->f->st); i++) {
        const char *name = gold_under(p->f, i, "feat/");
        gold_tensor want;
        double *got;
        if (!name) continue;
        const nn_tensor *t = feature(&e.u, name);
        if (!t) return ddpm_fail(DDPM_EFORMAT, "the network has no feature %s", name);
        DDPM_TRY(gold_need(p->c, p->f, &want, "feat/%s", name));
        DDPM_TRY(gold_expect(&want, 0, (size_t)p->n * nn_image_len(t->shape)));
        DDPM_TRY(value_of(p, e.plan, t, &got));
        gold_compare_near(p->c, &want, got, 10 * p->out_error * p->c->run->wider * gold_rms(&want) / gold_rms(&p->out), 0);
    }
    return DDPM_OK;
}

static ddpm_status one_net(gold_case *c, const void *ctx)
{
    const char *name = ctx;
    pass p;
    executable e;
    double *out;
    DDPM_TRY(load(c, name, &p));
    DDPM_TRY(prepare(&p, NN_TRAIN, &e));
    DDPM_TRY(value_of(&p, e.plan, e.u.out, &out));
    float *dout = gold_alloc(c, p.out.len, sizeof *dout);
    DDPM_TRY(compare_out(&p, out, dout));
    if (gold_count_under(p.f, "grad")) DDPM_TRY(compare_gradients(&p, &e, dout));
    return gold_count_under(p.f, "feat/") ? compare_features(&p) : DDPM_OK;
}

typedef struct { const char *name; const char *reason; } support;

static ddpm_status ask_support(gold_case *c, const void *ctx)
{
    support *s = *(support *const *)ctx;
    gold_net n;
    DDPM_TRY(gold_net_describe(c, s->name, &n));
    s->reason = n.unsupported;
    if (s->reason) gold_skip(c->run, gold_printf(c, "06_unet/%s", s->name), s->reason);
    return DDPM_OK;
}

static void run_net(gold_run *run, const char *name)
{
    char label[GOLD_NAME];
    support s = { .name = name }, *at = &s;
    snprintf(label, sizeof label, "06_unet/%s", name);
    const int before = run->section.wrong;
    gold_case_run(run, label, ask_support, &at);
    if (!s.reason && run->section.wrong == before) gold_case_run(run, label, one_net, name);
}

/* ---- sinusoidal embeddings ---- */

typedef struct { int dim; bool cos_first; double shift; } embedding;

/* "iddpm/32", "ddim/32", "diffusers/32/flip0_shift1" */
static bool parse_embedding(const char *name, embedding *e)
{
    int flip, shift, used = 0;
    *e = (embedding){ .cos_first = true };
    if (sscanf(name, "iddpm/%d%n", &e->dim, &used) == 1 && !name[used]) return true;
    if (sscanf(name, "ddim/%d%n", &e->dim, &used) == 1 && !name[used]) {
        e->cos_first = false;
        e->shift = 1;
        return true;
    }
    if (sscanf(name, "diffusers/%d/flip%d_shift%d%n", &e->dim, &flip, &shift, &used) != 3 || name[used]) return false;
    e->cos_first = flip;
    e->shift = shift;
    return true;
}

static ddpm_status embed(gold_case *c, const embedding *e, const gold_tensor *t, float *out)
{
    const int n = (int)t->len;
    const float no_values[1] = { 0 };
    nn_weights *w;
    nn_plan *plan;
    nn_graph *g = nn_graph_new(NN_F32);
    if (!g) return ddpm_fail(DDPM_ENOMEM, "no memory for a graph");
    gold_defer(c, undo_graph, g);
    nn_tensor *in = nn_input(g, "t", (nn_shape){ n, 1, 1, 1 }, NN_F32, false);
    nn_tensor *y = nn_timestep_embed(g, in, e->dim, e->cos_first, e->shift, 10000);
    DDPM_TRY(nn_graph_status(g));
    DDPM_TRY(nn_weights_new(g, c->run->backend, no_values, false, &w));
    gold_defer(c, undo_weights, w);
    DDPM_TRY(nn_plan_new(g, c->run->backend, NN_INFER, y, &plan));
    gold_defer(c, undo_plan, plan);
    nn_plan_bind(plan, w, NULL);
    DDPM_TRY(nn_plan_set(plan, in, n, gold_floats(c, t)));
    DDPM_TRY(nn_plan_forward(plan, n));
    return nn_plan_get(plan, y, n, out);
}

static ddpm_status embeddings(gold_case *c, const void *ctx)
{
    (void)ctx;
    gold_file *f;
    gold_tensor t, want;
    DDPM_TRY(gold_open(c, "06_unet/timestep_embedding", &f));
    DDPM_TRY(gold_need(c, f, &t, "t"));
    for (int i = 0; i < safetensors_count(f->st); i++) {
        embedding e;
        const char *name = safetensors_at(f->st, i)->name;
        if (!parse_embedding(name, &e)) continue;
        DDPM_TRY(gold_need(c, f, &want, "%s", name));
        DDPM_TRY(gold_expect(&want, 2, t.len * (size_t)e.dim));
        float *out = gold_alloc(c, want.len, sizeof *out);
        double *allowed = gold_alloc(c, want.len, sizeof *allowed);
        DDPM_TRY(embed(c, &e, &t, out));
        for (size_t k = 0; k < want.len; k++) allowed[k] = 1e-6 + 1.2e-7 * t.v[k / (size_t)e.dim];
        gold_compare(c, &want, gold_widen(c, out, want.len), allowed);
    }
    return DDPM_OK;
}

/* ---- the section ---- */

/* Networks are the keys of an object or the "name"s of a list. */
static void run_group(gold_run *run, const json *group)
{
    if (json_kind_of(group) == JSON_KIND_OBJECT)
        for (const char *name = json_first(group); name; name = json_next(group, name)) run_net(run, name);
    for (size_t i = 0; i < json_array_len(group); i++) {
        const char *name = "without a name";
        (void)json_get_string(json_at(group, i), "name", &name);
        run_net(run, name);
    }
}

void golden_unet(gold_run *run, const json *section)
{
    static const char *const nets[] = { "iddpm", "iddpm_hash_weights", "guided", "guided_hash_weights", "ermongroup",
                                        "ermongroup_hash_weights", "diffusers" };
    for (const char *key = json_first(section); key; key = json_next(section, key)) {
        char label[GOLD_NAME];
        bool group = false;
        snprintf(label, sizeof label, "06_unet/%s", key);
        for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) group = group || !strcmp(key, nets[i]);
        if (group) run_group(run, json_get(section, key));
        else if (!strcmp(key, "timestep_embedding")) gold_case_run(run, label, embeddings, NULL);
        else if (!strcmp(key, "pt")) golden_torch(run);
        else if (strcmp(key, "hash_seed")) gold_skip(run, label, "unknown part");
    }
}
