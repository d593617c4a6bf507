/* chart: ticks against values worked out by hand; positions, gaps, escaping and form read back from the SVG. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/chart_parts.h"
#include "io/file.h"

static char path[64];

static int make_path(void **state)
{
    (void)state;
    strcpy(path, "/tmp/ddpm-chart-XXXXXX");
    const int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int drop_path(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

/* The caller frees. */
static char *written(const chart *c, int count, int columns)
{
    static uint8_t *text;
    size_t len;
    assert_int_equal(chart_write(path, c, count, columns), DDPM_OK);
    assert_int_equal(file_read_all(path, 1 << 24, &text, &len), DDPM_OK);
    assert_int_equal(strlen((char *)text), len);
    return (char *)text;
}

static char *written_one(const chart_series *s, int n, bool x_log, bool y_log)
{
    const chart c = { .x_log = x_log, .y_log = y_log, .n_series = n, .series = s };
    return written(&c, 1, 1);
}

/* --- ticks --------------------------------------------------------------------------------------- */

static void expect_majors(const chart_axis *a, const double *at, int n)
{
    int k = 0;
    for (int i = 0; i < a->n; i++) {
        if (a->tick[i].minor) continue;
        assert_true(k < n);
        assert_true(a->tick[i].at == at[k++]);
    }
    assert_int_equal(k, n);
}

static void expect_label(const chart_axis *a, double at, const char *text)
{
    char label[CHART_LABEL_SIZE];
    for (int i = 0; i < a->n; i++) {
        if (a->tick[i].at != at) continue;
        chart_axis_label(a, i, label);
        assert_string_equal(label, text);
        return;
    }
    fail_msg("no tick at %g", at);
}

#define EXPECT(a, ...) expect_majors(a, (const double[]){ __VA_ARGS__ }, sizeof((const double[]){ __VA_ARGS__ }) / sizeof(double))

static void test_even_ticks(void **state)
{
    (void)state;
    chart_axis a;
    chart_axis_fit(&a, false, 0, 10, false);
    EXPECT(&a, 0, 2, 4, 6, 8, 10);
    expect_label(&a, 10, "10");
    chart_axis_fit(&a, false, 0, 6, false);
    EXPECT(&a, 0, 1, 2, 3, 4, 5, 6);
    chart_axis_fit(&a, false, 0, 6.1, false);
    EXPECT(&a, 0, 2, 4, 6);
    chart_axis_fit(&a, false, 0, 28, false);
    EXPECT(&a, 0, 5, 10, 15, 20, 25);
    chart_axis_fit(&a, false, -0.3, 0.7, false);
    EXPECT(&a, -0.2, 0, 0.2, 0.4, 0.6);
    expect_label(&a, -0.2, "&#8722;0.2");
    expect_label(&a, 0, "0");
    chart_axis_fit(&a, false, 0, 10000, true);
    assert_true(a.low == 0 && a.high == 10400);
    EXPECT(&a, 0, 2000, 4000, 6000, 8000, 10000);
    chart_axis_fit(&a, false, 0, 0.00025, false);
    EXPECT(&a, 0, 0.00005, 0.0001, 0.00015, 0.0002, 0.00025);
    expect_label(&a, 0.00005, "0.5&#215;10<tspan dy='-4.5' font-size='9'>&#8722;4</tspan>");
    expect_label(&a, 0.0002, "2&#215;10<tspan dy='-4.5' font-size='9'>&#8722;4</tspan>");
    chart_axis_fit(&a, false, 0, 4e6, false);
    expect_label(&a, 3e6, "3&#215;10<tspan dy='-4.5' font-size='9'>6</tspan>");
}

