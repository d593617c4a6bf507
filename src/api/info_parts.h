/* info_parts.h - what the files behind tool_info share: info.c tells of models, runs, data sets and images,
 * info_files.c of the program's other outputs. Not for other files. */
#ifndef DDPM_API_INFO_PARTS_H
#define DDPM_API_INFO_PARTS_H

#include "api/settings.h"
#include "io/json.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What is said, twice: lines for people and a document. */
typedef struct { FILE *f; json *o; const settings *request; } info_report;

/* For people only. Control bytes of files do not reach their terminal. */
void info_line(const info_report *r, const char *label, const char *value);
void info_say(const info_report *r, const char *key, const char *label, const char *value);
void info_say_int(const info_report *r, const char *key, const char *label, int64_t value);

/* A file of `len` bytes in a form that the program writes: arrays (.npz), tensors (.safetensors), a film (.gif). */
typedef ddpm_status (*info_describe)(const info_report *r, const char *path, const uint8_t *bytes, size_t len);

/* The one for this file; NULL: none of these forms. */
info_describe info_file_form(const char *path, const uint8_t *bytes, size_t len);

#endif
