/* Models in PyTorch files: the authors' outputs, structures told from names and shapes, and what is
 * said when something is missing or contradicts. */
#include "checkpoint_tools.h"
#include "torch_maker.h"

#include "api/checkpoint_parts.h"
#include "io/json.h"

#define GOLDEN "tests/golden/06_unet/"

/* --- files of our own: tensors as one older stream --------------------------------------------- */

typedef struct { const char *name; int ndim; int64_t shape[8]; const float *data; size_t len; } piece;

static void op_piece(buffer *b, const piece *t, const char *key)
{
    int64_t step = 1, strides[8];
    for (int i = t->ndim - 1; i >= 0; i--) {
        strides[i] = step;
        step *= t->shape[i];
    }
    op_global(b, "torch._utils", "_rebuild_tensor_v2");
    op(b, "((");
    op_text(b, "storage");
    op_global(b, "torch", "FloatStorage");
    op_text(b, key);
    op_text(b, "cpu");
    op_long(b, (int64_t)t->len);
    op(b, "NtQ");
    op_long(b, 0);
    op_dims(b, t->ndim, t->shape);
    op_dims(b, t->ndim, strides);
    op(b, "\x89}tR");
}

static void write_pt(const char *path, const piece *list, int count, const char *prefix)
{
    buffer b = { 0 }, keys = { 0 };
    add_heading(&b, 1001, true);
    op(&b, "\x80\x02}");
    for (int i = 0; i < count; i++) {
        char key[16], name[NAMES_SIZE];
        snprintf(key, sizeof key, "%d", i);
        snprintf(name, sizeof name, "%s%s", prefix, list[i].name);
        op_text(&b, name);
        op_piece(&b, &list[i], key);
        op(&b, "s");
        op_text(&keys, key);
        op(&keys, "a");
    }
    op(&b, ".\x80\x02]");
    add(&b, keys.data, keys.len);
    op(&b, ".");
    for (int i = 0; i < count; i++) {
        add_number(&b, list[i].len, 8);
        add(&b, list[i].data, list[i].len * sizeof(float));
    }
    MUST(file_write_atomic(path, b.data, b.len));
    buffer_free(&keys);
    buffer_free(&b);
}

/* The tensors of a safetensors file as a state dict. */
static void convert(const char *from, const char *to, const char *prefix)
{
    safetensors *st = NULL;
    MUST(safetensors_open(from, &st));
    const int n = safetensors_count(st);
    piece *list = calloc((size_t)n, sizeof *list);
    assert_non_null(list);
    for (int i = 0; i < n; i++) {
        const safetensors_tensor *t = safetensors_at(st, i);
        assert_int_equal(t->dtype, ST_F32);
        list[i] = (piece){ .name = t->name, .ndim = t->ndim, .data = t->data, .len = t->bytes / 4 };
        memcpy(list[i].shape, t->shape, sizeof t->shape);
    }
    write_pt(to, list, n, prefix);
    free(list);
    safetensors_close(st);
}

/* Every tensor of a network, zero, in a naming. */
static void write_zeros(const char *path, const settings *s, names_style style)
{
    network n = network_new(s);
    stored_tensor *stored = NULL;
    int count = 0;
    size_t largest = 0;
    MUST(stored_list(s, n.layout, style, &stored, &count));
    for (int i = 0; i < count; i++)
        if (stored[i].len > largest) largest = stored[i].len;
    float *zeros = calloc(largest, sizeof *zeros);
    piece *list = calloc((size_t)count, sizeof *list);
    assert_non_null(zeros);
    assert_non_null(list);
    for (int i = 0; i < count; i++) {
        list[i] = (piece){ .name = stored[i].name, .ndim = stored[i].ndim, .data = zeros, .len = stored[i].len };
        memcpy(list[i].shape, stored[i].shape, sizeof stored[i].shape);
    }
    write_pt(path, list, count, "");
    free(list);
    free(zeros);
    free(stored);
    network_free(&n);
}

/* --- the authors' outputs ------------------------------------------------------------------------- */

static float *to_nhwc(const safetensors_tensor *t)
{
    const int64_t *d = t->shape;
    float *chw = malloc(t->bytes), *out = malloc(t->bytes);
    assert_non_null(chw);
    assert_non_null(out);
    MUST(safetensors_convert_f32(t, chw));
    const int64_t pixels = d[2] * d[3];
    for (int64_t n = 0; n < d[0]; n++)
        for (int64_t c = 0; c < d[1]; c++)
            for (int64_t k = 0; k < pixels; k++) out[(n * pixels + k) * d[1] + c] = chw[(n * d[1] + c) * pixels + k];
    free(chw);
    return out;
}

