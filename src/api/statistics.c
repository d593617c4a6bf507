#include "api/statistics.h"

#include "base/checked.h"
#include "io/file.h"
#include "io/npz.h"
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

static ddpm_status check_symmetric(const source *f, const char *name, const gaussian *g)
{
    for (size_t i = 0; i < g->dims; i++)
        for (size_t k = 0; k < i; k++) {
            const double a = g->covariance[i * g->dims + k], b = g->covariance[k * g->dims + i];
            if (fabs(a - b) > 1e-4 * (fabs(a) + fabs(b)) + 1e-6)
                return ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" is not symmetric at [%zu,%zu], so it is no covariance", f->path, name, i, k);
        }
    return DDPM_OK;
}

/* To store a covariance of k numbers in float32 moves its eigenvalues by at most 2^-24 k^1/2 of the largest, less than this for LINALG_MAX_DIMS. */
#define ROUNDING 1e-5

static ddpm_status check_positive(const source *f, const char *name, const gaussian *g)
{
    const size_t k = g->dims;
    double *a = reallocarray(NULL, k * k, sizeof *a), *w = calloc(k, sizeof *w);
    ddpm_status status = a && w ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the eigenvalues of \"%s\" in %s", name, f->path);
    if (status == DDPM_OK) {
        memcpy(a, g->covariance, k * k * sizeof *a);
        status = linalg_eigen(k, a, false, w);
    }
    if (status == DDPM_OK && w[0] < 0 && -w[0] > ROUNDING * fabs(w[k - 1]))
        status = ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" has the eigenvalue %.6g (the largest is %.6g), so it is no covariance", f->path, name, w[0], w[k - 1]);
    free(a);
    free(w);
    return status;
}

static ddpm_status read_gaussian(const source *f, const char *mu, const char *sigma, gaussian *g)
{
    size_t rows[2] = { 0, 0 };
    DDPM_TRY(read_reals(f, mu, 1, rows, &g->mean));
    g->dims = rows[0];
    if (g->dims > LINALG_MAX_DIMS) return ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" has %zu numbers; up to %d are possible", f->path, mu, g->dims, LINALG_MAX_DIMS);
    DDPM_TRY(read_reals(f, sigma, 2, (size_t[2]){ g->dims, g->dims }, &g->covariance));
    DDPM_TRY(check_symmetric(f, sigma, g));
    return check_positive(f, sigma, g);
}

#define MOST_IMAGES 1e15

/* "images" of the files with axes. */
static ddpm_status read_sizes(const source *f, statistics *s)
{
    double *counts = NULL;
    size_t pixels;
    ddpm_status status = read_reals(f, "images", 1, (size_t[2]){ 5, 0 }, &counts);
    for (int i = 0; i < 5 && status == DDPM_OK; i++)
        if (counts[i] < 1 || counts[i] > (i < 2 ? MOST_IMAGES : 65536.0))
            status = ddpm_fail(DDPM_EFORMAT, "%s: \"images\" must be two numbers of images, height, width, channels", f->path);
    if (status == DDPM_OK) {
        s->count = (int64_t)counts[0];
        s->fitted = (int64_t)counts[1];
        s->h = (int)counts[2];
        s->w = (int)counts[3];
        s->c = (int)counts[4];
        pixels = (size_t)s->h * (size_t)s->w;
        if (!checked_mul(pixels, (size_t)s->c, &s->map.dims)) status = ddpm_fail(DDPM_EFORMAT, "%s: images of too many pixels", f->path);
    }
    free(counts);
    return status;
}

static ddpm_status read_map(const source *f, statistics *s)
{
    double *total = NULL;
    const size_t k = s->map.k = s->whole.dims;
    DDPM_TRY(read_sizes(f, s));
    ddpm_status status = read_reals(f, "axes", 2, (size_t[2]){ k, s->map.dims }, &s->map.axes);
    if (status == DDPM_OK) status = read_reals(f, "centre", 1, (size_t[2]){ s->map.dims, 0 }, &s->map.mean);
    if (status == DDPM_OK) status = read_reals(f, "variance", 1, (size_t[2]){ k, 0 }, &s->map.variance);
    if (status == DDPM_OK) status = read_reals(f, "total_variance", 1, (size_t[2]){ 1, 0 }, &total);
    if (status == DDPM_OK) s->map.total = total[0];
    free(total);
    return status;
}

static ddpm_status read_count(const source *f, statistics *s)
{
    double *count = NULL;
    ddpm_status status = read_reals(f, "count", 1, (size_t[2]){ 1, 0 }, &count);
    if (status == DDPM_OK && (count[0] < 1 || count[0] > MOST_IMAGES)) status = ddpm_fail(DDPM_EFORMAT, "%s: \"count\" must be a number of images", f->path);
    if (status == DDPM_OK) s->count = (int64_t)count[0];
    free(count);
    return status;
}

