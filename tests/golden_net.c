/* The networks of section 06: their configurations in four code bases' words,
 * their weights, and their parameters under the files' names. */
#include "golden_hash.h"
#include "golden_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- configurations ---- */

static bool holds(const json *list, double value)
{
    for (size_t i = 0; i < json_array_len(list); i++) {
        double v;
        if (json_as_real(json_at(list, i), &v) && !(v < value) && !(v > value)) return true;
    }
    return false;
}

/* An integer that may be absent, null or -1 for "not set". */
static ddpm_status optional_int(const json *o, const char *key, int *v)
{
    int64_t wide = *v;
    DDPM_TRY(json_get_int(o, key, &wide));
    if (wide >= 0) *v = (int)wide;
    return DDPM_OK;
}

/* Widths of the levels: multiples of `base`, rounded down. */
static ddpm_status widths(const json *o, const char *key, double base, unet_config *u)
{
    const json *list = json_get(o, key);
    u->levels = (int)json_array_len(list);
    if (u->levels < 1 || u->levels > UNET_MAX_LEVELS) return ddpm_fail(DDPM_EFORMAT, "\"%s\" has %d entries", key, u->levels);
    for (int i = 0; i < u->levels; i++) {
        double factor;
        if (!json_as_real(json_at(list, (size_t)i), &factor))
            return ddpm_fail(DDPM_EFORMAT, "\"%s\" holds something that is no number", key);
        u->channels[i] = (int)(factor * base);
    }
    return DDPM_OK;
}

/* improved-diffusion and guided-diffusion. `attention_resolutions` are down-sampling factors. */
static ddpm_status openai_config(const json *o, bool guided, unet_config *u)
{
    *u = (unet_config){ .num_heads = 1, .conv_resample = true, .groups = 32, .eps = 1e-5, .cos_first = true };
    DDPM_TRY(gold_need_int(o, "in_channels", &u->in_channels));
    DDPM_TRY(gold_need_int(o, "out_channels", &u->out_channels));
    DDPM_TRY(gold_need_int(o, "model_channels", &u->model_channels));
    DDPM_TRY(gold_need_int(o, "num_res_blocks", &u->num_res_blocks));
    DDPM_TRY(widths(o, "channel_mult", u->model_channels, u));
    u->stem = guided ? u->channels[0] : u->model_channels;
    for (int i = 0; i < u->levels; i++) u->attention[i] = holds(json_get(o, "attention_resolutions"), 1 << i);
    DDPM_TRY(optional_int(o, "num_classes", &u->num_classes));
    DDPM_TRY(optional_int(o, "num_heads", &u->num_heads));
    DDPM_TRY(optional_int(o, "num_heads_upsample", &u->num_heads_upsample));
    DDPM_TRY(optional_int(o, "num_head_channels", &u->num_head_channels));
    DDPM_TRY(json_get_bool(o, "use_scale_shift_norm", &u->scale_shift_norm));
    DDPM_TRY(json_get_bool(o, "conv_resample", &u->conv_resample));
    DDPM_TRY(json_get_bool(o, "resblock_updown", &u->resblock_updown));
    return json_get_bool(o, "use_new_attention_order", &u->new_attention_order);
}

/* ermongroup. `attn_resolutions` are image sizes. */
static ddpm_status ermongroup_config(const json *o, unet_config *u)
{
    int size;
    *u = (unet_config){ .num_heads = 1, .conv_resample = true, .groups = 32, .eps = 1e-6, .freq_shift = 1, .asymmetric_down = true };
    DDPM_TRY(gold_need_int(o, "in_channels", &u->in_channels));
    DDPM_TRY(gold_need_int(o, "out_ch", &u->out_channels));
    DDPM_TRY(gold_need_int(o, "ch", &u->model_channels));
    DDPM_TRY(gold_need_int(o, "num_res_blocks", &u->num_res_blocks));
    DDPM_TRY(gold_need_int(o, "image_size", &size));
    DDPM_TRY(widths(o, "ch_mult", u->model_channels, u));
    u->stem = u->model_channels;
    for (int i = 0; i < u->levels; i++) u->attention[i] = holds(json_get(o, "attn_resolutions"), size >> i);
    DDPM_TRY(optional_int(o, "groups", &u->groups));
    DDPM_TRY(optional_int(o, "num_groups", &u->groups));
    DDPM_TRY(json_get_real(o, "norm_eps", &u->eps));
    return json_get_bool(o, "resamp_with_conv", &u->conv_resample);
}

