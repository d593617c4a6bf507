/* lib.h - what the handles of include/ddpm.h are, and what its functions share.
 *
 * This room is the C library: each of its functions checks what a caller can get
 * wrong, makes a request of the options and hands it to api/, which the program's
 * commands use as well. There is no arithmetic here. */
#ifndef DDPM_LIB_LIB_H
#define DDPM_LIB_LIB_H

#include "api/checkpoint.h"
#include "api/network.h"
#include "api/tool.h"
#include "base/status.h"

struct ddpm_ctx {
    settings s;                 /* defaults, and what the configuration gave */
    engine   e;
    void   (*message)(void *user, const char *sentence);
    void    *user;
};

struct ddpm_options {
    const option_command *command;
    settings              s;
};

struct ddpm_model {
    ddpm_ctx   *ctx;
    model_file *file;
    const model_description *d;
    int         weights;        /* the kind that was asked for            */
    unet_config net;
    size_t      parameters;
    schedule    full;
    process     p;              /* on full                                */
    char        fingerprint[9];
    network     n;              /* empty until a call needs it            */
};

/* EINVAL in the name of a function. */
ddpm_status lib_missing_argument(const char *function);

/* Threads, device, precision and max_isa of a context, as somebody's choice. */
ddpm_status lib_set_engine(settings *s, const ddpm_ctx_config *c);

/* What a command of these options would be asked for in this context, with the values of its `config` and `preset`;
 * malloc'ed. o NULL: defaults. EINVAL: options of another command. */
ddpm_status lib_request(const ddpm_ctx *ctx, const char *command, const ddpm_options *o, settings **request);

/* A caller's functions as those that api/ calls. Must not move after lib_listen. */
typedef struct {
    ddpm_progress_fn progress;
    void            *user;
    bool             stop;
    const ddpm_ctx  *ctx;
    tool_events      ev;
} lib_listener;
void lib_listen(lib_listener *l, const ddpm_ctx *ctx, ddpm_progress_fn progress, void *user);

/* The network, if it is not there yet. */
ddpm_status lib_model_load(ddpm_model *m);

/* EINVAL: the request asks for other weights than the model was opened with. */
ddpm_status lib_model_check(const ddpm_model *m, const settings *request);

#endif
