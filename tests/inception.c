/* The Inception network as a space of features: how images are prepared, which files of weights it takes and
 * which it refuses. That its values are right at every block the golden runner tests (golden_inception.c). */
#include "api/inception.h"

#include "api/inception_weights.h"
#include "base/log.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "io/torch_write.h"
#include "model/inception_input.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "golden_hash.h"
#include "isa.h"

#define MUST(expr) do { if ((expr) != DDPM_OK) fail_msg("%s: %s", #expr, ddpm_last_error()); } while (0)

enum { SIDE = INCEPTION_SIZE, INPUT = SIDE * SIDE * 3, MAX_TENSORS = 600, NAME = 80 };

/* --- how images are prepared -------------------------------------------------------------- */

static uint8_t *picture(const char *name, int seed, size_t len)
{
    uint8_t *p = malloc(len);
    assert_non_null(p);
    for (size_t i = 0; i < len; i++) p[i] = (uint8_t)(golden_hash_bits(golden_hash_name(name), (uint64_t)seed, i) >> 16);
    return p;
}

/* The bits of PyTorch 2's F.interpolate on one thread (on several it rounds otherwise, by at most one bit) and of torch-fidelity's resizing, of pictures with picture("resize", height). */
static void test_resizing(void **state)
{
    (void)state;
    static const struct { int h, w, y, x, ch; float pytorch, tensorflow; } cases[] = {
        { 32, 32, 0, 0, 0, -0x1.4b4b4cp-1f, -0x1.4cp-1f },
        { 32, 32, 17, 203, 1, 0x1.f7d6ap-2f, -0x1.79480cp-2f },
        { 32, 32, 150, 4, 2, -0x1.a9f396p-1f, -0x1.7e30cp-4f },
        { 32, 32, 298, 298, 1, -0x1.5b5b5cp-1f, -0x1.5cp-1f },
        { 32, 32, 298, 77, 0, -0x1.2df498p-2f, -0x1.108224p-1f },
        { 5, 4, 0, 0, 0, -0x1.6f6f7p-1f, -0x1.7p-1f },
        { 5, 4, 17, 203, 1, -0x1.583362p-1f, -0x1.ec7514p-2f },
        { 5, 4, 150, 4, 2, -0x1.b262ccp-1f, -0x1.a2d58p-5f },
        { 5, 4, 298, 298, 1, 0x1.ababacp-1f, 0x1.a8p-1f },
        { 5, 4, 298, 77, 0, -0x1.30b1f8p-2f, 0x1.2d979p-3f },
        { 299, 299, 0, 0, 0, 0x1.0102p-8f, 0 },
        { 299, 299, 17, 203, 1, -0x1.5d5d5cp-2f, -0x1.6p-2f },
        { 299, 299, 150, 4, 2, 0x1.9999ap-3f, 0x1.9p-3f },
        { 299, 299, 298, 298, 1, -0x1.d5d5d4p-2f, -0x1.d8p-2f },
        { 299, 299, 298, 77, 0, -0x1.494948p-3f, -0x1.5p-3f },
        { 331, 450, 0, 0, 0, -0x1.6e5d0cp-2f, -0x1.a4p-1f },
        { 331, 450, 17, 203, 1, 0x1.72cffp-2f, 0x1.9d9738p-2f },
        { 331, 450, 150, 4, 2, -0x1.8f45dp-4f, -0x1.8ef0d8p-3f },
        { 331, 450, 298, 298, 1, -0x1.a2563p-4f, -0x1.14699p-4f },
        { 331, 450, 298, 77, 0, -0x1.6e039cp-1f, -0x1.70b494p-1f },
    };
    float *out = malloc(INPUT * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int pytorch = 0; pytorch < 2; pytorch++) {
            uint8_t *p = picture("resize", cases[i].h, (size_t)cases[i].h * (size_t)cases[i].w * 3);
            inception_input_make(p, cases[i].h, cases[i].w, 3, pytorch, out);
            const float got = out[(cases[i].y * SIDE + cases[i].x) * 3 + cases[i].ch], want = pytorch ? cases[i].pytorch : cases[i].tensorflow;
            if (memcmp(&got, &want, sizeof got)) fail_msg("case %zu, %s: %a, expected %a", i, pytorch ? "pytorch" : "tensorflow", (double)got, (double)want);
            free(p);
        }
    free(out);
}

static void test_grey(void **state)
{
    (void)state;
    uint8_t *grey = picture("grey", 1, 9 * 7), colour[9 * 7 * 3];
    float *a = malloc(INPUT * sizeof *a), *b = malloc(INPUT * sizeof *b);
    assert_true(a && b);
    for (size_t i = 0; i < sizeof colour; i++) colour[i] = grey[i / 3];
    for (int pytorch = 0; pytorch < 2; pytorch++) {
        inception_input_make(grey, 9, 7, 1, pytorch, a);
        inception_input_make(colour, 9, 7, 3, pytorch, b);
        assert_memory_equal(a, b, INPUT * sizeof *a);
    }
    free(grey);
    free(a);
    free(b);
}

