#include "api/checkpoint_parts.h"

#include "io/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Betas written out one by one: beyond this many the file would be huge. */
enum { MAX_TRAINED_BETAS = 100000 };

/* --- what diffusers can represent ------------------------------------------------------ */

int diffusers_heads(const unet_config *c, int level, bool up)
{
    if (c->num_head_channels) return c->channels[level] / c->num_head_channels;
    return up && c->num_heads_upsample ? c->num_heads_upsample : c->num_heads;
}

/* diffusers has one number for all attention layers: channels of a head, or null for one head each.
 * *dim: that number, 0 for null. */
static bool head_dim(const unet_config *c, int *dim)
{
    bool single = true, equal = true;
    *dim = 0;
    for (int level = 0; level < c->levels; level++)
        for (int up = 0; up < 2; up++) {
            const bool middle = !up && level == c->levels - 1;
            if (!c->attention[level] && !middle) continue;
            const int heads = diffusers_heads(c, level, up), d = c->channels[level] / heads;
            single = single && heads == 1;
            equal = equal && (!*dim || *dim == d);
            *dim = d;
        }
    if (single) *dim = 0;
    return single || equal;
}

bool diffusers_named_schedule(schedule_kind kind, const char **name)
{
    switch (kind) {
    case SCHEDULE_LINEAR:  *name = "linear"; return true;
    case SCHEDULE_QUAD:    *name = "scaled_linear"; return true;
    case SCHEDULE_COSINE:  *name = "squaredcos_cap_v2"; return true;
    case SCHEDULE_SIGMOID: *name = "sigmoid"; return true;
    default:               *name = "linear"; return false;
    }
}

static const char *reason_of_net(const unet_config *c)
{
    int dim;
    if (c->stem != c->channels[0] || c->model_channels != c->channels[0])
        return "the first convolution, the first level and the timestep embedding differ in width";
    if (!head_dim(c, &dim)) return "attention layers differ in the channels of a head";
    if (!c->resblock_updown && !c->conv_resample) return "the resolution changes without convolutions";
    if (c->num_res_blocks < 1) return "levels have no residual blocks";
    return NULL;
}

void diffusers_reason(const settings *s, char reason[REASON_SIZE])
{
    const settings_values *v = &s->v;
    const unet_config c = settings_unet(s);
    const schedule_config sc = settings_schedule(s);
    const char *unused, *why = reason_of_net(&c);
    if (v->small_size) why = "the network enlarges a small image, which it sees beside x";
    if (v->classes_out) why = "the network is a classifier of noisy images";
    if (!why && v->rescale_timesteps && v->diffusion_steps != 1000) why = "the network receives timesteps scaled to 0..1000";
    if (!why && settings_mean(s) == MEAN_PREVIOUS_X) why = "the network predicts the mean of the previous step";
    if (!why && settings_variance(s) == VAR_LEARNED) why = "the network predicts the logarithm of the variance";
    if (!why && !diffusers_named_schedule(sc.kind, &unused) && sc.T > MAX_TRAINED_BETAS) why = "the noise schedule has too many steps to be listed";
    snprintf(reason, REASON_SIZE, "%s", why ? why : "");
}

/* --- writing ------------------------------------------------------------------------------- */

/* The files' fixed keys and places for the others. */
static const char UNET[] =
    "{\"_class_name\":\"UNet2DModel\",\"_diffusers_version\":\"0.40.0\",\"act_fn\":\"silu\",\"add_attention\":true,"
    "\"attention_head_dim\":null,\"attn_norm_num_groups\":null,\"block_out_channels\":[],\"center_input_sample\":false,"
    "\"class_embed_type\":null,\"down_block_types\":[],\"downsample_padding\":1,\"downsample_type\":\"conv\",\"dropout\":0.0,"
    "\"flip_sin_to_cos\":true,\"freq_shift\":0,\"in_channels\":3,\"layers_per_block\":2,\"mid_block_scale_factor\":1,"
    "\"mid_block_type\":\"UNetMidBlock2D\",\"norm_eps\":1e-05,\"norm_num_groups\":32,\"num_class_embeds\":null,"
    "\"num_train_timesteps\":null,\"out_channels\":3,\"resnet_time_scale_shift\":\"default\",\"sample_size\":32,"
    "\"time_embedding_dim\":null,\"time_embedding_type\":\"positional\",\"up_block_types\":[],\"upsample_type\":\"conv\"}";
static const char SCHEDULER[] =
    "{\"_class_name\":\"DDPMScheduler\",\"_diffusers_version\":\"0.40.0\",\"beta_end\":0.02,\"beta_schedule\":\"linear\","
    "\"beta_start\":0.0001,\"clip_sample\":true,\"clip_sample_range\":1.0,\"dynamic_thresholding_ratio\":0.995,"
    "\"num_train_timesteps\":1000,\"prediction_type\":\"epsilon\",\"rescale_betas_zero_snr\":false,\"sample_max_value\":1.0,"
    "\"steps_offset\":0,\"thresholding\":false,\"timestep_spacing\":\"leading\",\"trained_betas\":null}";
