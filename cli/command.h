/* command.h - one call of the program, as its commands see it.
 *
 * main.c reads the words and the options and prints what a command leaves
 * behind; a command only decides what its words mean and calls api/tool.h. */
#ifndef DDPM_CLI_COMMAND_H
#define DDPM_CLI_COMMAND_H

#include "api/tool.h"

enum { COMMAND_MAX_WORDS = 5 };

typedef struct {
    settings     s;
    const char  *words[COMMAND_MAX_WORDS];
    int          count;
    const char  *line;           /* the whole command line                        */
    tool_events  events;
    char        *text;           /* result for people, malloc'ed; NULL: none      */
    json        *document;       /* result for --json, owned; NULL: none          */
} invocation;

typedef ddpm_status (*command_run)(invocation *call);

ddpm_status cmd_train(invocation *call);
ddpm_status cmd_classifier(invocation *call);
ddpm_status cmd_sample(invocation *call);
ddpm_status cmd_nll(invocation *call);
ddpm_status cmd_eval(invocation *call);
ddpm_status cmd_features(invocation *call);
ddpm_status cmd_neighbours(invocation *call);
ddpm_status cmd_encode(invocation *call);
ddpm_status cmd_decode(invocation *call);
ddpm_status cmd_progressive(invocation *call);
ddpm_status cmd_interpolate(invocation *call);
ddpm_status cmd_convert(invocation *call);
ddpm_status cmd_data(invocation *call);
ddpm_status cmd_info(invocation *call);
ddpm_status cmd_plan(invocation *call);
ddpm_status cmd_plot(invocation *call);
ddpm_status cmd_bench(invocation *call);
ddpm_status cmd_doctor(invocation *call);

/* The one word a command takes, or the option that replaces it: `name` is what the user
 * calls it ("DATA"), `spelling` its option ("--data_dir"). EINVAL: neither or both. */
ddpm_status command_subject(const invocation *call, const char *name, const char *spelling, const char *value, const char **subject);

/* The table that `--preset list` prints, as text or document; not for other names. */
ddpm_status command_presets(invocation *call);
bool        command_wants_presets(const invocation *call);

/* Where a result goes when -o is not given: $OPENAI_LOGDIR/FILE, or ./PREFIX-<date>SUFFIX.
 * file "": the folder itself. */
ddpm_status command_default_output(invocation *call, const char *file, const char *prefix, const char *suffix);

#endif
