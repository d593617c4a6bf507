/* terminal.h - what the program says: messages and progress to stderr.
 *
 * On a terminal progress is one line that is overwritten; elsewhere (and with
 * TERM=dumb) it is a plain line now and then. There is no colour. A reader that
 * has gone away is never an error. May be called from several threads. */
#ifndef DDPM_CLI_TERMINAL_H
#define DDPM_CLI_TERMINAL_H

#include "api/program.h"
#include "api/tool.h"

#include <pthread.h>

typedef struct {
    pthread_mutex_t lock;
    bool            bar, quiet, drawn;
    double          last;            /* when the bar was drawn, seconds */
} terminal;

void terminal_open(terminal *t, bool quiet);
void terminal_close(terminal *t);                  /* leaves the cursor on a fresh line */

/* Sinks: ctx is a terminal. */
void terminal_log(void *ctx, log_level level, const char *message);
void terminal_message(void *ctx, const char *text);
void terminal_progress(void *ctx, const tool_progress *p);

/* The line of a progress report, without the bar: "training: 20/100 steps, 3.1 steps/s, 0:26 left, loss 0.1". */
void terminal_progress_text(const tool_progress *p, char *text, size_t size);

#endif