static const safetensors_tensor *need(const safetensors *io, const char *prefix, const char *name)
{
    char full[64];
    const safetensors_tensor *t = NULL;
    snprintf(full, sizeof full, "%s%s", prefix, name);
    MUST(safetensors_need(io, full, &t));
    return t;
}

/* The golden README: out within 2e-5 rms(out) and ten times the stated rounding error, which is below that. */
static void check_output(const model_file *m, const char *io_path, const char *prefix, const char *name)
{
    safetensors *io = NULL;
    const settings s = model_describe(m)->s;
    network n = network_new(&s);
    float *slab = calloc(n.layout->len, sizeof *slab), t[8];
    int y[8] = { 0 };
    MUST(model_load(m, n.layout, slab));
    MUST(safetensors_open(io_path, &io));
    const safetensors_tensor *x_in = need(io, prefix, "x"), *want_in = need(io, prefix, name);
    const int images = (int)x_in->shape[0];
    assert_true(images <= 8);
    MUST(safetensors_convert_f32(need(io, prefix, "t"), t));
    if (n.c.num_classes)
        for (int i = 0; i < images; i++) y[i] = (int)((const int64_t *)need(io, prefix, "y")->data)[i];
    assert_int_equal(x_in->shape[1], n.c.in_channels);
    assert_int_equal(x_in->shape[2], n.c.height);
    assert_int_equal(want_in->shape[1], n.c.out_channels);
    float *x = to_nhwc(x_in), *want = to_nhwc(want_in), *out = network_run(&n, slab, x, t, n.c.num_classes ? y : NULL, images);
    double squares = 0, worst = 0;
    const size_t len = want_in->bytes / 4;
    for (size_t i = 0; i < len; i++) {
        squares += (double)want[i] * want[i];
        worst = fmax(worst, fabs((double)out[i] - want[i]));
    }
    const double rms = sqrt(squares / (double)len);
    if (!(worst <= 4e-5 * rms + 1e-6)) fail_msg("%s: differs by %g, rms %g", name, worst, rms);
    free(x);
    free(want);
    free(out);
    free(slab);
    safetensors_close(io);
    network_free(&n);
}

#define PROCESS " diffusion_steps=1000 noise_schedule=linear"

static void golden_outputs(void **state)
{
    (void)state;
    static const char IO[] = GOLDEN "pt/pt_io.safetensors";
    model_file *m = NULL;
    const settings openai = request_of("image_size=8 num_heads=1" PROCESS), ermon = request_of("image_size=8 norm_groups=4" PROCESS);
    MUST(model_open_with(GOLDEN "pt/iddpm_model000000.pt", WEIGHTS_EMA, &openai, &m));
    const model_description *d = model_describe(m);
    assert_string_equal(d->weights, "unknown");            /* "iddpm_model..." is not improved-diffusion's name */
    assert_string_equal(d->kind, "PyTorch file (improved-diffusion)");
    assert_false(d->s.v.learn_sigma);
    assert_int_equal(d->s.v.num_res_blocks, 0);
    assert_int_equal(d->s.v.channel_mult.n, 1);
    check_output(m, IO, "iddpm/", "out");
    model_close(m);

    MUST(model_open_with(GOLDEN "pt/ddim_ckpt.pth", WEIGHTS_EMA, &ermon, &m));
    assert_string_equal(model_describe(m)->weights, "ema");
    assert_int_equal(model_describe(m)->step, 2);
    check_output(m, IO, "ddim/", "out_ema");
    model_close(m);
    MUST(model_open_with(GOLDEN "pt/ddim_ckpt.pth", WEIGHTS_RAW, &ermon, &m));
    assert_string_equal(model_describe(m)->weights, "raw");
    check_output(m, IO, "ddim/", "out_model");
    model_close(m);
    static const char *const plain[] = { GOLDEN "pt/ddim_ema_plain.ckpt", GOLDEN "pt/ddim_ema_plain_legacy.ckpt" };
    for (int i = 0; i < 2; i++) {
        MUST(model_open_with(plain[i], WEIGHTS_EMA, &ermon, &m));
        assert_string_equal(model_describe(m)->kind, "PyTorch file (ermongroup)");
        check_output(m, IO, "ddim/", "out_ema");
        model_close(m);
    }
}

