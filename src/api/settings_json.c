#include "api/config_ermongroup.h"
#include "api/settings.h"
#include "io/file.h"
#include "io/json.h"
#include "io/yaml.h"

#include <stdio.h>

static json *value_to_json(const settings *s, int i)
{
    const option *o = &settings_options[i];
    const char *at = (const char *)&s->v + o->offset;
    char text[OPTION_TEXT_SIZE];
    switch (o->type) {
    case OPT_BOOL: return json_new_bool(*(const bool *)at);
    case OPT_INT:  return json_new_int(*(const int *)at);
    case OPT_I64:  return json_new_int(*(const int64_t *)at);
    case OPT_REAL: return json_new_real(*(const double *)at);
    default: break;
    }
    options_print(settings_options, &s->v, i, text);
    return json_new_string(text);
}

ddpm_status settings_to_json(const settings *s, unsigned groups, json **object)
{
    json *o = json_new_object();
    ddpm_status status = o ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for a configuration");
    for (int i = 0; settings_options[i].name && status == DDPM_OK; i++)
        if (settings_options[i].groups & groups && !(settings_options[i].groups & GROUP_CALL)) status = json_put(o, settings_options[i].name, value_to_json(s, i));
    if (status != DDPM_OK) {
        json_free(o);
        o = NULL;
    }
    *object = o;
    return status;
}

/* A scalar as the text a user would type. */
static ddpm_status value_text(const json *v, const char *where, const char *key, char *text, size_t size)
{
    int64_t i;
    double x;
    bool b;
    const char *t = json_as_string(v);
    if (t) {
        if (snprintf(text, size, "%s", t) < (int)size) return DDPM_OK;
    } else if (json_as_bool(v, &b)) {
        snprintf(text, size, "%s", b ? "true" : "false");
        return DDPM_OK;
    } else if (json_as_int(v, &i)) {
        snprintf(text, size, "%lld", (long long)i);
        return DDPM_OK;
    } else if (json_as_real(v, &x)) {
        snprintf(text, size, "%.17g", x);
        return DDPM_OK;
    }
    return ddpm_fail(DDPM_EINVAL, "%s: key \"%s\" must be a number, a boolean or a text", where, key);
}

ddpm_status settings_json_text(const json *v, const char *where, const char *key, char *text, size_t size)
{
    if (json_kind_of(v) != JSON_KIND_ARRAY) return value_text(v, where, key, text, size);
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < json_array_len(v); i++) {
        char item[64];
        DDPM_TRY(value_text(json_at(v, i), where, key, item, sizeof item));
        const int n = snprintf(text + used, size - used, "%s%s", i ? "," : "", item);
        if (n < 0 || (size_t)n >= size - used) return ddpm_fail(DDPM_EINVAL, "%s: key \"%s\" has too many elements", where, key);
        used += (size_t)n;
    }
    return DDPM_OK;
}

ddpm_status settings_from_json(settings *s, const json *object, const char *where, option_origin origin)
{
    for (const char *key = json_first(object); key; key = json_next(object, key)) {
        char text[OPTION_TEXT_SIZE];
        const int i = options_find(settings_options, key);
        if (i < 0) {
            const char *near = options_nearest(settings_options, ~0u, key);
            return ddpm_fail(DDPM_EINVAL, "%s: there is no key \"%s\"%s%s%s", where, key, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
        }
        DDPM_TRY(settings_json_text(json_get(object, key), where, key, text, sizeof text));
        const ddpm_status status = settings_set(s, key, text, origin);
        if (status != DDPM_OK) return ddpm_context(status, "%s: ", where);
    }
    return DDPM_OK;
}

static bool is_yaml(const char *path) { return file_has_ending(path, ".yml") || file_has_ending(path, ".yaml"); }

bool settings_is_file(const char *path) { return file_has_ending(path, ".json") || is_yaml(path); }

ddpm_status settings_read_document(const char *path, json **document) { return (is_yaml(path) ? yaml_read_file : json_read_file)(path, document); }

ddpm_status settings_read_file(settings *s, const char *path, option_origin origin)
{
    json *j = NULL;
    DDPM_TRY(settings_read_document(path, &j));
    const json *values = json_get(j, "values");
    if (!values) values = j;
    const ddpm_status status = config_is_ermongroup(j) ? config_from_ermongroup(s, j, path)
                             : json_kind_of(values) == JSON_KIND_OBJECT ? settings_from_json(s, values, path, origin)
                             : ddpm_fail(DDPM_EFORMAT, "%s is no configuration: it must hold names of settings, each with a value", path);
    json_free(j);
    return status;
}
