/* cifar.c - CIFAR in the forms that are downloaded, from bytes written here by the definition of each: records, Python 2's
 * pickles instruction by instruction, tar headers. */
#include "data/dataset.h"
#include "io/file.h"
#include "io/tar.h"
#include "io/torch_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

enum { PIXELS = 3072, IMAGES = 3 };

static char root[] = "/tmp/ddpm-cifar-XXXXXX";

static const char *at(const char *below)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", root, below);
    return path;
}

/* Plane k of image i of file number `file`. */
static uint8_t value(int file, int i, int k) { return (uint8_t)(100 * k + 20 * file + i); }
static int label(int file, int i) { return (7 * file + 3 * i) % 10; }

typedef struct { uint8_t bytes[64 << 10]; size_t len; } buffer;

static void put(buffer *b, const void *bytes, size_t len)
{
    assert_true(b->len + len <= sizeof b->bytes);
    memcpy(b->bytes + b->len, bytes, len);
    b->len += len;
}

static void put_planes(buffer *b, int file)
{
    for (int i = 0; i < IMAGES; i++)
        for (int k = 0; k < 3; k++) {
            uint8_t plane[1024];
            memset(plane, value(file, i, k), sizeof plane);
            put(b, plane, sizeof plane);
        }
}

/* --- the pickles of Python 2 ------------------------------------------------------------- */

static void put_text(buffer *b, const char *text)         /* SHORT_BINSTRING */
{
    const uint8_t head[2] = { 'U', (uint8_t)strlen(text) };
    put(b, head, 2);
    put(b, text, strlen(text));
}

static void put_array(buffer *b, int file)
{
    static const char make[] = "cnumpy.core.multiarray\n_reconstruct\nq\x07" "cnumpy\nndarray\nq\x08K\0\x85q\tU\1bq\n\x87q\x0bRq\x0c(K\1K\3M\0\x0c\x86q\r"
                               "cnumpy\ndtype\nq\x0eU\2u1q\x0fK\0K\1\x87q\x10Rq\x11(K\3U\1|q\x12NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tq\x13" "b\x89T\0\x24\0\0";
    put(b, make, sizeof make - 1);
    put_planes(b, file);
    put(b, "q\x14tb", 4);
}

static void put_batch(buffer *b, const char *labels, int file)
{
    b->len = 0;
    put(b, "\x80\2}q\1(", 6);
    put_text(b, "batch_label");
    put_text(b, "training batch");
    put_text(b, labels);
    put(b, "]q\5(", 4);
    for (int i = 0; i < IMAGES; i++) put(b, (const uint8_t[]){ 'K', (uint8_t)label(file, i) }, 2);
    put(b, "e", 1);
    put_text(b, "data");
    put_array(b, file);
    put(b, "u.", 2);
}

static void put_names(buffer *b, const char *key, int classes)
{
    b->len = 0;
    put(b, "\x80\2}q\1(", 6);
    put_text(b, key);
    put(b, "]q\2(", 4);
    for (int i = 0; i < classes; i++) {
        char name[16];
        snprintf(name, sizeof name, "kind %d", i);
        put_text(b, name);
    }
    put(b, "eu.", 3);
}

/* --- archives ------------------------------------------------------------------------------ */

static void put_tar_file(FILE *f, char type, const char *name, const buffer *b)
{
    static const uint8_t zeros[512];
    char head[512] = { 0 };
    unsigned sum = 0;
    snprintf(head, 100, "%s", name);
    memcpy(head + 100, "0000644\0" "0000000\0" "0000000\0", 24);
    snprintf(head + 124, 12, "%011o", (unsigned)(b ? b->len : 0));
    memcpy(head + 136, "00000000000\0        ", 20);
    head[156] = type;
    memcpy(head + 257, "ustar\0" "00", 8);
    for (int i = 0; i < 512; i++) sum += (unsigned char)head[i];
    snprintf(head + 148, 8, "%06o", sum);
    fwrite(head, 1, sizeof head, f);
    if (b) fwrite(b->bytes, 1, b->len, f);
    if (b && b->len % 512) fwrite(zeros, 1, 512 - b->len % 512, f);
}

static void write_gzip(const char *path, const char *bytes, size_t len)
{
    gzFile z = gzopen(path, "wb");
    assert_non_null(z);
    assert_int_equal(gzwrite(z, bytes, (unsigned)len), len);
    gzclose(z);
}

