/* PyTorch files made byte by byte. Nearly all are wrong in one chosen place: forbidden globals and
 * instructions, wrong calls and views, lying zips and streams. Each must be refused with a sentence that
 * names the place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "io/torch_file.h"
#include "torch_maker.h"

#define GOLDEN "tests/golden/06_unet/pt/"
#define MUST(expr) do { if ((expr) != DDPM_OK) fail_msg("%s: %s", #expr, ddpm_last_error()); } while (0)

/* Reads every tensor, so that a sanitizer sees what a wrong view would reach. */
static void read_all(const torch_value *v)
{
    const torch_tensor *t = torch_as_tensor(v);
    if (t) {
        float *out = malloc(torch_tensor_len(t) * sizeof *out + 1);
        assert_non_null(out);
        MUST(torch_tensor_f32(v, out));
        free(out);
    }
    for (size_t i = 0; i < torch_len(v); i++) read_all(torch_at(v, i));
}

static void expect(buffer z, const char *sentence)
{
    torch_file *f = NULL;
    const ddpm_status s = torch_open_memory(z.data, z.len, "file", &f);
    if (!sentence) {
        if (s != DDPM_OK) fail_msg("refused: %s", ddpm_last_error());
        read_all(torch_root(f));
        torch_close(f);
    } else if (s != DDPM_EFORMAT || !strstr(ddpm_last_error(), sentence)) {
        fail_msg("wanted \"%s\", got %d \"%s\"", sentence, s, s == DDPM_OK ? "" : ddpm_last_error());
    }
    buffer_free(&z);
}

/* A pickle with 16 floats of storage "0" beside it; NULL: must open. */
static void expect_pickle(buffer *p, const char *sentence)
{
    static const float data[16] = { 1, 2, 3 };
    const member m[2] = { { .name = "x/data.pkl", .data = p->data, .len = p->len }, { .name = "x/data/0", .data = data, .len = sizeof data } };
    expect(make_zip(m, 2, false), sentence);
    buffer_free(p);
}

/* Instructions as text, with \x80\x02 before them. */
static void expect_ops(const char *ops, size_t len, const char *sentence)
{
    buffer b = { 0 };
    op(&b, "\x80\x02");
    add(&b, ops, len);
    expect_pickle(&b, sentence);
}

#define OPS(ops, sentence) expect_ops(ops, sizeof(ops) - 1, sentence)

/* What protocol 4 has more: frames, short texts, names from the stack, numberless memos. */
static void newer_protocol(void **state)
{
    (void)state;
    static const char ops[] = "\x80\x04\x95\x2a\0\0\0\0\0\0\0"
                              "\x8c\x0b" "collections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94\x8c\x01k\x94h\x04sb.";
    static const char good[] = "\x80\x04\x95\x29\0\0\0\0\0\0\0"
                               "\x8c\x0b" "collections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94\x8c\x01k\x94h\x04s.";
    buffer b = { 0 };
    torch_file *f = NULL;
    add(&b, ops, sizeof ops - 1);
    expect_pickle(&b, "too few values");
    const member m[1] = { { .name = "x/data.pkl", .data = good, .len = sizeof good - 1 } };
    buffer z = make_zip(m, 1, false);
    MUST(torch_open_memory(z.data, z.len, "file", &f));
    assert_int_equal(torch_len(torch_root(f)), 1);
    assert_string_equal(torch_as_string(torch_get(torch_root(f), "k")), "k");
    torch_close(f);
    buffer_free(&z);
}

static void small_integers(void **state)
{
    (void)state;
    static const uint8_t bytes[4] = { 0xfe, 0xff, 0x7f, 0x80 };
    static const struct { const char *type; int n; float want[4]; } cases[] = {
        { "ShortStorage", 2, { -2, -32641 } }, { "CharStorage", 4, { -2, -1, 127, -128 } }, { "ByteStorage", 4, { 254, 255, 127, 128 } },
    };
    for (int i = 0; i < 3; i++) {
        buffer b = { 0 };
        torch_file *f = NULL;
        float out[4] = { 0 };
        op(&b, "\x80\x02");
        op_tensor(&b, &(tensor_spec){ cases[i].type, cases[i].n, 0, 1, 1, { cases[i].n }, { 1 } });
        op(&b, ".");
        const member m[2] = { { .name = "x/data.pkl", .data = b.data, .len = b.len }, { .name = "x/data/0", .data = bytes, .len = 4 } };
        buffer z = make_zip(m, 2, false);
        MUST(torch_open_memory(z.data, z.len, "file", &f));
        MUST(torch_tensor_f32(torch_root(f), out));
        assert_memory_equal(out, cases[i].want, (size_t)cases[i].n * sizeof *out);
        torch_close(f);
        buffer_free(&z);
        buffer_free(&b);
    }
}

