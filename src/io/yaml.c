#include "io/yaml.h"

#include "io/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

static const char NO_TAGS[] = "tags are not allowed here", NUL_BYTE[] = "a text with a NUL byte";

/* One event of look-ahead: `e` is the event that the next function to run is about. */
typedef struct { yaml_parser_t p; yaml_event_t e; const char *where; int depth; } reader;

static ddpm_status fail_at(const reader *r, const char *what)
{
    return ddpm_fail(DDPM_EFORMAT, "%s:%zu:%zu: %s", r->where, r->e.start_mark.line + 1, r->e.start_mark.column + 1, what);
}

static ddpm_status advance(reader *r)
{
    yaml_event_delete(&r->e);
    if (yaml_parser_parse(&r->p, &r->e)) return DDPM_OK;
    if (r->p.error == YAML_MEMORY_ERROR) return ddpm_fail(DDPM_ENOMEM, "%s: no memory", r->where);
    return ddpm_fail(DDPM_EFORMAT, "%s:%zu:%zu: not YAML: %s", r->where, r->p.problem_mark.line + 1, r->p.problem_mark.column + 1,
                     r->p.problem ? r->p.problem : "unreadable");
}

static bool is_word(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (!strcasecmp(text, *words)) return true;
    return false;
}

/* Digits, and what may stand between them in a number; keeps strtod from reading names such as "inf". */
static bool looks_numeric(const char *text)
{
    return *text && strspn(text, "+-.eE0123456789") == strlen(text) && strpbrk(text, "0123456789") && !strchr("eE", *text);
}

static json *plain_scalar(const char *text)
{
    static const char *const yes[] = { "true", "yes", "on", NULL }, *const no[] = { "false", "no", "off", NULL }, *const nothing[] = { "", "~", "null", NULL };
    if (is_word(text, nothing)) return json_new_null();
    if (is_word(text, yes)) return json_new_bool(true);
    if (is_word(text, no)) return json_new_bool(false);
    if (looks_numeric(text)) {
        char *end;
        errno = 0;
        const long long i = strtoll(text, &end, 10);
        if (!*end && !errno) return json_new_int(i);
        const double x = strtod(text, &end);
        if (!*end) return json_new_real(x);
    }
    return json_new_string(text);
}

static bool has_tag(const yaml_event_t *e)
{
    return e->type == YAML_SCALAR_EVENT ? e->data.scalar.tag != NULL
         : e->type == YAML_SEQUENCE_START_EVENT ? e->data.sequence_start.tag != NULL
         : e->type == YAML_MAPPING_START_EVENT && e->data.mapping_start.tag != NULL;
}

static ddpm_status read_node(reader *r, json **node);

static ddpm_status read_scalar(reader *r, json **node)
{
    const char *text = (const char *)r->e.data.scalar.value;
    if (strlen(text) != r->e.data.scalar.length) return fail_at(r, NUL_BYTE);
    *node = r->e.data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain_scalar(text) : json_new_string(text);
    return *node ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "%s: no memory", r->where);
}

static ddpm_status read_sequence(reader *r, json *list)
{
    for (;;) {
        json *item = NULL;
        DDPM_TRY(advance(r));
        if (r->e.type == YAML_SEQUENCE_END_EVENT) return DDPM_OK;
        DDPM_TRY(read_node(r, &item));
        DDPM_TRY(json_append(list, item));
    }
}

static ddpm_status read_pair(reader *r, json *object)
{
    if (r->e.type != YAML_SCALAR_EVENT) return fail_at(r, "a key that is not text");
    if (has_tag(&r->e)) return fail_at(r, NO_TAGS);
    const char *name = (const char *)r->e.data.scalar.value;
    if (strlen(name) != r->e.data.scalar.length) return fail_at(r, NUL_BYTE);
    if (json_get(object, name)) return fail_at(r, "a key that was there before");
    char *key = strdup(name);
    json *value = NULL;
    ddpm_status status = key ? advance(r) : ddpm_fail(DDPM_ENOMEM, "%s: no memory", r->where);
    if (status == DDPM_OK) status = read_node(r, &value);
    if (status == DDPM_OK) status = json_put(object, key, value);
    free(key);
    return status;
}

static ddpm_status read_mapping(reader *r, json *object)
{
    for (;;) {
        DDPM_TRY(advance(r));
        if (r->e.type == YAML_MAPPING_END_EVENT) return DDPM_OK;
        DDPM_TRY(read_pair(r, object));
    }
}

static ddpm_status read_collection(reader *r, bool mapping, json **node)
{
    if (++r->depth > JSON_MAX_DEPTH) return fail_at(r, "nested too deep");
    json *j = mapping ? json_new_object() : json_new_array();
    ddpm_status status = j ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "%s: no memory", r->where);
    if (status == DDPM_OK) status = mapping ? read_mapping(r, j) : read_sequence(r, j);
    r->depth--;
    if (status == DDPM_OK) *node = j;
    else json_free(j);
    return status;
}

/* Leaves the reader at the node's last event. */
static ddpm_status read_node(reader *r, json **node)
{
    if (has_tag(&r->e)) return fail_at(r, NO_TAGS);
    switch (r->e.type) {
    case YAML_SCALAR_EVENT:         return read_scalar(r, node);
    case YAML_SEQUENCE_START_EVENT: return read_collection(r, false, node);
    case YAML_MAPPING_START_EVENT:  return read_collection(r, true, node);
    case YAML_ALIAS_EVENT:          return fail_at(r, "aliases are not allowed here");
    default:                        return fail_at(r, "a value is missing");
    }
}

static ddpm_status expect(reader *r, yaml_event_type_t type, const char *else_what)
{
    DDPM_TRY(advance(r));
    return r->e.type == type ? DDPM_OK : fail_at(r, else_what);
}

static ddpm_status read_document(reader *r, json **node)
{
    DDPM_TRY(expect(r, YAML_STREAM_START_EVENT, "not YAML"));
    DDPM_TRY(expect(r, YAML_DOCUMENT_START_EVENT, "an empty file"));
    DDPM_TRY(advance(r));
    DDPM_TRY(read_node(r, node));
    DDPM_TRY(expect(r, YAML_DOCUMENT_END_EVENT, "more than one value"));
    return expect(r, YAML_STREAM_END_EVENT, "more than one document");
}

ddpm_status yaml_parse(const char *text, size_t len, const char *where, json **tree)
{
    *tree = NULL;
    reader r = { .where = where };
    json *node = NULL;
    if (len > JSON_MAX_BYTES) return ddpm_fail(DDPM_EFORMAT, "%s: %zu bytes are too many for a configuration", where, len);
    if (!yaml_parser_initialize(&r.p)) return ddpm_fail(DDPM_ENOMEM, "%s: no memory", where);
    yaml_parser_set_input_string(&r.p, (const unsigned char *)text, len);
    const ddpm_status status = read_document(&r, &node);
    yaml_event_delete(&r.e);
    yaml_parser_delete(&r.p);
    if (status == DDPM_OK) *tree = node;
    else json_free(node);
    return status;
}

ddpm_status yaml_read_file(const char *path, json **tree)
{
    uint8_t *text = NULL;
    size_t len;
    *tree = NULL;
    DDPM_TRY(file_read_all(path, JSON_MAX_BYTES, &text, &len));
    const ddpm_status status = yaml_parse((const char *)text, len, path, tree);
    free(text);
    return status;
}
