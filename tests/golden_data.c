/* Reading the folder. */
#include "golden_run.h"

#include "io/file.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- JSON ---- */

/* Whole numbers of 19 and more digits get quotes. `out` has room for twice the text. */
static size_t quote_large(const char *text, size_t len, char *out)
{
    size_t n = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; ) {
        size_t digits = 0;
        while (!in_string && i + digits < len && isdigit((unsigned char)text[i + digits])) digits++;
        const char before = i ? text[i - 1] : ' ', after = i + digits < len ? text[i + digits] : ' ';
        const bool whole = digits >= 19 && !strchr(".eE+-", before) && !strchr(".eE", after);
        if (whole) out[n++] = '"';
        const size_t copy = digits ? digits : 1;
        memcpy(out + n, text + i, copy);
        n += copy;
        if (whole) out[n++] = '"';
        if (!digits && text[i] == '"' && before != '\\') in_string = !in_string;
        i += copy;
    }
    return n;
}

ddpm_status gold_read_json(const char *path, json **tree)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    *tree = NULL;
    DDPM_TRY(file_read_all(path, JSON_MAX_BYTES / 2, &bytes, &len));
    char *text = malloc(2 * len + 1);
    const ddpm_status s = text ? json_parse(text, quote_large((const char *)bytes, len, text), path, tree)
                               : ddpm_fail(DDPM_ENOMEM, "no memory to read %s", path);
    free(text);
    free(bytes);
    return s;
}

static void undo_json(void *tree) { json_free(tree); }

static const char *vpath(gold_case *c, const char *fmt, va_list ap)
{
    char name[GOLD_NAME];
    vsnprintf(name, sizeof name, fmt, ap);
    char *path = gold_alloc(c, strlen(c->run->dir) + strlen(name) + 2, 1);
    sprintf(path, "%s/%s", c->run->dir, name);
    return path;
}

bool gold_exists(const gold_case *c, const char *fmt, ...)
{
    gold_case copy = *c;
    va_list ap;
    va_start(ap, fmt);
    const char *path = vpath(&copy, fmt, ap);
    va_end(ap);
    return file_exists(path);
}

ddpm_status gold_json(gold_case *c, const json **tree, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *path = vpath(c, fmt, ap);
    va_end(ap);
    json *j;
    *tree = NULL;
    DDPM_TRY(gold_read_json(path, &j));
    gold_defer(c, undo_json, j);
    *tree = j;
    return DDPM_OK;
}

ddpm_status gold_need_int(const json *o, const char *key, int *v)
{
    json *j;
    int64_t wide;
    DDPM_TRY(json_need(o, key, "the golden case", &j));
    if (!json_as_int(j, &wide) || wide != (int)wide) return ddpm_fail(DDPM_EFORMAT, "the golden case: \"%s\" is not an integer", key);
    *v = (int)wide;
    return DDPM_OK;
}

ddpm_status gold_need_real(const json *o, const char *key, double *v)
{
    json *j;
    DDPM_TRY(json_need(o, key, "the golden case", &j));
    return json_as_real(j, v) ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "the golden case: \"%s\" is not a number", key);
}

ddpm_status gold_need_bool(const json *o, const char *key, bool *v)
{
    json *j;
    DDPM_TRY(json_need(o, key, "the golden case", &j));
    return json_as_bool(j, v) ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "the golden case: \"%s\" is not true or false", key);
}

ddpm_status gold_need_string(const json *o, const char *key, const char **v)
{
    json *j;
    DDPM_TRY(json_need(o, key, "the golden case", &j));
    *v = json_as_string(j);
    return *v ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "the golden case: \"%s\" is not a string", key);
}

ddpm_status gold_need_object(const json *o, const char *key, const json **v)
{
    json *j;
    DDPM_TRY(json_need(o, key, "the golden case", &j));
    *v = j;
    return json_kind_of(j) == JSON_KIND_OBJECT ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "the golden case: \"%s\" is not an object", key);
}

/* ---- tensors ---- */

typedef struct { const gold_case *c; gold_file *f; } open_file;

/* Closing tells which tensors nobody asked for, unless an error came first. */
static void undo_open(void *what)
{
    const open_file *o = what;
    for (int i = 0; i < safetensors_count(o->f->st); i++) {
        char label[GOLD_NAME];
        snprintf(label, sizeof label, "%s/%s", o->f->label, safetensors_at(o->f->st, i)->name);
        if (!o->f->used[i] && !o->c->failed) gold_skip(o->c->run, label, "nothing was compared with it");
    }
    safetensors_close(o->f->st);
}

ddpm_status gold_open(gold_case *c, const char *label, gold_file **f)
{
    const char *path = gold_printf(c, "%s/%s.safetensors", c->run->dir, label);
    open_file *o = gold_alloc(c, 1, sizeof *o);
    *f = gold_alloc(c, 1, sizeof **f);
    (*f)->label = gold_printf(c, "%s", label);
    DDPM_TRY(safetensors_open(path, &(*f)->st));
    (*f)->used = gold_alloc(c, (size_t)safetensors_count((*f)->st), sizeof *(*f)->used);
    *o = (open_file){ c, *f };
    gold_defer(c, undo_open, o);
    return DDPM_OK;
}

