/* network.h - a model from a file, ready to be asked: network, weights, packed weights. */
#ifndef DDPM_API_NETWORK_H
#define DDPM_API_NETWORK_H

#include "api/checkpoint.h"
#include "api/engine.h"
#include "model/denoiser.h"

typedef struct {
    denoiser   *net;          /* for inference                */
    float      *values;       /* parameter slab               */
    nn_weights *weights;      /* made of it                   */
} network;

/* Engine and file are borrowed; network_free also after an error. */
ddpm_status network_load(const model_file *m, const engine *e, network *n);
void        network_free(network *n);        /* empties *n */

#endif
