/* golden_file.h - read the golden safetensors in unit tests.
 *
 * For tests of rooms that may not know io/: a file is mapped and its header is
 * searched for the name. The files are ours, so a damaged one just fails the
 * test. Paths are relative to the repository root. */
#ifndef DDPM_TESTS_GOLDEN_FILE_H
#define DDPM_TESTS_GOLDEN_FILE_H

#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct { char *header, *map; size_t size; const char *data; } golden_file;
typedef struct { char dtype[8]; int ndim; size_t shape[8], len; const void *data; } golden;

static inline golden_file golden_open(const char *path)
{
    golden_file g = { 0 };
    struct stat st;
    const int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &st)) fail_msg("cannot open %s (tests run in the repository root)", path);
    g.size = (size_t)st.st_size;
    g.map = mmap(NULL, g.size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (g.map == MAP_FAILED) fail_msg("cannot map %s", path);
    uint64_t n;
    memcpy(&n, g.map, sizeof n);
    assert_true(n < g.size - 8);
    g.header = strndup(g.map + 8, (size_t)n);
    g.data = g.map + 8 + n;
    return g;
}

static inline void golden_close(golden_file *g)
{
    munmap(g->map, g->size);
    free(g->header);
    *g = (golden_file){ 0 };
}

/* The numbers of "key":[a,b,...] in one entry of the header. */
static inline int golden_numbers(const char *entry, const char *key, size_t out[8])
{
    const char *at = strstr(entry, key);
    int n = 0;
    if (!at) fail_msg("golden header without %s", key);
    for (at = strchr(at, '[') + 1; *at != ']' && n < 8; n++) {
        char *end;
        out[n] = strtoull(at, &end, 10);
        for (at = end; *at == ',' || *at == ' '; at++) { }
    }
    return n;
}

/* False when the file has no tensor of that name. The data live as long as g. */
static inline bool golden_find(const golden_file *g, const char *name, golden *t)
{
    char quoted[256];
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *entry = strstr(g->header, quoted);
    if (!entry) return false;
    size_t offsets[8];
    *t = (golden){ .len = 1 };
    if (sscanf(strstr(entry, "\"dtype\""), "\"dtype\":%*[ \"]%7[A-Z0-9]", t->dtype) != 1) fail_msg("%s: no dtype", name);
    t->ndim = golden_numbers(entry, "\"shape\"", t->shape);
    for (int i = 0; i < t->ndim; i++) t->len *= t->shape[i];
    assert_int_equal(golden_numbers(entry, "\"data_offsets\"", offsets), 2);
    assert_true(g->data + offsets[1] <= g->map + g->size);
    t->data = g->data + offsets[0];
    return true;
}

static inline golden golden_tensor(const golden_file *g, const char *fmt, ...)
{
    char name[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    golden t = { 0 };
    if (!golden_find(g, name, &t)) fail_msg("no golden tensor %s", name);
    return t;
}

static inline double golden_at(const golden *t, size_t i)
{
    if (!strcmp(t->dtype, "F64")) return ((const double *)t->data)[i];
    if (!strcmp(t->dtype, "F32")) return (double)((const float *)t->data)[i];
    if (!strcmp(t->dtype, "I64")) return (double)((const int64_t *)t->data)[i];
    return (double)((const unsigned char *)t->data)[i];
}

/* Image n of [N,C,H,W] as [h*w, width] from channel `first` on; width >= C. */
static inline void golden_to_nhwc(const golden *t, size_t n, size_t width, size_t first, float *out)
{
    const size_t channels = t->shape[t->ndim - 3], pixels = t->shape[t->ndim - 2] * t->shape[t->ndim - 1];
    for (size_t c = 0; c < channels; c++)
        for (size_t q = 0; q < pixels; q++)
            out[q * width + first + c] = (float)golden_at(t, (n * channels + c) * pixels + q);
}

/* Element (pixel q, channel c) of image n. */
static inline double golden_pixel(const golden *t, size_t n, size_t q, size_t c)
{
    const size_t channels = t->shape[t->ndim - 3], pixels = t->shape[t->ndim - 2] * t->shape[t->ndim - 1];
    return golden_at(t, (n * channels + c) * pixels + q);
}

#endif