/* Options of UNet2DModel that change the network into one this program does not have. */
static const char *diffusers_unsupported(gold_case *c, const json *o)
{
    static const struct { const char *key, *only; } fixed[] = {
        { "act_fn", "silu" }, { "time_embedding_type", "positional" }, { "downsample_type", "conv" }, { "upsample_type", "conv" },
        { "class_embed_type", NULL }, { "attn_norm_num_groups", NULL }, { "time_embedding_dim", NULL }, { "num_train_timesteps", NULL },
    };
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        const json *v = json_get(o, fixed[i].key);
        if (!v || json_kind_of(v) == JSON_KIND_NULL) continue;
        const char *text = json_as_string(v);
        if (!fixed[i].only || !text || strcmp(text, fixed[i].only)) return gold_printf(c, "UNet2DModel with this %s", fixed[i].key);
    }
    const json *down = json_get(o, "down_block_types"), *up = json_get(o, "up_block_types");
    const size_t levels = json_array_len(down);
    for (size_t i = 0; i < levels; i++) {
        const char *d = json_as_string(json_at(down, i)), *u = json_as_string(json_at(up, levels - 1 - i));
        const bool plain = d && u && !strcmp(d, "DownBlock2D") && !strcmp(u, "UpBlock2D");
        const bool attends = d && u && !strcmp(d, "AttnDownBlock2D") && !strcmp(u, "AttnUpBlock2D");
        if (!plain && !attends) return "UNet2DModel with these blocks";
    }
    bool middle = true, center = false;
    if (json_get_bool(o, "add_attention", &middle) != DDPM_OK || !middle) return "UNet2DModel without attention in the middle";
    if (json_get_bool(o, "center_input_sample", &center) != DDPM_OK || center) return "UNet2DModel with center_input_sample";
    return NULL;
}

static ddpm_status diffusers_config(const json *o, unet_config *u)
{
    int64_t padding = 1, head = 8;
    const char *shift = "default";
    *u = (unet_config){ .num_heads = 1, .conv_resample = true, .groups = 32, .eps = 1e-5, .cos_first = true };
    DDPM_TRY(gold_need_int(o, "in_channels", &u->in_channels));
    DDPM_TRY(gold_need_int(o, "out_channels", &u->out_channels));
    DDPM_TRY(gold_need_int(o, "layers_per_block", &u->num_res_blocks));
    DDPM_TRY(widths(o, "block_out_channels", 1, u));
    u->model_channels = u->stem = u->channels[0];
    for (int i = 0; i < u->levels; i++) {
        const char *type = json_as_string(json_at(json_get(o, "down_block_types"), (size_t)i));
        u->attention[i] = type && !strcmp(type, "AttnDownBlock2D");
    }
    DDPM_TRY(json_get_int(o, "downsample_padding", &padding));
    u->asymmetric_down = padding == 0;
    DDPM_TRY(json_get_int(o, "attention_head_dim", &head));
    u->num_head_channels = json_kind_of(json_get(o, "attention_head_dim")) == JSON_KIND_NULL ? 0 : (int)head;
    DDPM_TRY(optional_int(o, "norm_num_groups", &u->groups));
    DDPM_TRY(optional_int(o, "num_class_embeds", &u->num_classes));
    DDPM_TRY(json_get_real(o, "norm_eps", &u->eps));
    DDPM_TRY(json_get_bool(o, "flip_sin_to_cos", &u->cos_first));
    DDPM_TRY(json_get_real(o, "freq_shift", &u->freq_shift));
    DDPM_TRY(json_get_string(o, "resnet_time_scale_shift", &shift));
    u->scale_shift_norm = !strcmp(shift, "scale_shift");
    return DDPM_OK;
}

/* ---- where a network is described ---- */

