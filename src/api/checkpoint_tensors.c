#include "api/checkpoint_parts.h"

#include "base/bf16.h"
#include "io/crc32c.h"
#include "io/torch_write.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- which tensors ------------------------------------------------------------------ */

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

static bool is_fused(const char *name) { return ends_with(name, ".qkv.weight") || ends_with(name, ".qkv.bias"); }

static bool is_attention(const nn_param *p) { return is_fused(p->name) || strstr(p->name, ".proj_out."); }

/* As model/unet.c chooses them. */
static int heads_of(const unet_config *c, const nn_param *p)
{
    const bool up = !strncmp(p->name, "output_blocks.", 14);
    if (c->num_head_channels) return p->shape.c / 3 / c->num_head_channels;
    return up && c->num_heads_upsample ? c->num_heads_upsample : c->num_heads;
}

/* Attention layers are convolutions over a line (OpenAI) or an image (ermongroup), with a kernel of one, or linear (diffusers). */
static void set_shape(stored_tensor *t, names_style style)
{
    t->ndim = nn_param_file_shape(t->p, t->shape);
    if (style != NAMES_OPENAI && is_attention(t->p) && t->ndim == 3) {
        t->ndim = style == NAMES_ERMONGROUP ? 4 : 2;
        t->shape[3] = 1;
    }
    if (t->parts == 3) t->shape[0] /= 3;
    t->len = nn_len(t->p->shape) / (size_t)t->parts;
}

ddpm_status stored_list(const settings *s, const nn_params *layout, names_style style, stored_tensor **list, int *count)
{
    const unet_config c = settings_unet(s);
    const names_net net = { c.levels, c.num_res_blocks };
    *count = 0;
    *list = calloc((size_t)layout->count * 3 + 1, sizeof **list);
    if (!*list) return ddpm_fail(DDPM_ENOMEM, "no memory for the names of %d tensors", layout->count);
    for (int i = 0; i < layout->count; i++) {
        const nn_param *p = &layout->list[i];
        char names[3][NAMES_SIZE];
        int parts;
        const ddpm_status status = names_of(&net, style, p->name, names, &parts);
        if (status != DDPM_OK) {
            free(*list);
            *list = NULL;
            return status;
        }
        for (int part = 0; part < parts; part++) {
            stored_tensor *t = &(*list)[(*count)++];
            *t = (stored_tensor){ .p = p, .part = part, .parts = parts, .heads = heads_of(&c, p), .new_order = c.new_attention_order };
            memcpy(t->name, names[part], NAMES_SIZE);
            set_shape(t, style);
        }
    }
    return DDPM_OK;
}

/* Row of the fused projection that is row j of this part. */
static size_t fused_row(const stored_tensor *t, size_t j)
{
    const size_t rows = (size_t)t->shape[0], d = rows / (size_t)t->heads, part = (size_t)t->part;
    return t->new_order ? part * rows + j : (3 * (j / d) + part) * d + j % d;
}

/* --- writing -------------------------------------------------------------------------- */

/* Room for `count` more tensors. */
static ddpm_status grow(tensor_set *set, int count)
{
    const size_t total = (size_t)set->count + (size_t)count + 1;
    safetensors_tensor *tensors = reallocarray(set->tensors, total, sizeof *tensors);
    if (tensors) set->tensors = tensors;
    stored_tensor *from = reallocarray(set->from, total, sizeof *from);
    if (from) set->from = from;
    const float **slabs = reallocarray(set->slab, total, sizeof *slabs);
    if (slabs) set->slab = slabs;
    return tensors && from && slabs ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the names of %d tensors", count);
}

ddpm_status tensor_set_add(tensor_set *set, const stored_tensor *list, int count, const char *prefix, const float *slab, bool half)
{
    DDPM_TRY(grow(set, count));
    for (int i = 0; i < count; i++) {
        char *name = NULL;
        if (asprintf(&name, "%s%s", prefix, list[i].name) < 0) return ddpm_fail(DDPM_ENOMEM, "no memory for a tensor's name");
        safetensors_tensor *t = &set->tensors[set->count];
        *t = (safetensors_tensor){ .name = name, .dtype = half ? ST_BF16 : ST_F32, .ndim = list[i].ndim, .bytes = list[i].len * (half ? 2 : 4) };
        memcpy(t->shape, list[i].shape, sizeof list[i].shape);
        set->from[set->count] = list[i];
        set->slab[set->count++] = slab;
    }
    return DDPM_OK;
}

ddpm_status tensor_set_add_plain(tensor_set *set, const safetensors_tensor *t)
{
    DDPM_TRY(grow(set, 1));
    set->tensors[set->count] = *t;
    set->tensors[set->count].name = strdup(t->name);
    if (!set->tensors[set->count].name) return ddpm_fail(DDPM_ENOMEM, "no memory for a tensor's name");
    set->from[set->count] = (stored_tensor){ 0 };
    set->slab[set->count++] = NULL;
    return DDPM_OK;
}

