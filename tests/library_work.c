/* The library's longer work as its users see it: data sets, training, measuring. */
#include "library_tools.h"

static void test_datasets(void **state)
{
    ddpm_ctx *ctx = new_context();
    ddpm_dataset *d = NULL;
    ddpm_dataset_info info;
    uint8_t image[SMALL * SMALL], small[16];
    int32_t label = -2;
    assert_error(ddpm_dataset_open(ctx, "no/such/data", NULL, &d), DDPM_EIO, "no/such/data");
    d = (ddpm_dataset *)&info;
    assert_error(ddpm_dataset_open(ctx, NULL, NULL, &d), DDPM_EINVAL, "ddpm_dataset_open");
    assert_null(d);
    assert_ok(ddpm_dataset_open(ctx, *state, NULL, &d));
    ddpm_dataset_get_info(d, &info);
    assert_int_equal(info.count, IMAGES);
    assert_int_equal(info.width, SMALL);
    assert_int_equal(info.channels, 1);
    assert_int_equal(info.classes, IMAGE_CLASSES);
    assert_string_equal(info.format, "idx");
    assert_ok(ddpm_dataset_read(d, 7, image, sizeof image, &label));
    assert_int_equal(label, 1);
    for (int p = 0; p < SMALL * SMALL; p++) assert_int_equal(image[p], value_of(7, p));
    assert_error(ddpm_dataset_read(d, IMAGES, image, sizeof image, &label), DDPM_EINVAL, "no image 24");
    assert_error(ddpm_dataset_read(d, 0, image, sizeof image - 1, &label), DDPM_EINVAL, "64 bytes");
    assert_null(ddpm_dataset_class_name(d, 3));
    ddpm_dataset_close(d);
    ddpm_options *o = new_options("train", "image_size", "4", "labels", "none", NULL);
    assert_ok(ddpm_dataset_open(ctx, *state, o, &d));
    assert_ok(ddpm_dataset_read(d, 7, small, sizeof small, NULL));
    ddpm_dataset_get_info(d, &info);
    assert_int_equal(info.classes, 0);
    ddpm_options_free(o);
    ddpm_dataset_close(d);
    ddpm_dataset_close(NULL);
    ddpm_ctx_free(ctx);
}

static void train(ddpm_ctx *ctx, const char *data, const ddpm_options *o)
{
    listener l = { .stop_at = 2 };
    ddpm_call call;
    ddpm_train_result r;
    ddpm_call_defaults(&call);
    call.options = o;
    call.progress = watch;
    call.user = &l;
    assert_error(ddpm_train(ctx, data, &call, &r), DDPM_ESTOPPED, "stopped at step 2");
    assert_int_equal(r.step, 2);
    assert_string_equal(l.quantity, "loss");
    assert_true(l.last.value > 0 && l.last.value < 100);
    l.stop_at = -1;
    assert_ok(ddpm_train(ctx, data, &call, &r));
    assert_int_equal(r.step, 4);
    assert_true(r.parameters > 1000);
    assert_int_equal(r.bad_images, 0);
    assert_error(ddpm_train(ctx, data, NULL, &r), DDPM_EINVAL, "-o RUN");
}

static void measure(ddpm_ctx *ctx, const char *run, const char *data)
{
    ddpm_model *m;
    ddpm_nll_result r;
    ddpm_call call;
    listener l = { .stop_at = -1 };
    ddpm_options *o = new_options("nll", "steps", "10", "num_samples", "5", "batch_size", "2", NULL);
    ddpm_call_defaults(&call);
    call.options = o;
    call.progress = watch;
    call.user = &l;
    assert_ok(ddpm_model_open(ctx, run, NULL, &m));
    assert_ok(ddpm_nll(m, data, &call, &r));
    assert_int_equal(r.images, 5);
    assert_int_equal(r.terms, 10);
    assert_int_equal(r.timesteps, 1000);
    assert_true(fabs(r.prior + r.diffusion + r.decoder - r.bits_per_dim) < 1e-9 && r.bits_per_dim > 1 && r.standard_error > 0);
    assert_string_equal(l.quantity, "bits_per_dim");
    l = (listener){ .stop_at = 1 };
    assert_error(ddpm_nll(m, data, &call, &r), DDPM_ESTOPPED, "stopped");
    assert_error(ddpm_nll(m, "no/such/data", NULL, &r), DDPM_EIO, "no/such/data");
    ddpm_options_free(o);
    ddpm_model_close(m);
}

static void test_training_and_measuring(void **state)
{
    ddpm_ctx *ctx = new_context();
    const char *data = *state;
    char run[256], out[256], *document = NULL;
    snprintf(run, sizeof run, "%s/run", data);
    snprintf(out, sizeof out, "%s/pipeline", data);
    ddpm_options *o = tiny_run(run, "4");
    train(ctx, data, o);
    measure(ctx, run, data);
    assert_ok(ddpm_convert(ctx, run, out, NULL));
    assert_error(ddpm_convert(ctx, run, out, NULL), DDPM_EINVAL, "exists already");
    assert_ok(ddpm_describe(ctx, out, NULL, &document));
    assert_non_null(strstr(document, "\"schema\""));
    ddpm_free(document);
    assert_error(ddpm_describe(ctx, "no/such/thing", NULL, &document), DDPM_EINVAL, "no/such/thing");
    assert_null(document);
    ddpm_options_free(o);
    ddpm_ctx_free(ctx);
}

