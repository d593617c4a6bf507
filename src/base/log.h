/* log.h - the one way the library talks: a callback with a level.
 *
 * Library code never writes to stdout or stderr itself. A program may install
 * a sink once, at start, before other threads run, such as log_stderr; without
 * one, messages are lost. The sink is the accepted exception to "no writable
 * globals": like errno it belongs to the process, and threading it through every
 * function would buy nothing.
 *
 * A message is one sentence without a final newline, at most LOG_MAX bytes
 * (longer ones are cut). Messages may come from several threads at once. */
#ifndef DDPM_BASE_LOG_H
#define DDPM_BASE_LOG_H

#include "ddpm.h"

/* Users of the library set the same sink to the same levels. */
typedef ddpm_log_level log_level;
typedef ddpm_log_fn    log_sink;
#define LOG_ERROR DDPM_LOG_ERROR
#define LOG_WARN  DDPM_LOG_WARN
#define LOG_INFO  DDPM_LOG_INFO
#define LOG_DEBUG DDPM_LOG_DEBUG

enum { LOG_MAX = 2048 };

/* Install `sink` (NULL: none) for messages up to `level`. Not thread-safe:
 * call it before threads start. `ctx` is the caller's and must outlive them. */
void log_set(log_sink sink, void *ctx, log_level level);

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A sink: one line per message on stderr, prefixed by its level
 * except for LOG_INFO. Control bytes are written as \xHH, since names from files
 * end up in messages. A stderr that is closed or full loses the message: this
 * returns, raises no signal and never waits for more than a tenth of a second. */
void log_stderr(void *ctx, log_level level, const char *message);

#endif
