#include "io/torch_zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/checked.h"

enum {
    LOCAL_SIZE = 30, CENTRAL_SIZE = 46, END_SIZE = 22, END64_SIZE = 56, LOCATOR_SIZE = 20,
    LOCAL_SIG = 0x04034b50, CENTRAL_SIG = 0x02014b50, END_SIG = 0x06054b50, END64_SIG = 0x06064b50, LOCATOR_SIG = 0x07064b50,
    DESCRIPTOR_SIG = 0x08074b50,
    MAX_COMMENT = 65535, METHOD_DEFLATE = 8, FLAG_LEVEL = 3 << 1, FLAG_DESCRIPTOR = 1 << 3, FLAG_UTF8 = 1 << 11, EXTRA_ZIP64 = 1
};

static const uint64_t ZIP_LONG = 0xffffffff;     /* the number stands in the zip64 field instead */

static uint64_t get(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

static ddpm_status damaged(const torch_zip *zip, size_t offset, const char *what)
{
    return ddpm_fail(DDPM_EFORMAT, "%s: %s (offset %zu); the zip is truncated or damaged", zip->where, what, offset);
}

/* --- the end of the file -------------------------------------------------------------- */

typedef struct { uint64_t count, size, offset, end; } directory;

/* Fields of the 32-bit record may say "see zip64" but not something else. */
static bool agrees(uint64_t narrow, uint64_t wide, int bytes)
{
    return narrow == wide || narrow == ZIP_LONG >> (32 - 8 * bytes);
}

static ddpm_status read_end64(const torch_zip *zip, size_t end, directory *d)
{
    const size_t at = end - LOCATOR_SIZE;
    const uint8_t *locator = zip->bytes + at, *e = zip->bytes + end;
    const uint64_t where = get(locator + 8, 8);
    if (get(locator + 4, 4) || get(locator + 16, 4) > 1) return damaged(zip, at, "the archive claims to have several parts");
    if (where > at || at - where < END64_SIZE) return damaged(zip, at, "the zip64 end record lies outside the file");
    const uint8_t *r = zip->bytes + where;
    if (get(r, 4) != END64_SIG || get(r + 4, 8) != at - where - 12) return damaged(zip, where, "the zip64 end record is wrong");
    *d = (directory){ get(r + 32, 8), get(r + 40, 8), get(r + 48, 8), where };
    if (get(r + 16, 4) || get(r + 20, 4) || get(r + 24, 8) != d->count) return damaged(zip, where, "the archive claims to have several parts");
    if (!agrees(get(e + 10, 2), d->count, 2) || !agrees(get(e + 12, 4), d->size, 4) || !agrees(get(e + 16, 4), d->offset, 4))
        return damaged(zip, end, "the end record contradicts the zip64 end record");
    return DDPM_OK;
}

/* An end record whose comment fills the rest of the file. */
static bool is_end(const torch_zip *zip, size_t at) { return get(zip->bytes + at, 4) == END_SIG && get(zip->bytes + at + 20, 2) == zip->len - at - END_SIZE; }

/* Programs put comments behind their zips, PyTorch does not. */
static size_t find_end(const torch_zip *zip)
{
    const size_t last = zip->len - END_SIZE, room = zip->may_deflate ? MAX_COMMENT : 0;
    for (size_t at = last; ; at--) {
        if (is_end(zip, at)) return at;
        if (!at || last - at == room) return last;
    }
}

static ddpm_status read_end(const torch_zip *zip, directory *d)
{
    if (zip->len < END_SIZE) return damaged(zip, zip->len, "the file is too short");
    const size_t at = find_end(zip);
    const uint8_t *e = zip->bytes + at;
    if (!is_end(zip, at)) return damaged(zip, at, "the file does not end with a zip's end record");
    if (get(e + 4, 4) || get(e + 8, 2) != get(e + 10, 2)) return damaged(zip, at, "the archive claims to have several parts");
    *d = (directory){ get(e + 10, 2), get(e + 12, 4), get(e + 16, 4), at };
    if (at >= LOCATOR_SIZE && get(e - LOCATOR_SIZE, 4) == LOCATOR_SIG) DDPM_TRY(read_end64(zip, at, d));
    if (d->offset > d->end || d->end - d->offset != d->size) return damaged(zip, at, "the central directory does not lie before its end record");
    if (d->count > d->size / CENTRAL_SIZE) return damaged(zip, at, "the central directory is shorter than its number of records");
    return DDPM_OK;
}

/* --- one record ------------------------------------------------------------------------ */

static ddpm_status check_name(const torch_zip *zip, const zip_entry *e, size_t at)
{
    bool good = e->name_len && e->name[0] != '/';
    for (size_t i = 0; i < e->name_len && good; i++) {
        const char c = e->name[i];
        const bool part = i == 0 || e->name[i - 1] == '/';
        const bool plain = c >= ' ' && c < 127 && c != ':', wide = zip->may_deflate && ((unsigned char)c > 127 || c == ':');
        good = (plain || wide) && c != '\\' && !(part && c == '/');
        if (part && c == '.' && i + 1 < e->name_len && e->name[i + 1] == '.') good = false;
    }
    return good ? DDPM_OK : damaged(zip, at, "the name of a record is empty, absolute, climbing or not plain ASCII");
}

/* Sizes and offset of 32 bits that say "long" stand in the zip64 field, in this order. */
static ddpm_status read_zip64(const torch_zip *zip, size_t at, const uint8_t *extra, size_t len, uint64_t *values[3])
{
    const uint8_t *field = NULL;
    size_t field_len = 0;
    for (size_t i = 0; i + 4 <= len; ) {
        const size_t n = (size_t)get(extra + i + 2, 2);
        if (n > len - i - 4) return damaged(zip, at, "an extra field leaves its record");
        if (get(extra + i, 2) == EXTRA_ZIP64) {
            if (field) return damaged(zip, at, "a record has two zip64 fields");
            field = extra + i + 4;
            field_len = n;
        }
        i += 4 + n;
    }
    for (int k = 0; k < 3; k++) {
        if (!values[k] || *values[k] != ZIP_LONG) continue;
        if (field_len < 8) return damaged(zip, at, "the zip64 field of a record is missing or too short");
        *values[k] = get(field, 8);
        field += 8;
        field_len -= 8;
    }
    return DDPM_OK;
}

static ddpm_status check_kind(const torch_zip *zip, size_t at, uint64_t flags, uint64_t method)
{
    if (flags & 0x2041) return ddpm_fail(DDPM_EFORMAT, "%s: a record is encrypted (offset %zu)", zip->where, at);
    const bool deflated = zip->may_deflate && method == METHOD_DEFLATE;
    if (flags & ~(uint64_t)(FLAG_DESCRIPTOR | FLAG_UTF8 | (deflated ? FLAG_LEVEL : 0)))
        return damaged(zip, at, "a record has flags that PyTorch and numpy do not set");
    if (method == 0 || deflated) return DDPM_OK;
    if (zip->may_deflate)
        return ddpm_fail(DDPM_EFORMAT, "%s: a record is compressed in an unknown way (method %d, offset %zu); zip the files again, stored or deflated", zip->where, (int)method, at);
    return ddpm_fail(DDPM_EFORMAT, "%s: a record is compressed (method %d, offset %zu); PyTorch stores records as they are", zip->where, (int)method, at);
}

/* What follows the data of a record whose local header was written before its size was known. */
static ddpm_status check_descriptor(const torch_zip *zip, zip_entry *e, size_t limit)
{
    const uint8_t *d = zip->bytes + e->end;
    const size_t room = limit - e->end;
    for (int wide = 0; wide < 2; wide++) {
        const int n = wide ? 8 : 4;
        if (room < (size_t)(8 + 2 * n) || get(d, 4) != DESCRIPTOR_SIG || get(d + 4, 4) != e->crc) continue;
        if (get(d + 8, n) != e->packed || get(d + 8 + n, n) != e->size) continue;
        e->end += (size_t)(8 + 2 * n);
        return DDPM_OK;
    }
    return damaged(zip, e->end, "the sizes behind a record are not those of the directory");
}

/* The local header must tell the same story; data begin behind it. `limit`: of the records. */
static ddpm_status read_local(const torch_zip *zip, zip_entry *e, uint64_t flags, size_t limit)
{
    if (e->begin > limit || limit - e->begin < LOCAL_SIZE) return damaged(zip, e->begin, "a record begins outside the records");
    const uint8_t *h = zip->bytes + e->begin;
    const size_t name_len = (size_t)get(h + 26, 2), extra_len = (size_t)get(h + 28, 2), left = limit - e->begin - LOCAL_SIZE;
    if (get(h, 4) != LOCAL_SIG) return damaged(zip, e->begin, "there is no record where the directory has one");
    if (name_len + extra_len > left || e->packed > left - name_len - extra_len) return damaged(zip, e->begin, "a record is longer than the file");
    if (get(h + 6, 2) != flags || get(h + 8, 2) != (e->deflated ? METHOD_DEFLATE : 0) || name_len != e->name_len || memcmp(h + LOCAL_SIZE, e->name, name_len))
        return damaged(zip, e->begin, "a record's own header contradicts the directory");
    uint64_t packed = get(h + 18, 4), size = get(h + 22, 4);
    DDPM_TRY(read_zip64(zip, e->begin, h + LOCAL_SIZE + name_len, extra_len, (uint64_t *[3]){ &size, &packed, NULL }));
    e->offset = e->begin + LOCAL_SIZE + name_len + extra_len;
    e->end = e->offset + e->packed;
    if (flags & FLAG_DESCRIPTOR && !size && !packed && !get(h + 14, 4)) return check_descriptor(zip, e, limit);
    if (size != e->size || packed != e->packed || get(h + 14, 4) != e->crc)
        return damaged(zip, e->begin, "a record's own sizes contradict the directory");
    return flags & FLAG_DESCRIPTOR ? check_descriptor(zip, e, limit) : DDPM_OK;
}

static ddpm_status read_central(const torch_zip *zip, const directory *d, size_t *at, zip_entry *e)
{
    const uint8_t *h = zip->bytes + *at;
    const size_t left = (size_t)d->end - *at;
    if (left < CENTRAL_SIZE || get(h, 4) != CENTRAL_SIG) return damaged(zip, *at, "the central directory is broken");
    const size_t name_len = (size_t)get(h + 28, 2), extra_len = (size_t)get(h + 30, 2), comment_len = (size_t)get(h + 32, 2);
    const uint64_t flags = get(h + 8, 2);
    uint64_t packed = get(h + 20, 4), size = get(h + 24, 4), begin = get(h + 42, 4);
    if (name_len + extra_len + comment_len > left - CENTRAL_SIZE) return damaged(zip, *at, "the central directory is broken");
    DDPM_TRY(check_kind(zip, *at, flags, get(h + 10, 2)));
    DDPM_TRY(read_zip64(zip, *at, h + CENTRAL_SIZE + name_len, extra_len, (uint64_t *[3]){ &size, &packed, &begin }));
    const bool deflated = get(h + 10, 2) == METHOD_DEFLATE;
    if ((size != packed && !deflated) || get(h + 34, 2)) return damaged(zip, *at, "a stored record has two sizes, or lies in another part");
    *e = (zip_entry){ .name = (const char *)h + CENTRAL_SIZE, .name_len = name_len, .size = size, .packed = packed, .begin = begin, .deflated = deflated, .crc = (uint32_t)get(h + 16, 4) };
    DDPM_TRY(check_name(zip, e, *at));
    *at += CENTRAL_SIZE + name_len + extra_len + comment_len;
    return read_local(zip, e, flags, (size_t)d->offset);
}

/* --- all records ------------------------------------------------------------------------- */

static int compare_place(const void *a, const void *b)
{
    const zip_entry *s = a, *t = b;
    return (s->begin > t->begin) - (s->begin < t->begin);
}

static int compare_text(const char *a, size_t n, const char *b, size_t m)
{
    const int c = memcmp(a, b, n < m ? n : m);
    return c ? c : (n > m) - (n < m);
}

static int compare_name(const void *a, const void *b)
{
    const zip_entry *s = a, *t = b;
    return compare_text(s->name, s->name_len, t->name, t->name_len);
}

static ddpm_status read_all(torch_zip *zip, const directory *d)
{
    size_t at = (size_t)d->offset;
    for (; zip->count < d->count; zip->count++) DDPM_TRY(read_central(zip, d, &at, &zip->entries[zip->count]));
    if (at != d->end) return damaged(zip, at, "the central directory is longer than its records");
    if (zip->count < 2) return DDPM_OK;
    qsort(zip->entries, zip->count, sizeof *zip->entries, compare_place);
    for (size_t i = 1; i < zip->count; i++)
        if (zip->entries[i].begin < zip->entries[i - 1].end) return damaged(zip, zip->entries[i].begin, "two records overlap");
    qsort(zip->entries, zip->count, sizeof *zip->entries, compare_name);
    for (size_t i = 1; i < zip->count; i++)
        if (!compare_name(&zip->entries[i - 1], &zip->entries[i])) return damaged(zip, zip->entries[i].begin, "two records have one name");
    return DDPM_OK;
}

static ddpm_status open_zip(torch_zip *zip)
{
    directory d = { 0 };
    DDPM_TRY(read_end(zip, &d));
    zip->entries = calloc((size_t)d.count + 1, sizeof *zip->entries);
    if (!zip->entries) return ddpm_fail(DDPM_ENOMEM, "no memory for the %zu records of %s", (size_t)d.count, zip->where);
    return read_all(zip, &d);
}

ddpm_status torch_zip_open(const void *bytes, size_t len, const char *where, torch_zip *zip)
{
    *zip = (torch_zip){ .bytes = bytes, .len = len, .where = where };
    return open_zip(zip);
}

ddpm_status torch_zip_open_deflated(const void *bytes, size_t len, const char *where, torch_zip *zip)
{
    *zip = (torch_zip){ .bytes = bytes, .len = len, .where = where, .may_deflate = true };
    return open_zip(zip);
}

void torch_zip_close(torch_zip *zip)
{
    free(zip->entries);
    zip->entries = NULL;
    zip->count = 0;
}

const zip_entry *torch_zip_find(const torch_zip *zip, const char *name)
{
    size_t low = 0, high = zip->count;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const zip_entry *e = &zip->entries[mid];
        const int c = compare_text(e->name, e->name_len, name, strlen(name));
        if (!c) return e;
        if (c < 0) low = mid + 1;
        else high = mid;
    }
    return NULL;
}

