#include "io/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "io/safetensors.h"

typedef struct { const char *name; size_t bytes; } dtype_row;

static const dtype_row DTYPES[TORCH_DTYPE_COUNT] = {
#define X(code, name, storage, bytes) { name, bytes },
    TORCH_DTYPE_LIST(X)
#undef X
};

const char *torch_dtype_name(torch_dtype dtype) { return DTYPES[dtype].name; }
size_t      torch_dtype_bytes(torch_dtype dtype) { return DTYPES[dtype].bytes; }

const char *torch_kind_name(torch_kind kind)
{
    static const char *const names[TORCH_KIND_COUNT] = { "nothing", "None", "a boolean", "an integer", "a real number", "a text", "a dtype", "a list",
                                                         "a tuple", "a dictionary", "a tensor" };
    return names[kind];
}

/* --- values ---------------------------------------------------------------------------- */

torch_kind torch_kind_of(const torch_value *v) { return v ? (torch_kind)v->kind : TORCH_KIND_ABSENT; }

static bool is(const torch_value *v, torch_kind kind) { return torch_kind_of(v) == kind; }

bool torch_as_bool(const torch_value *v, bool *out)
{
    if (!is(v, TORCH_KIND_BOOL)) return false;
    *out = v->u.flag;
    return true;
}

bool torch_as_int(const torch_value *v, int64_t *out)
{
    if (!is(v, TORCH_KIND_INT)) return false;
    *out = v->u.i;
    return true;
}

bool torch_as_real(const torch_value *v, double *out)
{
    if (!is(v, TORCH_KIND_REAL) && !is(v, TORCH_KIND_INT)) return false;
    *out = v->kind == TORCH_KIND_REAL ? v->u.r : (double)v->u.i;
    return true;
}

const char         *torch_as_string(const torch_value *v) { return is(v, TORCH_KIND_STRING) ? v->u.text : NULL; }
const torch_tensor *torch_as_tensor(const torch_value *v) { return is(v, TORCH_KIND_TENSOR) ? v->u.tensor : NULL; }

size_t torch_len(const torch_value *v)
{
    if (is(v, TORCH_KIND_DICT)) return v->u.c.n / 2;
    return is(v, TORCH_KIND_LIST) || is(v, TORCH_KIND_TUPLE) ? v->u.c.n : 0;
}

const torch_value *torch_at(const torch_value *v, size_t i)
{
    if (i >= torch_len(v)) return NULL;
    return is(v, TORCH_KIND_DICT) ? v->u.c.items[2 * i + 1] : v->u.c.items[i];
}

const torch_value *torch_key(const torch_value *v, size_t i)
{
    return is(v, TORCH_KIND_DICT) && i < torch_len(v) ? v->u.c.items[2 * i] : NULL;
}

static const torch_value *find(const torch_value *v, const torch_value *key)
{
    if (!is(v, TORCH_KIND_DICT)) return NULL;
    size_t low = 0, high = torch_len(v);
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const int c = pickle_compare_keys(*v->u.c.order[mid], key);
        if (!c) return v->u.c.order[mid][1];
        if (c < 0) low = mid + 1;
        else high = mid;
    }
    return NULL;
}

const torch_value *torch_get(const torch_value *v, const char *key)
{
    const torch_value k = { .kind = TORCH_KIND_STRING, .u.text = key };
    return find(v, &k);
}

const torch_value *torch_get_int(const torch_value *v, int64_t key)
{
    const torch_value k = { .kind = TORCH_KIND_INT, .u.i = key };
    return find(v, &k);
}

/* --- tensors ----------------------------------------------------------------------------- */

size_t torch_tensor_len(const torch_tensor *t)
{
    size_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        if (t->shape[i] == 0) return 0;
    for (int i = 0; i < t->ndim; i++) n *= (size_t)t->shape[i];        /* at most the storage's */
    return n;
}

static bool contiguous(const torch_tensor *t)
{
    int64_t step = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->strides[i] != step) return false;
        step *= t->shape[i];
    }
    return true;
}

void torch_tensor_bytes(const torch_tensor *t, void *out)
{
    const size_t n = torch_tensor_len(t), width = torch_dtype_bytes(t->dtype);
    const uint8_t *from = n ? t->storage->data + t->offset * width : NULL;
    uint8_t *to = out;
    int64_t at[TORCH_MAX_DIMS] = { 0 };
    if (!n) return;
    if (contiguous(t)) {
        memcpy(to, from, n * width);
        return;
    }
    size_t place = 0;
    for (size_t k = 0; k < n; k++) {
        memcpy(to + k * width, from + place * width, width);
        for (int i = t->ndim - 1; i >= 0; i--) {
            place += (size_t)t->strides[i];
            if (++at[i] < t->shape[i]) break;
            place -= (size_t)t->strides[i] * (size_t)t->shape[i];
            at[i] = 0;
        }
    }
}

/* One integer of the file, which is little-endian. */
static int64_t integer(torch_dtype dtype, const uint8_t *p)
{
    uint64_t u = 0;
    memcpy(&u, p, torch_dtype_bytes(dtype));
    switch (dtype) {
    case TORCH_I32: return (int32_t)(uint32_t)u;
    case TORCH_I16: return (int16_t)(uint16_t)u;
    case TORCH_I8: return (int8_t)(uint8_t)u;
    case TORCH_BOOL: return u != 0;
    default: return (int64_t)u;
    }
}

static ddpm_status convert(const torch_tensor *t, const uint8_t *bytes, size_t n, float *out)
{
    static const struct { torch_dtype from; safetensors_dtype to; } real[] = {
        { TORCH_F64, ST_F64 }, { TORCH_F32, ST_F32 }, { TORCH_F16, ST_F16 }, { TORCH_BF16, ST_BF16 },
    };
    const size_t width = torch_dtype_bytes(t->dtype);
    for (size_t i = 0; i < sizeof real / sizeof *real; i++)
        if (t->dtype == real[i].from) {
            const safetensors_tensor flat = { .name = "", .dtype = real[i].to, .ndim = 1, .shape = { (int64_t)n }, .data = bytes, .bytes = n * width };
            return safetensors_convert_f32(&flat, out);
        }
    for (size_t k = 0; k < n; k++) out[k] = (float)integer(t->dtype, bytes + k * width);
    return DDPM_OK;
}

ddpm_status torch_tensor_f32(const torch_value *v, float *out)
{
    const torch_tensor *t = torch_as_tensor(v);
    if (!t) return ddpm_fail(DDPM_EFORMAT, "%s stands where a tensor belongs", torch_kind_name(torch_kind_of(v)));
    const size_t n = torch_tensor_len(t), width = torch_dtype_bytes(t->dtype);
    if (!n) return DDPM_OK;
    uint8_t *bytes = malloc(n * width);           /* at most the storage's */
    if (!bytes) return ddpm_fail(DDPM_ENOMEM, "no memory to convert a tensor of %zu numbers", n);
    torch_tensor_bytes(t, bytes);
    const ddpm_status s = convert(t, bytes, n, out);
    free(bytes);
    return s;
}
