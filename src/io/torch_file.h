/* torch_file.h - what torch.save wrote, read without executing anything.
 *
 * A .pt file is a Python pickle that describes objects, and raw storages beside it:
 * in a zip (PyTorch 1.6 and later) or one after another in a stream (before). The
 * pickle is interpreted by a machine that knows the few instructions and globals
 * that state dicts consist of and makes values of the kinds below; there are no
 * objects, no calls and no attributes. Everything else is refused with the name of the
 * global or instruction and its offset in the file.
 *
 * After a successful open: every storage has the size its declaration says, every
 * element of every tensor lies inside its storage and no two elements of a tensor
 * share memory, no container holds itself, nesting is at most TORCH_MAX_DEPTH, the
 * tree has at most TORCH_MAX_ITEMS values counted with repetition, dictionaries have no
 * equal keys, and checksums of the zip are right. What does not pass is DDPM_EFORMAT.
 *
 * All values and what they point to belong to the file and live until torch_close. */
#ifndef DDPM_IO_TORCH_FILE_H
#define DDPM_IO_TORCH_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { TORCH_MAX_DIMS = 8, TORCH_MAX_DEPTH = 64, TORCH_MAX_ITEMS = 1000000 };

/* dtype, name of torch's dtype, name of torch's storage class, bytes per element */
#define TORCH_DTYPE_LIST(X)                        \
    X(TORCH_F64,  "float64",  "DoubleStorage",   8) \
    X(TORCH_F32,  "float32",  "FloatStorage",    4) \
    X(TORCH_F16,  "float16",  "HalfStorage",     2) \
    X(TORCH_BF16, "bfloat16", "BFloat16Storage", 2) \
    X(TORCH_I64,  "int64",    "LongStorage",     8) \
    X(TORCH_I32,  "int32",    "IntStorage",      4) \
    X(TORCH_I16,  "int16",    "ShortStorage",    2) \
    X(TORCH_I8,   "int8",     "CharStorage",     1) \
    X(TORCH_U8,   "uint8",    "ByteStorage",     1) \
    X(TORCH_BOOL, "bool",     "BoolStorage",     1)

typedef enum {
#define X(code, name, storage, bytes) code,
    TORCH_DTYPE_LIST(X)
#undef X
    TORCH_DTYPE_COUNT
} torch_dtype;

const char *torch_dtype_name(torch_dtype dtype);
size_t      torch_dtype_bytes(torch_dtype dtype);

typedef enum {
    TORCH_KIND_ABSENT,       /* of a NULL value                                   */
    TORCH_KIND_NONE, TORCH_KIND_BOOL, TORCH_KIND_INT, TORCH_KIND_REAL, TORCH_KIND_STRING,
    TORCH_KIND_DTYPE,        /* torch.float32 and its like as a value             */
    TORCH_KIND_LIST, TORCH_KIND_TUPLE, TORCH_KIND_DICT, TORCH_KIND_TENSOR, TORCH_KIND_COUNT
} torch_kind;

/* Raw little-endian elements; `data` need not be aligned. */
typedef struct {
    const char    *key;
    torch_dtype    dtype;
    size_t         len;                          /* elements                       */
    const uint8_t *data;
} torch_storage;

/* Element (i, j, ...) is number offset + i strides[0] + j strides[1] + ... of the storage. */
typedef struct {
    torch_dtype dtype;
    int         ndim;                            /* 0: a scalar                    */
    int64_t     shape[TORCH_MAX_DIMS], strides[TORCH_MAX_DIMS];
    size_t      offset;
    bool        parameter;                       /* torch.nn.Parameter             */
    const torch_storage *storage;
} torch_tensor;

typedef struct torch_file  torch_file;
typedef struct torch_value torch_value;

/* The format is told from the first bytes. EFORMAT: a tar (of 2016), a TorchScript archive, something
 * else, damaged, or holding more than data; EIO: unreadable. */
ddpm_status torch_open(const char *path, torch_file **f);
/* The same over `len` bytes that outlive `f`; `where` names them in sentences. */
ddpm_status torch_open_memory(const void *bytes, size_t len, const char *where, torch_file **f);
/* A bare pickle of plain values and numpy's uint8 arrays, as CIFAR's python version is: nothing of torch is
 * allowed in it. Python 2's texts and bytes that are no text are read as one; arrays become tensors. */
ddpm_status torch_open_arrays(const void *bytes, size_t len, const char *where, torch_file **f);
void        torch_close(torch_file *f);                            /* NULL ok     */

/* Whether a file that begins with these bytes may be one for torch_open. */
bool        torch_sniff(const void *bytes, size_t len);

const torch_value *torch_root(const torch_file *f);
const char        *torch_path(const torch_file *f);
size_t             torch_size(const torch_file *f);                /* bytes of the file */

/* --- values: NULL is allowed everywhere and is of kind ABSENT ----------------------- */

torch_kind  torch_kind_of(const torch_value *v);
const char *torch_kind_name(torch_kind kind);                      /* "a dictionary" */

bool        torch_as_bool(const torch_value *v, bool *out);        /* false: another kind */
bool        torch_as_int(const torch_value *v, int64_t *out);
bool        torch_as_real(const torch_value *v, double *out);      /* takes ints  */
const char *torch_as_string(const torch_value *v);                 /* NULL: another kind */
const torch_tensor *torch_as_tensor(const torch_value *v);         /* NULL: another kind */

/* Elements of a list or tuple, entries of a dictionary in their order; 0: another kind. */
size_t             torch_len(const torch_value *v);
const torch_value *torch_at(const torch_value *v, size_t i);       /* element, or value of entry i; NULL: out of range */
const torch_value *torch_key(const torch_value *v, size_t i);      /* STRING or INT; NULL: out of range */
const torch_value *torch_get(const torch_value *v, const char *key);     /* NULL: absent */
const torch_value *torch_get_int(const torch_value *v, int64_t key);

/* --- tensors ------------------------------------------------------------------------- */

size_t      torch_tensor_len(const torch_tensor *t);               /* elements    */
/* out[torch_tensor_len], row-major: F64 rounded to nearest, integers converted, BOOL 0 or 1. EFORMAT: not a tensor. */
ddpm_status torch_tensor_f32(const torch_value *v, float *out);
/* Elements as they are stored, row-major: torch_tensor_len times torch_dtype_bytes. */
void        torch_tensor_bytes(const torch_tensor *t, void *out);

#endif