static void test_log_ticks(void **state)
{
    (void)state;
    chart_axis a;
    chart_axis_fit(&a, true, 0.001, 1, false);
    EXPECT(&a, 0.001, 0.01, 0.1, 1);
    assert_int_equal(a.n, 3 * 9 + 1);
    assert_true(a.tick[1].minor && a.tick[1].at == 0.002);
    expect_label(&a, 0.01, "0.01");
    chart_axis_fit(&a, true, 0.02, 0.5, false);
    EXPECT(&a, 0.02, 0.05, 0.1, 0.2, 0.5);
    chart_axis_fit(&a, true, 3, 5, false);
    EXPECT(&a, 3, 3.5, 4, 4.5, 5);
    chart_axis_fit(&a, true, 1e-8, 1e8, false);
    EXPECT(&a, 1e-6, 1e-3, 1, 1e3, 1e6);
    assert_int_equal(a.n, 17);
    expect_label(&a, 1e-6, "10<tspan dy='-4.5' font-size='9'>&#8722;6</tspan>");
    assert_true(fabs(chart_axis_place(&a, 1) - 0.5) < 1e-15);
    chart_axis_fit(&a, true, 1e-6, 4e-5, false);
    expect_label(&a, 2e-5, "2&#215;10<tspan dy='-4.5' font-size='9'>&#8722;5</tspan>");
    expect_label(&a, 1e-5, "10<tspan dy='-4.5' font-size='9'>&#8722;5</tspan>");
}

/* Every range, however odd, gets an axis that holds it and has labels. */
static void test_odd_ranges(void **state)
{
    (void)state;
    static const double pairs[][2] = { { 0, 0 }, { 5, 5 }, { -7, -7 }, { 1e300, 1e300 }, { 1e-300, 1e-300 }, { -1e300, 1e300 }, { 1e15, 1e15 + 1 },
                                       { 0, 1e-300 }, { 1, 1 + 1e-15 }, { 1e-300, 1e300 }, { 1e-9, 1e9 }, { 123456, 123457 } };
    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++)
        for (int log = 0; log < 2; log++) {
            chart_axis a;
            char label[CHART_LABEL_SIZE];
            if (log && pairs[k][0] <= 0) continue;
            chart_axis_fit(&a, log, pairs[k][0], pairs[k][1], true);
            assert_true(a.low < a.high && a.low <= pairs[k][0] && a.high >= pairs[k][1]);
            assert_true(a.n >= 2);
            for (int i = 0; i < a.n; i++) {
                const double p = chart_axis_place(&a, a.tick[i].at);
                assert_true(p > -1e-6 && p < 1 + 1e-6);
                if (i) assert_true(a.tick[i].at > a.tick[i - 1].at);
                chart_axis_label(&a, i, label);
            }
        }
}

/* --- positions ------------------------------------------------------------------------------------- */

static double attribute(const char *tag, const char *name)
{
    char key[32];
    snprintf(key, sizeof key, " %s='", name);
    const char *at = strstr(tag, key);
    assert_non_null(at);
    return strtod(at + strlen(key), NULL);
}

/* Pixel of the tick with this label. */
static double tick_at(const char *svg, const char *class, const char *label)
{
    char head[32], tail[64];
    snprintf(head, sizeof head, "<text class='%s'", class);
    snprintf(tail, sizeof tail, ">%s</text>", label);
    for (const char *p = svg; (p = strstr(p, head)); p++) {
        const char *end = strchr(p, '>');
        if (strncmp(end, tail, strlen(tail)) == 0) return class[0] == 'x' ? attribute(p, "x") : attribute(p, "y") - 4;
    }
    fail_msg("no %s %s", class, label);
    return 0;
}

/* Up to `max` points of the k-th polyline; their number, -1 when there is no such line. */
static int polyline(const char *svg, int k, double (*at)[2], int max)
{
    for (; (svg = strstr(svg, "<polyline")) && k > 0; k--) svg++;
    if (!svg) return -1;
    const char *p = strstr(svg, " points='") + 9;
    int n = 0;
    for (; *p != '\''; n++) {
        assert_true(n < max);
        char *end;
        at[n][0] = strtod(p, &end);
        assert_int_equal(*end, ',');
        at[n][1] = strtod(end + 1, &end);
        p = *end == ' ' ? end + 1 : end;
    }
    return n;
}

