#include "api/doctor.h"

#include "api/sampling.h"
#include "backend/ref/ref.h"
#include "base/rng.h"
#include "io/file.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Philox4x32-10 of zeros (Salmon et al. 2011, known answers), and normals computed from the
 * definition with 200-bit arithmetic. */
static ddpm_status test_random(const engine *e)
{
    static const uint32_t words[4] = { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 };
    static const float normals[4] = { -0x1.f184eep-2f, 0x1.9f61d4p-1f, -0x1.45b23ep-6f, 0x1.5d26cp-1f };
    uint32_t w[4];
    float z[4];
    (void)e;
    rng_words((rng_address){ 0 }, 0, w);
    rng_normals((rng_address){ 0, RNG_INIT, 0, 0 }, 0, 4, z);
    if (memcmp(w, words, sizeof w)) return ddpm_fail(DDPM_EFAIL, "the random words begin %08x, not %08x", w[0], words[0]);
    if (memcmp(z, normals, sizeof z)) return ddpm_fail(DDPM_EFAIL, "the random normals begin %.9g, not %.9g", (double)z[0], (double)normals[0]);
    return DDPM_OK;
}

/* --- one convolution ------------------------------------------------------------------ */

enum { CONV_SIZE = 16, CONV_CHANNELS = 64, CONV_IMAGES = 2 };

static nn_tensor *build_conv(nn_graph *g)
{
    nn_tensor *x = nn_input(g, "x", (nn_shape){ CONV_IMAGES, CONV_SIZE, CONV_SIZE, CONV_CHANNELS }, NN_F32, false);
    const nn_init init = { NN_INIT_UNIFORM, 0.05f };
    nn_tensor *y = nn_conv2d(g, "first", (nn_conv_args){ .x = x, .out = CONV_CHANNELS, .kernel = 3, .pad = 1, .weight_init = init, .bias_init = init });
    return nn_conv2d(g, "last", (nn_conv_args){ .x = y, .out = CONV_CHANNELS, .kernel = 3, .pad = 1, .f32_out = true, .weight_init = init, .bias_init = init });
}

static ddpm_status run_conv(const nn_graph *g, nn_backend *b, const nn_tensor *out, const float *values, const float *x, float *y)
{
    nn_plan *p = NULL;
    nn_weights *w = NULL;
    ddpm_status s = nn_weights_new(g, b, values, false, &w);
    if (s == DDPM_OK) s = nn_plan_new(g, b, NN_INFER, out, &p);
    if (s == DDPM_OK) {
        nn_plan_bind(p, w, NULL);
        s = nn_plan_set(p, g->tensors[0], CONV_IMAGES, x);
    }
    if (s == DDPM_OK) s = nn_plan_forward(p, CONV_IMAGES);
    if (s == DDPM_OK) s = nn_plan_get(p, out, CONV_IMAGES, y);
    nn_plan_free(p);
    nn_weights_free(w);
    return s;
}

static ddpm_status compare(const float *a, const float *b, size_t len, double tolerance)
{
    double largest = 0, off = 0;
    for (size_t i = 0; i < len; i++) {
        largest = fmax(largest, fabs((double)b[i]));
        off = fmax(off, fabs((double)a[i] - (double)b[i]));
        if (!isfinite(a[i])) off = INFINITY;
    }
    if (off <= tolerance * largest) return DDPM_OK;
    return ddpm_fail(DDPM_EFAIL, "the kernels are off by %.3g of %.3g, more than rounding explains", off, largest);
}

static ddpm_status compare_backends(const nn_graph *g, const nn_tensor *out, nn_backend *cpu, nn_backend *ref, double tolerance)
{
    const size_t len = nn_len(out->shape);
    float *values = calloc(g->params.len, sizeof *values), *x = malloc(len * sizeof *x), *a = malloc(len * sizeof *a), *b = malloc(len * sizeof *b);
    ddpm_status s = values && x && a && b ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for a convolution");
    if (s == DDPM_OK) {
        nn_params_init(&g->params, 1, values);
        rng_normals((rng_address){ 1, RNG_NOISE, 0, 0 }, 0, len, x);
        s = run_conv(g, cpu, out, values, x, a);
    }
    if (s == DDPM_OK) s = run_conv(g, ref, out, values, x, b);
    if (s == DDPM_OK) s = compare(a, b, len, tolerance);
    free(values);
    free(x);
    free(a);
    free(b);
    return s;
}

