/* Batches of small sets whose images say who they are: image i of the IDX set is 2 x 3
 * with the bytes 16 i + 0..5. */
#include "data/loader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/rng.h"
#include "io/file.h"
#include "io/image.h"

enum { COUNT = 11, BATCH = 20, PIXELS = 6 };

static char root[] = "/tmp/ddpm-loader-XXXXXX";

static const char *at(const char *below)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", root, below);
    return path;
}

static dataset *open_numbered(void)
{
    uint8_t images[16 + PIXELS * COUNT] = {0, 0, 8, 3, 0, 0, 0, COUNT, 0, 0, 0, 2, 0, 0, 0, 3};
    uint8_t labels[8 + COUNT] = {0, 0, 8, 1, 0, 0, 0, COUNT};
    for (int i = 0; i < COUNT; i++) {
        labels[8 + i] = (uint8_t)(i % 3);
        for (int k = 0; k < PIXELS; k++) images[16 + PIXELS * i + k] = (uint8_t)(16 * i + k);
    }
    assert_int_equal(file_write_atomic(at("train-images-idx3-ubyte"), images, sizeof images), DDPM_OK);
    assert_int_equal(file_write_atomic(at("train-labels-idx1-ubyte"), labels, sizeof labels), DDPM_OK);
    dataset *d;
    assert_int_equal(dataset_open(root, NULL, &d), DDPM_OK);
    return d;
}

static loader_options options(int threads)
{
    loader_options o = loader_defaults();
    o.batch = BATCH;
    o.seed = 7;
    o.threads = threads;
    return o;
}

static loader *loader_ok(const dataset *d, const loader_options *o)
{
    loader *l = NULL;
    assert_int_equal(loader_new(d, o, &l), DDPM_OK);
    return l;
}

typedef struct { float x[BATCH * PIXELS]; int label[BATCH]; int64_t index[BATCH]; } copied;

static copied next(loader *l, uint64_t step)
{
    loader_batch b;
    copied c;
    assert_int_equal(loader_next(l, step, &b), DDPM_OK);
    assert_int_equal(b.n, BATCH);
    memcpy(c.x, b.x, sizeof c.x);
    memcpy(c.label, b.label, sizeof c.label);
    memcpy(c.index, b.index, sizeof c.index);
    return c;
}

static void assert_same(const copied *a, const copied *b)
{
    assert_memory_equal(a->x, b->x, sizeof a->x);
    assert_memory_equal(a->label, b->label, sizeof a->label);
    assert_memory_equal(a->index, b->index, sizeof a->index);
}

/* --- order ------------------------------------------------------------------------------------- */

static void every_epoch_is_a_permutation(void **state)
{
    (void)state;
    static const int64_t counts[] = {1, 2, 3, 4, 5, 16, 17, 1000, 4096, 4097, 50000};
    static bool seen[50000];
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
        for (uint64_t epoch = 0; epoch < 3; epoch++) {
            memset(seen, 0, sizeof seen);
            for (int64_t p = 0; p < counts[k]; p++) {
                const int64_t i = loader_order(1, epoch, p, counts[k]);
                assert_true(i >= 0 && i < counts[k] && !seen[i]);
                seen[i] = true;
            }
        }
    const int64_t huge = (int64_t)1 << 40, i = loader_order(1, 0, huge - 1, huge);
    assert_true(i >= 0 && i < huge);
}

/* Chi-squared of the six orders of three images over 6000 epochs; 5 degrees of freedom,
 * 20.5 is exceeded by chance once in a thousand. */
static void all_orders_are_equally_likely(void **state)
{
    (void)state;
    int hits[27] = {0};
    for (uint64_t epoch = 0; epoch < 6000; epoch++) {
        int code = 0;
        for (int p = 0; p < 3; p++) code = 3 * code + (int)loader_order(3, epoch, p, 3);
        hits[code]++;
    }
    double chi = 0.0;
    int orders = 0;
    for (int i = 0; i < 27; i++) {
        orders += hits[i] > 0;
        if (hits[i]) chi += (hits[i] - 1000.0) * (hits[i] - 1000.0) / 1000.0;
    }
    assert_int_equal(orders, 6);
    assert_true(chi < 20.5);
}

