/* gzip as it comes in and npz as it goes out. The first byte chooses; a file in memory stands for one on disk. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/gzip.h"
#include "io/npz.h"

enum { FUZZ_MAX_BYTES = 1 << 20 };

static void inflate_any(const uint8_t *data, size_t size)
{
    char path[64];
    uint8_t *bytes = NULL;
    size_t len = 0;
    const int fd = memfd_create("input", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const ddpm_status s = gzip_read_all(path, FUZZ_MAX_BYTES, &bytes, &len);
    if (s != DDPM_OK && s != DDPM_EFORMAT) abort();
    if (s == DDPM_OK && len > FUZZ_MAX_BYTES) abort();
    if (s == DDPM_OK) free(bytes);
    close(fd);
}

/* An array of bytes whose name and shape come from the input. */
static void write_any(const uint8_t *data, size_t size)
{
    char path[64], name[64] = "";
    npz_writer *w = NULL;
    const size_t n = size < 60 ? size : 60;
    memcpy(name, data, n);
    name[strcspn(name, "/")] = 0;
    snprintf(path, sizeof path, "/tmp/ddpm-fuzz-npz-%d", (int)getpid());
    const int64_t shape[2] = { 1, (int64_t)size };
    if (npz_writer_open(path, &w) != DDPM_OK) return;
    ddpm_status s = npz_writer_add(w, name, "|u1", shape, 2, data);
    if (s == DDPM_OK && npz_writer_add(w, name, "|u1", shape, 2, data) != DDPM_EINVAL) abort();
    npz_writer_abort(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    if (data[0] == 'w') write_any(data + 1, size - 1);
    else inflate_any(data + 1, size - 1);
    return 0;
}
