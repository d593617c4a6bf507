/* Images between images: DDIM's way through their latents, DDPM's from a mixture of their noisy versions. */
#include "api/frames.h"
#include "api/latents.h"
#include "api/model_data.h"
#include "base/clock.h"
#include "diffusion/interpolate.h"
#include "io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CORNERS = 4 };

/* A word of the command line: an image, or the latent of a seed. */
typedef struct {
    const char *word;
    bool        drawn;               /* seed:N                                             */
    uint64_t    seed;
    float      *image, *latent;      /* [h,w,c]                                            */
} end_point;

/* Everything one call of the command holds. */
typedef struct {
    settings          *request;
    const tool_events *ev;
    generator          g;
    end_point          end[CORNERS];
    int                ends, images; /* words; those of them that are images               */
    int                count, rows;  /* a row of pictures; rows                            */
    int                skip[OPTION_LIST_MAX];       /* of each row, --at only; T: nothing to walk */
    bool               moving;       /* .gif                                               */
    int                y;
    float             *x;            /* [rows,count,h,w,c]                                 */
    double             begin;
} session;

static bool stochastic(const session *s) { return s->request->v.at.n > 0; }

/* --- ends -------------------------------------------------------------------------------- */

static ddpm_status parse_ends(session *s, const char *const *words)
{
    for (int k = 0; k < s->ends; k++) {
        end_point *e = &s->end[k];
        char *rest;
        e->word = words[k];
        e->drawn = !strncmp(e->word, "seed:", 5);
        if (e->drawn) {
            const long long seed = strtoll(e->word + 5, &rest, 10);
            if (!e->word[5] || *rest || seed < 0 || seed > 9000000000000000) return ddpm_fail(DDPM_EINVAL, "\"%.100s\" is no seed; write seed:N", e->word);
            e->seed = (uint64_t)seed;
        }
        s->images += !e->drawn;
    }
    if (stochastic(s) && s->images < s->ends)
        return ddpm_fail(DDPM_EINVAL, "--at mixes images, and a seed is none; draw it first: ddpm sample MODEL -o A.png --index 0 --seed N");
    if (stochastic(s) && s->ends > 2) return ddpm_fail(DDPM_EINVAL, "--at goes from one image to another; give two of them, not %d", s->ends);
    return DDPM_OK;
}

/* The one image of a data set, which a PNG or JPEG file is. */
static ddpm_status read_one(model_data *d, end_point *e)
{
    int y;
    if (dataset_count(d->data) == 1) return model_data_read(d, 0, e->image, &y, NULL);
    return ddpm_fail(DDPM_EINVAL, "%s holds %lld images; name one image file", e->word, (long long)dataset_count(d->data));
}

static ddpm_status read_image(const session *s, end_point *e)
{
    model_data d;
    ddpm_status status = model_data_open_images(s->g.model, s->request, e->word, &d);
    if (status == DDPM_OK) status = read_one(&d, e);
    model_data_close(&d);
    return status;
}

static ddpm_status reserve(session *s)
{
    const size_t len = s->g.image_len;
    for (int k = 0; k < s->ends; k++) {
        s->end[k].image = malloc(len * sizeof *s->end[k].image);
        s->end[k].latent = malloc(len * sizeof *s->end[k].latent);
        if (!s->end[k].image || !s->end[k].latent) return ddpm_fail(DDPM_ENOMEM, "no memory for the images");
    }
    s->x = malloc((size_t)s->rows * (size_t)s->count * len * sizeof *s->x);
    return s->x ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for %d images; use a smaller --count", s->rows * s->count);
}

/* --- preparation --------------------------------------------------------------------------- */

static ddpm_status choose_output(session *s)
{
    const char *out = s->request->v.output;
    if (!out[0]) return ddpm_fail(DDPM_EINVAL, "no output; give -o FILE.png or -o FILE.gif");
    s->moving = file_has_ending(out, ".gif");
    if (!s->moving && !file_has_ending(out, ".png")) return ddpm_fail(DDPM_EINVAL, "-o %s: the name must end in .png (a row) or .gif (a film)", out);
    if (s->moving && s->ends > 2) return ddpm_fail(DDPM_EINVAL, "-o %s: a grid between four corners does not move; write a .png", out);
    return file_check_target(out);
}

