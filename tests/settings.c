/* Settings: every option through JSON and back, what errors say, whose value wins,
 * and what contradicts what. */
#include "api/settings.h"
#include "io/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void check(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

static void set(settings *s, const char *name, const char *text, option_origin origin) { check(settings_set(s, name, text, origin)); }

/* A value of row i that is not its default. */
static void other_value(int i, char text[OPTION_TEXT_SIZE])
{
    const option *o = &settings_options[i];
    const double step = o->max - o->min > 2 ? 1.25 : (o->max - o->min) / 7;
    switch (o->type) {
    case OPT_BOOL:      snprintf(text, OPTION_TEXT_SIZE, "%s", !strcmp(o->fallback, "true") ? "false" : "true"); break;
    case OPT_INT:
    case OPT_I64:       snprintf(text, OPTION_TEXT_SIZE, "%.0f", o->min + (strtod(o->fallback, NULL) == o->min + 3 ? 2 : 3)); break;
    case OPT_REAL:      snprintf(text, OPTION_TEXT_SIZE, "%.17g", o->min + step); break;
    case OPT_STRING:    snprintf(text, OPTION_TEXT_SIZE, "a \"b\" \\ c\td=1,2"); break;
    case OPT_CHOICE:    snprintf(text, OPTION_TEXT_SIZE, "%s", strrchr(o->choices, '|') + 1); break;
    case OPT_INT_LIST:  snprintf(text, OPTION_TEXT_SIZE, "%.0f,%.0f", o->min + 5, o->min + 1); break;
    case OPT_REAL_LIST: snprintf(text, OPTION_TEXT_SIZE, "%.17g,%.17g", o->min + step / 3, o->min + step / 5); break;
    }
}

static void test_every_option_survives_json(void **state)
{
    (void)state;
    static settings a, b;
    settings_defaults(&a);
    settings_defaults(&b);
    for (int i = 0; settings_options[i].name; i++) {
        char text[OPTION_TEXT_SIZE], before[OPTION_TEXT_SIZE], after[OPTION_TEXT_SIZE];
        other_value(i, text);
        options_print(settings_options, &a.v, i, before);
        set(&a, settings_options[i].name, text, ORIGIN_COMMAND_LINE);
        options_print(settings_options, &a.v, i, after);
        assert_string_not_equal(before, after);
    }
    json *o = NULL, *read = NULL;
    check(settings_to_json(&a, ~0u, &o));
    char *printed = json_text(o, JSON_COMPACT);
    check(json_parse(printed, strlen(printed), "test", &read));
    check(settings_from_json(&b, read, "test", ORIGIN_CONFIG));
    for (int i = 0; settings_options[i].name; i++) {
        char x[OPTION_TEXT_SIZE], y[OPTION_TEXT_SIZE];
        options_print(settings_options, &a.v, i, x);
        options_print(settings_options, &b.v, i, y);
        const bool kept = !(settings_options[i].groups & GROUP_CALL);
        assert_int_equal(json_get(o, settings_options[i].name) != NULL, kept);
        assert_int_equal(b.origins[i], kept ? ORIGIN_CONFIG : ORIGIN_DEFAULT);
        if (kept) assert_string_equal(x, y);
    }
    free(printed);
    json_free(o);
    json_free(read);
}

static void test_groups_choose_the_keys(void **state)
{
    (void)state;
    static settings s;
    json *o = NULL;
    settings_defaults(&s);
    check(settings_to_json(&s, GROUP_MODEL, &o));
    assert_non_null(json_get(o, "num_channels"));
    assert_non_null(json_get(o, "prediction"));
    assert_null(json_get(o, "lr"));
    assert_null(json_get(o, "output"));
    json_free(o);
}

static ddpm_status read_text(settings *s, const char *text)
{
    json *j = NULL;
    check(json_parse(text, strlen(text), "my.json", &j));
    const ddpm_status status = settings_from_json(s, j, "my.json", ORIGIN_CONFIG);
    json_free(j);
    return status;
}

