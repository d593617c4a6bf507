#include "io/pickle_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

enum { MAX_MARKS = 1024, MAX_LINE = 256, FIRST_ROOM = 64 };

struct pickle {
    arena          *memory;
    const char     *where;
    torch_storage **storages;
    size_t          storage_count, storage_cap, values;
    bool            arrays;
};

ddpm_status pickle_new(const char *where, pickle **p)
{
    *p = calloc(1, sizeof **p);
    if (*p && ((*p)->memory = arena_new())) {
        (*p)->where = where;
        return DDPM_OK;
    }
    free(*p);
    *p = NULL;
    return ddpm_fail(DDPM_ENOMEM, "no memory to read %s", where);
}

void pickle_free(pickle *p)
{
    if (!p) return;
    arena_free(p->memory);
    free(p->storages);
    free(p);
}

void pickle_allow_arrays(pickle *p)         { p->arrays = true; }
bool pickle_arrays_allowed(const pickle *p) { return p->arrays; }

void *pickle_alloc(pickle *p, size_t bytes) { return arena_alloc(p->memory, bytes ? bytes : 1); }

ddpm_status pickle_no_memory(const pickle_machine *m) { return ddpm_fail(DDPM_ENOMEM, "no memory to read %s", m->where); }

ddpm_status pickle_fail(const pickle_machine *m, const char *what)
{
    return ddpm_fail(DDPM_EFORMAT, "%s: %s (offset %zu)", m->where, what, m->offset + m->op_at);
}

ddpm_status pickle_value(pickle_machine *m, int kind, torch_value **v)
{
    if (++m->p->values > TORCH_MAX_ITEMS) return pickle_fail(m, "the pickle makes too many values");
    *v = pickle_alloc(m->p, sizeof **v);
    if (!*v) return pickle_no_memory(m);
    (*v)->kind = (uint8_t)kind;
    return DDPM_OK;
}

/* Room for one more of `size` bytes each in an array that malloc made. */
static bool grow(void *array, size_t *cap, size_t need, size_t size)
{
    void **at = array;
    if (need <= *cap) return true;
    const size_t more = need > 2 * *cap ? need + FIRST_ROOM : 2 * *cap;
    void *grown = reallocarray(*at, more, size);
    if (!grown) return false;
    *at = grown;
    *cap = more;
    return true;
}

ddpm_status pickle_add_storage(pickle_machine *m, torch_storage *s)
{
    pickle *p = m->p;
    if (!grow(&p->storages, &p->storage_cap, p->storage_count + 1, sizeof *p->storages)) return pickle_no_memory(m);
    p->storages[p->storage_count++] = s;
    return DDPM_OK;
}

torch_storage **pickle_storages(const pickle *p, size_t *count)
{
    *count = p->storage_count;
    return p->storages;
}

/* --- bytes, stack, memo --------------------------------------------------------------- */

static ddpm_status take(pickle_machine *m, size_t n, const uint8_t **bytes)
{
    if (n > m->len - m->at) return pickle_fail(m, "the pickle ends inside an instruction; the file is truncated or damaged");
    *bytes = m->bytes + m->at;
    m->at += n;
    return DDPM_OK;
}

static ddpm_status take_number(pickle_machine *m, int n, uint64_t *value)
{
    const uint8_t *b = NULL;
    DDPM_TRY(take(m, (size_t)n, &b));
    *value = 0;
    for (int i = n - 1; i >= 0; i--) *value = *value << 8 | b[i];
    return DDPM_OK;
}

static ddpm_status push(pickle_machine *m, torch_value *v)
{
    if (m->depth >= TORCH_MAX_ITEMS) return pickle_fail(m, "the pickle's stack grows too high");
    if (!grow(&m->stack, &m->stack_cap, m->depth + 1, sizeof *m->stack)) return pickle_no_memory(m);
    m->stack[m->depth++] = v;
    return DDPM_OK;
}

static size_t floor_of(const pickle_machine *m) { return m->mark_count ? m->marks[m->mark_count - 1] : 0; }

static ddpm_status pop(pickle_machine *m, torch_value **v)
{
    if (m->depth <= floor_of(m)) return pickle_fail(m, "an instruction finds too few values on the stack");
    *v = m->stack[--m->depth];
    return DDPM_OK;
}

static ddpm_status top(const pickle_machine *m, torch_value **v)
{
    if (m->depth <= floor_of(m)) return pickle_fail(m, "an instruction finds too few values on the stack");
    *v = m->stack[m->depth - 1];
    return DDPM_OK;
}

