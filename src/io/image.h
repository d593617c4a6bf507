/* image.h - picture files to 8-bit pixels: PNG, JPEG, WebP, the first frame of a GIF, binary PPM and PGM.
 *
 * Pixels are what Pillow's Image.open(f).convert("RGB" | "L" | "RGBA") gives, to the
 * bit, except that 16-bit grey PNGs keep their high byte and 16-bit PGMs are scaled (Pillow
 * turns nearly all of them white) and that JPEGs follow the installed libjpeg-turbo. The format is told
 * from the first bytes, never from a name. A file that is damaged, truncated or
 * larger than IMAGE_MAX_PIXELS is DDPM_EFORMAT; its size is checked before pixels are
 * allocated. Gamma, ICC profiles, EXIF orientation and animation are ignored, as the
 * authors' loaders ignore them. */
#ifndef DDPM_IO_IMAGE_H
#define DDPM_IO_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { IMAGE_MAX_PIXELS = 64 << 20 };

/* data[h,w,c], rows top to bottom; c is 1 (luma), 2 (luma, alpha), 3 or 4. */
typedef struct {
    int w, h, c;
    uint8_t *data;
} image;

/* Does the name of a file end as one of these formats' does (.png .jpg .jpeg .webp .gif .ppm .pgm, in any case)? */
bool image_has_ending(const char *name);

void image_free(image *im);                          /* frees data; NULL ok     */

/* Keeps the JPEG decompressor and row tables between files: one per thread. */
typedef struct image_decoder image_decoder;

ddpm_status image_decoder_new(image_decoder **d);
void        image_decoder_free(image_decoder *d);    /* NULL ok                 */

/* channels: 1, 3 or 4 to convert, 0 for what the file has (1 to 4; palettes
 * become 3 or 4). The caller frees out->data; after a failure it is NULL. */
ddpm_status image_decoder_decode(image_decoder *d, const void *bytes, size_t len, int channels, image *out);

/* The same with a decoder of its own. */
ddpm_status image_decode(const void *bytes, size_t len, int channels, image *out);
ddpm_status image_decode_file(const char *path, int channels, image *out);

/* Pillow's convert: `from` channels 1 to 4 to `to` = 1, 3 or 4; alpha is dropped, or 255 where there was none. */
void image_convert(const uint8_t *in, int from, uint8_t *out, int to, size_t pixels);

/* Width, height and the channels that decoding with channels = 0 would give, from
 * the header alone. */
ddpm_status image_probe(const void *bytes, size_t len, int *w, int *h, int *c);

/* --- PNG writing --------------------------------------------------------------- */

/* A tEXt chunk: key of 1..79 Latin-1 characters, value without NUL. */
typedef struct { const char *key, *value; } png_pair;

/* PNG bytes of `im` (c = 1..4); the caller frees *bytes. */
ddpm_status png_encode(const image *im, const png_pair *texts, int text_count, uint8_t **bytes, size_t *len);
/* The same with the size it is meant to be seen at: `density` pixels in a metre. */
ddpm_status png_encode_sized(const image *im, int density, const png_pair *texts, int text_count, uint8_t **bytes, size_t *len);
/* png_encode into a file, atomically. */
ddpm_status png_write(const char *path, const image *im, const png_pair *texts, int text_count);

/* Value of the first tEXt chunk called `key`, malloc'ed; NULL when there is none.
 * Reads the chunk structure only, with its checksums. DDPM_EFORMAT: not a PNG or
 * damaged before the chunk was found. */
ddpm_status png_read_text(const void *bytes, size_t len, const char *key, char **value);

#endif
