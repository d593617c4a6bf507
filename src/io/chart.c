#include "io/chart.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/chart_parts.h"
#include "io/file.h"

static const double panel_width = 520, panel_height = 330;
static const double margin_left = 76, margin_right = 18, margin_top = 34, margin_bottom = 48;
static const double row_height = 16, swatch = 24, letter = 6.4;

enum { TITLE_LETTERS = 64, LABEL_LETTERS = 56, LEGEND_LETTERS = 36 };

static void segment(chart_text *t, double x1, double y1, double x2, double y2, const char *colour)
{
    chart_print(t, "<line");
    chart_attribute(t, "x1", x1);
    chart_attribute(t, "y1", y1);
    chart_attribute(t, "x2", x2);
    chart_attribute(t, "y2", y2);
    chart_print(t, " stroke='%s'/>\n", colour);
}

static void open_text(chart_text *t, const char *class, double x, double y, const char *anchor)
{
    chart_print(t, "<text class='%s'", class);
    chart_attribute(t, "x", x);
    chart_attribute(t, "y", y);
    chart_print(t, " text-anchor='%s'", anchor);
}

/* --- axes ---------------------------------------------------------------------------------------- */

static void x_tick(chart_text *t, const chart_frame *f, int i)
{
    const chart_tick *k = &f->x.tick[i];
    const double x = f->left + f->width * chart_axis_place(&f->x, k->at), bottom = f->top + f->height;
    segment(t, x, bottom, x, bottom + (k->minor ? 3 : 5), "#333");
    if (k->minor) return;
    char label[CHART_LABEL_SIZE];
    chart_axis_label(&f->x, i, label);
    open_text(t, "x-tick", x, bottom + 18, "middle");
    chart_print(t, " font-size='11'>%s</text>\n", label);
}

