/* bench/conv.c - speed of the convolution kernels: the shapes of the CIFAR-10
 * U-Net, three passes, and of Inception-v3, forward; f32 and bf16, one thread.
 *
 *   bench_conv [LEVEL [IMAGES [NETWORK [SHAPE]]]]      NETWORK: unet or inception
 *
 * Prints the median GFLOP/s of a few repeats (all taps counted) and percent of
 * the multiplier's peak, measured anew before each pass because a shared machine
 * changes its speed. Time is the thread's processor time for the same reason. */
#include "backend/cpu/cpu.h"
#include "base/bf16.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* kernel_w 0: kernel; `valid`: without padding. */
typedef struct { int c1, c2, out, size, kernel, stride, count, kernel_w; bool valid; } bench_shape;

static const bench_shape unet[] = {
    {3, 0, 128, 32, 3, 1, .count = 1}, {128, 0, 128, 32, 3, 1, .count = 7}, {128, 0, 128, 32, 3, 2, .count = 1},
    {128, 0, 256, 16, 3, 1, .count = 1}, {256, 0, 256, 16, 3, 1, .count = 7}, {128, 0, 256, 16, 1, 1, .count = 1},
    {256, 0, 256, 16, 1, 1, .count = 20}, {256, 0, 256, 16, 3, 2, .count = 1}, {256, 0, 256, 8, 3, 1, .count = 8},
    {256, 0, 256, 8, 3, 2, .count = 1}, {256, 0, 256, 4, 3, 1, .count = 11}, {256, 0, 256, 4, 1, 1, .count = 4},
    {256, 256, 256, 4, 3, 1, .count = 3}, {256, 256, 256, 4, 1, 1, .count = 3}, {256, 256, 256, 8, 3, 1, .count = 3},
    {256, 256, 256, 8, 1, 1, .count = 3}, {256, 256, 256, 16, 3, 1, .count = 2},
    {256, 256, 256, 16, 1, 1, .count = 2}, {256, 128, 256, 16, 3, 1, .count = 1},
    {256, 128, 256, 16, 1, 1, .count = 1}, {256, 0, 256, 32, 3, 1, .count = 1}, {256, 128, 128, 32, 3, 1, .count = 1},
    {256, 128, 128, 32, 1, 1, .count = 1}, {128, 128, 128, 32, 3, 1, .count = 2},
    {128, 128, 128, 32, 1, 1, .count = 2}, {128, 0, 3, 32, 3, 1, .count = 1}, {512, 0, 256, 1, 1, 1, .count = 0},
};

static const bench_shape inception[] = {
    {3, 0, 32, 299, 3, 2, .count = 1, .valid = true}, {32, 0, 32, 149, 3, 1, .count = 1, .valid = true},
    {32, 0, 64, 147, 3, 1, .count = 1}, {64, 0, 80, 73, 1, 1, .count = 1},
    {80, 0, 192, 73, 3, 1, .count = 1, .valid = true}, {192, 0, 64, 35, 1, 1, .count = 3},
    {288, 0, 64, 35, 1, 1, .count = 9}, {48, 0, 64, 35, 5, 1, .count = 3}, {64, 0, 96, 35, 3, 1, .count = 4},
    {96, 0, 96, 35, 3, 1, .count = 3}, {288, 0, 384, 35, 3, 2, .count = 1, .valid = true},
    {96, 0, 96, 35, 3, 2, .count = 1, .valid = true}, {768, 0, 192, 17, 1, 1, .count = 12},
    {768, 0, 128, 17, 1, 1, .count = 6}, {128, 0, 128, 17, 1, 1, .count = 2, .kernel_w = 7},
    {128, 0, 192, 17, 7, 1, .count = 3, .kernel_w = 1}, {160, 0, 160, 17, 1, 1, .count = 4, .kernel_w = 7},
    {160, 0, 192, 17, 7, 1, .count = 6, .kernel_w = 1}, {192, 0, 192, 17, 1, 1, .count = 4, .kernel_w = 7},
    {192, 0, 192, 17, 7, 1, .count = 4, .kernel_w = 1}, {192, 0, 320, 17, 3, 2, .count = 1, .valid = true},
    {192, 0, 192, 17, 3, 2, .count = 1, .valid = true}, {1280, 0, 384, 8, 1, 1, .count = 3},
    {2048, 0, 384, 8, 1, 1, .count = 3}, {384, 0, 384, 8, 1, 1, .count = 4, .kernel_w = 3},
    {384, 0, 384, 8, 3, 1, .count = 4, .kernel_w = 1}, {448, 0, 384, 8, 3, 1, .count = 2},
    {2048, 0, 1008, 1, 1, 1, .count = 1},
};

