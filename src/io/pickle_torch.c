/* The globals a state dict consists of, and what becomes of them. */
#include "io/pickle_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef enum {
    ORDERED_DICT, REBUILD_TENSOR, REBUILD_TENSOR_V2, REBUILD_PARAMETER, SIZE, STORAGE_TYPE, DTYPE,
    ARRAY_NEW, ARRAY_CLASS, ARRAY_TYPE,          /* numpy's, where arrays are allowed */
    TEXT_ENCODE                                  /* there too: Python 3's bytes in protocol 2 */
} global_role;

struct pickle_global {
    const char *module, *name;
    global_role role;
    torch_dtype dtype;         /* of STORAGE_TYPE and DTYPE */
};

static const pickle_global ARRAY_GLOBALS[] = {
    { "numpy.core.multiarray", "_reconstruct", ARRAY_NEW, 0 },
    { "numpy._core.multiarray", "_reconstruct", ARRAY_NEW, 0 },
    { "numpy", "ndarray", ARRAY_CLASS, 0 },
    { "numpy", "dtype", ARRAY_TYPE, 0 },
    { "_codecs", "encode", TEXT_ENCODE, 0 },
};
enum { N_ARRAY_GLOBALS = sizeof ARRAY_GLOBALS / sizeof ARRAY_GLOBALS[0] };

static const pickle_global GLOBALS[] = {
    { "collections", "OrderedDict", ORDERED_DICT, 0 },
    { "torch._utils", "_rebuild_tensor", REBUILD_TENSOR, 0 },
    { "torch._utils", "_rebuild_tensor_v2", REBUILD_TENSOR_V2, 0 },
    { "torch._utils", "_rebuild_parameter", REBUILD_PARAMETER, 0 },
    { "torch", "Size", SIZE, 0 },
    { "torch.storage", "UntypedStorage", STORAGE_TYPE, TORCH_U8 },
#define X(code, name, storage, bytes) { "torch", storage, STORAGE_TYPE, code }, { "torch", name, DTYPE, code },
    TORCH_DTYPE_LIST(X)
#undef X
};

static bool same(const char *text, const char *bytes, size_t len) { return strlen(text) == len && !memcmp(text, bytes, len); }

/* Names from the file go into sentences: anything but printable ASCII becomes '?'. */
static void printable(const char *bytes, size_t len, char text[80])
{
    size_t n = 0;
    for (; n < len && n < 79; n++) text[n] = bytes[n] > ' ' && bytes[n] < 127 ? bytes[n] : '?';
    text[n] = 0;
}

ddpm_status pickle_find_global(pickle_machine *m, const char *module, size_t module_len, const char *name, size_t name_len, torch_value **v)
{
    const bool arrays = pickle_arrays_allowed(m->p);
    const pickle_global *list = arrays ? ARRAY_GLOBALS : GLOBALS;
    const size_t n = arrays ? N_ARRAY_GLOBALS : sizeof GLOBALS / sizeof *GLOBALS;
    for (size_t i = 0; i < n; i++) {
        const pickle_global *g = &list[i];
        if (!same(g->module, module, module_len) || !same(g->name, name, name_len)) continue;
        DDPM_TRY(pickle_value(m, g->role == DTYPE ? (int)TORCH_KIND_DTYPE : (int)PICKLE_GLOBAL, v));
        if (g->role == DTYPE) (*v)->u.i = (int64_t)g->dtype;
        else (*v)->u.global = g;
        return DDPM_OK;
    }
    char a[80], b[80];
    printable(module, module_len, a);
    printable(name, name_len, b);
    return ddpm_fail(DDPM_EFORMAT, "%s: global %s.%s is not allowed (offset %zu); only tensors and plain values are read", m->where, a, b,
                     m->offset + m->op_at);
}

/* --- storages ------------------------------------------------------------------------------ */

