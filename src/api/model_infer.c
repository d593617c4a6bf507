/* What a state dict says about its network, and what somebody has to say beside it. */
#include "api/checkpoint_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BLOCKS = 64, LIST_SIZE = 512, MAX_IMAGE_CHANNELS = 4 };

/* The network as names and shapes show it. */
typedef struct {
    int  image;               /* channels of an image: in, or half of it for an up-sampler */
    int  width, stem, in, out, levels, blocks, channels[UNET_MAX_LEVELS], classes;
    bool attention[UNET_MAX_LEVELS], scale_shift, conv_resample, resblock_updown;
} shown;

static const safetensors_tensor *tensor(const safetensors *st, const char *fmt, va_list args)
{
    char name[NAMES_SIZE];
    vsnprintf(name, sizeof name, fmt, args);
    return safetensors_find(st, name);
}

__attribute__((format(printf, 2, 3))) static bool has(const safetensors *st, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const bool found = tensor(st, fmt, args) != NULL;
    va_end(args);
    return found;
}

/* Dimension i of a tensor; 0: there is no such tensor or dimension, or it is out of any network's range. */
__attribute__((format(printf, 3, 4))) static int dim(const safetensors *st, int i, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const safetensors_tensor *t = tensor(st, fmt, args);
    va_end(args);
    return t && i < t->ndim && t->shape[i] > 0 && t->shape[i] <= 1 << 20 ? (int)t->shape[i] : 0;
}

/* --- improved-diffusion and guided-diffusion ---------------------------------------------- */

/* Blocks of a level: where the first level ends on the way down, or up where that has no tensors. */
static int openai_blocks(const safetensors *st, int total, shown *n)
{
    for (int i = 1; i < total; i++) {
        if (has(st, "input_blocks.%d.0.op.weight", i)) return i - 1;
        if (!has(st, "input_blocks.%d.0.in_layers.0.weight", i)) {
            n->conv_resample = false;
            return i - 1;
        }
    }
    for (int i = 0; i < total; i++)
        for (int k = 1; k <= 2; k++)
            if (has(st, "output_blocks.%d.%d.in_layers.0.weight", i, k)) {
                n->resblock_updown = true;
                return i;
            }
    return total - 1;
}

static void openai_shown(const safetensors *st, shown *n)
{
    int total = 0;
    *n = (shown){ .width = dim(st, 1, "time_embed.0.weight"), .stem = dim(st, 0, "input_blocks.0.0.weight"), .conv_resample = true,
                  .in = dim(st, 1, "input_blocks.0.0.weight"), .out = dim(st, 0, "out.2.weight"), .classes = dim(st, 0, "label_emb.weight") };
    while (total < MAX_BLOCKS && has(st, "output_blocks.%d.0.in_layers.0.weight", total)) total++;
    n->blocks = openai_blocks(st, total, n);
    n->levels = total && total % (n->blocks + 1) == 0 ? total / (n->blocks + 1) : 0;
    for (int level = 0; level < n->levels && level < UNET_MAX_LEVELS; level++) {
        const int block = (n->levels - 1 - level) * (n->blocks + 1);
        n->channels[level] = dim(st, 0, "output_blocks.%d.0.out_layers.3.weight", block);
        n->attention[level] = has(st, "output_blocks.%d.1.qkv.weight", block);
        n->scale_shift = dim(st, 0, "output_blocks.%d.0.emb_layers.1.weight", block) == 2 * n->channels[level];
    }
}

/* --- ermongroup and pesser ------------------------------------------------------------------ */

static void ermongroup_shown(const safetensors *st, shown *n)
{
    *n = (shown){ .width = dim(st, 1, "temb.dense.0.weight"), .stem = dim(st, 0, "conv_in.weight"), .in = dim(st, 1, "conv_in.weight"),
                  .out = dim(st, 0, "conv_out.weight"), .blocks = -1 };
    while (n->levels < MAX_BLOCKS && has(st, "up.%d.block.0.conv2.weight", n->levels)) n->levels++;
    while (n->blocks < MAX_BLOCKS && has(st, "up.0.block.%d.conv2.weight", n->blocks + 1)) n->blocks++;
    n->conv_resample = n->levels < 2 || has(st, "up.1.upsample.conv.weight");
    for (int level = 0; level < n->levels && level < UNET_MAX_LEVELS; level++) {
        n->channels[level] = dim(st, 0, "up.%d.block.0.conv2.weight", level);
        n->attention[level] = has(st, "up.%d.attn.0.q.weight", level);
    }
}

