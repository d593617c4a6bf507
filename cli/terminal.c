#include "terminal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { LINE_SIZE = 512, BAR_WIDTH = 24, DEFAULT_COLUMNS = 80 };

static const double REDRAW_SECONDS = 0.1;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void put(const char *text)
{
    const ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

void terminal_open(terminal *t, bool quiet)
{
    const char *kind = getenv("TERM");
    *t = (terminal){ .quiet = quiet, .bar = !quiet && isatty(STDERR_FILENO) && kind && strcmp(kind, "dumb") };
    pthread_mutex_init(&t->lock, NULL);
}

static void erase(terminal *t)
{
    if (t->drawn) put("\r\033[K");
    t->drawn = false;
}

void terminal_close(terminal *t)
{
    if (t->drawn) put("\n");
    t->drawn = false;
    pthread_mutex_destroy(&t->lock);
}

void terminal_log(void *ctx, log_level level, const char *message)
{
    terminal *t = ctx;
    pthread_mutex_lock(&t->lock);
    erase(t);
    log_stderr(NULL, level, message);
    pthread_mutex_unlock(&t->lock);
}

void terminal_message(void *ctx, const char *text)
{
    const terminal *t = ctx;
    if (!t->quiet) terminal_log(ctx, LOG_INFO, text);
}

/* 75 seconds are "1:15", two hours "2:00:00". */
static void duration(double seconds, char text[32])
{
    const long s = seconds > 0 && seconds < 1e9 ? (long)(seconds + 0.5) : 0;
    if (s >= 3600) snprintf(text, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else snprintf(text, 32, "%ld:%02ld", s / 60, s % 60);
}

/* Three significant digits without a power of ten: 0.0123, 2.58, 192, 66800. */
static void number(double x, char text[64])
{
    double unit = 1;
    while (x >= 1000 * unit) unit *= 10;
    if (x < 999.5) snprintf(text, 64, "%.3g", x);
    else snprintf(text, 64, "%.0f", unit * (double)(long)(x / unit + 0.5));
}

void terminal_progress_text(const tool_progress *p, char *text, size_t size)
{
    char total[32] = "", speed[64], rate[128] = "", left[64] = "", time_left[32];
    if (p->total > 0) snprintf(total, sizeof total, "/%lld", (long long)p->total);
    const bool known = p->per_second > 0 && isfinite(p->per_second);
    if (known) {
        number(p->per_second, speed);
        snprintf(rate, sizeof rate, ", %s %s/s", speed, p->unit);
    }
    if (known && p->eta_seconds > 0) {
        duration(p->eta_seconds, time_left);
        snprintf(left, sizeof left, ", %s left", time_left);
    }
    snprintf(text, size, "%s: %lld%s %s%s%s%s%s", p->what, (long long)p->done, total, p->unit, p->extra[0] ? ", " : "", p->extra, rate, left);
}

static int columns(void)
{
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : DEFAULT_COLUMNS;
}

static void draw_bar(terminal *t, const tool_progress *p)
{
    char text[LINE_SIZE], bar[BAR_WIDTH + 4] = "", line[2 * LINE_SIZE];
    terminal_progress_text(p, text, sizeof text);
    if (p->total > 0) {
        const int full = (int)(BAR_WIDTH * p->done / p->total);
        bar[0] = '[';
        for (int i = 0; i < BAR_WIDTH; i++) bar[1 + i] = i < full ? '#' : '.';
        strcpy(bar + 1 + BAR_WIDTH, "] ");
    }
    snprintf(line, sizeof line, "%s%s", bar, text);
    const size_t width = (size_t)columns() - 1;
    if (strlen(line) > width) line[width] = 0;
    put("\r\033[K");
    put(line);
    t->drawn = true;
}

void terminal_progress(void *ctx, const tool_progress *p)
{
    terminal *t = ctx;
    char text[LINE_SIZE];
    if (t->quiet) return;
    if (!t->bar) {
        terminal_progress_text(p, text, sizeof text);
        if (p->line) terminal_log(t, LOG_INFO, text);
        return;
    }
    pthread_mutex_lock(&t->lock);
    const double time = now();
    if (time - t->last >= REDRAW_SECONDS || p->done == p->total) {
        draw_bar(t, p);
        t->last = time;
    }
    pthread_mutex_unlock(&t->lock);
}
