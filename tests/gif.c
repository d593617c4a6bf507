/* Films are read back by giflib's decoder, and palettes judged by what they stand for. */
#include "io/gif.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <gif_lib.h>

#include "io/file.h"

enum { W = 37, H = 29 };

static char root[] = "/tmp/ddpm-gif-XXXXXX";

static const char *at(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    return dir_remove_tree("/tmp", root + 5) == DDPM_OK ? 0 : -1;
}

static GifFileType *read_film(const char *name)
{
    int error;
    GifFileType *gif = DGifOpenFileName(at(name), &error);
    assert_non_null(gif);
    assert_int_equal(DGifSlurp(gif), GIF_OK);
    return gif;
}

static void close_film(GifFileType *gif)
{
    int error;
    assert_int_equal(DGifCloseFile(gif, &error), GIF_OK);
}

/* Pixel i of a frame. */
static GifColorType pixel(const GifFileType *gif, int frame, size_t i)
{
    const SavedImage *s = &gif->SavedImages[frame];
    const ColorMapObject *map = s->ImageDesc.ColorMap ? s->ImageDesc.ColorMap : gif->SColorMap;
    assert_non_null(map);
    assert_true(s->RasterBits[i] < map->ColorCount);
    return map->Colors[s->RasterBits[i]];
}

static void write_film(const char *name, const image *frames, int count, const int *delay, const char *comment)
{
    gif_writer *w = NULL;
    assert_int_equal(gif_writer_open(at(name), comment, &w), DDPM_OK);
    for (int i = 0; i < count; i++) assert_int_equal(gif_writer_add(w, &frames[i], delay[i]), DDPM_OK);
    assert_false(file_exists(at(name)));
    assert_int_equal(gif_writer_finish(w), DDPM_OK);
}

static image new_image(int w, int h, int c)
{
    image im = { w, h, c, malloc((size_t)w * (size_t)h * (size_t)c) };
    assert_non_null(im.data);
    return im;
}

/* A fixed sequence with no period that matters here. */
static uint8_t scramble(size_t i) { return (uint8_t)((i * 2654435761u) >> 13); }

static void grey_frames_are_exact(void **state)
{
    (void)state;
    enum { FRAMES = 3 };
    image frames[FRAMES];
    const int delay[FRAMES] = { 4, 5, 150 };
    for (int f = 0; f < FRAMES; f++) {
        frames[f] = new_image(W, H, 1);
        for (size_t i = 0; i < W * H; i++) frames[f].data[i] = scramble(i + 7777 * (size_t)f);
    }
    write_film("grey.gif", frames, FRAMES, delay, "what it is");
    GifFileType *gif = read_film("grey.gif");
    assert_int_equal(gif->ImageCount, FRAMES);
    assert_int_equal(gif->SWidth, W);
    assert_int_equal(gif->SHeight, H);
    for (int f = 0; f < FRAMES; f++) {
        GraphicsControlBlock control;
        assert_int_equal(DGifSavedExtensionToGCB(gif, f, &control), GIF_OK);
        assert_int_equal(control.DelayTime, delay[f]);
        assert_int_equal(control.TransparentColor, NO_TRANSPARENT_COLOR);
        for (size_t i = 0; i < W * H; i++) {
            const GifColorType got = pixel(gif, f, i);
            assert_true(got.Red == frames[f].data[i] && got.Green == got.Red && got.Blue == got.Red);
        }
        image_free(&frames[f]);
    }
    close_film(gif);
}