/* A fuzzer cannot guess checksums; the parsers behind them must be reached. */
static ddpm_status check_sum(const torch_zip *zip, const zip_entry *e, const uint8_t *bytes)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    return bytes ? DDPM_OK : damaged(zip, e->offset, "a record without bytes");
#else
    if (crc32_z(0, bytes, e->size) == e->crc) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s: the checksum of record %.*s (offset %zu) is wrong; the file is damaged", zip->where,
                     (int)(e->name_len < 100 ? e->name_len : 100), e->name, e->offset);
#endif
}

ddpm_status torch_zip_check(const torch_zip *zip, const zip_entry *e) { return check_sum(zip, e, zip->bytes + e->offset); }

/* The whole of `packed` must give the whole of `out` and nothing more; zlib counts in 32 bits. */
static bool inflate_all(const uint8_t *packed, size_t packed_len, uint8_t *out, size_t len)
{
    static const size_t PIECE = 1 << 30;
    z_stream z = { 0 };
    int state = inflateInit2(&z, -MAX_WBITS);
    if (state != Z_OK) return false;
    size_t in = packed_len, room = len;
    z.next_in = (Bytef *)(uintptr_t)packed;
    z.next_out = out;
    while (state == Z_OK) {
        const uInt give = (uInt)(in < PIECE ? in : PIECE), take = (uInt)(room < PIECE ? room : PIECE);
        z.avail_in = give;
        z.avail_out = take;
        state = inflate(&z, Z_NO_FLUSH);
        in -= give - z.avail_in;
        room -= take - z.avail_out;
        if (state == Z_OK && give == z.avail_in && take == z.avail_out) break;
    }
    inflateEnd(&z);
    return state == Z_STREAM_END && !in && !room;
}

/* DEFLATE makes at most 1032 bytes of one. */
static ddpm_status check_ratio(const torch_zip *zip, const zip_entry *e)
{
    enum { MOST = 1032 };
    return e->size / MOST <= e->packed ? DDPM_OK : damaged(zip, e->offset, "a record claims more bytes than its compressed data can hold");
}

ddpm_status torch_zip_read(const torch_zip *zip, const zip_entry *e, uint8_t **bytes)
{
    *bytes = NULL;
    if (e->deflated) DDPM_TRY(check_ratio(zip, e));
    uint8_t *out = malloc(e->size + 1);
    if (!out) return ddpm_fail(DDPM_ENOMEM, "no memory for %zu bytes of %s", e->size, zip->where);
    ddpm_status status = DDPM_OK;
    if (!e->deflated) memcpy(out, zip->bytes + e->offset, e->size);
    else if (!inflate_all(zip->bytes + e->offset, e->packed, out, e->size)) status = damaged(zip, e->offset, "the compressed data of a record are wrong");
    if (status == DDPM_OK) status = check_sum(zip, e, out);
    out[e->size] = 0;
    if (status == DDPM_OK) *bytes = out;
    else free(out);
    return status;
}
