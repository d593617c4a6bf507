/* Why improved-diffusion and ermongroup would not run a model as we do. diffusers' reasons are in checkpoint_diffusers.c. */
#include "api/checkpoint_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool near(double a, double b) { return fabs(a - b) <= 1e-12 * fabs(b); }

/* --- improved-diffusion, guided-diffusion ------------------------------------------------- */

static const char *openai_net(const unet_config *c)
{
    if (!c->cos_first) return "the timestep is embedded as [sin cos]";
    if (c->groups != 32) return "its group norms have always 32 groups";
    if (!near(c->eps, 1e-5)) return "the epsilon of its group norms is always 1e-5";
    if (c->asymmetric_down) return "its down-sampling convolutions pad on all sides";
    if (c->stem != c->channels[0]) return "the first convolution and the first level differ in width";
    if (c->height != c->width) return "its images are square";
    return NULL;
}

/* Its functions compute more than its flags can ask for; a file must be usable with the flags. */
static const char *openai_chain(const settings *s)
{
    const schedule_config sc = settings_schedule(s);
    const bool scaled = sc.scaled || sc.T == 1000, linear = sc.kind == SCHEDULE_LINEAR && scaled && near(sc.beta_start, 1e-4) && near(sc.beta_end, 0.02);
    if (!linear && sc.kind != SCHEDULE_COSINE) return "its noise schedules are cosine, and linear from 0.1/T to 20/T";
    if (sc.zero_terminal_snr) return "its noise schedules do not end in pure noise";
    if (settings_mean(s) != MEAN_EPSILON && settings_mean(s) != MEAN_START_X) return "its networks predict eps or x_0";
    if (settings_variance(s) == VAR_LEARNED) return "its learned variance is a mixture of two";
    return NULL;
}

void openai_reason(const settings *s, char reason[REASON_SIZE])
{
    const unet_config c = settings_unet(s);
    const char *why = c.classes_out ? "its classifiers have 1000 classes and another pooling" : openai_net(&c);
    if (!why) why = openai_chain(s);
    snprintf(reason, REASON_SIZE, "%s", why ? why : "");
}

/* A flag that goes with a file; `always`: also where it has the usual value, since a reader of the file asks for it. */
typedef struct { const char *name; bool always; } flag_row;

static void print_flags(const settings *s, const flag_row *rows, size_t n_rows, char *text, size_t size)
{
    settings plain;
    size_t used = 0;
    text[0] = 0;
    settings_defaults(&plain);
    for (size_t i = 0; i < n_rows && used < size; i++) {
        char value[OPTION_TEXT_SIZE], usual[OPTION_TEXT_SIZE];
        const bool is_size = !strcmp(rows[i].name, "image_size");
        const int row = options_find(settings_options, rows[i].name);
        options_print(settings_options, &s->v, row, value);
        options_print(settings_options, &plain.v, row, usual);
        if (is_size && s->v.small_size) continue;      /* an up-sampler's is its large_size */
        if (is_size) snprintf(value, sizeof value, "%d", s->v.image_size.v[0]);
        if (rows[i].always || strcmp(value, usual)) used += (size_t)snprintf(text + used, size - used, "%s--%s %s", used ? " " : "", rows[i].name, value);
    }
}

void openai_flags(const settings *s, char *text, size_t size)
{
    static const flag_row rows[] = {
        { "image_size", true }, { "large_size", false }, { "small_size", false }, { "num_channels", false }, { "channel_mult", false }, { "num_res_blocks", false },
        { "attention_resolutions", false }, { "num_heads", false }, { "num_heads_upsample", false }, { "num_head_channels", false },
        { "use_scale_shift_norm", false }, { "resblock_updown", false }, { "use_new_attention_order", false }, { "class_cond", false },
        { "learn_sigma", false }, { "predict_xstart", false }, { "sigma_small", false }, { "diffusion_steps", true }, { "noise_schedule", true },
        { "rescale_timesteps", false },
    };
    settings copy = *s;
    copy.v.predict_xstart = settings_mean(s) == MEAN_START_X;
    copy.v.learn_sigma = settings_variance(s) >= VAR_LEARNED;
    copy.v.sigma_small = settings_variance(s) == VAR_FIXED_SMALL;
    print_flags(&copy, rows, sizeof rows / sizeof *rows, text, size);
}

/* --- ermongroup, pesser ---------------------------------------------------------------------- */

static bool single_heads(const unet_config *c)
{
    bool single = true;
    for (int level = 0; level < c->levels; level++) {
        const bool any = c->attention[level] || level == c->levels - 1;
        single = single && (!any || (diffusers_heads(c, level, false) == 1 && diffusers_heads(c, level, true) == 1));
    }
    return single;
}

static const char *ermongroup_net(const unet_config *c)
{
    if (c->cos_first) return "the timestep is embedded as [cos sin]";
    if (c->groups != 32) return "its group norms have always 32 groups";
    if (!near(c->eps, 1e-6)) return "the epsilon of its group norms is always 1e-6";
    if (!c->asymmetric_down) return "its down-sampling convolutions pad on two sides";
    if (c->num_classes) return "it knows no classes";
    if (c->scale_shift_norm) return "the embedding is always added";
    if (c->resblock_updown) return "its residual blocks do not change the resolution";
    if (!single_heads(c)) return "its attention has one head";
    if (c->stem != c->model_channels) return "the first convolution and the timestep embedding differ in width";
    if (c->height != c->width) return "its images are square";
    if (c->in_channels != c->out_channels) return "its networks turn an image into one of as many channels";
    return NULL;
}

static const char *ermongroup_chain(const settings *s)
{
    const schedule_config sc = settings_schedule(s);
    if (sc.kind == SCHEDULE_COSINE || sc.kind == SCHEDULE_WARMUP10 || sc.kind == SCHEDULE_WARMUP50) return "it does not have the noise schedule";
    if (sc.kind == SCHEDULE_LINEAR && sc.scaled && sc.T != 1000) return "its linear schedule does not change with T";
    if (sc.zero_terminal_snr) return "its noise schedules do not end in pure noise";
    if (settings_mean(s) != MEAN_EPSILON) return "its networks predict eps";
    if (s->v.rescale_timesteps && sc.T != 1000) return "the network receives timesteps scaled to 0..1000";
    return NULL;
}

void ermongroup_reason(const settings *s, char reason[REASON_SIZE])
{
    const unet_config c = settings_unet(s);
    const char *why = c.classes_out ? "it has no classifiers" : ermongroup_net(&c);
    if (!why) why = ermongroup_chain(s);
    snprintf(reason, REASON_SIZE, "%s", why ? why : "");
}

void ermongroup_options(const settings *s, char *text, size_t size)
{
    static const flag_row rows[] = {
        { "image_size", true }, { "diffusion_steps", true }, { "noise_schedule", true }, { "beta_start", false }, { "beta_end", false },
        { "variance", true }, { "schedule_width", true },
    };
    print_flags(s, rows, sizeof rows / sizeof *rows, text, size);
}
