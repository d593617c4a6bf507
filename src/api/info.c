#include "api/checkpoint_parts.h"
#include "api/info_parts.h"
#include "api/tool.h"
#include "data/pack.h"
#include "io/file.h"
#include "io/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_CLASSES = 20, LABEL_WIDTH = 14 };

static void put_plain(const info_report *r, const char *text)
{
    for (const char *c = text; *c; c++) fputc((unsigned char)*c < ' ' || *c == 127 ? '?' : *c, r->f);
}

void info_line(const info_report *r, const char *label, const char *value)
{
    put_plain(r, label);
    fprintf(r->f, "%*s ", (int)strlen(label) < LABEL_WIDTH ? LABEL_WIDTH - (int)strlen(label) : 0, "");
    put_plain(r, value);
    fputc('\n', r->f);
}

void info_say(const info_report *r, const char *key, const char *label, const char *value)
{
    info_line(r, label, value);
    json_put_string(r->o, key, value);
}

void info_say_int(const info_report *r, const char *key, const char *label, int64_t value)
{
    fprintf(r->f, "%-*s %lld\n", LABEL_WIDTH, label, (long long)value);
    json_put_int(r->o, key, value);
}

/* --- models ------------------------------------------------------------------------- */

/* "image_size 32,32, num_channels 128, ...": the options that are not at their defaults. */
static ddpm_status say_options(const info_report *r, const settings *s, unsigned groups)
{
    settings *plain = malloc(sizeof *plain);
    json *values = json_new_object();
    if (!plain || !values) {
        free(plain);
        return ddpm_fail(DDPM_ENOMEM, "no memory to compare settings");
    }
    settings_defaults(plain);
    fprintf(r->f, "%-14s", "options");
    for (int i = 0; settings_options[i].name; i++) {
        char a[OPTION_TEXT_SIZE], b[OPTION_TEXT_SIZE];
        if (!(settings_options[i].groups & groups)) continue;
        options_print(settings_options, &s->v, i, a);
        options_print(settings_options, &plain->v, i, b);
        if (!strcmp(a, b)) continue;
        fprintf(r->f, " %s=%s", settings_options[i].name, a);
        json_put_string(values, settings_options[i].name, a);
    }
    fputc('\n', r->f);
    free(plain);
    return json_put(r->o, "options", values);
}

static const char *option_text(const settings *s, const char *name, char text[OPTION_TEXT_SIZE])
{
    options_print(settings_options, &s->v, options_find(settings_options, name), text);
    return text;
}

