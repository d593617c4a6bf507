/* improved-diffusion's published command lines, word for word: each is taken by the command that does the script's
 * work, and becomes the network, process and training of the preset of that name. */
#include "api/settings.h"
#include "train/trainer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_WORDS = 128, IMAGENET_CLASSES = 1000 };

static void check(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

/* `line` as the words behind `ddpm COMMAND`. */
static ddpm_status parse(unsigned command, const char *line, settings *s)
{
    static char text[4096];
    const char *words[MAX_WORDS];
    int count = 0;
    settings_defaults(s);
    snprintf(text, sizeof text, "%s", line);
    for (char *rest = text, *word; (word = strsep(&rest, " ")); )
        if (*word && count < MAX_WORDS) words[count++] = word;
    options_parser p = { .table = settings_options, .groups = command, .settings = &s->v, .origins = s->origins };
    DDPM_TRY(options_parse(&p, count, words));
    if (s->v.class_cond) s->v.num_classes = IMAGENET_CLASSES;       /* which the data tells */
    return settings_resolve(s);
}

typedef struct { const char *model, *diffusion, *train, *preset; size_t parameters; } published;

#define SIZES " --large_size 256 --small_size 64"       /* their script's defaults */

static const published lines[] = {
    { "--image_size 64 --num_channels 128 --num_res_blocks 3", "--diffusion_steps 4000 --noise_schedule linear", "--lr 1e-4 --batch_size 128", NULL, 121060483 },
    { "--image_size 64 --num_channels 128 --num_res_blocks 3 --learn_sigma True", "--diffusion_steps 4000 --noise_schedule cosine",
      "--lr 1e-4 --batch_size 128", "iddpm-imagenet64", 121063942 },
    { "--image_size 32 --num_channels 128 --num_res_blocks 3 --learn_sigma True --dropout 0.3", "--diffusion_steps 4000 --noise_schedule cosine",
      "--lr 1e-4 --batch_size 128", "iddpm-cifar10-hybrid", 52546438 },
    { "--image_size 64 --num_channels 192 --num_res_blocks 3 --learn_sigma True --class_cond True",
      "--diffusion_steps 4000 --noise_schedule cosine --rescale_learned_sigmas False --rescale_timesteps False", "--lr 3e-4 --batch_size 2048",
      "iddpm-imagenet64-cond", 273049350 },
    { "--num_channels 192 --num_res_blocks 2 --learn_sigma True --class_cond True" SIZES,
      "--diffusion_steps 4000 --noise_schedule linear --rescale_learned_sigmas False --rescale_timesteps False", "--lr 3e-4 --batch_size 256",
      "iddpm-upsample256", 279792390 },
    { "--image_size 256 --num_channels 128 --num_res_blocks 2 --num_heads 1 --learn_sigma True --use_scale_shift_norm False --attention_resolutions 16",
      "--diffusion_steps 1000 --noise_schedule linear --rescale_learned_sigmas False --rescale_timesteps False", "--lr 1e-4 --batch_size 128",
      "iddpm-lsun256", 113676678 },
    { "--image_size 256 --num_channels 128 --num_res_blocks 2 --num_heads 1 --learn_sigma True --use_scale_shift_norm False --attention_resolutions 16",
      "--diffusion_steps 1000 --noise_schedule linear --rescale_learned_sigmas False --rescale_timesteps False --use_scale_shift_norm False",
      "--lr 2e-5 --batch_size 128", NULL, 113676678 },
    { "--image_size 64 --num_channels 128 --num_res_blocks 3 --learn_sigma True", "--diffusion_steps 4000 --noise_schedule cosine --use_kl True",
      "--lr 1e-4 --batch_size 128 --schedule_sampler loss-second-moment", "iddpm-imagenet64-vlb", 121063942 },
    { "--image_size 32 --num_channels 128 --num_res_blocks 3 --learn_sigma True --dropout 0.3", "--diffusion_steps 4000 --noise_schedule cosine --use_kl True",
      "--lr 1e-4 --batch_size 128 --schedule_sampler loss-second-moment", "iddpm-cifar10-vlb", 52546438 },
};

static void same_as_preset(const settings *s, const char *name, unsigned groups, const char *const *keys)
{
    static settings p;
    settings_defaults(&p);
    check(settings_preset(&p, name));
    check(settings_resolve(&p));
    for (int i = 0; settings_options[i].name; i++) {
        char a[OPTION_TEXT_SIZE], b[OPTION_TEXT_SIZE];
        bool wanted = settings_options[i].groups & groups;
        if (strstr(" beta_scaling compat sampler ", settings_options[i].name)) continue;     /* same_schedule looks at the first; the others are about sampling */
        for (int k = 0; keys && keys[k]; k++) wanted = wanted || !strcmp(keys[k], settings_options[i].name);
        options_print(settings_options, &s->v, i, a);
        options_print(settings_options, &p.v, i, b);
        if (wanted && strcmp(a, b)) fail_msg("%s: %s is %s by the flags and %s in the preset", name, settings_options[i].name, a, b);
    }
}

static void same_schedule(const settings *s, const char *name)
{
    static settings p;
    settings_defaults(&p);
    check(settings_preset(&p, name));
    check(settings_resolve(&p));
    const schedule_config a = settings_schedule(s), b = settings_schedule(&p);
    assert_true(a.kind == b.kind && a.T == b.T && a.scaled == b.scaled && a.width == b.width && a.logvar == b.logvar);
    assert_true(a.beta_start == b.beta_start && a.beta_end == b.beta_end);
}

static void check_line(unsigned command, const published *l, const settings *s)
{
    static const char *const training[] = { "lr", "batch_size", "schedule_sampler", "weight_decay", "grad_clip", "ema_rate", "flip", "optimiser", NULL };
    const unet_config net = settings_unet(s);
    assert_int_equal(unet_parameters(&net), l->parameters);
    if (l->preset) same_schedule(s, l->preset);
    if (l->preset) same_as_preset(s, l->preset, GROUP_MODEL, command == GROUP_TRAIN ? training : NULL);
}

static void test_published_lines(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof lines / sizeof *lines; k++) {
        static settings s;
        char line[1024];
        const published *l = &lines[k];
        print_message("%s\n", l->model);
        snprintf(line, sizeof line, "--data_dir path/to/images %s %s %s", l->model, l->diffusion, l->train);
        check(parse(GROUP_TRAIN, line, &s));
        check_line(GROUP_TRAIN, l, &s);
        assert_string_equal(s.v.data_dir, "path/to/images");
        snprintf(line, sizeof line, "--model_path /path/to/model.pt %s %s", l->model, l->diffusion);
        check(parse(GROUP_SAMPLE, line, &s));
        check_line(GROUP_SAMPLE, l, &s);
        snprintf(line, sizeof line, "--model_path /path/to/model.pt --timestep_respacing ddim250 --use_ddim True %s %s", l->model, l->diffusion);
        check(parse(GROUP_SAMPLE, line, &s));
        assert_true(s.v.use_ddim && !strcmp(s.v.timestep_respacing, "ddim250"));
        snprintf(line, sizeof line, "--data_dir path/to/images --model_path /path/to/model.pt %s %s", l->model, l->diffusion);
        check(parse(GROUP_NLL, line, &s));
        check_line(GROUP_NLL, l, &s);
    }
}

