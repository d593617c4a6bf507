#include "io/npz.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/checked.h"
#include "io/zip_write.h"

struct npz_writer { zip_writer *zip; };

enum { NPY_HEADER_MAX = 512 };

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

ddpm_status npz_writer_add(npz_writer *w, const char *name, const char *descr,
                           const int64_t *shape, int ndim, const void *data)
{
    size_t bytes, size;
    char header[NPY_HEADER_MAX], record[ZIP_WRITER_MAX_NAME];
    const int len = snprintf(record, sizeof record, "%s.npy", name);
    if (len < 5 || (size_t)len >= sizeof record || strchr(name, '/'))
        return ddpm_fail(DDPM_EINVAL, "\"%.100s\" cannot be the name of an array", name);
    const bool fits = array_bytes(descr, shape, ndim, &bytes);
    const size_t header_len = npy_header(descr, shape, ndim, header);
    if (!fits || !checked_add(header_len, bytes, &size)) return ddpm_fail(DDPM_EINVAL, "array \"%s\" is too large", name);
    DDPM_TRY(zip_writer_fits(w->zip, record, size));
    uint32_t crc = (uint32_t)crc32_z(crc32_z(0, NULL, 0), (const Bytef *)header, header_len);
    if (bytes > 0) crc = (uint32_t)crc32_z(crc, data, bytes);
    DDPM_TRY(zip_writer_add(w->zip, record, crc, size, 1));
    DDPM_TRY(zip_writer_data(w->zip, header, header_len));
    return zip_writer_data(w->zip, data, bytes);
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