ddpm_status pickle_persistent(pickle_machine *m, const torch_value *id, torch_value **result)
{
    static const char SHAPE[] = "a persistent id is not (\"storage\", type, key, location, size)";
    if (id->kind != TORCH_KIND_TUPLE || (id->u.c.n != 5 && id->u.c.n != 6)) return pickle_fail(m, SHAPE);
    torch_value *const *a = id->u.c.items;
    if (a[0]->kind != TORCH_KIND_STRING || strcmp(a[0]->u.text, "storage")) return pickle_fail(m, SHAPE);
    if ((int)a[1]->kind != PICKLE_GLOBAL || a[1]->u.global->role != STORAGE_TYPE) return pickle_fail(m, SHAPE);
    if (a[2]->kind != TORCH_KIND_STRING || a[3]->kind != TORCH_KIND_STRING) return pickle_fail(m, SHAPE);
    if (a[4]->kind != TORCH_KIND_INT || a[4]->u.i < 0) return pickle_fail(m, SHAPE);
    if (id->u.c.n == 6 && a[5]->kind != TORCH_KIND_NONE) return pickle_fail(m, "a storage is a view of another one, which is not read; save it with a newer PyTorch");
    torch_storage *s = pickle_alloc(m->p, sizeof *s);
    if (!s) return pickle_no_memory(m);
    *s = (torch_storage){ .key = a[2]->u.text, .dtype = a[1]->u.global->dtype, .len = (size_t)a[4]->u.i };
    DDPM_TRY(pickle_add_storage(m, s));
    DDPM_TRY(pickle_value(m, PICKLE_STORAGE, result));
    (*result)->u.storage = s;
    return DDPM_OK;
}

/* --- tensors --------------------------------------------------------------------------------- */

static ddpm_status take_dims(pickle_machine *m, const torch_value *v, int *ndim, int64_t dims[TORCH_MAX_DIMS])
{
    if (v->kind != TORCH_KIND_TUPLE) return pickle_fail(m, "the shape or the strides of a tensor are not a tuple");
    if (v->u.c.n > TORCH_MAX_DIMS) return pickle_fail(m, "a tensor has more than 8 dimensions");
    *ndim = (int)v->u.c.n;
    for (int i = 0; i < *ndim; i++) {
        const torch_value *d = v->u.c.items[i];
        if (d->kind != TORCH_KIND_INT || d->u.i < 0) return pickle_fail(m, "the shape or the strides of a tensor are negative or not integers");
        dims[i] = d->u.i;
    }
    return DDPM_OK;
}

/* Every element inside the storage, no two at one place: sorted by stride, each dimension must step
 * over everything that the smaller ones reach. */
static ddpm_status check_places(pickle_machine *m, const torch_tensor *t)
{
    int order[TORCH_MAX_DIMS], n = 0;
    if (t->offset > t->storage->len) return pickle_fail(m, "a tensor begins behind the end of its storage");
    for (int i = 0; i < t->ndim; i++) {
        if (t->shape[i] == 0) return DDPM_OK;
        if (t->shape[i] == 1) continue;
        int k = n++;
        for (; k > 0 && t->strides[order[k - 1]] > t->strides[i]; k--) order[k] = order[k - 1];
        order[k] = i;
    }
    uint64_t reach = 0;
    for (int k = 0; k < n; k++) {
        const uint64_t stride = (uint64_t)t->strides[order[k]];
        uint64_t span;
        if (stride <= reach) return pickle_fail(m, "elements of a tensor overlap");
        if (__builtin_mul_overflow(stride, (uint64_t)t->shape[order[k]] - 1, &span) || __builtin_add_overflow(reach, span, &reach))
            return pickle_fail(m, "a tensor is larger than its storage");
    }
    return reach < t->storage->len - t->offset ? DDPM_OK : pickle_fail(m, "a tensor is larger than its storage");
}

/* a: storage, offset, shape, strides */
static ddpm_status make_tensor(pickle_machine *m, torch_value *const *a, torch_value **result)
{
    int strides = 0;
    if ((int)a[0]->kind != PICKLE_STORAGE) return pickle_fail(m, "a tensor is made of something that is not a storage");
    if (a[1]->kind != TORCH_KIND_INT || a[1]->u.i < 0) return pickle_fail(m, "the offset of a tensor is negative or not an integer");
    torch_tensor *t = pickle_alloc(m->p, sizeof *t);
    if (!t) return pickle_no_memory(m);
    t->storage = a[0]->u.storage;
    t->dtype = t->storage->dtype;
    t->offset = (size_t)a[1]->u.i;
    DDPM_TRY(take_dims(m, a[2], &t->ndim, t->shape));
    DDPM_TRY(take_dims(m, a[3], &strides, t->strides));
    if (strides != t->ndim) return pickle_fail(m, "a tensor has more or fewer strides than dimensions");
    DDPM_TRY(check_places(m, t));
    DDPM_TRY(pickle_value(m, TORCH_KIND_TENSOR, result));
    (*result)->u.tensor = t;
    return DDPM_OK;
}