/* An up-sampler reads twice the channels of an image. Where both readings are possible, --small_size says which. */
static ddpm_status find_image_channels(const safetensors *st, const settings *request, shown *n)
{
    const bool asked = request->v.small_size > 0, twice = n->in % 2 == 0 && (n->out == n->in / 2 || n->out == n->in);
    const bool once = n->in <= MAX_IMAGE_CHANNELS && (n->out == n->in || n->out == 2 * n->in);
    n->image = asked || !once ? n->in / 2 : n->in;
    if (!once && !twice)
        return ddpm_fail(DDPM_EFORMAT, "%s: the network turns %d channels into %d; once or twice as many are understood, or half as many of an up-sampler",
                         safetensors_path(st), n->in, n->out);
    if (asked && !twice)
        return ddpm_fail(DDPM_EINVAL, "%s: --small_size %d (from the %s) contradicts the file, which turns %d channels into %d and is no up-sampler", safetensors_path(st),
                         request->v.small_size, options_origin_name(settings_origin(request, "small_size")), n->in, n->out);
    return DDPM_OK;
}

/* Every layer of these networks that has a bias has weights. */
static ddpm_status check_pairs(const safetensors *st)
{
    static const char bias[] = ".bias";
    for (int i = 0; i < safetensors_count(st); i++) {
        char name[NAMES_SIZE + sizeof ".weight"];
        const char *have = safetensors_at(st, i)->name;
        const size_t len = strlen(have), end = sizeof bias - 1;
        if (len < end || len >= NAMES_SIZE || strcmp(have + len - end, bias) != 0) continue;
        snprintf(name, sizeof name, "%.*s.weight", (int)(len - end), have);
        if (!safetensors_find(st, name)) return ddpm_fail(DDPM_EFORMAT, "%s: the tensor \"%s\" is missing", safetensors_path(st), name);
    }
    return DDPM_OK;
}

/* Without these nothing is known of a network. */
static ddpm_status check_present(const safetensors *st, names_style style)
{
    static const char *const openai[] = { "time_embed.0.weight", "input_blocks.0.0.weight", "out.2.weight", NULL };
    static const char *const ermongroup[] = { "temb.dense.0.weight", "conv_in.weight", "conv_out.weight", NULL };
    for (const char *const *name = style == NAMES_OPENAI ? openai : ermongroup; *name; name++)
        if (!safetensors_find(st, *name)) return ddpm_fail(DDPM_EFORMAT, "%s: the tensor \"%s\" is missing", safetensors_path(st), *name);
    return check_pairs(st);
}

static ddpm_status read_shown(const safetensors *st, names_style style, const settings *request, shown *n)
{
    DDPM_TRY(check_present(st, style));
    if (style == NAMES_OPENAI) openai_shown(st, n);
    else ermongroup_shown(st, n);
    bool good = n->width && n->stem && n->in && n->levels && n->levels <= UNET_MAX_LEVELS && n->blocks >= 0 && n->blocks < MAX_BLOCKS / 2;
    for (int i = 0; i < n->levels && good; i++) good = n->channels[i] > 0;
    if (!good) return ddpm_fail(DDPM_EFORMAT, "%s: its tensors do not form a U-Net; some are missing or of an unknown variant", safetensors_path(st));
    return find_image_channels(st, request, n);
}

/* --- into settings --------------------------------------------------------------------------- */

/* `request`: what the user gave, applied to `s` already. */
typedef struct { const safetensors *st; const settings *request; settings *s; } target;

static ddpm_status weak(const target *t, const char *name, const char *text) { return settings_set(t->s, name, text, ORIGIN_CHECKPOINT); }

/* The file decides; somebody who says otherwise has another model in mind. */
__attribute__((format(printf, 3, 4))) static ddpm_status strong(const target *t, const char *name, const char *fmt, ...)
{
    char text[OPTION_TEXT_SIZE], asked[OPTION_TEXT_SIZE];
    const int row = options_find(settings_options, name);
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    DDPM_TRY(settings_set(t->s, name, text, ORIGIN_COMMAND_LINE));
    if (settings_origin(t->request, name) == ORIGIN_DEFAULT) return DDPM_OK;
    options_print(settings_options, &t->s->v, row, text);
    options_print(settings_options, &t->request->v, row, asked);
    if (!strcmp(text, asked)) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "%s: --%s %s (from the %s) contradicts the file, which has %s", safetensors_path(t->st), name, asked,
                     options_origin_name(settings_origin(t->request, name)), text);
}

