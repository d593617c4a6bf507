/* Up-samplers in files: improved-diffusion's checkpoint gives improved-diffusion's numbers, also after it became a folder
 * of ours; what such a file needs to be told; and the small images of --base_samples. */
#include "checkpoint_tools.h"
#include "golden_file.h"

#include "api/base_images.h"
#include "io/npz.h"
#include "model/upsampler.h"
#include "train/predictor.h"

#define PT "tests/golden_upsampler/conditional.pt"
#define GIVEN "large_size=16 norm_groups=2 num_heads=2 diffusion_steps=100 noise_schedule=linear "

enum { LARGE = 16, SMALL = 8, CHANNELS = 3, IMAGES = 2, IMAGE = LARGE * LARGE * CHANNELS, LITTLE = SMALL * SMALL * CHANNELS, CLASSES = 5 };

/* --- the network ------------------------------------------------------------------------ */

/* The model's output for the golden inputs. */
static void run(const model_file *m, float *out)
{
    golden_file g = golden_open("tests/golden_upsampler/conditional.safetensors");
    const golden x = golden_tensor(&g, "x"), low = golden_tensor(&g, "low_res"), t = golden_tensor(&g, "t"), y = golden_tensor(&g, "y");
    static float images[IMAGES * IMAGE], condition[IMAGES * IMAGE], small[LITTLE];
    int labels[IMAGES];
    for (size_t k = 0; k < IMAGES; k++) {
        golden_to_nhwc(&x, k, CHANNELS, 0, images + k * IMAGE);
        golden_to_nhwc(&low, k, CHANNELS, 0, small);
        upsampler_enlarge((upsampler_dims){ LARGE, LARGE, CHANNELS, SMALL }, small, condition + k * IMAGE);
        labels[k] = (int)golden_at(&y, k);
    }
    network n = network_new(&model_describe(m)->s);
    nn_weights *w = NULL;
    float *values = calloc(n.layout->len, sizeof *values);
    MUST(model_load(m, n.layout, values));
    MUST(nn_weights_new(denoiser_graph(n.d), n.b, values, false, &w));
    const process p = { .var = VAR_LEARNED_RANGE };
    predictor ask = { .net = n.d, .weights = w, .p = &p, .condition = condition, .conditions = IMAGES };
    MUST(predictor_denoise(&ask, IMAGES, t.data, labels, images, out));
    predictor_free(&ask);
    nn_weights_free(w);
    free(values);
    network_free(&n);
    golden_close(&g);
}

static void write_as_ours(const model_file *m, const char *dir)
{
    const model_description *d = model_describe(m);
    const unet_config c = settings_unet(&d->s);
    nn_graph *g = nn_graph_new(NN_F32);
    unet_build(g, &c, 1, false, false);
    float *values = calloc(g->params.len, sizeof *values);
    MUST(model_load(m, &g->params, values));
    MUST(checkpoint_write(dir, &(checkpoint_source){ .s = &d->s, .weights = "raw", .layout = &g->params, .values = values }));
    free(values);
    nn_graph_free(g);
}

static void test_their_checkpoint_and_ours(void **state)
{
    static float first[2 * IMAGES * IMAGE], second[2 * IMAGES * IMAGE];
    const settings request = request_of(GIVEN "small_size=8");
    char dir[MODEL_PATH_SIZE], path[MODEL_PATH_SIZE];
    model_file *m = NULL;
    double own = 0, error = 0;
    MUST(model_open_with(PT, WEIGHTS_EMA, &request, &m));
    const settings_values *v = &model_describe(m)->s.v;
    assert_true(v->channels == CHANNELS && v->small_size == SMALL && v->large_size == LARGE && v->num_classes == CLASSES && v->learn_sigma);
    run(m, first);
    golden_file g = golden_open("tests/golden_upsampler/conditional.safetensors");
    const golden out = golden_tensor(&g, "out"), f64 = golden_tensor(&g, "out_f64");
    for (size_t i = 0; i < out.len; i++) own = fmax(own, fabs(golden_at(&out, i) - golden_at(&f64, i)));
    for (size_t i = 0; i < out.len; i++) {
        const size_t c = i % (2 * CHANNELS), q = i / (2 * CHANNELS) % (LARGE * LARGE), k = i / (2 * IMAGE);
        error = fmax(error, fabs((double)first[i] - golden_pixel(&out, k, q, c)));
    }
    print_message("%.1e from improved-diffusion (its own error %.1e)\n", error, own);
    assert_true(own > 0 && error <= 10 * own);
    golden_close(&g);

    json *config = NULL;
    write_as_ours(m, under(*state, "model", dir));
    model_close(m);
    MUST(json_read_file(under(*state, "model/unet/config.json", path), &config));
    assert_string_equal(json_as_string(json_get(config, "_class_name")), "DdpmUNet");
    json_free(config);
    MUST(model_open(dir, WEIGHTS_EMA, &m));
    assert_int_equal(model_describe(m)->s.v.small_size, SMALL);
    run(m, second);
    assert_memory_equal(first, second, sizeof first);
    model_close(m);
}

