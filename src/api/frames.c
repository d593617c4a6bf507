#include "api/frames.h"

#include "io/gif.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "key: value" lines, malloc'ed; NULL: no memory. */
static char *comment_of(const generator *g, const png_pair *own, int own_count)
{
    generator_texts t;
    char *text = NULL;
    size_t len;
    generator_provenance(g, own, own_count, &t);
    FILE *out = open_memstream(&text, &len);
    if (!out) return NULL;
    for (int i = 0; i < t.count; i++) fprintf(out, "%s: %s\n", t.pair[i].key, t.pair[i].value);
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

static ddpm_status add_frame(const generator *g, gif_writer *w, const frames_film *film, int frame, uint8_t *images)
{
    const size_t len = g->image_len;
    image im = { g->width, g->height, g->dims.channels, images };
    for (int k = 0; k < film->images; k++) {
        const size_t at = (size_t)k * (size_t)film->frames + (size_t)frame;
        memcpy(images + (size_t)k * len, film->pixels + at * len, len);
    }
    if (film->images > 1) DDPM_TRY(draw_grid(images, film->images, g->height, g->width, im.c, film->columns, &im.data, &im.w, &im.h));
    const ddpm_status status = gif_writer_add(w, &im, frame == film->frames - 1 || (frame == 0 && film->swing) ? film->rest : film->delay);
    if (im.data != images) free(im.data);
    return status;
}

static ddpm_status add_frames(const generator *g, gif_writer *w, const frames_film *film, uint8_t *images)
{
    for (int frame = 0; frame < film->frames; frame++) DDPM_TRY(add_frame(g, w, film, frame, images));
    for (int frame = film->frames - 2; frame > 0 && film->swing; frame--) DDPM_TRY(add_frame(g, w, film, frame, images));
    return DDPM_OK;
}

ddpm_status frames_check(const generator *g, const frames_film *film)
{
    int w = g->width, h = g->height;
    if (film->images > 1) DDPM_TRY(draw_grid_size(film->images, g->height, g->width, film->columns, &w, &h));
    if (w <= GIF_MAX_SIDE && h <= GIF_MAX_SIDE) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "a film of %dx%d pixels is more than a GIF can hold (%d to a side); draw fewer images", w, h, GIF_MAX_SIDE);
}

ddpm_status frames_write(const generator *g, const char *path, const frames_film *film, const png_pair *own, int own_count)
{
    gif_writer *w = NULL;
    char *comment = comment_of(g, own, own_count);
    uint8_t *images = malloc((size_t)film->images * g->image_len);
    ddpm_status status = comment && images ? gif_writer_open(path, comment, &w) : ddpm_fail(DDPM_ENOMEM, "no memory for the frames of a film");
    if (status == DDPM_OK) status = add_frames(g, w, film, images);
    free(comment);
    free(images);
    if (status == DDPM_OK) return gif_writer_finish(w);
    gif_writer_abort(w);
    return status;
}