/* Neighbours in one order are unrelated: the mean distance of random pairs is n / 3. */
static void neighbours_are_unrelated(void **state)
{
    (void)state;
    double sum = 0.0;
    for (int64_t p = 1; p < 50000; p++)
        sum += (double)llabs(loader_order(5, 1, p, 50000) - loader_order(5, 1, p - 1, 50000));
    const double mean = sum / 49999.0;
    assert_true(mean > 50000 / 3.0 - 220.0 && mean < 50000 / 3.0 + 220.0);   /* 4 standard errors */
    int fixed = 0;
    for (int64_t p = 0; p < 50000; p++) fixed += loader_order(5, 1, p, 50000) == loader_order(5, 2, p, 50000);
    assert_true(fixed < 10);
}

/* --- batches ------------------------------------------------------------------------------------- */

static void batches_hold_what_they_say(void **state)
{
    (void)state;
    dataset *d = open_numbered();
    const loader_options o = options(2);
    loader *l = loader_ok(d, &o);
    int shown[COUNT] = {0};
    for (uint64_t step = 0; step < COUNT; step++) {          /* BATCH epochs without a remainder */
        const copied c = next(l, step);
        for (int i = 0; i < BATCH; i++) {
            shown[c.index[i]]++;
            assert_int_equal(c.label[i], c.index[i] % 3);
            for (int k = 0; k < PIXELS; k++) {
                const float v = (float)(16 * c.index[i] + k) / 127.5f - 1.0f;
                assert_memory_equal(&c.x[i * PIXELS + k], &v, sizeof v);
            }
        }
        if (step == 0) {                                     /* position 11 begins the second epoch */
            assert_int_equal(c.index[10], loader_order(o.seed, 0, 10, COUNT));
            assert_int_equal(c.index[11], loader_order(o.seed, 1, 0, COUNT));
        }
    }
    for (int i = 0; i < COUNT; i++) assert_int_equal(shown[i], BATCH);
    assert_int_equal(loader_bad(l), 0);
    loader_free(l);
    dataset_close(d);
}

static void threads_cache_and_resuming_change_nothing(void **state)
{
    (void)state;
    dataset *d = open_numbered();
    loader_options one = options(1), three = options(3), streaming = options(2), other = options(1);
    one.flip = three.flip = streaming.flip = other.flip = true;
    three.prefetch = 5;
    streaming.max_cache_bytes = 4 * PIXELS;                  /* room for four images only */
    other.seed = 8;
    loader *a = loader_ok(d, &one), *b = loader_ok(d, &three), *c = loader_ok(d, &streaming), *e = loader_ok(d, &other);
    int differ = 0;
    copied first[20];
    for (uint64_t step = 0; step < 20; step++) {
        first[step] = next(a, step);
        const copied x = next(b, step), y = next(c, step), z = next(e, step);
        assert_same(&first[step], &x);
        assert_same(&first[step], &y);
        differ += memcmp(first[step].index, z.index, sizeof z.index) != 0;
    }
    assert_true(differ > 15);
    static const uint64_t jumps[] = {13, 0, 0, 1, 19, 18, 5, 7, 6, 8};
    for (size_t i = 0; i < sizeof jumps / sizeof *jumps; i++) {
        const copied x = next(b, jumps[i]);
        assert_same(&first[jumps[i]], &x);
    }
    loader_free(a);
    loader_free(b);
    loader_free(c);
    loader_free(e);
    dataset_close(d);
}