static bool no_hooks(const torch_value *v) { return v->kind == TORCH_KIND_DICT && !v->u.c.n; }

/* a: storage, offset, shape, strides, requires_grad, hooks[, metadata] */
static ddpm_status make_tensor_v2(pickle_machine *m, const torch_value *args, torch_value **result)
{
    torch_value *const *a = args->u.c.items;
    if (a[4]->kind != TORCH_KIND_BOOL || !no_hooks(a[5])) return pickle_fail(m, "a tensor comes with hooks or wrong flags");
    if (args->u.c.n == 7 && a[6]->kind != TORCH_KIND_NONE && a[6]->kind != TORCH_KIND_DICT) return pickle_fail(m, "the metadata of a tensor are not a dictionary");
    return make_tensor(m, a, result);
}

static ddpm_status make_parameter(pickle_machine *m, torch_value *const *a, torch_value **result)
{
    if (a[0]->kind != TORCH_KIND_TENSOR || a[1]->kind != TORCH_KIND_BOOL || !no_hooks(a[2]))
        return pickle_fail(m, "a parameter is not a tensor, or comes with hooks or wrong flags");
    torch_tensor *t = pickle_alloc(m->p, sizeof *t);
    if (!t) return pickle_no_memory(m);
    *t = *a[0]->u.tensor;
    t->parameter = true;
    DDPM_TRY(pickle_value(m, TORCH_KIND_TENSOR, result));
    (*result)->u.tensor = t;
    return DDPM_OK;
}

static ddpm_status make_size(pickle_machine *m, torch_value *dims, torch_value **result)
{
    int ndim;
    int64_t sizes[TORCH_MAX_DIMS];
    DDPM_TRY(take_dims(m, dims, &ndim, sizes));
    *result = dims;
    return DDPM_OK;
}

/* --- arrays ------------------------------------------------------------------------------------ */

/* _reconstruct(ndarray, (0,), b"b"): an array whose size and bytes follow. */
static ddpm_status new_array(pickle_machine *m, torch_value *const *a, torch_value **result)
{
    if ((int)a[0]->kind != PICKLE_GLOBAL || a[0]->u.global->role != ARRAY_CLASS) return pickle_fail(m, "something is made that is not an array");
    torch_tensor *t = pickle_alloc(m->p, sizeof *t);
    if (!t) return pickle_no_memory(m);
    t->dtype = TORCH_U8;
    DDPM_TRY(pickle_value(m, TORCH_KIND_TENSOR, result));
    (*result)->u.tensor = t;
    return DDPM_OK;
}

static ddpm_status new_array_type(pickle_machine *m, const torch_value *name, torch_value **result)
{
    if (name->kind != TORCH_KIND_STRING || (strcmp(name->u.text, "u1") && strcmp(name->u.text, "|u1"))) return pickle_fail(m, "an array is not of uint8");
    return pickle_value(m, PICKLE_ARRAY_TYPE, result);
}

/* Rows of bytes, the last index fastest. */
static ddpm_status set_places(pickle_machine *m, torch_tensor *t, size_t len)
{
    uint64_t total = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        t->strides[i] = (int64_t)total;
        if (__builtin_mul_overflow(total, (uint64_t)t->shape[i], &total)) return pickle_fail(m, "an array is larger than its bytes");
    }
    return total == len ? DDPM_OK : pickle_fail(m, "the shape of an array does not fit its bytes");
}

/* state: version, shape, type, Fortran order, bytes; of a type: anything, since uint8 has no other form. */
ddpm_status pickle_build_array(pickle_machine *m, torch_value *object, const torch_value *state)
{
    if (state->kind != TORCH_KIND_TUPLE) return pickle_fail(m, "the state of an array is not a tuple");
    if ((int)object->kind == PICKLE_ARRAY_TYPE) return DDPM_OK;
    torch_tensor *t = object->u.tensor;
    torch_value *const *a = state->u.c.items;
    if (t->storage || state->u.c.n != 5) return pickle_fail(m, "attributes are set on a value that has them already");
    const bool columns = a[3]->kind == TORCH_KIND_BOOL ? a[3]->u.flag : a[3]->kind != TORCH_KIND_INT || a[3]->u.i != 0;
    const bool text = a[4]->kind == TORCH_KIND_STRING;
    if ((int)a[2]->kind != PICKLE_ARRAY_TYPE || columns || (!text && (int)a[4]->kind != PICKLE_BYTES)) return pickle_fail(m, "an array is not of uint8 in C order");
    torch_storage *s = pickle_alloc(m->p, sizeof *s);
    if (!s) return pickle_no_memory(m);
    *s = (torch_storage){ .key = "", .dtype = TORCH_U8, .len = text ? strlen(a[4]->u.text) : a[4]->u.bytes.len,
                          .data = text ? (const uint8_t *)a[4]->u.text : a[4]->u.bytes.at };
    DDPM_TRY(take_dims(m, a[1], &t->ndim, t->shape));
    DDPM_TRY(set_places(m, t, s->len));
    t->storage = s;
    return DDPM_OK;
}

