/* torch_zip.h - the zip around a PyTorch file or a .npz: names of records to bytes of the map.
 *
 * Only what PyTorch and numpy write is read: records that are stored or, where the caller
 * takes them, deflated; never encrypted. The central directory is believed only where the local headers agree;
 * records may not overlap, leave the file, have equal, absolute or climbing names,
 * and the file must end with the directory's end record, behind which only a zip that may be deflated can have
 * a comment. zip64 is understood. */
#ifndef DDPM_IO_TORCH_ZIP_H
#define DDPM_IO_TORCH_ZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct {
    const char *name;          /* name_len bytes of the file, not ended by 0 */
    size_t      name_len, size, packed, offset, begin, end;   /* packed bytes at offset; [begin, end) with its headers */
    uint32_t    crc;           /* of the size bytes that packed bytes become */
    bool        deflated;      /* else size == packed */
} zip_entry;

typedef struct {
    const uint8_t *bytes;
    size_t         len;
    const char    *where;
    bool           may_deflate;
    zip_entry     *entries;    /* sorted by name */
    size_t         count;
} torch_zip;

/* `bytes` and `where` are borrowed. *zip is emptied by torch_zip_close also after a failure. EFORMAT. */
ddpm_status torch_zip_open(const void *bytes, size_t len, const char *where, torch_zip *zip);
/* The same where records may also be deflated. */
ddpm_status torch_zip_open_deflated(const void *bytes, size_t len, const char *where, torch_zip *zip);
void        torch_zip_close(torch_zip *zip);

const zip_entry *torch_zip_find(const torch_zip *zip, const char *name);     /* NULL: absent */
/* The bytes of a stored record against its checksum. EFORMAT. */
ddpm_status      torch_zip_check(const torch_zip *zip, const zip_entry *e);
/* A record whole, inflated where it is deflated, with a 0 byte behind it; the caller frees. EFORMAT, ENOMEM. */
ddpm_status      torch_zip_read(const torch_zip *zip, const zip_entry *e, uint8_t **bytes);

#endif
