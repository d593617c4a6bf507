#include "api/checkpoint_parts.h"

#include "io/crc32c.h"
#include "io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DESCRIBE_FORMAT "ddpm-model 1"

enum { CLASS_NAME_SIZE = 1024 };

/* --- writing --------------------------------------------------------------------------- */

static json *class_list(const checkpoint_source *src)
{
    json *list = json_new_array();
    for (int i = 0; i < src->n_class_names; i++)
        if (json_append(list, json_new_string(src->class_names[i])) != DDPM_OK) {
            json_free(list);
            return NULL;
        }
    return list;
}

static ddpm_status build(const checkpoint_source *src, json *o)
{
    json *values = NULL;
    DDPM_TRY(settings_to_json(src->s, GROUP_MODEL, &values));
    ddpm_status s = json_put(o, "values", values);
    const ddpm_status puts[] = {
        json_put_string(o, "format", DESCRIBE_FORMAT),
        json_put_string(o, "weights", src->weights ? src->weights : "unknown"),
        json_put_int(o, "step", src->step),
        json_put_bool(o, "training_state", src->state != NULL),
        json_put_string(o, "provenance", src->provenance ? src->provenance : ""),
        src->n_class_names ? json_put(o, "class_names", class_list(src)) : DDPM_OK,
    };
    for (size_t i = 0; i < sizeof puts / sizeof *puts; i++)
        if (s == DDPM_OK) s = puts[i];
    return s;
}

ddpm_status describe_make(const checkpoint_source *src, char **text)
{
    json *o = json_new_object();
    ddpm_status s = build(src, o);
    *text = s == DDPM_OK ? json_text(o, 2) : NULL;
    if (s == DDPM_OK && !*text) s = ddpm_fail(DDPM_ENOMEM, "no memory for the description of a model");
    json_free(o);
    return s;
}

ddpm_status describe_write(const char *dir, const checkpoint_source *src, uint32_t *crc)
{
    char path[MODEL_PATH_SIZE], *text = NULL;
    DDPM_TRY(checkpoint_join(path, dir, FILE_DDPM));
    DDPM_TRY(describe_make(src, &text));
    const size_t len = strlen(text);
    text[len] = '\n';                       /* in place of the final 0: the length is known */
    *crc = crc32c(0, text, len + 1);
    const ddpm_status s = file_write_atomic(path, text, len + 1);
    free(text);
    return s;
}

/* --- reading --------------------------------------------------------------------------- */

void describe_free(model_description *d)
{
    for (int i = 0; i < d->n_class_names; i++) free(d->class_names[i]);
    free(d->class_names);
    d->class_names = NULL;
    d->n_class_names = 0;
}

void describe_fix(settings *s)
{
    for (int i = 0; settings_options[i].name; i++)
        if (settings_options[i].groups & GROUP_MODEL) s->origins[i] = ORIGIN_COMMAND_LINE;
}

/* A file may describe its model, but not say where to write or how many threads to use. */
static ddpm_status check_keys(const json *values, const char *path)
{
    for (const char *key = json_first(values); key; key = json_next(values, key)) {
        const int i = options_find(settings_options, key);
        if (i >= 0 && !(settings_options[i].groups & GROUP_MODEL))
            return ddpm_fail(DDPM_EFORMAT, "%s: key \"%.60s\" is not part of a model's description", path, key);
    }
    return DDPM_OK;
}

static ddpm_status read_values(const json *o, const char *path, settings *s)
{
    json *values = NULL;
    DDPM_TRY(json_need(o, "values", path, &values));
    if (json_kind_of(values) != JSON_KIND_OBJECT) return ddpm_fail(DDPM_EFORMAT, "%s: \"values\" is not an object", path);
    DDPM_TRY(check_keys(values, path));
    settings_defaults(s);
    if (settings_from_json(s, values, path, ORIGIN_CHECKPOINT) != DDPM_OK) return DDPM_EFORMAT;
    if (settings_resolve(s) != DDPM_OK) return ddpm_context(DDPM_EFORMAT, "%s: ", path);
    describe_fix(s);
    return DDPM_OK;
}

static ddpm_status read_classes(const json *o, const char *path, model_description *d)
{
    const json *list = json_get(o, "class_names");
    const size_t n = json_array_len(list);
    if (!n) return DDPM_OK;
    if (n != (size_t)settings_classes(&d->s)) return ddpm_fail(DDPM_EFORMAT, "%s: %zu class names for %d classes", path, n, settings_classes(&d->s));
    d->class_names = calloc(n, sizeof *d->class_names);
    if (!d->class_names) return ddpm_fail(DDPM_ENOMEM, "no memory for %zu class names", n);
    for (size_t i = 0; i < n; i++) {
        const char *name = json_as_string(json_at(list, i));
        if (!name || strlen(name) >= CLASS_NAME_SIZE)
            return ddpm_fail(DDPM_EFORMAT, "%s: class name %zu is not a text of less than %d bytes", path, i, CLASS_NAME_SIZE);
        if (!(d->class_names[i] = strdup(name))) return ddpm_fail(DDPM_ENOMEM, "no memory for class names");
        d->n_class_names++;
    }
    return DDPM_OK;
}

static ddpm_status read_object(const json *o, const char *path, model_description *d, bool *has_state)
{
    const char *format = "", *weights = "unknown", *provenance = "";
    DDPM_TRY(json_get_string(o, "format", &format));
    if (strcmp(format, DESCRIBE_FORMAT))
        return ddpm_fail(DDPM_EFORMAT, "%s: its format is \"%.60s\", this program reads \"%s\"", path, format, DESCRIBE_FORMAT);
    DDPM_TRY(read_values(o, path, &d->s));
    DDPM_TRY(read_classes(o, path, d));
    DDPM_TRY(json_get_string(o, "weights", &weights));
    DDPM_TRY(json_get_string(o, "provenance", &provenance));
    DDPM_TRY(json_get_int(o, "step", &d->step));
    DDPM_TRY(json_get_bool(o, "training_state", has_state));
    snprintf(d->weights, sizeof d->weights, "%.*s", (int)sizeof d->weights - 1, weights);
    snprintf(d->provenance, sizeof d->provenance, "%.*s", (int)sizeof d->provenance - 1, provenance);
    return DDPM_OK;
}

static ddpm_status read_text(const char *text, size_t len, const char *where, model_description *d, bool *has_state)
{
    json *o = NULL;
    ddpm_status s = json_parse(text, len, where, &o);
    if (s == DDPM_OK && json_kind_of(o) != JSON_KIND_OBJECT) s = ddpm_fail(DDPM_EFORMAT, "%s: not an object", where);
    if (s == DDPM_OK) s = read_object(o, where, d, has_state);
    json_free(o);
    if (s != DDPM_OK) describe_free(d);
    return s;
}

ddpm_status describe_text(const char *text, size_t len, const char *where, model_description *d)
{
    bool unused = false;
    return read_text(text, len, where, d, &unused);
}

ddpm_status describe_read(const char *dir, model_description *d, describe_found *found)
{
    char path[MODEL_PATH_SIZE];
    uint8_t *text = NULL;
    size_t len;
    *found = (describe_found){ .present = checkpoint_has(dir, FILE_DDPM) };
    if (!found->present) return DDPM_OK;
    DDPM_TRY(checkpoint_join(path, dir, FILE_DDPM));
    DDPM_TRY(file_read_all(path, JSON_MAX_BYTES, &text, &len));
    found->crc = crc32c(0, text, len);
    const ddpm_status s = read_text((const char *)text, len, path, d, &found->has_state);
    free(text);
    return s;
}