static void y_tick(chart_text *t, const chart_frame *f, int i)
{
    const chart_tick *k = &f->y.tick[i];
    const double y = f->top + f->height * (1 - chart_axis_place(&f->y, k->at));
    segment(t, f->left - (k->minor ? 3 : 5), y, f->left, y, "#333");
    if (k->minor) return;
    char label[CHART_LABEL_SIZE];
    chart_axis_label(&f->y, i, label);
    open_text(t, "y-tick", f->left - 8, y + 4, "end");
    chart_print(t, " font-size='11'>%s</text>\n", label);
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

static void titles(chart_text *t, const chart *c, const chart_frame *f)
{
    const double middle = f->left + f->width / 2, centre = f->top + f->height / 2;
    if (c->title) {
        open_text(t, "title", middle, f->top - 12, "middle");
        chart_print(t, " font-size='13' font-weight='bold'>");
        chart_escaped(t, c->title, TITLE_LETTERS);
        chart_print(t, "</text>\n");
    }
    if (c->x_label) {
        open_text(t, "x-label", middle, f->top + f->height + 38, "middle");
        chart_print(t, " font-size='12'>");
        chart_escaped(t, c->x_label, LABEL_LETTERS);
        chart_print(t, "</text>\n");
    }
    if (c->y_label) {
        chart_print(t, "<text class='y-label' transform='translate(16,");
        chart_length(t, centre);
        chart_print(t, ") rotate(-90)' text-anchor='middle' font-size='12'>");
        chart_escaped(t, c->y_label, LABEL_LETTERS);
        chart_print(t, "</text>\n");
    }
}

/* --- legend -------------------------------------------------------------------------------------- */

/* The first series of a name that has points somewhere under this name. */
static bool has_row(const chart *c, int i)
{
    if (!c->series[i].name || chart_first_of(c, i) != i) return false;
    for (int k = i; k < c->n_series; k++) if (chart_first_of(c, k) == i && chart_drawable(c, k) > 0) return true;
    return false;
}

static void legend_size(const chart *c, double *width, double *height)
{
    int rows = 0, letters = 0;
    for (int i = 0; i < c->n_series; i++) {
        if (!has_row(c, i)) continue;
        const int n = chart_characters(c->series[i].name), shown = n > LEGEND_LETTERS ? LEGEND_LETTERS : n;
        letters = shown > letters ? shown : letters;
        rows++;
    }
    *width = rows ? swatch + 16 + letter * letters : 0;
    *height = rows ? row_height * rows + 8 : 0;
}

static bool free_box(const chart_frame *f, double x, double y, double width, double height)
{
    const double gap = 4;
    for (int row = 0; row < CHART_CELLS_Y; row++)
        for (int column = 0; column < CHART_CELLS_X; column++) {
            const double left = f->left + column * f->width / CHART_CELLS_X, top = f->top + row * f->height / CHART_CELLS_Y;
            const bool beside = left > x + width + gap || left + f->width / CHART_CELLS_X < x - gap;
            const bool apart = top > y + height + gap || top + f->height / CHART_CELLS_Y < y - gap;
            if (f->taken[row][column] && !beside && !apart) return false;
        }
    return true;
}

/* A corner or the middle of an edge that no data cover. */
static bool legend_place(const chart_frame *f, double width, double height, double *x, double *y)
{
    static const struct { double x, y; } spots[] = { { 1, 0 }, { 0, 0 }, { 1, 1 }, { 0, 1 }, { 0.5, 0 }, { 0.5, 1 }, { 1, 0.5 }, { 0, 0.5 } };
    const double room_x = f->width - width - 16, room_y = f->height - height - 16;
    for (size_t k = 0; k < sizeof spots / sizeof *spots && room_x >= 0 && room_y >= 0; k++) {
        *x = f->left + 8 + spots[k].x * room_x;
        *y = f->top + 8 + spots[k].y * room_y;
        if (free_box(f, *x, *y, width, height)) return true;
    }
    return false;
}

/* The sign of one mark, in the row whose middle is at y. */
static void legend_sign(chart_text *t, const chart_style *style, chart_mark mark, double x, double y)
{
    if (mark == CHART_LINE) {
        chart_print(t, "<path fill='none' stroke='%s' stroke-width='1.5'", style->colour);
        if (style->dash) chart_print(t, " stroke-dasharray='%s'", style->dash);
    } else {
        chart_print(t, "<path fill='%s' fill-opacity='%s'", style->colour, mark == CHART_POINTS ? "0.85" : "0.25");
        if (mark == CHART_BARS) chart_print(t, " stroke='%s'", style->colour);
    }
    chart_print(t, " d='M");
    chart_length(t, mark == CHART_POINTS ? x + swatch / 2 : x);
    chart_print(t, ",");
    chart_length(t, y);
    chart_print(t, "%s'/>\n", mark == CHART_LINE ? "h24" : mark == CHART_POINTS ? style->marker : "v-5h24v10h-24z");
}

static void legend(chart_text *t, const chart *c, double x, double y)
{
    double at = y + 4 + row_height / 2;
    for (int i = 0; i < c->n_series; i++) {
        if (!has_row(c, i)) continue;
        for (int k = i; k < c->n_series; k++)
            if (chart_first_of(c, k) == i && chart_drawable(c, k) > 0) legend_sign(t, chart_style_of(c, i), c->series[k].mark, x + 4, at);
        open_text(t, "legend", x + swatch + 10, at + 4, "start");
        chart_print(t, " font-size='11'>");
        chart_escaped(t, c->series[i].name, LEGEND_LETTERS);
        chart_print(t, "</text>\n");
        at += row_height;
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
    for (int i = 0; i < f->x.n; i++) x_tick(t, f, i);
    for (int i = 0; i < f->y.n; i++) y_tick(t, f, i);
    titles(t, c, f);
    return DDPM_OK;
}

static void no_data(chart_text *t, const chart *c, const chart_frame *f)
{
    box(t, f);
    titles(t, c, f);
    open_text(t, "empty", f->left + f->width / 2, f->top + f->height / 2, "middle");
    chart_print(t, " font-size='12'>no data</text>\n");
}

/* Where the legend fits is known after drawing; if nowhere, the chart is drawn again, narrower. */
static ddpm_status with_legend(chart_text *t, chart_frame *f, const chart *c)
{
    const size_t before = t->len;
    double width, height, x, y;
    legend_size(c, &width, &height);
    DDPM_TRY(axes_and_data(t, f, c));
    if (width > 0 && !legend_place(f, width, height, &x, &y)) {
        f->width -= width;
        x = f->left + f->width + 8, y = f->top;
        if (!t->failed) t->len = before;
        DDPM_TRY(axes_and_data(t, f, c));
    }
    if (width > 0) legend(t, c, x, y);
    return DDPM_OK;
}

static ddpm_status panel(chart_text *t, const chart *c, double x, double y)
{
    chart_frame *f = calloc(1, sizeof *f);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for a chart");
    f->left = margin_left, f->top = margin_top;
    f->width = panel_width - margin_left - margin_right, f->height = panel_height - margin_top - margin_bottom;
    chart_print(t, "<g transform='translate(");
    chart_length(t, x);
    chart_print(t, ",");
    chart_length(t, y);
    chart_print(t, ")'>\n");
    ddpm_status status = DDPM_OK;
    if (chart_frame_fit(f, c)) status = with_legend(t, f, c);
    else no_data(t, c, f);
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

static ddpm_status document(chart_text *t, const chart *charts, int count, int columns)
{
    const int rows = (count + columns - 1) / columns;
    const int width = columns * (int)panel_width, height = rows * (int)panel_height;
    chart_print(t, "<?xml version='1.0' encoding='UTF-8'?>\n"
                   "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' viewBox='0 0 %d %d' fill='#111'"
                   " font-family='Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif'>\n"
                   "<rect width='%d' height='%d' fill='#fff'/>\n", width, height, width, height, width, height);
    for (int k = 0; k < count; k++) DDPM_TRY(panel(t, &charts[k], panel_width * (k % columns), panel_height * (k / columns)));
    chart_print(t, "</svg>\n");
    return t->failed ? ddpm_fail(DDPM_ENOMEM, "no memory for a file of %d charts", count) : DDPM_OK;
}

ddpm_status chart_write(const char *path, const chart *charts, int count, int columns)
{
    if (!anything(charts, count)) return ddpm_fail(DDPM_EINVAL, "%s: nothing to draw: no value is finite, or positive where an axis is logarithmic", path);
    chart_text t = { 0 };
    ddpm_status status = document(&t, charts, count, columns < 1 ? 1 : columns > count ? count : columns);
    if (status == DDPM_OK) status = file_write_atomic(path, t.data, t.len);
    free(t.data);
    return status;
}