static void say_network(const info_report *r, const settings *s)
{
    const unet_config net = settings_unet(s);
    char text[256];
    size_t used = (size_t)snprintf(text, sizeof text, "%s %dx%dx%d, channels", net.classes_out ? "classifier of images" : "U-Net", net.height, net.width,
                                   s->v.channels);
    for (int i = 0; i < net.levels && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%d%s", i ? ", " : " ", net.channels[i], net.attention[i] ? " with attention" : "");
    if (used < sizeof text) used += (size_t)snprintf(text + used, sizeof text - used, "; %d blocks a level", net.num_res_blocks);
    if (used < sizeof text && s->v.small_size) snprintf(text + used, sizeof text - used, "; up-sampler of %dx%d images", s->v.small_size, s->v.small_size);
    info_say(r, "network", "network", text);
    info_say_int(r, "parameters", "parameters", (int64_t)unet_parameters(&net));
}

static void say_process(const info_report *r, const settings *s)
{
    char text[2 * OPTION_TEXT_SIZE], part[OPTION_TEXT_SIZE];
    snprintf(text, sizeof text, "%s, T = %d", option_text(s, "noise_schedule", part), s->v.diffusion_steps);
    info_say(r, "schedule", "schedule", text);
    if (s->v.classes_out) {
        info_say(r, "trained_on", "trained on", s->v.noised ? "images with the noise of all timesteps" : "images without noise, t = 0");
        return;
    }
    info_say(r, "prediction", "prediction", option_text(s, "prediction", part));
    info_say(r, "variance", "variance", option_text(s, "variance", part));
    if (s->v.compat != COMPAT_NONE) info_say(r, "profile", "profile", option_text(s, "compat", part));
}

static void say_classes(const info_report *r, char *const *names, int count)
{
    json *list = json_new_array();
    for (int i = 0; i < count; i++) {
        json_append(list, json_new_string(names[i]));
        if (i < SHOWN_CLASSES) fprintf(r->f, "  class %d: %s\n", i, names[i]);
    }
    if (count > SHOWN_CLASSES) fprintf(r->f, "  and %d more\n", count - SHOWN_CLASSES);
    json_put(r->o, "class_names", list);
}

static ddpm_status describe_model(const info_report *r, const model_file *m)
{
    const model_description *d = model_describe(m);
    char fingerprint[9], reason[REASON_SIZE];
    DDPM_TRY(model_fingerprint(m, fingerprint));
    info_say(r, "path", "path", d->path);
    info_say(r, "form", "form", d->kind);
    say_network(r, &d->s);
    say_process(r, &d->s);
    if (settings_classes(&d->s)) info_say_int(r, "classes", "classes", settings_classes(&d->s));
    if (d->n_class_names) say_classes(r, d->class_names, d->n_class_names);
    info_say(r, "weights", "weights", d->weights);
    if (d->step >= 0) info_say_int(r, "step", "step", d->step);
    if (d->provenance[0]) info_say(r, "provenance", "made by", d->provenance);
    info_say(r, "fingerprint", "fingerprint", fingerprint);
    diffusers_reason(&d->s, reason);
    info_say(r, "diffusers", "diffusers", reason[0] ? reason : "can open it");
    openai_reason(&d->s, reason);
    info_say(r, "improved_diffusion", "OpenAI", reason[0] ? reason : "can run it (`ddpm convert MODEL X.pt`)");
    return say_options(r, &d->s, GROUP_MODEL);
}

static ddpm_status open_and_describe(const info_report *r, const char *path)
{
    model_file *m = NULL;
    DDPM_TRY(model_open_with(path, r->request->v.weights, r->request, &m));
    const ddpm_status s = describe_model(r, m);
    model_close(m);
    return s;
}

/* --- runs ------------------------------------------------------------------------------ */

/* The last whole line of log.jsonl; nothing to say when there is none. */
static ddpm_status say_last_line(const info_report *r, const char *run)
{
    char path[MODEL_PATH_SIZE];
    file_map map = { 0 };
    json *line = NULL;
    DDPM_TRY(checkpoint_join(path, run, "log.jsonl"));
    if (!file_exists(path)) return DDPM_OK;
    DDPM_TRY(file_map_open(path, &map));
    size_t end = map.size;
    while (end && map.data[end - 1] != '\n') end--;
    size_t begin = end ? end - 1 : 0;
    while (begin && map.data[begin - 1] != '\n') begin--;
    ddpm_status s = DDPM_OK;
    if (end > begin + 1) {
        fprintf(r->f, "%-14s %.*s\n", "last log line", (int)(end - 1 - begin), (const char *)map.data + begin);
        s = json_parse((const char *)map.data + begin, end - 1 - begin, path, &line);
    }
    if (line) s = json_put(r->o, "last_log", line);
    file_map_close(&map);
    return s;
}

/* What a classifier's last validation found, in the newest line of log.jsonl that has one. */
static ddpm_status say_validation(const info_report *r, const char *run)
{
    char path[MODEL_PATH_SIZE], text[128];
    file_map map = { 0 };
    json *line = NULL;
    DDPM_TRY(checkpoint_join(path, run, "log.jsonl"));
    if (!file_exists(path)) return DDPM_OK;
    DDPM_TRY(file_map_open(path, &map));
    const char *at = (const char *)map.data, *end = at + map.size, *found = NULL, *stop;
    for (; at < end && (stop = memchr(at, '\n', (size_t)(end - at))); at = stop + 1)
        if (memmem(at, (size_t)(stop - at), "\"val_top1\"", 10)) found = at;
    ddpm_status s = DDPM_OK;
    if (found) s = json_parse(found, (size_t)((const char *)memchr(found, '\n', (size_t)(end - found)) - found), path, &line);
    file_map_close(&map);
    if (!line) return s;
    double top1, clean;
    int64_t step;
    s = json_get_real(line, "val_top1", &top1);
    if (s == DDPM_OK) s = json_get_real(line, "val_clean_top1", &clean);
    if (s == DDPM_OK) s = json_get_int(line, "step", &step);
    json_free(line);
    DDPM_TRY(s);
    snprintf(text, sizeof text, "top-1 %.2f %% with noise, %.2f %% without, at step %lld", 100 * top1, 100 * clean, (long long)step);
    info_line(r, "validation", text);
    json_put_real(r->o, "val_top1", top1);
    return json_put_real(r->o, "val_clean_top1", clean);
}

static ddpm_status say_config(const info_report *r, const char *path)
{
    json *config = NULL;
    settings *s = malloc(sizeof *s);
    if (!s) return ddpm_fail(DDPM_ENOMEM, "no memory for a configuration");
    settings_defaults(s);
    ddpm_status status = settings_read_document(path, &config);
    const char *command = json_as_string(json_get(config, "command")), *data = json_as_string(json_get(config, "data"));
    if (command) info_say(r, "command", "command", command);
    if (data) info_say(r, "data", "data", data);
    if (status == DDPM_OK) status = settings_read_file(s, path, ORIGIN_CONFIG);
    if (status == DDPM_OK) status = say_options(r, s, GROUP_TRAIN);
    json_free(config);
    free(s);
    return status;
}

static ddpm_status describe_run(const info_report *r, const char *run)
{
    char path[MODEL_PATH_SIZE];
    info_say(r, "kind", "kind", "run");
    DDPM_TRY(checkpoint_join(path, run, "config.json"));
    const info_report model = { r->f, json_new_object(), r->request };
    ddpm_status s = say_config(r, path);
    if (s == DDPM_OK) s = say_last_line(r, run);
    if (s == DDPM_OK) s = say_validation(r, run);
    if (s == DDPM_OK) s = checkpoint_newest(run, path);
    if (s == DDPM_OK) info_say(r, "newest_checkpoint", "newest", path[0] ? path : "no checkpoint yet");
    if (s == DDPM_OK && path[0]) s = open_and_describe(&model, path);
    const ddpm_status put = json_put(r->o, "model", model.o);
    return s == DDPM_OK ? put : s;
}

/* --- other things -------------------------------------------------------------------------- */

static ddpm_status describe_sample(const info_report *r, const char *path, const uint8_t *bytes, size_t len)
{
    static const char *const keys[] = { "Software", "model", "seed", "index", "class", "sampler", "spacing", "start", "inpaint", "xT", "film",
                                         "precision", "isa", "step" };
    int w, h, c;
    char size[64];
    info_say(r, "kind", "kind", "image");
    info_say(r, "path", "path", path);
    DDPM_TRY(image_probe(bytes, len, &w, &h, &c));
    snprintf(size, sizeof size, "%dx%d, %d channels", h, w, c);
    info_say(r, "size", "size", size);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char *value = NULL;
        DDPM_TRY(png_read_text(bytes, len, keys[i], &value));
        if (value) info_say(r, keys[i], keys[i], value);
        free(value);
    }
    return DDPM_OK;
}

