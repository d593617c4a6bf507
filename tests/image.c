/* Pictures: every kind of PNG written by libpng, JPEGs by TurboJPEG, damage, bombs.
 * The expected pixels come from the samples that were written, by the definition of
 * the colour types. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>
#include <png.h>
#include <turbojpeg.h>

#include "io/file.h"
#include "io/image.h"

enum { W = 13, H = 11, COLOURS = 5 };

typedef struct {
    uint8_t *bytes;
    size_t len;
} buffer;

static uint32_t next_random(uint32_t *x)
{
    return *x = *x * 1664525u + 1013904223u;
}

/* --- PNG of any kind ------------------------------------------------------------- */

typedef struct {
    int type, depth, interlace;
    bool transparency;             /* a tRNS chunk: key sample value 1, or palette alphas */
    uint16_t samples[H][W][4];     /* depth bits each                                     */
} subject;

static const png_color palette[COLOURS] = { { 0, 0, 0 }, { 255, 1, 2 }, { 3, 250, 4 }, { 5, 6, 199 }, { 90, 80, 70 } };
static const uint8_t palette_alpha[3] = { 0, 128, 255 };

static int samples_of(int type)
{
    return type == PNG_COLOR_TYPE_RGB ? 3 : type == PNG_COLOR_TYPE_RGBA ? 4 : type == PNG_COLOR_TYPE_GRAY_ALPHA ? 2 : 1;
}

static void fill(subject *s)
{
    uint32_t x = 5;
    for (int y = 0; y < H; y++)
        for (int i = 0; i < W; i++)
            for (int k = 0; k < 4; k++) {
                const uint32_t r = next_random(&x) >> 8;
                s->samples[y][i][k] = (uint16_t)(s->type == PNG_COLOR_TYPE_PALETTE
                                                 ? r % (s->depth == 1 ? 2 : s->depth == 2 ? 4 : COLOURS) : r % (1u << s->depth));
                if (s->transparency && s->type != PNG_COLOR_TYPE_PALETTE && r % 3 == 0)
                    for (int m = 0; m <= k; m++) s->samples[y][i][m] = 1;
            }
}

static void pack(const subject *s, int y, uint8_t *row)
{
    memset(row, 0, W * 8);
    const int n = samples_of(s->type);
    for (int i = 0; i < W * n; i++) {
        const unsigned v = s->samples[y][i / n][i % n];
        const int bit = i * s->depth;
        if (s->depth == 16) {
            row[2 * i] = (uint8_t)(v >> 8);
            row[2 * i + 1] = (uint8_t)v;
        } else {
            row[bit / 8] = (uint8_t)(row[bit / 8] | v << (8 - s->depth - bit % 8));
        }
    }
}

static void collect(png_structp png, png_bytep bytes, size_t len)
{
    buffer *b = png_get_io_ptr(png);
    b->bytes = realloc(b->bytes, b->len + len);
    assert_non_null(b->bytes);
    memcpy(b->bytes + b->len, bytes, len);
    b->len += len;
}

static buffer encode(const subject *s)
{
    buffer b = { 0 };
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, &b, collect, NULL);
    png_set_IHDR(png, info, W, H, s->depth, s->type, s->interlace, 0, 0);
    if (s->type == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, palette, s->depth == 1 ? 2 : s->depth == 2 ? 4 : COLOURS);
    const png_color_16 key = { 0, 1, 1, 1, 1 };
    if (s->transparency) {
        if (s->type == PNG_COLOR_TYPE_PALETTE) png_set_tRNS(png, info, palette_alpha, s->depth == 1 ? 2 : 3, NULL);
        else png_set_tRNS(png, info, NULL, 0, &key);
    }
    png_set_gAMA(png, info, 0.9);
    png_write_info(png, info);
    uint8_t row[W * 8];
    const int passes = png_set_interlace_handling(png);
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < H; y++) {
            pack(s, y, row);
            png_write_row(png, row);
        }
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    return b;
}

static uint8_t to_8_bits(unsigned v, int depth)
{
    return (uint8_t)(depth == 16 ? v >> 8 : v * 255 / ((1u << depth) - 1));
}