/* The values above the last mark, which go from the stack but stay readable until the next push. */
static ddpm_status pop_mark(pickle_machine *m, torch_value ***items, size_t *n)
{
    if (!m->mark_count) return pickle_fail(m, "an instruction finds no mark on the stack");
    const size_t first = m->marks[--m->mark_count];
    *n = m->depth - first;
    *items = *n ? m->stack + first : NULL;
    m->depth = first;
    return DDPM_OK;
}

static ddpm_status memo_put(pickle_machine *m, uint64_t index)
{
    torch_value *v = NULL;
    DDPM_TRY(top(m, &v));
    if (index >= m->len) return pickle_fail(m, "a memo's number is larger than the pickle");
    const size_t before = m->memo_cap;
    if (!grow(&m->memo, &m->memo_cap, (size_t)index + 1, sizeof *m->memo)) return pickle_no_memory(m);
    for (size_t i = before; i < m->memo_cap; i++) m->memo[i] = NULL;
    if (!m->memo[index]) m->memo_count++;
    m->memo[index] = v;
    return DDPM_OK;
}

static ddpm_status memo_get(pickle_machine *m, uint64_t index)
{
    if (index >= m->memo_cap || !m->memo[index]) return pickle_fail(m, "a memo is read that was not written");
    return push(m, m->memo[index]);
}

/* --- instructions: scalars ---------------------------------------------------------------- */

static ddpm_status op_proto(pickle_machine *m)
{
    uint64_t version = 0;
    DDPM_TRY(take_number(m, 1, &version));
    if (m->op_at) return pickle_fail(m, "a pickle's protocol stands in its middle");
    return version >= 2 && version <= 5 ? DDPM_OK : pickle_fail(m, "the pickle's protocol is none of 2 to 5");
}

static ddpm_status op_frame(pickle_machine *m)
{
    uint64_t size = 0;
    DDPM_TRY(take_number(m, 8, &size));
    return size <= m->len - m->at ? DDPM_OK : pickle_fail(m, "a frame is longer than the pickle; the file is truncated or damaged");
}

static ddpm_status push_kind(pickle_machine *m, torch_kind kind, torch_value **v)
{
    DDPM_TRY(pickle_value(m, (int)kind, v));
    return push(m, *v);
}

static ddpm_status op_none(pickle_machine *m)
{
    torch_value *v = NULL;
    return push_kind(m, TORCH_KIND_NONE, &v);
}

static ddpm_status push_bool(pickle_machine *m, bool flag)
{
    torch_value *v = NULL;
    DDPM_TRY(push_kind(m, TORCH_KIND_BOOL, &v));
    v->u.flag = flag;
    return DDPM_OK;
}

static ddpm_status op_true(pickle_machine *m)  { return push_bool(m, true); }
static ddpm_status op_false(pickle_machine *m) { return push_bool(m, false); }

static ddpm_status push_int(pickle_machine *m, int64_t i)
{
    torch_value *v = NULL;
    DDPM_TRY(push_kind(m, TORCH_KIND_INT, &v));
    v->u.i = i;
    return DDPM_OK;
}

static ddpm_status op_int1(pickle_machine *m)
{
    uint64_t n = 0;
    DDPM_TRY(take_number(m, 1, &n));
    return push_int(m, (int64_t)n);
}

static ddpm_status op_int2(pickle_machine *m)
{
    uint64_t n = 0;
    DDPM_TRY(take_number(m, 2, &n));
    return push_int(m, (int64_t)n);
}

static ddpm_status op_int4(pickle_machine *m)
{
    uint64_t n = 0;
    DDPM_TRY(take_number(m, 4, &n));
    return push_int(m, (int32_t)(uint32_t)n);
}

/* Two's complement of as many bytes as it takes. */
static ddpm_status op_long(pickle_machine *m)
{
    uint64_t size = 0, n = 0;
    DDPM_TRY(take_number(m, 1, &size));
    if (size > 8) return pickle_fail(m, "an integer has more than 64 bits");
    DDPM_TRY(take_number(m, (int)size, &n));
    if (size && size < 8 && n >> (8 * size - 1)) n |= ~UINT64_C(0) << (8 * size);
    return push_int(m, (int64_t)n);
}

static ddpm_status op_real(pickle_machine *m)
{
    const uint8_t *b = NULL;
    torch_value *v = NULL;
    uint64_t bits = 0;
    DDPM_TRY(take(m, 8, &b));
    DDPM_TRY(push_kind(m, TORCH_KIND_REAL, &v));
    for (int i = 0; i < 8; i++) bits = bits << 8 | b[i];
    memcpy(&v->u.r, &bits, sizeof bits);
    return DDPM_OK;
}

