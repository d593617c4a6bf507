#include "command.h"

ddpm_status cmd_features(invocation *call)
{
    if (!call->count) return ddpm_fail(DDPM_EINVAL, "no DATA is given; --help shows how to call the command");
    return tool_features(&call->s, call->words[0], &call->events, &call->text, &call->document);
}
