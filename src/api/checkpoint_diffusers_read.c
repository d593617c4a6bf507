#include "api/checkpoint_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A configuration file, the settings it becomes, and whether the weights have the names of 2022. */
typedef struct { const json *o; const char *path; bool old_names; settings *s; } reader;

static ddpm_status refuse(const reader *r, const char *key, const char *hint)
{
    char *text = json_text(json_get(r->o, key), JSON_COMPACT);
    ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" is %.80s; %s", r->path, key, text ? text : "missing", hint);
    free(text);
    return DDPM_EFORMAT;
}

static ddpm_status in_file(const reader *r, ddpm_status s) { return s == DDPM_OK ? s : ddpm_context(s, "%s: ", r->path); }

static ddpm_status set(const reader *r, const char *key, const char *text)
{
    return settings_set(r->s, key, text, ORIGIN_CHECKPOINT) == DDPM_OK ? DDPM_OK : ddpm_context(DDPM_EFORMAT, "%s: ", r->path);
}

static ddpm_status set_int(const reader *r, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return set(r, key, text);
}

static ddpm_status set_real(const reader *r, const char *key, double value)
{
    json *number = json_new_real(value);
    char *text = json_text(number, JSON_COMPACT);
    json_free(number);
    if (!text) return ddpm_fail(DDPM_ENOMEM, "no memory to read %s", r->path);
    const ddpm_status s = set(r, key, text);
    free(text);
    return s;
}

/* Parts that diffusers offers and these networks do not have: the values that are theirs. Absent is
 * diffusers' default, which is the first. */
typedef struct { const char *key, *values[2]; } fixed_key;
static const fixed_key UNET_FIXED[] = {
    { "act_fn", { "\"silu\"", "\"swish\"" } },     { "add_attention", { "true", NULL } },
    { "center_input_sample", { "false", NULL } },  { "class_embed_type", { "null", NULL } },
    { "mid_block_scale_factor", { "1", "1.0" } },  { "mid_block_type", { "\"UNetMidBlock2D\"", NULL } },
    { "time_embedding_type", { "\"positional\"", NULL } },
};

static ddpm_status check_fixed(const reader *r)
{
    const fixed_key *list = UNET_FIXED;
    for (size_t i = 0; i < sizeof UNET_FIXED / sizeof *UNET_FIXED; i++) {
        const json *value = json_get(r->o, list[i].key);
        if (json_kind_of(value) == JSON_KIND_ABSENT) continue;
        char *text = json_text(value, JSON_COMPACT);
        if (!text) return ddpm_fail(DDPM_ENOMEM, "no memory to read %s", r->path);
        const bool known = !strcmp(text, list[i].values[0]) || (list[i].values[1] && !strcmp(text, list[i].values[1]));
        free(text);
        if (known) continue;
        char hint[96];
        snprintf(hint, sizeof hint, "only %s is supported", list[i].values[0]);
        return refuse(r, list[i].key, hint);
    }
    return DDPM_OK;
}

/* --- the U-Net --------------------------------------------------------------------------- */

/* resnet: residual blocks change the resolution. */
typedef struct { int height, width, levels, channels[UNET_MAX_LEVELS]; bool attention[UNET_MAX_LEVELS], resnet; } shape;

static ddpm_status read_size(const reader *r, shape *n)
{
    const json *size = json_get(r->o, "sample_size");
    const bool pair = json_array_len(size) == 2;
    int64_t h = 0, w = 0;
    if (!json_as_int(pair ? json_at(size, 0) : size, &h) || !json_as_int(pair ? json_at(size, 1) : size, &w) || h < 1 || w < 1 || h > 4096 || w > 4096)
        return refuse(r, "sample_size", "it must be the images' size, a number or [height, width], up to 4096");
    n->height = (int)h;
    n->width = (int)w;
    char text[64];
    snprintf(text, sizeof text, "%d,%d", n->height, n->width);
    return set(r, "image_size", text);
}

