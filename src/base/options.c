#include "base/options.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

#include "base/options_value.h"

int options_count(const option *table)
{
    int n = 0;
    while (table[n].name) n++;
    return n;
}

static bool answers_to(const option *row, const char *name)
{
    if (option_same(row->name, name)) return true;
    char word[OPTION_WORD_SIZE];
    for (int i = 0; option_word(row->alias, i, word); i++)
        if (option_same(word, name)) return true;
    return false;
}

int options_find_in(const option *table, unsigned groups, const char *name)
{
    for (int i = 0; table[i].name; i++)
        if (table[i].groups & groups && answers_to(&table[i], name)) return i;
    return -1;
}

int options_find(const option *table, const char *name) { return options_find_in(table, ~0u, name); }

const char *options_choice(const option *row, int index, char word[OPTION_WORD_SIZE])
{
    option_word(row->choices, index, word);
    return word;
}

const char *options_origin_name(option_origin origin)
{
    static const char *const names[] = {
        "default", "checkpoint", "preset", "configuration", "environment", "command line",
    };
    return (unsigned)origin < sizeof names / sizeof *names ? names[origin] : "unknown";
}

static void environment_name(const option *row, char name[OPTION_WORD_SIZE + 5])
{
    int n = snprintf(name, OPTION_WORD_SIZE + 5, "DDPM_%s", row->name);
    for (int i = 0; i < n && name[i]; i++) name[i] = (char)toupper((unsigned char)name[i]);
}

static void label_of(const option *row, option_origin origin, char label[OPTION_WORD_SIZE + 5])
{
    if (origin == ORIGIN_ENVIRONMENT) environment_name(row, label);
    else snprintf(label, OPTION_WORD_SIZE + 5, "%s%s", origin == ORIGIN_COMMAND_LINE ? "--" : "", row->name);
}

void options_defaults(const option *table, void *settings, option_origin *origins)
{
    for (int i = 0; table[i].name; i++) {
        option_value value;
        const ddpm_status s = option_parse(&table[i], table[i].name, table[i].fallback ? table[i].fallback : "", &value);
        assert(s == DDPM_OK);
        (void)s;
        memcpy((char *)settings + table[i].offset, &value, option_size(table[i].type));
        origins[i] = ORIGIN_DEFAULT;
    }
}

ddpm_status options_set_row(const option *table, void *settings, option_origin *origins,
                            int i, const char *text, option_origin origin)
{
    const option *row = &table[i];
    char label[OPTION_WORD_SIZE + 5];
    label_of(row, origin, label);
    option_value value;
    DDPM_TRY(option_parse(row, label, text, &value));
    if (origins[i] > origin) return DDPM_OK;
    memcpy((char *)settings + row->offset, &value, option_size(row->type));
    origins[i] = origin;
    return DDPM_OK;
}

ddpm_status options_set(const option *table, void *settings, option_origin *origins,
                        const char *name, const char *text, option_origin origin)
{
    const int i = options_find(table, name);
    if (i >= 0) return options_set_row(table, settings, origins, i, text, origin);
    const char *near = options_nearest(table, ~0u, name);
    if (near) return ddpm_fail(DDPM_EINVAL, "unknown option %.100s; did you mean %s?", name, near);
    return ddpm_fail(DDPM_EINVAL, "unknown option %.100s; --help lists them", name);
}

void options_print(const option *table, const void *settings, int i, char text[OPTION_TEXT_SIZE])
{
    option_value value;
    memcpy(&value, (const char *)settings + table[i].offset, option_size(table[i].type));
    option_format(&table[i], &value, text);
}

ddpm_status options_environment(const option *table, unsigned groups, char *(*get)(const char *),
                                void *settings, option_origin *origins)
{
    for (int i = 0; table[i].name; i++) {
        if (!(table[i].groups & groups)) continue;
        char name[OPTION_WORD_SIZE + 5];
        environment_name(&table[i], name);
        const char *text = get(name);
        if (text && text[0])
            DDPM_TRY(options_set_row(table, settings, origins, i, text, ORIGIN_ENVIRONMENT));
    }
    return DDPM_OK;
}

const char *options_environment_misspelt(const option *table, char *const *environment, int *at, const char **meant)
{
    static const char prefix[] = "DDPM_";
    while (environment[*at]) {
        const char *entry = environment[(*at)++];
        char name[OPTION_WORD_SIZE] = "";
        const size_t length = strcspn(entry, "=");
        if (strncmp(entry, prefix, sizeof prefix - 1) || length - (sizeof prefix - 1) >= sizeof name) continue;
        for (size_t i = sizeof prefix - 1; i < length; i++) name[i - (sizeof prefix - 1)] = (char)tolower((unsigned char)entry[i]);
        if (options_find(table, name) >= 0) continue;
        *meant = options_nearest(table, ~0u, name);
        if (*meant) return entry;
    }
    return NULL;
}
