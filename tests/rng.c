/* Philox against published vectors, draws against vectors computed with 200-bit
 * arithmetic from the definition in rng.h and rng.c, and statistics.
 *
 * The statistics use fixed seeds, so they pass or fail for good. Each threshold is
 * the two-sided 1e-6 point of its statistic. With 20 of them and the bounds on the
 * extremes (7e-6), a correct generator under a fresh choice of seeds would fail with
 * probability 2.7e-5. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

enum { DRAWS = 1 << 18 };
static const double SIGMAS = 4.892;            /* normal, two-sided 1e-6        */
static const double KS = 2.694;                /* sqrt(n) D, Kolmogorov, 1e-6   */
static const double CHI2_255 = 378, CHI2_9 = 47;

/* Salmon et al.'s known answers for philox4x32-10: counter, key, result. */
static void test_philox_known_answers(void **state)
{
    (void)state;
    static const struct { uint32_t counter[4], key[2], out[4]; } vectors[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { ~0u, ~0u, ~0u, ~0u }, { ~0u, ~0u }, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const uint32_t *c = vectors[i].counter;
        const uint64_t key = (uint64_t)vectors[i].key[1] << 32 | vectors[i].key[0];
        const rng_address a = {
            .seed = key ^ (uint64_t)RNG_XT << 56, .stream = RNG_XT,
            .sample = (uint64_t)(c[3] >> 16) << 32 | c[1],
            .step = (uint64_t)(c[3] & 0xffff) << 32 | c[2],
        };
        uint32_t out[4];
        rng_words(a, c[0], out);
        assert_memory_equal(out, vectors[i].out, sizeof out);
    }
}

/* normals 0..3 and 1000003..1000006; uniforms 0, 1, 2^33-1; below 10 (index 0),
 * 1000 (index 1), 2^40+1 (index 5). */
static const struct {
    rng_address a;
    float normals[2][4];
    double uniforms[3];
    uint64_t below[3];
} draws[] = {
    { { 0u, RNG_INIT, 0u, 0u },
      { { -0x1.f184eep-2f, 0x1.9f61d4p-1f, -0x1.45b23ep-6f, 0x1.5d26cp-1f },
        { 0x1.0f1c66p-1f, -0x1.85928ap+0f, 0x1.def6aap-3f, 0x1.e0e9dep-2f } },
      { 0x1.476798d9b9055p-1, 0x1.d7f06a6765d9ap-2, 0x1.385014fba0862p-2 },
      { 6u, 460u, 749472592730u } },
    { { 1u, RNG_NOISE, 0u, 0u },
      { { -0x1.b8cd72p-2f, 0x1.afcadp-3f, 0x1.4a3282p-2f, 0x1.e1bad6p-2f },
        { -0x1.55197ep+1f, -0x1.8a3b48p+0f, 0x1.00f648p+0f, -0x1.2031f8p-1f } },
      { 0x1.c86f5255aab7bp-1, 0x1.1ae3380cdcb0fp-1, 0x1.528a958b805ccp-3 },
      { 8u, 552u, 301036645632u } },
    { { 12345678901234567u, RNG_SAMPLE_NOISE, 77u, 3u },
      { { 0x1.5a9264p-1f, 0x1.fb1d8ap-5f, 0x1.aabd34p-2f, 0x1.e78b96p-4f },
        { -0x1.e683eep-2f, -0x1.6a208p+0f, 0x1.29419cp-1f, 0x1.3020e6p-1f } },
      { 0x1.9663d127afcf1p-1, 0x1.1db9de9b77e04p-3, 0x1.8da9d1c2e01fp-5 },
      { 7u, 139u, 693542536823u } },
    { { 72057594037927935u, RNG_VAL, 281474976710655u, 281474976710655u },
      { { 0x1.ffa65p-2f, -0x1.7b3f96p+0f, -0x1.049156p-2f, 0x1.5deb2ap-2f },
        { 0x1.d0702ap-1f, 0x1.568ccp-1f, 0x1.5b072cp-2f, -0x1.32419ap-1f } },
      { 0x1.2da9d8dbbd2a2p-2, 0x1.da81f22425c63p-1, 0x1.83fbacec00892p-2 },
      { 2u, 926u, 339425789573u } },
    { { 42u, RNG_XT, 5u, 8589934599u },
      { { -0x1.3ec59p-1f, 0x1.e70feap-9f, 0x1.5d503p-1f, -0x1.0afca8p+0f },
        { 0x1.d1f7b6p+0f, -0x1.691746p+0f, -0x1.af5eb4p-1f, -0x1.393a6ap+0f } },
      { 0x1.a5c99b8326ce5p-1, 0x1.3f837e84863ffp-1, 0x1.e0066069fc0efp-1 },
      { 8u, 624u, 1020578325858u } },
};

