/* torch_maker.h - PyTorch files byte by byte, right and wrong, for tests. */
#ifndef DDPM_TESTS_TORCH_MAKER_H
#define DDPM_TESTS_TORCH_MAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

typedef struct { uint8_t *data; size_t len, cap; } buffer;

static inline void add(buffer *b, const void *bytes, size_t n)
{
    if (b->len + n > b->cap) {
        b->cap = 2 * (b->len + n) + 256;
        b->data = realloc(b->data, b->cap);
        if (!b->data) abort();
    }
    if (n) memcpy(b->data + b->len, bytes, n);
    b->len += n;
}

static inline void add_number(buffer *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) add(b, &(uint8_t){ (uint8_t)(v >> (8 * i)) }, 1);
}

static inline void buffer_free(buffer *b)
{
    free(b->data);
    *b = (buffer){ 0 };
}

/* --- pickle: instructions as they are ----------------------------------------------------- */

static inline void op(buffer *b, const char *text) { add(b, text, strlen(text)); }
static inline void op_global(buffer *b, const char *module, const char *name) { op(b, "c"); op(b, module); op(b, "\n"); op(b, name); op(b, "\n"); }

static inline void op_text(buffer *b, const char *text)
{
    op(b, "X");
    add_number(b, strlen(text), 4);
    op(b, text);
}

static inline void op_long(buffer *b, int64_t v)
{
    op(b, "\x8a\x08");
    add_number(b, (uint64_t)v, 8);
}

/* ("storage", TYPE, KEY, "cpu", LEN) as a persistent id */
static inline void op_storage(buffer *b, const char *module, const char *type, const char *key, int64_t len)
{
    op(b, "(");
    op_text(b, "storage");
    op_global(b, module, type);
    op_text(b, key);
    op_text(b, "cpu");
    op_long(b, len);
    op(b, "tQ");
}

static inline void op_dims(buffer *b, int n, const int64_t *dims)
{
    op(b, "(");
    for (int i = 0; i < n; i++) op_long(b, dims[i]);
    op(b, "t");
}

typedef struct { const char *type; int64_t len, offset; int ndim, nstrides; int64_t shape[9], strides[9]; } tensor_spec;

/* torch._utils._rebuild_tensor_v2 over storage "0" */
static inline void op_tensor(buffer *b, const tensor_spec *t)
{
    op_global(b, "torch._utils", "_rebuild_tensor_v2");
    op(b, "(");
    op_storage(b, "torch", t->type, "0", t->len);
    op_long(b, t->offset);
    op_dims(b, t->ndim, t->shape);
    op_dims(b, t->nstrides, t->strides);
    op(b, "\x89");
    op_global(b, "collections", "OrderedDict");
    op(b, ")RtR");
}

/* --- zip: every field can be a lie ---------------------------------------------------------- */

typedef struct {
    const char *name, *local_name;         /* local_name NULL: the same          */
    const void *data;
    size_t len;
    int flags, method;
    int64_t size_lie, begin_lie, crc_lie;  /* added to the directory's fields    */
    bool wide;                             /* sizes and offset in a zip64 field  */
    bool late;                             /* sizes behind the data              */
} member;

static inline void add_local(buffer *z, const member *m, uint32_t crc)
{
    const char *name = m->local_name ? m->local_name : m->name;
    const uint64_t size = m->late ? 0 : m->wide ? 0xffffffff : m->len;
    add_number(z, 0x04034b50, 4);
    add_number(z, 20, 2);
    add_number(z, (uint64_t)(m->flags | (m->late ? 8 : 0)), 2);
    add_number(z, (uint64_t)m->method, 2);
    add_number(z, 0, 4);
    add_number(z, m->late ? 0 : crc, 4);
    add_number(z, size, 4);
    add_number(z, size, 4);
    add_number(z, strlen(name), 2);
    add_number(z, m->wide && !m->late ? 20 : 0, 2);
    op(z, name);
    if (m->wide && !m->late) {
        add_number(z, 1 | 16 << 16, 4);
        add_number(z, m->len, 8);
        add_number(z, m->len, 8);
    }
    add(z, m->data, m->len);
    if (!m->late) return;
    add_number(z, 0x08074b50, 4);
    add_number(z, crc, 4);
    add_number(z, m->len, m->wide ? 8 : 4);
    add_number(z, m->len, m->wide ? 8 : 4);
}

static inline void add_central(buffer *z, const member *m, size_t begin, uint32_t crc)
{
    const uint64_t size = m->len + (uint64_t)m->size_lie, at = begin + (uint64_t)m->begin_lie;
    add_number(z, 0x02014b50, 4);
    add_number(z, 20, 2);
    add_number(z, 20, 2);
    add_number(z, (uint64_t)(m->flags | (m->late ? 8 : 0)), 2);
    add_number(z, (uint64_t)m->method, 2);
    add_number(z, 0, 4);
    add_number(z, crc + (uint64_t)m->crc_lie, 4);
    add_number(z, m->wide ? 0xffffffff : size, 4);
    add_number(z, m->wide ? 0xffffffff : size, 4);
    add_number(z, strlen(m->name), 2);
    add_number(z, m->wide ? 28 : 0, 2);
    add_number(z, 0, 2);
    add_number(z, 0, 2);
    add_number(z, 0, 6);
    add_number(z, m->wide ? 0xffffffff : at, 4);
    op(z, m->name);
    if (!m->wide) return;
    add_number(z, 1 | 24 << 16, 4);
    add_number(z, size, 8);
    add_number(z, size, 8);
    add_number(z, at, 8);
}

static inline void add_end(buffer *z, size_t begin, size_t count, bool wide)
{
    const size_t size = z->len - begin, at = z->len;
    if (wide) {
        add_number(z, 0x06064b50, 4);
        add_number(z, 44, 8);
        add_number(z, 45 | 45 << 16, 4);
        add_number(z, 0, 8);
        add_number(z, count, 8);
        add_number(z, count, 8);
        add_number(z, size, 8);
        add_number(z, begin, 8);
        add_number(z, 0x07064b50, 4);
        add_number(z, 0, 4);
        add_number(z, at, 8);
        add_number(z, 1, 4);
    }
    add_number(z, 0x06054b50, 4);
    add_number(z, 0, 4);
    add_number(z, wide ? 0xffff : count, 2);
    add_number(z, wide ? 0xffff : count, 2);
    add_number(z, wide ? 0xffffffff : size, 4);
    add_number(z, wide ? 0xffffffff : begin, 4);
    add_number(z, 0, 2);
}

static inline buffer make_zip(const member *members, size_t count, bool wide)
{
    buffer z = { 0 };
    size_t begins[16];
    uint32_t crcs[16];
    for (size_t i = 0; i < count; i++) {
        begins[i] = z.len;
        crcs[i] = (uint32_t)crc32_z(0, members[i].data, members[i].len);
        add_local(&z, &members[i], crcs[i]);
    }
    const size_t begin = z.len;
    for (size_t i = 0; i < count; i++) add_central(&z, &members[i], begins[i], crcs[i]);
    add_end(&z, begin, count, wide);
    return z;
}

/* --- the older stream ------------------------------------------------------------------------ */

static inline void add_heading(buffer *b, int version, bool little)
{
    static const uint8_t magic[] = { 0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.' };
    add(b, magic, sizeof magic);
    op(b, "\x80\x02M");
    add_number(b, (uint64_t)version, 2);
    op(b, ".\x80\x02}");
    op_text(b, "little_endian");
    op(b, little ? "\x88s." : "\x89s.");
}

#endif
