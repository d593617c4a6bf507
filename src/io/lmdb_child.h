/* lmdb_child.h - what lmdb_stream.c and the process that it starts agree on. Not for other files. */
#ifndef DDPM_IO_LMDB_CHILD_H
#define DDPM_IO_LMDB_CHILD_H

#include <stddef.h>
#include <stdint.h>

/* OPENED: `value` entries are in the database. RECORD: `value` bytes follow. END: that was all. FAILED: `value` is
 * what liblmdb or the system said. UNSORTED: a key is not above the one before it, as in a damaged tree that leads in a circle. */
typedef enum { LMDB_OPENED, LMDB_RECORD, LMDB_END, LMDB_FAILED, LMDB_UNSORTED } lmdb_frame_kind;

typedef struct { int64_t kind, value; } lmdb_frame;

/* Reads the database of `folder`, whose file has `size` bytes, sends frames to the pipe `out`, and ends the process. */
_Noreturn void lmdb_child_run(const char *folder, size_t size, int out);

#endif
