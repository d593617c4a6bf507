#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char sentence[1024];

const char *ddpm_strerror(ddpm_status s)
{
    static const char *const texts[DDPM_STATUS_COUNT] = {
#define X(code, exit_status, text) [code] = text,
        DDPM_STATUS_LIST(X)
#undef X
    };
    return (unsigned)s < DDPM_STATUS_COUNT ? texts[s] : "unknown status";
}

int ddpm_exit_status(ddpm_status s)
{
    static const int statuses[DDPM_STATUS_COUNT] = {
#define X(code, exit_status, text) [code] = exit_status,
        DDPM_STATUS_LIST(X)
#undef X
    };
    return (unsigned)s < DDPM_STATUS_COUNT ? statuses[s] : 1;
}

ddpm_status ddpm_fail(ddpm_status s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(sentence, sizeof sentence, fmt, ap);
    va_end(ap);
    return s;
}

ddpm_status ddpm_context(ddpm_status s, const char *fmt, ...)
{
    char rest[sizeof sentence];
    memcpy(rest, sentence, sizeof rest);
    va_list ap;
    va_start(ap, fmt);
    const int used = vsnprintf(sentence, sizeof sentence, fmt, ap);
    va_end(ap);
    if (used >= 0 && (size_t)used < sizeof sentence)
        snprintf(sentence + used, sizeof sentence - (size_t)used, "%s", rest);
    return s;
}

const char *ddpm_last_error(void) { return sentence; }
