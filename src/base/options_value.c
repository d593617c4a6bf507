#include "base/options_value.h"

#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { NUMBER_SIZE = 32 };

bool option_word(const char *words, int index, char word[OPTION_WORD_SIZE])
{
    word[0] = '\0';
    if (!words || index < 0) return false;
    for (; index > 0; index--) {
        words = strchr(words, '|');
        if (!words) return false;
        words++;
    }
    snprintf(word, OPTION_WORD_SIZE, "%.*s", (int)strcspn(words, "|"), words);
    return true;
}

bool option_same(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if (*a != *b && !((*a == '-' || *a == '_') && (*b == '-' || *b == '_'))) return false;
    return *a == *b;
}

size_t option_size(option_type type)
{
    switch (type) {
    case OPT_BOOL: return sizeof(bool);
    case OPT_INT: case OPT_CHOICE: return sizeof(int);
    case OPT_I64: return sizeof(int64_t);
    case OPT_REAL: return sizeof(double);
    case OPT_STRING: return OPTION_STRING_SIZE;
    case OPT_INT_LIST: return sizeof(int_list);
    case OPT_REAL_LIST: return sizeof(real_list);
    }
    return 0;
}

const char *option_meta(const option *row)
{
    if (row->meta) return row->meta;
    switch (row->type) {
    case OPT_BOOL: return "";
    case OPT_INT: case OPT_I64: return "N";
    case OPT_REAL: return "X";
    case OPT_STRING: return "TEXT";
    case OPT_CHOICE: return "WORD";
    case OPT_INT_LIST: return "N,...";
    case OPT_REAL_LIST: return "X,...";
    }
    return "";
}

bool option_boolean(const char *word, bool *value)
{
    static const char *const no_yes[][2] = {
        { "false", "true" }, { "no", "yes" }, { "f", "t" }, { "n", "y" }, { "0", "1" },
    };
    for (size_t i = 0; i < sizeof no_yes / sizeof *no_yes; i++)
        for (int v = 0; v < 2; v++)
            if (strcasecmp(word, no_yes[i][v]) == 0) {
                *value = v;
                return true;
            }
    return false;
}

/* Numbers are spelt with a point whatever locale the program has set. */
static double read_real(const char *text, char **end)
{
    const locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    const locale_t before = uselocale(c);
    const double v = strtod(text, end);
    uselocale(before);
    freelocale(c);
    return v;
}

/* The shortest of 15 to 17 digits that reads back to `v`. */
static void write_real(double v, char text[NUMBER_SIZE])
{
    const locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    const locale_t before = uselocale(c);
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, NUMBER_SIZE, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    uselocale(before);
    freelocale(c);
}

static bool limited(const option *row) { return row->min != row->max; }

static ddpm_status out_of_range(const option *row, const char *label, const char *text)
{
    char low[NUMBER_SIZE], high[NUMBER_SIZE];
    write_real(row->min, low);
    write_real(row->max, high);
    if (!limited(row)) return ddpm_fail(DDPM_EINVAL, "%s: %.100s is out of range", label, text);
    if (row->max >= INT_MAX) return ddpm_fail(DDPM_EINVAL, "%s: %.100s is out of range; give %s or more", label, text, low);
    return ddpm_fail(DDPM_EINVAL, "%s: %.100s is out of range; give %s to %s", label, text, low, high);
}

/* Nothing but blanks may follow the number that ended at `end`. */
static bool complete(const char *text, const char *end)
{
    if (end == text) return false;
    return end[strspn(end, " \t")] == '\0';
}

static ddpm_status parse_integer(const option *row, const char *label, const char *text, long long low,
                                 long long high, long long *value)
{
    char *end;
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    if (!complete(text, end))
        return ddpm_fail(DDPM_EINVAL, "%s: \"%.100s\" is not a whole number", label, text);
    if (errno == ERANGE || v < low || v > high) return out_of_range(row, label, text);
    if (limited(row) && ((double)v < row->min || (double)v > row->max)) return out_of_range(row, label, text);
    *value = v;
    return DDPM_OK;
}

static ddpm_status parse_int(const option *row, const char *label, const char *text, int *value)
{
    long long v;
    DDPM_TRY(parse_integer(row, label, text, INT_MIN, INT_MAX, &v));
    *value = (int)v;
    return DDPM_OK;
}

static ddpm_status parse_real(const option *row, const char *label, const char *text, double *value)
{
    char *end;
    const double v = read_real(text, &end);
    if (!complete(text, end) || isnan(v))
        return ddpm_fail(DDPM_EINVAL, "%s: \"%.100s\" is not a number", label, text);
    if (isinf(v) || (limited(row) && (v < row->min || v > row->max))) return out_of_range(row, label, text);
    *value = v;
    return DDPM_OK;
}

