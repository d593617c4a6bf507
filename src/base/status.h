/* status.h - result codes and the sentence that explains the last failure.
 *
 * Every function that can fail returns a ddpm_status. The place that detects a
 * failure writes the sentence, once, with ddpm_fail(); everybody above only
 * forwards the code with DDPM_TRY. The sentence is thread-local, like errno;
 * with the log sink (log.h) it is all the mutable state of the library. It says what is wrong, where
 * (file, offset, tensor, key) and what to do about it. */
#ifndef DDPM_BASE_STATUS_H
#define DDPM_BASE_STATUS_H

#include "ddpm.h"           /* the codes, ddpm_strerror, ddpm_last_error: users of the library see the same */

/* In the order of their numbers: code, exit status of the program, general sentence */
#define DDPM_STATUS_LIST(X)                                                      \
    X(DDPM_OK,        0, "success")                                              \
    X(DDPM_EFAIL,     1, "the operation failed")                                 \
    X(DDPM_EINVAL,    2, "an argument or a configuration value is wrong")        \
    X(DDPM_ENOMEM,    1, "memory is exhausted")                                  \
    X(DDPM_ESHAPE,    2, "operand shapes do not fit the operator")               \
    X(DDPM_ENOSUP,    1, "this build or machine cannot do that")                 \
    X(DDPM_EFORMAT,  65, "a file is damaged or not of the expected format")      \
    X(DDPM_EIO,      74, "reading or writing failed")                            \
    X(DDPM_EBUSY,    75, "in use by another process; run again later")           \
    X(DDPM_ESTOPPED, 75, "stopped on request; state saved, run again to go on")  \
    X(DDPM_ENUMERIC,  1, "the computation produced values that are not finite")

#define X(code, exit_status, text) +1
enum { DDPM_STATUS_COUNT = 0 DDPM_STATUS_LIST(X) };
#undef X

/* Exit status a program should end with (product: 0, 1, 2, 65, 74, 75). */
int ddpm_exit_status(ddpm_status s);

/* Set the sentence of this thread's last failure and return `s`. */
ddpm_status ddpm_fail(ddpm_status s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prefix the current sentence ("reading x.png: ") and return `s`. */
ddpm_status ddpm_context(ddpm_status s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Evaluate `expr`; on failure return its status from the enclosing function. */
#define DDPM_TRY(expr)                                  \
    do {                                                \
        const ddpm_status try_status_ = (expr);         \
        if (try_status_ != DDPM_OK) return try_status_; \
    } while (0)

#endif
