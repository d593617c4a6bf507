/* npz: the bytes of the archive against the zip and npy definitions, field by field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/file.h"
#include "io/npz.h"

static const char *path_of(void **state)
{
    return *state;
}

static int make_path(void **state)
{
    char *path = strdup("/tmp/ddpm-npz-XXXXXX");
    *state = path;
    const int fd = path ? mkstemp(path) : -1;
    return fd < 0 ? -1 : close(fd);
}

static int drop_path(void **state)
{
    unlink(*state);
    free(*state);
    return 0;
}

static uint32_t field(const uint8_t *p, int bytes)
{
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++) v |= (uint32_t)p[i] << (8 * i);
    return v;
}

static uint32_t crc(const uint8_t *p, size_t n)
{
    uint32_t r = 0xffffffff;
    while (n-- > 0) {
        r ^= *p++;
        for (int k = 0; k < 8; k++) r = r & 1 ? r >> 1 ^ 0xedb88320u : r >> 1;
    }
    return ~r;
}

typedef struct { const char *name, *preamble; const void *data; size_t bytes; } expectation;

/* One entry of the central directory and what it points to; returns its length. */
static size_t check_entry(const uint8_t *file, const uint8_t *entry, const expectation *e)
{
    assert_int_equal(field(entry, 4), 0x02014b50);
    const size_t name_len = strlen(e->name);
    assert_int_equal(field(entry + 28, 2), name_len);
    assert_memory_equal(entry + 46, e->name, name_len);
    const uint8_t *local = file + field(entry + 42, 4);
    assert_int_equal(field(local, 4), 0x04034b50);
    assert_memory_equal(local + 4, entry + 6, 26);         /* version to extra length: the same */
    assert_memory_equal(local + 30, e->name, name_len);
    assert_int_equal(field(local + 8, 2), 0);              /* stored */
    const uint8_t *npy = local + 30 + name_len;
    const size_t size = field(local + 22, 4);
    assert_int_equal(field(local + 18, 4), size);
    assert_int_equal(field(local + 14, 4), crc(npy, size));
    assert_memory_equal(npy, "\x93NUMPY\x01\x00", 8);
    const size_t preamble = 10 + field(npy + 8, 2);
    assert_int_equal(preamble % 64, 0);
    assert_int_equal(npy[preamble - 1], '\n');
    assert_memory_equal(npy + 10, e->preamble, strlen(e->preamble));
    for (size_t i = 10 + strlen(e->preamble); i < preamble - 1; i++) assert_int_equal(npy[i], ' ');
    assert_int_equal(size, preamble + e->bytes);
    if (e->bytes) assert_memory_equal(npy + preamble, e->data, e->bytes);
    return 46 + name_len;
}

static void archive(void **state)
{
    static const uint8_t pixels[12] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
    static const int64_t labels[3] = { 7, -1, 1 };
    static const double scalar = 0.25;
    const int64_t shape[] = { 2, 3, 2 }, three[] = { 3 }, none[] = { 0, 4 };
    npz_writer *w;
    assert_int_equal(npz_writer_open(path_of(state), &w), DDPM_OK);
    assert_int_equal(npz_writer_add(w, "arr_0", "|u1", shape, 3, pixels), DDPM_OK);
    assert_int_equal(npz_writer_add(w, "arr_1", "<i8", three, 1, labels), DDPM_OK);
    assert_int_equal(npz_writer_add(w, "s", "<f8", NULL, 0, &scalar), DDPM_OK);
    assert_int_equal(npz_writer_add(w, "none", "<f4", none, 2, NULL), DDPM_OK);
    assert_int_equal(npz_writer_add(w, "s", "<f8", NULL, 0, &scalar), DDPM_EINVAL);
    assert_int_equal(npz_writer_add(w, "a/b", "<f8", NULL, 0, &scalar), DDPM_EINVAL);
    assert_int_equal(npz_writer_add(w, "", "<f8", NULL, 0, &scalar), DDPM_EINVAL);
    const int64_t huge[] = { 1 << 20, 1 << 10 }, wrapping[] = { (int64_t)1 << 62, 4 };
    assert_int_equal(npz_writer_add(w, "h", "<f4", huge, 2, pixels), DDPM_EINVAL);
    assert_int_equal(npz_writer_add(w, "h", "<f4", wrapping, 2, pixels), DDPM_EINVAL);
    assert_int_equal(npz_writer_finish(w), DDPM_OK);

    const expectation want[] = {
        { "arr_0.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 2), }", pixels, 12 },
        { "arr_1.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }", labels, 24 },
        { "s.npy", "{'descr': '<f8', 'fortran_order': False, 'shape': (), }", &scalar, 8 },
        { "none.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4), }", NULL, 0 }
    };
    file_map m;
    assert_int_equal(file_map_open(path_of(state), &m), DDPM_OK);
    const uint8_t *end = m.data + m.size - 22;
    assert_int_equal(field(end, 4), 0x06054b50);
    assert_int_equal(field(end + 8, 2), 4);
    assert_int_equal(field(end + 10, 2), 4);
    const uint8_t *entry = m.data + field(end + 16, 4);
    for (int i = 0; i < 4; i++) entry += check_entry(m.data, entry, &want[i]);
    assert_ptr_equal(entry, end);
    assert_int_equal(field(end + 12, 4), end - m.data - field(end + 16, 4));
    file_map_close(&m);
}

