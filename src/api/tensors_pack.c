/* Tensors from anywhere as one safetensors image in memory, which the rest reads like a file. */
#include "api/checkpoint_parts.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

static ddpm_status add_entry(json *header, const safetensors_tensor *t, size_t begin)
{
    json *entry = json_new_object(), *shape = json_new_array(), *place = json_new_array();
    const ddpm_status added = json_put(header, t->name, entry);
    ddpm_status s = json_put_string(entry, "dtype", safetensors_dtype_name(t->dtype));
    for (int i = 0; i < t->ndim && s == DDPM_OK; i++) s = json_append(shape, json_new_int(t->shape[i]));
    if (s == DDPM_OK) s = json_append(place, json_new_int((int64_t)begin));
    if (s == DDPM_OK) s = json_append(place, json_new_int((int64_t)(begin + t->bytes)));
    const ddpm_status puts[] = { added, s, json_put(entry, "shape", shape), json_put(entry, "data_offsets", place) };
    for (size_t i = 0; i < sizeof puts / sizeof *puts; i++) DDPM_TRY(puts[i]);
    return DDPM_OK;
}

static ddpm_status make_header(const safetensors_tensor *list, int count, char **text, size_t *data)
{
    json *header = json_new_object();
    ddpm_status s = header ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the names of %d tensors", count);
    *data = 0;
    for (int i = 0; i < count && s == DDPM_OK; i++) {
        s = add_entry(header, &list[i], *data);
        if (s == DDPM_OK && !checked_add(*data, list[i].bytes, data)) s = ddpm_fail(DDPM_EFORMAT, "tensors of more bytes than can be addressed");
    }
    *text = s == DDPM_OK ? json_text(header, JSON_COMPACT) : NULL;
    json_free(header);
    if (s == DDPM_OK && !*text) s = ddpm_fail(DDPM_ENOMEM, "no memory for the names of %d tensors", count);
    return s;
}

static ddpm_status fill(const safetensors_tensor *list, int count, safetensors_produce produce, void *ctx, const char *header, uint8_t *to)
{
    const uint64_t header_len = strlen(header);
    memcpy(to, &header_len, sizeof header_len);
    memcpy(to + sizeof header_len, header, header_len);
    to += sizeof header_len + header_len;
    for (int i = 0; i < count; i++) {
        DDPM_TRY(produce(ctx, i, to));
        to += list[i].bytes;
    }
    return DDPM_OK;
}

ddpm_status tensors_pack(const safetensors_tensor *list, int count, const char *where, safetensors_produce produce, void *ctx, uint8_t **bytes, safetensors **st)
{
    char *header = NULL;
    size_t data, len;
    ddpm_status s = make_header(list, count, &header, &data);
    if (s == DDPM_OK && !checked_add(data, strlen(header) + sizeof(uint64_t), &len)) s = ddpm_fail(DDPM_EFORMAT, "%s: too large", where);
    if (s == DDPM_OK && !(*bytes = malloc(len))) s = ddpm_fail(DDPM_ENOMEM, "no memory for the %zu bytes of tensors in %s", data, where);
    if (s == DDPM_OK) s = fill(list, count, produce, ctx, header, *bytes);
    if (s == DDPM_OK) s = safetensors_open_memory(*bytes, len, where, st);
    free(header);
    return s;
}
