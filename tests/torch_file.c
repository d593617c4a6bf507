/* PyTorch files: the golden ones against the checksums their authors' tool recorded, every
 * truncation, random damage. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "io/file.h"
#include "io/json.h"
#include "io/torch_file.h"
#include "sha256.h"

#define GOLDEN "tests/golden/06_unet/pt/"
#define MUST(expr) do { if ((expr) != DDPM_OK) fail_msg("%s: %s", #expr, ddpm_last_error()); } while (0)

static const char *const FILES[] = { "misc.pt", "misc_legacy.pt", "ddim_ema_plain_legacy.ckpt", "ddim_ema_plain.ckpt", "ddim_ckpt.pth", "iddpm_model000000.pt" };
enum { FILE_COUNT = sizeof FILES / sizeof *FILES };

static void sha_vectors(void **state)
{
    (void)state;
    char hex[65];
    sha256((const uint8_t *)"abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256((const uint8_t *)"", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256((const uint8_t *)"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

/* --- golden files ---------------------------------------------------------------------------- */

static json *read_index(void)
{
    json *index = NULL;
    MUST(json_read_file(GOLDEN "index.json", &index));
    return index;
}

/* The list of tensors that is still to be met. */
typedef struct { const json *list; size_t next; const char *file; } expectation;

static void check_tensor(const torch_tensor *t, const char *path, expectation *e)
{
    const json *want = json_at(e->list, e->next++);
    const json *shape = json_get(want, "shape");
    const size_t len = torch_tensor_len(t) * torch_dtype_bytes(t->dtype);
    uint8_t *bytes = malloc(len + 1);
    char hex[65];
    bool parameter = false;
    assert_non_null(bytes);
    if (!want) fail_msg("%s: more tensors than in the index: %s", e->file, path);
    assert_string_equal(path, json_as_string(json_get(want, "path")));
    assert_string_equal(torch_dtype_name(t->dtype), json_as_string(json_get(want, "dtype")));
    assert_int_equal(t->ndim, json_array_len(shape));
    for (int i = 0; i < t->ndim; i++) {
        int64_t d = -1;
        assert_true(json_as_int(json_at(shape, (size_t)i), &d));
        assert_int_equal(d, t->shape[i]);
    }
    MUST(json_get_bool(want, "parameter", &parameter));
    assert_int_equal(parameter, t->parameter);
    torch_tensor_bytes(t, bytes);
    sha256(bytes, len, hex);
    assert_string_equal(hex, json_as_string(json_get(want, "sha256")));
    free(bytes);
}

static void walk(const torch_value *v, const char *path, expectation *e)
{
    if (torch_as_tensor(v)) check_tensor(torch_as_tensor(v), path, e);
    for (size_t i = 0; i < torch_len(v); i++) {
        char below[512];
        int64_t number = (int64_t)i;
        const torch_value *key = torch_key(v, i);
        const char *text = torch_as_string(key), *slash = path[0] ? "/" : "";
        torch_as_int(key, &number);
        if (text) {
            snprintf(below, sizeof below, "%s%s%s", path, slash, text);
            assert_ptr_equal(torch_get(v, text), torch_at(v, i));
        } else {
            snprintf(below, sizeof below, "%s%s%lld", path, slash, (long long)number);
            if (key) assert_ptr_equal(torch_get_int(v, number), torch_at(v, i));
        }
        walk(torch_at(v, i), below, e);
    }
}

static void golden_tensors(void **state)
{
    (void)state;
    json *index = read_index();
    for (int i = 0; i < FILE_COUNT; i++) {
        char path[256];
        torch_file *f = NULL;
        expectation e = { json_get(index, FILES[i]), 0, FILES[i] };
        assert_true(json_array_len(e.list) > 0);
        snprintf(path, sizeof path, GOLDEN "%s", FILES[i]);
        MUST(torch_open(path, &f));
        assert_string_equal(torch_path(f), path);
        walk(torch_root(f), "", &e);
        assert_int_equal(e.next, json_array_len(e.list));
        torch_close(f);
    }
    json_free(index);
}

