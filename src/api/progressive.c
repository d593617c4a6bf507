/* DDPM section 4.3: what is known of an image along the chain, as pictures and as bits. */
#include "api/frames.h"
#include "api/progressive_session.h"
#include "io/file.h"
#include "io/sheet.h"
#include "io/svg_png.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { USUAL_IMAGES = 100, ROWS = 8, COLUMNS = 12, FRAMES = 60, TAILS = 8 };

void progressive_path(const progressive_session *s, const char *name, char path[PROGRESSIVE_PATH_SIZE])
{
    snprintf(path, PROGRESSIVE_PATH_SIZE, "%s/%s", s->request->v.output, name);
}

/* --- one call of the sampler --------------------------------------------------------------- */

/* Images of one seed, and what is kept of their walk. */
typedef struct {
    progressive_session *s;
    int       n, skip, seen;        /* steps left out; walked                                */
    uint64_t  seed[ROWS + TAILS], index[ROWS + TAILS];
    int       y[ROWS + TAILS];
    float    *x;                    /* [n,h,w,c]                                             */
    uint8_t  *film;                 /* [n,frames,h,w,c] x_0 at evenly spaced steps, or NULL   */
    int       frames, filled;
    float    *state;                /* [PROGRESSIVE_LEVELS,h,w,c] x_t of the first, or NULL  */
} walk;

static int chain(const progressive_session *s) { return s->g.how.steps.T; }

/* Steps behind a level: 0 at x_T, all of them at the image. */
static int level_skip(const progressive_session *s, int level)
{
    return (int)((int64_t)chain(s) * level / (PROGRESSIVE_LEVELS - 1));
}

static void tell_progress(progressive_session *s)
{
    const double before = floor(20.0 * s->seen / s->steps);
    const bool line = floor(20.0 * ++s->seen / s->steps) > before;
    tool_tell_progress(s->ev, (tool_progress){ .what = "pictures", .unit = "steps", .done = s->seen, .total = s->steps, .line = line }, s->begin);
}

/* The frame that a column shows; the step of the chain that a frame shows. */
static int frame_of(const walk *w, int column, int columns) { return columns > 1 ? column * (w->frames - 1) / (columns - 1) : 0; }
static int step_of(const progressive_session *s, const walk *w, int frame)
{
    return w->frames > 1 ? (int)((int64_t)frame * (chain(s) - 1) / (w->frames - 1)) : chain(s) - 1;
}

static void observe(void *ctx, int step, int t, const float *x, const float *pred_xstart)
{
    walk *w = ctx;
    const size_t len = w->s->g.image_len;
    (void)t;
    tell_progress(w->s);
    for (int k = 1; k < PROGRESSIVE_LEVELS && w->state; k++)
        if (level_skip(w->s, k) == step + 1) memcpy(w->state + (size_t)k * len, x, len * sizeof *x);
    if (!w->film || step != step_of(w->s, w, w->filled)) return;
    for (int k = 0; k < w->n; k++)
        generator_quantize(&w->s->g, pred_xstart + (size_t)k * len, len, w->film + ((size_t)k * (size_t)w->frames + (size_t)w->filled) * len);
    w->filled++;
}

/* Class of the image with this index, as `ddpm sample` gives it. */
static ddpm_status class_of(const progressive_session *s, uint64_t index, int *y)
{
    const char *word = s->request->v.class_label;
    const settings_values *m = &s->g.model->s.v;
    int64_t one;
    *y = 0;
    if (!m->class_cond && settings_origin(s->request, "class") == ORIGIN_DEFAULT) return DDPM_OK;
    if (m->class_cond && !strcmp(word, "all")) *y = (int)(index % (uint64_t)m->num_classes);
    else if (m->class_cond && !strcmp(word, "random"))
        *y = (int)rng_below((rng_address){ (uint64_t)s->request->v.seed, RNG_CLASS, 0, index }, 0, (uint64_t)m->num_classes);
    else {
        DDPM_TRY(generator_class(&s->g, word, &one));
        *y = (int)one;
    }
    return DDPM_OK;
}

static ddpm_status run(walk *w, bool given_xT)
{
    drawing d = generator_drawing(&w->s->g);
    d.skip = w->skip;
    d.observe = observe;
    d.observe_ctx = w;
    const draw_batch b = { .n = w->n, .seed = w->seed, .index = w->index, .y = w->s->g.model->s.v.class_cond ? w->y : NULL, .given_xT = given_xT, .x = w->x };
    for (int k = 0; k < w->n; k++) w->seed[k] = (uint64_t)w->s->request->v.seed;
    DDPM_TRY(generator_draw(&w->s->g, &d, b));
    return generator_interrupted(&w->s->g, "before all pictures were drawn");
}

