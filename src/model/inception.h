/* inception.h - Inception-v3 as TensorFlow's release of 2015-12-05 has it (Szegedy et al. 2016, "Rethinking the
 * Inception architecture", table 1).
 *
 * What tells it from torchvision's network: averages over windows leave the padding out, and the last block's
 * pooling takes the maximum. Batch normalisation is folded into the convolutions: layer NAME has the parameters
 * NAME.conv.weight and NAME.conv.bias, which inception_fold makes of NAME.conv.weight and NAME.bn.* of a file. Names
 * are PyTorch's. Forward only. */
#ifndef DDPM_MODEL_INCEPTION_H
#define DDPM_MODEL_INCEPTION_H

#include "nn/graph.h"

/* Side of an input; values of an image in the last pooling, in the logits, and in the seven channels [17][17][7] of sFID. */
enum { INCEPTION_SIZE = 299, INCEPTION_POOL3 = 2048, INCEPTION_LOGITS = 1008, INCEPTION_SPATIAL = 17 * 17 * 7 };

typedef struct {
    nn_tensor *x;             /* input [n,299,299,3] f32, as inception_input.h makes it           */
    nn_tensor *pool3;         /* [n,1,1,2048], the features; kept (nn_keep)                       */
    nn_tensor *logits;        /* [n,1,1,1008] without the bias; the last node                     */
    nn_tensor *spatial;       /* [n,17,17,192], Mixed_6d.branch1x1, of which sFID takes the first 7 channels; kept */
    nn_tensor *block[4];      /* pytorch-fid's: [n,73,73,64], [n,35,35,192], [n,17,17,768], pool3 */
} inception;

/* n: images of a plan. Failures are the graph's (nn_graph_status). */
inception inception_build(nn_graph *g, int n);

/* A tensor of a file by its name into out, row-major, if it has this shape. */
typedef ddpm_status (*inception_tensor)(void *ctx, const char *name, int rank, const int64_t *shape, float *out);

/* The values of all parameters (nn_params layout) from a file's tensors, folded in double. Errors: those of `get`;
 * ENOMEM; EFORMAT: a value that is not finite, a variance below zero. */
ddpm_status inception_fold(const nn_params *layout, inception_tensor get, void *ctx, float *slab);

#endif
