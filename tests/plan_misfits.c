/* What graphs and plans refuse, with which sentence. */
#include "nn/plan.h"

#include "backend/ref/ref.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MUST(expr) do { if ((expr) != DDPM_OK) fail_msg("%s: %s", #expr, ddpm_last_error()); } while (0)

static void expect_sentence(nn_graph *g, ddpm_status want, const char *a, const char *b)
{
    assert_int_equal(nn_graph_status(g), want);
    if (!strstr(ddpm_last_error(), a) || !strstr(ddpm_last_error(), b))
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", ddpm_last_error(), a, b);
    nn_graph_free(g);
}

static nn_tensor *input(nn_graph *g, int h, int w, int c)
{
    return nn_input(g, "x", (nn_shape){ 1, h, w, c }, NN_F32, false);
}

static void misfits_are_explained(void **state)
{
    (void)state;
    nn_graph *g = nn_graph_new(NN_F32);
    nn_scope(g, "in.%d.", 3);
    nn_conv2d(g, "down", (nn_conv_args){ .x = input(g, 14, 7, 4), .out = 4, .kernel = 3, .stride = 2, .pad = 1 });
    expect_sentence(g, DDPM_ESHAPE, "in.3.down: ", "14x7, stride 2");

    g = nn_graph_new(NN_F32);
    nn_scope(g, "mid.");
    nn_tensor *h = nn_group_norm(g, "norm", (nn_norm_args){ .x = input(g, 4, 4, 96), .groups = 36, .eps = 1e-5 });
    assert_null(h);
    assert_null(nn_add(g, h, nn_conv2d(g, "after", (nn_conv_args){ .x = h, .out = 3 })));      /* errors are sticky */
    expect_sentence(g, DDPM_ESHAPE, "mid.norm: ", "96 channels are not divisible by 36 groups");

    g = nn_graph_new(NN_F32);
    nn_attention(g, input(g, 4, 4, 96), 5, NN_HEADS_QKV);
    expect_sentence(g, DDPM_ESHAPE, "attention: ", "32 channels are not divisible by 5 heads");

    g = nn_graph_new(NN_F32);
    nn_avg_pool(g, input(g, 5, 4, 2));
    expect_sentence(g, DDPM_ESHAPE, "avg_pool: ", "5x4");

    g = nn_graph_new(NN_F32);
    nn_pool(g, (nn_pool_args){ .x = input(g, 5, 2, 2), .max = true, .kernel = 3 });
    expect_sentence(g, DDPM_ESHAPE, "max_pool: ", "x is 5x2, smaller than a window of 3");

    g = nn_graph_new(NN_F32);
    nn_pool(g, (nn_pool_args){ .x = input(g, 5, 5, 2), .kernel = 3, .pad = 2 });
    expect_sentence(g, DDPM_ESHAPE, "avg_pool: ", "padding 2 of windows of 3: needs 0..1");

    g = nn_graph_new(NN_F32);
    h = input(g, 4, 4, 2);
    nn_add(g, h, input(g, 4, 4, 3));
    expect_sentence(g, DDPM_ESHAPE, "add: ", "1x4x4x3");

    g = nn_graph_new(NN_F32);
    h = input(g, 4, 4, 2);
    nn_conv2d(g, "c", (nn_conv_args){ .x = h, .x2 = input(g, 2, 2, 2), .out = 3 });
    expect_sentence(g, DDPM_ESHAPE, "c: ", "x2 is 1x2x2x2");

}

static void misfits_of_inputs_and_names_are_explained(void **state)
{
    (void)state;
    nn_graph *g = nn_graph_new(NN_F32);
    nn_timestep_embed(g, nn_input(g, "t", (nn_shape){ 1, 1, 1, 1 }, NN_F32, false), 2, true, 1, 10000);
    expect_sentence(g, DDPM_ESHAPE, "timestep_embed: ", "dimension 2");

    g = nn_graph_new(NN_F32);
    nn_embed(g, "label", input(g, 1, 1, 1), 10, 4);
    expect_sentence(g, DDPM_ESHAPE, "label: ", "is f32, needs i32");

    g = nn_graph_new(NN_F32);
    nn_tensor *h = input(g, 4, 4, 2);
    nn_conv2d(g, "twice", (nn_conv_args){ .x = h, .out = 2 });
    nn_conv2d(g, "twice", (nn_conv_args){ .x = h, .out = 2 });
    expect_sentence(g, DDPM_EINVAL, "twice.weight: ", "name");

    g = nn_graph_new(NN_F32);
    input(g, 1 << 20, 1 << 20, 1 << 20);
    expect_sentence(g, DDPM_ESHAPE, "x: ", "too large");

    g = nn_graph_new(NN_F32);
    nn_conv2d(g, "empty", (nn_conv_args){ .x = input(g, 4, 4, 2), .out = 0 });
    expect_sentence(g, DDPM_ESHAPE, "empty.weight: ", "sizes must be");
}

