#include "api/checkpoint.h"
#include "api/network.h"
#include "api/sampling.h"
#include "api/tool.h"
#include "base/log.h"
#include "base/rng.h"
#include "io/file.h"
#include "io/image.h"
#include "io/npz.h"
#include "io/safetensors.h"
#include "train/draw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

typedef enum { OUT_GRID, OUT_FOLDER, OUT_NPZ } out_kind;

/* Everything one call of the command holds. */
typedef struct {
    const settings   *request;
    const tool_events *ev;
    model_file       *file;
    const model_description *model;
    engine            e;
    sampling          how;
    network           n;
    out_kind          kind;
    int               count, batch, columns;
    uint64_t          first_seed, first_index;
    bool              by_seed;         /* image k has seed first_seed + k and index 0 */
    int64_t           calls;
    uint8_t          *pixels;          /* all images [count,h,w,c]; folders: one batch */
    int64_t          *labels;          /* [count]                       */
    char              fingerprint[9];
} session;

static image_dims dims(const session *s)
{
    const int_list size = s->model->s.v.image_size;
    return (image_dims){ size.v[0] * size.v[1], s->model->s.v.channels };
}

static size_t image_bytes(const session *s) { return (size_t)(dims(s).pixels * dims(s).channels); }

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcasecmp(text + n - m, end);
}

static ddpm_status choose_output(session *s)
{
    const char *out = s->request->v.output;
    if (!out[0]) return ddpm_fail(DDPM_EINVAL, "no output; give -o FILE.png, -o FILE.npz or -o FOLDER/");
    const char *slash = strrchr(out, '/'), *dot = strrchr(slash ? slash : out, '.');
    s->kind = ends_with(out, ".png") ? OUT_GRID : ends_with(out, ".npz") ? OUT_NPZ : OUT_FOLDER;
    if (s->kind == OUT_FOLDER && dot && dot[1] && !file_is_dir(out))
        return ddpm_fail(DDPM_EINVAL, "-o %s: the ending %s is not one of .png, .npz; a folder's name ends in /", out, dot);
    return DDPM_OK;
}

/* Which images: -n, --index or --seeds. */
static ddpm_status choose_images(session *s)
{
    const settings_values *v = &s->request->v;
    long long a, b;
    char rest;
    s->first_seed = (uint64_t)v->seed;
    s->count = v->num_samples;
    if (v->seeds[0]) {
        if (v->index >= 0) return ddpm_fail(DDPM_EINVAL, "--seeds and --index contradict each other; give one of them");
        if (sscanf(v->seeds, "%lld-%lld%c", &a, &b, &rest) != 2 || a < 0 || b < a || b - a >= 100000000)
            return ddpm_fail(DDPM_EINVAL, "--seeds %s: write a range such as 0-63", v->seeds);
        s->by_seed = true;
        s->first_seed = (uint64_t)a;
        s->count = (int)(b - a + 1);
    }
    if (v->index >= 0) {
        s->first_index = (uint64_t)v->index;
        s->count = 1;
    }
    s->batch = v->batch_size ? v->batch_size : SAMPLING_BATCH;
    if (s->batch > s->count) s->batch = s->count;
    return DDPM_OK;
}

static uint64_t seed_of(const session *s, int k)  { return s->by_seed ? s->first_seed + (uint64_t)k : s->first_seed; }
static uint64_t index_of(const session *s, int k) { return s->by_seed ? 0 : s->first_index + (uint64_t)k; }

/* A class by number or name. */
static ddpm_status find_class(const session *s, const char *word, int64_t *label)
{
    const model_description *m = s->model;
    char *end;
    *label = strtoll(word, &end, 10);
    const bool number = end != word && !*end;
    if (number && *label >= 0 && *label < m->s.v.num_classes) return DDPM_OK;
    for (int i = 0; i < m->n_class_names; i++)
        if (!strcasecmp(m->class_names[i], word)) {
            *label = i;
            return DDPM_OK;
        }
    if (number) return ddpm_fail(DDPM_EINVAL, "--class %s: this model has classes 0 to %d", word, m->s.v.num_classes - 1);
    return ddpm_fail(DDPM_EINVAL, "--class %s: this model has no class of that name; `ddpm info` lists its classes", word);
}

