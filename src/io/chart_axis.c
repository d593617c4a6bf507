#include "io/chart_parts.h"

#include "base/fixmath.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double smallest = 1e-300, largest = 1e300;

enum { MOST_STEPS = 6, MOST_DECADES = 7, PLAIN_SIZE = 48 };

bool chart_usable(bool log, double v)
{
    if (!isfinite(v) || fabs(v) > largest) return false;
    return !log || v >= smallest;
}

/* digits * 10^exponent: one rounding while 10^|exponent| is exact. */
static double decimal(int64_t digits, int exponent)
{
    double power = 1;
    for (int k = abs(exponent); k > 0; k--) power *= 10;
    return exponent < 0 ? (double)digits / power : (double)digits * power;
}

/* The largest e with 10^e <= v. */
static int decade_below(double v)
{
    int e = (int)floor(fix_log(v) / 2.302585092994045684);
    while (decimal(1, e) > v) e--;
    while (decimal(1, e + 1) <= v) e++;
    return e;
}

static void add_tick(chart_axis *a, int64_t digits, int exponent, bool minor)
{
    const double at = decimal(digits, exponent), slack = a->log ? 1e-12 * at : 1e-9 * (a->high - a->low);
    if (a->n == CHART_MAX_TICKS || at < a->low - slack || at > a->high + slack) return;
    a->tick[a->n++] = (chart_tick){ digits, exponent, at, minor };
}

/* Multiples of the smallest step 1, 2 or 5 times a power of ten that divides the range into at most MOST_STEPS. */
static void even_ticks(chart_axis *a)
{
    const double span = a->high - a->low;
    int exponent = decade_below(span / MOST_STEPS), factor = 1;
    while (span > MOST_STEPS * decimal(factor, exponent) * (1 + 1e-9)) {
        factor = factor == 1 ? 2 : factor == 2 ? 5 : 1;
        exponent += factor == 1;
    }
    const double step = decimal(factor, exponent);
    const int64_t first = (int64_t)ceil(a->low / step - 1e-6), last = (int64_t)floor(a->high / step + 1e-6);
    for (int64_t k = first; k <= last; k++) add_tick(a, k * factor, exponent, false);
}

static int majors(const chart_axis *a)
{
    int count = 0;
    for (int i = 0; i < a->n; i++) count += !a->tick[i].minor;
    return count;
}

/* Every decade from `first` on with its multiples; the multiples 2 and 5 have labels if `dense`. */
static void decade_ticks(chart_axis *a, int first, int last, bool dense)
{
    a->n = 0;
    for (int e = first; e <= last; e++)
        for (int m = 1; m < 10; m++) add_tick(a, m, e, m > 1 && !(dense && (m == 2 || m == 5)));
}

static void log_ticks(chart_axis *a)
{
    const int first = decade_below(a->low), last = decade_below(a->high), decades = last - first;
    a->decades = true;
    if (decades > 2 * MOST_DECADES) {
        const int every = (decades + MOST_DECADES - 1) / MOST_DECADES;
        for (int e = first; e <= last; e++) if (e % every == 0 || decades <= 60) add_tick(a, 1, e, e % every != 0);
        return;
    }
    decade_ticks(a, first, last, false);
    if (majors(a) >= 3) return;
    decade_ticks(a, first, last, true);
    if (majors(a) >= 3) return;
    a->n = 0;
    a->decades = false;
    even_ticks(a);
}

static void fit_log(chart_axis *a, double low, double high, bool widen)
{
    if (high < low * 1.001) low /= 1.5, high *= 1.5;
    const double margin = widen ? fix_exp(0.04 * (fix_log(high) - fix_log(low))) : 1;
    a->low = fmax(low / margin, smallest / 10);
    a->high = fmin(high * margin, largest * 10);
    log_ticks(a);
}