/* Fixed in ermongroup's code; improved-diffusion's is what the table has by default. */
static ddpm_status set_style(const target *t, names_style style)
{
    static const char *const rows[][2] = {
        { "num_heads", "1" }, { "embedding", "ho" }, { "norm_eps", "1e-6" }, { "down_padding", "asymmetric" }, { "init_scheme", "torch" },
        { "use_scale_shift_norm", "false" }, { "rescale_timesteps", "false" }, { "beta_scaling", "none" }, { "schedule_width", "f32" },
    };
    DDPM_TRY(weak(t, "compat", style == NAMES_ERMONGROUP ? "ermongroup" : "openai"));
    for (size_t i = 0; i < sizeof rows / sizeof *rows && style == NAMES_ERMONGROUP; i++) DDPM_TRY(weak(t, rows[i][0], rows[i][1]));
    return DDPM_OK;
}

static ddpm_status set_given(const target *t)
{
    for (int i = 0; settings_options[i].name; i++) {
        char text[OPTION_TEXT_SIZE];
        const option_origin origin = t->request->origins[i];
        const bool of_sampling = !(settings_options[i].groups & GROUP_TRAIN) || (!strcmp(settings_options[i].name, "compat") && origin > ORIGIN_PRESET);
        if (!(settings_options[i].groups & GROUP_MODEL) || origin == ORIGIN_DEFAULT || of_sampling) continue;
        options_print(settings_options, &t->request->v, i, text);
        DDPM_TRY(options_set_row(settings_options, &t->s->v, t->s->origins, i, text, origin));
    }
    return DDPM_OK;
}

static ddpm_status set_channels(const target *t, const shown *n)
{
    char text[LIST_SIZE];
    size_t used = 0;
    for (int i = 0; i < n->levels; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%.17g", i ? "," : "", (double)n->channels[i] / n->width);
    return strong(t, "channel_mult", "%s", text);
}

/* The levels that have attention, as heights of the image there. */
static ddpm_status set_attention(const target *t, const shown *n)
{
    char text[LIST_SIZE] = "";
    size_t used = 0;
    const int height = t->s->v.image_size.v[0];
    for (int i = 0; i < n->levels; i++) {
        bool asked = false;
        for (int k = 0; k < t->request->v.attention_resolutions.n; k++) {
            const int r = t->request->v.attention_resolutions.v[k];
            asked = asked || (r > 0 && height / r == 1 << i);
        }
        if (asked != n->attention[i] && settings_origin(t->request, "attention_resolutions") != ORIGIN_DEFAULT)
            return ddpm_fail(DDPM_EINVAL, "%s: --attention_resolutions (from the %s) contradicts the file, which has %sattention at %d", safetensors_path(t->st),
                             options_origin_name(settings_origin(t->request, "attention_resolutions")), n->attention[i] ? "" : "no ", height >> i);
        if (n->attention[i]) used += (size_t)snprintf(text + used, sizeof text - used, "%s%d", used ? "," : "", height >> i);
    }
    return settings_set(t->s, "attention_resolutions", used ? text : "0", ORIGIN_COMMAND_LINE);
}

/* A learned variance needs a second set of outputs; which of the fixed ones it was, nobody can see. */
static ddpm_status set_variance(const target *t, const shown *n)
{
    const bool learned = n->out > n->image;
    DDPM_TRY(strong(t, "learn_sigma", learned ? "true" : "false"));
    if (learned && t->s->v.variance < VARIANCE_LEARNED) t->s->v.variance = VARIANCE_RANGE;
    if (learned || t->s->v.variance < VARIANCE_LEARNED) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "%s: --variance asks for a learned variance, but the network has no outputs for it", safetensors_path(t->st));
}

static ddpm_status set_shown(const target *t, const shown *n)
{
    const int null_class = t->s->v.label_dropout > 0 ? 1 : 0;
    DDPM_TRY(strong(t, "channels", "%d", n->image));
    DDPM_TRY(strong(t, "num_channels", "%d", n->width));
    DDPM_TRY(strong(t, "stem", "%d", n->stem == n->width ? 0 : n->stem));
    DDPM_TRY(strong(t, "num_res_blocks", "%d", n->blocks));
    DDPM_TRY(strong(t, "use_scale_shift_norm", n->scale_shift ? "true" : "false"));
    DDPM_TRY(strong(t, "conv_resample", n->conv_resample ? "true" : "false"));
    DDPM_TRY(strong(t, "resblock_updown", n->resblock_updown ? "true" : "false"));
    DDPM_TRY(strong(t, "class_cond", n->classes ? "true" : "false"));
    if (n->classes) DDPM_TRY(strong(t, "num_classes", "%d", n->classes - null_class));
    DDPM_TRY(set_channels(t, n));
    DDPM_TRY(set_attention(t, n));
    return set_variance(t, n);
}

/* --- what is missing ---------------------------------------------------------------------------- */

