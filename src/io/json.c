#include "io/json.h"

#include <assert.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"

#undef JSON_COMPACT      /* jansson's flag of this name is not used, ours is an enumerator */

/* --- reading ----------------------------------------------------------------- */

/* jansson's own limit is 2048 levels of C recursion; ours is checked beforehand. */
static bool too_deep(const char *text, size_t len)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\') i++;
            else if (c == '"') in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > JSON_MAX_DEPTH) return true;
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return false;
}

ddpm_status json_parse_limit(const char *text, size_t len, size_t max_bytes, const char *where, json **j)
{
    *j = NULL;
    if (len > max_bytes)
        return ddpm_fail(DDPM_EFORMAT, "%s: %zu bytes of JSON, the limit is %zu", where, len, max_bytes);
    if (too_deep(text, len))
        return ddpm_fail(DDPM_EFORMAT, "%s: JSON nested deeper than %d levels", where, JSON_MAX_DEPTH);
    json_error_t e;
    *j = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (*j) return DDPM_OK;
    if (json_error_code(&e) == json_error_out_of_memory) return ddpm_fail(DDPM_ENOMEM, "%s: no memory", where);
    return ddpm_fail(DDPM_EFORMAT, "%s, line %d, column %d: not valid JSON: %s", where, e.line, e.column, e.text);
}

ddpm_status json_parse(const char *text, size_t len, const char *where, json **j)
{
    return json_parse_limit(text, len, JSON_MAX_BYTES, where, j);
}

ddpm_status json_read_file(const char *path, json **j)
{
    *j = NULL;
    uint8_t *text;
    size_t len;
    DDPM_TRY(file_read_all(path, JSON_MAX_BYTES, &text, &len));
    const ddpm_status s = json_parse((const char *)text, len, path, j);
    free(text);
    return s;
}

void json_free(json *j)
{
    json_decref(j);
}

json_kind json_kind_of(const json *j)
{
    if (!j) return JSON_KIND_ABSENT;
    switch (json_typeof(j)) {
    case JSON_OBJECT:  return JSON_KIND_OBJECT;
    case JSON_ARRAY:   return JSON_KIND_ARRAY;
    case JSON_STRING:  return JSON_KIND_STRING;
    case JSON_INTEGER: return JSON_KIND_INT;
    case JSON_REAL:    return JSON_KIND_REAL;
    case JSON_TRUE:
    case JSON_FALSE:   return JSON_KIND_BOOL;
    case JSON_NULL:    break;
    }
    return JSON_KIND_NULL;
}

static const char *kind_name(const json *j)
{
    static const char *const names[] = {
        "absent", "null", "a boolean", "an integer", "a number", "a string", "a list", "an object"
    };
    return names[json_kind_of(j)];
}

json *json_get(const json *object, const char *key)
{
    return json_object_get(object, key);
}

ddpm_status json_need(const json *object, const char *key, const char *where, json **value)
{
    *value = json_get(object, key);
    return *value ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s: key \"%s\" is missing", where, key);
}

static bool is_nothing(const json *j)
{
    return !j || json_is_null(j);
}

static ddpm_status fail_kind(const json *j, const char *key, const char *wanted)
{
    return ddpm_fail(DDPM_EFORMAT, "key \"%s\" is %s; %s is expected", key, kind_name(j), wanted);
}

ddpm_status json_get_int(const json *object, const char *key, int64_t *value)
{
    const json *j = json_get(object, key);
    return is_nothing(j) || json_as_int(j, value) ? DDPM_OK : fail_kind(j, key, "an integer");
}

ddpm_status json_get_real(const json *object, const char *key, double *value)
{
    const json *j = json_get(object, key);
    return is_nothing(j) || json_as_real(j, value) ? DDPM_OK : fail_kind(j, key, "a number");
}

ddpm_status json_get_bool(const json *object, const char *key, bool *value)
{
    const json *j = json_get(object, key);
    return is_nothing(j) || json_as_bool(j, value) ? DDPM_OK : fail_kind(j, key, "true or false");
}

ddpm_status json_get_string(const json *object, const char *key, const char **value)
{
    const json *j = json_get(object, key);
    if (is_nothing(j)) return DDPM_OK;
    if (!json_is_string(j)) return fail_kind(j, key, "a string");
    *value = json_string_value(j);
    return DDPM_OK;
}

bool json_as_int(const json *j, int64_t *value)
{
    if (!json_is_integer(j)) return false;
    *value = json_integer_value(j);
    return true;
}

bool json_as_real(const json *j, double *value)
{
    if (!json_is_number(j)) return false;
    *value = json_number_value(j);
    return true;
}

bool json_as_bool(const json *j, bool *value)
{
    if (!json_is_boolean(j)) return false;
    *value = json_is_true(j);
    return true;
}

const char *json_as_string(const json *j)
{
    return json_string_value(j);
}

size_t json_array_len(const json *array)
{
    return json_array_size(array);
}

json *json_at(const json *array, size_t i)
{
    return json_array_get(array, i);
}

size_t json_object_len(const json *object)
{
    return json_object_size(object);
}

/* jansson takes objects to be iterated without const, but does not change them. */
const char *json_first(const json *object)
{
    void *it = json_object_iter((json *)(uintptr_t)object);
    return it ? json_object_iter_key(it) : NULL;
}

const char *json_next(const json *object, const char *key)
{
    json *o = (json *)(uintptr_t)object;
    void *it = json_object_iter_next(o, json_object_key_to_iter(key));
    return it ? json_object_iter_key(it) : NULL;
}

/* --- building ---------------------------------------------------------------- */

