/* A classifier at work: features, logits and gradients against guided-diffusion's EncoderUNetModel, whole guided
 * chains against its p_sample_loop and ddim_sample_loop (golden_classifier_guided), and which models it may guide. */
#include "golden_file.h"
#include "isa.h"
#include "test_folder.h"

#include "api/generator.h"

#include <math.h>

enum { N = 2, SIDE = 8, CHANNELS = 3, PIXELS = SIDE * SIDE, IMAGE = PIXELS * CHANNELS, CLASSES = 5, DIMS = 8, STEPS = 6, SHOWN = 3, POINTS = 5 };

#define NETWORKS "tests/golden_classifier_guided/networks.safetensors"
#define CHAINS "tests/golden_classifier_guided/chains.safetensors"
#define SMALL_NET "image_size=8 channels=3 num_channels=4 channel_mult=1,2 num_res_blocks=1 attention_resolutions=4 num_heads=2 use_scale_shift_norm=true norm_groups=2 "
#define CHAIN "diffusion_steps=1000 noise_schedule=linear rescale_timesteps=false "
#define JUDGE SMALL_NET CHAIN "classes_out=5"

static const tool_events EVENTS = { 0 };

/* --- networks in folders ----------------------------------------------------------------- */

/* "key=value ..." given by the user; the classifier's folder, which may be NULL, comes last. */
static settings guided_request(const char *values, const char *guide)
{
    settings s = request_of(values);
    MUST(settings_set(&s, "precision", "f32", ORIGIN_COMMAND_LINE));
    if (max_isa()) MUST(settings_set(&s, "max_isa", max_isa(), ORIGIN_COMMAND_LINE));
    if (guide) MUST(settings_set(&s, "classifier", guide, ORIGIN_COMMAND_LINE));
    return s;
}

/* A model of these settings: the weights `prefix`/NAME of the golden file, or (NULL) others. */
static const char *write_model(const place *p, const char *name, const char *values, const char *prefix, char *const *class_names, char dir[MODEL_PATH_SIZE])
{
    const settings s = settings_from(values);
    const unet_config c = settings_unet(&s);
    golden_file file = golden_open(NETWORKS);
    nn_graph *g = nn_graph_new(NN_F32);
    unet_build(g, &c, 1, false, false);
    MUST(nn_graph_status(g));
    float *slab = slab_of(&g->params, 1);
    for (int i = 0; i < g->params.count && prefix; i++) {
        const nn_param *q = &g->params.list[i];
        const golden t = golden_tensor(&file, "%s/%s", prefix, q->name);
        assert_int_equal(t.len, nn_len(q->shape));
        nn_param_from_file(q, t.data, slab + q->offset);
    }
    MUST(checkpoint_write(under(p, name, dir), &(checkpoint_source){ .s = &s, .weights = "ema 0.9999", .layout = &g->params, .values = slab,
                                                                     .class_names = class_names, .n_class_names = class_names ? settings_classes(&s) : 0 }));
    free(slab);
    nn_graph_free(g);
    golden_close(&file);
    return dir;
}

typedef struct { engine e; classifier *c; golden_file g; } judge;

static void judge_open(const place *p, const char *how, judge *j)
{
    char dir[MODEL_PATH_SIZE];
    *j = (judge){ .g = golden_open(NETWORKS) };
    const settings s = guided_request(how, NULL);
    if (!file_exists(under(p, "judge", dir))) write_model(p, "judge", JUDGE, "classifier", NULL, dir);
    MUST(engine_new(&s, &j->e));
    MUST(classifier_open(dir, &j->e, &j->c));
}

static void judge_close(judge *j)
{
    classifier_close(j->c);
    engine_free(&j->e);
    golden_close(&j->g);
}

/* The largest differences from the authors' run in float and in double, which differ by *own. */
static void compare(const judge *j, const char *name, const float *got, double *error, double *own)
{
    const golden f32 = golden_tensor(&j->g, "%s", name), f64 = golden_tensor(&j->g, "%s_f64", name);
    *error = *own = 0;
    for (size_t i = 0; i < f32.len; i++) {
        const size_t n = i / IMAGE, q = i % IMAGE / CHANNELS, c = i % CHANNELS;
        const bool pictures = f32.ndim == 4;
        const double w32 = pictures ? golden_pixel(&f32, n, q, c) : golden_at(&f32, i), w64 = pictures ? golden_pixel(&f64, n, q, c) : golden_at(&f64, i);
        *own = fmax(*own, fabs(w32 - w64));
        *error = fmax(*error, fabs((double)got[i] - w64));
    }
    print_message("%s: %.1e from double, theirs %.1e\n", name, *error, *own);
}