static const char INDEX[] =
    "{\"_class_name\":\"DDPMPipeline\",\"_diffusers_version\":\"0.40.0\",\"scheduler\":[\"diffusers\",\"DDPMScheduler\"],"
    "\"unet\":[\"diffusers\",\"UNet2DModel\"]}";
static const char INDEX_DDIM[] =
    "{\"_class_name\":\"DDIMPipeline\",\"_diffusers_version\":\"0.40.0\",\"scheduler\":[\"diffusers\",\"DDIMScheduler\"],"
    "\"unet\":[\"diffusers\",\"UNet2DModel\"]}";
/* Names that no library has, so that no loader takes the parts for something it knows. */
static const char OWN_UNET[] = "{\"_class_name\":\"DdpmUNet\",\"reason\":\"\",\"down_block_types\":[\"DdpmBlock2D\"],"
                               "\"up_block_types\":[\"DdpmBlock2D\"],\"block_out_channels\":[1]}";
static const char OWN_SCHEDULER[] = "{\"_class_name\":\"DdpmScheduler\",\"reason\":\"\"}";
static const char OWN_INDEX[] = "{\"_class_name\":\"DdpmPipeline\",\"reason\":\"\",\"scheduler\":[\"ddpm\",\"DdpmScheduler\"],\"unet\":[\"ddpm\",\"DdpmUNet\"]}";

/* An object being filled in; the first failure stays. */
typedef struct { json *o; ddpm_status status; } builder;

static builder start(const char *text)
{
    builder b = { 0 };
    b.status = json_parse(text, strlen(text), "a template of a configuration", &b.o);
    return b;
}

static void put(builder *b, const char *key, json *value)
{
    const ddpm_status s = json_put(b->o, key, value);
    if (b->status == DDPM_OK) b->status = s;
}

static ddpm_status finish(builder *b, const char *dir, const char *name)
{
    char path[MODEL_PATH_SIZE];
    if (b->status == DDPM_OK) b->status = checkpoint_join(path, dir, name);
    if (b->status == DDPM_OK) b->status = json_write_file(path, b->o);
    json_free(b->o);
    return b->status;
}

static json *int_or_null(int value) { return value ? json_new_int(value) : json_new_null(); }

/* In diffusers' order: the way up counts from the lowest resolution. */
static void put_levels(builder *b, const unet_config *c)
{
    json *widths = json_new_array(), *down = json_new_array(), *up = json_new_array();
    for (int i = 0; i < c->levels; i++) {
        const int j = c->levels - 1 - i;
        const ddpm_status s[] = {
            json_append(widths, json_new_int(c->channels[i])),
            json_append(down, json_new_string(c->attention[i] ? "AttnDownBlock2D" : c->resblock_updown ? "ResnetDownsampleBlock2D" : "DownBlock2D")),
            json_append(up, json_new_string(c->attention[j] ? "AttnUpBlock2D" : c->resblock_updown ? "ResnetUpsampleBlock2D" : "UpBlock2D")),
        };
        for (int k = 0; k < 3; k++)
            if (b->status == DDPM_OK) b->status = s[k];
    }
    put(b, "block_out_channels", widths);
    put(b, "down_block_types", down);
    put(b, "up_block_types", up);
}

static json *sample_size(const unet_config *c)
{
    if (c->height == c->width) return json_new_int(c->height);
    json *pair = json_new_array();
    const ddpm_status a = json_append(pair, json_new_int(c->height)), b = json_append(pair, json_new_int(c->width));
    if (a == DDPM_OK && b == DDPM_OK) return pair;
    json_free(pair);
    return NULL;
}

static ddpm_status write_unet(const char *dir, const unet_config *c)
{
    int dim;
    builder b = start(UNET);
    head_dim(c, &dim);
    put_levels(&b, c);
    put(&b, "attention_head_dim", int_or_null(dim));
    put(&b, "attn_norm_num_groups", int_or_null(c->scale_shift_norm ? c->groups : 0));
    put(&b, "downsample_padding", json_new_int(c->asymmetric_down ? 0 : 1));
    put(&b, "downsample_type", json_new_string(c->resblock_updown ? "resnet" : "conv"));
    put(&b, "upsample_type", json_new_string(c->resblock_updown ? "resnet" : "conv"));
    put(&b, "dropout", json_new_real(c->dropout));
    put(&b, "flip_sin_to_cos", json_new_bool(c->cos_first));
    put(&b, "freq_shift", json_new_int((int64_t)c->freq_shift));
    put(&b, "in_channels", json_new_int(c->in_channels));
    put(&b, "layers_per_block", json_new_int(c->num_res_blocks));
    put(&b, "norm_eps", json_new_real(c->eps));
    put(&b, "norm_num_groups", json_new_int(c->groups));
    put(&b, "num_class_embeds", int_or_null(c->num_classes + (c->null_class ? 1 : 0)));
    put(&b, "out_channels", json_new_int(c->out_channels));
    put(&b, "resnet_time_scale_shift", json_new_string(c->scale_shift_norm ? "scale_shift" : "default"));
    put(&b, "sample_size", sample_size(c));
    return finish(&b, dir, FILE_UNET);
}

