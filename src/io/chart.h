/* chart.h - charts for a paper: one SVG or PNG file of axes, lines, points, histograms and bands.
 *
 * The SVG stands alone (no scripts, no fonts, no references) and equal data give equal bytes. Series with
 * the same name share a colour, a dash pattern and a row of the legend, within a chart and from chart to chart
 * if they come in the same order; a series without points keeps its place in the order of colours.
 * The legend lies where no data are, or above the axes.
 * A linear x axis whose data begin near 0 begins at 0. Where several series have error bars at one x, their points stand a few pixels
 * beside each other; the lines stay where they are.
 * Long series are thinned to what can be seen: first, last, lowest and highest of each pixel column. */
#ifndef DDPM_IO_CHART_H
#define DDPM_IO_CHART_H

#include <stdbool.h>

#include "base/status.h"

/* LINE joins its points in their order. POINTS draws a marker at each. BARS is a histogram: x are the left edges of the
 * bins in rising order, y the heights; the last bin is as wide as the one before it. BAND fills the area from low to high; its y may be
 * NULL and is not drawn. */
typedef enum { CHART_LINE, CHART_POINTS, CHART_BARS, CHART_BAND } chart_mark;

/* n points; name NULL: not in the legend. low, high [n]: ends of the error bars of LINE and POINTS (or NULL), the edges of
 * BAND; BARS has none. Everything is borrowed. */
typedef struct { const char *name; chart_mark mark; int n; const double *x, *y, *low, *high; } chart_series;

/* Texts are UTF-8; what is not valid in it is replaced. NULL: none. subtitle: in small letters under the title. x_of_points: the ticks of
 * a logarithmic x axis are the values of the points themselves, where these are few whole numbers. */
typedef struct {
    const char *title, *x_label, *y_label;
    bool        x_log, y_log;
    int         n_series;
    const chart_series *series;
    const char *subtitle;
    bool        x_of_points;
} chart;

/* `count` charts in a grid of `columns`, atomically to PATH: a PNG where it ends in .png (svg_png.h), else SVG. Points that are not finite (or not positive on a log
 * axis) are left out: a line has a gap there. A low end that is not positive on a log axis goes down to the axis. A chart without any point
 * says "no data". Errors: DDPM_EINVAL when there is nothing to draw in any chart; DDPM_EIO; DDPM_ENOMEM; those of svg_draw. */
ddpm_status chart_write(const char *path, const chart *charts, int count, int columns);

#endif