/* What changes the resolution behind a block; with attention the file's other keys say it. */
typedef enum { BY_CONV, BY_RESNET, BY_TYPE } resampling;

/* One way of the network: its keys, its types of blocks, and the beginning of theirs' names in the files of 2022. */
typedef struct {
    const char *key, *type_key;
    struct { const char *name; bool attention; resampling by; } types[3];
} way;
static const way DOWN = { "down_block_types", "downsample_type",
                          { { "DownBlock2D", false, BY_CONV }, { "AttnDownBlock2D", true, BY_TYPE }, { "ResnetDownsampleBlock2D", false, BY_RESNET } } };
static const way UP = { "up_block_types", "upsample_type",
                        { { "UpBlock2D", false, BY_CONV }, { "AttnUpBlock2D", true, BY_TYPE }, { "ResnetUpsampleBlock2D", false, BY_RESNET } } };

static ddpm_status refuse_block(const reader *r, const way *w, const char *name)
{
    const char *why = "it is unknown";
    if (strstr(name, "CrossAttn")) why = "it attends to the embedding of a text or an image, which these models do not have";
    else if (strstr(name, "Skip")) why = "it keeps a second path of small images, as score-based models do";
    else if (strstr(name, "EncoderBlock") || strstr(name, "DecoderBlock")) why = "it is part of an autoencoder";
    return ddpm_fail(DDPM_EFORMAT, "%s: block type \"%.60s\" in \"%s\" is not supported: %s; %s, %s and %s are", r->path, name, w->key, why, w->types[0].name,
                     w->types[1].name, w->types[2].name);
}

static ddpm_status read_type(const reader *r, const way *w, bool *resnet)
{
    const char *type = "conv";
    DDPM_TRY(in_file(r, json_get_string(r->o, w->type_key, &type)));
    *resnet = !strcmp(type, "resnet");
    return *resnet || !strcmp(type, "conv") ? DDPM_OK : refuse(r, w->type_key, "\"conv\" and \"resnet\" are supported");
}

static ddpm_status read_block(const reader *r, const way *w, int i, bool *attention, bool *resnet)
{
    const char *name = json_as_string(json_at(json_get(r->o, w->key), (size_t)i));
    if (!name) return refuse(r, w->key, "it must be a list of names");
    if (!strncmp(name, "UNetRes", 7)) name += 7;          /* of 2022 */
    for (int k = 0; k < 3; k++) {
        if (strcmp(name, w->types[k].name)) continue;
        *attention = w->types[k].attention;
        *resnet = w->types[k].by == BY_RESNET;
        return w->types[k].by == BY_TYPE ? read_type(r, w, resnet) : DDPM_OK;
    }
    return refuse_block(r, w, name);
}

/* Blocks of one level, down and up. The lowest level changes nothing on the way down, the highest nothing on the way up. */
static ddpm_status read_level(const reader *r, int i, shape *n, int *changes)
{
    bool up, resnet[2];
    DDPM_TRY(read_block(r, &DOWN, i, &n->attention[i], &resnet[0]));
    DDPM_TRY(read_block(r, &UP, n->levels - 1 - i, &up, &resnet[1]));
    if (up != n->attention[i])
        return ddpm_fail(DDPM_EFORMAT, "%s: level %d has attention on the way %s only, which is not supported", r->path, i, up ? "up" : "down");
    for (int k = 0; k < 2; k++) {
        if (i == (k ? 0 : n->levels - 1)) continue;
        if ((*changes)++ && resnet[k] != n->resnet)
            return ddpm_fail(DDPM_EFORMAT, "%s: some levels change the resolution by convolutions, others by residual blocks, which is not supported", r->path);
        n->resnet = resnet[k];
    }
    return DDPM_OK;
}