static ddpm_status read_whole(const source *f, statistics *s)
{
    DDPM_TRY(read_gaussian(f, "mu", "sigma", &s->whole));
    if (npz_reader_has(f->z, "axes")) DDPM_TRY(read_map(f, s));
    else if (npz_reader_has(f->z, "count")) DDPM_TRY(read_count(f, s));
    s->has_spatial = npz_reader_has(f->z, "mu_s");
    return features_read_space(f->z, f->path, s->space);
}

ddpm_status statistics_read(const char *path, statistics *s)
{
    source f = { .path = path };
    *s = (statistics){ 0 };
    DDPM_TRY(npz_reader_open(path, &f.z));
    const ddpm_status status = read_whole(&f, s);
    npz_reader_free(f.z);
    return status;
}

ddpm_status statistics_read_spatial(const char *path, statistics *s)
{
    source f = { .path = path };
    gaussian_free(&s->spatial);
    DDPM_TRY(npz_reader_open(path, &f.z));
    const ddpm_status status = read_gaussian(&f, "mu_s", "sigma_s", &s->spatial);
    npz_reader_free(f.z);
    return status;
}

void statistics_free(statistics *s)
{
    gaussian_free(&s->whole);
    gaussian_free(&s->spatial);
    pca_free(&s->map);
    *s = (statistics){ 0 };
}

ddpm_status gaussian_new(size_t dims, gaussian *g)
{
    *g = (gaussian){ dims, calloc(dims, sizeof *g->mean), calloc(dims * dims, sizeof *g->covariance) };
    if (g->mean && g->covariance) return DDPM_OK;
    gaussian_free(g);
    return ddpm_fail(DDPM_ENOMEM, "no memory for the covariance of %zu features", dims);
}

void gaussian_free(gaussian *g)
{
    free(g->mean);
    free(g->covariance);
    *g = (gaussian){ 0 };
}

/* --- writing --------------------------------------------------------------------------------- */

static ddpm_status write_gaussian(npz_writer *w, const char *mu, const char *sigma, const gaussian *g)
{
    const int64_t k = (int64_t)g->dims;
    DDPM_TRY(npz_writer_add(w, mu, "<f8", &k, 1, g->mean));
    return npz_writer_add(w, sigma, "<f8", (int64_t[]){ k, k }, 2, g->covariance);
}

static ddpm_status write_map(npz_writer *w, const statistics *s)
{
    const int64_t k = (int64_t)s->whole.dims, pixels = (int64_t)s->map.dims, one = 1, five = 5;
    const double images[5] = { (double)s->count, (double)s->fitted, s->h, s->w, s->c };
    DDPM_TRY(npz_writer_add(w, "axes", "<f8", (int64_t[]){ k, pixels }, 2, s->map.axes));
    DDPM_TRY(npz_writer_add(w, "centre", "<f8", &pixels, 1, s->map.mean));
    DDPM_TRY(npz_writer_add(w, "variance", "<f8", &k, 1, s->map.variance));
    DDPM_TRY(npz_writer_add(w, "total_variance", "<f8", &one, 1, &s->map.total));
    return npz_writer_add(w, "images", "<f8", &five, 1, images);
}

static ddpm_status write_arrays(npz_writer *w, const statistics *s)
{
    const int64_t length = (int64_t)strlen(s->space), one = 1;
    const double count = (double)s->count;
    DDPM_TRY(write_gaussian(w, "mu", "sigma", &s->whole));
    if (s->spatial.dims) DDPM_TRY(write_gaussian(w, "mu_s", "sigma_s", &s->spatial));
    if (length) DDPM_TRY(npz_writer_add(w, "space", "|u1", &length, 1, s->space));
    if (s->map.axes) return write_map(w, s);
    return s->count ? npz_writer_add(w, "count", "<f8", &one, 1, &count) : DDPM_OK;
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

ddpm_status statistics_same_space(const char *a_path, const statistics *a, const char *b_path, const statistics *b)
{
    if (a->whole.dims != b->whole.dims)
        return ddpm_fail(DDPM_EINVAL, "%s is of %zu features and %s of %zu; distances exist only within one space", a_path, a->whole.dims, b_path, b->whole.dims);
    const size_t n = a->whole.dims * a->map.dims;
    const bool mapped = a->map.axes && b->map.axes, same = mapped && a->map.dims == b->map.dims && !memcmp(a->map.axes, b->map.axes, n * sizeof *a->map.axes) &&
                                                           !memcmp(a->map.mean, b->map.mean, a->map.dims * sizeof *a->map.mean);
    if (same || (!a->map.axes && !b->map.axes)) return features_same_names(a_path, a->space, b_path, b->space);
    return ddpm_fail(DDPM_EINVAL, "%s and %s are of different features (their axes differ); measure one set of images against the other's statistics", a_path, b_path);
}