static void films_repeat_and_carry_their_comment(void **state)
{
    (void)state;
    image im = new_image(W, H, 1);
    char comment[700];
    memset(im.data, 9, W * H);
    memset(comment, 'c', sizeof comment);
    comment[sizeof comment - 1] = 0;                          /* longer than a block of the format */
    write_film("loop.gif", &im, 1, (const int[]){ 1 }, comment);
    GifFileType *gif = read_film("loop.gif");
    const SavedImage *s = &gif->SavedImages[0];
    size_t said = 0;
    bool for_ever = false;
    for (int i = 0; i < s->ExtensionBlockCount; i++) {
        const ExtensionBlock *e = &s->ExtensionBlocks[i];
        if (e->Function == APPLICATION_EXT_FUNC_CODE && !memcmp(e->Bytes, "NETSCAPE2.0", 11) && i + 1 < s->ExtensionBlockCount)
            for_ever = e[1].ByteCount == 3 && !memcmp(e[1].Bytes, "\1\0\0", 3);
        for (int k = 0; k < e->ByteCount && (e->Function == COMMENT_EXT_FUNC_CODE || said); k++) said += e->Bytes[k] == 'c';
    }
    assert_true(for_ever);
    assert_int_equal(said, sizeof comment - 1);
    close_film(gif);
    image_free(&im);
}

static void few_colours_are_exact(void **state)
{
    (void)state;
    image im = new_image(W, H, 4);
    for (size_t i = 0; i < W * H; i++) {
        const uint8_t colour = scramble(i);                   /* 256 of them; alpha is dropped */
        memcpy(im.data + 4 * i, (const uint8_t[]){ colour, (uint8_t)(255 - colour), (uint8_t)(colour * 7), (uint8_t)i }, 4);
    }
    write_film("few.gif", &im, 1, (const int[]){ 1 }, "");
    GifFileType *gif = read_film("few.gif");
    for (size_t i = 0; i < W * H; i++) {
        const GifColorType got = pixel(gif, 0, i);
        assert_memory_equal(((const uint8_t[]){ got.Red, got.Green, got.Blue }), im.data + 4 * i, 3);
    }
    close_film(gif);
    image_free(&im);
}

/* Colour c of a picture with more than 256 of them. */
typedef struct { uint64_t sum[3], count; } meaning;

/* Every colour written must be the mean of the pixels that it stands for; returns the mean error of a channel. */
static double check_palette(const image *im, const GifFileType *gif)
{
    meaning *m = calloc(256, sizeof *m);
    const size_t n = (size_t)im->w * (size_t)im->h;
    double error = 0;
    assert_non_null(m);
    for (size_t i = 0; i < n; i++) {
        meaning *of = &m[gif->SavedImages[0].RasterBits[i]];
        const GifColorType got = pixel(gif, 0, i);
        of->count++;
        for (int c = 0; c < 3; c++) of->sum[c] += im->data[3 * i + (size_t)c];
        error += abs(got.Red - im->data[3 * i]) + abs(got.Green - im->data[3 * i + 1]) + abs(got.Blue - im->data[3 * i + 2]);
    }
    for (size_t i = 0; i < n; i++) {
        const meaning *of = &m[gif->SavedImages[0].RasterBits[i]];
        const GifColorType got = pixel(gif, 0, i);
        const uint8_t channels[3] = { got.Red, got.Green, got.Blue };
        for (int c = 0; c < 3; c++) assert_int_equal(channels[c], (of->sum[c] + of->count / 2) / of->count);
    }
    free(m);
    return error / (double)(3 * n);
}

/* 64 x 64 colours on a plane of the cube: 256 equal squares have sides of 4 x 4 colours, 16 levels, so their means
 * are 4 levels off on average in two channels and 2.7 in their half sum; a palette of 6 x 7 x 6 levels is 10 off. */
static void many_colours_are_close(void **state)
{
    (void)state;
    image im = new_image(64, 64, 3);
    for (int i = 0; i < 64 * 64; i++) {
        const int r = i % 64 * 4, g = i / 64 * 4;
        memcpy(im.data + 3 * i, (const uint8_t[]){ (uint8_t)r, (uint8_t)g, (uint8_t)((r + g) / 2) }, 3);
    }
    write_film("many.gif", &im, 1, (const int[]){ 1 }, "");
    GifFileType *gif = read_film("many.gif");
    const double error = check_palette(&im, gif);
    if (error > 4.5) print_error("mean error %g\n", error);
    assert_true(error <= 4.5);
    close_film(gif);
    image_free(&im);
}

