#include "io/names.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

typedef struct { const char *openai, *other[3]; } row;     /* other: ermongroup, diffusers, old diffusers */

static const row FIXED[] = {
    { "time_embed.0",     { "temb.dense.0", "time_embedding.linear_1", "time_embedding.linear_1" } },
    { "time_embed.2",     { "temb.dense.1", "time_embedding.linear_2", "time_embedding.linear_2" } },
    { "label_emb",        { NULL,           "class_embedding",         "class_embedding" } },
    { "input_blocks.0.0", { "conv_in",      "conv_in",                 "conv_in" } },
    { "out.0",            { "norm_out",     "conv_norm_out",           "conv_norm_out" } },
    { "out.2",            { "conv_out",     "conv_out",                "conv_out" } },
    { "out.3",            { NULL,           "class_out",               "class_out" } },
    { 0 }
};

/* Parts of residual and attention blocks, and of the layers between levels. */
static const row LEAVES[] = {
    { "in_layers.0",     { "norm1",        "norm1",         "norm1" } },
    { "in_layers.2",     { "conv1",        "conv1",         "conv1" } },
    { "emb_layers.1",    { "temb_proj",    "time_emb_proj", "time_emb_proj" } },
    { "out_layers.0",    { "norm2",        "norm2",         "norm2" } },
    { "out_layers.3",    { "conv2",        "conv2",         "conv2" } },
    { "skip_connection", { "nin_shortcut", "conv_shortcut", "conv_shortcut" } },
    { "norm",            { "norm",         "group_norm",    "group_norm" } },
    { "proj_out",        { "proj_out",     "to_out.0",      "proj_attn" } },
    { "op",              { "conv",         "conv",          "conv" } },
    { "conv",            { "conv",         "conv",          "conv" } },
    { 0 }
};

static const char *const QKV[3][3] = { { "q", "k", "v" }, { "to_q", "to_k", "to_v" }, { "query", "key", "value" } };

static const char *find(const row *table, const char *name, int column)
{
    for (; table->openai; table++)
        if (!strcmp(table->openai, name)) return table->other[column];
    return NULL;
}

/* Where a block sits: "input_blocks.N.K." and so on, in the other code base's words. */
static bool place(const names_net *net, bool ermon, const char *module, char *out, size_t size, const char **leaf)
{
    const int per = net->num_res_blocks + 1;
    int n, k, used = 0;
    if (sscanf(module, "input_blocks.%d.%d.%n", &n, &k, &used) == 2 && used) {
        const int level = (n - 1) / per, j = (n - 1) % per;
        const bool down = j == net->num_res_blocks;           /* the last of a level halves the image */
        if (n < 1 || level >= net->levels || (down && k)) return false;
        if (down) snprintf(out, size, ermon ? "down.%d.downsample." : "down_blocks.%d.downsamplers.0.", level);
        else snprintf(out, size, ermon ? (k ? "down.%d.attn.%d." : "down.%d.block.%d.") : (k ? "down_blocks.%d.attentions.%d." : "down_blocks.%d.resnets.%d."),
                      level, j);
    } else if (sscanf(module, "middle_block.%d.%n", &k, &used) == 1 && used) {
        if (k < 0 || k > 2) return false;
        if (ermon) snprintf(out, size, k == 1 ? "mid.attn_1." : "mid.block_%d.", k / 2 + 1);
        else snprintf(out, size, k == 1 ? "mid_block.attentions.0." : "mid_block.resnets.%d.", k / 2);
    } else if (sscanf(module, "output_blocks.%d.%d.%n", &n, &k, &used) == 2 && used) {
        const int up = n / per, j = n % per;
        const char *rest = module + used;
        const bool conv = !strncmp(rest, "conv", 4) || k == 2 || (k == 1 && strncmp(rest, "norm", 4) && strncmp(rest, "qkv", 3) && strncmp(rest, "proj_out", 8));
        if (up >= net->levels) return false;
        if (conv) snprintf(out, size, ermon ? "up.%d.upsample." : "up_blocks.%d.upsamplers.0.", ermon ? net->levels - 1 - up : up);
        else snprintf(out, size, ermon ? (k ? "up.%d.attn.%d." : "up.%d.block.%d.") : (k ? "up_blocks.%d.attentions.%d." : "up_blocks.%d.resnets.%d."),
                      ermon ? net->levels - 1 - up : up, j);
    } else {
        return false;
    }
    *leaf = module + used;
    return true;
}

ddpm_status names_of(const names_net *net, names_style style, const char *openai, char names[3][NAMES_SIZE], int *count)
{
    *count = 1;
    if (style == NAMES_OPENAI) {
        snprintf(names[0], NAMES_SIZE, "%s", openai);
        return DDPM_OK;
    }
    char module[NAMES_SIZE], prefix[NAMES_SIZE];
    snprintf(module, sizeof module, "%s", openai);
    char *dot = strrchr(module, '.');
    const char *kind = dot ? openai + (dot - module) : "";
    if (dot) *dot = 0;
    const int column = (int)style - 1;
    const char *whole = find(FIXED, module, column), *leaf = NULL;
    if (whole) {
        snprintf(names[0], NAMES_SIZE, "%s%s", whole, kind);
        return DDPM_OK;
    }
    if (!place(net, style == NAMES_ERMONGROUP, module, prefix, sizeof prefix, &leaf))
        return ddpm_fail(DDPM_EINVAL, "tensor %s has no counterpart in this naming", openai);
    *count = strcmp(leaf, "qkv") ? 1 : 3;
    for (int i = 0; i < *count; i++) {
        const char *part = *count == 3 ? QKV[column][i] : find(LEAVES, leaf, column);
        if (!part) return ddpm_fail(DDPM_EINVAL, "tensor %s has no counterpart in this naming", openai);
        if (snprintf(names[i], NAMES_SIZE, "%s%s%s", prefix, part, kind) >= NAMES_SIZE)
            return ddpm_fail(DDPM_EINVAL, "tensor name %s is too long", openai);
    }
    return DDPM_OK;
}
