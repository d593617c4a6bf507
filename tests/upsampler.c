/* The up-sampler: resizing and the whole network against PyTorch's and improved-diffusion's
 * own (golden_upsampler: SuperResModel with tiny widths), the condition in training against an
 * input built by hand, and which image of a call gets which condition. */
#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"
#include "base/rng.h"
#include "golden_file.h"
#include "isa.h"
#include "model/upsampler.h"
#include "train/draw.h"
#include "train/trainer.h"

#include <math.h>
#include <stdarg.h>

enum { MAX_VALUES = 28 * 28 * 3 };

static void check(ddpm_status s)
{
    if (s != DDPM_OK) fail_msg("%s", ddpm_last_error());
}

/* --- PyTorch's resizing ---------------------------------------------------------------- */

static double worst(const golden *want, size_t n, size_t channels, const float *nhwc)
{
    double error = 0;
    const size_t pixels = want->shape[2] * want->shape[3];
    for (size_t q = 0; q < pixels; q++)
        for (size_t c = 0; c < channels; c++) error = fmax(error, fabs(golden_pixel(want, n, q, c) - (double)nhwc[q * channels + c]));
    return error;
}

static void test_resizing_is_pytorchs(void **state)
{
    (void)state;
    static const struct { int large, small; } sizes[] = { { 16, 8 }, { 16, 4 }, { 10, 4 }, { 7, 5 }, { 28, 11 } };
    golden_file g = golden_open("tests/golden_upsampler/resize.safetensors");
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        static float x[MAX_VALUES], low[MAX_VALUES], back[MAX_VALUES];
        const int large = sizes[k].large, small = sizes[k].small;
        const golden in = golden_tensor(&g, "%d.%d/large", large, small), area = golden_tensor(&g, "%d.%d/area", large, small),
                     bilinear = golden_tensor(&g, "%d.%d/bilinear", large, small);
        const upsampler_dims d = { large, large, (int)in.shape[1], small };
        golden_to_nhwc(&in, 0, in.shape[1], 0, x);
        upsampler_reduce(d, x, low);
        const double reduced = worst(&area, 0, in.shape[1], low);
        golden_to_nhwc(&area, 0, in.shape[1], 0, low);
        upsampler_enlarge(d, low, back);
        const double enlarged = worst(&bilinear, 0, in.shape[1], back);
        print_message("%d -> %d: area %.1e, bilinear %.1e\n", large, small, reduced, enlarged);
        assert_true(reduced < 2e-7 && enlarged < 4e-7);
    }
    golden_close(&g);
}

static void test_joining(void **state)
{
    (void)state;
    static const float x[] = { 1, 2, 3, 4, 5, 6 }, condition[] = { 10, 20, 30, 40, 50, 60 }, want[] = { 1, 2, 10, 20, 3, 4, 30, 40, 5, 6, 50, 60 };
    float input[12];
    upsampler_join(3, 2, x, condition, input);
    assert_memory_equal(input, want, sizeof want);
}

/* --- improved-diffusion's network --------------------------------------------------------- */

typedef struct { nn_backend *b; pool *p; denoiser *net; float *values; nn_weights *w; } network;

static unet_config config(int size, int channels, bool learned, int classes, int heads)
{
    return (unet_config){ .height = size, .width = size, .in_channels = 2 * channels, .out_channels = channels * (learned ? 2 : 1), .model_channels = 4,
                          .stem = 4, .levels = 2, .channels = { 4, 8 }, .num_res_blocks = 1, .attention = { false, true }, .num_heads = heads,
                          .num_classes = classes, .scale_shift_norm = true, .conv_resample = true, .groups = 2, .eps = 1e-5, .cos_first = true,
                          .init = UNET_INIT_TORCH };
}

static void open_network(network *n, const unet_config *c, bool ref, int threads)
{
    *n = (network){ 0 };
    check(pool_new(threads, &n->p));
    check(ref ? backend_ref_new(&n->b) : backend_cpu_new(max_isa(), &n->b));
    check(denoiser_new(c, n->b, n->p, NN_F32, NN_INFER, 2, &n->net));
    n->values = calloc(denoiser_graph(n->net)->params.len, sizeof *n->values);
    assert_non_null(n->values);
}

static void take_weights(network *n, const golden_file *g)
{
    const nn_graph *graph = denoiser_graph(n->net);
    for (int i = 0; i < graph->params.count && g; i++) {
        const nn_param *p = &graph->params.list[i];
        const golden t = golden_tensor(g, "model/%s", p->name);
        assert_int_equal(t.len, nn_len(p->shape));
        nn_param_from_file(p, t.data, n->values + p->offset);
    }
    check(nn_weights_new(graph, n->b, n->values, false, &n->w));
}

