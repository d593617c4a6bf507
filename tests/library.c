/* The library as its users see it: this file includes ddpm.h alone and is linked with libddpm.so. */
#include "library_tools.h"

#include <pthread.h>

enum { PIXELS = SMALL * SMALL, T = 1000 };
#define FASHION "models/fashion"

/* The model of these tests: state is the folder of make_data. */
static void name_run(const char *state, char run[64]) { snprintf(run, 64, "%s/run", state); }

static int make_model(void **state)
{
    char run[64];
    ddpm_call call;
    ddpm_train_result r;
    if (make_data(state)) return -1;
    name_run(*state, run);
    ddpm_ctx *ctx = new_context();
    ddpm_options *o = tiny_run(run, "30");
    ddpm_call_defaults(&call);
    call.options = o;
    const ddpm_status status = ddpm_train(ctx, *state, &call, &r);
    ddpm_options_free(o);
    ddpm_ctx_free(ctx);
    return status != DDPM_OK;
}

static ddpm_model *open_model(ddpm_ctx *ctx, const char *state)
{
    char run[64];
    ddpm_model *m;
    name_run(state, run);
    assert_ok(ddpm_model_open(ctx, run, NULL, &m));
    return m;
}

static void test_version_and_sentences(void **state)
{
    (void)state;
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", DDPM_VERSION_MAJOR, DDPM_VERSION_MINOR, DDPM_VERSION_PATCH);
    assert_string_equal(ddpm_version(), version);
    for (int i = DDPM_OK; i <= DDPM_ENUMERIC; i++)
        for (int k = DDPM_OK; k < i; k++) assert_string_not_equal(ddpm_strerror((ddpm_status)i), ddpm_strerror((ddpm_status)k));
    assert_string_equal(ddpm_strerror((ddpm_status)99), "unknown status");
}

/* --- contexts and settings ------------------------------------------------------------- */

static void test_contexts(void **state)
{
    (void)state;
    ddpm_ctx *ctx = (ddpm_ctx *)&state;
    ddpm_ctx_config c;
    ddpm_ctx_info info;
    ddpm_ctx_config_defaults(&c);
    c.precision = "f33";
    assert_error(ddpm_ctx_new(&c, &ctx), DDPM_EINVAL, "f33");
    assert_null(ctx);
    ddpm_ctx_config_defaults(&c);
    c.device = "cuda";
    assert_error(ddpm_ctx_new(&c, &ctx), DDPM_ENOSUP, "CUDA");
    ddpm_ctx_config_defaults(&c);
    c.threads = -1;
    assert_error(ddpm_ctx_new(&c, &ctx), DDPM_EINVAL, "-1");
    c.threads = 3;
    c.max_isa = "generic";
    assert_ok(ddpm_ctx_new(&c, &ctx));
    ddpm_ctx_get_info(ctx, &info);
    assert_int_equal(info.threads, 3);
    assert_string_equal(info.isa, "generic");
    assert_string_equal(info.device, "cpu");
    assert_string_equal(info.precision, "f32");
    ddpm_ctx_free(ctx);
    ddpm_ctx_free(NULL);
    assert_error(ddpm_ctx_new(NULL, NULL), DDPM_EINVAL, "ddpm_ctx_new");
}

