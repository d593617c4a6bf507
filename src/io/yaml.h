/* yaml.h - YAML text as the tree of json.h, for configuration files.
 *
 * One document of mappings, lists and scalars. Plain scalars are what YAML 1.1 calls
 * null, a boolean (also yes, no, on, off) or a number, else text; quoted ones are text.
 * Numbers with an exponent need no decimal point (1e-4 is a number). Refused with line and
 * column: aliases, tags, duplicate keys, keys that are not text, several documents,
 * nesting deeper than JSON_MAX_DEPTH, texts longer than JSON_MAX_BYTES. */
#ifndef DDPM_IO_YAML_H
#define DDPM_IO_YAML_H

#include "io/json.h"

/* The caller frees *tree (json_free). `where` goes into sentences. DDPM_EFORMAT, DDPM_ENOMEM. */
ddpm_status yaml_parse(const char *text, size_t len, const char *where, json **tree);
ddpm_status yaml_read_file(const char *path, json **tree);

#endif
