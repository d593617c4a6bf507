/* make_images.c - what the tests of the program need and a shell cannot do.
 *
 *   make_images DIR COUNT WIDTH HEIGHT CHANNELS [CLASSES]   PNG files: smooth blobs that differ from
 *                                                           image to image, by class in sub-folders
 *   make_images --json FILE [KEY.KEY]                       parse a document, print a value of it */
#include "io/file.h"
#include "io/image.h"
#include "io/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int main(int argc, char **argv)
{
    if (argc >= 3 && !strcmp(argv[1], "--json")) return print_json(argv[2], argc > 3 ? argv[3] : (char[1]){ 0 });
    if (argc < 6) {
        fprintf(stderr, "usage: make_images DIR COUNT WIDTH HEIGHT CHANNELS [CLASSES] | --json FILE [KEY.KEY]\n");
        return 2;
    }
    return make_images(argv[1], atoi(argv[2]), atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), argc > 6 ? atoi(argv[6]) : 0);
}
