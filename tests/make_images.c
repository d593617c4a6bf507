/* make_images.c - what the tests of the program need and a shell cannot do.
 *
 *   make_images DIR COUNT WIDTH HEIGHT CHANNELS [CLASSES]   PNG files: smooth blobs that differ from
 *                                                           image to image, by class in sub-folders
 *   make_images --json FILE [KEY.KEY]                       parse a document, print a value of it
 *   make_images --mask FILE WIDTH HEIGHT ROWS               a PNG, white in its first rows, black below
 *   make_images --cut FILE X Y WIDTH HEIGHT OUT             a part of a picture, or of the last frame of a GIF,
 *                                                           as a PNG of its pixels alone
 *   make_images --frames FILE                               how many a GIF has
 *   make_images --distance A B                              mean difference of the pixels of two pictures
 *   make_images --array FILE.npz NAME                       the bytes of an array
 *   make_images --lmdb FOLDER FILE...                       a database of these files in the order of their names */
#include "io/file.h"
#include "io/image.h"
#include "io/json.h"
#include "io/npz.h"

#include <gif_lib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lmdb_maker.h"

static int failed(void)
{
    fprintf(stderr, "make_images: %s\n", ddpm_last_error());
    return EXIT_FAILURE;
}

static void paint(image *im, int number)
{
    const int cx = number * 7 % im->w, cy = number * 5 % im->h;
    for (int y = 0; y < im->h; y++)
        for (int x = 0; x < im->w; x++)
            for (int c = 0; c < im->c; c++) {
                const int d = (x - cx) * (x - cx) + (y - cy) * (y - cy);
                im->data[(y * im->w + x) * im->c + c] = (uint8_t)(d > 25 ? 20 * c : 255 - 8 * d - 10 * c);
            }
}

static int make_images(const char *dir, int count, int w, int h, int channels, int classes)
{
    image im = { .w = w, .h = h, .c = channels, .data = malloc((size_t)(w * h * channels)) };
    if (!im.data) return EXIT_FAILURE;
    for (int i = 0; i < count; i++) {
        char path[4096];
        int n = snprintf(path, sizeof path - 32, "%s", dir);
        if (classes) n += sprintf(path + n, "/class%d", i % classes);
        if (dir_make(path) != DDPM_OK) return failed();
        sprintf(path + n, "/%05d.png", i);
        paint(&im, i);
        if (png_write(path, &im, NULL, 0) != DDPM_OK) return failed();
    }
    free(im.data);
    return EXIT_SUCCESS;
}