static void test_options(void **state)
{
    (void)state;
    ddpm_options *o = NULL;
    char text[32];
    assert_error(ddpm_options_new("smaple", &o), DDPM_EINVAL, "smaple");
    assert_ok(ddpm_options_new("sample", &o));
    assert_ok(ddpm_options_set(o, "eta", "0.5"));
    assert_ok(ddpm_options_set(o, "batch", "3"));
    assert_ok(ddpm_options_set(o, "clip-denoised", "false"));
    assert_ok(ddpm_options_get(o, "eta", text, sizeof text));
    assert_string_equal(text, "0.5");
    assert_ok(ddpm_options_get(o, "batch_size", text, sizeof text));
    assert_string_equal(text, "3");
    assert_ok(ddpm_options_get(o, "clip_denoised", text, sizeof text));
    assert_string_equal(text, "false");
    assert_error(ddpm_options_get(o, "eta", text, 3), DDPM_EINVAL, "room for 4 bytes");
    assert_error(ddpm_options_get(o, "beta", text, sizeof text), DDPM_EINVAL, "beta");
    assert_error(ddpm_options_set(o, "etta", "1"), DDPM_EINVAL, "did you mean --eta");
    assert_error(ddpm_options_set(o, "eta", "x"), DDPM_EINVAL, "--eta");
    assert_error(ddpm_options_set(o, "eta", "-1"), DDPM_EINVAL, "0 to 100");
    assert_error(ddpm_options_set(o, "sampler", "ddmp"), DDPM_EINVAL, "ddpm");
    assert_error(ddpm_options_set(o, "lr", "1e-4"), DDPM_EINVAL, "an option of train");
    assert_error(ddpm_options_set(o, "batch", "x=y"), DDPM_EINVAL, "x=y");
    assert_error(ddpm_options_set(o, "eta=1", "1"), DDPM_EINVAL, "no name");
    assert_error(ddpm_options_set(o, "--eta", "1"), DDPM_EINVAL, "without dashes");
    assert_error(ddpm_options_set(o, "threads", "2"), DDPM_EINVAL, "ddpm_ctx_config");
    assert_error(ddpm_options_set(o, "n", "2"), DDPM_EINVAL, "unknown");
    assert_error(ddpm_options_set(o, "num_samples", "2"), DDPM_EINVAL, "ddpm_sample_config");
    assert_error(ddpm_options_set(o, "json", "true"), DDPM_EINVAL, "program's output");
    assert_error(ddpm_options_set(o, NULL, "1"), DDPM_EINVAL, "NULL");
    ddpm_options_free(o);
    ddpm_options_free(NULL);
}

/* --- models ------------------------------------------------------------------------------ */

static void test_model_errors(void **state)
{
    (void)state;
    ddpm_ctx *ctx = new_context();
    ddpm_model *m = (ddpm_model *)&state;
    assert_error(ddpm_model_open(ctx, "no/such/model", NULL, &m), DDPM_EINVAL, "no/such/model");
    assert_null(m);
    assert_error(ddpm_model_open(ctx, "LICENSE", NULL, &m), DDPM_EFORMAT, "LICENSE");
    assert_error(ddpm_model_open(ctx, "src", NULL, &m), DDPM_EFORMAT, "src");
    m = (ddpm_model *)&state;
    assert_error(ddpm_model_open(NULL, FASHION, NULL, &m), DDPM_EINVAL, "ddpm_model_open");
    assert_null(m);
    ddpm_options *o = new_options("sample", "weights", "raw", NULL);
    assert_error(ddpm_model_open(ctx, FASHION, o, &m), DDPM_EINVAL, "raw");
    ddpm_options_free(o);
    o = new_options("train", "lr", "1", NULL);
    assert_error(ddpm_model_open(ctx, FASHION, o, &m), DDPM_EINVAL, "\"train\"");
    ddpm_options_free(o);
    ddpm_model_close(NULL);
    ddpm_ctx_free(ctx);
}

