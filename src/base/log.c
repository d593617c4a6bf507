#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct { log_sink sink; void *ctx; log_level level; } process_log = { NULL, NULL, LOG_INFO };

enum { STDERR_WAIT_MS = 100 };

void log_set(log_sink sink, void *ctx, log_level level)
{
    process_log.sink = sink;
    process_log.ctx = ctx;
    process_log.level = level;
}

__attribute__((format(printf, 2, 0)))
static void emit(log_level level, const char *fmt, va_list ap)
{
    if (!process_log.sink || level > process_log.level) return;
    const int saved_errno = errno;
    char message[LOG_MAX];
    if (vsnprintf(message, sizeof message, fmt, ap) >= 0)
        process_log.sink(process_log.ctx, level, message);
    errno = saved_errno;
}

#define LOG_FUNCTION(name, level)   \
    void name(const char *fmt, ...) \
    {                               \
        va_list ap;                 \
        va_start(ap, fmt);          \
        emit(level, fmt, ap);       \
        va_end(ap);                 \
    }
LOG_FUNCTION(log_error, LOG_ERROR)
LOG_FUNCTION(log_warn, LOG_WARN)
LOG_FUNCTION(log_info, LOG_INFO)
LOG_FUNCTION(log_debug, LOG_DEBUG)

/* Append `s` with control bytes escaped: ASCII ones, and the C1 range that a
 * terminal may obey (bytes 0x80..0x9f where they do not continue a UTF-8
 * character, or follow 0xc2). */
static size_t escape(char *out, const char *s)
{
    size_t n = 0;
    bool inside = false;
    for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
        const bool continuation = *p >= 0x80 && *p < 0xc0;
        const bool c1 = *p >= 0x80 && *p < 0xa0 && (!inside || p[-1] == 0xc2);
        if (*p < 0x20 || *p == 0x7f || c1)
            n += (size_t)sprintf(out + n, "\\x%02x", *p);
        else
            out[n++] = (char)*p;
        inside = *p >= 0xc2 || (inside && continuation);
    }
    return n;
}

static int remaining_ms(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const long gone = (long)(now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000;
    return gone >= STDERR_WAIT_MS ? 0 : STDERR_WAIT_MS - (int)gone;
}

/* A pipe reported writable takes PIPE_BUF (4096) bytes without blocking. */
static void write_within_limit(const char *s, size_t n)
{
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (n > 0) {
        struct pollfd fd = { .fd = STDERR_FILENO, .events = POLLOUT };
        const int ready = poll(&fd, 1, remaining_ms(&start));
        if (ready < 0 && errno == EINTR && remaining_ms(&start) > 0) continue;
        if (ready <= 0 || !(fd.revents & POLLOUT)) return;
        const ssize_t written = write(STDERR_FILENO, s, n < 4096 ? n : 4096);
        if (written < 0 && (errno == EINTR || errno == EAGAIN) && remaining_ms(&start) > 0) continue;
        if (written <= 0) return;
        s += written;
        n -= (size_t)written;
    }
}

void log_stderr(void *ctx, log_level level, const char *message)
{
    (void)ctx;
    static const char *const prefixes[] = { "error: ", "warning: ", "", "debug: " };
    char line[4 * LOG_MAX + 16];
    size_t n = (size_t)sprintf(line, "%s", prefixes[level]);
    char cut[LOG_MAX];
    snprintf(cut, sizeof cut, "%s", message);
    n += escape(line + n, cut);
    line[n++] = '\n';

    /* A reader that has gone away must not end the program: hold SIGPIPE back and
     * take it off the queue if this write raised it. */
    sigset_t pipe_only, before, pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigpending(&pending);
    const bool was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    write_within_limit(line, n);
    const struct timespec now = { 0, 0 };
    if (!was_pending) while (sigtimedwait(&pipe_only, NULL, &now) < 0 && errno == EINTR) { }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
