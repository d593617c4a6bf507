/* sheet.h - sheets of small images with words beside them, for a paper: SVG or PNG (svg_png.h).
 *
 * A sheet is one or several parts beside each other; a part is rows of images. Images are enlarged by a whole number so that
 * their longer side has at least SHEET_LEAST pixels of the PNG, and every one of their pixels stays one colour. */
#ifndef DDPM_IO_SHEET_H
#define DDPM_IO_SHEET_H

#include "io/image.h"

enum { SHEET_LEAST = 64 };

/* n images pixels[n,h,w,c]; name stands left of them, note right; NULL: nothing. All borrowed. */
typedef struct { const char *name, *note; int n; const uint8_t *pixels; } sheet_row;

/* title, head: above the images, head in the smaller letters; NULL: none. lead: after so many images of a row the gap is wider.
 * column: words above the columns, n_columns of them. */
typedef struct {
    const char *title, *head;
    int lead, n_rows;
    const sheet_row *row;
    int n_columns;
    const char *const *column;
} sheet_part;

typedef struct { int height, width, channels, n_parts; const sheet_part *part; } sheet;

/* Pixels of the PNG of a sheet; its rows' pixels are not read. EINVAL: more than a picture may have. */
ddpm_status sheet_size(const sheet *s, int *width, int *height);

/* Atomically to a .png or, of any other ending, as SVG. The texts are the PNG's, or the SVG's description. Errors: those of svg_write, ENOMEM, EINVAL as above. */
ddpm_status sheet_write(const char *path, const sheet *s, const png_pair *texts, int text_count);

#endif
