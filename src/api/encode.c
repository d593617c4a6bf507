/* DDIM inversion: images up the deterministic path to their latents, and back to see what was lost. */
#include "api/latents.h"
#include "api/model_data.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Everything one call of the command holds. */
typedef struct {
    settings          *request;
    const tool_events *ev;
    generator          g;
    model_data         data;
    bool               ours;         /* the precision was chosen here           */
    int                count, batch, done, bad;
    uint64_t          *choice;       /* [count] numbers of the images           */
    uint64_t          *seed;         /* [batch] zeros: nothing here is random   */
    int64_t           *index;        /* [count] of those that could be read     */
    int               *y;            /* [count]                                 */
    float             *x;            /* [count,h,w,c] latents                   */
    float             *image, *back; /* [batch,h,w,c] given, and decoded        */
    double            *mse, *worst;  /* [count] of the round trip, on [0,1]     */
} session;

/* --- preparation --------------------------------------------------------------------------- */

static ddpm_status check_output(const char *out)
{
    static const char END[] = ".safetensors";
    const size_t n = strlen(out), m = sizeof END - 1;
    if (!n) return ddpm_fail(DDPM_EINVAL, "no output; give -o LATENTS.safetensors");
    if (n < m || strcasecmp(out + n - m, END)) return ddpm_fail(DDPM_EINVAL, "-o %s: the name of a file of latents ends in .safetensors", out);
    return file_check_target(out);
}

static ddpm_status reserve(session *s)
{
    const size_t n = (size_t)s->count, batch = (size_t)s->batch, len = s->g.image_len;
    s->choice = calloc(n, sizeof *s->choice);
    s->seed = calloc(batch, sizeof *s->seed);
    s->index = calloc(n, sizeof *s->index);
    s->y = calloc(n, sizeof *s->y);
    s->mse = calloc(n, sizeof *s->mse);
    s->worst = calloc(n, sizeof *s->worst);
    s->x = malloc(n * len * sizeof *s->x);
    s->image = malloc(batch * len * sizeof *s->image);
    s->back = malloc(batch * len * sizeof *s->back);
    return s->choice && s->seed && s->index && s->y && s->mse && s->worst && s->x && s->image && s->back
               ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the latents of %d images; encode fewer", s->count);
}

static ddpm_status prepare(session *s, const char *model, const char *data)
{
    const settings_values *v = &s->request->v;
    DDPM_TRY(check_output(v->output));
    DDPM_TRY(latents_chain(s->request, true, s->ev));
    s->ours = engine_prefer_f32(s->request);
    DDPM_TRY(generator_open(model, s->request, s->ev, &s->g));
    DDPM_TRY(model_data_open(s->g.model, s->request, data, false, s->ev, &s->data));
    const int64_t all = dataset_count(s->data.data);
    if (v->num_samples > all) tool_message(s->ev, "there are only %lld images; all of them are encoded", (long long)all);
    s->count = (int)(v->num_samples < all ? v->num_samples : all);
    s->batch = v->batch_size ? v->batch_size : SAMPLING_BATCH;
    if (s->batch > s->count) s->batch = s->count;
    DDPM_TRY(reserve(s));
    model_data_choose(&s->data, s->count, s->choice);
    latents_meet(&s->g);
    DDPM_TRY(generator_load(&s->g));
    if (s->ours) s->g.e.reason = "encoding is";
    return DDPM_OK;
}

/* --- there and back --------------------------------------------------------------------------- */

/* Images into the batch until it is full or there are no more; those that cannot be read are left out. */
static ddpm_status read_batch(session *s, int *next, int *n)
{
    for (*n = 0; *n < s->batch && *next < s->count; ++*next) {
        const int at = s->done + *n;
        const ddpm_status status = model_data_read(&s->data, (int64_t)s->choice[*next], s->image + (size_t)*n * s->g.image_len, s->y + at, NULL);
        if (status == DDPM_EFORMAT && !s->request->v.strict) {
            log_warn("%s; it is left out", ddpm_last_error());
            s->bad++;
            continue;
        }
        DDPM_TRY(status);
        s->index[at] = (int64_t)s->choice[*next];
        ++*n;
    }
    return DDPM_OK;
}

