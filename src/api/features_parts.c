#include "api/features_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"

typedef struct {
    char       *path;
    feature_set f;
    int64_t    *left_out;
    size_t      n_left_out;
    int64_t    *index;               /* [f.rows.n] ascending */
    int64_t     total;
} part;

/* Row `row` of part `part` is that of image `index`; row SIZE_MAX: the image was left out. */
typedef struct { int64_t index; int part; size_t row; } place;

typedef struct {
    const char *folder;
    int     count;
    part   *parts;                   /* [count]   */
    size_t  n;
    place  *places;                  /* [n]       */
} merge;

bool features_are_parts(const char *path)
{
    char **names;
    int count;
    bool found = false;
    if (!file_is_dir(path) || dir_list(path, &names, &count) != DDPM_OK) return false;
    for (int i = 0; i < count && !found; i++) found = file_has_ending(names[i], ".npz");
    dir_list_free(names, count);
    return found;
}

/* --- reading the parts ---------------------------------------------------------------------------- */

static ddpm_status read_numbers(const part *p, const char *name, int64_t **numbers, size_t *n)
{
    npz_array a;
    DDPM_TRY(npz_reader_get(p->f.file, name, &a));
    if (strcmp(a.descr, "<i8") || a.ndim != 1) return ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" is %s of %d dimensions; it must be <i8 [n]", p->path, name, a.descr, a.ndim);
    *n = (size_t)a.shape[0];
    *numbers = malloc(a.bytes + 1);
    if (!*numbers) return ddpm_fail(DDPM_ENOMEM, "no memory for \"%s\" of %s", name, p->path);
    memcpy(*numbers, a.data, a.bytes);
    for (size_t i = 0; i < *n; i++)
        if ((*numbers)[i] < 0) return ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" holds a number below 0", p->path, name);
    return DDPM_OK;
}

static ddpm_status open_part(part *p)
{
    int64_t *total = NULL;
    size_t n;
    if (!features_is(p->path)) return ddpm_fail(DDPM_EFORMAT, "%s is no file of `ddpm features`; --merge takes a folder of nothing but these", p->path);
    DDPM_TRY(features_open(p->path, &p->f));
    if (!npz_reader_has(p->f.file, "index") || !npz_reader_has(p->f.file, "total"))
        return ddpm_fail(DDPM_EFORMAT, "%s does not say which images its rows are of (index, total); `ddpm features` writes that", p->path);
    DDPM_TRY(read_numbers(p, "index", &p->index, &n));
    if (n != p->f.rows.n) return ddpm_fail(DDPM_EFORMAT, "%s: \"index\" has %zu numbers, \"features\" %zu rows", p->path, n, p->f.rows.n);
    const ddpm_status status = read_numbers(p, "total", &total, &n);
    p->total = status == DDPM_OK && n == 1 ? total[0] : 0;
    free(total);
    DDPM_TRY(status);
    if (p->total < 1) return ddpm_fail(DDPM_EFORMAT, "%s: \"total\" must be one number of rows", p->path);
    return npz_reader_has(p->f.file, "left_out") ? read_numbers(p, "left_out", &p->left_out, &p->n_left_out) : DDPM_OK;
}

static bool alike(const metric_rows *a, const metric_rows *b) { return a->dims == b->dims && (!a->n == !b->n) && (!a->n || a->wide == b->wide); }

static ddpm_status check_alike(const part *a, const part *b)
{
    DDPM_TRY(features_same_space(&a->f, &b->f));
    if (a->total != b->total)
        return ddpm_fail(DDPM_EINVAL, "%s is a part of %lld rows, %s of %lld; they are of different sets", a->path, (long long)a->total, b->path, (long long)b->total);
    if (alike(&a->f.rows, &b->f.rows) && alike(&a->f.logits, &b->f.logits) && alike(&a->f.spatial, &b->f.spatial)) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "%s and %s have not the same arrays in the same precision", a->path, b->path);
}

static ddpm_status open_parts(merge *m, char *const *names, int count)
{
    m->parts = calloc((size_t)count + 1, sizeof *m->parts);
    if (!m->parts) return ddpm_fail(DDPM_ENOMEM, "no memory for %d files", count);
    for (int i = 0; i < count; i++) {
        part *p = &m->parts[m->count];
        if (!file_has_ending(names[i], ".npz")) continue;
        m->count++;
        if (asprintf(&p->path, "%s/%s", m->folder, names[i]) < 0) return ddpm_fail(DDPM_ENOMEM, "no memory for the name of a file");
        DDPM_TRY(open_part(p));
        DDPM_TRY(check_alike(m->parts, p));
    }
    return m->count ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s has no .npz of `ddpm features` to merge", m->folder);
}

