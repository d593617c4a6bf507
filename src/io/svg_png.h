/* svg_png.h - SVG documents as files: as they are, or as a PNG drawn by librsvg.
 *
 * librsvg 2.52 or later (with cairo, pango and fontconfig, which it brings) is looked for when a PNG is asked for, not when the program starts:
 * most runs never need it. A PNG has SVG_SCALE pixels for each CSS pixel and says that its size is that of the SVG (192 pixels an inch).
 * Its letters are of the fonts that are installed; the pictures inside it keep their pixels. */
#ifndef DDPM_IO_SVG_PNG_H
#define DDPM_IO_SVG_PNG_H

#include "io/image.h"

enum { SVG_SCALE = 2 };

/* text[len]: a document of width x height CSS pixels; borrowed. */
typedef struct { const char *text; size_t len; int width, height; } svg_document;

/* Does a name end in .svg or .png, in any case? */
bool        svg_has_ending(const char *path);

/* ENOSUP when librsvg or a font is not there; the sentence names the package. */
ddpm_status svg_can_draw(void);

/* What would fail after all the work: file_check_target and, for a .png, svg_can_draw. */
ddpm_status svg_check_target(const char *path);

/* The document drawn on white, RGB; the caller frees im->data. ENOSUP: as above; EFAIL: librsvg refuses; EINVAL: more than IMAGE_MAX_PIXELS. */
ddpm_status svg_draw(const svg_document *d, image *im);

/* Atomically to a .png or, of any other ending, as SVG. The texts are for the PNG. */
ddpm_status svg_write(const char *path, const svg_document *d, const png_pair *texts, int text_count);

#endif
