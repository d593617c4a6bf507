#include "api/train_session.h"

#include "api/checkpoint_parts.h"
#include "api/measure.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { VAL_SEED = 0x76616c, MAX_DECODERS = 64 };

/* --- what the run is --------------------------------------------------------- */

/* Keys that a resumed run must not change, with both values. */
static ddpm_status compare_settings(const settings *old, const settings *new_, const char *run)
{
    char names[400] = "";
    for (int i = 0; settings_options[i].name; i++) {
        char a[OPTION_TEXT_SIZE], b[OPTION_TEXT_SIZE];
        const bool memory_only = !strcmp(settings_options[i].name, "microbatch") && new_->v.microbatch_reduce == REDUCE_MEAN;
        if (!(settings_options[i].groups & GROUP_TRAIN) || !(settings_options[i].groups & (GROUP_MODEL | GROUP_RUN)) || memory_only) continue;
        options_print(settings_options, &old->v, i, a);
        options_print(settings_options, &new_->v, i, b);
        const size_t used = strlen(names);
        if (strcmp(a, b)) snprintf(names + used, sizeof names - used, "%s%s (%.40s there, %.40s asked)", used ? ", " : "", settings_options[i].name, a, b);
    }
    if (!names[0]) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "%s holds a run with other settings: %s; give the same ones to go on, or use another -o", run, names);
}

/* A preset may have learnt words since the run began, and they are not the run's. */
static ddpm_status keep_older_preset(train_session *t)
{
    for (int i = 0; settings_options[i].name; i++)
        if (t->s->origins[i] == ORIGIN_PRESET && t->stored.origins[i] == ORIGIN_DEFAULT)
            DDPM_TRY(settings_set(t->s, settings_options[i].name, settings_options[i].fallback, ORIGIN_CONFIG));
    return DDPM_OK;
}

/* An existing run's own values fill in what the command does not say. */
static ddpm_status adopt_run(train_session *t)
{
    char path[MODEL_PATH_SIZE];
    snprintf(path, sizeof path, "%s/config.json", t->run);
    t->resuming = file_exists(path);
    if (!t->resuming) return DDPM_OK;
    settings_defaults(&t->stored);
    DDPM_TRY(settings_read_file(&t->stored, path, ORIGIN_CONFIG));
    if (t->s->v.preset[0] && strcmp(t->s->v.preset, t->stored.v.preset))
        return ddpm_fail(DDPM_EINVAL, "%s holds a run of preset \"%s\", not \"%s\"; use another -o", t->run, t->stored.v.preset, t->s->v.preset);
    for (int i = 0; settings_options[i].name; i++)      /* what --config said now must not give way silently */
        if (t->s->origins[i] == ORIGIN_CONFIG) t->s->origins[i] = ORIGIN_ENVIRONMENT;
    DDPM_TRY(settings_read_file(t->s, path, ORIGIN_CONFIG));
    DDPM_TRY(keep_older_preset(t));
    if (t->s->v.precision == PRECISION_AUTO) t->s->v.precision = t->stored.v.precision;
    return DDPM_OK;
}

/* The number of classes that the network is asked for or tells apart, and their names. */
static ddpm_status adopt_classes(train_session *t, const char *data)
{
    settings_values *v = &t->s->v;
    const int classes = dataset_n_classes(t->data);
    int *wanted = v->class_cond ? &v->num_classes : &v->classes_out;
    if (!v->class_cond && !v->classes_out) return DDPM_OK;
    if (v->class_cond && !classes) return ddpm_fail(DDPM_EINVAL, "--class_cond needs labels, and %s has none; see --labels", data);
    if (!v->class_cond && classes < 2)
        return ddpm_fail(DDPM_EINVAL, "a classifier learns to tell the classes of images apart, and %s has %s; see --labels", data, classes ? "only one" : "no labels");
    if (*wanted > 0 && classes > *wanted)
        return ddpm_fail(DDPM_EINVAL, "%s has %d classes, the network %d; raise --%s", data, classes, *wanted, v->class_cond ? "num_classes" : "classes_out");
    if (*wanted <= 0) *wanted = classes;
    t->class_names = calloc((size_t)classes, sizeof *t->class_names);
    if (!t->class_names) return ddpm_fail(DDPM_ENOMEM, "no memory for the class names");
    for (int i = 0; i < classes; i++) t->class_names[i] = (char *)dataset_class_name(t->data, i);
    t->n_class_names = classes == *wanted ? classes : 0;      /* a model has a name for every class, or none */
    return DDPM_OK;
}