/* --- checks ---------------------------------------------------------------------------------- */

static void check_set(const char *below, const char *format, int first_file, int files, int classes, const char *name_of_3)
{
    dataset *d;
    dataset_reader *r;
    uint8_t out[PIXELS];
    if (dataset_open(at(below), NULL, &d) != DDPM_OK) fail_msg("%s", ddpm_last_error());
    assert_string_equal(dataset_format_name(d), format);
    assert_int_equal(dataset_count(d), files * IMAGES);
    assert_int_equal(dataset_n_classes(d), classes);
    assert_string_equal(dataset_class_name(d, 3), name_of_3);
    assert_int_equal(dataset_reader_new(d, &r), DDPM_OK);
    for (int n = 0; n < files * IMAGES; n++) {
        const int file = first_file + n / IMAGES, i = n % IMAGES;
        int y;
        assert_int_equal(dataset_read(d, r, n, out, &y), DDPM_OK);
        assert_int_equal(y, label(file, i));
        for (int p = 0; p < PIXELS; p++) assert_int_equal(out[p], value(file, i, p % 3));
    }
    dataset_reader_free(r);
    dataset_close(d);
}

static void refused(const char *below, ddpm_status expected, const char *words)
{
    dataset *d;
    assert_int_equal(dataset_open(at(below), NULL, &d), expected);
    if (!strstr(ddpm_last_error(), words)) fail_msg("\"%s\" does not say \"%s\"", ddpm_last_error(), words);
}

static void write_file(const char *below, const buffer *b) { assert_int_equal(file_write_atomic(at(below), b->bytes, b->len), DDPM_OK); }

static buffer b;

static void test_python_10(void **state)
{
    (void)state;
    char name[64];
    assert_int_equal(dir_make(at("py")), DDPM_OK);
    for (int k = 1; k <= 5; k++) {
        put_batch(&b, "labels", k - 1);
        snprintf(name, sizeof name, "py/data_batch_%d", k);
        write_file(name, &b);
    }
    check_set("py", "cifar10", 0, 5, 10, "cat");
    put_names(&b, "label_names", 10);
    write_file("py/batches.meta", &b);
    check_set("py", "cifar10", 0, 5, 10, "kind 3");
    put_batch(&b, "labels", 5);
    write_file("py/test_batch", &b);
    check_set("py:test", "cifar10", 5, 1, 10, "kind 3");
}

static void test_100(void **state)
{
    (void)state;
    assert_int_equal(dir_make(at("py100")), DDPM_OK);
    put_batch(&b, "fine_labels", 0);
    write_file("py100/train", &b);
    put_batch(&b, "fine_labels", 1);
    write_file("py100/test", &b);
    refused("py100", DDPM_EFORMAT, "no images");                    /* nothing says yet that it is CIFAR */
    put_names(&b, "fine_label_names", 100);
    write_file("py100/meta", &b);
    check_set("py100", "cifar100", 0, 1, 100, "kind 3");
    check_set("py100:test", "cifar100", 1, 1, 100, "kind 3");

    assert_int_equal(dir_make(at("bin100")), DDPM_OK);
    b.len = 0;
    for (int i = 0; i < IMAGES; i++) {
        put(&b, (const uint8_t[]){ 19, (uint8_t)label(0, i) }, 2);  /* the coarse label comes first */
        for (int k = 0; k < 3; k++)
            for (int p = 0; p < 1024; p++) put(&b, (const uint8_t[]){ value(0, i, k) }, 1);
    }
    write_file("bin100/train.bin", &b);
    assert_int_equal(file_write_atomic(at("bin100/fine_label_names.txt"), "a\nb\nc\nd\n", 8), DDPM_OK);
    check_set("bin100", "cifar100", 0, 1, 100, "3");                /* too few names: numbers */
    b.len--;
    write_file("bin100/train.bin", &b);
    refused("bin100", DDPM_EFORMAT, "train.bin: 9221 bytes are no whole number of records of 3074");
}

