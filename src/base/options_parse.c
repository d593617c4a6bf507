#include <string.h>

#include "base/options_value.h"

/* The words still to read. */
typedef struct { int at, count; const char *const *words; } word_list;

static ddpm_status set(options_parser *p, int i, const char *text)
{
    return options_set_row(p->table, p->settings, p->origins, i, text, ORIGIN_COMMAND_LINE);
}

/* "train, plan": the commands that take row `i`. */
static void list_commands(const options_parser *p, int i, char list[256])
{
    list[0] = '\0';
    for (const option_command *c = p->commands; c && c->name; c++) {
        if (!(c->group & p->table[i].groups)) continue;
        const size_t used = strlen(list);
        snprintf(list + used, 256 - used, "%s%s", used ? ", " : "", c->name);
    }
}

/* Why `name` (with its dashes in `shown`) is no option here. */
static ddpm_status unknown(const options_parser *p, const char *shown, const char *name)
{
    const int elsewhere = options_find(p->table, name);
    if (elsewhere >= 0) {
        char list[256];
        list_commands(p, elsewhere, list);
        return ddpm_fail(DDPM_EINVAL, "%.100s is an option of %s, not of this command", shown,
                         list[0] ? list : "another command");
    }
    const char *near = options_nearest(p->table, p->groups, name);
    if (near) return ddpm_fail(DDPM_EINVAL, "unknown option %.100s; did you mean --%s?", shown, near);
    return ddpm_fail(DDPM_EINVAL, "unknown option %.100s; --help lists the options", shown);
}

/* The next word, unless it is plainly the next option. A negative number is a value. */
static const char *take_value(const options_parser *p, word_list *w)
{
    if (w->at >= w->count) return NULL;
    const char *word = w->words[w->at];
    if (strncmp(word, "--", 2) == 0) {
        char name[OPTION_WORD_SIZE];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
        if (!word[2] || options_find(p->table, name) >= 0) return NULL;
    }
    w->at++;
    return word;
}

static ddpm_status missing_value(const option *row, const char *shown)
{
    return ddpm_fail(DDPM_EINVAL, "%s needs a value: %s %s", shown, shown, option_meta(row));
}

static ddpm_status long_flag(options_parser *p, word_list *w, int i, const char *value)
{
    bool ignored;
    if (!value && w->at < w->count && option_boolean(w->words[w->at], &ignored)) value = w->words[w->at++];
    return set(p, i, value ? value : "true");
}

static ddpm_status long_option(options_parser *p, word_list *w, const char *word)
{
    const char *equals = strchr(word, '=');
    const int length = equals ? (int)(equals - word) : (int)strlen(word);
    char shown[OPTION_WORD_SIZE + 2];
    snprintf(shown, sizeof shown, "%.*s", length, word);
    const char *name = shown + 2, *value = equals ? equals + 1 : NULL;
    int i = options_find_in(p->table, p->groups, name);
    if (i < 0 && (strncmp(name, "no-", 3) == 0 || strncmp(name, "no_", 3) == 0)) {
        i = options_find_in(p->table, p->groups, name + 3);
        if (i < 0) return unknown(p, shown, name + 3);
        if (p->table[i].type != OPT_BOOL || value)
            return ddpm_fail(DDPM_EINVAL, "%s: only a flag can be switched off, and that takes no value", shown);
        return set(p, i, "false");
    }
    if (i < 0) return unknown(p, shown, name);
    if (p->table[i].type == OPT_BOOL) return long_flag(p, w, i, value);
    if (!value) value = take_value(p, w);
    return value ? set(p, i, value) : missing_value(&p->table[i], shown);
}

static int find_letter(const options_parser *p, unsigned groups, char letter)
{
    for (int i = 0; p->table[i].name; i++)
        if (p->table[i].groups & groups && p->table[i].letter == letter) return i;
    return -1;
}

static ddpm_status short_options(options_parser *p, word_list *w, const char *word)
{
    for (const char *c = word + 1; *c; c++) {
        const char shown[3] = { '-', *c, '\0' };
        const int i = find_letter(p, p->groups, *c);
        if (i < 0) {
            const int elsewhere = find_letter(p, ~0u, *c);
            return unknown(p, shown, elsewhere >= 0 ? p->table[elsewhere].name : "");
        }
        if (p->table[i].type == OPT_BOOL) {
            DDPM_TRY(set(p, i, "true"));
            continue;
        }
        const char *value = c[1] ? c + 1 : take_value(p, w);
        return value ? set(p, i, value) : missing_value(&p->table[i], shown);
    }
    return DDPM_OK;
}

static ddpm_status positional(options_parser *p, const char *word)
{
    if (p->positional_count >= p->max_positionals)
        return ddpm_fail(DDPM_EINVAL, "unexpected argument \"%.200s\"; the command takes %d besides options", word,
                         p->max_positionals);
    p->positionals[p->positional_count++] = word;
    return DDPM_OK;
}

ddpm_status options_parse(options_parser *p, int argc, const char *const *argv)
{
    word_list w = { .count = argc, .words = argv };
    p->positional_count = 0;
    bool only_positionals = false;
    while (w.at < w.count) {
        const char *word = w.words[w.at++];
        if (only_positionals || word[0] != '-' || !word[1]) DDPM_TRY(positional(p, word));
        else if (strcmp(word, "--") == 0) only_positionals = true;
        else if (word[1] == '-') DDPM_TRY(long_option(p, &w, word));
        else DDPM_TRY(short_options(p, &w, word));
    }
    return DDPM_OK;
}
