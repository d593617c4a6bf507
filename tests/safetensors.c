/* Safetensors: files of the authors' tools, attacks, damage; CRC-32C.
 * The diffusers weights among the golden files were written by the safetensors
 * library: read and written again they must come out with the same bytes. The other
 * files keep another order of tensors and are compared tensor by tensor. */
#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/crc32c.h"
#include "io/file.h"
#include "io/safetensors.h"

static void crc_vectors(void **state)
{
    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
    uint8_t b[40] = { 0 };
    assert_int_equal(crc32c(0, b, 32), 0x8A9136AA);        /* RFC 3720 B.4 */
    memset(b, 0xff, sizeof b);
    assert_int_equal(crc32c(0, b, 32), 0x62A8AB43);
    for (int i = 0; i < 32; i++) b[i] = (uint8_t)i;
    assert_int_equal(crc32c(0, b, 32), 0x46DD794E);
    for (int i = 0; i < 32; i++) b[i] = (uint8_t)(31 - i);
    assert_int_equal(crc32c(0, b, 32), 0x113FDB5C);
    for (size_t cut = 0; cut <= 32; cut++)
        assert_int_equal(crc32c(crc32c(0, b, cut), b + cut, 32 - cut), 0x113FDB5C);
}

/* Bit by bit: tells a wrong entry in any of the eight tables. */
static uint32_t crc_slow(const uint8_t *p, size_t n)
{
    uint32_t r = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        r ^= p[i];
        for (int k = 0; k < 8; k++) r = r & 1 ? r >> 1 ^ 0x82F63B78u : r >> 1;
    }
    return ~r;
}

static void crc_against_bitwise(void **state)
{
    (void)state;
    uint8_t b[5000];
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof b; i++) b[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
    assert_int_equal(crc32c(0, b, sizeof b), crc_slow(b, sizeof b));
    assert_int_equal(crc32c(0, b + 1, 4093), crc_slow(b + 1, 4093));
}

/* --- golden files ------------------------------------------------------------- */

static void rewrite(const safetensors *st, const char *path)
{
    const int n = safetensors_count(st);
    safetensors_tensor *tensors = calloc((size_t)n + 1, sizeof *tensors);
    assert_non_null(tensors);
    for (int i = 0; i < n; i++) {
        tensors[i] = *safetensors_at(st, n - 1 - i);
        assert_ptr_equal(safetensors_find(st, tensors[i].name), safetensors_at(st, n - 1 - i));
    }
    const safetensors_meta meta = { "format", safetensors_metadata(st, "format") };
    assert_int_equal(safetensors_write(path, tensors, n, &meta, meta.value != NULL), DDPM_OK);
    free(tensors);
}

static void compare_files(const char *path, const char *copy)
{
    file_map a, b;
    assert_int_equal(file_map_open(path, &a), DDPM_OK);
    assert_int_equal(file_map_open(copy, &b), DDPM_OK);
    if (a.size != b.size || memcmp(a.data, b.data, a.size) != 0) fail_msg("%s is written differently", path);
    file_map_close(&a);
    file_map_close(&b);
}

static ddpm_status copy_tensor(void *ctx, int i, void *buffer)
{
    const safetensors_tensor *t = safetensors_at(ctx, i);
    if (t->bytes) memcpy(buffer, t->data, t->bytes);
    return DDPM_OK;
}

static ddpm_status fail_at_the_third(void *ctx, int i, void *buffer)
{
    return i == 2 ? ddpm_fail(DDPM_ENUMERIC, "third") : copy_tensor(ctx, i, buffer);
}

/* The same tensors made one by one, without the data at hand: the same file. */
static void streamed_files_are_the_same(void **state)
{
    (void)state;
    safetensors *st;
    assert_int_equal(safetensors_open("tests/golden/08_training/A_wd0.safetensors", &st), DDPM_OK);
    const int n = safetensors_count(st);
    safetensors_tensor *tensors = calloc((size_t)n, sizeof *tensors);
    assert_non_null(tensors);
    for (int i = 0; i < n; i++) tensors[i] = *safetensors_at(st, i);
    char whole[] = "/tmp/ddpm-st-XXXXXX", streamed[] = "/tmp/ddpm-st-XXXXXX";
    close(mkstemp(whole));
    close(mkstemp(streamed));
    assert_int_equal(safetensors_write(whole, tensors, n, NULL, 0), DDPM_OK);
    for (int i = 0; i < n; i++) tensors[i].data = NULL;
    assert_int_equal(safetensors_write_stream(streamed, tensors, n, NULL, 0, copy_tensor, st), DDPM_OK);
    compare_files(whole, streamed);
    assert_int_equal(safetensors_write_stream(streamed, tensors, n, NULL, 0, fail_at_the_third, st), DDPM_ENUMERIC);
    compare_files(whole, streamed);
    free(tensors);
    safetensors_close(st);
    unlink(whole);
    unlink(streamed);
}