static void test_draws(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof draws / sizeof *draws; i++) {
        const rng_address a = draws[i].a;
        float z[4];
        rng_normals(a, 0, 4, z);
        assert_memory_equal(z, draws[i].normals[0], sizeof z);
        rng_normals(a, 1000003, 4, z);
        assert_memory_equal(z, draws[i].normals[1], sizeof z);
        assert_true(rng_uniform(a, 0) == draws[i].uniforms[0]);
        assert_true(rng_uniform(a, 1) == draws[i].uniforms[1]);
        assert_true(rng_uniform(a, (UINT64_C(1) << 33) - 1) == draws[i].uniforms[2]);
        assert_int_equal(rng_below(a, 0, 10), draws[i].below[0]);
        assert_int_equal(rng_below(a, 1, 1000), draws[i].below[1]);
        assert_int_equal(rng_below(a, 5, (UINT64_C(1) << 40) + 1), draws[i].below[2]);
    }
}

static void test_normals_do_not_depend_on_the_slice(void **state)
{
    (void)state;
    enum { N = 1500 };
    const rng_address a = { 7, RNG_NOISE, 3, 9 };
    float whole[N], part[N];
    rng_normals(a, 0, N, whole);
    for (size_t first = 0; first < 520; first += 13)
        for (size_t len = 0; first + len <= N; len += 97) {
            part[len] = 123;
            rng_normals(a, first, len, part);
            assert_memory_equal(part, whole + first, len * sizeof *part);
            if (len < N) assert_true(part[len] == 123);
        }
}

/* Every field of an address counts, and step and sample are not interchangeable. */
static void test_addresses_differ(void **state)
{
    (void)state;
    const rng_address all[] = {
        { 1, RNG_NOISE, 0, 0 }, { 2, RNG_NOISE, 0, 0 }, { 1, RNG_XT, 0, 0 },
        { 1, RNG_NOISE, 1, 0 }, { 1, RNG_NOISE, 0, 1 }, { 1, RNG_NOISE, UINT64_C(1) << 32, 0 },
        { 1, RNG_NOISE, 0, UINT64_C(1) << 32 }, { 1, RNG_NOISE, UINT64_C(1) << 47, 0 },
        { 1, RNG_NOISE, 0, UINT64_C(1) << 47 }, { (UINT64_C(1) << 55) + 1, RNG_NOISE, 0, 0 },
        { (UINT64_C(1) << 32) + 1, RNG_NOISE, 0, 0 },
    };
    const size_t n = sizeof all / sizeof *all;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) {
            uint32_t x[4], y[4];
            rng_words(all[i], 5, x);
            rng_words(all[j], 5, y);
            assert_true(memcmp(x, y, sizeof x) != 0);
        }
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void check(const char *what, double value, double limit)
{
    print_message("%-32s %8.3f (limit %g)\n", what, value, limit);
    assert_true(fabs(value) < limit);
}

