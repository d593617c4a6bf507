/* words.h - the words of the command line before they become options. */
#ifndef DDPM_CLI_WORDS_H
#define DDPM_CLI_WORDS_H

#include <stdbool.h>

/* Is one of `names` (NULL-ended) among the words, before a "--"? */
bool words_have(int argc, char *const *argv, const char *const *names);

/* The words with every "--set key=value" and "--set=key=value" as "--key=value". A malloc'ed array of
 * *count pointers, of which the new words are kept in the same block. NULL: out of memory. */
const char **words_expand(int argc, char *const *argv, int *count);

/* One line that a shell reads back to the same words; malloc'ed, NULL: out of memory. */
char *words_line(int argc, char *const *argv);

#endif
