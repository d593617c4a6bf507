/* yaml.c - YAML against the values its rules give, and refusals with their places. */
#include "io/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The tree of YAML text must print as this JSON. */
static void same(const char *yaml, const char *expected)
{
    json *j;
    assert_int_equal(yaml_parse(yaml, strlen(yaml), "t.yml", &j), DDPM_OK);
    char *text = json_text(j, JSON_COMPACT);
    assert_string_equal(text, expected);
    free(text);
    json_free(j);
}

static void test_values(void **state)
{
    (void)state;
    same("data:\n    dataset: \"CIFAR10\"\n    image_size: 32\n    random_flip: true\nmodel:\n    ch_mult: [1, 2, 2, 2]\n    attn: [16, ]\n",
         "{\"data\":{\"dataset\":\"CIFAR10\",\"image_size\":32,\"random_flip\":true},\"model\":{\"ch_mult\":[1,2,2,2],\"attn\":[16]}}");
    same("lr: 0.00000001\na: 1e-4\nb: .5\nc: -3\nd: +7\ne: 2.000\n", "{\"lr\":1e-08,\"a\":0.0001,\"b\":0.5,\"c\":-3,\"d\":7,\"e\":2.0}");
    same("a: yes\nb: Off\nc: ~\nd:\ne: NULL\nf: 'true'\ng: \"12\"\nh: True\n",
         "{\"a\":true,\"b\":false,\"c\":null,\"d\":null,\"e\":null,\"f\":\"true\",\"g\":\"12\",\"h\":true}");
    same("a: inf\nb: nan\nc: e5\nd: 1.2.3\ne: 0x10\nf: --\n", "{\"a\":\"inf\",\"b\":\"nan\",\"c\":\"e5\",\"d\":\"1.2.3\",\"e\":\"0x10\",\"f\":\"--\"}");
    same("# a comment\n- 1\n- [a, {b: c}]\n- |\n  two\n  lines\n", "[1,[\"a\",{\"b\":\"c\"}],\"two\\nlines\\n\"]");
    same("{\"values\": {\"lr\": 1e-4, \"steps\": 10}}", "{\"values\":{\"lr\":0.0001,\"steps\":10}}");
    same("big: 99999999999999999999\n", "{\"big\":1e+20}");
}

static void refused(const char *yaml, const char *words)
{
    json *j = (json *)1;
    assert_int_equal(yaml_parse(yaml, strlen(yaml), "t.yml", &j), DDPM_EFORMAT);
    assert_null(j);
    if (!strstr(ddpm_last_error(), words)) fail_msg("\"%s\" does not say \"%s\"", ddpm_last_error(), words);
}

static void test_refusals(void **state)
{
    (void)state;
    refused("a: &x [1]\nb: *x\n", "t.yml:2:4: aliases");
    refused("a: 1\nb:\n  c: 2\na: 3\n", "t.yml:4:1: a key that was there before");
    refused("a: !!python/object:os.system 1\n", "t.yml:1:4: tags");
    refused("[1, 2]: 3\n", "t.yml:1:1: a key that is not text");
    refused("a: 1\n---\nb: 2\n", "more than one document");
    refused("a: [1, 2\nb: 3\n", "t.yml:2:");
    refused("", "an empty file");
    refused("a: \"\\0\"\n", "NUL");
    refused("\"a\\0b\": 1\n", "t.yml:1:1: a text with a NUL");
    refused("!!str a: 1\n", "t.yml:1:1: tags");
    char deep[2 * JSON_MAX_DEPTH + 8];
    memset(deep, '[', JSON_MAX_DEPTH + 1);
    memset(deep + JSON_MAX_DEPTH + 1, ']', JSON_MAX_DEPTH + 1);
    deep[2 * JSON_MAX_DEPTH + 2] = 0;
    refused(deep, "nested too deep");
    deep[2 * JSON_MAX_DEPTH + 1] = 0;
    json *j;
    assert_int_equal(yaml_parse(deep + 1, 2 * JSON_MAX_DEPTH, "t.yml", &j), DDPM_OK);      /* one level less is allowed */
    json_free(j);
}

/* Every beginning of a text is a value or a refusal, never a crash or a leak. */
static void test_prefixes(void **state)
{
    (void)state;
    static const char text[] = "a: [1, {b: \"c\\n\"}, *z]\n? [k]\n: |\n  x\n&y d: !t e\n";
    for (size_t len = 0; len < sizeof text; len++) {
        char *copy = malloc(len + 1);
        memcpy(copy, text, len);
        json *j;
        const ddpm_status s = yaml_parse(copy, len, "t.yml", &j);
        assert_true(s == DDPM_OK || s == DDPM_EFORMAT);
        json_free(j);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_values), cmocka_unit_test(test_refusals), cmocka_unit_test(test_prefixes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