#define NEAR(a, b) assert_true(fabs((a) - (b)) < 0.011)

static void test_linear_positions(void **state)
{
    (void)state;
    const double x[] = { 0, 5, 20, 50, 100 }, y[] = { -1, 1, 0, 0.25, -0.5 };
    const chart_series s = { "a", CHART_LINE, 5, x, y, NULL, NULL };
    char *svg = written_one(&s, 1, false, false);
    double at[5][2];
    assert_int_equal(polyline(svg, 0, at, 5), 5);
    const double x0 = tick_at(svg, "x-tick", "0"), x1 = tick_at(svg, "x-tick", "100");
    const double y0 = tick_at(svg, "y-tick", "0"), y1 = tick_at(svg, "y-tick", "1");
    assert_true(x1 > x0 + 300 && y1 < y0 - 80);
    for (int i = 0; i < 5; i++) {
        NEAR(at[i][0], x0 + (x1 - x0) * x[i] / 100);
        NEAR(at[i][1], y0 + (y1 - y0) * y[i]);
    }
    free(svg);
}

/* Data that begin at 250 of 1500 are shown from 0; those that begin at 1000 are not. */
static void test_x_from_zero(void **state)
{
    (void)state;
    const double x[2][2] = { { 250, 1500 }, { 1000, 1500 } }, y[] = { 1, 2 };
    for (int k = 0; k < 2; k++) {
        const chart_series s = { "a", CHART_LINE, 2, x[k], y, NULL, NULL };
        char *svg = written_one(&s, 1, false, false);
        double at[2][2];
        assert_int_equal(polyline(svg, 0, at, 2), 2);
        const double left = attribute(strstr(svg, "class='frame'"), "x"), width = attribute(strstr(svg, "class='frame'"), "width");
        NEAR(at[0][0], left + (k ? 0 : width * 250 / 1500));
        NEAR(at[1][0], left + width);
        free(svg);
    }
}

static void test_log_positions(void **state)
{
    (void)state;
    const double x[] = { 1, 10, sqrt(1000), 1000 }, y[] = { 1e-4, 1e-2, 1e-1, 1 };
    const chart_series s = { "a", CHART_LINE, 4, x, y, NULL, NULL };
    char *svg = written_one(&s, 1, true, true);
    double at[4][2];
    assert_int_equal(polyline(svg, 0, at, 4), 4);
    const double x0 = tick_at(svg, "x-tick", "1"), x1 = tick_at(svg, "x-tick", "1000");
    static const double part_x[] = { 0, 1.0 / 3, 0.5, 1 }, part_y[] = { 0, 0.5, 0.75, 1 };
    const double y0 = tick_at(svg, "y-tick", "10<tspan dy='-4.5' font-size='9'>&#8722;4</tspan>");
    const double y1 = tick_at(svg, "y-tick", "10<tspan dy='-4.5' font-size='9'>0</tspan>");
    for (int i = 0; i < 4; i++) {
        NEAR(at[i][0], x0 + (x1 - x0) * part_x[i]);
        NEAR(at[i][1], y0 + (y1 - y0) * part_y[i]);
    }
    free(svg);
}