/* One class for the whole way: the images' own are not known, and a class for each step would be another way. */
static ddpm_status choose_class(session *s)
{
    const settings_values *m = &s->g.model->s.v;
    int64_t label;
    if (settings_origin(s->request, "class") > ORIGIN_DEFAULT) {
        const char *word = s->request->v.class_label;
        if (m->class_cond && (!strcmp(word, "all") || !strcmp(word, "random")))
            return ddpm_fail(DDPM_EINVAL, "--class %s: all images between two others have one class; name it", word);
        DDPM_TRY(generator_class(&s->g, word, &label));
        s->y = (int)label;
        return DDPM_OK;
    }
    if (!m->class_cond) return DDPM_OK;
    if (m->label_dropout <= 0) return ddpm_fail(DDPM_EINVAL, "this model is class-conditional; give the class of the images with --class");
    if (s->request->v.guidance != 1) return ddpm_fail(DDPM_EINVAL, "--guidance %g needs a class to follow; give --class", s->request->v.guidance);
    s->y = m->num_classes;
    tool_message(s->ev, "no --class is given: the model draws as it does without a class");
    return DDPM_OK;
}

/* The row that a chain with so many timesteps of noise goes on from: the noisiest one at or below. */
static ddpm_status choose_row(session *s, int k)
{
    const schedule *steps = &s->g.how.steps;
    const int T = s->g.how.full.T, at = s->request->v.at.v[k];
    const int row = sampling_row(&s->g.how, at);
    if (at > T) return ddpm_fail(DDPM_EINVAL, "--at %d: this model has T = %d timesteps", at, T);
    if (row < 0 && at)
        return ddpm_fail(DDPM_EINVAL, "--at %d: the lowest of the %d timesteps to walk is %d; give 0, or more --steps", at, steps->T, steps->timestep_map[0] + 1);
    s->skip[k] = steps->T - 1 - row;
    return DDPM_OK;
}

/* Pictures of a row: the images themselves at both ends, of a grid or a film only what lies between. */
static int columns(const session *s) { return s->count + (s->images == 2 && s->ends == 2 && !s->moving ? 2 : 0); }

static frames_film film_of(const session *s, const uint8_t *pixels)
{
    return (frames_film){ .images = s->rows, .frames = s->count, .columns = s->rows, .swing = true, .delay = 12, .rest = 60, .pixels = pixels };
}

static ddpm_status check_size(const session *s)
{
    const frames_film film = film_of(s, NULL);
    int w, h;
    return s->moving ? frames_check(&s->g, &film) : draw_grid_size(s->rows * columns(s), s->g.height, s->g.width, columns(s), &w, &h);
}

static ddpm_status prepare(session *s, const char *model)
{
    const settings_values *v = &s->request->v;
    DDPM_TRY(choose_output(s));
    if (stochastic(s)) DDPM_TRY(settings_set(s->request, "sampler", "ddpm", ORIGIN_CONFIG));
    else if (s->images) DDPM_TRY(latents_chain(s->request, true, s->ev));
    else DDPM_TRY(settings_set(s->request, "sampler", "ddim", ORIGIN_CONFIG));
    const bool ours = !stochastic(s) && s->images && engine_prefer_f32(s->request);
    DDPM_TRY(generator_open(model, s->request, s->ev, &s->g));
    DDPM_TRY(choose_class(s));
    s->count = v->count;
    s->rows = stochastic(s) ? v->at.n : s->ends == CORNERS ? v->count : 1;
    for (int k = 0; k < v->at.n; k++) DDPM_TRY(choose_row(s, k));
    DDPM_TRY(check_size(s));
    DDPM_TRY(reserve(s));
    for (int k = 0; k < s->ends; k++)
        if (!s->end[k].drawn) DDPM_TRY(read_image(s, &s->end[k]));
    if (!stochastic(s) && s->images) latents_meet(&s->g);
    DDPM_TRY(generator_load(&s->g));
    if (ours) s->g.e.reason = "encoding is";
    return DDPM_OK;
}

/* --- the ways ---------------------------------------------------------------------------------- */

static void tell_progress(const session *s, int done)
{
    tool_tell_progress(s->ev, (tool_progress){ .what = "drawing", .unit = "images", .done = done, .total = s->rows * s->count, .line = true }, s->begin);
}

