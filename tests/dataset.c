/* Data sets made on the spot, whose pixels and labels are known. */
#include "dataset_tools.h"

/* --- folders --------------------------------------------------------------------------------- */

static void folder_labels_are_sub_folders(void **state)
{
    (void)state;
    put_png("f1/dog/b.PNG", 4, 6, 3, 50);
    put_png("f1/cat/x/z.png", 4, 6, 3, 20);
    put_png("f1/cat/a.png", 4, 6, 3, 10);
    put_png("f1/cat/.hidden.png", 4, 6, 3, 99);
    put_png("f1/.thumbs/a.png", 9, 9, 3, 99);
    put_bytes("f1/readme.txt", "x", 1);
    dataset *d = open_ok("f1", NULL);
    check_description(d, "folder, 3 images 6x4x3, 2 classes by folder");
    assert_string_equal(dataset_class_name(d, 0), "cat");
    assert_string_equal(dataset_class_name(d, 1), "dog");
    assert_null(dataset_class_name(d, 2));
    assert_string_equal(dataset_name(d), "f1");
    check_image(d, 0, 10, 0);
    check_image(d, 1, 20, 0);
    check_image(d, 2, 50, 1);
    dataset_close(d);
    const dataset_options none = {.labels = DATASET_LABELS_NONE}, prefix = {.labels = DATASET_LABELS_PREFIX};
    d = open_ok("f1", &none);
    assert_false(dataset_has_labels(d));
    check_image(d, 2, 50, -1);
    dataset_close(d);
    open_fails("f1", &prefix, DDPM_EINVAL, "cat/a.png");
}

static void prefix_labels_are_words_before_a_bar(void **state)
{
    (void)state;
    put_png("p1/zebra_1.png", 2, 2, 1, 1);
    put_png("p1/zebra_2.png", 2, 2, 1, 2);
    put_png("p1/ant_1.png", 2, 2, 1, 3);
    put_png("p1/ant_2_x.png", 2, 2, 1, 4);
    dataset *d = open_ok("p1", NULL);
    check_description(d, "folder, 4 images 2x2x1, 2 classes by prefix");
    check_image(d, 0, 3, 0);
    check_image(d, 3, 2, 1);
    dataset_close(d);
    put_png("p1/bee_1.png", 2, 2, 1, 5);            /* three classes of five files: chance */
    d = open_ok("p1", NULL);
    check_description(d, "folder, 5 images 2x2x1, no labels");
    dataset_close(d);
    const dataset_options prefix = {.labels = DATASET_LABELS_PREFIX}, folder = {.labels = DATASET_LABELS_FOLDER};
    d = open_ok("p1", &prefix);
    assert_int_equal(dataset_n_classes(d), 3);
    dataset_close(d);
    open_fails("p1", &folder, DDPM_EINVAL, "sub-folder");
}

