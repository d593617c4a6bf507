/* Folders that diffusers wrote: settings, weights and outputs against diffusers' own, and what is refused. */
#include "checkpoint_tools.h"
#include "golden_file.h"

#define GOLDEN "tests/golden/06_unet/"

/* --- golden folders ------------------------------------------------------------------- */

typedef struct { const char *name, *kind, *expected; } golden_model;

/* What the JSON of each says, read by hand. */
#define DIFFUSERS "image_size=8 channels=3 channel_mult=1,2 num_res_blocks=1 attention_resolutions=4 use_scale_shift_norm=false " \
                  "beta_scaling=none rescale_timesteps=false schedule_width=f32_torch posterior_floor=floor init_scheme=torch " \
                  "compat=diffusers sampler=ddpm spacing=leading "
static const golden_model MODELS[] = {
    { "df_cifar", "pipeline", DIFFUSERS "num_channels=12 norm_groups=6 num_heads=1 embedding=ho norm_eps=1e-6 down_padding=asymmetric variance=large" },
    { "df_default", "pipeline", DIFFUSERS "num_channels=8 norm_groups=4 num_heads=4 noise_schedule=cosine variance=small" },
    { "df_legacy", "pipeline (old layout)", DIFFUSERS "num_channels=8 norm_groups=8 num_heads=1 embedding=ho norm_eps=1e-6 down_padding=asymmetric variance=large" },
};
enum { N_MODELS = sizeof MODELS / sizeof *MODELS };

static char *settings_text(const settings *s)
{
    json *o = NULL;
    MUST(settings_to_json(s, GROUP_MODEL, &o));
    char *text = json_text(o, 1);
    assert_non_null(text);
    json_free(o);
    return text;
}

static void assert_same_settings(const settings *a, const settings *b)
{
    char *x = settings_text(a), *y = settings_text(b);
    assert_string_equal(x, y);
    free(x);
    free(y);
}

static void opens_golden_folders(void **state)
{
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        char path[256];
        model_file *m;
        const settings expected = settings_from(MODELS[i].expected);
        snprintf(path, sizeof path, GOLDEN "%s", MODELS[i].name);
        MUST(model_open(path, WEIGHTS_EMA, &m));
        const model_description *d = model_describe(m);
        assert_string_equal(d->kind, MODELS[i].kind);
        assert_string_equal(d->path, path);
        assert_string_equal(d->weights, "unknown");
        assert_true(d->step == -1 && d->n_class_names == 0);
        assert_same_settings(&d->s, &expected);
        MUST(checkpoint_validate(path));
        model_close(m);
    }
}

/* The output that diffusers computed, within ten times its own rounding error. */
static void compare_output(const char *name, network *n, const float *slab)
{
    char path[256];
    snprintf(path, sizeof path, GOLDEN "%s_io.safetensors", name);
    golden_file g = golden_open(path);
    const golden x = golden_tensor(&g, "x"), t = golden_tensor(&g, "t"), want = golden_tensor(&g, "out");
    const size_t images = x.shape[0], pixels = x.shape[2] * x.shape[3];
    float *in = calloc(images * pixels * 3, sizeof *in), *times = calloc(images, sizeof *times);
    for (size_t k = 0; k < images; k++) {
        golden_to_nhwc(&x, k, 3, 0, in + k * pixels * 3);
        times[k] = (float)golden_at(&t, k);
    }
    json *info = NULL;
    double bound = 0, worst = 0;
    snprintf(path, sizeof path, GOLDEN "%s_info.json", name);
    MUST(json_read_file(path, &info));
    MUST(json_get_real(info, "out_max_abs_err_f32_vs_f64", &bound));
    json_free(info);
    float *out = network_run(n, slab, in, times, NULL, (int)images);
    for (size_t k = 0; k < images; k++)
        for (size_t q = 0; q < pixels; q++)
            for (size_t c = 0; c < 3; c++) worst = fmax(worst, fabs((double)out[(k * pixels + q) * 3 + c] - golden_pixel(&want, k, q, c)));
    if (!(bound > 0 && worst <= 10 * bound)) fail_msg("%s: error %g, allowed %g", name, worst, 10 * bound);
    free(in);
    free(times);
    free(out);
    golden_close(&g);
}