static void test_missing_files(void **state)
{
    (void)state;
    char *tar;
    size_t len;
    FILE *f = open_memstream(&tar, &len);
    b.len = 3073;
    memset(b.bytes, 0, b.len);
    put_tar_file(f, '0', "data_batch_1.bin", &b);
    for (int i = 0; i < 1024; i++) fputc(0, f);
    fclose(f);
    write_gzip(at("part.tar.gz"), tar, len);
    free(tar);
    refused("part.tar.gz", DDPM_EFORMAT, "part.tar.gz/data_batch_2.bin is not there; the download is incomplete");
    assert_int_equal(dir_make(at("part")), DDPM_OK);
    write_file("part/data_batch_1.bin", &b);
    refused("part", DDPM_EIO, "part/data_batch_2.bin is not there; the download is incomplete");
    assert_int_equal(file_write_atomic(at("note.tar.gz"), "a note", 6), DDPM_OK);
    refused("note.tar.gz", DDPM_EFORMAT, "no tar");
}

/* The archive, folder entries and other files included, at every length. */
static void test_archive(void **state)
{
    (void)state;
    char *tar;
    size_t len;
    FILE *f = open_memstream(&tar, &len);
    put_tar_file(f, '5', "cifar-100-python/", NULL);
    put_batch(&b, "fine_labels", 1);
    put_tar_file(f, '0', "cifar-100-python/test", &b);
    put_names(&b, "fine_label_names", 100);
    put_tar_file(f, '0', "cifar-100-python/meta", &b);
    put_tar_file(f, '2', "cifar-100-python/train", NULL);           /* a link is no file */
    put_batch(&b, "fine_labels", 0);
    put_tar_file(f, '0', "cifar-100-python/train", &b);
    for (int i = 0; i < 1024; i++) fputc(0, f);
    fclose(f);
    write_gzip(at("cifar-100-python.tar.gz"), tar, len);
    check_set("cifar-100-python.tar.gz", "cifar100", 0, 1, 100, "kind 3");
    check_set("cifar-100-python.tar.gz:test", "cifar100", 1, 1, 100, "kind 3");
    for (size_t n = 0; n < len - 1024; n += 257) {
        write_gzip(at("cut.tar.gz"), tar, n);
        refused("cut.tar.gz", DDPM_EFORMAT, "cut.tar.gz");
    }
    tar[600] ^= 1;                                                  /* in the second header */
    write_gzip(at("cut.tar.gz"), tar, len);
    refused("cut.tar.gz", DDPM_EFORMAT, "damaged header (offset 512");
    free(tar);
    FILE *empty = open_memstream(&tar, &len);
    for (int i = 0; i < 1024; i++) fputc(0, empty);
    fclose(empty);
    write_gzip(at("other.tar.gz"), tar, len);
    refused("other.tar.gz", DDPM_EFORMAT, "neither CIFAR-10 nor CIFAR-100");
    free(tar);
}

static void reads_not(const char *words)
{
    torch_file *f;
    assert_int_equal(torch_open_arrays(b.bytes, b.len, "batch", &f), DDPM_EFORMAT);
    if (!strstr(ddpm_last_error(), words)) fail_msg("\"%s\" does not say \"%s\"", ddpm_last_error(), words);
}

static void change(const char *from, const char *to, size_t len)
{
    uint8_t *place = memmem(b.bytes, b.len, from, len);
    assert_non_null(place);
    memcpy(place, to, len);
}

#define put_literal(to, text) put(to, text, sizeof(text) - 1)

/* encode("...", encoding) as Python 3 writes bytes into protocol 2: UTF-8 of one character for each byte. */
static void put_encoded(buffer *to, const void *bytes, size_t len, const char *encoding)
{
    static uint8_t text[2 * IMAGES * PIXELS];
    uint32_t n = 0;
    for (size_t i = 0; i < len; i++) {
        const uint8_t c = ((const uint8_t *)bytes)[i];
        if (c >= 0x80) text[n++] = (uint8_t)(0xc0 | c >> 6);
        text[n++] = c < 0x80 ? c : (uint8_t)(0x80 | (c & 0x3f));
    }
    put_literal(to, "c_codecs\nencode\nX");
    put(to, &n, 4);
    put(to, text, n);
    const uint32_t name = (uint32_t)strlen(encoding);
    put_literal(to, "X");
    put(to, &name, 4);
    put(to, encoding, name);
    put_literal(to, "\x86R");
}

