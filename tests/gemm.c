/* gemm_f32 of every instruction-set level against the definition: one chain of
 * multiply-adds per element, in order, to the last bit. */
#include "backend/cpu/cpu.h"
#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GEMM(level) void gemm_f32_##level(int m, int n, int k, const float *a, ptrdiff_t a_row, ptrdiff_t a_k, \
                                          const float *b, ptrdiff_t b_row, float *c, ptrdiff_t c_row, bool accumulate);
GEMM(generic)
#if defined(__x86_64__)
GEMM(avx2)
GEMM(avx512)
GEMM(avx512bf16)
GEMM(amx)
#endif

typedef struct {
    const char *level;
    bool        fused;
    void      (*gemm)(int, int, int, const float *, ptrdiff_t, ptrdiff_t, const float *, ptrdiff_t, float *, ptrdiff_t, bool);
} gemm_level;

static const gemm_level levels[] = {
    {"generic", false, gemm_f32_generic},
#if defined(__x86_64__)
    {"avx2", true, gemm_f32_avx2},
    {"avx512", true, gemm_f32_avx512},
    {"avx512bf16", true, gemm_f32_avx512bf16},
    {"amx", true, gemm_f32_amx},
#endif
};

typedef enum { BY_ROWS, BY_COLUMNS, APART } layout;   /* of a: a_k is 1, a_row is 1, neither */
typedef struct { int m, n, k; layout a; bool accumulate; } gemm_case;

static const gemm_case cases[] = {
    {1, 1, 1, BY_ROWS, false},      {1, 1, 0, BY_ROWS, false},       {3, 5, 0, BY_ROWS, true},
    {6, 64, 128, BY_ROWS, false},   {7, 65, 129, BY_ROWS, true},     {5, 63, 127, BY_COLUMNS, false},
    {13, 33, 300, BY_COLUMNS, true}, {4, 17, 40, APART, false},      {11, 150, 257, APART, true},
    {2, 3, 9, BY_ROWS, true},       {64, 64, 64, BY_COLUMNS, true},  {20, 31, 256, BY_ROWS, false},
};

static float *normals(size_t len, uint64_t which)
{
    float *x = malloc(len * sizeof *x);
    assert_non_null(x);
    rng_normals((rng_address){.seed = 5, .stream = RNG_NOISE, .sample = which}, 0, len, x);
    return x;
}

static float chain(const gemm_level *l, const float *a, ptrdiff_t a_k, const float *b, ptrdiff_t b_row, int k, float sum)
{
    for (int p = 0; p < k; p++) {
        const float product = a[p * a_k] * b[p * b_row];
        sum = l->fused ? fmaf(a[p * a_k], b[p * b_row], sum) : sum + product;
    }
    return sum;
}

static void check(const gemm_level *l, const gemm_case *t)
{
    const ptrdiff_t a_row = t->a == BY_ROWS ? t->k + 3 : t->a == BY_COLUMNS ? 1 : 2 * t->k + 1;
    const ptrdiff_t a_k = t->a == BY_ROWS ? 1 : t->a == BY_COLUMNS ? t->m + 2 : 2;
    const ptrdiff_t b_row = t->n + 1, c_row = t->n + 2;
    const size_t a_len = (size_t)(t->m * a_row + t->k * a_k + 1), c_len = (size_t)(t->m * c_row);
    float *a = normals(a_len, 0), *b = normals((size_t)((t->k + 1) * b_row), 1);
    float *c = normals(c_len, 2), *want = normals(c_len, 2);
    for (int i = 0; i < t->m; i++)
        for (int j = 0; j < t->n; j++) {
            float *w = want + i * c_row + j;
            *w = chain(l, a + i * a_row, a_k, b + j, b_row, t->k, t->accumulate ? *w : 0);
        }
    l->gemm(t->m, t->n, t->k, a, a_row, a_k, b, b_row, c, c_row, t->accumulate);
    assert_memory_equal(c, want, c_len * sizeof *c);
    free(a);
    free(b);
    free(c);
    free(want);
}

static void test_gemm(void **state)
{
    (void)state;
    for (size_t l = 0; l < sizeof levels / sizeof levels[0]; l++) {
        if (!cpu_isa_available(levels[l].level)) continue;
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) check(&levels[l], &cases[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gemm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
