#include "api/eval_report.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool of_pixels(const comparison *c) { return c->space && feature_space_of_pixels(c->space); }

/* Axes that came from a file do not say of which data. */
static const char *fitted_to(const comparison *c)
{
    return c->fit_data ? image_set_word(c->fit_data) : c->reference.kind == SIDE_IMAGES ? c->reference.word : NULL;
}

/* --- text ------------------------------------------------------------------------------------------- */

static void print_side(FILE *f, const char *what, const eval_side *s)
{
    static const char *const UNITS[] = { [SIDE_IMAGES] = "images", [SIDE_FEATURES] = "rows" };
    if (s->kind != SIDE_STATISTICS) {
        fprintf(f, "  %-9s %lld %s of %s", what, (long long)s->count, UNITS[s->kind], s->word);
        if (s->set && image_set_fitted(s->set)) fprintf(f, ", fitted to %dx%dx%d", s->h, s->w, s->c);
        if (s->bad) fprintf(f, "; %lld more could not be read", (long long)s->bad);
        fputc('\n', f);
    } else if (s->count) fprintf(f, "  %-9s mean and covariance of %lld images in %s\n", what, (long long)s->count, s->word);
    else fprintf(f, "  %-9s mean and covariance in %s, which does not say of how many images\n", what, s->word);
}

static void print_pixels(const comparison *c, FILE *f)
{
    const eval_side *s = c->samples.kind == SIDE_IMAGES ? &c->samples : &c->reference;
    if (!feature_space_map_of(c->space)) {
        fprintf(f, "  features  the %dx%dx%d pixels in [-1,1]\n", s->h, s->w, s->c);
        return;
    }
    const char *data = fitted_to(c);
    fprintf(f, "  features  the first %zu principal components of %dx%dx%d pixels in [-1,1], fitted to %lld images%s%s;\n", feature_space_dims(c->space),
            s->h, s->w, s->c, (long long)feature_space_fit_count(c->space), data ? " of " : ", as the file says", data ? data : "");
    fprintf(f, "            they hold %.1f %% of those images' variance\n", 100 * feature_space_share(c->space));
}

static void print_network(const comparison *c, FILE *f)
{
    const eval_side *s = c->samples.kind == SIDE_IMAGES ? &c->samples : &c->reference;
    const char *input = feature_space_input(c->space);
    fprintf(f, "  features  %zu of %s, computed in %s from %dx%dx%d pixels of 8 bits as stored", feature_space_dims(c->space), c->name,
            engine_precision(&c->e), s->h, s->w, s->c);
    fprintf(f, input[0] ? ", resized as by %s\n" : "%s\n", input);
}

static void print_features(const comparison *c, FILE *f)
{
    if (of_pixels(c)) print_pixels(c, f);
    else if (c->space) print_network(c, f);
    else fprintf(f, "  features  %zu, %s\n", c->samples.dims, c->name[0] ? c->name : "of a space that the file does not name");
}

static void print_note(const comparison *c, FILE *f)
{
    const bool inception = c->frechet.inception;
    if (of_pixels(c))
        fprintf(f, "  This is not an FID: pixels and their principal components see layout and contrast, not what an image shows.\n"
                   "  Compare it only with values of the same features and similar numbers of images.\n");
    else if (inception && c->frechet.of_files) fprintf(f, "  This is an FID.\n");
    else if (!inception && c->name[0]) fprintf(f, "  Not an FID or KID: those are of the Inception network of 2015-12-05 alone.\n");
    else if (!inception) fprintf(f, "  Not an FID or KID, unless both files are of the Inception network of 2015-12-05.\n");
}

/* Otherwise they were said already. */
static void print_warnings(const comparison *c, FILE *f)
{
    if (!c->s.v->quiet) return;
    for (int i = 0; i < c->s.n_warnings; i++) fprintf(f, "  warning: %s\n", c->s.warnings[i]);
}

ddpm_status eval_report_text(const comparison *c, char **text)
{
    size_t size;
    FILE *f = open_memstream(text, &size);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the result");
    eval_frechet_print(&c->frechet, f);
    eval_metrics_print(&c->metrics, f);
    print_side(f, "samples", &c->samples);
    print_side(f, "reference", &c->reference);
    print_features(c, f);
    print_note(c, f);
    print_warnings(c, f);
    return fclose(f) == 0 ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the result");
}

/* --- the document -------------------------------------------------------------------------------------- */

/* What the features are: of images a name, of files a number of columns. */
static void put_features(const comparison *c, json *o)
{
    json_put(o, "space", c->name[0] ? json_new_string(c->name) : json_new_null());
    if (!c->space) {
        json_put_int(o, "features", (int64_t)c->samples.dims);
        return;
    }
    json_put_string(o, "features", feature_space_name(c->space));
    json_put_string(o, "rounding", "8 bits, as stored");
    if (of_pixels(c)) return;
    json_put_string(o, "computed_in", engine_precision(&c->e));
    json_put(o, "input", feature_space_input(c->space)[0] ? json_new_string(feature_space_input(c->space)) : json_new_null());
}

static void put_size(const eval_side *s, json *o)
{
    json *size = json_new_array();
    json_append(size, json_new_int(s->h));
    json_append(size, json_new_int(s->w));
    json_put(o, "image_size", size);
}

static void put_axes(const comparison *c, json *o)
{
    if (!of_pixels(c)) return;
    const bool axes = feature_space_map_of(c->space);
    const char *data = axes ? fitted_to(c) : NULL;
    json_put_int(o, "n_fit", feature_space_fit_count(c->space));
    json_put(o, "fit_data", data ? json_new_string(data) : json_new_null());
    json_put_real(o, "variance_share", feature_space_share(c->space));
    json_put_string(o, "note", axes ? "not an FID: principal components of the pixels" : "not an FID: pixels");
}

ddpm_status eval_report_document(const comparison *c, json **document)
{
    static const char *const SCHEMAS[] = { [SIDE_IMAGES] = "ddpm-eval-1", [SIDE_FEATURES] = "ddpm-eval-features-1", [SIDE_STATISTICS] = "ddpm-eval-statistics-1" };
    json *o = *document = json_new_object();
    json_put_string(o, "schema", SCHEMAS[c->samples.kind]);
    json_put_string(o, "samples", c->samples.word);
    json_put_string(o, "reference", c->reference.word);
    put_features(c, o);
    if (c->samples.set && image_set_fitted(c->samples.set)) put_size(&c->samples, o);
    eval_frechet_put(&c->frechet, o);
    eval_metrics_put(&c->metrics, o);
    json_put_int(o, "n_samples", c->samples.count);
    json_put_int(o, "n_reference", c->reference.count);                  /* 0: statistics do not say */
    json_put_int(o, "bad_images", c->samples.bad + c->reference.bad + c->fit_bad);
    put_axes(c, o);
    json_put_int(o, "seed", c->s.v->seed);
    eval_put_warnings(&c->s, o);
    return json_put_real(o, "seconds", clock_now() - c->s.begin);
}
