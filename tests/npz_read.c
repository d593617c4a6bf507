/* Reading npz: archives that numpy wrote (tests/data/npz), what the writer wrote, and damaged ones. */
#include "io/file.h"
#include "io/npz.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#define DATA "tests/data/npz/"

static void check(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

/* (37 k) mod 251, [3,4,5,3] */
static void check_images(npz_reader *r)
{
    npz_array a;
    check(npz_reader_get(r, "arr_0", &a));
    assert_string_equal(a.descr, "|u1");
    assert_int_equal(a.ndim, 4);
    assert_memory_equal(a.shape, ((int64_t[4]){ 3, 4, 5, 3 }), 4 * sizeof *a.shape);
    assert_int_equal(a.bytes, 180);
    for (int k = 0; k < 180; k++) assert_int_equal(a.data[k], 37 * k % 251);
}

static void test_numpys_archives(void **state)
{
    (void)state;
    static const char *const FILES[] = { "stored", "deflated", "version2", "streamed" };
    for (size_t i = 0; i < 4; i++) {
        char path[64];
        npz_reader *r = NULL;
        npz_array a;
        snprintf(path, sizeof path, DATA "%s.npz", FILES[i]);
        check(npz_reader_open(path, &r));
        check_images(r);
        check_images(r);                       /* once more from the reader's copy */
        assert_false(npz_reader_has(r, "arr_7"));
        assert_int_equal(npz_reader_get(r, "arr_7", &a), DDPM_EFORMAT);
        if (i < 2) {
            assert_int_equal(npz_reader_count(r), 2);
            check(npz_reader_get(r, "arr_1", &a));
            assert_string_equal(a.descr, "<i8");
            assert_memory_equal(a.data, ((int64_t[3]){ 2, 0, 1 }), 24);
        }
        npz_reader_free(r);
    }
}

static void test_types(void **state)
{
    (void)state;
    npz_reader *r = NULL;
    check(npz_reader_open(DATA "types.npz", &r));
    const float a[2] = { 1.5f, -2.25f };
    const double b[2] = { 1e300, -0.5 };
    const int64_t c = 7;
    const int8_t e = -3;
    const uint16_t half = 0x3e00;
    const int32_t g = -70000;
    const struct { const char *name, *descr; int ndim; int64_t shape[2]; const void *data; size_t bytes; } WANT[] = {
        { "a", "<f4", 1, { 2 }, a, 8 },    { "b", "<f8", 2, { 2, 1 }, b, 16 }, { "c", "<i8", 0, { 0 }, &c, 8 }, { "d", "|u1", 2, { 0, 3 }, NULL, 0 },
        { "e", "|i1", 2, { 1, 1 }, &e, 1 }, { "f", "<f2", 1, { 1 }, &half, 2 }, { "g", "<i4", 1, { 1 }, &g, 4 },
    };
    for (size_t i = 0; i < sizeof WANT / sizeof *WANT; i++) {
        npz_array got;
        check(npz_reader_get(r, WANT[i].name, &got));
        assert_string_equal(got.descr, WANT[i].descr);
        assert_int_equal(got.ndim, WANT[i].ndim);
        assert_memory_equal(got.shape, WANT[i].shape, (size_t)got.ndim * sizeof *got.shape);
        assert_int_equal(got.bytes, WANT[i].bytes);
        if (got.bytes) assert_memory_equal(got.data, WANT[i].data, got.bytes);
    }
    npz_reader_free(r);
}

static void test_refused_arrays(void **state)
{
    (void)state;
    static const struct { const char *name, *says; } REFUSED[] = {
        { "fortran", "Fortran" }, { "big", "little-endian" }, { "text", "little-endian" }, { "objects", "pickled" }, { "flags", "little-endian" },
        { "record", "does not begin" },
    };
    npz_reader *r = NULL;
    check(npz_reader_open(DATA "refused.npz", &r));
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        npz_array a;
        assert_int_equal(npz_reader_get(r, REFUSED[i].name, &a), DDPM_EFORMAT);
        if (!strstr(ddpm_last_error(), REFUSED[i].says)) fail_msg("%s: %s", REFUSED[i].name, ddpm_last_error());
    }
    npz_reader_free(r);
    assert_int_equal(npz_reader_open(DATA "absent.npz", &r), DDPM_EIO);
    assert_int_equal(npz_reader_open("tests/npz_read.c", &r), DDPM_EFORMAT);
}

