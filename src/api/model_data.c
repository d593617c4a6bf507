#include "api/model_data.h"

#include "data/loader.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Numbers of an image that was resized are not those of the image, so that is done only when asked for. */
static ddpm_status check_images(const model_data *d, const char *data)
{
    const settings_values *m = &d->model->s.v;
    const int h = dataset_height(d->data), w = dataset_width(d->data), c = dataset_channels(d->data);
    if (h == m->image_size.v[0] && w == m->image_size.v[1] && c == m->channels) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "the images of %s are %dx%dx%d (height, width, channels), this model's are %dx%dx%d; --fit resizes them as training does",
                     data, h, w, c, m->image_size.v[0], m->image_size.v[1], m->channels);
}

/* The model's number of the data's class of this name; -1: none. */
static int class_of_name(const model_description *m, const char *name)
{
    for (int i = 0; i < m->n_class_names; i++)
        if (!strcasecmp(m->class_names[i], name)) return i;
    return -1;
}

ddpm_status model_class(const model_description *m, const char *word, int64_t *label)
{
    char *end;
    if (!m->s.v.class_cond) return ddpm_fail(DDPM_EINVAL, "--class %s: this model is not class-conditional; leave the option out, or use a model trained with --class_cond", word);
    *label = m->s.v.num_classes;
    if (!strcmp(word, "none") && m->s.v.label_dropout > 0) return DDPM_OK;
    if (!strcmp(word, "none")) return ddpm_fail(DDPM_EINVAL, "--class none: this model was trained without label dropout, and draws nothing without a class");
    *label = strtoll(word, &end, 10);
    const bool number = end != word && !*end;
    if (number && *label >= 0 && *label < m->s.v.num_classes) return DDPM_OK;
    for (int i = 0; i < m->n_class_names; i++)
        if (!strcasecmp(m->class_names[i], word)) {
            *label = i;
            return DDPM_OK;
        }
    if (number) return ddpm_fail(DDPM_EINVAL, "--class %s: this model has classes 0 to %d", word, m->s.v.num_classes - 1);
    return ddpm_fail(DDPM_EINVAL, "--class %s: this model has no class of that name; `ddpm info` lists its classes", word);
}

/* One class for all images. */
static ddpm_status choose_class(model_data *d, const char *word)
{
    int64_t label;
    if (!strcmp(word, "all") || !strcmp(word, "random"))
        return ddpm_fail(DDPM_EINVAL, "--class %s: images that exist have a class each; leave the option out, or name one for all of them", word);
    DDPM_TRY(model_class(d->model, word, &label));
    d->one_class = (int)label;
    return DDPM_OK;
}

/* Images without labels are taken as a model with a null class takes images whose label was dropped. */
static ddpm_status without_labels(model_data *d, const char *data, const tool_events *ev)
{
    const settings_values *m = &d->model->s.v;
    if (m->label_dropout <= 0)
        return ddpm_fail(DDPM_EINVAL, "this model is class-conditional and %s has no labels; --class gives all images one, --labels says where they come from", data);
    d->one_class = m->num_classes;
    tool_message(ev, "%s has no labels: its images are taken without a class; --class gives them one", data);
    return DDPM_OK;
}

/* A part of a data set may number its classes differently: names decide when the model knows all of them. */
ddpm_status model_data_classes(model_data *d, const char *data, bool own_first, const tool_events *ev)
{
    const model_description *m = d->model;
    const int classes = dataset_n_classes(d->data), known = m->s.v.num_classes;
    const bool given = settings_origin(d->request, "class") > ORIGIN_DEFAULT;
    if (given && !(own_first && (classes || !m->s.v.class_cond))) return choose_class(d, d->request->v.class_label);
    if (!m->s.v.class_cond) return DDPM_OK;
    if (!classes) return without_labels(d, data, ev);
    d->class_of = calloc((size_t)classes, sizeof *d->class_of);
    if (!d->class_of) return ddpm_fail(DDPM_ENOMEM, "no memory for %d classes", classes);
    bool by_name = true;
    for (int i = 0; i < classes; i++) {
        d->class_of[i] = class_of_name(m, dataset_class_name(d->data, i));
        by_name = by_name && d->class_of[i] >= 0;
    }
    if (by_name) return DDPM_OK;
    if (classes > known) return ddpm_fail(DDPM_EINVAL, "%s has %d classes, this model %d", data, classes, known);
    for (int i = 0; i < classes; i++) d->class_of[i] = i;
    if (m->n_class_names) tool_message(ev, "the classes of %s have other names than the model's; their numbers are used", data);
    return DDPM_OK;
}

ddpm_status model_data_open(const model_description *model, const settings *request, const char *data, bool own_first, const tool_events *ev, model_data *d)
{
    DDPM_TRY(model_data_open_images(model, request, data, d));
    return model_data_classes(d, data, own_first, ev);
}

ddpm_status model_data_open_images(const model_description *model, const settings *request, const char *data, model_data *d)
{
    const settings_values *v = &request->v, *m = &model->s.v;
    dataset_options o = { .labels = (dataset_labels)v->labels, .crop = (dataset_crop)v->crop, .strict = v->strict };
    *d = (model_data){ .model = model, .request = request };
    if (v->fit) {
        o.size_h = m->image_size.v[0];
        o.size_w = m->image_size.v[1];
        o.channels = m->channels;
    }
    DDPM_TRY(dataset_open(data, &o, &d->data));
    DDPM_TRY(check_images(d, data));
    d->image_len = dataset_image_bytes(d->data);
    if (!(d->bytes = malloc(d->image_len))) return ddpm_fail(DDPM_ENOMEM, "no memory for an image");
    return dataset_reader_new(d->data, &d->reader);
}

void model_data_close(model_data *d)
{
    dataset_reader_free(d->reader);
    dataset_close(d->data);
    free(d->class_of);
    free(d->bytes);
    *d = (model_data){ 0 };
}

ddpm_status model_data_read(model_data *d, int64_t index, float *x, int *y, int *label)
{
    int own;
    DDPM_TRY(dataset_read(d->data, d->reader, index, d->bytes, &own));
    for (size_t i = 0; i < d->image_len; i++) x[i] = (float)d->bytes[i] / 127.5f - 1;
    *y = d->class_of ? d->class_of[own] : d->one_class;
    if (label) *label = own;
    return DDPM_OK;
}

void model_data_choose(const model_data *d, int count, uint64_t *index)
{
    const int64_t all = dataset_count(d->data);
    for (int k = 0; k < count; k++)
        index[k] = (uint64_t)(count == all ? k : loader_order((uint64_t)d->request->v.seed, 0, k, all));
}
