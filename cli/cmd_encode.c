#include "command.h"

ddpm_status cmd_encode(invocation *call)
{
    DDPM_TRY(settings_sources(&call->s));
    if (call->count != 2) return ddpm_fail(DDPM_EINVAL, "two words are needed: the model and the data");
    return tool_encode(&call->s, call->words[0], call->words[1], &call->events, &call->text, &call->document);
}

ddpm_status cmd_decode(invocation *call)
{
    DDPM_TRY(settings_sources(&call->s));
    if (call->count != 2) return ddpm_fail(DDPM_EINVAL, "two words are needed: the model and the file of latents");
    return tool_decode(&call->s, call->words[0], call->words[1], &call->events, &call->document);
}
