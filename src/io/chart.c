#include "io/chart.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/chart_parts.h"
#include "io/svg_png.h"

/* Three to four inches wide with letters of 12 pixels: in a column of a paper they are about 7 points high. */
enum { PANEL_WIDTH = 400, PANEL_HEIGHT = 290 };
static const double margin_left = 72, margin_right = 20, margin_top = 32, margin_bottom = 52, subtitle_height = 13;

/* Left of the y axis: its labels, the air between them and the title, the height of the title's letters. */
static const double label_gap = 8, title_gap = 10, title_height = 14, widest_digit = 7.7;

/* As many letters fit beside their axis; longer texts have smaller ones, down to the smallest that can be read. */
enum { TITLE_FIT = 40, SUBTITLE_FIT = 56, X_FIT = 44, Y_FIT = 36, SMALLEST = 9, MOST_LETTERS = 64 };

static void segment(chart_text *t, double x1, double y1, double x2, double y2, const char *colour)
{
    chart_print(t, "<line");
    chart_attribute(t, "x1", x1);
    chart_attribute(t, "y1", y1);
    chart_attribute(t, "x2", x2);
    chart_attribute(t, "y2", y2);
    chart_print(t, " stroke='%s'/>\n", colour);
}

/* --- axes ---------------------------------------------------------------------------------------- */

/* Pixels of the widest label of an axis, in the widest of the fonts. */
static double widest_label(const chart_axis *a)
{
    int most = 0;
    for (int i = 0; i < a->n; i++) {
        if (a->tick[i].minor) continue;
        char label[CHART_LABEL_SIZE];
        chart_axis_label(a, i, label);
        const int n = chart_shown(label);
        most = n > most ? n : most;
    }
    return widest_digit * most;
}

/* The area between the axes moves right where the labels of the y axis need the room. */
static void make_room(chart_frame *f, const chart *c)
{
    const double left = widest_label(&f->y) + label_gap + (c->y_label ? title_gap + title_height : 0), more = left - f->left;
    if (more > 0) f->left += more, f->width -= more;
}

/* Every how many ticks of an x axis have labels, so that these do not touch if they are as far apart as the first two. */
static int labels_every(const chart_frame *f)
{
    int first = -1, second = -1, every = 1;
    for (int i = 0; i < f->x.n && second < 0; i++) {
        if (f->x.tick[i].minor) continue;
        if (first < 0) first = i;
        else second = i;
    }
    if (second < 0) return 1;
    const double apart = f->width * (chart_axis_place(&f->x, f->x.tick[second].at) - chart_axis_place(&f->x, f->x.tick[first].at));
    while (every * apart < widest_label(&f->x) + 8) every++;
    return every;
}

static void x_ticks(chart_text *t, const chart_frame *f)
{
    const double bottom = f->top + f->height;
    const int every = labels_every(f);
    double free_from = 0;
    for (int i = 0, major = 0; i < f->x.n; i++) {
        const chart_tick *k = &f->x.tick[i];
        const double x = f->left + f->width * chart_axis_place(&f->x, k->at);
        segment(t, x, bottom, x, bottom + (k->minor ? 3 : 5), "#333");
        if (k->minor || major++ % every) continue;
        char label[CHART_LABEL_SIZE];
        chart_axis_label(&f->x, i, label);
        const double half = widest_digit * chart_shown(label) / 2;
        if (x - half < free_from) continue;
        free_from = x + half + 4;
        chart_open_text(t, "x-tick", x, bottom + 19, "middle");
        chart_print(t, " font-size='12'>%s</text>\n", label);
    }
}

static void y_tick(chart_text *t, const chart_frame *f, int i)
{
    const chart_tick *k = &f->y.tick[i];
    const double y = f->top + f->height * (1 - chart_axis_place(&f->y, k->at));
    segment(t, f->left - (k->minor ? 3 : 5), y, f->left, y, "#333");
    if (k->minor) return;
    char label[CHART_LABEL_SIZE];
    chart_axis_label(&f->y, i, label);
    chart_open_text(t, "y-tick", f->left - label_gap, y + 4, "end");
    chart_print(t, " font-size='12'>%s</text>\n", label);
}

static void grid(chart_text *t, const chart_frame *f)
{
    for (int i = 0; i < f->x.n; i++) {
        const double x = f->left + f->width * chart_axis_place(&f->x, f->x.tick[i].at);
        if (!f->x.tick[i].minor) segment(t, x, f->top, x, f->top + f->height, "#e4e4e4");
    }
    for (int i = 0; i < f->y.n; i++) {
        const double y = f->top + f->height * (1 - chart_axis_place(&f->y, f->y.tick[i].at));
        if (!f->y.tick[i].minor) segment(t, f->left, y, f->left + f->width, y, "#e4e4e4");
    }
}

static void box(chart_text *t, const chart_frame *f)
{
    chart_print(t, "<rect class='frame'");
    chart_attribute(t, "x", f->left);
    chart_attribute(t, "y", f->top);
    chart_attribute(t, "width", f->width);
    chart_attribute(t, "height", f->height);
    chart_print(t, " fill='none' stroke='#333'/>\n");
}

/* The end of a text element: its size, further attributes, the text. */
static void finish_text(chart_text *t, const char *text, double size, int fit, const char *further)
{
    const int n = chart_characters(text);
    chart_attribute(t, "font-size", n <= fit ? size : fmax(size * fit / n, SMALLEST));
    chart_print(t, "%s>", further);
    chart_escaped(t, text, MOST_LETTERS);
    chart_print(t, "</text>\n");
}