static void forbidden_globals(void **state)
{
    (void)state;
    buffer b = { 0 };
    op(&b, "\x80\x02");
    op_global(&b, "posix", "system");
    op(&b, "(");
    op_text(&b, "touch /tmp/owned");
    op(&b, "tR.");
    expect_pickle(&b, "global posix.system is not allowed (offset 42)");      /* 30 + name of 10 + protocol of 2 */
    OPS("\x8c\x02os\x8c\x06system\x93.", "global os.system is not allowed");
    OPS("cbuiltins\neval\n.", "global builtins.eval is not allowed");
    OPS("ctorch\nload\n.", "global torch.load is not allowed");
    OPS("ctorch._utils\n_rebuild_tensor_v2\x1b[2J\n.", "_rebuild_tensor_v2?[2J is not allowed");
    OPS("ccollections\nOrderedDict", "no end");
    OPS("K\x01K\x02\x93.", "the name of a global is not a text");
    OPS("ccollections\nOrderedDict\n.", "a storage or a global stands where a value belongs");
    OPS("(K\x01i__builtin__\neval\n.", "instruction 0x69");                 /* INST */
    OPS("(c__builtin__\neval\nK\x01o.", "global __builtin__.eval");
    OPS("(K\x01o.", "instruction 0x6f");                                   /* OBJ  */
    OPS("\x82\x01.", "instruction 0x82");                                  /* EXT1 */
    OPS("ccollections\nOrderedDict\n)\x81.", "instruction 0x81");         /* NEWOBJ */
    OPS("P0\n.", "instruction 0x50");                                      /* PERSID as text */
    OPS("K\x01K\x02" "2.", "instruction 0x32");                            /* DUP  */
}

/* Every instruction that is not on the list, whatever follows it. */
static void forbidden_instructions(void **state)
{
    (void)state;
    static const uint8_t allowed[] = { 0x80, 0x95, '.', 'N', 0x88, 0x89, 'K', 'M', 'J', 0x8a, 'G', 'X', 0x8c, '(', 't', ')', 0x85, 0x86, 0x87,
                                       ']', 'a', 'e', '}', 's', 'u', 'c', 0x93, 'R', 'b', 'Q', 'q', 'r', 0x94, 'h', 'j' };
    for (int code = 0; code < 256; code++) {
        buffer b = { 0 };
        char sentence[64];
        if (memchr(allowed, code, sizeof allowed)) continue;
        op(&b, "\x80\x02");
        add(&b, &(uint8_t){ (uint8_t)code }, 1);
        op(&b, "\x01.");
        snprintf(sentence, sizeof sentence, "instruction 0x%02x of the pickle is not allowed", code);
        expect_pickle(&b, sentence);
    }
}