static void test_distance(void **state)
{
    ddpm_ctx *ctx = new_context();
    ddpm_eval_result r;
    ddpm_call call;
    ddpm_options *o = new_options("eval", "features", "pca4", "bootstrap", "0", NULL);
    ddpm_call_defaults(&call);
    call.options = o;
    assert_ok(ddpm_eval(ctx, *state, *state, &call, &r));
    assert_true(fabs(r.distance) < 1e-6 && isnan(r.low) && isnan(r.high) && isnan(r.bias));
    assert_int_equal(r.samples, IMAGES);
    assert_int_equal(r.reference, IMAGES);
    ddpm_options_free(o);
    o = new_options("eval", "features", "pca4", "bootstrap", "40", "num_samples", "12", NULL);
    call.options = o;
    assert_ok(ddpm_eval(ctx, *state, *state, &call, &r));
    assert_true(r.low <= r.high && r.distance > 0);
    assert_int_equal(r.samples, 12);
    ddpm_options_free(o);
    ddpm_ctx_free(ctx);
}

/* tests/data/statistics and features: the distances are those of a closed form and of pytorch-fid 0.3.0 (cli/statistics.bats, features.bats). */
static void test_distance_of_files(void **state)
{
    (void)state;
    static const char *const A = "tests/data/features/a.npz", *const B = "tests/data/features/b.npz";
    ddpm_ctx *ctx = new_context();
    ddpm_eval_result r;
    ddpm_call call;
    assert_ok(ddpm_eval(ctx, "tests/data/statistics/a.npz", "tests/data/statistics/b.npz", NULL, &r));
    assert_true(fabs(r.distance - 18) < 1e-5 && isnan(r.low) && isnan(r.bias));
    assert_int_equal(r.samples, 0);
    assert_int_equal(r.reference, 0);
    assert_ok(ddpm_eval(ctx, A, B, NULL, &r));
    assert_true(fabs(r.distance - 0.48311543135838875) < 1e-9 && r.low < r.high);
    assert_int_equal(r.samples, 60);
    assert_int_equal(r.reference, 50);
    ddpm_options *o = new_options("eval", "metrics", "kid", NULL);
    ddpm_call_defaults(&call);
    call.options = o;
    assert_error(ddpm_eval(ctx, A, B, &call, &r), DDPM_EINVAL, "add fd");
    assert_error(ddpm_eval(ctx, "tests/data/statistics/negative.npz", "tests/data/statistics/b.npz", NULL, &r), DDPM_EFORMAT, "negative.npz");
    ddpm_options_free(o);
    ddpm_ctx_free(ctx);
}

/* --- what is told ------------------------------------------------------------------------------------ */

static void keep(void *user, ddpm_log_level level, const char *sentence)
{
    if (level == DDPM_LOG_WARN) snprintf(user, 200, "%s", sentence);
}

static void hear(void *user, const char *sentence) { snprintf(user, 200, "%s", sentence); }

/* A file that is none: an image that cannot be read is left out, with a warning; the command tells what it does. */
static void test_messages(void **state)
{
    ddpm_ctx *ctx;
    ddpm_ctx_config c;
    ddpm_eval_result r;
    char text[200] = "", warning[200] = "", path[64], command[400];
    snprintf(path, sizeof path, "%s/images", (const char *)*state);
    snprintf(command, sizeof command, "mkdir %s && cp docs/noise.svg %s/a.png && cp docs/steps-50.png %s/b.png && cp docs/steps-50.png %s/c.png", path, path, path, path);
    assert_int_equal(system(command), 0);
    ddpm_ctx_config_defaults(&c);
    c.message = hear;
    c.user = text;
    assert_ok(ddpm_ctx_new(&c, &ctx));
    ddpm_set_log(keep, warning, DDPM_LOG_WARN);
    ddpm_eval(ctx, path, path, NULL, &r);
    ddpm_set_log(NULL, NULL, DDPM_LOG_WARN);
    assert_non_null(strstr(warning, ".png"));
    ddpm_options *o = new_options("eval", "features", "pca4", "bootstrap", "0", NULL);
    ddpm_call call;
    ddpm_call_defaults(&call);
    call.options = o;
    assert_ok(ddpm_eval(ctx, *state, *state, &call, &r));
    assert_string_not_equal(text, "");
    ddpm_options_free(o);
    ddpm_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_datasets), cmocka_unit_test(test_training_and_measuring), cmocka_unit_test(test_distance),
        cmocka_unit_test(test_distance_of_files), cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, make_data, remove_data);
}