static void reproduces_golden_outputs(void **state)
{
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        char path[256];
        model_file *m;
        snprintf(path, sizeof path, GOLDEN "%s", MODELS[i].name);
        MUST(model_open(path, WEIGHTS_EMA, &m));
        network n = network_new(&model_describe(m)->s);
        float *slab = calloc(n.layout->len, sizeof *slab);
        MUST(model_load(m, n.layout, slab));
        compare_output(MODELS[i].name, &n, slab);
        free(slab);
        network_free(&n);
        model_close(m);
    }
}

/* Written again by us, the tensors of df_default are diffusers' own, byte for byte. */
static void writes_the_same_tensors(void **state)
{
    char path[MODEL_PATH_SIZE], file[MODEL_PATH_SIZE + 64];
    model_file *m;
    safetensors *a, *b;
    MUST(model_open(GOLDEN "df_default", WEIGHTS_EMA, &m));
    const settings *s = &model_describe(m)->s;
    network n = network_new(s);
    float *slab = calloc(n.layout->len, sizeof *slab);
    MUST(model_load(m, n.layout, slab));
    const checkpoint_source src = { .s = s, .step = 1, .layout = n.layout, .values = slab, .best_val = -1 };
    MUST(checkpoint_write(under(*state, "again", path), &src));
    snprintf(file, sizeof file, "%s/" UNET_WEIGHTS, path);
    MUST(safetensors_open(GOLDEN "df_default/" UNET_WEIGHTS, &a));
    MUST(safetensors_open(file, &b));
    assert_int_equal(safetensors_count(a), safetensors_count(b));
    for (int i = 0; i < safetensors_count(a); i++) {
        const safetensors_tensor *t = safetensors_at(a, i), *u = safetensors_find(b, t->name);
        assert_true(u && u->ndim == t->ndim && !memcmp(u->shape, t->shape, (size_t)t->ndim * sizeof *t->shape) && u->bytes == t->bytes);
        assert_memory_equal(u->data, t->data, t->bytes);
    }
    safetensors_close(a);
    safetensors_close(b);
    free(slab);
    network_free(&n);
    model_close(m);
}

/* And the JSON has exactly diffusers' keys and values. */
static void writes_the_same_json(void **state)
{
    static const char *const files[] = { "model_index.json", "unet/config.json", "scheduler/scheduler_config.json" };
    for (int i = 0; i < 2; i++) {
        char path[MODEL_PATH_SIZE], ours[MODEL_PATH_SIZE + 64], theirs[256];
        const settings s = settings_from(MODELS[i].expected);
        network n = network_new(&s);
        float *slab = slab_of(n.layout, 1);
        const checkpoint_source src = { .s = &s, .layout = n.layout, .values = slab, .best_val = -1 };
        MUST(checkpoint_write(under(*state, MODELS[i].name, path), &src));
        for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
            json *a = NULL, *b = NULL;
            snprintf(ours, sizeof ours, "%s/%s", path, files[k]);
            snprintf(theirs, sizeof theirs, GOLDEN "%s/%s", MODELS[i].name, files[k]);
            MUST(json_read_file(ours, &a));
            MUST(json_read_file(theirs, &b));
            json_put_string(a, "_diffusers_version", "");
            json_put_string(b, "_diffusers_version", "");
            char *x = json_text(a, 1), *y = json_text(b, 1);
            assert_string_equal(x, y);
            free(x);
            free(y);
            json_free(a);
            json_free(b);
        }
        free(slab);
        network_free(&n);
    }
}

