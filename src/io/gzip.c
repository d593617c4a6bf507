#include "io/gzip.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "io/file.h"

/* Output that grows by doubling and never beyond `max`. One byte more than `max` is
 * kept so that "exactly max" and "more" can be told apart. */
typedef struct {
    uint8_t *bytes;
    size_t len, room, max;
} output;

static ddpm_status output_grow(output *o, const char *path)
{
    if (o->len > o->max)
        return ddpm_fail(DDPM_EFORMAT, "%s inflates to more than the %zu bytes expected at most", path, o->max);
    if (o->len < o->room) return DDPM_OK;
    size_t room = o->room < 65536 ? 65536 : 2 * o->room;
    if (room > o->max) room = o->max + 1;
    uint8_t *grown = realloc(o->bytes, room + 1);
    if (!grown) return ddpm_fail(DDPM_ENOMEM, "no memory for the %zu bytes inflated from %s", room, path);
    o->bytes = grown;
    o->room = room;
    return DDPM_OK;
}

static uInt at_most(size_t n)
{
    return n > 1u << 30 ? 1u << 30 : (uInt)n;
}

/* One gzip member from z->next_in; *left counts the input bytes. */
static ddpm_status inflate_member(z_stream *z, size_t *left, output *o, const char *path)
{
    for (int code = Z_OK; code != Z_STREAM_END;) {
        DDPM_TRY(output_grow(o, path));
        const uInt in = at_most(*left), out = at_most(o->room - o->len);
        z->avail_in = in;
        z->next_out = o->bytes + o->len;
        z->avail_out = out;
        code = inflate(z, Z_NO_FLUSH);
        *left -= in - z->avail_in;
        o->len += out - z->avail_out;
        if (code == Z_MEM_ERROR) return ddpm_fail(DDPM_ENOMEM, "no memory to inflate %s", path);
        if (code == Z_BUF_ERROR && *left == 0) return ddpm_fail(DDPM_EFORMAT, "%s is truncated", path);
        if (code != Z_OK && code != Z_BUF_ERROR && code != Z_STREAM_END)
            return ddpm_fail(DDPM_EFORMAT, "%s: damaged gzip data: %s", path, z->msg ? z->msg : "unknown");
    }
    return o->len > o->max ? output_grow(o, path) : DDPM_OK;
}

static ddpm_status inflate_members(const file_map *map, output *o, const char *path)
{
    z_stream z = { 0 };
    if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) return ddpm_fail(DDPM_ENOMEM, "no memory to inflate %s", path);
    z.next_in = (z_const Bytef *)(uintptr_t)map->data;
    size_t left = map->size;
    ddpm_status s = DDPM_OK;
    while (s == DDPM_OK && left > 0) {
        s = inflate_member(&z, &left, o, path);
        if (s == DDPM_OK) inflateReset(&z);
    }
    inflateEnd(&z);
    return s;
}

ddpm_status gzip_read_all(const char *path, size_t max_bytes, uint8_t **bytes, size_t *len)
{
    *bytes = NULL;
    *len = 0;
    file_map map;
    DDPM_TRY(file_map_open(path, &map));
    if (map.size < 2 || map.data[0] != 0x1f || map.data[1] != 0x8b) {
        file_map_close(&map);
        return file_read_all(path, max_bytes, bytes, len);
    }
    output o = { .max = max_bytes };
    const ddpm_status s = inflate_members(&map, &o, path);
    file_map_close(&map);
    if (s != DDPM_OK) {
        free(o.bytes);
        return s;
    }
    o.bytes[o.len] = 0;
    *bytes = o.bytes;
    *len = o.len;
    return DDPM_OK;
}