static void test_what_the_writer_wrote(void **state)
{
    (void)state;
    const char *path = "/tmp/ddpm-npz-read-test.npz";
    const double values[6] = { 1, -2, 3e-9, 4, 5, 6 };
    npz_writer *w = NULL;
    npz_reader *r = NULL;
    npz_array a;
    check(npz_writer_open(path, &w));
    check(npz_writer_add(w, "values", "<f8", (int64_t[2]){ 2, 3 }, 2, values));
    check(npz_writer_add(w, "scalar", "<f8", NULL, 0, values + 2));
    check(npz_writer_finish(w));
    check(npz_reader_open(path, &r));
    check(npz_reader_get(r, "values", &a));
    assert_true(a.ndim == 2 && a.shape[0] == 2 && a.shape[1] == 3);
    assert_memory_equal(a.data, values, sizeof values);
    check(npz_reader_get(r, "scalar", &a));
    assert_int_equal(a.ndim, 0);
    assert_memory_equal(a.data, values + 2, sizeof *values);
    npz_reader_free(r);
    unlink(path);
}

/* --- damage ---------------------------------------------------------------------------------- */

static uint32_t field(const uint8_t *p, int bytes)
{
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++) v |= (uint32_t)p[i] << (8 * i);
    return v;
}

static void put(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (8 * i));
}

/* The array, or DDPM_EFORMAT from opening or reading; anything else fails the test. */
static bool reads(const uint8_t *bytes, size_t len)
{
    npz_reader *r = NULL;
    npz_array a;
    ddpm_status s = npz_reader_open_memory(bytes, len, "test", &r);
    if (s == DDPM_OK) s = npz_reader_get(r, "arr_0", &a);
    if (s != DDPM_OK && s != DDPM_EFORMAT) fail_msg("%d: %s", (int)s, ddpm_last_error());
    npz_reader_free(r);
    return s == DDPM_OK;
}

static void test_truncated(void **state)
{
    (void)state;
    static const char *const FILES[] = { DATA "stored.npz", DATA "deflated.npz", DATA "streamed.npz" };
    for (size_t i = 0; i < 3; i++) {
        uint8_t *bytes = NULL;
        size_t len;
        check(file_read_all(FILES[i], 1 << 16, &bytes, &len));
        assert_true(reads(bytes, len));
        for (size_t n = 0; n < len; n++) {
            uint8_t *cut = malloc(n + 1);      /* of this size, so that a sanitizer sees reads behind it */
            assert_non_null(cut);
            memcpy(cut, bytes, n);
            assert_false(reads(cut, n));
            free(cut);
        }
        free(bytes);
    }
}

/* One wrong byte is noticed or changes nothing of the array (a date, a version). */
static void test_wrong_bytes(void **state)
{
    (void)state;
    static const char *const FILES[] = { DATA "stored.npz", DATA "deflated.npz", DATA "streamed.npz" };
    for (size_t i = 0; i < 3; i++) {
        uint8_t *bytes = NULL;
        size_t len;
        check(file_read_all(FILES[i], 1 << 16, &bytes, &len));
        for (size_t at = 0; at < len; at++)
            for (int bit = 0; bit < 8; bit++) {
                bytes[at] ^= (uint8_t)(1 << bit);
                if (reads(bytes, len)) {
                    npz_reader *r = NULL;
                    check(npz_reader_open_memory(bytes, len, "test", &r));
                    check_images(r);
                    npz_reader_free(r);
                }
                bytes[at] ^= (uint8_t)(1 << bit);
            }
        free(bytes);
    }
}

