#include "command.h"

ddpm_status cmd_convert(invocation *call)
{
    DDPM_TRY(settings_model_sources(&call->s));
    if (call->count != 2) return ddpm_fail(DDPM_EINVAL, "two words are needed: the model and the folder to write");
    return tool_convert(&call->s, call->words[0], call->words[1], &call->events, &call->document);
}
