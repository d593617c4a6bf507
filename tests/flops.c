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
    nn_conv2d(g, "last", (nn_conv_args){ .x = z, .x2 = y, .out = 5, .weight_init = init });
    assert_int_equal(nn_graph_status(g), DDPM_OK);
    /* 4x4 outputs: 16 pixels of 24 channels from 4 * 9 products; 16 x 16 scores of 8 channels, twice;
     * 16 pixels of 5 channels from 8 + 24. */
    const double first = 2 * 16 * 24 * 36, attention = 2 * 2 * 16 * 16 * 8, last = 2 * 16 * 5 * 32;
    assert_true(nn_graph_flops(g, false) == first + attention + last);
    /* No gradient of the image; five products instead of two; both gradients. */
    assert_true(nn_graph_flops(g, true) == first + 2.5 * attention + 2 * last);
    nn_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_counts) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