static void test_moments_and_distribution(void **state)
{
    (void)state;
    float *z = malloc(DRAWS * sizeof *z);
    assert_non_null(z);
    rng_normals((rng_address){ 2024, RNG_NOISE, 0, 0 }, 0, DRAWS, z);
    double m[5] = { 0 };
    for (int i = 0; i < DRAWS; i++) {
        double p = 1;
        for (int k = 1; k < 5; k++) m[k] += (p *= (double)z[i]) / DRAWS;
    }
    const double root = sqrt(DRAWS);
    check("mean", m[1] * root, SIGMAS);
    check("second moment", (m[2] - 1) * root / sqrt(2), SIGMAS);
    check("third moment", m[3] * root / sqrt(15), SIGMAS);
    check("fourth moment", (m[4] - 3) * root / sqrt(96), SIGMAS);

    qsort(z, DRAWS, sizeof *z, by_value);
    double d = 0;
    for (int i = 0; i < DRAWS; i++) {
        const double f = 0.5 * erfc(-(double)z[i] / sqrt(2));
        d = fmax(d, fmax(fabs(f - (double)i / DRAWS), fabs(f - (i + 1.0) / DRAWS)));
    }
    check("Kolmogorov-Smirnov", d * root, KS);
    /* The largest of n: P(max > 7) = n 1.3e-12; below 3.9 with probability 3e-6. */
    assert_true(z[DRAWS - 1] > 3.9f && z[DRAWS - 1] < 7 && z[0] < -3.9f && z[0] > -7);
    free(z);
}

static double correlation(const float *x, const float *y, int n)
{
    double s = 0;
    for (int i = 0; i < n; i++) s += (double)x[i] * (double)y[i];
    return s / sqrt(n);
}

static void test_independence(void **state)
{
    (void)state;
    float *x = malloc(DRAWS * sizeof *x), *y = malloc(DRAWS * sizeof *y);
    assert_true(x && y);
    const rng_address a = { 11, RNG_NOISE, 100, 200 };
    rng_normals(a, 0, DRAWS, x);
    check("lag 1", correlation(x, x + 1, DRAWS - 1), SIGMAS);
    check("lag 2", correlation(x, x + 2, DRAWS - 2), SIGMAS);
    const struct { const char *what; rng_address a; } others[] = {
        { "next seed", { 12, RNG_NOISE, 100, 200 } }, { "next step", { 11, RNG_NOISE, 101, 200 } },
        { "next sample", { 11, RNG_NOISE, 100, 201 } }, { "other stream", { 11, RNG_XT, 100, 200 } },
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        rng_normals(others[i].a, 0, DRAWS, y);
        check(others[i].what, correlation(x, y, DRAWS), SIGMAS);
        for (int k = 0; k < DRAWS; k++) y[k] = y[k] * y[k] - 1;
        check("  its squares", correlation(x, y, DRAWS) / sqrt(2), SIGMAS);
    }
    free(x);
    free(y);
}

static double chi_square(const int *count, int bins, double n)
{
    double s = 0;
    for (int i = 0; i < bins; i++) s += (count[i] - n / bins) * (count[i] - n / bins) * bins / n;
    return s;
}

static void test_uniform(void **state)
{
    (void)state;
    const rng_address a = { 5, RNG_TIMESTEP, 0, 0 };
    int top[256] = { 0 }, low[256] = { 0 }, ten[10] = { 0 }, across[256] = { 0 };
    double mean = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        const double u = rng_uniform(a, i);
        assert_true(u > 0 && u < 1);
        mean += u / DRAWS;
        top[(int)(u * 256)]++;
        low[(int)fmod(u * 0x1p52, 256)]++;
        ten[rng_below(a, i, 10)]++;
        /* The common use: one draw for each step and sample. */
        across[(int)(256 * rng_uniform((rng_address){ 5, RNG_TIMESTEP, i / 128, i % 128 }, 0))]++;
    }
    check("uniform mean", (mean - 0.5) * sqrt(12.0 * DRAWS), SIGMAS);
    check("chi square, top 8 bits", chi_square(top, 256, DRAWS), CHI2_255);
    check("chi square, bits 44..51", chi_square(low, 256, DRAWS), CHI2_255);
    check("chi square, below 10", chi_square(ten, 10, DRAWS), CHI2_9);
    check("chi square, steps and samples", chi_square(across, 256, DRAWS), CHI2_255);
}

static void test_below_bounds(void **state)
{
    (void)state;
    const rng_address a = { 6, RNG_SHUFFLE, 0, 0 };
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(rng_below(a, i, 1), 0);
        assert_true(rng_below(a, i, 3) < 3);
        assert_true(rng_below(a, i, UINT64_MAX) < UINT64_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_normals_do_not_depend_on_the_slice),
        cmocka_unit_test(test_addresses_differ),
        cmocka_unit_test(test_moments_and_distribution),
        cmocka_unit_test(test_independence),
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_below_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
