/* YAML: what parses is a tree that prints as JSON, and the print parses. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json *j = NULL, *again = NULL;
    const ddpm_status s = yaml_parse((const char *)data, size, "input", &j);
    if (s != DDPM_OK && s != DDPM_EFORMAT) abort();
    if (s != DDPM_OK) return 0;
    char *text = json_text(j, JSON_COMPACT);
    if (!text) abort();
    if (strchr("[{", *text) && json_parse(text, strlen(text), "print", &again) != DDPM_OK) abort();
    json_free(again);
    free(text);
    json_free(j);
    return 0;
}