/* Networks with levels, classes, learned variances and uneven widths. */
static void converted_outputs(void **state)
{
    static const struct { const char *dir, *values, *prefix; } cases[] = {
        { "iddpm_a", "image_size=16" PROCESS, "" },
        { "iddpm_b", "image_size=8" PROCESS, "module." },
        { "ddim", "image_size=8" PROCESS, "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[MODEL_PATH_SIZE], from[256], io[256];
        model_file *m = NULL;
        const settings request = request_of(cases[i].values);
        snprintf(from, sizeof from, GOLDEN "%s/model.safetensors", cases[i].dir);
        snprintf(io, sizeof io, GOLDEN "%s/io.safetensors", cases[i].dir);
        convert(from, under(*state, "x.pt", path), cases[i].prefix);
        MUST(model_open_with(path, WEIGHTS_EMA, &request, &m));
        check_output(m, io, "", "out");
        model_close(m);
    }
}

/* --- structure --------------------------------------------------------------------------------------- */

/* Only what the file can show and the style fixes is left out of `values`. */
static void structures(void **state)
{
    static const struct { names_style style; const char *network, *given; } cases[] = {
        { NAMES_OPENAI, "image_size=16 num_channels=16 channel_mult=1,2,2 num_res_blocks=2 attention_resolutions=8,4", "image_size=16" },
        { NAMES_OPENAI, "image_size=16 num_channels=16 channel_mult=1,3 num_res_blocks=1 attention_resolutions=0 learn_sigma=true", "image_size=16" },
        { NAMES_OPENAI, "image_size=16 num_channels=16 channel_mult=1,1,2 num_res_blocks=3 resblock_updown=true num_head_channels=8", "image_size=16 num_head_channels=8" },
        { NAMES_OPENAI, "image_size=16 num_channels=16 channel_mult=1,2,2 num_res_blocks=2 conv_resample=false class_cond=true num_classes=7", "image_size=16" },
        { NAMES_OPENAI, "image_size=14 channels=1 num_channels=16 channel_mult=2,1.5 num_res_blocks=1 attention_resolutions=7 use_scale_shift_norm=false", "image_size=14" },
        { NAMES_OPENAI, "image_size=16 num_channels=16 stem=8 channel_mult=0.5,1 num_res_blocks=1 class_cond=true num_classes=3 label_dropout=0.1", "image_size=16 label_dropout=0.1" },
        { NAMES_ERMONGROUP, "image_size=16 num_channels=16 channel_mult=1,2,2 num_res_blocks=2 attention_resolutions=8,4", "image_size=16" },
        { NAMES_ERMONGROUP, "image_size=8 num_channels=16 channel_mult=2,1 num_res_blocks=1 attention_resolutions=0 conv_resample=false", "image_size=8" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[MODEL_PATH_SIZE], text[1024];
        model_file *m = NULL;
        const bool ermon = cases[i].style == NAMES_ERMONGROUP;
        snprintf(text, sizeof text, "%s norm_groups=4" PROCESS "%s", cases[i].network,
                 ermon ? " use_scale_shift_norm=false num_heads=1 embedding=ho norm_eps=1e-6 down_padding=asymmetric init_scheme=torch" : "");
        const settings made = settings_from(text);
        snprintf(text, sizeof text, "%s norm_groups=4" PROCESS, cases[i].given);
        const settings request = request_of(text);
        write_zeros(under(*state, "x.pt", path), &made, cases[i].style);
        MUST(model_open_with(path, WEIGHTS_EMA, &request, &m));
        unet_config want = settings_unet(&made), have = settings_unet(&model_describe(m)->s);
        if (memcmp(&want, &have, sizeof want)) fail_msg("case %zu: another network", i);
        network n = network_new(&made);
        float *slab = calloc(n.layout->len, sizeof *slab);
        MUST(model_load(m, n.layout, slab));
        free(slab);
        network_free(&n);
        model_close(m);
    }
}

/* --- what is said ---------------------------------------------------------------------------------------- */

static void expect(const char *path, const char *values, ddpm_status status, const char *sentence)
{
    model_file *m = NULL;
    const settings request = request_of(values);
    const ddpm_status s = model_open_with(path, WEIGHTS_EMA, &request, &m);
    if (s != status || !strstr(ddpm_last_error(), sentence)) fail_msg("wanted %d \"%s\", got %d \"%s\"", status, sentence, s, ddpm_last_error());
    assert_null(m);
}

/* Parts under names, as trainers that save one file call them. */
static void named_parts(void **state)
{
    static const float data[4] = { 0 };
    const piece ema[] = { { .name = "time_embed.0.weight", .ndim = 2, .shape = { 2, 2 }, .data = data, .len = 4 } };
    char path[MODEL_PATH_SIZE];
    buffer b = { 0 };
    add_heading(&b, 1001, true);
    op(&b, "\x80\x02}");
    op_text(&b, "step");
    op_long(&b, 41);
    op(&b, "s");
    op_text(&b, "model");
    op(&b, "}s");
    op_text(&b, "ema");
    op(&b, "}");
    op_text(&b, ema[0].name);
    op_piece(&b, &ema[0], "0");
    op(&b, "ss.\x80\x02]");
    op_text(&b, "0");
    op(&b, "a.");
    add_number(&b, 4, 8);
    add(&b, data, sizeof data);
    MUST(file_write_atomic(under(*state, "x.pt", path), b.data, b.len));
    buffer_free(&b);
    weights_said said = { .step = -1 };
    uint8_t *bytes = NULL;
    safetensors *st = NULL;
    MUST(model_torch_weights(path, WEIGHTS_EMA, &said, &bytes, &st));
    assert_string_equal(said.weights, "ema");
    assert_int_equal(said.step, 41);
    assert_int_equal(safetensors_count(st), 1);
    assert_non_null(safetensors_find(st, ema[0].name));
    safetensors_close(st);
    free(bytes);
    bytes = NULL;
    assert_int_equal(model_torch_weights(path, WEIGHTS_RAW, &said, &bytes, &st), DDPM_EFORMAT);      /* "model" is empty */
    free(bytes);
}

static void missing_values(void **state)
{
    static const char PT[] = GOLDEN "pt/iddpm_model000000.pt";
    char path[MODEL_PATH_SIZE];
    model_file *m = NULL;
    expect(PT, "", DDPM_EINVAL, "give --image_size --diffusion_steps --noise_schedule (and --num_heads");
    expect(PT, "image_size=8 noise_schedule=linear", DDPM_EINVAL, "give --diffusion_steps (and");
    assert_int_equal(model_open(PT, WEIGHTS_EMA, &m), DDPM_EINVAL);
    assert_non_null(strstr(ddpm_last_error(), "--image_size"));

    settings fashion, request;
    settings_defaults(&fashion);
    MUST(settings_preset(&fashion, "fashion"));
    MUST(settings_resolve(&fashion));
    write_zeros(under(*state, "ema_0.999_002000.pt", path), &fashion, NAMES_OPENAI);
    expect(path, "", DDPM_EINVAL, "its shape is that of --preset fashion");
    settings_defaults(&request);
    MUST(settings_preset(&request, "fashion"));
    MUST(model_open_with(path, WEIGHTS_EMA, &request, &m));
    assert_string_equal(model_describe(m)->weights, "ema 0.999");
    assert_int_equal(model_describe(m)->step, 2000);
    assert_int_equal(model_describe(m)->s.v.noise_schedule, fashion.v.noise_schedule);
    model_close(m);
    settings_defaults(&request);
    MUST(settings_preset(&request, "ddim-cifar10"));
    assert_int_equal(model_open_with(path, WEIGHTS_EMA, &request, &m), DDPM_EINVAL);
    if (!strstr(ddpm_last_error(), "(from the preset) contradicts the file")) fail_msg("%s", ddpm_last_error());
}

static void contradictions(void **state)
{
    (void)state;
    static const char PT[] = GOLDEN "pt/iddpm_model000000.pt";
    expect(PT, "image_size=8 num_channels=64" PROCESS, DDPM_EINVAL, "--num_channels 64 (from the command line) contradicts the file, which has 32");
    expect(PT, "image_size=8 learn_sigma=true" PROCESS, DDPM_EINVAL, "--learn_sigma true");
    expect(PT, "image_size=8 variance=range" PROCESS, DDPM_EINVAL, "no outputs for it");
    expect(PT, "image_size=8 attention_resolutions=4" PROCESS, DDPM_EINVAL, "which has attention at 8");
    expect(PT, "image_size=8 norm_groups=5" PROCESS, DDPM_EINVAL, "iddpm_model000000.pt: ");
    expect(PT, "image_size=8 use_scale_shift_norm=true" PROCESS, DDPM_EINVAL, "which has false");
}

static void other_dicts(void **state)
{
    char path[MODEL_PATH_SIZE];
    static const float data[4] = { 0 };
    expect(GOLDEN "pt/misc.pt", "image_size=8" PROCESS, DDPM_EFORMAT, "not a tensor; this is not a state dict");
    under(*state, "x.pt", path);
    write_pt(path, &(piece){ .name = "a", .ndim = 1, .shape = { 4 }, .data = data, .len = 4 }, 1, "");
    expect(path, "image_size=8" PROCESS, DDPM_EFORMAT, "neither improved-diffusion's nor ermongroup's nor diffusers' names");
    write_pt(path, &(piece){ .name = "a\x1b[2J", .ndim = 1, .shape = { 4 }, .data = data, .len = 4 }, 1, "");
    expect(path, "image_size=8" PROCESS, DDPM_EFORMAT, "not plain ASCII");
    write_pt(path, NULL, 0, "");
    expect(path, "image_size=8" PROCESS, DDPM_EFORMAT, "holds no state dict");
    write_pt(path, &(piece){ .name = "time_embed.0.weight", .ndim = 2, .shape = { 2, 2 }, .data = data, .len = 4 }, 1, "");
    expect(path, "image_size=8" PROCESS, DDPM_EFORMAT, "the tensor \"input_blocks.0.0.weight\" is missing");
    write_pt(path, &(piece){ .name = "down.0.block.0.conv1.weight", .ndim = 2, .shape = { 2, 2 }, .data = data, .len = 4 }, 1, "");
    expect(path, "image_size=8" PROCESS, DDPM_EFORMAT, "the tensor \"temb.dense.0.weight\" is missing");
    const piece net[] = {
        { .name = "time_embed.0.weight", .ndim = 2, .shape = { 2, 2 }, .data = data, .len = 4 },
        { .name = "input_blocks.0.0.weight", .ndim = 2, .shape = { 2, 2 }, .data = data, .len = 4 },
        { .name = "out.2.weight", .ndim = 2, .shape = { 2, 2 }, .data = data, .len = 4 },
        { .name = "output_blocks.0.0.in_layers.0.bias", .ndim = 1, .shape = { 4 }, .data = data, .len = 4 },
    };
    write_pt(path, net, 4, "");
    expect(path, "image_size=8" PROCESS, DDPM_EFORMAT, "the tensor \"output_blocks.0.0.in_layers.0.weight\" is missing");
    write_pt(path, net, 3, "");
    expect(path, "image_size=8" PROCESS, DDPM_EFORMAT, "do not form a U-Net");
}

/* A pipeline folder whose weights are the pickle that diffusers wrote before safetensors. */
static void pickled_pipeline(void **state)
{
    char to[MODEL_PATH_SIZE], weights[MODEL_PATH_SIZE + 64], pickle[MODEL_PATH_SIZE + 64], hex[2][9];
    model_file *m = NULL;
    MUST(model_open(GOLDEN "df_cifar", WEIGHTS_EMA, &m));
    MUST(model_fingerprint(m, hex[0]));
    model_close(m);
    copy_tree(GOLDEN "df_cifar", under(*state, "bin", to));
    snprintf(weights, sizeof weights, "%s/" UNET_WEIGHTS, to);
    snprintf(pickle, sizeof pickle, "%s/unet/diffusion_pytorch_model.bin", to);
    convert(weights, pickle, "");
    assert_int_equal(unlink(weights), 0);
    MUST(model_open(to, WEIGHTS_EMA, &m));
    MUST(model_fingerprint(m, hex[1]));
    assert_string_equal(hex[0], hex[1]);
    const settings s = model_describe(m)->s;
    network n = network_new(&s);
    float *slab = calloc(n.layout->len, sizeof *slab);
    MUST(model_load(m, n.layout, slab));
    free(slab);
    network_free(&n);
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_outputs), cmocka_unit_test_setup_teardown(converted_outputs, enter, leave),
        cmocka_unit_test_setup_teardown(structures, enter, leave), cmocka_unit_test_setup_teardown(missing_values, enter, leave),
        cmocka_unit_test_setup_teardown(named_parts, enter, leave), cmocka_unit_test(contradictions), cmocka_unit_test_setup_teardown(other_dicts, enter, leave),
        cmocka_unit_test_setup_teardown(pickled_pipeline, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
