#include "io/torch_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "io/file.h"
#include "io/pickle.h"
#include "io/torch_zip.h"

enum { LEGACY_VERSION = 1001, TAR_MAGIC_AT = 257, MAX_ROOT = 512, MAX_RECORD = 640 };

struct torch_file {
    file_map           map;        /* size 0: the bytes are the caller's */
    char              *path;
    const uint8_t     *bytes;
    size_t             len;
    pickle            *p;
    torch_zip          zip;
    const torch_value *root;
};

/* --- storages ---------------------------------------------------------------------------- */

static int compare_storages(const void *a, const void *b)
{
    const torch_storage *const *s = a, *const *t = b;
    return strcmp((*s)->key, (*t)->key);
}

/* Sorted by key; every mention of a key must declare the same. */
static ddpm_status sort_storages(const torch_file *f, torch_storage ***list, size_t *count)
{
    *list = pickle_storages(f->p, count);
    if (*count < 2) return DDPM_OK;
    qsort(*list, *count, sizeof **list, compare_storages);
    for (size_t i = 1; i < *count; i++) {
        const torch_storage *s = (*list)[i - 1], *t = (*list)[i];
        if (!strcmp(s->key, t->key) && (s->dtype != t->dtype || s->len != t->len))
            return ddpm_fail(DDPM_EFORMAT, "%s: storage \"%.60s\" is declared twice and differently", f->path, s->key);
    }
    return DDPM_OK;
}

static ddpm_status storage_bytes(const torch_file *f, const torch_storage *s, size_t *bytes)
{
    if (checked_mul(s->len, torch_dtype_bytes(s->dtype), bytes) && *bytes <= f->len) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s: storage \"%.60s\" is declared with %zu elements, more than the file has room for", f->path, s->key, s->len);
}

/* --- the zip container -------------------------------------------------------------------- */

/* "ROOT" of the one record ROOT/data.pkl. */
static ddpm_status find_root(const torch_file *f, char root[MAX_ROOT])
{
    static const char NAME[] = "/data.pkl";
    const size_t n = sizeof NAME - 1;
    root[0] = 0;
    for (size_t i = 0; i < f->zip.count; i++) {
        const zip_entry *e = &f->zip.entries[i];
        if (e->name_len <= n || e->name_len - n >= MAX_ROOT || memcmp(e->name + e->name_len - n, NAME, n)) continue;
        if (memchr(e->name, '/', e->name_len - n)) continue;
        if (root[0]) return ddpm_fail(DDPM_EFORMAT, "%s: the archive holds two pickles", f->path);
        snprintf(root, MAX_ROOT, "%.*s", (int)(e->name_len - n), e->name);
    }
    return root[0] ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s is a zip, but not PyTorch's: there is no data.pkl in it", f->path);
}

static const zip_entry *find_record(const torch_file *f, const char *root, const char *name)
{
    char path[MAX_RECORD];
    if (snprintf(path, sizeof path, "%s/%s", root, name) >= (int)sizeof path) return NULL;
    return torch_zip_find(&f->zip, path);
}

static ddpm_status check_archive(const torch_file *f, const char *root)
{
    const zip_entry *order = find_record(f, root, "byteorder");
    if (order && (order->size != 6 || memcmp(f->bytes + order->offset, "little", 6)))
        return ddpm_fail(DDPM_EFORMAT, "%s was written with another byte order", f->path);
    if (!find_record(f, root, "constants.pkl")) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s is a TorchScript archive, which holds code; save the state_dict() instead", f->path);
}

static ddpm_status place_in_zip(const torch_file *f, const char *root, torch_storage *s)
{
    size_t bytes;
    char name[MAX_RECORD];
    DDPM_TRY(storage_bytes(f, s, &bytes));
    const int n = snprintf(name, sizeof name, "data/%s", s->key);
    const zip_entry *e = n < (int)sizeof name ? find_record(f, root, name) : NULL;
    if (!e) return ddpm_fail(DDPM_EFORMAT, "%s: there is no record data/%.60s; the file is incomplete", f->path, s->key);
    if (e->size != bytes)
        return ddpm_fail(DDPM_EFORMAT, "%s: storage \"%.60s\" is declared with %zu bytes, its record (offset %zu) has %zu", f->path, s->key, bytes, e->offset, e->size);
    s->data = f->bytes + e->offset;
    return DDPM_OK;
}

