/* Models as others write and read them: golden folders of diffusers, damage, ways in and ways out. */
#include "checkpoint_tools.h"

#include "api/checkpoint_parts.h"
#include "api/tool.h"
#include "io/torch_file.h"

#define GOLDEN "tests/golden_interop/"
#define PROCESS " diffusion_steps=1000 noise_schedule=linear"

static const char *const FOLDERS[] = { "resnet", "sharded", "sharded_bin", "flat" };
enum { N_FOLDERS = sizeof FOLDERS / sizeof *FOLDERS };

static void expect(const char *spec, int weights, const char *values, ddpm_status status, const char *sentence)
{
    model_file *m = NULL;
    const settings request = request_of(values);
    const ddpm_status s = model_open_with(spec, weights, &request, &m);
    if (s != status || !strstr(ddpm_last_error(), sentence)) fail_msg("%s: wanted %d \"%s\", got %d \"%s\"", spec, status, sentence, s, ddpm_last_error());
    assert_null(m);
}

static model_file *open_with(const char *spec, int weights, const char *values)
{
    model_file *m = NULL;
    const settings request = request_of(values);
    MUST(model_open_with(spec, weights, &request, &m));
    return m;
}

/* --- outputs ------------------------------------------------------------------------------ */

/* One channel: [n,1,h,w] and [n,h,w,1] are the same bytes; with two outputs they are not. */
static void compare_output(const char *name)
{
    char path[256];
    safetensors *io = NULL;
    float x[128], t[2], want[256];
    double bound;
    int y[2] = { 0, 0 };
    snprintf(path, sizeof path, GOLDEN "%s_io.safetensors", name);
    MUST(safetensors_open(path, &io));
    MUST(safetensors_convert_f32(safetensors_find(io, "x"), x));
    MUST(safetensors_convert_f32(safetensors_find(io, "out"), want));
    memcpy(&bound, safetensors_find(io, "error")->data, sizeof bound);
    for (int k = 0; k < 2; k++) {
        int64_t v;
        memcpy(&v, (const char *)safetensors_find(io, "t")->data + k * 8, sizeof v);
        t[k] = (float)v;
        if (!safetensors_find(io, "y")) continue;
        memcpy(&v, (const char *)safetensors_find(io, "y")->data + k * 8, sizeof v);
        y[k] = (int)v;
    }
    snprintf(path, sizeof path, GOLDEN "%s", name);
    model_file *m = open_with(path, WEIGHTS_EMA, "");
    network n = network_new(&model_describe(m)->s);
    float *slab = calloc(n.layout->len, sizeof *slab);
    MUST(model_load(m, n.layout, slab));
    float *out = network_run(&n, slab, x, t, n.c.num_classes ? y : NULL, 2);
    const int outputs = n.c.out_channels;
    double worst = 0;
    for (int k = 0; k < 2; k++)
        for (int q = 0; q < 64; q++)
            for (int c = 0; c < outputs; c++) worst = fmax(worst, fabs((double)out[(k * 64 + q) * outputs + c] - want[(k * outputs + c) * 64 + q]));
    if (!(bound > 0 && worst <= 10 * bound)) fail_msg("%s: error %g, allowed %g", name, worst, 10 * bound);
    free(out);
    free(slab);
    network_free(&n);
    model_close(m);
    safetensors_close(io);
}

static void golden_outputs(void **state)
{
    (void)state;
    for (int i = 0; i < N_FOLDERS; i++) compare_output(FOLDERS[i]);
}

