#include "io/npz.h"

#include <assert.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/checked.h"
#include "io/file.h"
#include "io/zip_write.h"

struct npz_writer { zip_writer *zip; };

enum { NPY_HEADER_MAX = 512, COPY_BYTES = 1 << 20 };

ddpm_status npz_writer_open(const char *path, npz_writer **w)
{
    *w = calloc(1, sizeof **w);
    if (!*w) return ddpm_fail(DDPM_ENOMEM, "no memory to write %s", path);
    const ddpm_status s = zip_writer_open(path, &(*w)->zip);
    if (s != DDPM_OK) {
        free(*w);
        *w = NULL;
    }
    return s;
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

/* An array as a record of the zip. */
typedef struct { char name[ZIP_WRITER_MAX_NAME], header[NPY_HEADER_MAX]; size_t header_len, bytes, size; } npy_record;

static ddpm_status describe(const npz_writer *w, const char *name, const char *descr, const int64_t *shape, int ndim, npy_record *r)
{
    const int len = snprintf(r->name, sizeof r->name, "%s.npy", name);
    if (len < 5 || (size_t)len >= sizeof r->name || strchr(name, '/'))
        return ddpm_fail(DDPM_EINVAL, "\"%.100s\" cannot be the name of an array", name);
    const bool fits = array_bytes(descr, shape, ndim, &r->bytes);
    r->header_len = npy_header(descr, shape, ndim, r->header);
    if (!fits || !checked_add(r->header_len, r->bytes, &r->size)) return ddpm_fail(DDPM_EINVAL, "array \"%s\" is too large", name);
    return zip_writer_fits(w->zip, r->name, r->size);
}

static uint32_t crc_of(uint32_t crc, const void *data, size_t bytes) { return bytes ? (uint32_t)crc32_z(crc, data, bytes) : crc; }

/* All before the data, which have this CRC and must follow. */
static ddpm_status begin_record(npz_writer *w, const npy_record *r, uint32_t data_crc)
{
    const uLong crc = crc32_combine(crc_of(0, r->header, r->header_len), data_crc, (z_off_t)r->bytes);
    DDPM_TRY(zip_writer_add(w->zip, r->name, (uint32_t)crc, r->size, 1));
    return zip_writer_data(w->zip, r->header, r->header_len);
}

ddpm_status npz_writer_add(npz_writer *w, const char *name, const char *descr,
                           const int64_t *shape, int ndim, const void *data)
{
    npy_record r;
    DDPM_TRY(describe(w, name, descr, shape, ndim, &r));
    DDPM_TRY(begin_record(w, &r, crc_of(0, data, r.bytes)));
    return zip_writer_data(w->zip, data, r.bytes);
}

/* --- arrays that grow ------------------------------------------------------------------ */

struct npz_rows {
    char     path[4096];         /* of the .npz, for sentences */
    FILE    *file;
    char     descr[4];
    int64_t  columns, n;
    size_t   row_bytes;
    uint32_t crc;
};

static ddpm_status open_unnamed(npz_rows *r)
{
    char name[sizeof r->path + 16];
    snprintf(name, sizeof name, "%s.rows-XXXXXX", r->path);
    const int fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0) return file_fail("making a file beside", r->path);
    unlink(name);
    r->file = fdopen(fd, "w+b");
    if (r->file) return DDPM_OK;
    close(fd);
    return ddpm_fail(DDPM_ENOMEM, "no memory to write %s", r->path);
}

ddpm_status npz_rows_new(const char *path, const char *descr, int64_t columns, npz_rows **r)
{
    npz_rows *made = calloc(1, sizeof *made);
    if (!made) return ddpm_fail(DDPM_ENOMEM, "no memory to write %s", path);
    *made = (npz_rows){ .columns = columns, .row_bytes = (size_t)(descr[2] - '0') * (size_t)(columns ? columns : 1) };
    snprintf(made->path, sizeof made->path, "%s", path);
    memcpy(made->descr, descr, sizeof made->descr);
    const ddpm_status status = open_unnamed(made);
    if (status == DDPM_OK) *r = made;
    else npz_rows_free(made);
    return status;
}

void npz_rows_free(npz_rows *r)
{
    if (!r) return;
    if (r->file) fclose(r->file);
    free(r);
}

ddpm_status npz_rows_add(npz_rows *r, const void *data, int64_t n)
{
    const size_t bytes = (size_t)n * r->row_bytes;
    if (fwrite(data, 1, bytes, r->file) != bytes) return file_fail("writing beside", r->path);
    r->crc = crc_of(r->crc, data, bytes);
    r->n += n;
    return DDPM_OK;
}

static ddpm_status copy_rows(npz_writer *w, npz_rows *r, size_t bytes, char *buffer)
{
    if (fflush(r->file) || fseek(r->file, 0, SEEK_SET)) return file_fail("writing beside", r->path);
    for (size_t done = 0; done < bytes; ) {
        const size_t some = bytes - done < COPY_BYTES ? bytes - done : COPY_BYTES;
        if (fread(buffer, 1, some, r->file) != some) return file_fail("reading what lies beside", r->path);
        DDPM_TRY(zip_writer_data(w->zip, buffer, some));
        done += some;
    }
    return DDPM_OK;
}

ddpm_status npz_writer_add_rows(npz_writer *w, const char *name, npz_rows *r)
{
    npy_record record;
    DDPM_TRY(describe(w, name, r->descr, (int64_t[]){ r->n, r->columns }, r->columns ? 2 : 1, &record));
    DDPM_TRY(begin_record(w, &record, r->crc));
    char *buffer = malloc(COPY_BYTES);
    if (!buffer) return ddpm_fail(DDPM_ENOMEM, "no memory to write %s", r->path);
    const ddpm_status status = copy_rows(w, r, record.bytes, buffer);
    free(buffer);
    return status;
}

ddpm_status npz_writer_finish(npz_writer *w)
{
    const ddpm_status s = zip_writer_finish(w->zip);
    free(w);
    return s;
}

void npz_writer_abort(npz_writer *w)
{
    if (!w) return;
    zip_writer_abort(w->zip);
    free(w);
}
