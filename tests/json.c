/* JSON: what is refused, the typed getters, exact text, numbers that come back. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/json.h"

static ddpm_status parse(const char *text, json **j)
{
    return json_parse(text, strlen(text), "test", j);
}

static void assert_refused(const char *text)
{
    json *j;
    if (parse(text, &j) != DDPM_EFORMAT || j) fail_msg("accepted: %.60s", text);
}

static void refuses(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "", " ", "{", "}", "[1,]", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "{\"x\":{\"a\":1,\"b\":2,\"a\":1}}",
        "{\"a\":NaN}", "[Infinity]", "[-Infinity]", "[1e999]", "[9223372036854775808]", "[01]", "[+1]", "[.5]",
        "['a']", "[\"\xff\"]", "[\"\xc0\xaf\"]", "[\"\\u0000\"]", "[\"\\ud800\"]", "[\"a\nb\"]", "{1:2}", "[1] x",
        "// c\n[1]", "{a:1}", "nul", "[\"a"
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_refused(wrong[i]);
    json *j;
    assert_int_equal(json_parse("[1]\0", 4, "test", &j), DDPM_EFORMAT);
}

static void names_the_place(void **state)
{
    (void)state;
    json *j;
    assert_int_equal(json_parse("{\n \"a\": tru }", 13, "some.json", &j), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "some.json, line 2, column"));
}

static void limits_depth_and_size(void **state)
{
    (void)state;
    char text[2 * JSON_MAX_DEPTH + 8];
    for (int extra = 0; extra < 2; extra++) {
        const size_t n = JSON_MAX_DEPTH + (size_t)extra;
        memset(text, '[', n);
        memset(text + n, ']', n);
        json *j;
        assert_int_equal(json_parse(text, 2 * n, "test", &j), extra ? DDPM_EFORMAT : DDPM_OK);
        json_free(j);
    }
    json *j;
    assert_int_equal(parse("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[\"]", &j), DDPM_OK);
    json_free(j);
    char *big = malloc(JSON_MAX_BYTES + 1);
    assert_non_null(big);
    memset(big, ' ', JSON_MAX_BYTES + 1);
    big[0] = '1';
    assert_int_equal(json_parse(big, JSON_MAX_BYTES + 1, "test", &j), DDPM_EFORMAT);
    assert_int_equal(json_parse(big, JSON_MAX_BYTES, "test", &j), DDPM_OK);
    json_free(j);
    free(big);
}

static void every_prefix_is_refused(void **state)
{
    (void)state;
    static const char text[] = "{\"a\": [1, -2.5e3, true, null, \"\\u00e9\xc3\xa9\"], \"b\": {\"c\": {}}}";
    json *j;
    for (size_t n = 0; n < sizeof text - 1; n++) assert_int_equal(json_parse(text, n, "test", &j), DDPM_EFORMAT);
    assert_int_equal(json_parse(text, sizeof text - 1, "test", &j), DDPM_OK);
    json_free(j);
}

static void typed_getters(void **state)
{
    (void)state;
    json *j;
    assert_int_equal(parse("{\"i\":-7,\"r\":2.5,\"t\":true,\"s\":\"x\",\"n\":null,\"a\":[1,2],\"o\":{\"k\":1}}", &j), DDPM_OK);
    int64_t i = 42;
    double r = 42;
    bool b = false;
    const char *s = "default";
    static const char *const nothing[] = { "n", "missing" };
    for (int k = 0; k < 2; k++) {
        assert_int_equal(json_get_int(j, nothing[k], &i), DDPM_OK);
        assert_int_equal(json_get_real(j, nothing[k], &r), DDPM_OK);
        assert_int_equal(json_get_bool(j, nothing[k], &b), DDPM_OK);
        assert_int_equal(json_get_string(j, nothing[k], &s), DDPM_OK);
    }
    assert_true(i == 42 && r == 42.0 && !b);
    assert_string_equal(s, "default");
    assert_int_equal(json_get_int(j, "r", &i), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "\"r\" is a number; an integer"));
    assert_int_equal(json_get_real(j, "s", &r), DDPM_EFORMAT);
    assert_int_equal(json_get_bool(j, "i", &b), DDPM_EFORMAT);
    assert_int_equal(json_get_string(j, "a", &s), DDPM_EFORMAT);
    assert_true(i == 42 && r == 42.0 && !b);
    assert_int_equal(json_get_int(j, "i", &i), DDPM_OK);
    assert_int_equal(json_get_real(j, "i", &r), DDPM_OK);
    assert_true(i == -7 && r == -7.0);
    assert_int_equal(json_get_real(j, "r", &r), DDPM_OK);
    assert_int_equal(json_get_bool(j, "t", &b), DDPM_OK);
    assert_int_equal(json_get_string(j, "s", &s), DDPM_OK);
    assert_true(r == 2.5 && b);
    assert_string_equal(s, "x");
    json *v;
    assert_int_equal(json_need(j, "n", "test", &v), DDPM_OK);
    assert_int_equal(json_need(j, "zz", "test", &v), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "key \"zz\" is missing"));
    json_free(j);
}

static void walks_arrays_and_keys(void **state)
{
    (void)state;
    json *j;
    assert_int_equal(parse("{\"zeta\":[1,2.5,\"x\"],\"alpha\":0,\"m\":{}}", &j), DDPM_OK);
    char order[32] = "";
    for (const char *k = json_first(j); k; k = json_next(j, k)) strcat(strcat(order, k), ",");
    assert_string_equal(order, "zeta,alpha,m,");
    assert_int_equal(json_object_len(j), 3);
    const json *a = json_get(j, "zeta");
    assert_int_equal(json_array_len(a), 3);
    double r;
    int64_t i;
    assert_true(json_as_real(json_at(a, 1), &r) && r == 2.5);
    assert_false(json_as_int(json_at(a, 1), &i));
    assert_string_equal(json_as_string(json_at(a, 2)), "x");
    assert_null(json_at(a, 3));
    assert_int_equal(json_kind_of(json_at(a, 3)), JSON_KIND_ABSENT);
    assert_int_equal(json_kind_of(json_get(j, "m")), JSON_KIND_OBJECT);
    assert_int_equal(json_array_len(j), 0);
    assert_null(json_first(a));
    assert_null(json_get(NULL, "x"));
    json_free(j);
    json_free(NULL);
}

static json *sample(void)
{
    json *o = json_new_object(), *a = json_new_array();
    assert_int_equal(json_append(a, json_new_int(1)), DDPM_OK);
    assert_int_equal(json_append(a, json_new_real(0.1)), DDPM_OK);
    assert_int_equal(json_append(a, json_new_real(NAN)), DDPM_OK);
    assert_int_equal(json_put_string(o, "z", "q\"\n\xc3\xa9"), DDPM_OK);
    assert_int_equal(json_put_int(o, "b", 1), DDPM_OK);
    assert_int_equal(json_put(o, "list", a), DDPM_OK);
    assert_int_equal(json_put_bool(o, "b", true), DDPM_OK);
    assert_int_equal(json_put_real(o, "lr", 1e-4), DDPM_OK);
    assert_int_equal(json_put_real(o, "one", 1), DDPM_OK);
    assert_int_equal(json_put(o, "e", json_new_object()), DDPM_OK);
    assert_int_equal(json_put(o, "ea", json_new_array()), DDPM_OK);
    return o;
}

static void prints(void **state)
{
    (void)state;
    json *o = sample();
    char *compact = json_text(o, JSON_COMPACT), *line = json_text(o, 0), *pretty = json_text(o, 2);
    assert_string_equal(compact, "{\"z\":\"q\\\"\\n\xc3\xa9\",\"b\":true,\"list\":[1,0.1,null],\"lr\":0.0001,\"one\":1.0,\"e\":{},\"ea\":[]}");
    assert_string_equal(line, "{\"z\": \"q\\\"\\n\xc3\xa9\", \"b\": true, \"list\": [1, 0.1, null], \"lr\": 0.0001, \"one\": 1.0, \"e\": {}, \"ea\": []}");
    assert_string_equal(pretty, "{\n  \"z\": \"q\\\"\\n\xc3\xa9\",\n  \"b\": true,\n  \"list\": [\n    1,\n    0.1,\n    null\n  ],\n"
                                "  \"lr\": 0.0001,\n  \"one\": 1.0,\n  \"e\": {},\n  \"ea\": []\n}");
    free(compact);
    free(line);
    free(pretty);
    json_free(o);
}

static void building_without_memory(void **state)
{
    (void)state;
    json *o = json_new_object();
    assert_int_equal(json_put(o, "a", NULL), DDPM_ENOMEM);
    assert_int_equal(json_put(NULL, "a", json_new_int(1)), DDPM_ENOMEM);
    assert_int_equal(json_append(NULL, json_new_int(1)), DDPM_ENOMEM);
    assert_null(json_text(NULL, 0));
    json_free(o);
}

static void mends_wrong_utf8(void **state)
{
    (void)state;
    json *s = json_new_string("a\xff\xc3\xa9\xe2\x82z\xf0\x9f\x98\x80");
    assert_string_equal(json_as_string(s), "a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbdz\xf0\x9f\x98\x80");
    json_free(s);
}

/* Random bit patterns, so all magnitudes and subnormals. */
static void reals_come_back(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u;
    for (int k = 0; k < 20000; k++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        double value, back = 0;
        memcpy(&value, &x, sizeof value);
        if (!isfinite(value)) continue;
        json *o = json_new_object(), *j;
        assert_int_equal(json_put_real(o, "x", value), DDPM_OK);
        char *text = json_text(o, 0);
        assert_int_equal(parse(text, &j), DDPM_OK);
        assert_int_equal(json_kind_of(json_get(j, "x")), JSON_KIND_REAL);
        assert_int_equal(json_get_real(j, "x", &back), DDPM_OK);
        if (memcmp(&value, &back, sizeof back) != 0) fail_msg("%a became %a", value, back);
        free(text);
        json_free(o);
        json_free(j);
    }
}