static ddpm_status choose_classes(session *s)
{
    const char *word = s->request->v.class_label;
    const int classes = s->model->s.v.class_cond ? s->model->s.v.num_classes : 0;
    const bool all = !strcmp(word, "all"), random = !strcmp(word, "random");
    int64_t one = 0;
    if (!classes) {
        if (settings_origin(s->request, "class") == ORIGIN_DEFAULT) return DDPM_OK;
        return ddpm_fail(DDPM_EINVAL, "--class %s: this model is not class-conditional", word);
    }
    if (!all && !random) DDPM_TRY(find_class(s, word, &one));
    for (int k = 0; k < s->count; k++) {
        const rng_address a = { seed_of(s, k), RNG_CLASS, 0, index_of(s, k) };
        const uint64_t turn = s->by_seed ? seed_of(s, k) : index_of(s, k);
        s->labels[k] = all ? (int64_t)(turn % (uint64_t)classes) : random ? (int64_t)rng_below(a, 0, (uint64_t)classes) : one;
    }
    if (all) s->columns = classes < s->count ? classes : s->count;
    return DDPM_OK;
}

/* Latents of --xT: a tensor "xT" [n,c,h,w] or the only one of the file. */
static ddpm_status read_latents(const session *s, int64_t first, int n, float *x)
{
    safetensors *st = NULL;
    const image_dims d = dims(s);
    const size_t each = image_bytes(s);
    DDPM_TRY(safetensors_open(s->request->v.xT, &st));
    const safetensors_tensor *t = safetensors_find(st, "xT");
    if (!t && safetensors_count(st) == 1) t = safetensors_at(st, 0);
    ddpm_status status = DDPM_OK;
    float *all = NULL;
    const int_list size = s->model->s.v.image_size;
    if (!t || t->ndim != 4 || t->shape[1] != d.channels || t->shape[2] != size.v[0] || t->shape[3] != size.v[1] || t->shape[0] - n < first)
        status = ddpm_fail(DDPM_EFORMAT, "%s: it does not hold a tensor xT [%lld or more,%d,%d,%d]", s->request->v.xT, (long long)first + n, d.channels,
                           size.v[0], size.v[1]);
    if (status == DDPM_OK && !(all = malloc((size_t)safetensors_len(t) * sizeof *all))) status = ddpm_fail(DDPM_ENOMEM, "no memory for the latents");
    if (status == DDPM_OK) status = safetensors_convert_f32(t, all);
    for (int i = 0; i < n && status == DDPM_OK; i++)
        for (int c = 0; c < d.channels; c++)
            for (int p = 0; p < d.pixels; p++)
                x[(size_t)i * each + (size_t)(p * d.channels + c)] = all[(size_t)(first + i) * each + (size_t)(c * d.pixels + p)];
    free(all);
    safetensors_close(st);
    return status;
}

/* Images first .. first + n - 1 into 8-bit pixels. */
static ddpm_status draw_some(session *s, int first, int n, uint8_t *pixels)
{
    const size_t len = (size_t)n * image_bytes(s);
    uint64_t *address = malloc(2 * (size_t)n * sizeof *address);
    int *y = malloc((size_t)n * sizeof *y);
    float *x = malloc(len * sizeof *x);
    ddpm_status status = address && y && x ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory to draw %d images at once; use a smaller --batch", n);
    for (int i = 0; i < n && status == DDPM_OK; i++) {
        address[i] = seed_of(s, first + i);
        address[n + i] = index_of(s, first + i);
        y[i] = (int)s->labels[first + i];
    }
    const bool latents = s->request->v.xT[0];
    if (status == DDPM_OK && latents) status = read_latents(s, (int64_t)s->first_index + first, n, x);
    const drawing d = { .net = s->n.net, .weights = s->n.weights, .p = &s->how.p, .method = s->how.method, .eta = s->how.eta,
                        .guidance = s->request->v.guidance, .null_class = s->model->s.v.num_classes };
    const draw_batch b = { .n = n, .seed = address, .index = address + n, .y = s->model->s.v.class_cond ? y : NULL,
                           .given_xT = latents, .x = x, .calls = &s->calls };
    if (status == DDPM_OK) status = draw_images(&d, &b);
    if (status == DDPM_OK) draw_quantize(x, len, s->request->v.quantize == QUANTIZE_TRUNCATE, pixels);
    free(address);
    free(y);
    free(x);
    return status;
}

/* What an image depends on, and nothing else: the same image is the same file. */
static ddpm_status write_png(const session *s, const char *path, const image *im, uint64_t seed, uint64_t index, const char *label)
{
    const settings_values *v = &s->request->v;
    char seed_text[32], index_text[32], how[128];
    snprintf(seed_text, sizeof seed_text, "%llu", (unsigned long long)seed);
    snprintf(index_text, sizeof index_text, "%llu", (unsigned long long)index);
    snprintf(how, sizeof how, "%s, %d steps, eta %g, guidance %g, clip %s, variance %s, %s", s->how.method->name, s->how.steps.T, s->how.eta, v->guidance,
             clip_mode_name(s->how.p.clip), var_type_name(s->how.p.var), v->quantize == QUANTIZE_TRUNCATE ? "truncated" : "rounded");
    const png_pair text[] = { { "Software", "ddpm " DDPM_VERSION }, { "model", s->fingerprint }, { "seed", seed_text }, { "index", index_text },
                              { "sampler", how }, { "spacing", s->how.spacing },
                              { "precision", engine_precision(&s->e) }, { "isa", s->e.backend->isa }, { "class", label } };
    const int count = sizeof text / sizeof *text;
    return png_write(path, im, text, s->model->s.v.class_cond ? count : count - 1);
}

