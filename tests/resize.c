/* Resizing against Pillow's own results (tests/data/resize.txt, made by resize.py) and
 * against pictures whose result is known without arithmetic. */
#include "data/resize.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

/* The generator of resize.py. */
static uint8_t hashed_pixel(uint32_t seed, uint32_t i)
{
    uint32_t x = i + seed * 1000003u;
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    const uint8_t v = (uint8_t)x;
    return seed % 2 ? (v >= 128 ? 255 : 0) : v;
}

static image hashed_image(uint32_t seed, int w, int h, int c)
{
    const size_t n = (size_t)w * (size_t)h * (size_t)c;
    image im = {w, h, c, malloc(n)};
    assert_non_null(im.data);
    for (size_t i = 0; i < n; i++) im.data[i] = hashed_pixel(seed, (uint32_t)i);
    return im;
}

static resize_filter filter_named(const char *name)
{
    static const char *const names[] = {"box", "bilinear", "bicubic", "lanczos"};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0) return (resize_filter)i;
    return RESIZE_BOX;
}

typedef struct {
    char kind[16], filter[16];
    int c, w, h, ow, oh, first, middle, last;
    unsigned seed, crc;
    resize_box box;
} oracle;

static bool oracle_read(FILE *f, oracle *o)
{
    return fscanf(f, "%15s %15s %d %u %d %d %d %d %f %f %f %f %x %d %d %d", o->kind, o->filter, &o->c, &o->seed, &o->w, &o->h,
                  &o->ow, &o->oh, &o->box.x0, &o->box.y0, &o->box.x1, &o->box.y1, &o->crc, &o->first, &o->middle, &o->last) == 16;
}

/* The result's checksum is Pillow's, or a report of three pixels. */
static bool oracle_holds(const oracle *o)
{
    image in = hashed_image(o->seed, o->w, o->h, o->c), out;
    const bool fit = strcmp(o->kind, "fit") == 0;
    const ddpm_status s = fit ? image_fit(&in, o->oh, o->ow, &out)
                              : image_resize(&in, o->ow, o->oh, filter_named(o->filter), &o->box, &out);
    assert_int_equal(s, DDPM_OK);
    assert_int_equal(out.w, o->ow);
    assert_int_equal(out.h, o->oh);
    assert_int_equal(out.c, o->c);
    const size_t n = (size_t)out.w * (size_t)out.h * (size_t)out.c;
    const unsigned crc = (unsigned)crc32(0, out.data, (unsigned)n);
    if (crc != o->crc)
        print_error("%s %s c%d %dx%d to %dx%d: %d %d %d, Pillow has %d %d %d\n", o->kind, o->filter, o->c, o->w, o->h, o->ow,
                    o->oh, out.data[0], out.data[n / 2], out.data[n - 1], o->first, o->middle, o->last);
    image_free(&in);
    image_free(&out);
    return crc == o->crc;
}

static void pillow_is_matched_to_the_bit(void **state)
{
    (void)state;
    FILE *f = fopen("tests/data/resize.txt", "r");
    assert_non_null(f);
    oracle o;
    int cases = 0, wrong = 0;
    while (oracle_read(f, &o)) {
        cases++;
        wrong += !oracle_holds(&o);
    }
    assert_true(feof(f));
    fclose(f);
    assert_int_equal(cases, 199);
    assert_int_equal(wrong, 0);
}

static void other_shapes_are_covered_and_cropped(void **state)
{
    (void)state;
    image in = hashed_image(2, 8, 11, 3), out;
    assert_int_equal(image_fit(&in, 6, 8, &out), DDPM_OK);   /* wide enough as it is: rows 2..7 */
    assert_int_equal(out.h, 6);
    assert_int_equal(out.w, 8);
    assert_memory_equal(out.data, in.data + 2 * 8 * 3, 6 * 8 * 3);
    image_free(&out);
    assert_int_equal(image_fit(&in, 22, 4, &out), DDPM_OK);
    assert_int_equal(out.h, 22);
    assert_int_equal(out.w, 4);
    image_free(&out);
    image_free(&in);
}

static void impossible_sizes_are_refused(void **state)
{
    (void)state;
    image in = hashed_image(2, 8, 8, 1), out;
    assert_int_equal(image_resize(&in, 0, 4, RESIZE_BOX, NULL, &out), DDPM_EINVAL);
    assert_int_equal(image_resize(&in, 4, -1, RESIZE_BOX, NULL, &out), DDPM_EINVAL);
    const resize_box outside = {0, 0, 9, 8}, empty = {3, 0, 3, 8}, nan = {0, 0, 8, (float)NAN};
    assert_int_equal(image_resize(&in, 4, 4, RESIZE_BOX, &outside, &out), DDPM_EINVAL);
    assert_int_equal(image_resize(&in, 4, 4, RESIZE_BOX, &empty, &out), DDPM_EINVAL);
    assert_int_equal(image_resize(&in, 4, 4, RESIZE_BOX, &nan, &out), DDPM_EINVAL);
    assert_null(out.data);
    image_free(&in);
    in = hashed_image(2, 1, 60000, 1);                        /* would become 4096 x 245760000 */
    assert_int_equal(image_fit(&in, 4096, 4096, &out), DDPM_EINVAL);
    assert_null(out.data);
    image_free(&in);
    in = hashed_image(2, 1, 6000, 1);                         /* 150 x 900000: short sides, too many pixels */
    assert_int_equal(image_fit(&in, 150, 150, &out), DDPM_EINVAL);
    assert_null(out.data);
    image_free(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pillow_is_matched_to_the_bit),
        cmocka_unit_test(other_shapes_are_covered_and_cropped),
        cmocka_unit_test(impossible_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
