#include "api/frames.h"
#include "api/sample_session.h"

#include "io/file.h"
#include "io/gif.h"
#include "io/sheet.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    GIF_FRAMES = 60, STRIP_COLUMNS = 12,
    MOVING = 250, RESTING = 150,          /* hundredths of a second: all frames but the last; the last */
    SLOWEST = 50
};

int sample_film_frames(const settings *request, int steps)
{
    const sample_out kind = sample_output_kind(request);
    const int most = kind == SAMPLE_GIF ? GIF_FRAMES : kind == SAMPLE_STRIP ? STRIP_COLUMNS : 0;
    return steps < most ? steps : most;
}

ddpm_status sample_film_plan(sample_session *s, int steps)
{
    sample_film *f = &s->film;
    int w, h;
    f->steps = steps;
    f->frames = sample_film_frames(s->request, steps);
    if (!f->frames) return DDPM_OK;
    if (s->kind == SAMPLE_STRIP && (int64_t)s->count * f->frames > INT32_MAX)
        return ddpm_fail(DDPM_EINVAL, "a film strip of %d images is more than one picture can hold; draw fewer", s->count);
    if (s->kind == SAMPLE_STRIP) DDPM_TRY(draw_grid_size(s->count * f->frames, s->g.height, s->g.width, f->frames, &w, &h));
    else DDPM_TRY(draw_grid_size(s->count, s->g.height, s->g.width, s->columns, &w, &h));
    if (s->kind == SAMPLE_GIF && (w > GIF_MAX_SIDE || h > GIF_MAX_SIDE || (int64_t)w * h * f->frames > IMAGE_MAX_PIXELS))
        return ddpm_fail(DDPM_EINVAL, "a film of %d frames of %dx%d pixels is more than one picture can hold (%d pixels); draw fewer images",
                         f->frames, w, h, IMAGE_MAX_PIXELS);
    f->pixels = malloc((size_t)s->count * (size_t)f->frames * s->g.image_len);
    return f->pixels ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for a film of %d frames of %d images", f->frames, s->count);
}

/* The step that frame f shows: evenly from the first to the last. */
static int step_of(const sample_film *f, int frame)
{
    return f->frames == 1 ? f->steps - 1 : (int)((int64_t)frame * (f->steps - 1) / (f->frames - 1));
}

static uint8_t *place(const sample_session *s, int k, int frame)
{
    return s->film.pixels + ((size_t)(s->b.first + k) * (size_t)s->film.frames + (size_t)frame) * s->g.image_len;
}

void sample_film_observe(void *ctx, int step, int t, const float *x, const float *pred_xstart)
{
    sample_session *s = ctx;
    sample_film *f = &s->film;
    const float *shown = f->xt ? x : pred_xstart;
    (void)step;                          /* a chain's number, which a late start does not begin at 0 */
    (void)t;
    if (f->seen++ != step_of(f, f->filled)) return;
    for (int k = 0; k < s->b.n; k++) generator_quantize(&s->g, shown + (size_t)k * s->g.image_len, s->g.image_len, place(s, k, f->filled));
    f->filled++;
}

void sample_film_end(sample_session *s, const uint8_t *pixels)
{
    assert(s->film.seen == s->film.steps && s->film.filled == s->film.frames);
    for (int k = 0; k < s->b.n; k++) memcpy(place(s, k, s->film.frames - 1), pixels + (size_t)k * s->g.image_len, s->g.image_len);
}

/* --- the file ---------------------------------------------------------------------------- */

static ddpm_status write_gif(const sample_session *s, const png_pair *own, int own_count)
{
    const sample_film *f = &s->film;
    const int even = f->frames > 1 ? MOVING / (f->frames - 1) : SLOWEST;
    const frames_film film = { .images = s->count, .frames = f->frames, .columns = s->columns, .delay = even < SLOWEST ? even : SLOWEST,
                               .rest = RESTING, .pixels = f->pixels };
    return frames_write(&s->g, s->request->v.output, &film, own, own_count);
}

/* t of what a frame shows: of the x_t itself, or of the one that x_0 is predicted from; the last is the image. */
static int time_of(const sample_session *s, int frame)
{
    const sample_film *f = &s->film;
    const int row = s->g.how.steps.T - 1 - s->start.skip - step_of(f, frame) - f->xt;
    return frame == f->frames - 1 || row < 0 ? 0 : s->g.how.steps.timestep_map[row] + 1;
}

/* Jumps of a filling go up and down, so that its steps have no order of times. */
static ddpm_status write_words(const sample_session *s, const generator_texts *texts, sheet_row *row)
{
    const sample_film *f = &s->film;
    char time[STRIP_COLUMNS][16];
    const char *column[STRIP_COLUMNS];
    for (int i = 0; i < f->frames; i++) {
        snprintf(time[i], sizeof time[i], "%d", time_of(s, i));
        column[i] = time[i];
    }
    for (int k = 0; k < s->count; k++) row[k] = (sheet_row){ .n = f->frames, .pixels = f->pixels + (size_t)k * (size_t)f->frames * s->g.image_len };
    const sheet_part part = { .head = s->start.fill ? NULL : f->xt ? "x\xe2\x82\x9c, t =" : "x\xe2\x82\x80 as predicted from x\xe2\x82\x9c, t =",
                              .n_rows = s->count, .row = row, .n_columns = s->start.fill ? 0 : f->frames, .column = column };
    const sheet strip = { s->g.height, s->g.width, s->g.dims.channels, 1, &part };
    return sheet_write(s->request->v.output, &strip, texts->pair, texts->count);
}

ddpm_status sample_film_write(const sample_session *s, const png_pair *own, int own_count)
{
    const sample_film *f = &s->film;
    if (s->kind == SAMPLE_GIF) return write_gif(s, own, own_count);
    if (file_has_ending(s->request->v.output, ".svg")) {
        sheet_row *row = calloc((size_t)s->count, sizeof *row);
        generator_texts texts;
        generator_provenance(&s->g, own, own_count, &texts);
        const ddpm_status status = row ? write_words(s, &texts, row) : ddpm_fail(DDPM_ENOMEM, "no memory for a strip of %d images", s->count);
        free(row);
        return status;
    }
    return generator_write_grid(&s->g, s->request->v.output, f->pixels, s->count * f->frames, f->frames, own, own_count);
}
