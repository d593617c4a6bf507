/* The offset planner against its definition, by brute force on random lifetimes. */
#include "nn/memory.h"

#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_SPANS = 200, STEPS = 40 };

static size_t padded(size_t size) { return (size + NN_ALIGNMENT - 1) / NN_ALIGNMENT * NN_ALIGNMENT; }

static int random_spans(uint64_t trial, nn_span *s)
{
    const rng_address a = { .seed = 11, .stream = RNG_SHUFFLE, .sample = trial };
    const int count = (int)rng_below(a, 0, MAX_SPANS + 1);
    const size_t limit = (size_t)1 << rng_below(a, 1, 20);
    for (int i = 0; i < count; i++) {
        const uint64_t at = 2 + 4 * (uint64_t)i;
        const int born = (int)rng_below(a, at, STEPS), lasts = (int)rng_below(a, at + 1, STEPS - (uint64_t)born);
        s[i] = (nn_span){ .size = rng_below(a, at + 2, limit + 1), .born = born,
                          .dies = born + (rng_below(a, at + 3, 3) ? lasts % 4 : lasts), .offset = 12345 };
    }
    return count;
}

/* Whether any two spans share a step and a byte. */
static int count_collisions(const nn_span *s, int count)
{
    int bad = 0;
    for (int i = 0; i < count; i++)
        for (int j = 0; j < i; j++) {
            if (!s[i].size || !s[j].size) continue;
            const int together = s[i].born <= s[j].dies && s[j].born <= s[i].dies;
            const int touching = s[i].offset < s[j].offset + s[j].size && s[j].offset < s[i].offset + s[i].size;
            bad += together && touching;
        }
    return bad;
}

/* The most bytes alive at one step: no packing can do with less. */
static size_t peak(const nn_span *s, int count)
{
    size_t most = 0;
    for (int step = 0; step < STEPS; step++) {
        size_t live = 0;
        for (int i = 0; i < count; i++)
            if (s[i].born <= step && step <= s[i].dies) live += s[i].size;
        if (live > most) most = live;
    }
    return most;
}

static void random_lifetimes(void **state)
{
    (void)state;
    double used = 0, needed = 0;
    for (uint64_t trial = 0; trial < 500; trial++) {
        nn_span s[MAX_SPANS];
        size_t total, end = 0, sum = 0;
        const int count = random_spans(trial, s);
        assert_int_equal(nn_memory_place(s, count, &total), DDPM_OK);
        assert_int_equal(count_collisions(s, count), 0);
        for (int i = 0; i < count; i++) {
            assert_int_equal(s[i].offset % NN_ALIGNMENT, 0);
            if (s[i].size && s[i].offset + padded(s[i].size) > end) end = s[i].offset + padded(s[i].size);
            sum += padded(s[i].size);
        }
        assert_int_equal(total, end);
        assert_true(total >= peak(s, count) && total <= sum);
        used += (double)total;
        needed += (double)peak(s, count);
    }
    assert_true(used < 1.035 * needed);           /* not optimal, but good: the largest first alone takes 1.043 */
}

static void result_does_not_depend_on_earlier_offsets(void **state)
{
    (void)state;
    nn_span a[MAX_SPANS], b[MAX_SPANS];
    size_t total_a, total_b;
    const int count = random_spans(3, a);
    memcpy(b, a, sizeof b);
    for (int i = 0; i < count; i++) b[i].offset = 7;
    assert_int_equal(nn_memory_place(a, count, &total_a), DDPM_OK);
    assert_int_equal(nn_memory_place(b, count, &total_b), DDPM_OK);
    assert_int_equal(total_a, total_b);
    for (int i = 0; i < count; i++) assert_int_equal(a[i].offset, b[i].offset);
}

static void small_cases(void **state)
{
    (void)state;
    size_t total = 1;
    assert_int_equal(nn_memory_place(NULL, 0, &total), DDPM_OK);
    assert_int_equal(total, 0);

    nn_span empty = { .size = 0, .born = 5, .dies = 1 };
    assert_int_equal(nn_memory_place(&empty, 1, &total), DDPM_OK);
    assert_int_equal(total, 0);

    /* a chain: each value is alive while it is made and while it is read, so two places do */
    nn_span chain[6];
    for (int i = 0; i < 6; i++) chain[i] = (nn_span){ .size = 100, .born = i, .dies = i + 1 };
    assert_int_equal(nn_memory_place(chain, 6, &total), DDPM_OK);
    assert_int_equal(total, 256);

    nn_span huge[2] = { { .size = SIZE_MAX - 10, .born = 0, .dies = 0 }, { .size = 100, .born = 0, .dies = 0 } };
    assert_int_equal(nn_memory_place(huge, 2, &total), DDPM_ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_lifetimes),
        cmocka_unit_test(result_does_not_depend_on_earlier_offsets),
        cmocka_unit_test(small_cases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
