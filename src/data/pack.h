/* pack.h - a data set decoded once into a file that is mapped from then on (docs/formats.md, "Packed data set"). */
#ifndef DDPM_DATA_PACK_H
#define DDPM_DATA_PACK_H

#include <stdint.h>

#include "base/pool.h"
#include "base/status.h"
#include "data/dataset.h"
#include "io/sha256.h"

/* Told after each piece of work, with images (dataset_pack) or bytes (dataset_verify); whatever it returns but DDPM_OK ends the work. */
typedef struct {
    ddpm_status (*step)(void *ctx, int64_t done, int64_t total);
    void *ctx;
} pack_watch;

typedef struct {
    int64_t images, skipped;
    uint64_t bytes;                  /* of the file */
    char sha256[SHA256_HEX];
} pack_result;

/* DDPM_EINVAL: a packed data set is known by the ending of its name, and this one lacks it. */
ddpm_status pack_check_name(const char *out);

/* All images of `d` in its size and channels, in its order, with its labels, into the file `out`, atomically; a piece of the set
 * is in memory at a time, decoded by the threads of `p`. A bad image is left out, counted and told in a warning; with
 * `strict` it is an error. A set that is a stream can be packed once. Errors: DDPM_EIO, DDPM_EFORMAT
 * (no good image; a damaged database), DDPM_ENOMEM, or watch's. */
ddpm_status dataset_pack(dataset *d, const char *out, pool *p, bool strict, const pack_watch *watch, pack_result *r);

/* What a packed set says of itself; borrowed from it. NULL: `d` is not packed. */
typedef struct {
    const char *sha256;              /* of the contents, in hexadecimal */
    const char *source;              /* what was packed; may be NULL    */
    int64_t skipped;                 /* bad images left out             */
    uint64_t bytes;
} packed_about;
const packed_about *pack_about(const dataset *d);

/* Reads all of a packed set. DDPM_EFORMAT: its contents do not have their SHA-256. watch may be NULL. */
ddpm_status dataset_verify(const dataset *d, const pack_watch *watch);

#endif