static void compare_tensors(const safetensors *st, const char *copy)
{
    safetensors *other;
    assert_int_equal(safetensors_open(copy, &other), DDPM_OK);
    assert_int_equal(safetensors_count(other), safetensors_count(st));
    for (int i = 0; i < safetensors_count(st); i++) {
        const safetensors_tensor *a = safetensors_at(st, i), *b = safetensors_find(other, a->name);
        assert_non_null(b);
        assert_true(a->dtype == b->dtype && a->ndim == b->ndim && a->bytes == b->bytes);
        assert_memory_equal(a->shape, b->shape, sizeof a->shape);
        if (a->bytes) assert_memory_equal(a->data, b->data, a->bytes);
    }
    safetensors_close(other);
}

static int check_golden(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)where;
    const size_t n = strlen(path);
    if (type != FTW_F || n < 12 || strcmp(path + n - 12, ".safetensors") != 0) return 0;
    safetensors *st;
    if (safetensors_open(path, &st) != DDPM_OK) fail_msg("%s", ddpm_last_error());
    char copy[] = "/tmp/ddpm-st-XXXXXX";
    close(mkstemp(copy));
    rewrite(st, copy);
    compare_tensors(st, copy);
    if (strstr(path, "diffusion_pytorch_model")) compare_files(path, copy);
    safetensors_close(st);
    unlink(copy);
    return 0;
}

static void golden_files_come_out_the_same(void **state)
{
    (void)state;
    assert_int_equal(nftw("tests/golden", check_golden, 16, FTW_PHYS), 0);
}

/* --- files made here ------------------------------------------------------------ */

typedef struct {
    uint8_t bytes[4096];
    size_t len;
} blob;

/* A file of the header text and `data_len` data bytes 0, 1, 2, ... */
static blob make(const char *header, size_t data_len)
{
    blob b = { 0 };
    const uint64_t n = strlen(header);
    memcpy(b.bytes, &n, 8);
    memcpy(b.bytes + 8, header, n);
    for (size_t i = 0; i < data_len; i++) b.bytes[8 + n + i] = (uint8_t)i;
    b.len = 8 + n + data_len;
    return b;
}

/* From an allocation of exactly the size, so that a sanitizer sees every overrun. */
static ddpm_status open_blob(const uint8_t *bytes, size_t len, size_t *tensors)
{
    uint8_t *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    if (len) memcpy(exact, bytes, len);
    safetensors *st;
    const ddpm_status s = safetensors_open_memory(exact, len, "test", &st);
    if (s == DDPM_OK) {
        *tensors = (size_t)safetensors_count(st);
        for (int i = 0; i < safetensors_count(st); i++) (void)safetensors_crc32c(safetensors_at(st, i));
    } else {
        assert_null(st);
        assert_true(strlen(ddpm_last_error()) > 0);
    }
    safetensors_close(st);
    free(exact);
    return s;
}

static const char sound[] = "{\"__metadata__\":{\"a\":\"b\"},\"x\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
                            "\"y\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[8,11]},"
                            "\"s\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[11,13]},"
                            "\"e\":{\"dtype\":\"I64\",\"shape\":[0,7],\"data_offsets\":[13,13]}}   ";

static void reads_what_is_there(void **state)
{
    (void)state;
    const blob b = make(sound, 13);
    safetensors *st;
    assert_int_equal(safetensors_open_memory(b.bytes, b.len, "test", &st), DDPM_OK);
    assert_int_equal(safetensors_count(st), 4);
    assert_string_equal(safetensors_metadata(st, "a"), "b");
    assert_null(safetensors_metadata(st, "c"));
    const safetensors_tensor *t;
    assert_int_equal(safetensors_need(st, "y", &t), DDPM_OK);
    assert_int_equal(t->dtype, ST_U8);
    assert_true(t->ndim == 1 && t->shape[0] == 3 && t->bytes == 3);
    assert_memory_equal(t->data, "\x08\x09\x0a", 3);
    assert_int_equal(safetensors_need(st, "z", &t), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "tensor \"z\" is missing"));
    t = safetensors_find(st, "s");
    assert_true(t->ndim == 0 && safetensors_len(t) == 1);
    assert_int_equal(safetensors_len(safetensors_find(st, "e")), 0);
    assert_null(safetensors_find(st, "__metadata__"));
    float f;
    assert_int_equal(safetensors_convert_f32(safetensors_find(st, "y"), &f), DDPM_EFORMAT);
    safetensors_close(st);
    safetensors_close(NULL);
}

