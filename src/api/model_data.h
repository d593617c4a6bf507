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
    int            *class_of;            /* the model's number of each class of the data; NULL: all are one_class */
    int             one_class;           /* 0 when unconditional         */
    uint8_t        *bytes;               /* one image                    */
    size_t          image_len;
} model_data;

/* A class by number or name, or "none" where the model has a null class. EINVAL names what there is; not for
 * unconditional models. */
ddpm_status model_class(const model_description *m, const char *word, int64_t *label);

/* Uses --labels, --strict, --fit, and --class for all images; own_first: only where the data has no labels. Without
 * either a model's null class stands for them. EINVAL: images of another size or other channels without --fit, no
 * class for a class-conditional model, more classes than it has. Close also after an error. */
ddpm_status model_data_open(const model_description *model, const settings *request, const char *data, bool own_first, const tool_events *ev,
                            model_data *d);
void        model_data_close(model_data *d);

/* The two halves of it: images whose class is 0 whatever the model, and their classes. */
ddpm_status model_data_open_images(const model_description *model, const settings *request, const char *data, model_data *d);
ddpm_status model_data_classes(model_data *d, const char *data, bool own_first, const tool_events *ev);

/* Image `index` in [-1,1] and the class the model knows it by (0 when unconditional); label: the data's, may be NULL.
 * EFORMAT: this one cannot be read. */
ddpm_status model_data_read(model_data *d, int64_t index, float *x, int *y, int *label);

/* The data's numbers of `count` images: the first of a permutation by --seed, so that a sorted folder gives images
 * of every class; all of them in order when count is all. index [count]. */
void        model_data_choose(const model_data *d, int count, uint64_t *index);

#endif
