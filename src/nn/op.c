#include "nn/op.h"

#include <limits.h>

/* Shapes of operands were checked by the graph: every dimension is positive and
 * small enough that doubling it, or adding two of them, does not wrap. */

#define REQUIRE(cond, ...) do { if (!(cond)) return ddpm_fail(DDPM_ESHAPE, __VA_ARGS__); } while (0)

#define SHAPE_FMT "%dx%dx%dx%d"
#define SHAPE_ARGS(s) (s).n, (s).h, (s).w, (s).c

static ddpm_status check_is(const char *what, const nn_tensor *t, nn_shape want)
{
    REQUIRE(nn_shape_eq(t->shape, want), "%s (%s) has shape " SHAPE_FMT ", needs " SHAPE_FMT,
            what, t->name, SHAPE_ARGS(t->shape), SHAPE_ARGS(want));
    return DDPM_OK;
}

static ddpm_status check_type(const char *what, const nn_tensor *t, nn_dtype want)
{
    static const char *const names[] = { [NN_F32] = "f32", [NN_BF16] = "bf16", [NN_I32] = "i32" };
    REQUIRE(t->dtype == want, "%s (%s) is %s, needs %s", what, t->name, names[t->dtype], names[want]);
    return DDPM_OK;
}

static ddpm_status check_float(const char *what, const nn_tensor *t)
{
    REQUIRE(t->dtype != NN_I32, "%s (%s) holds integers, needs real numbers", what, t->name);
    return DDPM_OK;
}

/* The two-part operand x, x2 of convolution and group norm. */
static ddpm_status check_parts(const nn_node *d)
{
    const nn_tensor *x = d->in[0], *x2 = d->in[3];
    DDPM_TRY(check_float("x", x));
    if (!x2) return DDPM_OK;
    DDPM_TRY(check_type("x2", x2, x->dtype));
    REQUIRE(x2->shape.n == x->shape.n && x2->shape.h == x->shape.h && x2->shape.w == x->shape.w,
            "x is " SHAPE_FMT " and x2 is " SHAPE_FMT ": only their channels may differ",
            SHAPE_ARGS(x->shape), SHAPE_ARGS(x2->shape));
    return DDPM_OK;
}

/* Size of the output along one axis, of an image of `size` as it is read. */
static ddpm_status infer_windows(const nn_node *d, int size, int k, int pad, int *windows)
{
    const int s = d->attr.conv.stride;
    REQUIRE(pad >= 0 && pad < k, "padding %d of a kernel of %d: needs 0..%d", pad, k, k - 1);
    REQUIRE(!d->attr.conv.valid || size + 2 * pad >= k, "x is %d and its padding %d, smaller than a kernel of %d", size, pad, k);
    *windows = d->attr.conv.valid ? (size + 2 * pad - k) / s + 1 : size / s;
    return DDPM_OK;
}

static ddpm_status infer_conv2d(nn_node *d)
{
    DDPM_TRY(check_parts(d));
    const nn_shape x = d->in[CONV_X]->shape;
    const int kh = d->attr.conv.kernel_h, kw = d->attr.conv.kernel_w, s = d->attr.conv.stride, out = d->attr.conv.out;
    const int up = d->attr.conv.upsample ? 2 : 1;
    REQUIRE(kh >= 1 && kw >= 1 && s >= 1 && out >= 1,
            "%d output channels, kernel %dx%d and stride %d: all must be positive", out, kh, kw, s);
    REQUIRE(d->attr.conv.valid || (x.h * up % s == 0 && x.w * up % s == 0),
            "x is %dx%d, stride %d needs sizes that are multiples of %d", x.h * up, x.w * up, s, s);
    d->out->shape = (nn_shape){ x.n, 1, 1, out };
    DDPM_TRY(infer_windows(d, x.h * up, kh, d->attr.conv.pad_h, &d->out->shape.h));
    DDPM_TRY(infer_windows(d, x.w * up, kw, d->attr.conv.pad_w, &d->out->shape.w));
    DDPM_TRY(check_is("weight", d->in[CONV_W], (nn_shape){ kh, kw, nn_read_channels(d), out }));
    if (d->in[CONV_B]) DDPM_TRY(check_is("bias", d->in[CONV_B], (nn_shape){ 1, 1, 1, out }));
    if (d->in[CONV_CHAN]) {
        DDPM_TRY(check_type("chan", d->in[CONV_CHAN], NN_F32));
        DDPM_TRY(check_is("chan", d->in[CONV_CHAN], (nn_shape){ x.n, 1, 1, out }));
    }
    if (d->in[CONV_RESIDUAL]) {
        DDPM_TRY(check_float("residual", d->in[CONV_RESIDUAL]));
        DDPM_TRY(check_is("residual", d->in[CONV_RESIDUAL], d->out->shape));
    }
    return DDPM_OK;
}

