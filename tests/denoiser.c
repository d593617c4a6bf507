/* The bits of an image do not depend on how many threads there are, on the chunk, or on how
 * many images a call has: whether one worker computes it or several share it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/cpu/cpu.h"
#include "base/rng.h"
#include "model/denoiser.h"

#define MUST(expr) do { if ((expr) != DDPM_OK) fail_msg("%s: %s", #expr, ddpm_last_error()); } while (0)

enum { SIZE = 8, IN = 3, OUT = 6, MOST = 5, IMAGE_IN = SIZE * SIZE * IN, IMAGE_OUT = SIZE * SIZE * OUT };

static const unet_config config = {
    .height = SIZE, .width = SIZE, .in_channels = IN, .out_channels = OUT, .model_channels = 32, .stem = 32,
    .levels = 2, .channels = { 32, 64 }, .num_res_blocks = 1, .attention = { false, true }, .num_heads = 2,
    .num_classes = 5, .scale_shift_norm = true, .conv_resample = true, .groups = 16, .eps = 1e-5, .cos_first = true,
};

typedef struct { nn_backend *b; float x[MOST * IMAGE_IN], t[MOST]; int y[MOST]; } fixture;

/* Also where a network starts with zeros. */
static void fill_values(const nn_graph *g, float *values)
{
    nn_params_init(&g->params, 1, values);
    float *z = malloc(g->params.len * sizeof *z);
    assert_non_null(z);
    rng_normals((rng_address){ .seed = 3, .stream = RNG_NOISE }, 0, g->params.len, z);
    for (size_t i = 0; i < g->params.len; i++) values[i] += 0.02f * z[i];
    free(z);
}

/* The first n images by `threads` threads, `per_call` at a time. */
static void run(fixture *f, const unet_config *c, nn_dtype dtype, int threads, int chunk, int n, int per_call, float *out)
{
    pool *p;
    denoiser *d;
    nn_weights *w;
    MUST(pool_new(threads, &p));
    MUST(denoiser_new(c, f->b, p, dtype, NN_INFER, chunk, &d));
    const nn_graph *g = denoiser_graph(d);
    float *values = calloc(g->params.len, sizeof *values);
    assert_non_null(values);
    fill_values(g, values);
    MUST(nn_weights_new(g, f->b, values, false, &w));
    for (int at = 0; at < n; at += per_call) {
        const int left = n - at, count = left < per_call ? left : per_call;
        MUST(denoiser_run(d, w, count, f->t + at, f->y + at, f->x + at * IMAGE_IN, out + at * IMAGE_OUT));
    }
    nn_weights_free(w);
    free(values);
    denoiser_free(d);
    pool_free(p);
}

static void check_threads(fixture *f, const unet_config *c, nn_dtype dtype)
{
    static const int threads[] = { 2, 5 };
    float *want = malloc(2 * sizeof(float[MOST * IMAGE_OUT])), *got = want + MOST * IMAGE_OUT;
    assert_non_null(want);
    run(f, c, dtype, 1, MOST, MOST, MOST, want);
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++)
        for (int n = 1; n <= 3; n++) {
            memset(got, 0xff, sizeof(float[MOST * IMAGE_OUT]));
            run(f, c, dtype, threads[i], 2, MOST, n, got);
            if (memcmp(want, got, sizeof(float[MOST * IMAGE_OUT])))
                fail_msg("%s: %d threads, %d images a call, %s: other bits", f->b->isa, threads[i], n, dtype == NN_BF16 ? "bf16" : "f32");
        }
    free(want);
}

static void check_backend(nn_backend *b)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->b = b;
    rng_normals((rng_address){ .seed = 2, .stream = RNG_NOISE }, 0, MOST * IMAGE_IN, f->x);
    for (int i = 0; i < MOST; i++) {
        f->t[i] = (float)(150 * i);
        f->y[i] = i % 5;
    }
    unet_config other = config;          /* pooling and up-sampling as operators, embeddings added */
    other.scale_shift_norm = false;
    other.resblock_updown = true;
    check_threads(f, &config, NN_F32);
    check_threads(f, &config, NN_BF16);
    check_threads(f, &other, NN_F32);
    free(f);
}

static void cpu_levels(void **state)
{
    (void)state;
    for (const char *const *isa = cpu_isa_names(); *isa; isa++) {
        nn_backend *b;
        if (!cpu_isa_available(*isa)) continue;
        MUST(backend_cpu_new(*isa, &b));
        if (!strcmp(b->isa, *isa)) check_backend(b);
        nn_backend_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(cpu_levels) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
