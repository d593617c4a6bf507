/* Operations of a small graph, counted by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nn/flops.h"

static void test_counts(void **state)
{
    (void)state;
    const nn_init init = { NN_INIT_UNIFORM, 0.1f };
    nn_graph *g = nn_graph_new(NN_F32);
    nn_tensor *x = nn_input(g, "x", (nn_shape){ 2, 8, 8, 4 }, NN_F32, false);
    nn_tensor *y = nn_conv2d(g, "first", (nn_conv_args){ .x = x, .out = 24, .kernel = 3, .stride = 2, .pad = 1, .weight_init = init });
    nn_tensor *z = nn_attention(g, y, 2, NN_HEADS_QKV);
    nn_conv2d(g, "last", (nn_conv_args){ .x = z, .x2 = y, .out = 5, .kernel_h = 2, .kernel_w = 3, .valid = true, .weight_init = init });
    assert_int_equal(nn_graph_status(g), DDPM_OK);
    /* 4x4 outputs: 16 pixels of 24 channels from 4 * 9 products; 16 x 16 scores of 8 channels, twice;
     * 3x2 pixels of 5 channels from (8 + 24) * 2 * 3. */
    const double first = 2 * 16 * 24 * 36, attention = 2 * 2 * 16 * 16 * 8, last = 2 * 6 * 5 * 192;
    assert_true(nn_graph_flops(g, false) == first + attention + last);
    /* No gradient of the image; five products instead of two; both gradients. */
    assert_true(nn_graph_flops(g, true) == first + 2.5 * attention + 2 * last);
    nn_graph_free(g);
}

/* Five images in two calls: operands are read once for each image, parameters once for each call. */
static void test_bytes(void **state)
{
    (void)state;
    const nn_init init = { NN_INIT_UNIFORM, 0.1f };
    nn_graph *g = nn_graph_new(NN_BF16);
    nn_tensor *x = nn_input(g, "x", (nn_shape){ 4, 8, 8, 4 }, NN_F32, false);
    nn_tensor *y = nn_conv2d(g, "first", (nn_conv_args){ .x = x, .out = 24, .kernel = 3, .pad = 1, .weight_init = init });
    nn_tensor *z = nn_group_norm(g, "norm", (nn_norm_args){ .x = y, .groups = 4, .eps = 1e-5, .silu = true });
    nn_attention(g, z, 2, NN_HEADS_QKV);
    assert_int_equal(nn_graph_status(g), DDPM_OK);
    const double input = 64 * 4 * 4, wide = 64 * 24 * 2, weights = (9 * 4 * 24 + 24) * 4;
    assert_true(nn_node_bytes(g->nodes[0], 5, 2, false) == 5 * (input + wide) + 2 * weights);
    /* The input saved and the gradient of the result; the weights, and their gradient with that of the bias. None for the input. */
    assert_true(nn_node_bytes(g->nodes[0], 5, 2, true) == 5 * (input + wide) + 2 * (2 * weights - 24 * 4));
    const double statistics = 4 * 2 * 4, affine = 2 * 24 * 4;
    assert_true(nn_node_bytes(g->nodes[1], 5, 2, false) == 5 * (2 * wide + statistics) + 2 * affine);
    assert_true(nn_node_bytes(g->nodes[1], 5, 2, true) == 5 * (3 * wide + statistics) + 2 * 2 * affine);
    const double heads = 64 * 8 * 2, denominators = 2 * 64 * 4;
    assert_true(nn_node_bytes(g->nodes[2], 5, 2, false) == 5 * (wide + heads + denominators));
    assert_true(nn_node_bytes(g->nodes[2], 5, 2, true) == 5 * (2 * wide + 2 * heads + denominators));
    nn_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_counts), cmocka_unit_test(test_bytes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