/* What pixel (i, y) is in red, green, blue, alpha. */
static void truth(const subject *s, int y, int i, uint8_t rgba[4])
{
    const uint16_t *v = s->samples[y][i];
    if (s->type == PNG_COLOR_TYPE_PALETTE) {
        const png_color c = palette[v[0]];
        memcpy(rgba, (uint8_t[4]){ c.red, c.green, c.blue, s->transparency && v[0] < 3 ? palette_alpha[v[0]] : 255 }, 4);
        return;
    }
    const bool colour = s->type & PNG_COLOR_MASK_COLOR;
    for (int k = 0; k < 3; k++) rgba[k] = to_8_bits(v[colour ? k : 0], s->depth);
    const int n = samples_of(s->type);
    rgba[3] = 255;
    if (s->type & PNG_COLOR_MASK_ALPHA) rgba[3] = to_8_bits(v[n - 1], s->depth);
    else if (s->transparency) rgba[3] = v[0] == 1 && (!colour || (v[1] == 1 && v[2] == 1)) ? 0 : 255;
}

static void check_pixels(const subject *s, const image *im, int channels)
{
    for (int y = 0; y < H; y++)
        for (int i = 0; i < W; i++) {
            uint8_t t[4], want[4];
            truth(s, y, i, t);
            memcpy(want, t, 4);
            const bool grey = !(s->type & PNG_COLOR_MASK_COLOR);
            if (channels == 1 && !grey) want[0] = (uint8_t)((t[0] * 19595 + t[1] * 38470 + t[2] * 7471 + 0x8000) >> 16);
            if (channels == 2) want[1] = t[3];
            const uint8_t *have = im->data + (y * W + i) * im->c;
            if (memcmp(have, want, (size_t)channels) != 0)
                fail_msg("type %d depth %d channels %d at %d,%d: %d %d, not %d %d", s->type, s->depth, channels, i, y,
                         have[0], have[1 % channels], want[0], want[1]);
        }
}

static void check_subject(image_decoder *d, const subject *s)
{
    const buffer b = encode(s);
    const bool grey = !(s->type & PNG_COLOR_MASK_COLOR);
    const bool alpha = (s->type & PNG_COLOR_MASK_ALPHA) || s->transparency;
    const int own = (grey ? 1 : 3) + alpha;
    int w, h, c;
    assert_int_equal(image_probe(b.bytes, b.len, &w, &h, &c), DDPM_OK);
    assert_true(w == W && h == H && c == own);
    static const int asked[] = { 0, 1, 3, 4 };
    for (int k = 0; k < 4; k++) {
        image im;
        if (image_decoder_decode(d, b.bytes, b.len, asked[k], &im) != DDPM_OK) fail_msg("%s", ddpm_last_error());
        assert_true(im.w == W && im.h == H && im.c == (asked[k] ? asked[k] : own));
        check_pixels(s, &im, im.c);
        image_free(&im);
        assert_null(im.data);
    }
    free(b.bytes);
}

static void png_of_every_kind(void **state)
{
    (void)state;
    static const struct { int type, depth; } kinds[] = {
        { 0, 1 }, { 0, 2 }, { 0, 4 }, { 0, 8 }, { 0, 16 }, { 2, 8 }, { 2, 16 }, { 3, 1 }, { 3, 2 }, { 3, 4 }, { 3, 8 },
        { 4, 8 }, { 4, 16 }, { 6, 8 }, { 6, 16 }
    };
    image_decoder *d;
    assert_int_equal(image_decoder_new(&d), DDPM_OK);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (int variant = 0; variant < 4; variant++) {
            subject s = { .type = kinds[i].type, .depth = kinds[i].depth, .interlace = variant & 1, .transparency = variant >> 1 };
            if (s.transparency && (s.type & PNG_COLOR_MASK_ALPHA)) continue;
            fill(&s);
            check_subject(d, &s);
        }
    image_decoder_free(d);
    image_decoder_free(NULL);
}

/* --- PNG writing ------------------------------------------------------------------ */

