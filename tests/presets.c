/* Presets: parameter counts are the published ones; a preset's values resolve to
 * the network, process, loss and optimiser of the configuration it is named after. */
#include "api/settings.h"
#include "train/trainer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void check(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

static void load(const char *name, settings *s)
{
    settings_defaults(s);
    check(settings_preset(s, name));
    check(settings_resolve(s));
}

/* Counted from the authors' constructors. */
static const struct { const char *name; size_t parameters; } counts[] = {
    { "ddpm-cifar10", 35746307 },          { "ddpm-celebahq256", 113673219 },      { "ddpm-lsun256", 113673219 },
    { "ddim-cifar10", 35746307 },          { "ddim-celeba64", 78700803 },          { "ddim-lsun256", 113673219 },
    { "iddpm-cifar10-hybrid", 52546438 },  { "iddpm-cifar10-simple", 52542979 },   { "iddpm-imagenet64", 121063942 },
    { "iddpm-imagenet64-cond", 273049350 }, { "iddpm-imagenet64-cond-small", 121575942 }, { "iddpm-lsun256", 113676678 },
    { "adm-imagenet64", 295904454 },       { "adm-imagenet256", 553838086 },
    { "iddpm-cifar10-vlb", 52546438 },     { "iddpm-imagenet64-vlb", 121063942 },      { "iddpm-upsample256", 279792390 },
};

static size_t parameters(const char *name)
{
    settings s;
    load(name, &s);
    const unet_config c = settings_unet(&s);
    return unet_parameters(&c);
}

static void test_parameters(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        const size_t n = parameters(counts[k].name);
        if (n != counts[k].parameters) fail_msg("%s has %zu parameters, not %zu", counts[k].name, n, counts[k].parameters);
    }
    const size_t large = parameters("ddpm-lsun256-large");       /* published as 256 M, 255.7 M from the constructor */
    assert_in_range(large, 255650000, 255750000);
}

static void test_every_preset_resolves(void **state)
{
    (void)state;
    for (const preset *p = presets; p->name; p++) {
        settings s;
        load(p->name, &s);
        assert_string_equal(s.v.preset, p->name);
        assert_true(p->summary[0]);
        const unet_config c = settings_unet(&s);
        check(unet_check_trainable(&c));
        schedule full;
        const schedule_config sc = settings_schedule(&s);
        check(schedule_new(&sc, &full));
        const process pr = { .s = &full, .mean = settings_mean(&s), .var = settings_variance(&s) };
        check(loss_check(settings_loss(&s), &pr));
        check(process_check(&pr));
        schedule_free(&full);
        for (const preset *q = presets; q != p; q++) assert_string_not_equal(q->name, p->name);
    }
}

/* What the three code bases do differently. */
typedef struct {
    const char *name;
    int         heads, T, batch;
    bool        film, cos_first, asymmetric, scaled, rescale;
    double      eps, dropout, lr, clip, ema;
    bool        ema_warmup, flip;
    int64_t     warmup;
    var_type    variance;
    loss_type   loss;
    adam_kind   adam;
    unet_init   init;
    schedule_kind schedule;
    schedule_width width;
    schedule_logvar logvar;
    timestep_choice timesteps;
} published;

