/* zip_write.h - a zip of stored records, as numpy's .npz and PyTorch's .pt files are.
 *
 * Nothing is compressed, all dates are 1980-01-01: equal records give equal files. No zip64:
 * below 4 GiB and 65,535 records. The file appears under its name only when zip_writer_finish
 * succeeds. */
#ifndef DDPM_IO_ZIP_WRITE_H
#define DDPM_IO_ZIP_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct zip_writer zip_writer;

enum { ZIP_WRITER_MAX_NAME = 256, ZIP_WRITER_MAX_RECORDS = 65535 };

ddpm_status zip_writer_open(const char *path, zip_writer **w);

/* EINVAL: a record of `size` bytes is too large for what is left. */
ddpm_status zip_writer_fits(const zip_writer *w, const char *name, size_t size);

/* Begin a record of `size` bytes with this CRC-32 (of zlib), all of which must follow through
 * zip_writer_data. align, a power of two up to 64: its bytes begin at a multiple of that; 1: anywhere.
 * EINVAL: a name used twice or too long, or it does not fit. */
ddpm_status zip_writer_add(zip_writer *w, const char *name, uint32_t crc, size_t size, size_t align);
ddpm_status zip_writer_data(zip_writer *w, const void *bytes, size_t len);

/* Both free the writer, also on failure; abort leaves no file. */
ddpm_status zip_writer_finish(zip_writer *w);
void        zip_writer_abort(zip_writer *w);         /* NULL ok                 */

#endif
