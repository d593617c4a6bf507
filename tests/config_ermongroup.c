/* config_ermongroup.c - Song et al.'s configurations become what the presets of the same models say. */
#include "api/config_ermongroup.h"
#include "data/dataset.h"
#include "io/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The published values, reference.md's table of configurations, in the sections their code reads. */
static const char TEXT[] =
    "data: {dataset: \"%s\", image_size: %d, channels: 3, logit_transform: false, uniform_dequantization: false,\n"
    "       gaussian_dequantization: false, random_flip: true, rescaled: true, num_workers: 4}\n"
    "model:\n  type: \"simple\"\n  in_channels: 3\n  out_ch: 3\n  ch: 128\n  ch_mult: [%s]\n  num_res_blocks: 2\n"
    "  attn_resolutions: [16, ]\n  dropout: %s\n  var_type: %s\n  ema_rate: %s\n  ema: True\n  resamp_with_conv: True\n"
    "diffusion:\n  beta_schedule: linear\n  beta_start: 0.0001\n  beta_end: 0.02\n  num_diffusion_timesteps: 1000\n"
    "training: {batch_size: %d, n_epochs: 10000, n_iters: 5000000, snapshot_freq: 5000, validation_freq: 2000}\n"
    "sampling: {batch_size: 64, last_only: True}\n"
    "optim: {weight_decay: 0.000, optimizer: \"Adam\", lr: %s, beta1: 0.9, amsgrad: false, eps: 0.00000001%s}\n";

static ddpm_status read_text(settings *s, const char *text)
{
    json *j;
    settings_defaults(s);
    assert_int_equal(yaml_parse(text, strlen(text), "c.yml", &j), DDPM_OK);
    assert_true(config_is_ermongroup(j));
    const ddpm_status status = config_from_ermongroup(s, j, "c.yml");
    json_free(j);
    return status;
}

/* Everything but what a preset leaves open: how long to train, how often to save and validate, and the preset's name. */
static void same_as_preset(const settings *s, const char *name)
{
    static const char *const open_values[] = { "preset", "steps", "save_interval", "val_interval", "channels", "crop" };
    settings p;
    json *a, *b;
    settings_defaults(&p);
    assert_int_equal(settings_preset(&p, name), DDPM_OK);
    assert_int_equal(settings_to_json(s, ~0u, &a), DDPM_OK);
    assert_int_equal(settings_to_json(&p, ~0u, &b), DDPM_OK);
    for (const char *key = json_first(a); key; key = json_next(a, key)) {
        bool skip = false;
        for (size_t i = 0; i < sizeof open_values / sizeof *open_values; i++) skip |= !strcmp(key, open_values[i]);
        char *x = json_text(json_get(a, key), 0), *y = json_text(json_get(b, key), 0);
        if (!skip && strcmp(x, y) != 0) fail_msg("%s, %s: %s in the configuration, %s in the preset", name, key, x, y);
        free(x);
        free(y);
    }
    json_free(a);
    json_free(b);
    assert_int_equal(s->v.channels, 3);
    assert_true(s->v.steps == 5000000 && s->v.save_interval == 5000 && s->v.val_interval == 2000);
}

static void test_published(void **state)
{
    (void)state;
    char text[2048];
    settings s;
    snprintf(text, sizeof text, TEXT, "CIFAR10", 32, "1, 2, 2, 2", "0.1", "fixedlarge", "0.9999", 128, "0.0002", ", grad_clip: 1.0");
    assert_int_equal(read_text(&s, text), DDPM_OK);
    same_as_preset(&s, "ddim-cifar10");
    snprintf(text, sizeof text, TEXT, "CELEBA", 64, "1, 2, 2, 2, 4", "0.1", "fixedlarge", "0.9999", 128, "0.0002", ", grad_clip: 1.0");
    assert_int_equal(read_text(&s, text), DDPM_OK);
    same_as_preset(&s, "ddim-celeba64");
    assert_int_equal(s.v.crop, DATASET_CROP_CELEBA);
    snprintf(text, sizeof text, TEXT, "LSUN", 256, "1, 1, 2, 2, 4, 4", "0.0", "fixedsmall", "0.999", 64, "0.00002", "");
    assert_int_equal(read_text(&s, text), DDPM_OK);
    same_as_preset(&s, "ddim-lsun256");
    assert_int_equal(settings_origin(&s, "variance"), ORIGIN_CONFIG);
}

/* What the command line says holds. */
static void test_precedence(void **state)
{
    (void)state;
    settings s;
    json *j;
    settings_defaults(&s);
    assert_int_equal(settings_set(&s, "lr", "0.5", ORIGIN_COMMAND_LINE), DDPM_OK);
    static const char text[] = "model: {ch: 64}\ndiffusion: {}\noptim: {lr: 0.25}\n";
    assert_int_equal(yaml_parse(text, strlen(text), "c.yml", &j), DDPM_OK);
    assert_int_equal(config_from_ermongroup(&s, j, "c.yml"), DDPM_OK);
    json_free(j);
    assert_true(s.v.lr == 0.5 && s.v.num_channels == 64);
}

static void refused(const char *text, const char *words)
{
    settings s;
    assert_int_equal(read_text(&s, text), DDPM_EINVAL);
    if (!strstr(ddpm_last_error(), words)) fail_msg("\"%s\" does not say \"%s\"", ddpm_last_error(), words);
}

static void test_refusals(void **state)
{
    (void)state;
    refused("model: {}\ndiffusion: {}\noptim: {grad_clp: 1}\n", "section optim has no key \"grad_clp\"; did you mean \"grad_clip\"?");
    refused("model: {}\ndiffusion: {}\noptims: {}\n", "\"optims\" is not a section");
    refused("model: {}\ndiffusion: {}\ndata: 3\n", "\"data\" is not a section");
    refused("model: {}\ndiffusion: {}\ndata: {logit_transform: true}\n", "c.yml: data.logit_transform must be false: images are scaled");
    refused("model: {}\ndiffusion: {}\noptim: {optimizer: SGD}\n", "optim.optimizer must be Adam");
    refused("model: {ema: false}\ndiffusion: {}\n", "--weights raw");
    refused("model: {in_channels: 3, out_ch: 6}\ndiffusion: {}\n", "c.yml: model.out_ch is 6, but the other channels are 3");
    refused("model: {var_type: learned_big}\ndiffusion: {}\n", "c.yml: model.var_type");
    refused("model: {ch: [[1]]}\ndiffusion: {}\n", "must be a number");
    refused("model: {}\ndiffusion: {beta_schedule: cosin}\n", "cosine");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_published), cmocka_unit_test(test_precedence), cmocka_unit_test(test_refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