static void titles(chart_text *t, const chart *c, const chart_frame *f)
{
    const double middle = f->left + f->width / 2, centre = f->top + f->height / 2;
    if (c->title) {
        chart_open_text(t, "title", middle, margin_top - 12, "middle");
        finish_text(t, c->title, 14, TITLE_FIT, " font-weight='bold'");
    }
    if (c->subtitle) {
        chart_open_text(t, "subtitle", middle, margin_top + 3, "middle");
        finish_text(t, c->subtitle, 10.5, SUBTITLE_FIT, " fill='#555'");
    }
    if (c->x_label) {
        chart_open_text(t, "x-label", middle, f->top + f->height + 41, "middle");
        finish_text(t, c->x_label, 13, X_FIT, "");
    }
    if (c->y_label) {
        chart_print(t, "<text class='y-label' transform='translate(");
        chart_length(t, f->left - widest_label(&f->y) - label_gap - title_gap);
        chart_print(t, ",");
        chart_length(t, centre);
        chart_print(t, ") rotate(-90)' text-anchor='middle'");
        finish_text(t, c->y_label, 13, Y_FIT, "");
    }
}

/* --- one chart ------------------------------------------------------------------------------------- */

/* Areas first, so that they do not cover lines. */
static ddpm_status draw_series(chart_text *t, chart_frame *f, const chart *c)
{
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < c->n_series; i++) {
            const bool area = c->series[i].mark == CHART_BAND || c->series[i].mark == CHART_BARS;
            if (area == (pass == 0)) DDPM_TRY(chart_draw(t, f, c, i));
        }
    return DDPM_OK;
}

static ddpm_status axes_and_data(chart_text *t, chart_frame *f, const chart *c)
{
    grid(t, f);
    DDPM_TRY(draw_series(t, f, c));
    box(t, f);
    x_ticks(t, f);
    for (int i = 0; i < f->y.n; i++) y_tick(t, f, i);
    titles(t, c, f);
    return DDPM_OK;
}

static void no_data(chart_text *t, const chart *c, const chart_frame *f)
{
    box(t, f);
    titles(t, c, f);
    chart_open_text(t, "empty", f->left + f->width / 2, f->top + f->height / 2, "middle");
    chart_print(t, " font-size='13'>no data</text>\n");
}

/* Where the legend fits is known after drawing; if nowhere, the chart is drawn again, lower, under it. */
static ddpm_status with_legend(chart_text *t, chart_frame *f, const chart *c)
{
    const size_t before = t->len;
    double x, y;
    DDPM_TRY(axes_and_data(t, f, c));
    if (chart_legend_inside(f, c, &x, &y)) {
        chart_legend_column(t, c, x, y);
        return DDPM_OK;
    }
    const double height = chart_legend_height(f, c);
    f->top += height, f->height -= height;
    if (!t->failed) t->len = before;
    chart_legend_lines(t, f, c, f->top - height - 2);
    return axes_and_data(t, f, c);
}

static ddpm_status panel(chart_text *t, const chart *c, double x, double y)
{
    chart_frame *f = calloc(1, sizeof *f);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for a chart");
    f->left = margin_left, f->top = margin_top + (c->subtitle ? subtitle_height : 0);
    f->width = PANEL_WIDTH - f->left - margin_right, f->height = PANEL_HEIGHT - f->top - margin_bottom;
    chart_print(t, "<g transform='translate(");
    chart_length(t, x);
    chart_print(t, ",");
    chart_length(t, y);
    chart_print(t, ")'>\n");
    ddpm_status status = DDPM_OK;
    if (chart_frame_fit(f, c)) {
        make_room(f, c);
        status = with_legend(t, f, c);
    } else {
        no_data(t, c, f);
    }
    chart_print(t, "</g>\n");
    free(f);
    return status;
}

static bool anything(const chart *charts, int count)
{
    for (int k = 0; k < count; k++)
        for (int i = 0; i < charts[k].n_series; i++) if (chart_drawable(&charts[k], i) > 0) return true;
    return false;
}

static ddpm_status document(chart_text *t, const chart *charts, int count, int columns, svg_document *d)
{
    const int rows = (count + columns - 1) / columns;
    *d = (svg_document){ .width = columns * PANEL_WIDTH, .height = rows * PANEL_HEIGHT };
    chart_open_document(t, d->width, d->height);
    for (int k = 0; k < count; k++) DDPM_TRY(panel(t, &charts[k], PANEL_WIDTH * (k % columns), PANEL_HEIGHT * (k / columns)));
    chart_print(t, "</svg>\n");
    d->text = t->data;
    d->len = t->len;
    return t->failed ? ddpm_fail(DDPM_ENOMEM, "no memory for a file of %d charts", count) : DDPM_OK;
}

ddpm_status chart_write(const char *path, const chart *charts, int count, int columns)
{
    if (!anything(charts, count)) return ddpm_fail(DDPM_EINVAL, "%s: nothing to draw: no value is finite, or positive where an axis is logarithmic", path);
    chart_text t = { 0 };
    svg_document d;
    ddpm_status status = document(&t, charts, count, columns < 1 ? 1 : columns > count ? count : columns, &d);
    if (status == DDPM_OK) status = svg_write(path, &d, NULL, 0);
    free(t.data);
    return status;
}
