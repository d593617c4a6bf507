#include "api/sample_session.h"

#include "api/latents.h"
#include "api/measure.h"
#include "base/rng.h"
#include "io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- which images ------------------------------------------------------------------- */

static ddpm_status choose_images(sample_session *s)
{
    const settings_values *v = &s->request->v;
    long long a, b;
    char rest;
    s->first_seed = (uint64_t)v->seed;
    s->count = s->memory ? s->memory->n : v->num_samples;
    if (s->memory) {
        s->by_seed = s->memory->seed;
        s->first_index = s->memory->first;
    }
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

/* --xT must have a latent for every image. */
static ddpm_status count_latents(const sample_session *s)
{
    const char *path = s->request->v.xT;
    int64_t count;
    if (!path[0]) return DDPM_OK;
    DDPM_TRY(generator_count_latents(&s->g, path, &count));
    if (count >= (int64_t)s->first_index + s->count) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "%s holds %lld latents; images up to number %lld are asked for (-n, --index)", path, (long long)count,
                     (long long)s->first_index + s->count - 1);
}

/* One image for each small one, unless it is said how many. */
static ddpm_status open_base(sample_session *s)
{
    const settings_values *v = &s->request->v;
    if (!s->g.model->s.v.small_size) return DDPM_OK;
    DDPM_TRY(base_images_open(s->g.model, s->request, s->ev, &s->base));
    const int64_t all = base_images_count(s->base);
    if (s->memory || v->seeds[0] || v->index >= 0 || settings_origin(s->request, "num_samples") > ORIGIN_DEFAULT) return DDPM_OK;
    if (all > INT32_MAX) return ddpm_fail(DDPM_EINVAL, "%s holds %lld images; say with -n how many to enlarge", v->base_samples, (long long)all);
    s->count = (int)all;
    s->batch = v->batch_size ? v->batch_size : SAMPLING_BATCH;
    if (s->batch > s->count) s->batch = s->count;
    return DDPM_OK;
}

uint64_t sample_seed(const sample_session *s, int k)
{
    if (s->memory && s->memory->seed) return s->memory->seed[k];
    return s->by_seed ? s->first_seed + (uint64_t)k : s->first_seed;
}

uint64_t sample_index(const sample_session *s, int k)  { return s->by_seed ? 0 : s->first_index + (uint64_t)k; }
uint64_t sample_number(const sample_session *s, int k) { return s->by_seed ? sample_seed(s, k) : sample_index(s, k); }

/* A caller's own labels. */
static ddpm_status take_labels(sample_session *s)
{
    const settings_values *m = &s->g.model->s.v;
    const int classes = generator_classes(&s->g);
    const bool null_class = m->class_cond && m->label_dropout > 0 && !s->g.guide;
    if (!classes) return ddpm_fail(DDPM_EINVAL, "labels are given, but this model is not class-conditional");
    for (int k = 0; k < s->count; k++) {
        s->labels[k] = s->memory->label[k];
        if (s->labels[k] < 0 || s->labels[k] >= classes + null_class)
            return ddpm_fail(DDPM_EINVAL, "label %lld of image %d is none of this model's, 0 to %d%s", (long long)s->labels[k], k, classes - 1,
                             null_class ? " or its null class" : "");
    }
    return DDPM_OK;
}

static bool class_chosen(const sample_session *s) { return settings_origin(s->request, "class") > ORIGIN_DEFAULT; }

const char *sample_class_word(const sample_session *s) { return s->g.guide && !class_chosen(s) && !s->sheet.label ? "random" : s->request->v.class_label; }

