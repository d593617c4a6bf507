/* npz archives: after a successful open every array is asked for, and what is given is read to its end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/npz.h"

static uint8_t sum;                       /* so that reads are not optimised away */

static void read_array(npz_reader *r, int i)
{
    char name[256];
    npz_array a;
    size_t len;
    const char *full = npz_reader_name(r, i, &len);
    if (len < 4 || len >= sizeof name || memcmp(full + len - 4, ".npy", 4)) return;
    memcpy(name, full, len - 4);
    name[len - 4] = 0;
    if (!npz_reader_has(r, name)) abort();
    const ddpm_status s = npz_reader_get(r, name, &a);
    if (s != DDPM_OK && s != DDPM_EFORMAT && s != DDPM_ENOMEM) abort();
    if (s != DDPM_OK) return;
    if (a.ndim < 0 || a.ndim > NPZ_MAX_DIMS) abort();
    for (size_t k = 0; k < a.bytes; k++) sum ^= a.data[k];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    npz_reader *r = NULL;
    const ddpm_status s = npz_reader_open_memory(data, size, "input", &r);
    if (s != DDPM_OK && s != DDPM_EFORMAT) abort();
    for (int i = 0; s == DDPM_OK && i < npz_reader_count(r); i++) read_array(r, i);
    npz_reader_free(r);
    return 0;
}