/* Those before the rescaling to zero terminal SNR, which the reader does again. */
static ddpm_status put_betas(builder *b, const schedule_config *c)
{
    schedule sc;
    schedule_config plain = *c;
    plain.zero_terminal_snr = false;
    DDPM_TRY(schedule_new(&plain, &sc));
    json *list = json_new_array();
    for (int i = 0; i < sc.T; i++) {
        const ddpm_status s = json_append(list, json_new_real(sc.betas[i]));
        if (b->status == DDPM_OK) b->status = s;
    }
    put(b, "trained_betas", list);
    schedule_free(&sc);
    return DDPM_OK;
}

static bool of_diffusers(const settings *s) { return s->v.compat == PROFILE_DIFFUSERS + 1; }

/* A model that is sampled as DDIMScheduler does, where that class can have its schedule and variance. */
static bool writes_ddim(const settings *s)
{
    return of_diffusers(s) && s->v.sampler == SAMPLER_DDIM && settings_variance(s) < VAR_LEARNED && settings_schedule(s).kind != SCHEDULE_SIGMOID;
}

/* How a model of diffusers' is sampled. */
static void put_sampling(builder *b, const settings *s, bool ddim)
{
    const bool named = !strcmp(s->v.spacing, "linspace") || !strcmp(s->v.spacing, "trailing");
    put(b, "clip_sample", json_new_bool(s->v.clip != SAMPLE_CLIP_NONE));
    put(b, "timestep_spacing", json_new_string(named ? s->v.spacing : "leading"));
    put(b, "steps_offset", json_new_int(s->v.steps_offset));
    if (!ddim) return;
    put(b, "_class_name", json_new_string("DDIMScheduler"));
    put(b, "set_alpha_to_one", json_new_bool(s->v.set_alpha_to_one));
}

static ddpm_status write_scheduler(const char *dir, const settings *s)
{
    static const char *const predictions[] = { [MEAN_EPSILON] = "epsilon", [MEAN_START_X] = "sample", [MEAN_V] = "v_prediction" };
    static const char *const variances[] = { [VAR_FIXED_SMALL] = "fixed_small", [VAR_FIXED_LARGE] = "fixed_large", [VAR_LEARNED_RANGE] = "learned_range" };
    const schedule_config c = settings_schedule(s);
    const double scale = c.kind == SCHEDULE_LINEAR && c.scaled ? 1000.0 / c.T : 1;
    const char *name;
    const bool ddim = writes_ddim(s);
    builder b = start(SCHEDULER);
    if (!diffusers_named_schedule(c.kind, &name) && b.status == DDPM_OK) b.status = put_betas(&b, &c);
    put(&b, "beta_schedule", json_new_string(name));
    put(&b, "beta_start", json_new_real(scale * c.beta_start));
    put(&b, "beta_end", json_new_real(scale * c.beta_end));
    put(&b, "num_train_timesteps", json_new_int(c.T));
    put(&b, "prediction_type", json_new_string(predictions[settings_mean(s)]));
    put(&b, "rescale_betas_zero_snr", json_new_bool(s->v.rescale_betas_zero_snr));
    if (!ddim) put(&b, "variance_type", json_new_string(variances[settings_variance(s)]));
    if (of_diffusers(s)) put_sampling(&b, s, ddim);
    return finish(&b, dir, FILE_SCHEDULER);
}

static ddpm_status write_own(const char *dir, const char *name, const char *text, const char *reason)
{
    builder b = start(text);
    put(&b, "reason", json_new_string(reason));
    return finish(&b, dir, name);
}

ddpm_status diffusers_write(const char *dir, const settings *s)
{
    char reason[REASON_SIZE];
    diffusers_reason(s, reason);
    if (reason[0]) {
        DDPM_TRY(write_own(dir, FILE_INDEX, OWN_INDEX, reason));
        DDPM_TRY(write_own(dir, FILE_UNET, OWN_UNET, reason));
        return write_own(dir, FILE_SCHEDULER, OWN_SCHEDULER, reason);
    }
    const unet_config c = settings_unet(s);
    builder index = start(writes_ddim(s) ? INDEX_DDIM : INDEX);
    DDPM_TRY(finish(&index, dir, FILE_INDEX));
    DDPM_TRY(write_unet(dir, &c));
    return write_scheduler(dir, s);
}