/* What the JSON of each says, read by hand. */
static void golden_settings(void **state)
{
    (void)state;
    static const struct { const char *name, *kind, *option, *value; } rows[] = {
        { "resnet", "pipeline", "resblock_updown", "true" }, { "resnet", "pipeline", "num_classes", "5" }, { "resnet", "pipeline", "variance", "range" },
        { "resnet", "pipeline", "noise_schedule", "cosine" }, { "resnet", "pipeline", "num_heads", "2" }, { "resnet", "pipeline", "use_scale_shift_norm", "true" },
        { "sharded", "pipeline", "sampler", "ddim" }, { "sharded", "pipeline", "prediction", "v" }, { "sharded", "pipeline", "rescale_betas_zero_snr", "true" },
        { "sharded", "pipeline", "spacing", "trailing" }, { "sharded", "pipeline", "clip", "none" }, { "sharded", "pipeline", "num_heads", "1" },
        { "sharded_bin", "pipeline", "num_classes", "3" }, { "sharded_bin", "pipeline", "noise_schedule", "quad" }, { "sharded_bin", "pipeline", "steps_offset", "1" },
        { "sharded_bin", "pipeline", "variance", "small" }, { "sharded_bin", "pipeline", "channel_mult", "1,1.5" }, { "sharded_bin", "pipeline", "num_head_channels", "2" },
        { "flat", "pipeline (old layout)", "num_heads", "1" }, { "flat", "pipeline (old layout)", "embedding", "ho" },
        { "flat", "pipeline (old layout)", "variance", "large" }, { "flat", "pipeline (old layout)", "down_padding", "asymmetric" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[256], text[OPTION_TEXT_SIZE];
        snprintf(path, sizeof path, GOLDEN "%s", rows[i].name);
        model_file *m = open_with(path, WEIGHTS_EMA, "");
        assert_string_equal(model_describe(m)->kind, rows[i].kind);
        options_print(settings_options, &model_describe(m)->s.v, options_find(settings_options, rows[i].option), text);
        if (strcmp(text, rows[i].value)) fail_msg("%s: %s is %s", rows[i].name, rows[i].option, text);
        model_close(m);
    }
}

/* --- damage -------------------------------------------------------------------------------- */

/* Shorter files are refused: all of them near both ends, some of those cut in between. What is whitespace at the end of JSON
 * may go. */
static void check_prefixes(const char *folder, const char *file)
{
    char path[MODEL_PATH_SIZE];
    uint8_t *bytes = NULL;
    size_t len = 0;
    assert_true(snprintf(path, sizeof path, "%s/%s", folder, file) < (int)sizeof path);
    MUST(file_read_all(path, 1 << 20, &bytes, &len));
    const bool text = file_has_ending(file, ".json"), small = text && len < 2048;
    const size_t step = small ? 7 : 251;
    while (text && len && bytes[len - 1] == '\n') len--;
    for (size_t n = len; n-- > 0; ) {
        model_file *m = NULL;
        if (n > (small ? 64 : 512) && n + 64 < len && n % step) continue;
        assert_int_equal(truncate(path, (off_t)n), 0);
        const ddpm_status s = model_open(folder, WEIGHTS_EMA, &m);
        if (s != DDPM_EFORMAT || !ddpm_last_error()[0]) fail_msg("%s of %zu bytes: status %d \"%s\"", path, n, s, ddpm_last_error());
    }
    MUST(file_write_atomic(path, bytes, len));
    free(bytes);
}

static void check_files(const char *top, const char *below)
{
    char path[MODEL_PATH_SIZE], **names;
    int count;
    assert_true(snprintf(path, sizeof path, "%s/%s", top, below) < (int)sizeof path);
    MUST(dir_list(path, &names, &count));
    for (int i = 0; i < count; i++) {
        char name[512];
        assert_true(snprintf(name, sizeof name, "%s%s%s", below, below[0] ? "/" : "", names[i]) < (int)sizeof name);
        assert_true(snprintf(path, sizeof path, "%s/%s", top, name) < (int)sizeof path);
        if (file_is_dir(path)) check_files(top, name);
        else check_prefixes(top, name);
    }
    dir_list_free(names, count);
}

static void refuses_prefixes(void **state)
{
    for (int i = 0; i < N_FOLDERS; i++) {
        char from[256], to[MODEL_PATH_SIZE];
        snprintf(from, sizeof from, GOLDEN "%s", FOLDERS[i]);
        copy_tree(from, under(*state, FOLDERS[i], to));
        check_files(to, "");
        model_close(open_with(to, WEIGHTS_EMA, ""));              /* and whole again */
    }
}

/* `sharded` with the first place of `find` in its index replaced. */
static void expect_index(const place *p, const char *find, const char *put, const char *sentence)
{
    char to[MODEL_PATH_SIZE], path[MODEL_PATH_SIZE + 80];
    uint8_t *bytes = NULL;
    size_t len = 0;
    copy_tree(GOLDEN "sharded", under(p, "index", to));
    snprintf(path, sizeof path, "%s/unet/diffusion_pytorch_model.safetensors.index.json", to);
    MUST(file_read_all(path, 1 << 20, &bytes, &len));
    char *at = strstr((char *)bytes, find), *text = NULL;
    assert_non_null(at);
    assert_true(asprintf(&text, "%.*s%s%s", (int)(at - (char *)bytes), (char *)bytes, put, at + strlen(find)) > 0);
    MUST(file_write_atomic(path, text, strlen(text)));
    expect(to, WEIGHTS_EMA, "", DDPM_EFORMAT, sentence);
    free(text);
    free(bytes);
}

#define FIRST "diffusion_pytorch_model-00001-of-00002.safetensors"

static void refuses_wrong_indices(void **state)
{
    expect_index(*state, "\"" FIRST, "\"../" FIRST, "must name a file in the same folder");
    expect_index(*state, "\"" FIRST, "\"/tmp/" FIRST, "must name a file in the same folder");
    expect_index(*state, "\"" FIRST, "\"sub\\\\" FIRST, "must name a file in the same folder");
    expect_index(*state, "\"" FIRST "\"", "\"..\"", "must name a file in the same folder");
    expect_index(*state, "\"" FIRST "\"", "7", "(no text)");
    expect_index(*state, "\"" FIRST "\"", "\"other.safetensors\"", "other.safetensors is missing");
    expect_index(*state, "\"" FIRST "\"", "\"diffusion_pytorch_model-00002-of-00002.safetensors\"", "conv_in.bias");
    expect_index(*state, "\"conv_in.bias\": \"" FIRST "\",", "", "its files hold");
    expect_index(*state, "\"weight_map\"", "\"map\"", "\"weight_map\" is missing");
    expect_index(*state, "conv_in.bias", "conv_in.none", "conv_in.none");
}

static void refuses_other_blocks(void **state)
{
    static const struct { const char *down, *sentence; } wrong[] = {
        { "SimpleCrossAttnDownBlock2D", "embedding of a text or an image" }, { "CrossAttnDownBlock2D", "embedding of a text" },
        { "AttnSkipDownBlock2D", "second path of small images" },            { "DownEncoderBlock2D", "part of an autoencoder" },
        { "KDownBlock2D", "it is unknown" },                                 { "DownBlock2D", "others by residual blocks" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char to[MODEL_PATH_SIZE], path[MODEL_PATH_SIZE + 32];
        json *net = NULL, *types = NULL;
        copy_tree(GOLDEN "resnet", under(*state, "blocks", to));
        snprintf(path, sizeof path, "%s/unet/config.json", to);
        MUST(json_read_file(path, &net));
        types = json_new_array();
        MUST(json_append(types, json_new_string(wrong[i].down)));
        MUST(json_append(types, json_new_string("AttnDownBlock2D")));
        MUST(json_append(types, json_new_string("ResnetDownsampleBlock2D")));
        MUST(json_put(net, "down_block_types", types));
        MUST(json_write_file(path, net));
        json_free(net);
        expect(to, WEIGHTS_EMA, "", DDPM_EFORMAT, wrong[i].sentence);
    }
}

static void refuses_latent_pipelines(void **state)
{
    static const char INDEX[] = "{\"_class_name\":\"LDMPipeline\",\"scheduler\":[\"diffusers\",\"DDIMScheduler\"],\"unet\":[\"diffusers\",\"UNet2DModel\"],"
                                "\"vqvae\":[\"diffusers\",\"VQModel\"]}";
    char to[MODEL_PATH_SIZE], path[MODEL_PATH_SIZE + 32];
    copy_tree(GOLDEN "resnet", under(*state, "latent", to));
    snprintf(path, sizeof path, "%s/model_index.json", to);
    MUST(file_write_atomic(path, INDEX, strlen(INDEX)));
    expect(to, WEIGHTS_EMA, "", DDPM_EFORMAT, "\"vqvae\" (VQModel)");
}

/* --- parts of folders ------------------------------------------------------------------------ */

/* The folder of a network alone: the chain is asked for, unless scheduler/ lies beside it. */
static void network_without_scheduler(void **state)
{
    char to[MODEL_PATH_SIZE], net[MODEL_PATH_SIZE + 8];
    copy_tree(GOLDEN "resnet/unet", under(*state, "alone", to));
    expect(to, WEIGHTS_EMA, "", DDPM_EINVAL, "give --diffusion_steps --noise_schedule");
    expect(to, WEIGHTS_EMA, "noise_schedule=cosine", DDPM_EINVAL, "give --diffusion_steps");
    expect(to, WEIGHTS_EMA, "variance=small" PROCESS, DDPM_EINVAL, "has 2 output channels");
    model_file *m = open_with(to, WEIGHTS_EMA, "noise_schedule=cosine diffusion_steps=50"), *whole = open_with(GOLDEN "resnet", WEIGHTS_EMA, "");
    settings want = model_describe(whole)->s, have = model_describe(m)->s;
    assert_string_equal(model_describe(m)->kind, "network of a pipeline");
    assert_int_equal(have.v.diffusion_steps, 50);
    have.v.diffusion_steps = want.v.diffusion_steps;
    assert_memory_equal(&have.v, &want.v, sizeof want.v);
    model_close(m);
    model_close(whole);
    copy_tree(GOLDEN "resnet", under(*state, "both", to));
    snprintf(net, sizeof net, "%s/unet", to);
    m = open_with(net, WEIGHTS_EMA, "");
    assert_int_equal(model_describe(m)->s.v.diffusion_steps, 1000);
    model_close(m);
    MUST(dir_remove_tree(to, "scheduler"));
    expect(to, WEIGHTS_EMA, "", DDPM_EFORMAT, "scheduler_config.json is missing");
}

/* diffusers' training script leaves unet/ and unet_ema/ in checkpoint-N/. */
static void training_checkpoint(void **state)
{
    char to[MODEL_PATH_SIZE], path[MODEL_PATH_SIZE + 64], hex[3][9];
    MUST(dir_make(under(*state, "out", to)));
    copy_tree(GOLDEN "sharded/scheduler", under(*state, "out/scheduler", path));
    MUST(dir_make(under(*state, "out/checkpoint-500", to)));
    copy_tree(GOLDEN "sharded/unet", under(*state, "out/checkpoint-500/unet", path));
    copy_tree(GOLDEN "flat", under(*state, "out/checkpoint-500/unet_ema", path));
    const char *const specs[] = { "out/checkpoint-500", "out/checkpoint-500", "out/checkpoint-500/unet_ema" };
    const char *const weights[] = { "ema", "raw", "ema" };
    char flat_json[MODEL_PATH_SIZE + 96];
    snprintf(flat_json, sizeof flat_json, "%s/scheduler_config.json", path);
    assert_int_equal(unlink(flat_json), 0);
    for (int i = 0; i < 3; i++) {
        model_file *m = NULL;
        const ddpm_status s = model_open(under(*state, specs[i], to), i == 1 ? WEIGHTS_RAW : WEIGHTS_EMA, &m);
        if (i == 2) {                                   /* its model_index.json says it is a pipeline, whose scheduler is gone */
            assert_int_equal(s, DDPM_EFORMAT);
            snprintf(flat_json, sizeof flat_json, "%s/model_index.json", path);
            assert_int_equal(unlink(flat_json), 0);
            const settings request = request_of("noise_schedule=linear diffusion_steps=1000");
            MUST(model_open_with(to, WEIGHTS_EMA, &request, &m));
        } else {
            MUST(s);
        }
        assert_string_equal(model_describe(m)->weights, weights[i]);
        MUST(model_fingerprint(m, hex[i]));
        model_close(m);
    }
    assert_string_not_equal(hex[0], hex[1]);
    assert_string_equal(hex[0], hex[2]);
}

/* --- ways out and in again ----------------------------------------------------------------------- */

static void keep_message(void *ctx, const char *text) { snprintf(ctx, 1024, "%s", text); }

static ddpm_status convert(const char *from, const char *values, const char *to, char said[1024])
{
    settings s = request_of(values);
    const tool_events ev = { .ctx = said, .message = keep_message };
    said[0] = 0;
    return tool_convert(&s, from, to, &ev, NULL);
}

static float *load(const char *spec, const char *values, int weights, settings *s, size_t *len)
{
    model_file *m = open_with(spec, weights, values);
    *s = model_describe(m)->s;
    network n = network_new(s);
    float *slab = calloc(n.layout->len, sizeof *slab);
    MUST(model_load(m, n.layout, slab));
    *len = n.layout->len;
    network_free(&n);
    model_close(m);
    return slab;
}

static void assert_same_model(const char *a, const char *a_values, const char *b, const char *b_values, bool same_settings)
{
    settings s, t;
    size_t n, m;
    float *x = load(a, a_values, WEIGHTS_EMA, &s, &n), *y = load(b, b_values, WEIGHTS_EMA, &t, &m);
    const unet_config c = settings_unet(&s), d = settings_unet(&t);
    assert_int_equal(n, m);
    if (memcmp(x, y, n * sizeof *x)) fail_msg("%s and %s differ in weights", a, b);
    assert_int_equal(c.levels, d.levels);
    assert_memory_equal(c.channels, d.channels, sizeof c.channels);
    if (same_settings && memcmp(&s.v, &t.v, sizeof s.v)) fail_msg("%s and %s differ in settings", a, b);
    free(x);
    free(y);
}

/* A checkpoint with random weights. */
static const char *make_model(const place *p, const char *name, const char *values, const char *weights, char path[MODEL_PATH_SIZE])
{
    const settings s = settings_from(values);
    network n = network_new(&s);
    float *slab = slab_of(n.layout, 3);
    const checkpoint_source src = { .s = &s, .step = 7, .layout = n.layout, .values = slab, .best_val = -1, .weights = weights, .provenance = "test" };
    MUST(checkpoint_write(under(p, name, path), &src));
    free(slab);
    network_free(&n);
    return path;
}

#define SMALL "image_size=8 channels=1 num_channels=32 channel_mult=1,2 num_res_blocks=1 attention_resolutions=4 "
#define OPENAI_NET SMALL "num_heads=4 learn_sigma=true noise_schedule=cosine class_cond=true num_classes=3"
#define HO_NET SMALL "num_channels=64 num_heads=1 embedding=ho norm_eps=1e-6 down_padding=asymmetric use_scale_shift_norm=false beta_scaling=none " \
               "rescale_timesteps=false init_scheme=torch compat=ermongroup schedule_width=f32 sampler=ddim"

/* From ours through another form and back: the numbers bit for bit, and what the form can say. */
static void round_trips(void **state)
{
    char from[MODEL_PATH_SIZE], to[MODEL_PATH_SIZE], back[MODEL_PATH_SIZE], said[1024];
    static const char OPENAI_GIVEN[] = "image_size=8 num_heads=4 noise_schedule=cosine diffusion_steps=1000";
    make_model(*state, "openai", OPENAI_NET, "ema 0.9999", from);
    MUST(convert(from, "", under(*state, "ema_0.9999_000007.pt", to), said));
    assert_same_model(from, "", to, OPENAI_GIVEN, false);
    MUST(convert(to, OPENAI_GIVEN, under(*state, "back", back), said));
    assert_same_model(from, "", back, "", false);
    model_file *m = open_with(to, WEIGHTS_EMA, OPENAI_GIVEN);
    assert_string_equal(model_describe(m)->weights, "ema 0.9999");
    assert_int_equal(model_describe(m)->step, 7);
    model_close(m);

    make_model(*state, "ho", HO_NET, "raw", from);
    MUST(convert(from, "", under(*state, "x.ckpt", to), said));
    assert_same_model(from, "", to, "image_size=8" PROCESS, true);

    for (int i = 0; i < N_FOLDERS; i++) {
        char golden[256], name[64];
        snprintf(golden, sizeof golden, GOLDEN "%s", FOLDERS[i]);
        snprintf(name, sizeof name, "%s.safetensors", FOLDERS[i]);
        MUST(convert(golden, "", under(*state, name, to), said));
        assert_same_model(golden, "", to, "", true);
        MUST(convert(to, "format=diffusers", under(*state, FOLDERS[i], back), said));
        assert_same_model(golden, "", back, "", true);
    }
}

/* Diffusers' own tensors come back under the same names with the same bytes. */
static void same_tensors_again(void **state)
{
    char one[MODEL_PATH_SIZE], two[MODEL_PATH_SIZE], path[MODEL_PATH_SIZE + 64], said[1024];
    safetensors *a = NULL, *b = NULL;
    MUST(convert(GOLDEN "resnet", "", under(*state, "resnet.safetensors", one), said));
    MUST(convert(one, "", under(*state, "again", two), said));
    snprintf(path, sizeof path, "%s/" UNET_WEIGHTS, two);
    MUST(safetensors_open(GOLDEN "resnet/" UNET_WEIGHTS, &a));
    MUST(safetensors_open(path, &b));
    assert_int_equal(safetensors_count(a), safetensors_count(b));
    for (int i = 0; i < safetensors_count(a); i++) {
        const safetensors_tensor *t = safetensors_at(a, i), *u = safetensors_find(b, t->name);
        assert_true(u && u->ndim == t->ndim && u->bytes == t->bytes && !memcmp(u->shape, t->shape, (size_t)t->ndim * sizeof *t->shape));
        assert_memory_equal(u->data, t->data, t->bytes);
    }
    safetensors_close(a);
    safetensors_close(b);
}

/* And its configuration, where every key that both have is the same. */
static void same_configuration_again(void **state)
{
    static const char *const files[] = { "unet/config.json", "scheduler/scheduler_config.json" };
    static const char *const folders[] = { "resnet", "sharded", "sharded_bin" };
    for (int i = 0; i < 6; i++) {
        char from[256], to[MODEL_PATH_SIZE], path[MODEL_PATH_SIZE + 64], said[1024];
        json *a = NULL, *b = NULL;
        snprintf(from, sizeof from, GOLDEN "%s", folders[i / 2]);
        if (i % 2 == 0) MUST(convert(from, "", under(*state, folders[i / 2], to), said));
        snprintf(path, sizeof path, "%s/%s", to, files[i % 2]);
        MUST(json_read_file(path, &b));
        snprintf(path, sizeof path, "%s/%s", from, files[i % 2]);
        MUST(json_read_file(path, &a));
        for (const char *key = json_first(a); key; key = json_next(a, key)) {
            if (key[0] == '_' && strcmp(key, "_class_name")) continue;
            char *x = json_text(json_get(a, key), JSON_COMPACT), *y = json_text(json_get(b, key), JSON_COMPACT);
            if (!y || strcmp(x, y)) fail_msg("%s: %s is %s, was %s", path, key, y ? y : "missing", x);
            free(x);
            free(y);
        }
        json_free(a);
        json_free(b);
    }
}

static void refuses_what_a_form_cannot_say(void **state)
{
    static const struct { const char *values, *format, *sentence; } rows[] = {
        { OPENAI_NET " norm_groups=8", "openai", "always 32 groups" },
        { OPENAI_NET " norm_eps=1e-6", "openai", "always 1e-5" },
        { OPENAI_NET " embedding=ho", "openai", "[sin cos]" },
        { OPENAI_NET " down_padding=asymmetric", "openai", "pad on all sides" },
        { OPENAI_NET " noise_schedule=sigmoid", "openai", "cosine, and linear" },
        { OPENAI_NET " prediction=v", "openai", "predict eps or x_0" },
        { OPENAI_NET " learn_sigma=false variance=learned", "openai", "a mixture of two" },
        { OPENAI_NET " stem=64", "openai", "differ in width" },
        { HO_NET, "openai", "[sin cos]" },
        { OPENAI_NET, "ermongroup", "[cos sin]" },
        { HO_NET " num_heads=2", "ermongroup", "has one head" },
        { HO_NET " use_scale_shift_norm=true", "ermongroup", "always added" },
        { HO_NET " class_cond=true num_classes=2", "ermongroup", "no classes" },
        { HO_NET " noise_schedule=cosine", "ermongroup", "noise schedule" },
        { HO_NET " learn_sigma=true", "ermongroup", "as many channels" },
        { OPENAI_NET " diffusion_steps=500", "diffusers", "scaled to 0..1000" },
        { OPENAI_NET " conv_resample=false", "diffusers", "without convolutions" },
        { OPENAI_NET " stem=64", "diffusers", "differ in width" },
        { SMALL "channel_mult=1,2,4 attention_resolutions=4,2 num_heads=2", "diffusers", "channels of a head" },
        { OPENAI_NET " learn_sigma=false variance=learned", "diffusers", "logarithm of the variance" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char from[MODEL_PATH_SIZE], to[MODEL_PATH_SIZE], values[64], said[1024];
        make_model(*state, "model", rows[i].values, "raw", from);
        snprintf(values, sizeof values, "format=%s", rows[i].format);
        const ddpm_status s = convert(from, values, under(*state, "out", to), said);
        if (s != DDPM_EINVAL || !strstr(ddpm_last_error(), rows[i].sentence)) fail_msg("%s as %s: %d \"%s\"", rows[i].values, rows[i].format, s, ddpm_last_error());
        assert_false(file_exists(to));
        MUST(convert(from, "format=safetensors", to, said));       /* which keeps everything */
        assert_same_model(from, "", to, "", true);
        assert_int_equal(unlink(to), 0);
    }
}

static void damaged_safetensors(void **state)
{
    char from[MODEL_PATH_SIZE], to[MODEL_PATH_SIZE], said[1024];
    uint8_t *bytes = NULL;
    size_t len = 0;
    make_model(*state, "model", SMALL, "ema 0.9", from);
    MUST(convert(from, "", under(*state, "x.safetensors", to), said));
    MUST(file_read_all(to, 1 << 24, &bytes, &len));
    bytes[len - 100] ^= 1;
    MUST(file_write_atomic(to, bytes, len));
    expect(to, WEIGHTS_EMA, "", DDPM_EFORMAT, "it is damaged");
    bytes[len - 100] ^= 1;
    char *step = memmem(bytes, len, "\\\"step\\\": 7", 11);
    assert_non_null(step);
    step[10] = '8';
    MUST(file_write_atomic(to, bytes, len));
    expect(to, WEIGHTS_EMA, "", DDPM_EFORMAT, "it is damaged");
    free(bytes);
}

/* --- raw and averaged ------------------------------------------------------------------------------ */

static void names_and_weights(void **state)
{
    static const char GIVEN[] = "image_size=8 num_heads=4 noise_schedule=cosine diffusion_steps=1000";
    static const char *const names[][2] = { { "ema_0.9999_000123.pt", "ema 0.9999" }, { "model000123.pt", "raw" }, { "ema_diffusion_x/model-123.ckpt", "ema" },
                                            { "diffusion_x/model-123.ckpt", "raw" }, { "model-123.ckpt", "unknown" }, { "model000123.pt.bak", "unknown" } };
    char from[MODEL_PATH_SIZE], pt[MODEL_PATH_SIZE], to[MODEL_PATH_SIZE], said[1024];
    make_model(*state, "openai", OPENAI_NET, "raw", from);
    MUST(convert(from, "", under(*state, "plain.pt", pt), said));
    MUST(dir_make(under(*state, "ema_diffusion_x", to)));
    MUST(dir_make(under(*state, "diffusion_x", to)));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        copy_file(pt, under(*state, names[i][0], to));
        model_file *m = open_with(to, WEIGHTS_EMA, GIVEN);
        assert_string_equal(model_describe(m)->weights, names[i][1]);
        assert_int_equal(model_describe(m)->step, strcmp(names[i][1], "unknown") ? 123 : -1);
        model_close(m);
    }
    expect(under(*state, names[0][0], to), WEIGHTS_RAW, GIVEN, DDPM_EINVAL, "holds averaged weights (ema 0.9999), not raw ones");
    expect(under(*state, names[1][0], to), WEIGHTS_EMA, "weights=ema image_size=8 num_heads=4 noise_schedule=cosine diffusion_steps=1000", DDPM_EINVAL, "holds raw weights");
    assert_int_equal(convert(from, "", under(*state, "ema_0.9_000001.pt", to), said), DDPM_EINVAL);
    assert_non_null(strstr(ddpm_last_error(), "is the name of ema 0.9 weights"));
    expect(GOLDEN "opt000002.pt", WEIGHTS_EMA, GIVEN, DDPM_EFORMAT, "state of an optimiser");
}

/* config.json beside a file: a run's counts like what the user says, diffusers' describes the network. */
static void configuration_beside(void **state)
{
    static const char OURS[] = "{\"format\":\"ddpm-run-1\",\"values\":{\"image_size\":\"8,8\",\"num_heads\":4,\"noise_schedule\":\"cosine\",\"diffusion_steps\":1000}}";
    char from[MODEL_PATH_SIZE], pt[MODEL_PATH_SIZE], config[MODEL_PATH_SIZE], said[1024], to[MODEL_PATH_SIZE];
    make_model(*state, "openai", OPENAI_NET, "raw", from);
    MUST(dir_make(under(*state, "run", to)));
    MUST(convert(from, "", under(*state, "run/x.pt", pt), said));
    expect(pt, WEIGHTS_EMA, "", DDPM_EINVAL, "give --image_size");
    MUST(file_write_atomic(under(*state, "run/config.json", config), OURS, strlen(OURS)));
    assert_same_model(from, "", pt, "", false);
    expect(pt, WEIGHTS_EMA, "num_channels=64", DDPM_EINVAL, "contradicts the file");
    MUST(file_write_atomic(config, "{\"other\":1}", 11));
    expect(pt, WEIGHTS_EMA, "", DDPM_EINVAL, "give --image_size");
    MUST(file_write_atomic(config, "{", 1));
    expect(pt, WEIGHTS_EMA, "", DDPM_EFORMAT, "config.json");

    copy_file(GOLDEN "resnet/" UNET_WEIGHTS, under(*state, "bare.safetensors", to));
    expect(to, WEIGHTS_EMA, "", DDPM_EINVAL, "put the network's config.json beside it");
    copy_file(GOLDEN "resnet/unet/config.json", under(*state, "config.json", config));
    expect(to, WEIGHTS_EMA, "", DDPM_EINVAL, "give --diffusion_steps");
    copy_file(GOLDEN "resnet/scheduler/scheduler_config.json", under(*state, "scheduler_config.json", config));
    assert_same_model(GOLDEN "resnet", "", to, "", true);
    assert_true(snprintf(config, sizeof config, "%s/" UNET_WEIGHTS, from) < (int)sizeof config);
    expect(config, WEIGHTS_EMA, "", DDPM_EINVAL, "give the folder around it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_outputs), cmocka_unit_test(golden_settings),
        cmocka_unit_test_setup_teardown(refuses_prefixes, enter, leave), cmocka_unit_test_setup_teardown(refuses_wrong_indices, enter, leave),
        cmocka_unit_test_setup_teardown(refuses_other_blocks, enter, leave), cmocka_unit_test_setup_teardown(refuses_latent_pipelines, enter, leave),
        cmocka_unit_test_setup_teardown(network_without_scheduler, enter, leave), cmocka_unit_test_setup_teardown(training_checkpoint, enter, leave),
        cmocka_unit_test_setup_teardown(round_trips, enter, leave), cmocka_unit_test_setup_teardown(same_tensors_again, enter, leave),
        cmocka_unit_test_setup_teardown(same_configuration_again, enter, leave), cmocka_unit_test_setup_teardown(refuses_what_a_form_cannot_say, enter, leave),
        cmocka_unit_test_setup_teardown(damaged_safetensors, enter, leave), cmocka_unit_test_setup_teardown(names_and_weights, enter, leave),
        cmocka_unit_test_setup_teardown(configuration_beside, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
