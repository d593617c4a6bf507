/* Checkpoints of our own: round trips, what diffusers' files alone say, damage, full disks, replacement. */
#include "checkpoint_tools.h"

#include <sys/resource.h>
#include <sys/wait.h>

#define TINY "image_size=4 channels=3 num_channels=8 channel_mult=1,2 num_res_blocks=1 attention_resolutions=2 norm_groups=4 num_heads=1 "
#define SIX "image_size=8 channels=3 num_channels=8 channel_mult=1,2 num_res_blocks=1 norm_groups=4 "

/* --- writing and reading again ------------------------------------------------------------ */

typedef struct { const char *values; bool representable; } variant;
static const variant VARIANTS[] = {
    { SIX "attention_resolutions=4 num_heads=2", true },
    { SIX "attention_resolutions=4 num_heads=2 use_new_attention_order=true", true },
    { SIX "attention_resolutions=8,4 num_head_channels=4", true },
    { SIX "attention_resolutions= num_heads=4", true },
    { SIX "attention_resolutions=4 num_heads=1 use_scale_shift_norm=false embedding=ho norm_eps=1e-6 down_padding=asymmetric", true },
    { SIX "attention_resolutions=8,4 num_heads=1 learn_sigma=true diffusion_steps=4000 noise_schedule=cosine rescale_timesteps=false", true },
    { SIX "attention_resolutions=4 class_cond=true num_classes=3 prediction=v", true },
    { SIX "attention_resolutions=4 class_cond=true num_classes=3 label_dropout=0.1 sigma_small=true", true },
    { SIX "channel_mult=1,2,3 num_res_blocks=2 attention_resolutions=4 predict_xstart=true noise_schedule=quad beta_scaling=none dropout=0.2", false },
    { SIX "image_size=8,16 channels=1 attention_resolutions=4 noise_schedule=sigmoid diffusion_steps=200 rescale_timesteps=false", true },
    { SIX "attention_resolutions=4 noise_schedule=linear diffusion_steps=200 rescale_timesteps=false", true },
    { SIX "attention_resolutions=4 noise_schedule=const beta_end=0.01 diffusion_steps=50 rescale_timesteps=false", true },
    { SIX "attention_resolutions=4 noise_schedule=warmup10 diffusion_steps=50 rescale_timesteps=false", true },
    { SIX "attention_resolutions=4 stem=16", false },
    { SIX "channel_mult=0.5,1 attention_resolutions=4", false },
    { SIX "attention_resolutions=4 diffusion_steps=200", false },
    { SIX "attention_resolutions=4 prediction=previous", false },
    { SIX "attention_resolutions=4 variance=learned", false },
    { SIX "attention_resolutions=4 resblock_updown=true", true },
    { SIX "attention_resolutions=4 conv_resample=false", false },
    { SIX "attention_resolutions=8,4 num_heads=2", false },
    { SIX "attention_resolutions=4 num_heads=2 num_heads_upsample=4", false },
};
enum { N_VARIANTS = sizeof VARIANTS / sizeof *VARIANTS };

static const char *const CLASSES[] = { "cat", "d\"o\ng", "\xc3\xa9t\xc3\xa9" };

static void assert_same_keys(const settings *a, const settings *b, const char *what)
{
    for (int i = 0; settings_options[i].name; i++) {
        char x[OPTION_TEXT_SIZE], y[OPTION_TEXT_SIZE];
        if (!(settings_options[i].groups & GROUP_MODEL)) continue;
        options_print(settings_options, &a->v, i, x);
        options_print(settings_options, &b->v, i, y);
        if (strcmp(x, y)) fail_msg("%s: %s: %s is not %s", what, settings_options[i].name, x, y);
    }
}

static checkpoint_source source_of(const settings *s, const network *n, const float *slab)
{
    const bool names = s->v.class_cond;
    return (checkpoint_source){ .s = s, .class_names = names ? (char *const *)(uintptr_t)CLASSES : NULL, .n_class_names = names ? 3 : 0,
                                .provenance = "ddpm test \"x\"", .weights = "ema 0.9999", .step = 12, .layout = n->layout, .values = slab, .best_val = -1 };
}