/* Differences of values in [-1,1] are twice those in [0,1]. */
static void compare(session *s, int n)
{
    const size_t len = s->g.image_len;
    for (int k = 0; k < n; k++) {
        double sum = 0, worst = 0;
        for (size_t i = 0; i < len; i++) {
            const double d = 0.5 * ((double)s->back[(size_t)k * len + i] - (double)s->image[(size_t)k * len + i]);
            sum += d * d;
            worst = fmax(worst, fabs(d));
        }
        s->mse[s->done + k] = sum / (double)len;
        s->worst[s->done + k] = worst;
    }
}

static ddpm_status encode_batch(session *s, int n)
{
    float *x = s->x + (size_t)s->done * s->g.image_len;
    const size_t bytes = (size_t)n * s->g.image_len * sizeof *x;
    drawing d = generator_drawing(&s->g);
    draw_batch b = { .n = n, .seed = s->seed, .index = (const uint64_t *)s->index + s->done, .y = s->g.model->s.v.class_cond ? s->y + s->done : NULL,
                     .given_xT = true, .x = x };
    d.encode = true;
    memcpy(x, s->image, bytes);
    DDPM_TRY(generator_draw(&s->g, &d, b));
    d.encode = false;
    memcpy(s->back, x, bytes);
    b.x = s->back;
    DDPM_TRY(generator_draw(&s->g, &d, b));
    compare(s, n);
    s->done += n;
    return DDPM_OK;
}

static ddpm_status encode_all(session *s)
{
    const double begin = clock_now();
    for (int next = 0; next < s->count; ) {
        int n;
        DDPM_TRY(read_batch(s, &next, &n));
        if (n) DDPM_TRY(encode_batch(s, n));
        tool_tell_progress(s->ev, (tool_progress){ .what = "encoding", .unit = "images", .done = next, .total = s->count, .line = true }, begin);
        if (next < s->count) DDPM_TRY(generator_interrupted(&s->g, "while encoding; nothing is written"));
    }
    return s->done ? DDPM_OK : ddpm_context(DDPM_EFORMAT, "none of the images can be read; the last: ");
}

/* --- the result --------------------------------------------------------------------------------- */

static double mean_mse(const session *s)
{
    double sum = 0;
    for (int k = 0; k < s->done; k++) sum += s->mse[k];
    return sum / s->done;
}

static double worst_of_all(const session *s)
{
    double worst = 0;
    for (int k = 0; k < s->done; k++) worst = fmax(worst, s->worst[k]);
    return worst;
}

static ddpm_status print(const session *s, char **text)
{
    size_t size;
    FILE *f = open_memstream(text, &size);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the result");
    fprintf(f, "%d images, %d steps there and back, %s spacing, clip %s\n", s->done, s->g.how.steps.T, s->g.how.spacing, clip_mode_name(s->g.how.p.clip));
    fprintf(f, "round trip %12.4e  mean squared error of a value in [0,1]\n  largest  %12.4e  absolute error\n", mean_mse(s), worst_of_all(s));
    return fclose(f) == 0 ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the result");
}

static ddpm_status put_images(const session *s, json *o)
{
    json *list = json_new_array();
    for (int k = 0; k < s->done; k++) {
        json *one = json_new_object();
        json_put_int(one, "index", s->index[k]);
        if (s->g.model->s.v.class_cond) json_put_int(one, "class", s->y[k]);
        json_put_real(one, "mse", s->mse[k]);
        json_put_real(one, "max_abs", s->worst[k]);
        json_append(list, one);
    }
    return json_put(o, "per_image", list);
}