static ddpm_status choose_classes(sample_session *s)
{
    if (s->memory && s->memory->label) return take_labels(s);
    if (s->sheet.label) {
        sample_sheet_labels(s);
        return DDPM_OK;
    }
    const int classes = generator_classes(&s->g);
    const bool chosen = class_chosen(s);
    const char *word = sample_class_word(s);
    const bool base = s->base && base_images_labelled(s->base), own = base || s->start.own_labels;
    const bool all = !own && !strcmp(word, "all"), random = !own && !strcmp(word, "random");
    bool found = false;
    int64_t one = 0;
    if (!classes && !chosen) return DDPM_OK;
    if (classes && !chosen && s->request->v.xT[0])
        DDPM_TRY(latents_classes(&s->g, s->request->v.xT, (int64_t)s->first_index, s->count, s->labels, &found));
    if (found) return DDPM_OK;
    if (!classes || !(own || all || random)) DDPM_TRY(generator_class(&s->g, word, &one));
    for (int k = 0; k < s->count; k++) {
        const rng_address a = { sample_seed(s, k), RNG_CLASS, 0, sample_index(s, k) };
        if (base) DDPM_TRY(base_images_class(s->base, sample_number(s, k), &s->labels[k]));
        else s->labels[k] = own ? sample_start_class(s, k) : all ? (int64_t)(sample_number(s, k) % (uint64_t)classes)
                           : random ? (int64_t)rng_below(a, 0, (uint64_t)classes) : one;
    }
    if (all) s->columns = classes < s->count ? classes : s->count;
    return DDPM_OK;
}

/* --- a batch -------------------------------------------------------------------------- */

static ddpm_status batch_new(sample_session *s)
{
    sample_batch *b = &s->b;
    const size_t n = (size_t)s->batch, len = n * s->g.image_len;
    b->seed = malloc(n * sizeof *b->seed);
    b->index = malloc(n * sizeof *b->index);
    b->y = malloc(n * sizeof *b->y);
    b->x = malloc(len * sizeof *b->x);
    if (s->start.given) b->image = malloc(len * sizeof *b->image);
    if (s->start.fill) b->mask = malloc(n * (size_t)s->g.dims.pixels);
    if (s->base) b->condition = malloc(len * sizeof *b->condition);
    if (b->seed && b->index && b->y && b->x && (b->image || !s->start.given) && (b->mask || !s->start.fill) && (b->condition || !s->base)) return DDPM_OK;
    return ddpm_fail(DDPM_ENOMEM, "no memory to draw %d images at once; use a smaller --batch", s->batch);
}

static void batch_free(sample_batch *b)
{
    free(b->seed);
    free(b->index);
    free(b->y);
    free(b->x);
    free(b->image);
    free(b->mask);
    free(b->condition);
}

static ddpm_status batch_fill(sample_session *s, const draw_batch *draw)
{
    sample_batch *b = &s->b;
    for (int i = 0; i < b->n; i++) {
        b->seed[i] = sample_seed(s, b->first + i);
        b->index[i] = sample_index(s, b->first + i);
        b->y[i] = (int)s->labels[b->first + i];
        if (s->base) DDPM_TRY(base_images_read(s->base, sample_number(s, b->first + i), b->condition + (size_t)i * s->g.image_len));
    }
    if (s->memory && s->memory->latents) memcpy(b->x, s->memory->latents + (size_t)b->first * s->g.image_len, (size_t)b->n * s->g.image_len * sizeof *b->x);
    else if (s->request->v.xT[0]) DDPM_TRY(generator_read_latents(&s->g, s->request->v.xT, (int64_t)s->first_index + b->first, b->n, b->x));
    return s->start.given ? sample_start_fill(s, draw) : DDPM_OK;
}

