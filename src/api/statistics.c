#include "api/statistics.h"

#include "api/eval_parts.h"
#include "base/checked.h"
#include "io/file.h"
#include "io/npz.h"
#include "metrics/frechet.h"
#include "metrics/linalg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool statistics_is(const char *path)
{
    npz_reader *z = NULL;
    if (!file_has_ending(path, ".npz") || file_is_dir(path) || npz_reader_open(path, &z) != DDPM_OK) return false;
    const bool is = npz_reader_has(z, "mu") && npz_reader_has(z, "sigma") && !npz_reader_has(z, "arr_0");
    npz_reader_free(z);
    return is;
}

/* --- reading ------------------------------------------------------------------------------ */

typedef struct { npz_reader *z; const char *path; } source;

static double number_at(const npz_array *a, size_t i)
{
    double wide;
    float narrow;
    if (!strcmp(a->descr, "<f8")) {
        memcpy(&wide, a->data + 8 * i, sizeof wide);
        return wide;
    }
    memcpy(&narrow, a->data + 4 * i, sizeof narrow);
    return (double)narrow;
}

/* Array `name` of real numbers. shape[ndim] is what it must be, 0: anything; it receives what it is. */
static ddpm_status read_reals(const source *f, const char *name, int ndim, size_t shape[2], double **out)
{
    npz_array a;
    DDPM_TRY(npz_reader_get(f->z, name, &a));
    bool fits = a.ndim == ndim && (!strcmp(a.descr, "<f8") || !strcmp(a.descr, "<f4"));
    for (int i = 0; i < ndim && fits; i++) fits = a.shape[i] > 0 && (!shape[i] || (size_t)a.shape[i] == shape[i]);
    if (!fits) return ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" has another type or shape than statistics need (mu [k], sigma [k,k], real numbers)", f->path, name);
    size_t count = 1;
    for (int i = 0; i < ndim; i++) count *= shape[i] = (size_t)a.shape[i];       /* as many as the reader found bytes for */
    *out = reallocarray(NULL, count, sizeof **out);
    if (!*out) return ddpm_fail(DDPM_ENOMEM, "no memory for the %zu numbers of \"%s\" in %s", count, name, f->path);
    for (size_t i = 0; i < count; i++) {
        (*out)[i] = number_at(&a, i);
        if (!isfinite((*out)[i])) return ddpm_fail(DDPM_EFORMAT, "%s: element %zu of \"%s\" is not a finite number", f->path, i, name);
    }
    return DDPM_OK;
}

static ddpm_status check_symmetric(const source *f, const char *name, const statistics *s)
{
    for (size_t i = 0; i < s->dims; i++)
        for (size_t k = 0; k < i; k++) {
            const double a = s->covariance[i * s->dims + k], b = s->covariance[k * s->dims + i];
            if (fabs(a - b) > 1e-4 * (fabs(a) + fabs(b)) + 1e-6)
                return ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" is not symmetric at [%zu,%zu], so it is no covariance", f->path, name, i, k);
        }
    return DDPM_OK;
}

/* To store a covariance of k numbers in float32 moves its eigenvalues by at most 2^-24 k^1/2 of the largest, less than this for LINALG_MAX_DIMS. */
#define ROUNDING 1e-5

static ddpm_status check_positive(const source *f, const char *name, const statistics *s)
{
    const size_t k = s->dims;
    double *a = reallocarray(NULL, k * k, sizeof *a), *w = calloc(k, sizeof *w);
    ddpm_status status = a && w ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the eigenvalues of \"%s\" in %s", name, f->path);
    if (status == DDPM_OK) {
        memcpy(a, s->covariance, k * k * sizeof *a);
        status = linalg_eigen(k, a, false, w);
    }
    if (status == DDPM_OK && w[0] < 0 && -w[0] > ROUNDING * fabs(w[k - 1]))
        status = ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" has the eigenvalue %.6g (the largest is %.6g), so it is no covariance", f->path, name, w[0], w[k - 1]);
    free(a);
    free(w);
    return status;
}

static ddpm_status read_gaussian(const source *f, bool spatial, statistics *s)
{
    const char *mu = spatial ? "mu_s" : "mu", *sigma = spatial ? "sigma_s" : "sigma";
    size_t rows[2] = { 0, 0 };
    DDPM_TRY(read_reals(f, mu, 1, rows, &s->mean));
    s->dims = rows[0];
    if (s->dims > LINALG_MAX_DIMS) return ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" has %zu numbers; up to %d are possible", f->path, mu, s->dims, LINALG_MAX_DIMS);
    DDPM_TRY(read_reals(f, sigma, 2, (size_t[2]){ s->dims, s->dims }, &s->covariance));
    DDPM_TRY(check_symmetric(f, sigma, s));
    return check_positive(f, sigma, s);
}

