/* inception_weights.h - the file of Inception's weights: where it lies, whether it is the published one, its values. */
#ifndef DDPM_API_INCEPTION_WEIGHTS_H
#define DDPM_API_INCEPTION_WEIGHTS_H

#include "io/sha256.h"
#include "nn/params.h"

enum { INCEPTION_PATH_SIZE = 4096 };

/* The published file under one of its two names in the working folder, or in ddpm or torch/hub/checkpoints of `cache`, the user's
 * folder for caches ("": not known). EIO: not there; the sentence says where it can be downloaded and put. */
ddpm_status inception_weights_find(const char *cache, char path[INCEPTION_PATH_SIZE]);

/* slab: layout->len values of inception_build's parameters, from a state dict of PyTorch, old or new form, or safetensors.
 * hash: SHA-256 of the file. EIO; EFORMAT: no such file, a tensor that is missing, misshapen or unknown, a file that carries
 * the published hash in its name but has another; ENOMEM. */
ddpm_status inception_weights_read(const char *path, const nn_params *layout, float *slab, char hash[SHA256_HEX]);

/* Whether a file of this hash is the published one. */
bool        inception_weights_published(const char *hash);

#endif