/* The changes that are suggested to the first of the lines. */
static void test_suggested_changes(void **state)
{
    (void)state;
    static settings s;
    char line[1024];
    snprintf(line, sizeof line, "%s %s %s --microbatch 16 --use_kl True --learn_sigma True --schedule_sampler loss-second-moment --class_cond True", lines[0].model,
             lines[0].diffusion, lines[0].train);
    check(parse(GROUP_TRAIN, line, &s));
    assert_int_equal(s.v.microbatch, 16);
    assert_int_equal(settings_loss(&s), LOSS_RESCALED_KL);
    assert_int_equal(settings_variance(&s), VAR_LEARNED_RANGE);
    assert_int_equal(s.v.schedule_sampler, TIMESTEPS_SECOND_MOMENT);
    assert_int_equal(settings_unet(&s).num_classes, IMAGENET_CLASSES);
    assert_int_equal(settings_schedule(&s).kind, SCHEDULE_LINEAR);
}

/* Every flag of the five scripts, with its default there. */
#define MODEL_ALL "--num_channels 128 --num_res_blocks 2 --num_heads 4 --num_heads_upsample -1 --attention_resolutions 16,8 --dropout 0.0 " \
                  "--learn_sigma False --class_cond False --diffusion_steps 1000 --noise_schedule linear --timestep_respacing= --use_kl False " \
                  "--predict_xstart False --rescale_timesteps True --rescale_learned_sigmas True --use_checkpoint False --use_scale_shift_norm True "
#define TRAIN_ALL "--data_dir= --schedule_sampler uniform --lr 0.0001 --weight_decay 0.0 --lr_anneal_steps 0 --batch_size 1 --microbatch -1 --ema_rate 0.9999 " \
                  "--log_interval 10 --save_interval 10000 --resume_checkpoint= --use_fp16 False --fp16_scale_growth 0.001 "
