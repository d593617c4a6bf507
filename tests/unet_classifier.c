/* The classifier of noisy images against guided-diffusion's: logits, features, the gradients of the cross entropy and the
 * gradient by x that guides sampling, by the reference and the cpu backend. */
#include "golden_file.h"

#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"
#include "diffusion/cross_entropy.h"
#include "isa.h"
#include "model/unet.h"
#include "nn/plan.h"

#include <math.h>

#define MUST(expr) do { if ((expr) != DDPM_OK) fail_msg("%s: %s", #expr, ddpm_last_error()); } while (0)

enum { IMAGES = 3, CLASSES = 6, CHANNELS = 3, MOST = 16 * 16 * CHANNELS };

typedef struct { const char *path; int size; bool film, updown; } network;

static const network NETWORKS[] = { { "tests/golden_classifier/guided.safetensors", 8, true, true }, { "tests/golden_classifier/plain.safetensors", 16, false, false } };

typedef struct { golden_file file; nn_backend *b; nn_graph *g; unet u; nn_plan *plan; nn_weights *w; float *values, *grads; } fixture;

static unet_config config_of(const network *n)
{
    return (unet_config){ .height = n->size, .width = n->size, .in_channels = CHANNELS, .out_channels = CHANNELS, .model_channels = 8, .stem = 8, .levels = 2,
                          .channels = { 8, 16 }, .num_res_blocks = 1, .attention = { n->size == 8, n->size == 16 }, .num_heads = 1, .num_head_channels = 8,
                          .classes_out = CLASSES, .scale_shift_norm = n->film, .resblock_updown = n->updown, .conv_resample = true, .groups = 4,
                          .eps = 1e-5, .cos_first = true };
}

/* Every parameter is in the file, and nothing else is. */
static void load(const fixture *f)
{
    int theirs = 0;
    for (const char *at = f->file.header; (at = strstr(at, "\"param/")); at++) theirs++;
    assert_int_equal(theirs, f->g->params.count);
    for (int i = 0; i < f->g->params.count; i++) {
        const nn_param *p = &f->g->params.list[i];
        const golden t = golden_tensor(&f->file, "param/%s", p->name);
        int64_t shape[4];
        assert_int_equal(nn_param_file_shape(p, shape), t.ndim);
        for (int k = 0; k < t.ndim; k++) assert_int_equal(shape[k], t.shape[k]);
        nn_param_from_file(p, t.data, f->values + p->offset);
    }
}

static void make(fixture *f, const network *n, nn_backend *b, nn_mode mode)
{
    const unet_config c = config_of(n);
    *f = (fixture){ .file = golden_open(n->path), .b = b, .g = nn_graph_new(NN_F32) };
    MUST(unet_check(&c));
    f->u = unet_build(f->g, &c, IMAGES, false, mode == NN_TRAIN);
    MUST(nn_graph_status(f->g));
    f->values = calloc(f->g->params.len, sizeof(float));
    f->grads = calloc(f->g->params.len, sizeof(float));
    load(f);
    MUST(nn_weights_new(f->g, b, f->values, mode == NN_TRAIN, &f->w));
    MUST(nn_plan_new(f->g, b, mode, f->u.out, &f->plan));
    nn_plan_bind(f->plan, f->w, mode == NN_TRAIN ? f->grads : NULL);
}

static void unmake(fixture *f)
{
    nn_plan_free(f->plan);
    nn_weights_free(f->w);
    nn_graph_free(f->g);
    nn_backend_free(f->b);
    free(f->values);
    free(f->grads);
    golden_close(&f->file);
}

static void forward(fixture *f, float *logits)
{
    const golden x = golden_tensor(&f->file, "x"), t = golden_tensor(&f->file, "t");
    float images[IMAGES * MOST];
    for (size_t k = 0; k < IMAGES; k++) golden_to_nhwc(&x, k, CHANNELS, 0, images + k * nn_image_len(f->u.x->shape));
    MUST(nn_plan_set(f->plan, f->u.x, IMAGES, images));
    MUST(nn_plan_set(f->plan, f->u.t, IMAGES, t.data));
    MUST(nn_plan_forward(f->plan, IMAGES));
    MUST(nn_plan_get(f->plan, f->u.out, IMAGES, logits));
}

static int label_of(const fixture *f, int k)
{
    const golden y = golden_tensor(&f->file, "y");
    int32_t v;
    assert_string_equal(y.dtype, "I32");
    memcpy(&v, (const char *)y.data + (size_t)k * sizeof v, sizeof v);
    return v;
}

/* |got - want| / |want| in the Euclidean norm. */
static double distance(const golden *want, const float *got)
{
    double error = 0, norm = 0;
    for (size_t i = 0; i < want->len; i++) {
        const double w = golden_at(want, i), d = (double)got[i] - w;
        error += d * d;
        norm += w * w;
    }
    return sqrt(error / norm);
}

static void compare_outputs(fixture *f, const float *logits)
{
    const golden want = golden_tensor(&f->file, "logits_f64"), features = golden_tensor(&f->file, "features");
    float got[IMAGES * 16];
    assert_int_equal(want.len, IMAGES * CLASSES);
    assert_true(distance(&want, logits) < 2e-6);
    assert_int_equal(features.len, sizeof got / sizeof *got);
    MUST(nn_plan_get(f->plan, f->u.features, IMAGES, got));
    assert_true(distance(&features, got) < 2e-6);
}

