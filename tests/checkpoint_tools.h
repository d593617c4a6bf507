/* checkpoint_tools.h - networks on the reference backend, and copies of models to damage. */
#ifndef DDPM_TESTS_CHECKPOINT_TOOLS_H
#define DDPM_TESTS_CHECKPOINT_TOOLS_H

#include "backend/ref/ref.h"
#include "io/safetensors.h"
#include "model/denoiser.h"
#include "test_folder.h"

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

#define UNET_WEIGHTS "unet/diffusion_pytorch_model.safetensors"

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
