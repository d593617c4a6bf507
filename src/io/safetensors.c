#include "io/safetensors.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "base/checked.h"
#include "io/crc32c.h"
#include "io/file.h"
#include "io/json.h"

struct safetensors {
    file_map map;                  /* size 0: the bytes are the caller's */
    char *path;
    json *header;                  /* holds names and metadata           */
    safetensors_tensor *tensors;   /* in the order of the data           */
    const safetensors_tensor **by_name;
    int count;
};

const char *safetensors_dtype_name(safetensors_dtype dtype)
{
    static const char *const names[] = {
#define X(code, name, bytes) name,
        SAFETENSORS_DTYPE_LIST(X)
#undef X
    };
    assert((unsigned)dtype < ST_DTYPE_COUNT);
    return names[dtype];
}

size_t safetensors_dtype_bytes(safetensors_dtype dtype)
{
    static const size_t sizes[] = {
#define X(code, name, bytes) bytes,
        SAFETENSORS_DTYPE_LIST(X)
#undef X
    };
    assert((unsigned)dtype < ST_DTYPE_COUNT);
    return sizes[dtype];
}

static bool tensor_size(const safetensors_tensor *t, size_t *bytes)
{
    *bytes = safetensors_dtype_bytes(t->dtype);
    for (int i = 0; i < t->ndim; i++)
        if (t->shape[i] < 0 || !checked_mul(*bytes, (size_t)t->shape[i], bytes)) return false;
    return true;
}

/* --- reading ----------------------------------------------------------------- */

/* What the parsing of one tensor's entry needs. */
typedef struct {
    const char *where, *name;
    const uint8_t *data;           /* of the whole file behind the header */
    size_t data_len;
} entry_place;

static ddpm_status fail_entry(const entry_place *p, const char *what)
{
    return ddpm_fail(DDPM_EFORMAT, "%s: tensor \"%.100s\": %s; the file is damaged", p->where, p->name, what);
}

static ddpm_status parse_dtype(const json *entry, const entry_place *p, safetensors_dtype *dtype)
{
    const char *text = json_as_string(json_get(entry, "dtype"));
    if (!text) return fail_entry(p, "\"dtype\" is missing or not a string");
    for (int i = 0; i < ST_DTYPE_COUNT; i++) {
        *dtype = (safetensors_dtype)i;
        if (strcmp(text, safetensors_dtype_name(*dtype)) == 0) return DDPM_OK;
    }
    return ddpm_fail(DDPM_EFORMAT, "%s: tensor \"%.100s\" has the unknown dtype \"%.20s\"", p->where, p->name, text);
}

static ddpm_status parse_shape(const json *entry, const entry_place *p, safetensors_tensor *t)
{
    const json *shape = json_get(entry, "shape");
    if (json_kind_of(shape) != JSON_KIND_ARRAY) return fail_entry(p, "\"shape\" is missing or not a list");
    const size_t ndim = json_array_len(shape);
    if (ndim > SAFETENSORS_MAX_DIMS) return fail_entry(p, "\"shape\" has more than 8 dimensions");
    t->ndim = (int)ndim;
    for (size_t i = 0; i < ndim; i++)
        if (!json_as_int(json_at(shape, i), &t->shape[i]) || t->shape[i] < 0)
            return fail_entry(p, "\"shape\" holds something else than sizes");
    return DDPM_OK;
}