/* The loss is the mean over the images; backward twice, for the parameters and for log p alone. */
static void compare_gradients(fixture *f, const float *logits)
{
    float dout[IMAGES * CLASSES], dx[IMAGES * MOST], theirs[16 * 16 * 9 + 3 * 16 * 16];
    const golden loss = golden_tensor(&f->file, "loss"), cond = golden_tensor(&f->file, "cond_f64");
    double sum = 0, worst = 0;
    for (int k = 0; k < IMAGES; k++) sum += cross_entropy(CLASSES, logits + k * CLASSES, label_of(f, k), 1.0 / IMAGES, dout + k * CLASSES).loss / IMAGES;
    assert_true(fabs(sum - golden_at(&loss, 0)) < 1e-6);
    MUST(nn_plan_backward(f->plan, IMAGES, dout, false));
    for (int i = 0; i < f->g->params.count; i++) {
        const nn_param *p = &f->g->params.list[i];
        const golden want = golden_tensor(&f->file, "grad/%s", p->name);
        assert_true(want.len <= sizeof theirs / sizeof *theirs);
        nn_param_to_file(p, f->grads + p->offset, theirs);
        const double d = distance(&want, theirs);
        if (!(d < 1e-4)) fail_msg("gradient of %s is off by %.1e", p->name, d);
        worst = fmax(worst, d);
    }
    forward(f, dout);                /* a backward pass follows a forward pass */
    for (int k = 0; k < IMAGES; k++) cross_entropy(CLASSES, logits + k * CLASSES, label_of(f, k), -1, dout + k * CLASSES);
    MUST(nn_plan_backward(f->plan, IMAGES, dout, false));
    MUST(nn_plan_get_grad(f->plan, f->u.x, IMAGES, dx));
    const size_t len = nn_image_len(f->u.x->shape);
    double error = 0, norm = 0;
    for (size_t i = 0; i < cond.len; i++) {
        const double want = golden_pixel(&cond, i / len, i % len / CHANNELS, i % CHANNELS), d = (double)dx[i] - want;
        error += d * d;
        norm += want * want;
    }
    print_message("gradients within %.1e of guided-diffusion's, by x %.1e\n", worst, sqrt(error / norm));
    assert_true(sqrt(error / norm) < 1e-5);
}

static void one_backend(const network *n, nn_backend *train, nn_backend *infer)
{
    fixture f;
    float logits[IMAGES * CLASSES];
    make(&f, n, train, NN_TRAIN);
    forward(&f, logits);
    compare_outputs(&f, logits);
    compare_gradients(&f, logits);
    unmake(&f);
    make(&f, n, infer, NN_INFER);
    forward(&f, logits);
    compare_outputs(&f, logits);
    unmake(&f);
}

static void test_guided_diffusion(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof NETWORKS / sizeof *NETWORKS; i++) {
        nn_backend *a, *b;
        MUST(backend_ref_new(&a));
        MUST(backend_ref_new(&b));
        one_backend(&NETWORKS[i], a, b);
        MUST(backend_cpu_new(max_isa(), &a));
        MUST(backend_cpu_new(max_isa(), &b));
        one_backend(&NETWORKS[i], a, b);
    }
}

/* Closed forms: the logits of equal classes, a certain one, huge ones; ranks; the gradient's sum. */
static void test_cross_entropy(void **state)
{
    (void)state;
    float g[6];
    const float equal[4] = { 3, 3, 3, 3 }, certain[3] = { 0, 1000, -1000 }, ranked[6] = { 5, 4, 3, 2, 1, 0 };
    class_terms t = cross_entropy(4, equal, 2, 2, g);
    assert_true(fabs(t.loss - log(4)) < 1e-15 && !t.top1 && t.top5);
    assert_true(cross_entropy(4, equal, 0, 1, NULL).top1);
    for (int k = 0; k < 4; k++) assert_true(g[k] == (k == 2 ? -1.5F : 0.5F));
    t = cross_entropy(3, certain, 1, 1, g);
    assert_true(t.loss == 0 && t.top1 && g[0] == 0 && g[1] == 0 && g[2] == 0);
    t = cross_entropy(3, certain, 2, 1, g);
    assert_true(t.loss == 2000 && !t.top1 && g[1] == 1 && g[2] == -1);
    assert_true(cross_entropy(6, ranked, 4, 1, NULL).top5 && !cross_entropy(6, ranked, 5, 1, NULL).top5 && !cross_entropy(6, ranked, 1, 1, NULL).top1);
    assert_true(isnan(cross_entropy(2, (const float[]){ NAN, 0 }, 1, 1, NULL).loss));
}

/* A classifier is told no class and tells at least one; its parameters are half a U-Net's. */
static void test_configuration(void **state)
{
    (void)state;
    unet_config c = config_of(&NETWORKS[0]);
    assert_int_equal(unet_parameters(&c), 22838);          /* counted by PyTorch */
    c.num_classes = 3;
    assert_int_equal(unet_check(&c), DDPM_EINVAL);
    c.num_classes = 0;
    c.classes_out = -1;
    assert_int_equal(unet_check(&c), DDPM_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_guided_diffusion), cmocka_unit_test(test_cross_entropy), cmocka_unit_test(test_configuration) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