/* --- the classifier alone -------------------------------------------------------------------- */

static const char *const ENGINES[] = { "device=ref threads=1", "threads=1", "threads=3" };
enum { ENGINE_COUNT = sizeof ENGINES / sizeof *ENGINES };

static void test_features(void **state)
{
    float features[ENGINE_COUNT][SHOWN * DIMS], logits[ENGINE_COUNT][SHOWN * CLASSES], single[DIMS], scores[CLASSES];
    for (int k = 0; k < ENGINE_COUNT; k++) {
        judge j;
        judge_open(*state, ENGINES[k], &j);
        const golden pixels = golden_tensor(&j.g, "pixels");
        const classifier_facts *f = classifier_about(j.c);
        double error, own;
        assert_true(f->height == SIDE && f->width == SIDE && f->channels == CHANNELS && f->classes == CLASSES && f->dims == DIMS);
        MUST(classifier_features(j.c, pixels.data, SHOWN, SIDE, SIDE, CHANNELS, features[k], logits[k]));
        compare(&j, "features", features[k], &error, &own);
        assert_true(error <= 8 * own);
        compare(&j, "logits", logits[k], &error, &own);
        assert_true(error <= 8 * own);
        for (int i = 0; i < SHOWN; i++) {
            MUST(classifier_features(j.c, (const uint8_t *)pixels.data + i * IMAGE, 1, SIDE, SIDE, CHANNELS, single, NULL));
            MUST(classifier_features(j.c, (const uint8_t *)pixels.data + i * IMAGE, 1, SIDE, SIDE, CHANNELS, NULL, scores));
            assert_memory_equal(single, features[k] + i * DIMS, sizeof single);
            assert_memory_equal(scores, logits[k] + i * CLASSES, sizeof scores);
        }
        judge_close(&j);
    }
    assert_memory_equal(features[1], features[2], sizeof features[1]);
    assert_memory_equal(logits[1], logits[2], sizeof logits[1]);
}

static void test_other_sizes(void **state)
{
    static const uint8_t pixels[2 * IMAGE];
    float features[DIMS];
    judge j;
    judge_open(*state, "threads=1", &j);
    const int wrong[][3] = { { SIDE, 2 * SIDE, CHANNELS }, { SIDE, SIDE, 1 } };
    const char *const says[] = { "8x16 with 3", "8x8 with 1" };
    for (int i = 0; i < 2; i++) {
        assert_int_equal(classifier_features(j.c, pixels, 1, wrong[i][0], wrong[i][1], wrong[i][2], features, NULL), DDPM_EINVAL);
        if (!strstr(ddpm_last_error(), "8x8 with 3") || !strstr(ddpm_last_error(), says[i])) fail_msg("%s", ddpm_last_error());
    }
    judge_close(&j);
}

static void test_gradient(void **state)
{
    float grad[ENGINE_COUNT][POINTS * IMAGE], x[POINTS * IMAGE], t[POINTS], one[IMAGE];
    int y[POINTS];
    for (int k = 0; k < ENGINE_COUNT; k++) {
        judge j;
        judge_open(*state, ENGINES[k], &j);
        const golden gx = golden_tensor(&j.g, "gradient/x"), gt = golden_tensor(&j.g, "gradient/t"), gy = golden_tensor(&j.g, "gradient/y");
        double error, own;
        for (size_t i = 0; i < POINTS; i++) {
            golden_to_nhwc(&gx, i, CHANNELS, 0, x + i * IMAGE);
            t[i] = (float)golden_at(&gt, i);
            y[i] = (int)golden_at(&gy, i);
        }
        MUST(classifier_gradient(j.c, POINTS, t, y, x, grad[k]));
        compare(&j, "gradient/grad", grad[k], &error, &own);
        assert_true(error <= 8 * own);
        for (int i = 0; i < POINTS; i++) {
            MUST(classifier_gradient(j.c, 1, t + i, y + i, x + i * IMAGE, one));
            assert_memory_equal(one, grad[k] + i * IMAGE, sizeof one);
        }
        assert_int_equal(classifier_calls(j.c), 1 + POINTS);
        y[POINTS - 1] = CLASSES;
        assert_int_equal(classifier_gradient(j.c, POINTS, t, y, x, grad[k]), DDPM_EINVAL);
        y[POINTS - 1] = 1;
        judge_close(&j);
    }
    assert_memory_equal(grad[1], grad[2], sizeof grad[1]);
}