static ddpm_status parse_entry(const json *entry, const entry_place *p, safetensors_tensor *t)
{
    if (json_kind_of(entry) != JSON_KIND_OBJECT) return fail_entry(p, "its entry is not an object");
    *t = (safetensors_tensor){ .name = p->name };
    DDPM_TRY(parse_dtype(entry, p, &t->dtype));
    DDPM_TRY(parse_shape(entry, p, t));
    const json *offsets = json_get(entry, "data_offsets");
    int64_t begin, end;
    if (json_kind_of(offsets) != JSON_KIND_ARRAY || json_array_len(offsets) != 2 ||
        !json_as_int(json_at(offsets, 0), &begin) || !json_as_int(json_at(offsets, 1), &end))
        return fail_entry(p, "\"data_offsets\" is missing or not two integers");
    if (begin < 0 || end < begin) return fail_entry(p, "its data ends before it begins");
    if ((uint64_t)end > p->data_len) {
        return ddpm_fail(DDPM_EFORMAT, "%s: the data of tensor \"%.100s\" ends at byte %lld, but the file holds %zu; "
                         "it is truncated or damaged", p->where, p->name, (long long)end, p->data_len);
    }
    if (!tensor_size(t, &t->bytes)) return fail_entry(p, "its shape is too large");
    if (t->bytes != (uint64_t)(end - begin)) {
        return ddpm_fail(DDPM_EFORMAT, "%s: tensor \"%.100s\" has %zu bytes by dtype and shape, but data_offsets "
                         "give %lld", p->where, p->name, t->bytes, (long long)(end - begin));
    }
    t->data = p->data + begin;
    return DDPM_OK;
}

static int compare_place(const void *a, const void *b)
{
    const safetensors_tensor *s = a, *t = b;
    const uintptr_t p = (uintptr_t)s->data, q = (uintptr_t)t->data;
    if (p != q) return p < q ? -1 : 1;
    return s->bytes == t->bytes ? strcmp(s->name, t->name) : s->bytes < t->bytes ? -1 : 1;
}

static int compare_name_at(const void *a, const void *b)
{
    const safetensors_tensor *const *s = a, *const *t = b;
    return strcmp((*s)->name, (*t)->name);
}

/* No byte of the file may be without an owner or with two: such files can carry
 * something else, or be taken for another format. */
static ddpm_status check_tiling(const safetensors *st, const uint8_t *data, size_t data_len)
{
    size_t at = 0;
    for (int i = 0; i < st->count; i++) {
        const safetensors_tensor *t = &st->tensors[i];
        const size_t begin = (size_t)((const uint8_t *)t->data - data);
        if (begin != at) {
            return ddpm_fail(DDPM_EFORMAT, "%s: the data of tensor \"%.100s\" begins at %zu, %s the end of the one "
                             "before (%zu); the file is damaged", st->path, t->name, begin,
                             begin < at ? "before" : "behind", at);
        }
        at += t->bytes;
    }
    if (at != data_len)
        return ddpm_fail(DDPM_EFORMAT, "%s: %zu bytes follow the last tensor", st->path, data_len - at);
    return DDPM_OK;
}

static ddpm_status check_metadata(const safetensors *st)
{
    const json *meta = json_get(st->header, "__metadata__");
    const json_kind kind = json_kind_of(meta);
    if (kind == JSON_KIND_ABSENT || kind == JSON_KIND_NULL) return DDPM_OK;
    if (kind != JSON_KIND_OBJECT) return ddpm_fail(DDPM_EFORMAT, "%s: __metadata__ is not an object", st->path);
    for (const char *k = json_first(meta); k; k = json_next(meta, k))
        if (!json_as_string(json_get(meta, k)))
            return ddpm_fail(DDPM_EFORMAT, "%s: __metadata__ \"%.100s\" is not a string", st->path, k);
    return DDPM_OK;
}

static ddpm_status parse_entries(safetensors *st, const uint8_t *data, size_t data_len)
{
    const size_t room = json_object_len(st->header) + 1;
    st->tensors = calloc(room, sizeof *st->tensors);
    st->by_name = calloc(room, sizeof *st->by_name);
    if (!st->tensors || !st->by_name) return ddpm_fail(DDPM_ENOMEM, "%s: no memory for %zu tensors", st->path, room);
    for (const char *k = json_first(st->header); k; k = json_next(st->header, k)) {
        if (strcmp(k, "__metadata__") == 0) continue;
        const entry_place place = { st->path, k, data, data_len };
        DDPM_TRY(parse_entry(json_get(st->header, k), &place, &st->tensors[st->count]));
        st->count++;
    }
    qsort(st->tensors, (size_t)st->count, sizeof *st->tensors, compare_place);
    for (int i = 0; i < st->count; i++) st->by_name[i] = &st->tensors[i];
    qsort(st->by_name, (size_t)st->count, sizeof(void *), compare_name_at);
    return check_tiling(st, data, data_len);
}

