/* image_format.h - what image.c asks of the formats' files. Not for other files.
 *
 * All decode to the channels of the file: PNG 1..4 with palettes expanded and 16
 * bits cut to their high byte; JPEG 1 or 3, CMYK turned to RGB; WebP and the first frame of
 * a GIF 3, or 4 with transparency; PGM and PPM (binary) 1 or 3, scaled to 8 bits. */
#ifndef DDPM_IO_IMAGE_FORMAT_H
#define DDPM_IO_IMAGE_FORMAT_H

#include <stdbool.h>

#include "io/image.h"

bool        png_recognise(const uint8_t *bytes, size_t len);
ddpm_status png_probe(const uint8_t *bytes, size_t len, int *w, int *h, int *c);
ddpm_status png_decode(const uint8_t *bytes, size_t len, image *out);

bool        gif_recognise(const uint8_t *bytes, size_t len);
ddpm_status gif_probe(const uint8_t *bytes, size_t len, int *w, int *h, int *c);
ddpm_status gif_decode(const uint8_t *bytes, size_t len, image *out);

bool        webp_recognise(const uint8_t *bytes, size_t len);
ddpm_status webp_probe(const uint8_t *bytes, size_t len, int *w, int *h, int *c);
ddpm_status webp_decode(const uint8_t *bytes, size_t len, image *out);

bool        pnm_recognise(const uint8_t *bytes, size_t len);
ddpm_status pnm_probe(const uint8_t *bytes, size_t len, int *w, int *h, int *c);
ddpm_status pnm_decode(const uint8_t *bytes, size_t len, image *out);

typedef struct jpeg_decoder jpeg_decoder;

ddpm_status jpeg_decoder_new(jpeg_decoder **d);
void        jpeg_decoder_free(jpeg_decoder *d);

bool        jpeg_recognise(const uint8_t *bytes, size_t len);
ddpm_status jpeg_probe(const uint8_t *bytes, size_t len, int *w, int *h, int *c);
ddpm_status jpeg_decode(jpeg_decoder *d, const uint8_t *bytes, size_t len, image *out);

/* Checks w and h and allocates out->data. */
ddpm_status image_alloc(int w, int h, int c, image *out);
ddpm_status image_check_size(uint64_t w, uint64_t h);

#endif