static void convolutions_must_fit(void **state)
{
    (void)state;
    nn_graph *g = nn_graph_new(NN_F32);
    nn_conv2d(g, "wide", (nn_conv_args){ .x = input(g, 4, 4, 2), .out = 2, .kernel_h = 3, .kernel_w = 5, .pad_h = 3 });
    expect_sentence(g, DDPM_ESHAPE, "wide: ", "padding 3 of a kernel of 3: needs 0..2");

    g = nn_graph_new(NN_F32);
    nn_conv2d(g, "small", (nn_conv_args){ .x = input(g, 6, 2, 2), .out = 2, .kernel = 5, .pad = 1, .valid = true });
    expect_sentence(g, DDPM_ESHAPE, "small: ", "x is 2 and its padding 1, smaller than a kernel of 5");
}

static void plans_refuse_what_cannot_train(void **state)
{
    (void)state;
    nn_backend *b;
    nn_plan *p;
    MUST(backend_ref_new(&b));
    nn_graph *g = nn_graph_new(NN_F32);
    nn_tensor *x = input(g, 4, 4, 2);
    nn_tensor *used = nn_conv2d(g, "used", (nn_conv_args){ .x = x, .out = 2 });
    nn_conv2d(g, "forgotten", (nn_conv_args){ .x = x, .out = 2 });
    MUST(nn_graph_status(g));
    assert_int_equal(nn_plan_new(g, b, NN_TRAIN, used, &p), DDPM_EINVAL);
    assert_non_null(strstr(ddpm_last_error(), "forgotten: "));
    assert_null(p);
    MUST(nn_plan_new(g, b, NN_INFER, used, &p));
    nn_plan_free(p);

    nn_backend lacking = *b;
    lacking.kernels[NN_CONV2D].forward = NULL;
    assert_int_equal(nn_plan_new(g, &lacking, NN_INFER, used, &p), DDPM_ENOSUP);
    assert_non_null(strstr(ddpm_last_error(), "used: backend ref has no forward pass of conv2d"));
    nn_graph_free(g);

    g = nn_graph_new(NN_F32);
    used = nn_conv2d(g, "only", (nn_conv_args){ .x = input(g, 4, 4, 2), .out = 2 });
    lacking = *b;
    lacking.kernels[NN_CONV2D].backward = NULL;
    assert_int_equal(nn_plan_new(g, &lacking, NN_TRAIN, used, &p), DDPM_ENOSUP);
    assert_non_null(strstr(ddpm_last_error(), "only: backend ref has no gradient of conv2d"));
    nn_graph_free(g);

    g = nn_graph_new(NN_F32);
    nn_tensor *constant = nn_silu(g, input(g, 4, 4, 2));
    assert_int_equal(nn_plan_new(g, b, NN_TRAIN, constant, &p), DDPM_EINVAL);
    assert_non_null(strstr(ddpm_last_error(), "silu: "));
    nn_graph_free(g);

    g = nn_graph_new(NN_F32);
    x = nn_conv2d(g, "trained", (nn_conv_args){ .x = input(g, 4, 4, 2), .out = 2 });
    nn_tensor *most = nn_pool(g, (nn_pool_args){ .x = x, .max = true, .kernel = 2 });
    MUST(nn_plan_new(g, b, NN_INFER, most, &p));
    nn_plan_free(p);
    assert_int_equal(nn_plan_new(g, b, NN_TRAIN, most, &p), DDPM_ENOSUP);
    assert_non_null(strstr(ddpm_last_error(), "max_pool: this kind of pool has no gradient"));
    nn_graph_free(g);

    g = nn_graph_new(NN_F32);
    nn_tensor *cut = nn_conv2d(g, "cut", (nn_conv_args){ .x = input(g, 4, 4, 2), .out = 2, .relu = true });
    MUST(nn_plan_new(g, b, NN_INFER, cut, &p));
    nn_plan_free(p);
    assert_int_equal(nn_plan_new(g, b, NN_TRAIN, cut, &p), DDPM_ENOSUP);
    assert_non_null(strstr(ddpm_last_error(), "cut: this kind of conv2d has no gradient"));
    nn_graph_free(g);
    nn_backend_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(misfits_are_explained), cmocka_unit_test(misfits_of_inputs_and_names_are_explained), cmocka_unit_test(convolutions_must_fit),
                                        cmocka_unit_test(plans_refuse_what_cannot_train) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