static void assert_same_process(const settings *a, const settings *b)
{
    schedule x, y;
    const schedule_config p = settings_schedule(a), q = settings_schedule(b);
    MUST(schedule_new(&p, &x));
    MUST(schedule_new(&q, &y));
    assert_int_equal(x.T, y.T);
    /* diffusers computes in f32 */
    for (int i = 0; i < x.T; i++) assert_true(fabs(x.betas[i] - y.betas[i]) <= 1e-6 * x.betas[i] + 6e-8);
    assert_int_equal(settings_mean(a), settings_mean(b));
    assert_int_equal(settings_variance(a), settings_variance(b));
    schedule_free(&x);
    schedule_free(&y);
}

/* The same network, by its output. */
static void assert_same_output(network *a, const float *slab_a, network *b, const float *slab_b)
{
    const size_t pixels = (size_t)(a->c.height * a->c.width), len = 2 * pixels * (size_t)a->c.in_channels, wide = 2 * pixels * (size_t)a->c.out_channels;
    float *x = calloc(len, sizeof *x);
    const float t[2] = { 3, 41 };
    const int y[2] = { 2, 0 };
    rng_normals((rng_address){ .seed = 5, .stream = RNG_XT }, 0, len, x);
    float *u = network_run(a, slab_a, x, t, a->c.num_classes ? y : NULL, 2), *v = network_run(b, slab_b, x, t, b->c.num_classes ? y : NULL, 2);
    double most = 0;
    for (size_t i = 0; i < wide; i++) {
        assert_true(fabs((double)(u[i] - v[i])) <= 1e-6 * (1 + fabs((double)u[i])));
        most = fmax(most, fabs((double)u[i]));
    }
    assert_true(most > 0.01);
    free(x);
    free(u);
    free(v);
}

/* All that was written comes back. */
static void check_own(const char *path, const variant *v, const settings *s, const network *n, const float *slab)
{
    model_file *m;
    const checkpoint_source src = source_of(s, n, slab);
    float *read = calloc(n->layout->len, sizeof *read);
    MUST(checkpoint_validate(path));
    MUST(model_open(path, WEIGHTS_EMA, &m));
    const model_description *d = model_describe(m);
    assert_same_keys(&d->s, s, v->values);
    assert_string_equal(d->kind, "pipeline");
    assert_string_equal(d->weights, src.weights);
    assert_string_equal(d->provenance, src.provenance);
    assert_int_equal(d->step, 12);
    assert_int_equal(d->n_class_names, src.n_class_names);
    for (int i = 0; i < d->n_class_names; i++) assert_string_equal(d->class_names[i], CLASSES[i]);
    for (size_t i = 0; i < n->layout->len; i++) read[i] = NAN;
    MUST(model_load(m, n->layout, read));
    assert_memory_equal(read, slab, n->layout->len * sizeof *slab);
    free(read);
    model_close(m);
}

/* What is left without ddpm.json is the same network and process, or refused. */
static void check_theirs(const char *path, const variant *v, const settings *s, network *n, const float *slab)
{
    char file[MODEL_PATH_SIZE + 64];
    model_file *m;
    json *index = NULL;
    const char *name = "";
    snprintf(file, sizeof file, "%s/ddpm.json", path);
    assert_int_equal(unlink(file), 0);
    snprintf(file, sizeof file, "%s/model_index.json", path);
    MUST(json_read_file(file, &index));
    MUST(json_get_string(index, "_class_name", &name));
    const ddpm_status status = model_open(path, WEIGHTS_EMA, &m);
    if (v->representable) {
        assert_string_equal(name, "DDPMPipeline");
        if (status != DDPM_OK) fail_msg("%s: %s", v->values, ddpm_last_error());
        const settings *back = &model_describe(m)->s;
        network other = network_new(back);
        float *read = calloc(other.layout->len, sizeof *read);
        MUST(model_load(m, other.layout, read));
        assert_same_process(s, back);
        assert_same_output(n, slab, &other, read);
        free(read);
        network_free(&other);
    } else {
        assert_string_equal(name, "DdpmPipeline");
        assert_non_null(json_as_string(json_get(index, "reason")));
        if (status != DDPM_EFORMAT) fail_msg("%s: %d", v->values, status);
    }
    model_close(m);
    json_free(index);
}

