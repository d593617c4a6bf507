#include "command.h"

ddpm_status cmd_neighbours(invocation *call)
{
    if (call->count < 2) return ddpm_fail(DDPM_EINVAL, "no %s is given; --help shows how to call the command", call->count ? "DATA" : "SAMPLES");
    return tool_neighbours(&call->s, call->words[0], call->words[1], &call->events, &call->text, &call->document);
}