static void close_network(network *n)
{
    nn_weights_free(n->w);
    free(n->values);
    denoiser_free(n->net);
    nn_backend_free(n->b);
    pool_free(n->p);
}

/* Largest differences from the float and the double run of the authors' code, and the first's own error. */
static void compare(const char *name, bool learned, int heads, bool ref)
{
    char path[128];
    snprintf(path, sizeof path, "tests/golden_upsampler/%s.safetensors", name);
    golden_file g = golden_open(path);
    const golden x = golden_tensor(&g, "x"), low = golden_tensor(&g, "low_res"), t = golden_tensor(&g, "t"), out = golden_tensor(&g, "out"),
                 f64 = golden_tensor(&g, "out_f64");
    golden y, table;
    const int n = (int)x.shape[0], channels = (int)x.shape[1], size = (int)x.shape[2];
    const bool labelled = golden_find(&g, "y", &y);
    const unet_config c = config(size, channels, learned, labelled && golden_find(&g, "model/label_emb.weight", &table) ? (int)table.shape[0] : 0, heads);
    const size_t len = (size_t)(size * size * channels), wide = len * (learned ? 2 : 1);
    float *images = calloc((size_t)n * len, sizeof *images), *condition = calloc((size_t)n * len, sizeof *condition), *got = calloc((size_t)n * wide, sizeof *got);
    int labels[8] = { 0 };
    for (int k = 0; k < n; k++) {
        static float small[MAX_VALUES];
        golden_to_nhwc(&x, (size_t)k, (size_t)channels, 0, images + (size_t)k * len);
        golden_to_nhwc(&low, (size_t)k, (size_t)channels, 0, small);
        upsampler_enlarge((upsampler_dims){ size, size, channels, (int)low.shape[2] }, small, condition + (size_t)k * len);
        if (labelled) labels[k] = (int)golden_at(&y, (size_t)k);
    }
    network net;
    open_network(&net, &c, ref, 2);
    take_weights(&net, &g);
    const process p = { .var = learned ? VAR_LEARNED_RANGE : VAR_FIXED_LARGE };
    predictor ask = { .net = net.net, .weights = net.w, .p = &p, .condition = condition, .conditions = n };
    check(predictor_denoise(&ask, n, t.data, labelled ? labels : NULL, images, got));
    double own = 0, error = 0, error64 = 0;
    for (size_t i = 0; i < out.len; i++) own = fmax(own, fabs(golden_at(&out, i) - golden_at(&f64, i)));
    for (size_t k = 0; k < (size_t)n; k++) {
        error = fmax(error, worst(&out, k, wide / len * (size_t)channels, got + k * wide));
        error64 = fmax(error64, worst(&f64, k, wide / len * (size_t)channels, got + k * wide));
    }
    print_message("%s, %s: %.1e from float, %.1e from double (PyTorch's own error %.1e)\n", name, ref ? "ref" : "cpu", error, error64, own);
    assert_true(own > 0 && error <= 10 * own && error64 <= 10 * own);
    predictor_free(&ask);
    close_network(&net);
    free(images);
    free(condition);
    free(got);
    golden_close(&g);
}

static void test_network_is_improved_diffusions(void **state)
{
    (void)state;
    for (int ref = 0; ref < 2; ref++) {
        compare("conditional", true, 2, ref);
        compare("plain", false, 1, ref);
    }
}

/* --- training ---------------------------------------------------------------------------------- */

enum { SIDE = 8, SMALL = 4, CHANNELS = 3, IMAGE = SIDE * SIDE * CHANNELS, BATCH = 5, T = 100 };

typedef struct { schedule s; process p; nn_backend *b; pool *threads; trainer *tr; } training;

static void start(training *f, int leaves, int chunk, int threads)
{
    const unet_config net = config(SIDE, CHANNELS, true, 0, 2);
    const schedule_config sc = schedule_config_of(PROFILE_OPENAI, SCHEDULE_LINEAR, T);
    *f = (training){ 0 };
    check(schedule_new(&sc, &f->s));
    f->p = (process){ .s = &f->s, .var = VAR_LEARNED_RANGE };
    check(backend_cpu_new(max_isa(), &f->b));
    check(pool_new(threads, &f->threads));
    const trainer_config c = { .p = &f->p, .loss = LOSS_RESCALED_MSE, .adam = { ADAM_W, 1e-3, 0.9, 0.999, 1e-8, 0 }, .batch = BATCH, .leaves = leaves,
                               .chunk = chunk, .seed = 3, .small_size = SMALL };
    check(trainer_new(&net, &c, f->b, f->threads, NN_F32, &f->tr));
}

