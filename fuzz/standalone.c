/* standalone.c - runs a fuzz target without libFuzzer, for builds with gcc: TARGET SECONDS CORPUS_FOLDER
 *
 * First every file of the corpus and every beginning of it, then for the given time what random
 * edits make of them. Knows nothing of coverage: a guard that every test run can afford, while
 * `make check-fuzz` searches. The inputs are the same in every run; the time decides how many. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "io/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_FILES = 4096, MAX_BYTES = 1 << 20, MAX_PREFIXES = 512, MAX_EDITS = 8 };

typedef struct { uint8_t *bytes; size_t len; } input;
typedef struct { input file[MAX_FILES]; int n; } corpus;

static bool read_corpus(const char *folder, corpus *c)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d)) && c->n < MAX_FILES;) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] == '.') continue;
        if (file_read_all(path, MAX_BYTES, &c->file[c->n].bytes, &c->file[c->n].len) == DDPM_OK) c->n++;
    }
    if (d) closedir(d);
    return c->n > 0;
}

/* A copy of its own, so that a read past the end is seen. */
static void run(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    if (!copy) abort();
    memcpy(copy, bytes, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

static void run_prefixes(const input *f)
{
    const size_t stride = f->len / MAX_PREFIXES + 1;
    for (size_t len = 0; len < f->len; len += stride) run(f->bytes, len);
    run(f->bytes, f->len);
}

/* Random numbers of one mutated input. */
typedef struct { rng_address a; uint64_t used; } dice;

static size_t roll(dice *d, size_t n) { return (size_t)rng_below(d->a, d->used++, n); }

static void overwrite(dice *d, uint8_t *bytes, size_t len)
{
    static const uint64_t values[] = { 0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, UINT64_MAX };
    const uint64_t value = values[roll(d, sizeof values / sizeof *values)];
    const size_t wide = (size_t)1 << roll(d, 4), at = roll(d, len);
    memcpy(bytes + at, &value, wide < len - at ? wide : len - at);
}

static size_t cut(dice *d, uint8_t *bytes, size_t len)
{
    const size_t at = roll(d, len), n = 1 + roll(d, len - at);
    memmove(bytes + at, bytes + at + n, len - at - n);
    return len - n;
}

/* A piece of any file of the corpus, put in or put over. */
static size_t splice(dice *d, const corpus *c, uint8_t *bytes, size_t len, bool insert)
{
    const input *f = &c->file[roll(d, (size_t)c->n)];
    if (!f->len) return len;
    const size_t from = roll(d, f->len), at = roll(d, len + 1);
    size_t n = 1 + roll(d, f->len - from);
    const size_t room = (insert ? MAX_BYTES - len : len - at);
    if (n > room) n = room;
    if (insert) memmove(bytes + at + n, bytes + at, len - at);
    memcpy(bytes + at, f->bytes + from, n);
    return insert ? len + n : len;
}

static size_t edit(dice *d, const corpus *c, uint8_t *bytes, size_t len)
{
    if (!len) return splice(d, c, bytes, len, true);
    switch (roll(d, 6)) {
    case 0: bytes[roll(d, len)] ^= (uint8_t)(1u << roll(d, 8)); return len;
    case 1: bytes[roll(d, len)] = (uint8_t)roll(d, 256); return len;
    case 2: overwrite(d, bytes, len); return len;
    case 3: return cut(d, bytes, len);
    case 4: return splice(d, c, bytes, len, true);
    default: return splice(d, c, bytes, len, false);
    }
}

static long run_mutations(const corpus *c, double until, uint8_t *bytes)
{
    long count = 0;
    for (; clock_now() < until; count++) {
        dice d = { { 0, RNG_NOISE, 0, (uint64_t)count }, 0 };
        const input *f = &c->file[roll(&d, (size_t)c->n)];
        size_t len = f->len;
        memcpy(bytes, f->bytes, len);
        for (size_t edits = 1 + roll(&d, MAX_EDITS); edits; edits--) len = edit(&d, c, bytes, len);
        run(bytes, len);
    }
    return count;
}

int main(int argc, char **argv)
{
    corpus *c = calloc(1, sizeof *c);
    uint8_t *bytes = malloc(MAX_BYTES);
    if (argc != 3 || !c || !bytes || !read_corpus(argv[2], c)) {
        fprintf(stderr, "usage: %s SECONDS CORPUS_FOLDER\n", argv[0]);
        return 2;
    }
    for (int i = 0; i < c->n; i++) run_prefixes(&c->file[i]);
    const long count = run_mutations(c, clock_now() + atof(argv[1]), bytes);
    printf("%d files and their beginnings, %ld mutations\n", c->n, count);
    for (int i = 0; i < c->n; i++) free(c->file[i].bytes);
    free(c);
    free(bytes);
    return 0;
}