static ddpm_status read_levels(const reader *r, shape *n)
{
    const json *widths = json_get(r->o, "block_out_channels");
    const size_t levels = json_array_len(widths);
    int changes = 0;
    if (levels < 1 || levels > UNET_MAX_LEVELS) return refuse(r, "block_out_channels", "it must list the widths of 1 to 8 levels");
    if (json_array_len(json_get(r->o, "down_block_types")) != levels || json_array_len(json_get(r->o, "up_block_types")) != levels)
        return ddpm_fail(DDPM_EFORMAT, "%s: \"block_out_channels\", \"down_block_types\" and \"up_block_types\" must be of one length", r->path);
    n->levels = (int)levels;
    for (int i = 0; i < n->levels; i++) {
        int64_t width;
        if (!json_as_int(json_at(widths, (size_t)i), &width) || width < 1 || width > 65536) return refuse(r, "block_out_channels", "widths are 1 to 65536");
        n->channels[i] = (int)width;
        DDPM_TRY(read_level(r, i, n, &changes));
    }
    return DDPM_OK;
}

static ddpm_status set_levels(const reader *r, const shape *n)
{
    char mult[OPTION_TEXT_SIZE] = "", at[OPTION_TEXT_SIZE] = "";
    size_t m = 0, a = 0;
    for (int i = 0; i < n->levels; i++) {
        const double x = (double)n->channels[i] / n->channels[0];
        json *number = json_new_real(x);
        char *text = json_text(number, JSON_COMPACT);
        json_free(number);
        if (!text) return ddpm_fail(DDPM_ENOMEM, "no memory to read %s", r->path);
        m += (size_t)snprintf(mult + m, sizeof mult - m, "%s%s", i ? "," : "", text);
        free(text);
        if (n->attention[i]) a += (size_t)snprintf(at + a, sizeof at - a, "%s%d", a ? "," : "", n->height >> i);
    }
    DDPM_TRY(set_int(r, "num_channels", n->channels[0]));
    DDPM_TRY(set(r, "channel_mult", mult));
    DDPM_TRY(set(r, "resblock_updown", n->resnet ? "true" : "false"));
    return set(r, "attention_resolutions", at);
}

/* One number for all attention layers; as a number of heads where all have one width. */
static ddpm_status read_heads(const reader *r, const shape *n)
{
    const json *value = json_get(r->o, "attention_head_dim");
    const json_kind kind = json_kind_of(value);
    const int last = n->channels[n->levels - 1];
    int64_t dim = 8;                       /* today's default */
    bool one_width = true;
    if (kind == JSON_KIND_NULL || (kind == JSON_KIND_ABSENT && r->old_names)) return set(r, "num_heads", "1");
    if (kind != JSON_KIND_ABSENT && (!json_as_int(value, &dim) || dim < 1)) return refuse(r, "attention_head_dim", "it must be null or a positive number");
    for (int i = 0; i < n->levels; i++) one_width = one_width && (!n->attention[i] || n->channels[i] == last);
    if (!one_width) return set_int(r, "num_head_channels", dim);
    if (last % dim) return refuse(r, "attention_head_dim", "it must divide the channels of the attention layers");
    return set_int(r, "num_heads", last / dim);
}

static ddpm_status read_norms(const reader *r)
{
    const char *shift = "default";
    int64_t groups = 32, attention_groups = 0;
    double eps = 1e-5;
    DDPM_TRY(in_file(r, json_get_string(r->o, "resnet_time_scale_shift", &shift)));
    DDPM_TRY(in_file(r, json_get_int(r->o, "norm_num_groups", &groups)));
    DDPM_TRY(in_file(r, json_get_int(r->o, "attn_norm_num_groups", &attention_groups)));
    DDPM_TRY(in_file(r, json_get_real(r->o, "norm_eps", &eps)));
    const bool film = !strcmp(shift, "scale_shift");
    if (!film && strcmp(shift, "default")) return refuse(r, "resnet_time_scale_shift", "\"default\" and \"scale_shift\" are supported");
    if (film && !attention_groups) return refuse(r, "attn_norm_num_groups", "with scale_shift the middle attention would have no group norm, which is not supported");
    if (attention_groups && attention_groups != groups) return refuse(r, "attn_norm_num_groups", "another number than norm_num_groups is not supported");
    DDPM_TRY(set(r, "use_scale_shift_norm", film ? "true" : "false"));
    DDPM_TRY(set_int(r, "norm_groups", groups));
    return set_real(r, "norm_eps", eps);
}