static void round_trips(void **state)
{
    const place *p = *state;
    for (int i = 0; i < N_VARIANTS; i++) {
        char path[MODEL_PATH_SIZE];
        const settings s = settings_from(VARIANTS[i].values);
        network n = network_new(&s);
        float *slab = slab_of(n.layout, 3);
        const checkpoint_source src = source_of(&s, &n, slab);
        MUST(checkpoint_write(under(p, "model", path), &src));
        check_own(path, &VARIANTS[i], &s, &n, slab);
        check_theirs(path, &VARIANTS[i], &s, &n, slab);
        free(slab);
        network_free(&n);
        MUST(dir_remove_tree(p->name, "model"));
    }
}

static void fingerprint_tells_weights_apart(void **state)
{
    char path[MODEL_PATH_SIZE], hex[3][9];
    const settings s = settings_from(TINY);
    network n = network_new(&s);
    float *slab = slab_of(n.layout, 3);
    const checkpoint_source src = source_of(&s, &n, slab);
    for (int i = 0; i < 3; i++) {
        model_file *m;
        if (i == 2) slab[n.layout->list[5].offset] += 1;
        MUST(checkpoint_write(under(*state, "model", path), &src));
        MUST(model_open(path, WEIGHTS_EMA, &m));
        MUST(model_fingerprint(m, hex[i]));
        model_close(m);
    }
    assert_string_equal(hex[0], hex[1]);
    assert_string_not_equal(hex[0], hex[2]);
    free(slab);
    network_free(&n);
}

static void half_width_weights(void **state)
{
    char path[MODEL_PATH_SIZE];
    model_file *m;
    const settings s = settings_from(TINY);
    network n = network_new(&s);
    float *slab = slab_of(n.layout, 5), *read = calloc(n.layout->len, sizeof *read);
    checkpoint_source src = source_of(&s, &n, slab);
    src.bf16 = true;
    MUST(checkpoint_write(under(*state, "model", path), &src));
    MUST(model_open(path, WEIGHTS_EMA, &m));
    MUST(model_load(m, n.layout, read));
    for (size_t i = 0; i < n.layout->len; i++) {
        uint32_t bits;
        memcpy(&bits, &read[i], sizeof bits);
        assert_true(!(bits & 0xffff) && fabs((double)(read[i] - slab[i])) <= 0x1p-8 * fabs((double)slab[i]));
    }
    model_close(m);
    free(slab);
    free(read);
    network_free(&n);
}

/* --- the state of a run --------------------------------------------------------------------- */

#define RATES "ema_rate=0.9999,0.5 seed=8999999999999999 "

static trainer_state state_of(const nn_params *layout, uint64_t which)
{
    return (trainer_state){ .params = layout, .value = slab_of(layout, which), .m = slab_of(layout, which + 1), .v = slab_of(layout, which + 2),
                            .ema = { slab_of(layout, which + 3), slab_of(layout, which + 4) }, .n_ema = 2,
                            .step = ((int64_t)1 << 40) + 7, .updates = 5, .dropped = 2, .dropped_in_row = 1 };
}

static void state_free(trainer_state *s)
{
    free(s->value);
    free(s->m);
    free(s->v);
    for (int k = 0; k < 2; k++) free(s->ema[k]);
}

/* A run's checkpoint in `path` with weights that depend on `which`. */
static ddpm_status save(const char *path, const settings *s, const network *n, uint64_t which)
{
    trainer_state st = state_of(n->layout, which);
    checkpoint_source src = source_of(s, n, st.ema[0]);
    src.state = &st;
    src.step = (int64_t)which;
    src.best_val = 0.1;
    const ddpm_status status = checkpoint_write(path, &src);
    state_free(&st);
    return status;
}