typedef enum { FAMILY_IDDPM, FAMILY_GUIDED, FAMILY_ERMONGROUP, FAMILY_DIFFUSERS } net_family;
static const struct { const char *key; net_family family; bool hashed; } GROUPS[] = {
    { "iddpm", FAMILY_IDDPM, false },           { "iddpm_hash_weights", FAMILY_IDDPM, true },
    { "guided", FAMILY_GUIDED, false },         { "guided_hash_weights", FAMILY_GUIDED, true },
    { "ermongroup", FAMILY_ERMONGROUP, false }, { "ermongroup_hash_weights", FAMILY_ERMONGROUP, true },
    { "diffusers", FAMILY_DIFFUSERS, false },
};

typedef struct { net_family family; bool hashed; const json *section, *config; const char *folder; } net_place;

static bool listed(const json *group, const char *name)
{
    if (json_get(group, name)) return true;
    for (size_t i = 0; i < json_array_len(group); i++) {
        const char *own = NULL;
        if (json_get_string(json_at(group, i), "name", &own) == DDPM_OK && own && !strcmp(own, name)) return true;
    }
    return false;
}

static ddpm_status find_place(gold_case *c, const char *name, net_place *at)
{
    *at = (net_place){ .section = json_get(c->run->cases, "06_unet"), .folder = gold_printf(c, "06_unet/%s", name) };
    for (size_t i = 0; i < sizeof GROUPS / sizeof GROUPS[0]; i++) {
        if (!listed(json_get(at->section, GROUPS[i].key), name)) continue;
        at->family = GROUPS[i].family;
        at->hashed = GROUPS[i].hashed;
        if (gold_exists(c, "%s/unet", at->folder)) at->folder = gold_printf(c, "%s/unet", at->folder);
        return gold_json(c, &at->config, "%s/config.json", at->folder);
    }
    return ddpm_fail(DDPM_EFORMAT, "cases.json describes no network %s", name);
}

static ddpm_status describe(gold_case *c, const char *name, net_place *at, gold_net *n)
{
    *n = (gold_net){ .name = name, .style = NAMES_OPENAI };
    DDPM_TRY(find_place(c, name, at));
    const bool apart = at->family == FAMILY_DIFFUSERS;
    n->io_label = gold_printf(c, apart ? "06_unet/%s_io" : "06_unet/%s/io", name);
    DDPM_TRY(gold_json(c, &n->info, apart ? "06_unet/%s_info.json" : "06_unet/%s/info.json", name));
    if (at->family == FAMILY_ERMONGROUP) {
        n->style = NAMES_ERMONGROUP;
        return ermongroup_config(at->config, &n->config);
    }
    if (!apart) return openai_config(at->config, at->family == FAMILY_GUIDED, &n->config);
    n->style = NAMES_DIFFUSERS;
    n->unsupported = diffusers_unsupported(c, at->config);
    return diffusers_config(at->config, &n->config);
}

ddpm_status gold_net_describe(gold_case *c, const char *name, gold_net *n)
{
    net_place at;
    return describe(c, name, &at, n);
}

/* ---- parameters ---- */

static int heads_of(const unet_config *u, const nn_param *p)
{
    const int width = p->shape.c / 3;
    const bool up = !strncmp(p->name, "output_blocks.", strlen("output_blocks."));
    if (u->num_head_channels) return width / u->num_head_channels;
    return up && u->num_heads_upsample ? u->num_heads_upsample : u->num_heads;
}

/* Row of the fused projection that holds row r of q, k or v. */
static size_t fused_row(const unet_config *u, const gold_param *p, size_t r)
{
    const size_t width = (size_t)p->param->shape.c / 3, part = (size_t)p->part, d = width / (size_t)heads_of(u, p->param);
    return u->new_attention_order ? part * width + r : r / d * 3 * d + part * d + r % d;
}

/* Copies between one part's rows and the fused parameter in file order. */
static void copy_rows(const unet_config *u, const gold_param *p, float *fused, float *file, bool to_file)
{
    const size_t rows = (size_t)p->param->shape.c / 3, row = p->len / rows;
    for (size_t r = 0; r < rows; r++) {
        float *whole = fused + fused_row(u, p, r) * row, *part = file + r * row;
        memcpy(to_file ? part : whole, to_file ? whole : part, row * sizeof *part);
    }
}

