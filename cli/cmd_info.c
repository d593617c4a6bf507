#include "command.h"

ddpm_status cmd_info(invocation *call)
{
    const char *path;
    if (command_wants_presets(call)) return command_presets(call);
    DDPM_TRY(settings_model_sources(&call->s));
    DDPM_TRY(command_subject(call, "PATH", "", "", &path));
    return tool_info(&call->s, path, &call->text, &call->document);
}
