#include "io/sheet.h"

#include <stdlib.h>
#include <string.h>

#include "io/chart_parts.h"
#include "io/svg_png.h"

enum { MARGIN = 8, GAP = 2, LEAD = 10, PART_GAP = 24, WORD_GAP = 8, TITLE_HEIGHT = 22, HEAD_HEIGHT = 18, MOST_LETTERS = 80, MOST_TOLD = 1000 };
static const double title_letter = 8.3, head_letter = 6.5;

/* In CSS pixels; `times`: pixels of the PNG for one of the image. */
typedef struct { double cell_w, cell_h; int times; } scale;
typedef struct { double names, images, notes, title; } measures;

static int most(int a, int b) { return a > b ? a : b; }
static double widest(double a, double b) { return a > b ? a : b; }

static int letters(const char *s)
{
    const int n = s ? chart_characters(s) : 0;
    return n < MOST_LETTERS ? n : MOST_LETTERS;
}

static scale scale_of(const sheet *s)
{
    const int side = most(s->height, s->width), times = (SHEET_LEAST + side - 1) / side;
    return (scale){ (double)s->width * times / SVG_SCALE, (double)s->height * times / SVG_SCALE, times };
}

static measures measure(const sheet *s, const sheet_part *p)
{
    const scale k = scale_of(s);
    int names = 0, notes = 0, columns = 0;
    for (int i = 0; i < p->n_rows; i++) {
        names = most(names, letters(p->row[i].name));
        notes = most(notes, letters(p->row[i].note));
        columns = most(columns, p->row[i].n);
    }
    return (measures){ .names = names ? WORD_GAP + CHART_LETTER * names : 0, .notes = notes ? WORD_GAP + CHART_LETTER * notes : 0,
                       .images = columns * (k.cell_w + GAP) + (p->lead && columns > p->lead ? LEAD : 0),
                       .title = widest(title_letter * letters(p->title), head_letter * letters(p->head)) };
}

static double part_width(const measures *m) { return widest(m->names + m->images + m->notes, m->names + m->title); }

/* Above the first row, the same in every part. */
static double head_height(const sheet *s)
{
    bool title = false, head = false, column = false;
    for (int i = 0; i < s->n_parts; i++) {
        const sheet_part *p = &s->part[i];
        title = title || p->title, head = head || p->head, column = column || p->n_columns;
    }
    return (title ? TITLE_HEIGHT : 0) + (head ? HEAD_HEIGHT : 0) + (column ? HEAD_HEIGHT : 0);
}

/* Of image i of a row, from the first one on. */
static double column_left(const sheet *s, const sheet_part *p, int i)
{
    return i * (scale_of(s).cell_w + GAP) + (p->lead && i >= p->lead ? LEAD : 0);
}

/* Whole CSS pixels. EINVAL: too many of them. */
static ddpm_status page(const sheet *s, int *width, int *height)
{
    double w = 2 * MARGIN + PART_GAP * (s->n_parts - 1), h = 0;
    for (int i = 0; i < s->n_parts; i++) {
        const measures m = measure(s, &s->part[i]);
        w += part_width(&m);
        h = widest(h, s->part[i].n_rows * (scale_of(s).cell_h + GAP));
    }
    h += 2 * MARGIN + head_height(s);
    if (w * h * SVG_SCALE * SVG_SCALE > IMAGE_MAX_PIXELS)
        return ddpm_fail(DDPM_EINVAL, "a sheet of %.0f x %.0f pixels is larger than a picture may be; show fewer images", w * SVG_SCALE, h * SVG_SCALE);
    *width = (int)w + 1;
    *height = (int)h + 1;
    return DDPM_OK;
}

ddpm_status sheet_size(const sheet *s, int *width, int *height)
{
    DDPM_TRY(page(s, width, height));
    *width *= SVG_SCALE;
    *height *= SVG_SCALE;
    return DDPM_OK;
}

/* --- drawing ------------------------------------------------------------------------------ */

static void words(chart_text *t, const char *class, const char *text, double x, double y, const char *anchor, const char *look)
{
    if (!text) return;
    chart_open_text(t, class, x, y, anchor);
    chart_print(t, " %s>", look);
    chart_escaped(t, text, MOST_LETTERS);
    chart_print(t, "</text>\n");
}

static void base64(chart_text *t, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        const uint32_t b = i + 1 < len ? bytes[i + 1] : 0, c = i + 2 < len ? bytes[i + 2] : 0, all = (uint32_t)bytes[i] << 16 | b << 8 | c;
        chart_print(t, "%c%c%c%c", digits[all >> 18], digits[all >> 12 & 63], i + 1 < len ? digits[all >> 6 & 63] : '=', i + 2 < len ? digits[all & 63] : '=');
    }
}