static void test_wrong_keys_and_values(void **state)
{
    (void)state;
    static settings s;
    static const struct { const char *json, *says; } wrong[] = {
        { "{\"num_chanels\": 64}", "\"num_channels\"" },   { "{\"num_channels\": 0}", "num_channels" },
        { "{\"num_channels\": \"many\"}", "num_channels" }, { "{\"num_channels\": 1.5}", "num_channels" },
        { "{\"lr\": null}", "\"lr\"" },                    { "{\"lr\": {}}", "\"lr\"" },
        { "{\"sampler\": \"dimm\"}", "sampler" },          { "{\"ema_rate\": [0.5, true]}", "ema_rate" },
        { "{\"dropout\": 1}", "dropout" },                 { "{\"channel_mult\": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}", "channel_mult" },
    };
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        settings_defaults(&s);
        assert_int_equal(read_text(&s, wrong[k].json), DDPM_EINVAL);
        if (!strstr(ddpm_last_error(), wrong[k].says) || !strstr(ddpm_last_error(), "my.json")) fail_msg("%s: %s", wrong[k].json, ddpm_last_error());
    }
    settings_defaults(&s);
    check(read_text(&s, "{\"channel_mult\": [1, 2.5], \"attention-resolutions\": \"8,4\", \"lr\": 1e-3, \"seed\": 9000000000000000}"));
    assert_true(s.v.channel_mult.n == 2 && s.v.channel_mult.v[1] == 2.5);
    assert_true(s.v.attention_resolutions.n == 2 && s.v.attention_resolutions.v[1] == 4);
    assert_true(s.v.lr == 1e-3 && s.v.seed == 9000000000000000);
}

static void test_the_stronger_origin_wins(void **state)
{
    (void)state;
    static settings s;
    settings_defaults(&s);
    set(&s, "lr", "0.5", ORIGIN_COMMAND_LINE);
    check(read_text(&s, "{\"lr\": 0.25, \"dropout\": 0.75, \"num_heads\": 2}"));
    check(settings_preset(&s, "ddpm-cifar10"));
    assert_true(s.v.lr == 0.5);                     /* command line before configuration before preset before default */
    assert_true(s.v.dropout == 0.75);
    assert_int_equal(s.v.num_heads, 2);
    assert_int_equal(s.v.lr_warmup, 5000);
    assert_true(s.v.beta2 == 0.999);
    assert_int_equal(settings_origin(&s, "lr"), ORIGIN_COMMAND_LINE);
    assert_int_equal(settings_origin(&s, "dropout"), ORIGIN_CONFIG);
    assert_int_equal(settings_origin(&s, "lr_warmup"), ORIGIN_PRESET);
    assert_int_equal(settings_origin(&s, "beta2"), ORIGIN_DEFAULT);
    settings_defaults(&s);
    check(settings_preset(&s, "ddpm-lsun256-large"));
    assert_int_equal(s.v.num_channels, 192);        /* the later of two values of a preset */
}

static void test_files(void **state)
{
    (void)state;
    static settings s;
    char path[] = "/tmp/ddpm-settings-XXXXXX";
    const int fd = mkstemp(path);
    static const char TEXT[] = "{\"version\": \"x\", \"values\": {\"lr\": 0.125}, \"origins\": {\"lr\": \"preset\"}}";
    assert_true(fd >= 0 && write(fd, TEXT, sizeof TEXT - 1) == sizeof TEXT - 1);
    close(fd);
    settings_defaults(&s);
    check(settings_read_file(&s, path, ORIGIN_CONFIG));
    assert_true(s.v.lr == 0.125);
    unlink(path);
    assert_int_equal(settings_read_file(&s, path, ORIGIN_CONFIG), DDPM_EIO);
    static const char *const no_names[] = { "[1, 2]", "\"lr\"", "{\"values\": 3}" };
    for (size_t i = 0; i < sizeof no_names / sizeof *no_names; i++) {
        check(file_write_atomic(path, no_names[i], strlen(no_names[i])));
        assert_int_equal(settings_read_file(&s, path, ORIGIN_CONFIG), DDPM_EFORMAT);
    }
    unlink(path);
}