/* --- files of weights ----------------------------------------------------------------------- */

static char folder[] = "/tmp/inception-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* The tensors of a file; values are generated from their names. */
typedef struct { safetensors_tensor t[MAX_TENSORS]; char names[MAX_TENSORS][NAME]; int count; float odd; const char *odd_name; } tensors;

static void add(tensors *all, const char *name, int rank, const int64_t *shape)
{
    assert_true(all->count < MAX_TENSORS);
    safetensors_tensor *t = &all->t[all->count];
    snprintf(all->names[all->count], NAME, "%s", name);
    *t = (safetensors_tensor){ .name = all->names[all->count++], .dtype = ST_F32, .ndim = rank, .bytes = sizeof(float) };
    for (int i = 0; i < rank; i++) t->bytes *= (size_t)(t->shape[i] = shape[i]);
}

/* An inception_tensor that lists what the network asks for. */
static ddpm_status list(void *ctx, const char *name, int rank, const int64_t *shape, float *out)
{
    size_t len = 1;
    for (int i = 0; i < rank; i++) len *= (size_t)shape[i];
    memset(out, 0, len * sizeof *out);
    add(ctx, name, rank, shape);
    return DDPM_OK;
}

static ddpm_status make_values(void *ctx, int i, void *buffer)
{
    const tensors *all = ctx;
    const safetensors_tensor *t = &all->t[i];
    const uint64_t name = golden_hash_name(t->name);
    double fan = 1, lo = -0.2, hi = 0.2;
    for (int k = 1; k < t->ndim; k++) fan *= (double)t->shape[k];
    if (t->ndim > 1) hi = sqrt(6 / fan), lo = -hi;
    if (strstr(t->name, "running_var") || strstr(t->name, "bn.weight")) lo = 0.7, hi = 1.3;
    for (size_t k = 0; k < t->bytes / sizeof(float); k++) {
        const float v = golden_hash_value(name, 5, k, lo, hi);
        memcpy((char *)buffer + k * sizeof v, &v, sizeof v);
    }
    if (all->odd_name && !strcmp(t->name, all->odd_name)) memcpy(buffer, &all->odd, sizeof all->odd);
    return DDPM_OK;
}

static nn_graph *network(void)
{
    nn_graph *g = nn_graph_new(NN_F32);
    assert_non_null(g);
    inception_build(g, 1);
    MUST(nn_graph_status(g));
    return g;
}

/* Every tensor of the network, in the order in which it reads them. */
static tensors *all_tensors(const nn_graph *g)
{
    tensors *all = calloc(1, sizeof *all);
    float *slab = malloc(g->params.len * sizeof *slab);
    assert_true(all && slab);
    MUST(inception_fold(&g->params, list, all, slab));
    free(slab);
    return all;
}

/* What reading the first `count` tensors of *all says, from both forms of files. */
static void expect_refusal(const nn_graph *g, tensors *all, int count, const char *says)
{
    float *slab = malloc(g->params.len * sizeof *slab);
    char hash[SHA256_HEX];
    assert_non_null(slab);
    for (int torch = 0; torch < 2; torch++) {
        const char *path = in_folder(torch ? "some.pth" : "some.safetensors");
        if (torch) MUST(torch_write(path, all->t, count, make_values, all));
        else MUST(safetensors_write_stream(path, all->t, count, NULL, 0, make_values, all));
        assert_int_equal(inception_weights_read(path, &g->params, slab, hash), DDPM_EFORMAT);
        if (!strstr(ddpm_last_error(), says) || strncmp(ddpm_last_error(), path, strlen(path)))
            fail_msg("\"%s\" does not begin with the path, or says no \"%s\"", ddpm_last_error(), says);
    }
    free(slab);
}

