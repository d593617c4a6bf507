/* Which known name a mistyped one was meant to be. */
#include <string.h>

#include "base/options_value.h"

static int least(int a, int b) { return a < b ? a : b; }

static char plain(char c) { return c == '-' ? '_' : c; }

/* Insertions, deletions, replacements and swaps of neighbours that turn `a` into
 * `b`, both shorter than OPTION_WORD_SIZE. */
static int edit_distance(const char *a, const char *b)
{
    const int na = (int)strlen(a), nb = (int)strlen(b);
    int d[OPTION_WORD_SIZE + 1][OPTION_WORD_SIZE + 1];
    for (int i = 0; i <= na; i++) d[i][0] = i;
    for (int j = 0; j <= nb; j++) d[0][j] = j;
    for (int i = 1; i <= na; i++)
        for (int j = 1; j <= nb; j++) {
            const bool equal = plain(a[i - 1]) == plain(b[j - 1]);
            int best = least(d[i - 1][j], d[i][j - 1]) + 1;
            best = least(best, d[i - 1][j - 1] + !equal);
            if (i > 1 && j > 1 && plain(a[i - 1]) == plain(b[j - 2]) && plain(a[i - 2]) == plain(b[j - 1]))
                best = least(best, d[i - 2][j - 2] + 1);
            d[i][j] = best;
        }
    return d[na][nb];
}

/* 0: equal; 1..: edits; from 100 on: one is the beginning of the other; -1: not near.
 * A third of the letters may be wrong before two words count as different. */
static int rank(const char *name, const char *candidate)
{
    const size_t n = strlen(name), m = strlen(candidate);
    if (n == 0 || n >= OPTION_WORD_SIZE || m >= OPTION_WORD_SIZE) return -1;
    const int distance = edit_distance(name, candidate);
    const int longer = (int)(n > m ? n : m);
    if (distance <= longer / 3 && distance < longer) return distance;
    const size_t common = n < m ? n : m;
    if (common < 3) return -1;
    for (size_t i = 0; i < common; i++)
        if (plain(name[i]) != plain(candidate[i])) return -1;
    return 100 + longer;
}

void option_offer(option_search *search, const char *candidate, const char *answer)
{
    const int r = rank(search->name, candidate);
    if (r < 0 || (search->best[0] && r >= search->rank)) return;
    search->rank = r;
    snprintf(search->best, sizeof search->best, "%s", answer);
}

const char *options_nearest(const option *table, unsigned groups, const char *name)
{
    option_search search = { .name = name };
    for (int i = 0; table[i].name; i++) {
        if (!(table[i].groups & groups)) continue;
        option_offer(&search, table[i].name, table[i].name);
        char word[OPTION_WORD_SIZE];
        for (int k = 0; option_word(table[i].alias, k, word); k++) option_offer(&search, word, table[i].name);
    }
    const int i = search.best[0] ? options_find_in(table, groups, search.best) : -1;
    return i >= 0 ? table[i].name : NULL;
}

const char *options_nearest_word(const char *const *words, const char *word)
{
    option_search search = { .name = word };
    for (int i = 0; words[i]; i++) option_offer(&search, words[i], words[i]);
    for (int i = 0; search.best[0] && words[i]; i++)
        if (strcmp(words[i], search.best) == 0) return words[i];
    return NULL;
}