static void json_labels_come_from_a_file(void **state)
{
    (void)state;
    const dataset_options json = {.labels = DATASET_LABELS_JSON};
    put_png("j1/0/a.png", 2, 2, 1, 1);
    put_png("j1/0/b.png", 2, 2, 1, 2);
    open_fails("j1", &json, DDPM_EFORMAT, "dataset.json");
    const char numbers[] = "{\"labels\": [[\"0/b.png\", 0], [\"0/a.png\", 2]]}";
    put_bytes("j1/dataset.json", numbers, sizeof numbers - 1);
    dataset *d = open_ok("j1", &json);
    assert_int_equal(dataset_n_classes(d), 3);
    check_image(d, 0, 1, 2);
    check_image(d, 1, 2, 0);
    dataset_close(d);
    const char names[] = "{\"labels\": {\"0/a.png\": \"pig\", \"0/b.png\": \"cow\"}}";
    put_bytes("j1/dataset.json", names, sizeof names - 1);
    d = open_ok("j1", &json);
    assert_string_equal(dataset_class_name(d, dataset_label(d, 0)), "pig");
    assert_int_equal(dataset_label(d, 1), 0);
    dataset_close(d);
    const char *const wrong[][2] = {
        {"{\"labels\": [[\"0/a.png\", 0]]}", "0/b.png"},
        {"{\"labels\": [[\"0/a.png\", 0], [\"0/b.png\", \"x\"]]}", "both"},
        {"{\"labels\": [[\"0/a.png\", 0], [\"0/b.png\", -1]]}", "number"},
        {"{\"labels\": [[\"0/a.png\", 0], [\"0/b.png\", 4000000000]]}", "number"},
        {"{\"labels\": [[\"0/a.png\", 0], [\"0/a.png\", 1], [\"0/b.png\", 1]]}", "two entries"},
        {"{\"labels\": [[0], 7]}", "entry 0"},
        {"{\"labels\": null}", "labels"},
        {"[]", "labels"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        put_bytes("j1/dataset.json", wrong[i][0], strlen(wrong[i][0]));
        open_fails("j1", &json, DDPM_EFORMAT, wrong[i][1]);
    }
}

static void a_list_beside_the_files_is_found(void **state)
{
    (void)state;
    put_png("hf/b.png", 2, 2, 1, 1);
    put_png("hf/a.png", 2, 2, 1, 2);
    const char lines[] = "{\"file_name\": \"b.png\", \"label\": \"owl\", \"text\": \"x\"}\r\n\n{\"file_name\": \"a.png\", \"label\": \"elk\"}";
    put_bytes("hf/metadata.jsonl", lines, sizeof lines - 1);
    dataset *d = open_ok("hf", NULL);
    check_description(d, "folder, 2 images 2x2x1, 2 classes by metadata.jsonl");
    check_image(d, 0, 2, 0);
    check_image(d, 1, 1, 1);
    dataset_close(d);
    const char text_only[] = "{\"file_name\": \"b.png\", \"text\": \"x\"}\n{\"file_name\": \"a.png\", \"text\": \"y\"}\n";
    put_bytes("hf/metadata.jsonl", text_only, sizeof text_only - 1);
    d = open_ok("hf", NULL);
    assert_false(dataset_has_labels(d));
    dataset_close(d);
    const char *const wrong[][2] = {
        {"{\"file_name\": \"b.png\", \"label\": 1}\n", "metadata.jsonl has no class for a.png; list it"},
        {"{\"file\": \"b.png\", \"label\": 1}\n", "metadata.jsonl, line 1 has no \"file_name\""},
        {"{\"file_name\": \"b.png\", \"label\": 1}\n{\"file", "metadata.jsonl, line 2"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        put_bytes("hf/metadata.jsonl", wrong[i][0], strlen(wrong[i][0]));
        open_fails("hf", NULL, DDPM_EFORMAT, wrong[i][1]);
    }
}

/* Hugging Face's layout: one list for all parts. */
static void a_list_above_the_parts_is_found(void **state)
{
    (void)state;
    static const char list[] = "{\"file_name\": \"train/0.png\", \"label\": 1}\n{\"file_name\": \"train/1.png\", \"label\": 0}\n"
                               "{\"file_name\": \"test/0.png\", \"label\": 2}\n";
    put_png("hugging/train/0.png", 2, 2, 1, 1);
    put_png("hugging/train/1.png", 2, 2, 1, 2);
    put_png("hugging/test/0.png", 2, 2, 1, 3);
    put_bytes("hugging/metadata.jsonl", list, sizeof list - 1);
    dataset *d = open_ok("hugging", NULL);
    check_description(d, "folder, 2 images 2x2x1, 2 classes by metadata.jsonl");
    check_image(d, 0, 1, 1);
    check_image(d, 1, 2, 0);
    dataset_close(d);
    d = open_ok("hugging:test", NULL);
    check_image(d, 0, 3, 2);
    dataset_close(d);
    put_png("hugging/train/2.png", 2, 2, 1, 1);
    open_fails("hugging", NULL, DDPM_EFORMAT, "hugging/metadata.jsonl has no class for 2.png");
    put_bytes("hugging/train/dataset.json", "{\"labels\": null}", 16);     /* the part's own list counts first */
    d = open_ok("hugging", NULL);
    check_description(d, "folder, 3 images 2x2x1, no labels");
    dataset_close(d);
}

/* A pixel that says where it was: rows 57 to 184 and columns 25 to 152 remain. */
static void celeba_is_cropped(void **state)
{
    (void)state;
    image im = {178, 218, 3, malloc(178 * 218 * 3)};
    for (int i = 0; i < 178 * 218; i++) {
        im.data[3 * i] = (uint8_t)(i / 178);
        im.data[3 * i + 1] = (uint8_t)(i % 178);
        im.data[3 * i + 2] = 7;
    }
    make_parent("celeba/000001.png");
    assert_int_equal(png_write(at("celeba/000001.png"), &im, NULL, 0), DDPM_OK);
    image_free(&im);
    const dataset_options crop = {.crop = DATASET_CROP_CELEBA};
    dataset *d = open_ok("celeba", &crop);
    check_description(d, "folder, 1 image 128x128x3, no labels");
    uint8_t *out = malloc(dataset_image_bytes(d));
    dataset_reader *r;
    assert_int_equal(dataset_reader_new(d, &r), DDPM_OK);
    assert_int_equal(dataset_read(d, r, 0, out, NULL), DDPM_OK);
    for (int y = 0; y < 128; y++)
        for (int x = 0; x < 128; x++) {
            const uint8_t *p = out + 3 * (128 * y + x);
            assert_true(p[0] == 57 + y && p[1] == 25 + x && p[2] == 7);
        }
    free(out);
    dataset_reader_free(r);
    dataset_close(d);

    put_png("celeba2/a.png", 64, 64, 3, 1);
    d = open_ok("celeba2", &crop);
    uint8_t one[128 * 128 * 3];
    assert_int_equal(dataset_reader_new(d, &r), DDPM_OK);
    assert_int_equal(dataset_read(d, r, 0, one, NULL), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "a.png: it is 64x64"));
    dataset_reader_free(r);
    dataset_close(d);
}

static void different_sizes_need_a_size(void **state)
{
    (void)state;
    put_png("m1/a.png", 8, 8, 3, 10);
    put_png("m1/b.png", 16, 12, 3, 20);
    open_fails("m1", NULL, DDPM_EFORMAT, "a.png is 8x8");
    open_fails("m1", NULL, DDPM_EFORMAT, "b.png is 16x12");
    open_fails("m1", NULL, DDPM_EFORMAT, "--image_size");
    const dataset_options sized = {.size_h = 4, .size_w = 4};
    dataset *d = open_ok("m1", &sized);
    check_description(d, "folder, 2 images 4x4x3, no labels");
    check_image(d, 0, 10, -1);
    check_image(d, 1, 20, -1);
    dataset_close(d);
    const dataset_options half = {.size_h = 4}, huge = {.size_h = 1 << 20, .size_w = 1 << 20}, two = {.channels = 2};
    open_fails("m1", &half, DDPM_EINVAL, "size");
    open_fails("m1", &huge, DDPM_EINVAL, "size");
    open_fails("m1", &two, DDPM_EINVAL, "channels");
}

/* Grey of the colour (v, v+1, v+2) is v+1 to the nearest: .299 v + .587 (v+1) + .114 (v+2). */
static void channels_are_converted(void **state)
{
    (void)state;
    put_png("c1/a.png", 2, 2, 4, 100);
    put_png("c1/b.png", 2, 2, 4, 120);
    dataset *d = open_ok("c1", NULL);
    assert_int_equal(dataset_channels(d), 4);
    check_image(d, 1, 120, -1);
    dataset_close(d);
    const dataset_options grey = {.channels = 1}, colour = {.channels = 3};
    d = open_ok("c1", &colour);
    check_image(d, 1, 120, -1);
    dataset_close(d);
    d = open_ok("c1", &grey);
    check_image(d, 1, 121, -1);
    dataset_close(d);
    put_png("c1/c.png", 2, 2, 1, 7);
    put_png("c1/d.png", 2, 2, 4, 7);
    d = open_ok("c1", NULL);
    assert_int_equal(dataset_channels(d), 3);
    dataset_close(d);
}

static void parts_are_sub_folders(void **state)
{
    (void)state;
    put_png("t1/train/x/a.png", 2, 2, 1, 1);
    put_png("t1/train/y/b.png", 2, 2, 1, 2);
    put_png("t1/test/x/c.png", 2, 2, 1, 3);
    dataset *d = open_ok("t1", NULL);
    check_description(d, "folder, 2 images 2x2x1, 2 classes by folder");
    dataset_close(d);
    d = open_ok("t1:test", NULL);
    assert_int_equal(dataset_count(d), 1);
    check_image(d, 0, 3, -1);
    dataset_close(d);
    put_png("t1:test/q.png", 2, 2, 1, 9);            /* a folder of that very name wins */
    d = open_ok("t1:test", NULL);
    check_image(d, 0, 9, -1);
    dataset_close(d);
    put_png("t2/train/a.png", 2, 2, 1, 1);           /* here "train" is a vehicle */
    put_png("t2/bus/b.png", 2, 2, 1, 2);
    d = open_ok("t2/", NULL);
    assert_int_equal(dataset_count(d), 2);
    assert_string_equal(dataset_class_name(d, 1), "train");
    dataset_close(d);
    open_fails("t2:test", NULL, DDPM_EIO, "test");
    open_fails("nowhere", NULL, DDPM_EIO, "no such");
    open_fails("nowhere:train", NULL, DDPM_EIO, "no such");
}

/* A run inside of the data, and the data inside of a run: its grids are not to be trained on. */
static void pictures_of_runs_are_no_data(void **state)
{
    (void)state;
    put_png("r1/train/x/a.png", 2, 2, 1, 1);
    put_png("r1/train/y/b.png", 2, 2, 1, 2);
    put_png("r1/run/samples/step_1.png", 9, 9, 3, 3);
    put_bytes("r1/run/config.json", "{}", 2);
    dataset *d = open_ok("r1/run", NULL);            /* a folder with a configuration is no run yet */
    dataset_close(d);
    put_bytes("r1/run/log.jsonl", "", 0);
    d = open_ok("r1", NULL);
    check_description(d, "folder, 2 images 2x2x1, 2 classes by folder");
    dataset_close(d);
    put_png("r2/a.png", 2, 2, 1, 1);
    put_png("r2/deep/run/samples/step_1.png", 9, 9, 3, 3);
    put_bytes("r2/deep/run/config.json", "{}", 2);
    put_bytes("r2/deep/run/checkpoints/step_1/x", "", 0);
    d = open_ok("r2", NULL);
    check_description(d, "folder, 1 image 2x2x1, no labels");
    dataset_close(d);
    open_fails("r1/run", NULL, DDPM_EINVAL, "is a run");
    open_fails("r2/deep/run", NULL, DDPM_EINVAL, "is a run");
    d = open_ok("r2/deep/run/samples", NULL);
    dataset_close(d);
}

static void bad_images_are_named(void **state)
{
    (void)state;
    put_png("b1/a.png", 2, 2, 1, 1);
    put_bytes("b1/b.png", "\x89PNG\r\n\x1a\n and nothing", 20);
    put_bytes("b1/c.jpg", "", 0);
    dataset *d = open_ok("b1", NULL);
    dataset_reader *r;
    assert_int_equal(dataset_reader_new(d, &r), DDPM_OK);
    uint8_t hwc[4];
    int label;
    assert_int_equal(dataset_read(d, r, 1, hwc, &label), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "b1/b.png"));
    assert_int_equal(dataset_read(d, r, 2, hwc, &label), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "b1/c.jpg"));
    assert_int_equal(dataset_read(d, r, 0, hwc, &label), DDPM_OK);
    put_png("b1/a.png", 3, 2, 1, 1);                 /* its size changes after opening */
    assert_int_equal(dataset_read(d, r, 0, hwc, &label), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "--image_size"));
    dataset_reader_free(r);
    dataset_close(d);
    const dataset_options strict = {.strict = true};
    open_fails("b1", &strict, DDPM_EFORMAT, "b.png");
}

