#include "api/train_session.h"

#include "base/log.h"
#include "base/rng.h"
#include "io/image.h"
#include "model/upsampler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GRID_SEED = 0x67726964, GRID_ROWS = 2, GRID_PLAIN = 16, GRID_PLAIN_COLUMNS = 8, GRID_MOST_CLASSES = 20 };

/* --- checkpoints ------------------------------------------------------------------ */

static ddpm_status save(void *ctx, int64_t step, bool best)
{
    train_session *t = ctx;
    const trainer_state *state = trainer_get_state(t->tr);
    char path[MODEL_PATH_SIZE], weights[64];
    if (!optim_finite(state->value, state->params->len, t->e.threads)) return ddpm_fail(DDPM_ENUMERIC, "the weights are not finite");
    checkpoint_path(t->run, step, best, path);
    snprintf(weights, sizeof weights, "ema %g", t->s->v.ema_rate.v[0]);
    const checkpoint_source src = { .s = t->s, .class_names = t->class_names, .n_class_names = t->n_class_names, .provenance = t->provenance,
                                    .weights = weights, .step = step, .layout = state->params, .values = state->ema[0], .state = state,
                                    .best_val = t->best_val };
    DDPM_TRY(checkpoint_write(path, &src));
    if (best) return DDPM_OK;
    snprintf(t->last, sizeof t->last, "%s", path);
    tool_message(t->ev, "saved %s", path);
    if (checkpoint_prune(t->run, step, t->s->v.keep) != DDPM_OK) log_warn("%s", ddpm_last_error());
    return DDPM_OK;
}

/* --- conditions of an up-sampler ---------------------------------------------------- */

size_t train_image_len(const train_session *t)
{
    const settings_values *v = &t->s->v;
    return (size_t)v->image_size.v[0] * (size_t)v->image_size.v[1] * (size_t)v->channels;
}

/* What is left of n images [n,h,w,c]. */
static ddpm_status make_conditions(const train_session *t, const float *x, int n, float *condition)
{
    const settings_values *v = &t->s->v;
    const upsampler_dims dims = { v->image_size.v[0], v->image_size.v[1], v->channels, v->small_size };
    float *small = malloc((size_t)(v->small_size * v->small_size * v->channels) * sizeof *small);
    if (!small) return ddpm_fail(DDPM_ENOMEM, "no memory for a small image");
    for (int i = 0; i < n; i++) upsampler_condition(dims, x + (size_t)i * train_image_len(t), small, condition + (size_t)i * train_image_len(t));
    free(small);
    return DDPM_OK;
}

/* Image number i of a grid and its class: held-out ones where there are some, else any of the data's. */
static ddpm_status read_original(const train_session *t, dataset_reader *r, int i, uint8_t *bytes, float *x, int *label)
{
    const int64_t all = dataset_count(t->data), rest = all - t->n_val;
    const int64_t index = t->n_val ? t->order[rest + i % t->n_val] : loader_order(GRID_SEED, 0, i % all, all);
    DDPM_TRY(dataset_read(t->data, r, index, bytes, label));
    for (size_t k = 0; k < train_image_len(t); k++) x[k] = (float)bytes[k] / 127.5f - 1;
    return DDPM_OK;
}

/* The conditions of a grid, made of images of the data; y: their classes. x [n,h,w,c] is overwritten. */
static ddpm_status grid_conditions(const train_session *t, int n, float *x, int *y, float *condition)
{
    dataset_reader *r = NULL;
    uint8_t *bytes = malloc(train_image_len(t));
    ddpm_status status = bytes ? dataset_reader_new(t->data, &r) : ddpm_fail(DDPM_ENOMEM, "no memory for an image");
    for (int i = 0; i < n && status == DDPM_OK; i++) status = read_original(t, r, i, bytes, x + (size_t)i * train_image_len(t), &y[i]);
    if (status == DDPM_OK) status = make_conditions(t, x, n, condition);
    dataset_reader_free(r);
    free(bytes);
    return status;
}

/* --- grids -------------------------------------------------------------------------- */

