/* gif_palette.h - at most 256 colours for a picture; private to gif.c.
 *
 * A picture of few colours keeps them. Others: each channel's range is cut into 32
 * parts, colours are counted in the boxes that this makes, and the box with most
 * pixels times its longest side is cut at its median until there are 256 (Heckbert
 * 1982). A box's colour is the mean of its pixels. Integers only. */
#ifndef DDPM_IO_GIF_PALETTE_H
#define DDPM_IO_GIF_PALETTE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { GIF_COLOURS = 256 };

/* rgb [n,3], n < 2^32 -> palette, of which *used count, and the number of every pixel's colour. ENOMEM. */
ddpm_status gif_palette(const uint8_t *rgb, size_t n, uint8_t palette[GIF_COLOURS][3], int *used, uint8_t *index);

#endif