static void png_round_trip_and_text(void **state)
{
    (void)state;
    for (int c = 1; c <= 4; c++) {
        image im = { W, H, c, malloc((size_t)W * H * (size_t)c) }, back;
        assert_non_null(im.data);
        uint32_t x = 3;
        for (int i = 0; i < W * H * c; i++) im.data[i] = (uint8_t)(next_random(&x) >> 24);
        const png_pair texts[] = { { "seed", "42" }, { "seed2", "" }, { "note", "two\nlines" } };
        buffer b;
        assert_int_equal(png_encode(&im, texts, 3, &b.bytes, &b.len), DDPM_OK);
        assert_int_equal(image_decode(b.bytes, b.len, 0, &back), DDPM_OK);
        assert_int_equal(back.c, c);
        assert_memory_equal(im.data, back.data, (size_t)W * H * (size_t)c);
        image_free(&back);
        char *value;
        static const char *const keys[] = { "seed", "seed2", "note", "see", "none" }, *const values[] = { "42", "", "two\nlines" };
        for (int k = 0; k < 5; k++) {
            assert_int_equal(png_read_text(b.bytes, b.len, keys[k], &value), DDPM_OK);
            if (k < 3) assert_string_equal(value, values[k]);
            else assert_null(value);
            free(value);
        }
        b.bytes[8 + 25 + 8]++;                         /* within the first text chunk */
        assert_int_equal(png_read_text(b.bytes, b.len, "seed", &value), DDPM_EFORMAT);
        assert_int_equal(png_read_text(b.bytes, 60, "none", &value), DDPM_EFORMAT);
        free(b.bytes);
        image_free(&im);
    }
}

static void png_files(void **state)
{
    (void)state;
    char path[] = "/tmp/ddpm-image-XXXXXX";
    close(mkstemp(path));
    uint8_t pixels[6] = { 1, 2, 3, 250, 251, 252 };
    const image im = { 2, 1, 3, pixels };
    assert_int_equal(png_write(path, &im, NULL, 0), DDPM_OK);
    image back;
    assert_int_equal(image_decode_file(path, 3, &back), DDPM_OK);
    assert_memory_equal(back.data, pixels, 6);
    image_free(&back);
    assert_int_equal(file_write_atomic(path, "GIF89a", 6), DDPM_OK);
    assert_int_equal(image_decode_file(path, 3, &back), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), path));
    unlink(path);
    assert_int_equal(image_decode_file(path, 3, &back), DDPM_EIO);
}

/* --- JPEG ------------------------------------------------------------------------- */

static buffer jpeg(int format, int subsampling, int flags)
{
    uint8_t pixels[32 * 32 * 4];
    const int c = tjPixelSize[format];
    for (int i = 0; i < 32 * 32; i++)
        for (int k = 0; k < c; k++) pixels[i * c + k] = (uint8_t)(i % 32 * 7 + (k + 1) * (i / 32) * 2);
    tjhandle tj = tjInitCompress();
    unsigned long len = 0;
    unsigned char *out = NULL;
    assert_int_equal(tjCompress2(tj, pixels, 32, 0, 32, format, &out, &len, subsampling, 90, flags), 0);
    buffer b = { malloc(len), len };
    assert_non_null(b.bytes);
    memcpy(b.bytes, out, len);
    tjFree(out);
    tjDestroy(tj);
    return b;
}

static void assert_near_source(const image *im)
{
    assert_true(im->w == 32 && im->h == 32);
    int worst = 0;
    for (int i = 0; i < 32 * 32; i++)
        for (int k = 0; k < 3; k++) {
            const int want = (uint8_t)(i % 32 * 7 + (k + 1) * (i / 32) * 2);
            const int off = abs(im->data[i * 3 + k] - want);
            if (i % 32 < 16 && i / 32 < 16 && off > worst) worst = off;
        }
    assert_in_range(worst, 0, 8);
}

