#include "command.h"

#include <string.h>

ddpm_status cmd_data(invocation *call)
{
    const char *what = call->count > 0 ? call->words[0] : "";
    if (!strcmp(what, "pack") && call->count == 3) return tool_data_pack(&call->s, call->words[1], call->words[2], &call->events, &call->document);
    if (!strcmp(what, "verify") && call->count == 2) return tool_data_verify(call->words[1], &call->events, &call->document);
    return ddpm_fail(DDPM_EINVAL, "write `ddpm data pack DATA OUT.ddpmdata` or `ddpm data verify FILE.ddpmdata`");
}