static ddpm_status open_data(train_session *t, const char *data)
{
    settings_values *v = &t->s->v;
    DDPM_TRY(settings_sizes(t->s));
    const dataset_options o = settings_dataset(t->s);
    DDPM_TRY(dataset_open(data, &o, &t->data));
    if (!v->image_size.n) v->image_size = (int_list){ 2, { dataset_height(t->data), dataset_width(t->data) } };
    if (!v->channels) v->channels = dataset_channels(t->data);
    return adopt_classes(t, data);
}

/* lr_anneal_steps is improved-diffusion's only stop, and here one when --steps is not given. */
static ddpm_status resolve(train_session *t)
{
    settings_values *v = &t->s->v;
    if (!v->batch_size) v->batch_size = TRAIN_BATCH;
    if (v->lr_schedule == LR_AUTO) v->lr_schedule = v->lr_anneal_steps > 0 ? LR_LINEAR : LR_CONSTANT;
    if (v->lr_schedule != LR_CONSTANT && v->lr_anneal_steps <= 0)
        return ddpm_fail(DDPM_EINVAL, "--lr_schedule needs --lr_anneal_steps, the number of steps to anneal over");
    if (v->timestep_respacing[0])
        return ddpm_fail(DDPM_EINVAL, "--timestep_respacing %s: a model is trained on its whole chain; give it to `ddpm sample`, or another --diffusion_steps here",
                         v->timestep_respacing);
    if (v->leaves > v->batch_size) v->leaves = v->batch_size;
    if (v->ema_rate.n < 1 || v->ema_rate.n > OPTIM_MAX_EMA) return ddpm_fail(DDPM_EINVAL, "--ema_rate takes 1 to %d rates", OPTIM_MAX_EMA);
    if (settings_origin(t->s, "steps") > ORIGIN_CONFIG && v->steps < 1) return ddpm_fail(DDPM_EINVAL, "--steps %lld; it must be positive", (long long)v->steps);
    DDPM_TRY(settings_resolve(t->s));
    if (t->resuming) return compare_settings(&t->stored, t->s, t->run);
    const unet_config net = settings_unet(t->s);
    DDPM_TRY(unet_check_trainable(&net));
    return sampling_check_training(t->s);
}

ddpm_status train_write_config(const train_session *t, const char *command)
{
    char path[MODEL_PATH_SIZE], text[512];
    json *values = NULL, *o = json_new_object(), *origins = json_new_object();
    dataset_describe(t->data, text, sizeof text);
    ddpm_status s = settings_to_json(t->s, GROUP_TRAIN, &values);
    json_put_string(o, "format", "ddpm-run-1");
    json_put_string(o, "version", DDPM_VERSION);
    json_put_string(o, "command", command);
    json_put_string(o, "data", text);
    json_put_string(o, "isa", t->e.backend->isa);
    json_put(o, "values", values);
    for (int i = 0; settings_options[i].name; i++)
        if (json_get(values, settings_options[i].name)) json_put_string(origins, settings_options[i].name, options_origin_name(t->s->origins[i]));
    json_put(o, "origins", origins);
    snprintf(path, sizeof path, "%s/config.json", t->run);
    if (s == DDPM_OK) s = json_write_file(path, o);
    json_free(o);
    return s;
}

/* --- the parts of the run ------------------------------------------------------ */

static trainer_config trainer_settings(const train_session *t)
{
    const settings_values *v = &t->s->v;
    trainer_config c = { .p = &t->p, .loss = settings_loss(t->s), .timesteps = (timestep_choice)v->schedule_sampler, .adam = settings_adam(t->s),
                         .schedule = (rate_schedule)(v->lr_schedule - LR_CONSTANT), .anneal_steps = v->lr_anneal_steps, .warmup_steps = v->lr_warmup,
                         .clip = v->grad_clip, .n_ema = v->ema_rate.n, .ema_warmup = v->ema_warmup, .batch = v->batch_size, .leaves = v->leaves,
                         .chunk = train_chunk(t->s), .microbatch = v->microbatch, .microbatch_sum = v->microbatch_reduce == REDUCE_SUM,
                         .label_dropout = v->label_dropout, .min_snr_gamma = v->min_snr_gamma, .small_size = v->small_size, .clean = !v->noised, .seed = (uint64_t)v->seed };
    for (int k = 0; k < v->ema_rate.n; k++) c.ema_rate[k] = v->ema_rate.v[k];
    return c;
}

