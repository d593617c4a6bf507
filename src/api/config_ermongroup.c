#include "api/config_ermongroup.h"

#include <stdio.h>
#include <string.h>

typedef enum {
    BECOMES,        /* the value of option `name`                                    */
    MUST_BE,        /* anything but `name` is not implemented: `reason`              */
    SAYS_NOTHING    /* `reason`                                                      */
} treatment;

/* Their loop runs for n_epochs and never looks at n_iters, which all their files set to what the paper trains for. */
static const struct { const char *section, *key; treatment what; const char *name, *reason; } KEYS[] = {
    { "data", "dataset", BECOMES, "crop", NULL },        /* DATA names the data, but CelebA is cut */
    { "data", "category", SAYS_NOTHING, NULL, "DATA names the data" },
    { "data", "image_size", BECOMES, "image_size", NULL },
    { "data", "channels", BECOMES, "channels", NULL },
    { "data", "logit_transform", MUST_BE, "false", "images are scaled to [-1,1] and not transformed" },
    { "data", "uniform_dequantization", MUST_BE, "false", "no noise is added to the data" },
    { "data", "gaussian_dequantization", MUST_BE, "false", "no noise is added to the data" },
    { "data", "random_flip", BECOMES, "flip", NULL },
    { "data", "rescaled", MUST_BE, "true", "images are always scaled to [-1,1]" },
    { "data", "num_workers", SAYS_NOTHING, NULL, "the loader uses all threads" },
    { "model", "type", MUST_BE, "simple", "it is the only loss of their code" },
    { "model", "in_channels", BECOMES, "channels", NULL },
    { "model", "out_ch", BECOMES, "channels", NULL },
    { "model", "ch", BECOMES, "num_channels", NULL },
    { "model", "ch_mult", BECOMES, "channel_mult", NULL },
    { "model", "num_res_blocks", BECOMES, "num_res_blocks", NULL },
    { "model", "attn_resolutions", BECOMES, "attention_resolutions", NULL },
    { "model", "dropout", BECOMES, "dropout", NULL },
    { "model", "var_type", BECOMES, "variance", NULL },
    { "model", "ema_rate", BECOMES, "ema_rate", NULL },
    { "model", "ema", MUST_BE, "true", "an average is always kept; draw with --weights raw" },
    { "model", "resamp_with_conv", BECOMES, "conv_resample", NULL },
    { "diffusion", "beta_schedule", BECOMES, "noise_schedule", NULL },
    { "diffusion", "beta_start", BECOMES, "beta_start", NULL },
    { "diffusion", "beta_end", BECOMES, "beta_end", NULL },
    { "diffusion", "num_diffusion_timesteps", BECOMES, "diffusion_steps", NULL },
    { "training", "batch_size", BECOMES, "batch_size", NULL },
    { "training", "n_epochs", SAYS_NOTHING, NULL, "n_iters says when to stop" },
    { "training", "n_iters", BECOMES, "steps", NULL },
    { "training", "snapshot_freq", BECOMES, "save_interval", NULL },
    { "training", "validation_freq", BECOMES, "val_interval", NULL },
    { "sampling", "batch_size", SAYS_NOTHING, NULL, "a training does not sample that way" },
    { "sampling", "last_only", SAYS_NOTHING, NULL, "a training does not sample that way" },
    { "optim", "optimizer", MUST_BE, "Adam", "the others are not implemented" },
    { "optim", "weight_decay", BECOMES, "weight_decay", NULL },
    { "optim", "lr", BECOMES, "lr", NULL },
    { "optim", "beta1", BECOMES, "beta1", NULL },
    { "optim", "amsgrad", MUST_BE, "false", "it is not implemented" },
    { "optim", "eps", BECOMES, "adam_eps", NULL },
    { "optim", "grad_clip", BECOMES, "grad_clip", NULL },
};
enum { N_KEYS = sizeof KEYS / sizeof KEYS[0], PLACE_SIZE = 512 };