static ddpm_status parse_file(safetensors *st, const uint8_t *bytes, size_t len)
{
    uint64_t n;
    if (len < sizeof n)
        return ddpm_fail(DDPM_EFORMAT, "%s: %zu bytes are too few for a safetensors file", st->path, len);
    memcpy(&n, bytes, sizeof n);
    if (n > SAFETENSORS_MAX_HEADER)
        return ddpm_fail(DDPM_EFORMAT, "%s: not a safetensors file (its header would have %llu bytes)", st->path,
                         (unsigned long long)n);
    if (n > len - sizeof n)
        return ddpm_fail(DDPM_EFORMAT, "%s: truncated: the header needs %llu bytes, the file has %zu", st->path,
                         (unsigned long long)n + sizeof n, len);
    const uint8_t *header = bytes + sizeof n;
    if (n == 0 || header[0] != '{')
        return ddpm_fail(DDPM_EFORMAT, "%s: not a safetensors file (the header does not begin with '{')", st->path);
    DDPM_TRY(json_parse_limit((const char *)header, n, SAFETENSORS_MAX_HEADER, st->path, &st->header));
    DDPM_TRY(check_metadata(st));
    return parse_entries(st, header + n, len - sizeof n - n);
}

ddpm_status safetensors_open_memory(const void *bytes, size_t len, const char *where, safetensors **st)
{
    *st = NULL;
    safetensors *s = calloc(1, sizeof *s);
    if (s) s->path = strdup(where);
    if (!s || !s->path) {
        free(s);
        return ddpm_fail(DDPM_ENOMEM, "no memory to open %s", where);
    }
    const ddpm_status status = parse_file(s, bytes, len);
    if (status != DDPM_OK) safetensors_close(s);
    else *st = s;
    return status;
}

ddpm_status safetensors_open(const char *path, safetensors **st)
{
    *st = NULL;
    file_map map;
    DDPM_TRY(file_map_open(path, &map));
    const ddpm_status s = safetensors_open_memory(map.data, map.size, path, st);
    if (s != DDPM_OK) file_map_close(&map);
    else (*st)->map = map;
    return s;
}

void safetensors_close(safetensors *st)
{
    if (!st) return;
    file_map_close(&st->map);
    json_free(st->header);
    free(st->tensors);
    free(st->by_name);
    free(st->path);
    free(st);
}

int safetensors_count(const safetensors *st)
{
    return st->count;
}

const safetensors_tensor *safetensors_at(const safetensors *st, int i)
{
    assert(i >= 0 && i < st->count);
    return &st->tensors[i];
}

const safetensors_tensor *safetensors_find(const safetensors *st, const char *name)
{
    const safetensors_tensor key = { .name = name };
    const safetensors_tensor *wanted = &key;
    const safetensors_tensor **found =
        bsearch(&wanted, st->by_name, (size_t)st->count, sizeof(void *), compare_name_at);
    return found ? *found : NULL;
}

ddpm_status safetensors_need(const safetensors *st, const char *name, const safetensors_tensor **t)
{
    *t = safetensors_find(st, name);
    return *t ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s: tensor \"%s\" is missing", st->path, name);
}

const char *safetensors_metadata(const safetensors *st, const char *key)
{
    return json_as_string(json_get(json_get(st->header, "__metadata__"), key));
}

const char *safetensors_next_key(const safetensors *st, const char *key)
{
    const json *pairs = json_get(st->header, "__metadata__");
    return key ? json_next(pairs, key) : json_first(pairs);
}

