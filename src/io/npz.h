/* npz.h - writing numpy's .npz: a zip of .npy arrays, stored without compression.
 *
 * Arrays and file are limited to below 4 GiB (no zip64) and 65,535 arrays. The file
 * appears under its name only when npz_writer_finish succeeds. Not a reader. */
#ifndef DDPM_IO_NPZ_H
#define DDPM_IO_NPZ_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct npz_writer npz_writer;

ddpm_status npz_writer_open(const char *path, npz_writer **w);

/* Add array `name` (no '/'; ".npy" is appended), C order. descr is numpy's:
 * "|u1" "|i1" "<i4" "<i8" "<f2" "<f4" "<f8". `data` has the bytes of shape and descr and
 * is not kept. Too large or a name used twice: DDPM_EINVAL. */
ddpm_status npz_writer_add(npz_writer *w, const char *name, const char *descr,
                           const int64_t *shape, int ndim, const void *data);

/* Both free the writer, also on failure; abort leaves no file. */
ddpm_status npz_writer_finish(npz_writer *w);
void        npz_writer_abort(npz_writer *w);         /* NULL ok                 */

#endif