static void test_wrong_files(void **state)
{
    (void)state;
    enum { LAYER = 5 };                                     /* tensors of one layer */
    nn_graph *g = network();
    tensors *all = all_tensors(g);
    expect_refusal(g, all, LAYER, "tensor \"Conv2d_2a_3x3.conv.weight\" is missing");
    expect_refusal(g, all, LAYER - 1, "tensor \"Conv2d_1a_3x3.bn.running_var\" is missing");
    all->t[LAYER].shape[2] = 5, all->t[LAYER].bytes = all->t[LAYER].bytes / 3 * 5;
    expect_refusal(g, all, 2 * LAYER, "tensor \"Conv2d_2a_3x3.conv.weight\" is 32x32x5x3, needs 32x32x3x3");

    all->count = LAYER;
    add(all, "Conv2d_1a_3x3.bn.num_batches_tracked", 1, &(int64_t){ 1 });
    add(all, "AuxLogits.conv0.conv.weight", 2, (int64_t[]){ 3, 4 });
    add(all, "fc.bias", 1, &(int64_t){ 1008 });
    expect_refusal(g, all, all->count, "\"Conv2d_2a_3x3.conv.weight\" is missing");
    add(all, "Mixed_5b.branch9x9.conv.weight", 1, &(int64_t){ 1 });
    expect_refusal(g, all, all->count, "tensor \"Mixed_5b.branch9x9.conv.weight\" is none of");
    all->count--;
    add(all, "Conv2d_1a_3x3.conv.bias", 1, &(int64_t){ 32 });        /* the network's own name for what folding makes */
    expect_refusal(g, all, all->count, "tensor \"Conv2d_1a_3x3.conv.bias\" is none of");

    all->odd = NAN, all->odd_name = "Conv2d_1a_3x3.bn.bias";
    expect_refusal(g, all, LAYER, "tensor \"Conv2d_1a_3x3.bn.bias\" holds nan in place 0");
    all->odd = -1, all->odd_name = "Conv2d_1a_3x3.bn.running_var";
    expect_refusal(g, all, LAYER, "tensor \"Conv2d_1a_3x3.bn.running_var\" holds a variance of -1");
    free(all);
    nn_graph_free(g);
}

/* The hash in a name is a promise. */
static void test_damaged(void **state)
{
    (void)state;
    nn_graph *g = network();
    float *slab = malloc(g->params.len * sizeof *slab);
    char hash[SHA256_HEX];
    const char *path = in_folder("pt_inception-2015-12-05-6726825d.pth");
    MUST(file_write_atomic(path, "abc", 3));
    assert_int_equal(inception_weights_read(path, &g->params, slab, hash), DDPM_EFORMAT);
    assert_non_null(strstr(ddpm_last_error(), "is damaged: its SHA-256 is ba7816bf"));
    assert_int_equal(unlink(path), 0);
    assert_true(inception_weights_published("6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"));
    assert_false(inception_weights_published(hash));
    free(slab);
    nn_graph_free(g);
}

static void test_places(void **state)
{
    (void)state;
    char found[INCEPTION_PATH_SIZE], back[4096], want[300];
    assert_non_null(getcwd(back, sizeof back));
    assert_int_equal(chdir(folder), 0);
    char cache[300];
    snprintf(cache, sizeof cache, "%s", in_folder("cache"));
    assert_int_equal(inception_weights_find(cache, found), DDPM_EIO);
    assert_non_null(strstr(ddpm_last_error(), "https://github.com/mseitzer/pytorch-fid/releases/"));
    snprintf(want, sizeof want, "into %s/cache/ddpm", folder);
    assert_non_null(strstr(ddpm_last_error(), want));
    static const char *const places[] = { "cache/torch/hub/checkpoints/weights-inception-2015-12-05-6726825d.pth",
                                          "cache/ddpm/pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth" };
    MUST(dir_make(in_folder("cache/torch/hub/checkpoints")));
    MUST(dir_make(in_folder("cache/ddpm")));
    for (int i = 0; i < 3; i++) {                            /* each is found before those above it */
        MUST(file_write_atomic(in_folder(places[i]), "x", 1));
        MUST(inception_weights_find(cache, found));
        snprintf(want, sizeof want, "%s%s", i < 2 ? in_folder("") : "./", places[i]);
        assert_string_equal(found, want);
    }
    MUST(dir_remove_tree(folder, "cache"));
    assert_int_equal(unlink(places[2]), 0);
    assert_int_equal(inception_weights_find("", found), DDPM_EIO);
    assert_non_null(strstr(ddpm_last_error(), "into ~/.cache/ddpm"));
    assert_int_equal(chdir(back), 0);
}

/* --- features -------------------------------------------------------------------------------- */

enum { IMAGES = 3, H = 20, W = 24 };

typedef struct { float pool3[IMAGES * INCEPTION_POOL3], logits[IMAGES * INCEPTION_LOGITS], spatial[IMAGES * INCEPTION_SPATIAL]; } outputs;

static engine new_engine(int threads, int precision)
{
    settings s;
    engine e;
    settings_defaults(&s);
    s.v.threads = threads;
    s.v.precision = precision;
    if (max_isa()) snprintf(s.v.max_isa, sizeof s.v.max_isa, "%s", max_isa());
    MUST(engine_new(&s, &e));
    return e;
}

