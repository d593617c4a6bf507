#include "io/chart_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The colours of Okabe and Ito that stand out on white, in an order whose neighbours also differ in grey. */
static const chart_style styles[] = {
    { "#0072b2", NULL,      "m-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0z" },
    { "#d55e00", "6,2.5",   "m-2.7,-2.7h5.4v5.4h-5.4z" },
    { "#009e73", "2,2",     "m0,-3.6l3.4,6h-6.8z" },
    { "#cc79a7", "8,2,2,2", "m0,-3.9l3.9,3.9l-3.9,3.9l-3.9,-3.9z" },
    { "#e69f00", "12,3",    "m0,3.6l3.4,-6h-6.8z" },
    { "#56b4e9", "4,2,1,2", "m-3.5,-1.2h2.3v-2.3h2.4v2.3h2.3v2.4h-2.3v2.3h-2.4v-2.3h-2.3z" },
    { "#000000", "1,2",     "m-1.6,-3.6h3.2v7.2h-3.2z" },
};

/* An x axis whose data begin within this part of the way from 0 to their end begins at 0. */
static const double near_zero = 0.25;

/* Pixels from the error bar of one series to that of the next, if this leaves points nearer to their own x than to others'. */
static const double beside = 5;

enum { STYLES = sizeof styles / sizeof *styles, MOST_VALUES = 12 };

int chart_first_of(const chart *c, int i)
{
    for (int k = 0; k < i && c->series[i].name; k++)
        if (c->series[k].name && strcmp(c->series[k].name, c->series[i].name) == 0) return k;
    return i;
}

const chart_style *chart_style_of(const chart *c, int i)
{
    int place = 0;
    for (int k = 0; k < chart_first_of(c, i); k++) place += chart_first_of(c, k) == k;
    return &styles[place % STYLES];
}

/* --- points that can be drawn ---------------------------------------------------------------------- */

static bool drawable(const chart *c, const chart_series *s, int i)
{
    if (!chart_usable(c->x_log, s->x[i])) return false;
    if (s->mark == CHART_BAND) return chart_usable(false, s->low[i]) && chart_usable(c->y_log, s->high[i]);
    return chart_usable(c->y_log, s->y[i]);
}

int chart_drawable(const chart *c, int i)
{
    int count = 0;
    for (int k = 0; k < c->series[i].n; k++) count += drawable(c, &c->series[i], k);
    return count;
}

/* Right edge of bin i. */
static double bin_end(const chart *c, const chart_series *s, int i)
{
    if (i + 1 < s->n) return s->x[i + 1];
    if (c->x_log) return i > 0 ? s->x[i] * (s->x[i] / s->x[i - 1]) : 2 * s->x[i];
    return i > 0 ? s->x[i] + (s->x[i] - s->x[i - 1]) : s->x[i] + 1;
}

typedef struct { double low, high; } range;

static void include(range *r, bool log, double v)
{
    if (!chart_usable(log, v)) return;
    r->low = fmin(r->low, v);
    r->high = fmax(r->high, v);
}

static void include_point(const chart *c, const chart_series *s, int i, range *x, range *y)
{
    include(x, c->x_log, s->x[i]);
    if (s->mark != CHART_BAND) include(y, c->y_log, s->y[i]);
    if (s->mark == CHART_BARS) {
        include(x, c->x_log, bin_end(c, s, i));
        include(y, c->y_log, 0);
    } else if (s->low && s->high) {
        include(y, c->y_log, s->low[i]);
        include(y, c->y_log, s->high[i]);
    }
}

/* Adds v to the n different numbers, which rise; false: it is no whole number, or there are too many. */
static bool add_value(int64_t values[MOST_VALUES], int *n, double v)
{
    int at = *n;
    if (v != floor(v) || v >= 1e6) return false;             /* larger ones are labelled with powers of ten */
    while (at > 0 && (double)values[at - 1] > v) at--;
    if (at > 0 && (double)values[at - 1] == v) return true;
    if (*n == MOST_VALUES) return false;
    memmove(values + at + 1, values + at, (size_t)(*n - at) * sizeof *values);
    values[at] = (int64_t)v;
    ++*n;
    return true;
}