/* The README of the golden files and the pickles' listing say what stands beside the tensors. */
static void golden_values(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        torch_file *f = NULL;
        int64_t n = 0;
        double x = 0;
        bool flag = false;
        MUST(torch_open(i ? GOLDEN "misc_legacy.pt" : GOLDEN "misc.pt", &f));
        const torch_value *root = torch_root(f), *a = torch_get(torch_get(root, "nested"), "a");
        assert_true(torch_as_int(torch_get(root, "step"), &n));
        assert_int_equal(n, INT64_C(123456789012));
        assert_string_equal(torch_as_string(torch_get(root, "name")), "golden");
        assert_int_equal(torch_kind_of(a), TORCH_KIND_LIST);
        assert_int_equal(torch_len(a), 6);
        assert_true(torch_as_int(torch_at(a, 0), &n) && n == 1);
        assert_true(torch_as_real(torch_at(a, 1), &x) && x == 2.5);
        assert_string_equal(torch_as_string(torch_at(a, 2)), "text");
        assert_int_equal(torch_kind_of(torch_at(a, 3)), TORCH_KIND_NONE);
        assert_true(torch_as_bool(torch_at(a, 4), &flag) && flag);
        assert_int_equal(torch_kind_of(torch_at(a, 5)), TORCH_KIND_TUPLE);
        assert_true(torch_as_int(torch_at(torch_at(a, 5), 1), &n) && n == 4);
        assert_null(torch_at(a, 6));
        assert_null(torch_get(root, "nothing"));
        assert_null(torch_get_int(root, 0));
        assert_int_equal(torch_kind_of(NULL), TORCH_KIND_ABSENT);
        torch_close(f);
    }
}

static void golden_scalars(void **state)
{
    (void)state;
    torch_file *f = NULL;
    json *index = read_index();
    const json *want = json_get(index, "_ddim_ckpt_scalars"), *group = json_at(json_get(want, "optimizer_param_groups"), 0);
    MUST(torch_open(GOLDEN "ddim_ckpt.pth", &f));
    int64_t a = -1, b = -2;
    double x = 0, y = 1;
    const torch_value *root = torch_root(f), *have = torch_at(torch_get(torch_at(root, 1), "param_groups"), 0);
    assert_int_equal(torch_kind_of(root), TORCH_KIND_LIST);
    MUST(json_get_int(want, "epoch", &b));
    assert_true(torch_as_int(torch_at(root, 2), &a) && a == b);
    MUST(json_get_int(want, "step", &b));
    assert_true(torch_as_int(torch_at(root, 3), &a) && a == b);
    MUST(json_get_real(group, "lr", &y));
    assert_true(torch_as_real(torch_get(have, "lr"), &x) && x == y);
    assert_true(torch_as_real(torch_at(torch_get(have, "betas"), 1), &x) && x == 0.999);
    assert_int_equal(torch_len(torch_get(have, "params")), json_array_len(json_get(group, "params")));
    torch_close(f);
    json_free(index);
}

/* --- conversion ----------------------------------------------------------------------------------- */

/* By the definition of the formats. */
static double element(torch_dtype dtype, const uint8_t *p)
{
    uint64_t u = 0;
    double d;
    float s;
    memcpy(&u, p, torch_dtype_bytes(dtype));
    switch (dtype) {
    case TORCH_F64: memcpy(&d, p, 8); return d;
    case TORCH_F32: memcpy(&s, p, 4); return s;
    case TORCH_F16: {
        const int e = (int)(u >> 10 & 31), m = (int)(u & 1023);
        return (u >> 15 ? -1 : 1) * (e ? ldexp(1024 + m, e - 25) : ldexp(m, -24));
    }
    case TORCH_BF16: u <<= 16; memcpy(&s, &u, 4); return s;
    case TORCH_U8: return (double)u;
    case TORCH_BOOL: return u ? 1 : 0;
    default: {
        const int bits = 8 * (int)torch_dtype_bytes(dtype);
        return bits == 64 ? (double)(int64_t)u : (double)u - (u >> (bits - 1) ? ldexp(1, bits) : 0);
    }
    }
}