/* What a picture depends on beside the model and the chain. label: a class by number, or the word for all of them. */
typedef struct { char seed[32]; png_pair pair[2]; int count; } own_text;

static void say_own(const progressive_session *s, const char *label, own_text *t)
{
    snprintf(t->seed, sizeof t->seed, "%lld", (long long)s->request->v.seed);
    t->pair[0] = (png_pair){ "seed", t->seed };
    t->pair[1] = (png_pair){ "class", label };
    t->count = s->g.model->s.v.class_cond ? 2 : 1;
}

/* --- x_0 along the chain ------------------------------------------------------------------------ */

/* A picture of `rows` times `columns` images with words, NULL where there are none. */
typedef struct { const char *name, *head; int rows, columns, lead; const uint8_t *pixels; const char (*row)[16]; const char (*column)[16]; } worded;

static ddpm_status write_worded(const progressive_session *s, const worded *p, const own_text *own)
{
    sheet_row row[ROWS];
    const char *column[COLUMNS];
    char name[64], path[PROGRESSIVE_PATH_SIZE];
    generator_texts texts;
    for (int k = 0; k < p->rows; k++) {
        const uint8_t *pixels = p->pixels + (size_t)(k * p->columns) * s->g.image_len;
        row[k] = (sheet_row){ .name = p->row ? p->row[k] : NULL, .n = p->columns, .pixels = pixels };
    }
    for (int k = 0; k < p->columns && p->column; k++) column[k] = p->column[k];
    const sheet_part part = { .head = p->head, .lead = p->lead, .n_rows = p->rows, .row = row, .n_columns = p->column ? p->columns : 0, .column = column };
    const sheet all = { s->g.height, s->g.width, s->g.dims.channels, 1, &part };
    snprintf(name, sizeof name, "%s-sheet.%s", p->name, s->request->v.charts == CHARTS_PNG ? "png" : "svg");
    progressive_path(s, name, path);
    generator_provenance(&s->g, own->pair, own->count, &texts);
    return sheet_write(path, &all, texts.pair, texts.count);
}

/* t of the x_t that each column's x_0 is predicted from. */
static ddpm_status write_times(const progressive_session *s, const walk *w, const uint8_t *grid, int columns, const own_text *own)
{
    char time[COLUMNS][16];
    for (int k = 0; k < columns; k++)
        snprintf(time[k], sizeof time[k], "%d", s->g.how.steps.timestep_map[chain(s) - 1 - step_of(s, w, frame_of(w, k, columns))] + 1);
    return write_worded(s, &(worded){ "x0", "x\xe2\x82\x80 as predicted from x\xe2\x82\x9c, t =", w->n, columns, 0, grid, NULL, (const char (*)[16])time }, own);
}

static ddpm_status write_generation(const progressive_session *s, const walk *w)
{
    const size_t len = s->g.image_len;
    const int columns = w->frames < COLUMNS ? w->frames : COLUMNS;
    char path[PROGRESSIVE_PATH_SIZE];
    own_text own;
    uint8_t *grid = malloc((size_t)(w->n * columns) * len);
    if (!grid) return ddpm_fail(DDPM_ENOMEM, "no memory for the pictures");
    for (int k = 0; k < w->n * columns; k++) {
        const int frame = frame_of(w, k % columns, columns);
        memcpy(grid + (size_t)k * len, w->film + ((size_t)(k / columns) * (size_t)w->frames + (size_t)frame) * len, len);
    }
    say_own(s, s->request->v.class_label, &own);
    progressive_path(s, "x0.png", path);
    ddpm_status status = generator_write_grid(&s->g, path, grid, w->n * columns, columns, own.pair, own.count);
    if (status == DDPM_OK) status = write_times(s, w, grid, columns, &own);
    free(grid);
    DDPM_TRY(status);
    const frames_film film = { .images = w->n, .frames = w->frames, .columns = w->n / 2, .delay = 6, .rest = 150, .pixels = w->film };
    progressive_path(s, "x0.gif", path);
    return frames_write(&s->g, path, &film, own.pair, own.count);
}