static ddpm_status infer_group_norm(nn_node *d)
{
    DDPM_TRY(check_parts(d));
    const nn_shape x = d->in[NORM_X]->shape;
    const int c = nn_read_channels(d), groups = d->attr.norm.groups;
    const float rate = d->attr.norm.dropout;
    REQUIRE(groups >= 1 && c % groups == 0, "%d channels are not divisible by %d groups", c, groups);
    REQUIRE(d->attr.norm.eps > 0, "epsilon is %g, must be positive", (double)d->attr.norm.eps);
    REQUIRE(rate >= 0 && rate < 1, "dropout rate %g is outside [0, 1)", (double)rate);
    DDPM_TRY(check_is("gamma", d->in[NORM_GAMMA], (nn_shape){ 1, 1, 1, c }));
    DDPM_TRY(check_is("beta", d->in[NORM_BETA], (nn_shape){ 1, 1, 1, c }));
    if (d->in[NORM_FILM]) {
        DDPM_TRY(check_type("film", d->in[NORM_FILM], NN_F32));
        DDPM_TRY(check_is("film", d->in[NORM_FILM], (nn_shape){ x.n, 1, 1, 2 * c }));
    }
    if (d->in[NORM_KEY]) {
        DDPM_TRY(check_type("key", d->in[NORM_KEY], NN_I32));
        DDPM_TRY(check_is("key", d->in[NORM_KEY], (nn_shape){ x.n, 1, 1, 4 }));
    }
    d->out->shape = (nn_shape){ x.n, x.h, x.w, c };
    d->aux = (nn_shape){ x.n, 1, groups, 2 };
    return DDPM_OK;
}

static ddpm_status infer_silu(nn_node *d)
{
    d->out->shape = d->in[0]->shape;
    return check_float("x", d->in[0]);
}

static ddpm_status infer_add(nn_node *d)
{
    DDPM_TRY(check_float("x", d->in[0]));
    DDPM_TRY(check_float("y", d->in[1]));
    d->out->shape = d->in[0]->shape;
    return check_is("y", d->in[1], d->in[0]->shape);
}

static ddpm_status infer_concat(nn_node *d)
{
    DDPM_TRY(check_float("x", d->in[0]));
    DDPM_TRY(check_float("y", d->in[1]));
    const nn_shape x = d->in[0]->shape, y = d->in[1]->shape;
    d->out->shape = (nn_shape){ x.n, x.h, x.w, x.c + y.c };
    return check_is("y", d->in[1], (nn_shape){ x.n, x.h, x.w, y.c });
}

static ddpm_status infer_upsample(nn_node *d)
{
    const nn_shape x = d->in[0]->shape;
    d->out->shape = (nn_shape){ x.n, 2 * x.h, 2 * x.w, x.c };
    return check_float("x", d->in[0]);
}

static ddpm_status infer_pool(nn_node *d)
{
    DDPM_TRY(check_parts(d));
    const nn_shape x = d->in[POOL_X]->shape;
    const int k = d->attr.pool.kernel, s = d->attr.pool.stride, pad = d->attr.pool.pad, c = nn_read_channels(d);
    d->out->shape = (nn_shape){ x.n, 1, 1, c };
    if (k == 0) return DDPM_OK;
    REQUIRE(k >= 1 && s >= 1, "windows of %d and stride %d: both must be positive", k, s);
    REQUIRE(pad >= 0 && pad <= k / 2, "padding %d of windows of %d: needs 0..%d, so that each holds a pixel", pad, k, k / 2);
    REQUIRE(x.h + 2 * pad >= k && x.w + 2 * pad >= k, "x is %dx%d, smaller than a window of %d", x.h, x.w, k);
    d->out->shape = (nn_shape){ x.n, (x.h + 2 * pad - k) / s + 1, (x.w + 2 * pad - k) / s + 1, c };
    return DDPM_OK;
}

