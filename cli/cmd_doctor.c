#include "command.h"

ddpm_status cmd_doctor(invocation *call)
{
    return tool_doctor(&call->s, &call->events, &call->text, &call->document);
}