void gold_param_to_file(gold_case *c, const gold_net *n, const gold_param *p, const float *slab, float *file)
{
    const float *slice = slab + p->param->offset;
    if (p->parts == 1) {
        nn_param_to_file(p->param, slice, file);
        return;
    }
    float *fused = gold_alloc(c, 3 * p->len, sizeof *fused);
    nn_param_to_file(p->param, slice, fused);
    copy_rows(&n->config, p, fused, file, true);
}

void gold_param_from_file(gold_case *c, const gold_net *n, const gold_param *p, const float *file, float *slab)
{
    float *slice = slab + p->param->offset;
    if (p->parts == 1) {
        nn_param_from_file(p->param, file, slice);
        return;
    }
    float *fused = gold_alloc(c, 3 * p->len, sizeof *fused), *part = gold_alloc(c, p->len, sizeof *part);
    memcpy(part, file, p->len * sizeof *part);
    nn_param_to_file(p->param, slice, fused);
    copy_rows(&n->config, p, fused, part, false);
    nn_param_from_file(p->param, fused, slice);
}

static ddpm_status list_params(gold_case *c, gold_net *n, names_style style)
{
    const nn_params *all = &n->g->params;
    const names_net shape = { n->config.levels, n->config.num_res_blocks };
    n->n_params = 0;
    n->params = gold_alloc(c, 3 * (size_t)all->count, sizeof *n->params);
    for (int i = 0; i < all->count; i++) {
        char names[3][NAMES_SIZE];
        int parts;
        DDPM_TRY(names_of(&shape, style, all->list[i].name, names, &parts));
        for (int k = 0; k < parts; k++) {
            gold_param *p = &n->params[n->n_params++];
            *p = (gold_param){ .param = &all->list[i], .name = gold_printf(c, "%s", names[k]), .part = k, .parts = parts,
                               .len = nn_len(all->list[i].shape) / (size_t)parts };
            p->ndim = nn_param_file_shape(p->param, p->shape);
            p->shape[0] /= parts;
        }
    }
    return DDPM_OK;
}

bool gold_net_zero_gradient(const gold_net *n, const gold_param *p)
{
    const json *list = json_get(n->info, "zero_gradient_tensors");
    for (size_t i = 0; i < json_array_len(list); i++) {
        const char *name = json_as_string(json_at(list, i));
        if (name && !strcmp(name, p->name)) return true;
    }
    return false;
}

/* ---- weights ---- */

/* Equal but for ones at the end: some files hold 1x1 kernels as matrices. */
static bool same_shape(const gold_param *p, int ndim, const int64_t *shape)
{
    for (int i = 0; i < p->ndim || i < ndim; i++)
        if ((i < p->ndim ? p->shape[i] : 1) != (i < ndim ? shape[i] : 1)) return false;
    return true;
}

static ddpm_status wrong_shape(const gold_param *p, const char *where)
{
    return ddpm_fail(DDPM_EFORMAT, "%s: %s has another shape than this network's %s", where, p->name, p->param->name);
}

static ddpm_status load_stored(gold_case *c, gold_net *n, const char *label)
{
    gold_file *f;
    DDPM_TRY(gold_open(c, label, &f));
    if (n->style == NAMES_DIFFUSERS)
        for (int i = 0; i < n->n_params; i++)
            if (n->params[i].parts == 3 && !safetensors_find(f->st, n->params[i].name)) {
                DDPM_TRY(list_params(c, n, NAMES_DIFFUSERS_OLD));
                break;
            }
    for (int i = 0; i < n->n_params; i++) {
        const gold_param *p = &n->params[i];
        gold_tensor t;
        int64_t shape[SAFETENSORS_MAX_DIMS];
        DDPM_TRY(gold_need(c, f, &t, "%s", p->name));
        for (int k = 0; k < t.ndim; k++) shape[k] = (int64_t)t.shape[k];
        if (!same_shape(p, t.ndim, shape)) return wrong_shape(p, label);
        gold_param_from_file(c, n, p, gold_floats(c, &t), n->values);
    }
    if (safetensors_count(f->st) != n->n_params)
        return ddpm_fail(DDPM_EFORMAT, "%s holds %d tensors, the network %d", label, safetensors_count(f->st), n->n_params);
    return n->style == NAMES_DIFFUSERS ? list_params(c, n, NAMES_DIFFUSERS) : DDPM_OK;
}