static void jpeg_kinds(void **state)
{
    (void)state;
    image_decoder *d;
    assert_int_equal(image_decoder_new(&d), DDPM_OK);
    static const int subsamplings[] = { TJSAMP_444, TJSAMP_422, TJSAMP_420, TJSAMP_GRAY };
    for (int k = 0; k < 8; k++) {
        const buffer b = jpeg(TJPF_RGB, subsamplings[k / 2], k & 1 ? TJFLAG_PROGRESSIVE : 0);
        image im, grey, four;
        int w, h, c;
        assert_int_equal(image_probe(b.bytes, b.len, &w, &h, &c), DDPM_OK);
        assert_true(w == 32 && h == 32 && c == (k >= 6 ? 1 : 3));
        assert_int_equal(image_decoder_decode(d, b.bytes, b.len, 3, &im), DDPM_OK);
        assert_int_equal(image_decoder_decode(d, b.bytes, b.len, 1, &grey), DDPM_OK);
        assert_int_equal(image_decoder_decode(d, b.bytes, b.len, 4, &four), DDPM_OK);
        if (k < 2) assert_near_source(&im);
        for (int i = 0; i < 32 * 32; i++) {
            const uint8_t *p = im.data + 3 * i;
            assert_int_equal(grey.data[i], k >= 6 ? p[0] : (p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16);
            assert_memory_equal(four.data + 4 * i, p, 3);
            assert_int_equal(four.data[4 * i + 3], 255);
        }
        image_free(&im);
        image_free(&grey);
        image_free(&four);
        free(b.bytes);
    }
    image_decoder_free(d);
}

/* Inverted CMYK is what Adobe writes: stored 255 means no ink. */
static void jpeg_cmyk(void **state)
{
    (void)state;
    const buffer b = jpeg(TJPF_CMYK, TJSAMP_444, 0);
    tjhandle tj = tjInitDecompress();
    uint8_t raw[32 * 32 * 4];
    assert_int_equal(tjDecompress2(tj, b.bytes, b.len, raw, 32, 0, 32, TJPF_CMYK, TJFLAG_ACCURATEDCT), 0);
    tjDestroy(tj);
    image im;
    assert_int_equal(image_decode(b.bytes, b.len, 3, &im), DDPM_OK);
    for (int i = 0; i < 32 * 32 * 3; i++) {
        const double ink = 255 - raw[i / 3 * 4 + i % 3], light = raw[i / 3 * 4 + 3];
        const double exact = light - ink * light / 255;
        assert_true(im.data[i] >= exact - 0.51 && im.data[i] <= exact + 0.51);
    }
    image_free(&im);
    free(b.bytes);
}

enum { STRAY = 100 };

static void stray_bytes_are_tolerated(void **state)
{
    (void)state;
    const buffer b = jpeg(TJPF_RGB, TJSAMP_444, 0);
    uint8_t *more = malloc(b.len + STRAY);
    assert_non_null(more);
    memcpy(more, b.bytes, b.len - 2);
    memset(more + b.len - 2, 0x11, STRAY);
    memcpy(more + b.len - 2 + STRAY, "\xff\xd9", 2);
    image a, c;
    assert_int_equal(image_decode(b.bytes, b.len, 3, &a), DDPM_OK);
    assert_int_equal(image_decode(more, b.len + STRAY, 3, &c), DDPM_OK);
    assert_memory_equal(a.data, c.data, 32 * 32 * 3);
    image_free(&a);
    image_free(&c);
    free(more);
    free(b.bytes);
}

/* --- damage ------------------------------------------------------------------------ */

/* From an allocation of exactly the size, so that a sanitizer sees every overrun. */
static ddpm_status decode_exact(image_decoder *d, const uint8_t *bytes, size_t len)
{
    uint8_t *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, len);
    image im;
    int w, h, c;
    (void)image_probe(exact, len, &w, &h, &c);
    const ddpm_status s = image_decoder_decode(d, exact, len, 3, &im);
    assert_true((s == DDPM_OK) == (im.data != NULL));
    image_free(&im);
    char *value;
    (void)png_read_text(exact, len, "seed", &value);
    free(value);
    free(exact);
    return s;
}

static void damage(buffer b)
{
    image_decoder *d;
    assert_int_equal(image_decoder_new(&d), DDPM_OK);
    assert_int_equal(decode_exact(d, b.bytes, b.len), DDPM_OK);
    for (size_t len = 0; len < b.len; len++)
        if (decode_exact(d, b.bytes, len) != DDPM_EFORMAT) fail_msg("%zu of %zu bytes accepted", len, b.len);
    uint32_t x = 11;
    for (int k = 0; k < 3000; k++) {
        const size_t at = (next_random(&x) >> 8) % b.len;
        const uint8_t saved = b.bytes[at];
        b.bytes[at] = (uint8_t)(next_random(&x) >> 24);
        const ddpm_status s = decode_exact(d, b.bytes, b.len);
        assert_true(s == DDPM_OK || s == DDPM_EFORMAT);
        b.bytes[at] = saved;
    }
    assert_int_equal(decode_exact(d, b.bytes, b.len), DDPM_OK);
    image_decoder_free(d);
    free(b.bytes);
}

static void damaged_png(void **state)
{
    (void)state;
    subject s = { .type = PNG_COLOR_TYPE_PALETTE, .depth = 8, .interlace = 1, .transparency = true };
    fill(&s);
    damage(encode(&s));
    s = (subject){ .type = PNG_COLOR_TYPE_RGB, .depth = 16 };
    fill(&s);
    damage(encode(&s));
}