static ddpm_status read_embeddings(const reader *r, const shape *n)
{
    bool flip = true;
    double shift = 0;
    int64_t dim = 4 * (int64_t)n->channels[0], classes = 0;
    DDPM_TRY(in_file(r, json_get_bool(r->o, "flip_sin_to_cos", &flip)));
    DDPM_TRY(in_file(r, json_get_real(r->o, "freq_shift", &shift)));
    DDPM_TRY(in_file(r, json_get_int(r->o, "time_embedding_dim", &dim)));
    DDPM_TRY(in_file(r, json_get_int(r->o, "num_class_embeds", &classes)));
    if (!(flip && shift == 0) && !(!flip && shift == 1))
        return refuse(r, "freq_shift", "supported are 0 with flip_sin_to_cos true, and 1 with false");
    if (dim != 4 * (int64_t)n->channels[0]) return refuse(r, "time_embedding_dim", "only four times the first width is supported");
    DDPM_TRY(set(r, "embedding", flip ? "openai" : "ho"));
    if (json_kind_of(json_get(r->o, "num_class_embeds")) <= JSON_KIND_NULL) return DDPM_OK;
    if (classes < 1) return refuse(r, "num_class_embeds", "it must be positive");
    DDPM_TRY(set(r, "class_cond", "true"));
    return set_int(r, "num_classes", classes);
}

static ddpm_status read_rest(const reader *r)
{
    int64_t in = 3, layers = 2, padding = 1;
    double dropout = 0;
    DDPM_TRY(in_file(r, json_get_int(r->o, "in_channels", &in)));
    DDPM_TRY(in_file(r, json_get_int(r->o, "layers_per_block", &layers)));
    DDPM_TRY(in_file(r, json_get_int(r->o, "downsample_padding", &padding)));
    DDPM_TRY(in_file(r, json_get_real(r->o, "dropout", &dropout)));
    if (padding < 0 || padding > 1) return refuse(r, "downsample_padding", "0 and 1 are supported");
    if (layers < 1) return refuse(r, "layers_per_block", "it must be positive");
    DDPM_TRY(set_int(r, "channels", in));
    DDPM_TRY(set_int(r, "num_res_blocks", layers));
    DDPM_TRY(set_real(r, "dropout", dropout));
    DDPM_TRY(set(r, "init_scheme", "torch"));
    return set(r, "down_padding", padding ? "symmetric" : "asymmetric");
}

static ddpm_status read_unet(const reader *r)
{
    const char *name = "";
    shape n = { 0 };
    DDPM_TRY(in_file(r, json_get_string(r->o, "_class_name", &name)));
    if (strcmp(name, "UNet2DModel")) return refuse(r, "_class_name", "only UNet2DModel can be read without " FILE_DDPM);
    DDPM_TRY(check_fixed(r));
    DDPM_TRY(read_size(r, &n));
    DDPM_TRY(read_levels(r, &n));
    DDPM_TRY(set_levels(r, &n));
    DDPM_TRY(read_heads(r, &n));
    DDPM_TRY(read_norms(r));
    DDPM_TRY(read_embeddings(r, &n));
    return read_rest(r);
}

/* --- the scheduler ------------------------------------------------------------------------- */