/* n images of the same seed, index and class: they differ in where they start. */
static ddpm_status walk(session *s, const drawing *d, int n, float *x)
{
    uint64_t *address = calloc(2 * (size_t)n, sizeof *address);
    int *y = calloc((size_t)n, sizeof *y);
    ddpm_status status = address && y ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory to draw %d images at once; use a smaller --batch", n);
    for (int k = 0; k < n && status == DDPM_OK; k++) {
        address[k] = (uint64_t)s->request->v.seed;
        y[k] = s->y;
    }
    const draw_batch b = { .n = n, .seed = address, .index = address + n, .y = s->g.model->s.v.class_cond ? y : NULL, .given_xT = true, .x = x };
    if (status == DDPM_OK) status = generator_draw(&s->g, d, b);
    free(address);
    free(y);
    return status;
}

/* The images at x, in batches, from `skip` steps below the noise on. */
static ddpm_status draw_row(session *s, int row, int skip)
{
    const int batch = s->request->v.batch_size ? s->request->v.batch_size : SAMPLING_BATCH, all = s->count;
    drawing d = generator_drawing(&s->g);
    d.skip = skip;
    for (int first = 0; first < all; first += batch) {
        const int n = all - first < batch ? all - first : batch;
        if (skip < s->g.how.steps.T) DDPM_TRY(walk(s, &d, n, s->x + ((size_t)row * (size_t)all + (size_t)first) * s->g.image_len));
        tell_progress(s, row * all + first + n);
        DDPM_TRY(generator_interrupted(&s->g, "before all images were drawn"));
    }
    return DDPM_OK;
}

static ddpm_status find_latents(session *s)
{
    drawing up = generator_drawing(&s->g);
    up.encode = true;
    for (int k = 0; k < s->ends; k++) {
        end_point *e = &s->end[k];
        if (e->drawn) {
            rng_normals((rng_address){ e->seed, RNG_XT, 0, 0 }, 0, s->g.image_len, e->latent);
            continue;
        }
        memcpy(e->latent, e->image, s->g.image_len * sizeof *e->latent);
        DDPM_TRY(walk(s, &up, 1, e->latent));
    }
    return DDPM_OK;
}

/* A grid is a slerp down the columns between the slerps of its upper and lower edge. */
static ddpm_status mix_latents(session *s, float *edge)
{
    const size_t len = s->g.image_len;
    for (int k = 0; k < s->rows * s->count; k++) {
        float *z = s->x + (size_t)k * len;
        const double u = (double)(k % s->count) / (s->count - 1), v = s->rows > 1 ? (double)(k / s->count) / (s->rows - 1) : 0;
        DDPM_TRY(interpolate_slerp(len, u, s->end[0].latent, s->end[1].latent, z));
        if (s->ends < CORNERS) continue;
        DDPM_TRY(interpolate_slerp(len, u, s->end[2].latent, s->end[3].latent, edge));
        DDPM_TRY(interpolate_slerp(len, v, z, edge, z));
    }
    return DDPM_OK;
}

static ddpm_status spherical(session *s)
{
    float *edge = malloc(s->g.image_len * sizeof *edge);
    ddpm_status status = edge ? find_latents(s) : ddpm_fail(DDPM_ENOMEM, "no memory for a latent");
    if (status == DDPM_OK) status = mix_latents(s, edge);
    free(edge);
    for (int row = 0; row < s->rows && status == DDPM_OK; row++) status = draw_row(s, row, 0);
    return status;
}

/* Both images keep their noise along a row and from row to row, and all chains have the same noise: only the mixture differs.
 * Without any noise the mixture is the picture. */
static ddpm_status mix_images(session *s)
{
    const size_t len = s->g.image_len;
    const uint64_t seed = (uint64_t)s->request->v.seed, index = 0;
    const draw_batch one = { .n = 1, .seed = &seed, .index = &index };
    float *noise1 = s->end[0].latent, *noise2 = s->end[1].latent;
    draw_normals(&one, RNG_START, 0, len, noise1);
    draw_normals(&one, RNG_START, 1, len, noise2);
    for (int row = 0; row < s->rows; row++) {
        const int at = s->g.how.steps.T - 1 - s->skip[row];
        for (int k = 0; k < s->count; k++) {
            const double lambda = (double)k / (s->count - 1);
            float *x = s->x + ((size_t)row * (size_t)s->count + (size_t)k) * len;
            if (at >= 0) interpolate_stochastic(&s->g.how.steps, at, lambda, len, s->end[0].image, noise1, s->end[1].image, noise2, x);
            for (size_t i = 0; i < len && at < 0; i++) x[i] = (float)(1 - lambda) * s->end[0].image[i] + (float)lambda * s->end[1].image[i];
        }
        DDPM_TRY(draw_row(s, row, s->skip[row]));
    }
    return DDPM_OK;
}