static bool fits(const preset *p, const shown *n, names_style style)
{
    settings *s = malloc(sizeof *s);
    if (!s) return false;
    settings_defaults(s);
    bool same = settings_preset(s, p->name) == DDPM_OK && settings_resolve(s) == DDPM_OK;
    const unet_config c = same ? settings_unet(s) : (unet_config){ 0 };
    same = same && c.model_channels == n->width && c.levels == n->levels && c.num_res_blocks == n->blocks && c.in_channels == n->in &&
           c.out_channels == n->out && c.num_classes + (c.null_class ? 1 : 0) == n->classes && c.cos_first == (style == NAMES_OPENAI) && c.scale_shift_norm == n->scale_shift;
    for (int i = 0; same && i < n->levels; i++) same = c.channels[i] == n->channels[i] && c.attention[i] == n->attention[i];
    free(s);
    return same;
}

static bool is_given(const settings *request, const char *name)
{
    const bool size = !strcmp(name, "image_size") || !strcmp(name, "large_size");      /* two names of one value */
    return settings_origin(request, name) != ORIGIN_DEFAULT ||
           (size && (settings_origin(request, "image_size") != ORIGIN_DEFAULT || settings_origin(request, "large_size") != ORIGIN_DEFAULT));
}

static ddpm_status check_complete(const target *t, const shown *n, names_style style)
{
    static const char *const ordinary[] = { "image_size", "diffusion_steps", "noise_schedule", NULL };
    static const char *const upsampler[] = { "large_size", "small_size", "diffusion_steps", "noise_schedule", NULL };
    const bool enlarges = n->image < n->in;
    const char *const *const needed = enlarges ? upsampler : ordinary;
    const int sizes = enlarges ? 2 : 1;              /* that no default stands for */
    char missing[LIST_SIZE] = "", likely[LIST_SIZE] = "";
    size_t used = 0, length = 0;
    const bool preset_given = settings_origin(t->request, "preset") != ORIGIN_DEFAULT;   /* leaves out what is the table's default */
    for (int i = 0; needed[i]; i++)
        if (!is_given(t->request, needed[i]) && (i < sizes || !preset_given)) used += (size_t)snprintf(missing + used, sizeof missing - used, " --%s", needed[i]);
    if (!used) return DDPM_OK;
    for (const preset *p = presets; p->name && length < sizeof likely; p++)
        if (fits(p, n, style)) length += (size_t)snprintf(likely + length, sizeof likely - length, "%s --preset %s", length ? " or" : "; its shape is that of", p->name);
    return ddpm_fail(DDPM_EINVAL, "%s %s; give%s%s%s", safetensors_path(t->st),
                     enlarges ? "is an up-sampler and does not say of which sizes, nor how it was trained" : "does not say how it was trained", missing,
                     style == NAMES_OPENAI ? " (and --num_heads, --rescale_timesteps where they are not 4 and true)" : "", likely);
}

static void say_shown(const shown *n, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "U-Net from %d to %d channels, widths", n->in, n->out);
    for (int i = 0; i < n->levels && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%d%s", i ? ", " : " ", n->channels[i], n->attention[i] ? " with attention" : "");
    if (used < size) used += (size_t)snprintf(text + used, size - used, "; %d blocks a level", n->blocks);
    if (used < size && n->classes) snprintf(text + used, size - used, "; %d classes", n->classes);
}

ddpm_status model_infer_glimpse(const safetensors *st, names_style style, const settings *request, model_glimpse *g)
{
    shown n;
    DDPM_TRY(read_shown(st, style, request, &n));
    say_shown(&n, g->network, sizeof g->network);
    const target t = { .st = st, .request = request };
    if (check_complete(&t, &n, style) != DDPM_OK) snprintf(g->missing, sizeof g->missing, "%s", ddpm_last_error());
    return DDPM_OK;
}

static ddpm_status infer(const target *t, names_style style)
{
    shown n;
    DDPM_TRY(read_shown(t->st, style, t->request, &n));
    DDPM_TRY(check_complete(t, &n, style));
    DDPM_TRY(set_style(t, style));
    DDPM_TRY(set_given(t));
    DDPM_TRY(settings_sizes(t->s));
    DDPM_TRY(set_shown(t, &n));
    const ddpm_status s = settings_resolve(t->s);
    if (s != DDPM_OK) return ddpm_context(s, "%s: ", safetensors_path(t->st));
    describe_fix(t->s);
    return DDPM_OK;
}

ddpm_status model_infer(const safetensors *st, names_style style, const settings *request, model_description *d)
{
    settings *none = NULL;
    if (!request) {
        request = none = malloc(sizeof *none);
        if (!none) return ddpm_fail(DDPM_ENOMEM, "no memory for a configuration");
        settings_defaults(none);
    }
    settings_defaults(&d->s);
    const ddpm_status s = infer(&(target){ st, request, &d->s }, style);
    free(none);
    return s;
}