static int print_json(const char *path, char *keys)
{
    json *j = NULL;
    if (json_read_file(path, &j) != DDPM_OK) return failed();
    const json *at = j;
    for (char *key = strtok(keys, "."); key && at; key = strtok(NULL, ".")) {
        char *end;
        const long place = strtol(key, &end, 10);
        at = json_kind_of(at) == JSON_KIND_ARRAY && !*end ? json_at(at, (size_t)place) : json_get(at, key);
    }
    char *text = at ? json_text(at, JSON_COMPACT) : NULL;
    if (text) puts(text);
    else fprintf(stderr, "make_images: %s has no such key\n", path);
    free(text);
    json_free(j);
    return at ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int make_mask(const char *path, int w, int h, int rows)
{
    image im = { .w = w, .h = h, .c = 1, .data = calloc((size_t)w, (size_t)h) };
    if (!im.data) return EXIT_FAILURE;
    memset(im.data, 255, (size_t)w * (size_t)rows);
    const bool ok = png_write(path, &im, NULL, 0) == DDPM_OK;
    free(im.data);
    return ok ? EXIT_SUCCESS : failed();
}

static GifFileType *open_gif(const char *path)
{
    int error;
    GifFileType *gif = DGifOpenFileName(path, &error);
    if (!gif) return NULL;
    if (DGifSlurp(gif) == GIF_OK) return gif;
    DGifCloseFile(gif, &error);
    return NULL;
}

/* The last frame's colours; no data: not a GIF, or memory ran out. */
static image last_frame(const char *path, int *frames)
{
    int error;
    image im = { .c = 3 };
    GifFileType *gif = open_gif(path);
    if (!gif) return im;
    const SavedImage *last = &gif->SavedImages[gif->ImageCount - 1];
    const ColorMapObject *map = last->ImageDesc.ColorMap ? last->ImageDesc.ColorMap : gif->SColorMap;
    *frames = gif->ImageCount;
    im.w = gif->SWidth;
    im.h = gif->SHeight;
    im.data = malloc(3 * (size_t)im.w * (size_t)im.h);
    for (size_t i = 0; im.data && i < (size_t)im.w * (size_t)im.h; i++) {
        const GifColorType colour = map->Colors[last->RasterBits[i]];
        im.data[3 * i] = colour.Red;
        im.data[3 * i + 1] = colour.Green;
        im.data[3 * i + 2] = colour.Blue;
    }
    DGifCloseFile(gif, &error);
    return im;
}

static bool read_picture(const char *path, image *im)
{
    int frames;
    *im = last_frame(path, &frames);
    return im->data || image_decode_file(path, 3, im) == DDPM_OK;
}

static int count_frames(const char *path)
{
    int frames;
    image im = last_frame(path, &frames);
    if (!im.data) return EXIT_FAILURE;
    free(im.data);
    printf("%d\n", frames);
    return EXIT_SUCCESS;
}

static int cut(const char *path, int x, int y, int w, int h, const char *out)
{
    image im, part = { .w = w, .h = h, .c = 3, .data = malloc(3 * (size_t)w * (size_t)h) };
    if (!part.data || !read_picture(path, &im)) return failed();
    const bool fits = x >= 0 && y >= 0 && x + w <= im.w && y + h <= im.h;
    for (int row = 0; row < h && fits; row++)
        memcpy(part.data + (size_t)(3 * w * row), im.data + 3 * ((size_t)(y + row) * (size_t)im.w + (size_t)x), (size_t)(3 * w));
    const bool ok = fits && png_write(out, &part, NULL, 0) == DDPM_OK;
    free(im.data);
    free(part.data);
    return ok ? EXIT_SUCCESS : failed();
}

static int distance(const char *path, const char *other)
{
    image a, b;
    long sum = 0;
    if (!read_picture(path, &a) || !read_picture(other, &b)) return failed();
    const long values = 3L * a.w * a.h;
    const bool same = a.w == b.w && a.h == b.h;
    for (long i = 0; i < values && same; i++) sum += abs(a.data[i] - b.data[i]);
    free(a.data);
    free(b.data);
    if (same) printf("%ld\n", (sum + values / 2) / values);
    return same ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int print_array(const char *path, const char *name)
{
    npz_reader *r;
    npz_array a;
    if (npz_reader_open(path, &r) != DDPM_OK) return failed();
    const bool ok = npz_reader_get(r, name, &a) == DDPM_OK && fwrite(a.data, 1, a.bytes, stdout) == a.bytes && !fflush(stdout);
    npz_reader_free(r);
    return ok ? EXIT_SUCCESS : failed();
}

static int make_database(const char *folder, char *const *files, int count)
{
    lmdb_pair *pairs = calloc((size_t)count, sizeof *pairs);
    uint8_t *bytes = NULL;
    bool ok = pairs != NULL;
    for (int i = 0; i < count && ok; i++) {
        ok = file_read_all(files[i], 1 << 20, &bytes, &pairs[i].len) == DDPM_OK;
        pairs[i].key = files[i];
        pairs[i].value = bytes;
    }
    ok = ok && lmdb_make(folder, pairs, count);
    for (int i = 0; i < count && pairs; i++) free((void *)(uintptr_t)pairs[i].value);
    free(pairs);
    return ok ? EXIT_SUCCESS : failed();
}

int main(int argc, char **argv)
{
    if (argc >= 4 && !strcmp(argv[1], "--lmdb")) return make_database(argv[2], argv + 3, argc - 3);
    if (argc == 6 && !strcmp(argv[1], "--mask")) return make_mask(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]));
    if (argc == 8 && !strcmp(argv[1], "--cut")) return cut(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), atoi(argv[6]), argv[7]);
    if (argc == 3 && !strcmp(argv[1], "--frames")) return count_frames(argv[2]);
    if (argc == 4 && !strcmp(argv[1], "--distance")) return distance(argv[2], argv[3]);
    if (argc == 4 && !strcmp(argv[1], "--array")) return print_array(argv[2], argv[3]);
    if (argc >= 3 && !strcmp(argv[1], "--json")) return print_json(argv[2], argc > 3 ? argv[3] : (char[1]){ 0 });
    if (argc < 6) {
        fprintf(stderr, "usage: make_images DIR COUNT WIDTH HEIGHT CHANNELS [CLASSES] | --json FILE [KEY.KEY] | --mask ... | --cut ... | --frames FILE | --distance A B | --array FILE NAME | --lmdb FOLDER FILE...\n");
        return 2;
    }
    return make_images(argv[1], atoi(argv[2]), atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), argc > 6 ? atoi(argv[6]) : 0);
}