static bool is_section(const char *name)
{
    for (int i = 0; i < N_KEYS; i++)
        if (!strcmp(KEYS[i].section, name)) return true;
    return false;
}

bool config_is_ermongroup(const json *document)
{
    return json_kind_of(json_get(document, "model")) == JSON_KIND_OBJECT && json_kind_of(json_get(document, "diffusion")) == JSON_KIND_OBJECT;
}

static ddpm_status unknown_key(const char *where, const char *section, const char *key)
{
    const char *names[N_KEYS + 1];
    int n = 0;
    for (int i = 0; i < N_KEYS; i++)
        if (!strcmp(KEYS[i].section, section)) names[n++] = KEYS[i].key;
    names[n] = NULL;
    const char *near = options_nearest_word(names, key);
    return ddpm_fail(DDPM_EINVAL, "%s: section %s has no key \"%s\"%s%s%s", where, section, key, near ? "; did you mean \"" : "", near ? near : "",
                     near ? "\"?" : "");
}

/* Their words for ours. */
static const char *translate(const char *name, const char *text)
{
    if (!strcmp(name, "crop")) return !strcmp(text, "CELEBA") ? "celeba" : "none";
    if (strcmp(name, "variance") != 0) return text;
    return !strcmp(text, "fixedlarge") ? "large" : !strcmp(text, "fixedsmall") ? "small" : text;
}

/* data.channels, model.in_channels and model.out_ch are one number here. */
static ddpm_status set_value(settings *s, const char *name, const char *text, const char *place)
{
    if (!strcmp(name, "channels") && s->v.channels && settings_origin(s, name) == ORIGIN_CONFIG) {
        char before[16];
        snprintf(before, sizeof before, "%d", s->v.channels);
        if (strcmp(before, text) != 0) return ddpm_fail(DDPM_EINVAL, "%s is %s, but the other channels are %s; they must be equal", place, text, before);
    }
    const ddpm_status status = settings_set(s, name, translate(name, text), ORIGIN_CONFIG);
    return status == DDPM_OK ? status : ddpm_context(status, "%s: ", place);
}

static ddpm_status read_key(settings *s, const char *where, const char *section, const char *key, const json *value)
{
    char text[OPTION_TEXT_SIZE], place[PLACE_SIZE];
    int i = 0;
    while (i < N_KEYS && (strcmp(KEYS[i].section, section) != 0 || strcmp(KEYS[i].key, key) != 0)) i++;
    if (i == N_KEYS) return unknown_key(where, section, key);
    if (KEYS[i].what == SAYS_NOTHING) return DDPM_OK;
    snprintf(place, sizeof place, "%s: %s.%s", where, section, key);
    DDPM_TRY(settings_json_text(value, where, key, text, sizeof text));
    if (KEYS[i].what == BECOMES) return set_value(s, KEYS[i].name, text, place);
    return !strcmp(text, KEYS[i].name) ? DDPM_OK : ddpm_fail(DDPM_EINVAL, "%s must be %s: %s", place, KEYS[i].name, KEYS[i].reason);
}

ddpm_status config_from_ermongroup(settings *s, const json *document, const char *where)
{
    DDPM_TRY(settings_set_pairs(s, preset_ermongroup, ORIGIN_CONFIG));
    for (const char *section = json_first(document); section; section = json_next(document, section)) {
        const json *keys = json_get(document, section);
        if (!is_section(section) || json_kind_of(keys) != JSON_KIND_OBJECT)
            return ddpm_fail(DDPM_EINVAL, "%s: \"%s\" is not a section of ermongroup's configurations; they are data, model, diffusion, training, "
                             "sampling, optim", where, section);
        for (const char *key = json_first(keys); key; key = json_next(keys, key))
            DDPM_TRY(read_key(s, where, section, key, json_get(keys, key)));
    }
    return DDPM_OK;
}