static ddpm_status push_bytes(pickle_machine *m, int kind, const uint8_t *b, size_t n)
{
    torch_value *v = NULL;
    DDPM_TRY(pickle_value(m, kind, &v));
    v->u.bytes.at = b;
    v->u.bytes.len = n;
    return push(m, v);
}

/* Where arrays are read, what is kept as a text, such as the keys of a dictionary. */
static bool is_text(const uint8_t *bytes, size_t len) { return len < MAX_LINE && !memchr(bytes, 0, len); }

static ddpm_status take_text(pickle_machine *m, int size_bytes)
{
    uint64_t n = 0;
    const uint8_t *b = NULL;
    torch_value *v = NULL;
    DDPM_TRY(take_number(m, size_bytes, &n));
    DDPM_TRY(take(m, (size_t)n, &b));
    if (m->p->arrays && !is_text(b, (size_t)n)) return push_bytes(m, PICKLE_TEXT, b, (size_t)n);
    if (memchr(b, 0, (size_t)n)) return pickle_fail(m, "a text contains a zero byte");
    DDPM_TRY(push_kind(m, TORCH_KIND_STRING, &v));
    char *text = pickle_alloc(m->p, (size_t)n + 1);
    if (!text) return pickle_no_memory(m);
    memcpy(text, b, (size_t)n);
    v->u.text = text;
    return DDPM_OK;
}

static ddpm_status not_allowed(const pickle_machine *m)
{
    return ddpm_fail(DDPM_EFORMAT, "%s: instruction 0x%02x of the pickle is not allowed (offset %zu)", m->where, m->bytes[m->op_at], m->offset + m->op_at);
}

/* Python 2's texts and Python 3's bytes: a text where it can be one. */
static ddpm_status take_bytes(pickle_machine *m, int size_bytes)
{
    uint64_t n = 0;
    const uint8_t *b = NULL;
    const size_t start = m->at;
    if (!m->p->arrays) return not_allowed(m);
    DDPM_TRY(take_number(m, size_bytes, &n));
    DDPM_TRY(take(m, (size_t)n, &b));
    if (is_text(b, (size_t)n)) {
        m->at = start;
        return take_text(m, size_bytes);
    }
    return push_bytes(m, PICKLE_BYTES, b, (size_t)n);
}

static ddpm_status op_bytes4(pickle_machine *m) { return take_bytes(m, 4); }
static ddpm_status op_bytes1(pickle_machine *m) { return take_bytes(m, 1); }

static ddpm_status op_text4(pickle_machine *m) { return take_text(m, 4); }
static ddpm_status op_text1(pickle_machine *m) { return take_text(m, 1); }

/* --- instructions: containers ------------------------------------------------------------- */

static ddpm_status extend(pickle_machine *m, torch_value *v, torch_value *const *items, size_t n)
{
    if (n > TORCH_MAX_ITEMS * (size_t)2 - v->u.c.n) return pickle_fail(m, "a container has too many elements");
    const size_t need = v->u.c.n + n;
    if (need > v->u.c.cap) {
        const size_t cap = need > 2 * (size_t)v->u.c.cap ? need : 2 * (size_t)v->u.c.cap;
        torch_value **grown = pickle_alloc(m->p, cap * sizeof *grown);
        if (!grown) return pickle_no_memory(m);
        if (v->u.c.n) memcpy(grown, v->u.c.items, v->u.c.n * sizeof *grown);
        v->u.c.items = grown;
        v->u.c.cap = (uint32_t)cap;
    }
    if (n) memcpy(v->u.c.items + v->u.c.n, items, n * sizeof *items);
    v->u.c.n = (uint32_t)need;
    return DDPM_OK;
}

static ddpm_status op_mark(pickle_machine *m)
{
    if (m->mark_count >= MAX_MARKS) return pickle_fail(m, "the pickle nests too deeply");
    m->marks[m->mark_count++] = m->depth;
    return DDPM_OK;
}

static ddpm_status make_tuple(pickle_machine *m, torch_value *const *items, size_t n)
{
    torch_value *v = NULL;
    DDPM_TRY(pickle_value(m, TORCH_KIND_TUPLE, &v));
    DDPM_TRY(extend(m, v, items, n));
    return push(m, v);
}

static ddpm_status op_tuple(pickle_machine *m)
{
    torch_value **items = NULL;
    size_t n = 0;
    DDPM_TRY(pop_mark(m, &items, &n));
    return make_tuple(m, items, n);
}