/* --- the picture -------------------------------------------------------------------------------- */

enum { MAX_OWN = CORNERS + 3 };

typedef struct { png_pair pair[MAX_OWN]; int count; char seed[32], label[32], at[OPTION_TEXT_SIZE]; } own_text;

static void say(own_text *t, const char *key, const char *value) { t->pair[t->count++] = (png_pair){ key, value }; }

/* What the picture depends on beside the model and the chain: the same picture is the same file. */
static void say_own(const session *s, own_text *t)
{
    static const char *const names[CORNERS] = { "A", "B", "C", "D" };
    const settings_values *m = &s->g.model->s.v;
    t->count = 0;
    for (int k = 0; k < s->ends; k++) {
        const char *slash = s->end[k].drawn ? NULL : strrchr(s->end[k].word, '/');
        say(t, names[k], slash ? slash + 1 : s->end[k].word);
    }
    snprintf(t->seed, sizeof t->seed, "%lld", (long long)s->request->v.seed);
    say(t, "seed", t->seed);
    if (s->y < m->num_classes) snprintf(t->label, sizeof t->label, "%d", s->y);
    else snprintf(t->label, sizeof t->label, "none");
    if (m->class_cond) say(t, "class", t->label);
    options_print(settings_options, &s->request->v, options_find(settings_options, "at"), t->at);
    if (stochastic(s)) say(t, "at", t->at);
}

static ddpm_status write_pixels(const session *s, const uint8_t *pixels)
{
    const frames_film film = film_of(s, pixels);
    const char *out = s->request->v.output;
    own_text own;
    say_own(s, &own);
    if (s->moving) return frames_write(&s->g, out, &film, own.pair, own.count);
    return generator_write_grid(&s->g, out, pixels, s->rows * columns(s), columns(s), own.pair, own.count);
}

static ddpm_status write_picture(const session *s)
{
    const size_t len = s->g.image_len;
    const int wide = columns(s), margin = (wide - s->count) / 2;
    uint8_t *pixels = malloc((size_t)(s->rows * wide) * len);
    if (!pixels) return ddpm_fail(DDPM_ENOMEM, "no memory for the picture");
    for (int k = 0; k < s->rows * wide; k++) {
        const int column = k % wide - margin;
        const float *x = column < 0 ? s->end[0].image : column == s->count ? s->end[1].image : s->x + (size_t)(k / wide * s->count + column) * len;
        generator_quantize(&s->g, x, len, pixels + (size_t)k * len);
    }
    const ddpm_status status = write_pixels(s, pixels);
    free(pixels);
    return status;
}

static ddpm_status summarise(const session *s, json **summary)
{
    if (!summary) return DDPM_OK;
    json *o = *summary = json_new_object();
    json_put_string(o, "schema", "ddpm-interpolate-1");
    json_put_string(o, "output", s->request->v.output);
    json_put_string(o, "model", s->g.model->path);
    json_put_string(o, "fingerprint", s->g.fingerprint);
    json_put_string(o, "way", stochastic(s) ? "stochastic" : "spherical");
    json_put_int(o, "rows", s->rows);
    json_put_int(o, "columns", columns(s));
    json_put_int(o, "steps", s->g.how.steps.T);
    json_put_int(o, "network_calls", s->g.calls);
    json_put_string(o, "precision", engine_precision(&s->g.e));
    json_put_string(o, "isa", s->g.e.backend->isa);
    return json_put_real(o, "seconds", clock_now() - s->begin);
}

static void close_session(session *s)
{
    for (int k = 0; k < s->ends; k++) {
        free(s->end[k].image);
        free(s->end[k].latent);
    }
    free(s->x);
    generator_close(&s->g);
}

ddpm_status tool_interpolate(settings *request, const char *model, const char *const *ends, int count, const tool_events *ev, json **summary)
{
    session s = { .request = request, .ev = ev, .ends = count, .begin = clock_now() };
    ddpm_status status = parse_ends(&s, ends);
    if (status == DDPM_OK) status = prepare(&s, model);
    if (status == DDPM_OK) generator_tell(&s.g);
    if (status == DDPM_OK) status = stochastic(&s) ? mix_images(&s) : spherical(&s);
    if (status == DDPM_OK) status = write_picture(&s);
    if (status == DDPM_OK) status = summarise(&s, summary);
    close_session(&s);
    return status;
}
