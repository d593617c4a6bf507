#include "model/unet.h"

#include <math.h>
#include <stdio.h>

/* What the block functions need beside their input. */
typedef struct {
    nn_graph          *g;
    const unet_config *c;
    nn_tensor         *emb;        /* SiLU of the embedding [n,1,1,4*model_channels] */
    nn_tensor         *key;
    bool               up;         /* on the way up: other number of heads */
} builder;

static nn_init weight_init(const unet_config *c, int kernel, int in, int out, bool last)
{
    const double area = (double)kernel * kernel;
    if (last && c->init == UNET_INIT_OPENAI) return (nn_init){ NN_INIT_CONSTANT, 0 };
    if (c->init == UNET_INIT_HO) {
        const double scale = last ? 1e-10 : 1;
        return (nn_init){ NN_INIT_UNIFORM, (float)sqrt(3 * scale / (area * (in + out) / 2)) };
    }
    return (nn_init){ NN_INIT_UNIFORM, (float)(1 / sqrt(area * in)) };
}

static nn_init bias_init(const unet_config *c, int kernel, int in, bool last)
{
    if (c->init == UNET_INIT_HO || (last && c->init == UNET_INIT_OPENAI)) return (nn_init){ NN_INIT_CONSTANT, 0 };
    return (nn_init){ NN_INIT_UNIFORM, (float)(1 / sqrt((double)kernel * kernel * in)) };
}

/* Fill in the initialisers; `last` marks layers that end a residual branch. */
static nn_tensor *layer(const builder *b, const char *name, nn_conv_args a, bool last)
{
    if (!a.x) return NULL;
    const int kernel = a.kernel ? a.kernel : 1, in = a.x->shape.c + (a.x2 ? a.x2->shape.c : 0);
    const bool three = a.kind == NN_PARAM_CONV1D && a.out == 3 * in;      /* query, key and value, each drawn as a layer of its own */
    a.weight_init = weight_init(b->c, kernel, in, three ? in : a.out, last);
    a.bias_init = bias_init(b->c, kernel, in, last);
    return nn_conv2d(b->g, name, a);
}

static nn_tensor *linear(const builder *b, const char *name, nn_tensor *x, int out)
{
    return layer(b, name, (nn_conv_args){ .x = x, .out = out, .kind = NN_PARAM_LINEAR }, false);
}

static nn_tensor *norm_silu(const builder *b, const char *name, nn_norm_args a)
{
    a.groups = b->c->groups;
    a.eps = b->c->eps;
    a.silu = true;
    return nn_group_norm(b->g, name, a);
}

typedef enum { KEEP_SIZE, HALVE, DOUBLE } resample;

/* x (and x2 concatenated) [n,h,w,c] -> [n,h',w',out] */
static nn_tensor *res_block(const builder *b, nn_tensor *x, nn_tensor *x2, int out, resample size)
{
    if (!x) return NULL;
    const bool film = b->c->scale_shift_norm;
    nn_graph *g = b->g;
    nn_block_begin(g);
    nn_tensor *h = norm_silu(b, "in_layers.0", (nn_norm_args){ .x = x, .x2 = x2 });
    if (size == HALVE) {
        h = nn_avg_pool(g, h);
        x = nn_avg_pool(g, x);
    }
    if (size == DOUBLE) x = nn_upsample(g, x);
    nn_tensor *e = linear(b, "emb_layers.1", b->emb, film ? 2 * out : out);
    h = layer(b, "in_layers.2", (nn_conv_args){ .x = h, .chan = film ? NULL : e, .out = out, .kernel = 3, .pad = 1,
                                                .upsample = size == DOUBLE }, false);
    h = norm_silu(b, "out_layers.0", (nn_norm_args){ .x = h, .film = film ? e : NULL, .key = b->key, .dropout = b->c->dropout });
    if (x && x->shape.c + (x2 ? x2->shape.c : 0) != out)
        x = layer(b, "skip_connection", (nn_conv_args){ .x = x, .x2 = x2, .out = out }, false);
    else if (x2)
        x = nn_concat(g, x, x2);
    h = layer(b, "out_layers.3", (nn_conv_args){ .x = h, .residual = x, .out = out, .kernel = 3, .pad = 1 }, true);
    nn_block_end(g);
    return h;
}