/* The batch into 8-bit pixels. */
static ddpm_status draw_batch_of(sample_session *s, uint8_t *pixels)
{
    sample_batch *b = &s->b;
    const bool given = (s->memory && s->memory->latents) || s->request->v.xT[0] || (s->start.given && !s->start.fill);
    const draw_batch draw = { .n = b->n, .seed = b->seed, .index = b->index, .y = generator_classes(&s->g) ? b->y : NULL, .given_xT = given, .x = b->x,
                              .condition = b->condition };
    inpainting fill = s->start.way;
    drawing d = generator_drawing(&s->g);
    d.skip = s->start.skip;
    fill.image = b->image;
    fill.mask = b->mask;
    if (s->start.fill) d.fill = &fill;
    if (s->film.frames) {
        d.observe = sample_film_observe;
        d.observe_ctx = s;
        s->film.seen = s->film.filled = 0;
    }
    DDPM_TRY(batch_fill(s, &draw));
    DDPM_TRY(generator_draw(&s->g, &d, draw));
    generator_quantize(&s->g, b->x, (size_t)b->n * s->g.image_len, pixels);
    if (s->start.fill) sample_start_restore(s, pixels);
    if (s->film.frames) sample_film_end(s, pixels);
    return DDPM_OK;
}

/* --- all of them ------------------------------------------------------------------------ */

/* A batch on its way out, where it does not wait for the others. */
static ddpm_status hand_over(const sample_session *s, int first, int n, const uint8_t *pixels)
{
    const size_t at = (size_t)first * s->g.image_len, len = (size_t)n * s->g.image_len;
    if (s->kind == SAMPLE_FOLDER) return sample_output_folder(s, first, n, pixels);
    if (s->kind == SAMPLE_MEMORY && s->memory->pixels) memcpy(s->memory->pixels + at, pixels, len);
    if (s->kind == SAMPLE_MEMORY && s->memory->images) memcpy(s->memory->images + at, s->b.x, len * sizeof *s->b.x);
    return s->kind == SAMPLE_MEMORY && s->memory->take ? s->memory->take(s->memory->take_ctx, pixels, n) : DDPM_OK;
}

static bool one_batch(const sample_session *s) { return s->kind == SAMPLE_FOLDER || s->kind == SAMPLE_MEMORY; }

static ddpm_status draw_all(sample_session *s)
{
    const int batches = (s->count + s->batch - 1) / s->batch;
    s->g.work.images = s->count;
    s->g.work.calls = (int64_t)batches * s->calls;
    s->g.work.begin = clock_now();
    for (int first = 0; first < s->count; first += s->batch) {
        const int n = s->count - first < s->batch ? s->count - first : s->batch;
        uint8_t *at = s->pixels + (one_batch(s) ? 0 : (size_t)first * s->g.image_len);
        s->b.first = first;
        s->b.n = n;
        DDPM_TRY(draw_batch_of(s, at));
        DDPM_TRY(hand_over(s, first, n, at));
        s->g.work.done = first + n;
        const tool_progress p = { .what = "sampling", .unit = "images", .done = first + n, .total = s->count, .line = true };
        tool_tell_progress(s->ev, p, s->g.work.begin);
    }
    return DDPM_OK;
}

/* What has to be known of the images; the generator is open. */
static ddpm_status prepare_images(sample_session *s)
{
    int steps;
    DDPM_TRY(sample_sheet_plan(s));
    DDPM_TRY(open_base(s));
    DDPM_TRY(count_latents(s));
    DDPM_TRY(sample_start_open(s));
    s->labels = calloc((size_t)s->count, sizeof *s->labels);
    s->pixels = malloc((size_t)(one_batch(s) ? s->batch : s->count) * s->g.image_len);
    if (!s->labels || !s->pixels) return ddpm_fail(DDPM_ENOMEM, "no memory for %d images", s->count);
    DDPM_TRY(choose_classes(s));
    if (!s->memory) DDPM_TRY(sample_output_check(s));
    DDPM_TRY(sample_start_count(s->request, &s->g.how, &steps, &s->calls));
    DDPM_TRY(sample_film_plan(s, steps));
    return batch_new(s);
}

/* --- the command and the library ---------------------------------------------------------- */