static ddpm_status read_map(const source *f, statistics *s)
{
    double *counts = NULL, *total = NULL;
    size_t pixels;
    if (!npz_reader_has(f->z, "axes")) return DDPM_OK;
    ddpm_status status = read_reals(f, "images", 1, (size_t[2]){ 5, 0 }, &counts);
    for (int i = 0; i < 5 && status == DDPM_OK; i++)
        if (counts[i] < 1 || counts[i] > (i < 2 ? 1e15 : 65536.0)) status = ddpm_fail(DDPM_EFORMAT, "%s: \"images\" must be two numbers of images, height, width, channels", f->path);
    if (status == DDPM_OK) {
        s->count = (int64_t)counts[0];
        s->fitted = (int64_t)counts[1];
        s->h = (int)counts[2];
        s->w = (int)counts[3];
        s->c = (int)counts[4];
        pixels = (size_t)s->h * (size_t)s->w;
        s->map.k = s->dims;
        if (!checked_mul(pixels, (size_t)s->c, &s->map.dims)) status = ddpm_fail(DDPM_EFORMAT, "%s: images of too many pixels", f->path);
    }
    if (status == DDPM_OK) status = read_reals(f, "axes", 2, (size_t[2]){ s->dims, s->map.dims }, &s->map.axes);
    if (status == DDPM_OK) status = read_reals(f, "centre", 1, (size_t[2]){ s->map.dims, 0 }, &s->map.mean);
    if (status == DDPM_OK) status = read_reals(f, "variance", 1, (size_t[2]){ s->dims, 0 }, &s->map.variance);
    if (status == DDPM_OK) status = read_reals(f, "total_variance", 1, (size_t[2]){ 1, 0 }, &total);
    if (status == DDPM_OK) s->map.total = total[0];
    free(counts);
    free(total);
    return status;
}

ddpm_status statistics_read(const char *path, bool spatial, statistics *s)
{
    source f = { .path = path };
    *s = (statistics){ 0 };
    DDPM_TRY(npz_reader_open(path, &f.z));
    ddpm_status status = DDPM_OK;
    if (!spatial || npz_reader_has(f.z, "mu_s")) status = read_gaussian(&f, spatial, s);
    if (status == DDPM_OK && !spatial) status = read_map(&f, s);
    if (status == DDPM_OK) status = features_read_space(f.z, path, s->space);
    npz_reader_free(f.z);
    return status;
}

void statistics_free(statistics *s)
{
    free(s->mean);
    free(s->covariance);
    pca_free(&s->map);
    *s = (statistics){ 0 };
}

/* --- writing --------------------------------------------------------------------------------- */

static ddpm_status write_space(npz_writer *w, const statistics *s)
{
    const int64_t length = (int64_t)strlen(s->space);
    return length ? npz_writer_add(w, "space", "|u1", &length, 1, s->space) : DDPM_OK;
}

static ddpm_status write_arrays(npz_writer *w, const statistics *s)
{
    const int64_t k = (int64_t)s->dims, pixels = (int64_t)s->map.dims, one = 1, five = 5;
    const double images[5] = { (double)s->count, (double)s->fitted, s->h, s->w, s->c };
    DDPM_TRY(npz_writer_add(w, "mu", "<f8", &k, 1, s->mean));
    DDPM_TRY(npz_writer_add(w, "sigma", "<f8", (int64_t[]){ k, k }, 2, s->covariance));
    DDPM_TRY(write_space(w, s));
    if (!s->map.axes) return DDPM_OK;
    DDPM_TRY(npz_writer_add(w, "axes", "<f8", (int64_t[]){ k, pixels }, 2, s->map.axes));
    DDPM_TRY(npz_writer_add(w, "centre", "<f8", &pixels, 1, s->map.mean));
    DDPM_TRY(npz_writer_add(w, "variance", "<f8", &k, 1, s->map.variance));
    DDPM_TRY(npz_writer_add(w, "total_variance", "<f8", &one, 1, &s->map.total));
    return npz_writer_add(w, "images", "<f8", &five, 1, images);
}

ddpm_status statistics_write(const char *path, const statistics *s)
{
    npz_writer *w = NULL;
    DDPM_TRY(npz_writer_open(path, &w));
    const ddpm_status status = write_arrays(w, s);
    if (status == DDPM_OK) return npz_writer_finish(w);
    npz_writer_abort(w);
    return status;
}

/* --- two files --------------------------------------------------------------------------------- */

static ddpm_status distance(const statistics *a, const statistics *b, frechet_result *r)
{
    frechet_target *t = NULL;
    DDPM_TRY(frechet_target_new(b->dims, b->mean, b->covariance, &t));
    const ddpm_status s = frechet_distance(t, a->mean, a->covariance, r);
    frechet_target_free(t);
    return s;
}