static ddpm_status summarise(const session *s, const char *data, double seconds, json **summary)
{
    if (!summary) return DDPM_OK;
    json *o = *summary = json_new_object();
    json_put_string(o, "schema", "ddpm-encode-1");
    json_put_string(o, "output", s->request->v.output);
    json_put_string(o, "model", s->g.model->path);
    json_put_string(o, "fingerprint", s->g.fingerprint);
    json_put_string(o, "data", data);
    json_put_int(o, "images", s->done);
    json_put_int(o, "bad_images", s->bad);
    json_put_int(o, "steps", s->g.how.steps.T);
    json_put_string(o, "spacing", s->g.how.spacing);
    json_put_string(o, "clip", clip_mode_name(s->g.how.p.clip));
    json_put_int(o, "network_calls", s->g.calls);
    json_put_string(o, "precision", engine_precision(&s->g.e));
    json_put_string(o, "isa", s->g.e.backend->isa);
    json_put_real(o, "mse", mean_mse(s));
    json_put_real(o, "max_abs", worst_of_all(s));
    DDPM_TRY(put_images(s, o));
    return json_put_real(o, "seconds", seconds);
}

static void close_session(session *s)
{
    model_data_close(&s->data);
    generator_close(&s->g);
    free(s->choice);
    free(s->seed);
    free(s->index);
    free(s->y);
    free(s->mse);
    free(s->worst);
    free(s->x);
    free(s->image);
    free(s->back);
}

ddpm_status tool_encode(settings *request, const char *model, const char *data, const tool_events *ev, char **text, json **summary)
{
    session s = { .request = request, .ev = ev };
    const double begin = clock_now();
    ddpm_status status = prepare(&s, model, data);
    if (status == DDPM_OK) generator_tell(&s.g);
    if (status == DDPM_OK) status = encode_all(&s);
    const latents l = { .n = s.done, .x = s.x, .y = s.g.model && s.g.model->s.v.class_cond ? s.y : NULL, .index = s.index, .data = data };
    if (status == DDPM_OK) status = latents_write(&s.g, request->v.output, &l);
    if (status == DDPM_OK) status = print(&s, text);
    if (status == DDPM_OK) status = summarise(&s, data, clock_now() - begin, summary);
    close_session(&s);
    return status;
}

/* --- decode --------------------------------------------------------------------------------------- */

/* Everything that is wrong with the file, before anything is drawn. */
static ddpm_status check_latents(const generator *g, const char *path, settings *request)
{
    int64_t count, label;
    bool labelled = true;
    DDPM_TRY(latents_check(g, path, &count));
    if (g->model->s.v.class_cond && settings_origin(request, "class") == ORIGIN_DEFAULT) DDPM_TRY(latents_classes(g, path, 0, 1, &label, &labelled));
    if (!labelled) return ddpm_fail(DDPM_EINVAL, "%s does not say the classes of its latents; this model needs them: give --class", path);
    if (settings_origin(request, "num_samples") > ORIGIN_DEFAULT || request->v.index >= 0) return DDPM_OK;
    char all[32];
    snprintf(all, sizeof all, "%lld", (long long)count);
    return settings_set(request, "num_samples", all, ORIGIN_CONFIG);
}

/* The file's chain may be none of this model's. Then it would have been possible without the file. */
static ddpm_status open_with(const char *model, const char *path, const settings *asked, const settings *request, const tool_events *ev, generator *g)
{
    char said[OPTION_TEXT_SIZE];
    const ddpm_status status = generator_open(model, request, ev, g);
    if (status != DDPM_EINVAL) return status;
    snprintf(said, sizeof said, "%s", ddpm_last_error());
    DDPM_TRY(generator_open(model, asked, ev, g));
    generator_close(g);
    return ddpm_fail(DDPM_EFORMAT, "%s: its chain is none of this model: %s", path, said);
}

ddpm_status tool_decode(settings *request, const char *model, const char *path, const tool_events *ev, json **summary)
{
    const settings asked = *request;
    generator g;
    DDPM_TRY(settings_set(request, "xT", path, ORIGIN_COMMAND_LINE));
    DDPM_TRY(latents_settings(path, request, ev));
    DDPM_TRY(latents_chain(request, false, ev));
    engine_prefer_f32(request);
    DDPM_TRY(open_with(model, path, &asked, request, ev, &g));
    const ddpm_status status = check_latents(&g, path, request);
    generator_close(&g);
    return status == DDPM_OK ? tool_sample(request, model, ev, summary) : status;
}