const char *safetensors_path(const safetensors *st)
{
    return st->path;
}

int64_t safetensors_len(const safetensors_tensor *t)
{
    return (int64_t)(t->bytes / safetensors_dtype_bytes(t->dtype));
}

static float f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, mantissa = h & 0x3ff;
    const int exponent = h >> 10 & 31;
    if (exponent == 0) {
        const float tiny = (float)mantissa * 0x1p-24f;
        return sign ? -tiny : tiny;
    }
    const uint32_t e = exponent == 31 ? 255 : (uint32_t)exponent + 112;
    const uint32_t u = sign | e << 23 | mantissa << 13;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

ddpm_status safetensors_convert_f32(const safetensors_tensor *t, float *out)
{
    const int64_t n = safetensors_len(t);
    const uint8_t *p = t->data;
    if (t->dtype == ST_F32) {
        if (n > 0) memcpy(out, p, t->bytes);
    } else if (t->dtype == ST_F64) {
        for (int64_t i = 0; i < n; i++) {
            double v;
            memcpy(&v, p + 8 * i, sizeof v);
            out[i] = (float)v;
        }
    } else if (t->dtype == ST_F16 || t->dtype == ST_BF16) {
        for (int64_t i = 0; i < n; i++) {
            uint16_t v;
            memcpy(&v, p + 2 * i, sizeof v);
            out[i] = t->dtype == ST_F16 ? f16_to_f32(v) : bf16_to_f32(v);
        }
    } else {
        return ddpm_fail(DDPM_EFORMAT, "tensor \"%.100s\" has dtype %s where floating point is expected", t->name,
                         safetensors_dtype_name(t->dtype));
    }
    return DDPM_OK;
}

uint32_t safetensors_crc32c(const safetensors_tensor *t)
{
    return crc32c(0, t->data, t->bytes);
}

/* --- writing ----------------------------------------------------------------- */

static int compare_for_writing(const void *a, const void *b)
{
    const safetensors_tensor *const *s = a, *const *t = b;
    if ((*s)->dtype != (*t)->dtype) return (*s)->dtype < (*t)->dtype ? -1 : 1;
    return strcmp((*s)->name, (*t)->name);
}

static ddpm_status put_entry(json *header, const safetensors_tensor *t, size_t begin)
{
    if (strcmp(t->name, "__metadata__") == 0 || json_get(header, t->name))
        return ddpm_fail(DDPM_EINVAL, "tensor name \"%.100s\" is used twice or reserved", t->name);
    json *entry = json_new_object(), *shape = json_new_array(), *offsets = json_new_array();
    ddpm_status s = json_put_string(entry, "dtype", safetensors_dtype_name(t->dtype));
    for (int i = 0; s == DDPM_OK && i < t->ndim; i++) s = json_append(shape, json_new_int(t->shape[i]));
    if (s == DDPM_OK) s = json_append(offsets, json_new_int((int64_t)begin));
    if (s == DDPM_OK) s = json_append(offsets, json_new_int((int64_t)(begin + t->bytes)));
    const ddpm_status put_shape = json_put(entry, "shape", shape);
    const ddpm_status put_offsets = json_put(entry, "data_offsets", offsets);
    const ddpm_status put = json_put(header, t->name, entry);
    if (s == DDPM_OK) s = put_shape != DDPM_OK ? put_shape : put_offsets;
    return s != DDPM_OK ? s : put;
}

static ddpm_status put_metadata(json *header, const safetensors_meta *meta, int meta_count)
{
    if (meta_count == 0) return DDPM_OK;
    json *map = json_new_object();
    ddpm_status s = DDPM_OK;
    for (int i = 0; s == DDPM_OK && i < meta_count; i++) s = json_put_string(map, meta[i].key, meta[i].value);
    const ddpm_status put = json_put(header, "__metadata__", map);
    return s != DDPM_OK ? s : put;
}

