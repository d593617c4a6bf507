/* What a pickle made, before anyone else sees it. */
#include "io/pickle_parts.h"

#include <stdlib.h>
#include <string.h>

int pickle_compare_keys(const torch_value *a, const torch_value *b)
{
    if (a->kind != b->kind) return a->kind == TORCH_KIND_INT ? -1 : 1;
    return a->kind == TORCH_KIND_INT ? (a->u.i > b->u.i) - (a->u.i < b->u.i) : strcmp(a->u.text, b->u.text);
}

static int compare_places(const void *a, const void *b)
{
    torch_value *const *const *s = a, *const *const *t = b;
    return pickle_compare_keys(**s, **t);
}

static ddpm_status sort_keys(pickle_machine *m, torch_value *v)
{
    const size_t n = v->u.c.n / 2;
    if (!n) return DDPM_OK;
    v->u.c.order = pickle_alloc(m->p, n * sizeof *v->u.c.order);
    if (!v->u.c.order) return pickle_no_memory(m);
    for (size_t i = 0; i < n; i++) v->u.c.order[i] = &v->u.c.items[2 * i];
    qsort(v->u.c.order, n, sizeof *v->u.c.order, compare_places);
    for (size_t i = 1; i < n; i++)
        if (!compare_places(&v->u.c.order[i - 1], &v->u.c.order[i])) return pickle_fail(m, "a dictionary has two equal keys");
    return DDPM_OK;
}

enum { NEW, OPEN, DONE };

/* At most TORCH_MAX_DEPTH frames deep. A value met again is not walked again. */
ddpm_status pickle_check(pickle_machine *m, torch_value *v, int depth)
{
    if (v->kind >= TORCH_KIND_COUNT) return pickle_fail(m, "a storage or a global stands where a value belongs");
    if (v->kind == TORCH_KIND_TENSOR && !v->u.tensor->storage) return pickle_fail(m, "an array has no contents");
    if (v->state == OPEN) return pickle_fail(m, "a container holds itself");
    if (depth + v->height >= TORCH_MAX_DEPTH) return pickle_fail(m, "values nest too deeply");
    if (v->state == DONE) return DDPM_OK;
    v->state = OPEN;
    v->weight = 1;
    const bool container = v->kind == TORCH_KIND_LIST || v->kind == TORCH_KIND_TUPLE || v->kind == TORCH_KIND_DICT;
    for (size_t i = 0; container && i < v->u.c.n; i++) {
        torch_value *item = v->u.c.items[i];
        DDPM_TRY(pickle_check(m, item, depth + 1));
        if (item->height >= v->height) v->height = (uint8_t)(item->height + 1);
        v->weight += item->weight;
        if (v->weight > TORCH_MAX_ITEMS) return pickle_fail(m, "the pickle repeats values too often");
    }
    if (v->kind == TORCH_KIND_DICT) DDPM_TRY(sort_keys(m, v));
    v->state = DONE;
    return DDPM_OK;
}
