/* The parameter store: layout, file order, initial values. */
#include "nn/params.h"

#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const nn_init zero = { NN_INIT_CONSTANT, 0 };

static void layout(void **state)
{
    (void)state;
    nn_params ps = { 0 };
    assert_non_null(nn_params_add(&ps, "conv.weight", (nn_shape){ 3, 3, 5, 7 }, NN_PARAM_CONV, zero));
    assert_non_null(nn_params_add(&ps, "conv.bias", (nn_shape){ 1, 1, 1, 7 }, NN_PARAM_VECTOR, zero));
    assert_non_null(nn_params_add(&ps, "table", (nn_shape){ 1, 1, 10, 16 }, NN_PARAM_TABLE, zero));
    assert_int_equal(ps.list[0].offset, 0);
    assert_int_equal(ps.list[1].offset, 320);             /* 315 rounded up to 16 */
    assert_int_equal(ps.list[2].offset, 336);
    assert_int_equal(ps.len, 496);
    assert_int_equal(nn_params_total(&ps), 315 + 7 + 160);
    assert_ptr_equal(nn_params_find(&ps, "table"), &ps.list[2]);
    assert_null(nn_params_find(&ps, "tabl"));
    nn_params_free(&ps);
    nn_params_free(&ps);
}

static void check_order(nn_shape shape, nn_param_kind kind, int rank, const int64_t want_shape[4], size_t (*place)(int k, int l, int i, int o))
{
    const nn_param p = { .name = "p", .shape = shape, .kind = kind };
    int64_t got_shape[4] = { 0 };
    assert_int_equal(nn_param_file_shape(&p, got_shape), rank);
    for (int i = 0; i < rank; i++) assert_int_equal(got_shape[i], want_shape[i]);
    float slab[200], file[200], back[200];
    const size_t len = nn_len(shape);
    assert_true(len <= 200);
    for (size_t i = 0; i < len; i++) slab[i] = (float)i;
    nn_param_to_file(&p, slab, file);
    size_t at = 0;
    for (int k = 0; k < shape.n; k++)
        for (int l = 0; l < shape.h; l++)
            for (int i = 0; i < shape.w; i++)
                for (int o = 0; o < shape.c; o++, at++) assert_true(file[place(k, l, i, o)] == slab[at]);
    nn_param_from_file(&p, file, back);
    assert_memory_equal(slab, back, len * sizeof *slab);
}

/* PyTorch: [out 5][in 4][kh 2][kw 3], [out 5][in 4], and as they are. */
static size_t conv_place(int k, int l, int i, int o)  { return (size_t)(((o * 4 + i) * 2 + k) * 3 + l); }
static size_t linear_place(int k, int l, int i, int o) { return (size_t)(o * 4 + i + k + l); }
static size_t table_place(int k, int l, int i, int o)  { return (size_t)(i * 5 + o + k + l); }

static void file_order(void **state)
{
    (void)state;
    check_order((nn_shape){ 2, 3, 4, 5 }, NN_PARAM_CONV, 4, (int64_t[4]){ 5, 4, 2, 3 }, conv_place);
    check_order((nn_shape){ 1, 1, 4, 5 }, NN_PARAM_CONV1D, 3, (int64_t[4]){ 5, 4, 1 }, linear_place);
    check_order((nn_shape){ 1, 1, 4, 5 }, NN_PARAM_LINEAR, 2, (int64_t[4]){ 5, 4 }, linear_place);
    check_order((nn_shape){ 1, 1, 4, 5 }, NN_PARAM_TABLE, 2, (int64_t[4]){ 4, 5 }, table_place);
    check_order((nn_shape){ 1, 1, 1, 5 }, NN_PARAM_VECTOR, 1, (int64_t[4]){ 5 }, table_place);
}

/* Mean and deviation of `len` values within five standard errors; a uniform on [-b, b] deviates by b / sqrt(3). */
static void check_moments(const float *x, size_t len, double deviation)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < len; i++) {
        sum += (double)x[i];
        squares += (double)x[i] * (double)x[i];
    }
    const double root = sqrt((double)len);
    assert_true(fabs(sum / (double)len) < 5 * deviation / root);
    assert_true(fabs(sqrt(squares / (double)len) - deviation) < 5 * deviation / root);
}

static void initial_values(void **state)
{
    (void)state;
    enum { N = 10007 };
    nn_params ps = { 0 };
    nn_params_add(&ps, "a", (nn_shape){ 1, 1, 1, N }, NN_PARAM_VECTOR, (nn_init){ NN_INIT_UNIFORM, 0.5f });
    nn_params_add(&ps, "b", (nn_shape){ 1, 1, 1, N }, NN_PARAM_VECTOR, (nn_init){ NN_INIT_NORMAL, 2 });
    nn_params_add(&ps, "c", (nn_shape){ 1, 1, 1, N }, NN_PARAM_VECTOR, (nn_init){ NN_INIT_CONSTANT, 0.75f });
    float *slab = malloc(ps.len * sizeof *slab), *other = malloc(ps.len * sizeof *other);
    assert_true(slab && other);
    memset(slab, 0xff, ps.len * sizeof *slab);
    nn_params_init(&ps, 5, slab);

    check_moments(slab + ps.list[0].offset, N, 0.5 / sqrt(3));
    check_moments(slab + ps.list[1].offset, N, 2);
    for (int i = 0; i < N; i++) {
        assert_true(fabsf(slab[ps.list[0].offset + (size_t)i]) <= 0.5f);
        assert_true(slab[ps.list[2].offset + (size_t)i] == 0.75f);
    }
    for (size_t k = 0; k < 3; k++)                        /* the gaps */
        for (size_t i = ps.list[k].offset + N; i < (k < 2 ? ps.list[k + 1].offset : ps.len); i++) assert_true(slab[i] == 0);

    /* element i of parameter k is draw i at address (seed, RNG_INIT, sample k) */
    float z[3];
    rng_normals((rng_address){ .seed = 5, .stream = RNG_INIT, .sample = 1 }, 100, 3, z);
    for (size_t i = 0; i < 3; i++) assert_true(slab[ps.list[1].offset + 100 + i] == 2 * z[i]);

    nn_params_init(&ps, 5, other);
    assert_memory_equal(slab, other, ps.len * sizeof *slab);
    nn_params_init(&ps, 6, other);
    assert_true(memcmp(slab, other, N * sizeof *slab) != 0);
    free(slab);
    free(other);
    nn_params_free(&ps);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(layout), cmocka_unit_test(file_order), cmocka_unit_test(initial_values) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
