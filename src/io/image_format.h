/* image_format.h - what image.c asks of png.c and jpeg.c. Not for other files.
 *
 * Both decode to the channels of the file: PNG 1..4 with palettes expanded and 16
 * bits cut to their high byte; JPEG 1 or 3, CMYK turned to RGB. */
#ifndef DDPM_IO_IMAGE_FORMAT_H
#define DDPM_IO_IMAGE_FORMAT_H

#include <stdbool.h>

#include "io/image.h"

bool        png_recognise(const uint8_t *bytes, size_t len);
ddpm_status png_probe(const uint8_t *bytes, size_t len, int *w, int *h, int *c);
ddpm_status png_decode(const uint8_t *bytes, size_t len, image *out);

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