static ddpm_status write_one(const session *s, const char *path, int k, const uint8_t *pixels)
{
    const int_list size = s->model->s.v.image_size;
    const image im = { .w = size.v[1], .h = size.v[0], .c = dims(s).channels, .data = (uint8_t *)pixels };
    char label[32];
    snprintf(label, sizeof label, "%lld", (long long)s->labels[k]);
    return write_png(s, path, &im, seed_of(s, k), index_of(s, k), label);
}

static ddpm_status write_folder(const session *s, int first, int n, const uint8_t *pixels)
{
    for (int i = 0; i < n; i++) {
        char path[PATH_SIZE];
        const unsigned long long name = s->by_seed ? seed_of(s, first + i) : index_of(s, first + i);
        if (snprintf(path, sizeof path, "%s/%06llu.png", s->request->v.output, name) >= PATH_SIZE)
            return ddpm_fail(DDPM_EINVAL, "-o %s: the path is too long", s->request->v.output);
        DDPM_TRY(write_one(s, path, first + i, pixels + (size_t)i * image_bytes(s)));
    }
    return DDPM_OK;
}

static ddpm_status write_grid(const session *s)
{
    const int_list size = s->model->s.v.image_size;
    const char *out = s->request->v.output;
    image im = { .c = dims(s).channels };
    if (s->count == 1) return write_one(s, out, 0, s->pixels);      /* a single image is not framed */
    DDPM_TRY(draw_grid(s->pixels, s->count, size.v[0], size.v[1], im.c, s->columns, &im.data, &im.w, &im.h));
    const ddpm_status status = write_png(s, out, &im, s->first_seed, s->first_index, s->request->v.class_label);
    free(im.data);
    return status;
}

