#include "api/features.h"

#include <stdlib.h>
#include <string.h>

#include "data/loader.h"
#include "io/file.h"

#define INCEPTION "inception-2015-12-05"

bool features_is(const char *path)
{
    npz_reader *z = NULL;
    if (!file_has_ending(path, ".npz") || file_is_dir(path) || npz_reader_open(path, &z) != DDPM_OK) return false;
    const bool is = npz_reader_has(z, "features") && !npz_reader_has(z, "arr_0");
    npz_reader_free(z);
    return is;
}

/* --- reading ------------------------------------------------------------------------------ */

static ddpm_status read_rows(const feature_set *f, const char *name, metric_rows *rows)
{
    npz_array a;
    size_t row, column;
    DDPM_TRY(npz_reader_get(f->file, name, &a));
    const bool wide = !strcmp(a.descr, "<f8");
    if ((!wide && strcmp(a.descr, "<f4")) || a.ndim != 2)
        return ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" is %s of %d dimensions; it must be <f4 or <f8 [rows,columns]", f->path, name, a.descr, a.ndim);
    if (a.shape[0] < 1 || a.shape[1] < 1 || a.shape[0] > INT32_MAX || a.shape[1] > INT32_MAX)
        return ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" has %lld rows of %lld columns", f->path, name, (long long)a.shape[0], (long long)a.shape[1]);
    *rows = (metric_rows){ .data = a.data, .n = (size_t)a.shape[0], .dims = (size_t)a.shape[1], .wide = wide };
    if (metric_rows_finite(rows, &row, &column)) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s: row %zu of \"%s\" is not finite in column %zu (rows count from 0); whatever made it failed there", f->path, row, name, column);
}

ddpm_status features_read_space(npz_reader *file, const char *path, char space[FEATURES_SPACE_SIZE])
{
    npz_array a;
    memset(space, 0, FEATURES_SPACE_SIZE);
    if (!npz_reader_has(file, "space")) return DDPM_OK;
    DDPM_TRY(npz_reader_get(file, "space", &a));
    bool plain = !strcmp(a.descr, "|u1") && a.ndim == 1 && a.bytes > 0 && a.bytes < FEATURES_SPACE_SIZE;
    for (size_t i = 0; plain && i < a.bytes; i++) plain = a.data[i] > ' ' && a.data[i] < 127;
    if (!plain) return ddpm_fail(DDPM_EFORMAT, "%s: \"space\" must be up to %d printable ASCII bytes without spaces, |u1", path, FEATURES_SPACE_SIZE - 1);
    memcpy(space, a.data, a.bytes);
    return DDPM_OK;
}

/* An array that need not be there, with as many rows as the features. */
static ddpm_status read_beside(const feature_set *f, const char *name, metric_rows *rows)
{
    if (!npz_reader_has(f->file, name)) return DDPM_OK;
    DDPM_TRY(read_rows(f, name, rows));
    if (rows->n == f->rows.n) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" has %zu rows, \"features\" %zu", f->path, name, rows->n, f->rows.n);
}

ddpm_status features_open(const char *path, feature_set *f)
{
    *f = (feature_set){ .path = path };
    DDPM_TRY(npz_reader_open(path, &f->file));
    DDPM_TRY(read_rows(f, "features", &f->rows));
    DDPM_TRY(features_read_space(f->file, path, f->space));
    DDPM_TRY(read_beside(f, "spatial", &f->spatial));
    DDPM_TRY(read_beside(f, "logits", &f->logits));
    return f->logits.dims != 1 ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s: \"logits\" has one column; a score needs classes", path);
}

void features_close(feature_set *f)
{
    for (int i = 0; i < 3; i++) free(f->copies[i]);
    npz_reader_free(f->file);
    *f = (feature_set){ 0 };
}

/* --- choosing ------------------------------------------------------------------------------- */

static ddpm_status choose(metric_rows *rows, uint64_t seed, size_t n, void **copy)
{
    const size_t bytes = metric_row_bytes(rows);
    if (!rows->n) return DDPM_OK;
    char *to = calloc(n, bytes);
    if (!to) return ddpm_fail(DDPM_ENOMEM, "no memory for %zu rows", n);
    for (size_t i = 0; i < n; i++) memcpy(to + i * bytes, (const char *)rows->data + (size_t)loader_order(seed, 0, (int64_t)i, (int64_t)rows->n) * bytes, bytes);
    free(*copy);
    rows->data = *copy = to;
    rows->n = n;
    return DDPM_OK;
}

ddpm_status features_choose(feature_set *f, uint64_t seed, size_t n)
{
    metric_rows *const rows[] = { &f->rows, &f->logits, &f->spatial };
    if (n >= f->rows.n) return DDPM_OK;
    for (int i = 0; i < 3; i++) DDPM_TRY(choose(rows[i], seed, n, &f->copies[i]));
    return DDPM_OK;
}

/* --- the space --------------------------------------------------------------------------------- */

bool features_are_inception(const char *space) { return !strncmp(space, INCEPTION, strlen(INCEPTION)); }

ddpm_status features_same_names(const char *a_path, const char *a_space, const char *b_path, const char *b_space)
{
    if (!strcmp(a_space, b_space)) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "the features of %s are of the space \"%s\", those of %s of \"%s\"; distances exist only within one space%s", a_path,
                     a_space[0] ? a_space : "(not named)", b_path, b_space[0] ? b_space : "(not named)",
                     a_space[0] && b_space[0] ? "" : ": if they are of the same network, add the array \"space\" to the file without it");
}

ddpm_status features_same_space(const feature_set *a, const feature_set *b)
{
    if (a->rows.dims != b->rows.dims)
        return ddpm_fail(DDPM_EINVAL, "the features of %s have %zu columns, those of %s %zu; distances exist only within one space", a->path, a->rows.dims,
                         b->path, b->rows.dims);
    return features_same_names(a->path, a->space, b->path, b->space);
}