void tensor_set_free(tensor_set *set)
{
    for (int i = 0; i < set->count; i++) free((char *)(uintptr_t)set->tensors[i].name);
    free(set->tensors);
    free(set->from);
    free(set->slab);
    free(set->scratch);
    *set = (tensor_set){ 0 };
}

static ddpm_status make_scratch(tensor_set *set)
{
    size_t largest = 1;
    for (int i = 0; i < set->count; i++) {
        const size_t len = set->slab[i] ? nn_len(set->from[i].p->shape) : set->tensors[i].bytes / sizeof(float) + 1;
        if (len > largest) largest = len;
    }
    set->largest = largest;
    set->scratch = reallocarray(NULL, largest, 3 * sizeof *set->scratch);
    return set->scratch ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory to convert a tensor of %zu numbers", largest);
}

static ddpm_status produce(void *ctx, int i, void *buffer)
{
    const tensor_set *set = ctx;
    const stored_tensor *t = &set->from[i];
    float *whole = set->scratch, *part = whole;
    if (!set->slab[i]) {
        memcpy(buffer, set->tensors[i].data, set->tensors[i].bytes);
        return DDPM_OK;
    }
    nn_param_to_file(t->p, set->slab[i] + t->p->offset, whole);
    if (t->parts == 3) {
        const size_t row = t->len / (size_t)t->shape[0];
        part = whole + set->largest;
        for (size_t j = 0; j < (size_t)t->shape[0]; j++) memcpy(part + j * row, whole + fused_row(t, j) * row, row * sizeof *part);
    }
    if (set->tensors[i].dtype == ST_F32) {
        memcpy(buffer, part, t->len * sizeof *part);
        return DDPM_OK;
    }
    bf16 *out = buffer;
    for (size_t k = 0; k < t->len; k++) out[k] = bf16_from_f32(part[k]);
    return DDPM_OK;
}

static ddpm_status put_crc(json *map, const char *name, uint32_t crc)
{
    char hex[16];
    snprintf(hex, sizeof hex, "%08" PRIx32, crc);
    return json_put_string(map, name, hex);
}

/* Checksums stand before the data, so the data are made twice. */
static ddpm_status crc_text(tensor_set *set, const extra_crc *extra, int extra_count, char **text)
{
    json *map = json_new_object();
    void *bytes = set->scratch + 2 * set->largest;
    ddpm_status s = DDPM_OK;
    for (int i = 0; i < extra_count && s == DDPM_OK; i++) s = put_crc(map, extra[i].name, extra[i].crc);
    for (int i = 0; i < set->count && s == DDPM_OK; i++) {
        s = produce(set, i, bytes);
        if (s == DDPM_OK) s = put_crc(map, set->tensors[i].name, crc32c(0, bytes, set->tensors[i].bytes));
    }
    *text = s == DDPM_OK ? json_text(map, JSON_COMPACT) : NULL;
    if (s == DDPM_OK && !*text) s = ddpm_fail(DDPM_ENOMEM, "no memory for the checksums of %d tensors", set->count);
    json_free(map);
    return s;
}

ddpm_status tensor_set_write(tensor_set *set, const char *path, safetensors_meta *meta, int meta_count, const char *crc_key,
                             const extra_crc *extra, int extra_count)
{
    char *text = NULL;
    DDPM_TRY(make_scratch(set));
    DDPM_TRY(crc_text(set, extra, extra_count, &text));
    meta[meta_count] = (safetensors_meta){ crc_key, text };
    const ddpm_status s = safetensors_write_stream(path, set->tensors, set->count, meta, meta_count + 1, produce, set);
    free(text);
    return s;
}

ddpm_status tensor_set_write_torch(tensor_set *set, const char *path)
{
    DDPM_TRY(make_scratch(set));
    return torch_write(path, set->tensors, set->count, produce, set);
}

/* --- reading --------------------------------------------------------------------------- */

/* Dimensions of one at the end say nothing: old files have convolutions where others have matrices. */
static int rank(int ndim, const int64_t *shape)
{
    while (ndim > 0 && shape[ndim - 1] == 1) ndim--;
    return ndim;
}

static ddpm_status check_shape(const safetensors *st, const safetensors_tensor *have, const stored_tensor *want)
{
    const int n = rank(want->ndim, want->shape);
    bool same = rank(have->ndim, have->shape) == n;
    for (int i = 0; i < n && same; i++) same = have->shape[i] == want->shape[i];
    if (same) return DDPM_OK;
    char text[2][128];
    for (int k = 0; k < 2; k++) {
        const int ndim = k ? want->ndim : have->ndim;
        const int64_t *shape = k ? want->shape : have->shape;
        size_t used = 0;
        text[k][0] = 0;
        for (int i = 0; i < ndim && used < sizeof text[k]; i++)
            used += (size_t)snprintf(text[k] + used, sizeof text[k] - used, "%s%" PRId64, i ? "," : "", shape[i]);
    }
    return ddpm_fail(DDPM_EFORMAT, "%s: tensor \"%s\" has the shape [%s], the network needs [%s]", safetensors_path(st), have->name, text[0], text[1]);
}

