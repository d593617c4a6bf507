#include "io/gif.h"

#include <gif_lib.h>
#include <stdlib.h>
#include <string.h>

#include "io/image_format.h"

typedef struct { const uint8_t *bytes; size_t len, at, said; const char *where; char *comment; int transparent; } gif_source;

static int give(GifFileType *gif, GifByteType *out, int len)
{
    gif_source *s = gif->UserData;
    const size_t n = s->len - s->at < (size_t)len ? s->len - s->at : (size_t)len;
    memcpy(out, s->bytes + s->at, n);
    s->at += n;
    return (int)n;
}

static ddpm_status bad_film(const gif_source *s, const char *why)
{
    return ddpm_fail(DDPM_EFORMAT, "%s is damaged or no GIF, at byte %zu: %s", s->where, s->at, why);
}

static ddpm_status giflib_failed(const gif_source *s, int error)
{
    const char *why = GifErrorString(error);
    return error == D_GIF_ERR_NOT_ENOUGH_MEM ? ddpm_fail(DDPM_ENOMEM, "no memory to read %s", s->where) : bad_film(s, why ? why : "it is not understood");
}

/* A block: its length, then so many bytes. */
static ddpm_status add_comment(gif_source *s, const GifByteType *block)
{
    const size_t n = block[0];
    if (s->said + n > GIF_MAX_COMMENT) return bad_film(s, "its comment is too long");
    if (memchr(block + 1, 0, n)) return bad_film(s, "its comment is no text");
    char *longer = realloc(s->comment, s->said + n + 1);
    if (!longer) return ddpm_fail(DDPM_ENOMEM, "no memory to read %s", s->where);
    memcpy(longer + s->said, block + 1, n);
    s->said += n;
    longer[s->said] = 0;
    s->comment = longer;
    return DDPM_OK;
}

static ddpm_status read_extension(GifFileType *gif)
{
    gif_source *s = gif->UserData;
    GifByteType *block;
    GraphicsControlBlock control;
    int code;
    if (DGifGetExtension(gif, &code, &block) != GIF_OK) return giflib_failed(s, gif->Error);
    while (block) {
        if (code == COMMENT_EXT_FUNC_CODE) DDPM_TRY(add_comment(s, block));
        if (code == GRAPHICS_EXT_FUNC_CODE && DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK) s->transparent = control.TransparentColor;
        if (DGifGetExtensionNext(gif, &block) != GIF_OK) return giflib_failed(s, gif->Error);
    }
    return DDPM_OK;
}

static ddpm_status begin_frame(GifFileType *gif)
{
    const gif_source *s = gif->UserData;
    const GifImageDesc *frame = &gif->Image;
    if (DGifGetImageDesc(gif) != GIF_OK) return giflib_failed(s, gif->Error);
    if (frame->Width < 1 || frame->Height < 1 || frame->Left + frame->Width > gif->SWidth || frame->Top + frame->Height > gif->SHeight)
        return bad_film(s, "a frame lies outside the film");
    return DDPM_OK;
}

static ddpm_status skip_frame(GifFileType *gif)
{
    const gif_source *s = gif->UserData;
    GifByteType *block;
    int size;
    DDPM_TRY(begin_frame(gif));
    if (DGifGetCode(gif, &size, &block) != GIF_OK) return giflib_failed(s, gif->Error);
    if (!block) return bad_film(s, "a frame has no pixels");
    while (block)
        if (DGifGetCodeNext(gif, &block) != GIF_OK) return giflib_failed(s, gif->Error);
    return DDPM_OK;
}

static ddpm_status read_records(GifFileType *gif)
{
    const gif_source *s = gif->UserData;
    for (;;) {
        GifRecordType type;
        if (DGifGetRecordType(gif, &type) != GIF_OK) return giflib_failed(s, gif->Error);
        if (type == TERMINATE_RECORD_TYPE) return gif->ImageCount ? DDPM_OK : bad_film(s, "it has no frame");
        if (type == EXTENSION_RECORD_TYPE) DDPM_TRY(read_extension(gif));
        if (type == IMAGE_DESC_RECORD_TYPE) DDPM_TRY(skip_frame(gif));
    }
}

ddpm_status gif_read_info(const void *bytes, size_t len, const char *where, gif_info *info)
{
    gif_source s = { .bytes = bytes, .len = len, .where = where, .comment = calloc(1, 1), .transparent = NO_TRANSPARENT_COLOR };
    int error = D_GIF_ERR_NOT_ENOUGH_MEM;
    *info = (gif_info){ 0 };
    GifFileType *gif = s.comment ? DGifOpen(&s, give, &error) : NULL;
    const ddpm_status status = gif ? read_records(gif) : giflib_failed(&s, error);
    if (status == DDPM_OK) *info = (gif_info){ gif->SWidth, gif->SHeight, gif->ImageCount, s.comment };
    else free(s.comment);
    if (gif) DGifCloseFile(gif, &error);
    return status;
}

/* --- the first frame ---------------------------------------------------------- */

bool gif_recognise(const uint8_t *bytes, size_t len) { return len >= 6 && (!memcmp(bytes, "GIF87a", 6) || !memcmp(bytes, "GIF89a", 6)); }