static void integers_come_back(void **state)
{
    (void)state;
    json *j;
    int64_t low, high;
    assert_int_equal(parse("[-9223372036854775808, 9223372036854775807]", &j), DDPM_OK);
    assert_true(json_as_int(json_at(j, 0), &low) && json_as_int(json_at(j, 1), &high));
    assert_true(low == INT64_MIN && high == INT64_MAX);
    char *text = json_text(j, 0);
    assert_string_equal(text, "[-9223372036854775808, 9223372036854775807]");
    free(text);
    json_free(j);
}

static void files(void **state)
{
    (void)state;
    char path[] = "/tmp/ddpm-json-XXXXXX";
    close(mkstemp(path));
    json *o = sample(), *j;
    assert_int_equal(json_write_file(path, o), DDPM_OK);
    assert_int_equal(json_read_file(path, &j), DDPM_OK);
    char *a = json_text(o, 0), *b = json_text(j, 0);
    assert_string_equal(a, b);
    free(a);
    free(b);
    json_free(o);
    json_free(j);
    unlink(path);
    assert_int_equal(json_read_file(path, &j), DDPM_EIO);
    assert_null(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses), cmocka_unit_test(names_the_place), cmocka_unit_test(limits_depth_and_size),
        cmocka_unit_test(every_prefix_is_refused), cmocka_unit_test(typed_getters),
        cmocka_unit_test(walks_arrays_and_keys), cmocka_unit_test(prints), cmocka_unit_test(building_without_memory),
        cmocka_unit_test(mends_wrong_utf8), cmocka_unit_test(reals_come_back), cmocka_unit_test(integers_come_back),
        cmocka_unit_test(files)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
