#include "io/gif.h"

#include <assert.h>
#include <gif_lib.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/gif_palette.h"

/* giflib is given memory to write to, which cannot fail for it: its own clean-up forgets memory after a failed write. */
struct gif_writer {
    GifFileType *gif;
    char *path, *comment;
    uint8_t *bytes;
    size_t len, room;
    bool full;                       /* out of memory since          */
    image first;                     /* size and channels; no data   */
    uint8_t *rgb, *index;            /* of one frame                 */
};

static int take(GifFileType *gif, const GifByteType *data, int len)
{
    gif_writer *w = gif->UserData;
    if (w->len + (size_t)len > w->room && !w->full) {
        const size_t room = 2 * w->room + (size_t)len;
        uint8_t *wide = realloc(w->bytes, room);
        w->full = !wide;
        if (wide) {
            w->bytes = wide;
            w->room = room;
        }
    }
    if (w->full) return len;
    memcpy(w->bytes + w->len, data, (size_t)len);
    w->len += (size_t)len;
    return len;
}

static ddpm_status no_memory(const gif_writer *w) { return ddpm_fail(DDPM_ENOMEM, "no memory for the film %s", w->path); }

ddpm_status gif_writer_open(const char *path, const char *comment, gif_writer **out)
{
    gif_writer *w = calloc(1, sizeof *w);
    int error;
    *out = NULL;
    if (!w) return ddpm_fail(DDPM_ENOMEM, "no memory for the film %s", path);
    w->path = strdup(path);
    w->comment = strdup(comment);
    w->gif = w->path && w->comment ? EGifOpen(w, take, &error) : NULL;
    if (w->gif) {
        *out = w;
        return DDPM_OK;
    }
    gif_writer_abort(w);
    return ddpm_fail(DDPM_ENOMEM, "no memory for the film %s", path);
}

/* "Repeat for ever" is not of the standard, but of every program. */
static bool put_head(gif_writer *w, const image *frame)
{
    static const uint8_t for_ever[3] = { 1, 0, 0 };
    GifColorType grey[GIF_COLOURS];
    for (int i = 0; i < GIF_COLOURS; i++) grey[i] = (GifColorType){ (GifByteType)i, (GifByteType)i, (GifByteType)i };
    ColorMapObject *map = frame->c < 3 ? GifMakeMapObject(GIF_COLOURS, grey) : NULL;
    if (frame->c < 3 && !map) return false;
    EGifSetGifVersion(w->gif, true);
    const bool ok = EGifPutScreenDesc(w->gif, frame->w, frame->h, 8, 0, map) == GIF_OK &&
                    EGifPutExtensionLeader(w->gif, APPLICATION_EXT_FUNC_CODE) == GIF_OK && EGifPutExtensionBlock(w->gif, 11, "NETSCAPE2.0") == GIF_OK &&
                    EGifPutExtensionBlock(w->gif, sizeof for_ever, for_ever) == GIF_OK && EGifPutExtensionTrailer(w->gif) == GIF_OK &&
                    (!w->comment[0] || EGifPutComment(w->gif, w->comment) == GIF_OK);
    GifFreeMapObject(map);
    return ok;
}

static ddpm_status begin(gif_writer *w, const image *frame)
{
    const size_t pixels = (size_t)frame->w * (size_t)frame->h;
    assert(frame->w > 0 && frame->h > 0 && frame->w <= GIF_MAX_SIDE && frame->h <= GIF_MAX_SIDE);
    w->index = malloc(pixels);
    w->rgb = frame->c < 3 ? NULL : malloc(3 * pixels);
    if (!w->index || (!w->rgb && frame->c >= 3) || !put_head(w, frame)) return no_memory(w);
    w->first = (image){ frame->w, frame->h, frame->c, NULL };
    return DDPM_OK;
}

/* Every pixel's number in *map, which stays NULL for grey: there it is the value. */
static ddpm_status number_pixels(gif_writer *w, const image *frame, ColorMapObject **map)
{
    const size_t pixels = (size_t)frame->w * (size_t)frame->h, c = (size_t)frame->c;
    uint8_t palette[GIF_COLOURS][3] = { { 0 } };
    GifColorType colours[GIF_COLOURS];
    int used;
    *map = NULL;
    if (c < 3) {
        for (size_t i = 0; i < pixels; i++) w->index[i] = frame->data[i * c];
        return DDPM_OK;
    }
    for (size_t i = 0; i < pixels; i++) memcpy(w->rgb + 3 * i, frame->data + c * i, 3);
    DDPM_TRY(gif_palette(w->rgb, pixels, palette, &used, w->index));
    for (int i = 0; i < GIF_COLOURS; i++) colours[i] = (GifColorType){ palette[i][0], palette[i][1], palette[i][2] };
    *map = GifMakeMapObject(GIF_COLOURS, colours);
    return *map ? DDPM_OK : no_memory(w);
}

static bool put_frame(gif_writer *w, const image *frame, const ColorMapObject *map, int delay)
{
    const GraphicsControlBlock control = { .DisposalMode = DISPOSE_DO_NOT, .DelayTime = delay, .TransparentColor = NO_TRANSPARENT_COLOR };
    GifByteType extension[4];
    const int len = (int)EGifGCBToExtension(&control, extension);
    bool ok = EGifPutExtension(w->gif, GRAPHICS_EXT_FUNC_CODE, len, extension) == GIF_OK &&
              EGifPutImageDesc(w->gif, 0, 0, frame->w, frame->h, false, map) == GIF_OK;
    for (int y = 0; y < frame->h && ok; y++) ok = EGifPutLine(w->gif, w->index + (size_t)y * (size_t)frame->w, frame->w) == GIF_OK;
    return ok && !w->full;
}

ddpm_status gif_writer_add(gif_writer *w, const image *frame, int delay)
{
    ColorMapObject *map;
    if (!w->first.c) DDPM_TRY(begin(w, frame));
    assert(frame->w == w->first.w && frame->h == w->first.h && frame->c == w->first.c && delay >= 0 && delay <= 65535);
    DDPM_TRY(number_pixels(w, frame, &map));
    const bool ok = put_frame(w, frame, map, delay);
    GifFreeMapObject(map);
    return ok ? DDPM_OK : no_memory(w);
}

static ddpm_status release(gif_writer *w, bool write)
{
    int error;
    assert(!write || w->first.c);
    ddpm_status status = !w->gif || EGifCloseFile(w->gif, &error) == GIF_OK ? DDPM_OK : no_memory(w);
    if (w->full) status = no_memory(w);
    if (status == DDPM_OK && write) status = file_write_atomic(w->path, w->bytes, w->len);
    free(w->path);
    free(w->comment);
    free(w->bytes);
    free(w->rgb);
    free(w->index);
    free(w);
    return status;
}

ddpm_status gif_writer_finish(gif_writer *w) { return release(w, true); }

void gif_writer_abort(gif_writer *w)
{
    if (w) release(w, false);
}
