/* Section 08: optimisation steps with given data, timesteps, noise and weights. */
#include "golden_run.h"

#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void undo_trainer(void *t) { trainer_free(t); }

/* One file: what it was made with, and what has been computed of it. */
typedef struct {
    gold_case  *c;
    gold_file  *f;
    gold_net    net;
    process     p;
    trainer_config config;
    char        ema_name[OPTIM_MAX_EMA][32];     /* tensors' group */
    const char *net_name;
    int         steps;
    trainer    *tr;
    gold_tensor x_u8, t, noise, weights, y;
    bool        bytes_255;                       /* x = 2 u8/255 - 1, else u8/127.5 - 1 */
    double     *loss, *grad_norm, *lr, *terms[3];
} training;

/* ---- configurations ---- */

static ddpm_status adam_config_of(const json *o, adam_config *a)
{
    const json *betas = json_get(o, "adam_betas");
    DDPM_TRY(gold_need_real(o, "lr", &a->lr));
    DDPM_TRY(gold_need_real(o, "eps", &a->eps));
    if (json_array_len(betas) == 2 && json_as_real(json_at(betas, 0), &a->beta1) && json_as_real(json_at(betas, 1), &a->beta2))
        return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "the golden case has no adam_betas");
}

/* "0.9999,0.99": the rates, and their spelling in tensor names. */
static ddpm_status ema_list(const char *text, training *t)
{
    for (const char *at = text; *at; t->config.n_ema++) {
        char *end;
        const int k = t->config.n_ema;
        if (k == OPTIM_MAX_EMA) return ddpm_fail(DDPM_EFORMAT, "\"%s\" has too many rates", text);
        t->config.ema_rate[k] = strtod(at, &end);
        if (end == at) return ddpm_fail(DDPM_EFORMAT, "\"%s\" is no list of rates", text);
        snprintf(t->ema_name[k], sizeof t->ema_name[k], "ema_%.*s", (int)(end - at), at);
        at = *end == ',' ? end + 1 : end;
    }
    return DDPM_OK;
}

static ddpm_status iddpm_config(gold_case *c, const json *entry, const json *shared, training *t)
{
    const char *loss, *ema;
    int anneal;
    trainer_config *k = &t->config;
    DDPM_TRY(gold_process(c, shared, &t->p));
    DDPM_TRY(gold_need_string(shared, "net", &t->net_name));
    DDPM_TRY(gold_need_string(shared, "loss", &loss));
    DDPM_TRY(loss_type_find(loss, &k->loss));
    DDPM_TRY(adam_config_of(shared, &k->adam));
    k->adam.kind = ADAM_W;
    DDPM_TRY(gold_need_real(entry, "wd", &k->adam.weight_decay));
    DDPM_TRY(gold_need_string(entry, "ema", &ema));
    DDPM_TRY(ema_list(ema, t));
    DDPM_TRY(gold_need_int(entry, "anneal", &anneal));
    if (anneal) k->schedule = RATE_LINEAR;
    k->anneal_steps = anneal;
    DDPM_TRY(gold_need_int(entry, "batch", &k->batch));
    DDPM_TRY(gold_need_int(entry, "micro", &k->microbatch));
    k->microbatch_sum = true;
    return gold_need_int(entry, "steps", &t->steps);
}

static ddpm_status ermongroup_config(gold_case *c, const json *o, training *t)
{
    trainer_config *k = &t->config;
    schedule *s;
    DDPM_TRY(gold_schedule(c, o, PROFILE_ERMONGROUP, &s));
    t->p = (process){ .s = s };
    t->bytes_255 = true;
    DDPM_TRY(gold_need_string(o, "net", &t->net_name));
    k->loss = LOSS_MSE_SUM;
    DDPM_TRY(adam_config_of(o, &k->adam));
    k->adam.kind = ADAM_TORCH;
    DDPM_TRY(gold_need_real(o, "wd", &k->adam.weight_decay));
    DDPM_TRY(gold_need_real(o, "grad_clip", &k->clip));
    DDPM_TRY(gold_need_real(o, "ema", &k->ema_rate[0]));
    k->n_ema = 1;
    snprintf(t->ema_name[0], sizeof t->ema_name[0], "ema");
    DDPM_TRY(gold_need_int(o, "N", &k->batch));
    return gold_need_int(o, "steps", &t->steps);
}