/* --- variations --------------------------------------------------------------------------- */

/* df_cifar or df_legacy with one key of a file changed; text NULL: without it. */
static ddpm_status open_changed(const place *p, const char *name, const char *file, const char *key, const char *text, settings *s)
{
    char from[256], to[MODEL_PATH_SIZE], path[MODEL_PATH_SIZE + 64];
    snprintf(from, sizeof from, GOLDEN "%s", name);
    copy_tree(from, under(p, "changed", to));
    snprintf(path, sizeof path, "%s/%s", to, file);
    json *old = NULL, *next = json_new_object(), *value = NULL;
    MUST(json_read_file(path, &old));
    for (const char *k = json_first(old); k; k = json_next(old, k)) {
        char *copy = json_text(json_get(old, k), 0);
        if (strcmp(k, key)) {
            MUST(json_parse(copy, strlen(copy), "copy", &value));
            MUST(json_put(next, k, value));
        }
        free(copy);
    }
    if (text) {
        MUST(json_parse(text, strlen(text), "change", &value));
        MUST(json_put(next, key, value));
    }
    MUST(json_write_file(path, next));
    json_free(old);
    json_free(next);
    model_file *m = NULL;
    const ddpm_status status = model_open(to, WEIGHTS_EMA, &m);
    if (status == DDPM_OK) *s = model_describe(m)->s;
    model_close(m);
    return status;
}

#define NET "unet/config.json"
#define SCHEDULER "scheduler/scheduler_config.json"

static void refuses_other_networks(void **state)
{
    static const struct { const char *file, *key, *value; } wrong[] = {
        { NET, "_class_name", "\"UNet2DConditionModel\"" }, { NET, "_class_name", NULL }, { NET, "center_input_sample", "true" },
        { NET, "act_fn", "\"gelu\"" }, { NET, "mid_block_scale_factor", "1.41" }, { NET, "add_attention", "false" },
        { NET, "time_embedding_type", "\"fourier\"" }, { NET, "class_embed_type", "\"timestep\"" }, { NET, "mid_block_type", "null" },
        { NET, "downsample_type", "\"none\"" }, { NET, "upsample_type", "\"resnet\"" }, { NET, "time_embedding_dim", "64" },
        { NET, "down_block_types", "[\"DownBlock2D\",\"AttnSkipDownBlock2D\"]" }, { NET, "down_block_types", "[\"AttnDownBlock2D\",\"AttnDownBlock2D\"]" },
        { NET, "down_block_types", "[\"AttnDownBlock2D\"]" }, { NET, "down_block_types", "7" }, { NET, "up_block_types", "[\"UpBlock2D\",\"UpBlock2D\"]" },
        { NET, "block_out_channels", "[]" }, { NET, "block_out_channels", "[12,-24]" }, { NET, "block_out_channels", "[12,25]" },
        { NET, "block_out_channels", "[1,1,1,1,1,1,1,1,1]" }, { NET, "block_out_channels", NULL },
        { NET, "attention_head_dim", "7" }, { NET, "attention_head_dim", "0" }, { NET, "attention_head_dim", "\"x\"" },
        { NET, "resnet_time_scale_shift", "\"ada_group\"" }, { NET, "resnet_time_scale_shift", "\"scale_shift\"" },
        { NET, "attn_norm_num_groups", "3" }, { NET, "norm_num_groups", "5" }, { NET, "norm_num_groups", "0" }, { NET, "norm_eps", "-1" },
        { NET, "freq_shift", "0" }, { NET, "flip_sin_to_cos", "true" }, { NET, "downsample_padding", "2" }, { NET, "sample_size", "null" },
        { NET, "sample_size", "7" }, { NET, "sample_size", "[8]" }, { NET, "sample_size", "1e9" }, { NET, "in_channels", "99999999999" },
        { NET, "layers_per_block", "0" }, { NET, "layers_per_block", "1000000" }, { NET, "num_class_embeds", "-3" },
        { NET, "dropout", "2" },
        { SCHEDULER, "_class_name", "\"EulerDiscreteScheduler\"" }, { SCHEDULER, "num_train_timesteps", "1" },
        { SCHEDULER, "num_train_timesteps", "1000000000000" }, { SCHEDULER, "beta_schedule", "\"laplace\"" }, { SCHEDULER, "beta_start", "-1" },
        { SCHEDULER, "trained_betas", "[0.1,0.2]" }, { SCHEDULER, "prediction_type", "\"flow\"" }, { SCHEDULER, "variance_type", "\"learned\"" },
        { SCHEDULER, "variance_type", "\"learned_range\"" }, { SCHEDULER, "variance_type", "\"fixed_large_log\"" },
        { SCHEDULER, "rescale_betas_zero_snr", "true" }, { SCHEDULER, "thresholding", "true" }, { SCHEDULER, "clip_sample_range", "2.0" },
        { SCHEDULER, "timestep_spacing", "\"log\"" }, { SCHEDULER, "steps_offset", "-1" }, { SCHEDULER, "set_alpha_to_one", "7" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        settings s;
        const ddpm_status status = open_changed(*state, "df_cifar", wrong[i].file, wrong[i].key, wrong[i].value, &s);
        if (status != DDPM_EFORMAT || !strstr(ddpm_last_error(), wrong[i].file))
            fail_msg("%s = %s: status %d, \"%s\"", wrong[i].key, wrong[i].value ? wrong[i].value : "missing", status, ddpm_last_error());
    }
    settings s;
    assert_int_equal(open_changed(*state, "df_cifar", NET, "out_channels", "6", &s), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "output channels"));
}

