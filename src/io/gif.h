/* gif.h - animated GIF files, through giflib.
 *
 * Frames with at most 256 colours, so all grey ones, are stored exactly; others get a
 * palette of their own by median cut (gif_palette.c). The same frames give the same
 * bytes. The film repeats for ever. */
#ifndef DDPM_IO_GIF_H
#define DDPM_IO_GIF_H

#include "io/image.h"

enum { GIF_MAX_SIDE = 65535 };

typedef struct gif_writer gif_writer;

/* comment: text that programs show beside the film; "" none. Nothing is written before finish. */
ddpm_status gif_writer_open(const char *path, const char *comment, gif_writer **w);

/* All frames have one size, sides of at most GIF_MAX_SIDE, and as many channels; alpha is dropped. delay: how long
 * the frame is shown, hundredths of a second. */
ddpm_status gif_writer_add(gif_writer *w, const image *frame, int delay);

/* Both free the writer, also on failure; finish writes the file, complete or not at all. At least one frame. */
ddpm_status gif_writer_finish(gif_writer *w);
void        gif_writer_abort(gif_writer *w);         /* NULL ok */

/* --- reading ----------------------------------------------------------------- */

enum { GIF_MAX_COMMENT = 1 << 16 };

typedef struct { int w, h, frames; char *comment; } gif_info;

/* What a film is, without its pixels, which stay packed: size, frames, and all comments in one text ("" none; the caller
 * frees it). `where` names the bytes in sentences. EFORMAT: no GIF, no frame, a frame outside the film, a comment of more
 * than GIF_MAX_COMMENT bytes or with a 0 in it, or no end. */
ddpm_status gif_read_info(const void *bytes, size_t len, const char *where, gif_info *info);

#endif
