#include <string.h>

#include "base/options_value.h"

static void json_string(FILE *f, const char *text)
{
    fputc('"', f);
    for (const unsigned char *p = (const unsigned char *)(text ? text : ""); *p; p++) {
        if (*p == '"' || *p == '\\') fprintf(f, "\\%c", *p);
        else if (*p < 0x20) fprintf(f, "\\u%04x", *p);
        else fputc(*p, f);
    }
    fputc('"', f);
}

static const char *json_type(option_type type)
{
    switch (type) {
    case OPT_BOOL: return "boolean";
    case OPT_INT: case OPT_I64: return "integer";
    case OPT_REAL: return "number";
    case OPT_STRING: case OPT_CHOICE: return "string";
    case OPT_INT_LIST: case OPT_REAL_LIST: return "array";
    }
    return "string";
}

static void json_default(FILE *f, const option *row)
{
    option_value value;
    char text[OPTION_TEXT_SIZE];
    if (option_parse(row, row->name, row->fallback ? row->fallback : "", &value) != DDPM_OK) return;
    option_format(row, &value, text);
    fputs(", \"default\": ", f);
    if (row->type == OPT_STRING || row->type == OPT_CHOICE) json_string(f, text);
    else if (row->type == OPT_INT_LIST || row->type == OPT_REAL_LIST) fprintf(f, "[%s]", text);
    else fputs(text, f);
}

static void json_real(FILE *f, const char *key, double v)
{
    const option row = { .type = OPT_REAL };
    const option_value value = { .real = v };
    char text[OPTION_TEXT_SIZE];
    option_format(&row, &value, text);
    fprintf(f, ", \"%s\": %s", key, text);
}

static void json_limits(FILE *f, const option *row)
{
    if (row->min == row->max) return;
    json_real(f, "minimum", row->min);
    json_real(f, "maximum", row->max);
}

static void json_property(FILE *f, const option *row)
{
    fprintf(f, "    \"%s\": {\"type\": \"%s\"", row->name, json_type(row->type));
    if (row->type == OPT_INT_LIST || row->type == OPT_REAL_LIST) {
        fprintf(f, ", \"maxItems\": %d, \"items\": {\"type\": \"%s\"", OPTION_LIST_MAX,
                row->type == OPT_INT_LIST ? "integer" : "number");
        json_limits(f, row);
        fputc('}', f);
    } else if (row->type == OPT_INT || row->type == OPT_I64 || row->type == OPT_REAL) {
        json_limits(f, row);
    } else if (row->type == OPT_CHOICE) {
        char word[OPTION_WORD_SIZE];
        fputs(", \"enum\": [", f);
        for (int i = 0; option_word(row->choices, i, word); i++) {
            if (i) fputs(", ", f);
            json_string(f, word);
        }
        fputc(']', f);
    }
    json_default(f, row);
    fputs(", \"description\": ", f);
    json_string(f, row->help);
    fputc('}', f);
}

void options_schema(FILE *f, const char *title, const option *table, unsigned groups)
{
    fputs("{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n  \"title\": ", f);
    json_string(f, title);
    fputs(",\n  \"type\": \"object\",\n  \"additionalProperties\": false,\n  \"properties\": {\n", f);
    bool first = true;
    for (const option *row = table; row->name; row++) {
        if (!(row->groups & groups)) continue;
        if (!first) fputs(",\n", f);
        json_property(f, row);
        first = false;
    }
    fputs("\n  }\n}\n", f);
}
