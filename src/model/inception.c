#include "model/inception.h"

/* What a layer reads and a block hands on: one value, or two whose channels follow each other. */
typedef struct { nn_tensor *x, *x2; } parts;

/* A convolution of h x w: inside the image only, or with `same` of the image's size. */
typedef struct { int out, h, w, stride; bool same; } window;

static window square(int out, int k)         { return (window){ out, k, k, 1, true }; }
static window wide(int out, int w)           { return (window){ out, 1, w, 1, true }; }
static window high(int out, int h)           { return (window){ out, h, 1, 1, true }; }
static window inside(int out, int stride)    { return (window){ out, 3, 3, stride, false }; }

static parts whole(nn_tensor *x) { return (parts){ x, NULL }; }

static nn_tensor *layer(nn_graph *g, const char *block, const char *name, parts in, window k)
{
    if (!in.x) return NULL;
    nn_scope(g, "%s%s.", block, name);
    return nn_conv2d(g, "conv", (nn_conv_args){ .x = in.x, .x2 = in.x2, .out = k.out, .kernel_h = k.h, .kernel_w = k.w, .stride = k.stride,
                                                .valid = !k.same, .pad_h = k.same ? k.h / 2 : 0, .pad_w = k.same ? k.w / 2 : 0, .relu = true });
}

static nn_tensor *shrink(nn_graph *g, parts in) { return nn_pool(g, (nn_pool_args){ .x = in.x, .x2 = in.x2, .max = true, .kernel = 3, .stride = 2 }); }

static nn_tensor *smooth(nn_graph *g, parts in, bool max)
{
    return nn_pool(g, (nn_pool_args){ .x = in.x, .x2 = in.x2, .max = max, .kernel = 3, .stride = 1, .pad = 1 });
}

/* Four branches as two parts. */
static parts pairs(nn_graph *g, nn_tensor *a, nn_tensor *b, nn_tensor *c, nn_tensor *d)
{
    nn_tensor *first = nn_concat(g, a, b);
    return (parts){ first, nn_concat(g, c, d) };
}

/* Mixed_5b to 5d. */
static parts block_a(nn_graph *g, const char *b, parts in, int pooled)
{
    nn_tensor *one = layer(g, b, "branch1x1", in, square(64, 1));
    nn_tensor *five = layer(g, b, "branch5x5_1", in, square(48, 1));
    five = layer(g, b, "branch5x5_2", whole(five), square(64, 5));
    nn_tensor *twice = layer(g, b, "branch3x3dbl_1", in, square(64, 1));
    twice = layer(g, b, "branch3x3dbl_2", whole(twice), square(96, 3));
    twice = layer(g, b, "branch3x3dbl_3", whole(twice), square(96, 3));
    nn_tensor *pool = layer(g, b, "branch_pool", whole(smooth(g, in, false)), square(pooled, 1));
    return pairs(g, one, five, twice, pool);
}

/* Mixed_6a. */
static parts block_b(nn_graph *g, const char *b, parts in)
{
    nn_tensor *three = layer(g, b, "branch3x3", in, inside(384, 2));
    nn_tensor *twice = layer(g, b, "branch3x3dbl_1", in, square(64, 1));
    twice = layer(g, b, "branch3x3dbl_2", whole(twice), square(96, 3));
    twice = layer(g, b, "branch3x3dbl_3", whole(twice), inside(96, 2));
    nn_tensor *pool = shrink(g, in);
    return (parts){ nn_concat(g, three, twice), pool };
}

/* Mixed_6b to 6e; *first receives the branch of one convolution. */
static parts block_c(nn_graph *g, const char *b, parts in, int inner, nn_tensor **first)
{
    nn_tensor *one = *first = layer(g, b, "branch1x1", in, square(192, 1));
    nn_tensor *seven = layer(g, b, "branch7x7_1", in, square(inner, 1));
    seven = layer(g, b, "branch7x7_2", whole(seven), wide(inner, 7));
    seven = layer(g, b, "branch7x7_3", whole(seven), high(192, 7));
    nn_tensor *twice = layer(g, b, "branch7x7dbl_1", in, square(inner, 1));
    twice = layer(g, b, "branch7x7dbl_2", whole(twice), high(inner, 7));
    twice = layer(g, b, "branch7x7dbl_3", whole(twice), wide(inner, 7));
    twice = layer(g, b, "branch7x7dbl_4", whole(twice), high(inner, 7));
    twice = layer(g, b, "branch7x7dbl_5", whole(twice), wide(192, 7));
    nn_tensor *pool = layer(g, b, "branch_pool", whole(smooth(g, in, false)), square(192, 1));
    return pairs(g, one, seven, twice, pool);
}

