/* test_folder.h - a folder of its own for each test, settings from option texts, parameters that mean nothing. */
#ifndef DDPM_TESTS_TEST_FOLDER_H
#define DDPM_TESTS_TEST_FOLDER_H

#include "api/checkpoint.h"
#include "base/log.h"
#include "base/rng.h"
#include "io/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MUST(expr) do { if ((expr) != DDPM_OK) fail_msg("%s: %s", #expr, ddpm_last_error()); } while (0)

/* The folder of the running test, removed with everything in it, and the warnings meanwhile. */
typedef struct { char name[40]; char warnings[4096]; } place;

static inline void keep_warning(void *ctx, log_level level, const char *message)
{
    place *p = ctx;
    const size_t used = strlen(p->warnings);
    if (level <= LOG_WARN) snprintf(p->warnings + used, sizeof p->warnings - used, "%s\n", message);
}

static inline int enter(void **state)
{
    place *p = calloc(1, sizeof *p);
    if (!p) return -1;
    strcpy(p->name, "/tmp/ddpm-checkpoint-XXXXXX");
    *state = p;
    log_set(keep_warning, p, LOG_WARN);
    return mkdtemp(p->name) ? 0 : -1;
}

static inline int leave(void **state)
{
    place *p = *state;
    const ddpm_status s = dir_remove_tree("/tmp", p->name + strlen("/tmp/"));
    log_set(NULL, NULL, LOG_WARN);
    free(p);
    return s == DDPM_OK ? 0 : -1;
}

static inline const char *under(const place *p, const char *name, char path[MODEL_PATH_SIZE])
{
    assert_true(snprintf(path, MODEL_PATH_SIZE, "%s/%s", p->name, name) < MODEL_PATH_SIZE);
    return path;
}

/* "key=value key=value" over the defaults. */
static inline settings settings_from(const char *values)
{
    settings s;
    settings_defaults(&s);
    MUST(settings_set_pairs(&s, values, ORIGIN_CONFIG));
    MUST(settings_resolve(&s));
    return s;
}

/* The same as a user's words, before anything is resolved. */
static inline settings request_of(const char *values)
{
    settings s;
    settings_defaults(&s);
    MUST(settings_set_pairs(&s, values, ORIGIN_COMMAND_LINE));
    return s;
}

/* Different everywhere, zero in the gaps. */
static inline float *slab_of(const nn_params *layout, uint64_t which)
{
    float *slab = calloc(layout->len, sizeof *slab);
    assert_non_null(slab);
    for (int i = 0; i < layout->count; i++) {
        const nn_param *p = &layout->list[i];
        rng_normals((rng_address){ .seed = which, .stream = RNG_INIT, .sample = (uint64_t)i }, 0, nn_len(p->shape), slab + p->offset);
        for (size_t k = 0; k < nn_len(p->shape); k++) slab[p->offset + k] *= 0.3f;
    }
    return slab;
}

#endif