static void fit_even(chart_axis *a, double low, double high, bool widen)
{
    const double size = fmax(fabs(low), fabs(high)), least = fmax(1e-9 * size, 1e-280);
    if (high - low < least) {
        const double half = size > 1e-280 ? 0.1 * size : 1;
        low -= half, high += half;
    }
    const double margin = widen ? 0.04 * (high - low) : 0;
    a->low = low >= 0 ? fmax(low - margin, 0) : low - margin;
    a->high = high <= 0 ? fmin(high + margin, 0) : high + margin;
    even_ticks(a);
}

void chart_axis_fit(chart_axis *a, bool log, double low, double high, bool widen)
{
    assert(chart_usable(log, low) && chart_usable(log, high) && low <= high);
    *a = (chart_axis){ .log = log };
    if (log) fit_log(a, low, high, widen);
    else fit_even(a, low, high, widen);
}

void chart_axis_at(chart_axis *a, const int64_t *values, int n)
{
    a->n = 0;
    a->decades = false;
    for (int i = 0; i < n; i++) add_tick(a, values[i], 0, false);
}

double chart_axis_place(const chart_axis *a, double v)
{
    if (a->log) return (fix_log(v) - fix_log(a->low)) / (fix_log(a->high) - fix_log(a->low));
    return (v - a->low) / (a->high - a->low);
}

/* digits * 10^exponent in full, without zeros behind the point: 1200, 0.05. */
static void plain(int64_t digits, int exponent, char text[PLAIN_SIZE])
{
    char number[24];
    while (exponent < 0 && digits % 10 == 0 && digits != 0) digits /= 10, exponent++;
    int len = snprintf(number, sizeof number, "%lld", (long long)llabs((long long)digits));
    const char *sign = digits < 0 ? "&#8722;" : "";
    if (digits == 0) snprintf(text, PLAIN_SIZE, "0");
    else if (exponent >= 0) snprintf(text, PLAIN_SIZE, "%s%s%.*s", sign, number, exponent, "000000000000");
    else if (len > -exponent) snprintf(text, PLAIN_SIZE, "%s%.*s.%s", sign, len + exponent, number, number + len + exponent);
    else snprintf(text, PLAIN_SIZE, "%s0.%.*s%s", sign, -exponent - len, "000000000000", number);
}

/* mantissa times 10 to the power, as a raised number; `mantissa` "1" of a log axis is left out. */
static void power_of_ten(const char mantissa[PLAIN_SIZE], bool bare, int power, char label[CHART_LABEL_SIZE])
{
    snprintf(label, CHART_LABEL_SIZE, "%s%s10<tspan dy='-4.5' font-size='9'>%s%d</tspan>", bare ? "" : mantissa, bare ? "" : "&#215;",
             power < 0 ? "&#8722;" : "", abs(power));
}

/* Order of magnitude of the largest label. */
static int top_decade(const chart_axis *a, int *lowest)
{
    int top = -400;
    *lowest = 400;
    for (int i = 0; i < a->n; i++) {
        if (a->tick[i].minor || a->tick[i].digits == 0) continue;
        const int e = decade_below(fabs(a->tick[i].at) * (1 + 1e-12));
        if (e > top) top = e;
        if (e < *lowest) *lowest = e;
    }
    return top;
}

void chart_axis_label(const chart_axis *a, int i, char label[CHART_LABEL_SIZE])
{
    const chart_tick *k = &a->tick[i];
    char mantissa[PLAIN_SIZE];
    int lowest;
    const int top = top_decade(a, &lowest);
    const bool wide = a->decades && lowest < top;      /* every label has its own power */
    if (k->digits == 0 || (top <= 5 && (wide ? lowest >= -3 && top <= 4 : top >= -3))) {
        plain(k->digits, k->exponent, mantissa);
        snprintf(label, CHART_LABEL_SIZE, "%s", mantissa);
        return;
    }
    plain(k->digits, wide ? 0 : k->exponent - top, mantissa);
    power_of_ten(mantissa, wide && k->digits == 1, wide ? k->exponent : top, label);
}
