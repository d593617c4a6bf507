/* PNG and JPEG: decoding agrees with probing, in every number of channels. */
#include <stdint.h>
#include <stdlib.h>

#include "io/image.h"

enum { FUZZ_MAX_PIXELS = 1 << 18 };       /* larger pictures only take time */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int w = 0, h = 0, c = 0;
    char *text = NULL;
    if (png_read_text(data, size, "ddpm", &text) == DDPM_OK) free(text);
    if (image_probe(data, size, &w, &h, &c) != DDPM_OK || (long)w * h > FUZZ_MAX_PIXELS) return 0;
    static const int channels[] = { 0, 1, 3, 4 };
    for (int k = 0; k < 4; k++) {
        image im = { 0 };
        const ddpm_status s = image_decode(data, size, channels[k], &im);
        if (s != DDPM_OK && s != DDPM_EFORMAT) abort();
        if (s != DDPM_OK && im.data) abort();
        if (s == DDPM_OK && (im.w != w || im.h != h || im.c != (channels[k] ? channels[k] : c))) abort();
        image_free(&im);
    }
    return 0;
}
