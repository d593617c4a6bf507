/* The combinations of a sweep, what its sentence for a bad one says, and the table that is kept and read again. */
#include "api/sweep_table.h"
#include "io/file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void check(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

static settings plain(void)
{
    settings s;
    settings_defaults(&s);
    return s;
}

static sweep_grid parse(const char *text)
{
    const settings request = plain();
    sweep_grid g;
    check(sweep_grid_parse(text, &request, &g));
    return g;
}

static void refuse(const char *text, const char *says)
{
    const settings request = plain();
    sweep_grid g;
    assert_int_equal(sweep_grid_parse(text, &request, &g), DDPM_EINVAL);
    if (!strstr(ddpm_last_error(), says)) fail_msg("\"%s\": %s", text, ddpm_last_error());
}

/* --- combinations ----------------------------------------------------------------------------- */

/* Lists of numbers are values too. */
static void test_values_with_commas(void **state)
{
    (void)state;
    const sweep_grid g = parse("spacing=openai:10,10;trailing;openai:5,5,5 eta=0,1"), one = parse("spacing=openai:10,10;");
    assert_int_equal(g.cells, 6);
    assert_string_equal(sweep_value(&g, 0, 0), "openai:10,10");
    assert_string_equal(sweep_value(&g, 2, 0), "trailing");
    assert_string_equal(sweep_value(&g, 5, 0), "openai:5,5,5");
    assert_int_equal(one.cells, 1);
    assert_string_equal(sweep_value(&one, 0, 0), "openai:10,10");
    refuse("spacing=openai:10,10;;trailing", "empty value");
    refuse("spacing=;", "empty value");
}

static void test_the_last_key_is_the_fastest(void **state)
{
    (void)state;
    static const char *const WANTED[] = { "steps 10, eta 0", "steps 10, eta 0.5", "steps 20, eta 0", "steps 20, eta 0.5", "steps 5, eta 0", "steps 5, eta 0.5" };
    const sweep_grid g = parse("  steps=10,20,5\teta=0,0.50 ");
    assert_int_equal(g.keys, 2);
    assert_int_equal(g.cells, 6);
    for (int i = 0; i < g.cells; i++) {
        char text[64];
        sweep_describe(&g, i, 0, 2, text, sizeof text);
        assert_string_equal(text, WANTED[i]);
        assert_int_equal(sweep_place(&g, i, 0), i / 2);
        assert_int_equal(sweep_place(&g, i, 1), i % 2);
    }
    assert_true(sweep_numeric(&g, 0) && sweep_numeric(&g, 1));
}

static void test_values_reach_the_settings_as_if_given(void **state)
{
    (void)state;
    settings s = plain();
    const sweep_grid g = parse("sampler=ddpm,dpm++2m steps=7 clip=none,x0");
    check(sweep_apply(&g, 3, &s));
    assert_string_equal(sweep_value(&g, 3, 0), "dpm++2m");
    assert_int_equal(s.v.steps, 7);
    assert_int_equal(s.v.clip, SAMPLE_CLIP_X0);
    assert_int_equal(settings_origin(&s, "steps"), ORIGIN_COMMAND_LINE);
    assert_int_equal(settings_origin(&s, "eta"), ORIGIN_DEFAULT);
    assert_false(sweep_numeric(&g, 0));
}

