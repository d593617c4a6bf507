#include "command.h"

#include <string.h>

ddpm_status cmd_classifier(invocation *call)
{
    const settings_values *v = &call->s.v;
    if (command_wants_presets(call)) return command_presets(call);
    const bool train = call->count > 0 && !strcmp(call->words[0], "train");
    const char *data = call->count > 1 ? call->words[1] : v->data_dir;
    if (!train || !data[0] || (call->count > 1 && v->data_dir[0])) return ddpm_fail(DDPM_EINVAL, "write `ddpm classifier train DATA -o RUN`");
    DDPM_TRY(settings_sources(&call->s));
    DDPM_TRY(settings_classifier(&call->s));
    if (!v->output[0]) DDPM_TRY(command_default_output(call, "", "classifier", ""));
    return tool_train(&call->s, data, call->line, &call->events, &call->document);
}
