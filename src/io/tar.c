#include "io/tar.h"

#include <stdbool.h>
#include <string.h>

/* Places in a header of POSIX ustar. */
enum { BLOCK = 512, NAME_LEN = 100, SIZE_AT = 124, SIZE_LEN = 12, SUM_AT = 148, SUM_LEN = 8, TYPE_AT = 156, MAGIC_AT = 257, PREFIX_AT = 345, PREFIX_LEN = 155 };

/* Octal digits, padded with spaces or zeros. False: something else. */
static bool octal(const uint8_t *p, int len, uint64_t *value)
{
    int i = 0;
    *value = 0;
    while (i < len && p[i] == ' ') i++;
    for (; i < len && p[i] >= '0' && p[i] <= '7'; i++) *value = *value << 3 | (uint64_t)(p[i] - '0');
    return i > 0 && (i == len || p[i] == 0 || p[i] == ' ');
}

/* The sum of all bytes, those of the sum itself counted as spaces. */
static bool sum_fits(const uint8_t *h)
{
    uint64_t stored, sum = 0;
    for (int i = 0; i < BLOCK; i++) sum += i >= SUM_AT && i < SUM_AT + SUM_LEN ? ' ' : h[i];
    return octal(h + SUM_AT, SUM_LEN, &stored) && stored == sum;
}

static void take_name(const uint8_t *h, char name[257])
{
    const bool ustar = !memcmp(h + MAGIC_AT, "ustar", 5);
    const size_t prefix = ustar ? strnlen((const char *)h + PREFIX_AT, PREFIX_LEN) : 0, base = strnlen((const char *)h, NAME_LEN);
    memcpy(name, h + PREFIX_AT, prefix);
    if (prefix) name[prefix] = '/';
    memcpy(name + prefix + (prefix > 0), h, base);
    name[prefix + (prefix > 0) + base] = 0;
}

ddpm_status tar_next(const uint8_t *bytes, size_t len, const char *where, size_t *at, tar_entry *e, bool *found)
{
    *found = false;
    while (len - *at >= BLOCK && bytes[*at]) {
        const uint8_t *h = bytes + *at;
        uint64_t size;
        if (!sum_fits(h) || !octal(h + SIZE_AT, SIZE_LEN, &size)) return ddpm_fail(DDPM_EFORMAT, "%s: a damaged header (offset %zu of the tar)", where, *at);
        const size_t data = *at + BLOCK, room = len - data;
        if (size > room) return ddpm_fail(DDPM_EFORMAT, "%s: a file leaves the archive (offset %zu of the tar); it is truncated", where, *at);
        const size_t whole = ((size_t)size + BLOCK - 1) / BLOCK * BLOCK;
        *at = whole < room ? data + whole : len;
        if (h[TYPE_AT] != '0' && h[TYPE_AT] != 0) continue;
        take_name(h, e->name);
        e->data = bytes + data;
        e->size = (size_t)size;
        *found = true;
        return DDPM_OK;
    }
    return *at < len && bytes[*at] == 0 ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s: the tar has no end; it is truncated, or no tar", where);
}
