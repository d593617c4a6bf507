/* classifier.h - a trained classifier at work: what it sees in images, and what would make them more of a class.
 *
 * Opened from a run of `ddpm classifier train`, with its averaged weights. Its networks are made when they are first
 * asked: one for features and logits, one that keeps what gradients need. */
#ifndef DDPM_API_CLASSIFIER_H
#define DDPM_API_CLASSIFIER_H

#include "api/checkpoint.h"
#include "api/engine.h"
#include "diffusion/guidance.h"

typedef struct classifier classifier;

typedef struct {
    const model_description *model;             /* the classifier's own                     */
    char fingerprint[9];                        /* of its weights                           */
    int  height, width, channels, classes;
    int  dims;                                  /* features of an image                     */
} classifier_facts;

/* run: a run folder, a checkpoint, or a bundled model. The engine is borrowed and only used from the first call below
 * on. EINVAL: there is no such model, or it is no classifier; errors of model_open. */
ddpm_status classifier_open(const char *run, const engine *e, classifier **c);
void        classifier_close(classifier *c);                 /* NULL ok */

const classifier_facts *classifier_about(const classifier *c);

/* EINVAL unless it can guide this model: the same size and channels of images, the same noise at each of the same
 * timesteps, told in the same way, and, where the model knows classes, the same classes. */
ddpm_status classifier_fits(const classifier *c, const model_description *model);

/* Features [count,dims] and logits [count,classes] of images [count,h,w,channels] without noise (t = 0), on all threads of
 * the engine; either may be NULL. The bits of an image do not depend on the others. EINVAL: images of another size. */
ddpm_status classifier_features(classifier *c, const uint8_t *images, int count, int h, int w, int channels, float *features, float *logits);

/* A grad_fn whose ctx is a classifier: the gradient of log softmax(logits)[y] by x. y [n] below `classes`, else EINVAL. */
ddpm_status classifier_gradient(void *ctx, int n, const float *t, const int *y, const float *x, float *grad);

/* Calls of classifier_gradient so far. */
int64_t     classifier_calls(const classifier *c);

/* Memory of the networks made so far: weights, their packed form, activations of all threads. */
size_t      classifier_bytes(const classifier *c);

#endif
