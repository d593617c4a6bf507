#include "io/chart_parts.h"

static const double row_height = 17, swatch = 24, gap = 14;

enum { LEGEND_LETTERS = 36 };

/* The first series of a name that has points somewhere under this name. */
static bool has_row(const chart *c, int i)
{
    if (!c->series[i].name || chart_first_of(c, i) != i) return false;
    for (int k = i; k < c->n_series; k++) if (chart_first_of(c, k) == i && chart_drawable(c, k) > 0) return true;
    return false;
}

static double row_width(const chart *c, int i)
{
    const int n = chart_characters(c->series[i].name);
    return swatch + 6 + CHART_LETTER * (n > LEGEND_LETTERS ? LEGEND_LETTERS : n);
}

/* --- where ----------------------------------------------------------------------------------------- */

static bool free_box(const chart_frame *f, double x, double y, double width, double height)
{
    const double air = 4;
    for (int row = 0; row < CHART_CELLS_Y; row++)
        for (int column = 0; column < CHART_CELLS_X; column++) {
            const double left = f->left + column * f->width / CHART_CELLS_X, top = f->top + row * f->height / CHART_CELLS_Y;
            const bool beside = left > x + width + air || left + f->width / CHART_CELLS_X < x - air;
            const bool apart = top > y + height + air || top + f->height / CHART_CELLS_Y < y - air;
            if (f->taken[row][column] && !beside && !apart) return false;
        }
    return true;
}

bool chart_legend_inside(const chart_frame *f, const chart *c, double *x, double *y)
{
    static const struct { double x, y; } spots[] = { { 1, 0 }, { 0, 0 }, { 1, 1 }, { 0, 1 }, { 0.5, 0 }, { 0.5, 1 }, { 1, 0.5 }, { 0, 0.5 } };
    double width = 0, height = 0;
    for (int i = 0; i < c->n_series; i++) {
        if (!has_row(c, i)) continue;
        width = width > row_width(c, i) ? width : row_width(c, i);
        height += row_height;
    }
    const double room_x = f->width - width - 16, room_y = f->height - height - 12;
    for (size_t k = 0; k < sizeof spots / sizeof *spots && room_x >= 0 && room_y >= 0; k++) {
        *x = f->left + 8 + spots[k].x * room_x;
        *y = f->top + 6 + spots[k].y * room_y;
        if (free_box(f, *x, *y, width, height)) return true;
    }
    return height <= 0;
}

/* --- drawing --------------------------------------------------------------------------------------- */

/* The sign of one mark, in the row whose middle is at y. */
static void sign(chart_text *t, const chart_style *style, chart_mark mark, double x, double y)
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

/* The row of a name, its upper left corner at (x, y). */
static void row(chart_text *t, const chart *c, int i, double x, double y)
{
    const double middle = y + row_height / 2;
    for (int k = i; k < c->n_series; k++)
        if (chart_first_of(c, k) == i && chart_drawable(c, k) > 0) sign(t, chart_style_of(c, i), c->series[k].mark, x, middle);
    chart_open_text(t, "legend", x + swatch + 6, middle + 4.5, "start");
    chart_print(t, " font-size='12'>");
    chart_escaped(t, c->series[i].name, LEGEND_LETTERS);
    chart_print(t, "</text>\n");
}

void chart_legend_column(chart_text *t, const chart *c, double x, double y)
{
    for (int i = 0; i < c->n_series; i++) {
        if (!has_row(c, i)) continue;
        row(t, c, i, x, y);
        y += row_height;
    }
}

/* Names beside each other, as many as fit; returns the lines. t NULL: only counts. */
static int lines(chart_text *t, const chart_frame *f, const chart *c, double top)
{
    double x = f->left;
    int line = 0;
    for (int i = 0; i < c->n_series; i++) {
        if (!has_row(c, i)) continue;
        const double width = row_width(c, i);
        if (x > f->left && x + width > f->left + f->width) x = f->left, line++;
        if (t) row(t, c, i, x, top + row_height * line);
        x += width + gap;
    }
    return line + 1;
}

double chart_legend_height(const chart_frame *f, const chart *c) { return row_height * lines(NULL, f, c, 0) + 2; }

void chart_legend_lines(chart_text *t, const chart_frame *f, const chart *c, double top) { lines(t, f, c, top); }
