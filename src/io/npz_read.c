#include "io/npz.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "io/file.h"
#include "io/torch_zip.h"

enum { NPY_MAGIC = 8, NPY_HEADER_LIMIT = 65536, NAME_SIZE = 256 };

typedef struct { const zip_entry *entry; uint8_t *bytes; } inflated;

struct npz_reader {
    file_map  map;               /* empty when the caller has the bytes */
    char     *where;
    torch_zip zip;
    inflated *kept;              /* one for each record that was inflated */
    size_t    n_kept;
};

/* --- the archive --------------------------------------------------------------------- */

static ddpm_status open_reader(const void *bytes, size_t len, const char *where, npz_reader *r)
{
    r->where = strdup(where);
    if (!r->where) return ddpm_fail(DDPM_ENOMEM, "no memory to read %s", where);
    DDPM_TRY(torch_zip_open_deflated(bytes, len, r->where, &r->zip));
    r->kept = calloc(r->zip.count + 1, sizeof *r->kept);
    return r->kept ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the %zu arrays of %s", r->zip.count, where);
}

ddpm_status npz_reader_open_memory(const void *bytes, size_t len, const char *where, npz_reader **r)
{
    *r = calloc(1, sizeof **r);
    if (!*r) return ddpm_fail(DDPM_ENOMEM, "no memory to read %s", where);
    const ddpm_status status = open_reader(bytes, len, where, *r);
    if (status != DDPM_OK) {
        npz_reader_free(*r);
        *r = NULL;
    }
    return status;
}

ddpm_status npz_reader_open(const char *path, npz_reader **r)
{
    file_map map;
    DDPM_TRY(file_map_open(path, &map));
    const ddpm_status status = npz_reader_open_memory(map.data, map.size, path, r);
    if (status == DDPM_OK) (*r)->map = map;
    else file_map_close(&map);
    return status;
}

void npz_reader_free(npz_reader *r)
{
    if (!r) return;
    for (size_t i = 0; i < r->n_kept; i++) free(r->kept[i].bytes);
    free(r->kept);
    torch_zip_close(&r->zip);
    file_map_close(&r->map);
    free(r->where);
    free(r);
}

int npz_reader_count(const npz_reader *r) { return (int)r->zip.count; }

const char *npz_reader_name(const npz_reader *r, int i, size_t *len)
{
    *len = r->zip.entries[i].name_len;
    return r->zip.entries[i].name;
}

static const zip_entry *find(const npz_reader *r, const char *name)
{
    char full[NAME_SIZE];
    const size_t n = strlen(name);
    if (n + sizeof ".npy" > sizeof full) return NULL;
    memcpy(full, name, n);
    memcpy(full + n, ".npy", sizeof ".npy");
    return torch_zip_find(&r->zip, full);
}

bool npz_reader_has(const npz_reader *r, const char *name) { return find(r, name) != NULL; }

/* --- one record ------------------------------------------------------------------------ */

static ddpm_status bad_record(const npz_reader *r, const zip_entry *e, const char *what)
{
    return ddpm_fail(DDPM_EFORMAT, "%s: array %.*s (offset %zu): %s", r->where, (int)(e->name_len < 100 ? e->name_len : 100), e->name, e->begin, what);
}

static ddpm_status inflate_record(npz_reader *r, const zip_entry *e, const uint8_t **bytes)
{
    for (size_t i = 0; i < r->n_kept; i++)
        if (r->kept[i].entry == e) {
            *bytes = r->kept[i].bytes;
            return DDPM_OK;
        }
    uint8_t *out = NULL;
    DDPM_TRY(torch_zip_read(&r->zip, e, &out));
    r->kept[r->n_kept++] = (inflated){ e, out };
    *bytes = out;
    return DDPM_OK;
}

static ddpm_status record_bytes(npz_reader *r, const zip_entry *e, const uint8_t **bytes)
{
    if (e->deflated) return inflate_record(r, e, bytes);
    *bytes = r->zip.bytes + e->offset;
    return torch_zip_check(&r->zip, e);
}

/* --- the header of an array -------------------------------------------------------------- */

/* A dictionary as Python prints it: {'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), } */
typedef struct { const char *at, *end; } scanner;

static void skip_blanks(scanner *s)
{
    while (s->at < s->end && *s->at == ' ') s->at++;
}

static bool take(scanner *s, const char *word)
{
    const size_t n = strlen(word);
    skip_blanks(s);
    if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n)) return false;
    s->at += n;
    return true;
}

static bool take_descr(scanner *s, npz_array *a)
{
    if (!take(s, "'")) return false;
    const char *end = memchr(s->at, '\'', (size_t)(s->end - s->at));
    if (!end) return false;
    const size_t n = (size_t)(end - s->at);
    if (n == 2 || n == 3) memcpy(a->descr, s->at, n);      /* others stay empty, which is no type */
    s->at = end + 1;
    return true;
}