static outputs *features(const char *weights, int threads, int precision, inception_profile profile, char name[64])
{
    const engine e = new_engine(threads, precision);
    outputs *o = calloc(1, sizeof *o);
    uint8_t *images = picture("features", 1, IMAGES * H * W * 3);
    inception_net *n;
    assert_non_null(o);
    MUST(inception_open(weights, profile, &e, &n));
    snprintf(name, 64, "%s", inception_name(n));
    assert_int_equal(inception_run(n, images, 1, H, W / 2, 6, o->pool3, NULL, NULL), DDPM_EINVAL);
    if (threads > 1) {
        MUST(inception_run(n, images, IMAGES, H, W, 3, o->pool3, o->logits, o->spatial));
    } else {                                                 /* in two calls, of one image at first */
        MUST(inception_run(n, images, 1, H, W, 3, o->pool3, o->logits, o->spatial));
        MUST(inception_run(n, images + H * W * 3, IMAGES - 1, H, W, 3, o->pool3 + INCEPTION_POOL3, NULL, o->spatial + INCEPTION_SPATIAL));
        MUST(inception_run(n, images + H * W * 3, IMAGES - 1, H, W, 3, NULL, o->logits + INCEPTION_LOGITS, NULL));
    }
    inception_free(n);
    engine_free((engine *)&e);
    free(images);
    return o;
}

static double relative(const float *a, const float *b, size_t n)
{
    double error = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        power += (double)b[i] * (double)b[i];
    }
    return sqrt(error / power);
}

/* What PyTorch makes of the same weights and pictures in double: the root of the mean square, and a mean with weights
 * -48 .. 48 by place, which shows an order of channels or pixels that is another. */
static void expect_digest(const char *what, const float *v, size_t n, double root, double weighted)
{
    double power = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        power += (double)v[i] * (double)v[i] / (double)n;
        sum += (double)v[i] * ((double)(i % 97) - 48) / (double)n;
    }
    if (!(fabs(sqrt(power) - root) < 2e-5) || !(fabs(sum - weighted) < 2e-4))
        fail_msg("%s: %.9g and %.9g, expected %.9g and %.9g", what, sqrt(power), sum, root, weighted);
}

static void expect_pytorchs(const outputs *pytorch, const outputs *tensorflow)
{
    expect_digest("pool3", pytorch->pool3, IMAGES * INCEPTION_POOL3, 1.49279391, 0.253519666);
    expect_digest("logits", pytorch->logits, IMAGES * INCEPTION_LOGITS, 2.13900516, -0.912724233);
    expect_digest("spatial", pytorch->spatial, IMAGES * INCEPTION_SPATIAL, 1.47456007, -0.180004481);
    expect_digest("pool3, tensorflow", tensorflow->pool3, IMAGES * INCEPTION_POOL3, 1.4856849, 0.254976772);
    expect_digest("logits, tensorflow", tensorflow->logits, IMAGES * INCEPTION_LOGITS, 2.12876642, -0.904827258);
    expect_digest("spatial, tensorflow", tensorflow->spatial, IMAGES * INCEPTION_SPATIAL, 1.46835137, -0.177231676);
}

static void count_warning(void *ctx, log_level level, const char *message)
{
    if (level == LOG_WARN && strstr(message, "no FIDs")) ++*(int *)ctx;
}

static void test_features(void **state)
{
    (void)state;
    nn_graph *g = network();
    tensors *all = all_tensors(g);
    const char *path = in_folder("generated.pth");
    char name[64], again[64], expected[64];
    int warnings = 0;
    MUST(torch_write(path, all->t, all->count, make_values, all));
    log_set(count_warning, &warnings, LOG_WARN);
    outputs *one = features(path, 1, PRECISION_F32, INCEPTION_PYTORCH, name), *two = features(path, 2, PRECISION_F32, INCEPTION_PYTORCH, again);
    outputs *other = features(path, 2, PRECISION_F32, INCEPTION_TENSORFLOW, expected), *half = features(path, 2, PRECISION_BF16, INCEPTION_PYTORCH, again);
    assert_int_equal(warnings, 4);
    assert_memory_equal(one, two, sizeof *one);
    assert_string_equal(name, again);
    assert_true(strlen(name) == strlen("inception-01234567-pytorch") && !strncmp(name, expected, 19) && !strcmp(name + 18, "-pytorch") && !strcmp(expected + 18, "-tensorflow"));
    expect_pytorchs(one, other);
    assert_true(relative(half->pool3, one->pool3, IMAGES * INCEPTION_POOL3) < 0.03);
    assert_true(relative(half->spatial, one->spatial, IMAGES * INCEPTION_SPATIAL) < 0.03);
    free(one);
    free(two);
    free(other);
    free(half);
    free(all);
    nn_graph_free(g);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return dir_remove_tree("/tmp", folder + strlen("/tmp/")) == DDPM_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_resizing), cmocka_unit_test(test_grey), cmocka_unit_test(test_wrong_files),
                                        cmocka_unit_test(test_damaged), cmocka_unit_test(test_places), cmocka_unit_test(test_features) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
