#include "command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

ddpm_status command_subject(const invocation *call, const char *name, const char *spelling, const char *value, const char **subject)
{
    const char *word = call->count > 0 ? call->words[0] : "";
    if (word[0] && value[0]) return ddpm_fail(DDPM_EINVAL, "%s is given twice: \"%.200s\" and %s \"%.200s\"; give one of them", name, word, spelling, value);
    *subject = word[0] ? word : value;
    if (!**subject) return ddpm_fail(DDPM_EINVAL, "no %s is given; --help shows how to call the command", name);
    return DDPM_OK;
}

bool command_wants_presets(const invocation *call) { return !strcmp(call->s.v.preset, "list"); }

static ddpm_status preset_parameters(const char *name, size_t *parameters)
{
    settings *s = malloc(sizeof *s);
    if (!s) return ddpm_fail(DDPM_ENOMEM, "no memory for a preset");
    settings_defaults(s);
    ddpm_status status = settings_preset(s, name);
    if (status == DDPM_OK) status = settings_resolve(s);
    if (status == DDPM_OK) {
        const unet_config net = settings_unet(s);
        *parameters = unet_parameters(&net);
    }
    free(s);
    return status;
}

static ddpm_status describe_presets(FILE *f, json *list)
{
    for (const preset *p = presets; p->name; p++) {
        size_t parameters = 0;
        DDPM_TRY(preset_parameters(p->name, &parameters));
        json *o = json_new_object();
        json_put_string(o, "name", p->name);
        json_put_int(o, "parameters", (int64_t)parameters);
        json_put_string(o, "summary", p->summary);
        json_put_string(o, "values", p->values);
        DDPM_TRY(json_append(list, o));
        fprintf(f, "%-24s %11zu  %s\n", p->name, parameters, p->summary);
    }
    return DDPM_OK;
}

ddpm_status command_presets(invocation *call)
{
    size_t size;
    json *list = json_new_array();
    FILE *f = open_memstream(&call->text, &size);
    if (!f) {
        json_free(list);
        return ddpm_fail(DDPM_ENOMEM, "no memory for the list of presets");
    }
    fprintf(f, "%-24s %11s  %s\n", "preset", "parameters", "configuration");
    const ddpm_status status = describe_presets(f, list);
    fclose(f);
    call->document = json_new_object();
    json_put_string(call->document, "schema", "ddpm-presets-1");
    const ddpm_status put = json_put(call->document, "presets", list);
    return status != DDPM_OK ? status : put;
}

ddpm_status command_default_output(invocation *call, const char *file, const char *prefix, const char *suffix)
{
    char path[2 * OPTION_STRING_SIZE], date[32];
    const char *logdir = getenv("OPENAI_LOGDIR");
    const time_t t = time(NULL);
    struct tm local;
    if (!localtime_r(&t, &local) || !strftime(date, sizeof date, "%Y%m%d-%H%M%S", &local)) return ddpm_fail(DDPM_EFAIL, "the clock has no date; give -o");
    if (logdir && logdir[0]) snprintf(path, sizeof path, "%s%s%s", logdir, file[0] ? "/" : "", file);
    else snprintf(path, sizeof path, "./%s-%s%s", prefix, date, suffix);
    DDPM_TRY(settings_set(&call->s, "output", path, ORIGIN_ENVIRONMENT));
    tool_message(&call->events, "no -o is given; the result goes to %s", path);
    return DDPM_OK;
}