static void ticks_of_points(chart_frame *f, const chart *c)
{
    int64_t values[MOST_VALUES];
    int n = 0;
    for (int k = 0; k < c->n_series; k++)
        for (int i = 0; i < c->series[k].n; i++)
            if (drawable(c, &c->series[k], i) && !add_value(values, &n, c->series[k].x[i])) return;
    chart_axis_at(&f->x, values, n);
}

bool chart_frame_fit(chart_frame *f, const chart *c)
{
    range x = { INFINITY, -INFINITY }, y = x;
    bool lines_only = true;
    for (int k = 0; k < c->n_series; k++) {
        const chart_series *s = &c->series[k];
        lines_only = lines_only && s->mark != CHART_POINTS;
        for (int i = 0; i < s->n; i++) if (drawable(c, s, i)) include_point(c, s, i, &x, &y);
    }
    if (!(x.low <= x.high && y.low <= y.high)) return false;
    if (x.low > 0 && x.low < near_zero * x.high && !c->x_log) x.low = 0;
    chart_axis_fit(&f->x, c->x_log, x.low, x.high, !lines_only);
    chart_axis_fit(&f->y, c->y_log, y.low, y.high, true);
    if (c->x_log && c->x_of_points) ticks_of_points(f, c);
    return true;
}

/* --- geometry ------------------------------------------------------------------------------------- */

/* A place in pixels; low and high: ends of an error bar or edges of a band, NaN when there are none. */
typedef struct { double x, y, low, high; } spot;

static double x_pixel(const chart_frame *f, double v) { return f->left + f->width * chart_axis_place(&f->x, v); }

static double y_pixel(const chart_frame *f, double v)
{
    if (f->y.log && !(v > f->y.low)) return f->top + f->height;
    return f->top + f->height * (1 - chart_axis_place(&f->y, v));
}

static spot spot_of(const chart_frame *f, const chart_series *s, int i)
{
    const bool ends = s->low && s->high && chart_usable(false, s->low[i]) && chart_usable(f->y.log, s->high[i]);
    const double low = ends ? y_pixel(f, s->low[i]) : NAN, high = ends ? y_pixel(f, s->high[i]) : NAN;
    return (spot){ x_pixel(f, s->x[i]), s->mark == CHART_BAND ? high : y_pixel(f, s->y[i]), low, high };
}

static int cell(double at, double begin, double length, int cells)
{
    const int k = (int)floor((at - begin) / length * cells);
    return k < 0 ? 0 : k >= cells ? cells - 1 : k;
}

/* Everything from the point (x, y0) to (x, y1) is covered. */
static void take(chart_frame *f, double x, double y0, double y1)
{
    const int column = cell(x, f->left, f->width, CHART_CELLS_X);
    const int a = cell(fmin(y0, y1), f->top, f->height, CHART_CELLS_Y), b = cell(fmax(y0, y1), f->top, f->height, CHART_CELLS_Y);
    for (int row = a; row <= b; row++) f->taken[row][column] = true;
}

/* The area between two spots whose edges go straight from one to the other. */
static void take_between(chart_frame *f, spot a, spot b, bool filled)
{
    const double step = f->width / CHART_CELLS_X / 2;
    const int n = (int)(fabs(b.x - a.x) / step) + 1;
    for (int k = 0; k <= n; k++) {
        const double p = (double)k / n, q = (double)(k < n ? k + 1 : k) / n, x = a.x + p * (b.x - a.x);
        const double y0 = a.y + p * (b.y - a.y), y1 = filled ? a.low + p * (b.low - a.low) : a.y + q * (b.y - a.y);
        take(f, x, y0, y1);
    }
}

/* In place: of consecutive spots in one pixel column the first, the highest, the lowest and the last. */
static int thin(spot *s, int n)
{
    int kept = 0;
    for (int i = 0, end; i < n; i = end) {
        int low = i, high = i;
        for (end = i + 1; end < n && floor(s[end].x) == floor(s[i].x); end++) {
            if (s[end].y < s[low].y) low = end;
            if (s[end].y > s[high].y) high = end;
        }
        const int keep[4] = { i, low < high ? low : high, low < high ? high : low, end - 1 };
        for (int k = 0; k < 4; k++) if (k == 0 || keep[k] > keep[k - 1]) s[kept++] = s[keep[k]];
    }
    return kept;
}