static void wrong_calls(void **state)
{
    (void)state;
    OPS("K\x01)R.", "something is called that is not a global");
    OPS("ccollections\nOrderedDict\nK\x01R.", "the arguments of a call are not a tuple");
    OPS("ccollections\nOrderedDict\nK\x01\x85R.", "cannot be called with 1 arguments");
    OPS("ctorch._utils\n_rebuild_tensor_v2\n)R.", "cannot be called with 0 arguments");
    OPS("ctorch\nFloatStorage\n)R.", "torch.FloatStorage cannot be called");
    OPS("ctorch\nSize\nK\x01\x85R.", "not a tuple");
    OPS("ctorch\nSize\nK\x01K\x02\x86\x85R.", NULL);
    OPS("ctorch\nfloat32\n.", NULL);
    OPS("ctorch._utils\n_rebuild_parameter\n(K\x01\x88}tR.", "a parameter is not a tensor");
    OPS("K\x01Q.", "a persistent id is not");
    OPS("K\x01}b.", "not an OrderedDict");
    OPS("}}b.", "not an OrderedDict");
    OPS("ccollections\nOrderedDict\n)RK\x01" "b.", "the attributes of an OrderedDict are not a dictionary");
    OPS("ccollections\nOrderedDict\n)R}b.", NULL);
    buffer b = { 0 };
    op(&b, "\x80\x02");
    op_tensor(&b, &(tensor_spec){ "FloatStorage", 16, 0, 1, 1, { 16 }, { 1 } });
    op(&b, "}b.");
    expect_pickle(&b, "not an OrderedDict");               /* BUILD on a tensor */
}

static void wrong_stacks(void **state)
{
    (void)state;
    OPS(".", "too few values");
    OPS("t.", "no mark");
    OPS("(", "ends inside");
    OPS("K", "ends inside");
    OPS("K\x01K\x02.", "more than one value");
    OPS("(K\x01.", "more than one value");
    OPS("](.", "too few values");
    OPS("](a.", "too few values");                         /* a mark is a floor */
    OPS("K\x01K\x02" "a.", "not a list");
    OPS("}(K\x01K\x02s.", "too few values");
    OPS("]K\x01K\x02s.", "not a dictionary");               /* SETITEM on a list */
    OPS("K\x05(K\x01K\x02u.", "not a dictionary");
    OPS("}(K\x01u.", "a key without a value");
    OPS("}]K\x01s.", "neither a text nor an integer");
    OPS("}(K\x01K\x02K\x01K\x03u.", "two equal keys");
    OPS("h\x07.", "a memo is read that was not written");
    OPS("K\x01r\xff\xff\xff\xff.", "a memo's number is larger");
    OPS("K\x01r\xff\xff\xff\x7f.", "a memo's number is larger");
    OPS("K\x01\x80\x02.", "in its middle");
    OPS("\x95\xff\xff\xff\xff\xff\xff\xff\xffK\x01.", "a frame is longer");
    OPS("X\xff\xff\xff\xff" "abc.", "ends inside");
    OPS("X\x03\0\0\0a\0c.", "zero byte");
    OPS("\x8a\x09" "123456789.", "more than 64 bits");
    OPS("\x8a\x00.", NULL);
    OPS("K\x01.K\x02.", "something follows the pickle");
}

/* Containers in themselves, deep ones, and small ones that mean large ones. */
static void shapes_of_trees(void **state)
{
    (void)state;
    OPS("]q\x01h\x01" "a.", "a container holds itself");
    OPS("}q\x01K\x01h\x01s.", "a container holds itself");
    OPS("]q\x01h\x01\x85" "a.", "a container holds itself");
    OPS("]q\x01]q\x02h\x01" "a" "a.", "a container holds itself");
    for (int depth = TORCH_MAX_DEPTH; depth <= TORCH_MAX_DEPTH + 1; depth++) {
        buffer b = { 0 };
        op(&b, "\x80\x02");
        for (int i = 0; i < depth; i++) op(&b, "]");
        for (int i = 1; i < depth; i++) op(&b, "a");
        op(&b, ".");
        expect_pickle(&b, depth > TORCH_MAX_DEPTH ? "nest too deeply" : NULL);
    }
    buffer deep = { 0 };
    op(&deep, "\x80\x02");
    for (int i = 0; i < 100000; i++) op(&deep, "]");
    for (int i = 1; i < 100000; i++) op(&deep, "a");
    op(&deep, ".");
    expect_pickle(&deep, "nest too deeply");
    buffer marks = { 0 };
    op(&marks, "\x80\x02");
    for (int i = 0; i < 100000; i++) op(&marks, "(");
    expect_pickle(&marks, "nests too deeply");
    buffer laughs = { 0 };                                  /* 2^40 ones in 200 bytes */
    op(&laughs, "\x80\x02K\x01q");
    add_number(&laughs, 0, 1);
    for (int i = 0; i < 40; i++) {
        op(&laughs, "h");
        add_number(&laughs, (uint64_t)i, 1);
        op(&laughs, "\x86q");
        add_number(&laughs, (uint64_t)i + 1, 1);
    }
    op(&laughs, ".");
    expect_pickle(&laughs, "repeats values too often");
    buffer many = { 0 };
    op(&many, "\x80\x02](");
    for (int i = 0; i <= TORCH_MAX_ITEMS; i++) op(&many, "N");
    op(&many, "e.");
    expect_pickle(&many, "too many values");
}