static void test_model_info(void **state)
{
    (void)state;
    ddpm_ctx *ctx = new_context();
    ddpm_model *m;
    ddpm_model_info info;
    double alpha_bar[T];
    int32_t label;
    assert_ok(ddpm_model_open(ctx, FASHION, NULL, &m));
    ddpm_model_get_info(m, &info);
    assert_int_equal(info.height, 28);
    assert_int_equal(info.channels, 1);
    assert_int_equal(info.in_channels, 1);
    assert_int_equal(info.out_channels, 1);
    assert_int_equal(info.classes, 10);
    assert_int_equal(info.null_class, 10);
    assert_int_equal(info.timesteps, T);
    assert_true(info.parameters > 100000);
    assert_string_equal(info.prediction, "epsilon");
    assert_int_equal(strlen(info.fingerprint), 8);
    assert_string_equal(info.path, FASHION);
    assert_string_equal(ddpm_model_class_name(m, 7), "Sneaker");
    assert_null(ddpm_model_class_name(m, 10));
    assert_null(ddpm_model_class_name(m, -1));
    assert_ok(ddpm_model_class(m, "sneaker", &label));
    assert_int_equal(label, 7);
    assert_ok(ddpm_model_class(m, "none", &label));
    assert_int_equal(label, info.null_class);
    assert_error(ddpm_model_class(m, "10", &label), DDPM_EINVAL, "0 to 9");
    assert_error(ddpm_model_alpha_bar(m, alpha_bar, T - 1), DDPM_EINVAL, "1000");
    assert_ok(ddpm_model_alpha_bar(m, alpha_bar, T));
    for (int t = 1; t < T; t++) assert_true(alpha_bar[t] < alpha_bar[t - 1] && alpha_bar[t] >= 0 && alpha_bar[0] < 1);
    ddpm_model_close(m);
    ddpm_ctx_free(ctx);
}

/* --- drawing ------------------------------------------------------------------------------- */

static void test_images_are_their_own(void **state)
{
    ddpm_ctx *ctx = new_context();
    ddpm_model *m = open_model(ctx, *state);
    ddpm_options *o = new_options("sample", "steps", "3", "seed", "5", NULL);
    ddpm_sample_config c;
    uint8_t all[3 * PIXELS], some[2 * PIXELS];
    float exact[3 * PIXELS];
    ddpm_sample_config_defaults(&c);
    c.n = 3;
    c.options = o;
    assert_ok(ddpm_sample(m, &c, all, sizeof all));
    assert_ok(ddpm_sample_float(m, &c, exact, 3 * PIXELS));
    for (int i = 0; i < 3 * PIXELS; i++) assert_int_equal(all[i], (int)fminf(255, fmaxf(0, (exact[i] + 1) * 127.5f + 0.5f)));
    assert_memory_not_equal(all, all + PIXELS, PIXELS);
    c.first = 1;
    c.n = 2;
    assert_ok(ddpm_sample(m, &c, some, sizeof some));
    assert_memory_equal(some, all + PIXELS, sizeof some);
    c.first = 0;
    c.seeds = (const uint64_t[]){ 6, 5 };
    c.labels = (const int32_t[]){ 3, 0 };      /* "all" gives image k the class k, by its seed's number where it has one */
    assert_ok(ddpm_sample(m, &c, some, sizeof some));
    assert_memory_equal(some + PIXELS, all, PIXELS);
    c.labels = (const int32_t[]){ 3, 1 };
    assert_ok(ddpm_sample(m, &c, some, sizeof some));
    assert_memory_not_equal(some + PIXELS, all, PIXELS);
    ddpm_options_free(o);
    ddpm_model_close(m);
    ddpm_ctx_free(ctx);
}

static void test_drawing_errors(void **state)
{
    ddpm_ctx *ctx = new_context();
    ddpm_model *m = open_model(ctx, *state);
    static const float latents[PIXELS];
    uint8_t one[PIXELS];
    ddpm_sample_config c;
    ddpm_sample_config_defaults(&c);
    assert_error(ddpm_sample(m, &c, one, PIXELS - 1), DDPM_EINVAL, "room for 63");
    c.n = 0;
    assert_error(ddpm_sample(m, &c, one, 0), DDPM_EINVAL, "0 images");
    c.n = 1;
    assert_error(ddpm_sample(m, &c, NULL, PIXELS), DDPM_EINVAL, "ddpm_sample");
    c.labels = (const int32_t[]){ IMAGE_CLASSES + 1 };
    assert_error(ddpm_sample(m, &c, one, PIXELS), DDPM_EINVAL, "label 4 of image 0");
    c.labels = (const int32_t[]){ -1 };
    assert_error(ddpm_sample(m, &c, one, PIXELS), DDPM_EINVAL, "label -1");
    c.labels = NULL;
    static const struct { const char *name, *value, *sentence; ddpm_status status; } wrong[] = {
        { "steps", "1001", "--steps", DDPM_EINVAL }, { "class", "Boat", "Boat", DDPM_EINVAL }, { "weights", "raw", "open it again", DDPM_EINVAL },
        { "start_image", "LICENSE", "latents", DDPM_EINVAL }, { "xT", "nothing.safetensors", "nothing.safetensors", DDPM_EIO },
        { "preset", "nothing", "nothing", DDPM_EINVAL }, { "mask", "x.png", "--inpaint", DDPM_EINVAL },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ddpm_options *o = new_options("sample", wrong[i].name, wrong[i].value, NULL);
        c.options = o;
        c.latents = !strcmp(wrong[i].name, "start_image") ? latents : NULL;
        assert_error(ddpm_sample(m, &c, one, PIXELS), wrong[i].status, wrong[i].sentence);
        ddpm_options_free(o);
    }
    ddpm_model_close(m);
    ddpm_ctx_free(ctx);
}