static ddpm_status infer_attention(nn_node *d)
{
    DDPM_TRY(check_float("qkv", d->in[0]));
    const nn_shape x = d->in[0]->shape;
    const int heads = d->attr.attention.heads;
    REQUIRE(x.c % 3 == 0, "qkv has %d channels, not three equal parts", x.c);
    REQUIRE(heads >= 1 && x.c / 3 % heads == 0, "%d channels are not divisible by %d heads", x.c / 3, heads);
    REQUIRE(x.h <= INT_MAX / x.w, "%dx%d pixels are too many to attend to", x.h, x.w);
    d->out->shape = (nn_shape){ x.n, x.h, x.w, x.c / 3 };
    d->aux = (nn_shape){ x.n, 1, heads, x.h * x.w };
    return DDPM_OK;
}

static ddpm_status infer_timestep_embed(nn_node *d)
{
    const int n = d->in[0]->shape.n, dim = d->attr.time.dim;
    DDPM_TRY(check_type("t", d->in[0], NN_F32));
    DDPM_TRY(check_is("t", d->in[0], (nn_shape){ n, 1, 1, 1 }));
    REQUIRE(dim >= 2 && (float)(dim / 2) > d->attr.time.shift,
            "dimension %d gives %d frequencies, needs more than the shift %g", dim, dim / 2, (double)d->attr.time.shift);
    REQUIRE(d->attr.time.max_period > 0, "maximal period %g must be positive", (double)d->attr.time.max_period);
    d->out->shape = (nn_shape){ n, 1, 1, dim };
    return DDPM_OK;
}

static ddpm_status infer_embed(nn_node *d)
{
    const nn_shape table = d->in[1]->shape;
    const int n = d->in[0]->shape.n;
    DDPM_TRY(check_type("labels", d->in[0], NN_I32));
    DDPM_TRY(check_is("labels", d->in[0], (nn_shape){ n, 1, 1, 1 }));
    DDPM_TRY(check_is("table", d->in[1], (nn_shape){ 1, 1, table.w, table.c }));
    d->out->shape = (nn_shape){ n, 1, 1, table.c };
    return DDPM_OK;
}

#define IN(i) (1u << (i))

const nn_op_info nn_ops[NN_OP_COUNT] = {
    [NN_CONV2D]         = { "conv2d",         2, IN(CONV_X) | IN(CONV_W) | IN(CONV_X2), false, infer_conv2d },
    [NN_GROUP_NORM]     = { "group_norm",     3, IN(NORM_X) | IN(NORM_GAMMA) | IN(NORM_BETA) | IN(NORM_X2) |
                                                 IN(NORM_FILM) | IN(NORM_KEY), true, infer_group_norm },
    [NN_SILU]           = { "silu",           1, IN(0), true, infer_silu },
    [NN_ADD]            = { "add",            2, 0, false, infer_add },
    [NN_CONCAT]         = { "concat",         2, 0, false, infer_concat },
    [NN_UPSAMPLE]       = { "upsample",       1, 0, true, infer_upsample },
    [NN_POOL]           = { "pool",           1, 0, false, infer_pool },
    [NN_ATTENTION]      = { "attention",      1, IN(0) | NN_SAVE_OUT, false, infer_attention },
    [NN_TIMESTEP_EMBED] = { "timestep_embed", 1, 0, false, infer_timestep_embed },
    [NN_EMBED]          = { "embed",          2, IN(0), false, infer_embed },
};

bool nn_forward_only(const nn_node *d)
{
    return (d->op == NN_POOL && d->attr.pool.max) || (d->op == NN_CONV2D && d->attr.conv.relu);
}
