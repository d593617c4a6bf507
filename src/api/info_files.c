#include "api/info_parts.h"

#include "api/feature_space.h"
#include "api/statistics.h"
#include "io/file.h"
#include "io/gif.h"
#include "io/npz.h"
#include "io/safetensors.h"

#include <stdlib.h>
#include <string.h>

enum { SHOWN = 24, NAME_SIZE = 256, SHAPE_SIZE = 192 };

/* --- names, types and shapes -------------------------------------------------------------- */

static json *shape_list(const int64_t *shape, int ndim, char text[SHAPE_SIZE])
{
    json *list = json_new_array();
    size_t used = (size_t)snprintf(text, SHAPE_SIZE, "[");
    for (int i = 0; i < ndim; i++) {
        json_append(list, json_new_int(shape[i]));
        used += (size_t)snprintf(text + used, SHAPE_SIZE - used, "%s%lld", i ? "," : "", (long long)shape[i]);
    }
    snprintf(text + used, SHAPE_SIZE - used, "]");
    return list;
}

/* One row of a table, of which people see the beginning. */
static void say_row(const info_report *r, json *list, const char *name, const char *dtype, const int64_t *shape, int ndim)
{
    char text[SHAPE_SIZE], line[NAME_SIZE + SHAPE_SIZE + 32];
    json *o = json_new_object(), *sizes = shape_list(shape, ndim, text);
    json_put_string(o, "name", name);
    json_put_string(o, "dtype", dtype);
    json_put(o, "shape", sizes);
    snprintf(line, sizeof line, "%.*s %s %s", NAME_SIZE, name, dtype, text);
    if (json_array_len(list) < SHOWN) info_line(r, "", line);
    json_append(list, o);
}

static ddpm_status put_rows(const info_report *r, const char *key, json *list)
{
    const size_t n = json_array_len(list);
    if (n > SHOWN) fprintf(r->f, "and %zu more\n", n - SHOWN);
    return json_put(r->o, key, list);
}

static void say_file(const info_report *r, const char *kind, const char *path)
{
    info_say(r, "kind", "kind", kind);
    info_say(r, "path", "path", path);
}

/* --- .npz ----------------------------------------------------------------------------------- */

/* numpy's own word for its short ones. */
static const char *dtype_word(const char descr[4])
{
    static const char *const words[][2] = { { "|u1", "uint8" }, { "|i1", "int8" }, { "<i4", "int32" }, { "<i8", "int64" },
                                            { "<f2", "float16" }, { "<f4", "float32" }, { "<f8", "float64" } };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(words[i][0], descr)) return words[i][1];
    return descr;
}

/* OpenAI's samples: arr_0 [n,h,w,c], arr_1 classes. */
static ddpm_status find_images(npz_reader *z, npz_array *a, bool *found)
{
    *found = false;
    if (!npz_reader_has(z, "arr_0")) return DDPM_OK;
    DDPM_TRY(npz_reader_get(z, "arr_0", a));
    *found = !strcmp(a->descr, "|u1") && a->ndim == 4 && a->shape[3] >= 1 && a->shape[3] <= 4;
    return DDPM_OK;
}

static void say_images(const info_report *r, const npz_array *a, bool labelled)
{
    char size[96];
    snprintf(size, sizeof size, "%lldx%lld, %lld channels", (long long)a->shape[2], (long long)a->shape[1], (long long)a->shape[3]);
    info_say_int(r, "images", "images", a->shape[0]);
    info_say(r, "size", "size", size);
    info_line(r, "classes", labelled ? "of every image" : "none");
    json_put_bool(r->o, "labelled", labelled);
}

static ddpm_status say_arrays(const info_report *r, npz_reader *z)
{
    json *list = json_new_array();
    ddpm_status s = DDPM_OK;
    fprintf(r->f, "arrays\n");
    for (int i = 0; i < npz_reader_count(z) && s == DDPM_OK; i++) {
        size_t len;
        npz_array a;
        char name[NAME_SIZE];
        const char *stored = npz_reader_name(z, i, &len);
        const size_t shown = len > 4 && !memcmp(stored + len - 4, ".npy", 4) ? len - 4 : len;
        snprintf(name, sizeof name, "%.*s", (int)(shown < NAME_SIZE ? shown : NAME_SIZE - 1), stored);
        s = npz_reader_get(z, name, &a);
        if (s == DDPM_OK) say_row(r, list, name, dtype_word(a.descr), a.shape, a.ndim);
    }
    const ddpm_status put = put_rows(r, "arrays", list);
    return s == DDPM_OK ? put : s;
}

/* Columns of an array that need not be there. */
static ddpm_status say_columns(const info_report *r, npz_reader *z, const char *name)
{
    npz_array a;
    if (!npz_reader_has(z, name)) return DDPM_OK;
    DDPM_TRY(npz_reader_get(z, name, &a));
    if (a.ndim == 2) info_say_int(r, name, name, a.shape[1]);
    return DDPM_OK;
}

static void say_space(const info_report *r, const char *space)
{
    info_line(r, "space", space[0] ? space : "not named");
    json_put(r->o, "space", space[0] ? json_new_string(space) : json_new_null());
}