static void views(void **state)
{
    (void)state;
    static const struct { tensor_spec t; const char *sentence; } cases[] = {
        { { "FloatStorage", 16, 0, 2, 2, { 4, 4 }, { 4, 1 } }, NULL },
        { { "FloatStorage", 16, 0, 2, 2, { 4, 4 }, { 1, 4 } }, NULL },
        { { "FloatStorage", 16, 3, 2, 2, { 2, 3 }, { 8, 2 } }, NULL },                      /* last: 3 + 8 + 4 = 15 */
        { { "FloatStorage", 16, 4, 2, 2, { 2, 3 }, { 8, 2 } }, "larger than its storage" },
        { { "FloatStorage", 16, 15, 0, 0, { 0 }, { 0 } }, NULL },
        { { "FloatStorage", 16, 16, 0, 0, { 0 }, { 0 } }, "larger than its storage" },
        { { "FloatStorage", 16, 16, 1, 1, { 0 }, { 1 } }, NULL },
        { { "FloatStorage", 16, 17, 1, 1, { 0 }, { 1 } }, "begins behind the end" },
        { { "FloatStorage", 16, 0, 3, 3, { 1, 16, 1 }, { 99, 1, 7 } }, NULL },
        { { "FloatStorage", 16, 0, 1, 1, { 17 }, { 1 } }, "larger than its storage" },
        { { "FloatStorage", 16, -1, 1, 1, { 4 }, { 1 } }, "offset of a tensor is negative" },
        { { "FloatStorage", 16, 0, 1, 1, { 4 }, { -1 } }, "negative" },
        { { "FloatStorage", 16, 0, 1, 1, { -4 }, { 1 } }, "negative" },
        { { "FloatStorage", 16, 0, 1, 1, { 4 }, { 0 } }, "overlap" },                      /* expand() */
        { { "FloatStorage", 16, 0, 2, 2, { 3, 3 }, { 2, 1 } }, "overlap" },
        { { "FloatStorage", 16, 0, 2, 2, { 2, 2 }, { 1, 1 } }, "overlap" },
        { { "FloatStorage", 16, 0, 2, 1, { 4, 4 }, { 4 } }, "more or fewer strides" },
        { { "FloatStorage", 16, 0, 9, 9, { 1, 1, 1, 1, 1, 1, 1, 1, 1 }, { 1, 1, 1, 1, 1, 1, 1, 1, 1 } }, "more than 8 dimensions" },
        { { "FloatStorage", 16, 0, 2, 2, { INT64_MAX, INT64_MAX }, { INT64_MAX, 1 } }, "larger than its storage" },
        { { "FloatStorage", 16, 0, 2, 2, { 1 << 30, 1 << 30 }, { 1 << 30, 1 } }, "larger than its storage" },
        { { "FloatStorage", 16, 0, 3, 3, { INT64_MAX, INT64_MAX, 0 }, { INT64_MAX, 1, 1 } }, NULL },    /* empty */
        { { "FloatStorage", 16, INT64_MAX, 1, 1, { 2 }, { 1 } }, "begins behind the end" },
        { { "FloatStorage", 17, 0, 1, 1, { 4 }, { 1 } }, "declared with 68 bytes" },        /* longer than its record */
        { { "FloatStorage", 15, 0, 1, 1, { 4 }, { 1 } }, "declared with 60 bytes" },
        { { "DoubleStorage", 16, 0, 1, 1, { 4 }, { 1 } }, "declared with 128 bytes" },
        { { "DoubleStorage", 8, 0, 1, 1, { 8 }, { 1 } }, NULL },
        { { "FloatStorage", INT64_MAX, 0, 1, 1, { INT64_MAX }, { 1 } }, "more than the file has room for" },
        { { "FloatStorage", -1, 0, 1, 1, { 1 }, { 1 } }, "a persistent id is not" },
        { { "ComplexFloatStorage", 16, 0, 1, 1, { 1 }, { 1 } }, "global torch.ComplexFloatStorage is not allowed" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buffer b = { 0 };
        op(&b, "\x80\x02");
        op_tensor(&b, &cases[i].t);
        op(&b, ".");
        expect_pickle(&b, cases[i].sentence);
    }
}

static void storages(void **state)
{
    (void)state;
    buffer twice = { 0 };
    op(&twice, "\x80\x02(");
    op_tensor(&twice, &(tensor_spec){ "FloatStorage", 16, 0, 1, 1, { 16 }, { 1 } });
    op_tensor(&twice, &(tensor_spec){ "IntStorage", 16, 0, 1, 1, { 16 }, { 1 } });
    op(&twice, "t.");
    expect_pickle(&twice, "declared twice and differently");
    buffer absent = { 0 };
    op(&absent, "\x80\x02");
    op_global(&absent, "torch._utils", "_rebuild_tensor");
    op(&absent, "(");
    op_storage(&absent, "torch.storage", "UntypedStorage", "../x", 16);
    op(&absent, "K");
    add_number(&absent, 0, 1);
    op_dims(&absent, 1, (int64_t[]){ 2 });
    op_dims(&absent, 1, (int64_t[]){ 1 });
    op(&absent, "tR.");
    expect_pickle(&absent, "no record data/../x");
    buffer hooks = { 0 };
    op(&hooks, "\x80\x02");
    op_global(&hooks, "torch._utils", "_rebuild_tensor_v2");
    op(&hooks, "(");
    op_storage(&hooks, "torch", "FloatStorage", "0", 16);
    op_long(&hooks, 0);
    op(&hooks, "))\x89}K\x01K\x02stR.");
    expect_pickle(&hooks, "hooks");
    buffer bare = { 0 };
    op(&bare, "\x80\x02");
    op_storage(&bare, "torch", "FloatStorage", "0", 16);
    op(&bare, ".");
    expect_pickle(&bare, "a storage or a global stands where a value belongs");
    buffer none = { 0 };
    op(&none, "\x80\x02");
    op_global(&none, "torch._utils", "_rebuild_tensor");
    op(&none, "(NK\x01))tR.");
    expect_pickle(&none, "not a storage");
}

static void zips(void **state)
{
    (void)state;
    static const char pickle[] = "\x80\x02K\x01.", other[] = "\x80\x02K\x02.";
    const member good = { .name = "x/data.pkl", .data = pickle, .len = 5 };
    static const float data[4] = { 0 };
    const struct { member a, b; const char *sentence; } cases[] = {
        { good, { .name = "x/version", .data = "3\n", .len = 2 }, NULL },
        { { .name = "x/data.pkl", .data = pickle, .len = 5, .late = true }, { .name = "x/version", .data = "3\n", .len = 2, .late = true }, NULL },
        { { .name = "x/data.pkl", .data = pickle, .len = 5, .late = true, .wide = true }, { .name = "x/v", .data = "3", .len = 1, .wide = true }, NULL },
        { good, { .name = "x/byteorder", .data = "little", .len = 6 }, NULL },
        { good, { .name = "x/byteorder", .data = "big", .len = 3 }, "byte order" },
        { good, { .name = "x/constants.pkl", .data = pickle, .len = 5 }, "TorchScript" },
        { good, { .name = "y/data.pkl", .data = other, .len = 5 }, "two pickles" },
        { { .name = "x/other", .data = pickle, .len = 5 }, { .name = "a/b/data.pkl", .data = pickle, .len = 5 }, "not PyTorch's" },
        { good, { .name = "x/data.pkl", .data = other, .len = 5 }, "two records have one name" },
        { good, { .name = "/etc/passwd", .data = data, .len = 4 }, "absolute" },
        { good, { .name = "x/../../y", .data = data, .len = 4 }, "climbing" },
        { good, { .name = "x\\y", .data = data, .len = 4 }, "not plain ASCII" },
        { good, { .name = "x/\xc3\xa4", .data = data, .len = 4 }, "not plain ASCII" },
        { good, { .name = "", .data = data, .len = 4 }, "empty" },
        { good, { .name = "x/a", .data = data, .len = 4, .flags = 1 }, "encrypted" },
        { good, { .name = "x/a", .data = data, .len = 4, .flags = 1 << 13 }, "encrypted" },
        { good, { .name = "x/a", .data = data, .len = 4, .flags = 4 }, "flags" },
        { good, { .name = "x/a", .data = data, .len = 4, .method = 8 }, "compressed (method 8" },
        { good, { .name = "x/a", .local_name = "x/b", .data = data, .len = 4 }, "contradicts the directory" },
        { good, { .name = "x/a", .data = data, .len = 16, .size_lie = -1 }, "contradict the directory" },
        { good, { .name = "x/a", .data = data, .len = 16, .size_lie = -1, .late = true }, "not those of the directory" },
        { good, { .name = "x/a", .data = data, .len = 16, .size_lie = 1000 }, "longer than the file" },
        { good, { .name = "x/a", .data = data, .len = 16, .size_lie = INT64_MAX - 100, .wide = true }, "longer than the file" },
        { good, { .name = "x/a", .data = data, .len = 16, .begin_lie = -1 }, "no record where the directory has one" },
        { good, { .name = "x/a", .data = data, .len = 16, .begin_lie = 100000 }, "outside the records" },
        { good, { .name = "x/a", .data = data, .len = 16, .begin_lie = INT64_MIN, .wide = true }, "outside the records" },
        { good, { .name = "x/a", .data = data, .len = 16, .crc_lie = 1 }, "contradict the directory" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int wide = 0; wide < 2; wide++) {
            const member m[2] = { cases[i].a, cases[i].b };
            expect(make_zip(m, 2, wide), cases[i].sentence);
        }
}

/* One record inside another one: the inner header is the outer one's data. */
static void overlapping_records(void **state)
{
    (void)state;
    static const char pickle[] = "\x80\x02K\x01.";
    buffer inner = { 0 };
    const member hidden = { .name = "x/a", .data = pickle, .len = 5 };
    add_local(&inner, &hidden, (uint32_t)crc32_z(0, (const uint8_t *)pickle, 5));
    const member outer[2] = { { .name = "x/data.pkl", .data = pickle, .len = 5 }, { .name = "x/b", .data = inner.data, .len = inner.len } };
    buffer z = { 0 };
    add_local(&z, &outer[0], (uint32_t)crc32_z(0, (const uint8_t *)pickle, 5));
    const size_t second = z.len;
    add_local(&z, &outer[1], (uint32_t)crc32_z(0, inner.data, inner.len));
    const size_t begin = z.len;
    add_central(&z, &outer[0], 0, (uint32_t)crc32_z(0, (const uint8_t *)pickle, 5));
    add_central(&z, &outer[1], second, (uint32_t)crc32_z(0, inner.data, inner.len));
    add_central(&z, &hidden, second + 30 + 3, (uint32_t)crc32_z(0, (const uint8_t *)pickle, 5));
    add_end(&z, begin, 3, false);
    buffer_free(&inner);
    expect(z, "two records overlap");
}

static void ends_of_zips(void **state)
{
    (void)state;
    static const char pickle[] = "\x80\x02K\x01.";
    const member m[1] = { { .name = "x/data.pkl", .data = pickle, .len = 5 } };
    for (int wide = 0; wide < 2; wide++) {
        buffer z = make_zip(m, 1, wide);
        op(&z, "x");
        expect(z, "does not end with a zip's end record");
    }
    static const struct { int back, value; const char *sentence; } cases[] = {
        { 22 - 4, 1, "several parts" }, { 22 - 10, 2, "several parts" }, { 22 - 16, 1, "does not lie before" }, { 22 - 20, 1, "does not end with" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buffer z = make_zip(m, 1, false);
        z.data[z.len - (size_t)cases[i].back] = (uint8_t)cases[i].value;
        expect(z, cases[i].sentence);
    }
    buffer many = make_zip(m, 1, false);                       /* a count the directory has no room for */
    many.data[many.len - 14] = many.data[many.len - 12] = 200;
    expect(many, "shorter than its number of records");
    buffer none = make_zip(m, 0, false);
    expect(none, "neither a zip");
    buffer far = make_zip(m, 1, true);
    memset(far.data + far.len - 22 - 12, 0xff, 8);
    expect(far, "zip64 end record lies outside");
    buffer count = make_zip(m, 1, true);
    memset(count.data + count.len - 22 - 20 - 24, 0x7f, 8);
    expect(count, "several parts");
}

static void wrong_checksum(void **state)
{
    (void)state;
    static const char pickle[] = "\x80\x02K\x01.";
    const member m[1] = { { .name = "x/data.pkl", .data = pickle, .len = 5 } };
    buffer z = make_zip(m, 1, false);
    z.data[30 + 10 + 3] ^= 2;                                  /* K 1 becomes K 3 */
    expect(z, "the checksum of record x/data.pkl");
}

/* --- the older stream, and others ------------------------------------------------------------------------ */

typedef struct { int version; bool little; int64_t declared; uint64_t stored; const char *listed; size_t data, extra; const char *sentence; } stream_spec;

static void streams(void **state)
{
    (void)state;
    static const stream_spec cases[] = {
        { 1001, true, 4, 4, "0", 16, 0, NULL },
        { 1000, true, 4, 4, "0", 16, 0, "not PyTorch's version 1001" },
        { 1001, false, 4, 4, "0", 16, 0, "byte order" },
        { 1001, true, 4, 3, "0", 16, 0, "declared with 4 elements, stored are 3" },
        { 1001, true, 4, 4, "0", 15, 0, "truncated" },
        { 1001, true, 4, 4, "0", 16, 1, "something follows the last storage" },
        { 1001, true, 4, 4, "1", 16, 0, "not declared" },
        { 1001, true, 4, 4, NULL, 0, 0, "declared but not stored" },
        { 1001, true, INT64_MAX, 4, "0", 16, 0, "more than the file has room for" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const stream_spec *c = &cases[i];
        static const uint8_t zeros[64] = { 0 };
        buffer b = { 0 };
        add_heading(&b, c->version, c->little);
        op(&b, "\x80\x02");
        op_tensor(&b, &(tensor_spec){ "FloatStorage", c->declared, 0, 1, 1, { 4 }, { 1 } });
        op(&b, ".\x80\x02]");
        if (c->listed) {
            op_text(&b, c->listed);
            op(&b, "a");
        }
        op(&b, ".");
        if (c->listed) add_number(&b, c->stored, 8);
        add(&b, zeros, c->data + c->extra);
        expect(b, c->sentence);
    }
}

static void other_files(void **state)
{
    (void)state;
    buffer tar = { 0 };
    static const uint8_t zeros[1024] = { 0 };
    add(&tar, zeros, sizeof zeros);
    memcpy(tar.data + 257, "ustar", 5);
    assert_true(torch_sniff(tar.data, tar.len));
    expect(tar, "is a tar");
    buffer text = { 0 };
    op(&text, "{\"values\": {}}");
    assert_false(torch_sniff(text.data, text.len));
    expect(text, "is not a PyTorch file");
    torch_file *f = NULL;
    assert_int_equal(torch_open(GOLDEN, &f), DDPM_EFORMAT);
    assert_int_equal(torch_open(GOLDEN "nothing.pt", &f), DDPM_EIO);
    assert_int_equal(torch_open(GOLDEN "index.json", &f), DDPM_EFORMAT);
    assert_null(f);
    torch_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newer_protocol), cmocka_unit_test(small_integers), cmocka_unit_test(forbidden_globals), cmocka_unit_test(forbidden_instructions), cmocka_unit_test(wrong_calls), cmocka_unit_test(wrong_stacks),
        cmocka_unit_test(shapes_of_trees), cmocka_unit_test(views), cmocka_unit_test(storages), cmocka_unit_test(zips),
        cmocka_unit_test(overlapping_records), cmocka_unit_test(ends_of_zips), cmocka_unit_test(wrong_checksum), cmocka_unit_test(streams),
        cmocka_unit_test(other_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