/* Faint pictures use the whole palette too: 512 colours within 8 levels of each channel are off by half a level at most. */
static void faint_colours_are_kept_apart(void **state)
{
    (void)state;
    image im = new_image(32, 16, 3);
    for (int i = 0; i < 512; i++) memcpy(im.data + 3 * i, (const uint8_t[]){ (uint8_t)(100 + i % 8), (uint8_t)(120 + i / 8 % 8), (uint8_t)(90 + i / 64) }, 3);
    write_film("faint.gif", &im, 1, (const int[]){ 1 }, "");
    GifFileType *gif = read_film("faint.gif");
    assert_true(check_palette(&im, gif) <= 0.5);
    close_film(gif);
    image_free(&im);
}

static void the_same_frames_are_the_same_file(void **state)
{
    (void)state;
    image im = new_image(W, H, 3);
    uint8_t *first, *second;
    size_t first_len, second_len;
    for (size_t i = 0; i < 3 * W * H; i++) im.data[i] = scramble(i);
    write_film("a.gif", (const image[]){ im, im }, 2, (const int[]){ 1, 2 }, "x");
    write_film("b.gif", (const image[]){ im, im }, 2, (const int[]){ 1, 2 }, "x");
    assert_int_equal(file_read_all(at("a.gif"), 1 << 24, &first, &first_len), DDPM_OK);
    assert_int_equal(file_read_all(at("b.gif"), 1 << 24, &second, &second_len), DDPM_OK);
    assert_int_equal(first_len, second_len);
    assert_memory_equal(first, second, first_len);
    free(first);
    free(second);
    image_free(&im);
}

static void films_are_complete_or_not_there(void **state)
{
    (void)state;
    gif_writer *w = NULL;
    image im = new_image(W, H, 3);
    memset(im.data, 0, 3 * W * H);
    assert_int_equal(gif_writer_open(at("left.gif"), "", &w), DDPM_OK);
    assert_int_equal(gif_writer_add(w, &im, 1), DDPM_OK);
    gif_writer_abort(w);
    assert_false(file_exists(at("left.gif")));
    assert_int_equal(gif_writer_open(at("left.gif"), "", &w), DDPM_OK);
    gif_writer_abort(w);                                      /* before any frame */
    assert_int_equal(gif_writer_open(at("absent/x.gif"), "", &w), DDPM_OK);
    assert_int_equal(gif_writer_add(w, &im, 1), DDPM_OK);
    assert_int_equal(gif_writer_finish(w), DDPM_EIO);
    gif_writer_abort(NULL);
    image_free(&im);
}

static ddpm_status info_of(const uint8_t *bytes, size_t len, gif_info *info) { return gif_read_info(bytes, len, "film", info); }

static void films_tell_size_frames_and_comment(void **state)
{
    (void)state;
    char comment[700];
    uint8_t *bytes;
    size_t len;
    gif_info info;
    image im = new_image(W, H, 3);
    for (size_t i = 0; i < 3 * W * H; i++) im.data[i] = scramble(i);
    for (size_t i = 0; i < sizeof comment; i++) comment[i] = (char)('a' + i % 23);
    comment[sizeof comment - 1] = 0;                          /* longer than a block of the format */
    write_film("told.gif", (const image[]){ im, im, im }, 3, (const int[]){ 1, 2, 3 }, comment);
    assert_int_equal(file_read_all(at("told.gif"), 1 << 24, &bytes, &len), DDPM_OK);
    assert_int_equal(info_of(bytes, len, &info), DDPM_OK);
    assert_true(info.w == W && info.h == H && info.frames == 3);
    assert_string_equal(info.comment, comment);
    free(info.comment);
    for (size_t cut = 0; cut < len; cut++) {
        assert_int_equal(info_of(bytes, cut, &info), DDPM_EFORMAT);
        assert_null(info.comment);
    }
    free(bytes);
    image_free(&im);
}

