#include "command.h"

#include <string.h>

ddpm_status cmd_classifier(invocation *call)
{
    const settings_values *v = &call->s.v;
    if (command_wants_presets(call)) return command_presets(call);
    if (call->count > 0 && strcmp(call->words[0], "train"))
        return ddpm_fail(DDPM_EINVAL, "there is no `ddpm classifier %.40s`, only `ddpm classifier train DATA -o RUN`; `ddpm info RUN` shows a classifier's last validation, "
                                      "`ddpm eval SAMPLES REFERENCE --features RUN` measures with it, `ddpm sample MODEL --classifier RUN` is guided by it", call->words[0]);
    const char *data = call->count > 1 ? call->words[1] : v->data_dir;
    if (!call->count || !data[0] || (call->count > 1 && v->data_dir[0]) || call->count > 2) return ddpm_fail(DDPM_EINVAL, "write `ddpm classifier train DATA -o RUN`");
    DDPM_TRY(settings_sources(&call->s));
    DDPM_TRY(settings_classifier(&call->s));
    if (!v->output[0]) DDPM_TRY(command_default_output(call, "", "classifier", ""));
    return tool_train(&call->s, data, call->line, &call->events, &call->document);
}
