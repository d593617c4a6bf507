/* file_parts.h - what file.c, dir.c and lmdb_stream.c share. Not for other files. */
#ifndef DDPM_IO_FILE_PARTS_H
#define DDPM_IO_FILE_PARTS_H

#include "io/file.h"

/* Sentence for a failed write or fsync from errno; `wanted` bytes were still to go. */
ddpm_status file_fail_write(const char *path, uint64_t wanted);

/* Write all of it; `path` is for the sentence. */
ddpm_status file_write_fd(int fd, const char *path, const void *data, size_t len);
ddpm_status file_sync_fd(int fd, const char *path);

/* Read until `size` bytes or the end; *done says how many there were. */
ddpm_status file_read_fd(int fd, const char *path, void *bytes, size_t size, size_t *done);

/* The folder that holds `path`, malloc'ed; NULL: out of memory. */
char *file_parent(const char *path);

/* fsync the folder that holds `path`. */
ddpm_status dir_sync_parent(const char *path);

#endif