/* {b"data": array of [n], ...}: keys and bytes are encoded texts. */
static void put_encoded_array(buffer *to, const uint8_t *bytes, uint8_t n, const char *encoding)
{
    to->len = 0;
    put_literal(to, "\x80\2}(");
    put_encoded(to, "data", 4, encoding);
    put_literal(to, "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85");
    put_encoded(to, "b", 1, encoding);
    put_literal(to, "\x87R(K\1K");
    put(to, &n, 1);
    put_literal(to, "\x85" "cnumpy\ndtype\nX\2\0\0\0u1\x89\x88\x87R\x89");
    put_encoded(to, bytes, n, encoding);
    put_literal(to, "tbu.");
}

static void check_encoded(const uint8_t *bytes, uint8_t n)
{
    torch_file *f = NULL;
    put_encoded_array(&b, bytes, n, "latin1");
    if (torch_open_arrays(b.bytes, b.len, "batch", &f) != DDPM_OK) fail_msg("%s", ddpm_last_error());
    const torch_tensor *t = torch_as_tensor(torch_get(torch_root(f), "data"));
    assert_non_null(t);
    assert_int_equal(t->ndim, 1);
    assert_int_equal(t->shape[0], n);
    assert_int_equal(t->storage->len, n);
    assert_memory_equal(t->storage->data, bytes, n);
    torch_close(f);
}

static void test_encoded_bytes(void **state)
{
    (void)state;
    uint8_t all[255];
    for (int i = 0; i < 255; i++) all[i] = (uint8_t)(i + 1);
    check_encoded(all, 255);                       /* without a zero; UTF-8 of 383 bytes */
    check_encoded(all + 100, 100);                 /* short enough for a text */
    for (int i = 0; i < 255; i++) all[i] = (uint8_t)(255 - 3 * i);
    check_encoded(all, 255);                       /* with one */
    put_encoded_array(&b, all, 255, "utf-8");
    reads_not("in another way than latin1");
    put_encoded_array(&b, all, 255, "latin1");
    change("\xc3\xbf", "\xc4\xbf", 2);
    reads_not("has other characters");
    put_encoded_array(&b, all, 255, "latin1");
    change("\xc3\xbf", "\xc3\x3f", 2);
    reads_not("has other characters");
    put_encoded_array(&b, all, 255, "latin1");
    change("u1", "i1", 2);
    reads_not("not of uint8");
    static const char bare[] = "\x80\2c_codecs\nencode\nK\1X\6\0\0\0latin1\x86R.", zeros[] = "\x80\2X\2\0\0\0a\0.";
    b.len = 0;
    put(&b, bare, sizeof bare - 1);
    reads_not("not a text");
    torch_file *f;
    b.len = 0;
    put(&b, zeros, sizeof zeros - 1);
    assert_int_equal(torch_open_arrays(b.bytes, b.len, "batch", &f), DDPM_EFORMAT);      /* only encoded */
}

/* What is not a batch of bytes is refused; above all every other global. */
static void test_hostile(void **state)
{
    (void)state;
    torch_file *f;
    put_batch(&b, "labels", 0);
    for (size_t n = 0; n < b.len; n += n < 400 ? 1 : 97) assert_int_equal(torch_open_arrays(b.bytes, n, "batch", &f), DDPM_EFORMAT);
    change("numpy\nndarray", "posix\nsystem_", 13);
    reads_not("global posix.system_ is not allowed");
    put_batch(&b, "labels", 0);
    change("cnumpy\ndtype\n", "ctorch\nSize_\n", 13);
    reads_not("global torch.Size_ is not allowed");
    put_batch(&b, "labels", 0);
    change("u1", "i8", 2);
    reads_not("not of uint8");
    put_batch(&b, "labels", 0);
    change("K\3M\0\x0c\x86", "K\4M\0\x0c\x86", 6);
    reads_not("does not fit its bytes");
    put_batch(&b, "labels", 0);
    change("b\x89T", "b\x88T", 3);
    reads_not("in C order");
    static const char bare[] = "\x80\2cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R.";
    b.len = 0;
    put(&b, bare, sizeof bare - 1);
    reads_not("an array has no contents");
    put(&b, "x", 1);
    b.bytes[0] = 0x80;
    reads_not("an array has no contents");
    put_names(&b, "label_names", 3);
    put(&b, "x", 1);
    reads_not("something follows the pickle");
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    char command[600];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_python_10), cmocka_unit_test(test_100), cmocka_unit_test(test_missing_files), cmocka_unit_test(test_archive),
                                        cmocka_unit_test(test_encoded_bytes), cmocka_unit_test(test_hostile) };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
