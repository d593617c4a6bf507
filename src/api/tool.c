#include "api/tool.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>

/* What is over so soon needs no lines. */
enum { LEAST_SECONDS = 2 };

void tool_message(const tool_events *ev, const char *fmt, ...)
{
    char text[2048];
    if (!ev->message) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    ev->message(ev->ctx, text);
}

run_request tool_request(const tool_events *ev) { return ev->request ? ev->request(ev->ctx) : RUN_GO_ON; }

void tool_tell_progress(const tool_events *ev, tool_progress p, double begin)
{
    if (!ev->progress) return;
    p.per_second = (double)p.done / (clock_now() - begin);
    p.eta_seconds = (double)(p.total - p.done) / p.per_second;
    p.line = p.line && (double)p.total / p.per_second >= LEAST_SECONDS;
    if (!p.extra) p.extra = "";
    ev->progress(ev->ctx, &p);
}

bool tool_quarter(int64_t before, int64_t done, int64_t all) { return 4 * done / all > 4 * before / all; }