static const struct { const char *script, *line; unsigned command; } scripts[] = {
    { "image_train", TRAIN_ALL MODEL_ALL "--image_size 64 --sigma_small False", GROUP_TRAIN },
    { "image_sample", "--clip_denoised True --num_samples 10000 --batch_size 16 --use_ddim False --model_path= " MODEL_ALL "--image_size 64 --sigma_small False", GROUP_SAMPLE },
    { "image_nll", "--data_dir= --clip_denoised True --num_samples 1000 --batch_size 1 --model_path= " MODEL_ALL "--image_size 64 --sigma_small False", GROUP_NLL },
    { "super_res_train", TRAIN_ALL MODEL_ALL SIZES, GROUP_TRAIN },
    { "super_res_sample", "--clip_denoised True --num_samples 10000 --batch_size 16 --use_ddim False --base_samples= --model_path= " MODEL_ALL SIZES, GROUP_SAMPLE },
};

/* The flags say what the table's defaults say, so nothing changes by giving them. */
static void test_every_flag_of_the_scripts(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof scripts / sizeof *scripts; k++) {
        static settings s, bare;
        print_message("%s\n", scripts[k].script);
        check(parse(scripts[k].command, scripts[k].line, &s));
        check(parse(scripts[k].command, strstr(scripts[k].line, "--large_size") ? SIZES : "--image_size 64", &bare));
        for (int i = 0; settings_options[i].name; i++) {
            char a[OPTION_TEXT_SIZE], b[OPTION_TEXT_SIZE];
            const char *name = settings_options[i].name;
            if (!strcmp(name, "batch_size") || !strcmp(name, "num_samples")) continue;      /* ours are others: 128 or 32, and 16 or 1000 */
            options_print(settings_options, &s.v, i, a);
            options_print(settings_options, &bare.v, i, b);
            if (strcmp(a, b)) fail_msg("%s: --%s %s is not what is meant without it, %s", scripts[k].script, name, a, b);
        }
    }
}

/* Python's words for truth. */
static void test_booleans(void **state)
{
    (void)state;
    static const char *const yes[] = { "yes", "true", "t", "y", "1", "True", "TRUE" }, *const no[] = { "no", "false", "f", "n", "0", "False" };
    static settings s;
    char line[128];
    for (size_t k = 0; k < sizeof yes / sizeof *yes; k++) {
        snprintf(line, sizeof line, "--learn_sigma %s --image_size 32", yes[k]);
        check(parse(GROUP_TRAIN, line, &s));
        assert_true(s.v.learn_sigma);
    }
    for (size_t k = 0; k < sizeof no / sizeof *no; k++) {
        snprintf(line, sizeof line, "--use_scale_shift_norm %s --image_size 32", no[k]);
        check(parse(GROUP_TRAIN, line, &s));
        assert_false(s.v.use_scale_shift_norm);
    }
    assert_int_equal(parse(GROUP_TRAIN, "--image_size 32 --learn_sigma maybe", &s), DDPM_EINVAL);
}

static void test_sizes_of_an_upsampler(void **state)
{
    (void)state;
    static settings s;
    static const struct { const char *line, *says; } wrong[] = {
        { "--large_size 256", "--small_size" },                             { "--small_size 64", "image size" },
        { "--large_size 64 --small_size 64", "smaller" },                   { "--large_size 64 --image_size 128 --small_size 16", "contradicts" },
        { "--image_size 64,32 --small_size 16", "square" },
    };
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        assert_int_equal(parse(GROUP_TRAIN, wrong[k].line, &s), DDPM_EINVAL);
        if (!strstr(ddpm_last_error(), wrong[k].says)) fail_msg("%s: %s", wrong[k].line, ddpm_last_error());
    }
    check(parse(GROUP_TRAIN, "--image_size 64 --small_size 16", &s));
    assert_int_equal(s.v.large_size, 64);
    assert_int_equal(settings_unet(&s).in_channels, 6);
    assert_int_equal(settings_unet(&s).out_channels, 3);
    check(parse(GROUP_TRAIN, "--large_size 64 --image_size 64 --small_size 16 --learn_sigma True", &s));
    assert_int_equal(settings_unet(&s).out_channels, 6);
    settings_defaults(&s);                              /* the command line's size replaces the preset's, by either name */
    check(settings_set(&s, "large_size", "128", ORIGIN_COMMAND_LINE));
    check(settings_preset(&s, "iddpm-upsample256"));
    check(settings_resolve(&s));
    assert_int_equal(s.v.image_size.v[0], 128);
    settings_defaults(&s);
    check(settings_set(&s, "image_size", "128", ORIGIN_COMMAND_LINE));
    check(settings_set(&s, "large_size", "64", ORIGIN_CONFIG));
    check(settings_set(&s, "small_size", "16", ORIGIN_CONFIG));
    check(settings_resolve(&s));
    assert_true(s.v.image_size.v[0] == 128 && s.v.large_size == 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_lines), cmocka_unit_test(test_suggested_changes), cmocka_unit_test(test_every_flag_of_the_scripts),
        cmocka_unit_test(test_booleans),        cmocka_unit_test(test_sizes_of_an_upsampler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