static ddpm_status say_features(const info_report *r, const char *path, npz_reader *z)
{
    npz_array a;
    char space[FEATURES_SPACE_SIZE];
    DDPM_TRY(features_read_space(z, path, space));
    DDPM_TRY(npz_reader_get(z, "features", &a));
    say_space(r, space);
    if (a.ndim == 2) info_say_int(r, "rows", "rows", a.shape[0]);
    DDPM_TRY(say_columns(r, z, "features"));
    DDPM_TRY(say_columns(r, z, "logits"));
    return say_columns(r, z, "spatial");
}

static ddpm_status say_statistics(const info_report *r, const char *path)
{
    statistics s;
    const ddpm_status status = statistics_read(path, &s);
    if (status == DDPM_OK) {
        if (s.map.axes) feature_space_map_identity(&s.map, s.space, sizeof s.space);
        say_space(r, s.space);
        info_say_int(r, "features", "features", (int64_t)s.whole.dims);
        if (s.count) info_say_int(r, "count", "images", s.count);
        if (s.fitted) info_say_int(r, "n_fit", "axes fitted to", s.fitted);
    }
    statistics_free(&s);
    return status;
}

static ddpm_status say_npz(const info_report *r, const char *path, npz_reader *z)
{
    npz_array a;
    bool images;
    const bool has_moments = npz_reader_has(z, "mu") && npz_reader_has(z, "sigma"), features = npz_reader_has(z, "features");
    DDPM_TRY(find_images(z, &a, &images));
    say_file(r, images ? "samples" : has_moments ? "statistics" : features ? "features" : "arrays", path);
    if (images) say_images(r, &a, npz_reader_has(z, "arr_1"));
    const ddpm_status status = images ? DDPM_OK : has_moments ? say_statistics(r, path) : features ? say_features(r, path, z) : DDPM_OK;
    if (status != DDPM_OK) info_say(r, "fault", "fault", ddpm_last_error());      /* its arrays may show why */
    return say_arrays(r, z);
}

static ddpm_status describe_npz(const info_report *r, const char *path, const uint8_t *bytes, size_t len)
{
    npz_reader *z = NULL;
    DDPM_TRY(npz_reader_open_memory(bytes, len, path, &z));
    const ddpm_status s = say_npz(r, path, z);
    npz_reader_free(z);
    return s;
}

/* --- .safetensors ----------------------------------------------------------------------------- */

static ddpm_status say_metadata(const info_report *r, const safetensors *st)
{
    json *pairs = json_new_object();
    for (const char *key = safetensors_next_key(st, NULL); key; key = safetensors_next_key(st, key)) {
        info_line(r, key, safetensors_metadata(st, key));
        json_put_string(pairs, key, safetensors_metadata(st, key));
    }
    return json_put(r->o, "metadata", pairs);
}

static ddpm_status describe_tensors(const info_report *r, const char *path, const uint8_t *bytes, size_t len)
{
    safetensors *st = NULL;
    DDPM_TRY(safetensors_open_memory(bytes, len, path, &st));
    const char *format = safetensors_metadata(st, "format");
    const bool latents = format && !strcmp(format, "ddpm-latents-1");
    const safetensors_tensor *x = latents ? safetensors_find(st, "xT") : NULL;
    json *list = json_new_array();
    say_file(r, latents ? "latents" : "tensors", path);
    if (x && x->ndim == 4) info_say_int(r, "images", "images", x->shape[0]);
    const ddpm_status said = say_metadata(r, st);
    fprintf(r->f, "tensors\n");
    for (int i = 0; i < safetensors_count(st); i++) {
        const safetensors_tensor *t = safetensors_at(st, i);
        say_row(r, list, t->name, safetensors_dtype_name(t->dtype), t->shape, t->ndim);
    }
    safetensors_close(st);
    const ddpm_status put = put_rows(r, "tensors", list);
    return said == DDPM_OK ? put : said;
}

/* --- .gif ----------------------------------------------------------------------------------------- */

/* "key: value" lines; others are kept as they are under "text". */
static ddpm_status say_comment(const info_report *r, char *comment)
{
    json *pairs = json_new_object();
    char *rest = NULL;
    for (char *line = strtok_r(comment, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *colon = strstr(line, ": ");
        if (colon) *colon = 0;
        const char *key = colon ? line : "text", *value = colon ? colon + 2 : line;
        info_line(r, key, value);
        json_put_string(pairs, key, value);
    }
    return json_put(r->o, "comment", pairs);
}

static ddpm_status describe_film(const info_report *r, const char *path, const uint8_t *bytes, size_t len)
{
    gif_info film;
    char size[64];
    DDPM_TRY(gif_read_info(bytes, len, path, &film));
    say_file(r, "film", path);
    snprintf(size, sizeof size, "%dx%d", film.w, film.h);
    info_say(r, "size", "size", size);
    info_say_int(r, "frames", "frames", film.frames);
    const ddpm_status s = say_comment(r, film.comment);
    free(film.comment);
    return s;
}

/* --- which of them --------------------------------------------------------------------------------- */

info_describe info_file_form(const char *path, const uint8_t *bytes, size_t len)
{
    if (file_has_ending(path, ".npz")) return describe_npz;
    if (file_has_ending(path, ".safetensors")) return describe_tensors;
    if (file_has_ending(path, ".gif") || (len >= 4 && !memcmp(bytes, "GIF8", 4))) return describe_film;
    return NULL;
}
