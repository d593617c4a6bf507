/* pickle.h - the machine behind torch_file.h. Not for other files.
 *
 * Reads pickles of protocols 2 to 5. Instructions, globals and arguments outside the
 * lists in pickle.c and pickle_torch.c are EFORMAT. Memory is at most a constant times the
 * length of the pickles. */
#ifndef DDPM_IO_PICKLE_H
#define DDPM_IO_PICKLE_H

#include "io/torch_file.h"

/* Kinds that exist only inside the machine. TEXT: long UTF-8 or with zero bytes, which encode makes BYTES. */
enum { PICKLE_GLOBAL = TORCH_KIND_COUNT, PICKLE_STORAGE, PICKLE_BYTES, PICKLE_TEXT, PICKLE_ARRAY_TYPE };

typedef struct pickle_global pickle_global;

struct torch_value {
    uint8_t  kind;             /* torch_kind or one of the above                     */
    bool     ordered;          /* an OrderedDict                                     */
    uint8_t  state, height;    /* of the final check; height: levels below           */
    uint32_t weight;           /* values in it, counted with repetition              */
    union {
        bool           flag;
        int64_t        i;      /* also a DTYPE                                       */
        double         r;
        const char    *text;
        torch_tensor  *tensor;
        torch_storage *storage;
        const pickle_global *global;
        struct { const uint8_t *at; size_t len; } bytes;    /* also a TEXT */
        struct {
            torch_value  **items;    /* of a dictionary: key, value, key, value ...   */
            torch_value ***order;    /* a dictionary's keys, sorted: places in items  */
            uint32_t       n, cap;   /* pointers in items                            */
        } c;
    } u;
};

/* Memory of values, and the storages they name. */
typedef struct pickle pickle;

ddpm_status pickle_new(const char *where, pickle **p);    /* `where` is borrowed */
/* From now on bytes and numpy's arrays of uint8 are read too; they become tensors whose data lie in the pickle. */
void        pickle_allow_arrays(pickle *p);
void        pickle_free(pickle *p);                       /* NULL ok             */

/* One pickle from the beginning of bytes[len], which lie `offset` bytes into the file. *root: a checked
 * tree; *used: where the pickle ended. */
ddpm_status pickle_read(pickle *p, const uint8_t *bytes, size_t len, size_t offset, const torch_value **root, size_t *used);

/* Every storage that the pickles so far named, one entry for each mention; their data are not set. */
torch_storage **pickle_storages(const pickle *p, size_t *count);

/* Order of dictionaries' keys: integers before strings. */
int         pickle_compare_keys(const torch_value *a, const torch_value *b);

#endif