/* Enlarged here: librsvg and programs that make a PDF would blur small images. */
static ddpm_status encode(const sheet *s, const uint8_t *pixels, uint8_t **bytes, size_t *len)
{
    const size_t times = (size_t)scale_of(s).times, w = (size_t)s->width, h = (size_t)s->height, c = (size_t)s->channels;
    uint8_t *large = malloc(times * times * w * h * c);
    if (!large) return ddpm_fail(DDPM_ENOMEM, "no memory for an image of a sheet");
    for (size_t y = 0; y < times * h; y++)
        for (size_t x = 0; x < times * w; x++) memcpy(large + (y * times * w + x) * c, pixels + (y / times * w + x / times) * c, c);
    const image im = { .w = s->width * (int)times, .h = s->height * (int)times, .c = s->channels, .data = large };
    const ddpm_status status = png_encode(&im, NULL, 0, bytes, len);
    free(large);
    return status;
}

static ddpm_status picture(chart_text *t, const sheet *s, const uint8_t *pixels, double x, double y)
{
    const scale k = scale_of(s);
    uint8_t *bytes;
    size_t len;
    DDPM_TRY(encode(s, pixels, &bytes, &len));
    chart_print(t, "<image");
    chart_attribute(t, "x", x);
    chart_attribute(t, "y", y);
    chart_attribute(t, "width", k.cell_w);
    chart_attribute(t, "height", k.cell_h);
    chart_print(t, " image-rendering='pixelated' xlink:href='data:image/png;base64,");
    base64(t, bytes, len);
    chart_print(t, "'/>\n");
    free(bytes);
    return DDPM_OK;
}

static ddpm_status draw_row(chart_text *t, const sheet *s, const sheet_part *p, const sheet_row *r, const measures *m, double x, double y)
{
    const scale k = scale_of(s);
    const size_t bytes = (size_t)s->height * (size_t)s->width * (size_t)s->channels;
    const double middle = y + k.cell_h / 2 + 4;
    words(t, "name", r->name, x + m->names - WORD_GAP, middle, "end", "font-size='12'");
    words(t, "note", r->note, x + m->names + m->images + WORD_GAP - GAP, middle, "start", "font-size='12'");
    for (int i = 0; i < r->n; i++) DDPM_TRY(picture(t, s, r->pixels + (size_t)i * bytes, x + m->names + column_left(s, p, i), y));
    return DDPM_OK;
}

static ddpm_status draw_part(chart_text *t, const sheet *s, const sheet_part *p, double x)
{
    const measures m = measure(s, p);
    const double top = MARGIN + head_height(s), pitch = scale_of(s).cell_h + GAP;
    words(t, "title", p->title, x + m.names, MARGIN + 12, "start", "font-size='14' font-weight='bold'");
    words(t, "head", p->head, x + m.names, top - 7 - (p->n_columns ? HEAD_HEIGHT : 0), "start", "font-size='11'");
    for (int i = 0; i < p->n_columns; i++)
        words(t, "column", p->column[i], x + m.names + column_left(s, p, i) + scale_of(s).cell_w / 2, top - 6, "middle", "font-size='11'");
    for (int i = 0; i < p->n_rows; i++) DDPM_TRY(draw_row(t, s, p, &p->row[i], &m, x, top + i * pitch));
    return DDPM_OK;
}

/* Where programs show it and a reader of the file finds it. */
static void describe(chart_text *t, const png_pair *texts, int count)
{
    if (!count) return;
    chart_print(t, "<desc>");
    for (int i = 0; i < count; i++) {
        chart_print(t, "%s%s: ", i ? "; " : "", texts[i].key);
        chart_escaped(t, texts[i].value, MOST_TOLD);
    }
    chart_print(t, "</desc>\n");
}

static ddpm_status draw(chart_text *t, const sheet *s, const png_pair *texts, int text_count, svg_document *d)
{
    double x = MARGIN;
    DDPM_TRY(page(s, &d->width, &d->height));
    chart_open_document(t, d->width, d->height);
    describe(t, texts, text_count);
    chart_print(t, "<g xmlns:xlink='http://www.w3.org/1999/xlink'>\n");
    for (int i = 0; i < s->n_parts; i++) {
        const measures m = measure(s, &s->part[i]);
        DDPM_TRY(draw_part(t, s, &s->part[i], x));
        x += (int)(part_width(&m) + PART_GAP);
    }
    chart_print(t, "</g>\n</svg>\n");
    d->text = t->data;
    d->len = t->len;
    return t->failed ? ddpm_fail(DDPM_ENOMEM, "no memory for a sheet of images") : DDPM_OK;
}

ddpm_status sheet_write(const char *path, const sheet *s, const png_pair *texts, int text_count)
{
    chart_text t = { 0 };
    svg_document d;
    ddpm_status status = draw(&t, s, texts, text_count, &d);
    if (status == DDPM_OK) status = svg_write(path, &d, texts, text_count);
    free(t.data);
    return status;
}