#define X1 "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
#define ENTRY(dtype, shape, offsets) "{\"x\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void refuses_attacks(void **state)
{
    (void)state;
    static const struct { const char *header; size_t data; } wrong[] = {
        { "", 0 }, { " {}", 0 }, { "[]", 0 }, { "{", 0 }, { "{}x", 0 }, { "{}", 1 },
        { X1 "}", 7 }, { X1 "}", 9 }, { X1 ",\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8 },
        { X1 ",\"y\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8 },           /* the same data twice */
        { X1 ",\"y\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12 },         /* overlap             */
        { X1 ",\"y\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]}}", 20 },        /* hole                */
        { X1 ",\"y\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]},"               /* overlap and hole    */
          "\"z\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16,24]}}", 24 },
        { ENTRY("\"F32\"", "[2]", "[4,12]"), 12 }, { ENTRY("\"F32\"", "[2]", "[8,0]"), 8 },
        { ENTRY("\"F32\"", "[2]", "[-8,0]"), 8 }, { ENTRY("\"F32\"", "[2]", "[0,8,8]"), 8 },
        { ENTRY("\"F32\"", "[2]", "[0]"), 8 }, { ENTRY("\"F32\"", "[2]", "[0.0,8.0]"), 8 },
        { ENTRY("\"F32\"", "[2]", "[0,9223372036854775807]"), 8 }, { ENTRY("\"F32\"", "[3]", "[0,8]"), 8 },
        { ENTRY("\"F32\"", "[-2]", "[0,8]"), 8 }, { ENTRY("\"F32\"", "[\"2\"]", "[0,8]"), 8 },
        { ENTRY("\"F32\"", "2", "[0,8]"), 8 }, { ENTRY("\"f32\"", "[2]", "[0,8]"), 8 },
        { ENTRY("\"F4\"", "[2]", "[0,1]"), 1 }, { ENTRY("7", "[2]", "[0,8]"), 8 },
        { ENTRY("\"F32\"", "[4611686018427387904]", "[0,0]"), 0 },                              /* 2^62 * 4 wraps to 0 */
        { ENTRY("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0 },
        { ENTRY("\"U8\"", "[18446744073709551615]", "[0,8]"), 8 },
        { ENTRY("\"F32\"", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8 },
        { "{\"x\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8 }, { "{\"x\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8 },
        { "{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8 }, { "{\"x\":[]}", 0 }, { "{\"x\":null}", 0 },
        { "{\"__metadata__\":{\"a\":1}}", 0 }, { "{\"__metadata__\":[]}", 0 },
        { "{\"__metadata__\":{\"a\":\"b\",\"a\":\"b\"}}", 0 }, { "{\"\xff\":{}}", 0 }
    };
    size_t n;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const blob b = make(wrong[i].header, wrong[i].data);
        if (open_blob(b.bytes, b.len, &n) != DDPM_EFORMAT) fail_msg("accepted: %s", wrong[i].header);
    }
    blob b = make("{}", 0);
    assert_int_equal(open_blob(b.bytes, b.len, &n), DDPM_OK);
    assert_int_equal(n, 0);
    b = make(X1 ",\"y\":{\"dtype\":\"F16\",\"shape\":[1,1],\"data_offsets\":[8,10]}}", 10);
    assert_int_equal(open_blob(b.bytes, b.len, &n), DDPM_OK);
    assert_int_equal(n, 2);
}

static void refuses_lying_header_lengths(void **state)
{
    (void)state;
    static const uint64_t lengths[] = { 0, 1, 100000001, UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63, 4000, 100000000 };
    size_t n;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        blob b = make(sound, 13);
        memcpy(b.bytes, &lengths[i], 8);
        assert_int_equal(open_blob(b.bytes, b.len, &n), DDPM_EFORMAT);
    }
}

static void refuses_deep_headers(void **state)
{
    (void)state;
    char deep[3000] = "{\"x\":";
    memset(deep + 5, '[', sizeof deep - 6);
    const blob b = make(deep, 0);
    size_t n;
    assert_int_equal(open_blob(b.bytes, b.len, &n), DDPM_EFORMAT);
}

static void every_prefix_is_refused(void **state)
{
    (void)state;
    const blob b = make(sound, 13);
    size_t n;
    for (size_t len = 0; len < b.len; len++)
        if (open_blob(b.bytes, len, &n) != DDPM_EFORMAT) fail_msg("%zu of %zu bytes accepted", len, b.len);
    assert_int_equal(open_blob(b.bytes, b.len, &n), DDPM_OK);
}

static void survives_mutations(void **state)
{
    (void)state;
    const blob b = make(sound, 13);
    uint32_t x = 7;
    int refused = 0;
    for (int k = 0; k < 2000; k++) {
        blob m = b;
        x = x * 1664525u + 1013904223u;
        const size_t at = (x >> 8) % (b.len - 13);
        x = x * 1664525u + 1013904223u;
        m.bytes[at] = (uint8_t)(x >> 24);
        size_t n;
        const ddpm_status s = open_blob(m.bytes, m.len, &n);
        assert_true(s == DDPM_OK || s == DDPM_EFORMAT);
        refused += s != DDPM_OK;
    }
    assert_true(refused > 1000);
}

static void prefixes_of_a_golden_file(void **state)
{
    (void)state;
    file_map m;
    assert_int_equal(file_map_open("tests/golden/05_resampler/resampler.safetensors", &m), DDPM_OK);
    safetensors *st;
    for (size_t len = 0; len < m.size; len++)
        assert_int_equal(safetensors_open_memory(m.data, len, "test", &st), DDPM_EFORMAT);
    file_map_close(&m);
}

/* --- values ------------------------------------------------------------------------ */

static void converts_to_f32(void **state)
{
    (void)state;
    static const uint16_t half[] = { 0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x83ff, 0x8000, 0x7c00, 0xfc00, 0x3555, 0x7e00 };
    static const float halves[] = { 1, -2, 65504, 0x1p-14f, 0x1p-24f, -0x1.ff8p-15f, -0.0f, INFINITY, -INFINITY, 0x1.554p-2f };
    safetensors_tensor t = { .name = "h", .dtype = ST_F16, .ndim = 1, .shape = { 11 }, .data = half, .bytes = 22 };
    float out[11];
    assert_int_equal(safetensors_convert_f32(&t, out), DDPM_OK);
    assert_memory_equal(out, halves, sizeof halves);
    assert_true(isnan(out[10]));
    static const double wide[] = { 0.1, 1e300, -1.5 };
    t = (safetensors_tensor){ .name = "d", .dtype = ST_F64, .ndim = 1, .shape = { 3 }, .data = wide, .bytes = 24 };
    assert_int_equal(safetensors_convert_f32(&t, out), DDPM_OK);
    assert_true(out[0] == 0.1f && isinf(out[1]) && out[2] == -1.5f);
    static const uint16_t brain[] = { 0x3f80, 0xc049 };
    t = (safetensors_tensor){ .name = "b", .dtype = ST_BF16, .ndim = 1, .shape = { 2 }, .data = brain, .bytes = 4 };
    assert_int_equal(safetensors_convert_f32(&t, out), DDPM_OK);
    assert_true(out[0] == 1.0f && out[1] == -3.140625f);
}

static void writer_checks_names(void **state)
{
    (void)state;
    static const float v[2] = { 1, 2 };
    const safetensors_tensor a = { .name = "a", .dtype = ST_F32, .ndim = 1, .shape = { 2 }, .data = v, .bytes = 8 };
    safetensors_tensor two[2] = { a, a };
    char path[] = "/tmp/ddpm-st-XXXXXX";
    close(mkstemp(path));
    assert_int_equal(safetensors_write(path, two, 2, NULL, 0), DDPM_EINVAL);
    two[1].name = "__metadata__";
    assert_int_equal(safetensors_write(path, two, 2, NULL, 0), DDPM_EINVAL);
    two[1].name = "q\"uote";
    const safetensors_meta meta[2] = { { "k", "line\nbreak" }, { "crc", "1" } };
    assert_int_equal(safetensors_write(path, two, 2, meta, 2), DDPM_OK);
    safetensors *st;
    assert_int_equal(safetensors_open(path, &st), DDPM_OK);
    assert_string_equal(safetensors_metadata(st, "k"), "line\nbreak");
    assert_memory_equal(safetensors_find(st, "q\"uote")->data, v, 8);
    assert_string_equal(safetensors_path(st), path);
    assert_int_equal((uintptr_t)safetensors_at(st, 0)->data % 8, 0);
    safetensors_close(st);
    assert_int_equal(safetensors_write(path, NULL, 0, NULL, 0), DDPM_OK);
    assert_int_equal(safetensors_open(path, &st), DDPM_OK);
    assert_int_equal(safetensors_count(st), 0);
    safetensors_close(st);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_vectors), cmocka_unit_test(crc_against_bitwise),
        cmocka_unit_test(golden_files_come_out_the_same), cmocka_unit_test(streamed_files_are_the_same),
        cmocka_unit_test(reads_what_is_there),
        cmocka_unit_test(refuses_attacks), cmocka_unit_test(refuses_lying_header_lengths),
        cmocka_unit_test(refuses_deep_headers), cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(survives_mutations), cmocka_unit_test(prefixes_of_a_golden_file),
        cmocka_unit_test(converts_to_f32), cmocka_unit_test(writer_checks_names)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