static void test_what_a_checkpoint_needs_to_be_told(void **state)
{
    (void)state;
    static const struct { const char *path, *given, *says; } wrong[] = {
        { PT, GIVEN, "give --small_size" },
        { PT, "small_size=8 norm_groups=2 num_heads=2 diffusion_steps=100 noise_schedule=linear", "give --large_size" },
        { PT, "", "--large_size --small_size --diffusion_steps --noise_schedule" },
        { PT, GIVEN "small_size=8 channels=1", "contradicts the file" },
        { PT, GIVEN "small_size=16", "smaller" },
        { "tests/golden/06_unet/pt/iddpm_model000000.pt", "image_size=8 small_size=4 num_heads=1 diffusion_steps=100 noise_schedule=linear", "no up-sampler" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        model_file *m = NULL;
        const settings request = request_of(wrong[i].given);
        assert_int_equal(model_open_with(wrong[i].path, WEIGHTS_EMA, &request, &m), DDPM_EINVAL);
        if (!strstr(ddpm_last_error(), wrong[i].says)) fail_msg("\"%s\": %s", wrong[i].given, ddpm_last_error());
    }
}

/* --- small images ------------------------------------------------------------------------- */

static const tool_events EVENTS = { 0 };

typedef struct { const char *name, *descr; int side; const void *labels; int n_labels; } npz_case;

static const char *write_npz(const place *p, const npz_case *c, const uint8_t *pixels, char path[MODEL_PATH_SIZE])
{
    const int64_t shape[4] = { 3, c->side, c->side, CHANNELS }, count = c->n_labels;
    npz_writer *w = NULL;
    MUST(npz_writer_open(under(p, c->name, path), &w));
    MUST(npz_writer_add(w, "arr_0", "|u1", shape, 4, pixels));
    if (c->labels) MUST(npz_writer_add(w, "arr_1", c->descr, &count, 1, c->labels));
    MUST(npz_writer_finish(w));
    return path;
}

static const uint8_t *pixels(void)
{
    static uint8_t p[3 * LARGE * LARGE * CHANNELS];
    for (size_t i = 0; i < sizeof p; i++) p[i] = (uint8_t)(i * 37 % 251);
    return p;
}

static void test_small_images_in_turn(void **state)
{
    static const int64_t wide[] = { 4, 0, 2 };
    static const int32_t narrow[] = { 1, 3, 0 };
    const npz_case cases[] = { { "wide.npz", "<i8", SMALL, wide, 3 }, { "narrow.npz", "<i4", SMALL, narrow, 3 } };
    model_description d = { .s = settings_from("large_size=16 small_size=8 class_cond=true num_classes=5") };
    for (int k = 0; k < 2; k++) {
        char path[MODEL_PATH_SIZE];
        base_images *b = NULL;
        settings request = request_of("");
        MUST(settings_set(&request, "base_samples", write_npz(*state, &cases[k], pixels(), path), ORIGIN_COMMAND_LINE));
        MUST(base_images_open(&d, &request, &EVENTS, &b));
        assert_int_equal(base_images_count(b), 3);
        assert_true(base_images_labelled(b));
        for (uint64_t number = 0; number < 7; number++) {
            static float small[LITTLE], want[IMAGE], got[IMAGE];
            int64_t label;
            for (size_t i = 0; i < LITTLE; i++) small[i] = (float)pixels()[number % 3 * LITTLE + i] / 127.5f - 1;
            upsampler_enlarge((upsampler_dims){ LARGE, LARGE, CHANNELS, SMALL }, small, want);
            MUST(base_images_read(b, number, got));
            assert_memory_equal(got, want, sizeof got);
            MUST(base_images_class(b, number, &label));
            assert_int_equal(label, k ? narrow[number % 3] : wide[number % 3]);
        }
        base_images_close(b);
    }
}

static void test_wrong_small_images(void **state)
{
    static const int64_t good[] = { 4, 0, 2 }, beyond[] = { 4, 5, 2 };
    static const double reals[] = { 0, 1, 2 };
    const struct { npz_case c; const char *says, *request; } wrong[] = {
        { { "none.npz", "<i8", SMALL, NULL, 0 }, "arr_1", "" },           { { "beyond.npz", "<i8", SMALL, beyond, 3 }, "class 5", "" },
        { { "few.npz", "<i8", SMALL, good, 2 }, "arr_1", "" },            { { "real.npz", "<f8", SMALL, reals, 3 }, "arr_1", "" },
        { { "large.npz", "<i8", LARGE, good, 3 }, "enlarges 8x8x3", "" }, { { "beyond.npz", "<i8", SMALL, beyond, 3 }, NULL, "class=2" },
    };
    const model_description d = { .s = settings_from("large_size=16 small_size=8 class_cond=true num_classes=5") };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char path[MODEL_PATH_SIZE];
        base_images *b = NULL;
        settings request = request_of(wrong[i].request);
        MUST(settings_set(&request, "base_samples", write_npz(*state, &wrong[i].c, pixels(), path), ORIGIN_COMMAND_LINE));
        const ddpm_status s = base_images_open(&d, &request, &EVENTS, &b);
        if (wrong[i].says ? s == DDPM_OK || !strstr(ddpm_last_error(), wrong[i].says) : s != DDPM_OK) fail_msg("%s: %s", wrong[i].c.name, ddpm_last_error());
        base_images_close(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_their_checkpoint_and_ours, enter, leave),
        cmocka_unit_test(test_what_a_checkpoint_needs_to_be_told),
        cmocka_unit_test_setup_teardown(test_small_images_in_turn, enter, leave),
        cmocka_unit_test_setup_teardown(test_wrong_small_images, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
