#include "command.h"

#include "api/sweep.h"

ddpm_status cmd_eval(invocation *call)
{
    if (call->count < 2) return ddpm_fail(DDPM_EINVAL, "no %s is given; --help shows how to call the command", call->count ? "REFERENCE" : "SAMPLES");
    if (call->s.v.sweep[0]) return tool_sweep(&call->s, call->words[0], call->words[1], &call->events, &call->text, &call->document);
    DDPM_TRY(sweep_refuse_options(&call->s));
    return tool_eval(&call->s, call->words[0], call->words[1], &call->events, &call->text, &call->document);
}