/* x [n,h,w,c] -> [n,h,w,c]; every position attends to every other */
static nn_tensor *attention_block(const builder *b, nn_tensor *x)
{
    if (!x) return NULL;
    const unet_config *c = b->c;
    const int width = x->shape.c, own = b->up && c->num_heads_upsample ? c->num_heads_upsample : c->num_heads;
    const int heads = c->num_head_channels ? width / c->num_head_channels : own;
    nn_block_begin(b->g);
    nn_tensor *h = nn_group_norm(b->g, "norm", (nn_norm_args){ .x = x, .groups = c->groups, .eps = c->eps });
    h = layer(b, "qkv", (nn_conv_args){ .x = h, .out = 3 * width, .kind = NN_PARAM_CONV1D }, false);
    h = nn_attention(b->g, h, heads, c->new_attention_order ? NN_QKV_HEADS : NN_HEADS_QKV);
    h = layer(b, "proj_out", (nn_conv_args){ .x = h, .residual = x, .out = width, .kind = NN_PARAM_CONV1D }, true);
    nn_block_end(b->g);
    return h;
}

/* One level down, in block `index`. */
static nn_tensor *go_down(const builder *b, nn_tensor *h, int index)
{
    const unet_config *c = b->c;
    if (!h) return NULL;
    const int width = h->shape.c;
    nn_scope(b->g, "input_blocks.%d.0.", index);
    if (c->resblock_updown) return res_block(b, h, NULL, width, HALVE);
    if (!c->conv_resample) return nn_avg_pool(b->g, h);
    return layer(b, "op", (nn_conv_args){ .x = h, .out = width, .kernel = 3, .stride = 2, .pad = c->asymmetric_down ? 0 : 1 }, false);
}

/* One level up, as part `part` of block `index`. */
static nn_tensor *go_up(const builder *b, nn_tensor *h, int index, int part)
{
    const unet_config *c = b->c;
    if (!h) return NULL;
    const int width = h->shape.c;
    nn_scope(b->g, "output_blocks.%d.%d.", index, part);
    if (c->resblock_updown) return res_block(b, h, NULL, width, DOUBLE);
    if (!c->conv_resample) return nn_upsample(b->g, h);
    return layer(b, "conv", (nn_conv_args){ .x = h, .out = width, .kernel = 3, .pad = 1, .upsample = true }, false);
}

/* Residual block, then attention when this level has it: module `blocks.index.0`, `.1`. */
static nn_tensor *block_at(const builder *b, const char *blocks, int index, nn_tensor *h, nn_tensor *skip, int level)
{
    nn_scope(b->g, "%s.%d.0.", blocks, index);
    h = res_block(b, h, skip, b->c->channels[level], KEEP_SIZE);
    nn_scope(b->g, "%s.%d.1.", blocks, index);
    return b->c->attention[level] ? attention_block(b, h) : h;
}

static nn_tensor *embedding(nn_graph *g, const unet_config *c, unet *u)
{
    const builder b = { .g = g, .c = c };
    const int dim = 4 * c->model_channels;
    nn_scope(g, "time_embed.");
    nn_tensor *e = nn_timestep_embed(g, u->t, c->model_channels, c->cos_first, c->freq_shift, 10000);
    e = nn_silu(g, linear(&b, "0", e, dim));
    e = u->time_embed = linear(&b, "2", e, dim);
    nn_scope(g, "%s", "");
    if (u->y) e = nn_add(g, e, nn_embed(g, "label_emb", u->y, c->num_classes + (c->null_class ? 1 : 0), dim));
    return nn_silu(g, e);
}