/* --- the order of the rows --------------------------------------------------------------------------- */

static int by_index(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return (x->index > y->index) - (x->index < y->index);
}

static ddpm_status check_places(const merge *m)
{
    const part *parts = m->parts;
    for (size_t i = 1; i < m->n; i++)
        if (m->places[i].index == m->places[i - 1].index)
            return ddpm_fail(DDPM_EINVAL, "image %lld is in %s and in %s; either image may be there once", (long long)m->places[i].index,
                             parts[m->places[i - 1].part].path, parts[m->places[i].part].path);
    if (m->n > (size_t)parts->total)
        return ddpm_fail(DDPM_EINVAL, "%s has %zu images, but %s says that all parts have %lld", m->folder, m->n, parts->path, (long long)parts->total);
    if (m->n == (size_t)parts->total) return DDPM_OK;
    size_t gap = 0;
    while (gap < m->n && m->places[gap].index == (int64_t)gap) gap++;
    if (m->n && m->places[m->n - 1].index >= parts->total)           /* of a choice (-n): which numbers it has, no file says */
        return ddpm_fail(DDPM_EINVAL, "%s has %zu of the %lld images that %s says there are, in %d files", m->folder, m->n, (long long)parts->total,
                         parts->path, m->count);
    return ddpm_fail(DDPM_EINVAL, "%s has %zu of the %lld images that %s says there are; the first number that none of its %d files has is %zu", m->folder, m->n,
                     (long long)parts->total, parts->path, m->count, gap);
}

static ddpm_status find_places(merge *m)
{
    size_t all = 0;
    for (int p = 0; p < m->count; p++) all += m->parts[p].f.rows.n + m->parts[p].n_left_out;
    m->places = calloc(all, sizeof *m->places);
    if (!m->places) return ddpm_fail(DDPM_ENOMEM, "no memory for the order of %zu rows", all);
    for (int p = 0; p < m->count; p++) {
        const part *from = &m->parts[p];
        for (size_t i = 0; i < from->f.rows.n; i++) m->places[m->n++] = (place){ from->index[i], p, i };
        for (size_t i = 0; i < from->n_left_out; i++) m->places[m->n++] = (place){ from->left_out[i], p, SIZE_MAX };
    }
    qsort(m->places, m->n, sizeof *m->places, by_index);
    return check_places(m);
}

/* --- one set ---------------------------------------------------------------------------------------------- */

static const metric_rows *array_of(const feature_set *f, int which) { return (const metric_rows *[]){ &f->rows, &f->logits, &f->spatial }[which]; }

static ddpm_status copy_rows(const merge *m, int which, metric_rows *rows, void **copy)
{
    const metric_rows *like = array_of(&m->parts->f, which);
    const size_t bytes = metric_row_bytes(like);
    if (!like->n) return DDPM_OK;
    char *to = *copy = calloc(m->n, bytes);
    if (!to) return ddpm_fail(DDPM_ENOMEM, "no memory for %zu rows of %s", m->n, m->folder);
    *rows = (metric_rows){ to, 0, like->dims, like->wide };
    for (size_t i = 0; i < m->n; i++) {
        const place *at = &m->places[i];
        if (at->row == SIZE_MAX) continue;
        memcpy(to + rows->n++ * bytes, (const char *)array_of(&m->parts[at->part].f, which)->data + at->row * bytes, bytes);
    }
    return DDPM_OK;
}

static ddpm_status copy_all(const merge *m, feature_set *f)
{
    metric_rows *const arrays[] = { &f->rows, &f->logits, &f->spatial };
    memcpy(f->space, m->parts->f.space, sizeof f->space);
    for (int i = 0; i < 3; i++) DDPM_TRY(copy_rows(m, i, arrays[i], &f->copies[i]));
    return DDPM_OK;
}

static void close_parts(merge *m)
{
    for (int i = 0; i < m->count; i++) {
        features_close(&m->parts[i].f);
        free(m->parts[i].index);
        free(m->parts[i].left_out);
        free(m->parts[i].path);
    }
    free(m->parts);
    free(m->places);
}

ddpm_status features_merge(const char *folder, feature_set *f)
{
    merge m = { .folder = folder };
    char **names;
    int count;
    *f = (feature_set){ .path = folder };
    DDPM_TRY(dir_list(folder, &names, &count));
    ddpm_status status = open_parts(&m, names, count);
    dir_list_free(names, count);
    if (status == DDPM_OK) status = find_places(&m);
    if (status == DDPM_OK) status = copy_all(&m, f);
    close_parts(&m);
    return status;
}