static void folders_without_images_are_refused(void **state)
{
    (void)state;
    put_bytes("e1/notes.txt", "x", 1);
    open_fails("e1", NULL, DDPM_EFORMAT, "no images");
    put_bytes("e1/a.png", "x", 1);
    open_fails("e1", NULL, DDPM_EFORMAT, "a.png");
    open_fails("e1/notes.txt", NULL, DDPM_EFORMAT, "no data set");
    put_png("l1/in/a.png", 2, 2, 1, 1);
    char target[512];
    snprintf(target, sizeof target, "%s", at("l1"));
    assert_int_equal(symlink(target, at("l1/in/loop")), 0);
    dataset *d = open_ok("l1", NULL);
    assert_int_equal(dataset_count(d), 1);
    dataset_close(d);
}

/* --- IDX --------------------------------------------------------------------------------------- */

/* n images of 2 x 3, image i all i; then cut to `len` bytes unless 0. */
static void put_idx(const char *images, const char *labels, uint8_t n, size_t len)
{
    uint8_t bytes[16 + 6 * 8] = {0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 2, 0, 0, 0, 3};
    for (int i = 0; i < 6 * 8; i++) bytes[16 + i] = (uint8_t)(i / 6);
    put_bytes(images, bytes, len ? len : 16 + 6 * (size_t)n);
    const uint8_t label[8 + 8] = {0, 0, 8, 1, 0, 0, 0, n, 3, 1, 4, 1, 5, 9, 2, 6};
    if (labels) put_bytes(labels, label, 8 + (size_t)n);
}

