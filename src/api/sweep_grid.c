#include "api/sweep_grid.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char BLANKS[] = " \t\n";

/* Options that can be keys, for sentences. */
static void list_keys(char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; settings_options[i].name && used < size; i++)
        if (settings_options[i].groups & GROUP_SWEPT) used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", settings_options[i].name);
}

static ddpm_status unknown_key(const char *name)
{
    char all[512];
    list_keys(all, sizeof all);
    if (options_find(settings_options, name) >= 0)
        return ddpm_fail(DDPM_EINVAL, "--sweep: %.100s is not an option of how images are drawn, or is the same for all; those that can be swept are %s", name, all);
    const char *near = options_nearest(settings_options, GROUP_SWEPT, name);
    if (near) return ddpm_fail(DDPM_EINVAL, "--sweep: there is no sampling option %.100s; did you mean %s?", name, near);
    return ddpm_fail(DDPM_EINVAL, "--sweep: there is no sampling option %.100s; those that can be swept are %s", name, all);
}

static ddpm_status find_key(const sweep_grid *g, const char *name, const settings *request, int *row)
{
    *row = options_find_in(settings_options, GROUP_SWEPT, name);
    if (*row < 0) return unknown_key(name);
    for (int k = 0; k < g->keys; k++)
        if (g->key[k].row == *row) return ddpm_fail(DDPM_EINVAL, "--sweep: %s is given twice; write all its values after one %s=", name, name);
    if (request->origins[*row] == ORIGIN_COMMAND_LINE)
        return ddpm_fail(DDPM_EINVAL, "--sweep gives values of %s, and so does --%s; leave one of them out", name, name);
    return DDPM_OK;
}

/* One value, in the spelling that equal values share. */
static ddpm_status add_value(sweep_key *key, const char *text, settings *scratch)
{
    const option *o = &settings_options[key->row];
    char printed[OPTION_TEXT_SIZE];
    if (!text[0]) return ddpm_fail(DDPM_EINVAL, "--sweep: %s has an empty value; write %s=V,V with no blanks around the commas; V;V where a value has commas itself", o->name, o->name);
    const ddpm_status status = options_set_row(settings_options, &scratch->v, scratch->origins, key->row, text, ORIGIN_COMMAND_LINE);
    if (status != DDPM_OK) return ddpm_context(status, "--sweep: ");
    options_print(settings_options, &scratch->v, key->row, printed);
    if (strlen(printed) >= SWEEP_VALUE_SIZE) return ddpm_fail(DDPM_EINVAL, "--sweep: the value %.40s... of %s is too long", printed, o->name);
    for (int i = 0; i < key->count; i++)
        if (!strcmp(key->value[i], printed)) return ddpm_fail(DDPM_EINVAL, "--sweep: %s has the value %s twice", o->name, printed);
    if (key->count == SWEEP_MAX_VALUES) return ddpm_fail(DDPM_EINVAL, "--sweep: %s has more than %d values", o->name, SWEEP_MAX_VALUES);
    snprintf(key->value[key->count++], SWEEP_VALUE_SIZE, "%s", printed);
    return DDPM_OK;
}

/* "V,V", which is written to, or "V;V" where values are lists themselves; of a single list the ; behind it says so. */
static ddpm_status add_values(sweep_key *key, char *values, settings *scratch)
{
    const char *between = strchr(values, ';') ? ";" : ",";
    const size_t len = strlen(values);
    if (len > 1 && values[len - 1] == ';') values[len - 1] = 0;
    for (char *value; (value = strsep(&values, between)); ) DDPM_TRY(add_value(key, value, scratch));
    return DDPM_OK;
}

/* A word KEY=V,V, which is written to. */
static ddpm_status add_key(sweep_grid *g, char *word, const settings *request, settings *scratch)
{
    char *values = strchr(word, '=');
    if (!values || values == word) return ddpm_fail(DDPM_EINVAL, "--sweep: \"%.100s\" has no KEY=; write \"steps=10,20 eta=0,1\", with blanks only between keys", word);
    *values++ = 0;
    if (g->keys == SWEEP_MAX_KEYS) return ddpm_fail(DDPM_EINVAL, "--sweep: more than %d keys", SWEEP_MAX_KEYS);
    sweep_key *key = &g->key[g->keys];
    *key = (sweep_key){ 0 };
    DDPM_TRY(find_key(g, word, request, &key->row));
    DDPM_TRY(add_values(key, values, scratch));
    g->keys++;
    g->cells *= key->count;
    return g->cells <= SWEEP_MAX_CELLS ? DDPM_OK : ddpm_fail(DDPM_EINVAL, "--sweep: more than %d combinations", SWEEP_MAX_CELLS);
}

ddpm_status sweep_grid_parse(const char *text, const settings *request, sweep_grid *g)
{
    char words[OPTION_STRING_SIZE], *rest = NULL;
    settings *scratch = malloc(sizeof *scratch);
    if (!scratch) return ddpm_fail(DDPM_ENOMEM, "no memory for the combinations of a sweep");
    settings_defaults(scratch);
    snprintf(words, sizeof words, "%s", text);
    *g = (sweep_grid){ .cells = 1 };
    ddpm_status status = DDPM_OK;
    for (char *word = strtok_r(words, BLANKS, &rest); word && status == DDPM_OK; word = strtok_r(NULL, BLANKS, &rest)) status = add_key(g, word, request, scratch);
    free(scratch);
    if (status == DDPM_OK && !g->keys) return ddpm_fail(DDPM_EINVAL, "--sweep is empty; write \"steps=10,20 eta=0,1\"");
    return status;
}

const char *sweep_key_name(const sweep_grid *g, int key) { return settings_options[g->key[key].row].name; }

int sweep_place(const sweep_grid *g, int cell, int key)
{
    for (int k = g->keys - 1; k > key; k--) cell /= g->key[k].count;
    return cell % g->key[key].count;
}

const char *sweep_value(const sweep_grid *g, int cell, int key) { return g->key[key].value[sweep_place(g, cell, key)]; }

ddpm_status sweep_apply(const sweep_grid *g, int cell, settings *s)
{
    for (int k = 0; k < g->keys; k++)
        DDPM_TRY(options_set_row(settings_options, &s->v, s->origins, g->key[k].row, sweep_value(g, cell, k), ORIGIN_COMMAND_LINE));
    return DDPM_OK;
}

void sweep_describe(const sweep_grid *g, int cell, int first, int end, char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (int k = first; k < end && used < size; k++)
        used += (size_t)snprintf(text + used, size - used, "%s%s %s", used ? ", " : "", sweep_key_name(g, k), sweep_value(g, cell, k));
}

bool sweep_numeric(const sweep_grid *g, int key)
{
    for (int i = 0; i < g->key[key].count; i++) {
        char *end;
        const double x = strtod(g->key[key].value[i], &end);
        if (*end || !isfinite(x)) return false;
    }
    return true;
}
