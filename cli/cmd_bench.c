#include "command.h"

ddpm_status cmd_bench(invocation *call)
{
    if (command_wants_presets(call)) return command_presets(call);
    DDPM_TRY(command_sources(call));
    return tool_bench(&call->s, &call->events, &call->text, &call->document);
}