static void idx_pairs_are_read(void **state)
{
    (void)state;
    put_idx("i1/train-images-idx3-ubyte", "i1/train-labels-idx1-ubyte", 6, 0);
    put_idx("i1/t10k-images-idx3-ubyte", "i1/t10k-labels-idx1-ubyte", 2, 0);
    dataset *d = open_ok("i1", NULL);
    check_description(d, "idx, 6 images 2x3x1, 10 classes by label file");
    check_image(d, 5, 5, 9);
    assert_string_equal(dataset_class_name(d, 3), "3");
    dataset_close(d);
    d = open_ok("i1:test", NULL);
    assert_int_equal(dataset_count(d), 2);
    assert_int_equal(dataset_n_classes(d), 4);
    dataset_close(d);
    put_idx("my-fashion/x-train-images-idx3-ubyte", "my-fashion/x-train-labels-idx1-ubyte", 3, 0);
    d = open_ok("my-fashion/x", NULL);
    assert_string_equal(dataset_class_name(d, 9), "Ankle boot");
    assert_string_equal(dataset_class_name(d, 0), "T-shirt/top");
    check_image(d, 2, 2, 4);
    dataset_close(d);
    d = open_ok("my-fashion/x-train-images-idx3-ubyte", NULL);
    assert_int_equal(dataset_count(d), 3);
    dataset_close(d);
    open_fails("my-fashion/x:test", NULL, DDPM_EIO, "test");
    const dataset_options folder = {.labels = DATASET_LABELS_FOLDER}, none = {.labels = DATASET_LABELS_NONE};
    open_fails("i1", &folder, DDPM_EINVAL, "own labels");
    d = open_ok("i1", &none);
    assert_false(dataset_has_labels(d));
    dataset_close(d);
}