/* OpenAI's samples: arr_0 uint8 NHWC, arr_1 labels. */
static ddpm_status write_npz(const session *s)
{
    const int_list size = s->model->s.v.image_size;
    const int64_t shape[4] = { s->count, size.v[0], size.v[1], dims(s).channels };
    npz_writer *w = NULL;
    DDPM_TRY(npz_writer_open(s->request->v.output, &w));
    ddpm_status status = npz_writer_add(w, "arr_0", "|u1", shape, 4, s->pixels);
    if (status == DDPM_OK && s->model->s.v.class_cond) status = npz_writer_add(w, "arr_1", "<i8", shape, 1, s->labels);
    if (status == DDPM_OK) return npz_writer_finish(w);
    npz_writer_abort(w);
    return status;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static ddpm_status draw_all(session *s)
{
    const double begin = now();
    for (int first = 0; first < s->count; first += s->batch) {
        const int n = s->count - first < s->batch ? s->count - first : s->batch;
        uint8_t *at = s->pixels + (s->kind == OUT_FOLDER ? 0 : (size_t)first * image_bytes(s));
        DDPM_TRY(draw_some(s, first, n, at));
        if (s->kind == OUT_FOLDER) DDPM_TRY(write_folder(s, first, n, at));
        const double speed = (first + n) / (now() - begin);
        const tool_progress p = { .what = "sampling", .unit = "images", .done = first + n, .total = s->count, .per_second = speed,
                                  .eta_seconds = (s->count - first - n) / speed, .extra = "", .line = true };
        if (s->ev->progress) s->ev->progress(s->ev->ctx, &p);
        if (first + n < s->count && s->ev->request && s->ev->request(s->ev->ctx) == RUN_SAVE_AND_STOP)
            return ddpm_fail(DDPM_ESTOPPED, "stopped after %d of %d images", first + n, s->count);
    }
    return s->kind == OUT_GRID ? write_grid(s) : s->kind == OUT_NPZ ? write_npz(s) : DDPM_OK;
}

/* A model is what it is: options that describe another one have no effect, and that is said. */
static void tell_ignored(const session *s)
{
    settings_values asked = s->request->v;
    if (asked.image_size.n == 1) asked.image_size = (int_list){ 2, { asked.image_size.v[0], asked.image_size.v[0] } };
    for (int i = 0; settings_options[i].name; i++) {
        const option *o = &settings_options[i];
        char a[OPTION_TEXT_SIZE], b[OPTION_TEXT_SIZE];
        const bool used = !strcmp(o->name, "variance") || !strcmp(o->name, "sigma_small");
        if (!(o->groups & GROUP_MODEL) || used || s->request->origins[i] <= ORIGIN_PRESET) continue;
        options_print(settings_options, &asked, i, a);
        options_print(settings_options, &s->model->s.v, i, b);
        if (strcmp(a, b)) tool_message(s->ev, "--%s %.100s is ignored: this model has %.100s", o->name, a, b[0] ? b : "none");
    }
}

static void tell(const session *s)
{
    tell_ignored(s);
    tool_message(s->ev, "model %s, %s weights, T = %d, on %s with %s kernels, %d threads, %s (%s)", s->model->path, s->model->weights,
                 s->how.full.T, s->e.backend->name, s->e.backend->isa, pool_threads(s->e.threads), engine_precision(&s->e), s->e.reason);
    for (int i = s->how.steps.T - 1; i >= 0; i--) log_debug("step %d: timestep %d", s->how.steps.T - 1 - i, s->how.steps.timestep_map[i]);
}

/* What would fail after all the work must fail before it. */
static ddpm_status check_output(session *s)
{
    const int_list size = s->model->s.v.image_size;
    const char *out = s->request->v.output, *slash = strrchr(out, '/');
    char folder[PATH_SIZE];
    int w, h;
    for (int64_t square = 0; !s->columns; square++)          /* unless each class has its column */
        if (square * square >= s->count) s->columns = (int)square;
    if (s->kind == OUT_GRID) DDPM_TRY(draw_grid_size(s->count, size.v[0], size.v[1], s->columns, &w, &h));
    if (s->kind == OUT_FOLDER) DDPM_TRY(dir_make(out));
    if (s->kind == OUT_FOLDER) snprintf(folder, sizeof folder, "%s", out);
    else if (!slash) snprintf(folder, sizeof folder, ".");
    else snprintf(folder, sizeof folder, "%.*s", slash == out ? 1 : (int)(slash - out), out);
    return access(folder, W_OK) == 0 ? DDPM_OK : file_fail("cannot write into", folder);
}

static ddpm_status prepare(session *s, const char *model)
{
    DDPM_TRY(choose_output(s));
    DDPM_TRY(choose_images(s));
    DDPM_TRY(model_open_with(model, s->request->v.weights, s->request, &s->file));
    s->model = model_describe(s->file);
    DDPM_TRY(sampling_new(&s->model->s, s->request, &s->how));
    s->labels = calloc((size_t)s->count, sizeof *s->labels);
    s->pixels = malloc((size_t)(s->kind == OUT_FOLDER ? s->batch : s->count) * image_bytes(s));
    if (!s->labels || !s->pixels) return ddpm_fail(DDPM_ENOMEM, "no memory for %d images", s->count);
    DDPM_TRY(choose_classes(s));
    DDPM_TRY(check_output(s));
    DDPM_TRY(model_fingerprint(s->file, s->fingerprint));
    DDPM_TRY(engine_new(s->request, &s->e));
    return network_load(s->file, &s->e, &s->n);
}

static ddpm_status summarise(const session *s, double seconds, json **summary)
{
    if (!summary) return DDPM_OK;
    json *o = json_new_object();
    json_put_string(o, "schema", "ddpm-sample-1");
    json_put_string(o, "output", s->request->v.output);
    json_put_string(o, "model", s->model->path);
    json_put_string(o, "fingerprint", s->fingerprint);
    json_put_int(o, "images", s->count);
    json_put_int(o, "steps", s->how.steps.T);
    json_put_int(o, "network_calls", s->calls);
    json_put_string(o, "precision", engine_precision(&s->e));
    json_put_string(o, "isa", s->e.backend->isa);
    *summary = o;
    return json_put_real(o, "seconds", seconds);
}

ddpm_status tool_sample(settings *request, const char *model, const tool_events *ev, json **summary)
{
    session s = { .request = request, .ev = ev };
    const double begin = now();
    ddpm_status status = prepare(&s, model);
    if (status == DDPM_OK) tell(&s);
    if (status == DDPM_OK) status = draw_all(&s);
    if (status == DDPM_OK) {
        tool_message(ev, "%d images with %lld network calls of %d steps in %.1f s: %s", s.count, (long long)s.calls, s.how.steps.T, now() - begin, request->v.output);
        status = summarise(&s, now() - begin, summary);
    }
    network_free(&s.n);
    engine_free(&s.e);
    sampling_free(&s.how);
    model_close(s.file);
    free(s.labels);
    free(s.pixels);
    return status;
}