int train_chunk(const settings *s)
{
    const settings_values *v = &s->v;
    const int leaf = (v->batch_size + v->leaves - 1) / v->leaves, near = sampling_chunk(v->image_size.v[0], v->image_size.v[1]);
    const int most = v->microbatch > 0 && v->microbatch < near ? v->microbatch : near;
    return leaf < most ? leaf : most;
}

/* Training uses the process's loss type only where the process learns a variance. */
static ddpm_status build_trainer(train_session *t)
{
    const unet_config net = settings_unet(t->s);
    DDPM_TRY(sampling_process(t->s, &t->full, &t->p));
    const trainer_config c = trainer_settings(t);
    return trainer_new(&net, &c, t->e.backend, t->e.threads, t->e.dtype, &t->tr);
}

/* The held-out images are the last ones of a fixed permutation. */
static ddpm_status split_data(train_session *t)
{
    const int64_t all = dataset_count(t->data);
    const double v = t->s->v.val;
    t->n_val = v <= 0 ? 0 : v < 1 ? (int64_t)(v * (double)all + 0.5) : (int64_t)v;
    if (v > 0 && !t->n_val) t->n_val = 1;
    if (!t->n_val) return DDPM_OK;
    if (t->n_val >= all) return ddpm_fail(DDPM_EINVAL, "--val %g leaves nothing to train on: there are %lld images", v, (long long)all);
    t->order = malloc((size_t)all * sizeof *t->order);
    if (!t->order) return ddpm_fail(DDPM_ENOMEM, "no memory for the order of %lld images", (long long)all);
    for (int64_t i = 0; i < all; i++) t->order[i] = loader_order(VAL_SEED, 0, i, all);
    return DDPM_OK;
}

static ddpm_status build_loaders(train_session *t)
{
    const settings_values *v = &t->s->v;
    const int64_t rest = dataset_count(t->data) - t->n_val;
    loader_options o = loader_defaults();
    o.batch = v->batch_size;
    o.seed = (uint64_t)v->seed;
    o.flip = v->flip;
    o.threads = pool_threads(t->e.threads) < MAX_DECODERS ? pool_threads(t->e.threads) : MAX_DECODERS;
    o.prefetch = v->prefetch;
    o.strict = v->strict;
    o.max_cache_bytes = TRAIN_CACHE_BYTES;
    o.subset = t->order;
    o.subset_count = t->order ? rest : 0;
    DDPM_TRY(loader_new(t->data, &o, &t->loader));
    if (!t->n_val) return DDPM_OK;
    o.subset = t->order + rest;
    o.subset_count = t->n_val;
    o.batch = (int)(t->n_val < v->batch_size ? t->n_val : v->batch_size);
    o.flip = false;
    o.threads = 1;
    o.prefetch = 1;
    t->val_batch = o.batch;
    return loader_new(t->data, &o, &t->val_loader);
}

/* --- starting point -------------------------------------------------------------- */

static ddpm_status start_from_model(train_session *t, const char *model)
{
    model_file *m = NULL;
    trainer_state *state = trainer_get_state(t->tr);
    settings fixed = *t->s;
    describe_fix(&fixed);                /* a file that does not describe itself is what is to be trained */
    DDPM_TRY(model_open_with(model, WEIGHTS_EMA, &fixed, &m));
    const ddpm_status s = model_load(m, state->params, state->value);
    model_close(m);
    if (s != DDPM_OK) return ddpm_context(s, "--init %s does not fit this network: ", model);
    for (int k = 0; k < state->n_ema; k++) memcpy(state->ema[k], state->value, state->params->len * sizeof(float));
    trainer_changed(t->tr);
    return DDPM_OK;
}

static ddpm_status start(train_session *t)
{
    const char *init = t->s->v.init[0] ? t->s->v.init : t->s->v.resume_checkpoint;
    DDPM_TRY(checkpoint_newest(t->run, t->last));
    t->best_val = -1;
    if (t->last[0]) {
        DDPM_TRY(checkpoint_read_state(t->last, t->s, trainer_get_state(t->tr), &t->best_val));
        trainer_changed(t->tr);
        tool_message(t->ev, "going on from %s", t->last);
    } else if (init[0]) {
        DDPM_TRY(start_from_model(t, init));
    }
    return runlog_open(t->run, trainer_get_state(t->tr)->step, &t->log);
}

