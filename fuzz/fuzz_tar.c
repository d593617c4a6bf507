/* Tar archives: every file that is found lies inside. */
#include <stdlib.h>
#include <string.h>

#include "io/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 0;
    for (;;) {
        tar_entry e;
        bool found;
        const size_t before = at;
        const ddpm_status s = tar_next(data, size, "input", &at, &e, &found);
        if (s != DDPM_OK && s != DDPM_EFORMAT) abort();
        if (s != DDPM_OK || !found) return 0;
        if (at <= before || at > size || e.data < data || e.size > size - (size_t)(e.data - data) || strlen(e.name) > 256) abort();
    }
}
