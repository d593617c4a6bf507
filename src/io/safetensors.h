/* safetensors.h - the tensor file format: 8 bytes of header length, a JSON header,
 * then the data of all tensors back to back.
 *
 * Reading maps the file and checks everything before a tensor can be reached:
 * the length of the header, its JSON (no duplicate keys), every dtype and shape,
 * and that the tensors tile the data exactly, without holes or overlap, to the last
 * byte of the file. A file that does not pass is DDPM_EFORMAT with path and tensor.
 *
 * Numbers in the file are little-endian, as is every machine this builds for. */
#ifndef DDPM_IO_SAFETENSORS_H
#define DDPM_IO_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { SAFETENSORS_MAX_DIMS = 8, SAFETENSORS_MAX_HEADER = 100000000 };

/* dtype, name in the file, bytes per element; in the order in which data is written. */
#define SAFETENSORS_DTYPE_LIST(X)                                                       \
    X(ST_U64, "U64", 8) X(ST_I64, "I64", 8) X(ST_F64, "F64", 8) X(ST_C64, "C64", 8)     \
    X(ST_F32, "F32", 4) X(ST_U32, "U32", 4) X(ST_I32, "I32", 4)                         \
    X(ST_BF16, "BF16", 2) X(ST_F16, "F16", 2) X(ST_U16, "U16", 2) X(ST_I16, "I16", 2)   \
    X(ST_F8_E8M0, "F8_E8M0", 1) X(ST_F8_E4M3, "F8_E4M3", 1) X(ST_F8_E5M2, "F8_E5M2", 1) \
    X(ST_I8, "I8", 1) X(ST_U8, "U8", 1) X(ST_BOOL, "BOOL", 1)

typedef enum {
#define X(code, name, bytes) code,
    SAFETENSORS_DTYPE_LIST(X)
#undef X
    ST_DTYPE_COUNT
} safetensors_dtype;

const char *safetensors_dtype_name(safetensors_dtype dtype);
size_t      safetensors_dtype_bytes(safetensors_dtype dtype);

/* One tensor. As the reader returns it, name and data are borrowed from the open
 * file; as given to the writer, they belong to the caller. ndim 0 is a scalar.
 * The data of a file need not be aligned: copy or convert it, do not cast it. */
typedef struct {
    const char *name;
    safetensors_dtype dtype;
    int ndim;
    int64_t shape[SAFETENSORS_MAX_DIMS];
    const void *data;
    size_t bytes;
} safetensors_tensor;

/* --- reading ----------------------------------------------------------------- */

typedef struct safetensors safetensors;

ddpm_status safetensors_open(const char *path, safetensors **st);
/* The same over `len` bytes that outlive `st`; `where` names them in sentences. */
ddpm_status safetensors_open_memory(const void *bytes, size_t len, const char *where, safetensors **st);
void        safetensors_close(safetensors *st);      /* NULL ok                 */

int safetensors_count(const safetensors *st);
/* The i-th tensor in the order of the data, 0 <= i < count. Borrowed. */
const safetensors_tensor *safetensors_at(const safetensors *st, int i);
const safetensors_tensor *safetensors_find(const safetensors *st, const char *name); /* NULL: absent */
/* safetensors_find that fails: DDPM_EFORMAT naming the file and the tensor. */
ddpm_status safetensors_need(const safetensors *st, const char *name, const safetensors_tensor **t);

const char *safetensors_metadata(const safetensors *st, const char *key); /* borrowed; NULL: absent */
/* Its keys: the one after `key`, the first after NULL; NULL: no more. Borrowed. */
const char *safetensors_next_key(const safetensors *st, const char *key);
const char *safetensors_path(const safetensors *st);                      /* borrowed               */

int64_t     safetensors_len(const safetensors_tensor *t);                 /* elements               */
/* out[safetensors_len]; from F64 (rounded to nearest), F32, F16, BF16. Anything
 * else: DDPM_EFORMAT. */
ddpm_status safetensors_convert_f32(const safetensors_tensor *t, float *out);
uint32_t    safetensors_crc32c(const safetensors_tensor *t);

/* --- writing ----------------------------------------------------------------- */

typedef struct { const char *key, *value; } safetensors_meta;

/* Write `tensors` and `meta` atomically (io/file.h). Order of the data: that of
 * SAFETENSORS_DTYPE_LIST (larger elements first), then name; the header is
 * padded with spaces so that data begins at a multiple of 8. `bytes` of a tensor
 * must be its shape's. Two equal names, or a name "__metadata__": DDPM_EINVAL. */
ddpm_status safetensors_write(const char *path, const safetensors_tensor *tensors, int count,
                              const safetensors_meta *meta, int meta_count);

/* Bytes of tensor i of the caller's array into `buffer`, which holds that tensor's `bytes`. */
typedef ddpm_status (*safetensors_produce)(void *ctx, int i, void *buffer);

/* The same with data made when they are needed, each tensor once; `data` of the tensors is not
 * read. Takes no more memory than the largest tensor. */
ddpm_status safetensors_write_stream(const char *path, const safetensors_tensor *tensors, int count,
                                     const safetensors_meta *meta, int meta_count,
                                     safetensors_produce produce, void *ctx);

#endif
