/* crc32c.h - CRC-32C (Castagnoli, reflected 0x82F63B78), as in iSCSI and ext4. */
#ifndef DDPM_IO_CRC32C_H
#define DDPM_IO_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC of `data` appended to bytes whose CRC is `crc` (0 at the start). */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