static void resumes(void **state)
{
    char path[MODEL_PATH_SIZE];
    model_file *m;
    double best = 0;
    const settings s = settings_from(TINY RATES);
    network n = network_new(&s);
    trainer_state want = state_of(n.layout, 10), have = state_of(n.layout, 20);
    const size_t bytes = n.layout->len * sizeof(float);
    have.step = have.updates = have.dropped = have.dropped_in_row = 0;
    MUST(save(under(*state, "a", path), &s, &n, 10));
    MUST(checkpoint_validate(path));
    MUST(checkpoint_read_state(path, &s, &have, &best));
    assert_memory_equal(have.value, want.value, bytes);
    assert_memory_equal(have.m, want.m, bytes);
    assert_memory_equal(have.v, want.v, bytes);
    for (int k = 0; k < 2; k++) assert_memory_equal(have.ema[k], want.ema[k], bytes);
    assert_true(have.step == want.step && have.updates == 5 && have.dropped == 2 && have.dropped_in_row == 1);
    assert_true(best == 0.1);

    float *slab = calloc(n.layout->len, sizeof *slab);
    MUST(model_open(path, WEIGHTS_RAW, &m));
    assert_string_equal(model_describe(m)->weights, "raw");
    MUST(model_load(m, n.layout, slab));
    assert_memory_equal(slab, want.value, bytes);
    model_close(m);

    const settings other = settings_from(TINY "ema_rate=0.9999,0.6"), wider = settings_from(TINY "num_channels=16 " RATES);
    assert_int_equal(checkpoint_read_state(path, &other, &have, &best), DDPM_EFORMAT);
    network w = network_new(&wider);
    trainer_state wide = state_of(w.layout, 1);
    assert_int_equal(checkpoint_read_state(path, &wider, &wide, &best), DDPM_EFORMAT);
    state_free(&wide);
    network_free(&w);
    free(slab);
    state_free(&want);
    state_free(&have);
    network_free(&n);
}

/* --- damage ----------------------------------------------------------------------------------- */

static const char *const FILES[] = { "training_state.safetensors", UNET_WEIGHTS, "ddpm.json", "unet/config.json",
                                     "scheduler/scheduler_config.json", "model_index.json" };

static void refuse(const char *path, const char *file, size_t at)
{
    const ddpm_status s = checkpoint_validate(path);
    if (s != DDPM_EFORMAT || !strstr(ddpm_last_error(), file)) fail_msg("%s, byte %zu: %d \"%s\"", file, at, s, ddpm_last_error());
}

static size_t header_end(const char *path)
{
    uint64_t n = 0;
    const int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && read(fd, &n, sizeof n) == sizeof n);
    close(fd);
    return (size_t)n + sizeof n;
}

/* From the end: places in the data, then every byte of the header. */
static void truncation(void **state)
{
    char path[MODEL_PATH_SIZE], file[MODEL_PATH_SIZE + 64], copy[MODEL_PATH_SIZE];
    const settings s = settings_from(TINY RATES);
    network n = network_new(&s);
    MUST(save(under(*state, "whole", path), &s, &n, 1));
    for (size_t k = 0; k < sizeof FILES / sizeof *FILES; k++) {
        struct stat info;
        copy_tree(path, under(*state, "cut", copy));
        snprintf(file, sizeof file, "%s/%s", copy, FILES[k]);
        assert_int_equal(stat(file, &info), 0);
        const size_t size = (size_t)info.st_size, header = strstr(FILES[k], "safetensors") ? header_end(file) : size - 1;
        const size_t step = k ? 1 : 127;                 /* the state's header says one thing 500 times */
        size_t at = strstr(FILES[k], "safetensors") ? size - 1 : size - 2;        /* a final newline is no loss */
        for (int i = 0; at > header; i++) {
            assert_int_equal(truncate(file, (off_t)at), 0);
            refuse(copy, FILES[k], at);
            const size_t less = (size_t)rng_below((rng_address){ .seed = 1 }, (uint64_t)i, (size - header) / 12 + 1) + 1;
            at = at > less ? at - less : 0;
        }
        for (size_t cut = at < header ? at : header; ; cut -= cut < step || cut < 64 ? 1 : step) {
            assert_int_equal(truncate(file, (off_t)cut), 0);
            refuse(copy, FILES[k], cut);
            if (!cut) break;
        }
        MUST(dir_remove_tree(((place *)*state)->name, "cut"));
    }
    network_free(&n);
}