static const published table[] = {
    { "ddpm-cifar10", 1, 1000, 128, false, false, true, false, false, 1e-6, 0.1, 2e-4, 1, 0.9999, false, true, 5000, VAR_FIXED_LARGE, LOSS_RESCALED_MSE,
      ADAM_TF, UNET_INIT_HO, SCHEDULE_LINEAR, SCHEDULE_F64, LOGVAR_BORROW, TIMESTEPS_UNIFORM },
    { "ddpm-celebahq256", 1, 1000, 64, false, false, true, false, false, 1e-6, 0, 2e-5, 1, 0.9999, false, true, 5000, VAR_FIXED_SMALL, LOSS_RESCALED_MSE,
      ADAM_TF, UNET_INIT_HO, SCHEDULE_LINEAR, SCHEDULE_F64, LOGVAR_FLOOR, TIMESTEPS_UNIFORM },
    { "ddpm-lsun256-large", 1, 1000, 64, false, false, true, false, false, 1e-6, 0, 2e-5, 1, 0.9999, false, true, 5000, VAR_FIXED_SMALL, LOSS_RESCALED_MSE,
      ADAM_TF, UNET_INIT_HO, SCHEDULE_LINEAR, SCHEDULE_F64, LOGVAR_FLOOR, TIMESTEPS_UNIFORM },
    { "ddim-celeba64", 1, 1000, 128, false, false, true, false, false, 1e-6, 0.1, 2e-4, 1, 0.9999, false, true, 0, VAR_FIXED_LARGE, LOSS_MSE_SUM,
      ADAM_TORCH, UNET_INIT_TORCH, SCHEDULE_LINEAR, SCHEDULE_F32, LOGVAR_FLOOR, TIMESTEPS_ANTITHETIC },
    { "ddim-lsun256", 1, 1000, 64, false, false, true, false, false, 1e-6, 0, 2e-5, 0, 0.999, false, true, 0, VAR_FIXED_SMALL, LOSS_MSE_SUM,
      ADAM_TORCH, UNET_INIT_TORCH, SCHEDULE_LINEAR, SCHEDULE_F32, LOGVAR_FLOOR, TIMESTEPS_ANTITHETIC },
    { "iddpm-cifar10-hybrid", 4, 4000, 128, true, true, false, true, true, 1e-5, 0.3, 1e-4, 0, 0.9999, false, false, 0, VAR_LEARNED_RANGE,
      LOSS_RESCALED_MSE, ADAM_W, UNET_INIT_OPENAI, SCHEDULE_COSINE, SCHEDULE_F64, LOGVAR_BORROW, TIMESTEPS_UNIFORM },
    { "iddpm-cifar10-simple", 4, 4000, 128, true, true, false, true, true, 1e-5, 0.3, 1e-4, 0, 0.9999, false, false, 0, VAR_FIXED_LARGE,
      LOSS_RESCALED_MSE, ADAM_W, UNET_INIT_OPENAI, SCHEDULE_COSINE, SCHEDULE_F64, LOGVAR_BORROW, TIMESTEPS_UNIFORM },
    { "iddpm-imagenet64-cond", 4, 4000, 2048, true, true, false, true, false, 1e-5, 0, 3e-4, 0, 0.9999, false, false, 0, VAR_LEARNED_RANGE,
      LOSS_MSE, ADAM_W, UNET_INIT_OPENAI, SCHEDULE_COSINE, SCHEDULE_F64, LOGVAR_BORROW, TIMESTEPS_UNIFORM },
    { "iddpm-lsun256", 1, 1000, 128, false, true, false, true, false, 1e-5, 0, 1e-4, 0, 0.9999, false, false, 0, VAR_LEARNED_RANGE, LOSS_MSE,
      ADAM_W, UNET_INIT_OPENAI, SCHEDULE_LINEAR, SCHEDULE_F64, LOGVAR_BORROW, TIMESTEPS_UNIFORM },
    { "iddpm-upsample256", 4, 4000, 256, true, true, false, true, false, 1e-5, 0, 3e-4, 0, 0.9999, false, false, 0, VAR_LEARNED_RANGE,
      LOSS_MSE, ADAM_W, UNET_INIT_OPENAI, SCHEDULE_LINEAR, SCHEDULE_F64, LOGVAR_BORROW, TIMESTEPS_UNIFORM },
    { "iddpm-cifar10-vlb", 4, 4000, 128, true, true, false, true, true, 1e-5, 0.3, 1e-4, 0, 0.9999, false, false, 0, VAR_LEARNED_RANGE,
      LOSS_RESCALED_KL, ADAM_W, UNET_INIT_OPENAI, SCHEDULE_COSINE, SCHEDULE_F64, LOGVAR_BORROW, TIMESTEPS_SECOND_MOMENT },
    { "iddpm-imagenet64-vlb", 4, 4000, 128, true, true, false, true, true, 1e-5, 0, 1e-4, 0, 0.9999, false, false, 0, VAR_LEARNED_RANGE,
      LOSS_RESCALED_KL, ADAM_W, UNET_INIT_OPENAI, SCHEDULE_COSINE, SCHEDULE_F64, LOGVAR_BORROW, TIMESTEPS_SECOND_MOMENT },
};

