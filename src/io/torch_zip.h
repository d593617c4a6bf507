/* torch_zip.h - the zip around a PyTorch file: names of records to bytes of the map.
 *
 * Only what PyTorch writes is read: records that are stored, neither compressed nor
 * encrypted. The central directory is believed only where the local headers agree;
 * records may not overlap, leave the file, have equal, absolute or climbing names,
 * and the file must end with the directory's end record. zip64 is understood. */
#ifndef DDPM_IO_TORCH_ZIP_H
#define DDPM_IO_TORCH_ZIP_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct {
    const char *name;          /* name_len bytes of the file, not ended by 0 */
    size_t      name_len, size, offset, begin, end;   /* data at offset; [begin, end) with its headers */
    uint32_t    crc;
} zip_entry;

typedef struct {
    const uint8_t *bytes;
    size_t         len;
    const char    *where;
    zip_entry     *entries;    /* sorted by name */
    size_t         count;
} torch_zip;

/* `bytes` and `where` are borrowed. *zip is emptied by torch_zip_close also after a failure. EFORMAT. */
ddpm_status torch_zip_open(const void *bytes, size_t len, const char *where, torch_zip *zip);
void        torch_zip_close(torch_zip *zip);

const zip_entry *torch_zip_find(const torch_zip *zip, const char *name);     /* NULL: absent */
/* The record's bytes against its checksum. EFORMAT. */
ddpm_status      torch_zip_check(const torch_zip *zip, const zip_entry *e);

#endif
