/* Packed data sets: the same images, labels and names as what was packed; and files that are not what they say. */
#include "data/pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "data/loader.h"
#include "data/packed_file.h"
#include "io/file.h"
#include "io/image.h"
#include "lmdb_maker.h"
#include "sha256.h"

enum { COUNT = 11, SIDE_H = 6, SIDE_W = 5 };

static char root[] = "/tmp/ddpm-packed-XXXXXX";

/* root/..., one of four buffers in turn. */
static const char *at(const char *below)
{
    static char path[4][512];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", root, below);
    return path[turn];
}

static void ok(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

static void fails(ddpm_status s, ddpm_status want, const char *says)
{
    if (s != want || !strstr(ddpm_last_error(), says)) fail_msg("status %d, no \"%s\" in: %s", (int)s, says, ddpm_last_error());
}

/* An image whose bytes say which one it is. */
static void put_image(const char *below, int number, int h, int w, int c)
{
    image im = {w, h, c, malloc((size_t)(w * h * c))};
    char path[512];
    assert_non_null(im.data);
    for (int i = 0; i < w * h * c; i++) im.data[i] = (uint8_t)(number * 41 + i * 13 + i * i);
    snprintf(path, sizeof path, "%s", at(below));
    *strrchr(path, '/') = 0;
    ok(dir_make(path));
    ok(png_write(at(below), &im, NULL, 0));
    image_free(&im);
}

/* COUNT images in three classes. */
static void make_source(void)
{
    static const char *const classes[] = {"ant", "bee", "cow"};
    for (int i = 0; i < COUNT; i++) {
        char name[64];
        snprintf(name, sizeof name, "source/%s/%02d.png", classes[i % 3], i);
        put_image(name, i, SIDE_H, SIDE_W, 3);
    }
}

static ddpm_status pack_to(const char *data, const dataset_options *o, const char *out, bool strict, pack_result *r)
{
    dataset *d;
    pool *p;
    DDPM_TRY(dataset_open(data, o, &d));
    ok(pool_new(3, &p));
    const ddpm_status s = dataset_pack(d, out, p, strict, NULL, r);
    pool_free(p);
    dataset_close(d);
    return s;
}

/* Sets whose images, labels and names are the same; the second one is packed. */
static void assert_same(const dataset *a, const dataset *b, bool in_place)
{
    dataset_reader *ra, *rb;
    uint8_t *x = malloc(dataset_image_bytes(a)), *y = malloc(dataset_image_bytes(a));
    ok(dataset_reader_new(a, &ra));
    ok(dataset_reader_new(b, &rb));
    assert_int_equal(dataset_count(a), dataset_count(b));
    assert_int_equal(dataset_image_bytes(a), dataset_image_bytes(b));
    assert_int_equal(dataset_height(a), dataset_height(b));
    assert_int_equal(dataset_n_classes(a), dataset_n_classes(b));
    for (int i = 0; i < dataset_n_classes(a); i++) assert_string_equal(dataset_class_name(a, i), dataset_class_name(b, i));
    for (int64_t i = 0; i < dataset_count(a); i++) {
        int la, lb;
        ok(dataset_read(a, ra, i, x, &la));
        ok(dataset_read(b, rb, i, y, &lb));
        assert_int_equal(la, lb);
        assert_memory_equal(x, y, dataset_image_bytes(a));
        assert_int_equal(dataset_pixels(b, i) != NULL, in_place);
        if (in_place) assert_memory_equal(x, dataset_pixels(b, i), dataset_image_bytes(a));
    }
    dataset_reader_free(ra);
    dataset_reader_free(rb);
    free(x);
    free(y);
}

static void test_same_as_the_source(void **state)
{
    (void)state;
    pack_result r;
    dataset *a, *b;
    uint8_t *bytes;
    size_t len;
    char hex[65];
    ok(pack_to(at("source"), NULL, at("whole.ddpmdata"), true, &r));
    assert_int_equal(r.images, COUNT);
    assert_int_equal(r.skipped, 0);
    ok(dataset_open(at("source"), NULL, &a));
    ok(dataset_open(at("whole.ddpmdata"), NULL, &b));
    assert_same(a, b, true);
    ok(dataset_verify(b, NULL));
    assert_null(pack_about(a));
    assert_string_equal(pack_about(b)->source, "folder, 11 images 6x5x3, 3 classes by folder");
    ok(file_read_all(at("whole.ddpmdata"), 1 << 20, &bytes, &len));
    assert_int_equal(len, r.bytes);
    sha256(bytes + PACKED_HEADER, len - PACKED_HEADER, hex);
    assert_string_equal(r.sha256, hex);
    assert_string_equal(pack_about(b)->sha256, hex);
    free(bytes);
    dataset_close(a);
    dataset_close(b);
}

/* Fitted while packing, or afterwards: the same; and what was fitted afterwards is not handed out in place. */
static void test_other_sizes_and_channels(void **state)
{
    (void)state;
    static const dataset_options CASES[] = {
        {.size_h = 4, .size_w = 4}, {.size_h = SIDE_H, .size_w = 3}, {.channels = 1}, {.size_h = 3, .size_w = 5, .channels = 4, .labels = DATASET_LABELS_NONE},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        pack_result r;
        dataset *a, *b, *c;
        ok(pack_to(at("source"), &CASES[i], at("fitted.ddpmdata"), true, &r));
        ok(dataset_open(at("source"), &CASES[i], &a));
        ok(dataset_open(at("fitted.ddpmdata"), &CASES[i], &b));
        ok(dataset_open(at("whole.ddpmdata"), &CASES[i], &c));
        assert_same(a, b, true);
        assert_same(a, c, false);
        dataset_close(a);
        dataset_close(b);
        dataset_close(c);
    }
    dataset *d;
    const dataset_options folder = {.labels = DATASET_LABELS_FOLDER};
    fails(dataset_open(at("whole.ddpmdata"), &folder, &d), DDPM_EINVAL, "own labels");
    fails(dataset_open(at("whole.ddpmdata:train"), NULL, &d), DDPM_EINVAL, "no parts");
}

static void test_the_loader_gives_the_same_batches(void **state)
{
    (void)state;
    enum { BATCH = 7, VALUES = BATCH * SIDE_H * SIDE_W * 3 };
    dataset *d[2];
    loader *l[2];
    loader_options o = loader_defaults();
    o.batch = BATCH;
    o.flip = true;
    ok(dataset_open(at("source"), NULL, &d[0]));
    ok(dataset_open(at("whole.ddpmdata"), NULL, &d[1]));
    for (int i = 0; i < 2; i++) ok(loader_new(d[i], &o, &l[i]));
    for (uint64_t step = 0; step < 6; step++) {
        loader_batch a, b;
        ok(loader_next(l[0], step, &a));
        ok(loader_next(l[1], step, &b));
        assert_memory_equal(a.x, b.x, VALUES * sizeof(float));
        assert_memory_equal(a.label, b.label, BATCH * sizeof(int));
        assert_memory_equal(a.index, b.index, BATCH * sizeof(int64_t));
    }
    for (int i = 0; i < 2; i++) {
        loader_free(l[i]);
        dataset_close(d[i]);
    }
}

/* --- bad images, stopping ---------------------------------------------------------------------- */

typedef struct { int count; char last[LOG_MAX]; } warnings;

static void on_message(void *ctx, log_level level, const char *message)
{
    warnings *w = ctx;
    (void)level;
    w->count++;
    snprintf(w->last, sizeof w->last, "%s", message);
}

static void test_bad_images_are_left_out(void **state)
{
    (void)state;
    pack_result r;
    dataset *d;
    warnings w = {0};
    for (int i = 0; i < 4; i++) put_image((const char *[]){"bad/a_1.png", "bad/a_2.png", "bad/b_1.png", "bad/b_2.png"}[i], i, 2, 2, 1);
    ok(file_write_atomic(at("bad/a_2.png"), "no picture", 10));
    log_set(on_message, &w, LOG_WARN);
    ok(pack_to(at("bad"), NULL, at("bad.ddpmdata"), false, &r));
    log_set(NULL, NULL, LOG_WARN);
    assert_int_equal(w.count, 1);
    assert_non_null(strstr(w.last, "a_2.png"));
    assert_int_equal(r.images, 3);
    assert_int_equal(r.skipped, 1);
    ok(dataset_open(at("bad.ddpmdata"), NULL, &d));
    assert_int_equal(pack_about(d)->skipped, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(dataset_label(d, i), i > 0);
        assert_int_equal(dataset_pixels(d, i)[0], (uint8_t)((i ? i + 1 : 0) * 41));
    }
    dataset_close(d);
    fails(pack_to(at("bad"), NULL, at("strict.ddpmdata"), true, &r), DDPM_EFORMAT, "a_2.png");
    assert_false(file_exists(at("strict.ddpmdata")));
    fails(pack_check_name("x.zip"), DDPM_EINVAL, ".ddpmdata");
}

static ddpm_status stop(void *ctx, int64_t done, int64_t total)
{
    (void)ctx;
    assert_true(done <= total);
    return ddpm_fail(DDPM_ESTOPPED, "stopped");
}

static void test_what_is_stopped_leaves_nothing(void **state)
{
    (void)state;
    dataset *d;
    pool *p;
    pack_result r;
    char **names;
    int n;
    const pack_watch watch = {stop, NULL};
    ok(dir_make(at("stopped")));
    ok(dataset_open(at("source"), NULL, &d));
    ok(pool_new(1, &p));
    fails(dataset_pack(d, at("stopped/x.ddpmdata"), p, false, &watch, &r), DDPM_ESTOPPED, "stopped");
    ok(dir_list(at("stopped"), &names, &n));
    assert_int_equal(n, 0);
    dir_list_free(names, n);
    pool_free(p);
    dataset_close(d);
}

/* --- files that are not what they say ------------------------------------------------------------ */

static ddpm_status opens(const uint8_t *bytes, size_t len)
{
    packed_file f;
    uint8_t *copy = malloc(len + 1);      /* of its own size, so that a sanitizer sees what is read behind it */
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    const ddpm_status s = packed_file_open(copy, len, "input", &f);
    if (s == DDPM_OK) packed_file_close(&f);
    free(copy);
    return s;
}

static void test_every_prefix_and_every_byte(void **state)
{
    (void)state;
    uint8_t *bytes;
    size_t len;
    ok(file_read_all(at("whole.ddpmdata"), 1 << 20, &bytes, &len));
    ok(opens(bytes, len));
    for (size_t n = 0; n < len; n++) assert_int_equal(opens(bytes, n), DDPM_EFORMAT);
    for (size_t i = 0; i < len; i++) {
        dataset *d;
        bytes[i] ^= 0x55;
        const ddpm_status s = opens(bytes, len);
        if (i < PACKED_HEADER) assert_int_equal(s, DDPM_EFORMAT);
        if (i % 61 == 0 && s == DDPM_OK) {
            ok(file_write_atomic(at("changed.ddpmdata"), bytes, len));
            ok(dataset_open(at("changed.ddpmdata"), NULL, &d));
            fails(dataset_verify(d, NULL), DDPM_EFORMAT, "SHA-256");
            dataset_close(d);
        }
        bytes[i] ^= 0x55;
    }
    free(bytes);
}

/* The file with another header, sealed. */
static ddpm_status opens_with(uint8_t *bytes, size_t len, packed_header *h)
{
    packed_seal(h);
    memcpy(bytes, h, sizeof *h);
    return opens(bytes, len);
}

/* Headers with the right checksum, for other sizes than the file's. */
static void test_headers_that_lie(void **state)
{
    (void)state;
    uint8_t *bytes;
    size_t len;
    packed_header good;
    ok(file_read_all(at("whole.ddpmdata"), 1 << 20, &bytes, &len));
    memcpy(&good, bytes, sizeof good);
    for (int i = 0; i < 14; i++) {
        packed_header h = good;
        if (i == 0) h.count++;
        if (i == 1) h.count = INT64_MAX;
        if (i == 2) h.count = INT64_MIN;
        if (i == 3) h.count = 0;
        if (i == 4) h.h = UINT32_MAX;
        if (i == 5) h.w = 0;
        if (i == 6) h.c = 2;
        if (i == 7) h.classes = -1;
        if (i == 8) h.classes = INT64_MAX;
        if (i == 9) h.labels += PACKED_ALIGN;
        if (i == 10) h.text = UINT64_MAX;
        if (i == 11) h.text_len = UINT64_MAX;
        if (i == 12) h.classes = 2;              /* a label is above, and there are too many names */
        if (i == 13) h.text_len--;               /* JSON without its end */
        assert_int_equal(opens_with(bytes, len, &h), DDPM_EFORMAT);
        const bool healed = i == 9 || i == 10;   /* offsets: they follow from the sizes, so the layout puts them right */
        packed_layout(&h);
        assert_int_equal(opens_with(bytes, len, &h), healed ? DDPM_OK : DDPM_EFORMAT);
    }
    free(bytes);
}

/* A file made by hand: 1x1x1 images, `labels` (NULL: none) and the text. */
static ddpm_status opens_made(int64_t count, int64_t classes, const int32_t *labels, const char *text, size_t behind)
{
    uint8_t bytes[1024] = {0};
    packed_header h = {.h = 1, .w = 1, .c = 1, .count = count, .classes = classes, .text_len = strlen(text)};
    assert_true(packed_layout(&h));
    if (labels) memcpy(bytes + h.labels, labels, (size_t)count * sizeof *labels);
    memcpy(bytes + h.text, text, strlen(text));
    packed_seal(&h);
    memcpy(bytes, &h, sizeof h);
    return opens(bytes, (size_t)h.file_len + behind);
}

static void test_contents_that_do_not_agree(void **state)
{
    (void)state;
    const int32_t good[3] = {0, 1, 0}, above[3] = {0, 2, 0}, below[3] = {0, -1, 0};
    static const char names[] = "{\"class_names\":[\"a\",\"b\"]}";
    ok(opens_made(3, 2, good, names, 0));
    ok(opens_made(3, 0, NULL, "{}", 0));
    assert_int_equal(opens_made(3, 2, good, names, 1), DDPM_EFORMAT);
    assert_int_equal(opens_made(0, 0, NULL, "{}", 0), DDPM_EFORMAT);
    assert_int_equal(opens_made(3, 2, above, names, 0), DDPM_EFORMAT);
    assert_int_equal(opens_made(3, 2, below, names, 0), DDPM_EFORMAT);
    assert_int_equal(opens_made(3, 3, good, names, 0), DDPM_EFORMAT);
    assert_int_equal(opens_made(3, 1, (const int32_t[3]){0}, names, 0), DDPM_EFORMAT);
    assert_int_equal(opens_made(3, 2, good, "{\"class_names\":[\"a\",1]}", 0), DDPM_EFORMAT);
    assert_int_equal(opens_made(3, 2, good, "{", 0), DDPM_EFORMAT);
    assert_int_equal(opens_made(3, 0, NULL, "", 0), DDPM_EFORMAT);
}

/* --- databases --------------------------------------------------------------------------------------- */

/* The folder's pictures as values, under keys in another order than they are put in. */
static void test_a_database_is_packed_like_its_files(void **state)
{
    (void)state;
    const dataset_options stream = {.stream = true}, none = {.labels = DATASET_LABELS_NONE};
    static char keys[COUNT][16];
    uint8_t *bytes[COUNT];
    lmdb_pair pairs[COUNT];
    dataset *a, *b;
    pack_result r;
    ok(dataset_open(at("source"), NULL, &a));
    for (int n = 0; n < COUNT; n++) {
        char path[64];
        const int i = n * 4 % COUNT, in_class = i < 4 ? i * 3 : i < 8 ? (i - 4) * 3 + 1 : (i - 8) * 3 + 2;
        snprintf(path, sizeof path, "source/%s/%02d.png", (const char *[]){"ant", "bee", "cow"}[in_class % 3], in_class);
        ok(file_read_all(at(path), 1 << 20, &bytes[n], &pairs[n].len));
        snprintf(keys[n], sizeof keys[n], "%05d", i);
        pairs[n].key = keys[n];
        pairs[n].value = bytes[n];
    }
    assert_true(lmdb_make(at("database"), pairs, COUNT));
    for (int n = 0; n < COUNT; n++) free(bytes[n]);
    dataset_close(a);
    fails(dataset_open(at("database"), NULL, &b), DDPM_EINVAL, "pack it first");
    ok(pack_to(at("database"), &stream, at("database.ddpmdata"), true, &r));
    ok(dataset_open(at("source"), &none, &a));
    ok(dataset_open(at("database.ddpmdata"), NULL, &b));
    assert_same(a, b, true);
    assert_string_equal(pack_about(b)->source, "lmdb, 11 images 6x5x3, no labels");
    dataset_close(a);
    dataset_close(b);
}

/* Both meta pages say how many entries there are. */
static void test_a_database_that_hides_a_record(void **state)
{
    (void)state;
    enum { PAGE = 4096, ENTRIES = 120 };
    const dataset_options stream = {.stream = true};
    const int64_t fewer = COUNT - 1;
    uint8_t *bytes;
    size_t len;
    pack_result r;
    ok(file_read_all(at("database/data.mdb"), 1 << 24, &bytes, &len));
    for (int page = 0; page < 2; page++) memcpy(bytes + page * PAGE + ENTRIES, &fewer, sizeof fewer);
    ok(dir_make(at("hiding")));
    ok(file_write_atomic(at("hiding/data.mdb"), bytes, len));
    fails(pack_to(at("hiding"), &stream, at("hiding.ddpmdata"), false, &r), DDPM_EFORMAT, "more records than it says");
    assert_false(file_exists(at("hiding.ddpmdata")));
    free(bytes);
}

static void test_pictures_of_different_sizes_in_a_database(void **state)
{
    (void)state;
    const dataset_options stream = {.stream = true}, sized = {.stream = true, .size_h = 4, .size_w = 4};
    static const char *const files[] = {"mixed/a.png", "mixed/b.png"};
    lmdb_pair pairs[3] = {{"a", NULL, 0}, {"b", NULL, 0}, {"length", "2", 1}};
    uint8_t *bytes[2];
    pack_result r;
    for (int i = 0; i < 2; i++) {
        put_image(files[i], i, 6 + i, 6, 3);
        ok(file_read_all(at(files[i]), 1 << 20, &bytes[i], &pairs[i].len));
        pairs[i].value = bytes[i];
    }
    assert_true(lmdb_make(at("mixed.lmdb"), pairs, 3));
    fails(pack_to(at("mixed.lmdb"), &stream, at("mixed.ddpmdata"), false, &r), DDPM_EFORMAT, "--image_size");
    ok(pack_to(at("mixed.lmdb"), &sized, at("mixed.ddpmdata"), false, &r));
    assert_int_equal(r.images, 2);
    assert_int_equal(r.skipped, 1);               /* "length" is no picture */
    fails(pack_to(at("mixed.lmdb"), &sized, at("mixed.ddpmdata"), true, &r), DDPM_EFORMAT, "record 2");
    for (int i = 0; i < 2; i++) free(bytes[i]);
}

static int make_root(void **state)
{
    (void)state;
    if (!mkdtemp(root)) return -1;
    make_source();
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    return dir_remove_tree("/tmp", root + strlen("/tmp/")) == DDPM_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_the_source),
        cmocka_unit_test(test_other_sizes_and_channels),
        cmocka_unit_test(test_the_loader_gives_the_same_batches),
        cmocka_unit_test(test_bad_images_are_left_out),
        cmocka_unit_test(test_what_is_stopped_leaves_nothing),
        cmocka_unit_test(test_every_prefix_and_every_byte),
        cmocka_unit_test(test_headers_that_lie),
        cmocka_unit_test(test_contents_that_do_not_agree),
        cmocka_unit_test(test_a_database_is_packed_like_its_files),
        cmocka_unit_test(test_a_database_that_hides_a_record),
        cmocka_unit_test(test_pictures_of_different_sizes_in_a_database),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
