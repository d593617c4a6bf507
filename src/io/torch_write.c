#include "io/torch_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "io/torch_file.h"
#include "io/zip_write.h"

#define ROOT "archive/"

enum { ALIGNMENT = 64, NAME_MAX_BYTES = 4096 };

/* --- the pickle ------------------------------------------------------------------------ */

static void op_number(FILE *f, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) fputc((int)(v >> (8 * i) & 255), f);
}

static void op_text(FILE *f, const char *text)
{
    fputc('X', f);
    op_number(f, strlen(text), 4);
    fputs(text, f);
}

/* BININT where it fits, else LONG1 of 8 bytes: protocol 2 has nothing between. */
static void op_int(FILE *f, int64_t v)
{
    const bool small = v >= 0 && v <= INT32_MAX;
    fputs(small ? "J" : "\x8a\x08", f);
    op_number(f, (uint64_t)v, small ? 4 : 8);
}

static void op_ints(FILE *f, const int64_t *v, int n)
{
    fputc('(', f);
    for (int i = 0; i < n; i++) op_int(f, v[i]);
    fputc('t', f);
}

static void op_global(FILE *f, const char *module, const char *name) { fprintf(f, "c%s\n%s\n", module, name); }

static const char *storage_class(safetensors_dtype dtype)
{
    static const struct { safetensors_dtype dtype; const char *name; } rows[] = {
        { ST_F64, "DoubleStorage" }, { ST_F32, "FloatStorage" }, { ST_F16, "HalfStorage" }, { ST_BF16, "BFloat16Storage" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].dtype == dtype) return rows[i].name;
    return NULL;
}

/* _rebuild_tensor_v2(storage KEY, 0, shape, strides, requires_grad False, hooks) */
static void op_tensor(FILE *f, const safetensors_tensor *t, int key)
{
    int64_t strides[SAFETENSORS_MAX_DIMS], step = 1;
    char text[16];
    for (int i = t->ndim - 1; i >= 0; i--) {
        strides[i] = step;
        step *= t->shape[i];
    }
    snprintf(text, sizeof text, "%d", key);
    op_global(f, "torch._utils", "_rebuild_tensor_v2");
    fputs("((", f);
    op_text(f, "storage");
    op_global(f, "torch", storage_class(t->dtype));
    op_text(f, text);
    op_text(f, "cpu");
    op_int(f, safetensors_len(t));
    fputs("tQ", f);
    op_int(f, 0);
    op_ints(f, t->shape, t->ndim);
    op_ints(f, strides, t->ndim);
    fputc(0x89, f);
    op_global(f, "collections", "OrderedDict");
    fputs(")RtR", f);
}

static ddpm_status make_pickle(const safetensors_tensor *tensors, int count, char **text, size_t *len)
{
    FILE *f = open_memstream(text, len);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the names of %d tensors", count);
    fputs("\x80\x02}(", f);
    for (int i = 0; i < count; i++) {
        op_text(f, tensors[i].name);
        op_tensor(f, &tensors[i], i);
    }
    fputs("u.", f);
    return fclose(f) == 0 ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the names of %d tensors", count);
}

/* --- the archive ------------------------------------------------------------------------- */

static uint32_t crc_of(const void *bytes, size_t len)
{
    const uLong none = crc32_z(0, NULL, 0);
    return (uint32_t)(len ? crc32_z(none, bytes, len) : none);
}

static ddpm_status add_record(zip_writer *w, const char *name, const void *bytes, size_t len)
{
    DDPM_TRY(zip_writer_add(w, name, crc_of(bytes, len), len, ALIGNMENT));
    return zip_writer_data(w, bytes, len);
}

static ddpm_status write_records(zip_writer *w, const safetensors_tensor *tensors, int count, safetensors_produce produce, void *ctx, void *buffer)
{
    char *pickle = NULL;
    size_t len = 0;
    DDPM_TRY(make_pickle(tensors, count, &pickle, &len));
    const ddpm_status s = add_record(w, ROOT "data.pkl", pickle, len);
    free(pickle);
    DDPM_TRY(s);
    DDPM_TRY(add_record(w, ROOT "byteorder", "little", 6));
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, ROOT "data/%d", i);
        DDPM_TRY(produce(ctx, i, buffer));
        DDPM_TRY(add_record(w, name, buffer, tensors[i].bytes));
    }
    return add_record(w, ROOT "version", "3\n", 2);
}

static int compare_names(const void *a, const void *b)
{
    const safetensors_tensor *const *s = a, *const *t = b;
    return strcmp((*s)->name, (*t)->name);
}

static ddpm_status check_names(const safetensors_tensor *tensors, int count)
{
    const safetensors_tensor **order = calloc((size_t)count + 1, sizeof *order);
    if (!order) return ddpm_fail(DDPM_ENOMEM, "no memory for the names of %d tensors", count);
    for (int i = 0; i < count; i++) order[i] = &tensors[i];
    if (count > 1) qsort(order, (size_t)count, sizeof *order, compare_names);
    ddpm_status s = DDPM_OK;
    for (int i = 0; i < count && s == DDPM_OK; i++) {
        if (i && !strcmp(order[i - 1]->name, order[i]->name)) s = ddpm_fail(DDPM_EINVAL, "tensor \"%.100s\" is written twice", order[i]->name);
        else if (strlen(order[i]->name) > NAME_MAX_BYTES) s = ddpm_fail(DDPM_EINVAL, "the name of tensor \"%.100s...\" is too long", order[i]->name);
        else if (!storage_class(order[i]->dtype))
            s = ddpm_fail(DDPM_EINVAL, "tensor \"%.100s\": numbers of type %s are not written into PyTorch files", order[i]->name, safetensors_dtype_name(order[i]->dtype));
    }
    free(order);
    return s;
}

ddpm_status torch_write(const char *path, const safetensors_tensor *tensors, int count, safetensors_produce produce, void *ctx)
{
    size_t largest = 1;
    zip_writer *w = NULL;
    DDPM_TRY(check_names(tensors, count));
    for (int i = 0; i < count; i++)
        if (tensors[i].bytes > largest) largest = tensors[i].bytes;
    void *buffer = malloc(largest);
    if (!buffer) return ddpm_fail(DDPM_ENOMEM, "no memory to write a tensor of %zu bytes", largest);
    ddpm_status s = zip_writer_open(path, &w);
    if (s == DDPM_OK) {
        s = write_records(w, tensors, count, produce, ctx, buffer);
        if (s == DDPM_OK) s = zip_writer_finish(w);
        else zip_writer_abort(w);
    }
    free(buffer);
    return s;
}