static void test_what_is_wrong(void **state)
{
    (void)state;
    refuse("", "empty");
    refuse("   ", "empty");
    refuse("steps", "\"steps\" has no KEY=");
    refuse("=3", "has no KEY=");
    refuse("steps=10, 20", "empty value");
    refuse("steps=", "empty value");
    refuse("steps=10,,20", "empty value");
    refuse("stepps=3", "did you mean steps?");
    refuse("etta=3", "did you mean eta?");
    refuse("zzzzzzzz=3", "sampler, spacing");
    refuse("seed=3", "is the same for all");
    refuse("num_channels=3", "those that can be swept are");
    refuse("steps=ten", "--sweep: --steps");
    refuse("eta=-1", "--sweep: --eta");
    refuse("sampler=ddimm", "ddim");
    refuse("eta=0.5,0.50", "the value 0.5 twice");
    refuse("steps=1 eta=0 steps=2", "steps is given twice");
    refuse("steps=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33", "more than 32 values");
    refuse("steps=1 eta=1 sampler=ddim spacing=uniform clip=none quantize=round class=1", "more than 6 keys");
    refuse("steps=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32 "
           "eta=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32", "more than 1000 combinations");
    settings given = plain();
    sweep_grid g;
    check(settings_set(&given, "eta", "1", ORIGIN_COMMAND_LINE));
    check(sweep_grid_parse("steps=3", &given, &g));
    assert_int_equal(sweep_grid_parse("steps=3 eta=0", &given, &g), DDPM_EINVAL);
    assert_non_null(strstr(ddpm_last_error(), "so does --eta"));
}

/* --- the table ---------------------------------------------------------------------------------- */

static const char *const MARKS[SWEEP_MARKS] = { "model", "weights", "reference", "features", "images", "seed", "settings" };

static void make(const sweep_grid *g, const char *reference, sweep_table *t)
{
    check(sweep_table_new(g, t));
    for (int i = 0; i < SWEEP_MARKS; i++) check(sweep_table_mark(t, i, MARKS[i], i == 2 ? reference : "x"));
}

static eval_result result(double value, double low)
{
    return (eval_result){ .count = 2, .value = { { "frechet_pca4", "Frechet distance", value, { low, value + 1 }, true }, { "precision", "precision", 0.1, { NAN, NAN }, false } } };
}

static void in_folder(char dir[64], char path[128])
{
    snprintf(dir, 64, "/tmp/ddpm-sweep-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, 128, "%s/t.csv", dir);
}

/* Numbers come back to the bit, words with commas and quotes too, and cells of a larger sweep stay in the file. */
static void test_a_sweep_goes_on_with_its_file(void **state)
{
    (void)state;
    static const char REFERENCE[] = "a \"b\", c/d";
    char dir[64], path[128];
    in_folder(dir, path);
    const sweep_grid both = parse("steps=10,20 eta=0,1"), more = parse("steps=30,20 eta=1,2");
    sweep_table t, u;
    make(&both, REFERENCE, &t);
    const eval_result r[] = { result(1.0 / 3, 0.1), result(M_PI * 1e-9, NAN) };
    check(sweep_table_put(&t, 0, &r[0], 10, 0.5));
    check(sweep_table_put(&t, 3, &r[1], 20, 1e-3 / 7));
    assert_int_equal(sweep_table_done(&t), 2);
    check(sweep_table_write(&t, path));
    sweep_table_free(&t);

    make(&more, REFERENCE, &u);
    check(sweep_table_read(&u, path));
    assert_int_equal(sweep_table_done(&u), 1);
    const sweep_cell *c = &u.cell[2];                                /* steps 20, eta 1 */
    assert_true(c->done && c->reused && c->calls == 20 && c->seconds == 1e-3 / 7);
    assert_true(c->value[0] == M_PI * 1e-9 && isnan(c->interval[0].low) && c->interval[0].high == M_PI * 1e-9 + 1 && c->value[1] == 0.1);
    check(sweep_table_put(&u, 0, &r[0], 30, 0.25));
    check(sweep_table_write(&u, path));
    sweep_table_free(&u);

    make(&both, REFERENCE, &t);
    check(sweep_table_read(&t, path));
    assert_int_equal(sweep_table_done(&t), 2);
    assert_true(t.cell[0].value[0] == 1.0 / 3 && t.cell[0].interval[0].low == 0.1);
    const eval_result other = { .count = 1, .value = { { .key = "precision", .name = "precision" } } };
    assert_int_equal(sweep_table_put(&t, 1, &other, 1, 1), DDPM_EFAIL);
    sweep_table_free(&t);
    unlink(path);
    rmdir(dir);
}

static void refuse_file(const sweep_grid *g, const char *reference, const char *path, ddpm_status wanted, const char *says)
{
    sweep_table t;
    make(g, reference, &t);
    assert_int_equal(sweep_table_read(&t, path), wanted);
    if (!strstr(ddpm_last_error(), says)) fail_msg("%s", ddpm_last_error());
    sweep_table_free(&t);
}

static void test_other_files_are_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = { "", "a,b,c\n1,2,3\n", "model,weights\n", "\"model,weights\n" };
    char dir[64], path[128], text[1024];
    in_folder(dir, path);
    const sweep_grid g = parse("steps=10,20 eta=0,1"), turned = parse("eta=0,1 steps=10,20"), fewer = parse("steps=10,20"), more = parse("steps=10 eta=0 clip=x0");
    sweep_table t;
    make(&g, "data", &t);
    const eval_result r = result(2, 1);
    check(sweep_table_put(&t, 1, &r, 10, 0.5));
    check(sweep_table_write(&t, path));
    sweep_table_free(&t);
    refuse_file(&g, "other", path, DDPM_EINVAL, "reference \"data\", this one is of \"other\"");
    refuse_file(&turned, "data", path, DDPM_EINVAL, "other keys");
    refuse_file(&fewer, "data", path, DDPM_EINVAL, "other keys");
    refuse_file(&more, "data", path, DDPM_EINVAL, "other keys");
    FILE *f = fopen(path, "r");
    const size_t len = fread(text, 1, sizeof text, f);
    fclose(f);
    check(file_write_atomic(path, text, len - 9));                   /* half a line */
    refuse_file(&g, "data", path, DDPM_EFORMAT, "number of fields");
    memcpy(strstr(text, "\nx,x,") + 1, "\"x,x", 4);                  /* a quote without its end */
    check(file_write_atomic(path, text, len));
    refuse_file(&g, "data", path, DDPM_EFORMAT, "cut into fields");
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        check(file_write_atomic(path, BAD[i], strlen(BAD[i])));
        refuse_file(&g, "data", path, DDPM_EFORMAT, "no table of a sweep");
    }
    unlink(path);
    rmdir(dir);
}