static ddpm_status build_header(json *header, const safetensors_tensor **order, int count)
{
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        size_t bytes;
        const bool fits = tensor_size(order[i], &bytes);
        assert(fits && bytes == order[i]->bytes && order[i]->ndim <= SAFETENSORS_MAX_DIMS);
        (void)fits;
        DDPM_TRY(put_entry(header, order[i], at));
        at += order[i]->bytes;
    }
    return DDPM_OK;
}

/* What is written, and where its bytes come from: produce, or `data` when that is NULL. */
typedef struct {
    const safetensors_tensor *tensors, **order;
    int count;
    safetensors_produce produce;
    void *ctx, *buffer;
} write_job;

static ddpm_status write_tensor(file_writer *w, const write_job *job, const safetensors_tensor *t)
{
    const void *data = t->data;
    if (job->produce) {
        DDPM_TRY(job->produce(job->ctx, (int)(t - job->tensors), job->buffer));
        data = job->buffer;
    }
    return file_writer_write(w, data, t->bytes);
}

static ddpm_status write_parts(file_writer *w, const char *text, const write_job *job)
{
    const uint64_t len = strlen(text), padded = (len + 7) / 8 * 8;
    DDPM_TRY(file_writer_write(w, &padded, sizeof padded));
    DDPM_TRY(file_writer_write(w, text, len));
    DDPM_TRY(file_writer_write(w, "       ", padded - len));
    for (int i = 0; i < job->count; i++) DDPM_TRY(write_tensor(w, job, job->order[i]));
    return DDPM_OK;
}

static ddpm_status write_file(const char *path, const char *text, const write_job *job)
{
    file_writer *w;
    DDPM_TRY(file_writer_open(path, &w));
    const ddpm_status s = write_parts(w, text, job);
    if (s == DDPM_OK) return file_writer_finish(w);
    file_writer_abort(w);
    return s;
}

static ddpm_status prepare_job(const char *path, write_job *job)
{
    size_t largest = 1;
    for (int i = 0; i < job->count; i++)
        if (job->tensors[i].bytes > largest) largest = job->tensors[i].bytes;
    job->order = calloc((size_t)job->count + 1, sizeof *job->order);
    if (job->produce) job->buffer = malloc(largest);
    if (!job->order || (job->produce && !job->buffer)) return ddpm_fail(DDPM_ENOMEM, "no memory to write %s", path);
    for (int i = 0; i < job->count; i++) job->order[i] = &job->tensors[i];
    qsort(job->order, (size_t)job->count, sizeof *job->order, compare_for_writing);
    return DDPM_OK;
}

static ddpm_status write_job_run(const char *path, write_job *job, const safetensors_meta *meta, int meta_count)
{
    json *header = json_new_object();
    char *text = NULL;
    ddpm_status s = header ? prepare_job(path, job) : ddpm_fail(DDPM_ENOMEM, "no memory to write %s", path);
    if (s == DDPM_OK) s = put_metadata(header, meta, meta_count);
    if (s == DDPM_OK) s = build_header(header, job->order, job->count);
    if (s == DDPM_OK && !(text = json_text(header, JSON_COMPACT)))
        s = ddpm_fail(DDPM_ENOMEM, "no memory for the header of %s", path);
    if (s == DDPM_OK) s = write_file(path, text, job);
    free(text);
    json_free(header);
    free(job->order);
    free(job->buffer);
    return s;
}

ddpm_status safetensors_write(const char *path, const safetensors_tensor *tensors, int count,
                              const safetensors_meta *meta, int meta_count)
{
    write_job job = { .tensors = tensors, .count = count };
    return write_job_run(path, &job, meta, meta_count);
}

ddpm_status safetensors_write_stream(const char *path, const safetensors_tensor *tensors, int count,
                                     const safetensors_meta *meta, int meta_count,
                                     safetensors_produce produce, void *ctx)
{
    write_job job = { .tensors = tensors, .count = count, .produce = produce, .ctx = ctx };
    return write_job_run(path, &job, meta, meta_count);
}