static void test_progress_and_stop(void **state)
{
    ddpm_ctx *ctx = new_context();
    ddpm_model *m = open_model(ctx, *state);
    ddpm_options *o = new_options("sample", "steps", "4", NULL);
    listener all = { .stop_at = -1 }, some = { .stop_at = 2 };
    ddpm_sample_config c;
    uint8_t one[PIXELS];
    ddpm_sample_config_defaults(&c);
    c.options = o;
    c.progress = watch;
    c.user = &all;
    assert_ok(ddpm_sample(m, &c, one, PIXELS));
    assert_true(all.calls >= 4);
    assert_string_equal(all.what, "sampling");
    assert_int_equal(all.last.done, 1);
    assert_int_equal(all.last.total, 1);
    c.user = &some;
    assert_error(ddpm_sample(m, &c, one, PIXELS), DDPM_ESTOPPED, "stopped");
    assert_int_equal(some.calls, 2);
    c.progress = NULL;
    assert_ok(ddpm_sample(m, &c, one, PIXELS));
    ddpm_options_free(o);
    ddpm_model_close(m);
    ddpm_ctx_free(ctx);
}

/* --- the network: DDIM written once more, by its equation ------------------------------------- */

static void step(double alpha_bar, double next, const float *eps, float *x)
{
    for (int i = 0; i < PIXELS; i++) {
        const double raw = (x[i] - sqrt(1 - alpha_bar) * eps[i]) / sqrt(alpha_bar), x0 = fmin(1, fmax(-1, raw));
        const double e = (x[i] - sqrt(alpha_bar) * x0) / sqrt(1 - alpha_bar);
        x[i] = (float)(sqrt(next) * x0 + sqrt(1 - next) * e);
    }
}

static void test_a_sampler_of_ones_own(void **state)
{
    ddpm_ctx *ctx = new_context();
    ddpm_model *m = open_model(ctx, *state);
    ddpm_options *o = new_options("sample", "steps", "4", "sampler", "ddim", "spacing", "trailing", NULL);
    const int32_t times[] = { 999, 749, 499, 249 }, label = 2;
    double alpha_bar[T];
    float latents[PIXELS], x[PIXELS], eps[PIXELS], want[PIXELS];
    ddpm_sample_config c;
    for (int i = 0; i < PIXELS; i++) x[i] = latents[i] = (float)(1.7 * sin(i * 12.9898) + cos(i * i * 0.618));
    ddpm_sample_config_defaults(&c);
    c.options = o;
    c.labels = &label;
    c.latents = latents;
    assert_ok(ddpm_sample_float(m, &c, want, PIXELS));
    assert_ok(ddpm_model_alpha_bar(m, alpha_bar, T));
    for (int k = 0; k < 4; k++) {
        assert_ok(ddpm_model_denoise(m, 1, x, &times[k], &label, eps, PIXELS));
        step(alpha_bar[times[k]], k < 3 ? alpha_bar[times[k + 1]] : 1, eps, x);
    }
    for (int i = 0; i < PIXELS; i++) assert_true(fabsf(x[i] - want[i]) < 1e-3f);      /* f32 through four networks */
    assert_error(ddpm_model_denoise(m, 1, x, &(int32_t){ T }, &label, eps, PIXELS), DDPM_EINVAL, "t[0] is 1000");
    assert_error(ddpm_model_denoise(m, 1, x, times, &(int32_t){ 4 }, eps, PIXELS), DDPM_EINVAL, "y[0] is 4");
    assert_error(ddpm_model_denoise(m, 1, x, times, NULL, eps, PIXELS), DDPM_EINVAL, "class-conditional");
    assert_error(ddpm_model_denoise(m, 2, x, times, &label, eps, PIXELS), DDPM_EINVAL, "room for 64");
    ddpm_options_free(o);
    ddpm_model_close(m);
    ddpm_ctx_free(ctx);
}