static void reads_variations(void **state)
{
    static const struct { const char *model, *file, *key, *value, *option, *expected; } right[] = {
        { "df_legacy", "config.json", "attention_head_dim", NULL, "num_heads", "1" },        /* old names: one head */
        { "df_default", NET, "attention_head_dim", NULL, "num_heads", "2" },                 /* new names: 16 / 8   */
        { "df_default", NET, "attention_head_dim", "null", "num_heads", "1" },
        { "df_default", NET, "attention_head_dim", "2", "num_heads", "8" },
        { "df_cifar", NET, "sample_size", "[16,8]", "image_size", "16,8" },
        { "df_cifar", NET, "num_class_embeds", "11", "num_classes", "11" },
        { "df_cifar", NET, "act_fn", "\"swish\"", "num_channels", "12" },
        { "df_cifar", NET, "dropout", "0.25", "dropout", "0.25" },
        { "df_cifar", NET, "time_embedding_dim", "48", "num_channels", "12" },
        { "df_cifar", SCHEDULER, "_class_name", "\"DDIMScheduler\"", "noise_schedule", "linear" },
        { "df_cifar", SCHEDULER, "beta_schedule", "\"scaled_linear\"", "noise_schedule", "quad" },
        { "df_cifar", SCHEDULER, "prediction_type", "\"v_prediction\"", "prediction", "v" },
        { "df_cifar", SCHEDULER, "prediction_type", "\"sample\"", "prediction", "x0" },
        { "df_cifar", SCHEDULER, "variance_type", NULL, "variance", "small" },
        { "df_cifar", SCHEDULER, "clip_sample", "false", "clip", "none" },
        { "df_cifar", SCHEDULER, "clip_sample", "true", "clip", "auto" },
        { "df_cifar", SCHEDULER, "clip_sample_range", "1", "compat", "diffusers" },
        { "df_cifar", SCHEDULER, "thresholding", "false", "sampler", "ddpm" },
        { "df_cifar", SCHEDULER, "_class_name", "\"DDIMScheduler\"", "sampler", "ddim" },
        { "df_cifar", SCHEDULER, "timestep_spacing", "\"trailing\"", "spacing", "trailing" },
        { "df_cifar", SCHEDULER, "timestep_spacing", NULL, "spacing", "leading" },
        { "df_cifar", SCHEDULER, "steps_offset", "1", "steps_offset", "1" },
        { "df_cifar", SCHEDULER, "set_alpha_to_one", "false", "set_alpha_to_one", "false" },
        { "df_cifar", SCHEDULER, "_class_name", "\"PNDMScheduler\"", "set_alpha_to_one", "false" },
    };
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        settings s;
        char text[OPTION_TEXT_SIZE];
        if (open_changed(*state, right[i].model, right[i].file, right[i].key, right[i].value, &s) != DDPM_OK)
            fail_msg("%s = %s: %s", right[i].key, right[i].value, ddpm_last_error());
        options_print(settings_options, &s.v, options_find(settings_options, right[i].option), text);
        if (strcmp(text, right[i].expected)) fail_msg("%s = %s: %s is %s", right[i].key, right[i].value, right[i].option, text);
        char **names;
        int count;
        MUST(dir_list(((place *)*state)->name, &names, &count));
        for (int k = 0; k < count; k++) MUST(dir_remove_tree(((place *)*state)->name, names[k]));
        dir_list_free(names, count);
    }
}