static ddpm_status short_tuple(pickle_machine *m, size_t n)
{
    torch_value *items[3] = { NULL };
    for (size_t i = n; i-- > 0; ) DDPM_TRY(pop(m, &items[i]));
    return make_tuple(m, items, n);
}

static ddpm_status op_tuple0(pickle_machine *m) { return short_tuple(m, 0); }
static ddpm_status op_tuple1(pickle_machine *m) { return short_tuple(m, 1); }
static ddpm_status op_tuple2(pickle_machine *m) { return short_tuple(m, 2); }
static ddpm_status op_tuple3(pickle_machine *m) { return short_tuple(m, 3); }

static ddpm_status op_list(pickle_machine *m)
{
    torch_value *v = NULL;
    return push_kind(m, TORCH_KIND_LIST, &v);
}

static ddpm_status op_dict(pickle_machine *m)
{
    torch_value *v = NULL;
    return push_kind(m, TORCH_KIND_DICT, &v);
}

static ddpm_status append_to(pickle_machine *m, torch_value *const *items, size_t n)
{
    torch_value *list = NULL;
    DDPM_TRY(top(m, &list));
    if (list->kind != TORCH_KIND_LIST) return pickle_fail(m, "something is appended to a value that is not a list");
    return extend(m, list, items, n);
}

static ddpm_status op_append(pickle_machine *m)
{
    torch_value *item = NULL;
    DDPM_TRY(pop(m, &item));
    return append_to(m, &item, 1);
}

static ddpm_status op_appends(pickle_machine *m)
{
    torch_value **items = NULL;
    size_t n = 0;
    DDPM_TRY(pop_mark(m, &items, &n));
    return append_to(m, items, n);
}

static ddpm_status set_in(pickle_machine *m, torch_value *const *items, size_t n)
{
    torch_value *dict = NULL;
    DDPM_TRY(top(m, &dict));
    if (dict->kind != TORCH_KIND_DICT) return pickle_fail(m, "an item is set in a value that is not a dictionary");
    if (n % 2) return pickle_fail(m, "a dictionary gets a key without a value");
    for (size_t i = 0; i < n; i += 2)
        if (items[i]->kind != TORCH_KIND_STRING && items[i]->kind != TORCH_KIND_INT)
            return pickle_fail(m, "the key of a dictionary is neither a text nor an integer");
    return extend(m, dict, items, n);
}

static ddpm_status op_setitem(pickle_machine *m)
{
    torch_value *items[2] = { NULL };
    DDPM_TRY(pop(m, &items[1]));
    DDPM_TRY(pop(m, &items[0]));
    return set_in(m, items, 2);
}

static ddpm_status op_setitems(pickle_machine *m)
{
    torch_value **items = NULL;
    size_t n = 0;
    DDPM_TRY(pop_mark(m, &items, &n));
    return set_in(m, items, n);
}

/* --- instructions: names and what they stand for -------------------------------------------- */

static ddpm_status take_line(pickle_machine *m, const char **line, size_t *len)
{
    const size_t left = m->len - m->at;
    const uint8_t *b = m->bytes + m->at, *end = memchr(b, '\n', left < MAX_LINE ? left : MAX_LINE);
    if (!end) return pickle_fail(m, "the name of a global has no end");
    *line = (const char *)b;
    *len = (size_t)(end - b);
    m->at += *len + 1;
    return DDPM_OK;
}

static ddpm_status op_global(pickle_machine *m)
{
    const char *module = NULL, *name = NULL;
    size_t module_len = 0, name_len = 0;
    torch_value *v = NULL;
    DDPM_TRY(take_line(m, &module, &module_len));
    DDPM_TRY(take_line(m, &name, &name_len));
    DDPM_TRY(pickle_find_global(m, module, module_len, name, name_len, &v));
    return push(m, v);
}

static ddpm_status op_stack_global(pickle_machine *m)
{
    torch_value *module = NULL, *name = NULL, *v = NULL;
    DDPM_TRY(pop(m, &name));
    DDPM_TRY(pop(m, &module));
    if (module->kind != TORCH_KIND_STRING || name->kind != TORCH_KIND_STRING) return pickle_fail(m, "the name of a global is not a text");
    DDPM_TRY(pickle_find_global(m, module->u.text, strlen(module->u.text), name->u.text, strlen(name->u.text), &v));
    return push(m, v);
}

static ddpm_status op_reduce(pickle_machine *m)
{
    torch_value *args = NULL, *function = NULL, *result = NULL;
    DDPM_TRY(pop(m, &args));
    DDPM_TRY(pop(m, &function));
    DDPM_TRY(pickle_call(m, function, args, &result));
    return push(m, result);
}

