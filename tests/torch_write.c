/* State dicts as PyTorch files: what the strict reader finds in them, the layout of the zip, what is refused. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/file.h"
#include "io/torch_file.h"
#include "io/torch_write.h"

#define MUST(expr) do { if ((expr) != DDPM_OK) fail_msg("%s: %s", #expr, ddpm_last_error()); } while (0)

static const float    A[6] = { 1, -2.5f, 3, 1e-30f, 0, 6 };
static const uint16_t B[3] = { 0x3f80, 0xc000, 0x7f80 };      /* bfloat16 1, -2, infinity */
static const double   S[1] = { 0.1 };

static const safetensors_tensor TENSORS[] = {
    { .name = "z.weight", .dtype = ST_F32, .ndim = 2, .shape = { 2, 3 }, .data = A, .bytes = sizeof A },
    { .name = "a.bias", .dtype = ST_BF16, .ndim = 1, .shape = { 3 }, .data = B, .bytes = sizeof B },
    { .name = "scalar", .dtype = ST_F64, .ndim = 0, .data = S, .bytes = sizeof S },
    { .name = "empty", .dtype = ST_F32, .ndim = 2, .shape = { 0, 4 }, .data = A, .bytes = 0 },
};
enum { COUNT = sizeof TENSORS / sizeof *TENSORS };

static ddpm_status copy(void *ctx, int i, void *buffer)
{
    const safetensors_tensor *list = ctx;
    memcpy(buffer, list[i].data, list[i].bytes);
    return DDPM_OK;
}

static ddpm_status write_list(const char *path, const safetensors_tensor *list, int count)
{
    return torch_write(path, list, count, copy, (void *)(uintptr_t)list);
}

static int make_path(void **state)
{
    char *path = strdup("/tmp/ddpm-torch-XXXXXX");
    *state = path;
    const int fd = path ? mkstemp(path) : -1;
    return fd < 0 ? -1 : close(fd);
}

static int drop_path(void **state)
{
    unlink(*state);
    free(*state);
    return 0;
}

static void reads_back(void **state)
{
    torch_file *f = NULL;
    uint8_t bytes[64];
    MUST(write_list(*state, TENSORS, COUNT));
    MUST(torch_open(*state, &f));
    const torch_value *root = torch_root(f);
    assert_int_equal(torch_kind_of(root), TORCH_KIND_DICT);
    assert_int_equal(torch_len(root), COUNT);
    static const torch_dtype dtypes[] = { TORCH_F32, TORCH_BF16, TORCH_F64, TORCH_F32 };
    for (int i = 0; i < COUNT; i++) {
        const torch_tensor *t = torch_as_tensor(torch_at(root, (size_t)i));
        assert_string_equal(torch_as_string(torch_key(root, (size_t)i)), TENSORS[i].name);
        assert_non_null(t);
        assert_int_equal(t->dtype, dtypes[i]);
        assert_int_equal(t->ndim, TENSORS[i].ndim);
        assert_memory_equal(t->shape, TENSORS[i].shape, (size_t)t->ndim * sizeof *t->shape);
        assert_false(t->parameter);
        torch_tensor_bytes(t, bytes);
        assert_memory_equal(bytes, TENSORS[i].data, TENSORS[i].bytes);
    }
    torch_close(f);
}

/* Read from the zip's definition: local header of 30 bytes, name, extra field, data. */
static void data_is_aligned(void **state)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    int records = 0;
    MUST(write_list(*state, TENSORS, COUNT));
    MUST(file_read_all(*state, 1 << 20, &bytes, &len));
    for (size_t at = 0; at + 30 <= len && !memcmp(bytes + at, "PK\3\4", 4); records++) {
        const size_t size = bytes[at + 18] | (size_t)bytes[at + 19] << 8, name = bytes[at + 26], extra = bytes[at + 28];
        assert_int_equal((at + 30 + name + extra) % 64, 0);
        at += 30 + name + extra + size;
    }
    assert_int_equal(records, COUNT + 3);
    free(bytes);
}

/* The only globals are those that torch's reader without code knows. */
static void names_few_globals(void **state)
{
    static const char *const known[] = { "torch._utils\n_rebuild_tensor_v2\n", "torch\nFloatStorage\n", "torch\nBFloat16Storage\n", "torch\nDoubleStorage\n",
                                         "collections\nOrderedDict\n" };
    uint8_t *bytes = NULL;
    size_t len = 0;
    int found = 0;
    MUST(write_list(*state, TENSORS, COUNT));
    MUST(file_read_all(*state, 1 << 20, &bytes, &len));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        for (const uint8_t *p = bytes; (p = memmem(p, len - (size_t)(p - bytes), known[i], strlen(known[i]))); p++) {
            assert_int_equal(p[-1], 'c');
            found++;
        }
    assert_int_equal(found, 3 * COUNT);
    free(bytes);
}

static void same_bytes_again(void **state)
{
    uint8_t *a = NULL, *b = NULL;
    size_t n = 0, m = 0;
    MUST(write_list(*state, TENSORS, COUNT));
    MUST(file_read_all(*state, 1 << 20, &a, &n));
    MUST(write_list(*state, TENSORS, COUNT));
    MUST(file_read_all(*state, 1 << 20, &b, &m));
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
}

static void refusals(void **state)
{
    const safetensors_tensor twice[] = { TENSORS[0], TENSORS[1], TENSORS[0] };
    const safetensors_tensor integers = { .name = "x", .dtype = ST_I64, .ndim = 1, .shape = { 1 }, .data = S, .bytes = 8 };
    unlink(*state);
    assert_int_equal(write_list(*state, twice, 3), DDPM_EINVAL);
    assert_non_null(strstr(ddpm_last_error(), "\"z.weight\" is written twice"));
    assert_int_equal(write_list(*state, &integers, 1), DDPM_EINVAL);
    assert_non_null(strstr(ddpm_last_error(), "I64"));
    assert_false(file_exists(*state));
    assert_int_equal(write_list("/tmp/no-such-folder/x.pt", TENSORS, COUNT), DDPM_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_back, make_path, drop_path),
        cmocka_unit_test_setup_teardown(data_is_aligned, make_path, drop_path),
        cmocka_unit_test_setup_teardown(names_few_globals, make_path, drop_path),
        cmocka_unit_test_setup_teardown(same_bytes_again, make_path, drop_path),
        cmocka_unit_test_setup_teardown(refusals, make_path, drop_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
