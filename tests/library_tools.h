/* What the tests of the library share; they see ddpm.h alone. */
#ifndef LIBRARY_TOOLS_H
#define LIBRARY_TOOLS_H

#include <ddpm.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static inline void assert_error(ddpm_status got, ddpm_status want, const char *part)
{
    if (got != want || !strstr(ddpm_last_error(), part)) fail_msg("status %d, \"%s\", not %d with \"%s\"", (int)got, ddpm_last_error(), (int)want, part);
}

static inline void assert_ok(ddpm_status got)
{
    if (got != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

/* One thread and f32 of the generic kernels: everywhere the same, and quick enough for small things. */
static inline ddpm_ctx *new_context(void)
{
    ddpm_ctx *ctx;
    ddpm_ctx_config c;
    ddpm_ctx_config_defaults(&c);
    c.threads = 1;
    c.precision = "f32";
    c.max_isa = "avx2";
    assert_ok(ddpm_ctx_new(&c, &ctx));
    return ctx;
}

/* Pairs of name and value, ended by NULL. */
static inline ddpm_options *new_options(const char *command, ...)
{
    ddpm_options *o;
    va_list ap;
    assert_ok(ddpm_options_new(command, &o));
    va_start(ap, command);
    for (const char *name; (name = va_arg(ap, const char *));) assert_ok(ddpm_options_set(o, name, va_arg(ap, const char *)));
    va_end(ap);
    return o;
}

typedef struct { int calls, stop_at; ddpm_progress last; char what[32], quantity[32]; } listener;

static inline int watch(void *user, const ddpm_progress *p)
{
    listener *l = user;
    l->last = *p;
    snprintf(l->what, sizeof l->what, "%s", p->what);
    snprintf(l->quantity, sizeof l->quantity, "%s", p->quantity ? p->quantity : "");
    return ++l->calls == l->stop_at;
}

enum { IMAGES = 24, SMALL = 8, IMAGE_CLASSES = 3 };

static inline void put32(FILE *f, unsigned v)
{
    for (int shift = 24; shift >= 0; shift -= 8) fputc((int)(v >> shift & 255), f);
}

static inline uint8_t value_of(int image, int pixel) { return (uint8_t)(image * 9 + pixel * 3); }

/* An IDX pair in a folder of its own, and where a run may go. */
static inline int make_data(void **state)
{
    static const char names[2][32] = { "train-images-idx3-ubyte", "train-labels-idx1-ubyte" };
    char *folder = strdup("/tmp/ddpm-library-XXXXXX"), path[256];
    if (!folder || !mkdtemp(folder)) return -1;
    for (int k = 0; k < 2; k++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[k]);
        FILE *f = fopen(path, "wb");
        if (!f) return -1;
        put32(f, k ? 0x801 : 0x803);
        put32(f, IMAGES);
        for (int i = 0; i < 2 && !k; i++) put32(f, SMALL);
        for (int i = 0; i < IMAGES; i++)
            for (int p = 0; p < (k ? 1 : SMALL * SMALL); p++) fputc(k ? i % IMAGE_CLASSES : value_of(i, p), f);
        fclose(f);
    }
    *state = folder;
    return 0;
}

static inline int remove_data(void **state)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
    const int status = system(command);
    free(*state);
    return status;
}

/* Trains in milliseconds, and soon draws images that depend on seeds and classes. */
static inline ddpm_options *tiny_run(const char *run, const char *steps)
{
    return new_options("train", "output", run, "steps", steps, "num_channels", "8", "norm_groups", "4", "num_res_blocks", "1", "channel_mult", "1,2",
                       "attention_resolutions", "4", "num_heads", "2", "batch_size", "6", "leaves", "3", "sample_interval", "0",
                       "class_cond", "true", "label_dropout", "0.2", "init_scheme", "torch", "lr", "0.01", "ema_rate", "0.5", NULL);
}

#endif
