/* JSON: what parses prints, and the print parses and prints the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json *j = NULL, *again = NULL;
    const ddpm_status s = json_parse((const char *)data, size, "input", &j);
    if (s != DDPM_OK && s != DDPM_EFORMAT) abort();
    if (s != DDPM_OK) return 0;
    char *text = json_text(j, 2);
    if (!text || json_parse(text, strlen(text), "print", &again) != DDPM_OK) abort();
    char *second = json_text(again, 2);
    if (!second || strcmp(text, second)) abort();
    free(text);
    free(second);
    json_free(j);
    json_free(again);
    return 0;
}