static ddpm_status same_betas(const schedule_config *c, const json *list, bool *same)
{
    schedule sc;
    *same = false;
    const ddpm_status s = schedule_new(c, &sc);
    if (s == DDPM_EINVAL) return DDPM_OK;          /* this kind cannot have made them */
    DDPM_TRY(s);
    *same = true;
    for (int i = 0; i < c->T && *same; i++) {
        double beta;
        *same = json_as_real(json_at(list, (size_t)i), &beta) && fabs(beta - sc.betas[i]) <= 0x1p-22 * sc.betas[i];
    }
    schedule_free(&sc);
    return DDPM_OK;
}

/* There is no option for a list of betas: find the schedule that makes them. */
static ddpm_status read_betas(const reader *r, int T, double start, double end)
{
    const json *list = json_get(r->o, "trained_betas");
    if (json_array_len(list) != (size_t)T) return ddpm_fail(DDPM_EFORMAT, "%s: \"trained_betas\" has %zu entries for %d timesteps", r->path, json_array_len(list), T);
    for (int kind = SCHEDULE_LINEAR; kind < SCHEDULE_CUSTOM; kind++) {
        const schedule_config c = { .kind = (schedule_kind)kind, .T = T, .beta_start = start, .beta_end = end };
        bool same;
        DDPM_TRY(same_betas(&c, list, &same));
        if (same) return set(r, "noise_schedule", schedule_kind_name(c.kind));
    }
    return ddpm_fail(DDPM_EFORMAT, "%s: \"trained_betas\" are those of no known noise schedule, which is not supported", r->path);
}

static ddpm_status read_schedule(const reader *r)
{
    const char *wanted = "linear";
    int64_t T = 1000;
    double start = 1e-4, end = 0.02;
    DDPM_TRY(in_file(r, json_get_int(r->o, "num_train_timesteps", &T)));
    DDPM_TRY(in_file(r, json_get_real(r->o, "beta_start", &start)));
    DDPM_TRY(in_file(r, json_get_real(r->o, "beta_end", &end)));
    DDPM_TRY(in_file(r, json_get_string(r->o, "beta_schedule", &wanted)));
    if (T < 2 || T > SCHEDULE_MAX_T) return refuse(r, "num_train_timesteps", "2 to 1000000 are possible");
    DDPM_TRY(set_int(r, "diffusion_steps", T));
    DDPM_TRY(set_real(r, "beta_start", start));
    DDPM_TRY(set_real(r, "beta_end", end));
    if (json_kind_of(json_get(r->o, "trained_betas")) > JSON_KIND_NULL) return read_betas(r, (int)T, start, end);
    for (int kind = SCHEDULE_LINEAR; kind < SCHEDULE_CUSTOM; kind++) {
        const char *name;
        if (diffusers_named_schedule((schedule_kind)kind, &name) && !strcmp(name, wanted))
            return set(r, "noise_schedule", schedule_kind_name((schedule_kind)kind));
    }
    return refuse(r, "beta_schedule", "linear, scaled_linear, squaredcos_cap_v2 and sigmoid are supported");
}

static ddpm_status read_prediction(const reader *r)
{
    static const char *const names[][2] = { { "epsilon", "eps" }, { "sample", "x0" }, { "v_prediction", "v" } };
    const char *prediction = "epsilon";
    DDPM_TRY(in_file(r, json_get_string(r->o, "prediction_type", &prediction)));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(prediction, names[i][0])) return set(r, "prediction", names[i][1]);
    return refuse(r, "prediction_type", "epsilon, sample and v_prediction are supported");
}

static ddpm_status read_variance(const reader *r, int64_t out_channels)
{
    static const char *const names[][2] = { { "fixed_small", "small" }, { "fixed_small_log", "small" }, { "fixed_large", "large" }, { "learned_range", "range" } };
    const char *variance = "fixed_small";
    DDPM_TRY(in_file(r, json_get_string(r->o, "variance_type", &variance)));
    const int64_t channels = r->s->v.channels;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(variance, names[i][0])) continue;
        const bool learned = !strcmp(names[i][1], "range");
        if (out_channels != (learned ? 2 : 1) * channels)
            return ddpm_fail(DDPM_EFORMAT, "%s: with variance_type %s the network must have %lld output channels, not %lld", r->path, variance,
                             (long long)((learned ? 2 : 1) * channels), (long long)out_channels);
        return set(r, "variance", names[i][1]);
    }
    return refuse(r, "variance_type", "fixed_small, fixed_small_log, fixed_large and learned_range are supported");
}

