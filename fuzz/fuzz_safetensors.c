/* safetensors: what opens has consistent tensors and readable bytes. */
#include <stdint.h>
#include <stdlib.h>

#include "io/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    safetensors *st = NULL;
    const ddpm_status s = safetensors_open_memory(data, size, "input", &st);
    if (s != DDPM_OK && s != DDPM_EFORMAT) abort();
    if (s != DDPM_OK) return 0;
    for (int i = 0; i < safetensors_count(st); i++) {
        const safetensors_tensor *t = safetensors_at(st, i);
        float *out = malloc((size_t)safetensors_len(t) * sizeof *out + 1);
        if (!out || safetensors_find(st, t->name) != t) abort();
        const ddpm_status c = safetensors_convert_f32(t, out);
        if (c != DDPM_OK && c != DDPM_EFORMAT) abort();
        safetensors_crc32c(t);
        free(out);
    }
    safetensors_metadata(st, "format");
    safetensors_close(st);
    return 0;
}