/* --- threads ------------------------------------------------------------------------------------ */

typedef struct { const char *model; uint64_t seed; uint8_t pixels[2 * PIXELS]; ddpm_status status; char sentence[200]; } drawing_thread;

static void *draw_in_thread(void *arg)
{
    drawing_thread *t = arg;
    char missing[64];
    ddpm_model *none;
    ddpm_ctx *ctx = NULL;
    ddpm_model *m = NULL;
    ddpm_options *o = NULL;
    ddpm_sample_config c;
    ddpm_ctx_config config;
    snprintf(missing, sizeof missing, "missing/%d", (int)t->seed);
    ddpm_ctx_config_defaults(&config);
    config.threads = 2;
    config.precision = "f32";
    config.max_isa = "avx2";
    t->status = ddpm_ctx_new(&config, &ctx);
    if (t->status == DDPM_OK && ddpm_model_open(ctx, missing, NULL, &none) == DDPM_OK) t->status = DDPM_EFAIL;
    snprintf(t->sentence, sizeof t->sentence, "%s", ddpm_last_error());
    if (t->status == DDPM_OK) t->status = ddpm_model_open(ctx, t->model, NULL, &m);
    if (t->status == DDPM_OK) t->status = ddpm_options_new("sample", &o);
    if (t->status == DDPM_OK) t->status = ddpm_options_set(o, "steps", "2");
    ddpm_sample_config_defaults(&c);
    const uint64_t seeds[] = { t->seed, t->seed + 1 };
    c.n = 2;
    c.seeds = seeds;
    c.options = o;
    if (t->status == DDPM_OK) t->status = ddpm_sample(m, &c, t->pixels, sizeof t->pixels);
    ddpm_options_free(o);
    ddpm_model_close(m);
    ddpm_ctx_free(ctx);
    return NULL;
}

static void test_contexts_in_threads(void **state)
{
    enum { THREADS = 2 };
    char run[64];
    name_run(*state, run);
    drawing_thread alone[THREADS] = { { .model = run, .seed = 1 }, { .model = run, .seed = 2 } }, together[THREADS];
    memcpy(together, alone, sizeof alone);
    pthread_t id[THREADS];
    for (int i = 0; i < THREADS; i++) draw_in_thread(&alone[i]);
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&id[i], NULL, draw_in_thread, &together[i]), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(id[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        char missing[64];
        snprintf(missing, sizeof missing, "\"missing/%d\"", i + 1);
        assert_int_equal(together[i].status, DDPM_OK);
        assert_non_null(strstr(together[i].sentence, missing));
        assert_memory_equal(alone[i].pixels, together[i].pixels, sizeof alone[i].pixels);
    }
    assert_memory_equal(alone[0].pixels + PIXELS, alone[1].pixels, PIXELS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_and_sentences), cmocka_unit_test(test_contexts), cmocka_unit_test(test_options), cmocka_unit_test(test_model_errors),
        cmocka_unit_test(test_model_info), cmocka_unit_test(test_images_are_their_own), cmocka_unit_test(test_drawing_errors),
        cmocka_unit_test(test_progress_and_stop), cmocka_unit_test(test_a_sampler_of_ones_own), cmocka_unit_test(test_contexts_in_threads),
    };
    return cmocka_run_group_tests(tests, make_model, remove_data);
}
