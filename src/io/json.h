/* json.h - JSON text as a tree: reading that is strict, building, printing.
 *
 * Reading refuses duplicate keys, invalid UTF-8, NUL in strings, NaN, numbers
 * outside int64 / double, nesting deeper than JSON_MAX_DEPTH and texts longer than
 * JSON_MAX_BYTES. Printing keeps the order in which keys were inserted and prints
 * doubles with as many significant digits (15 to 17) as reading them back needs.
 *
 * Ownership: json_parse, json_read_file and json_new_* give a tree to the caller,
 * freed by json_free. Everything json_get, json_at and json_get_string return is
 * borrowed and lives as long as the tree. json_put and json_append take the child
 * over, also when they fail. A NULL tree is allowed in every function: readers see
 * "absent", and builders turn it into DDPM_ENOMEM, so that
 * json_put(o, "a", json_new_int(1)) needs no check in between.
 *
 * Typed getters: the key is there and fits - DDPM_OK; it is absent or null -
 * DDPM_OK and *value is left as it was (set your default first); it is there with
 * another type or out of range - DDPM_EFORMAT naming the key. Use json_get to tell
 * absent from present, json_need to demand presence. */
#ifndef DDPM_IO_JSON_H
#define DDPM_IO_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct json_t json;

enum { JSON_MAX_DEPTH = 64, JSON_MAX_BYTES = 16 << 20, JSON_COMPACT = -1 };

typedef enum {
    JSON_KIND_ABSENT, JSON_KIND_NULL, JSON_KIND_BOOL, JSON_KIND_INT, JSON_KIND_REAL,
    JSON_KIND_STRING, JSON_KIND_ARRAY, JSON_KIND_OBJECT
} json_kind;

/* --- reading ----------------------------------------------------------------- */

/* `where` (a file name, "header of x.safetensors") goes into error sentences.
 * Errors: DDPM_EFORMAT with line and column; DDPM_ENOMEM. */
ddpm_status json_parse(const char *text, size_t len, const char *where, json **j);
/* The same with another limit than JSON_MAX_BYTES. */
ddpm_status json_parse_limit(const char *text, size_t len, size_t max_bytes, const char *where, json **j);
ddpm_status json_read_file(const char *path, json **j);
void        json_free(json *j);                      /* NULL ok                 */

json_kind   json_kind_of(const json *j);             /* NULL: JSON_KIND_ABSENT  */
json       *json_get(const json *object, const char *key);   /* NULL: absent    */
/* DDPM_EFORMAT "WHERE: key "KEY" is missing" when there is no such key. */
ddpm_status json_need(const json *object, const char *key, const char *where, json **value);

ddpm_status json_get_int(const json *object, const char *key, int64_t *value);
ddpm_status json_get_real(const json *object, const char *key, double *value);   /* takes ints */
ddpm_status json_get_bool(const json *object, const char *key, bool *value);
ddpm_status json_get_string(const json *object, const char *key, const char **value); /* borrowed */

/* The same for a value at hand, without a key; false: another type. */
bool json_as_int(const json *j, int64_t *value);
bool json_as_real(const json *j, double *value);
bool json_as_bool(const json *j, bool *value);
const char *json_as_string(const json *j);           /* NULL: not a string      */

size_t json_array_len(const json *array);            /* 0: not an array         */
json  *json_at(const json *array, size_t i);         /* NULL: out of range      */

/* Keys in order of insertion: for (k = json_first(o); k; k = json_next(o, k)).
 * Borrowed; the object must not change in between. */
size_t      json_object_len(const json *object);
const char *json_first(const json *object);
const char *json_next(const json *object, const char *key);

/* --- building ---------------------------------------------------------------- */

json *json_new_object(void);
json *json_new_array(void);
json *json_new_int(int64_t value);
json *json_new_real(double value);     /* not finite: becomes null             */
json *json_new_bool(bool value);
json *json_new_string(const char *value);  /* bytes that are not UTF-8 become U+FFFD */
json *json_new_null(void);
json *json_new_interval(double low, double high);   /* [low, high]; null where low is not finite */

ddpm_status json_put(json *object, const char *key, json *value);   /* replaces */
ddpm_status json_put_int(json *object, const char *key, int64_t value);
ddpm_status json_put_real(json *object, const char *key, double value);
ddpm_status json_put_bool(json *object, const char *key, bool value);
ddpm_status json_put_string(json *object, const char *key, const char *value);
ddpm_status json_append(json *array, json *value);

/* Text of the tree, at most JSON_MAX_DEPTH deep, indented by `indent` spaces (0: one
 * line with ", " and ": "; JSON_COMPACT: one line without spaces), without a final
 * newline; the caller frees. NULL: out of memory. */
char *json_text(const json *j, int indent);

/* json_text with indent 2 and a final newline, written atomically. */
ddpm_status json_write_file(const char *path, const json *j);

#endif