static void stop(training *f)
{
    trainer_free(f->tr);
    nn_backend_free(f->b);
    pool_free(f->threads);
    schedule_free(&f->s);
}

/* Images and noise of the batch. */
static void draw(float *x, float *noise)
{
    rng_normals((rng_address){ 1, RNG_VAL, 0, 0 }, 0, (size_t)BATCH * IMAGE, x);
    rng_normals((rng_address){ 2, RNG_VAL, 0, 0 }, 0, (size_t)BATCH * IMAGE, noise);
}

static const int ROWS[BATCH] = { 3, 97, 50, 0, 21 };

/* Means of 2x2 pixels, then weights 1/4 and 3/4 between their centres: what reducing by two and enlarging are. */
static float enlarged_at(const float *x0, int row, int column, int c)
{
    double sum = 0;
    for (int dy = 0; dy < 2; dy++)
        for (int dx = 0; dx < 2; dx++) {
            const int near_y = row / 2, near_x = column / 2, far_y = near_y + (row % 2 ? 1 : -1), far_x = near_x + (column % 2 ? 1 : -1);
            const int y = dy && far_y >= 0 && far_y < SMALL ? far_y : near_y, x = dx && far_x >= 0 && far_x < SMALL ? far_x : near_x;
            double mean = 0;
            for (int q = 0; q < 4; q++) mean += 0.25 * (double)x0[((2 * y + q / 2) * SIDE + 2 * x + q % 2) * CHANNELS + c];
            sum += (dy ? 0.25 : 0.75) * (dx ? 0.25 : 0.75) * mean;
        }
    return (float)sum;
}

/* The gradient of the mean loss for inputs of six channels built here. */
static void by_hand(training *f, const float *x, const float *noise, float *grads, double *loss)
{
    const unet_config c = config(SIDE, CHANNELS, true, 0, 2);
    denoiser *d = NULL;
    nn_weights *w = NULL;
    static float xt[BATCH * IMAGE], input[2 * BATCH * IMAGE], out[2 * BATCH * IMAGE], dout[2 * BATCH * IMAGE], t[BATCH];
    check(denoiser_new(&c, f->b, f->threads, NN_F32, NN_TRAIN, BATCH, &d));
    check(nn_weights_new(denoiser_graph(d), f->b, trainer_get_state(f->tr)->value, true, &w));
    for (int i = 0; i < BATCH; i++) {
        q_sample(&f->s, ROWS[i], IMAGE, x + i * IMAGE, noise + i * IMAGE, xt + i * IMAGE);
        t[i] = (float)ROWS[i];
        for (int p = 0; p < SIDE * SIDE; p++)
            for (int k = 0; k < CHANNELS; k++) {
                input[(i * SIDE * SIDE + p) * 2 * CHANNELS + k] = xt[(i * SIDE * SIDE + p) * CHANNELS + k];
                input[((i * SIDE * SIDE + p) * 2 + 1) * CHANNELS + k] = enlarged_at(x + i * IMAGE, p / SIDE, p % SIDE, k);
            }
    }
    check(denoiser_forward(d, 0, w, (denoiser_input){ .n = BATCH, .x = input, .t = t }, out));
    *loss = 0;
    for (int i = 0; i < BATCH; i++) {
        const loss_input in = { .p = &f->p, .type = LOSS_RESCALED_MSE, .i = ROWS[i], .dims = { SIDE * SIDE, CHANNELS }, .weight = 1.0 / BATCH,
                                .x0 = x + i * IMAGE, .xt = xt + i * IMAGE, .noise = noise + i * IMAGE, .out = out + 2 * i * IMAGE };
        loss_terms terms;
        loss_eval(&in, &terms, dout + 2 * i * IMAGE);
        *loss += terms.loss / BATCH;
    }
    check(denoiser_backward(d, 0, w, BATCH, dout, grads, false));
    nn_weights_free(w);
    denoiser_free(d);
}