/* --- whole chains ------------------------------------------------------------------------------ */

static const struct { const char *name, *settings; } MODELS[] = {
    { "plain", SMALL_NET CHAIN }, { "conditional", SMALL_NET CHAIN "class_cond=true num_classes=5 learn_sigma=true" },
};
static const struct { const char *name, *request; } METHODS[] = {
    { "ddpm", "timestep_respacing=6" },
    { "ddim", "compat=openai use_ddim=true timestep_respacing=ddim6" },
    { "eta", "compat=openai use_ddim=true timestep_respacing=ddim6 eta=0.6" },
};

typedef struct { float x[STEPS][N * IMAGE]; } film;

static void keep_step(void *ctx, int step, int t, const float *x, const float *pred_xstart)
{
    film *f = ctx;
    (void)t, (void)pred_xstart;
    memcpy(f->x[step], x, sizeof f->x[step]);
}

/* The images of seed 7 and labels y, `at_once` at a time; x [N,IMAGE]. The steps are kept where all are drawn at once. */
static void draw(const char *model, const char *guide, const char *how, int at_once, film *f, float *x)
{
    static const uint64_t seed[N] = { 7, 7 }, index[N] = { 0, 1 };
    static const int y[N] = { 3, 1 };
    const settings request = guided_request(how, guide);
    generator g;
    MUST(generator_open(model, &request, &EVENTS, &g));
    MUST(generator_load(&g));
    drawing d = generator_drawing(&g);
    if (f) {
        d.observe = keep_step;
        d.observe_ctx = f;
    }
    for (int i = 0; i < N; i += at_once)
        MUST(generator_draw(&g, &d, (draw_batch){ .n = at_once, .seed = seed + i, .index = index + i, .y = y + i, .x = x + i * IMAGE }));
    assert_int_equal(g.calls, (N / at_once) * STEPS);
    assert_int_equal(classifier_calls(g.guide), d.gradient ? (N / at_once) * STEPS : 0);
    generator_close(&g);
}

static void check_chain(const golden_file *g, const char *name, const film *f)
{
    const golden want = golden_tensor(g, "%s", name), own = golden_tensor(g, "%s/own_error", name);
    double error = 0, peak = 0;
    for (size_t s = 0; s < STEPS; s++)
        for (size_t i = 0; i < N * IMAGE; i++) {
            const double w = golden_pixel(&want, s * N + i / IMAGE, i % IMAGE / CHANNELS, i % CHANNELS);
            error = fmax(error, fabs((double)f->x[s][i] - w));
            peak = fmax(peak, fabs(w));
        }
    print_message("%s: %.1e from double, theirs %.1e, peak %.1f\n", name, error, golden_at(&own, 0), peak);
    if (!(error <= 8 * golden_at(&own, 0))) fail_msg("%s: %g", name, error);
}

static void test_chains(void **state)
{
    const place *p = *state;
    golden_file g = golden_open(CHAINS);
    char model[MODEL_PATH_SIZE], guide[MODEL_PATH_SIZE], how[128], name[64];
    static film f;
    float x[N * IMAGE];
    write_model(p, "judge", JUDGE, "classifier", NULL, guide);
    for (int m = 0; m < 2; m++) {
        write_model(p, MODELS[m].name, MODELS[m].settings, MODELS[m].name, NULL, model);
        for (int k = 0; k < 3; k++)
            for (int scale = 1; scale <= 12; scale += scale == 1 ? 3 : 8) {
                golden known;
                snprintf(name, sizeof name, "%s/%s/%d", MODELS[m].name, METHODS[k].name, scale);
                if (!golden_find(&g, name, &known)) continue;
                snprintf(how, sizeof how, "threads=2 %s classifier_scale=%d", METHODS[k].request, scale);
                draw(model, guide, how, N, &f, x);
                assert_memory_equal(x, f.x[STEPS - 1], sizeof x);
                check_chain(&g, name, &f);
            }
    }
    golden_close(&g);
}