/* Mixed_7a. */
static parts block_d(nn_graph *g, const char *b, parts in)
{
    nn_tensor *three = layer(g, b, "branch3x3_1", in, square(192, 1));
    three = layer(g, b, "branch3x3_2", whole(three), inside(320, 2));
    nn_tensor *seven = layer(g, b, "branch7x7x3_1", in, square(192, 1));
    seven = layer(g, b, "branch7x7x3_2", whole(seven), wide(192, 7));
    seven = layer(g, b, "branch7x7x3_3", whole(seven), high(192, 7));
    seven = layer(g, b, "branch7x7x3_4", whole(seven), inside(192, 2));
    nn_tensor *pool = shrink(g, in);
    return (parts){ nn_concat(g, three, seven), pool };
}

/* Mixed_7b and 7c, which differ in what they pool. */
static parts block_e(nn_graph *g, const char *b, parts in, bool max)
{
    nn_tensor *one = layer(g, b, "branch1x1", in, square(320, 1));
    nn_tensor *three = layer(g, b, "branch3x3_1", in, square(384, 1));
    nn_tensor *three_wide = layer(g, b, "branch3x3_2a", whole(three), wide(384, 3));
    nn_tensor *three_high = layer(g, b, "branch3x3_2b", whole(three), high(384, 3));
    nn_tensor *twice = layer(g, b, "branch3x3dbl_1", in, square(448, 1));
    twice = layer(g, b, "branch3x3dbl_2", whole(twice), square(384, 3));
    nn_tensor *twice_wide = layer(g, b, "branch3x3dbl_3a", whole(twice), wide(384, 3));
    nn_tensor *twice_high = layer(g, b, "branch3x3dbl_3b", whole(twice), high(384, 3));
    nn_tensor *pool = layer(g, b, "branch_pool", whole(smooth(g, in, max)), square(192, 1));
    three = nn_concat(g, three_wide, three_high);
    twice = nn_concat(g, twice_wide, twice_high);
    return pairs(g, one, three, twice, pool);
}

/* The first convolutions: block[0] and block[1]. */
static void stem(nn_graph *g, inception *u)
{
    nn_tensor *h = layer(g, "Conv2d_", "1a_3x3", whole(u->x), inside(32, 2));
    h = layer(g, "Conv2d_", "2a_3x3", whole(h), inside(32, 1));
    h = layer(g, "Conv2d_", "2b_3x3", whole(h), square(64, 3));
    u->block[0] = h = shrink(g, whole(h));
    h = layer(g, "Conv2d_", "3b_1x1", whole(h), square(80, 1));
    h = layer(g, "Conv2d_", "4a_3x3", whole(h), inside(192, 1));
    u->block[1] = shrink(g, whole(h));
}

inception inception_build(nn_graph *g, int n)
{
    static const int sevens[] = { 128, 160, 160, 192 };
    inception u = { .x = nn_input(g, "x", (nn_shape){ n, INCEPTION_SIZE, INCEPTION_SIZE, 3 }, NN_F32, false) };
    nn_tensor *one;
    char name[] = "Mixed_6b.";
    stem(g, &u);
    parts h = block_a(g, "Mixed_5b.", whole(u.block[1]), 32);
    h = block_a(g, "Mixed_5c.", h, 64);
    h = block_a(g, "Mixed_5d.", h, 64);
    h = block_b(g, "Mixed_6a.", h);
    for (int i = 0; i < 4; i++, name[7]++) {
        h = block_c(g, name, h, sevens[i], &one);
        if (i == 2) u.spatial = one;
    }
    u.block[2] = nn_concat(g, h.x, h.x2);
    h = block_d(g, "Mixed_7a.", whole(u.block[2]));
    h = block_e(g, "Mixed_7b.", h, false);
    h = block_e(g, "Mixed_7c.", h, true);
    u.pool3 = u.block[3] = nn_pool(g, (nn_pool_args){ .x = h.x, .x2 = h.x2 });
    nn_scope(g, "%s", "");
    if (u.pool3) u.logits = nn_conv2d(g, "fc", (nn_conv_args){ .x = u.pool3, .out = INCEPTION_LOGITS, .no_bias = true, .kind = NN_PARAM_LINEAR });
    nn_keep(g, u.pool3);
    nn_keep(g, u.spatial);
    return u;
}
