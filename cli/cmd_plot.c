#include "command.h"

ddpm_status cmd_plot(invocation *call)
{
    return tool_plot(&call->s, call->words, call->count, &call->text, &call->document);
}
