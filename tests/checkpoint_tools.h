/* checkpoint_tools.h - a folder of its own for each test, networks from option texts, damage. */
#ifndef DDPM_TESTS_CHECKPOINT_TOOLS_H
#define DDPM_TESTS_CHECKPOINT_TOOLS_H

#include "api/checkpoint.h"
#include "backend/ref/ref.h"
#include "base/log.h"
#include "base/rng.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "model/denoiser.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MUST(expr) do { if ((expr) != DDPM_OK) fail_msg("%s: %s", #expr, ddpm_last_error()); } while (0)

#define UNET_WEIGHTS "unet/diffusion_pytorch_model.safetensors"

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
    char text[2048];
    settings_defaults(&s);
    assert_true(snprintf(text, sizeof text, "%s", values) < (int)sizeof text);
    char *rest = text;
    for (char *pair; (pair = strsep(&rest, " ")); ) {
        char *value = strchr(pair, '=');
        if (!value) continue;
        *value++ = 0;
        MUST(settings_set(&s, pair, value, ORIGIN_CONFIG));
    }
    MUST(settings_resolve(&s));
    return s;
}

/* A network on the reference backend. */
typedef struct { unet_config c; nn_backend *b; pool *p; denoiser *d; const nn_params *layout; } network;

static inline network network_new(const settings *s)
{
    network n = { .c = settings_unet(s) };
    MUST(backend_ref_new(&n.b));
    MUST(pool_new(1, &n.p));
    MUST(denoiser_new(&n.c, n.b, n.p, NN_F32, NN_INFER, 2, &n.d));
    n.layout = &denoiser_graph(n.d)->params;
    return n;
}

static inline void network_free(network *n)
{
    denoiser_free(n->d);
    pool_free(n->p);
    nn_backend_free(n->b);
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

/* x [2,h,w,c] -> out [2,h,w,o], malloc'ed. */
static inline float *network_run(network *n, const float *slab, const float *x, const float *t, const int *y, int images)
{
    nn_weights *w = NULL;
    float *out = calloc((size_t)images * (size_t)(n->c.height * n->c.width * n->c.out_channels), sizeof *out);
    assert_non_null(out);
    MUST(nn_weights_new(denoiser_graph(n->d), n->b, slab, false, &w));
    nn_weights_pack(w, n->p);
    MUST(denoiser_run(n->d, w, images, t, y, x, out));
    nn_weights_free(w);
    return out;
}

/* Copies of small files, so that tests can damage them. */
static inline void copy_file(const char *from, const char *to)
{
    uint8_t *bytes;
    size_t len;
    MUST(file_read_all(from, (size_t)1 << 30, &bytes, &len));
    MUST(file_write_atomic(to, bytes, len));
    free(bytes);
}

static inline void copy_tree(const char *from, const char *to)
{
    char **names;
    int count;
    MUST(dir_make(to));
    MUST(dir_list(from, &names, &count));
    for (int i = 0; i < count; i++) {
        char a[MODEL_PATH_SIZE], b[MODEL_PATH_SIZE];
        assert_true(snprintf(a, sizeof a, "%s/%s", from, names[i]) < MODEL_PATH_SIZE);
        assert_true(snprintf(b, sizeof b, "%s/%s", to, names[i]) < MODEL_PATH_SIZE);
        if (file_is_dir(a)) copy_tree(a, b);
        else copy_file(a, b);
    }
    dir_list_free(names, count);
}

#endif
