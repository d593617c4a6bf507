/* Packed data sets: what opens can be read to its end. The checksum of the header is set right, or no edit would pass it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/packed_file.h"

static uint8_t sum;                       /* so that reads are not optimised away */

static void read_all(const packed_file *f)
{
    const packed_header *h = &f->header;
    const size_t image = (size_t)h->h * h->w * h->c;
    for (int64_t i = 0; i < h->count; i++) {
        sum ^= f->images[(size_t)i * image];
        sum ^= f->images[(size_t)i * image + image - 1];
        if (f->label && !packed_class_name(f, f->label[i])) abort();
    }
}

static void try_open(const uint8_t *data, size_t size)
{
    packed_file f;
    const ddpm_status s = packed_file_open(data, size, "input", &f);
    if (s != DDPM_OK && s != DDPM_EFORMAT) abort();
    if (s != DDPM_OK) return;
    read_all(&f);
    packed_file_close(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_open(data, size);
    if (size < PACKED_HEADER) return 0;
    packed_header h;
    uint8_t *copy = malloc(size);
    if (!copy) return 0;
    memcpy(copy, data, size);
    memcpy(&h, copy, sizeof h);
    packed_seal(&h);
    memcpy(copy, &h, sizeof h);
    try_open(copy, size);
    free(copy);
    return 0;
}