static void test_bits_of_threads_and_batches(void **state)
{
    const place *p = *state;
    char model[MODEL_PATH_SIZE], guide[MODEL_PATH_SIZE], how[128];
    float x[2][N * IMAGE];
    write_model(p, "judge", JUDGE, "classifier", NULL, guide);
    write_model(p, "conditional", MODELS[1].settings, "conditional", NULL, model);
    for (int k = 0; k < 3; k++)
        for (int n = 1; n <= N; n++) {
            snprintf(how, sizeof how, "threads=%d %s classifier_scale=4", 2 * n - 1, METHODS[k].request);
            draw(model, guide, how, n, NULL, x[n - 1]);
            if (n == N) assert_memory_equal(x[0], x[1], sizeof x[0]);
        }
}

/* At scale 0 an image is the same as without a classifier, which is not asked. */
static void test_no_guidance(void **state)
{
    const place *p = *state;
    char model[MODEL_PATH_SIZE], guide[MODEL_PATH_SIZE], how[128];
    static const uint64_t seed[N] = { 7, 7 }, index[N] = { 0, 1 };
    float x[2][N * IMAGE];
    write_model(p, "judge", JUDGE, "classifier", NULL, guide);
    write_model(p, "plain", MODELS[0].settings, "plain", NULL, model);
    snprintf(how, sizeof how, "%s classifier_scale=0", METHODS[1].request);
    draw(model, guide, how, N, NULL, x[0]);
    const settings request = guided_request(METHODS[1].request, NULL);
    generator g;
    MUST(generator_open(model, &request, &EVENTS, &g));
    MUST(generator_load(&g));
    const drawing d = generator_drawing(&g);
    MUST(generator_draw(&g, &d, (draw_batch){ .n = N, .seed = seed, .index = index, .x = x[1] }));
    generator_close(&g);
    assert_memory_equal(x[0], x[1], sizeof x[0]);
}

/* What a score made of x_0 is clipped again, but not in guided-diffusion's own way, nor where nothing is. */
static void test_clipped_again(void **state)
{
    static const struct { const char *request; bool within; } cases[] = {
        { "use_ddim=true timestep_respacing=ddim6 classifier_scale=12", true }, { "compat=openai use_ddim=true timestep_respacing=ddim6 classifier_scale=12", false },
        { "use_ddim=true timestep_respacing=ddim6 classifier_scale=12 clip=none", false },
    };
    char model[MODEL_PATH_SIZE], guide[MODEL_PATH_SIZE];
    float x[N * IMAGE];
    write_model(*state, "judge", JUDGE, "classifier", NULL, guide);
    write_model(*state, "plain", MODELS[0].settings, "plain", NULL, model);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        double peak = 0;
        draw(model, guide, cases[k].request, N, NULL, x);
        for (size_t i = 0; i < N * IMAGE; i++) peak = fmax(peak, fabs((double)x[i]));
        if (cases[k].within != (peak <= 1)) fail_msg("%s: %g", cases[k].request, peak);
    }
}

/* --- which models -------------------------------------------------------------------------------- */

