/* PyTorch files of both containers: after a successful open, everything reachable is read. */
#include <stdint.h>
#include <stdlib.h>

#include "io/torch_file.h"

static uint8_t sum;                       /* so that reads are not optimised away */

static void walk(const torch_value *v)
{
    const torch_tensor *t = torch_as_tensor(v);
    if (t) {
        const size_t n = torch_tensor_len(t), bytes = n * torch_dtype_bytes(t->dtype);
        float *real = malloc(n * sizeof *real + 1);
        uint8_t *raw = malloc(bytes + 1);
        if (!real || !raw || torch_tensor_f32(v, real) != DDPM_OK) abort();
        torch_tensor_bytes(t, raw);
        for (size_t i = 0; i < bytes; i++) sum ^= raw[i];
        free(raw);
        free(real);
    }
    for (size_t i = 0; i < torch_len(v); i++) {
        const torch_value *key = torch_key(v, i);
        int64_t number;
        if (torch_as_string(key) && torch_get(v, torch_as_string(key)) != torch_at(v, i)) abort();
        if (torch_as_int(key, &number) && torch_get_int(v, number) != torch_at(v, i)) abort();
        walk(torch_at(v, i));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    torch_file *f = NULL;
    const ddpm_status s = torch_open_memory(data, size, "input", &f);
    if (s != DDPM_OK && s != DDPM_EFORMAT) abort();
    if (s == DDPM_OK) walk(torch_root(f));
    torch_close(f);
    return 0;
}