static double element(const safetensors_tensor *t, size_t i)
{
    const unsigned char *at = (const unsigned char *)t->data + i * safetensors_dtype_bytes(t->dtype);
    double f64;
    float f32;
    int64_t i64;
    switch (t->dtype) {
    case ST_F64: memcpy(&f64, at, sizeof f64); return f64;
    case ST_F32: memcpy(&f32, at, sizeof f32); return (double)f32;
    case ST_I64: memcpy(&i64, at, sizeof i64); return (double)i64;
    case ST_U8:  return (double)*at;
    default:     return NAN;
    }
}

static void read_tensor(gold_case *c, gold_file *f, const safetensors_tensor *st, gold_tensor *t)
{
    *t = (gold_tensor){ .name = st->name, .dtype = st->dtype, .ndim = st->ndim, .len = (size_t)safetensors_len(st),
                        .label = gold_printf(c, "%s/%s", f->label, st->name) };
    for (int i = 0; i < st->ndim; i++) t->shape[i] = (size_t)st->shape[i];
    double *v = gold_alloc(c, t->len, sizeof *v);
    for (size_t i = 0; i < t->len; i++) v[i] = element(st, i);
    t->v = v;
}

bool gold_find(gold_case *c, gold_file *f, gold_tensor *t, const char *fmt, ...)
{
    char name[GOLD_NAME];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    *t = (gold_tensor){ 0 };
    for (int i = 0; i < safetensors_count(f->st); i++) {
        if (strcmp(safetensors_at(f->st, i)->name, name)) continue;
        f->used[i] = true;
        read_tensor(c, f, safetensors_at(f->st, i), t);
        return true;
    }
    return false;
}

ddpm_status gold_need(gold_case *c, gold_file *f, gold_tensor *t, const char *fmt, ...)
{
    char name[GOLD_NAME];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    return gold_find(c, f, t, "%s", name) ? DDPM_OK : ddpm_fail(DDPM_EFORMAT, "%s has no tensor %s", safetensors_path(f->st), name);
}

ddpm_status gold_expect(const gold_tensor *t, int ndim, size_t len)
{
    if (t->len == len && (!ndim || t->ndim == ndim)) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s has %d dimensions and %zu elements, which does not fit its case (%d, %zu)", t->label, t->ndim, t->len,
                     ndim, len);
}

const char *gold_under(const gold_file *f, int i, const char *prefix)
{
    const char *name = safetensors_at(f->st, i)->name;
    return strncmp(name, prefix, strlen(prefix)) ? NULL : name + strlen(prefix);
}

int gold_count_under(const gold_file *f, const char *prefix)
{
    int n = 0;
    for (int i = 0; i < safetensors_count(f->st); i++) n += gold_under(f, i, prefix) != NULL;
    return n;
}

bool gold_find_strided(gold_case *c, gold_file *f, const char *group, const char *name, gold_tensor *t, size_t *stride)
{
    const char *prefix = gold_printf(c, "%s/%s", group, name);
    for (int i = 0; i < safetensors_count(f->st); i++) {
        const char *rest = gold_under(f, i, prefix);
        if (!rest) continue;
        *stride = 1;
        if (*rest && (sscanf(rest, "[::%zu]", stride) != 1 || *stride < 1)) continue;
        return gold_find(c, f, t, "%s%s", prefix, rest);
    }
    return false;
}

gold_tensor gold_at(const gold_tensor *t, size_t first)
{
    gold_tensor part = *t;
    part.len = t->shape[0] ? t->len / t->shape[0] : 0;
    part.v = t->v + first * part.len;
    part.ndim--;
    memmove(part.shape, t->shape + 1, (size_t)part.ndim * sizeof *part.shape);
    return part;
}

int *gold_ints(gold_case *c, const gold_tensor *t)
{
    int *out = gold_alloc(c, t->len, sizeof *out);
    for (size_t i = 0; i < t->len; i++) out[i] = (int)t->v[i];
    return out;
}

float *gold_floats(gold_case *c, const gold_tensor *t)
{
    float *out = gold_alloc(c, t->len, sizeof *out);
    for (size_t i = 0; i < t->len; i++) out[i] = (float)t->v[i];
    return out;
}

float *gold_nhwc(gold_case *c, const gold_tensor *t)
{
    const size_t channels = t->shape[t->ndim - 3], pixels = t->shape[t->ndim - 2] * t->shape[t->ndim - 1];
    float *out = gold_alloc(c, t->len, sizeof *out);
    for (size_t i = 0; i < t->len; i++) {
        const size_t image = i / (channels * pixels), channel = i / pixels % channels, pixel = i % pixels;
        out[(image * pixels + pixel) * channels + channel] = (float)t->v[i];
    }
    return out;
}

void gold_from_nhwc(const float *x, size_t images, size_t channels, size_t pixels, double *out)
{
    for (size_t n = 0; n < images; n++)
        for (size_t q = 0; q < pixels; q++)
            for (size_t k = 0; k < channels; k++)
                out[(n * channels + k) * pixels + q] = (double)x[(n * pixels + q) * channels + k];
}

double *gold_widen(gold_case *c, const float *x, size_t len)
{
    double *out = gold_alloc(c, len, sizeof *out);
    for (size_t i = 0; i < len; i++) out[i] = (double)x[i];
    return out;
}

double gold_peak(const gold_tensor *t)
{
    double m = 0;
    for (size_t i = 0; i < t->len; i++) m = fmax(m, fabs(t->v[i]));
    return m;
}

double gold_rms(const gold_tensor *t)
{
    double sum = 0;
    for (size_t i = 0; i < t->len; i++) sum += t->v[i] * t->v[i];
    return sqrt(sum / (double)(t->len ? t->len : 1));
}