static nn_tensor *way_down(const builder *b, unet *u)
{
    const unet_config *c = b->c;
    nn_scope(b->g, "input_blocks.0.");
    nn_tensor *h = layer(b, "0", (nn_conv_args){ .x = u->x, .out = c->stem, .kernel = 3, .pad = 1 }, false);
    u->down[u->n_down++] = h;
    for (int level = 0; level < c->levels; level++) {
        for (int i = 0; i < c->num_res_blocks; i++) {
            h = block_at(b, "input_blocks", u->n_down, h, NULL, level);
            u->down[u->n_down++] = h;
        }
        if (level == c->levels - 1) break;
        h = go_down(b, h, u->n_down);
        u->down[u->n_down++] = h;
    }
    return h;
}

static nn_tensor *middle(const builder *b, nn_tensor *h)
{
    const int width = h ? h->shape.c : 0;
    nn_scope(b->g, "middle_block.0.");
    h = res_block(b, h, NULL, width, KEEP_SIZE);
    nn_scope(b->g, "middle_block.1.");
    h = attention_block(b, h);
    nn_scope(b->g, "middle_block.2.");
    return res_block(b, h, NULL, width, KEEP_SIZE);
}

static nn_tensor *way_up(const builder *b, nn_tensor *h, unet *u)
{
    const unet_config *c = b->c;
    int skip = u->n_down;
    for (int level = c->levels - 1; level >= 0; level--)
        for (int i = 0; i <= c->num_res_blocks; i++) {
            h = block_at(b, "output_blocks", u->n_up, h, u->down[--skip], level);
            if (level > 0 && i == c->num_res_blocks) h = go_up(b, h, u->n_up, c->attention[level] ? 2 : 1);
            u->up[u->n_up++] = h;
        }
    return h;
}

/* h [n,h,w,c] -> the image's prediction */
static nn_tensor *image_head(const builder *b, nn_tensor *h)
{
    nn_scope(b->g, "out.");
    h = norm_silu(b, "0", (nn_norm_args){ .x = h });
    return layer(b, "2", (nn_conv_args){ .x = h, .out = b->c->out_channels, .kernel = 3, .pad = 1, .f32_out = true }, true);
}

/* h [n,h,w,c] -> logits [n,1,1,classes_out] */
static nn_tensor *class_head(const builder *b, nn_tensor *h, unet *u)
{
    nn_scope(b->g, "out.");
    h = norm_silu(b, "0", (nn_norm_args){ .x = h });
    u->features = nn_pool(b->g, (nn_pool_args){ .x = h });
    nn_keep(b->g, u->features);
    return layer(b, "3", (nn_conv_args){ .x = u->features, .out = b->c->classes_out, .f32_out = true }, true);
}

unet unet_build(nn_graph *g, const unet_config *c, int n, bool train, bool input_grad)
{
    unet u = { .x = nn_input(g, "x", (nn_shape){ n, c->height, c->width, c->in_channels }, NN_F32, input_grad),
               .t = nn_input(g, "t", (nn_shape){ n, 1, 1, 1 }, NN_F32, false) };
    if (c->num_classes) u.y = nn_input(g, "y", (nn_shape){ n, 1, 1, 1 }, NN_I32, false);
    g->recompute = c->recompute;
    if (train && c->dropout > 0) u.key = nn_input(g, "key", (nn_shape){ n, 1, 1, 4 }, NN_I32, false);

    builder b = { .g = g, .c = c, .key = u.key };
    b.emb = embedding(g, c, &u);
    nn_tensor *h = u.middle = middle(&b, way_down(&b, &u));
    b.up = true;
    u.out = c->classes_out ? class_head(&b, h, &u) : image_head(&b, way_up(&b, h, &u));
    return u;
}

