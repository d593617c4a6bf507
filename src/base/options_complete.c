/* Shell completions. A command's name may have two words ("data pack"): completion
 * offers the first, then the second. */
#include <string.h>

#include "base/options_value.h"

static int first_word(const char *name) { return (int)strcspn(name, " "); }

/* Whether an earlier command begins with the same word. */
static bool word_repeated(const option_command *commands, const option_command *c)
{
    for (const option_command *d = commands; d < c; d++)
        if (first_word(d->name) == first_word(c->name) &&
            strncmp(d->name, c->name, (size_t)first_word(c->name)) == 0) return true;
    return false;
}

static const char *second_word(const char *name)
{
    const char *space = strchr(name, ' ');
    return space ? space + 1 : NULL;
}

/* Help text inside single quotes: quotes and what `special` lists are left out or
 * escaped by a backslash. */
static void quoted(FILE *f, const char *text, const char *special)
{
    for (const char *p = text ? text : ""; *p; p++) {
        if (*p == '\'') continue;
        if (*p == '\n') { fputc(' ', f); continue; }
        if (strchr(special, *p)) fputc('\\', f);
        fputc(*p, f);
    }
}

static void choices(FILE *f, const option *row)
{
    char word[OPTION_WORD_SIZE];
    for (int i = 0; option_word(row->choices, i, word); i++) fprintf(f, "%s%s", i ? " " : "", word);
}

/* --- bash -------------------------------------------------------------------- */

static void bash_command(FILE *f, const option *table, const option_command *c)
{
    fprintf(f, "    \"%s \"*)\n        options=\"--help", c->name);
    for (const option *row = table; row->name; row++)
        if (row->groups & c->group) {
            fprintf(f, " --%s", row->name);
            if (row->type == OPT_BOOL) fprintf(f, " --no-%s", row->name);
        }
    fputs("\"\n        case $previous in\n", f);
    for (const option *row = table; row->name; row++)
        if (row->groups & c->group && row->type == OPT_CHOICE) {
            fprintf(f, "        --%s) values=\"", row->name);
            choices(f, row);
            fputs("\" ;;\n", f);
        }
    fputs("        esac ;;\n", f);
}

void options_complete_bash(FILE *f, const char *program, const option *table, const option_command *commands)
{
    fprintf(f, "# bash completion for %s\n_%s() {\n", program, program);
    fputs("    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    local options=\"\" values=\"\"\n    COMPREPLY=()\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W \"--help --version", f);
    for (const option_command *c = commands; c->name; c++)
        if (!word_repeated(commands, c)) fprintf(f, " %.*s", first_word(c->name), c->name);
    fputs("\" -- \"$current\"))\n        return\n    fi\n", f);
    for (const option_command *c = commands; c->name; c++)
        if (second_word(c->name))
            fprintf(f, "    if [ \"$COMP_CWORD\" -eq 2 ] && [ \"${COMP_WORDS[1]}\" = %.*s ]; then\n"
                       "        COMPREPLY+=($(compgen -W %s -- \"$current\"))\n    fi\n",
                    first_word(c->name), c->name, second_word(c->name));
    fputs("    case \"${COMP_WORDS[*]:1} \" in\n", f);
    for (const option_command *c = commands; c->name; c++) bash_command(f, table, c);
    fputs("    esac\n"
          "    if [ -n \"$values\" ]; then COMPREPLY=($(compgen -W \"$values\" -- \"$current\")); return; fi\n"
          "    case $current in\n"
          "    -*) COMPREPLY+=($(compgen -W \"$options\" -- \"$current\")) ;;\n"
          "    esac\n}\n", f);
    fprintf(f, "complete -o default -F _%s %s\n", program, program);
}

/* --- zsh --------------------------------------------------------------------- */