/* Rows are mirrored where the address (RNG_FLIP, step, sample) says so, half the time. */
static void flips_mirror_rows(void **state)
{
    (void)state;
    dataset *d = open_numbered();
    loader_options o = options(2);
    o.flip = true;
    loader *l = loader_ok(d, &o);
    int flipped = 0;
    for (uint64_t step = 0; step < 50; step++) {
        const copied c = next(l, step);
        for (int i = 0; i < BATCH; i++) {
            const bool flip = rng_below((rng_address){o.seed, RNG_FLIP, step, (uint64_t)i}, 0, 2) == 1;
            static const int plain[PIXELS] = {0, 1, 2, 3, 4, 5}, mirrored[PIXELS] = {2, 1, 0, 5, 4, 3};
            for (int k = 0; k < PIXELS; k++) {
                const float v = (float)(16 * c.index[i] + (flip ? mirrored[k] : plain[k])) / 127.5f - 1.0f;
                assert_true(c.x[i * PIXELS + k] == v);
            }
            flipped += flip;
        }
    }
    assert_true(flipped > 420 && flipped < 580);             /* 500 +- 5 standard deviations */
    loader_free(l);
    dataset_close(d);
}

static void subsets_show_their_images_only(void **state)
{
    (void)state;
    dataset *d = open_numbered();
    const int64_t subset[] = {9, 2, 5}, outside[] = {COUNT};
    loader_options o = options(1);
    o.subset = subset;
    o.subset_count = 3;
    loader *l = loader_ok(d, &o);
    int shown[COUNT] = {0};
    for (uint64_t step = 0; step < 3; step++) {
        const copied c = next(l, step);
        for (int i = 0; i < BATCH; i++) shown[c.index[i]]++;
    }
    assert_int_equal(shown[9], BATCH);
    assert_int_equal(shown[2], BATCH);
    assert_int_equal(shown[5], BATCH);
    loader_free(l);
    o.subset = outside;
    o.subset_count = 1;
    assert_int_equal(loader_new(d, &o, &l), DDPM_EINVAL);
    dataset_close(d);
}

/* --- bad images ------------------------------------------------------------------------------------ */

static void count_warning(void *ctx, log_level level, const char *message)
{
    if (level == LOG_WARN && strstr(message, "2.png")) ++*(int *)ctx;
}

/* Five images of 2 x 3 in bad/, 0.png to 4.png; number 2 is damaged. */
static dataset *open_damaged(void)
{
    assert_int_equal(dir_make(at("bad")), DDPM_OK);
    for (int i = 0; i < 5; i++) {
        uint8_t data[PIXELS];
        memset(data, i, sizeof data);
        const image im = {3, 2, 1, data};
        char name[32];
        snprintf(name, sizeof name, "bad/%d.png", i);
        if (i == 2) assert_int_equal(file_write_atomic(at(name), "broken", 6), DDPM_OK);
        else assert_int_equal(png_write(at(name), &im, NULL, 0), DDPM_OK);
    }
    dataset *d;
    assert_int_equal(dataset_open(at("bad"), NULL, &d), DDPM_OK);
    return d;
}

static void bad_images_are_replaced_and_counted(void **state)
{
    (void)state;
    int warnings = 0;
    log_set(count_warning, &warnings, LOG_INFO);
    dataset *d = open_damaged();
    const loader_options o = options(3);
    loader *l = loader_ok(d, &o);
    for (uint64_t step = 0; step < 30; step++) {
        const copied c = next(l, step);
        for (int i = 0; i < BATCH; i++) {
            const int64_t p = (int64_t)step * BATCH + i, wanted = loader_order(o.seed, (uint64_t)p / 5, p % 5, 5);
            assert_int_equal(c.index[i], wanted == 2 ? 3 : wanted);
            const float v = (float)c.index[i] / 127.5f - 1.0f;
            assert_true(c.x[i * PIXELS] == v);
        }
    }
    assert_int_equal(loader_bad(l), 1);
    loader_free(l);
    log_set(NULL, NULL, LOG_INFO);
    assert_int_equal(warnings, 1);
    dataset_close(d);
}

