/* chart_parts.h - the pieces of a chart: text buffer, axes, marks, legend. Private to io/chart*.c.
 *
 * Lengths are CSS pixels from the top left corner of a chart. */
#ifndef DDPM_IO_CHART_PARTS_H
#define DDPM_IO_CHART_PARTS_H

#include <stddef.h>
#include <stdint.h>

#include "io/chart.h"

/* --- chart_text.c: the growing document -------------------------------------------------------- */

/* After a failed allocation nothing more is added and `failed` stays set. Freed by free(data). */
typedef struct { char *data; size_t len, room; bool failed; } chart_text;

void chart_print(chart_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A length with at most two decimals and '.' in every locale. |x| < 1e7. */
void chart_length(chart_text *t, double x);
/* " NAME='x'" */
void chart_attribute(chart_text *t, const char *name, double x);
/* The first `max` characters of a text, escaped; three dots stand for the rest. */
void chart_escaped(chart_text *t, const char *s, int max);
int  chart_characters(const char *s);
/* Characters that are seen of what chart_axis_label made. */
int  chart_shown(const char *markup);
/* "<text class='CLASS' x='' y='' text-anchor='ANCHOR'", for further attributes and the text. */
void chart_open_text(chart_text *t, const char *class, double x, double y, const char *anchor);
/* The root element on white, of CSS pixels; to be ended by "</svg>". */
void chart_open_document(chart_text *t, int width, int height);

/* About as wide as a letter of 12 pixels, in any of the fonts. */
#define CHART_LETTER 7.0

/* --- chart_axis.c: ranges, ticks, labels ------------------------------------------------------- */

/* The tick at digits * 10^exponent. A minor one has no label. */
typedef struct { int64_t digits; int exponent; double at; bool minor; } chart_tick;

enum { CHART_MAX_TICKS = 160, CHART_LABEL_SIZE = 160 };

typedef struct {
    bool       log, decades;                 /* decades: ticks at 1 to 9 times powers of ten */
    double     low, high;                    /* what the axis shows, low < high */
    int        n;
    chart_tick tick[CHART_MAX_TICKS];
} chart_axis;

/* Whether a value has a place on an axis: finite, positive if log, and within 1e-300 .. 1e300 by size. */
bool   chart_usable(bool log, double v);
/* An axis around the data range low <= high, both usable; `widen` by a small margin, but not across 0. */
void   chart_axis_fit(chart_axis *a, bool log, double low, double high, bool widen);
/* Ticks at these whole numbers > 0 instead, which rise. */
void   chart_axis_at(chart_axis *a, const int64_t *values, int n);
/* 0 at low, 1 at high. */
double chart_axis_place(const chart_axis *a, double v);
/* What stands at tick i, as SVG text content. */
void   chart_axis_label(const chart_axis *a, int i, char label[CHART_LABEL_SIZE]);

/* --- chart_marks.c: data ------------------------------------------------------------------------ */

enum { CHART_CELLS_X = 64, CHART_CELLS_Y = 48, CHART_THIN_FROM = 2000 };

typedef struct {
    chart_axis x, y;
    double     left, top, width, height;     /* of the area between the axes */
    bool       taken[CHART_CELLS_Y][CHART_CELLS_X];
} chart_frame;

typedef struct { const char *colour, *dash, *marker; } chart_style;

/* The style of series i: that of the first with its name. */
const chart_style *chart_style_of(const chart *c, int i);
/* The first series of that name; i itself when it has no name. */
int         chart_first_of(const chart *c, int i);
/* Points of series i that can be drawn. */
int         chart_drawable(const chart *c, int i);
/* Axes that hold every drawable point; false: there is none. */
bool        chart_frame_fit(chart_frame *f, const chart *c);
/* Appends series i and marks the cells it covers. */
ddpm_status chart_draw(chart_text *t, chart_frame *f, const chart *c, int i);

/* --- chart_legend.c: names ---------------------------------------------------------------------- */

/* A corner or the middle of an edge that no data cover, for the names in a column; true also where there are none. */
bool        chart_legend_inside(const chart_frame *f, const chart *c, double *x, double *y);
void        chart_legend_column(chart_text *t, const chart *c, double x, double y);
/* The names in lines as wide as the frame, from `top` on. */
double      chart_legend_height(const chart_frame *f, const chart *c);
void        chart_legend_lines(chart_text *t, const chart_frame *f, const chart *c, double top);

#endif
