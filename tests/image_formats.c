/* image_formats.c - WebP, GIF, PPM and PGM against the pixels that went into them. Compared once with Pillow 9.4 too
 * (docs/interop.md); here the expected values follow from each format's definition. */
#include "io/image.h"

#include <gif_lib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <webp/encode.h>

#include <cmocka.h>

static image decoded(const void *bytes, size_t len, int channels)
{
    image im;
    int w, h, c;
    if (image_decode(bytes, len, channels, &im) != DDPM_OK) fail_msg("%s", ddpm_last_error());
    assert_int_equal(image_probe(bytes, len, &w, &h, &c), DDPM_OK);
    assert_true(w == im.w && h == im.h && (channels || c == im.c));
    return im;
}

/* No beginning of a file is taken for the whole. */
static void no_prefix_decodes(const uint8_t *bytes, size_t len)
{
    for (size_t n = 0; n < len; n++) {
        image im;
        uint8_t *copy = malloc(n + 1);
        memcpy(copy, bytes, n);
        assert_int_equal(image_decode(copy, n, 3, &im), DDPM_EFORMAT);
        assert_null(im.data);
        free(copy);
    }
}

/* --- PPM, PGM -------------------------------------------------------------------- */

static void same_pixels(const char *head, const char *samples, size_t n, int c, const uint8_t *expected)
{
    uint8_t file[128];
    const size_t at = strlen(head);
    memcpy(file, head, at);
    memcpy(file + at, samples, n);
    image im = decoded(file, at + n, 0);
    assert_true(im.w == 2 && im.h == 1 && im.c == c);
    assert_memory_equal(im.data, expected, (size_t)(2 * c));
    image_free(&im);
    no_prefix_decodes(file, at + n);
}

static void test_pnm(void **state)
{
    (void)state;
    same_pixels("P6 2 1 255\n", "abcdef", 6, 3, (const uint8_t *)"abcdef");
    same_pixels("P5\n# made by 9 8 7\n2\t1 #x\n255\n", "\xff\0", 2, 1, (const uint8_t *)"\xff\0");
    same_pixels("P5 2 1 100\n", "\x32\x65", 2, 1, (const uint8_t[]){ 128, 255 });             /* 127.5 to even; above the most */
    same_pixels("P5 2 1 1000\n", "\x01\x2c\x03\xe8", 4, 1, (const uint8_t[]){ 76, 255 });     /* 300/1000: 76.5 to even */
    same_pixels("P6 2 1 65535\n", "\x80\x80\0\0\xff\xff\0\x80\0\x81\x7f\xff", 12, 3, (const uint8_t[]){ 128, 0, 255, 0, 1, 127 });
}

static void refused(const char *bytes, const char *words)
{
    image im;
    assert_int_equal(image_decode(bytes, strlen(bytes), 3, &im), DDPM_EFORMAT);
    if (!strstr(ddpm_last_error(), words)) fail_msg("\"%s\" does not say \"%s\"", ddpm_last_error(), words);
}

static void test_pnm_refused(void **state)
{
    (void)state;
    refused("P6 0 1 255\nx", "no pixels");
    refused("P6 99999 99999 255\nx", "claims 99999 x 99999 pixels");
    refused("P6 8000 8000 255\nx", "cut short: 1 of 192000000 bytes");
    refused("P6 2 1 65536\nabcdef", "header");
    refused("P6 2 1 0\nabcdef", "header");
    refused("P6 -2 1 255\nabcdef", "header");
    refused("P6 999999999999 1 255\nabcdef", "header");
    refused("P3 1 1 255\n1 2 3\n", "not a picture of a known kind");
}

/* --- WebP ------------------------------------------------------------------------ */

static void test_webp(void **state)
{
    (void)state;
    enum { W = 9, H = 5 };
    uint8_t rgba[W * H * 4], *file;
    for (int i = 0; i < W * H * 4; i++) rgba[i] = (uint8_t)(i * 37);
    for (int i = 0; i < W * H; i++) rgba[4 * i + 3] = (uint8_t)(i % 5 ? 255 : 100);      /* never 0: its colour would be lost */
    size_t len = WebPEncodeLosslessRGBA(rgba, W, H, 4 * W, &file);
    assert_true(len > 0);
    image im = decoded(file, len, 0);
    assert_true(im.w == W && im.h == H && im.c == 4);
    assert_memory_equal(im.data, rgba, sizeof rgba);
    image_free(&im);
    no_prefix_decodes(file, len);
    WebPFree(file);

    uint8_t rgb[W * H * 3];
    for (int i = 0; i < W * H * 3; i++) rgb[i] = (uint8_t)(i * 53);
    len = WebPEncodeLosslessRGB(rgb, W, H, 3 * W, &file);
    im = decoded(file, len, 0);
    assert_true(im.c == 3);
    assert_memory_equal(im.data, rgb, sizeof rgb);
    image_free(&im);
    WebPFree(file);
}

