/* fixmath against libm's long double functions, in units of the last place. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/fixmath.h"

enum { DRAWS = 200000 };

/* A generator of the test's own (an LCG with a xorshift output), in [0,1). */
static double draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    uint64_t x = *state;
    x ^= x >> 29;
    return (double)(x >> 11) * 0x1p-53;
}

static double error_ulp(double got, long double want)
{
    if ((double)want == got) return 0;
    const double rounded = fabs((double)want);
    const double ulp = fmax(nextafter(rounded, INFINITY) - rounded, 0x1p-1074);
    return (double)(fabsl((long double)got - want) / (long double)ulp);
}

static double worst(double (*f)(double), long double (*oracle)(long double), double low, double high,
                    uint64_t seed)
{
    double w = 0;
    for (int i = 0; i < DRAWS; i++) {
        const double x = low + (high - low) * draw(&seed);
        w = fmax(w, error_ulp(f(x), oracle((long double)x)));
    }
    return w;
}

/* Both signs, magnitudes uniform in the exponent from 2^low to 2^high. */
static double worst_scaled(double (*f)(double), long double (*oracle)(long double), int low, int high,
                           int negative, uint64_t seed)
{
    double w = 0;
    for (int i = 0; i < DRAWS; i++) {
        const double e = low + (high - low) * draw(&seed);
        const double x = ldexp(1 + draw(&seed), (int)floor(e)) * (negative && i & 1 ? -1 : 1);
        w = fmax(w, error_ulp(f(x), oracle((long double)x)));
    }
    return w;
}

static void check(const char *what, double worst_error, double limit)
{
    print_message("%-28s %.3f ulp\n", what, worst_error);
    assert_true(worst_error <= limit);
}

static void test_exp(void **state)
{
    (void)state;
    check("exp [-1, 1]", worst(fix_exp, expl, -1, 1, 1), 2);
    check("exp [-745, 709.7]", worst(fix_exp, expl, -745, 709.7, 2), 2);
    check("exp small", worst_scaled(fix_exp, expl, -60, 9, 1, 3), 2);
    assert_true(fix_exp(0) == 1);
    assert_true(fix_exp(-746) == 0 && fix_exp(-INFINITY) == 0 && fix_exp(-1e300) == 0);
    assert_true(isinf(fix_exp(709.79)) && isinf(fix_exp(INFINITY)) && isinf(fix_exp(1e300)));
    assert_true(fix_exp(709.78) < INFINITY && fix_exp(-745.1) > 0);
    assert_true(isnan(fix_exp(NAN)));
}

static void test_log(void **state)
{
    (void)state;
    check("log [0.5, 2]", worst(fix_log, logl, 0.5, 2, 4), 2);
    check("log near 1", worst(fix_log, logl, 1 - 1e-6, 1 + 1e-6, 5), 2);
    check("log all exponents", worst_scaled(fix_log, logl, -1022, 1023, 0, 6), 2);
    check("log subnormal", worst_scaled(fix_log, logl, -1074, -1022, 0, 7), 2);
    assert_true(fix_log(1) == 0);
    assert_true(fix_log(0) == -INFINITY && fix_log(INFINITY) == INFINITY);
    assert_true(isnan(fix_log(-1)) && isnan(fix_log(-INFINITY)) && isnan(fix_log(NAN)));
}

static void test_sin_cos(void **state)
{
    (void)state;
    check("sin [-7, 7]", worst(fix_sin, sinl, -7, 7, 8), 2);
    check("cos [-7, 7]", worst(fix_cos, cosl, -7, 7, 9), 2);
    check("sin all exponents to 2^20", worst_scaled(fix_sin, sinl, -500, 20, 1, 10), 2);
    check("cos all exponents to 2^20", worst_scaled(fix_cos, cosl, -60, 20, 1, 11), 2);
    check("sin 2^10..2^20", worst(fix_sin, sinl, 0x1p10, 0x1p20, 12), 2);
    check("cos 2^10..2^20", worst(fix_cos, cosl, 0x1p10, 0x1p20, 13), 2);
    assert_true(fix_sin(0) == 0 && fix_cos(0) == 1);
    assert_true(isnan(fix_sin(NAN)) && isnan(fix_cos(INFINITY)) && isnan(fix_sin(0x1p21)));
}

/* The doubles nearest to multiples of pi/2 lose the most bits to cancellation. */
static void test_sin_cos_near_multiples(void **state)
{
    (void)state;
    const long double half_pi = 1.57079632679489661923132169163975144L;
    double ws = 0, wc = 0;
    for (int k = 1; k < 667544; k += 3) {
        const double x = (double)((long double)k * half_pi);
        ws = fmax(ws, error_ulp(fix_sin(x), sinl((long double)x)));
        wc = fmax(wc, error_ulp(fix_cos(x), cosl((long double)x)));
    }
    check("sin near multiples of pi/2", ws, 2);
    check("cos near multiples of pi/2", wc, 2);
}

static void test_tanh(void **state)
{
    (void)state;
    check("tanh [-1, 1]", worst(fix_tanh, tanhl, -1, 1, 14), 4);
    check("tanh [-25, 25]", worst(fix_tanh, tanhl, -25, 25, 15), 4);
    check("tanh all exponents", worst_scaled(fix_tanh, tanhl, -1000, 10, 1, 16), 4);
    assert_true(fix_tanh(0) == 0 && fix_tanh(40) == 1 && fix_tanh(-INFINITY) == -1);
    assert_true(isnan(fix_tanh(NAN)));
}

static void test_pow(void **state)
{
    (void)state;
    uint64_t seed = 17;
    double w = 0;
    for (int i = 0; i < DRAWS; i++) {
        const double x = ldexp(1 + draw(&seed), (int)(20 * draw(&seed)) - 10), y = 2 * draw(&seed) - 1;
        w = fmax(w, error_ulp(fix_pow(x, y), powl((long double)x, (long double)y)));
    }
    /* |y log x| <= 11 log 2 = 7.6; log and the product are each off by up to 1.5 ulp of it. */
    check("pow", w, 16);
    assert_true(fix_pow(2, 0) == 1);
}

/* The same bits everywhere: a hash recorded once, equal for gcc 12 at -O0, -O3 and
 * -march=native. It fails where a compiler or processor gives other bits. */
static void test_bits(void **state)
{
    (void)state;
    uint64_t seed = 18, hash = 14695981039346656037u;
    for (int i = 0; i < DRAWS; i++) {
        const double x = 40 * draw(&seed) - 20;
        const double v[5] = { fix_exp(x), fix_log(x + 21), fix_sin(x * 100), fix_cos(x * 100), fix_tanh(x) };
        uint64_t u[5];
        memcpy(u, v, sizeof u);
        for (int j = 0; j < 5; j++) hash = (hash ^ u[j]) * 1099511628211u;
    }
    print_message("hash of results %016llx\n", (unsigned long long)hash);
    assert_true(hash == 0xb2e674a72d11cae4u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp), cmocka_unit_test(test_log), cmocka_unit_test(test_sin_cos),
        cmocka_unit_test(test_sin_cos_near_multiples), cmocka_unit_test(test_tanh),
        cmocka_unit_test(test_pow), cmocka_unit_test(test_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