/* clips: whether this class does when its file does not say. */
static ddpm_status read_clipping(const reader *r, bool clips)
{
    bool thresholding = false;
    double range = 1;
    DDPM_TRY(in_file(r, json_get_bool(r->o, "thresholding", &thresholding)));
    DDPM_TRY(in_file(r, json_get_bool(r->o, "clip_sample", &clips)));
    DDPM_TRY(in_file(r, json_get_real(r->o, "clip_sample_range", &range)));
    if (thresholding) return refuse(r, "thresholding", "dividing each image by a quantile of its own values is not done here, and without it the images would be others; set it to false to accept that");
    if (clips && (range < 1 || range > 1)) return refuse(r, "clip_sample_range", "images are clipped to [-1, 1] here, so only 1.0 is supported, or \"clip_sample\" false");
    return clips ? DDPM_OK : set(r, "clip", "none");
}

/* pndm: a class whose last step leads to timestep 0 when its file does not say. */
static ddpm_status read_steps(const reader *r, bool pndm)
{
    const char *spacing = "leading";
    int64_t offset = 0;
    bool to_one = !pndm, zero_snr = false;
    DDPM_TRY(in_file(r, json_get_string(r->o, "timestep_spacing", &spacing)));
    DDPM_TRY(in_file(r, json_get_int(r->o, "steps_offset", &offset)));
    DDPM_TRY(in_file(r, json_get_bool(r->o, "set_alpha_to_one", &to_one)));
    DDPM_TRY(in_file(r, json_get_bool(r->o, "rescale_betas_zero_snr", &zero_snr)));
    if (strcmp(spacing, "leading") && strcmp(spacing, "linspace") && strcmp(spacing, "trailing"))
        return refuse(r, "timestep_spacing", "leading, linspace and trailing are supported");
    if (offset < 0 || offset > SCHEDULE_MAX_T) return refuse(r, "steps_offset", "0 to 1000000 are possible");
    if (zero_snr && r->s->v.prediction == (int)MEAN_EPSILON)
        return refuse(r, "rescale_betas_zero_snr", "it leaves nothing of the image in x_T, where predicted noise cannot tell it, so \"prediction_type\" must be sample or v_prediction");
    DDPM_TRY(set(r, "spacing", spacing));
    DDPM_TRY(set_int(r, "steps_offset", offset));
    DDPM_TRY(set(r, "set_alpha_to_one", to_one ? "true" : "false"));
    return set(r, "rescale_betas_zero_snr", zero_snr ? "true" : "false");
}

/* How diffusers computes any schedule. */
static ddpm_status set_profile(const reader *r)
{
    static const char *const rows[][2] = { { "compat", "diffusers" }, { "beta_scaling", "none" }, { "rescale_timesteps", "false" },
                                           { "schedule_width", "f32_torch" }, { "posterior_floor", "floor" } };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) DDPM_TRY(set(r, rows[i][0], rows[i][1]));
    return DDPM_OK;
}

static ddpm_status read_scheduler(const reader *r, int64_t out_channels)
{
    const char *name = "";
    DDPM_TRY(in_file(r, json_get_string(r->o, "_class_name", &name)));
    const bool ddpm = !strcmp(name, "DDPMScheduler"), pndm = !strcmp(name, "PNDMScheduler");
    if (!ddpm && !pndm && strcmp(name, "DDIMScheduler")) return refuse(r, "_class_name", "DDPMScheduler, DDIMScheduler and PNDMScheduler (sampled as DDIM) are supported");
    DDPM_TRY(set_profile(r));
    DDPM_TRY(set(r, "sampler", ddpm ? "ddpm" : "ddim"));
    DDPM_TRY(read_schedule(r));
    DDPM_TRY(read_prediction(r));
    DDPM_TRY(read_variance(r, out_channels));
    DDPM_TRY(read_steps(r, pndm));
    return read_clipping(r, !pndm);
}