enum { REPEATS = 5, CHAINS = 24 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

#if defined(__x86_64__)
/* GFLOP/s of independent chains of the instruction the level multiplies with. */
__attribute__((target("avx512f"))) static double peak_fma512(void)
{
    __m512 s[CHAINS], x = _mm512_set1_ps(1.0f);
    for (int i = 0; i < CHAINS; i++) s[i] = _mm512_setzero_ps();
    enum { rounds = 200000 };
    const double start = now();
    for (int i = 0; i < rounds; i++) {
        #pragma GCC unroll 24
        for (int j = 0; j < CHAINS; j++) s[j] = _mm512_fmadd_ps(s[j], x, x);
        __asm__ volatile("" : "+v"(x));
    }
    const double seconds = now() - start;
    for (int i = 0; i < CHAINS; i++) __asm__ volatile("" : : "v"(s[i]));
    return rounds * CHAINS * 32.0 / seconds * 1e-9;
}

__attribute__((target("avx512f,avx512bf16"))) static double peak_bf16(void)
{
    __m512 s[CHAINS], x = _mm512_set1_ps(1.0f);
    for (int i = 0; i < CHAINS; i++) s[i] = _mm512_setzero_ps();
    enum { rounds = 200000 };
    const double start = now();
    for (int i = 0; i < rounds; i++) {
        #pragma GCC unroll 24
        for (int j = 0; j < CHAINS; j++) s[j] = _mm512_dpbf16_ps(s[j], (__m512bh)x, (__m512bh)x);
        __asm__ volatile("" : "+v"(x));
    }
    const double seconds = now() - start;
    for (int i = 0; i < CHAINS; i++) __asm__ volatile("" : : "v"(s[i]));
    return rounds * CHAINS * 64.0 / seconds * 1e-9;
}

__attribute__((target("avx2,fma"))) static double peak_fma256(void)
{
    __m256 s[12], x = _mm256_set1_ps(1.0f);
    for (int i = 0; i < 12; i++) s[i] = _mm256_setzero_ps();
    enum { rounds = 200000 };
    const double start = now();
    for (int i = 0; i < rounds; i++) {
        #pragma GCC unroll 12
        for (int j = 0; j < 12; j++) s[j] = _mm256_fmadd_ps(s[j], x, x);
        __asm__ volatile("" : "+x"(x));
    }
    const double seconds = now() - start;
    for (int i = 0; i < 12; i++) __asm__ volatile("" : : "x"(s[i]));
    return rounds * 12 * 16.0 / seconds * 1e-9;
}
#endif

/* 0 where there is nothing to compare with. For amx the bf16 products of AVX-512. */
static double peak(const char *isa, nn_dtype compute)
{
#if defined(__x86_64__)
    if (compute == NN_BF16 && (strcmp(isa, "avx512bf16") == 0 || strcmp(isa, "amx") == 0)) return peak_bf16();
    if (strncmp(isa, "avx512", 6) == 0 || strcmp(isa, "amx") == 0) return peak_fma512();
    if (strcmp(isa, "avx2") == 0) return peak_fma256();
#endif
    (void)isa;
    (void)compute;
    return 0;
}

static void *filled(nn_backend *b, nn_shape shape, nn_dtype type)
{
    const size_t len = nn_len(shape);
    void *p = NULL;
    if (b->alloc(b, len * nn_dtype_size(type), &p) != DDPM_OK) exit(EXIT_FAILURE);
    for (size_t i = 0; i < len; i++) {
        const float value = (float)((int)(i * 2654435761u >> 20 & 1023) - 512) / 512.0f;
        if (type == NN_F32) ((float *)p)[i] = value;
        else ((bf16 *)p)[i] = bf16_from_f32(value);
    }
    return p;
}

typedef struct {
    nn_tensor x, x2, w, b, out;
    nn_node   node;
    nn_call   call;
    void     *packed;
    double    flop;
} bench_conv;

static void bench_make(nn_backend *b, const bench_shape *s, int n, nn_dtype type, bench_conv *c)
{
    const int kw = s->kernel_w ? s->kernel_w : s->kernel;
    const int h = s->valid ? (s->size - s->kernel) / s->stride + 1 : s->size / s->stride;
    const int w = s->valid ? (s->size - kw) / s->stride + 1 : s->size / s->stride;
    memset(c, 0, sizeof *c);
    c->x = (nn_tensor){.dtype = s->size == 1 ? NN_F32 : type, .shape = {n, s->size, s->size, s->c1}};
    c->x2 = (nn_tensor){.dtype = type, .shape = {n, s->size, s->size, s->c2}};
    c->w = (nn_tensor){.shape = {s->kernel, kw, s->c1 + s->c2, s->out}};
    c->b = (nn_tensor){.shape = {1, 1, 1, s->out}};
    c->out = (nn_tensor){.dtype = c->x.dtype, .shape = {n, h, w, s->out}};
    c->node = (nn_node){.op = NN_CONV2D, .compute = c->x.dtype, .in = {&c->x, &c->w, &c->b, s->c2 ? &c->x2 : NULL},
                        .out = &c->out, .name = "bench"};
    c->node.attr.conv.out = s->out;
    c->node.attr.conv.kernel_h = s->kernel;
    c->node.attr.conv.kernel_w = kw;
    c->node.attr.conv.stride = s->stride;
    c->node.attr.conv.pad_h = s->valid ? 0 : s->kernel / 2;
    c->node.attr.conv.pad_w = s->valid ? 0 : kw / 2;
    c->node.attr.conv.valid = s->valid;
    c->call = (nn_call){.node = &c->node, .n = n, .parts = 1};
    for (int i = 0; i < 4; i++)
        if (c->node.in[i]) c->call.in[i] = filled(b, c->node.in[i]->shape, c->node.in[i]->dtype);
    c->call.out = filled(b, c->out.shape, c->out.dtype);
    c->call.dout = filled(b, c->out.shape, c->out.dtype);
    const nn_kernel *k = &b->kernels[NN_CONV2D];
    size_t scratch = 0;
    if (k->prepare(b, &c->node, &c->call.state, &scratch) != DDPM_OK ||
        b->alloc(b, scratch, &c->call.scratch) != DDPM_OK ||
        b->alloc(b, k->pack_bytes(b, &c->node, true), &c->packed) != DDPM_OK) exit(EXIT_FAILURE);
    k->pack(b, &c->node, true, c->call.in[CONV_W], c->packed);
    c->call.packed = c->packed;
    c->flop = 2.0 * n * h * w * s->out * (s->c1 + s->c2) * s->kernel * kw;
}

static void bench_drop(nn_backend *b, bench_conv *c)
{
    for (int i = 0; i < 4; i++) b->free(b, (void *)(uintptr_t)c->call.in[i]);
    b->kernels[NN_CONV2D].release(b, c->call.state);
    b->free(b, c->call.out);
    b->free(b, (void *)(uintptr_t)c->call.dout);
    b->free(b, c->call.scratch);
    b->free(b, c->packed);
}

enum { FORWARD, DATA, WEIGHTS, PASSES };

static double bench_pass(nn_backend *b, bench_conv *c, int pass)
{
    const nn_kernel *k = &b->kernels[NN_CONV2D];
    nn_call call = c->call;
    if (pass == DATA) {
        call.din[CONV_X] = filled(b, c->x.shape, c->x.dtype);
        if (c->node.in[CONV_X2]) call.din[CONV_X2] = filled(b, c->x2.shape, c->x2.dtype);
    }
    if (pass == WEIGHTS) call.din[CONV_W] = filled(b, c->w.shape, NN_F32);
    double seconds[REPEATS];
    for (int r = 0; r < REPEATS; r++) {
        const double start = now();
        if (pass == FORWARD) k->forward(b, &call);
        else k->backward(b, &call);
        seconds[r] = now() - start;
    }
    for (int i = 0; i < NN_MAX_IN; i++) b->free(b, call.din[i]);
    qsort(seconds, REPEATS, sizeof *seconds, by_value);
    return seconds[REPEATS / 2];
}

typedef struct { const char *name; const bench_shape *shapes; int count, passes; } bench_network;

static const bench_network networks[] = {
    {"unet", unet, sizeof unet / sizeof *unet, PASSES}, {"inception", inception, sizeof inception / sizeof *inception, FORWARD + 1},
};

enum { NETWORKS = sizeof networks / sizeof *networks };

static void bench_row(nn_backend *b, const bench_shape *s, int n, nn_dtype type, int passes, double total[PASSES])
{
    bench_conv c;
    bench_make(b, s, n, type, &c);
    printf("%4d->%-3d @%-2d %dx%d s%d x%-2d", s->c1 + s->c2, s->out, s->size, s->kernel,
           s->kernel_w ? s->kernel_w : s->kernel, s->stride, s->count);
    for (int p = 0; p < passes; p++) {
        const double top = peak(b->isa, c.node.compute);
        const double seconds = bench_pass(b, &c, p);
        const double speed = c.flop / seconds * 1e-9;
        total[p] += s->count * seconds;
        printf("  %7.1f", speed);
        if (top > 0) printf(" %3.0f%%", 100 * speed / top);
    }
    printf("\n");
    fflush(stdout);
    bench_drop(b, &c);
}

static void bench_type(nn_backend *b, const bench_network *net, int n, nn_dtype type, int only)
{
    double total[PASSES] = {0};
    printf("%s, %s, %s, %d images: GFLOP/s of forward, data gradient, weight gradient; peak %.1f\n", net->name, b->isa,
           type == NN_F32 ? "f32" : "bf16", n, peak(b->isa, type));
    for (int i = 0; i < net->count; i++)
        if (only < 0 || only == i) bench_row(b, &net->shapes[i], n, type, net->passes, total);
    printf("milliseconds for all layers: %.1f %.1f %.1f\n", total[0] * 1e3, total[1] * 1e3, total[2] * 1e3);
}

int main(int argc, char **argv)
{
    nn_backend *b;
    if (backend_cpu_new(argc > 1 ? argv[1] : NULL, &b) != DDPM_OK) {
        fprintf(stderr, "bench_conv: %s\n", ddpm_last_error());
        return 2;
    }
    const int n = argc > 2 ? atoi(argv[2]) : 8;
    const int only = argc > 4 ? atoi(argv[4]) : -1;
    for (int i = 0; i < NETWORKS; i++) {
        if (argc > 3 && strcmp(argv[3], networks[i].name) != 0) continue;
        bench_type(b, &networks[i], n, NN_F32, only);
        bench_type(b, &networks[i], n, NN_BF16, only);
    }
    b->release(b);
    return 0;
}
