/* frames.h - moving grids of images: GIF files of frames that a generator made. */
#ifndef DDPM_API_FRAMES_H
#define DDPM_API_FRAMES_H

#include "api/generator.h"

/* Frame f of image k is pixels[(k * frames + f) * image_len]. */
typedef struct {
    int            images, frames, columns;
    bool           swing;            /* there and back                                          */
    int            delay, rest;      /* hundredths of a second: a frame, and the last; with swing the first too */
    const uint8_t *pixels;
} frames_film;

/* EINVAL: larger than a GIF may be; before anything is drawn, so without pixels. */
ddpm_status frames_check(const generator *g, const frames_film *film);

/* The film, with what its pixels depend on in a comment. */
ddpm_status frames_write(const generator *g, const char *path, const frames_film *film, const png_pair *own, int own_count);

#endif
