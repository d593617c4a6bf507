/* npz.h - numpy's .npz: a zip of .npy arrays.
 *
 * Written without compression; arrays and file are limited to below 4 GiB (no zip64) and
 * 65,535 arrays. The file appears under its name only when npz_writer_finish succeeds.
 *
 * Read stored or deflated, with zip64. Before memory is taken, the zip's directory, the
 * header of an array and the size of its data must agree with the file. Only plain
 * numbers in C order are understood; nothing that numpy would unpickle. */
#ifndef DDPM_IO_NPZ_H
#define DDPM_IO_NPZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* --- writing ----------------------------------------------------------------- */

typedef struct npz_writer npz_writer;

/* Arrays of so many bytes together fit for certain. */
#define NPZ_MAX_BYTES INT64_C(4000000000)

ddpm_status npz_writer_open(const char *path, npz_writer **w);

/* Add array `name` (no '/'; ".npy" is appended), C order. descr is numpy's:
 * "|u1" "|i1" "<i4" "<i8" "<f2" "<f4" "<f8". `data` has the bytes of shape and descr and
 * is not kept. Too large or a name used twice: DDPM_EINVAL. */
ddpm_status npz_writer_add(npz_writer *w, const char *name, const char *descr,
                           const int64_t *shape, int ndim, const void *data);

/* An array whose rows come a few at a time, beside others that grow too: its bytes lie in a file without a name, in the folder of `path`,
 * until it is complete. Rows of `columns` numbers; columns 0: an array of one dimension. EIO: that file cannot be made or written. */
typedef struct npz_rows npz_rows;

ddpm_status npz_rows_new(const char *path, const char *descr, int64_t columns, npz_rows **r);
void        npz_rows_free(npz_rows *r);                                             /* NULL ok */
ddpm_status npz_rows_add(npz_rows *r, const void *data, int64_t n);
ddpm_status npz_writer_add_rows(npz_writer *w, const char *name, npz_rows *r);      /* all that came */

/* Both free the writer, also on failure; abort leaves no file. */
ddpm_status npz_writer_finish(npz_writer *w);
void        npz_writer_abort(npz_writer *w);         /* NULL ok                 */

/* --- reading ----------------------------------------------------------------- */

enum { NPZ_MAX_DIMS = 8 };

typedef struct npz_reader npz_reader;

/* One array. `data` has the bytes of shape and descr, need not be aligned, and lives as
 * long as the reader. */
typedef struct {
    char descr[4];                                   /* as for npz_writer_add   */
    int ndim;
    int64_t shape[NPZ_MAX_DIMS];
    size_t bytes;
    const uint8_t *data;
} npz_array;

/* Errors: DDPM_EIO, DDPM_EFORMAT (damaged, or not a zip), DDPM_ENOMEM. */
ddpm_status npz_reader_open(const char *path, npz_reader **r);
/* The same over `len` bytes that outlive `r`; `where` names them in sentences. */
ddpm_status npz_reader_open_memory(const void *bytes, size_t len, const char *where, npz_reader **r);
void        npz_reader_free(npz_reader *r);          /* NULL ok                 */

int         npz_reader_count(const npz_reader *r);
/* Name of array i, with ".npy" where the file has it; its length in *len, not ended by 0. */
const char *npz_reader_name(const npz_reader *r, int i, size_t *len);
bool        npz_reader_has(const npz_reader *r, const char *name);

/* Array `name` (without ".npy"), checked and inflated. DDPM_EFORMAT: it is not there, its
 * type is unknown, it is in Fortran order, sizes disagree, its checksum is wrong. */
ddpm_status npz_reader_get(npz_reader *r, const char *name, npz_array *a);

#endif
