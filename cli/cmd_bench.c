#include "command.h"

ddpm_status cmd_bench(invocation *call)
{
    if (command_wants_presets(call)) return command_presets(call);
    DDPM_TRY(settings_sources(&call->s));
    return tool_bench(&call->s, &call->events, &call->text, &call->document);
}
