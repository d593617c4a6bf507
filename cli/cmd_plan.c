#include "command.h"

#include <string.h>

ddpm_status cmd_plan(invocation *call)
{
    const char *what = call->count > 0 ? call->words[0] : "";
    const char *subject = call->count > 1 ? call->words[1] : "";
    const bool classifier = !strcmp(what, "classifier"), train = classifier || !strcmp(what, "train");
    if (command_wants_presets(call)) return command_presets(call);
    if (!train && strcmp(what, "sample"))
        return ddpm_fail(DDPM_EINVAL, "\"%.100s\" is nothing to plan; write `ddpm plan train DATA`, `plan classifier DATA` or `plan sample MODEL`", what);
    DDPM_TRY(settings_sources(&call->s));
    if (classifier) DDPM_TRY(settings_classifier(&call->s));
    if (!subject[0]) subject = train ? call->s.v.data_dir : call->s.v.model_path;
    return tool_plan(&call->s, train ? "train" : what, subject, &call->text, &call->document);
}