static ddpm_status prepare(sample_session *s, const char *model)
{
    DDPM_TRY(sample_output_choose(s));
    DDPM_TRY(choose_images(s));
    DDPM_TRY(sample_start_check(s->request));
    DDPM_TRY(generator_open(model, s->request, s->ev, &s->g));
    DDPM_TRY(prepare_images(s));
    return generator_load(&s->g);
}

static void put_guide(const sample_session *s, json *o)
{
    const classifier_facts *f = classifier_about(s->g.guide);
    json_put_string(o, "classifier", f->model->path);
    json_put_string(o, "classifier_fingerprint", f->fingerprint);
    json_put_real(o, "classifier_scale", s->request->v.classifier_scale);
    json_put_int(o, "classifier_calls", classifier_calls(s->g.guide));
}

static ddpm_status summarise(const sample_session *s, double seconds, json **summary)
{
    if (!summary) return DDPM_OK;
    json *o = json_new_object();
    json_put_string(o, "schema", "ddpm-sample-1");
    json_put_string(o, "output", s->request->v.output);
    json_put_string(o, "model", s->g.model->path);
    json_put_string(o, "fingerprint", s->g.fingerprint);
    json_put_int(o, "images", s->count);
    json_put_int(o, "steps", s->g.how.steps.T - s->start.skip);
    if (s->start.step) json_put_int(o, "start_step", s->start.step);
    json_put_int(o, "network_calls", s->g.calls);
    if (s->g.guide) put_guide(s, o);
    json_put_int(o, "peak_rss_bytes", (int64_t)measure_peak_rss());
    if (s->film.frames) json_put_int(o, "frames", s->film.frames);
    json_put_string(o, "precision", engine_precision(&s->g.e));
    json_put_string(o, "isa", s->g.e.backend->isa);
    *summary = o;
    return json_put_real(o, "seconds", seconds);
}

static void session_close(sample_session *s)
{
    batch_free(&s->b);
    sample_start_close(&s->start);
    base_images_close(s->base);
    generator_close(&s->g);
    free(s->film.pixels);
    free(s->sheet.label);
    free(s->labels);
    free(s->pixels);
}

ddpm_status tool_sample(settings *request, const char *model, const tool_events *ev, json **summary)
{
    sample_session s = { .request = request, .ev = ev };
    const double begin = clock_now();
    ddpm_status status = prepare(&s, model);
    if (status == DDPM_OK) {
        generator_tell(&s.g);
        sample_start_tell(&s);
        status = draw_all(&s);
    }
    if (status == DDPM_OK) status = sample_output_write(&s);
    if (status == DDPM_OK) {
        tool_message(ev, "%d images with %lld network calls of %d steps in %.1f s: %s", s.count, (long long)s.g.calls,
                     s.g.how.steps.T - s.start.skip, clock_now() - begin, request->v.output);
        status = summarise(&s, clock_now() - begin, summary);
    }
    if (status != DDPM_OK) dir_unmake(request->v.output, s.made);
    session_close(&s);
    return status;
}

static ddpm_status check_latents(const settings *request)
{
    const settings_values *v = &request->v;
    if (!v->xT[0] && !v->start_image[0]) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "latents are given, and so is %s; one of them says where the chain starts", v->xT[0] ? "xT" : "start_image");
}

ddpm_status sample_into(model_file *file, const engine *e, const network *n, const settings *request, const tool_events *ev, const sample_memory *memory)
{
    sample_session s = { .request = request, .ev = ev, .kind = SAMPLE_MEMORY, .memory = memory };
    if (memory->latents) DDPM_TRY(check_latents(request));
    DDPM_TRY(choose_images(&s));
    DDPM_TRY(sample_start_check(request));
    DDPM_TRY(generator_borrow(file, e, n, request, ev, &s.g));
    ddpm_status status = prepare_images(&s);
    if (status == DDPM_OK) {
        generator_tell(&s.g);
        sample_start_tell(&s);
        if (memory->calls) *memory->calls = s.calls;
        status = draw_all(&s);
    }
    session_close(&s);
    return status;
}