static ddpm_status resolve(const char *const *pairs, settings *s)
{
    settings_defaults(s);
    set(s, "image_size", "32", ORIGIN_COMMAND_LINE);
    for (; *pairs; pairs += 2) set(s, pairs[0], pairs[1], ORIGIN_COMMAND_LINE);
    return settings_resolve(s);
}

#define PAIRS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void test_contradictions(void **state)
{
    (void)state;
    static settings s;
    const struct { const char *const *pairs, *says; } wrong[] = {
        { PAIRS("learn_sigma", "true", "variance", "small"), "--learn_sigma" },
        { PAIRS("sigma_small", "true", "variance", "large"), "--sigma_small" },
        { PAIRS("predict_xstart", "true", "prediction", "v"), "--predict_xstart" },
        { PAIRS("use_kl", "true", "loss", "mse"), "--use_kl" },
        { PAIRS("label_dropout", "0.1"), "--class_cond" },
        { PAIRS("class_cond", "true"), "--num_classes" },
        { PAIRS("image_size", "30", "channel_mult", "1,2,2"), "30x30" },
        { PAIRS("image_size", "32,32,32"), "--image_size" },
        { PAIRS("channel_mult", "1,1,1,1,1,1,1,1,1"), "--channel_mult" },
        { PAIRS("num_channels", "40"), "--num_channels" },
        { PAIRS("num_heads", "3"), "num_heads" },
        { PAIRS("use_checkpoint", "true", "checkpoint_activations", "cheap"), "--checkpoint_activations blocks" },
    };
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        assert_int_equal(resolve(wrong[k].pairs, &s), DDPM_EINVAL);
        if (!strstr(ddpm_last_error(), wrong[k].says)) fail_msg("%s %s: %s", wrong[k].pairs[0], wrong[k].pairs[1], ddpm_last_error());
    }
}

/* improved-diffusion's flags mean what they mean there, and resolving again changes nothing. */
static void test_resolving(void **state)
{
    (void)state;
    static settings s, again;
    const struct { const char *const *pairs; mean_type mean; var_type var; loss_type loss; int out; } flags[] = {
        { PAIRS("dropout", "0"), MEAN_EPSILON, VAR_FIXED_LARGE, LOSS_RESCALED_MSE, 3 },
        { PAIRS("sigma_small", "true"), MEAN_EPSILON, VAR_FIXED_SMALL, LOSS_RESCALED_MSE, 3 },
        { PAIRS("learn_sigma", "true"), MEAN_EPSILON, VAR_LEARNED_RANGE, LOSS_RESCALED_MSE, 6 },
        { PAIRS("learn_sigma", "true", "rescale_learned_sigmas", "false"), MEAN_EPSILON, VAR_LEARNED_RANGE, LOSS_MSE, 6 },
        { PAIRS("learn_sigma", "true", "use_kl", "true", "sigma_small", "true"), MEAN_EPSILON, VAR_LEARNED_RANGE, LOSS_RESCALED_KL, 6 },
        { PAIRS("predict_xstart", "true"), MEAN_START_X, VAR_FIXED_LARGE, LOSS_RESCALED_MSE, 3 },
        { PAIRS("variance", "learned", "channels", "4"), MEAN_EPSILON, VAR_LEARNED, LOSS_RESCALED_MSE, 8 },
        { PAIRS("channels", "2", "prediction", "v"), MEAN_V, VAR_FIXED_LARGE, LOSS_RESCALED_MSE, 2 },
    };
    for (size_t k = 0; k < sizeof flags / sizeof *flags; k++) {
        check(resolve(flags[k].pairs, &s));
        assert_int_equal(settings_mean(&s), flags[k].mean);
        assert_int_equal(settings_variance(&s), flags[k].var);
        assert_int_equal(settings_loss(&s), flags[k].loss);
        assert_int_equal(settings_unet(&s).out_channels, flags[k].out);
        again = s;
        check(settings_resolve(&again));
        assert_memory_equal(&again.v, &s.v, sizeof s.v);
    }
}