/* Rows are the first key, columns the last, blocks what is between; cells that are not done have a dash. */
static void test_the_table_in_words(void **state)
{
    (void)state;
    static const char WANTED[] = "Frechet distance, lower is better; sampler ddim\n"
                                 "  steps         eta 0  eta 1\n"
                                 "      5  2 (1.5 to 3)      -\n"
                                 "     10             -      -\n"
                                 "Frechet distance, lower is better; sampler heun\n"
                                 "  steps  eta 0       eta 1\n"
                                 "      5      -           -\n"
                                 "     10      -  4 (1 to 5)\n";
    const sweep_grid g = parse("steps=5,10 sampler=ddim,heun eta=0,1");
    sweep_table t;
    char *text = NULL;
    size_t size;
    make(&g, "data", &t);
    const eval_result first = result(2, 1.5), last = result(4, 1);
    check(sweep_table_put(&t, 0, &first, 5, 0.125));
    check(sweep_table_put(&t, 7, &last, 19, 0.5));
    FILE *f = open_memstream(&text, &size);
    sweep_table_print(&t, f);
    fclose(f);
    if (strncmp(text, WANTED, sizeof WANTED - 1)) fail_msg("%s", text);
    assert_non_null(strstr(text, "precision, higher is better; sampler heun\n"));
    assert_non_null(strstr(text, "     10      -  19, 0.5\n"));
    free(text);
    sweep_table_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_with_commas), cmocka_unit_test(test_the_last_key_is_the_fastest), cmocka_unit_test(test_values_reach_the_settings_as_if_given), cmocka_unit_test(test_what_is_wrong),
        cmocka_unit_test(test_a_sweep_goes_on_with_its_file), cmocka_unit_test(test_other_files_are_refused), cmocka_unit_test(test_the_table_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
