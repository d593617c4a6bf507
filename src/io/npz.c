#include "io/npz.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/checked.h"
#include "io/file.h"

typedef struct {
    char name[256];                /* with ".npy" */
    uint32_t offset, size, crc;
} npz_entry;

struct npz_writer {
    file_writer *file;
    npz_entry *entries;
    size_t count, room;
};

enum { NPZ_MAX_ENTRIES = 65535, NPY_HEADER_MAX = 512 };

/* Central directory and local headers of the largest possible archive stay below
 * the gap between this and 4 GiB. */
static const uint64_t npz_max_bytes = UINT64_C(0xffffffff) - UINT64_C(65536) * 1200;

ddpm_status npz_writer_open(const char *path, npz_writer **w)
{
    *w = calloc(1, sizeof **w);
    if (!*w) return ddpm_fail(DDPM_ENOMEM, "no memory to write %s", path);
    const ddpm_status s = file_writer_open(path, &(*w)->file);
    if (s != DDPM_OK) {
        free(*w);
        *w = NULL;
    }
    return s;
}

/* Little-endian fields of a zip record, appended to a fixed buffer. */
typedef struct {
    uint8_t bytes[64];
    size_t len;
} record;

static void put(record *r, uint32_t value, size_t bytes)
{
    assert(r->len + bytes <= sizeof r->bytes);
    for (size_t i = 0; i < bytes; i++) r->bytes[r->len++] = (uint8_t)(value >> (8 * i));
}

/* Fields 'version needed' to 'extra length', which both kinds of header share. The
 * date is the earliest of the format: equal arrays give equal files. */
static void put_shared_fields(record *r, const npz_entry *e)
{
    put(r, 20, 2);
    put(r, 0, 2);
    put(r, 0, 2);                                  /* stored         */
    put(r, 0, 2);
    put(r, 1 << 5 | 1, 2);                         /* 1980-01-01     */
    put(r, e->crc, 4);
    put(r, e->size, 4);
    put(r, e->size, 4);
    put(r, (uint32_t)strlen(e->name), 2);
    put(r, 0, 2);
}

static ddpm_status write_record(npz_writer *w, const record *r, const char *name)
{
    DDPM_TRY(file_writer_write(w->file, r->bytes, r->len));
    return name ? file_writer_write(w->file, name, strlen(name)) : DDPM_OK;
}

/* The preamble of a .npy of format 1.0: padded so that data begins at a multiple of
 * 64. Returns its length. */
static size_t npy_header(const char *descr, const int64_t *shape, int ndim, char text[NPY_HEADER_MAX])
{
    char dims[256] = "";
    size_t n = 0;
    for (int i = 0; i < ndim; i++)
        n += (size_t)snprintf(dims + n, sizeof dims - n, i ? " %lld," : "%lld,", (long long)shape[i]);
    if (ndim > 1) dims[n - 1] = 0;
    const int used = snprintf(text + 10, NPY_HEADER_MAX - 10,
                              "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, dims);
    assert(used > 0 && used < NPY_HEADER_MAX - 80);
    const size_t total = (10 + (size_t)used + 1 + 63) / 64 * 64;
    memset(text + 10 + used, ' ', total - 10 - (size_t)used - 1);
    text[total - 1] = '\n';
    memcpy(text, "\x93NUMPY\x01\x00", 8);
    text[8] = (char)((total - 10) & 0xff);
    text[9] = (char)((total - 10) >> 8);
    return total;
}

static bool array_bytes(const char *descr, const int64_t *shape, int ndim, size_t *bytes)
{
    static const char *const known[] = { "|u1", "|i1", "<i4", "<i8", "<f2", "<f4", "<f8" };
    bool ok = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) ok |= strcmp(descr, known[i]) == 0;
    assert(ok && ndim >= 0 && ndim <= 8);
    *bytes = (size_t)(descr[2] - '0');
    for (int i = 0; i < ndim; i++) ok = ok && shape[i] >= 0 && checked_mul(*bytes, (size_t)shape[i], bytes);
    return ok;
}

