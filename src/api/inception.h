/* inception.h - features of images by the Inception-v3 network of 2015-12-05, on all threads of an engine.
 *
 * The network and its two ways of preparing images are those of the programs that compare with published FIDs:
 * pytorch-fid (mseitzer) and torch-fidelity, which follows TensorFlow. The weights are a file of 95 MB that is not
 * part of this program: pt_inception-2015-12-05-6726825d.pth, or the same under torch-fidelity's name. It is the
 * published one if its SHA-256 begins with 6726825d. Any other file of these tensors, PyTorch's or safetensors, is
 * taken where its path is given, with a warning; its space has another name, and its distances are no FIDs. */
#ifndef DDPM_API_INCEPTION_H
#define DDPM_API_INCEPTION_H

#include "api/engine.h"
#include "model/inception.h"        /* how many values an image has */

typedef enum {
    INCEPTION_PYTORCH,       /* half-pixel bilinear resizing of v/255, then 2x - 1 */
    INCEPTION_TENSORFLOW     /* legacy resizing, then (v - 128) / 128              */
} inception_profile;

typedef struct inception_net inception_net;

/* weights: the path of a file (inception_weights.h). The engine is borrowed. EIO: no such file, and where to get it;
 * EFORMAT: a tensor is missing or misshapen (named), or the usual file is damaged; ENOMEM. */
ddpm_status inception_open(const char *weights, inception_profile profile, const engine *e, inception_net **n);
void        inception_free(inception_net *n);      /* NULL ok */

/* "inception-2015-12-05-pytorch"; with other weights "inception-0123abcd-pytorch", the first digits of their SHA-256. */
const char *inception_name(const inception_net *n);

/* images [count][h][w][c] -> pool3 [count][INCEPTION_POOL3], logits [count][INCEPTION_LOGITS] without the bias (as the
 * score wants them), spatial [count][INCEPTION_SPATIAL]; each may be NULL. c 1 is read as grey. Bits do not depend on
 * count or on the threads. EINVAL: other channels. */
ddpm_status inception_run(inception_net *n, const uint8_t *images, int count, int h, int w, int c, float *pool3, float *logits, float *spatial);

#endif
