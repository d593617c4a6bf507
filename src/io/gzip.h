/* gzip.h - a file whole, whether gzipped or not (MNIST, CIFAR downloads). */
#ifndef DDPM_IO_GZIP_H
#define DDPM_IO_GZIP_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* The bytes of `path`, inflated if it starts with the gzip magic (members one after
 * another are joined). The caller frees *bytes. More than `max_bytes` after
 * inflating, a bad checksum, a truncated or a trailing part: DDPM_EFORMAT; memory
 * never grows beyond max_bytes. */
ddpm_status gzip_read_all(const char *path, size_t max_bytes, uint8_t **bytes, size_t *len);

#endif