static void strict_loaders_fail(void **state)
{
    (void)state;
    dataset *d = open_damaged();
    loader_options o = options(2);
    o.strict = true;
    o.batch = 4;
    loader *l = loader_ok(d, &o);
    loader_batch b;
    int failed = 0;
    for (uint64_t step = 0; step < 5; step++) {              /* number 2 comes up in four of twenty */
        bool there = false;
        for (int64_t p = (int64_t)step * 4; p < (int64_t)(step + 1) * 4; p++)
            there = there || loader_order(o.seed, (uint64_t)p / 5, p % 5, 5) == 2;
        assert_int_equal(loader_next(l, step, &b), there ? DDPM_EFORMAT : DDPM_OK);
        assert_int_equal(loader_next(l, step, &b), there ? DDPM_EFORMAT : DDPM_OK);
        if (there) assert_non_null(strstr(ddpm_last_error(), "2.png"));
        failed += there;
    }
    assert_true(failed > 0);
    loader_free(l);
    dataset_close(d);
}

static void a_set_without_a_good_image_is_an_error(void **state)
{
    (void)state;
    log_set(count_warning, &(int){0}, LOG_ERROR);
    dataset *d = open_damaged();
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "bad/%d.png", i);
        assert_int_equal(file_write_atomic(at(name), "broken", 6), DDPM_OK);
    }
    const loader_options o = options(2);
    loader *l = loader_ok(d, &o);
    loader_batch b;
    assert_int_equal(loader_next(l, 0, &b), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "none of the 5"));
    assert_non_null(strstr(ddpm_last_error(), ".png: "));      /* and why */
    assert_int_equal(loader_bad(l), 5);
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "bad/%d.png", i);
        assert_int_equal(unlink(at(name)), 0);
    }
    loader_free(l);
    l = loader_ok(d, &o);
    assert_int_equal(loader_next(l, 0, &b), DDPM_EIO);       /* gone is not the same as damaged */
    dataset_close(open_damaged());                           /* and may come back */
    assert_int_equal(loader_next(l, 0, &b), DDPM_OK);
    loader_free(l);
    log_set(NULL, NULL, LOG_INFO);
    dataset_close(d);
}

static void a_loader_may_be_freed_at_any_time(void **state)
{
    (void)state;
    dataset *d = open_numbered();
    for (int i = 0; i < 60; i++) {
        loader_options o = options(1 + i % 4);
        o.prefetch = 1 + i % 7;
        loader *l = loader_ok(d, &o);
        for (uint64_t step = 0; step < (uint64_t)(i % 3); step++) next(l, step + (uint64_t)(i % 2));
        loader_free(l);
    }
    loader_free(NULL);
    dataset_close(d);
}

static void impossible_options_are_refused(void **state)
{
    (void)state;
    dataset *d = open_numbered();
    loader *l;
    loader_options o = options(0);
    assert_int_equal(loader_new(d, &o, &l), DDPM_EINVAL);
    o = options(1);
    o.batch = 0;
    assert_int_equal(loader_new(d, &o, &l), DDPM_EINVAL);
    o = options(1);
    o.prefetch = 0;
    assert_int_equal(loader_new(d, &o, &l), DDPM_EINVAL);
    assert_null(l);
    o = options(1);
    l = loader_ok(d, &o);
    loader_batch b;
    assert_int_equal(loader_next(l, UINT64_MAX, &b), DDPM_EINVAL);
    loader_free(l);
    dataset_close(d);
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    return dir_remove_tree("/tmp", strrchr(root, '/') + 1) == DDPM_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_epoch_is_a_permutation),
        cmocka_unit_test(all_orders_are_equally_likely),
        cmocka_unit_test(neighbours_are_unrelated),
        cmocka_unit_test(batches_hold_what_they_say),
        cmocka_unit_test(threads_cache_and_resuming_change_nothing),
        cmocka_unit_test(flips_mirror_rows),
        cmocka_unit_test(subsets_show_their_images_only),
        cmocka_unit_test(bad_images_are_replaced_and_counted),
        cmocka_unit_test(strict_loaders_fail),
        cmocka_unit_test(a_set_without_a_good_image_is_an_error),
        cmocka_unit_test(a_loader_may_be_freed_at_any_time),
        cmocka_unit_test(impossible_options_are_refused),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
