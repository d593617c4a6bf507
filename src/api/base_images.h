/* base_images.h - the small images that an up-sampler enlarges: --base_samples.
 *
 * An .npz of samples (arr_0 |u1 [n,h,w,c]; arr_1, integers [n], their classes), as OpenAI's scripts and
 * `ddpm sample` write it, or what a DATA argument names. Image number k of a command is made of the small
 * image number k modulo their count, so that they are taken in turn. */
#ifndef DDPM_API_BASE_IMAGES_H
#define DDPM_API_BASE_IMAGES_H

#include "api/checkpoint.h"
#include "api/tool.h"

typedef struct base_images base_images;

/* EINVAL: images of another size than --small_size (--fit resizes those of a data set), classes missing that the
 * model and the request need; EFORMAT: damaged, or something else. */
ddpm_status base_images_open(const model_description *model, const settings *request, const tool_events *ev, base_images **b);
void        base_images_close(base_images *b);                    /* NULL ok */

int64_t     base_images_count(const base_images *b);

/* The classes of the small images count: the model has classes, and --class is not given. */
bool        base_images_labelled(const base_images *b);
ddpm_status base_images_class(base_images *b, uint64_t number, int64_t *label);

/* Image `number`, enlarged: condition [h,w,c] of the large size. */
ddpm_status base_images_read(base_images *b, uint64_t number, float *condition);

#endif