static void aborted(void **state)
{
    assert_int_equal(file_write_atomic(path_of(state), "old", 3), DDPM_OK);
    npz_writer *w;
    const uint8_t v = 1;
    assert_int_equal(npz_writer_open(path_of(state), &w), DDPM_OK);
    assert_int_equal(npz_writer_add(w, "v", "|u1", NULL, 0, &v), DDPM_OK);
    npz_writer_abort(w);
    npz_writer_abort(NULL);
    uint8_t *bytes;
    size_t len;
    assert_int_equal(file_read_all(path_of(state), 99, &bytes, &len), DDPM_OK);
    assert_string_equal((char *)bytes, "old");
    free(bytes);
}

/* Rows that came a few at a time, two arrays in turn: the file of those who had them at once. */
static void grown(void **state)
{
    enum { ROWS = 70000, COLUMNS = 5 };
    float *a = calloc(ROWS * COLUMNS, sizeof *a);
    int64_t *b = calloc(ROWS, sizeof *b);
    assert_true(a && b);
    for (int i = 0; i < ROWS * COLUMNS; i++) a[i] = (float)i / 7;
    for (int i = 0; i < ROWS; i++) b[i] = i * (int64_t)i;
    npz_writer *w;
    npz_rows *of_a, *of_b;
    uint8_t *want, *got;
    size_t want_len, got_len;
    assert_int_equal(npz_writer_open(path_of(state), &w), DDPM_OK);
    assert_int_equal(npz_writer_add(w, "a", "<f4", (int64_t[]){ ROWS, COLUMNS }, 2, a), DDPM_OK);
    assert_int_equal(npz_writer_add(w, "b", "<i8", (int64_t[]){ ROWS }, 1, b), DDPM_OK);
    assert_int_equal(npz_writer_finish(w), DDPM_OK);
    assert_int_equal(file_read_all(path_of(state), 1 << 28, &want, &want_len), DDPM_OK);
    assert_int_equal(npz_rows_new(path_of(state), "<f4", COLUMNS, &of_a), DDPM_OK);
    assert_int_equal(npz_rows_new(path_of(state), "<i8", 0, &of_b), DDPM_OK);
    for (int i = 0, n; i < ROWS; i += n) {
        n = ROWS - i < 1 + i % 977 ? ROWS - i : 1 + i % 977;
        assert_int_equal(npz_rows_add(of_a, a + i * COLUMNS, n), DDPM_OK);
        assert_int_equal(npz_rows_add(of_b, b + i, n), DDPM_OK);
    }
    assert_int_equal(npz_writer_open(path_of(state), &w), DDPM_OK);
    assert_int_equal(npz_writer_add_rows(w, "a", of_a), DDPM_OK);
    assert_int_equal(npz_writer_add_rows(w, "b", of_b), DDPM_OK);
    assert_int_equal(npz_writer_add_rows(w, "b", of_b), DDPM_EINVAL);
    assert_int_equal(npz_writer_finish(w), DDPM_OK);
    assert_int_equal(file_read_all(path_of(state), 1 << 28, &got, &got_len), DDPM_OK);
    assert_int_equal(got_len, want_len);
    assert_memory_equal(got, want, want_len);
    npz_rows_free(of_a);
    npz_rows_free(of_b);
    assert_int_equal(npz_rows_new("/nowhere/a.npz", "<i8", 0, &of_b), DDPM_EIO);
    free(a);
    free(b);
    free(want);
    free(got);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_path, drop_path)
    const struct CMUnitTest tests[] = { TEST(archive), TEST(aborted), TEST(grown) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
