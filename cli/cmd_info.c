#include "command.h"

ddpm_status cmd_info(invocation *call)
{
    const char *path;
    DDPM_TRY(command_subject(call, "PATH", "", "", &path));
    return tool_info(&call->s, path, &call->text, &call->document);
}