static void zsh_option(FILE *f, const option *row)
{
    fprintf(f, " \\\n            '--%s[", row->name);
    quoted(f, row->help, "[]:\\");
    fputc(']', f);
    if (row->type == OPT_CHOICE) {
        fprintf(f, ":%s:(", row->name);
        choices(f, row);
        fputc(')', f);
    } else if (row->type != OPT_BOOL) {
        fputc(':', f);
        quoted(f, option_meta(row), "[]:\\");
        fputs(row->type == OPT_STRING ? ":_files" : ":", f);
    }
    fputc('\'', f);
    if (row->type == OPT_BOOL) fprintf(f, " '--no-%s[not --%s]'", row->name, row->name);
}

static void zsh_command(FILE *f, const option *table, const option_command *c)
{
    fprintf(f, "    \"%s \"*)\n        shift %d words; (( CURRENT -= %d ))\n        _arguments '--help[show help]'",
            c->name, second_word(c->name) ? 2 : 1, second_word(c->name) ? 2 : 1);
    for (const option *row = table; row->name; row++)
        if (row->groups & c->group) zsh_option(f, row);
    fputs(" \\\n            '*:file:_files' ;;\n", f);
}

void options_complete_zsh(FILE *f, const char *program, const option *table, const option_command *commands)
{
    fprintf(f, "#compdef %s\n_%s() {\n    local -a commands\n    commands=(", program, program);
    for (const option_command *c = commands; c->name; c++) {
        if (word_repeated(commands, c)) continue;
        fprintf(f, "\n        '%.*s:", first_word(c->name), c->name);
        quoted(f, c->summary, ":\\");
        fputc('\'', f);
    }
    fputs(")\n    if (( CURRENT == 2 )); then _describe command commands; return; fi\n", f);
    for (const option_command *c = commands; c->name; c++)
        if (second_word(c->name))
            fprintf(f, "    if (( CURRENT == 3 )) && [[ ${words[2]} == %.*s ]]; then compadd %s; fi\n",
                    first_word(c->name), c->name, second_word(c->name));
    fputs("    case \"${words[2]} ${words[3]} \" in\n", f);
    for (const option_command *c = commands; c->name; c++) zsh_command(f, table, c);
    fprintf(f, "    esac\n}\n_%s \"$@\"\n", program);
}

/* --- fish -------------------------------------------------------------------- */

static void fish_condition(FILE *f, const char *program, const option_command *c)
{
    const char *second = second_word(c->name);
    fprintf(f, "complete -c %s -n '__fish_seen_subcommand_from %.*s", program, first_word(c->name), c->name);
    if (second) fprintf(f, "; and __fish_seen_subcommand_from %s", second);
    fputc('\'', f);
}

static void fish_option(FILE *f, const char *program, const option *row, const option_command *c)
{
    fish_condition(f, program, c);
    fprintf(f, " -l %s", row->name);
    if (row->letter) fprintf(f, " -s %c", row->letter);
    if (row->type == OPT_CHOICE) {
        fputs(" -x -a '", f);
        choices(f, row);
        fputc('\'', f);
    } else if (row->type != OPT_BOOL) {
        fputs(row->type == OPT_STRING ? " -r" : " -x", f);
    }
    fputs(" -d '", f);
    quoted(f, row->help, "\\");
    fputs("'\n", f);
    if (row->type != OPT_BOOL) return;
    fish_condition(f, program, c);
    fprintf(f, " -l no-%s -d 'not --%s'\n", row->name, row->name);
}

void options_complete_fish(FILE *f, const char *program, const option *table, const option_command *commands)
{
    fprintf(f, "# fish completion for %s\n", program);
    for (const option_command *c = commands; c->name; c++) {
        const char *second = second_word(c->name);
        fprintf(f, "complete -c %s -f -n '%s%.*s' -a %.*s -d '", program,
                second ? "__fish_seen_subcommand_from " : "__fish_use_subcommand", second ? first_word(c->name) : 0,
                c->name, second ? (int)strlen(second) : first_word(c->name), second ? second : c->name);
        quoted(f, c->summary, "\\");
        fputs("'\n", f);
        if (second && !word_repeated(commands, c))
            fprintf(f, "complete -c %s -f -n __fish_use_subcommand -a %.*s\n", program, first_word(c->name), c->name);
        for (const option *row = table; row->name; row++)
            if (row->groups & c->group) fish_option(f, program, row, c);
    }
}