static void test_misfits(void **state)
{
    static char *const birds[] = { "duck", "crow", "swan", "kite", "wren" }, *const others[] = { "duck", "crow", "tern", "kite", "wren" };
    static const struct { const char *model, *guide; char *const *guide_names; const char *says; } cases[] = {
        { SMALL_NET CHAIN "", JUDGE, NULL, NULL },
        { SMALL_NET CHAIN "class_cond=true num_classes=5", JUDGE, birds, NULL },
        { SMALL_NET CHAIN "class_cond=true num_classes=5", JUDGE, others, "class 2 " },
        { SMALL_NET CHAIN "class_cond=true num_classes=6", JUDGE, NULL, "tells 5 classes apart" },
        { SMALL_NET CHAIN "", JUDGE " image_size=16", NULL, "images of 16x16 with 3 channels" },
        { SMALL_NET CHAIN "", JUDGE " channels=1", NULL, "images of 8x8 with 1 channels" },
        { SMALL_NET CHAIN "", JUDGE " diffusion_steps=500", NULL, "T = 500" },
        { SMALL_NET CHAIN "", JUDGE " noise_schedule=cosine", NULL, "schedule cosine" },
        { SMALL_NET CHAIN "", JUDGE " beta_end=0.021", NULL, "other amounts of noise" },
        { SMALL_NET CHAIN "", JUDGE " schedule_width=f32", NULL, NULL },
        { SMALL_NET CHAIN "", JUDGE " rescale_timesteps=true", NULL, NULL },
        { SMALL_NET CHAIN "diffusion_steps=500", JUDGE " diffusion_steps=500 rescale_timesteps=true", NULL, "--rescale_timesteps true" },
        { SMALL_NET CHAIN "", JUDGE " noised=false", NULL, "--noised false" },
        { SMALL_NET CHAIN "", SMALL_NET CHAIN, NULL, "is no classifier" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char model[MODEL_PATH_SIZE], guide[MODEL_PATH_SIZE], name[32];
        const settings request = guided_request("threads=1", NULL);
        engine e;
        classifier *c = NULL;
        model_file *m = NULL;
        snprintf(name, sizeof name, "model%zu", i);
        write_model(*state, name, cases[i].model, NULL, cases[i].guide_names ? birds : NULL, model);
        snprintf(name, sizeof name, "guide%zu", i);
        write_model(*state, name, cases[i].guide, NULL, cases[i].guide_names, guide);
        MUST(engine_new(&request, &e));
        MUST(model_open(model, WEIGHTS_EMA, &m));
        ddpm_status s = classifier_open(guide, &e, &c);
        if (s == DDPM_OK) s = classifier_fits(c, model_describe(m));
        if (cases[i].says ? s != DDPM_EINVAL || !strstr(ddpm_last_error(), cases[i].says) : s != DDPM_OK) fail_msg("case %zu: %s", i, ddpm_last_error());
        classifier_close(c);
        model_close(m);
        engine_free(&e);
    }
}

static void test_requests(void **state)
{
    static char *const birds[] = { "duck", "crow", "swan", "kite", "wren" };
    char model[MODEL_PATH_SIZE], guide[MODEL_PATH_SIZE];
    const struct { const char *request, *guide, *says; } wrong[] = {
        { "classifier_scale=2", NULL, "Give --classifier" }, { "clip=x0", guide, "--clip x0 has no meaning" }, { "", "/nowhere/", "no model" },
    };
    int64_t label;
    generator g;
    write_model(*state, "judge", JUDGE, "classifier", birds, guide);
    write_model(*state, "plain", MODELS[0].settings, "plain", NULL, model);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const settings request = guided_request(wrong[i].request, wrong[i].guide);
        assert_int_equal(generator_open(model, &request, &EVENTS, &g), DDPM_EINVAL);
        if (!strstr(ddpm_last_error(), wrong[i].says)) fail_msg("case %zu: %s", i, ddpm_last_error());
    }
    const settings request = guided_request("sampler=ddpm clip=x0", guide);
    MUST(generator_open(model, &request, &EVENTS, &g));
    assert_int_equal(generator_classes(&g), CLASSES);
    MUST(generator_class(&g, "4", &label));
    assert_int_equal(label, 4);
    MUST(generator_class(&g, "Swan", &label));
    assert_int_equal(label, 2);
    assert_int_equal(generator_class(&g, "5", &label), DDPM_EINVAL);
    assert_int_equal(generator_class(&g, "none", &label), DDPM_EINVAL);
    assert_non_null(strstr(ddpm_last_error(), "--guidance 0"));
    generator_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_features, enter, leave),   cmocka_unit_test_setup_teardown(test_other_sizes, enter, leave),
        cmocka_unit_test_setup_teardown(test_gradient, enter, leave),   cmocka_unit_test_setup_teardown(test_chains, enter, leave),
        cmocka_unit_test_setup_teardown(test_bits_of_threads_and_batches, enter, leave), cmocka_unit_test_setup_teardown(test_no_guidance, enter, leave),
        cmocka_unit_test_setup_teardown(test_clipped_again, enter, leave),
        cmocka_unit_test_setup_teardown(test_misfits, enter, leave),    cmocka_unit_test_setup_teardown(test_requests, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
