/* feature_space.h - the numbers by which images are compared.
 *
 * Pixel spaces: raw, the pixels in [-1,1]; pcaK, their first K principal components. Network spaces: Inception's pooled
 * features with one of two input profiles, and the features of a classifier that `ddpm classifier` trained. */
#ifndef DDPM_API_FEATURE_SPACE_H
#define DDPM_API_FEATURE_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/engine.h"
#include "metrics/pca.h"

typedef struct feature_space feature_space;

/* word: raw, pcaK, inception-pytorch, inception-tensorflow, or the folder of a classifier's run. For images of h x w x c;
 * `e` is borrowed. A space of principal components must be fitted before it maps anything. EINVAL: another word (plain "inception": the sentence
 * tells the two apart), images of too many pixels; errors of the network's files. */
ddpm_status feature_space_open(const char *word, const settings *s, int h, int w, int c, const engine *e, feature_space **f);

/* The principal components of a file of statistics; *map moves into the space, also on failure. fitted: images they were made from. */
ddpm_status feature_space_open_map(pca *map, int64_t fitted, int h, int w, int c, const engine *e, feature_space **f);
void        feature_space_free(feature_space *f);            /* NULL ok */

/* Does it map pixels alone, so that images must be of one size? Network spaces resize: from here on they map images of h x w x c. */
bool        feature_space_of_pixels(const feature_space *f);
ddpm_status feature_space_resize(feature_space *f, int h, int w, int c);

/* Principal components: add images, then fit. EINVAL: too few images, as pca_fit says. */
bool        feature_space_unfitted(const feature_space *f);
ddpm_status feature_space_fit_add(feature_space *f, const uint8_t *images, int n);
ddpm_status feature_space_fit(feature_space *f);
int64_t     feature_space_fit_count(const feature_space *f);   /* images added; 0: no axes */
double      feature_space_share(const feature_space *f);       /* of the variance of those images that the axes hold; 1 of others */
const pca  *feature_space_map_of(const feature_space *f);      /* the axes, or NULL */

/* "inception-2015-12-05-pytorch", "classifier-<8 hex digits of its weights>", either with "-bf16" where that is what it computes in; "raw", "pca64". */
const char *feature_space_name(const feature_space *f);
/* The name as files keep it: "pca64-<8 hex digits of the axes>", since other axes are another space. */
void        feature_space_identity(const feature_space *f, char *text, size_t size);
void        feature_space_map_identity(const pca *map, char *text, size_t size);

/* Whose resizing and scaling stands before Inception: "pytorch-fid", "TensorFlow"; "": no choice. */
const char *feature_space_input(const feature_space *f);

size_t      feature_space_dims(const feature_space *f);
size_t      feature_space_classes(const feature_space *f);     /* logits of an image; 0: none            */
size_t      feature_space_spatial(const feature_space *f);     /* values of its spatial features; 0: none */
bool        feature_space_wide(const feature_space *f);        /* rows are double, else float             */
int         feature_space_batch(const feature_space *f);       /* images to map at once: enough for all threads */

/* images[n,h,w,c] to features[n,dims], logits[n,classes], spatial[n,spatial]; the last two may be NULL. An image's numbers do not
 * depend on the images beside it. ENOMEM. */
ddpm_status feature_space_map(feature_space *f, const uint8_t *images, int n, void *features, float *logits, float *spatial);

#endif
