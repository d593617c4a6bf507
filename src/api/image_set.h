/* image_set.h - images to measure: a DATA argument, or an .npz in OpenAI's form. */
#ifndef DDPM_API_IMAGE_SET_H
#define DDPM_API_IMAGE_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/dataset.h"

typedef struct image_set image_set;

/* word: what dataset_open takes, or the path of an .npz whose arr_0 is |u1 [n,h,w,c], for which the options count nothing. Errors:
 * those of dataset_open and npz_reader_get; DDPM_EFORMAT where arr_0 is something else. */
ddpm_status image_set_open_as(const char *word, const dataset_options *o, image_set **set);
void        image_set_close(image_set *set);                 /* NULL ok */

const char *image_set_word(const image_set *set);
int64_t     image_set_count(const image_set *set);
int         image_set_height(const image_set *set);
int         image_set_width(const image_set *set);
int         image_set_channels(const image_set *set);
bool        image_set_fitted(const image_set *set);          /* their size was asked for, and is not their own alone */
size_t      image_set_bytes(const image_set *set);           /* h * w * c */
void        image_set_describe(const image_set *set, char *text, size_t size);

/* DDPM_EINVAL naming both unless their images have one size. */
ddpm_status image_set_same_size(const image_set *a, const image_set *b);

/* Number `k` of `n` images to use: the k-th where n is all, else the k-th of a permutation by the
 * seed, so that a sorted folder gives images of every kind. */
int64_t     image_set_choice(const image_set *set, uint64_t seed, int64_t k, int64_t n);

/* Image `index` as hwc[h,w,c]; one caller at a time. DDPM_EFORMAT: this image is bad. */
ddpm_status image_set_read(image_set *set, int64_t index, uint8_t *hwc);

/* The images number *next and following of a choice of `count`, or of the list numbers[count], until `room` are read or none is left.
 * One that cannot be read is left out with a warning and counted in *bad; strict: an error.
 * index[room] (or NULL) receives the numbers of those read. */
typedef struct { uint64_t seed; const int64_t *numbers; int64_t count, next, bad; bool strict; } image_walk;
ddpm_status image_set_next(image_set *set, image_walk *walk, int room, uint8_t *images, int64_t *index, int *n);

#endif