static void say_packed(const info_report *r, const packed_about *about)
{
    if (about->source) info_say(r, "source", "packed from", about->source);
    info_say_int(r, "skipped", "bad images", about->skipped);
    info_say(r, "sha256", "SHA-256", about->sha256);
}

static ddpm_status describe_dataset(const info_report *r, const char *spec)
{
    char text[512];
    dataset *d = NULL;
    const dataset_options o = settings_dataset(r->request);
    DDPM_TRY(dataset_open(spec, &o, &d));
    dataset_describe(d, text, sizeof text);
    info_say(r, "kind", "kind", "data set");
    info_say(r, "description", "description", text);
    info_say(r, "format", "format", dataset_format_name(d));
    info_say_int(r, "images", "images", dataset_count(d));
    json_put_int(r->o, "height", dataset_height(d));
    json_put_int(r->o, "width", dataset_width(d));
    json_put_int(r->o, "channels", dataset_channels(d));
    if (pack_about(d)) say_packed(r, pack_about(d));
    const int n = dataset_n_classes(d);
    char **names = calloc((size_t)n + 1, sizeof *names);
    for (int i = 0; names && i < n; i++) names[i] = (char *)dataset_class_name(d, i);
    if (names && n) say_classes(r, names, n);
    const ddpm_status s = names ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the class names");
    free(names);
    dataset_close(d);
    return s;
}