static void test_bars_and_error_bars(void **state)
{
    (void)state;
    const double edge[] = { 0, 1, 2 }, count[] = { 3, 1, 2 }, low[] = { 0.5, 2, NAN }, high[] = { 3, 4, 5 };
    const chart_series s[] = { { "h", CHART_BARS, 3, edge, count, NULL, NULL }, { "g", CHART_BARS, 3, edge, count, NULL, NULL },
                               { "e", CHART_POINTS, 3, edge, count, low, high } };
    char *svg = written_one(s, 3, false, false);
    const double x0 = tick_at(svg, "x-tick", "0"), x3 = tick_at(svg, "x-tick", "3"), y0 = tick_at(svg, "y-tick", "0"), y3 = tick_at(svg, "y-tick", "3");
    const char *p = strstr(svg, "class='bars'");
    assert_non_null(p);
    assert_true(attribute(p, "fill-opacity") < 0.5);
    assert_non_null(strstr(p + 1, "class='bars'"));
    char *end;
    NEAR(strtod(strstr(p, " d='M") + 5, &end), x0);
    NEAR(strtod(end + 1, &end), y0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(*end, 'V');
        NEAR(strtod(end + 1, &end), y0 + (y3 - y0) * count[i] / 3);
        assert_int_equal(*end, 'H');
        NEAR(strtod(end + 1, &end), x0 + (x3 - x0) * (i + 1) / 3);
    }
    p = strstr(svg, "class='error'");
    assert_non_null(p);
    double value[4], want_low = y0 + (y3 - y0) * 0.5 / 3;
    for (int i = 0; i < 2; i++) {
        p = strchr(p, 'V');
        value[i] = strtod(p + 1, NULL);
        p++;
    }
    NEAR(value[0], y3);
    NEAR(value[1], y0 + (y3 - y0) * 4 / 3);
    assert_null(strchr(strndupa(p, (size_t)(strchr(p, '\'') - p)), 'V'));      /* the third has no low end */
    NEAR(strtod(strchr(strstr(strstr(svg, "class='error'"), " d='M"), ',') + 1, NULL), want_low);
    free(svg);
}

/* Letters of 12 pixels are no wider than 8 and those of 13 no higher than 12 in any of the fonts: wide labels of the ticks, such as
 * 1.05 x 10^-4, meet neither the title of the axis nor does that meet the edge of the chart. */
static void test_wide_labels(void **state)
{
    (void)state;
    static const double pairs[][2] = { { 1e-4, 1.1e-4 }, { 0.002951, 0.002953 }, { 0.1, 0.9 }, { -123457, -123456 }, { 1e-9, 1.0001e-9 }, { 1, 1e6 } };
    const double x[] = { 0, 1 };
    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++) {
        const chart_series s = { "a", CHART_LINE, 2, x, pairs[k], NULL, NULL };
        const chart c = { .y_label = "learning rate", .n_series = 1, .series = &s };
        char *svg = written(&c, 1, 1), label[CHART_LABEL_SIZE];
        const double title = strtod(strstr(strstr(svg, "class='y-label'"), "translate(") + 10, NULL);
        double right = 0, first = INFINITY;
        for (const char *p = svg; (p = strstr(p, "<text class='y-tick'")); p++) {
            const char *text = strchr(p, '>') + 1, *end = strstr(text, "</text>");
            snprintf(label, sizeof label, "%.*s", (int)(end - text), text);
            right = attribute(p, "x");
            first = fmin(first, right - 8 * chart_shown(label));
        }
        assert_true(title + 3 < first && title - 12 > 0);
        assert_true(right < attribute(strstr(svg, "class='frame'"), "x"));
        NEAR(attribute(strstr(svg, "class='frame'"), "x") + attribute(strstr(svg, "class='frame'"), "width"), 380);
        free(svg);
    }
}

/* Where the error bar of the k-th series stands, whose only point is at x. */
static double bar_at(const char *svg, int k)
{
    const char *p = strstr(svg, "class='error'");
    for (; k > 0; k--) p = strstr(p + 1, "class='error'");
    return strtod(strstr(p, " d='M") + 5, NULL) + 2.5;
}