/* UTF-8 of characters up to 255 to one byte each; false: other characters. */
static bool latin1_of_utf8(const uint8_t *text, size_t len, uint8_t *out, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < len; i++) {
        const uint8_t c = text[i];
        if (c >= 0x80 && ((c != 0xc2 && c != 0xc3) || i + 1 == len || (text[i + 1] & 0xc0) != 0x80)) return false;
        out[(*n)++] = c < 0x80 ? c : (uint8_t)((c & 3) << 6 | (text[++i] & 0x3f));
    }
    return true;
}

/* encode(text, "latin1"): bytes. A long text becomes its own bytes, so that naming it again costs no memory. */
static ddpm_status encode_text(pickle_machine *m, torch_value *text, const torch_value *encoding, torch_value **result)
{
    const bool is_long = (int)text->kind == PICKLE_TEXT;
    if (!is_long && text->kind != TORCH_KIND_STRING) return pickle_fail(m, "something is encoded that is not a text");
    if (encoding->kind != TORCH_KIND_STRING || strcmp(encoding->u.text, "latin1")) return pickle_fail(m, "a text is encoded in another way than latin1");
    const uint8_t *from = is_long ? text->u.bytes.at : (const uint8_t *)text->u.text;
    size_t len = is_long ? text->u.bytes.len : strlen(text->u.text);
    uint8_t *bytes = pickle_alloc(m->p, len + 1);
    if (!bytes) return pickle_no_memory(m);
    if (!latin1_of_utf8(from, len, bytes, &len)) return pickle_fail(m, "a text to be encoded as latin1 has other characters");
    if (!is_long) {
        DDPM_TRY(pickle_value(m, TORCH_KIND_STRING, result));
        (*result)->u.text = (const char *)bytes;
        return DDPM_OK;
    }
    text->kind = PICKLE_BYTES;
    text->u.bytes.at = bytes;
    text->u.bytes.len = len;
    *result = text;
    return DDPM_OK;
}

ddpm_status pickle_call(pickle_machine *m, const torch_value *function, const torch_value *args, torch_value **result)
{
    if ((int)function->kind != PICKLE_GLOBAL) return pickle_fail(m, "something is called that is not a global");
    if (args->kind != TORCH_KIND_TUPLE) return pickle_fail(m, "the arguments of a call are not a tuple");
    const pickle_global *g = function->u.global;
    const size_t n = args->u.c.n;
    torch_value *const *a = args->u.c.items;
    if (g->role == ORDERED_DICT && n == 0) {
        DDPM_TRY(pickle_value(m, TORCH_KIND_DICT, result));
        (*result)->ordered = true;
        return DDPM_OK;
    }
    if (g->role == REBUILD_TENSOR && n == 4) return make_tensor(m, a, result);
    if (g->role == REBUILD_TENSOR_V2 && (n == 6 || n == 7)) return make_tensor_v2(m, args, result);
    if (g->role == REBUILD_PARAMETER && n == 3) return make_parameter(m, a, result);
    if (g->role == SIZE && n == 1) return make_size(m, a[0], result);
    if (g->role == ARRAY_NEW && n == 3) return new_array(m, a, result);
    if (g->role == ARRAY_TYPE && n == 3) return new_array_type(m, a[0], result);
    if (g->role == TEXT_ENCODE && n == 2) return encode_text(m, a[0], a[1], result);
    return ddpm_fail(DDPM_EFORMAT, "%s: %s.%s cannot be called with %zu arguments (offset %zu)", m->where, g->module, g->name, n, m->offset + m->op_at);
}