static ddpm_status place_all(const torch_file *f, const char *root)
{
    torch_storage **list;
    size_t count;
    DDPM_TRY(sort_storages(f, &list, &count));
    for (size_t i = 0; i < count; i++) DDPM_TRY(place_in_zip(f, root, list[i]));
    return DDPM_OK;
}

static ddpm_status read_zip(torch_file *f)
{
    char root[MAX_ROOT];
    size_t used;
    DDPM_TRY(torch_zip_open(f->bytes, f->len, f->path, &f->zip));
    DDPM_TRY(find_root(f, root));
    DDPM_TRY(check_archive(f, root));
    for (size_t i = 0; i < f->zip.count; i++) DDPM_TRY(torch_zip_check(&f->zip, &f->zip.entries[i]));
    const zip_entry *e = find_record(f, root, "data.pkl");
    if (!e) return ddpm_fail(DDPM_EFORMAT, "%s: the name of the archive inside is too long", f->path);
    DDPM_TRY(pickle_read(f->p, f->bytes + e->offset, e->size, e->offset, &f->root, &used));
    if (used != e->size) return ddpm_fail(DDPM_EFORMAT, "%s: something follows the pickle (offset %zu)", f->path, e->offset + used);
    return place_all(f, root);
}

/* --- the stream of PyTorch before 1.6 ------------------------------------------------------- */

