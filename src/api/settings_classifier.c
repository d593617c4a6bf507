/* guided-diffusion's classifier_train.py in the words of the settings table. */
#include "api/settings.h"

#include <stdio.h>
#include <string.h>

/* Dhariwal & Nichol 2021, table 11 and its code; where its README and its script differ, the README. */
static const char DEFAULTS[] = "attention_resolutions=32,16,8 resblock_updown=true num_head_channels=64 lr=3e-4 batch_size=256";
static const char ITERATIONS[] = "150000";

static const struct { const char *theirs, *ours; } WORDS[] = {
    { "classifier_width", "num_channels" }, { "classifier_depth", "num_res_blocks" }, { "classifier_attention_resolutions", "attention_resolutions" },
    { "classifier_use_scale_shift_norm", "use_scale_shift_norm" }, { "classifier_resblock_updown", "resblock_updown" },
    { "classifier_use_fp16", "use_fp16" }, { "iterations", "steps" }, { "eval_interval", "val_interval" },
};

static ddpm_status translate(settings *s, const char *theirs, const char *ours)
{
    char asked[OPTION_TEXT_SIZE], before[OPTION_TEXT_SIZE];
    const option_origin origin = settings_origin(s, theirs);
    if (origin == ORIGIN_DEFAULT) return DDPM_OK;
    options_print(settings_options, &s->v, options_find(settings_options, theirs), asked);
    options_print(settings_options, &s->v, options_find(settings_options, ours), before);
    if (settings_origin(s, ours) == origin && strcmp(asked, before))
        return ddpm_fail(DDPM_EINVAL, "--%s %.100s contradicts --%s %.100s; they are two names of one value, give one of them", theirs, asked, ours, before);
    return settings_set(s, ours, asked, origin);
}

static ddpm_status check_offered(const settings_values *v)
{
    if (v->classifier_pool != POOL_ADAPTIVE)
        return ddpm_fail(DDPM_EINVAL, "--classifier_pool: only adaptive, the mean over the pixels, is offered: the others have layers that exist for one image "
                                      "size and no other network here has");
    if (v->val_data_dir[0]) return ddpm_fail(DDPM_EINVAL, "--val_data_dir is not offered; --val 0.1 holds a tenth of DATA out");
    return DDPM_OK;
}

ddpm_status settings_classifier(settings *s)
{
    char steps[OPTION_TEXT_SIZE];
    DDPM_TRY(check_offered(&s->v));
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++) DDPM_TRY(translate(s, WORDS[i].theirs, WORDS[i].ours));
    DDPM_TRY(settings_set_pairs(s, DEFAULTS, ORIGIN_DEFAULT));
    if (!s->v.lr_anneal_steps) DDPM_TRY(settings_set(s, "steps", ITERATIONS, ORIGIN_DEFAULT));     /* else it ends there */
    if (!s->v.classes_out) DDPM_TRY(settings_set(s, "classes_out", "-1", ORIGIN_COMMAND_LINE));
    if (!s->v.anneal_lr) return DDPM_OK;
    snprintf(steps, sizeof steps, "%lld", (long long)s->v.steps);
    return settings_set(s, "lr_anneal_steps", steps, settings_origin(s, "anneal_lr"));
}
