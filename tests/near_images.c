/* near_images: neighbours in spaces of principal components that keep every distance, against sums over the pixels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/near_images.h"
#include "io/npz.h"

enum { SIDE = 4, PIXELS = SIDE * SIDE, IMAGES = 90, QUERIES = 7, NEAREST = 4 };

static char path[] = "/tmp/ddpm-near-XXXXXX.npz";
static uint8_t data[IMAGES][PIXELS], asked[QUERIES][PIXELS];

/* Only the first `free` pixels differ between images. */
static void fill(uint8_t (*images)[PIXELS], int n, int free_pixels, uint32_t seed)
{
    for (int i = 0; i < n; i++)
        for (int p = 0; p < PIXELS; p++) {
            seed = seed * 1664525u + 1013904223u;
            images[i][p] = p < free_pixels ? (uint8_t)(seed >> 24) : 100;
        }
}

static int make_file(void **state)
{
    (void)state;
    const int fd = mkstemps(path, 4);
    return fd < 0 ? -1 : close(fd);
}

static int drop_file(void **state)
{
    (void)state;
    return unlink(path);
}

static image_set *open_data(void)
{
    const int64_t shape[] = { IMAGES, SIDE, SIDE, 1 };
    npz_writer *w;
    image_set *set = NULL;
    assert_int_equal(npz_writer_open(path, &w), DDPM_OK);
    assert_int_equal(npz_writer_add(w, "arr_0", "|u1", shape, 4, data), DDPM_OK);
    assert_int_equal(npz_writer_finish(w), DDPM_OK);
    assert_int_equal(image_set_open_as(path, &(dataset_options){ .labels = DATASET_LABELS_NONE }, &set), DDPM_OK);
    return set;
}

static double apart(const uint8_t *a, const uint8_t *b)
{
    double sum = 0;
    for (int p = 0; p < PIXELS; p++) sum += (a[p] - b[p]) * (a[p] - b[p]);
    return sqrt(sum);
}

/* unit: pixel values of 1 in the space. */
static void check(const near_queries *q, double unit)
{
    near_image found;
    for (int i = 0; i < QUERIES; i++) {
        bool used[IMAGES] = { false };
        for (int k = 0; k < NEAREST; k++) {
            int best = 0;
            double least = INFINITY;
            for (int n = 0; n < IMAGES; n++) if (!used[n] && apart(asked[i], data[n]) < least) least = apart(asked[i], data[n]), best = n;
            used[best] = true;
            assert_true(near_queries_of(q, i, k, &found));
            assert_int_equal(found.index, best);
            assert_true(fabs(found.distance - least / unit) <= 1e-9 * least);      /* 0 is 0 */
        }
        assert_false(near_queries_of(q, i, NEAREST, &found));
    }
}

/* Half of the data first, then the rest, as the command hands them over. */
static void search(const char *features, int free_pixels, const char *words, double unit)
{
    settings s;
    near_space space;
    near_queries q[2];
    int64_t index[IMAGES];
    char text[128];
    int64_t bad;
    const tool_events ev = { 0 };
    for (int i = 0; i < IMAGES; i++) index[i] = i;
    fill(data, IMAGES, free_pixels, 1);
    fill(asked, QUERIES, free_pixels, 2);
    memcpy(asked[3], data[60], PIXELS);
    image_set *set = open_data();
    settings_defaults(&s);
    assert_int_equal(settings_set(&s, "features", features, ORIGIN_COMMAND_LINE), DDPM_OK);
    assert_int_equal(near_space_open(&s, set, &ev, &space, &bad), DDPM_OK);
    near_space_words(&space, text, sizeof text);
    assert_string_equal(text, words);
    assert_string_equal(near_space_name(&space), features);
    for (int i = 0; i < 2; i++) assert_int_equal(near_queries_new(&space, asked[0], QUERIES, NEAREST, &q[i]), DDPM_OK);
    near_queries *both[] = { &q[0], &q[1] };
    assert_int_equal(near_space_add(&space, both, 2, data[0], index, IMAGES / 2), DDPM_OK);
    assert_int_equal(near_space_add(&space, both, 2, data[IMAGES / 2], index + IMAGES / 2, IMAGES - IMAGES / 2), DDPM_OK);
    for (int i = 0; i < 2; i++) {
        check(&q[i], unit);
        near_queries_free(&q[i]);
    }
    near_space_close(&space);
    image_set_close(set);
}

static void test_pixels(void **state)         { (void)state; search("raw", PIXELS, "pixels from 0 to 255", 1); }
static void test_all_components(void **state) { (void)state; search("pca16", PIXELS, "pca16 features", 127.5); }
static void test_some_components(void **state){ (void)state; search("pca5", 5, "pca5 features", 127.5); }

static void test_wrong_space(void **state)
{
    (void)state;
    settings s;
    near_space space;
    int64_t bad;
    const tool_events ev = { 0 };
    fill(data, IMAGES, PIXELS, 1);
    image_set *set = open_data();
    settings_defaults(&s);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(settings_set(&s, "features", i ? "pca17" : "nonsense", ORIGIN_COMMAND_LINE), DDPM_OK);
        assert_int_equal(near_space_open(&s, set, &ev, &space, &bad), DDPM_EINVAL);
        near_space_close(&space);
    }
    image_set_close(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_pixels), cmocka_unit_test(test_all_components), cmocka_unit_test(test_some_components),
                                        cmocka_unit_test(test_wrong_space) };
    return cmocka_run_group_tests(tests, make_file, drop_file);
}