static ddpm_status new_entry(npz_writer *w, const char *name, npz_entry **e)
{
    if (w->count == w->room) {
        const size_t room = w->room ? 2 * w->room : 16;
        npz_entry *grown = reallocarray(w->entries, room, sizeof *grown);
        if (!grown) return ddpm_fail(DDPM_ENOMEM, "no memory for array \"%s\"", name);
        w->entries = grown;
        w->room = room;
    }
    *e = &w->entries[w->count];
    **e = (npz_entry){ 0 };
    const int len = snprintf((*e)->name, sizeof (*e)->name, "%s.npy", name);
    if (len < 5 || (size_t)len >= sizeof (*e)->name || strchr(name, '/'))
        return ddpm_fail(DDPM_EINVAL, "\"%.100s\" cannot be the name of an array", name);
    for (size_t i = 0; i < w->count; i++)
        if (strcmp(w->entries[i].name, (*e)->name) == 0)
            return ddpm_fail(DDPM_EINVAL, "array \"%s\" is written twice", name);
    return DDPM_OK;
}

ddpm_status npz_writer_add(npz_writer *w, const char *name, const char *descr,
                           const int64_t *shape, int ndim, const void *data)
{
    size_t bytes;
    const bool fits = array_bytes(descr, shape, ndim, &bytes);
    const uint64_t offset = file_writer_offset(w->file);
    if (!fits || bytes > npz_max_bytes || offset + bytes > npz_max_bytes || w->count >= NPZ_MAX_ENTRIES)
        return ddpm_fail(DDPM_EINVAL, "array \"%s\" does not fit: an .npz is limited to 4 GiB and %d arrays", name,
                         NPZ_MAX_ENTRIES);
    npz_entry *e = NULL;
    DDPM_TRY(new_entry(w, name, &e));
    char header[NPY_HEADER_MAX];
    const size_t header_len = npy_header(descr, shape, ndim, header);
    e->offset = (uint32_t)offset;
    e->size = (uint32_t)(header_len + bytes);
    e->crc = (uint32_t)crc32_z(crc32_z(0, NULL, 0), (const Bytef *)header, header_len);
    if (bytes > 0) e->crc = (uint32_t)crc32_z(e->crc, data, bytes);
    record r = { 0 };
    put(&r, 0x04034b50, 4);
    put_shared_fields(&r, e);
    DDPM_TRY(write_record(w, &r, e->name));
    DDPM_TRY(file_writer_write(w->file, header, header_len));
    DDPM_TRY(file_writer_write(w->file, data, bytes));
    w->count++;
    return DDPM_OK;
}

static ddpm_status write_directory(npz_writer *w)
{
    const uint32_t begin = (uint32_t)file_writer_offset(w->file);
    for (size_t i = 0; i < w->count; i++) {
        const npz_entry *e = &w->entries[i];
        record r = { 0 };
        put(&r, 0x02014b50, 4);
        put(&r, 3 << 8 | 20, 2);                   /* made on Unix   */
        put_shared_fields(&r, e);
        put(&r, 0, 2);
        put(&r, 0, 2);
        put(&r, 0, 2);
        put(&r, 0100644u << 16, 4);
        put(&r, e->offset, 4);
        DDPM_TRY(write_record(w, &r, e->name));
    }
    record r = { 0 };
    put(&r, 0x06054b50, 4);
    put(&r, 0, 4);
    put(&r, (uint32_t)w->count, 2);
    put(&r, (uint32_t)w->count, 2);
    put(&r, (uint32_t)file_writer_offset(w->file) - begin, 4);
    put(&r, begin, 4);
    put(&r, 0, 2);
    return write_record(w, &r, NULL);
}

ddpm_status npz_writer_finish(npz_writer *w)
{
    const ddpm_status s = write_directory(w);
    if (s != DDPM_OK) {
        npz_writer_abort(w);
        return s;
    }
    const ddpm_status finished = file_writer_finish(w->file);
    free(w->entries);
    free(w);
    return finished;
}

void npz_writer_abort(npz_writer *w)
{
    if (!w) return;
    file_writer_abort(w->file);
    free(w->entries);
    free(w);
}
