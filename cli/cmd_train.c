#include "command.h"

ddpm_status cmd_train(invocation *call)
{
    const char *data;
    if (command_wants_presets(call)) return command_presets(call);
    DDPM_TRY(settings_sources(&call->s));
    DDPM_TRY(command_subject(call, "DATA", "--data_dir", call->s.v.data_dir, &data));
    if (!call->s.v.output[0]) DDPM_TRY(command_default_output(call, "", "run", ""));
    return tool_train(&call->s, data, call->line, &call->events, &call->document);
}
