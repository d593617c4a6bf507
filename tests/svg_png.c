/* svg_png, sheet: PNGs against the SVGs they are of, pixel by pixel where a pixel has one colour; needs librsvg. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/chart.h"
#include "io/file.h"
#include "io/sheet.h"
#include "io/svg_png.h"

static char folder[] = "/tmp/ddpm-svg-XXXXXX", png[64], svg[64];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(png, sizeof png, "%s/a.png", folder);
    snprintf(svg, sizeof svg, "%s/a.svg", folder);
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    unlink(png);
    unlink(svg);
    return rmdir(folder);
}

/* `make check` installs it. */
static void need_librsvg(void)
{
    if (svg_can_draw() == DDPM_OK) return;
    print_message("not tested: %s\n", ddpm_last_error());
    skip();
}

/* Of the leak checker: fontconfig keeps what it read. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libfontconfig\n"; }

/* The caller frees. */
static char *text_of(const char *path)
{
    static uint8_t *bytes;
    size_t len;
    assert_int_equal(file_read_all(path, 1 << 24, &bytes, &len), DDPM_OK);
    return (char *)bytes;
}

static double attribute(const char *tag, const char *name)
{
    char begin[32];
    snprintf(begin, sizeof begin, " %s='", name);
    const char *at = tag ? strstr(tag, begin) : NULL;
    assert_non_null(at);
    return strtod(at + strlen(begin), NULL);
}

