/* Kernels that are no squares, convolutions of whole windows only and ReLU, against their definition: what an image
 * of one bright pixel becomes is written down from the weights as a file of PyTorch's holds them, [out][in][kh][kw]. */
#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"
#include "nn/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MUST(expr) do { if ((expr) != DDPM_OK) fail_msg("%s: %s", #expr, ddpm_last_error()); } while (0)

enum { IN = 3, OUT = 4, MOST_TAPS = 7 * 7 };

typedef struct { int h, w, kh, kw, stride, pad_h, pad_w; bool valid, relu; int oh, ow; } form;

/* The last two numbers are what PyTorch's conv2d makes of the size, or the size over the stride where not `valid`. */
static const form forms[] = {
    { 5, 9, 1, 7, 1, 0, 3, false, false, 5, 9 }, { 9, 5, 7, 1, 1, 3, 0, false, true, 9, 5 },
    { 4, 6, 1, 3, 1, 0, 1, true, false, 4, 6 },  { 8, 7, 3, 1, 1, 1, 0, true, true, 8, 7 },
    { 6, 8, 3, 5, 2, 1, 2, false, false, 3, 4 }, { 7, 7, 5, 5, 1, 2, 2, false, true, 7, 7 },
    { 7, 9, 3, 3, 2, 0, 0, true, false, 3, 4 },  { 8, 10, 3, 3, 2, 0, 0, true, true, 3, 4 },
    { 6, 5, 3, 3, 1, 0, 0, true, false, 4, 3 },  { 7, 8, 3, 3, 2, 1, 1, true, false, 4, 4 },
    { 6, 6, 3, 3, 2, 0, 0, false, false, 3, 3 }, { 9, 4, 2, 4, 3, 0, 1, true, true, 3, 1 },
};

enum { N_FORMS = sizeof forms / sizeof *forms };

/* Of row and column r, c of a window; 0 outside it. No two have one magnitude. */
static float weight_of(const form *f, int out, int in, int r, int c)
{
    if (r < 0 || r >= f->kh || c < 0 || c >= f->kw) return 0;
    const int place = ((out * IN + in) * f->kh + r) * f->kw + c;
    return (float)(place % 2 ? -1 - place : 1 + place) / 8;
}

static float bias_of(int out) { return (float)out - 2; }

static float expected(const form *f, int y, int x, int in, int p, int q, int out)
{
    const float sum = bias_of(out) + weight_of(f, out, in, y - (p * f->stride - f->pad_h), x - (q * f->stride - f->pad_w));
    return f->relu && sum < 0 ? 0 : sum;
}

static float *values_of(const nn_graph *g, const form *f)
{
    float file[OUT * IN * MOST_TAPS], *values = calloc(g->params.len, sizeof *values);
    assert_non_null(values);
    const nn_param *w = nn_params_find(&g->params, "c.weight"), *b = nn_params_find(&g->params, "c.bias");
    for (int o = 0, at = 0; o < OUT; o++) {
        for (int i = 0; i < IN; i++)
            for (int tap = 0; tap < f->kh * f->kw; tap++) file[at++] = weight_of(f, o, i, tap / f->kw, tap % f->kw);
        values[b->offset + (size_t)o] = bias_of(o);
    }
    nn_param_from_file(w, file, values + w->offset);
    return values;
}

/* Image n is bright at its n-th value. */
static void check_form(nn_backend *b, const form *f)
{
    const int n = f->h * f->w * IN;
    nn_graph *g = nn_graph_new(NN_F32);
    nn_tensor *x = nn_input(g, "x", (nn_shape){ n, f->h, f->w, IN }, NN_F32, false);
    nn_tensor *y = nn_conv2d(g, "c", (nn_conv_args){
        .x = x, .out = OUT, .kernel_h = f->kh, .kernel_w = f->kw, .stride = f->stride, .pad_h = f->pad_h, .pad_w = f->pad_w,
        .valid = f->valid, .relu = f->relu });
    MUST(nn_graph_status(g));
    assert_true(y->shape.h == f->oh && y->shape.w == f->ow);
    float *values = values_of(g, f), *in = calloc((size_t)n * (size_t)n, sizeof *in), *out = calloc(nn_len(y->shape), sizeof *out);
    assert_true(in && out);
    for (int i = 0; i < n; i++) in[i * n + i] = 1;
    nn_weights *w;
    nn_plan *plan;
    MUST(nn_weights_new(g, b, values, false, &w));
    MUST(nn_plan_new(g, b, NN_INFER, y, &plan));
    nn_plan_bind(plan, w, NULL);
    MUST(nn_plan_set(plan, x, n, in));
    MUST(nn_plan_forward(plan, n));
    MUST(nn_plan_get(plan, y, n, out));
    for (int i = 0; i < n * f->oh * f->ow * OUT; i++) {
        const int o = i % OUT, q = i / OUT % f->ow, p = i / OUT / f->ow % f->oh, image = i / OUT / f->ow / f->oh;
        const float want = expected(f, image / IN / f->w, image / IN % f->w, image % IN, p, q, o);
        if (out[i] != want)
            fail_msg("form %d, image %d, (%d, %d), channel %d: %g, not %g", (int)(f - forms), image, p, q, o, (double)out[i], (double)want);
    }
    nn_plan_free(plan);
    nn_weights_free(w);
    nn_graph_free(g);
    free(values);
    free(in);
    free(out);
}

static void check_forms(nn_backend *b)
{
    for (int i = 0; i < N_FORMS; i++) check_form(b, &forms[i]);
    nn_backend_free(b);
}

static void forms_of_the_reference(void **state)
{
    (void)state;
    nn_backend *b;
    MUST(backend_ref_new(&b));
    check_forms(b);
}

static void forms_of_the_processor(void **state)
{
    (void)state;
    nn_backend *b;
    MUST(backend_cpu_new(NULL, &b));
    check_forms(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(forms_of_the_reference), cmocka_unit_test(forms_of_the_processor) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
