#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char SET[] = "--set";

bool words_have(int argc, char *const *argv, const char *const *names)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--"); i++)
        for (const char *const *name = names; *name; name++)
            if (!strcmp(argv[i], *name)) return true;
    return false;
}

/* The pair behind a --set, or NULL; *used receives the words it takes. */
static const char *set_pair(int argc, char *const *argv, int i, int *used)
{
    const size_t n = sizeof SET - 1;
    *used = 1;
    if (!strncmp(argv[i], SET, n) && argv[i][n] == '=') return argv[i] + n + 1;
    if (strcmp(argv[i], SET) || i + 1 >= argc) return NULL;
    *used = 2;
    return argv[i + 1];
}

const char **words_expand(int argc, char *const *argv, int *count)
{
    size_t text = 0;
    for (int i = 0; i < argc; i++) text += strlen(argv[i]) + 3;
    const char **words = malloc(((size_t)argc + 1) * sizeof *words + text);
    if (!words) return NULL;
    char *free_text = (char *)(words + argc + 1);
    bool options = true;
    *count = 0;
    for (int i = 0, used; i < argc; i += used) {
        if (!strcmp(argv[i], "--")) options = false;
        const char *pair = options ? set_pair(argc, argv, i, &used) : NULL;
        if (!pair) {
            used = 1;
            words[(*count)++] = argv[i];
            continue;
        }
        words[(*count)++] = free_text;
        free_text += sprintf(free_text, "--%s", pair) + 1;
    }
    return words;
}

static bool plain(const char *word)
{
    static const char SAFE[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,=+@%";
    return word[0] && !word[strspn(word, SAFE)];
}

char *words_line(int argc, char *const *argv)
{
    char *line = NULL;
    size_t size;
    FILE *f = open_memstream(&line, &size);
    if (!f) return NULL;
    for (int i = 0; i < argc; i++) {
        if (i) fputc(' ', f);
        if (plain(argv[i])) {
            fputs(argv[i], f);
            continue;
        }
        fputc('\'', f);
        for (const char *p = argv[i]; *p; p++) fputs(*p == '\'' ? "'\\''" : (char[2]){ *p, 0 }, f);
        fputc('\'', f);
    }
    fclose(f);
    return line;
}