static void test_error_bars_beside_each_other(void **state)
{
    (void)state;
    const double x[] = { 0, 10 }, y[] = { 1, 2 }, low[] = { 0.5, 1 }, high[] = { 2, 3 };
    const chart_series s[] = { { "a", CHART_POINTS, 2, x, y, low, high }, { "a", CHART_LINE, 2, x, y, NULL, NULL }, { "b", CHART_POINTS, 2, x, y, low, high },
                               { "b", CHART_LINE, 2, x, y, NULL, NULL }, { "c", CHART_POINTS, 2, x, y, NULL, NULL } };
    double at[2][2];
    char *svg = written_one(s, 5, false, false);
    assert_int_equal(polyline(svg, 0, at, 2), 2);
    const double left = attribute(strstr(svg, "class='frame'"), "x");
    NEAR(at[0][0], left);
    assert_true(bar_at(svg, 0) >= left - 0.011);                     /* the one that would stand outside */
    assert_true(bar_at(svg, 1) - left > 2 && bar_at(svg, 1) - left < 4);
    assert_int_equal(polyline(svg, 1, at, 2), 2);
    NEAR(at[0][0], left);
    free(svg);
    svg = written_one(s, 1, false, false);
    NEAR(bar_at(svg, 0), tick_at(svg, "x-tick", "0"));
    free(svg);
}

static void test_ticks_of_points(void **state)
{
    (void)state;
    static const double x[] = { 100, 5, 50, 20000, 51, 1.5 }, y[] = { 1, 2, 3, 4, 5, 6 };
    for (int n = 3; n <= 6; n++) {
        const chart_series s[] = { { "a", CHART_POINTS, n, x, y, NULL, NULL }, { "b", CHART_POINTS, n, x, y, NULL, NULL } };
        const chart c = { .x_log = true, .n_series = 2, .series = s, .x_of_points = true };
        char *svg = written(&c, 1, 1);
        int ticks = 0;
        for (const char *p = svg; (p = strstr(p, "<text class='x-tick'")); p++) ticks++;
        if (n == 3) {
            tick_at(svg, "x-tick", "5");
            tick_at(svg, "x-tick", "50");
            assert_true(tick_at(svg, "x-tick", "100") - tick_at(svg, "x-tick", "50") > 20);
        }
        if (n < 5) assert_int_equal(ticks, n);
        if (n == 5) assert_null(strstr(svg, ">51</text>"));          /* it would touch that of 50 */
        if (n == 6) assert_non_null(strstr(svg, ">10<"));            /* a number that is not whole: the usual ticks */
        free(svg);
    }
}

/* --- what is left out, thinned, shared --------------------------------------------------------------- */

static void test_gaps(void **state)
{
    (void)state;
    const double x[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 }, y[] = { 1, 2, NAN, 3, 4, INFINITY, 5, 0, -1 };
    const chart_series s = { "a", CHART_LINE, 9, x, y, NULL, NULL };
    double at[9][2];
    char *svg = written_one(&s, 1, false, false);
    assert_int_equal(polyline(svg, 0, at, 9), 2);
    assert_int_equal(polyline(svg, 1, at, 9), 2);
    assert_int_equal(polyline(svg, 2, at, 9), 3);
    assert_int_equal(polyline(svg, 3, at, 9), -1);
    free(svg);
    svg = written_one(&s, 1, false, true);
    assert_int_equal(polyline(svg, 2, at, 9), -1);      /* 5 alone is a dot */
    assert_non_null(strstr(svg, "<circle class='line'"));
    assert_null(strstr(svg, "nan"));
    assert_null(strstr(svg, "inf"));
    free(svg);
}

static void test_thinning(void **state)
{
    (void)state;
    enum { N = 200000 };
    double *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    for (int i = 0; i < N; i++) x[i] = i, y[i] = (i % 7) / 7.0;
    y[77777] = 10;
    y[123456] = -10;
    const chart_series s = { "a", CHART_LINE, N, x, y, NULL, NULL };
    char *svg = written_one(&s, 1, false, false);
    assert_true(strlen(svg) < 60000);
    static double at[4000][2];
    const int n = polyline(svg, 0, at, 4000);
    assert_true(n > 400);
    const double top = tick_at(svg, "y-tick", "10"), bottom = tick_at(svg, "y-tick", "&#8722;10");
    int hits = 0;
    for (int i = 0; i < n; i++) hits += fabs(at[i][1] - top) < 0.011 || fabs(at[i][1] - bottom) < 0.011;
    assert_int_equal(hits, 2);
    free(svg);
    const chart_series points = { "a", CHART_POINTS, N, x, y, NULL, NULL }, band = { "a", CHART_BAND, N, x, NULL, y, y };
    svg = written_one(&points, 1, false, false);
    assert_true(strlen(svg) < 1000000);
    free(svg);
    svg = written_one(&band, 1, false, false);
    assert_true(strlen(svg) < 60000);
    free(svg);
    free(x);
    free(y);
}