static bool take_number(scanner *s, int64_t *value)
{
    skip_blanks(s);
    if (s->at == s->end || !isdigit((unsigned char)*s->at) || (*s->at == '0' && s->end - s->at > 1 && isdigit((unsigned char)s->at[1]))) return false;
    for (*value = 0; s->at < s->end && isdigit((unsigned char)*s->at); s->at++)
        if (__builtin_mul_overflow(*value, 10, value) || __builtin_add_overflow(*value, *s->at - '0', value)) return false;
    return true;
}

/* (), (3,), (3, 4), (3, 4,) */
static bool take_shape(scanner *s, npz_array *a)
{
    if (!take(s, "(")) return false;
    bool comma = true;
    for (a->ndim = 0; !take(s, ")"); a->ndim++) {
        if (!comma || a->ndim == NPZ_MAX_DIMS || !take_number(s, &a->shape[a->ndim])) return false;
        comma = take(s, ",");
    }
    return a->ndim != 1 || comma;
}

typedef struct { bool descr, order, shape, fortran; } header_keys;

static bool take_entry(scanner *s, npz_array *a, header_keys *k)
{
    if (!k->descr && take(s, "'descr'")) return k->descr = take(s, ":") && take_descr(s, a);
    if (!k->shape && take(s, "'shape'")) return k->shape = take(s, ":") && take_shape(s, a);
    if (k->order || !take(s, "'fortran_order'") || !take(s, ":")) return false;
    k->fortran = take(s, "True");
    return k->order = k->fortran || take(s, "False");
}

static bool take_header(scanner *s, npz_array *a, header_keys *k)
{
    if (!take(s, "{")) return false;
    while (!take(s, "}"))
        if (!take_entry(s, a, k) || (!take(s, ",") && !(s->at < s->end && *s->at == '}'))) return false;
    skip_blanks(s);
    return k->descr && k->order && k->shape && s->end - s->at == 1 && *s->at == '\n';
}

static bool count_bytes(const npz_array *a, size_t *bytes)
{
    *bytes = (size_t)(a->descr[2] - '0');
    for (int i = 0; i < a->ndim; i++)
        if (!checked_mul(*bytes, (size_t)a->shape[i], bytes)) return false;
    return true;
}

static bool known_type(const char *descr)
{
    static const char *const KNOWN[] = { "|u1", "|i1", "<i4", "<i8", "<f2", "<f4", "<f8" };
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (!strcmp(descr, KNOWN[i])) return true;
    return false;
}

/* Where the header's text lies: 2 bytes of length in format 1.0, 4 in 2.0. */
static bool find_header(const uint8_t *npy, size_t size, scanner *s)
{
    if (size < NPY_MAGIC + 2 || memcmp(npy, "\x93NUMPY", 6) || npy[7] || npy[6] < 1 || npy[6] > 2) return false;
    const size_t wide = npy[6] == 1 ? 2 : 4;
    size_t len = 0;
    if (size < NPY_MAGIC + wide) return false;
    for (size_t i = wide; i-- > 0; ) len = len << 8 | npy[NPY_MAGIC + i];
    if (len > NPY_HEADER_LIMIT || len > size - NPY_MAGIC - wide) return false;
    s->at = (const char *)npy + NPY_MAGIC + wide;
    s->end = s->at + len;
    return true;
}

ddpm_status npz_reader_get(npz_reader *r, const char *name, npz_array *a)
{
    const zip_entry *e = find(r, name);
    const uint8_t *npy = NULL;
    scanner s;
    header_keys k = { 0 };
    if (!e) return ddpm_fail(DDPM_EFORMAT, "%s has no array \"%.100s\"", r->where, name);
    DDPM_TRY(record_bytes(r, e, &npy));
    *a = (npz_array){ 0 };
    if (!find_header(npy, e->size, &s) || !take_header(&s, a, &k)) return bad_record(r, e, "it does not begin with the header of a .npy");
    if (!strcmp(a->descr, "|O")) return bad_record(r, e, "its type is not a number but |O, Python objects that were pickled; those are never loaded");
    if (!known_type(a->descr)) return bad_record(r, e, "its type is not one of u1, i1, i4, i8, f2, f4, f8 in little-endian order");
    if (k.fortran) return bad_record(r, e, "it is in Fortran order; save it again after numpy.ascontiguousarray");
    a->data = (const uint8_t *)s.end;
    if (!count_bytes(a, &a->bytes) || a->bytes != e->size - (size_t)(a->data - npy)) return bad_record(r, e, "its data have another size than its shape says");
    return DDPM_OK;
}