/* --- the command ------------------------------------------------------------------ */

static bool same_folder(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static ddpm_status choose_folder(train_session *t, const char *data)
{
    const char *out = t->s->v.output;
    if (!out[0]) return ddpm_fail(DDPM_EINVAL, "no run folder; give -o RUN");
    if (same_folder(out, data)) return ddpm_fail(DDPM_EINVAL, "-o %s holds the images, and a run writes pictures of its own; use another folder", out);
    if (snprintf(t->run, sizeof t->run, "%s", out) >= RUN_PATH_SIZE) return ddpm_fail(DDPM_EINVAL, "-o: the path is too long");
    if (file_exists(out) && !file_is_dir(out)) return ddpm_fail(DDPM_EINVAL, "-o %s is a file; a run needs a folder", out);
    char config[MODEL_PATH_SIZE];
    snprintf(config, sizeof config, "%s/config.json", t->run);
    if (t->s->v.fresh && file_exists(config)) return ddpm_fail(DDPM_EINVAL, "--fresh: %s already holds a run; use another -o", out);
    DDPM_TRY(dir_make_new(t->run, &t->made));
    return run_lock_take(t->run, &t->lock);
}

/* A refused run leaves nothing: neither the lock, where nothing else is, nor the folders made for it. */
static void undo_folder(const train_session *t)
{
    char **names = NULL;
    int count = 0;
    if (!t->made) return;
    if (t->lock && dir_list(t->run, &names, &count) == DDPM_OK && count == 1) dir_remove_tree(t->run, "lock");
    dir_list_free(names, count);
    dir_unmake(t->run, t->made);
}

/* The bits of a run that goes on are those of the uninterrupted one only with the same images and kernels. */
static void warn_other_bits(const train_session *t)
{
    char path[MODEL_PATH_SIZE], text[512];
    json *config = NULL;
    snprintf(path, sizeof path, "%s/config.json", t->run);
    if (json_read_file(path, &config) != DDPM_OK) return;
    dataset_describe(t->data, text, sizeof text);
    const char *then = json_as_string(json_get(config, "data"));
    const char *isa = json_as_string(json_get(config, "isa"));
    if (isa && strcmp(isa, t->e.backend->isa))
        log_warn("this run began with %s kernels and goes on with %s: its bits will not be those of the uninterrupted run", isa, t->e.backend->isa);
    if (then && strcmp(then, text)) log_warn("the data is not what this run began with: \"%s\" then, \"%s\" now", then, text);
    json_free(config);
}

static ddpm_status tell(const train_session *t, const char *data)
{
    const bool classifier = t->s->v.classes_out > 0;
    char text[512], aim[64];
    if (classifier) snprintf(aim, sizeof aim, "classifier of %s images", t->s->v.noised ? "noisy" : "clean");
    else snprintf(aim, sizeof aim, "loss %s", loss_type_name(settings_loss(t->s)));
    dataset_describe(t->data, text, sizeof text);
    tool_message(t->ev, "data %s: %s", data, text);
    for (int i = 0; i < t->n_class_names && i < 20; i++) tool_message(t->ev, "  class %d: %s", i, t->class_names[i]);
    tool_message(t->ev, "network of %zu parameters, T = %d, %s; on %s with %s kernels, %d threads, %s (%s)",
                 nn_params_total(trainer_get_state(t->tr)->params), t->p.s->T, aim, t->e.backend->name,
                 t->e.backend->isa, pool_threads(t->e.threads), engine_precision(&t->e), t->e.reason);
    tool_message(t->ev, "weights, averages, gradients and activations: %.0f MB; `ddpm plan train` counts the whole process", (double)trainer_bytes(t->tr) / 1e6);
    return DDPM_OK;
}

static ddpm_status prepare(train_session *t, const char *data, const char *command)
{
    DDPM_TRY(choose_folder(t, data));
    DDPM_TRY(adopt_run(t));
    DDPM_TRY(open_data(t, data));
    DDPM_TRY(resolve(t));
    DDPM_TRY(engine_new(t->s, &t->e));
    t->s->v.precision = t->e.precision;     /* a run keeps what it began with */
    DDPM_TRY(build_trainer(t));
    DDPM_TRY(split_data(t));
    DDPM_TRY(build_loaders(t));
    DDPM_TRY(train_evaluation_new(t));
    DDPM_TRY(start(t));
    DDPM_TRY(train_hooks_new(t));
    if (t->resuming) warn_other_bits(t);
    else DDPM_TRY(train_write_config(t, command));
    return tell(t, data);
}

static ddpm_status run(train_session *t)
{
    const settings_values *v = &t->s->v;
    run_config c = { .tr = t->tr, .data = t->loader, .log = t->log, .batch = v->batch_size, .steps = v->steps ? v->steps : v->lr_anneal_steps,
                     .hours = v->hours, .log_every = v->log_interval, .save_every = v->save_interval, .draw_every = v->sample_interval,
                     .val_every = v->val_interval, .eval_every = v->eval_every, .labelled = settings_classes(t->s) > 0, .best_val = &t->best_val,
                     .saved = t->last[0] ? trainer_get_state(t->tr)->step : -1, .last_checkpoint = t->last };
    const int64_t done = trainer_get_state(t->tr)->step;
    if (c.steps && done >= c.steps) tool_message(t->ev, "step %lld of %lld is done; a larger --steps goes on", (long long)done, (long long)c.steps);
    t->startup = clock_now() - t->begun;
    const ddpm_status status = run_train(&c, &t->hooks);
    t->times = c.times;
    return status;
}

/* Shares of the whole command, which add up to 1. */
static json *time_document(const train_session *t)
{
    const double all = t->startup + t->times.total;
    char key[32];
    json *o = json_new_object();
    json_put_real(o, "seconds", all);
    json_put_real(o, "startup_share", t->startup / all);
    for (int a = 0; a < RUN_ACTIVITIES; a++) {
        snprintf(key, sizeof key, "%s_share", run_activity_name((run_activity)a));
        json_put_real(o, key, t->times.seconds[a] / all);
    }
    return o;
}

static void tell_time(const train_session *t)
{
    static const char *const words[RUN_ACTIVITIES] = { [DOING_STEP] = "training steps", [DOING_WAIT] = "waiting for data", [DOING_VALIDATE] = "validating",
                                                       [DOING_SAVE] = "saving", [DOING_DRAW] = "drawing samples", [DOING_EVALUATE] = "evaluating",
                                                       [DOING_LOG] = "logging" };
    const double all = t->startup + t->times.total;
    char text[400];
    int used = snprintf(text, sizeof text, "%.1f s: start-up %.1f %%", all, 100 * t->startup / all);
    for (int a = 0; a < RUN_ACTIVITIES; a++)
        if (t->times.seconds[a] > 0) used += snprintf(text + used, sizeof text - (size_t)used, ", %s %.1f %%", words[a], 100 * t->times.seconds[a] / all);
    tool_message(t->ev, "%s", text);
}

static ddpm_status summarise(const train_session *t, json **summary)
{
    const trainer_state *state = trainer_get_state(t->tr);
    if (!summary) return DDPM_OK;
    json *o = json_new_object();
    json_put_string(o, "schema", "ddpm-train-1");
    json_put_string(o, "run", t->run);
    json_put_string(o, "checkpoint", t->last);
    json_put_int(o, "step", state->step);
    json_put_int(o, "dropped", state->dropped);
    json_put_int(o, "bad_images", loader_bad(t->loader));
    json_put(o, "time", time_document(t));
    json_put_int(o, "peak_rss_bytes", (int64_t)measure_peak_rss());
    *summary = o;
    return json_put_int(o, "parameters", (int64_t)nn_params_total(state->params));
}

static void close_session(train_session *t)
{
    train_hooks_free(t);
    runlog_close(t->log);
    loader_free(t->loader);
    loader_free(t->val_loader);
    trainer_free(t->tr);
    schedule_free(&t->full);
    engine_free(&t->e);
    dataset_close(t->data);
    run_lock_free(t->lock);
    free(t->class_names);
    free(t->order);
}

ddpm_status tool_train(settings *s, const char *data, const char *command, const tool_events *ev, json **summary)
{
    train_session *t = calloc(1, sizeof *t);
    if (!t) return ddpm_fail(DDPM_ENOMEM, "no memory for a run");
    t->s = s;
    t->data_word = data;
    t->ev = ev;
    t->begun = clock_now();
    ddpm_status status = prepare(t, data, command);
    if (status == DDPM_OK) status = run(t);
    else undo_folder(t);
    if (status == DDPM_OK || status == DDPM_ESTOPPED) {
        tell_time(t);
        const ddpm_status told = summarise(t, summary);
        if (status == DDPM_OK) status = told;
    }
    close_session(t);
    free(t);
    return status;
}