/* state_dict() hangs versions of modules onto its OrderedDict; nothing reads them. */
static ddpm_status op_build(pickle_machine *m)
{
    torch_value *state = NULL, *object = NULL;
    DDPM_TRY(pop(m, &state));
    DDPM_TRY(top(m, &object));
    if (m->p->arrays && ((int)object->kind == PICKLE_ARRAY_TYPE || object->kind == TORCH_KIND_TENSOR)) return pickle_build_array(m, object, state);
    if (object->kind != TORCH_KIND_DICT || !object->ordered) return pickle_fail(m, "attributes are set on a value that is not an OrderedDict");
    return state->kind == TORCH_KIND_DICT ? DDPM_OK : pickle_fail(m, "the attributes of an OrderedDict are not a dictionary");
}

static ddpm_status op_persid(pickle_machine *m)
{
    torch_value *id = NULL, *storage = NULL;
    DDPM_TRY(pop(m, &id));
    DDPM_TRY(pickle_persistent(m, id, &storage));
    return push(m, storage);
}

static ddpm_status op_put1(pickle_machine *m)
{
    uint64_t index = 0;
    DDPM_TRY(take_number(m, 1, &index));
    return memo_put(m, index);
}

static ddpm_status op_put4(pickle_machine *m)
{
    uint64_t index = 0;
    DDPM_TRY(take_number(m, 4, &index));
    return memo_put(m, index);
}

static ddpm_status op_memoize(pickle_machine *m) { return memo_put(m, m->memo_count); }

static ddpm_status op_get1(pickle_machine *m)
{
    uint64_t index = 0;
    DDPM_TRY(take_number(m, 1, &index));
    return memo_get(m, index);
}

static ddpm_status op_get4(pickle_machine *m)
{
    uint64_t index = 0;
    DDPM_TRY(take_number(m, 4, &index));
    return memo_get(m, index);
}

static ddpm_status op_stop(pickle_machine *m)
{
    m->stopped = true;
    return DDPM_OK;
}

/* --- the machine ------------------------------------------------------------------------------ */

typedef ddpm_status (*instruction)(pickle_machine *m);

static const instruction INSTRUCTIONS[256] = {
    [0x80] = op_proto, [0x95] = op_frame, ['.'] = op_stop,
    ['N'] = op_none, [0x88] = op_true, [0x89] = op_false,
    ['K'] = op_int1, ['M'] = op_int2, ['J'] = op_int4, [0x8a] = op_long, ['G'] = op_real,
    ['X'] = op_text4, [0x8c] = op_text1, ['T'] = op_bytes4, ['U'] = op_bytes1, ['B'] = op_bytes4, ['C'] = op_bytes1,
    ['('] = op_mark, ['t'] = op_tuple, [')'] = op_tuple0, [0x85] = op_tuple1, [0x86] = op_tuple2, [0x87] = op_tuple3,
    [']'] = op_list, ['a'] = op_append, ['e'] = op_appends,
    ['}'] = op_dict, ['s'] = op_setitem, ['u'] = op_setitems,
    ['c'] = op_global, [0x93] = op_stack_global, ['R'] = op_reduce, ['b'] = op_build, ['Q'] = op_persid,
    ['q'] = op_put1, ['r'] = op_put4, [0x94] = op_memoize, ['h'] = op_get1, ['j'] = op_get4,
};

static ddpm_status run(pickle_machine *m)
{
    while (!m->stopped) {
        const uint8_t *op = NULL;
        m->op_at = m->at;
        DDPM_TRY(take(m, 1, &op));
        if (!INSTRUCTIONS[*op]) return not_allowed(m);
        DDPM_TRY(INSTRUCTIONS[*op](m));
    }
    return DDPM_OK;
}

static ddpm_status read_root(pickle_machine *m, const torch_value **root)
{
    torch_value *v = NULL;
    DDPM_TRY(run(m));
    DDPM_TRY(pop(m, &v));
    if (m->depth || m->mark_count) return pickle_fail(m, "the pickle ends with more than one value");
    *root = v;
    return pickle_check(m, v, 0);
}

ddpm_status pickle_read(pickle *p, const uint8_t *bytes, size_t len, size_t offset, const torch_value **root, size_t *used)
{
    size_t marks[MAX_MARKS];
    pickle_machine m = { .p = p, .where = p->where, .bytes = bytes, .len = len, .offset = offset, .marks = marks };
    const ddpm_status s = read_root(&m, root);
    *used = m.at;
    free(m.stack);
    free(m.memo);
    return s;
}