/* Sizes that the file cannot hold are refused before memory is taken. */
static void test_claims(void **state)
{
    (void)state;
    uint8_t *bytes = NULL;
    size_t len;
    check(file_read_all(DATA "streamed.npz", 1 << 16, &bytes, &len));
    uint8_t *central = bytes + field(bytes + len - 22 + 16, 4), *descriptor = central - 16;
    assert_int_equal(field(descriptor, 4), 0x08074b50);
    put(central + 24, 0xfffffff0);
    put(descriptor + 12, 0xfffffff0);
    assert_false(reads(bytes, len));
    assert_non_null(strstr(ddpm_last_error(), "can hold"));
    put(central + 24, 309);                    /* one byte more, and one less, than the data give */
    put(descriptor + 12, 309);
    assert_false(reads(bytes, len));
    put(central + 24, 307);
    put(descriptor + 12, 307);
    assert_false(reads(bytes, len));
    free(bytes);
}

/* A header in a stored archive, with a checksum that fits. */
static bool header_reads(const char *header)
{
    uint8_t *bytes = NULL;
    size_t len;
    check(file_read_all(DATA "version2.npz", 1 << 16, &bytes, &len));
    uint8_t *central = bytes + field(bytes + len - 22 + 16, 4), *npy = bytes + 30 + field(bytes + 26, 2) + field(bytes + 28, 2);
    const size_t size = field(central + 24, 4), room = field(npy + 8, 4);
    assert_int_equal(npy[6], 2);
    assert_true(strlen(header) < room);
    memset(npy + 12, ' ', room - 1);
    memcpy(npy + 12, header, strlen(header));
    put(central + 16, (uint32_t)crc32_z(0, npy, size));
    put(bytes + 14, field(central + 16, 4));
    const bool good = reads(bytes, len);
    free(bytes);
    return good;
}

static void test_headers(void **state)
{
    (void)state;
    static const char *const GOOD[] = {
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4, 5, 3), }", "{'shape':(180,),'descr':'|u1','fortran_order':False}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (45, 1,), }", "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4, 5, 3)}",
    };
    static const char *const BAD[] = {
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4, 5, 4), }",        /* more than there is  */
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4, 5, 2), }",        /* less                */
        "{'descr': '|u1', 'fortran_order': False, 'shape': (180), }",               /* no tuple            */
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-180,), }", "{'descr': '|u1', 'fortran_order': False, 'shape': (0180,), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (18446744073709551796,), }",          /* 2^64 + 180 */
        "{'descr': '|u1', 'fortran_order': False, 'shape': (4611686018427387904, 4, 180), }",    /* wraps      */
        "{'descr': '|u1', 'fortran_order': False, 'shape': (180,), 'x': 1}", "{'descr': '|u1', 'fortran_order': False}",
        "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (180,)}", "{'descr': '|u1', 'fortran_order': False, 'shape': (180,)} x",
        "{'descr': '|u1' 'fortran_order': False, 'shape': (180,)}", "{'descr': '|u1', 'fortran_order': True, 'shape': (180,)}",
        "{'descr': '|u1', 'fortran_order': 0, 'shape': (180,)}", "{'descr': '>u1', 'fortran_order': False, 'shape': (180,)}",
        "{'descr': '|u1", "{", "", "{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,180)}",
    };
    for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++)
        if (!header_reads(GOOD[i])) fail_msg("%s: %s", GOOD[i], ddpm_last_error());
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        if (header_reads(BAD[i])) fail_msg("accepted: %s", BAD[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numpys_archives), cmocka_unit_test(test_types),  cmocka_unit_test(test_refused_arrays), cmocka_unit_test(test_what_the_writer_wrote),
        cmocka_unit_test(test_truncated),       cmocka_unit_test(test_wrong_bytes), cmocka_unit_test(test_claims),    cmocka_unit_test(test_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
