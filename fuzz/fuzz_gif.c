/* What `ddpm info` says of a film: a size and frames that are possible, or a refusal. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/gif.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gif_info info = { 0 };
    const ddpm_status s = gif_read_info(data, size, "input", &info);
    if (s != DDPM_OK && s != DDPM_EFORMAT) abort();
    if (s == DDPM_OK && (info.frames < 1 || info.w < 1 || info.h < 1 || info.w > GIF_MAX_SIDE || info.h > GIF_MAX_SIDE || !info.comment)) abort();
    if (s == DDPM_OK && strlen(info.comment) > GIF_MAX_COMMENT) abort();
    free(info.comment);
    return 0;
}
