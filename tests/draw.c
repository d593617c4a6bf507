/* Drawing: an image's bits depend on its seed and index and not on the batch, the
 * place in it or the threads; rounding to 8 bits; the layout of grids. */
#include "backend/cpu/cpu.h"
#include "base/rng.h"
#include "diffusion/respace.h"
#include "io/image.h"
#include "isa.h"
#include "train/draw.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = 8, CHANNELS = 2, IMAGE = SIDE * SIDE * CHANNELS, IMAGES = 7, CLASSES = 3, T = 20 };

static void check(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

/* A class-conditional network of two-channel images with a learned variance, random weights everywhere. */
typedef struct { nn_backend *b; pool *p; schedule full, steps; process process; denoiser *net; float *values; nn_weights *w; } fixture;

static void make(fixture *f, nn_dtype dtype, int threads, int chunk)
{
    *f = (fixture){ 0 };
    const unet_config net = { .height = SIDE, .width = SIDE, .in_channels = CHANNELS, .out_channels = 2 * CHANNELS, .model_channels = 16, .stem = 16,
                              .levels = 2, .channels = { 16, 32 }, .num_res_blocks = 1, .attention = { false, true }, .num_heads = 2,
                              .num_classes = CLASSES, .scale_shift_norm = true, .conv_resample = true, .groups = 8, .eps = 1e-5, .cos_first = true,
                              .init = UNET_INIT_TORCH };
    const schedule_config sc = schedule_config_of(PROFILE_OPENAI, SCHEDULE_COSINE, T);
    static const int list[] = { 0, 6, 13, 19 };
    check(schedule_new(&sc, &f->full));
    check(schedule_respace(&f->full, list, 4, &f->steps));
    f->process = (process){ .s = &f->steps, .var = VAR_LEARNED_RANGE, .clip = CLIP_REDERIVE, .rescale_timesteps = true };
    check(pool_new(threads, &f->p));
    check(backend_cpu_new(max_isa(), &f->b));
    check(denoiser_new(&net, f->b, f->p, dtype, NN_INFER, chunk, &f->net));
    const nn_graph *g = denoiser_graph(f->net);
    f->values = calloc(g->params.len, sizeof *f->values);
    nn_params_init(&g->params, 5, f->values);
    check(nn_weights_new(g, f->b, f->values, false, &f->w));
}

static void unmake(fixture *f)
{
    nn_weights_free(f->w);
    free(f->values);
    denoiser_free(f->net);
    nn_backend_free(f->b);
    pool_free(f->p);
    schedule_free(&f->full);
    schedule_free(&f->steps);
}

typedef struct { const char *sampler; double eta; var_type var; } method;
static const method methods[] = { { "ddpm", 0, VAR_LEARNED_RANGE }, { "ddpm", 0, VAR_FIXED_SMALL }, { "ddim", 0, VAR_LEARNED_RANGE }, { "ddim", 0.5, VAR_FIXED_LARGE } };

/* Images first .. first + n - 1 of the set in one batch: image k has seed 100 + k / 4, index k % 4, class k % CLASSES. */
static void draw(const fixture *f, const method *m, int first, int n, float *x)
{
    uint64_t seed[IMAGES], index[IMAGES];
    int y[IMAGES];
    int64_t calls = 0;
    process p = f->process;
    drawing d = { .net = f->net, .weights = f->w, .p = &p, .eta = m->eta, .guidance = 1 };
    p.var = m->var;
    check(sampler_find(m->sampler, &d.method));
    for (int i = 0; i < n; i++) {
        seed[i] = 100 + (uint64_t)(first + i) / 4;
        index[i] = (uint64_t)(first + i) % 4;
        y[i] = (first + i) % CLASSES;
    }
    const draw_batch b = { .n = n, .seed = seed, .index = index, .y = y, .x = x, .calls = &calls };
    check(draw_images(&d, &b));
    assert_int_equal(calls, 4);
}

static void test_bits_do_not_depend_on_company(void **state)
{
    (void)state;
    static const struct { int threads, chunk, batch; } other[] = { { 1, 1, 1 }, { 2, 3, 4 }, { 3, 2, IMAGES }, { 2, 8, 2 } };
    static float base[IMAGES * IMAGE], x[IMAGES * IMAGE];
    for (nn_dtype dtype = NN_F32; dtype <= NN_BF16; dtype++)
        for (size_t m = 0; m < sizeof methods / sizeof *methods; m++) {
            fixture f;
            make(&f, dtype, 1, 4);
            draw(&f, &methods[m], 0, IMAGES, base);
            unmake(&f);
            for (int i = 0; i < IMAGES * IMAGE; i++) assert_true(isfinite(base[i]));
            for (int i = 1; i < IMAGES; i++) assert_memory_not_equal(base, base + i * IMAGE, IMAGE * sizeof *base);
            for (size_t k = 0; k < sizeof other / sizeof *other; k++) {
                make(&f, dtype, other[k].threads, other[k].chunk);
                for (int first = 0; first < IMAGES; first += other[k].batch)
                    draw(&f, &methods[m], first, IMAGES - first < other[k].batch ? IMAGES - first : other[k].batch, x + first * IMAGE);
                assert_memory_equal(x, base, sizeof base);
                unmake(&f);
            }
        }
}

static void test_given_latents(void **state)
{
    (void)state;
    static float base[IMAGE], x[IMAGE];
    fixture f;
    make(&f, NN_F32, 1, 1);
    const uint64_t seed = 100, index = 0;
    const int y = 0;
    draw(&f, &methods[2], 0, 1, base);
    drawing d = { .net = f.net, .weights = f.w, .p = &f.process, .guidance = 1 };
    check(sampler_find("ddim", &d.method));
    rng_normals((rng_address){ seed, RNG_XT, 0, index }, 0, IMAGE, x);       /* the same latents by hand */
    const draw_batch b = { .n = 1, .seed = &seed, .index = &index, .y = &y, .given_xT = true, .x = x };
    check(draw_images(&d, &b));
    assert_memory_equal(x, base, sizeof base);
    unmake(&f);
}

/* What a walk has reached after `steps` of them. */
typedef struct { int steps; float x[2 * IMAGE]; } halfway;

static void keep_halfway(void *ctx, int step, int t, const float *x, const float *pred_xstart)
{
    halfway *h = ctx;
    (void)t;
    (void)pred_xstart;
    if (step == h->steps - 1) memcpy(h->x, x, sizeof h->x);
}

static void test_late_starts(void **state)
{
    (void)state;
    static const uint64_t seed[] = { 5, 6 }, index[] = { 7, 8 };
    static const int y[] = { 0, 2 };
    static float whole[2 * IMAGE], x[2 * IMAGE];
    fixture f;
    make(&f, NN_F32, 1, 2);
    for (int steps = 1; steps < 4; steps++)
        for (size_t m = 0; m < sizeof methods / sizeof *methods; m++) {
            halfway h = { .steps = steps };
            int64_t calls = 0;
            process p = f.process;
            p.var = methods[m].var;
            drawing d = { .net = f.net, .weights = f.w, .p = &p, .eta = methods[m].eta, .guidance = 1, .observe = keep_halfway, .observe_ctx = &h };
            check(sampler_find(methods[m].sampler, &d.method));
            check(draw_images(&d, &(draw_batch){ .n = 2, .seed = seed, .index = index, .y = y, .x = whole }));
            d.observe = NULL;
            d.skip = steps;
            memcpy(x, h.x, sizeof x);
            check(draw_images(&d, &(draw_batch){ .n = 2, .seed = seed, .index = index, .y = y, .given_xT = true, .x = x, .calls = &calls }));
            assert_memory_equal(x, whole, sizeof x);
            assert_int_equal(calls, 4 - steps);
        }
    drawing d = { .net = f.net, .weights = f.w, .p = &f.process, .guidance = 1, .skip = 4 };
    const draw_batch b = { .n = 2, .seed = seed, .index = index, .y = y, .given_xT = true, .x = x };
    check(sampler_find("ddim", &d.method));
    assert_int_equal(draw_images(&d, &b), DDPM_EINVAL);
    d.skip = 1;
    check(sampler_find("unipc", &d.method));
    assert_int_equal(draw_images(&d, &b), DDPM_EINVAL);
    unmake(&f);
}

/* Known pixels come out as they went in; the others do not depend on the images beside them. */
static void test_filling(void **state)
{
    (void)state;
    static const uint64_t seed[] = { 5, 6 }, index[] = { 7, 8 };
    static const int y[] = { 0, 2 };
    static float given[2 * IMAGE], both[2 * IMAGE], one[IMAGE];
    static uint8_t mask[2 * SIDE * SIDE];
    fixture f;
    int64_t calls = 0;
    make(&f, NN_F32, 1, 2);
    rng_normals((rng_address){ 1, RNG_INIT, 0, 0 }, 0, 2 * IMAGE, given);
    for (int i = 0; i < 2 * SIDE * SIDE; i++) mask[i] = i % 3 == 0;
    inpainting fill = { .image = given, .mask = mask, .jump = 1, .resamples = 2 };
    const drawing d = { .net = f.net, .weights = f.w, .p = &f.process, .guidance = 1, .fill = &fill };
    check(draw_images(&d, &(draw_batch){ .n = 2, .seed = seed, .index = index, .y = y, .x = both, .calls = &calls }));
    assert_int_equal(calls, 4 + 3);                           /* back by one step from rows 0, 1 and 2 */
    for (int i = 0; i < 2 * IMAGE; i++) assert_true(isfinite(both[i]) && (mask[i / CHANNELS] ? both[i] == given[i] : both[i] != given[i]));
    fill.image += IMAGE;
    fill.mask += SIDE * SIDE;
    check(draw_images(&d, &(draw_batch){ .n = 1, .seed = seed + 1, .index = index + 1, .y = y + 1, .x = one }));
    assert_memory_equal(one, both + IMAGE, sizeof one);
    unmake(&f);
}

static void test_start_noise(void **state)
{
    (void)state;
    static const uint64_t seed[] = { 5, 6 }, index[] = { 7, 8 };
    static float z[2 * IMAGE], by_hand[IMAGE];
    const draw_batch b = { .n = 2, .seed = seed, .index = index };
    draw_normals(&b, RNG_START, 3, IMAGE, z);
    for (int i = 0; i < 2; i++) {
        rng_normals((rng_address){ seed[i], RNG_START, 3, index[i] }, 0, IMAGE, by_hand);
        assert_memory_equal(z + i * IMAGE, by_hand, sizeof by_hand);
    }
}

static void test_quantize(void **state)
{
    (void)state;
    /* (x + 1) 127.5 of these is exact */
    static const struct { float x; int round, truncate, even; } exact[] = {
        { -1, 0, 0, 0 }, { 1, 255, 255, 255 }, { 0, 128, 127, 128 }, { -0.5f, 64, 63, 64 }, { 0.5f, 191, 191, 191 }, { -2, 0, 0, 0 }, { 3, 255, 255, 255 },
        { 0.99609375f, 255, 254, 255 }, { -0.99609375f, 0, 0, 0 }, { -0.9921875f, 1, 0, 1 }, { INFINITY, 255, 255, 255 }, { -INFINITY, 0, 0, 0 }, { NAN, 0, 0, 0 },
        { 1.0f / 3, 170, 170, 170 }, { -0.4941176474f, 65, 64, 64 }, { -0.4862745106f, 66, 65, 66 },
    };
    for (size_t k = 0; k < sizeof exact / sizeof *exact; k++) {
        uint8_t r, t, e;
        draw_quantize(&exact[k].x, 1, ROUND_HALF_UP, &r);
        draw_quantize(&exact[k].x, 1, ROUND_TRUNCATE, &t);
        draw_quantize(&exact[k].x, 1, ROUND_HALF_EVEN, &e);
        assert_int_equal(r, exact[k].round);
        assert_int_equal(t, exact[k].truncate);
        assert_int_equal(e, exact[k].even);
    }
    for (int v = 0; v < 256; v++) {             /* a byte survives the way to [-1,1] and back when rounded */
        const float x = (float)v / 127.5f - 1.0f;
        uint8_t r;
        draw_quantize(&x, 1, ROUND_HALF_UP, &r);
        assert_int_equal(r, v);
        draw_quantize(&x, 1, ROUND_HALF_EVEN, &r);
        assert_int_equal(r, v);
    }
}

static void test_grid(void **state)
{
    (void)state;
    enum { N = 5, H = 2, W = 3, C = 2, COLUMNS = 3 };
    uint8_t images[N * H * W * C], *grid = NULL;
    int gw, gh;
    for (int i = 0; i < N * H * W * C; i++) images[i] = (uint8_t)i;
    check(draw_grid(images, N, H, W, C, COLUMNS, &grid, &gw, &gh));
    assert_int_equal(gw, 2 + 3 * (3 + 2));
    assert_int_equal(gh, 2 + 2 * (2 + 2));
    int inside = 0;
    for (int y = 0; y < gh; y++)
        for (int x = 0; x < gw; x++) {
            const int column = (x - 2) / 5, row = (y - 2) / 4, dx = (x - 2) % 5, dy = (y - 2) % 4, i = row * COLUMNS + column;
            const bool within = x >= 2 && y >= 2 && dx < W && dy < H && i < N;
            inside += within;
            for (int c = 0; c < C; c++) assert_int_equal(grid[(y * gw + x) * C + c], within ? ((i * H + dy) * W + dx) * C + c : 255);
        }
    assert_int_equal(inside, N * H * W);
    free(grid);
}

static void test_grid_too_large(void **state)
{
    (void)state;
    int w, h;
    check(draw_grid_size(100, 32, 32, 10, &w, &h));
    assert_int_equal(w, 342);
    assert_int_equal(h, 342);
    assert_int_equal(draw_grid_size(100000000, 32, 32, 1, &w, &h), DDPM_EINVAL);
    assert_int_equal(draw_grid_size(100000000, 4096, 4096, 10000, &w, &h), DDPM_EINVAL);
    assert_int_equal(draw_grid_size(100000000, 4096, 4096, 100000000, &w, &h), DDPM_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits_do_not_depend_on_company), cmocka_unit_test(test_given_latents), cmocka_unit_test(test_quantize),
        cmocka_unit_test(test_grid),                          cmocka_unit_test(test_grid_too_large), cmocka_unit_test(test_late_starts),
        cmocka_unit_test(test_filling),                       cmocka_unit_test(test_start_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
