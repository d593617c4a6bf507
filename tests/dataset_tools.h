/* dataset_tools.h - files made on the spot under one folder, and data sets opened from them; for the tests of data/. */
#ifndef DDPM_TESTS_DATASET_TOOLS_H
#define DDPM_TESTS_DATASET_TOOLS_H

#include "data/dataset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/file.h"
#include "io/image.h"

static char root[] = "/tmp/ddpm-dataset-XXXXXX";

/* root/... in a static buffer: one path at a time. */
static const char *at(const char *below)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", root, below);
    return path;
}

static void make_parent(const char *below)
{
    char path[512];
    snprintf(path, sizeof path, "%s", at(below));
    *strrchr(path, '/') = '\0';
    assert_int_equal(dir_make(path), DDPM_OK);
}

static void put_bytes(const char *below, const void *data, size_t len)
{
    make_parent(below);
    assert_int_equal(file_write_atomic(at(below), data, len), DDPM_OK);
}

/* A PNG of one colour: channel k holds value + k. */
static void put_png(const char *below, int w, int h, int c, int value)
{
    const size_t n = (size_t)w * (size_t)h * (size_t)c;
    image im = {w, h, c, malloc(n)};
    assert_non_null(im.data);
    for (size_t i = 0; i < n; i++) im.data[i] = (uint8_t)(value + (int)(i % (size_t)c));
    make_parent(below);
    assert_int_equal(png_write(at(below), &im, NULL, 0), DDPM_OK);
    image_free(&im);
}

static dataset *open_ok(const char *below, const dataset_options *o)
{
    dataset *d = NULL;
    const ddpm_status s = dataset_open(at(below), o, &d);
    if (s != DDPM_OK) print_error("%s\n", ddpm_last_error());
    assert_int_equal(s, DDPM_OK);
    return d;
}

static void open_fails(const char *below, const dataset_options *o, ddpm_status expected, const char *word)
{
    dataset *d = NULL;
    assert_int_equal(dataset_open(at(below), o, &d), expected);
    assert_null(d);
    if (!strstr(ddpm_last_error(), word)) print_error("no \"%s\" in: %s\n", word, ddpm_last_error());
    assert_non_null(strstr(ddpm_last_error(), word));
}

/* Reads image i and checks its first pixel's channels against the colour `value`. */
static void check_image(const dataset *d, int64_t i, int value, int label)
{
    dataset_reader *r;
    assert_int_equal(dataset_reader_new(d, &r), DDPM_OK);
    uint8_t *hwc = malloc(dataset_image_bytes(d));
    int got = -2;
    assert_int_equal(dataset_read(d, r, i, hwc, &got), DDPM_OK);
    assert_int_equal(got, label);
    for (int k = 0; k < dataset_channels(d); k++) assert_int_equal(hwc[k], value + k);
    free(hwc);
    dataset_reader_free(r);
}

static void check_description(const dataset *d, const char *expected)
{
    char text[256];
    dataset_describe(d, text, sizeof text);
    assert_string_equal(text, expected);
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    return dir_remove_tree("/tmp", strrchr(root, '/') + 1) == DDPM_OK ? 0 : -1;
}

#endif