static ddpm_status check_level(const unet_config *c, int level)
{
    const int width = c->channels[level], side = 1 << level;
    if (width < 1) return ddpm_fail(DDPM_EINVAL, "channel_mult: level %d has %d channels", level, width);
    if (c->height % side || c->width % side)
        return ddpm_fail(DDPM_EINVAL, "image size %dx%d cannot be halved %d times for %d levels; use a multiple of %d or fewer "
                         "entries in --channel_mult", c->height, c->width, c->levels - 1, c->levels, 1 << (c->levels - 1));
    if (width % c->groups)
        return ddpm_fail(DDPM_EINVAL, "level %d has %d channels, not divisible by %d groups; change --num_channels, "
                         "--channel_mult or --norm_groups", level, width, c->groups);
    if (!c->attention[level] && level != c->levels - 1) return DDPM_OK;
    const int heads = c->num_head_channels ? c->num_head_channels : c->num_heads;
    const int heads_up = c->num_head_channels || !c->num_heads_upsample ? heads : c->num_heads_upsample;
    if (heads < 1 || width % heads || width % heads_up)
        return ddpm_fail(DDPM_EINVAL, "attention at level %d: %d channels cannot be split by %s %d", level, width,
                         c->num_head_channels ? "num_head_channels" : "num_heads", heads);
    return DDPM_OK;
}

ddpm_status unet_check(const unet_config *c)
{
    if (c->levels < 1 || c->levels > UNET_MAX_LEVELS)
        return ddpm_fail(DDPM_EINVAL, "channel_mult has %d entries; 1 to %d are possible", c->levels, UNET_MAX_LEVELS);
    if (c->height < 1 || c->width < 1 || c->height > 4096 || c->width > 4096)
        return ddpm_fail(DDPM_EINVAL, "image size %dx%d is outside 1..4096", c->height, c->width);
    if (c->in_channels < 1 || c->out_channels < 1)
        return ddpm_fail(DDPM_EINVAL, "%d input and %d output channels; both must be positive", c->in_channels, c->out_channels);
    if (c->model_channels < 1 || c->model_channels > 65536)
        return ddpm_fail(DDPM_EINVAL, "num_channels is %d; it must be 1 to 65536", c->model_channels);
    if (c->groups < 1) return ddpm_fail(DDPM_EINVAL, "norm_groups is %d; it must be positive", c->groups);
    if (c->num_res_blocks < 0 || c->levels * (c->num_res_blocks + 2) > UNET_MAX_BLOCKS)
        return ddpm_fail(DDPM_EINVAL, "num_res_blocks is %d; with %d levels 0 to %d are possible", c->num_res_blocks, c->levels,
                         UNET_MAX_BLOCKS / c->levels - 2);
    if (c->stem % c->groups)
        return ddpm_fail(DDPM_EINVAL, "the first convolution has %d channels, not divisible by %d groups; change --num_channels, --stem or "
                         "--norm_groups", c->stem, c->groups);
    for (int level = 0; level < c->levels; level++) DDPM_TRY(check_level(c, level));
    if (c->num_classes < 0) return ddpm_fail(DDPM_EINVAL, "%d classes", c->num_classes);
    if (c->classes_out < 0 || (c->classes_out && c->num_classes))
        return ddpm_fail(DDPM_EINVAL, "classes_out is %d: a classifier tells at least one class apart, and is not conditioned on classes", c->classes_out);
    if (!(c->dropout >= 0 && c->dropout < 1)) return ddpm_fail(DDPM_EINVAL, "dropout is %g; it must be in [0, 1)", c->dropout);
    return DDPM_OK;
}

ddpm_status unet_check_trainable(const unet_config *c)
{
    DDPM_TRY(unet_check(c));
    if (c->scale_shift_norm) return DDPM_OK;
    for (int level = 0; level < c->levels; level++)
        if (c->channels[level] / c->groups < 2)
            return ddpm_fail(DDPM_EINVAL, "level %d has %d channels in %d groups: group norm over one channel cancels the added time "
                             "embedding, so the network could not see t; use more channels, --norm_groups %d, or "
                             "--use_scale_shift_norm", level, c->channels[level], c->groups,
                             c->channels[level] >= 2 ? c->channels[level] / 2 : 1);
    return DDPM_OK;
}

size_t unet_parameters(const unet_config *c)
{
    if (unet_check(c) != DDPM_OK) return 0;
    nn_graph *g = nn_graph_new(NN_F32);
    if (!g) return 0;
    unet_build(g, c, 1, false, false);
    const size_t total = g->status == DDPM_OK ? nn_params_total(&g->params) : 0;
    nn_graph_free(g);
    return total;
}