static ddpm_status check_finite(const safetensors *st, const safetensors_tensor *have, const float *x, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isfinite(x[i]))
            return ddpm_fail(DDPM_EFORMAT, "%s: element %zu of tensor \"%s\" is not a finite number", safetensors_path(st), i, have->name);
    return DDPM_OK;
}

/* One tensor; the last part of a fused projection, or a whole parameter, goes into the slab. */
static ddpm_status read_one(const safetensors *st, const stored_tensor *t, const char *prefix, float *whole, float *part, float *slab)
{
    char name[NAMES_SIZE + 64];
    const safetensors_tensor *have = NULL;
    snprintf(name, sizeof name, "%s%s", prefix, t->name);
    DDPM_TRY(safetensors_need(st, name, &have));
    DDPM_TRY(check_shape(st, have, t));
    float *to = t->parts == 3 ? part : whole;
    const ddpm_status s = safetensors_convert_f32(have, to);
    if (s != DDPM_OK) return ddpm_context(s, "%s: ", safetensors_path(st));
    DDPM_TRY(check_finite(st, have, to, t->len));
    if (t->parts == 3) {
        const size_t row = t->len / (size_t)t->shape[0];
        for (size_t j = 0; j < (size_t)t->shape[0]; j++) memcpy(whole + fused_row(t, j) * row, part + j * row, row * sizeof *part);
    }
    if (t->part == t->parts - 1) nn_param_from_file(t->p, whole, slab + t->p->offset);
    return DDPM_OK;
}

ddpm_status tensors_read(const safetensors *st, const stored_tensor *list, int count, const char *prefix, float *slab, size_t slab_len)
{
    size_t largest = 1;
    for (int i = 0; i < count; i++)
        if (nn_len(list[i].p->shape) > largest) largest = nn_len(list[i].p->shape);
    float *scratch = reallocarray(NULL, largest, 2 * sizeof *scratch);
    if (!scratch) return ddpm_fail(DDPM_ENOMEM, "no memory to read a tensor of %zu numbers", largest);
    memset(slab, 0, slab_len * sizeof *slab);
    ddpm_status s = DDPM_OK;
    for (int i = 0; i < count && s == DDPM_OK; i++) s = read_one(st, &list[i], prefix, scratch, scratch + largest, slab);
    free(scratch);
    return s;
}

/* --- checksums --------------------------------------------------------------------------- */

static ddpm_status check_one(const safetensors *st, const json *map, const char *what, const char *name, uint32_t have)
{
    char hex[16];
    const char *want = json_as_string(json_get(map, name));
    snprintf(hex, sizeof hex, "%08" PRIx32, have);
    if (!want) return ddpm_fail(DDPM_EFORMAT, "%s: there is no checksum of %s\"%.100s\"; the file is damaged", safetensors_path(st), what, name);
    if (strcmp(want, hex))
        return ddpm_fail(DDPM_EFORMAT, "%s: the checksum of %s\"%.100s\" is %s, recorded was %.20s; it is damaged", safetensors_path(st),
                         what, name, hex, want);
    return DDPM_OK;
}

static ddpm_status check_map(const safetensors *st, const json *map, const extra_crc *extra, int extra_count)
{
    const size_t expected = (size_t)safetensors_count(st) + (size_t)extra_count;
    for (int i = 0; i < extra_count; i++) DDPM_TRY(check_one(st, map, "", extra[i].name, extra[i].crc));
    for (int i = 0; i < safetensors_count(st); i++) {
        const safetensors_tensor *t = safetensors_at(st, i);
        DDPM_TRY(check_one(st, map, "tensor ", t->name, safetensors_crc32c(t)));
    }
    if (json_object_len(map) == expected) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s: there are %zu checksums for %zu things; the file is damaged", safetensors_path(st), json_object_len(map), expected);
}

ddpm_status tensors_check(const safetensors *st, const char *key, const extra_crc *extra, int extra_count)
{
    const char *text = safetensors_metadata(st, key);
    if (!text) return ddpm_fail(DDPM_EFORMAT, "%s: the checksums (\"%s\") are missing; the file is damaged or was not written by this program", safetensors_path(st), key);
    json *map = NULL;
    ddpm_status s = json_parse_limit(text, strlen(text), SAFETENSORS_MAX_HEADER, safetensors_path(st), &map);
    if (s == DDPM_OK) s = check_map(st, map, extra, extra_count);
    json_free(map);
    return s;
}
