/* Mistakes that other implementations of these papers made, one test for each, by the numbers of the list
 * they were collected in: what would be wrong here if this program made them too. This part:
 * models and their files. */
#include "traps_tools.h"

#include "api/sampling.h"
#include "io/json.h"
#include "io/torch_file.h"

#define UNETS "tests/golden/06_unet/"

/* --- 2: diffusers' schedulers ------------------------------------------------------------------ */

/* A copy of diffusers' folder `name` with one key of the file replaced, or removed when value is NULL. */
static const char *edited(const place *p, const char *name, const char *file, const char *key, const char *value, char path[MODEL_PATH_SIZE])
{
    char from[MODEL_PATH_SIZE], json_path[MODEL_PATH_SIZE + 64];
    json *old = NULL, *made = json_new_object();
    snprintf(from, sizeof from, UNETS "%s", name);
    copy_tree(from, under(p, "edited", path));
    snprintf(json_path, sizeof json_path, "%s/%s", path, file);
    MUST(json_read_file(json_path, &old));
    for (const char *k = json_first(old); k; k = json_next(old, k)) {
        json *copy = NULL;
        char *text = json_text(json_get(old, k), JSON_COMPACT);
        const char *now = !strcmp(k, key) ? value : text;
        if (now) {
            MUST(json_parse(now, strlen(now), "value", &copy));
            MUST(json_put(made, k, copy));
        }
        free(text);
    }
    MUST(json_write_file(json_path, made));
    json_free(made);
    json_free(old);
    return path;
}

/* fixed_large_log came out NaN there, and `learned` named a variance that the scheduler then read as something else. */
static void trap_02_variances_of_diffusers(void **state)
{
    static const struct { const char *name; ddpm_status wanted; var_type var; } rows[] = {
        { "\"fixed_small\"", DDPM_OK, VAR_FIXED_SMALL },    { "\"fixed_small_log\"", DDPM_OK, VAR_FIXED_SMALL },
        { "\"fixed_large\"", DDPM_OK, VAR_FIXED_LARGE },    { "\"fixed_large_log\"", DDPM_EFORMAT, VAR_FIXED_LARGE },
        { "\"learned\"", DDPM_EFORMAT, VAR_LEARNED },       { "\"learned_range\"", DDPM_EFORMAT, VAR_LEARNED },   /* its network has no second half */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[MODEL_PATH_SIZE];
        model_file *m = NULL;
        const ddpm_status s = model_open(edited(*state, "df_cifar", "scheduler/scheduler_config.json", "variance_type", rows[i].name, path), WEIGHTS_EMA, &m);
        assert_int_equal(s, rows[i].wanted);
        if (s == DDPM_OK) assert_int_equal(settings_variance(&model_describe(m)->s), rows[i].var);
        else assert_non_null(strstr(ddpm_last_error(), "variance_type"));
        model_close(m);
        MUST(dir_remove_tree(((const place *)*state)->name, "edited"));
    }
}

/* --- 3 and 11: raw weights taken for averaged ones -------------------------------------------------- */

/* The first value of NAME in place `at` of ermongroup's list, or of a bare dictionary. */
static float value_in_file(const char *path, int at, const char *name)
{
    torch_file *f = NULL;
    MUST(torch_open(path, &f));
    const torch_value *v = torch_get(at < 0 ? torch_root(f) : torch_at(torch_root(f), (size_t)at), name);
    const torch_tensor *t = torch_as_tensor(v);
    assert_non_null(t);
    float *x = calloc(torch_tensor_len(t), sizeof *x);
    MUST(torch_tensor_f32(v, x));
    const float first = x[0];
    free(x);
    torch_close(f);
    return first;
}

static float value_loaded(const model_file *m, const char *name)
{
    network n = network_new(&model_describe(m)->s);
    float *slab = calloc(n.layout->len, sizeof *slab), found = NAN;
    MUST(model_load(m, n.layout, slab));
    for (int i = 0; i < n.layout->count; i++)
        if (!strcmp(n.layout->list[i].name, name)) found = slab[n.layout->list[i].offset];
    free(slab);
    network_free(&n);
    return found;
}

