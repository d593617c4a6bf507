/* The dropout mask: its rule, its rate, and what it depends on. */
#include "nn/dropout.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { LEN = 40003 };

static const int key[4] = { -5, 7, 1000, 42 };

static void rate_and_scale(void **state)
{
    (void)state;
    static const float rates[] = { 0, 0.1f, 0.3f, 0.5f, 0.99f };
    static float scale[LEN];
    for (int k = 0; k < 5; k++) {
        const double rate = (double)rates[k];
        int kept = 0;
        nn_dropout_mask(key, 3, rates[k], 0, LEN, scale);
        for (int i = 0; i < LEN; i++) {
            assert_true(scale[i] == 0 || scale[i] == (float)(1 / (1 - rate)));
            kept += scale[i] != 0;
        }
        assert_true(fabs(kept - LEN * (1 - rate)) <= 5 * sqrt(LEN * rate * (1 - rate)));
    }
}

/* Word by word from the addressed sequence, as the header states the rule. */
static void rule(void **state)
{
    (void)state;
    float scale[64];
    nn_dropout_mask(key, 9, 0.25f, 0, 64, scale);
    const rng_address a = { .seed = 0x7fffffffbu, .stream = RNG_DROPOUT, .step = 1000 + (UINT64_C(9) << 32), .sample = 42 };
    for (uint64_t block = 0; block < 16; block++) {
        uint32_t words[4];
        rng_words(a, block, words);
        for (uint64_t j = 0; j < 4; j++)
            assert_int_equal(scale[block * 4 + j] != 0, (double)words[j] / 0x1p32 >= 0.25);
    }
}

static void pieces_are_of_one_mask(void **state)
{
    (void)state;
    static float whole[LEN], piece[LEN];
    nn_dropout_mask(key, 3, 0.5f, 0, LEN, whole);
    for (size_t first = 0; first < 9; first++)
        for (size_t len = 0; len < 9; len++) {
            nn_dropout_mask(key, 3, 0.5f, first, len, piece);
            assert_memory_equal(piece, whole + first, len * sizeof *piece);
        }
}

static void every_part_of_the_address_counts(void **state)
{
    (void)state;
    float a[128], b[128];
    nn_dropout_mask(key, 3, 0.5f, 0, 128, a);
    nn_dropout_mask(key, 4, 0.5f, 0, 128, b);
    assert_true(memcmp(a, b, sizeof a) != 0);
    for (int i = 0; i < 4; i++) {
        int other[4];
        memcpy(other, key, sizeof other);
        other[i]++;
        nn_dropout_mask(other, 3, 0.5f, 0, 128, b);
        assert_true(memcmp(a, b, sizeof a) != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rate_and_scale),
        cmocka_unit_test(rule),
        cmocka_unit_test(pieces_are_of_one_mask),
        cmocka_unit_test(every_part_of_the_address_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