/* --- a network without a scheduler --------------------------------------------------------- */

static bool is_given(const settings *request, const char *name) { return request && settings_origin(request, name) != ORIGIN_DEFAULT; }

/* What of the chain somebody says who has only the network. */
static ddpm_status read_request(const reader *net, const settings *request, int64_t out_channels)
{
    static const char *const asked[] = { "diffusion_steps", "noise_schedule" };
    static const char *const rows[] = { "diffusion_steps", "noise_schedule", "beta_start", "beta_end", "prediction", "predict_xstart", "variance", "sigma_small",
                                        "rescale_betas_zero_snr", "sampler", "spacing", "steps_offset", "set_alpha_to_one", "clip" };
    char missing[64] = "", text[OPTION_TEXT_SIZE];
    size_t used = 0;
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        if (!is_given(request, asked[i])) used += (size_t)snprintf(missing + used, sizeof missing - used, " --%s", asked[i]);
    if (used) return ddpm_fail(DDPM_EINVAL, "%s has no scheduler_config.json beside it and does not say how the network was trained; give%s", net->path, missing);
    DDPM_TRY(set_profile(net));
    DDPM_TRY(set(net, "sampler", "ddpm"));
    DDPM_TRY(set(net, "spacing", "leading"));
    if (out_channels == 2 * (int64_t)net->s->v.channels) DDPM_TRY(set(net, "variance", "range"));
    else if (out_channels != net->s->v.channels) return refuse(net, "out_channels", "it must be as many as in_channels, or twice as many for a learned variance");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const int row = options_find(settings_options, rows[i]);
        if (!is_given(request, rows[i])) continue;
        options_print(settings_options, &request->v, row, text);
        DDPM_TRY(options_set_row(settings_options, &net->s->v, net->s->origins, row, text, request->origins[row]));
    }
    return DDPM_OK;
}

/* --- both ------------------------------------------------------------------------------------ */

ddpm_status diffusers_read_json(const diffusers_files *f, const settings *request, settings *s)
{
    const reader net = { f->net, f->net_path, f->old_names, s }, chain = { f->scheduler, f->scheduler_path, f->old_names, s };
    int64_t out = 3;
    settings_defaults(s);
    DDPM_TRY(read_unet(&net));
    DDPM_TRY(in_file(&net, json_get_int(f->net, "out_channels", &out)));
    DDPM_TRY(f->scheduler ? read_scheduler(&chain, out) : read_request(&net, request, out));
    if (settings_resolve(s) != DDPM_OK) return ddpm_context(f->scheduler ? DDPM_EFORMAT : DDPM_EINVAL, "%s: ", f->net_path);
    if (settings_unet(s).out_channels != out)
        return ddpm_fail(DDPM_EINVAL, "%s: the network has %lld output channels, which --variance contradicts: a learned one needs twice as many as in_channels, a fixed one as many",
                         f->net_path, (long long)out);
    describe_fix(s);
    return DDPM_OK;
}

ddpm_status diffusers_read(const char *unet_path, const char *scheduler_path, bool old_names, const settings *request, settings *s)
{
    json *net = NULL, *scheduler = NULL;
    ddpm_status status = json_read_file(unet_path, &net);
    if (status == DDPM_OK && scheduler_path) status = json_read_file(scheduler_path, &scheduler);
    if (status == DDPM_OK) status = diffusers_read_json(&(diffusers_files){ net, scheduler, unet_path, scheduler_path, old_names }, request, s);
    json_free(net);
    json_free(scheduler);
    return status;
}
