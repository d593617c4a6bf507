/* options_value.h - one option's value by itself: text to value and back, names.
 * Inside base/ only; callers use options.h. */
#ifndef DDPM_BASE_OPTIONS_VALUE_H
#define DDPM_BASE_OPTIONS_VALUE_H

#include "base/options.h"

typedef union {
    bool flag;
    int number;
    int64_t wide;
    double real;
    char text[OPTION_STRING_SIZE];
    int_list ints;
    real_list reals;
} option_value;

/* Parse and check `text`; `label` names the option in the failure's sentence. */
ddpm_status option_parse(const option *row, const char *label, const char *text, option_value *value);

/* The value as text that option_parse reads back to the same value. */
void option_format(const option *row, const option_value *value, char text[OPTION_TEXT_SIZE]);

/* Bytes a value of this type takes in the settings struct. */
size_t option_size(option_type type);

/* Whether `word` is one of the words a flag accepts; its meaning in `value`. */
bool option_boolean(const char *word, bool *value);

/* Word number `index` of the '|'-separated `words`, copied into `word`; false and
 * "" past the end. */
bool option_word(const char *words, int index, char word[OPTION_WORD_SIZE]);

/* Whether two spellings name the same thing ('-' equals '_'). */
bool option_same(const char *a, const char *b);

/* Name of the value in help: meta, or one made from the type; "" for flags. */
const char *option_meta(const option *row);

/* Candidates are offered one by one; `best` is the nearest so far, "" if none. */
typedef struct { const char *name; char best[OPTION_WORD_SIZE]; int rank; } option_search;
void option_offer(option_search *search, const char *candidate, const char *answer);

#endif