static ddpm_status hash_seed(const net_place *at, uint64_t *seed)
{
    const json *own = json_get(at->section, "hash_seed"), *j = own ? own : json_get(at->config, "hash_seed");
    int64_t small;
    const char *text = json_as_string(j);
    if (json_as_int(j, &small)) *seed = (uint64_t)small;
    else if (!text || sscanf(text, "%" SCNu64, seed) != 1) return ddpm_fail(DDPM_EFORMAT, "there is no hash_seed");
    return DDPM_OK;
}

/* `first` holds what the reference's generator gave. */
static ddpm_status check_first(const gold_param *p, const json *first, const float *v)
{
    for (size_t i = 0; i < json_array_len(first); i++) {
        double want;
        if (!json_as_real(json_at(first, i), &want) || i >= p->len || (float)want < v[i] || (float)want > v[i])
            return ddpm_fail(DDPM_EFORMAT, "the generated value %zu of %s is not the one in weights.json", i, p->name);
    }
    return DDPM_OK;
}

static ddpm_status load_hashed(gold_case *c, gold_net *n, const net_place *at)
{
    const json *weights;
    uint64_t seed;
    DDPM_TRY(gold_json(c, &weights, "%s/weights.json", at->folder));
    DDPM_TRY(hash_seed(at, &seed));
    for (int i = 0; i < n->n_params; i++) {
        const gold_param *p = &n->params[i];
        const json *entry;
        int64_t shape[4] = { 0 };
        double lo, hi;
        DDPM_TRY(gold_need_object(weights, p->name, &entry));
        DDPM_TRY(gold_need_real(entry, "lo", &lo));
        DDPM_TRY(gold_need_real(entry, "hi", &hi));
        const json *dims = json_get(entry, "shape");
        for (size_t k = 0; k < json_array_len(dims) && k < 4; k++) json_as_int(json_at(dims, k), &shape[k]);
        if (json_array_len(dims) > 4 || !same_shape(p, (int)json_array_len(dims), shape)) return wrong_shape(p, "weights.json");
        float *v = gold_alloc(c, p->len, sizeof *v);
        const uint64_t name = golden_hash_name(p->name);
        for (size_t k = 0; k < p->len; k++) v[k] = golden_hash_value(name, seed, k, lo, hi);
        DDPM_TRY(check_first(p, json_get(entry, "first"), v));
        gold_param_from_file(c, n, p, v, n->values);
    }
    if (json_object_len(weights) != (size_t)n->n_params)
        return ddpm_fail(DDPM_EFORMAT, "weights.json of %s holds %zu tensors, the network %d", n->name, json_object_len(weights),
                         n->n_params);
    return DDPM_OK;
}

static void undo_graph(void *g) { nn_graph_free(g); }

ddpm_status gold_net_load(gold_case *c, const char *name, size_t h, size_t w, gold_net *n)
{
    net_place at;
    DDPM_TRY(describe(c, name, &at, n));
    if (n->unsupported) return ddpm_fail(DDPM_ENOSUP, "%s: %s", name, n->unsupported);
    n->config.height = (int)h;
    n->config.width = (int)w;
    DDPM_TRY(unet_check(&n->config));
    n->g = nn_graph_new(NN_F32);
    if (!n->g) return ddpm_fail(DDPM_ENOMEM, "no memory for a graph");
    gold_defer(c, undo_graph, n->g);
    unet_build(n->g, &n->config, 1, false, false);
    DDPM_TRY(nn_graph_status(n->g));
    n->values = gold_alloc(c, n->g->params.len, sizeof *n->values);
    DDPM_TRY(list_params(c, n, n->style));
    if (at.hashed) return load_hashed(c, n, &at);
    return load_stored(c, n, gold_printf(c, at.family == FAMILY_DIFFUSERS ? "%s/diffusion_pytorch_model" : "%s/model", at.folder));
}