static void trap_03_what_the_weights_are_is_said(void **state)
{
    static const char RUNNER[] = UNETS "pt/ddim_ckpt.pth";
    settings request = asked("image_size", "8");
    char path[MODEL_PATH_SIZE];
    model_file *m = NULL;
    MUST(settings_set(&request, "norm_groups", "4", ORIGIN_COMMAND_LINE));
    MUST(settings_set(&request, "diffusion_steps", "1000", ORIGIN_COMMAND_LINE));
    MUST(settings_set(&request, "noise_schedule", "linear", ORIGIN_COMMAND_LINE));
    assert_int_equal(request.v.weights, WEIGHTS_EMA);                       /* unless somebody asks */
    const float raw = value_in_file(RUNNER, 0, "module.conv_in.bias"), averaged = value_in_file(RUNNER, 4, "conv_in.bias");
    assert_true(raw < averaged || raw > averaged);
    for (int weights = WEIGHTS_EMA; weights <= WEIGHTS_RAW; weights++) {
        MUST(model_open_with(RUNNER, weights, &request, &m));
        assert_string_equal(model_describe(m)->weights, weights == WEIGHTS_EMA ? "ema" : "raw");
        assert_true(value_loaded(m, "input_blocks.0.0.bias") == (weights == WEIGHTS_EMA ? averaged : raw));
        model_close(m);
    }
    MUST(model_open(UNETS "df_cifar", WEIGHTS_EMA, &m));                    /* diffusers' files do not tell */
    assert_string_equal(model_describe(m)->weights, "unknown");
    model_close(m);
    assert_int_equal(model_open(UNETS "df_cifar", WEIGHTS_RAW, &m), DDPM_EINVAL);

    const settings s = settings_from(TINY);
    network n = network_new(&s);
    float *slab = slab_of(n.layout, 3);
    for (int i = 0; i < 2; i++) {                                           /* ours do, when they are read again */
        static const char *const labels[] = { "ema 0.9999", "raw" };
        const checkpoint_source source = { .s = &s, .provenance = "test", .weights = labels[i], .step = 1, .layout = n.layout, .values = slab, .best_val = -1 };
        MUST(checkpoint_write(under(*state, labels[i], path), &source));
        MUST(model_open(path, WEIGHTS_EMA, &m));
        assert_string_equal(model_describe(m)->weights, labels[i]);
        model_close(m);
    }
    free(slab);
    network_free(&n);
}

/* --- 5: improved-diffusion's networks ------------------------------------------------------------------ */

/* Down-sampling without a convolution crashed there. Here the levels average: a constant stays what it is. */
static void trap_05_down_sampling_without_convolution(void **state)
{
    (void)state;
    const settings s = settings_from(TINY "conv_resample=false");
    network n = network_new(&s);
    float *slab = slab_of(n.layout, 5), x[2 * 8 * 8 * 3];
    const float t[2] = { 3, 900 };
    for (int i = 0; i < n.layout->count; i++) assert_null(strstr(n.layout->list[i].name, ".op."));
    for (size_t k = 0; k < sizeof x / sizeof *x; k++) x[k] = (float)cos((double)k);
    float *out = network_run(&n, slab, x, t, NULL, 2);
    double least = 0, most = 0;
    for (size_t k = 0; k < sizeof x / sizeof *x; k++) {
        assert_true(isfinite(out[k]));
        least = fmin(least, (double)out[k]);
        most = fmax(most, (double)out[k]);
    }
    assert_true(most - least > 0.01);
    free(out);
    free(slab);
    network_free(&n);
}

/* --- 10: how many images, which folder, which shape: tests/cli/traps.bats. ---------------------------------- */

static void trap_10_images_need_not_be_square(void **state)
{
    (void)state;
    const settings s = settings_from(TINY "image_size=8,16");
    network n = network_new(&s);
    assert_true(n.c.height == 8 && n.c.width == 16);
    float *slab = slab_of(n.layout, 7), x[8 * 16 * 3];
    const float t[1] = { 10 };
    for (size_t k = 0; k < sizeof x / sizeof *x; k++) x[k] = (float)sin((double)k);
    float *out = network_run(&n, slab, x, t, NULL, 1);
    for (size_t k = 0; k < sizeof x / sizeof *x; k++) assert_true(isfinite(out[k]));
    free(out);
    free(slab);
    network_free(&n);
}