/* In place: of consecutive spots in one pixel column one with the outermost ends. */
static int thin_ends(spot *s, int n)
{
    int kept = 0;
    for (int i = 0; i < n; i++) {
        if (kept == 0 || floor(s[kept - 1].x) != floor(s[i].x)) {
            s[kept++] = s[i];
            continue;
        }
        s[kept - 1].low = fmax(s[kept - 1].low, s[i].low);         /* pixels count downwards */
        s[kept - 1].high = fmin(s[kept - 1].high, s[i].high);
        s[kept - 1].y = s[kept - 1].high;
    }
    return kept;
}

/* --- marks ---------------------------------------------------------------------------------------- */

typedef struct { chart_text *t; chart_frame *f; const chart_series *s; const chart_style *style; } brush;

static void place(chart_text *t, const char *before, double x, const char *between, double y)
{
    chart_print(t, "%s", before);
    chart_length(t, x);
    chart_print(t, "%s", between);
    chart_length(t, y);
}

static void draw_line(const brush *b, const spot *s, int n)
{
    if (n == 1) {
        place(b->t, "<circle class='line' cx='", s->x, "' cy='", s->y);
        chart_print(b->t, "' r='1.8' fill='%s'/>\n", b->style->colour);
        take(b->f, s->x, s->y, s->y);
        return;
    }
    chart_print(b->t, "<polyline class='line' fill='none' stroke='%s' stroke-width='1.5' stroke-linejoin='round'", b->style->colour);
    if (b->style->dash) chart_print(b->t, " stroke-dasharray='%s'", b->style->dash);
    chart_print(b->t, " points='");
    for (int i = 0; i < n; i++) {
        place(b->t, i ? " " : "", s[i].x, ",", s[i].y);
        if (i) take_between(b->f, s[i - 1], s[i], false);
    }
    chart_print(b->t, "'/>\n");
}

/* One more marker in a pixel that has one would not be seen. */
static ddpm_status draw_points(const brush *b, const spot *s, int n)
{
    const size_t wide = (size_t)b->f->width + 2, size = wide * ((size_t)b->f->height + 2);
    bool *seen = calloc(size, sizeof *seen);
    if (!seen) return ddpm_fail(DDPM_ENOMEM, "no memory for a chart of %d points", n);
    chart_print(b->t, "<path class='points' fill='%s' fill-opacity='0.85' d='", b->style->colour);
    for (int i = 0; i < n; i++) {
        bool *here = &seen[(size_t)(s[i].y - b->f->top) * wide + (size_t)(s[i].x - b->f->left)];
        if (*here && n > CHART_THIN_FROM) continue;
        *here = true;
        place(b->t, "M", s[i].x, ",", s[i].y);
        chart_print(b->t, "%s", b->style->marker);
        take(b->f, s[i].x, s[i].y - 3, s[i].y + 3);
    }
    chart_print(b->t, "'/>\n");
    free(seen);
    return DDPM_OK;
}

static void draw_error_bars(const brush *b, spot *s, int n)
{
    n = n > CHART_THIN_FROM ? thin_ends(s, n) : n;
    chart_print(b->t, "<path class='error' fill='none' stroke='%s' stroke-width='1' d='", b->style->colour);
    for (int i = 0; i < n; i++) {
        if (isnan(s[i].low)) continue;
        place(b->t, "M", s[i].x - 2.5, ",", s[i].low);
        place(b->t, "h5M", s[i].x, ",", s[i].low);
        place(b->t, "V", s[i].high, "M", s[i].x - 2.5);
        chart_print(b->t, ",");
        chart_length(b->t, s[i].high);
        chart_print(b->t, "h5");
        take(b->f, s[i].x, s[i].low, s[i].high);
    }
    chart_print(b->t, "'/>\n");
}

static void draw_band(const brush *b, spot *s, int n)
{
    n = n > CHART_THIN_FROM ? thin_ends(s, n) : n;
    chart_print(b->t, "<path class='band' fill='%s' fill-opacity='0.22' stroke='%s' stroke-opacity='0.35' stroke-width='0.5' d='",
                b->style->colour, b->style->colour);
    for (int i = 0; i < n; i++) place(b->t, i ? "L" : "M", s[i].x, ",", s[i].high);
    for (int i = n - 1; i >= 0; i--) place(b->t, "L", s[i].x, ",", s[i].low);
    chart_print(b->t, "z'/>\n");
    for (int i = 0; i < n; i++) take_between(b->f, s[i ? i - 1 : 0], s[i], true);
}

