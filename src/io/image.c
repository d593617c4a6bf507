#include "io/image.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/image_format.h"

/* Larger than any picture within IMAGE_MAX_PIXELS. */
enum { IMAGE_MAX_FILE = 1 << 30 };

struct image_decoder { jpeg_decoder *jpeg; };

/* Formats that need nothing between pictures; JPEG keeps its decompressor. */
static const struct {
    bool        (*recognise)(const uint8_t *bytes, size_t len);
    ddpm_status (*probe)(const uint8_t *bytes, size_t len, int *w, int *h, int *c);
    ddpm_status (*decode)(const uint8_t *bytes, size_t len, image *out);
} formats[] = {
    { png_recognise, png_probe, png_decode },
    { webp_recognise, webp_probe, webp_decode },
    { gif_recognise, gif_probe, gif_decode },
    { pnm_recognise, pnm_probe, pnm_decode },
};
enum { N_FORMATS = sizeof formats / sizeof formats[0] };

static ddpm_status unknown_format(void) { return ddpm_fail(DDPM_EFORMAT, "not a picture of a known kind: PNG, JPEG, WebP, GIF, PPM or PGM"); }

bool image_has_ending(const char *name)
{
    static const char *const endings[] = { ".png", ".jpg", ".jpeg", ".webp", ".gif", ".ppm", ".pgm" };
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (file_has_ending(name, endings[i])) return true;
    return false;
}

void image_free(image *im)
{
    if (!im) return;
    free(im->data);
    *im = (image){ 0 };
}

ddpm_status image_check_size(uint64_t w, uint64_t h)
{
    if (w == 0 || h == 0) return ddpm_fail(DDPM_EFORMAT, "the picture has no pixels");
    if (w > IMAGE_MAX_PIXELS || h > IMAGE_MAX_PIXELS || w * h > IMAGE_MAX_PIXELS)
        return ddpm_fail(DDPM_EFORMAT, "the picture claims %llu x %llu pixels; the limit is %d",
                         (unsigned long long)w, (unsigned long long)h, IMAGE_MAX_PIXELS);
    return DDPM_OK;
}

ddpm_status image_alloc(int w, int h, int c, image *out)
{
    assert(c >= 1 && c <= 4);
    *out = (image){ 0 };
    DDPM_TRY(image_check_size((uint64_t)w, (uint64_t)h));
    const size_t bytes = (size_t)w * (size_t)h * (size_t)c;
    uint8_t *data = malloc(bytes);
    if (!data) return ddpm_fail(DDPM_ENOMEM, "no memory for a picture of %zu bytes", bytes);
    *out = (image){ w, h, c, data };
    return DDPM_OK;
}

ddpm_status image_decoder_new(image_decoder **d)
{
    *d = calloc(1, sizeof **d);
    if (!*d) return ddpm_fail(DDPM_ENOMEM, "no memory for an image decoder");
    const ddpm_status s = jpeg_decoder_new(&(*d)->jpeg);
    if (s != DDPM_OK) {
        free(*d);
        *d = NULL;
    }
    return s;
}

void image_decoder_free(image_decoder *d)
{
    if (!d) return;
    jpeg_decoder_free(d->jpeg);
    free(d);
}

/* ITU-R 601 luma in 16-bit fixed point, as Pillow's convert("L"). */
static uint8_t luma(const uint8_t *rgb)
{
    return (uint8_t)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
}

void image_convert(const uint8_t *in, int from, uint8_t *out, int to, size_t pixels)
{
    const int alpha = from == 2 || from == 4 ? from - 1 : -1;
    for (size_t i = 0; i < pixels; i++) {
        const uint8_t *p = in + i * (size_t)from;
        uint8_t *q = out + i * (size_t)to;
        if (to == 1) {
            q[0] = from < 3 ? p[0] : luma(p);
            continue;
        }
        q[0] = p[0];
        q[1] = from < 3 ? p[0] : p[1];
        q[2] = from < 3 ? p[0] : p[2];
        if (to == 4) q[3] = alpha < 0 ? 255 : p[alpha];
    }
}

static ddpm_status convert_channels(int channels, image *im)
{
    image out;
    DDPM_TRY(image_alloc(im->w, im->h, channels, &out));
    image_convert(im->data, im->c, out.data, channels, (size_t)im->w * (size_t)im->h);
    image_free(im);
    *im = out;
    return DDPM_OK;
}

static ddpm_status decode(image_decoder *d, const uint8_t *bytes, size_t len, image *out)
{
    if (jpeg_recognise(bytes, len)) return jpeg_decode(d->jpeg, bytes, len, out);
    for (int i = 0; i < N_FORMATS; i++)
        if (formats[i].recognise(bytes, len)) return formats[i].decode(bytes, len, out);
    return unknown_format();
}

ddpm_status image_decoder_decode(image_decoder *d, const void *bytes, size_t len, int channels, image *out)
{
    assert(channels == 0 || channels == 1 || channels == 3 || channels == 4);
    *out = (image){ 0 };
    DDPM_TRY(decode(d, bytes, len, out));
    if (channels == 0 || channels == out->c) return DDPM_OK;
    const ddpm_status s = convert_channels(channels, out);
    if (s != DDPM_OK) image_free(out);
    return s;
}

ddpm_status image_decode(const void *bytes, size_t len, int channels, image *out)
{
    *out = (image){ 0 };
    image_decoder *d;
    DDPM_TRY(image_decoder_new(&d));
    const ddpm_status s = image_decoder_decode(d, bytes, len, channels, out);
    image_decoder_free(d);
    return s;
}

ddpm_status image_decode_file(const char *path, int channels, image *out)
{
    *out = (image){ 0 };
    uint8_t *bytes;
    size_t len;
    DDPM_TRY(file_read_all(path, IMAGE_MAX_FILE, &bytes, &len));
    const ddpm_status s = image_decode(bytes, len, channels, out);
    free(bytes);
    return s == DDPM_OK ? s : ddpm_context(s, "%s: ", path);
}

ddpm_status image_probe(const void *bytes, size_t len, int *w, int *h, int *c)
{
    if (jpeg_recognise(bytes, len)) return jpeg_probe(bytes, len, w, h, c);
    for (int i = 0; i < N_FORMATS; i++)
        if (formats[i].recognise(bytes, len)) return formats[i].probe(bytes, len, w, h, c);
    return unknown_format();
}

ddpm_status png_write(const char *path, const image *im, const png_pair *texts, int text_count)
{
    uint8_t *bytes;
    size_t len;
    DDPM_TRY(png_encode(im, texts, text_count, &bytes, &len));
    const ddpm_status s = file_write_atomic(path, bytes, len);
    free(bytes);
    return s;
}