/* ---- data ---- */

/* A tensor whose first two indices are step and image. */
static ddpm_status need_rows(training *t, const char *name, int ndim, size_t row, gold_tensor *out)
{
    DDPM_TRY(gold_need(t->c, t->f, out, "%s", name));
    return gold_expect(out, ndim, (size_t)t->steps * (size_t)t->config.batch * row);
}

static ddpm_status check_range(const gold_tensor *t, int limit, const char *what)
{
    for (size_t i = 0; i < t->len; i++)
        if (t->v[i] < 0 || t->v[i] >= limit) return ddpm_fail(DDPM_EFORMAT, "%s[%zu] is no %s", t->label, i, what);
    return DDPM_OK;
}

static ddpm_status load_data(training *t)
{
    gold_case *c = t->c;
    DDPM_TRY(gold_need(c, t->f, &t->x_u8, "x_u8"));
    DDPM_TRY(gold_expect(&t->x_u8, 5, t->x_u8.len));
    const size_t image = t->x_u8.shape[2] * t->x_u8.shape[3] * t->x_u8.shape[4];
    DDPM_TRY(need_rows(t, "x_u8", 5, image, &t->x_u8));
    DDPM_TRY(need_rows(t, "noise", 5, image, &t->noise));
    DDPM_TRY(need_rows(t, "t", 2, 1, &t->t));
    DDPM_TRY(check_range(&t->t, t->p.s->T, "row of the process"));
    if (gold_find(c, t->f, &t->weights, "weights")) DDPM_TRY(gold_expect(&t->weights, 2, t->t.len));
    DDPM_TRY(gold_net_load(c, t->net_name, t->x_u8.shape[3], t->x_u8.shape[4], &t->net));
    if ((size_t)t->net.config.in_channels != t->x_u8.shape[2] ||
        t->net.config.out_channels != process_out_channels(&t->p, t->net.config.in_channels))
        return ddpm_fail(DDPM_EFORMAT, "network %s does not fit these images and this process", t->net_name);
    if (t->net.config.num_classes) {
        DDPM_TRY(need_rows(t, "y", 2, 1, &t->y));
        DDPM_TRY(check_range(&t->y, t->net.config.num_classes, "class of the network"));
    }
    return DDPM_OK;
}

static float *pictures(const training *t, int step)
{
    gold_tensor bytes = gold_at(&t->x_u8, (size_t)step);
    double *v = gold_alloc(t->c, bytes.len, sizeof *v);
    for (size_t i = 0; i < bytes.len; i++) {
        const float u = (float)bytes.v[i];
        v[i] = (double)(t->bytes_255 ? 2 * (u / 255) - 1 : u / 127.5f - 1);
    }
    bytes.v = v;
    return gold_nhwc(t->c, &bytes);
}

/* ---- steps ---- */

static ddpm_status start(training *t)
{
    t->config.p = &t->p;
    t->config.leaves = 1;
    t->config.chunk = t->config.batch;
    DDPM_TRY(trainer_new(&t->net.config, &t->config, t->c->run->backend, t->c->run->pool, t->c->run->precision, &t->tr));
    gold_defer(t->c, undo_trainer, t->tr);
    trainer_state *s = trainer_get_state(t->tr);
    const size_t bytes = s->params->len * sizeof *s->value;
    if (s->params->len != t->net.g->params.len) return ddpm_fail(DDPM_EFAIL, "training has other parameters than the network");
    memcpy(s->value, t->net.values, bytes);
    for (int k = 0; k < s->n_ema; k++) memcpy(s->ema[k], t->net.values, bytes);
    trainer_changed(t->tr);
    const size_t steps = (size_t)t->steps;
    t->loss = gold_alloc(t->c, steps, sizeof *t->loss);
    t->grad_norm = gold_alloc(t->c, steps, sizeof *t->grad_norm);
    t->lr = gold_alloc(t->c, steps, sizeof *t->lr);
    for (int k = 0; k < 3; k++) t->terms[k] = gold_alloc(t->c, t->t.len, sizeof *t->terms[k]);
    return DDPM_OK;
}

