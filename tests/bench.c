/* Comparing measurements: made documents, so that every ratio, noise and verdict is known beforehand. */
#include "api/bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char WHERE[] = "old.json";

static void check(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

/* A measurement. spread: of every figure, to both sides. ceiling: of the machine, 1 in its usual state. */
typedef struct { double train_ms, forward_ms, spread, ceiling, mb; } facts;

static const facts USUAL = { 200, 100, 0.005, 1, 500 };

static void put_range(json *o, const char *key, double x, double spread)
{
    bench_range_put(o, key, (bench_range){ x, x * (1 - spread), x * (1 + spread) }, 1);
}

static void put_operator(json *list, const char *name, double ms, double share, double percent, double spread)
{
    json *o = json_new_object();
    json_put_string(o, "name", name);
    put_range(o, "ms_per_image", ms, spread);
    json_put_real(o, "share_percent", share);
    if (percent > 0) put_range(o, "ceiling_percent", percent, spread);
    json_append(list, o);
}

/* Work that takes 100 ms at the usual ceiling with 60 % of it. */
static json *document(facts f)
{
    json *o = json_new_object(), *values = json_new_object(), *operators = json_new_array();
    json_put_string(o, "schema", "ddpm-bench-1");
    json_put_string(o, "isa", "avx2");
    json_put_int(o, "parameters", 1000);
    put_range(o, "forward_ms", f.forward_ms, f.spread);
    put_range(o, "train_ms", f.train_ms, f.spread);
    put_range(o, "forward_percent_of_ceiling", 60 * 100 / f.forward_ms / f.ceiling, f.spread);
    put_range(o, "train_percent_of_ceiling", 60 * 200 / f.train_ms / f.ceiling, f.spread);
    json_put_real(o, "peak_rss_bytes", 1e6 * f.mb);
    json_put_real(o, "forward_peak_rss_bytes", 1e8);
    json_put_string(values, "preset", "fashion");
    json_put_int(values, "batch_size", 16);
    json_put_string(values, "precision", "f32");
    json_put_int(values, "repeats", 7);
    json_put(o, "values", values);
    put_operator(operators, "conv2d", f.train_ms / 2, 80, 80 * 200 / f.train_ms / f.ceiling, f.spread);
    put_operator(operators, "corrupt", 1, 10, 0, f.spread);
    json_put(o, "operators", operators);
    return o;
}

/* Worse figures of `now`; *o: its comparison. Both trees are taken over, `now` is given back. */
static int compare(json *then, json *now, const json **o)
{
    int worse = -1;
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    check(bench_compare(then, WHERE, now, f, &worse));
    fclose(f);
    assert_non_null(strstr(text, WHERE));
    free(text);
    json_free(then);
    int64_t told = -1;
    *o = json_get(now, "comparison");
    check(json_get_int(*o, "worse", &told));
    assert_int_equal(told, worse);
    return worse;
}

static const json *line(const json *comparison, const char *list, const char *name)
{
    const json *l = json_get(comparison, list);
    for (size_t i = 0; i < json_array_len(l); i++)
        if (!strcmp(json_as_string(json_get(json_at(l, i), "name")), name)) return json_at(l, i);
    return NULL;
}

static double number(const json *o, const char *key)
{
    double x = -1;
    check(json_get_real(o, key, &x));
    return x;
}

static bool flag(const json *o, const char *key)
{
    bool b = false;
    assert_non_null(json_get(o, key));
    check(json_get_bool(o, key, &b));
    return b;
}

static void assert_near(double a, double b) { assert_true(a > b - 1e-9 * b && a < b + 1e-9 * b); }

static void test_equal(void **state)
{
    (void)state;
    const json *c;
    json *now = document(USUAL);
    assert_int_equal(compare(document(USUAL), now, &c), 0);
    const json *train = line(c, "figures", "train");
    assert_near(number(train, "ratio"), 1);
    assert_near(number(train, "ratio_to_ceiling"), 1);
    assert_near(number(train, "noise_percent"), 3);           /* 1.4 from the repeats, and never less than this */
    json_free(now);
}

/* Everything takes twice as long, and so does the loop that measures the ceiling. */
static void test_slower_machine(void **state)
{
    (void)state;
    const json *c;
    json *now = document((facts){ 400, 200, 0.005, 0.5, 500 });
    assert_int_equal(compare(document(USUAL), now, &c), 0);
    const json *train = line(c, "figures", "train");
    assert_near(number(train, "ratio"), 2);
    assert_near(number(train, "ratio_to_ceiling"), 1);
    json_free(now);
}

/* The same milliseconds on a machine that had become faster are a loss. */
static void test_faster_machine(void **state)
{
    (void)state;
    const json *c;
    json *now = document((facts){ 200, 100 / 1.25, 0.005, 1.25, 500 });
    assert_int_equal(compare(document(USUAL), now, &c), 2);   /* the step, and the operator it is made of */
    assert_true(flag(line(c, "figures", "train"), "worse") && flag(line(c, "operators", "conv2d"), "worse"));
    assert_false(flag(line(c, "figures", "forward"), "worse"));
    assert_near(number(line(c, "figures", "train"), "ratio"), 1);
    assert_near(number(line(c, "figures", "train"), "ratio_to_ceiling"), 1.25);
    json_free(now);
}

/* 8 % slower: a loss where repeats agree to half a percent, none where one of both measurements scatters by 10. */
static void test_noise(void **state)
{
    (void)state;
    const json *c;
    const facts slower = { 216, 108, 0.005, 1, 500 };
    facts noisy = USUAL, slower_noisy = slower;
    noisy.spread = slower_noisy.spread = 0.05;
    json *now = document(slower);
    assert_int_equal(compare(document(USUAL), now, &c), 3);
    json_free(now);
    now = document(slower);
    assert_int_equal(compare(document(noisy), now, &c), 0);
    assert_true(number(line(c, "figures", "train"), "noise_percent") > 10);
    json_free(now);
    now = document(slower_noisy);
    assert_int_equal(compare(document(USUAL), now, &c), 0);
    json_free(now);
}

static void test_memory(void **state)
{
    (void)state;
    const json *c;
    facts f = USUAL;
    f.mb = 520;
    json *now = document(f);
    assert_int_equal(compare(document(USUAL), now, &c), 0);
    json_free(now);
    f.mb = 540;
    now = document(f);
    assert_int_equal(compare(document(USUAL), now, &c), 1);
    assert_true(flag(line(c, "figures", "peak memory"), "worse"));
    json_free(now);
}

/* Judged is what has a ceiling and a share worth it; what the other document does not have is left out. */
static void test_operators(void **state)
{
    (void)state;
    const json *c;
    json *then = document(USUAL), *now = document(USUAL);
    json *before = json_get(then, "operators"), *after = json_get(now, "operators");
    put_operator(before, "small", 1, 0.5, 50, 0.01);
    put_operator(after, "small", 4, 0.9, 12, 0.01);
    put_operator(after, "new", 1, 50, 50, 0.01);
    assert_int_equal(compare(then, now, &c), 0);
    assert_false(flag(line(c, "operators", "small"), "judged"));
    assert_false(flag(line(c, "operators", "corrupt"), "judged"));
    assert_true(flag(line(c, "operators", "conv2d"), "judged"));
    assert_null(line(c, "operators", "new"));
    json_free(now);
}

/* --- what is refused ----------------------------------------------------------------------- */

static ddpm_status adopt(const json *file, const char *name, const char *value, settings *s)
{
    settings_defaults(s);
    if (name) check(settings_set(s, name, value, ORIGIN_COMMAND_LINE));
    return bench_compare_adopt(s, file, WHERE);
}

static void refused(json *file, ddpm_status why, const char *key)
{
    settings *s = malloc(sizeof *s);
    char quoted[80];
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    assert_int_equal(adopt(file, NULL, NULL, s), why);
    assert_non_null(strstr(ddpm_last_error(), WHERE));
    if (!strstr(ddpm_last_error(), quoted)) fail_msg("%s does not name %s", ddpm_last_error(), quoted);
    json_free(file);
    free(s);
}

static void test_wrong_files(void **state)
{
    (void)state;
    static const char *const NEEDED[] = { "schema", "forward_ms", "train_ms", "train_ms_min", "train_ms_max", "forward_percent_of_ceiling",
                                          "train_percent_of_ceiling", "peak_rss_bytes", "forward_peak_rss_bytes", "values" };
    for (size_t i = 0; i < sizeof NEEDED / sizeof *NEEDED; i++) {
        json *whole = document(USUAL), *o = json_new_object(), *wrong = document(USUAL);
        for (const char *key = json_first(whole); key; key = json_next(whole, key)) {
            char *text = json_text(json_get(whole, key), JSON_COMPACT);
            json *copy;
            check(json_parse(text, strlen(text), "a copy", &copy));
            if (strcmp(key, NEEDED[i])) json_put(o, key, copy);
            else json_free(copy);
            free(text);
        }
        json_free(whole);
        refused(o, DDPM_EFORMAT, NEEDED[i]);
        json_put(wrong, NEEDED[i], json_new_bool(true));
        refused(wrong, DDPM_EFORMAT, NEEDED[i]);
    }
    json *o = document(USUAL);
    json_put_real(o, "train_ms", 1e6);                        /* above its own maximum */
    refused(o, DDPM_EFORMAT, "train_ms");
    o = document(USUAL);
    json_put_int(json_get(o, "values"), "batchsize", 3);
    refused(o, DDPM_EINVAL, "batchsize");
    o = document(USUAL);
    json_put_string(json_at(json_get(o, "operators"), 0), "ceiling_percent", "all");
    refused(o, DDPM_EFORMAT, "ceiling_percent");
}

static void test_other_network(void **state)
{
    (void)state;
    json *then = document(USUAL);
    check(bench_compare_network(then, WHERE, 1000));
    assert_int_equal(bench_compare_network(then, WHERE, 1001), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "\"parameters\""));
    json_free(then);
}