static ddpm_status generation(progressive_session *s)
{
    walk w = { .s = s, .n = ROWS, .frames = chain(s) < FRAMES ? chain(s) : FRAMES };
    for (int k = 0; k < ROWS; k++) {
        w.index[k] = (uint64_t)k;
        DDPM_TRY(class_of(s, w.index[k], &w.y[k]));
    }
    w.x = malloc(ROWS * s->g.image_len * sizeof *w.x);
    w.film = malloc(ROWS * (size_t)w.frames * s->g.image_len);
    ddpm_status status = w.x && w.film ? run(&w, false) : ddpm_fail(DDPM_ENOMEM, "no memory for the pictures");
    if (status == DDPM_OK) status = write_generation(s, &w);
    free(w.x);
    free(w.film);
    return status;
}

/* --- images that share x_t ---------------------------------------------------------------------- */

/* Root mean square difference of two of n images. The mean over all pairs is twice the variance. */
static double apart(const float *x, int n, size_t len)
{
    double sum = 0;
    for (size_t i = 0; i < len; i++) {
        double mean = 0, squares = 0;
        for (int k = 0; k < n; k++) mean += (double)x[(size_t)k * len + i] / n;
        for (int k = 0; k < n; k++) squares += ((double)x[(size_t)k * len + i] - mean) * ((double)x[(size_t)k * len + i] - mean);
        sum += 2 * squares / (n - 1);
    }
    return 127.5 * sqrt(sum / (double)len);
}

/* One row of the picture: the shared x_t, then images drawn from it. x [TAILS,h,w,c] is work. */
static ddpm_status continue_from(progressive_session *s, int level, const float *shared, int y, float *x, uint8_t *row)
{
    walk w = { .s = s, .n = TAILS, .skip = level_skip(s, level), .x = x };
    const size_t len = s->g.image_len;
    const bool end = w.skip == chain(s);
    for (int k = 0; k < TAILS; k++) {
        memcpy(x + (size_t)k * len, shared, len * sizeof *x);
        w.index[k] = (uint64_t)k + 1;          /* the walk that made x_t has 0: from here on all noise is new */
        w.y[k] = y;
    }
    if (!end) DDPM_TRY(run(&w, true));
    s->level[level] = (progressive_level){ end ? 0 : s->g.how.steps.timestep_map[chain(s) - 1 - w.skip] + 1, apart(x, TAILS, len) };
    generator_quantize(&s->g, shared, len, row);
    generator_quantize(&s->g, x, TAILS * len, row + len);
    return DDPM_OK;
}

static ddpm_status share(progressive_session *s, walk *w, float *x, uint8_t *grid)
{
    const size_t len = s->g.image_len, row = (TAILS + 1) * len;
    char path[PROGRESSIVE_PATH_SIZE], label[32];
    own_text own;
    rng_normals((rng_address){ (uint64_t)s->request->v.seed, RNG_XT, 0, 0 }, 0, len, w->state);
    for (int k = 1; k < PROGRESSIVE_LEVELS && !level_skip(s, k); k++) memcpy(w->state + (size_t)k * len, w->state, len * sizeof *w->state);
    DDPM_TRY(class_of(s, 0, &w->y[0]));
    DDPM_TRY(run(w, false));
    for (int k = 0; k < PROGRESSIVE_LEVELS; k++) DDPM_TRY(continue_from(s, k, w->state + (size_t)k * len, w->y[0], x, grid + (size_t)k * row));
    if (w->y[0] < s->g.model->s.v.num_classes) snprintf(label, sizeof label, "%d", w->y[0]);
    else snprintf(label, sizeof label, "none");
    say_own(s, label, &own);
    progressive_path(s, "shared.png", path);
    DDPM_TRY(generator_write_grid(&s->g, path, grid, PROGRESSIVE_LEVELS * (TAILS + 1), TAILS + 1, own.pair, own.count));
    char time[PROGRESSIVE_LEVELS][16];
    for (int k = 0; k < PROGRESSIVE_LEVELS; k++) snprintf(time[k], sizeof time[k], "t = %d", s->level[k].t);
    return write_worded(s, &(worded){ "shared", "x\xe2\x82\x9c, and images drawn from it", PROGRESSIVE_LEVELS, TAILS + 1, 1, grid, (const char (*)[16])time,
                                      NULL }, &own);
}