/* Adam's first moment after one step is a tenth of the gradient. */
static void test_training_sees_the_same_images_condition(void **state)
{
    (void)state;
    static float x[BATCH * IMAGE], noise[BATCH * IMAGE];
    training f;
    step_report r;
    double loss, difference = 0, size = 0;
    start(&f, 1, BATCH, 1);
    draw(x, noise);
    const trainer_state *s = trainer_get_state(f.tr);
    float *grads = calloc(s->params->len, sizeof *grads);
    by_hand(&f, x, noise, grads, &loss);
    check(trainer_step(f.tr, &(train_batch){ .x = x, .t = ROWS, .noise = noise }, &r));
    for (size_t i = 0; i < s->params->len; i++) {
        const double d = 10 * (double)s->m[i] - (double)grads[i];
        difference += d * d;
        size += (double)grads[i] * (double)grads[i];
    }
    print_message("loss %.7f by hand, %.7f; gradients differ by %.1e\n", loss, r.loss, sqrt(difference / size));
    assert_true(size > 0 && fabs(r.loss - loss) <= 1e-6 * loss && difference <= 1e-10 * size);
    free(grads);
    stop(&f);
}

static void test_bits_depend_on_leaves_alone(void **state)
{
    (void)state;
    static const struct { int chunk, threads; } ways[] = { { 3, 1 }, { 1, 2 }, { 2, 3 } };
    static float x[BATCH * IMAGE], noise[BATCH * IMAGE];
    float *first = NULL;
    draw(x, noise);
    for (int k = 0; k < 3; k++) {
        training f;
        step_report r;
        start(&f, 2, ways[k].chunk, ways[k].threads);
        for (int step = 0; step < 2; step++) check(trainer_step(f.tr, &(train_batch){ .x = x }, &r));
        const trainer_state *s = trainer_get_state(f.tr);
        if (!first) {
            first = malloc(s->params->len * sizeof *first);
            memcpy(first, s->value, s->params->len * sizeof *first);
        }
        assert_memory_equal(first, s->value, s->params->len * sizeof *first);
        stop(&f);
    }
    free(first);
}

/* --- drawing ------------------------------------------------------------------------------------ */

typedef struct { network net; float *condition; process p; } conditioned;

static void ask(conditioned *c, int conditions, const int *which, int n, const float *x, float *out)
{
    static const float t[8] = { 4, 4, 4, 4, 4, 4, 4, 4 };
    predictor p = { .net = c->net.net, .weights = c->net.w, .p = &c->p, .condition = c->condition, .conditions = conditions, .which = which };
    check(predictor_denoise(&p, n, t, NULL, x, out));
    predictor_free(&p);
}

/* Which condition an image gets: its place modulo the conditions, as guidance asks twice; or the list's. */
static void test_who_gets_which_condition(void **state)
{
    (void)state;
    const unet_config c = config(SIDE, CHANNELS, false, 0, 2);
    static const int list[4] = { 1, 1, 0, 1 }, one[1] = { 1 };
    static float condition[2 * IMAGE], x[4 * IMAGE], twice[4 * IMAGE], listed[4 * IMAGE], alone[IMAGE];
    conditioned a = { .condition = condition, .p = { .var = VAR_FIXED_LARGE } };
    open_network(&a.net, &c, false, 1);
    nn_params_init(&denoiser_graph(a.net.net)->params, 3, a.net.values);
    take_weights(&a.net, NULL);
    rng_normals((rng_address){ 8, RNG_VAL, 0, 0 }, 0, 2 * IMAGE, condition);
    for (int k = 0; k < 4; k++) rng_normals((rng_address){ 9, RNG_VAL, 0, 0 }, 0, IMAGE, x + k * IMAGE);
    ask(&a, 2, NULL, 4, x, twice);
    assert_memory_equal(twice, twice + 2 * IMAGE, 2 * IMAGE * sizeof *twice);
    assert_memory_not_equal(twice, twice + IMAGE, IMAGE * sizeof *twice);
    ask(&a, 2, list, 4, x, listed);
    for (int k = 0; k < 4; k++) assert_memory_equal(listed + k * IMAGE, twice + list[k] * IMAGE, IMAGE * sizeof *listed);
    ask(&a, 2, one, 1, x, alone);
    assert_memory_equal(alone, twice + IMAGE, IMAGE * sizeof *alone);
    close_network(&a.net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resizing_is_pytorchs),
        cmocka_unit_test(test_joining),
        cmocka_unit_test(test_network_is_improved_diffusions),
        cmocka_unit_test(test_training_sees_the_same_images_condition),
        cmocka_unit_test(test_bits_depend_on_leaves_alone),
        cmocka_unit_test(test_who_gets_which_condition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