/* A model, or else a data set; both reasons when it is neither. */
static ddpm_status describe_either(const info_report *r, const char *path)
{
    char first[512], second[512];
    if (file_has_ending(path, ".zip") || file_has_ending(path, ".ddpmdata")) return describe_dataset(r, path);   /* PyTorch's files are zips of other names */
    const bool model_files = checkpoint_has(path, FILE_DDPM) || checkpoint_has(path, FILE_INDEX) || checkpoint_has(path, FILE_UNET) ||
                             checkpoint_has(path, "config.json") || (file_exists(path) && !file_is_dir(path) && single_is_model(path));
    const ddpm_status s = open_and_describe(r, path);
    if (s == DDPM_OK) {
        json_put_string(r->o, "kind", "model");
        return DDPM_OK;
    }
    if (model_files || s == DDPM_EIO || s == DDPM_ENOMEM) return s;
    snprintf(first, sizeof first, "%s", ddpm_last_error());
    const ddpm_status t = describe_dataset(r, path);
    if (t == DDPM_OK || file_exists(path)) return t;
    snprintf(second, sizeof second, "%s", ddpm_last_error());
    return ddpm_fail(s, "%s; nor is it a data set: %s", first, second);
}

/* Tensors with the names of a network. */
static bool is_network(const char *path, const uint8_t *bytes, size_t len)
{
    safetensors *st = NULL;
    if (!file_has_ending(path, ".safetensors") || safetensors_open_memory(bytes, len, path, &st) != DDPM_OK) return false;
    const bool network = weights_style(st) != NAMES_COUNT;
    safetensors_close(st);
    return network;
}

/* A network whose file does not say all that a model needs is shown as tensors, with what is missing. */
static ddpm_status describe_network(const info_report *r, const char *path, const uint8_t *bytes, size_t len)
{
    char why[1024];
    const ddpm_status s = describe_either(r, path);
    if (s != DDPM_EINVAL) return s;
    snprintf(why, sizeof why, "%s", ddpm_last_error());
    DDPM_TRY(info_file_form(path, bytes, len)(r, path, bytes, len));
    info_say(r, "as_a_model", "as a model", why);
    return DDPM_OK;
}

/* Weights that do not say all that a model needs: what they show, and what is missing. */
static ddpm_status describe_weights(const info_report *r, const char *path)
{
    char why[1024];
    model_glimpse g;
    const ddpm_status s = describe_either(r, path);
    if (s != DDPM_EINVAL || !single_is_model(path)) return s;
    snprintf(why, sizeof why, "%s", ddpm_last_error());
    if (single_glimpse(path, r->request->v.weights, r->request, &g) != DDPM_OK || !g.missing[0]) return ddpm_fail(s, "%s", why);
    info_say(r, "kind", "kind", "weights");
    info_say(r, "path", "path", path);
    info_say(r, "form", "form", g.form);
    info_say(r, "network", "network", g.network);
    info_say_int(r, "parameters", "parameters", g.parameters);
    info_say(r, "weights", "weights", g.weights);
    if (g.step >= 0) info_say_int(r, "step", "step", g.step);
    info_say(r, "as_a_model", "as a model", why);
    return DDPM_OK;
}

static ddpm_status describe_file(const info_report *r, const char *path)
{
    static const uint8_t PNG[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    file_map map = { 0 };
    if (settings_is_file(path)) {
        info_say(r, "kind", "kind", "configuration");
        return say_config(r, path);
    }
    DDPM_TRY(file_map_open(path, &map));
    const bool png = map.size >= sizeof PNG && !memcmp(map.data, PNG, sizeof PNG);
    const info_describe form = png ? describe_sample : is_network(path, map.data, map.size) ? describe_network : info_file_form(path, map.data, map.size);
    const ddpm_status s = form ? form(r, path, map.data, map.size) : describe_weights(r, path);
    file_map_close(&map);
    return s;
}

ddpm_status tool_info(settings *s, const char *path, char **text, json **summary)
{
    size_t size;
    char *buffer = NULL;
    info_report r = { open_memstream(&buffer, &size), json_new_object(), s };
    if (!r.f || !r.o) return ddpm_fail(DDPM_ENOMEM, "no memory for a report");
    json_put_string(r.o, "schema", "ddpm-info-1");
    const bool file = file_exists(path) && !file_is_dir(path);
    const ddpm_status status = dataset_is_run(path) ? describe_run(&r, path) : file ? describe_file(&r, path) : describe_either(&r, path);
    fclose(r.f);
    if (status == DDPM_OK) {
        *text = buffer;
        *summary = r.o;
        return DDPM_OK;
    }
    free(buffer);
    json_free(r.o);
    return status;
}