static const uint8_t MAGIC[] = { 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.' };
enum { MAGIC_SIZE = 2 + sizeof MAGIC };          /* behind the protocol */

static bool is_legacy(const uint8_t *b, size_t len)
{
    return len >= MAGIC_SIZE && b[0] == 0x80 && !memcmp(b + 2, MAGIC, sizeof MAGIC);
}

static ddpm_status next_pickle(torch_file *f, size_t *at, const torch_value **root)
{
    size_t used;
    DDPM_TRY(pickle_read(f->p, f->bytes + *at, f->len - *at, *at, root, &used));
    *at += used;
    return DDPM_OK;
}

static ddpm_status read_heading(torch_file *f, size_t *at)
{
    const torch_value *version = NULL, *system = NULL;
    int64_t number;
    bool little;
    DDPM_TRY(next_pickle(f, at, &version));
    if (!torch_as_int(version, &number) || number != LEGACY_VERSION) return ddpm_fail(DDPM_EFORMAT, "%s: its format is not PyTorch's version %d", f->path, LEGACY_VERSION);
    DDPM_TRY(next_pickle(f, at, &system));
    if (torch_as_bool(torch_get(system, "little_endian"), &little) && little) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s was written with another byte order", f->path);
}

/* The next storage of the stream, for every mention of its key in list[count]. */
static ddpm_status place_in_stream(const torch_file *f, const torch_value *key, size_t *at, torch_storage **list, size_t count, size_t *placed)
{
    const torch_storage like = { .key = torch_as_string(key) }, *wanted = &like;
    uint64_t len = 0;
    size_t bytes;
    torch_storage **found = like.key && count ? bsearch(&wanted, list, count, sizeof *list, compare_storages) : NULL;
    if (!found || (*found)->data) return ddpm_fail(DDPM_EFORMAT, "%s: the list of storages names one that is not declared, or one twice", f->path);
    DDPM_TRY(storage_bytes(f, *found, &bytes));
    if (f->len - *at < sizeof len || f->len - *at - sizeof len < bytes)
        return ddpm_fail(DDPM_EFORMAT, "%s: storage \"%.60s\" needs %zu bytes at offset %zu, but the file has %zu; it is truncated", f->path, like.key, bytes, *at, f->len);
    memcpy(&len, f->bytes + *at, sizeof len);
    if (len != (*found)->len)
        return ddpm_fail(DDPM_EFORMAT, "%s: storage \"%.60s\" is declared with %zu elements, stored are %llu (offset %zu)", f->path, like.key, (*found)->len, (unsigned long long)len, *at);
    while (found > list && !compare_storages(found - 1, found)) found--;
    for (; found < list + count && !strcmp((*found)->key, like.key); found++) {
        (*found)->data = f->bytes + *at + sizeof len;
        ++*placed;
    }
    *at += sizeof len + bytes;
    return DDPM_OK;
}

static ddpm_status read_legacy(torch_file *f)
{
    size_t at = MAGIC_SIZE, count, placed = 0;
    const torch_value *keys = NULL;
    torch_storage **list;
    DDPM_TRY(read_heading(f, &at));
    DDPM_TRY(next_pickle(f, &at, &f->root));
    DDPM_TRY(next_pickle(f, &at, &keys));
    DDPM_TRY(sort_storages(f, &list, &count));
    if (torch_kind_of(keys) != TORCH_KIND_LIST) return ddpm_fail(DDPM_EFORMAT, "%s: the list of storages is missing", f->path);
    for (size_t i = 0; i < torch_len(keys); i++) DDPM_TRY(place_in_stream(f, torch_at(keys, i), &at, list, count, &placed));
    if (placed != count) return ddpm_fail(DDPM_EFORMAT, "%s: a storage is declared but not stored", f->path);
    return at == f->len ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s: something follows the last storage (offset %zu)", f->path, at);
}

/* --- opening --------------------------------------------------------------------------------- */

static bool is_zip(const uint8_t *b, size_t len) { return len >= 4 && !memcmp(b, "PK\3\4", 4); }
static bool is_tar(const uint8_t *b, size_t len) { return len >= TAR_MAGIC_AT + 5 && !memcmp(b + TAR_MAGIC_AT, "ustar", 5); }

bool torch_sniff(const void *bytes, size_t len) { return is_zip(bytes, len) || is_legacy(bytes, len) || is_tar(bytes, len); }

static ddpm_status read_any(torch_file *f)
{
    DDPM_TRY(pickle_new(f->path, &f->p));
    if (is_zip(f->bytes, f->len)) return read_zip(f);
    if (is_legacy(f->bytes, f->len)) return read_legacy(f);
    if (is_tar(f->bytes, f->len))
        return ddpm_fail(DDPM_EFORMAT, "%s is a tar, PyTorch's format of 2016, which is not read; load and save it with a newer PyTorch", f->path);
    return ddpm_fail(DDPM_EFORMAT, "%s is not a PyTorch file: neither a zip nor PyTorch's older stream", f->path);
}

static ddpm_status read_arrays(torch_file *f)
{
    size_t used;
    DDPM_TRY(pickle_new(f->path, &f->p));
    pickle_allow_arrays(f->p);
    DDPM_TRY(pickle_read(f->p, f->bytes, f->len, 0, &f->root, &used));
    return used == f->len ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s: something follows the pickle (offset %zu)", f->path, used);
}

static ddpm_status open_map(const file_map *map, const char *where, ddpm_status (*read)(torch_file *f), torch_file **out)
{
    torch_file *f = calloc(1, sizeof *f);
    if (f) f->path = strdup(where);
    if (!f || !f->path) {
        free(f);
        return ddpm_fail(DDPM_ENOMEM, "no memory to open %s", where);
    }
    f->bytes = map->data;
    f->len = map->size;
    const ddpm_status s = read(f);
    if (s != DDPM_OK) {
        torch_close(f);
        return s;
    }
    *out = f;
    return DDPM_OK;
}

ddpm_status torch_open(const char *path, torch_file **f)
{
    file_map map;
    *f = NULL;
    DDPM_TRY(file_map_open(path, &map));
    const ddpm_status s = open_map(&map, path, read_any, f);
    if (s == DDPM_OK) (*f)->map = map;
    else file_map_close(&map);
    return s;
}

ddpm_status torch_open_memory(const void *bytes, size_t len, const char *where, torch_file **f)
{
    const file_map map = { .data = bytes, .size = len };
    *f = NULL;
    return open_map(&map, where, read_any, f);
}

ddpm_status torch_open_arrays(const void *bytes, size_t len, const char *where, torch_file **f)
{
    const file_map map = { .data = bytes, .size = len };
    *f = NULL;
    return open_map(&map, where, read_arrays, f);
}

void torch_close(torch_file *f)
{
    if (!f) return;
    torch_zip_close(&f->zip);
    pickle_free(f->p);
    if (f->map.data) file_map_close(&f->map);
    free(f->path);
    free(f);
}

const torch_value *torch_root(const torch_file *f) { return f->root; }
const char        *torch_path(const torch_file *f) { return f->path; }
size_t             torch_size(const torch_file *f) { return f->len; }
