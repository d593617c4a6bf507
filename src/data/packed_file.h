/* packed_file.h - the layout of a packed data set (docs/formats.md, "Packed data set"), read in place; private to data/. */
#ifndef DDPM_DATA_PACKED_FILE_H
#define DDPM_DATA_PACKED_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "io/json.h"
#include "io/sha256.h"

#define PACKED_ENDING ".ddpmdata"

enum { PACKED_HEADER = 128, PACKED_ALIGN = 64, PACKED_MAX_SIDE = 16384 };

/* The header. Sections follow it in this order, each at a multiple of PACKED_ALIGN, with zeros between them. */
typedef struct {
    char     magic[8];           /* "ddpmdata"                                       */
    uint32_t version;            /* 1                                                */
    uint32_t h, w, c;
    int64_t  count;
    int64_t  classes;            /* 0: no labels and no section of them              */
    uint64_t labels, text, text_len, file_len;      /* offsets and lengths in bytes; images begin behind the header */
    uint8_t  sha256[SHA256_BYTES];                  /* of everything behind the header */
    uint32_t reserved[5];        /* 0                                                */
    uint32_t crc;                /* CRC-32C of the header up to here                 */
} packed_header;

/* Borrowed from the file's bytes, but for `text`. */
typedef struct {
    packed_header  header;
    const uint8_t *images;       /* [count,h,w,c]                                    */
    const int32_t *label;        /* [count], each checked to be a class; NULL: none  */
    json          *text;         /* class_names, source, skipped                     */
} packed_file;

/* The places of the sections for the sizes that are set; false: they do not fit into 64 bits. */
bool packed_layout(packed_header *p);

/* Magic, version and checksum for the rest of the header as it is. */
void packed_seal(packed_header *p);

/* `where` names the file. Every size is checked against `len` before it is used. DDPM_EFORMAT, DDPM_ENOMEM. */
ddpm_status packed_file_open(const void *bytes, size_t len, const char *where, packed_file *p);
void        packed_file_close(packed_file *p);          /* zeroed ok */

/* The name of a class, borrowed. */
const char *packed_class_name(const packed_file *p, int64_t label);

#endif