static ddpm_status write_grid(const train_session *t, const float *x, int n, int columns, int64_t step)
{
    const settings_values *v = &t->s->v;
    const size_t len = (size_t)n * train_image_len(t);
    char path[MODEL_PATH_SIZE], step_text[32];
    uint8_t *pixels = malloc(len);
    if (!pixels) return ddpm_fail(DDPM_ENOMEM, "no memory for a grid of samples");
    image im = { .c = v->channels };
    draw_quantize(x, len, ROUND_HALF_UP, pixels);
    ddpm_status status = draw_grid(pixels, n, v->image_size.v[0], v->image_size.v[1], im.c, columns, &im.data, &im.w, &im.h);
    free(pixels);
    snprintf(path, sizeof path, "%s/samples", t->run);
    if (status == DDPM_OK) status = dir_make(path);
    snprintf(path, sizeof path, "%s/samples/step-%08lld.png", t->run, (long long)step);
    snprintf(step_text, sizeof step_text, "%lld", (long long)step);
    const png_pair text[] = { { "Software", "ddpm " DDPM_VERSION }, { "step", step_text } };
    events_png grid = { .w = im.w, .h = im.h, .c = im.c };
    uint8_t *png = NULL;
    if (status == DDPM_OK) status = png_encode(&im, text, 2, &png, &grid.len);
    grid.png = png;
    if (status == DDPM_OK) status = file_write_atomic(path, png, grid.len);
    if (status == DDPM_OK) status = runlog_grid(t->log, step, &grid);
    free(png);
    free(im.data);
    return status;
}

/* A column for each class where they are few. */
static int class_columns(const settings_values *v)
{
    return v->class_cond && v->num_classes <= GRID_MOST_CLASSES ? v->num_classes : 0;
}

int train_grid_images(const settings *s)
{
    const int columns = class_columns(&s->v);
    return columns ? GRID_ROWS * columns : GRID_PLAIN;
}

static ddpm_status draw(void *ctx, int64_t step)
{
    train_session *t = ctx;
    const settings_values *v = &t->s->v;
    const int classes = v->class_cond ? v->num_classes : 0, n = train_grid_images(t->s);
    const int columns = class_columns(v) ? classes : GRID_PLAIN_COLUMNS;
    const size_t len = (size_t)n * train_image_len(t);
    uint64_t *address = calloc(2 * (size_t)n, sizeof *address);
    int *y = calloc((size_t)n, sizeof *y);
    float *x = malloc(len * sizeof *x), *condition = v->small_size ? malloc(len * sizeof *condition) : NULL;
    ddpm_status status = address && y && x && (condition || !v->small_size) ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for a grid of samples");
    for (int i = 0; i < n && status == DDPM_OK; i++) {
        address[i] = (uint64_t)v->seed;
        address[n + i] = (uint64_t)i;           /* the same noise in every grid: one sees the same images improve */
        y[i] = classes ? i % classes : 0;
    }
    if (status == DDPM_OK && condition) status = grid_conditions(t, n, x, y, condition);
    nn_weights_pack(t->averaged, t->e.threads);
    const drawing d = { .net = t->net, .weights = t->averaged, .p = &t->how.p, .method = t->how.method, .eta = t->how.eta, .guidance = 1 };
    const draw_batch b = { .n = n, .seed = address, .index = address + n, .y = classes ? y : NULL, .x = x, .condition = condition };
    if (status == DDPM_OK) status = draw_images(&d, &b);
    if (status == DDPM_OK) status = write_grid(t, x, n, columns, step);
    free(address);
    free(y);
    free(x);
    free(condition);
    return status;
}

/* --- held-out loss --------------------------------------------------------------------- */

void train_noise_held_out(const train_session *t, const loader_batch *b, int n, int64_t first, const val_buffers *w)
{
    const size_t len = train_image_len(t);
    for (int i = 0; i < n; i++) {
        const rng_address a = { 0, RNG_VAL, 0, (uint64_t)(first + i) };
        w->row[i] = (int)rng_below(a, 0, (uint64_t)t->p.s->T);
        w->t[i] = process_model_t(&t->p, w->row[i]);
        rng_normals((rng_address){ 0, RNG_VAL, 1, (uint64_t)(first + i) }, 0, len, w->noise + (size_t)i * len);
        q_sample(t->p.s, w->row[i], len, b->x + (size_t)i * len, w->noise + (size_t)i * len, w->xt + (size_t)i * len);
    }
}

/* Adds the losses of the first n images of a batch to the sum. */
static ddpm_status judge_images(train_session *t, const loader_batch *b, int n, int64_t first, val_buffers *w, run_validation *sum)
{
    const settings_values *v = &t->s->v;
    const size_t len = train_image_len(t), wide = nn_image_len(denoiser_unet(t->net)->out->shape);
    predictor net = { .net = t->net, .weights = t->averaged, .p = &t->p, .condition = w->condition, .conditions = n };
    train_noise_held_out(t, b, n, first, w);
    ddpm_status s = w->condition ? make_conditions(t, b->x, n, w->condition) : DDPM_OK;
    if (s == DDPM_OK) s = predictor_denoise(&net, n, w->t, v->class_cond ? b->label : NULL, w->xt, w->out);
    for (int i = 0; i < n && s == DDPM_OK; i++) {
        const size_t at = (size_t)i;
        const loss_input li = { .p = &t->p, .type = settings_loss(t->s), .i = w->row[i], .dims = { v->image_size.v[0] * v->image_size.v[1], v->channels },
                                .x0 = b->x + at * len, .xt = w->xt + at * len, .noise = w->noise + at * len, .out = w->out + at * wide };
        loss_terms terms;
        loss_eval(&li, &terms, NULL);
        sum->loss += terms.loss;
    }
    predictor_free(&net);
    return s;
}

