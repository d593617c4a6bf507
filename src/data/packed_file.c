#include "data/packed_file.h"

#include <stdbool.h>
#include <string.h>

#include "base/checked.h"
#include "io/crc32c.h"

static const char magic[8] = {'d', 'd', 'p', 'm', 'd', 'a', 't', 'a'};
enum { VERSION = 1, MAX_CLASSES = 65536 };

_Static_assert(sizeof(packed_header) == PACKED_HEADER, "the header is written as it lies in memory");

/* --- layout ------------------------------------------------------------------------------- */

static bool align_up(size_t *at)
{
    const bool fits = checked_add(*at, PACKED_ALIGN - 1, at);
    *at -= *at % PACKED_ALIGN;
    return fits;
}

bool packed_layout(packed_header *p)
{
    size_t at = PACKED_HEADER, bytes;
    bool fits = checked_mul((size_t)p->h * p->w, p->c, &bytes) && checked_mul(bytes, (size_t)p->count, &bytes) && checked_add(at, bytes, &at) && align_up(&at);
    p->labels = p->classes ? at : 0;
    if (fits && p->classes) fits = checked_mul((size_t)p->count, sizeof(int32_t), &bytes) && checked_add(at, bytes, &at) && align_up(&at);
    p->text = at;
    fits = fits && checked_add(at, (size_t)p->text_len, &at);
    p->file_len = at;
    return fits;
}

void packed_seal(packed_header *p)
{
    memcpy(p->magic, magic, sizeof magic);
    p->version = VERSION;
    memset(p->reserved, 0, sizeof p->reserved);
    p->crc = crc32c(0, p, offsetof(packed_header, crc));
}

/* --- reading ------------------------------------------------------------------------------ */

static ddpm_status read_header(const void *bytes, size_t len, const char *where, packed_header *p)
{
    if (len < PACKED_HEADER || memcmp(bytes, magic, sizeof magic) != 0)
        return ddpm_fail(DDPM_EFORMAT, "%s is no packed data set, or its beginning is damaged; pack it again with `ddpm data pack`", where);
    memcpy(p, bytes, sizeof *p);
    if (p->crc != crc32c(0, p, offsetof(packed_header, crc)))
        return ddpm_fail(DDPM_EFORMAT, "%s: the header is damaged: its checksum is wrong; pack the data again", where);
    if (p->version != VERSION) return ddpm_fail(DDPM_EFORMAT, "%s has version %u of the format; this program reads %d", where, p->version, VERSION);
    return DDPM_OK;
}

static ddpm_status check_sizes(const packed_header *p, size_t len, const char *where)
{
    packed_header same = *p;
    const bool shape = p->h >= 1 && p->w >= 1 && p->h <= PACKED_MAX_SIDE && p->w <= PACKED_MAX_SIDE && (p->c == 1 || p->c == 3 || p->c == 4);
    if (!shape || p->count < 1 || p->classes < 0 || p->classes > MAX_CLASSES)
        return ddpm_fail(DDPM_EFORMAT, "%s: %lld images of %ux%ux%u in %lld classes are not possible", where, (long long)p->count, p->h, p->w, p->c,
                         (long long)p->classes);
    if (p->file_len != len)
        return ddpm_fail(DDPM_EFORMAT, "%s has %zu bytes and should have %llu; it is truncated or damaged", where, len, (unsigned long long)p->file_len);
    if (!packed_layout(&same) || same.labels != p->labels || same.text != p->text || same.file_len != p->file_len)
        return ddpm_fail(DDPM_EFORMAT, "%s: the sections do not lie where their sizes put them; the header is damaged", where);
    return DDPM_OK;
}

static ddpm_status read_text(packed_file *p, const uint8_t *bytes, const char *where)
{
    const packed_header *h = &p->header;
    DDPM_TRY(json_parse((const char *)bytes + h->text, (size_t)h->text_len, where, &p->text));
    const json *names = json_get(p->text, "class_names");
    bool complete = json_array_len(names) == (size_t)h->classes;
    for (int64_t i = 0; complete && i < h->classes; i++) complete = packed_class_name(p, i) != NULL;
    return complete ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s: there is not a name for each of the %lld classes", where, (long long)h->classes);
}

static ddpm_status check_labels(const packed_file *p, const char *where)
{
    const packed_header *h = &p->header;
    for (int64_t i = 0; p->label && i < h->count; i++)
        if (p->label[i] < 0 || p->label[i] >= h->classes)
            return ddpm_fail(DDPM_EFORMAT, "%s: the label of image %lld is %d; classes are 0 to %lld", where, (long long)i, (int)p->label[i],
                             (long long)h->classes - 1);
    return DDPM_OK;
}

static ddpm_status read_sections(const uint8_t *bytes, size_t len, const char *where, packed_file *p)
{
    DDPM_TRY(read_header(bytes, len, where, &p->header));
    DDPM_TRY(check_sizes(&p->header, len, where));
    p->images = bytes + PACKED_HEADER;
    if (p->header.classes) p->label = (const int32_t *)(const void *)(bytes + p->header.labels);
    DDPM_TRY(check_labels(p, where));
    return read_text(p, bytes, where);
}

ddpm_status packed_file_open(const void *bytes, size_t len, const char *where, packed_file *p)
{
    *p = (packed_file){0};
    const ddpm_status s = read_sections(bytes, len, where, p);
    if (s != DDPM_OK) packed_file_close(p);
    return s;
}

void packed_file_close(packed_file *p)
{
    json_free(p->text);
    *p = (packed_file){0};
}

const char *packed_class_name(const packed_file *p, int64_t label)
{
    return json_as_string(json_at(json_get(p->text, "class_names"), (size_t)label));
}