/* --- 12: the variance of sampling differs from model to model -------------------------------------------------- */

static void trap_12_the_variance_is_the_models(void **state)
{
    const settings cifar = of_preset("ddpm-cifar10"), lsun = of_preset("ddpm-lsun256"), nobody = asked(NULL, NULL);
    static const char *const kept[] = { TINY "variance=small", TINY "variance=large", TINY "learn_sigma=true" };
    static const var_type wanted[] = { VAR_FIXED_SMALL, VAR_FIXED_LARGE, VAR_LEARNED_RANGE };
    assert_int_equal(settings_variance(&cifar), VAR_FIXED_LARGE);
    assert_int_equal(settings_variance(&lsun), VAR_FIXED_SMALL);
    for (int i = 0; i < 3; i++) {
        const settings s = settings_from(kept[i]);
        char path[MODEL_PATH_SIZE], json_path[MODEL_PATH_SIZE + 64];
        network n = network_new(&s);
        float *slab = slab_of(n.layout, 3);
        const checkpoint_source source = { .s = &s, .provenance = "test", .weights = "raw", .step = 1, .layout = n.layout, .values = slab, .best_val = -1 };
        MUST(checkpoint_write(under(*state, "kept", path), &source));
        snprintf(json_path, sizeof json_path, "%s/ddpm.json", path);
        for (int foreign = 0; foreign < 2; foreign++) {       /* our own description, then diffusers' alone */
            model_file *m = NULL;
            sampling how;
            if (foreign) MUST(unlink(json_path) == 0 ? DDPM_OK : DDPM_EIO);
            MUST(model_open(path, WEIGHTS_EMA, &m));
            MUST(sampling_new(&model_describe(m)->s, &nobody, &how));
            assert_int_equal(how.p.var, wanted[i]);
            sampling_free(&how);
            model_close(m);
        }
        free(slab);
        network_free(&n);
    }
}

/* --- 13: options that were not listened to --------------------------------------------------------------------- */

static void trap_13_defaults_of_guided_diffusion(void **state)
{
    (void)state;
    const settings adm = of_preset("adm-imagenet64"), with = settings_from(TINY "use_checkpoint=true"), without = settings_from(TINY "use_checkpoint=false");
    assert_true(adm.v.flip);
    const unet_config a = settings_unet(&with), b = settings_unet(&without);
    assert_int_equal(a.model_channels, b.model_channels);
    network m = network_new(&with), n = network_new(&without);
    assert_int_equal(m.layout->len, n.layout->len);          /* the option changes no network, whatever it is */
    network_free(&m);
    network_free(&n);
}

/* --- 17: a configuration without attention_head_dim ------------------------------------------------------------------- */

/* diffusers then makes heads of 8 channels, which for a wide network are many: its default, so ours when reading its files. */
static void trap_17_heads_that_nobody_counted(void **state)
{
    static const struct { const char *value; int heads; } rows[] = { { NULL, 2 }, { "null", 1 }, { "8", 2 }, { "16", 1 }, { "4", 4 }, { "1", 16 } };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[MODEL_PATH_SIZE];
        model_file *m = NULL;
        MUST(model_open(edited(*state, "df_default", "unet/config.json", "attention_head_dim", rows[i].value, path), WEIGHTS_EMA, &m));
        const settings s = model_describe(m)->s;
        const unet_config c = settings_unet(&s);
        assert_int_equal(c.channels[c.levels - 1], 16);
        assert_int_equal(c.num_head_channels ? 16 / c.num_head_channels : c.num_heads, rows[i].heads);
        model_close(m);
        MUST(dir_remove_tree(((const place *)*state)->name, "edited"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(trap_02_variances_of_diffusers, enter, leave),
        cmocka_unit_test_setup_teardown(trap_03_what_the_weights_are_is_said, enter, leave),
        cmocka_unit_test(trap_05_down_sampling_without_convolution),
        cmocka_unit_test(trap_10_images_need_not_be_square),
        cmocka_unit_test_setup_teardown(trap_12_the_variance_is_the_models, enter, leave),
        cmocka_unit_test(trap_13_defaults_of_guided_diffusion),
        cmocka_unit_test_setup_teardown(trap_17_heads_that_nobody_counted, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
