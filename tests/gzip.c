/* gzip: plain and packed files, caps, every truncation, damage. Packed with zlib. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "io/file.h"
#include "io/gzip.h"

static const char *path_of(void **state)
{
    return *state;
}

static int make_path(void **state)
{
    char *path = strdup("/tmp/ddpm-gzip-XXXXXX");
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

static size_t pack(const uint8_t *data, size_t len, uint8_t *out, size_t room)
{
    z_stream z = { 0 };
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (z_const Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)len;
    z.next_out = out;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

static ddpm_status read_back(const char *path, const uint8_t *file, size_t file_len, size_t max, uint8_t **out, size_t *len)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(file, 1, file_len, f), file_len);
    fclose(f);
    return gzip_read_all(path, max, out, len);
}

static void plain_files(void **state)
{
    uint8_t *out;
    size_t len;
    assert_int_equal(read_back(path_of(state), (const uint8_t *)"plain", 5, 5, &out, &len), DDPM_OK);
    assert_string_equal((char *)out, "plain");
    free(out);
    assert_int_equal(read_back(path_of(state), (const uint8_t *)"plain", 5, 4, &out, &len), DDPM_EFORMAT);
    assert_int_equal(read_back(path_of(state), (const uint8_t *)"", 0, 4, &out, &len), DDPM_OK);
    assert_int_equal(len, 0);
    free(out);
    assert_int_equal(gzip_read_all("/nowhere", 4, &out, &len), DDPM_EIO);
}

enum { LARGE = 300000, PACKED = 400000 };

static void packed_files_and_their_cap(void **state)
{
    uint8_t *data = malloc(LARGE), *file = malloc(2 * PACKED), *out;
    assert_true(data && file);
    uint32_t x = 1;
    for (int i = 0; i < LARGE; i++) data[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> (i % 7 ? 24 : 29));
    size_t n = pack(data, LARGE, file, PACKED), len;
    assert_int_equal(read_back(path_of(state), file, n, LARGE, &out, &len), DDPM_OK);
    assert_int_equal(len, LARGE);
    assert_memory_equal(out, data, LARGE);
    free(out);
    assert_int_equal(read_back(path_of(state), file, n, LARGE - 1, &out, &len), DDPM_EFORMAT);
    assert_null(out);
    n += pack((const uint8_t *)"tail", 4, file + n, PACKED);
    assert_int_equal(read_back(path_of(state), file, n, LARGE + 4, &out, &len), DDPM_OK);
    assert_int_equal(len, LARGE + 4);
    assert_memory_equal(out + LARGE, "tail", 4);
    free(out);
    assert_int_equal(read_back(path_of(state), file, n, LARGE + 3, &out, &len), DDPM_EFORMAT);
    assert_int_equal(read_back(path_of(state), file, n, LARGE, &out, &len), DDPM_EFORMAT);
    free(data);
    free(file);
}

static void bombs_stop_at_the_cap(void **state)
{
    uint8_t *zeros = calloc(1, 8 << 20), *file = malloc(PACKED), *out;
    assert_true(zeros && file);
    const size_t n = pack(zeros, 8 << 20, file, PACKED);
    size_t len;
    assert_true(n < 20000);
    assert_int_equal(read_back(path_of(state), file, n, 100000, &out, &len), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "more than the 100000 bytes"));
    free(zeros);
    free(file);
}

static void damage(void **state)
{
    uint8_t file[400], *out;
    static const char text[] = "a short text, a short text, and some more of it: 0123456789";
    size_t n = pack((const uint8_t *)text, sizeof text, file, sizeof file), len;
    for (size_t cut = 2; cut < n; cut++)
        assert_int_equal(read_back(path_of(state), file, cut, 1000, &out, &len), DDPM_EFORMAT);
    int unnoticed = 0;
    for (size_t at = 10; at < n; at++) {
        file[at] ^= 0x10;
        const ddpm_status s = read_back(path_of(state), file, n, 1000, &out, &len);
        file[at] ^= 0x10;
        if (s == DDPM_OK) assert_string_equal((char *)out, text);
        else assert_int_equal(s, DDPM_EFORMAT);
        unnoticed += s == DDPM_OK;
        free(out);
    }
    assert_in_range(unnoticed, 0, 1);              /* the padding of the last deflate byte */
    file[n] = 'x';
    assert_int_equal(read_back(path_of(state), file, n + 1, 1000, &out, &len), DDPM_EFORMAT);
    assert_int_equal(read_back(path_of(state), file, n, 1000, &out, &len), DDPM_OK);
    assert_string_equal((char *)out, text);
    free(out);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_path, drop_path)
    const struct CMUnitTest tests[] = { TEST(plain_files), TEST(packed_files_and_their_cap), TEST(bombs_stop_at_the_cap), TEST(damage) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