static ddpm_status step(training *t, int i)
{
    gold_case *c = t->c;
    step_report r;
    const gold_tensor rows = gold_at(&t->t, (size_t)i), noise = gold_at(&t->noise, (size_t)i);
    train_batch batch = { .x = pictures(t, i), .t = gold_ints(c, &rows), .noise = gold_nhwc(c, &noise) };
    if (t->weights.len) {
        const gold_tensor weights = gold_at(&t->weights, (size_t)i);
        batch.weight = gold_floats(c, &weights);
    }
    if (t->y.len) {
        const gold_tensor y = gold_at(&t->y, (size_t)i);
        batch.y = gold_ints(c, &y);
    }
    DDPM_TRY(trainer_step(t->tr, &batch, &r));
    t->loss[i] = r.loss;
    t->grad_norm[i] = r.grad_norm;
    t->lr[i] = r.lr;
    for (int k = 0; k < t->config.batch; k++) {
        const loss_terms *terms = &trainer_terms(t->tr)[k];
        const size_t at = (size_t)i * (size_t)t->config.batch + (size_t)k;
        t->terms[0][at] = terms->loss;
        t->terms[1][at] = terms->mse;
        t->terms[2][at] = terms->vb;
    }
    return DDPM_OK;
}

/* ---- comparisons ---- */

/* What rounding noise can add to a sum of squares: the key biases in the middle of a fused qkv have an exact
 * gradient of 0, so that Adam moves them by up to lr in each step. */
static double noise_of(const training *t, const gold_param *p, int steps)
{
    const char *end = strstr(p->name, ".qkv.bias");
    const double move = t->config.adam.lr * steps;
    return end && !strcmp(end, ".qkv.bias") ? (double)(p->len / 3) * move * move : 0;
}

/* What all parameters moved so far: sum of squares within 5 %, largest within 1e-3; the sum is noise. */
static ddpm_status compare_moves(const training *t, int i)
{
    gold_case *c = t->c;
    const float *now = trainer_get_state(t->tr)->value;
    if (!gold_count_under(t->f, "delta_stat/")) return DDPM_OK;
    for (int k = 0; k < t->net.n_params; k++) {
        const gold_param *p = &t->net.params[k];
        gold_tensor want;
        DDPM_TRY(gold_need(c, t->f, &want, "delta_stat/%d/%s", i, p->name));
        DDPM_TRY(gold_expect(&want, 1, 3));
        if (gold_net_zero_gradient(&t->net, p)) continue;
        float *a = gold_alloc(c, p->len, sizeof *a), *b = gold_alloc(c, p->len, sizeof *b);
        gold_param_to_file(c, &t->net, p, t->net.values, a);
        gold_param_to_file(c, &t->net, p, now, b);
        double got[3] = { 0 };
        for (size_t j = 0; j < p->len; j++) {
            const double d = (double)b[j] - (double)a[j];
            got[0] += d;
            got[1] += d * d;
            got[2] = fmax(got[2], fabs(d));
        }
        const double allowed[3] = { INFINITY, 0.05 * want.v[1] + noise_of(t, p, i + 1), 1e-3 * want.v[2] };
        gold_compare(c, &want, got, allowed);
    }
    return DDPM_OK;
}

typedef struct { size_t determined, missed; } tight_count;

