#include "io/chart_parts.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(chart_text *t, size_t more)
{
    if (t->failed) return false;
    if (t->room - t->len > more) return true;
    const size_t room = 2 * t->room + more + 1024;
    char *data = realloc(t->data, room);
    t->failed = !data;
    if (!data) return false;
    t->data = data;
    t->room = room;
    return true;
}

void chart_print(chart_text *t, const char *format, ...)
{
    char piece[1024];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    assert(n >= 0 && (size_t)n < sizeof piece);
    if (!reserve(t, (size_t)n)) return;
    memcpy(t->data + t->len, piece, (size_t)n + 1);
    t->len += (size_t)n;
}

void chart_length(chart_text *t, double x)
{
    assert(fabs(x) < 1e7);
    const long cents = (long)floor(fabs(x) * 100 + 0.5), part = cents % 100;
    const char *sign = x < 0 && cents > 0 ? "-" : "";
    if (part == 0) chart_print(t, "%s%ld", sign, cents / 100);
    else if (part % 10 == 0) chart_print(t, "%s%ld.%ld", sign, cents / 100, part / 10);
    else chart_print(t, "%s%ld.%02ld", sign, cents / 100, part);
}

void chart_attribute(chart_text *t, const char *name, double x)
{
    chart_print(t, " %s='", name);
    chart_length(t, x);
    chart_print(t, "'");
}

/* Bytes of the UTF-8 character at s; 0: not one (too long a form, a surrogate, cut short, too large). */
static int utf8_bytes(const unsigned char *s)
{
    if (s[0] < 0x80) return 1;
    const int n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    for (int k = 1; k < n; k++) if ((s[k] & 0xc0) != 0x80) return 0;
    if (s[0] == 0xe0 && s[1] < 0xa0) return 0;
    if (s[0] == 0xed && s[1] > 0x9f) return 0;
    if (s[0] == 0xf0 && s[1] < 0x90) return 0;
    if (s[0] == 0xf4 && s[1] > 0x8f) return 0;
    if (s[0] == 0xef && s[1] == 0xbf && s[2] >= 0xbe) return 0;        /* XML has no U+FFFE, U+FFFF */
    return n;
}

int chart_characters(const char *s)
{
    int count = 0;
    for (const unsigned char *p = (const unsigned char *)s; *p; count++) {
        const int n = utf8_bytes(p);
        p += n ? n : 1;
    }
    return count;
}

static void print_character(chart_text *t, const unsigned char *p, int bytes)
{
    if (bytes == 0 || *p == 0x7f || (*p < 0x20 && *p != '\t' && *p != '\n')) chart_print(t, "&#65533;");
    else if (*p == '&') chart_print(t, "&amp;");
    else if (*p == '<') chart_print(t, "&lt;");
    else if (*p == '>') chart_print(t, "&gt;");
    else if (*p == '"') chart_print(t, "&quot;");
    else if (*p == '\'') chart_print(t, "&#39;");
    else if (*p < 0x20) chart_print(t, " ");
    else chart_print(t, "%.*s", bytes, (const char *)p);
}

void chart_escaped(chart_text *t, const char *s, int max)
{
    const int whole = chart_characters(s), shown = whole > max ? max - 3 : whole;
    const unsigned char *p = (const unsigned char *)s;
    for (int i = 0; i < shown; i++) {
        const int n = utf8_bytes(p);
        print_character(t, p, n);
        p += n ? n : 1;
    }
    if (shown < whole) chart_print(t, "...");
}

int chart_shown(const char *markup)
{
    int count = 0;
    for (const char *p = markup; *p; p++) {
        const char *end = *p == '<' ? strchr(p, '>') : *p == '&' ? strchr(p, ';') : p;
        count += *p != '<';
        p = end ? end : p;
    }
    return count;
}

void chart_open_text(chart_text *t, const char *class, double x, double y, const char *anchor)
{
    chart_print(t, "<text class='%s'", class);
    chart_attribute(t, "x", x);
    chart_attribute(t, "y", y);
    chart_print(t, " text-anchor='%s'", anchor);
}

void chart_open_document(chart_text *t, int width, int height)
{
    chart_print(t, "<?xml version='1.0' encoding='UTF-8'?>\n"
                   "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' viewBox='0 0 %d %d' fill='#111'"
                   " font-family='Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif'>\n"
                   "<rect width='%d' height='%d' fill='#fff'/>\n", width, height, width, height, width, height);
}