static ddpm_status sharing(progressive_session *s)
{
    const size_t len = s->g.image_len;
    walk w = { .s = s, .n = 1, .x = malloc(len * sizeof *w.x), .state = malloc(PROGRESSIVE_LEVELS * len * sizeof *w.state) };
    float *x = malloc(TAILS * len * sizeof *x);
    uint8_t *grid = malloc(PROGRESSIVE_LEVELS * (TAILS + 1) * len);
    const ddpm_status status = w.x && w.state && x && grid ? share(s, &w, x, grid) : ddpm_fail(DDPM_ENOMEM, "no memory for the pictures");
    free(w.x);
    free(w.state);
    free(x);
    free(grid);
    return status;
}

/* --- the command ----------------------------------------------------------------------------------- */

static ddpm_status open_all(progressive_session *s, const char *model, const char *data)
{
    const char *out = s->request->v.output;
    int y;
    if (!out[0]) return ddpm_fail(DDPM_EINVAL, "no output; give -o FOLDER");
    const size_t n = strlen(out);
    if (n > 4 && !strcmp(out + n - 4, ".png")) return ddpm_fail(DDPM_EINVAL, "-o %s: several files are written; give the name of a folder", out);
    if (file_exists(out) && !file_is_dir(out)) return ddpm_fail(DDPM_EINVAL, "-o %s is a file; give the name of a folder", out);
    if (s->request->v.charts == CHARTS_PNG) DDPM_TRY(svg_can_draw());
    DDPM_TRY(settings_set(s->request, "sampler", "ddpm", ORIGIN_CONFIG));
    s->bound = (nll_session){ .request = s->request, .ev = s->ev, .usual = USUAL_IMAGES, .all_terms = true, .own_labels = true };
    const bool ours = engine_prefer_f32(s->request);
    DDPM_TRY(generator_open(model, s->request, s->ev, &s->g));
    DDPM_TRY(class_of(s, 0, &y));
    s->request->v.clip_denoised = s->g.how.p.clip != CLIP_NONE;          /* the bound is of the chain that draws the pictures */
    DDPM_TRY(nll_open(&s->bound, model, data));
    DDPM_TRY(dir_make(out));
    if (access(out, W_OK)) return file_fail("cannot write into", out);
    DDPM_TRY(generator_load(&s->g));
    if (ours) s->g.e.reason = "likelihoods are";
    s->steps = 2 * chain(s);
    for (int k = 0; k < PROGRESSIVE_LEVELS; k++) s->steps += chain(s) - level_skip(s, k);
    return DDPM_OK;
}

static ddpm_status measure(progressive_session *s)
{
    tool_message(s->ev, "the bound of %d images, %d terms each", s->bound.count, s->bound.plan.T);
    DDPM_TRY(nll_load(&s->bound));
    DDPM_TRY(nll_measure(&s->bound));
    return progressive_curve(s);
}

static ddpm_status summarise(const progressive_session *s, const char *data, json **summary)
{
    if (!summary) return DDPM_OK;
    json *o = *summary = json_new_object();
    json_put_string(o, "schema", "ddpm-progressive-1");
    json_put_string(o, "output", s->request->v.output);
    json_put_string(o, "model", s->bound.model->path);
    json_put_string(o, "fingerprint", s->bound.fingerprint);
    json_put_string(o, "data", data);
    json_put_int(o, "images", s->bound.measured);
    json_put_int(o, "bad_images", s->bound.bad);
    json_put_int(o, "timesteps", s->bound.plan.T);
    json_put_string(o, "clip", clip_mode_name(s->bound.p.clip));
    json_put_string(o, "variance", var_type_name(s->bound.p.var));
    json_put_int(o, "seed", s->request->v.seed);
    json_put_string(o, "precision", engine_precision(&s->bound.e));
    json_put_string(o, "isa", s->bound.e.backend->isa);
    DDPM_TRY(progressive_put_curve(s, o));
    return json_put_real(o, "seconds", clock_now() - s->begin);
}

ddpm_status tool_progressive(settings *request, const char *model, const char *data, const tool_events *ev, char **text, json **summary)
{
    progressive_session s = { .request = request, .ev = ev, .begin = clock_now() };
    ddpm_status status = open_all(&s, model, data);
    if (status == DDPM_OK) generator_tell(&s.g);
    if (status == DDPM_OK) status = generation(&s);
    if (status == DDPM_OK) status = sharing(&s);
    generator_close(&s.g);
    if (status == DDPM_OK) status = measure(&s);
    if (status == DDPM_OK) status = progressive_print(&s, text);
    if (status == DDPM_OK) status = summarise(&s, data, summary);
    nll_close(&s.bound);
    free(s.point);
    return status;
}
