/* The matrix products of every instruction-set level against the definition: f32 one chain of
 * multiply-adds per element, in order, to the last bit; pairs of bf16 within the error of their f32 sums. */
#include "backend/cpu/cpu.h"
#include "base/rng.h"

#define CPU_ISA generic
#include "backend/cpu/gemm.h"
#undef CPU_ISA

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#undef gemm_right_words
#undef gemm_pack
#undef gemm_pack_turned
#undef gemm_turn
#undef gemm_along
#undef gemm_across

typedef struct {
    const char *level;
    bool        fused, pairs;      /* f32 sums are fused; has products of pairs */
    void      (*pack)(gemm_right *, bool, int, int, const void *, ptrdiff_t);
    void      (*pack_turned)(gemm_right *, bool, int, int, const float *, ptrdiff_t);
    void      (*along)(int, const float *, ptrdiff_t, const gemm_right *, float *, ptrdiff_t);
    void      (*across)(int, const float *, ptrdiff_t, const gemm_right *, float *, ptrdiff_t, bool, float *);
} gemm_level;

#define DECLARE(level)                                                                                     \
    void gemm_pack_##level(gemm_right *, bool, int, int, const void *, ptrdiff_t);                         \
    void gemm_pack_turned_##level(gemm_right *, bool, int, int, const float *, ptrdiff_t);                 \
    void gemm_along_##level(int, const float *, ptrdiff_t, const gemm_right *, float *, ptrdiff_t);        \
    void gemm_across_##level(int, const float *, ptrdiff_t, const gemm_right *, float *, ptrdiff_t, bool, float *);
#define LEVEL(level, fused, pairs) \
    { #level, fused, pairs, gemm_pack_##level, gemm_pack_turned_##level, gemm_along_##level, gemm_across_##level }

DECLARE(generic)
DECLARE(amx_emulated)
#if defined(__x86_64__)
DECLARE(avx2)
DECLARE(avx512)
DECLARE(avx512bf16)
DECLARE(amx)
#endif

static const gemm_level levels[] = {
    LEVEL(generic, false, false), LEVEL(amx_emulated, false, true),
#if defined(__x86_64__)
    LEVEL(avx2, true, false), LEVEL(avx512, true, false), LEVEL(avx512bf16, true, true), LEVEL(amx, true, true),
#endif
};

typedef struct { int m, n, k; bool turned, across, accumulate; } gemm_case;      /* k values summed */

static const gemm_case cases[] = {
    {1, 1, 1, false, false, false},     {3, 5, 2, true, false, false},     {6, 64, 128, false, false, false},
    {7, 65, 257, true, false, false},   {5, 63, 127, false, true, false},  {13, 33, 300, false, true, true},
    {17, 16, 40, true, true, true},     {49, 49, 17, true, false, false},  {64, 100, 64, false, true, true},
    {33, 20, 31, false, false, false},  {2, 3, 9, false, true, false},
};

static float *normals(size_t len, uint64_t which)
{
    float *x = malloc(len * sizeof *x);
    assert_non_null(x);
    rng_normals((rng_address){.seed = 5, .stream = RNG_NOISE, .sample = which}, 0, len, x);
    return x;
}

enum { ROOM = 320, LEN = ROOM * ROOM };

/* Values [i][k] of an operand, i a row or column of the result. */
static float *values(uint64_t which, bool pairs)
{
    float *x = normals(LEN, which);
    for (int i = 0; i < LEN && pairs; i++) x[i] = bf16_to_f32(bf16_from_f32(x[i]));
    return x;
}

/* Where value (i, k) lies: along rows [i][k], or across them [k][i], single or two to a word. */
static void place(float *words, ptrdiff_t row, bool across, bool pairs, int i, int k, float x)
{
    const bf16 b = bf16_from_f32(x);
    const ptrdiff_t word = across ? (pairs ? k / 2 : k) * row + i : i * row + (pairs ? k / 2 : k);
    if (pairs) ((bf16 *)(words + word))[k % 2] = b;
    else words[word] = x;
}

/* The right operand as gemm_pack reads it: rows of columns, of bf16 when pairs. */
static void place_row(float *words, ptrdiff_t row, bool pairs, int j, int k, float x)
{
    if (pairs) ((bf16 *)words)[k * row + j] = bf16_from_f32(x);
    else words[k * row + j] = x;
}

static float expected(const gemm_level *l, const float *a, const float *b, int k, bool pairs, float from)
{
    float sum = from;
    double exact = (double)from;
    for (int i = 0; i < k; i++) {
        const float product = a[i] * b[i];
        sum = l->fused ? fmaf(a[i], b[i], sum) : sum + product;
        exact += (double)a[i] * (double)b[i];
    }
    return pairs ? (float)exact : sum;
}

static void fill(const gemm_case *t, bool pairs, const float *a, const float *b, float *left, float *right)
{
    for (int k = 0; k < t->k; k++) {
        for (int i = 0; i < t->m; i++) place(left, ROOM, t->across, pairs, i, k, a[i * ROOM + k]);
        for (int j = 0; j < t->n; j++)
            if (t->turned) place(right, ROOM, false, pairs, j, k, b[j * ROOM + k]);
            else place_row(right, ROOM, pairs, j, k, b[j * ROOM + k]);
    }
}

static void check(const gemm_level *l, const gemm_case *t, bool pairs)
{
    float *a = values(0, pairs), *b = values(1, pairs), *packed = normals(LEN, 2);
    float *c = normals(LEN, 3), *start = normals(LEN, 3), *turned = normals(LEN, 4);
    float *left = calloc(LEN, sizeof *left), *right = calloc(LEN, sizeof *right);
    assert_true(left && right);
    fill(t, pairs, a, b, left, right);
    gemm_right r = {.packed = packed};
    if (t->turned) l->pack_turned(&r, pairs, pairs ? (t->k + 1) / 2 : t->k, t->n, right, ROOM);
    else l->pack(&r, pairs, t->k, t->n, right, ROOM);
    if (t->across) l->across(t->m, left, ROOM, &r, c, ROOM, t->accumulate, turned);
    else l->along(t->m, left, ROOM, &r, c, ROOM);
    const double bound = pairs ? 4 * sqrt(t->k + 8.0) * sqrt(t->k) * 0x1p-24 : 0;
    for (int i = 0; i < t->m; i++)
        for (int j = 0; j < t->n; j++) {
            const int at = i * ROOM + j;
            const float want = expected(l, a + i * ROOM, b + j * ROOM, t->k, pairs, t->accumulate ? start[at] : 0);
            if (!(fabs((double)c[at] - (double)want) <= bound))
                fail_msg("%s %s m %d n %d k %d: c[%d][%d] is %.9g, not %.9g", l->level, pairs ? "pairs" : "f32", t->m, t->n, t->k,
                         i, j, (double)c[at], (double)want);
        }
    float *const all[] = {a, b, packed, c, start, turned, left, right};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static void test_gemm(void **state)
{
    (void)state;
    for (size_t l = 0; l < sizeof levels / sizeof levels[0]; l++) {
        if (!cpu_isa_available(levels[l].level)) continue;
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            check(&levels[l], &cases[i], false);
            if (levels[l].pairs) check(&levels[l], &cases[i], true);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gemm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