/* Nothing but a stronger origin than any other may change a model's values. */
static void fixes_the_values(void **state)
{
    (void)state;
    model_file *m;
    MUST(model_open(GOLDEN "df_cifar", WEIGHTS_EMA, &m));
    settings s = model_describe(m)->s;
    MUST(settings_set(&s, "num_heads", "4", ORIGIN_PRESET));
    MUST(settings_set(&s, "num_heads", "4", ORIGIN_ENVIRONMENT));
    assert_int_equal(s.v.num_heads, 1);
    model_close(m);
}

static void wrong_weights(void **state)
{
    char to[MODEL_PATH_SIZE], path[MODEL_PATH_SIZE + 64], moved[MODEL_PATH_SIZE + 64];
    model_file *m;
    const settings other = settings_from(DIFFUSERS "num_channels=8 norm_groups=4 num_heads=1");
    network n = network_new(&other);
    float *slab = calloc(n.layout->len, sizeof *slab);
    MUST(model_open(GOLDEN "df_cifar", WEIGHTS_EMA, &m));
    assert_int_equal(model_load(m, n.layout, slab), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "time_embedding.linear_1.weight"));
    model_close(m);
    network_free(&n);
    free(slab);

    assert_int_equal(model_open(GOLDEN "df_cifar", WEIGHTS_RAW, &m), DDPM_EINVAL);
    copy_tree(GOLDEN "df_cifar", under(*state, "pickle", to));
    snprintf(path, sizeof path, "%s/" UNET_WEIGHTS, to);
    snprintf(moved, sizeof moved, "%s/unet/diffusion_pytorch_model.bin", to);
    assert_int_equal(rename(path, moved), 0);
    MUST(model_open(to, WEIGHTS_EMA, &m));                   /* safetensors under a pickle's name: the bytes tell */
    model_close(m);
    assert_int_equal(unlink(moved), 0);
    assert_int_equal(model_open(to, WEIGHTS_EMA, &m), DDPM_EFORMAT);
    assert_null(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opens_golden_folders, enter, leave),
        cmocka_unit_test_setup_teardown(reproduces_golden_outputs, enter, leave),
        cmocka_unit_test_setup_teardown(writes_the_same_tensors, enter, leave),
        cmocka_unit_test_setup_teardown(writes_the_same_json, enter, leave),
        cmocka_unit_test_setup_teardown(refuses_other_networks, enter, leave),
        cmocka_unit_test_setup_teardown(reads_variations, enter, leave),
        cmocka_unit_test_setup_teardown(fixes_the_values, enter, leave),
        cmocka_unit_test_setup_teardown(wrong_weights, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