static void flip(const char *file, size_t at, int bit)
{
    uint8_t byte = 0;
    const int fd = open(file, O_RDWR);
    assert_true(fd >= 0 && pread(fd, &byte, 1, (off_t)at) == 1);
    byte = (uint8_t)(byte ^ 1 << bit);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

/* One bit in every tensor of both files. */
static void flipped_tensors(void **state)
{
    char path[MODEL_PATH_SIZE], file[MODEL_PATH_SIZE + 64];
    const settings s = settings_from(TINY RATES);
    network n = network_new(&s);
    MUST(save(under(*state, "a", path), &s, &n, 1));
    for (int k = 0; k < 2; k++) {
        safetensors *st;
        snprintf(file, sizeof file, "%s/%s", path, FILES[k]);
        const uint8_t *data = NULL;
        const size_t header = header_end(file);
        MUST(safetensors_open(file, &st));
        for (int i = 0; i < safetensors_count(st); i++) {
            const safetensors_tensor *t = safetensors_at(st, i);
            if (!i) data = t->data;
            const uint64_t where = rng_below((rng_address){ .seed = 2 }, (uint64_t)i, 8 * t->bytes);
            const size_t at = header + (size_t)((const uint8_t *)t->data - data) + (size_t)where / 8;
            flip(file, at, (int)(where % 8));
            refuse(path, FILES[k], at);
            assert_non_null(strstr(ddpm_last_error(), t->name));
            model_file *m = NULL;
            if (i % 8 == 0) assert_int_equal(model_open(path, k ? WEIGHTS_EMA : WEIGHTS_RAW, &m), DDPM_EFORMAT);
            flip(file, at, (int)(where % 8));
        }
        safetensors_close(st);
    }
    MUST(checkpoint_validate(path));
    network_free(&n);
}

/* One bit in a header or in ddpm.json: refused, or of no consequence. */
static void flipped_headers(void **state)
{
    char path[MODEL_PATH_SIZE], file[MODEL_PATH_SIZE + 64];
    const settings s = settings_from(TINY RATES);
    network n = network_new(&s);
    float *want = calloc(n.layout->len, sizeof *want), *have = calloc(n.layout->len, sizeof *have);
    model_file *m;
    int refused = 0;
    MUST(save(under(*state, "a", path), &s, &n, 1));
    MUST(model_open(path, WEIGHTS_EMA, &m));
    MUST(model_load(m, n.layout, want));
    model_close(m);
    for (int i = 0; i < 600; i++) {
        const char *name = FILES[i % 3];
        struct stat info;
        snprintf(file, sizeof file, "%s/%s", path, name);
        assert_int_equal(stat(file, &info), 0);
        const size_t len = i % 3 == 2 ? (size_t)info.st_size : header_end(file);
        const uint64_t where = rng_below((rng_address){ .seed = 3 }, (uint64_t)i, 8 * len);
        flip(file, (size_t)where / 8, (int)(where % 8));
        const ddpm_status status = checkpoint_validate(path);
        assert_true(status == DDPM_EFORMAT || status == DDPM_OK);
        refused += status != DDPM_OK;
        if (status == DDPM_OK) {
            if (i % 3 == 2) fail_msg("ddpm.json, byte %d", (int)(where / 8));
            MUST(model_open(path, WEIGHTS_EMA, &m));
            MUST(model_load(m, n.layout, have));
            assert_memory_equal(have, want, n.layout->len * sizeof *have);
            model_close(m);
        }
        flip(file, (size_t)where / 8, (int)(where % 8));
    }
    assert_true(refused > 580);
    free(want);
    free(have);
    network_free(&n);
}

/* --- runs -------------------------------------------------------------------------------------- */

static void run_falls_back(void **state)
{
    place *p = *state;
    char path[MODEL_PATH_SIZE], file[MODEL_PATH_SIZE + 64];
    model_file *m;
    const settings s = settings_from(TINY RATES);
    network n = network_new(&s);
    MUST(checkpoint_newest(p->name, path));
    assert_string_equal(path, "");
    for (int64_t step = 90; step <= 110; step += 10) {
        checkpoint_path(p->name, step, false, path);
        MUST(save(path, &s, &n, (uint64_t)step));
    }
    assert_non_null(strstr(path, "/checkpoints/step-00000110"));
    MUST(model_open(p->name, WEIGHTS_EMA, &m));
    assert_string_equal(model_describe(m)->kind, "run");
    assert_int_equal(model_describe(m)->step, 110);
    model_close(m);

    snprintf(file, sizeof file, "%s/training_state.safetensors", path);
    flip(file, header_end(file) + 1000, 3);
    MUST(model_open(p->name, WEIGHTS_EMA, &m));
    assert_int_equal(model_describe(m)->step, 100);
    assert_non_null(strstr(p->warnings, "step-00000110"));
    model_close(m);
    checkpoint_path(p->name, 100, false, path);
    snprintf(file, sizeof file, "%s/training_state.safetensors", path);
    assert_int_equal(unlink(file), 0);                         /* a run cannot go on without it */
    MUST(checkpoint_newest(p->name, path));
    assert_non_null(strstr(path, "step-00000090"));

    checkpoint_path(p->name, 110, false, path);                /* the damaged one is written again */
    MUST(save(path, &s, &n, 111));
    MUST(model_open(p->name, WEIGHTS_EMA, &m));
    assert_int_equal(model_describe(m)->step, 111);
    model_close(m);
    MUST(checkpoint_prune(p->name, 90, 1));                    /* later ones neither count nor go */
    checkpoint_path(p->name, 110, false, path);
    assert_true(file_is_dir(path));
    checkpoint_path(p->name, 90, false, path);
    assert_true(file_is_dir(path));
    MUST(checkpoint_prune(p->name, 111, 2));
    char **names;
    int count;
    snprintf(file, sizeof file, "%s/checkpoints", p->name);
    MUST(dir_list(file, &names, &count));
    assert_int_equal(count, 2);
    assert_string_equal(names[0], "step-00000100");
    dir_list_free(names, count);
    network_free(&n);
}

static int count_in(const char *folder)
{
    char **names;
    int count;
    MUST(dir_list(folder, &names, &count));
    dir_list_free(names, count);
    return count;
}

/* Every file size limit up to the size of the checkpoint. */
static void full_disk(void **state)
{
    place *p = *state;
    char path[MODEL_PATH_SIZE], folder[MODEL_PATH_SIZE];
    model_file *m;
    struct rlimit before, limit;
    int failed = 0;
    const settings s = settings_from(TINY RATES);
    network n = network_new(&s);
    checkpoint_path(p->name, 0, true, path);
    MUST(save(path, &s, &n, 1));
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    for (rlim_t bytes = 0; ; bytes += bytes < 4000 ? 400 : 50000) {
        limit = (struct rlimit){ bytes, before.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        const ddpm_status status = save(path, &s, &n, 2);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        if (status == DDPM_OK) break;
        failed++;
        assert_int_equal(status, DDPM_EIO);
        MUST(checkpoint_validate(path));
        MUST(model_open(path, WEIGHTS_EMA, &m));
        assert_int_equal(model_describe(m)->step, 1);
        model_close(m);
        assert_int_equal(count_in(under(p, "checkpoints", folder)), 1);
    }
    signal(SIGXFSZ, SIG_DFL);
    assert_true(failed > 10);
    MUST(model_open(path, WEIGHTS_EMA, &m));
    assert_int_equal(model_describe(m)->step, 2);
    model_close(m);
    network_free(&n);
}

static long dead_process(void)
{
    const pid_t pid = fork();
    if (!pid) _exit(0);
    assert_true(pid > 0 && waitpid(pid, NULL, 0) == pid);
    return (long)pid;
}

/* What a process killed at any point of a replacement leaves behind. */
static void leftovers(void **state)
{
    place *p = *state;
    char best[MODEL_PATH_SIZE], path[MODEL_PATH_SIZE], name[64];
    model_file *m;
    const long pid = dead_process();
    const settings s = settings_from(TINY RATES);
    network n = network_new(&s);
    checkpoint_path(p->name, 0, true, best);
    MUST(save(best, &s, &n, 1));
    snprintf(name, sizeof name, "checkpoints/best.old-%ld", pid);
    assert_int_equal(rename(best, under(p, name, path)), 0);        /* killed between the two renames */
    MUST(model_open(best, WEIGHTS_EMA, &m));
    assert_int_equal(model_describe(m)->step, 1);
    model_close(m);
    snprintf(name, sizeof name, "checkpoints/best.new-%ld", pid);
    MUST(dir_make(under(p, name, path)));
    snprintf(name, sizeof name, "checkpoints/step-00000009.tmp-%ld", pid);
    MUST(dir_make(under(p, name, path)));
    snprintf(name, sizeof name, "checkpoints/step-00000009.tmp-%ld", (long)getppid());
    MUST(dir_make(under(p, name, path)));                           /* somebody alive */
    checkpoint_path(p->name, 5, false, path);
    MUST(save(path, &s, &n, 5));
    MUST(checkpoint_validate(best));
    assert_int_equal(count_in(under(p, "checkpoints", path)), 3);
    network_free(&n);
}

/* --- names ----------------------------------------------------------------------------------------- */

static void bundled(void **state)
{
    char exe[MODEL_PATH_SIZE], folder[MODEL_PATH_SIZE + 64], target[MODEL_PATH_SIZE + 128], name[64], **names;
    model_file *m;
    int count, seen = 0;
    (void)state;
    const ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    assert_true(len > 0);
    exe[len] = 0;
    *strrchr(exe, '/') = 0;
    snprintf(folder, sizeof folder, "%s/../models", exe);
    snprintf(name, sizeof name, "bundled-test-%ld", (long)getpid());
    snprintf(target, sizeof target, "%s/%s", folder, name);
    assert_int_equal(model_open(name, WEIGHTS_EMA, &m), DDPM_EINVAL);
    copy_tree("tests/golden/06_unet/df_default", target);
    MUST(model_open(name, WEIGHTS_EMA, &m));
    assert_string_equal(model_describe(m)->kind, "pipeline");
    model_close(m);
    MUST(model_bundled(&names, &count));
    for (int i = 0; i < count; i++) seen += !strcmp(names[i], name);
    dir_list_free(names, count);
    assert_int_equal(seen, 1);
    assert_int_equal(model_open("no-such-model", WEIGHTS_EMA, &m), DDPM_EINVAL);
    assert_non_null(strstr(ddpm_last_error(), name));
    MUST(dir_remove_tree(folder, name));
    assert_int_equal(model_open("tests/golden", WEIGHTS_EMA, &m), DDPM_EFORMAT);
    assert_int_equal(model_open("tests/golden/README.md", WEIGHTS_EMA, &m), DDPM_EFORMAT);
    assert_int_equal(model_open("", WEIGHTS_EMA, &m), DDPM_EINVAL);
    assert_null(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(round_trips, enter, leave),
        cmocka_unit_test_setup_teardown(fingerprint_tells_weights_apart, enter, leave),
        cmocka_unit_test_setup_teardown(half_width_weights, enter, leave),
        cmocka_unit_test_setup_teardown(resumes, enter, leave),
        cmocka_unit_test_setup_teardown(truncation, enter, leave),
        cmocka_unit_test_setup_teardown(flipped_tensors, enter, leave),
        cmocka_unit_test_setup_teardown(flipped_headers, enter, leave),
        cmocka_unit_test_setup_teardown(run_falls_back, enter, leave),
        cmocka_unit_test_setup_teardown(full_disk, enter, leave),
        cmocka_unit_test_setup_teardown(leftovers, enter, leave),
        cmocka_unit_test_setup_teardown(bundled, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