static void conversions(void **state)
{
    (void)state;
    torch_file *f = NULL;
    MUST(torch_open(GOLDEN "misc.pt", &f));
    int met = 0;
    for (size_t i = 0; i < torch_len(torch_root(f)); i++) {
        const torch_value *v = torch_at(torch_root(f), i);
        const torch_tensor *t = torch_as_tensor(v);
        float out[64];
        if (!t) {
            assert_int_equal(torch_tensor_f32(v, out), DDPM_EFORMAT);
            continue;
        }
        uint8_t bytes[512];
        const size_t n = torch_tensor_len(t), width = torch_dtype_bytes(t->dtype);
        assert_true(n <= 64);
        torch_tensor_bytes(t, bytes);
        MUST(torch_tensor_f32(v, out));
        for (size_t k = 0; k < n; k++) assert_true(out[k] == (float)element(t->dtype, bytes + k * width));
        met |= 1 << t->dtype;
    }
    assert_int_equal(met, 1 << TORCH_F64 | 1 << TORCH_F32 | 1 << TORCH_F16 | 1 << TORCH_BF16 | 1 << TORCH_I64 | 1 << TORCH_I32 | 1 << TORCH_U8 | 1 << TORCH_BOOL);
    torch_close(f);
}

/* --- damage ------------------------------------------------------------------------------------------ */

static void every_prefix(void **state)
{
    (void)state;
    for (int i = 0; i < FILE_COUNT; i++) {
        char path[256];
        file_map map;
        torch_file *f = NULL;
        snprintf(path, sizeof path, GOLDEN "%s", FILES[i]);
        MUST(file_map_open(path, &map));
        for (size_t n = 0; n < map.size; n++)
            if (torch_open_memory(map.data, n, "prefix", &f) != DDPM_EFORMAT) fail_msg("%s: the first %zu bytes open", path, n);
        MUST(torch_open_memory(map.data, map.size, "whole", &f));
        torch_close(f);
        file_map_close(&map);
    }
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Reads every tensor, so that a sanitizer sees what a wrong view would reach. */
static void read_all(const torch_value *v)
{
    const torch_tensor *t = torch_as_tensor(v);
    if (t) {
        float *out = malloc(torch_tensor_len(t) * sizeof *out + 1);
        assert_non_null(out);
        MUST(torch_tensor_f32(v, out));
        free(out);
    }
    for (size_t i = 0; i < torch_len(v); i++) read_all(torch_at(v, i));
}

static void random_damage(void **state)
{
    (void)state;
    uint32_t x = 12345;
    const double end = seconds() + 2;
    for (int round = 0; round < 20000 && seconds() < end; round++) {
        char path[256];
        uint8_t *bytes;
        size_t len;
        torch_file *f = NULL;
        snprintf(path, sizeof path, GOLDEN "%s", FILES[round % 3]);
        MUST(file_read_all(path, 1 << 20, &bytes, &len));
        const int changes = 1 + round % 4;
        for (int k = 0; k < changes; k++) {
            x = x * 1664525u + 1013904223u;
            const uint32_t at = x >> 8;
            x = x * 1664525u + 1013904223u;
            bytes[at % len] = (uint8_t)(round % 2 ? x >> 24 : bytes[at % len] ^ 1u << (x >> 29));
        }
        const ddpm_status s = torch_open_memory(bytes, len, "damaged", &f);
        assert_true(s == DDPM_OK || s == DDPM_EFORMAT);
        if (s == DDPM_OK) read_all(torch_root(f));
        torch_close(f);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha_vectors), cmocka_unit_test(golden_tensors), cmocka_unit_test(golden_values), cmocka_unit_test(golden_scalars),
        cmocka_unit_test(conversions), cmocka_unit_test(every_prefix), cmocka_unit_test(random_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
