/* tar.h - the regular files of a tar archive in memory. */
#ifndef DDPM_IO_TAR_H
#define DDPM_IO_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* name: as stored, ended by 0 and cut to what an old header holds; data point into the archive. */
typedef struct { char name[257]; const uint8_t *data; size_t size; } tar_entry;

/* The next regular file from *at on, which moves behind it. *found false: the archive ends here. Folders, links and
 * extension headers are passed over; names that only an extension header gives are not understood. `where` names the
 * archive in sentences. EFORMAT: a wrong checksum, a file that leaves the archive, or no end. */
ddpm_status tar_next(const uint8_t *bytes, size_t len, const char *where, size_t *at, tar_entry *e, bool *found);

#endif