/* Elements that the mask calls determined must be near; of those it calls sharply determined (2), 99 % within rounding. */
static ddpm_status compare_parameter(const training *t, const char *group, const gold_param *p, const float *slab, tight_count *tight)
{
    gold_case *c = t->c;
    gold_tensor want, mask;
    size_t stride, mask_stride;
    if (!gold_find_strided(c, t->f, group, p->name, &want, &stride) || !gold_find_strided(c, t->f, "mask", p->name, &mask, &mask_stride))
        return ddpm_fail(DDPM_EFORMAT, "%s has no %s/%s or no mask of it", t->f->label, group, p->name);
    DDPM_TRY(gold_expect(&want, 0, (p->len + stride - 1) / stride));
    DDPM_TRY(gold_expect(&mask, 0, want.len));
    const double near = 0.05 * t->config.adam.lr * t->steps;
    float *v = gold_alloc(c, p->len, sizeof *v);
    double *got = gold_alloc(c, want.len, sizeof *got), *allowed = gold_alloc(c, want.len, sizeof *allowed);
    gold_param_to_file(c, &t->net, p, slab, v);
    for (size_t i = 0; i < want.len; i++) {
        got[i] = (double)v[i * stride];
        allowed[i] = mask.v[i] >= 1 ? near : INFINITY;
        if (mask.v[i] < 2) continue;
        tight->determined++;
        if (!(fabs(got[i] - want.v[i]) <= 3e-8 + 2e-6 * fabs(want.v[i]))) tight->missed++;
    }
    gold_compare(c, &want, got, allowed);
    return DDPM_OK;
}

static ddpm_status compare_slab(const training *t, const char *group, const float *slab)
{
    tight_count tight = { 0 };
    for (int k = 0; k < t->net.n_params; k++) DDPM_TRY(compare_parameter(t, group, &t->net.params[k], slab, &tight));
    const double share = tight.determined ? (double)tight.missed / (double)tight.determined : 0;
    gold_check(t->c, gold_printf(t->c, "%s/%s (sharply determined elements)", t->f->label, group), share, 0.01,
               "share of elements that are not within rounding");
    return DDPM_OK;
}

/* The tolerance is relative, and at the first step another one. */
static ddpm_status compare_scalars(const training *t, const char *name, const double *got, double first, double later)
{
    gold_tensor want;
    if (!gold_find(t->c, t->f, &want, "%s", name)) return DDPM_OK;
    DDPM_TRY(gold_expect(&want, 1, (size_t)t->steps));
    double *allowed = gold_alloc(t->c, want.len, sizeof *allowed);
    for (size_t i = 0; i < want.len; i++) allowed[i] = (i ? later : first) * fabs(want.v[i]);
    gold_compare(t->c, &want, got, allowed);
    return DDPM_OK;
}

static ddpm_status compare_terms(const training *t)
{
    static const char *const names[] = { "losses/loss", "losses/mse", "losses/vb" };
    for (int k = 0; k < 3; k++) {
        gold_tensor want;
        if (!gold_find(t->c, t->f, &want, "%s", names[k])) continue;
        DDPM_TRY(gold_expect(&want, 2, t->t.len));
        gold_compare_near(t->c, &want, t->terms[k], 1e-6, 1e-4);
    }
    return DDPM_OK;
}

static ddpm_status run_training(training *t, const char *label)
{
    DDPM_TRY(gold_open(t->c, label, &t->f));
    DDPM_TRY(load_data(t));
    DDPM_TRY(start(t));
    for (int i = 0; i < t->steps; i++) {
        DDPM_TRY(step(t, i));
        DDPM_TRY(compare_moves(t, i));
    }
    DDPM_TRY(compare_terms(t));
    if (!gold_count_under(t->f, "grad_norm")) return ddpm_fail(DDPM_EFORMAT, "%s has no grad_norm", label);
    DDPM_TRY(compare_scalars(t, "loss", t->loss, 1e-5, 1e-5));
    DDPM_TRY(compare_scalars(t, "grad_norm", t->grad_norm, 1e-5, 1e-4));
    DDPM_TRY(compare_scalars(t, "lr", t->lr, 1e-12, 1e-12));
    const trainer_state *s = trainer_get_state(t->tr);
    DDPM_TRY(compare_slab(t, "final", s->value));
    for (int k = 0; k < s->n_ema; k++) DDPM_TRY(compare_slab(t, t->ema_name[k], s->ema[k]));
    return DDPM_OK;
}

