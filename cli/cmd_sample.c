#include "command.h"

ddpm_status cmd_sample(invocation *call)
{
    const char *model;
    if (command_wants_presets(call)) return command_presets(call);
    DDPM_TRY(settings_model_sources(&call->s));
    DDPM_TRY(command_subject(call, "MODEL", "--model_path", call->s.v.model_path, &model));
    if (!call->s.v.output[0]) DDPM_TRY(command_default_output(call, "samples.npz", "samples", ".npz"));
    return tool_sample(&call->s, model, &call->events, &call->document);
}