static void test_names_share_style(void **state)
{
    (void)state;
    const double x[] = { 1, 2 }, y[] = { 1, 2 }, high[] = { 2, 3 };
    const chart_series s[] = { { "none", CHART_LINE, 0, NULL, NULL, NULL, NULL }, { "a", CHART_BAND, 2, x, NULL, y, high },
                               { "b", CHART_LINE, 2, x, high, NULL, NULL }, { "a", CHART_LINE, 2, x, y, NULL, NULL } };
    const chart c = { .n_series = 4, .series = s };
    assert_ptr_equal(chart_style_of(&c, 1), chart_style_of(&c, 3));
    assert_string_not_equal(chart_style_of(&c, 1)->colour, chart_style_of(&c, 2)->colour);
    assert_string_not_equal(chart_style_of(&c, 0)->colour, chart_style_of(&c, 1)->colour);
    char *svg = written(&c, 1, 1);
    int rows = 0;
    for (const char *p = svg; (p = strstr(p, "class='legend'")); p++) rows++;
    assert_int_equal(rows, 2);
    assert_null(strstr(svg, ">none<"));
    free(svg);
}

/* --- form -------------------------------------------------------------------------------------------- */

static const char *skip_tag(const char *p, char *name, size_t size, bool *closing, bool *empty)
{
    size_t n = 0;
    *closing = *p == '/';
    p += *closing;
    for (; *p && !strchr(" >/?", *p); p++) if (n + 1 < size) name[n++] = *p;
    name[n] = 0;
    for (char quote = 0; *p && (quote || *p != '>'); p++) {
        assert_int_not_equal(*p, '<');
        if (quote && *p == quote) quote = 0;
        else if (!quote && (*p == '\'' || *p == '"')) quote = *p;
    }
    assert_int_equal(*p, '>');
    *empty = p[-1] == '/' || p[-1] == '?';
    return p + 1;
}

static void check_entity(const char *p)
{
    static const char *known[] = { "&amp;", "&lt;", "&gt;", "&quot;", "&#39;", "&#215;", "&#8722;", "&#65533;" };
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) if (strncmp(p, known[k], strlen(known[k])) == 0) return;
    fail_msg("a bare & at %.20s", p);
}

/* Tags nest, attributes are quoted, text has no bare & or >, no control characters. */
static void check_well_formed(const char *p)
{
    char open[16][16], name[16];
    int depth = 0;
    bool closing, empty;
    while (*p) {
        if (*p == '<') {
            p = skip_tag(p + 1, name, sizeof name, &closing, &empty);
            if (closing) assert_true(depth > 0 && strcmp(open[--depth], name) == 0);
            else if (!empty) {
                assert_true(depth < 16);
                memcpy(open[depth++], name, sizeof name);
            }
            continue;
        }
        if (*p == '&') check_entity(p);
        assert_true(*p != '>' && (*p == '\n' || (unsigned char)*p >= 0x20));
        p++;
    }
    assert_int_equal(depth, 0);
}