static void test_same_work(void **state)
{
    (void)state;
    settings *s = malloc(sizeof *s);
    json *file = document(USUAL);
    check(adopt(file, NULL, NULL, s));
    assert_int_equal(s->v.batch_size, 16);
    assert_int_equal(s->v.precision, PRECISION_F32);
    assert_int_equal(s->v.repeats, 7);
    assert_string_equal(s->v.preset, "fashion");
    assert_int_equal(s->v.num_classes, 10);                   /* the preset's, which this file does not repeat */
    check(adopt(file, "batch_size", "16", s));
    check(adopt(file, "repeats", "3", s));
    assert_int_equal(s->v.repeats, 3);
    assert_int_equal(adopt(file, "batch_size", "32", s), DDPM_EINVAL);
    assert_non_null(strstr(ddpm_last_error(), "--batch_size 16, not 32"));
    assert_int_equal(adopt(file, "precision", "bf16", s), DDPM_EINVAL);
    json_free(file);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),     cmocka_unit_test(test_slower_machine), cmocka_unit_test(test_faster_machine), cmocka_unit_test(test_noise),
        cmocka_unit_test(test_memory),    cmocka_unit_test(test_operators),      cmocka_unit_test(test_wrong_files),    cmocka_unit_test(test_other_network),
        cmocka_unit_test(test_same_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