/* --- GIF ------------------------------------------------------------------------- */

typedef struct { uint8_t bytes[4096]; size_t len; } memory;

static int keep(GifFileType *gif, const GifByteType *bytes, int n)
{
    memory *m = gif->UserData;
    assert_true(m->len + (size_t)n <= sizeof m->bytes);
    memcpy(m->bytes + m->len, bytes, (size_t)n);
    m->len += (size_t)n;
    return n;
}

enum { CANVAS_W = 8, CANVAS_H = 14 };
typedef struct { int left, top, w, h, transparent; bool interlaced; } gif_frame;

static const GifColorType COLOURS[4] = { { 10, 20, 30 }, { 40, 50, 60 }, { 70, 80, 90 }, { 100, 110, 120 } };

static int index_at(int x, int y) { return (x + 3 * y + y / 4) % 4; }

/* Stored in the order that the format's appendix gives for interlaced pictures. */
static void write_gif(memory *m, gif_frame f)
{
    static const int pass_first[] = { 0, 4, 2, 1 }, pass_stride[] = { 8, 8, 4, 2 };
    int error;
    ColorMapObject *map = GifMakeMapObject(4, COLOURS);
    m->len = 0;
    GifFileType *gif = EGifOpen(m, keep, &error);
    EGifSetGifVersion(gif, true);
    assert_int_equal(EGifPutScreenDesc(gif, CANVAS_W, CANVAS_H, 8, 0, map), GIF_OK);
    if (f.transparent >= 0) {
        const GraphicsControlBlock control = { .TransparentColor = f.transparent };
        GifByteType block[4];
        EGifPutExtension(gif, GRAPHICS_EXT_FUNC_CODE, (int)EGifGCBToExtension(&control, block), block);
    }
    assert_int_equal(EGifPutImageDesc(gif, f.left, f.top, f.w, f.h, f.interlaced, NULL), GIF_OK);
    for (int pass = 0; pass < (f.interlaced ? 4 : 1); pass++)
        for (int y = f.interlaced ? pass_first[pass] : 0; y < f.h; y += f.interlaced ? pass_stride[pass] : 1) {
            GifPixelType line[CANVAS_W];
            for (int x = 0; x < f.w; x++) line[x] = (GifPixelType)index_at(x, y);
            assert_int_equal(EGifPutLine(gif, line, f.w), GIF_OK);
        }
    EGifCloseFile(gif, &error);
    GifFreeMapObject(map);
}

static void check_gif(gif_frame f)
{
    memory m;
    write_gif(&m, f);
    image im = decoded(m.bytes, m.len, 0);
    assert_true(im.w == CANVAS_W && im.h == CANVAS_H && im.c == (f.transparent < 0 ? 3 : 4));
    for (int y = 0; y < CANVAS_H; y++)
        for (int x = 0; x < CANVAS_W; x++) {
            const bool inside = x >= f.left && x < f.left + f.w && y >= f.top && y < f.top + f.h;
            const int k = inside ? index_at(x - f.left, y - f.top) : f.transparent < 0 ? 0 : f.transparent;
            const uint8_t *p = im.data + (y * CANVAS_W + x) * im.c;
            assert_true(p[0] == COLOURS[k].Red && p[1] == COLOURS[k].Green && p[2] == COLOURS[k].Blue);
            if (im.c == 4) assert_int_equal(p[3], k == f.transparent ? 0 : 255);
        }
    image_free(&im);
}

static void test_gif(void **state)
{
    (void)state;
    for (int h = 1; h <= CANVAS_H; h++)
        for (int interlaced = 0; interlaced < 2; interlaced++) check_gif((gif_frame){ 0, 0, CANVAS_W, h, -1, interlaced });
    check_gif((gif_frame){ 2, 3, 5, 7, -1, false });
    check_gif((gif_frame){ 2, 3, 5, 7, 2, true });
}

/* Only the first frame counts: what follows its pixels may be missing, as in Pillow. */
static void test_gif_refused(void **state)
{
    (void)state;
    memory m;
    image im;
    write_gif(&m, (gif_frame){ 1, 1, 5, 7, 1, false });
    for (size_t n = 0; n < m.len - 4; n++) {
        const ddpm_status s = image_decode(m.bytes, n, 3, &im);
        if (s == DDPM_OK) fail_msg("%zu of %zu bytes were taken for the picture", n, m.len);
        assert_int_equal(s, DDPM_EFORMAT);
    }
    m.bytes[6] = 4;                                       /* a canvas narrower than the frame */
    assert_int_equal(image_decode(m.bytes, m.len, 3, &im), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "outside"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_pnm),  cmocka_unit_test(test_pnm_refused), cmocka_unit_test(test_webp),
                                        cmocka_unit_test(test_gif),  cmocka_unit_test(test_gif_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