/* use_checkpoint says what checkpoint_activations says; where both are said, the stronger origin counts. */
static void test_two_names_of_recomputation(void **state)
{
    (void)state;
    static settings s, again;
    static const struct { const char *flag; option_origin flag_from; const char *level; option_origin level_from; nn_recompute is; } rows[] = {
        { NULL, 0, NULL, 0, NN_RECOMPUTE_NONE },
        { "true", ORIGIN_COMMAND_LINE, NULL, 0, NN_RECOMPUTE_BLOCKS },
        { "false", ORIGIN_COMMAND_LINE, NULL, 0, NN_RECOMPUTE_NONE },
        { NULL, 0, "cheap", ORIGIN_COMMAND_LINE, NN_RECOMPUTE_CHEAP },
        { NULL, 0, "blocks", ORIGIN_COMMAND_LINE, NN_RECOMPUTE_BLOCKS },
        { "true", ORIGIN_COMMAND_LINE, "blocks", ORIGIN_COMMAND_LINE, NN_RECOMPUTE_BLOCKS },
        { "false", ORIGIN_COMMAND_LINE, "cheap", ORIGIN_COMMAND_LINE, NN_RECOMPUTE_CHEAP },
        { "true", ORIGIN_CONFIG, "none", ORIGIN_COMMAND_LINE, NN_RECOMPUTE_NONE },
        { "true", ORIGIN_COMMAND_LINE, "cheap", ORIGIN_CONFIG, NN_RECOMPUTE_BLOCKS },
        { "false", ORIGIN_COMMAND_LINE, "blocks", ORIGIN_CONFIG, NN_RECOMPUTE_NONE },
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        settings_defaults(&s);
        set(&s, "image_size", "32", ORIGIN_COMMAND_LINE);
        if (rows[k].flag) set(&s, "use_checkpoint", rows[k].flag, rows[k].flag_from);
        if (rows[k].level) set(&s, "checkpoint_activations", rows[k].level, rows[k].level_from);
        check(settings_resolve(&s));
        assert_int_equal(settings_unet(&s).recompute, rows[k].is);
        again = s;
        check(settings_resolve(&again));
        assert_memory_equal(&again.v, &s.v, sizeof s.v);
    }
}

static void test_widths_by_size(void **state)
{
    (void)state;
    static settings s;
    static const struct { const char *size; int n; double last; int stem; } sizes[] = {
        { "512", 7, 4, 64 }, { "256", 6, 4, 128 }, { "128", 5, 4, 128 }, { "64", 4, 4, 128 }, { "32", 4, 2, 128 }, { "28", 3, 2, 128 }, { "7", 1, 1, 128 }, { "48,32", 4, 2, 128 },
    };
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        check(resolve(PAIRS("image_size", sizes[k].size), &s));
        assert_int_equal(s.v.channel_mult.n, sizes[k].n);
        assert_true(s.v.channel_mult.v[sizes[k].n - 1] == sizes[k].last);
        assert_int_equal(settings_unet(&s).stem, sizes[k].stem);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_option_survives_json), cmocka_unit_test(test_groups_choose_the_keys), cmocka_unit_test(test_wrong_keys_and_values),
        cmocka_unit_test(test_the_stronger_origin_wins),   cmocka_unit_test(test_files),                  cmocka_unit_test(test_contradictions),
        cmocka_unit_test(test_resolving),                  cmocka_unit_test(test_widths_by_size),         cmocka_unit_test(test_two_names_of_recomputation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