/* A picture of 2x1 pixels, written out by hand: header 13 bytes and a palette of two colours, then records. */
#define GIF_HEAD 'G', 'I', 'F', '8', '9', 'a', 2, 0, 1, 0, 0x80, 0, 0, 0, 0, 0, 255, 255, 255
#define GIF_FRAME(left, width) ',', left, 0, 0, 0, width, 0, 1, 0, 0, 2, 2, 0x44, 0x0a, 0
#define GIF_COMMENT(a, b) '!', 0xfe, 2, a, b, 0

static void only_sound_films_are_described(void **state)
{
    (void)state;
    static const uint8_t sound[] = { GIF_HEAD, GIF_COMMENT('h', 'i'), GIF_FRAME(0, 2), GIF_COMMENT('h', 'o'), ';' };
    static const uint8_t outside[] = { GIF_HEAD, GIF_FRAME(1, 2), ';' }, empty[] = { GIF_HEAD, GIF_COMMENT('h', 'i'), ';' },
                         binary[] = { GIF_HEAD, GIF_COMMENT('h', 0), GIF_FRAME(0, 2), ';' }, other[] = { 'P', 'N', 'G', GIF_HEAD };
    gif_info info;
    assert_int_equal(info_of(sound, sizeof sound, &info), DDPM_OK);
    assert_true(info.w == 2 && info.h == 1 && info.frames == 1);
    assert_string_equal(info.comment, "hiho");
    free(info.comment);
    assert_int_equal(info_of(outside, sizeof outside, &info), DDPM_EFORMAT);
    assert_int_equal(info_of(empty, sizeof empty, &info), DDPM_EFORMAT);
    assert_int_equal(info_of(binary, sizeof binary, &info), DDPM_EFORMAT);
    assert_int_equal(info_of(other, sizeof other, &info), DDPM_EFORMAT);
}

static void comments_have_an_end(void **state)
{
    (void)state;
    static const uint8_t head[] = { GIF_HEAD, '!', 0xfe }, tail[] = { 0, GIF_FRAME(0, 2), ';' };
    const size_t most = GIF_MAX_COMMENT / 255;                /* whole blocks that fit */
    uint8_t *bytes = malloc(sizeof head + 256 * (most + 1) + sizeof tail);
    gif_info info;
    assert_non_null(bytes);
    memcpy(bytes, head, sizeof head);
    for (size_t blocks = most; blocks <= most + 1; blocks++) {
        uint8_t *end = bytes + sizeof head + 256 * blocks;
        for (uint8_t *b = bytes + sizeof head; b < end; b++) *b = (b - bytes - (ptrdiff_t)sizeof head) % 256 ? 'x' : 255;
        memcpy(end, tail, sizeof tail);
        const ddpm_status got = info_of(bytes, (size_t)(end - bytes) + sizeof tail, &info);
        assert_int_equal(got, blocks == most ? DDPM_OK : DDPM_EFORMAT);
        if (got == DDPM_OK) assert_int_equal(strlen(info.comment), 255 * most);
        free(info.comment);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grey_frames_are_exact),
        cmocka_unit_test(films_repeat_and_carry_their_comment),
        cmocka_unit_test(few_colours_are_exact),
        cmocka_unit_test(many_colours_are_close),
        cmocka_unit_test(faint_colours_are_kept_apart),
        cmocka_unit_test(the_same_frames_are_the_same_file),
        cmocka_unit_test(films_are_complete_or_not_there),
        cmocka_unit_test(films_tell_size_frames_and_comment),
        cmocka_unit_test(only_sound_films_are_described),
        cmocka_unit_test(comments_have_an_end),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