static uint32_t colour(const image *im, int x, int y)
{
    assert_true(x >= 0 && y >= 0 && x < im->w && y < im->h);
    const uint8_t *p = im->data + ((size_t)y * (size_t)im->w + (size_t)x) * 3;
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

/* Pixels that are not white in a box. */
static int marked(const image *im, int left, int top, int width, int height)
{
    int n = 0;
    for (int y = top; y < top + height; y++)
        for (int x = left; x < left + width; x++) n += colour(im, x, y) != 0xffffff;
    return n;
}

/* --- documents ----------------------------------------------------------------------------- */

static void test_scale(void **state)
{
    (void)state;
    need_librsvg();
    static const char text[] = "<svg xmlns='http://www.w3.org/2000/svg' width='40' height='30' viewBox='0 0 40 30'>"
                               "<rect x='10' y='5' width='7' height='12' fill='#d55e00'/></svg>";
    image im;
    assert_int_equal(svg_draw(&(svg_document){ text, strlen(text), 40, 30 }, &im), DDPM_OK);
    assert_int_equal(im.w, 80);
    assert_int_equal(im.h, 60);
    assert_int_equal(im.c, 3);
    for (int y = 0; y < 60; y++)
        for (int x = 0; x < 80; x++) assert_int_equal(colour(&im, x, y), x >= 20 && x < 34 && y >= 10 && y < 34 ? 0xd55e00 : 0xffffff);
    image_free(&im);
}

static void test_refused(void **state)
{
    (void)state;
    need_librsvg();
    image im;
    assert_int_equal(svg_draw(&(svg_document){ "<svg", 4, 4, 4 }, &im), DDPM_EFAIL);
    assert_non_null(strstr(ddpm_last_error(), "librsvg cannot draw"));
    assert_null(im.data);
    assert_int_equal(svg_draw(&(svg_document){ "", 0, 8192, 8192 }, &im), DDPM_EINVAL);
    assert_int_equal(svg_check_target("/nonexistent/a.png"), DDPM_EIO);
    assert_true(svg_has_ending("a.SVG") && svg_has_ending("b/a.png") && !svg_has_ending("a.pdf") && !svg_has_ending("svg"));
}

/* --- charts --------------------------------------------------------------------------------- */

static uint32_t big_endian(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

/* It says that it is as large as the SVG: 192 dots of 2.54 cm are 7559 of a metre. */
static void check_density(const char *path)
{
    uint8_t *bytes;
    size_t len;
    assert_int_equal(file_read_all(path, 1 << 24, &bytes, &len), DDPM_OK);
    const uint8_t *at = memmem(bytes, len, "pHYs", 4);
    assert_non_null(at);
    assert_int_equal(big_endian(at + 4), 7559);
    assert_int_equal(big_endian(at + 8), 7559);
    assert_int_equal(at[12], 1);
    free(bytes);
}

static void test_chart(void **state)
{
    (void)state;
    need_librsvg();
    const double x[] = { 0, 1, 2 }, y[] = { 4, 0, 2 };
    const chart_series s = { "bars", CHART_BARS, 3, x, y, NULL, NULL };
    const chart c = { .title = "Title", .x_label = "x", .y_label = "y", .n_series = 1, .series = &s }, two[] = { c, c, c };
    assert_int_equal(chart_write(svg, two, 3, 2), DDPM_OK);
    assert_int_equal(chart_write(png, two, 3, 2), DDPM_OK);
    check_density(png);
    char *text = text_of(svg);
    image im;
    assert_int_equal(image_decode_file(png, 3, &im), DDPM_OK);
    assert_int_equal(im.w, 2 * attribute(strstr(text, "<svg"), "width"));
    assert_int_equal(im.h, 2 * attribute(strstr(text, "<svg"), "height"));
    const char *frame = strstr(text, "class='frame'"), *title = strstr(text, "class='title'");
    const int left = (int)(2 * attribute(frame, "x")), top = (int)(2 * attribute(frame, "y"));
    const int width = (int)(2 * attribute(frame, "width")), height = (int)(2 * attribute(frame, "height"));
    assert_int_equal(colour(&im, left, top + height / 2), 0x333333);
    assert_int_equal(colour(&im, left + width / 2, top), 0x333333);
    assert_int_equal(colour(&im, left + width / 2 + 15, top + height / 2 + 15), 0xffffff);      /* the middle bar has no height */
    const uint32_t bar = colour(&im, left + width / 8, top + height * 3 / 4);          /* 0.3 of #0072b2 on white */
    assert_in_range(bar >> 16, 0xff * 0.7 - 2, 0xff * 0.7 + 2);
    assert_in_range(bar & 0xff, 0xff * 0.7 + 0xb2 * 0.3 - 2, 0xff * 0.7 + 0xb2 * 0.3 + 2);
    const int middle = (int)(2 * attribute(title, "x")), base = (int)(2 * attribute(title, "y"));
    assert_in_range(marked(&im, middle - 40, base - 22, 80, 22), 100, 1500);
    assert_int_equal(marked(&im, im.w / 2 + left, im.h / 2 + 10, width, height), 0);   /* the fourth place of the grid */
    free(text);
    image_free(&im);
}

/* --- sheets ---------------------------------------------------------------------------------- */

enum { H = 12, W = 20, C = 3, ENLARGED = 4 };      /* 64 / 20, rounded up */

static void fill(uint8_t *pixels, size_t len)
{
    for (size_t i = 0; i < len; i++) pixels[i] = (uint8_t)(i * 2654435761u >> 13);
}

/* The image is at the place that the SVG says, every pixel ENLARGED times. */
static void check_image(const image *im, const char *tag, const uint8_t *pixels)
{
    const double left = 2 * attribute(tag, "x"), top = 2 * attribute(tag, "y");
    assert_true(left >= 0 && left == (int)left && top >= 0 && top == (int)top);
    assert_true(attribute(tag, "width") == W * ENLARGED / 2 && attribute(tag, "height") == H * ENLARGED / 2);
    for (int y = 0; y < H * ENLARGED; y++)
        for (int x = 0; x < W * ENLARGED; x++) {
            const uint8_t *p = pixels + ((size_t)(y / ENLARGED) * W + (size_t)(x / ENLARGED)) * C;
            assert_int_equal(colour(im, (int)left + x, (int)top + y), (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2]);
        }
}

static const char *nth(const char *text, const char *what, int n)
{
    for (; (text = strstr(text, what)) && n; n--) text++;
    return text;
}

static void test_sheet(void **state)
{
    (void)state;
    need_librsvg();
    static uint8_t pixels[5][H * W * C];
    static const char *const columns[] = { "left", "right" };
    fill(pixels[0], sizeof pixels);
    const sheet_row rows[] = { { "first <&>", NULL, 3, pixels[0] }, { "second", "note", 2, pixels[3] } }, alone = { NULL, NULL, 1, pixels[1] };
    const sheet_part parts[] = { { .title = "Title", .head = "head", .lead = 1, .n_rows = 2, .row = rows, .n_columns = 2, .column = columns },
                                 { .n_rows = 1, .row = &alone } };
    const sheet all = { H, W, C, 2, parts };
    const png_pair pair = { "seed", "<7>" };
    int w, h;
    assert_int_equal(sheet_size(&all, &w, &h), DDPM_OK);
    assert_int_equal(sheet_write(svg, &all, &pair, 1), DDPM_OK);
    assert_int_equal(sheet_write(png, &all, &pair, 1), DDPM_OK);
    char *text = text_of(svg);
    image im;
    assert_int_equal(image_decode_file(png, 3, &im), DDPM_OK);
    assert_true(im.w == w && im.h == h);
    for (int i = 0; i < 5; i++) check_image(&im, nth(text, "<image", i), pixels[i]);
    check_image(&im, nth(text, "<image", 5), pixels[1]);
    assert_null(nth(text, "<image", 6));
    const double x[] = { attribute(nth(text, "<image", 0), "x"), attribute(nth(text, "<image", 1), "x"), attribute(nth(text, "<image", 2), "x") };
    assert_true(x[1] - x[0] > x[2] - x[1] + 4);                   /* the lead stands apart */
    assert_true(attribute(nth(text, "<image", 3), "x") == x[0] && attribute(nth(text, "<image", 3), "y") > attribute(nth(text, "<image", 0), "y"));
    assert_true(attribute(nth(text, "<image", 5), "x") > x[2] + W * ENLARGED / 2);
    assert_true(attribute(strstr(text, "class='column'"), "x") == x[0] + W * ENLARGED / 4);
    assert_true(attribute(nth(text, "class='column'", 1), "x") == x[1] + W * ENLARGED / 4);
    assert_non_null(strstr(text, "<desc>seed: &lt;7&gt;</desc>"));
    assert_non_null(strstr(text, ">first &lt;&amp;&gt;</text>"));
    assert_true(attribute(strstr(text, "class='name'"), "x") < x[0]);
    const int end = (int)(2 * attribute(strstr(text, "class='name'"), "x")), middle = (int)(2 * attribute(nth(text, "<image", 0), "y")) + H * ENLARGED / 2;
    assert_in_range(marked(&im, end - 80, middle - 12, 80, 24), 60, 1500);
    free(text);
    image_free(&im);
}

static void test_sheet_limits(void **state)
{
    (void)state;
    int w, h;
    sheet_row *rows = calloc(1000, sizeof *rows);
    for (int i = 0; i < 1000; i++) rows[i].n = 1000;
    const sheet_part part = { .n_rows = 1000, .row = rows };
    const sheet large = { 32, 32, 3, 1, &part };
    assert_int_equal(sheet_size(&large, &w, &h), DDPM_EINVAL);
    assert_non_null(strstr(ddpm_last_error(), "fewer images"));
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_scale), cmocka_unit_test(test_refused), cmocka_unit_test(test_chart), cmocka_unit_test(test_sheet),
                                        cmocka_unit_test(test_sheet_limits) };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
