#include <ctype.h>
#include <string.h>

#include "base/options_value.h"

enum { WIDTH = 80, HELP_COLUMN = 28, DESCRIPTION_SIZE = 1536 };

/* "-n, --num_samples N" or "    --[no-]clip". */
static int write_left(const option *row, char *text, size_t size)
{
    const char *meta = option_meta(row);
    char letter[5] = "    ";
    if (row->letter) snprintf(letter, sizeof letter, "-%c, ", row->letter);
    return snprintf(text, size, "  %s--%s%s%s%s", letter, row->type == OPT_BOOL ? "[no-]" : "", row->name,
                    meta[0] ? " " : "", meta);
}

/* "The help sentence. One of a, b. Default: a. Also --x." */
static void describe(const option *row, char text[DESCRIPTION_SIZE])
{
    char word[OPTION_WORD_SIZE];
    size_t n = (size_t)snprintf(text, DESCRIPTION_SIZE, "%s", row->help ? row->help : "");
    if (n >= DESCRIPTION_SIZE) return;
    if (n > 0 && text[n - 1] != '.') n += (size_t)snprintf(text + n, DESCRIPTION_SIZE - n, ".");
    for (int i = 0; option_word(row->choices, i, word) && n < DESCRIPTION_SIZE; i++)
        n += (size_t)snprintf(text + n, DESCRIPTION_SIZE - n, "%s%s", i ? ", " : " One of ", word);
    if (row->choices && n < DESCRIPTION_SIZE) n += (size_t)snprintf(text + n, DESCRIPTION_SIZE - n, ".");
    if (row->fallback && row->fallback[0] && n < DESCRIPTION_SIZE)
        n += (size_t)snprintf(text + n, DESCRIPTION_SIZE - n, " Default: %s.", row->fallback);
    for (int i = 0; option_word(row->alias, i, word) && n < DESCRIPTION_SIZE; i++)
        n += (size_t)snprintf(text + n, DESCRIPTION_SIZE - n, "%s--%s", i ? ", " : " Also ", word);
    if (row->alias && n < DESCRIPTION_SIZE) snprintf(text + n, DESCRIPTION_SIZE - n, ".");
}

/* Print `text` from `column` on, going to the next line at `indent` before WIDTH. */
static void wrap(FILE *f, const char *text, int column, int indent)
{
    bool first = true;
    for (const char *p = text; *p; ) {
        const int length = (int)strcspn(p, " ");
        if (!first && column + 1 + length > WIDTH) {
            fprintf(f, "\n%*s", indent, "");
            column = indent;
            first = true;
        }
        fprintf(f, "%s%.*s", first ? "" : " ", length, p);
        column += length + !first;
        first = false;
        p += length;
        p += strspn(p, " ");
    }
    fputc('\n', f);
}

void options_help(FILE *f, const option *table, unsigned groups)
{
    for (const option *row = table; row->name; row++) {
        if (!(row->groups & groups)) continue;
        char left[WIDTH * 2], right[DESCRIPTION_SIZE];
        const int n = write_left(row, left, sizeof left);
        describe(row, right);
        fputs(left, f);
        if (n + 2 > HELP_COLUMN) fprintf(f, "\n%*s", HELP_COLUMN, "");
        else fprintf(f, "%*s", HELP_COLUMN - n, "");
        wrap(f, right, HELP_COLUMN, HELP_COLUMN);
    }
}

/* Text for roff: backslashes and dashes escaped, no line a request, a blank line
 * a new paragraph. */
static void roff(FILE *f, const char *text)
{
    bool line_start = true;
    for (const char *p = text; *p; p++) {
        if (*p == '\n' && p[1] == '\n') {
            fputs("\n.PP", f);
            continue;
        }
        if (line_start && (*p == '.' || *p == '\'')) fputs("\\&", f);
        if (*p == '\\') fputs("\\e", f);
        else if (*p == '-') fputs("\\-", f);
        else fputc(*p, f);
        line_start = *p == '\n';
    }
}

static void roff_line(FILE *f, const char *before, const char *text)
{
    fputs(before, f);
    roff(f, text);
    fputc('\n', f);
}

static void man_options(FILE *f, const option *table, unsigned groups)
{
    for (const option *row = table; row->name; row++) {
        if (!(row->groups & groups)) continue;
        char left[WIDTH * 2], right[DESCRIPTION_SIZE];
        write_left(row, left, sizeof left);
        describe(row, right);
        fputs(".TP\n.B ", f);
        roff_line(f, "", left + strspn(left, " "));
        roff_line(f, "", right);
    }
}

/* "ddpm-data-pack" for the command "data pack". */
static void man_page_name(const char *program, const char *command, char name[128])
{
    snprintf(name, 128, "%s%s%s", program, command ? "-" : "", command ? command : "");
    for (char *p = name; *p; p++) if (*p == ' ') *p = '-';
}

static void man_title(FILE *f, const char *program, const char *version, const option_command *command)
{
    char name[128];
    man_page_name(program, command ? command->name : NULL, name);
    fputs(".TH \"", f);
    for (const char *p = name; *p; p++) fputc(toupper((unsigned char)*p), f);
    fprintf(f, "\" 1 \"\" \"%s %s\" \"User Commands\"\n.SH NAME\n", program, version);
    roff(f, name);
}

static void man_commands(FILE *f, const char *program, const option_command *commands)
{
    fputs(".SH COMMANDS\n", f);
    for (const option_command *c = commands; c->name; c++) {
        char name[128];
        man_page_name(program, c->name, name);
        roff_line(f, ".TP\n.B ", c->name);
        roff(f, c->summary);
        roff_line(f, "; see ", name);
    }
}

void options_man(FILE *f, const char *program, const char *version, const option *table,
                 const option_command *commands, const option_command *command)
{
    man_title(f, program, version, command);
    roff_line(f, " \\- ", command ? command->summary : "diffusion models for images");
    fprintf(f, ".SH SYNOPSIS\n.B ");
    roff(f, program);
    if (command) {
        fputc(' ', f);
        roff(f, command->name);
    }
    roff_line(f, " ", command ? command->synopsis : "COMMAND [OPTION]...");
    if (command && command->details) roff_line(f, ".SH DESCRIPTION\n", command->details);
    if (!command) {
        man_commands(f, program, commands);
    } else {
        fputs(".SH OPTIONS\nOptions spelt with _ or \\- are the same.\n", f);
        man_options(f, table, command->group);
    }
    fputs(".SH ENVIRONMENT\nEvery option can be set as DDPM_NAME, its name in capitals. The command line\n"
          "wins over the environment, the environment over a configuration file.\n"
          ".SH EXIT STATUS\n0 success, 1 failure, 2 wrong use, 65 damaged input, 74 input or output error,\n"
          "75 interrupted or busy: run the same command again.\n", f);
}
