/* Data sets in one file, zips and arrays, whose pixels and labels are known. */
#include "dataset_tools.h"

#include <zlib.h>

#include "io/npz.h"
#include "io/zip_write.h"

static void zip_record(zip_writer *w, const char *name, const void *bytes, size_t len)
{
    assert_int_equal(zip_writer_add(w, name, (uint32_t)crc32_z(0, bytes, len), len, 1), DDPM_OK);
    assert_int_equal(zip_writer_data(w, bytes, len), DDPM_OK);
}

static void zip_file(zip_writer *w, const char *name, const char *below)
{
    uint8_t *bytes;
    size_t len;
    assert_int_equal(file_read_all(at(below), 1 << 20, &bytes, &len), DDPM_OK);
    zip_record(w, name, bytes, len);
    free(bytes);
}

/* EDM's layout: pictures in numbered folders that mean nothing, classes in dataset.json. */
static void zips_are_read(void **state)
{
    (void)state;
    zip_writer *w;
    put_png("z/a.png", 4, 2, 3, 10);
    put_png("z/b.png", 4, 2, 3, 20);
    assert_int_equal(zip_writer_open(at("z/set.zip"), &w), DDPM_OK);
    const char list[] = "{\"labels\": [[\"00000/img1.png\", 4], [\"00001/img2.png\", 1]]}";
    zip_file(w, "00001/img2.png", "z/b.png");
    zip_record(w, "dataset.json", list, sizeof list - 1);
    zip_record(w, "00000/.hidden.png", "x", 1);
    zip_file(w, "00000/img1.png", "z/a.png");
    assert_int_equal(zip_writer_finish(w), DDPM_OK);
    dataset *d = open_ok("z/set.zip", NULL);
    check_description(d, "zip, 2 images 2x4x3, 5 classes by dataset.json");
    check_image(d, 0, 10, 4);
    check_image(d, 1, 20, 1);
    dataset_close(d);
    const dataset_options folder = {.labels = DATASET_LABELS_FOLDER};
    d = open_ok("z/set.zip", &folder);
    assert_string_equal(dataset_class_name(d, 1), "00001");
    dataset_close(d);
    open_fails("z/set.zip:test", NULL, DDPM_EINVAL, "no parts");
    open_fails("z/a.png:train", NULL, DDPM_EINVAL, "no parts");
}

/* A folder packed with all that is around its pictures, and a remark behind the zip. */
static void packed_folders_are_read(void **state)
{
    (void)state;
    zip_writer *w;
    uint8_t *bytes;
    size_t len;
    static const char remark[] = "made by hand";
    assert_int_equal(zip_writer_open(at("z/made.zip"), &w), DDPM_OK);
    zip_record(w, "photos/", "", 0);
    zip_file(w, "photos/cat/at 12:30.png", "z/a.png");
    zip_file(w, "photos/dog/b.png", "z/b.png");
    zip_file(w, "photos/.thumbnails/b.png", "z/b.png");
    zip_record(w, "__MACOSX/photos/dog/._b.png", "x", 1);
    zip_record(w, "__MACOSX/b.png", "x", 1);
    zip_record(w, ".DS_Store", "x", 1);
    assert_int_equal(zip_writer_finish(w), DDPM_OK);
    dataset *d = open_ok("z/made.zip", NULL);
    check_description(d, "zip, 2 images 2x4x3, 2 classes by folder");
    assert_string_equal(dataset_class_name(d, 0), "cat");
    check_image(d, 0, 10, 0);
    check_image(d, 1, 20, 1);
    dataset_close(d);
    assert_int_equal(file_read_all(at("z/made.zip"), 1 << 20, &bytes, &len), DDPM_OK);
    uint8_t *longer = realloc(bytes, len + sizeof remark);
    assert_non_null(longer);
    longer[len - 2] = sizeof remark;
    memcpy(longer + len, remark, sizeof remark);
    put_bytes("z/remark.zip", longer, len + sizeof remark);
    dataset_close(open_ok("z/remark.zip", NULL));
    put_bytes("z/remark.zip", longer, len + sizeof remark - 1);
    open_fails("z/remark.zip", NULL, DDPM_EFORMAT, "end record");
    free(longer);
}

static void damaged_zips_are_refused(void **state)
{
    (void)state;
    uint8_t *bytes;
    size_t len;
    assert_int_equal(file_read_all(at("z/set.zip"), 1 << 20, &bytes, &len), DDPM_OK);
    for (size_t n = 0; n < len; n++) {
        dataset *d;
        put_bytes("z/cut.zip", bytes, n);
        assert_int_equal(dataset_open(at("z/cut.zip"), NULL, &d), DDPM_EFORMAT);
    }
    put_bytes("z/empty.zip", "PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 22);
    open_fails("z/empty.zip", NULL, DDPM_EFORMAT, "holds no images");
    for (size_t i = 0; i + 4 < len; i++)
        if (!memcmp(bytes + i, "IDAT", 4)) bytes[i + 6] ^= 1;          /* inside the pictures: the zip's own checksums see it */
    put_bytes("z/flip.zip", bytes, len);
    const dataset_options strict = {.strict = true};
    open_fails("z/flip.zip", &strict, DDPM_EFORMAT, "checksum");
    free(bytes);
}

static void put_npz(const char *below, const char *images, const char *labels, const char *descr, const void *numbers)
{
    uint8_t pixels[2 * 2 * 3 * 3];
    const int64_t shape[] = {2, 2, 3, 3};
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)((i < 18 ? 10 : 30) + i % 3);
    npz_writer *w;
    make_parent(below);
    assert_int_equal(npz_writer_open(at(below), &w), DDPM_OK);
    assert_int_equal(npz_writer_add(w, images, "|u1", shape, 4, pixels), DDPM_OK);
    if (labels) assert_int_equal(npz_writer_add(w, labels, descr, shape, 1, numbers), DDPM_OK);
    assert_int_equal(npz_writer_finish(w), DDPM_OK);
}

static void arrays_are_read(void **state)
{
    (void)state;
    put_npz("n/openai.npz", "arr_0", "arr_1", "<i8", (const int64_t[]){3, 0});
    dataset *d = open_ok("n/openai.npz", NULL);
    check_description(d, "npz, 2 images 2x3x3, 4 classes by array");
    check_image(d, 0, 10, 3);
    check_image(d, 1, 30, 0);
    dataset_close(d);
    put_npz("n/named.npz", "images", "labels", "<i4", (const int32_t[]){1, 1});
    d = open_ok("n/named.npz", NULL);
    check_image(d, 1, 30, 1);
    dataset_close(d);
    put_npz("n/plain.npz", "images", NULL, NULL, NULL);
    d = open_ok("n/plain.npz", NULL);
    assert_false(dataset_has_labels(d));
    dataset_close(d);
    open_fails("n/plain.npz:test", NULL, DDPM_EINVAL, "no parts");
    put_npz("n/minus.npz", "images", "labels", "<i4", (const int32_t[]){1, -1});
    open_fails("n/minus.npz", NULL, DDPM_EFORMAT, "label of image 1 is -1");
    put_npz("n/real.npz", "images", "labels", "<f4", (const float[]){1, 2});
    open_fails("n/real.npz", NULL, DDPM_EFORMAT, "2 integers");
    put_npz("n/other.npz", "pictures", NULL, NULL, NULL);
    open_fails("n/other.npz", NULL, DDPM_EFORMAT, "images");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zips_are_read),
        cmocka_unit_test(packed_folders_are_read),
        cmocka_unit_test(damaged_zips_are_refused),
        cmocka_unit_test(arrays_are_read),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
