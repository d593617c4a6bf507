#include "command.h"

ddpm_status cmd_interpolate(invocation *call)
{
    DDPM_TRY(settings_sources(&call->s));
    if (call->count != 3 && call->count != 5)
        return ddpm_fail(DDPM_EINVAL, "the words needed are the model and two images or seeds (or four, for a grid between them)");
    return tool_interpolate(&call->s, call->words[0], call->words + 1, call->count - 1, &call->events, &call->document);
}