json *json_new_object(void) { return json_object(); }
json *json_new_array(void) { return json_array(); }
json *json_new_int(int64_t value) { return json_integer(value); }
json *json_new_real(double value) { return isfinite(value) ? json_real(value) : json_null(); }
json *json_new_bool(bool value) { return json_boolean(value); }
json *json_new_null(void) { return json_null(); }

json *json_new_interval(double low, double high)
{
    if (!isfinite(low)) return json_null();
    json *pair = json_array();
    json_append(pair, json_new_real(low));
    json_append(pair, json_new_real(high));
    return pair;
}

/* The bytes outside UTF-8 become U+FFFD: a message or a file name must not make a
 * whole log line or configuration unwritable. */
json *json_new_string(const char *value)
{
    json *j = json_string(value);
    if (j || !value) return j;
    char *fixed = malloc(3 * strlen(value) + 1);
    if (!fixed) return NULL;
    char *out = fixed;
    for (const char *p = value; *p;) {
        size_t n = 4;
        json *one = NULL;
        while (n > 0 && (strnlen(p, n) < n || !(one = json_stringn(p, n)))) n--;
        json_decref(one);
        if (n > 0) memcpy(out, p, n);
        else memcpy(out, "\xef\xbf\xbd", 3);
        out += n > 0 ? n : 3;
        p += n > 0 ? n : 1;
    }
    *out = 0;
    j = json_string(fixed);
    free(fixed);
    return j;
}

static ddpm_status fail_building(const char *key)
{
    return ddpm_fail(DDPM_ENOMEM, "cannot build JSON at \"%s\": no memory, or text that is not UTF-8", key);
}

ddpm_status json_put(json *object, const char *key, json *value)
{
    return json_object_set_new(object, key, value) == 0 ? DDPM_OK : fail_building(key);
}

ddpm_status json_put_int(json *object, const char *key, int64_t value)
{
    return json_put(object, key, json_new_int(value));
}

ddpm_status json_put_real(json *object, const char *key, double value)
{
    return json_put(object, key, json_new_real(value));
}

ddpm_status json_put_bool(json *object, const char *key, bool value)
{
    return json_put(object, key, json_new_bool(value));
}

ddpm_status json_put_string(json *object, const char *key, const char *value)
{
    return json_put(object, key, json_new_string(value));
}

ddpm_status json_append(json *array, json *value)
{
    return json_array_append_new(array, value) == 0 ? DDPM_OK : fail_building("list");
}

/* --- printing ---------------------------------------------------------------- */

/* jansson prints 0.1 as 0.10000000000000001; people read these files. */
static void print_real(FILE *f, double value)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    bool whole = true;
    for (char *p = text; *p; p++) {
        if (*p == ',') *p = '.';               /* a locale of the host program */
        if (*p == '.' || *p == 'e') whole = false;
    }
    fprintf(f, "%s%s", text, whole ? ".0" : "");
}

static bool print_scalar(FILE *f, const json *j)
{
    if (json_is_real(j)) {
        print_real(f, json_real_value(j));
        return true;
    }
    char *text = json_dumps(j, JSON_ENCODE_ANY);
    if (text) fputs(text, f);
    free(text);
    return text != NULL;
}

static bool print_key(FILE *f, const char *key, int indent)
{
    json *name = json_string(key);
    const bool ok = print_scalar(f, name);
    json_decref(name);
    fputs(indent == JSON_COMPACT ? ":" : ": ", f);
    return ok;
}

static void print_break(FILE *f, int indent, int depth, bool first)
{
    if (indent > 0) fprintf(f, "%s\n%*s", first ? "" : ",", indent * depth, "");
    else if (!first) fputs(indent == 0 ? ", " : ",", f);
}

static bool print_tree(FILE *f, const json *j, int indent, int depth);

static bool print_object(FILE *f, const json *j, int indent, int depth)
{
    bool ok = true;
    bool first = true;
    fputc('{', f);
    for (const char *k = json_first(j); k; k = json_next(j, k)) {
        print_break(f, indent, depth + 1, first);
        ok &= print_key(f, k, indent) && print_tree(f, json_get(j, k), indent, depth + 1);
        first = false;
    }
    if (indent > 0 && !first) print_break(f, indent, depth, true);
    fputc('}', f);
    return ok;
}

static bool print_array(FILE *f, const json *j, int indent, int depth)
{
    bool ok = true;
    const size_t n = json_array_len(j);
    fputc('[', f);
    for (size_t i = 0; i < n; i++) {
        print_break(f, indent, depth + 1, i == 0);
        ok &= print_tree(f, json_at(j, i), indent, depth + 1);
    }
    if (indent > 0 && n > 0) print_break(f, indent, depth, true);
    fputc(']', f);
    return ok;
}

/* Recursion is bounded: parsed trees by JSON_MAX_DEPTH, built ones by the code. */
static bool print_tree(FILE *f, const json *j, int indent, int depth)
{
    assert(depth <= JSON_MAX_DEPTH);
    if (json_is_object(j)) return print_object(f, j, indent, depth);
    if (json_is_array(j)) return print_array(f, j, indent, depth);
    return print_scalar(f, j);
}

char *json_text(const json *j, int indent)
{
    if (!j) return NULL;
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (!f) return NULL;
    bool ok = print_tree(f, j, indent, 0);
    ok &= !ferror(f);
    ok &= fclose(f) == 0;
    if (ok) return text;
    free(text);
    return NULL;
}

ddpm_status json_write_file(const char *path, const json *j)
{
    char *text = json_text(j, 2);
    if (!text) return ddpm_fail(DDPM_ENOMEM, "no memory for the text of %s", path);
    const size_t len = strlen(text);
    text[len] = '\n';                          /* in place of the final 0 */
    const ddpm_status s = file_write_atomic(path, text, len + 1);
    free(text);
    return s;
}
