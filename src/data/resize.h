/* resize.h - Pillow's Image.resize for 8-bit pixels, to the bit, and the crop of
 * improved-diffusion built on it.
 *
 * Two passes, rows first, with filter weights in 22-bit fixed point and rounding to
 * 8 bits in between. With c = 2 or 4 the last channel is alpha and, as in Pillow's
 * LA and RGBA, colours are premultiplied while they are resized. */
#ifndef DDPM_DATA_RESIZE_H
#define DDPM_DATA_RESIZE_H

#include "base/status.h"
#include "io/image.h"

typedef enum { RESIZE_BOX, RESIZE_BILINEAR, RESIZE_BICUBIC, RESIZE_LANCZOS } resize_filter;

/* The part of the source that is resized, in pixels, 0 <= x0 < x1 <= w. */
typedef struct { float x0, y0, x1, y1; } resize_box;

/* `src` resized to w x h; box NULL: all of it. out may not be src; the caller frees
 * out->data. Errors: DDPM_EINVAL (sizes, box), DDPM_ENOMEM. */
ddpm_status image_resize(const image *src, int w, int h, resize_filter filter, const resize_box *box, image *out);

/* improved-diffusion's preprocessing: halved by BOX while both sides stay at least
 * as long as asked for, BICUBIC until the picture just covers size_w x size_h, then
 * cut out of the centre. Bit-identical to theirs for size_h == size_w. Errors as above. */
ddpm_status image_fit(const image *src, int size_h, int size_w, image *out);

#endif
