#include "io/svg_png.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"

/* Dots in a metre of a PNG that is as large as its SVG: 96 CSS pixels are an inch. */
static const int density = (int)(96 * SVG_SCALE / 0.0254 + 0.5);

enum { CAIRO_RGB24 = 1,          /* words of 32 bits: unused, red, green, blue */
       FONTS_OF_SYSTEM = 0 };

/* As the C libraries declare them; objects are opaque here. */
typedef struct { uint32_t domain; int code; char *message; } glib_error;
typedef struct { double x, y, width, height; } rsvg_rectangle;
typedef struct { int used, room; void **patterns; } fontconfig_set;

typedef struct {
    void *(*read)(const uint8_t *bytes, size_t len, glib_error **e);
    int   (*render)(void *handle, void *cairo, const rsvg_rectangle *where, glib_error **e);
    void  (*unref)(void *object);
    void  (*error_free)(glib_error *e);
    void *(*surface_new)(uint8_t *data, int format, int width, int height, int stride);
    void  (*surface_flush)(void *surface);
    void  (*surface_free)(void *surface);
    void *(*cairo_new)(void *surface);
    int   (*cairo_status)(void *cairo);
    void  (*cairo_free)(void *cairo);
    const fontconfig_set *(*fonts)(void *config, int which);
} renderer;

/* --- the library ------------------------------------------------------------------------ */

static const struct { const char *name; size_t at; } symbols[] = {
    { "rsvg_handle_new_from_data", offsetof(renderer, read) },
    { "rsvg_handle_render_document", offsetof(renderer, render) },
    { "g_object_unref", offsetof(renderer, unref) },
    { "g_error_free", offsetof(renderer, error_free) },
    { "cairo_image_surface_create_for_data", offsetof(renderer, surface_new) },
    { "cairo_surface_flush", offsetof(renderer, surface_flush) },
    { "cairo_surface_destroy", offsetof(renderer, surface_free) },
    { "cairo_create", offsetof(renderer, cairo_new) },
    { "cairo_status", offsetof(renderer, cairo_status) },
    { "cairo_destroy", offsetof(renderer, cairo_free) },
    { "FcConfigGetFonts", offsetof(renderer, fonts) },
};

/* Without a font pango draws boxes for letters. */
static bool has_font(const renderer *r)
{
    const fontconfig_set *fonts = r->fonts(NULL, FONTS_OF_SYSTEM);
    return fonts && fonts->used > 0;
}

/* GLib's types cannot be unloaded, so the library stays once it was opened. */
static ddpm_status load(renderer *r)
{
    void *library = dlopen("librsvg-2.so.2", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library)
        return ddpm_fail(DDPM_ENOSUP, "charts and sheets as PNG need the library librsvg (Debian: apt-get install librsvg2-2 fonts-dejavu-core); "
                         "give a name that ends in .svg, which needs nothing");
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *const symbol = dlsym(library, symbols[i].name);
        if (!symbol) {
            dlclose(library);
            return ddpm_fail(DDPM_ENOSUP, "the installed librsvg lacks %s and is too old to draw a PNG; give a name that ends in .svg", symbols[i].name);
        }
        memcpy((char *)r + symbols[i].at, &symbol, sizeof symbol);
    }
    dlclose(library);
    if (has_font(r)) return DDPM_OK;
    return ddpm_fail(DDPM_ENOSUP, "a PNG with text needs a font, and none is installed (Debian: apt-get install fonts-dejavu-core); "
                     "give a name that ends in .svg, which needs nothing");
}

/* --- drawing ---------------------------------------------------------------------------- */

static ddpm_status refuse(const renderer *r, glib_error *e)
{
    const ddpm_status s = ddpm_fail(DDPM_EFAIL, "librsvg cannot draw the picture: %s", e ? e->message : "no reason given");
    if (e) r->error_free(e);
    return s;
}

static ddpm_status render(const renderer *r, const svg_document *d, int w, int h, uint8_t *words)
{
    glib_error *e = NULL;
    void *handle = r->read((const uint8_t *)d->text, d->len, &e);
    if (!handle) return refuse(r, e);
    void *surface = r->surface_new(words, CAIRO_RGB24, w, h, 4 * w), *cairo = r->cairo_new(surface);
    const rsvg_rectangle all = { 0, 0, w, h };
    const bool done = r->cairo_status(cairo) == 0 && r->render(handle, cairo, &all, &e) && r->cairo_status(cairo) == 0;
    r->surface_flush(surface);
    const ddpm_status s = done ? DDPM_OK : refuse(r, e);
    r->cairo_free(cairo);
    r->surface_free(surface);
    r->unref(handle);
    return s;
}

static void take_colours(const uint8_t *words, size_t pixels, uint8_t *rgb)
{
    for (size_t i = 0; i < pixels; i++) {
        uint32_t word;
        memcpy(&word, words + 4 * i, sizeof word);
        rgb[3 * i] = (uint8_t)(word >> 16);
        rgb[3 * i + 1] = (uint8_t)(word >> 8);
        rgb[3 * i + 2] = (uint8_t)word;
    }
}

ddpm_status svg_draw(const svg_document *d, image *im)
{
    renderer r;
    *im = (image){ .w = d->width * SVG_SCALE, .h = d->height * SVG_SCALE, .c = 3 };
    const size_t pixels = (size_t)im->w * (size_t)im->h;
    if (pixels > IMAGE_MAX_PIXELS)
        return ddpm_fail(DDPM_EINVAL, "a picture of %d x %d pixels is too large for a PNG; draw fewer images, or give a name that ends in .svg", im->w, im->h);
    DDPM_TRY(load(&r));
    uint8_t *words = malloc(4 * pixels);
    im->data = malloc(3 * pixels);
    ddpm_status s = words && im->data ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for a picture of %d x %d pixels", im->w, im->h);
    if (s == DDPM_OK) {
        memset(words, 0xff, 4 * pixels);
        s = render(&r, d, im->w, im->h, words);
    }
    if (s == DDPM_OK) take_colours(words, pixels, im->data);
    else image_free(im);
    free(words);
    return s;
}

/* --- files ------------------------------------------------------------------------------ */

bool svg_has_ending(const char *path) { return file_has_ending(path, ".svg") || file_has_ending(path, ".png"); }

ddpm_status svg_can_draw(void)
{
    renderer r;
    return load(&r);
}

ddpm_status svg_check_target(const char *path)
{
    if (file_has_ending(path, ".png")) DDPM_TRY(svg_can_draw());
    return file_check_target(path);
}

ddpm_status svg_write(const char *path, const svg_document *d, const png_pair *texts, int text_count)
{
    if (!file_has_ending(path, ".png")) return file_write_atomic(path, d->text, d->len);
    image im;
    uint8_t *bytes;
    size_t len;
    DDPM_TRY(svg_draw(d, &im));
    ddpm_status s = png_encode_sized(&im, density, texts, text_count, &bytes, &len);
    image_free(&im);
    if (s == DDPM_OK) s = file_write_atomic(path, bytes, len);
    free(bytes);
    return s;
}
