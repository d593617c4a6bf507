/* events.c - TensorBoard event files against bytes that its own formats' documentation gives.
 *
 * The reader here is a second, plain one: records with their checksums (a bitwise CRC-32C), then
 * the fields of a message by number. */
#include "io/events.h"
#include "io/file.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct { const uint8_t *p; size_t len; } span;

static uint32_t slow_crc(span s)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < s.len; i++) {
        crc ^= s.p[i];
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The next record's bytes; checks both sums. */
static span next_record(span *file)
{
    assert_true(file->len >= 16);
    const uint32_t len = read_u32(file->p);
    assert_int_equal(read_u32(file->p + 4), 0);
    assert_int_equal(read_u32(file->p + 8), slow_crc((span){ file->p, 8 }));
    assert_true(file->len >= 16 + (size_t)len);
    const span record = { file->p + 12, len };
    assert_int_equal(read_u32(record.p + len), slow_crc(record));
    *file = (span){ record.p + len + 4, file->len - 16 - len };
    return record;
}

static uint64_t varint(span *m)
{
    uint64_t x = 0;
    for (int shift = 0;; shift += 7) {
        assert_true(m->len > 0 && shift < 64);
        const uint8_t byte = *m->p;
        *m = (span){ m->p + 1, m->len - 1 };
        x |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return x;
    }
}

/* The value of field `number`, its occurrence `which`: its bytes, or a varint in *integer. */
static span field(span m, int number, int which, uint64_t *integer)
{
    while (m.len) {
        const uint64_t key = varint(&m);
        uint64_t x = 0;
        span v = { m.p, key % 8 == 1 ? 8 : key % 8 == 5 ? 4 : 0 };
        if (key % 8 == 0) x = varint(&m);
        if (key % 8 == 2) {
            const uint64_t len = varint(&m);
            v = (span){ m.p, len };
        }
        assert_true(v.len <= m.len);
        if (key % 8) m = (span){ m.p + v.len, m.len - v.len };
        if (key / 8 != (uint64_t)number || which--) continue;
        if (integer) *integer = x;
        return v;
    }
    fail_msg("no field %d", number);
    return m;
}

static bool is_text(span s, const char *text) { return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0; }

static char *make_folder(char *dir)
{
    assert_non_null(mkdtemp(dir));
    return dir;
}

/* The only file of a folder, which must be named as TensorBoard looks for it. */
static uint8_t *read_only_file(const char *dir, size_t *len)
{
    DIR *d = opendir(dir);
    char path[1024] = "";
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        assert_string_equal(path, "");
        assert_non_null(strstr(e->d_name, "tfevents"));
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    }
    closedir(d);
    uint8_t *bytes;
    assert_int_equal(file_read_all(path, 1 << 20, &bytes, len), DDPM_OK);
    unlink(path);
    rmdir(dir);
    return bytes;
}

static void test_records(void **state)
{
    (void)state;
    char dir[] = "/tmp/ddpm-events-XXXXXX";
    events *e;
    assert_int_equal(events_open(make_folder(dir), 300, &e), DDPM_OK);
    const events_scalar scalars[] = { { "train/loss", 0.5 }, { "train/lr", -2e-4 } };
    assert_int_equal(events_scalars(e, 1000000, scalars, 2), DDPM_OK);
    char png[300];
    memset(png, 7, sizeof png);
    assert_int_equal(events_image(e, 301, "samples", &(events_png){ .w = 200, .h = 3, .c = 1, .png = png, .len = sizeof png }), DDPM_OK);
    events_close(e);

    size_t len;
    uint8_t *bytes = read_only_file(dir, &len);
    span file = { bytes, len };
    const span version = next_record(&file), session = next_record(&file), numbers = next_record(&file), picture = next_record(&file);
    assert_int_equal(file.len, 0);

    uint64_t x;
    double wall;
    assert_true(is_text(field(version, 3, 0, NULL), "brain.Event:2"));
    memcpy(&wall, field(version, 1, 0, NULL).p, sizeof wall);
    assert_true(wall > 1.6e9);
    field(session, 2, 0, &x);
    assert_int_equal(x, 300);
    field(field(session, 7, 0, NULL), 1, 0, &x);
    assert_int_equal(x, 1);                                      /* START */

    field(numbers, 2, 0, &x);
    assert_int_equal(x, 1000000);
    const span summary = field(numbers, 5, 0, NULL);
    for (int i = 0; i < 2; i++) {
        const span value = field(summary, 1, i, NULL);
        float f;
        assert_true(is_text(field(value, 1, 0, NULL), scalars[i].tag));
        memcpy(&f, field(value, 2, 0, NULL).p, sizeof f);
        assert_true(f == (float)scalars[i].value);
    }

    const span im = field(field(field(picture, 5, 0, NULL), 1, 0, NULL), 4, 0, NULL);
    const int expected[] = { 3, 200, 1 };
    for (int i = 0; i < 3; i++) {
        field(im, i + 1, 0, &x);
        assert_int_equal(x, expected[i]);
    }
    const span encoded = field(im, 4, 0, NULL);
    assert_int_equal(encoded.len, sizeof png);
    assert_memory_equal(encoded.p, png, sizeof png);
    free(bytes);
}

/* A folder that cannot be made is an error with its name. */
static void test_errors(void **state)
{
    (void)state;
    events *e;
    assert_int_equal(events_open("/proc/none/tb", 0, &e), DDPM_EIO);
    assert_null(e);
    assert_non_null(strstr(ddpm_last_error(), "/proc/none"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_records), cmocka_unit_test(test_errors) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