/* The same space: as many numbers, the same name or none, and the same axes where either file has axes. */
static ddpm_status check_same_space(const char *a_path, const statistics *a, const char *b_path, const statistics *b)
{
    if (a->dims != b->dims)
        return ddpm_fail(DDPM_EINVAL, "%s is of %zu features and %s of %zu; distances exist only within one space", a_path, a->dims, b_path, b->dims);
    const size_t n = a->dims * a->map.dims;
    const bool mapped = a->map.axes && b->map.axes, same = mapped && a->map.dims == b->map.dims && !memcmp(a->map.axes, b->map.axes, n * sizeof *a->map.axes) &&
                                                           !memcmp(a->map.mean, b->map.mean, a->map.dims * sizeof *a->map.mean);
    if (same || (!a->map.axes && !b->map.axes)) return features_same_names(a_path, a->space, b_path, b->space);
    return ddpm_fail(DDPM_EINVAL, "%s and %s are of different features (their axes differ); measure one set of images against the other's statistics", a_path, b_path);
}

/* mapped: the features are ours. count: images of a and b, 0 where the file does not say. */
typedef struct { frechet_result r; size_t dims; bool mapped; int64_t count[2]; char space[FEATURES_SPACE_SIZE]; } pair_result;

static ddpm_status measure_pair(const char *a_path, const char *b_path, bool spatial, pair_result *p)
{
    statistics a = { 0 }, b = { 0 };
    ddpm_status s = statistics_read(a_path, spatial, &a);
    if (s == DDPM_OK) s = statistics_read(b_path, spatial, &b);
    if (s == DDPM_OK && a.dims && b.dims) {
        s = check_same_space(a_path, &a, b_path, &b);
        if (s == DDPM_OK) s = distance(&a, &b, &p->r);
        p->dims = a.dims;
        p->mapped = a.map.axes != NULL;
        p->count[0] = a.count;
        p->count[1] = b.count;
        memcpy(p->space, a.space, sizeof p->space);
    }
    statistics_free(&a);
    statistics_free(&b);
    return s;
}

static ddpm_status print(const char *a, const char *b, const pair_result *whole, const pair_result *spatial, char **text)
{
    size_t size;
    FILE *f = open_memstream(text, &size);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the result");
    fprintf(f, "Frechet distance %.4f of the statistics in %s and %s, %zu features\n", whole->r.distance, a, b, whole->dims);
    fprintf(f, "  of this %.4f is the distance of the means\n", whole->r.of_means);
    eval_print_clamped(f, &whole->r, SIZE_MAX, whole->dims);
    if (whole->space[0]) fprintf(f, "The features are of the space %s.\n", whole->space);
    if (spatial->dims) fprintf(f, "spatial features (sFID): %.4f, %zu features\n", spatial->r.distance, spatial->dims);
    if (whole->mapped) fprintf(f, "This is not an FID: the features are principal components of the pixels.\n");
    else if (whole->space[0]) fprintf(f, features_are_inception(whole->space) ? "This is an FID.\n" : "This is not an FID.\n");
    else fprintf(f, "This is an FID where both files are of the same Inception network; the files do not say.\n");
    return fclose(f) == 0 ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the result");
}

ddpm_status statistics_compare(const char *a, const char *b, char **text, json **summary)
{
    pair_result whole = { .dims = 0 }, spatial = { .dims = 0 };
    if (!statistics_is(b)) return ddpm_fail(DDPM_EINVAL, "%s holds statistics (mu, sigma), %s does not; give images as the first, or statistics for both", a, b);
    DDPM_TRY(measure_pair(a, b, false, &whole));
    DDPM_TRY(measure_pair(a, b, true, &spatial));
    DDPM_TRY(print(a, b, &whole, &spatial, text));
    if (!summary) return DDPM_OK;
    json *o = *summary = json_new_object();
    json_put_string(o, "schema", "ddpm-eval-statistics-1");
    json_put_string(o, "samples", a);
    json_put_string(o, "reference", b);
    json_put(o, "space", whole.space[0] ? json_new_string(whole.space) : json_new_null());
    json_put_int(o, "features", (int64_t)whole.dims);
    json_put_real(o, "frechet", whole.r.distance);
    json_put_real(o, "of_means", whole.r.of_means);
    json_put_real(o, "clamped", whole.r.clamped);
    json_put_int(o, "n_samples", whole.count[0]);
    json_put_int(o, "n_reference", whole.count[1]);
    return json_put(o, "frechet_spatial", spatial.dims ? json_new_real(spatial.r.distance) : json_new_null());
}