static void idx_lies_are_refused(void **state)
{
    (void)state;
    put_idx("i2/train-images-idx3-ubyte", NULL, 4, 16 + 6 * 4 - 1);
    open_fails("i2", NULL, DDPM_EFORMAT, "truncated");
    put_idx("i2/train-images-idx3-ubyte", NULL, 4, 16 + 6 * 4 + 1);
    open_fails("i2", NULL, DDPM_EFORMAT, "4 items");
    put_idx("i2/train-images-idx3-ubyte", NULL, 4, 15);
    open_fails("i2", NULL, DDPM_EFORMAT, "not an IDX");
    const uint8_t huge[20] = {0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    put_bytes("i2/train-images-idx3-ubyte", huge, sizeof huge);
    open_fails("i2", NULL, DDPM_EFORMAT, "header");
    const uint8_t zero[16] = {0, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3};
    put_bytes("i2/train-images-idx3-ubyte", zero, sizeof zero);
    open_fails("i2", NULL, DDPM_EFORMAT, "0 items");
    put_idx("i2/t10k-images-idx3-ubyte", "i2/t10k-labels-idx1-ubyte", 3, 0);
    put_idx("i2/train-images-idx3-ubyte", NULL, 4, 0);
    const uint8_t label[11] = {0, 0, 8, 1, 0, 0, 0, 3, 0, 0, 0};
    put_bytes("i2/train-labels-idx1-ubyte", label, sizeof label);
    open_fails("i2", NULL, DDPM_EFORMAT, "3 labels for 4");
}

/* --- CIFAR-10 ---------------------------------------------------------------------------------- */

/* n records; record i has the label i and the planes 10 + i, 11 + i, 12 + i. */
static void put_cifar(const char *below, int n, size_t extra)
{
    static uint8_t bytes[4 * 3073];
    for (int i = 0; i < n; i++) {
        uint8_t *r = bytes + i * 3073;
        r[0] = (uint8_t)i;
        for (int k = 0; k < 3; k++) memset(r + 1 + 1024 * k, 10 + i + k, 1024);
    }
    put_bytes(below, bytes, (size_t)n * 3073 + extra);
}

static void cifar_batches_are_read(void **state)
{
    (void)state;
    for (int i = 1; i <= 5; i++) {
        char name[64];
        snprintf(name, sizeof name, "cifar/data_batch_%d.bin", i);
        if (i == 5) open_fails("cifar", NULL, DDPM_EIO, "data_batch_5.bin");
        put_cifar(name, i < 3 ? 2 : 1, 0);
    }
    put_cifar("cifar/test_batch.bin", 3, 0);
    dataset *d = open_ok("cifar", NULL);
    check_description(d, "cifar10, 7 images 32x32x3, 10 classes by label byte");
    check_image(d, 3, 11, 1);
    check_image(d, 6, 10, 0);
    assert_string_equal(dataset_class_name(d, 9), "truck");
    dataset_close(d);
    put_bytes("cifar/batches.meta.txt", "plane\nauto\n\n", 12);
    d = open_ok("cifar:test", NULL);
    assert_int_equal(dataset_count(d), 3);
    assert_string_equal(dataset_class_name(d, 0), "plane");
    check_image(d, 2, 12, 2);
    dataset_close(d);
    put_cifar("cifar/data_batch_2.bin", 2, 1);
    open_fails("cifar", NULL, DDPM_EFORMAT, "data_batch_2.bin");
    uint8_t bad[3073] = {10};
    put_bytes("cifar/data_batch_2.bin", bad, sizeof bad);
    open_fails("cifar", NULL, DDPM_EFORMAT, "label");
}

static void a_file_is_a_set_of_one(void **state)
{
    (void)state;
    put_png("one/cat_7.png", 5, 4, 3, 60);
    put_png("one/other.png", 9, 9, 3, 10);
    put_bytes("one/notes.png.txt", "x", 1);
    put_bytes("one/damaged.png", "no picture", 10);
    dataset *d = open_ok("one/cat_7.png", NULL);
    check_description(d, "file, 1 image 4x5x3, no labels");
    check_image(d, 0, 60, -1);
    dataset_close(d);
    const dataset_options by_prefix = {.labels = DATASET_LABELS_PREFIX, .size_h = 8, .size_w = 8, .channels = 3};
    d = open_ok("one/cat_7.png", &by_prefix);
    check_description(d, "file, 1 image 8x8x3, 1 classes by prefix");
    assert_string_equal(dataset_class_name(d, 0), "cat");
    check_image(d, 0, 60, 0);
    dataset_close(d);
    open_fails("one/damaged.png", NULL, DDPM_EFORMAT, "damaged.png");
    open_fails("one/notes.png.txt", NULL, DDPM_EFORMAT, "no data set");
    open_fails("one/absent.png", NULL, DDPM_EIO, "no such file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folder_labels_are_sub_folders),
        cmocka_unit_test(prefix_labels_are_words_before_a_bar),
        cmocka_unit_test(json_labels_come_from_a_file),
        cmocka_unit_test(a_list_beside_the_files_is_found),
        cmocka_unit_test(a_list_above_the_parts_is_found),
        cmocka_unit_test(celeba_is_cropped),
        cmocka_unit_test(different_sizes_need_a_size),
        cmocka_unit_test(channels_are_converted),
        cmocka_unit_test(parts_are_sub_folders),
        cmocka_unit_test(pictures_of_runs_are_no_data),
        cmocka_unit_test(bad_images_are_named),
        cmocka_unit_test(folders_without_images_are_refused),
        cmocka_unit_test(a_file_is_a_set_of_one),
        cmocka_unit_test(idx_pairs_are_read),
        cmocka_unit_test(idx_lies_are_refused),
        cmocka_unit_test(cifar_batches_are_read),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