static ddpm_status test_conv(const engine *e, nn_dtype dtype, double tolerance)
{
    nn_backend *ref = NULL;
    nn_graph *g = nn_graph_new(dtype);
    if (!g) return ddpm_fail(DDPM_ENOMEM, "no memory for a graph");
    const nn_tensor *out = build_conv(g);
    ddpm_status s = nn_graph_status(g);
    if (s == DDPM_OK) s = backend_ref_new(&ref);
    if (s == DDPM_OK) s = compare_backends(g, out, e->backend, ref, tolerance);
    nn_backend_free(ref);
    nn_graph_free(g);
    return s;
}

/* Rounding of f32 sums of 576 products; of bf16 operands and values between the layers; 2^-15 of the products of each layer. */
static ddpm_status test_conv_f32(const engine *e)   { return test_conv(e, NN_F32, 1e-5); }
static ddpm_status test_conv_bf16(const engine *e)  { return test_conv(e, NN_BF16, 1e-2); }
static ddpm_status test_conv_f32x3(const engine *e) { return test_conv(e, NN_F32X3, 1e-4); }

/* --- training ---------------------------------------------------------------------------- */

enum { TINY_SIZE = 16, TINY_BATCH = 4 };

static ddpm_status one_step(const engine *e, const settings *s, const trainer_config *c)
{
    enum { LEN = TINY_BATCH * TINY_SIZE * TINY_SIZE * 3 };
    const unet_config net = settings_unet(s);
    trainer *tr = NULL;
    step_report r = { 0 };
    float *x = malloc(LEN * sizeof *x);
    if (!x) return ddpm_fail(DDPM_ENOMEM, "no memory for a batch");
    for (int i = 0; i < LEN; i++) x[i] = (float)(i % 7) / 3 - 1;
    ddpm_status status = trainer_new(&net, c, e->backend, e->threads, e->dtype, &tr);
    if (status == DDPM_OK) status = trainer_step(tr, &(train_batch){ .x = x }, &r);
    trainer_free(tr);
    free(x);
    if (status != DDPM_OK) return status;
    /* A new network predicts zero, so its loss is the variance of the noise. */
    if (!r.dropped && fabs(r.loss - 1) < 0.2 && r.grad_norm > 0) return DDPM_OK;
    return ddpm_fail(DDPM_EFAIL, "the loss of a new network is %g, its gradient %g; they should be near 1 and above 0", r.loss, r.grad_norm);
}

static ddpm_status test_training(const engine *e)
{
    settings *s = malloc(sizeof *s);
    schedule full = { 0 };
    process p;
    if (!s) return ddpm_fail(DDPM_ENOMEM, "no memory for settings");
    settings_defaults(s);
    ddpm_status status = settings_set(s, "image_size", "16", ORIGIN_CONFIG);
    if (status == DDPM_OK) status = settings_set(s, "num_channels", "32", ORIGIN_CONFIG);
    if (status == DDPM_OK) status = settings_set(s, "norm_groups", "8", ORIGIN_CONFIG);
    if (status == DDPM_OK) status = settings_resolve(s);
    if (status == DDPM_OK) status = sampling_process(s, &full, &p);
    const trainer_config c = { .p = &p, .loss = LOSS_MSE, .adam = settings_adam(s), .n_ema = 1, .ema_rate = { 0.99 }, .batch = TINY_BATCH,
                               .leaves = 2, .chunk = 2 };
    if (status == DDPM_OK) status = one_step(e, s, &c);
    schedule_free(&full);
    free(s);
    return status;
}

/* --- files --------------------------------------------------------------------------------- */

static ddpm_status test_files(const engine *e)
{
    static const char text[] = "written, made durable, read back";
    const char *tmp = getenv("TMPDIR");
    char folder[1024], path[1100];
    uint8_t *bytes = NULL;
    size_t len = 0;
    (void)e;
    snprintf(folder, sizeof folder, "%s/ddpm-doctor-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
    if (!mkdtemp(folder)) return file_fail("making a folder like", folder);
    snprintf(path, sizeof path, "%s/file", folder);
    ddpm_status s = file_write_atomic(path, text, sizeof text);
    if (s == DDPM_OK) s = file_read_all(path, sizeof text, &bytes, &len);
    if (s == DDPM_OK && (len != sizeof text || memcmp(bytes, text, len))) s = ddpm_fail(DDPM_EIO, "%s does not hold what was written", path);
    free(bytes);
    unlink(path);
    rmdir(folder);
    return s;
}

const doctor_test doctor_tests[] = {
    { "random numbers equal published ones", test_random },
    { "convolution, f32, equals the reference", test_conv_f32 },
    { "convolution, bf16, equals the reference", test_conv_bf16 },
    { "convolution, f32x3, equals the reference", test_conv_f32x3 },
    { "a training step is finite", test_training },
    { "a file is written and read back", test_files },
    { 0 }
};