static ddpm_status parse_choice(const option *row, const char *label, const char *text, int *value)
{
    char word[OPTION_WORD_SIZE], list[512] = "";
    option_search search = { .name = text };
    for (int i = 0; option_word(row->choices, i, word); i++) {
        if (option_same(word, text)) {
            *value = i;
            return DDPM_OK;
        }
        option_offer(&search, word, word);
        const size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", word);
    }
    if (search.best[0])
        return ddpm_fail(DDPM_EINVAL, "%s: unknown word \"%.100s\"; did you mean %s? (choices: %s)", label, text,
                         search.best, list);
    return ddpm_fail(DDPM_EINVAL, "%s: unknown word \"%.100s\"; choose from %s", label, text, list);
}

static ddpm_status parse_string(const char *label, const char *text, char *value)
{
    const size_t n = strlen(text);
    if (n >= OPTION_STRING_SIZE)
        return ddpm_fail(DDPM_EINVAL, "%s: %zu bytes are too many; the limit is %d", label, n, OPTION_STRING_SIZE - 1);
    memcpy(value, text, n + 1);
    return DDPM_OK;
}

/* Numbers separated by commas; blanks around them are fine, an empty text is an
 * empty list. */
static ddpm_status parse_list(const option *row, const char *label, const char *text, option_value *value)
{
    int n = 0;
    const char *p = text + strspn(text, " \t");
    for (bool more = *p; more; n++) {
        const size_t length = strcspn(p, ",");
        char item[NUMBER_SIZE * 2];
        if (n == OPTION_LIST_MAX)
            return ddpm_fail(DDPM_EINVAL, "%s: more than %d numbers in the list", label, OPTION_LIST_MAX);
        if (length >= sizeof item)
            return ddpm_fail(DDPM_EINVAL, "%s: \"%.100s\" is not a number", label, p);
        snprintf(item, sizeof item, "%.*s", (int)length, p);
        if (row->type == OPT_INT_LIST)
            DDPM_TRY(parse_int(row, label, item, &value->ints.v[n]));
        else
            DDPM_TRY(parse_real(row, label, item, &value->reals.v[n]));
        more = p[length] == ',';
        p += length + 1;
    }
    if (row->type == OPT_INT_LIST) value->ints.n = n;
    else value->reals.n = n;
    return DDPM_OK;
}

ddpm_status option_parse(const option *row, const char *label, const char *text, option_value *value)
{
    memset(value, 0, sizeof *value);
    long long wide = 0;
    switch (row->type) {
    case OPT_BOOL:
        if (option_boolean(text, &value->flag)) return DDPM_OK;
        return ddpm_fail(DDPM_EINVAL, "%s: \"%.100s\" is neither true nor false", label, text);
    case OPT_INT:    return parse_int(row, label, text, &value->number);
    case OPT_I64:
        DDPM_TRY(parse_integer(row, label, text, LLONG_MIN, LLONG_MAX, &wide));
        value->wide = wide;
        return DDPM_OK;
    case OPT_REAL:   return parse_real(row, label, text, &value->real);
    case OPT_CHOICE: return parse_choice(row, label, text, &value->number);
    case OPT_STRING: return parse_string(label, text, value->text);
    case OPT_INT_LIST: case OPT_REAL_LIST: return parse_list(row, label, text, value);
    }
    return ddpm_fail(DDPM_EINVAL, "%s: unknown type of option", label);
}

static void format_list(const option *row, const option_value *value, char text[OPTION_TEXT_SIZE])
{
    const int n = row->type == OPT_INT_LIST ? value->ints.n : value->reals.n;
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < n; i++) {
        char item[NUMBER_SIZE];
        if (row->type == OPT_INT_LIST) snprintf(item, sizeof item, "%d", value->ints.v[i]);
        else write_real(value->reals.v[i], item);
        used += (size_t)snprintf(text + used, OPTION_TEXT_SIZE - used, "%s%s", i ? "," : "", item);
    }
}

void option_format(const option *row, const option_value *value, char text[OPTION_TEXT_SIZE])
{
    char word[OPTION_WORD_SIZE];
    switch (row->type) {
    case OPT_BOOL:   snprintf(text, OPTION_TEXT_SIZE, "%s", value->flag ? "true" : "false"); break;
    case OPT_INT:    snprintf(text, OPTION_TEXT_SIZE, "%d", value->number); break;
    case OPT_I64:    snprintf(text, OPTION_TEXT_SIZE, "%lld", (long long)value->wide); break;
    case OPT_REAL:   write_real(value->real, text); break;
    case OPT_STRING: snprintf(text, OPTION_TEXT_SIZE, "%s", value->text); break;
    case OPT_CHOICE: snprintf(text, OPTION_TEXT_SIZE, "%s", options_choice(row, value->number, word)); break;
    case OPT_INT_LIST: case OPT_REAL_LIST: format_list(row, value, text); break;
    }
}