static void test_form(void **state)
{
    (void)state;
    const double x[] = { 1, 2, 3 }, y[] = { 1, 4, 9 }, low[] = { 0.5, 3, 8 }, high[] = { 2, 5, 10 };
    const chart_series s[] = { { "<a> & \"b\" 'c'", CHART_LINE, 3, x, y, low, high }, { "caf\xc3\xa9 \xff\xc0\x80 \x01", CHART_POINTS, 3, x, high, NULL, NULL },
                               { "band", CHART_BAND, 3, x, NULL, low, high }, { "bars", CHART_BARS, 3, x, low, NULL, NULL },
                               { NULL, CHART_LINE, 3, x, low, NULL, NULL },
                               { "a name that is much longer than any legend has room for in its row", CHART_LINE, 3, x, y, NULL, NULL } };
    const chart c[] = { { .title = "T <1> & more", .x_label = "x \"label\"", .y_label = "y 'label'", .n_series = 6, .series = s, .subtitle = "S <2>" },
                        { .title = "log", .x_log = true, .y_log = true, .n_series = 6, .series = s }, { .title = "empty", .x_label = "x", .y_label = "y" } };
    char *svg = written(c, 3, 2);
    check_well_formed(svg);
    assert_non_null(strstr(svg, ">&lt;a&gt; &amp; &quot;b&quot; &#39;c&#39;</text>"));
    assert_non_null(strstr(svg, ">T &lt;1&gt; &amp; more</text>"));
    assert_non_null(strstr(svg, ">S &lt;2&gt;</text>"));
    assert_non_null(strstr(svg, ">caf\xc3\xa9 &#65533;&#65533;&#65533; &#65533;</text>"));
    assert_non_null(strstr(svg, ">a name that is much longer than a...</text>"));
    assert_non_null(strstr(svg, ">no data</text>"));
    assert_non_null(strstr(svg, "width='800' height='580'"));
    char *again = written(c, 3, 2);
    assert_string_equal(svg, again);
    free(again);
    free(svg);
}

/* No number is printed with the locale's decimal point. */
static void test_locale(void **state)
{
    (void)state;
    static const char *commas[] = { "de_DE.UTF-8", "de_DE.utf8", "de_DE", "fr_FR.UTF-8", "fr_FR.utf8" };
    const double x[] = { 0.125, 0.25, 0.5 }, y[] = { 0.1, 0.7, 0.4 };
    const chart_series s = { "a", CHART_LINE, 3, x, y, NULL, NULL };
    char *plain = written_one(&s, 1, false, false);
    assert_non_null(strstr(plain, ">0.2<"));
    bool changed = false;
    for (size_t k = 0; k < sizeof commas / sizeof *commas && !changed; k++) changed = setlocale(LC_ALL, commas[k]) != NULL;
    char *other = written_one(&s, 1, false, false);
    setlocale(LC_ALL, "C");
    assert_string_equal(plain, other);
    free(other);
    free(plain);
    if (!changed) skip();
}

static void test_nothing(void **state)
{
    (void)state;
    const double x[] = { 1, 2 }, y[] = { NAN, -3 };
    const chart_series s = { "a", CHART_LINE, 2, x, y, NULL, NULL };
    const chart c = { .y_log = true, .n_series = 1, .series = &s };
    unlink(path);
    assert_int_equal(chart_write(path, &c, 1, 1), DDPM_EINVAL);
    assert_non_null(strstr(ddpm_last_error(), "nothing to draw"));
    assert_int_equal(chart_write(path, NULL, 0, 1), DDPM_EINVAL);
    assert_false(file_exists(path));
    const chart fine = { .n_series = 1, .series = &s };
    assert_int_equal(chart_write("/nonexistent/chart.svg", &fine, 1, 1), DDPM_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even_ticks), cmocka_unit_test(test_log_ticks), cmocka_unit_test(test_odd_ranges),
        cmocka_unit_test(test_linear_positions), cmocka_unit_test(test_log_positions), cmocka_unit_test(test_x_from_zero), cmocka_unit_test(test_bars_and_error_bars),
        cmocka_unit_test(test_wide_labels), cmocka_unit_test(test_error_bars_beside_each_other), cmocka_unit_test(test_ticks_of_points),
        cmocka_unit_test(test_gaps), cmocka_unit_test(test_thinning), cmocka_unit_test(test_names_share_style),
        cmocka_unit_test(test_form), cmocka_unit_test(test_locale), cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, make_path, drop_path);
}