/* gAMA does not matter to the pixels, yet Pillow refuses the file as well. */
static void wrong_checksums(void **state)
{
    (void)state;
    subject s = { .type = PNG_COLOR_TYPE_RGB, .depth = 8 };
    fill(&s);
    const buffer b = encode(&s);
    static const char *const chunks[] = { "IHDR", "gAMA", "IDAT", "IEND" };
    for (int i = 0; i < 4; i++) {
        size_t at = 8;
        while (memcmp(b.bytes + at + 4, chunks[i], 4) != 0) at += 12 + (size_t)(b.bytes[at + 2] << 8 | b.bytes[at + 3]);
        at += 8 + (size_t)(b.bytes[at + 2] << 8 | b.bytes[at + 3]);
        image im;
        b.bytes[at] ^= 1;
        assert_int_equal(image_decode(b.bytes, b.len, 3, &im), DDPM_EFORMAT);
        b.bytes[at] ^= 1;
        assert_int_equal(image_decode(b.bytes, b.len, 3, &im), DDPM_OK);
        image_free(&im);
    }
    free(b.bytes);
}

static void damaged_jpeg(void **state)
{
    (void)state;
    damage(jpeg(TJPF_RGB, TJSAMP_420, 0));
    damage(jpeg(TJPF_RGB, TJSAMP_444, TJFLAG_PROGRESSIVE));
    damage(jpeg(TJPF_CMYK, TJSAMP_444, 0));
}

static void other_formats(void **state)
{
    (void)state;
    image im;
    static const char *const texts[] = { "", "G", "GIF89a", "BM", "\x89PNG\r\n\x1a", "\xff\xd8", "RIFF1234WEBP" };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(image_decode(texts[i], strlen(texts[i]), 3, &im), DDPM_EFORMAT);
}

static long peak_memory(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

static void put_big_endian(uint8_t *p, uint32_t v)
{
    for (int k = 0; k < 4; k++) p[k] = (uint8_t)(v >> (24 - 8 * k));
}

static uint32_t chunk_crc(const uint8_t *p, size_t n)
{
    uint32_t r = 0xffffffff;
    while (n-- > 0) {
        r ^= *p++;
        for (int k = 0; k < 8; k++) r = r & 1 ? r >> 1 ^ 0xedb88320u : r >> 1;
    }
    return ~r;
}

/* A small file that claims a large picture must not make anybody take memory. */
static void bombs(void **state)
{
    (void)state;
    static const uint32_t sides[][2] = { { 8192, 8192 }, { 65535, 65535 }, { 0, 5 }, { 0x7fffffff, 0x7fffffff }, { 64 << 20, 1 } };
    subject s = { .type = PNG_COLOR_TYPE_RGBA, .depth = 8 };
    fill(&s);
    buffer p = encode(&s), j = jpeg(TJPF_RGB, TJSAMP_444, 0);
    size_t frame = 0;
    while (memcmp(j.bytes + frame, "\xff\xc0", 2) != 0) frame++;
    const long before = peak_memory();
    for (int i = 0; i < 5; i++) {
        image im;
        put_big_endian(p.bytes + 16, sides[i][0]);
        put_big_endian(p.bytes + 20, sides[i][1]);
        put_big_endian(p.bytes + 29, chunk_crc(p.bytes + 12, 17));
        assert_int_equal(image_decode(p.bytes, p.len, 3, &im), DDPM_EFORMAT);
        assert_true(strstr(ddpm_last_error(), "claims") || strstr(ddpm_last_error(), "no pixels"));
        for (int k = 0; k < 2; k++) {
            const uint32_t side = sides[i][1 - k] > 65535 ? 65535 : sides[i][1 - k];
            j.bytes[frame + 5 + 2 * (size_t)k] = (uint8_t)(side >> 8);
            j.bytes[frame + 6 + 2 * (size_t)k] = (uint8_t)side;
        }
        assert_int_equal(image_decode(j.bytes, j.len, 3, &im), DDPM_EFORMAT);
        assert_true(i == 4 || strstr(ddpm_last_error(), "claims") || strstr(ddpm_last_error(), "no pixels"));
    }
    assert_in_range(peak_memory() - before, 0, 20000);
    free(p.bytes);
    free(j.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(png_of_every_kind), cmocka_unit_test(png_round_trip_and_text), cmocka_unit_test(png_files),
        cmocka_unit_test(jpeg_kinds), cmocka_unit_test(jpeg_cmyk), cmocka_unit_test(stray_bytes_are_tolerated),
        cmocka_unit_test(damaged_png), cmocka_unit_test(wrong_checksums),
        cmocka_unit_test(damaged_jpeg), cmocka_unit_test(other_formats),
        cmocka_unit_test(bombs)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
