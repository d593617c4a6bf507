#include "io/zip_write.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"

typedef struct {
    char name[ZIP_WRITER_MAX_NAME];
    uint32_t offset, size, crc;
} zip_record;

struct zip_writer {
    file_writer *file;
    zip_record *records;
    size_t count, room;
};

enum { LOCAL_SIZE = 30, EXTRA_SIZE = 4, MAX_ALIGN = 64 };

/* Central directory and local headers of the largest possible archive stay below
 * the gap between this and 4 GiB. */
static const uint64_t MAX_BYTES = UINT64_C(0xffffffff) - UINT64_C(65536) * 1200;

ddpm_status zip_writer_open(const char *path, zip_writer **w)
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

/* Little-endian fields of a header, appended to a fixed buffer. */
typedef struct {
    uint8_t bytes[64];
    size_t len;
} header;

static void put(header *h, uint32_t value, size_t bytes)
{
    assert(h->len + bytes <= sizeof h->bytes);
    for (size_t i = 0; i < bytes; i++) h->bytes[h->len++] = (uint8_t)(value >> (8 * i));
}

/* Fields 'version needed' to 'extra length', which both kinds of header share. */
static void put_shared_fields(header *h, const zip_record *r, size_t extra)
{
    put(h, 20, 2);
    put(h, 0, 2);
    put(h, 0, 2);                                  /* stored         */
    put(h, 0, 2);
    put(h, 1 << 5 | 1, 2);                         /* 1980-01-01     */
    put(h, r->crc, 4);
    put(h, r->size, 4);
    put(h, r->size, 4);
    put(h, (uint32_t)strlen(r->name), 2);
    put(h, (uint32_t)extra, 2);
}

static ddpm_status write_header(zip_writer *w, const header *h, const char *name)
{
    DDPM_TRY(file_writer_write(w->file, h->bytes, h->len));
    return name ? file_writer_write(w->file, name, strlen(name)) : DDPM_OK;
}

static ddpm_status new_record(zip_writer *w, const char *name, zip_record **r)
{
    if (w->count == w->room) {
        const size_t room = w->room ? 2 * w->room : 16;
        zip_record *grown = reallocarray(w->records, room, sizeof *grown);
        if (!grown) return ddpm_fail(DDPM_ENOMEM, "no memory for record \"%s\"", name);
        w->records = grown;
        w->room = room;
    }
    *r = &w->records[w->count];
    **r = (zip_record){ 0 };
    const int len = snprintf((*r)->name, sizeof (*r)->name, "%s", name);
    if (len < 1 || (size_t)len >= sizeof (*r)->name) return ddpm_fail(DDPM_EINVAL, "\"%.100s\" cannot be the name of a record", name);
    for (size_t i = 0; i < w->count; i++)
        if (strcmp(w->records[i].name, name) == 0) return ddpm_fail(DDPM_EINVAL, "record \"%s\" is written twice", name);
    return DDPM_OK;
}

/* An extra field of the local header, which readers skip, fills the gap in front of the data. */
static ddpm_status write_padding(zip_writer *w, size_t extra)
{
    static const uint8_t zeros[MAX_ALIGN + EXTRA_SIZE];
    header h = { 0 };
    if (!extra) return DDPM_OK;
    put(&h, 'F' | 'B' << 8, 2);                    /* PyTorch's mark of padding */
    put(&h, (uint32_t)(extra - EXTRA_SIZE), 2);
    DDPM_TRY(write_header(w, &h, NULL));
    return file_writer_write(w->file, zeros, extra - EXTRA_SIZE);
}

ddpm_status zip_writer_fits(const zip_writer *w, const char *name, size_t size)
{
    const uint64_t offset = file_writer_offset(w->file);
    if (size <= MAX_BYTES && offset + size <= MAX_BYTES && w->count < ZIP_WRITER_MAX_RECORDS) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "\"%s\" does not fit: the file is limited to 4 GiB and %d records", name, ZIP_WRITER_MAX_RECORDS);
}

ddpm_status zip_writer_add(zip_writer *w, const char *name, uint32_t crc, size_t size, size_t align)
{
    const uint64_t offset = file_writer_offset(w->file), data = offset + LOCAL_SIZE + strlen(name) + EXTRA_SIZE;
    const size_t extra = align > 1 ? EXTRA_SIZE + (size_t)(-data & (align - 1)) : 0;
    assert(align >= 1 && align <= MAX_ALIGN && !(align & (align - 1)));
    DDPM_TRY(zip_writer_fits(w, name, size));
    zip_record *r = NULL;
    DDPM_TRY(new_record(w, name, &r));
    r->offset = (uint32_t)offset;
    r->size = (uint32_t)size;
    r->crc = crc;
    header h = { 0 };
    put(&h, 0x04034b50, 4);
    put_shared_fields(&h, r, extra);
    DDPM_TRY(write_header(w, &h, r->name));
    DDPM_TRY(write_padding(w, extra));
    w->count++;
    return DDPM_OK;
}

ddpm_status zip_writer_data(zip_writer *w, const void *bytes, size_t len) { return file_writer_write(w->file, bytes, len); }

static ddpm_status write_directory(zip_writer *w)
{
    const uint32_t begin = (uint32_t)file_writer_offset(w->file);
    for (size_t i = 0; i < w->count; i++) {
        const zip_record *r = &w->records[i];
        header h = { 0 };
        put(&h, 0x02014b50, 4);
        put(&h, 3 << 8 | 20, 2);                   /* made on Unix   */
        put_shared_fields(&h, r, 0);
        put(&h, 0, 2);
        put(&h, 0, 2);
        put(&h, 0, 2);
        put(&h, 0100644u << 16, 4);
        put(&h, r->offset, 4);
        DDPM_TRY(write_header(w, &h, r->name));
    }
    header h = { 0 };
    put(&h, 0x06054b50, 4);
    put(&h, 0, 4);
    put(&h, (uint32_t)w->count, 2);
    put(&h, (uint32_t)w->count, 2);
    put(&h, (uint32_t)file_writer_offset(w->file) - begin, 4);
    put(&h, begin, 4);
    put(&h, 0, 2);
    return write_header(w, &h, NULL);
}

ddpm_status zip_writer_finish(zip_writer *w)
{
    const ddpm_status s = write_directory(w);
    if (s != DDPM_OK) {
        zip_writer_abort(w);
        return s;
    }
    const ddpm_status finished = file_writer_finish(w->file);
    free(w->records);
    free(w);
    return finished;
}

void zip_writer_abort(zip_writer *w)
{
    if (!w) return;
    file_writer_abort(w->file);
    free(w->records);
    free(w);
}