static void check_network(const published *e, const settings *s)
{
    const unet_config c = settings_unet(s);
    assert_int_equal(c.num_heads, e->heads);
    assert_int_equal(c.scale_shift_norm, e->film);
    assert_int_equal(c.cos_first, e->cos_first);
    assert_true(c.freq_shift == (e->cos_first ? 0 : 1));
    assert_int_equal(c.asymmetric_down, e->asymmetric);
    assert_true(c.eps == e->eps && c.dropout == e->dropout);
    assert_int_equal(c.init, e->init);
    assert_int_equal(c.groups, 32);
    assert_int_equal(c.out_channels, e->variance >= VAR_LEARNED ? 6 : 3);
}

static void check_process(const published *e, const settings *s)
{
    const schedule_config c = settings_schedule(s);
    assert_int_equal(c.T, e->T);
    assert_int_equal(c.kind, e->schedule);
    assert_int_equal(c.scaled, e->scaled);
    assert_int_equal(c.width, e->width);
    assert_int_equal(c.logvar, e->logvar);
    assert_true(c.beta_start == 1e-4 && c.beta_end == 0.02);
    assert_int_equal(settings_mean(s), MEAN_EPSILON);
    assert_int_equal(settings_variance(s), e->variance);
    assert_int_equal(settings_loss(s), e->loss);
    assert_int_equal(s->v.rescale_timesteps, e->rescale);
}

static void check_training(const published *e, const settings *s)
{
    const adam_config a = settings_adam(s);
    assert_int_equal(a.kind, e->adam);
    assert_true(a.lr == e->lr && a.beta1 == 0.9 && a.beta2 == 0.999 && a.eps == 1e-8 && a.weight_decay == 0);
    assert_int_equal(s->v.batch_size, e->batch);
    assert_true(s->v.grad_clip == e->clip);
    assert_int_equal(s->v.lr_warmup, e->warmup);
    assert_true(s->v.ema_rate.n == 1 && s->v.ema_rate.v[0] == e->ema);
    assert_int_equal(s->v.ema_warmup, e->ema_warmup);
    assert_int_equal(s->v.flip, e->flip);
    assert_int_equal(s->v.schedule_sampler, e->timesteps);
}

static void test_published_values(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        settings s;
        load(table[k].name, &s);
        print_message("%s\n", table[k].name);
        check_network(&table[k], &s);
        check_process(&table[k], &s);
        check_training(&table[k], &s);
    }
}

/* Attention where image height / 2^level is 16 (and 8), by level. */
static void test_attention_levels(void **state)
{
    (void)state;
    static const struct { const char *name, *levels; } expected[] = {
        { "ddpm-cifar10", "0100" },     { "ddpm-lsun256", "000010" },    { "ddim-celeba64", "00100" }, { "iddpm-cifar10-hybrid", "0110" },
        { "iddpm-imagenet64", "0011" }, { "iddpm-upsample256", "000011" }, { "adm-imagenet256", "000111" },
    };
    for (size_t k = 0; k < sizeof expected / sizeof *expected; k++) {
        settings s;
        load(expected[k].name, &s);
        const unet_config c = settings_unet(&s);
        assert_int_equal(c.levels, strlen(expected[k].levels));
        for (int level = 0; level < c.levels; level++) assert_int_equal(c.attention[level], expected[k].levels[level] == '1');
    }
}

static void test_unknown_preset(void **state)
{
    (void)state;
    settings s;
    settings_defaults(&s);
    assert_int_equal(settings_preset(&s, "ddpm-cifar"), DDPM_EINVAL);
    assert_non_null(strstr(ddpm_last_error(), "did you mean ddpm-cifar10?"));
    assert_int_equal(settings_preset(&s, ""), DDPM_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters),       cmocka_unit_test(test_every_preset_resolves), cmocka_unit_test(test_published_values),
        cmocka_unit_test(test_attention_levels), cmocka_unit_test(test_unknown_preset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
