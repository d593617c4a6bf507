#include "api/sample_session.h"

#include "io/file.h"
#include "io/npz.h"
#include "io/svg_png.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, SOURCE_SIZE = 4 * OPTION_STRING_SIZE };

sample_out sample_output_kind(const settings *request)
{
    const char *out = request->v.output;
    if (file_has_ending(out, ".gif")) return SAMPLE_GIF;
    if (file_has_ending(out, ".npz")) return SAMPLE_NPZ;
    if (request->v.sheet && svg_has_ending(out)) return SAMPLE_SHEET;
    if (request->v.film != FILM_AUTO && file_has_ending(out, ".svg")) return SAMPLE_STRIP;
    if (!file_has_ending(out, ".png")) return SAMPLE_FOLDER;
    return request->v.film == FILM_AUTO ? SAMPLE_GRID : SAMPLE_STRIP;
}

ddpm_status sample_output_choose(sample_session *s)
{
    const char *out = s->request->v.output;
    const int film = s->request->v.film;
    if (!out[0]) return ddpm_fail(DDPM_EINVAL, "no output; give -o FILE.png, -o FILE.gif, -o FILE.npz or -o FOLDER/");
    const char *slash = strrchr(out, '/'), *dot = strrchr(slash ? slash : out, '.');
    s->kind = sample_output_kind(s->request);
    if (s->kind == SAMPLE_FOLDER && dot && dot[1] && !file_is_dir(out))
        return ddpm_fail(DDPM_EINVAL, "-o %s: the ending %s is not one of .png, .gif, .npz, or .svg of a --sheet or --film; a folder's name ends in /", out, dot);
    if (s->request->v.sheet && s->kind != SAMPLE_SHEET) return ddpm_fail(DDPM_EINVAL, "-o %s cannot hold a sheet; with --sheet give -o FILE.png or -o FILE.svg", out);
    if (film != FILM_AUTO && (s->kind == SAMPLE_NPZ || s->kind == SAMPLE_FOLDER))
        return ddpm_fail(DDPM_EINVAL, "-o %s cannot hold a film; with --film give -o FILE.gif, -o FILE.png or -o FILE.svg", out);
    s->film.xt = film == FILM_XT;
    return DDPM_OK;
}

ddpm_status sample_output_check(sample_session *s)
{
    const char *out = s->request->v.output;
    int w, h;
    for (int64_t square = 0; !s->columns; square++)          /* unless each class has its column */
        if (square * square >= s->count) s->columns = (int)square;
    if (s->kind == SAMPLE_GRID) DDPM_TRY(draw_grid_size(s->count, s->g.height, s->g.width, s->columns, &w, &h));
    if (s->kind == SAMPLE_SHEET) return sample_sheet_check(s);
    if (s->kind != SAMPLE_FOLDER) return file_check_target(out);
    DDPM_TRY(dir_make_new(out, &s->made));
    return access(out, W_OK) == 0 ? DDPM_OK : file_fail("cannot write into", out);
}

/* --- what images depend on -------------------------------------------------------------- */

enum { MAX_OWN = 7 };

typedef struct { png_pair pair[MAX_OWN]; int count; char seed[32], index[32], source[SOURCE_SIZE]; } own_text;

static void say(own_text *t, const char *key, const char *value) { t->pair[t->count++] = (png_pair){ key, value }; }

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* Where the chain did not begin with the seed's noise. */
static void say_source(const sample_session *s, own_text *t)
{
    const settings_values *v = &s->request->v;
    if (s->start.fill)
        snprintf(t->source, sizeof t->source, "%s, mask %s, jumps of %d steps, %d times", base_name(v->inpaint), base_name(v->mask),
                 s->start.way.jump, s->start.way.resamples);
    else if (s->start.given)
        snprintf(t->source, sizeof t->source, "%s at step %d", base_name(v->start_image), s->start.step);
    if (s->start.given) say(t, s->start.fill ? "inpaint" : "start", t->source);
    if (v->xT[0]) say(t, "xT", base_name(v->xT));
    if (s->base) say(t, "base", base_name(v->base_samples));
}

/* What an image depends on beside the model and the way it is sampled: the same image is the same file. */
static void say_own(const sample_session *s, uint64_t seed, uint64_t index, const char *label, own_text *t)
{
    t->count = 0;
    snprintf(t->seed, sizeof t->seed, "%llu", (unsigned long long)seed);
    snprintf(t->index, sizeof t->index, "%llu", (unsigned long long)index);
    say(t, "seed", t->seed);
    say(t, "index", t->index);
    if (generator_classes(&s->g)) say(t, "class", label);
    say_source(s, t);
    if (s->film.frames) say(t, "film", s->film.xt ? "xt" : "x0");
}

/* --- files ------------------------------------------------------------------------------- */

static ddpm_status write_one(const sample_session *s, const char *path, int k, const uint8_t *pixels)
{
    char label[32];
    own_text own;
    snprintf(label, sizeof label, "%lld", (long long)s->labels[k]);
    say_own(s, sample_seed(s, k), sample_index(s, k), label, &own);
    return generator_write_grid(&s->g, path, pixels, 1, 1, own.pair, own.count);
}

ddpm_status sample_output_folder(const sample_session *s, int first, int n, const uint8_t *pixels)
{
    for (int i = 0; i < n; i++) {
        char path[PATH_SIZE];
        const unsigned long long name = sample_number(s, first + i);
        if (snprintf(path, sizeof path, "%s/%06llu.png", s->request->v.output, name) >= PATH_SIZE)
            return ddpm_fail(DDPM_EINVAL, "-o %s: the path is too long", s->request->v.output);
        DDPM_TRY(write_one(s, path, first + i, pixels + (size_t)i * s->g.image_len));
    }
    return DDPM_OK;
}

/* Grids and films. */
static ddpm_status write_picture(const sample_session *s)
{
    own_text own;
    if (s->count == 1 && s->kind == SAMPLE_GRID) return write_one(s, s->request->v.output, 0, s->pixels);
    say_own(s, s->first_seed, s->first_index, s->start.own_labels ? "of the images" : sample_class_word(s), &own);
    if (s->kind == SAMPLE_SHEET) return sample_sheet_write(s, own.pair, own.count);
    if (s->film.frames) return sample_film_write(s, own.pair, own.count);
    return generator_write_grid(&s->g, s->request->v.output, s->pixels, s->count, s->columns, own.pair, own.count);
}

/* OpenAI's samples: arr_0 uint8 NHWC, arr_1 labels. */
static ddpm_status write_npz(const sample_session *s)
{
    const int64_t shape[4] = { s->count, s->g.height, s->g.width, s->g.dims.channels };
    npz_writer *w = NULL;
    DDPM_TRY(npz_writer_open(s->request->v.output, &w));
    ddpm_status status = npz_writer_add(w, "arr_0", "|u1", shape, 4, s->pixels);
    if (status == DDPM_OK && generator_classes(&s->g)) status = npz_writer_add(w, "arr_1", "<i8", shape, 1, s->labels);
    if (status == DDPM_OK) return npz_writer_finish(w);
    npz_writer_abort(w);
    return status;
}

ddpm_status sample_output_write(const sample_session *s)
{
    return s->kind == SAMPLE_FOLDER ? DDPM_OK : s->kind == SAMPLE_NPZ ? write_npz(s) : write_picture(s);
}
