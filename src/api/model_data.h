/* model_data.h - images of a DATA argument as a model takes them: its size, its channels, its classes. */
#ifndef DDPM_API_MODEL_DATA_H
#define DDPM_API_MODEL_DATA_H

#include "api/checkpoint.h"
#include "api/tool.h"
#include "data/dataset.h"

typedef struct {
    const model_description *model;      /* borrowed, as the request     */
    const settings *request;
    dataset        *data;
    dataset_reader *reader;
    int            *class_of;            /* the model's number of each class of the data; NULL: unconditional */
    uint8_t        *bytes;               /* one image                    */
    size_t          image_len;
} model_data;

/* Uses --labels, --strict, --fit. EINVAL: images of another size or other channels without --fit, no labels for a
 * class-conditional model, more classes than it has. Close also after an error. */
ddpm_status model_data_open(const model_description *model, const settings *request, const char *data, const tool_events *ev, model_data *d);
void        model_data_close(model_data *d);

/* The two halves of it: images whose class is 0 whatever the model, and their classes. */
ddpm_status model_data_open_images(const model_description *model, const settings *request, const char *data, model_data *d);
ddpm_status model_data_classes(model_data *d, const char *data, const tool_events *ev);

/* Image `index` in [-1,1] and the class the model knows it by (0 when unconditional); label: the data's, may be NULL.
 * EFORMAT: this one cannot be read. */
ddpm_status model_data_read(model_data *d, int64_t index, float *x, int *y, int *label);

/* The data's numbers of `count` images: the first of a permutation by --seed, so that a sorted folder gives images
 * of every class; all of them in order when count is all. index [count]. */
void        model_data_choose(const model_data *d, int count, uint64_t *index);

#endif
