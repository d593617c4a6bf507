/* lmdb_stream.h - the values of an LMDB database, in the order of their keys.
 *
 * liblmdb trusts what it maps: one wrong byte in a file may end the process that reads it. So a process of its own
 * opens the database (lmdb_child.c), with little memory, limited time, no other files and no system calls but those
 * that sending needs, and hands the values over through a pipe. Whatever becomes of it, the caller gets a sentence. */
#ifndef DDPM_IO_LMDB_STREAM_H
#define DDPM_IO_LMDB_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct lmdb_stream lmdb_stream;

/* A folder with a data.mdb. */
bool lmdb_is_folder(const char *path);

/* Starts the reader; best before other threads exist. Errors: DDPM_EIO, DDPM_ENOMEM, DDPM_EFAIL (no process), DDPM_EFORMAT (no
 * database, or damaged). */
ddpm_status lmdb_stream_open(const char *folder, lmdb_stream **s);
void        lmdb_stream_close(lmdb_stream *s);                  /* at any time; NULL ok */

int64_t     lmdb_stream_count(const lmdb_stream *s);            /* what the database says, >= 0 */

/* The next value; the caller frees *bytes, which is NULL behind the last one. DDPM_EFORMAT "the database is damaged at
 * record n": the reader died, or what it sent is not possible; then only close is left. */
ddpm_status lmdb_stream_next(lmdb_stream *s, uint8_t **bytes, size_t *len);

#endif