/* Up to the first frame's pixels. */
static ddpm_status find_frame(GifFileType *gif)
{
    const gif_source *s = gif->UserData;
    for (;;) {
        GifRecordType type;
        if (DGifGetRecordType(gif, &type) != GIF_OK) return giflib_failed(s, gif->Error);
        if (type == TERMINATE_RECORD_TYPE) return bad_film(s, "it has no frame");
        if (type == EXTENSION_RECORD_TYPE) DDPM_TRY(read_extension(gif));
        if (type == IMAGE_DESC_RECORD_TYPE) return begin_frame(gif);
    }
}

/* A code of at least 3 bits stands for at most 4096 pixels, so a short file cannot hold a large picture. */
static ddpm_status check_pixels(const GifFileType *gif)
{
    enum { PIXELS_PER_BYTE = 4096 * 8 / 3 };
    const gif_source *s = gif->UserData;
    DDPM_TRY(image_check_size((uint64_t)gif->SWidth, (uint64_t)gif->SHeight));
    if ((size_t)gif->Image.Width * (size_t)gif->Image.Height / PIXELS_PER_BYTE > s->len) return bad_film(s, "it is too short for its size");
    return DDPM_OK;
}

/* Line number i of an interlaced frame as it is stored: every eighth, those between, those between them. */
static int interlaced_line(int i, int h)
{
    static const int first[] = { 0, 4, 2, 1 }, stride[] = { 8, 8, 4, 2 };
    for (int pass = 0; pass < 4; pass++) {
        const int lines = (h - first[pass] + stride[pass] - 1) / stride[pass];
        if (i < lines) return first[pass] + i * stride[pass];
        i -= lines;
    }
    return 0;
}

static ddpm_status read_lines(GifFileType *gif, uint8_t *canvas)
{
    const gif_source *s = gif->UserData;
    const GifImageDesc *f = &gif->Image;
    for (int i = 0; i < f->Height; i++) {
        const int line = f->Top + (f->Interlace ? interlaced_line(i, f->Height) : i);
        if (DGifGetLine(gif, canvas + (size_t)line * (size_t)gif->SWidth + f->Left, f->Width) != GIF_OK) return giflib_failed(s, gif->Error);
    }
    return DDPM_OK;
}

/* Without a palette the numbers are grey values. */
static void paint(const GifFileType *gif, const uint8_t *canvas, image *out)
{
    const gif_source *s = gif->UserData;
    const ColorMapObject *map = gif->Image.ColorMap ? gif->Image.ColorMap : gif->SColorMap;
    const size_t n = (size_t)out->w * (size_t)out->h;
    for (size_t i = 0; i < n; i++) {
        const int k = canvas[i];
        uint8_t *p = out->data + i * (size_t)out->c;
        const GifColorType black = { 0, 0, 0 }, grey = { (GifByteType)k, (GifByteType)k, (GifByteType)k };
        const GifColorType colour = !map ? grey : k < map->ColorCount ? map->Colors[k] : black;
        p[0] = colour.Red;
        p[1] = colour.Green;
        p[2] = colour.Blue;
        if (out->c == 4) p[3] = k == s->transparent ? 0 : 255;
    }
}

static int frame_channels(const gif_source *s) { return s->transparent == NO_TRANSPARENT_COLOR ? 3 : 4; }

/* What the frame leaves uncovered is transparent where there is a transparent colour, else colour 0. */
static ddpm_status read_frame(GifFileType *gif, image *out)
{
    const gif_source *s = gif->UserData;
    DDPM_TRY(find_frame(gif));
    DDPM_TRY(check_pixels(gif));
    const size_t n = (size_t)gif->SWidth * (size_t)gif->SHeight;
    uint8_t *canvas = malloc(n);
    if (!canvas) return ddpm_fail(DDPM_ENOMEM, "no memory for a picture of %zu pixels", n);
    memset(canvas, s->transparent == NO_TRANSPARENT_COLOR ? 0 : s->transparent, n);
    ddpm_status status = read_lines(gif, canvas);
    if (status == DDPM_OK) status = image_alloc(gif->SWidth, gif->SHeight, frame_channels(s), out);
    if (status == DDPM_OK) paint(gif, canvas, out);
    free(canvas);
    return status;
}

static ddpm_status with_gif(const uint8_t *bytes, size_t len, ddpm_status (*read)(GifFileType *gif, image *out), image *out)
{
    gif_source s = { .bytes = bytes, .len = len, .where = "the picture", .comment = calloc(1, 1), .transparent = NO_TRANSPARENT_COLOR };
    int error = D_GIF_ERR_NOT_ENOUGH_MEM;
    GifFileType *gif = s.comment ? DGifOpen(&s, give, &error) : NULL;
    const ddpm_status status = gif ? read(gif, out) : giflib_failed(&s, error);
    if (gif) DGifCloseFile(gif, &error);
    free(s.comment);
    return status;
}

static ddpm_status read_size(GifFileType *gif, image *out)
{
    DDPM_TRY(find_frame(gif));
    *out = (image){ .w = gif->SWidth, .h = gif->SHeight, .c = frame_channels(gif->UserData) };
    return image_check_size((uint64_t)out->w, (uint64_t)out->h);
}

ddpm_status gif_probe(const uint8_t *bytes, size_t len, int *w, int *h, int *c)
{
    image size = { 0 };
    DDPM_TRY(with_gif(bytes, len, read_size, &size));
    *w = size.w;
    *h = size.h;
    *c = size.c;
    return DDPM_OK;
}

ddpm_status gif_decode(const uint8_t *bytes, size_t len, image *out) { return with_gif(bytes, len, read_frame, out); }
