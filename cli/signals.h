/* signals.h - the first SIGINT, SIGTERM or SIGHUP asks the command to stop, SIGUSR1 to save
 * and stop, SIGUSR2 to save; a second SIGINT leaves at once.
 *
 * The request is the one writable object a handler can reach: it belongs to the
 * process. SIGHUP is ignored when standard input is no terminal (nohup, services). */
#ifndef DDPM_CLI_SIGNALS_H
#define DDPM_CLI_SIGNALS_H

#include "api/tool.h"

void        signals_install(void);
run_request signals_request(void *unused);      /* clears a request to save */

/* Exit status of a command that stopped on request: 128 + signal, or 75. */
int         signals_exit_status(void);

#endif
