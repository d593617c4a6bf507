/* options.h - the typed option table everything about settings comes from.
 *
 * A caller describes its settings struct once, as a constant array of `option`
 * rows ended by a NULL name. The command line, configuration keys, environment,
 * help, man page, completions and schema are all read from that array, so an
 * option costs one row.
 *
 * Storage of a value at settings + offset, by type:
 *   OPT_BOOL bool; OPT_INT, OPT_CHOICE int; OPT_I64 int64_t; OPT_REAL double;
 *   OPT_STRING char[OPTION_STRING_SIZE]; OPT_INT_LIST int_list; OPT_REAL_LIST real_list.
 *
 * Names are written with '_' and without dashes ("batch_size"); everywhere a name
 * is read, '-' equals '_'. Settings and origins belong to the caller; nothing here
 * allocates or keeps state. All failures are DDPM_EINVAL with a sentence. */
#ifndef DDPM_BASE_OPTIONS_H
#define DDPM_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

typedef enum {
    OPT_BOOL, OPT_INT, OPT_I64, OPT_REAL, OPT_STRING, OPT_CHOICE, OPT_INT_LIST, OPT_REAL_LIST
} option_type;

/* Where a value came from, weakest first. */
typedef enum {
    ORIGIN_DEFAULT, ORIGIN_CHECKPOINT, ORIGIN_PRESET, ORIGIN_CONFIG, ORIGIN_ENVIRONMENT,
    ORIGIN_COMMAND_LINE
} option_origin;

enum { OPTION_STRING_SIZE = 512, OPTION_LIST_MAX = 16, OPTION_TEXT_SIZE = 640, OPTION_WORD_SIZE = 64 };

typedef struct { int n; int v[OPTION_LIST_MAX]; } int_list;
typedef struct { int n; double v[OPTION_LIST_MAX]; } real_list;

typedef struct option {
    const char *name;      /* "batch_size"; NULL ends the table                      */
    const char *alias;     /* other accepted spellings, "a|b", or NULL               */
    char        letter;    /* short form ('n' for -n), or 0                          */
    option_type type;
    size_t      offset;    /* of the value in the settings struct                    */
    const char *fallback;  /* default, as text                                       */
    double      min, max;  /* of numbers and list elements; min == max: no limit     */
    const char *choices;   /* OPT_CHOICE: "a|b|c", stored as index; otherwise NULL   */
    unsigned    groups;    /* bits: which commands accept and show it                */
    const char *meta;      /* value's name in help, "N"; NULL: made from the type    */
    const char *help;      /* one sentence                                           */
} option;

/* A command, for help, man page and completion; NULL name ends the array. `name`
 * is one word or two ("data pack"); `synopsis` is what follows it ("DATA OUT");
 * `details` (may be NULL) are paragraphs separated by blank lines. */
typedef struct {
    const char *name, *synopsis, *summary, *details;
    unsigned group;        /* bit that its options carry in `groups`                 */
} option_command;

/* --- values ------------------------------------------------------------- */

int options_count(const option *table);

/* Index of the first row called `name` (or one of its aliases), among all rows or
 * among those in `groups`; -1 if there is none. Two rows may share a name if their
 * groups are disjoint ("steps" of train and of sample). */
int options_find(const option *table, const char *name);
int options_find_in(const option *table, unsigned groups, const char *name);

/* Fill `settings` from the fallbacks and `origins` (one per row) with
 * ORIGIN_DEFAULT. A fallback that does not parse is a programmer's error. */
void options_defaults(const option *table, void *settings, option_origin *origins);

/* Parse and check `text` and store it under `name`, unless the stored value has
 * a stronger origin: then the text is still checked, the value stays. */
ddpm_status options_set(const option *table, void *settings, option_origin *origins,
                        const char *name, const char *text, option_origin origin);

/* The same for row `i`, where a name would be ambiguous. */
ddpm_status options_set_row(const option *table, void *settings, option_origin *origins,
                            int i, const char *text, option_origin origin);

/* The value of row `i` as text that options_set reads back to the same value. */
void options_print(const option *table, const void *settings, int i, char text[OPTION_TEXT_SIZE]);

/* The word of a choice's index, copied into `word`; "" outside. Returns `word`. */
const char *options_choice(const option *row, int index, char word[OPTION_WORD_SIZE]);

/* "default", "checkpoint", ..., "command line". */
const char *options_origin_name(option_origin origin);

/* Apply DDPM_<NAME> of every row in `groups` with ORIGIN_ENVIRONMENT. `get` is
 * getenv or a test's stand-in. An empty value counts as unset. */
ddpm_status options_environment(const option *table, unsigned groups, char *(*get)(const char *),
                                void *settings, option_origin *origins);

/* The first of the NAME=value strings environment[*at], .. (ended by NULL) that begins with DDPM_ and is no row's but is spelt nearly
 * like one, whose name *meant receives; *at becomes the place behind it. NULL: there is none. */
const char *options_environment_misspelt(const option *table, char *const *environment, int *at, const char **meant);

/* --- command line ---------------------------------------------------------- */

/* What options_parse is given beside the words. */
typedef struct {
    const option *table;
    unsigned groups;                 /* the command's bits                            */
    const option_command *commands;  /* to name the command an option belongs to; or NULL */
    void *settings;
    option_origin *origins;
    const char **positionals;        /* room for max_positionals                      */
    int max_positionals, positional_count;
} options_parser;

/* Read argv[0..argc-1] (program and command name already removed) GNU style:
 * --name value, --name=value, -n 8, -n8, -abc for flags, --flag, --no-flag, and
 * `--` ends options. A flag takes the next word as its value only if that word is
 * a boolean word. Unknown option, one of another command, a missing or wrong value
 * or too many positionals: DDPM_EINVAL. */
ddpm_status options_parse(options_parser *p, int argc, const char *const *argv);

/* The name in `table` (rows of `groups`) nearest to `name` by edit distance or,
 * failing that, by a shared beginning; NULL when nothing is near. */
const char *options_nearest(const option *table, unsigned groups, const char *name);

/* The same over a NULL-ended array of words (commands, presets, keys). */
const char *options_nearest_word(const char *const *words, const char *word);

/* --- what the table tells the outside ---------------------------------------- */

/* Help of the rows in `groups`, wrapped at 80 columns. */
void options_help(FILE *f, const option *table, unsigned groups);

/* roff man page of one command (`command` non-NULL), or of the program with
 * every command when it is NULL. */
void options_man(FILE *f, const char *program, const char *version, const option *table,
                 const option_command *commands, const option_command *command);

void options_complete_bash(FILE *f, const char *program, const option *table, const option_command *commands);
void options_complete_zsh(FILE *f, const char *program, const option *table, const option_command *commands);
void options_complete_fish(FILE *f, const char *program, const option *table, const option_command *commands);

/* JSON Schema of a configuration file made of the rows in `groups`. */
void options_schema(FILE *f, const char *title, const option *table, unsigned groups);

#endif
