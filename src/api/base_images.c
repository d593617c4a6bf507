#include "api/base_images.h"

#include "api/model_data.h"
#include "io/file.h"
#include "io/npz.h"
#include "model/upsampler.h"

#include <stdlib.h>
#include <string.h>

struct base_images {
    upsampler_dims    dims;
    bool              labelled;
    int               classes;
    int64_t           count;
    float            *small;       /* one image                                              */
    model_description like;        /* the model, but for the size of its images: the small one */
    model_data        data;        /* of a data set                                          */
    npz_reader       *npz;         /* or these                                               */
    npz_array         pixels, labels;
};

static size_t small_len(const base_images *b) { return (size_t)b->dims.small * (size_t)b->dims.small * (size_t)b->dims.c; }

/* --- an .npz ------------------------------------------------------------------------- */

static int64_t npz_label(const base_images *b, int64_t index)
{
    int64_t wide;
    int32_t narrow;
    if (!strcmp(b->labels.descr, "<i8")) memcpy(&wide, b->labels.data + (size_t)index * sizeof wide, sizeof wide);
    else {
        memcpy(&narrow, b->labels.data + (size_t)index * sizeof narrow, sizeof narrow);
        wide = narrow;
    }
    return wide;
}

static ddpm_status open_labels(base_images *b, const char *path)
{
    if (!b->labelled) return DDPM_OK;
    if (!npz_reader_has(b->npz, "arr_1")) return ddpm_fail(DDPM_EINVAL, "%s has no classes (arr_1), and this up-sampler needs them; give --class", path);
    DDPM_TRY(npz_reader_get(b->npz, "arr_1", &b->labels));
    const npz_array *a = &b->labels;
    if ((strcmp(a->descr, "<i8") && strcmp(a->descr, "<i4")) || a->ndim != 1 || a->shape[0] != b->count)
        return ddpm_fail(DDPM_EFORMAT, "%s: arr_1 must hold the classes of the %lld images, <i8 [%lld]", path, (long long)b->count, (long long)b->count);
    for (int64_t i = 0; i < b->count; i++)
        if (npz_label(b, i) < 0 || npz_label(b, i) >= b->classes)
            return ddpm_fail(DDPM_EINVAL, "%s: image %lld is of class %lld, and this model has classes 0 to %d; --class says which one to draw", path,
                             (long long)i, (long long)npz_label(b, i), b->classes - 1);
    return DDPM_OK;
}

static ddpm_status open_npz(base_images *b, const char *path)
{
    DDPM_TRY(npz_reader_open(path, &b->npz));
    DDPM_TRY(npz_reader_get(b->npz, "arr_0", &b->pixels));
    const npz_array *a = &b->pixels;
    if (strcmp(a->descr, "|u1") || a->ndim != 4 || a->shape[0] < 1) return ddpm_fail(DDPM_EFORMAT, "%s: arr_0 must hold images, |u1 [n,height,width,channels]", path);
    if (a->shape[1] != b->dims.small || a->shape[2] != b->dims.small || a->shape[3] != b->dims.c)
        return ddpm_fail(DDPM_EINVAL, "the images of %s are %lldx%lldx%lld (height, width, channels), and this up-sampler enlarges %dx%dx%d; give samples of that size",
                         path, (long long)a->shape[1], (long long)a->shape[2], (long long)a->shape[3], b->dims.small, b->dims.small, b->dims.c);
    b->count = a->shape[0];
    return open_labels(b, path);
}

/* --- either of them --------------------------------------------------------------------- */

static ddpm_status open_data(base_images *b, const settings *request, const tool_events *ev)
{
    b->like.s.v.image_size = (int_list){ 2, { b->dims.small, b->dims.small } };
    b->like.s.v.class_cond = b->labelled;
    const ddpm_status s = model_data_open(&b->like, request, request->v.base_samples, true, ev, &b->data);
    if (s != DDPM_OK) return ddpm_context(s, b->labelled ? "--base_samples, whose classes count where --class is not given: " : "--base_samples: ");
    b->count = dataset_count(b->data.data);
    return DDPM_OK;
}

ddpm_status base_images_open(const model_description *model, const settings *request, const tool_events *ev, base_images **out)
{
    const settings_values *m = &model->s.v;
    const char *path = request->v.base_samples;
    base_images *b = calloc(1, sizeof *b);
    *out = NULL;
    if (!b) return ddpm_fail(DDPM_ENOMEM, "no memory for the small images");
    *b = (base_images){ .dims = { m->image_size.v[0], m->image_size.v[1], m->channels, m->small_size }, .classes = m->num_classes, .like = *model,
                        .labelled = m->class_cond && settings_origin(request, "class") == ORIGIN_DEFAULT };
    b->small = malloc(small_len(b) * sizeof *b->small);
    ddpm_status s = b->small ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for a small image");
    if (s == DDPM_OK) s = file_has_ending(path, ".npz") && !file_is_dir(path) ? open_npz(b, path) : open_data(b, request, ev);
    if (s == DDPM_OK) *out = b;
    else base_images_close(b);
    return s;
}

void base_images_close(base_images *b)
{
    if (!b) return;
    model_data_close(&b->data);
    npz_reader_free(b->npz);
    free(b->small);
    free(b);
}

int64_t base_images_count(const base_images *b)    { return b->count; }
bool    base_images_labelled(const base_images *b) { return b->labelled; }

/* The small image into b->small; its class. */
static ddpm_status read_small(base_images *b, uint64_t number, int *label)
{
    const int64_t index = (int64_t)(number % (uint64_t)b->count);
    if (b->data.data) return model_data_read(&b->data, index, b->small, label, NULL);
    const uint8_t *pixels = b->pixels.data + (size_t)index * small_len(b);
    for (size_t i = 0; i < small_len(b); i++) b->small[i] = (float)pixels[i] / 127.5f - 1;
    *label = b->labelled ? (int)npz_label(b, index) : 0;
    return DDPM_OK;
}

ddpm_status base_images_class(base_images *b, uint64_t number, int64_t *label)
{
    int y;
    DDPM_TRY(read_small(b, number, &y));
    *label = y;
    return DDPM_OK;
}

ddpm_status base_images_read(base_images *b, uint64_t number, float *condition)
{
    int y;
    DDPM_TRY(read_small(b, number, &y));
    upsampler_enlarge(b->dims, b->small, condition);
    return DDPM_OK;
}
