#include "api/tool.h"

#include <stdarg.h>
#include <stdio.h>

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