/* summary.json repeats scalars of the runs; only the mean loss is not in their files. */
static ddpm_status compare_mean_loss(const training *t, const char *name)
{
    const json *summary;
    DDPM_TRY(gold_json(t->c, &summary, "08_training/summary.json"));
    const json *runs = json_get(summary, "runs");
    for (size_t i = 0; i < json_array_len(runs); i++) {
        const json *own = json_at(runs, i), *list = json_get(own, "mean_loss");
        const char *run = NULL;
        DDPM_TRY(json_get_string(own, "name", &run));
        if (!run || strcmp(run, name)) continue;
        double *v = gold_alloc(t->c, json_array_len(list) + 1, sizeof *v);
        for (size_t k = 0; k < json_array_len(list); k++)
            if (!json_as_real(json_at(list, k), &v[k])) return ddpm_fail(DDPM_EFORMAT, "summary.json: mean_loss of %s is not numbers", name);
        const gold_tensor want = { .label = gold_printf(t->c, "08_training/summary/%s/mean_loss", name), .ndim = 1,
                                   .len = json_array_len(list), .v = v };
        DDPM_TRY(gold_expect(&want, 1, (size_t)t->steps));
        gold_compare_near(t->c, &want, t->loss, 0, 1e-5);
        return DDPM_OK;
    }
    return ddpm_fail(DDPM_EFORMAT, "summary.json has no run %s", name);
}

/* ---- the section ---- */

static ddpm_status iddpm_run(gold_case *c, const void *ctx)
{
    const json *entry = ctx, *shared;
    const char *name;
    training *t = gold_alloc(c, 1, sizeof *t);
    t->c = c;
    DDPM_TRY(gold_need_string(entry, "name", &name));
    DDPM_TRY(gold_need_object(json_get(c->run->cases, "08_training"), "iddpm_process", &shared));
    DDPM_TRY(iddpm_config(c, entry, shared, t));
    DDPM_TRY(run_training(t, gold_printf(c, "08_training/%s", name)));
    return compare_mean_loss(t, name);
}

static ddpm_status ermongroup_run(gold_case *c, const void *ctx)
{
    training *t = gold_alloc(c, 1, sizeof *t);
    t->c = c;
    DDPM_TRY(ermongroup_config(c, ctx, t));
    return run_training(t, "08_training/ddim_adam");
}

static void iddpm_runs(gold_run *run, const json *list)
{
    for (size_t i = 0; i < json_array_len(list); i++) {
        char label[GOLD_NAME];
        const char *name = "without a name";
        (void)json_get_string(json_at(list, i), "name", &name);
        snprintf(label, sizeof label, "08_training/%s", name);
        gold_case_run(run, label, iddpm_run, json_at(list, i));
    }
}

void golden_training(gold_run *run, const json *section)
{
    for (const char *key = json_first(section); key; key = json_next(section, key)) {
        const json *part = json_get(section, key);
        char label[GOLD_NAME];
        snprintf(label, sizeof label, "08_training/%s", key);
        if (!strcmp(key, "iddpm")) iddpm_runs(run, part);
        else if (!strcmp(key, "ermongroup")) gold_case_run(run, "08_training/ddim_adam", ermongroup_run, part);
        else if (strcmp(key, "iddpm_process")) gold_skip(run, label, "unknown kind of training");
    }
}
