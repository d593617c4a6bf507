#include "command.h"

/* MODEL DATA, or DATA alone beside --model_path, as improved-diffusion's script is called. */
ddpm_status cmd_nll(invocation *call)
{
    const char *model = call->s.v.model_path, *data = call->s.v.data_dir;
    int used = 0;
    if (command_wants_presets(call)) return command_presets(call);
    DDPM_TRY(settings_model_sources(&call->s));
    if (!model[0] && used < call->count) model = call->words[used++];
    if (!data[0] && used < call->count) data = call->words[used++];
    if (used < call->count)
        return ddpm_fail(DDPM_EINVAL, "\"%.200s\" is one word too many: MODEL and DATA are given, by words or by --model_path and --data_dir", call->words[used]);
    if (!model[0]) return ddpm_fail(DDPM_EINVAL, "no MODEL is given; --help shows how to call the command");
    if (!data[0]) return ddpm_fail(DDPM_EINVAL, "no DATA is given; --help shows how to call the command");
    return tool_nll(&call->s, model, data, &call->events, &call->text, &call->document);
}