/* Spots are left edges; `end` is the right edge of the last. */
static void draw_bars(const brush *b, spot *s, int n, double end)
{
    const double base = fmin(y_pixel(b->f, 0), b->f->top + b->f->height);
    n = n > CHART_THIN_FROM ? thin(s, n) : n;
    chart_print(b->t, "<path class='bars' fill='%s' fill-opacity='0.3' stroke='%s' stroke-width='1.2'", b->style->colour, b->style->colour);
    if (b->style->dash) chart_print(b->t, " stroke-dasharray='%s'", b->style->dash);
    place(b->t, " d='M", s[0].x, ",", base);
    for (int i = 0; i < n; i++) {
        const double right = i + 1 < n ? s[i + 1].x : end;
        place(b->t, "V", s[i].y, "H", right);
        const spot from = { s[i].x, s[i].y, base, base }, to = { right, s[i].y, base, base };
        take_between(b->f, from, to, true);
    }
    chart_print(b->t, "V");
    chart_length(b->t, base);
    chart_print(b->t, "z'/>\n");
}

/* The spots from *next up to the first point that cannot be drawn; markers have no such gaps. */
static int gather(const chart_frame *f, const chart *c, const chart_series *s, int *next, spot *out)
{
    int n = 0;
    for (; *next < s->n; ++*next) {
        if (drawable(c, s, *next)) out[n++] = spot_of(f, s, *next);
        else if (n > 0 && s->mark != CHART_POINTS) break;
    }
    return n;
}

static ddpm_status draw_run(const brush *b, spot *s, int n, double end)
{
    const chart_mark mark = b->s->mark;
    if (mark == CHART_BAND) draw_band(b, s, n);
    if (mark == CHART_BARS) draw_bars(b, s, n, end);
    if (mark == CHART_POINTS) DDPM_TRY(draw_points(b, s, n));
    if (mark == CHART_POINTS && b->s->low && b->s->high) draw_error_bars(b, s, n);
    if (mark != CHART_LINE) return DDPM_OK;
    if (b->s->low && b->s->high) {
        spot *ends = malloc((size_t)n * sizeof *ends);
        if (!ends) return ddpm_fail(DDPM_ENOMEM, "no memory for a chart of %d points", n);
        memcpy(ends, s, (size_t)n * sizeof *ends);
        draw_error_bars(b, ends, n);
        free(ends);
    }
    draw_line(b, s, n > CHART_THIN_FROM ? thin(s, n) : n);
    return DDPM_OK;
}

static bool has_error_bars(const chart *c, int i)
{
    const chart_series *s = &c->series[i];
    return s->mark == CHART_POINTS && s->low && s->high && chart_drawable(c, i) > 0;
}

/* Error bars at one x would hide each other: those of series i move to its place among all that have some. */
static void step_aside(const chart_frame *f, const chart *c, int i, spot *s, int n)
{
    int all = 0, place = 0;
    double apart = INFINITY;
    if (!has_error_bars(c, i)) return;
    for (int k = 0; k < c->n_series; k++) {
        if (k == i) place = all;
        all += has_error_bars(c, k);
    }
    for (int k = 1; k < n; k++) apart = s[k].x != s[k - 1].x ? fmin(apart, fabs(s[k].x - s[k - 1].x)) : apart;
    const double aside = (place - 0.5 * (all - 1)) * fmin(beside, 0.6 * apart / all);
    for (int k = 0; k < n; k++) s[k].x = fmin(fmax(s[k].x + aside, f->left), f->left + f->width);
}

ddpm_status chart_draw(chart_text *t, chart_frame *f, const chart *c, int i)
{
    const chart_series *s = &c->series[i];
    const brush b = { t, f, s, chart_style_of(c, i) };
    spot *spots = malloc((size_t)(s->n > 0 ? s->n : 1) * sizeof *spots);
    if (!spots) return ddpm_fail(DDPM_ENOMEM, "no memory for a chart of %d points", s->n);
    ddpm_status status = DDPM_OK;
    for (int next = 0, n; status == DDPM_OK && (n = gather(f, c, s, &next, spots)) > 0;) {
        step_aside(f, c, i, spots, n);
        status = draw_run(&b, spots, n, s->mark == CHART_BARS ? x_pixel(f, bin_end(c, s, next - 1)) : 0);
    }
    free(spots);
    return status;
}
