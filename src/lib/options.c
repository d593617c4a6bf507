#include "lib/lib.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Commands that functions of the library stand for. */
static const option_command commands[] = {
    { .name = "train", .group = GROUP_TRAIN }, { .name = "sample", .group = GROUP_SAMPLE }, { .name = "nll", .group = GROUP_NLL },
    { .name = "eval", .group = GROUP_EVAL }, { .name = "convert", .group = GROUP_CONVERT }, { .name = "info", .group = GROUP_INFO }, { 0 },
};

/* Settings that are given in another way, and how; of all commands, or of some. */
static const struct { const char *name, *instead; unsigned groups; } elsewhere[] = {
    { "threads", "a member of ddpm_ctx_config", ~0u },
    { "device", "a member of ddpm_ctx_config", ~0u },
    { "precision", "a member of ddpm_ctx_config", ~0u },
    { "max_isa", "a member of ddpm_ctx_config", ~0u },
    { "model_path", "an argument of the function", ~0u },
    { "data_dir", "an argument of the function", ~0u },
    { "json", "for the program's output", ~0u },
    { "quiet", "for the program's output", ~0u },
    { "verbose", "for the program's output", ~0u },
    { "help", "for the program's output", ~0u },
    { "output", "for files; the images go to the caller's memory", GROUP_SAMPLE },
    { "film", "for files; the images go to the caller's memory", GROUP_SAMPLE },
    { "num_samples", "n in ddpm_sample_config", GROUP_SAMPLE },
    { "seeds", "seeds in ddpm_sample_config", GROUP_SAMPLE },
    { "index", "first in ddpm_sample_config", GROUP_SAMPLE },
};

ddpm_status ddpm_options_new(const char *command, ddpm_options **o)
{
    if (o) *o = NULL;
    if (!command || !o) return lib_missing_argument("ddpm_options_new");
    const option_command *c = commands;
    while (c->name && strcmp(c->name, command)) c++;
    if (!c->name) return ddpm_fail(DDPM_EINVAL, "there are no options of \"%.100s\"; the commands are train, sample, nll, eval, convert and info", command);
    ddpm_options *new = calloc(1, sizeof *new);
    if (!new) return ddpm_fail(DDPM_ENOMEM, "no memory for options");
    new->command = c;
    settings_defaults(&new->s);
    *o = new;
    return DDPM_OK;
}

void ddpm_options_free(ddpm_options *o) { free(o); }

static ddpm_status check_name(const ddpm_options *o, const char *name)
{
    if (!name[0] || name[0] == '-' || strchr(name, '=')) return ddpm_fail(DDPM_EINVAL, "\"%.100s\" is no name of a setting; write it without dashes, like \"batch_size\"", name);
    const int row = options_find_in(settings_options, o->command->group, name);
    for (size_t i = 0; row >= 0 && i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (o->command->group & elsewhere[i].groups && !strcmp(settings_options[row].name, elsewhere[i].name))
            return ddpm_fail(DDPM_EINVAL, "%s is not set here; it is %s", elsewhere[i].name, elsewhere[i].instead);
    return DDPM_OK;
}

/* Through the parser of the command line, whose sentences these are. */
ddpm_status ddpm_options_set(ddpm_options *o, const char *name, const char *value)
{
    char *word;
    if (!o || !name || !value) return lib_missing_argument("ddpm_options_set");
    DDPM_TRY(check_name(o, name));
    if (asprintf(&word, "--%s=%s", name, value) < 0) return ddpm_fail(DDPM_ENOMEM, "no memory for a value");
    options_parser p = { .table = settings_options, .groups = o->command->group, .commands = commands, .settings = &o->s.v, .origins = o->s.origins };
    const ddpm_status status = options_parse(&p, 1, (const char *const[]){ word });
    free(word);
    return status;
}

ddpm_status ddpm_options_get(const ddpm_options *o, const char *name, char *text, size_t size)
{
    char value[OPTION_TEXT_SIZE];
    if (!o || !name || !text) return lib_missing_argument("ddpm_options_get");
    DDPM_TRY(check_name(o, name));
    const int row = options_find_in(settings_options, o->command->group, name);
    if (row < 0) return ddpm_fail(DDPM_EINVAL, "unknown option %.100s of %s", name, o->command->name);
    options_print(settings_options, &o->s.v, row, value);
    if (strlen(value) >= size) return ddpm_fail(DDPM_EINVAL, "%s needs room for %zu bytes, there are %zu", name, strlen(value) + 1, size);
    memcpy(text, value, strlen(value) + 1);
    return DDPM_OK;
}

/* --- requests --------------------------------------------------------------------------- */

/* The context's choice where it made one; nothing else can have made it. */
static ddpm_status add_engine(const ddpm_ctx *ctx, settings *s)
{
    static const char *const names[] = { "threads", "device", "precision", "max_isa" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char text[OPTION_TEXT_SIZE];
        if (settings_origin(&ctx->s, names[i]) == ORIGIN_DEFAULT) continue;
        options_print(settings_options, &ctx->s.v, options_find(settings_options, names[i]), text);
        DDPM_TRY(settings_set(s, names[i], text, ORIGIN_COMMAND_LINE));
    }
    return DDPM_OK;
}

ddpm_status lib_request(const ddpm_ctx *ctx, const char *command, const ddpm_options *o, settings **request)
{
    *request = NULL;
    if (o && strcmp(o->command->name, command))
        return ddpm_fail(DDPM_EINVAL, "options of \"%s\" are given where those of \"%s\" belong", o->command->name, command);
    settings *s = malloc(sizeof *s);
    if (!s) return ddpm_fail(DDPM_ENOMEM, "no memory for settings");
    if (o) *s = o->s;
    else settings_defaults(s);
    ddpm_status status = add_engine(ctx, s);
    if (status == DDPM_OK) status = settings_sources(s);
    if (status != DDPM_OK) {
        free(s);
        return status;
    }
    *request = s;
    return DDPM_OK;
}