/* Sums become means; what is no measure of this kind of network stays unknown. */
static run_validation mean_of(const train_session *t, run_validation sum)
{
    const double n = (double)t->n_val;
    if (!t->s->v.classes_out) sum.top1 = sum.top5 = sum.clean_top1 = -n;
    return (run_validation){ sum.loss / n, sum.top1 / n, sum.top5 / n, sum.clean_top1 / n };
}

static ddpm_status validate(void *ctx, run_validation *v)
{
    train_session *t = ctx;
    const bool up = t->s->v.small_size > 0;
    const size_t n = (size_t)t->val_batch, len = train_image_len(t), wide = nn_image_len(denoiser_unet(t->net)->out->shape);
    val_buffers w = { malloc(n * sizeof(int)), malloc(n * len * 4), malloc(n * len * 4), malloc(n * wide * 4), malloc(n * 4), up ? malloc(n * len * 4) : NULL };
    ddpm_status s = w.row && w.xt && w.noise && w.out && w.t && (w.condition || !up) ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the validation");
    run_validation sum = { 0 };
    nn_weights_pack(t->averaged, t->e.threads);
    for (int64_t first = 0; first < t->n_val && s == DDPM_OK; first += t->val_batch) {
        loader_batch b;
        const int64_t left = t->n_val - first;
        s = loader_next(t->val_loader, (uint64_t)(first / t->val_batch), &b);
        if (s == DDPM_OK) s = (t->s->v.classes_out ? train_judge_classes : judge_images)(t, &b, left < t->val_batch ? (int)left : t->val_batch, first, &w, &sum);
    }
    free(w.row);
    free(w.xt);
    free(w.noise);
    free(w.out);
    free(w.t);
    free(w.condition);
    *v = mean_of(t, sum);
    return s;
}

/* --- progress ----------------------------------------------------------------------------- */

static void progress(void *ctx, const run_progress *p)
{
    const train_session *t = ctx;
    char extra[96];
    if (!t->ev->progress) return;
    if (t->s->v.classes_out) snprintf(extra, sizeof extra, "loss %.4f, top-1 %.1f %%, %.1f images/s", p->loss, 100 * p->top1, p->images_per_s);
    else snprintf(extra, sizeof extra, "loss %.4f, %.1f images/s", p->loss, p->images_per_s);
    const tool_progress q = { .what = "training", .unit = "steps", .done = p->step, .total = p->steps, .per_second = p->images_per_s / t->s->v.batch_size,
                              .eta_seconds = p->eta_seconds, .extra = extra, .line = p->logged, .quantity = "loss", .value = p->loss };
    t->ev->progress(t->ev->ctx, &q);
}

static run_request request(void *ctx)
{
    train_session *t = ctx;
    const run_request r = tool_request(t->ev);
    const bool later = t->save_later;
    t->save_later = false;
    return r == RUN_GO_ON && later ? RUN_SAVE : r;
}

ddpm_status train_hooks_new(train_session *t)
{
    const unet_config net = settings_unet(t->s);
    settings defaults;
    settings_defaults(&defaults);
    snprintf(t->provenance, sizeof t->provenance, "ddpm %s, data %s, precision %s, isa %s, seed %lld", DDPM_VERSION, dataset_name(t->data),
             engine_precision(&t->e), t->e.backend->isa, (long long)t->s->v.seed);
    t->hooks = (run_hooks){ .ctx = t, .save = save, .request = request, .progress = progress, .draw = t->s->v.sample_interval > 0 && !t->s->v.classes_out ? draw : NULL,
                            .validate = t->n_val ? validate : NULL };
    if (t->evaluation) t->hooks.evaluate = train_evaluate;
    if (!t->hooks.draw && !t->hooks.validate && !t->evaluation) return DDPM_OK;
    DDPM_TRY(settings_set(&defaults, "compat", "none", ORIGIN_COMMAND_LINE));     /* a grid must not cost a whole chain */
    if (t->hooks.draw) DDPM_TRY(sampling_new(t->s, &defaults, &t->how));
    DDPM_TRY(denoiser_new(&net, t->e.backend, t->e.threads, t->e.dtype, NN_INFER, train_chunk(t->s), &t->net));
    return nn_weights_new(denoiser_graph(t->net), t->e.backend, trainer_get_state(t->tr)->ema[0], false, &t->averaged);
}

void train_hooks_free(train_session *t)
{
    train_evaluation_free(t);
    nn_weights_free(t->averaged);
    denoiser_free(t->net);
    sampling_free(&t->how);
}
