/* Python's pickles of uint8 arrays: every byte that an array names is there. */
#include <stdlib.h>

#include "io/torch_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t sum;                       /* so that reads are not optimised away */

static void walk(const torch_value *v)
{
    const torch_tensor *t = torch_as_tensor(v);
    if (t && torch_tensor_len(t) != t->storage->len) abort();
    for (size_t i = 0; t && i < t->storage->len; i++) sum ^= t->storage->data[i];
    for (size_t i = 0; i < torch_len(v); i++) walk(torch_at(v, i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    torch_file *f = NULL;
    const ddpm_status s = torch_open_arrays(data, size, "input", &f);
    if (s != DDPM_OK && s != DDPM_EFORMAT) abort();
    if (s == DDPM_OK) walk(torch_root(f));
    torch_close(f);
    return 0;
}
