#include "nn/params.h"

#include "base/rng.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { SLICE_ALIGN = 16 };      /* elements */

const nn_param *nn_params_add(nn_params *ps, const char *name, nn_shape shape, nn_param_kind kind, nn_init init)
{
    assert(!nn_params_find(ps, name));
    assert(kind == NN_PARAM_CONV || (shape.n == 1 && shape.h == 1));
    assert(kind != NN_PARAM_VECTOR || shape.w == 1);
    if (ps->count == ps->cap) {
        const int cap = ps->cap ? 2 * ps->cap : 64;
        nn_param *list = realloc(ps->list, (size_t)cap * sizeof *list);
        if (!list) return NULL;
        ps->list = list;
        ps->cap = cap;
    }
    nn_param *p = &ps->list[ps->count++];
    *p = (nn_param){ .name = name, .shape = shape, .kind = kind, .init = init, .offset = ps->len };
    ps->len += (nn_len(shape) + SLICE_ALIGN - 1) / SLICE_ALIGN * SLICE_ALIGN;
    return p;
}

const nn_param *nn_params_find(const nn_params *ps, const char *name)
{
    for (int i = 0; i < ps->count; i++)
        if (!strcmp(ps->list[i].name, name)) return &ps->list[i];
    return NULL;
}

size_t nn_params_total(const nn_params *ps)
{
    size_t total = 0;
    for (int i = 0; i < ps->count; i++) total += nn_len(ps->list[i].shape);
    return total;
}

void nn_params_init(const nn_params *ps, uint64_t seed, float *slab)
{
    memset(slab, 0, ps->len * sizeof *slab);
    for (int k = 0; k < ps->count; k++) {
        const nn_param *p = &ps->list[k];
        const rng_address at = { .seed = seed, .stream = RNG_INIT, .sample = (uint64_t)k };
        const size_t len = nn_len(p->shape);
        float *v = slab + p->offset;
        switch (p->init.kind) {
        case NN_INIT_CONSTANT:
            for (size_t i = 0; i < len; i++) v[i] = p->init.scale;
            break;
        case NN_INIT_UNIFORM:
            for (size_t i = 0; i < len; i++) v[i] = (float)((2 * rng_uniform(at, i) - 1) * (double)p->init.scale);
            break;
        case NN_INIT_NORMAL:
            rng_normals(at, 0, len, v);
            for (size_t i = 0; i < len; i++) v[i] *= p->init.scale;
            break;
        }
    }
}

void nn_params_free(nn_params *ps)
{
    free(ps->list);
    *ps = (nn_params){ 0 };
}

int nn_param_file_shape(const nn_param *p, int64_t shape[4])
{
    const nn_shape s = p->shape;
    switch (p->kind) {
    case NN_PARAM_CONV:   shape[0] = s.c; shape[1] = s.w; shape[2] = s.n; shape[3] = s.h; return 4;
    case NN_PARAM_CONV1D: shape[0] = s.c; shape[1] = s.w; shape[2] = 1; return 3;
    case NN_PARAM_LINEAR: shape[0] = s.c; shape[1] = s.w; return 2;
    case NN_PARAM_VECTOR: shape[0] = s.c; return 1;
    case NN_PARAM_TABLE:  break;
    }
    shape[0] = s.w;
    shape[1] = s.c;
    return 2;
}

static bool stored_as_is(const nn_param *p) { return p->kind == NN_PARAM_VECTOR || p->kind == NN_PARAM_TABLE; }

/* Place in the file of element [tap][in][out] of the slab; the file is [out][in][tap]. */
static size_t file_index(const nn_param *p, size_t tap, size_t in, size_t out)
{
    const size_t taps = (size_t)p->shape.n * (size_t)p->shape.h;
    return (out * (size_t)p->shape.w + in) * taps + tap;
}

void nn_param_to_file(const nn_param *p, const float *slab, float *file)
{
    if (stored_as_is(p)) {
        memcpy(file, slab, nn_len(p->shape) * sizeof *file);
        return;
    }
    const size_t taps = (size_t)p->shape.n * (size_t)p->shape.h, in = (size_t)p->shape.w, out = (size_t)p->shape.c;
    for (size_t t = 0; t < taps; t++)
        for (size_t i = 0; i < in; i++)
            for (size_t o = 0; o < out; o++) file[file_index(p, t, i, o)] = slab[(t * in + i) * out + o];
}

void nn_param_from_file(const nn_param *p, const float *file, float *slab)
{
    if (stored_as_is(p)) {
        memcpy(slab, file, nn_len(p->shape) * sizeof *slab);
        return;
    }
    const size_t taps = (size_t)p->shape.n * (size_t)p->shape.h, in = (size_t)p->shape.w, out = (size_t)p->shape.c;
    for (size_t t = 0; t < taps; t++)
        for (size_t i = 0; i < in; i++)
            for (size_t o = 0; o < out; o++) slab[(t * in + i) * out + o] = file[file_index(p, t, i, o)];
}
