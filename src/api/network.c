#include "api/network.h"

#include "api/sampling.h"

#include <stdlib.h>

ddpm_status network_load(const model_file *m, const engine *e, network *n)
{
    const model_description *d = model_describe(m);
    const unet_config c = settings_unet(&d->s);
    DDPM_TRY(denoiser_new(&c, e->backend, e->threads, e->dtype, NN_INFER, sampling_chunk(c.height, c.width), &n->net));
    const nn_graph *g = denoiser_graph(n->net);
    n->values = calloc(g->params.len, sizeof *n->values);
    if (!n->values) return ddpm_fail(DDPM_ENOMEM, "no memory for the weights of %s", d->path);
    DDPM_TRY(model_load(m, &g->params, n->values));
    return nn_weights_new(g, e->backend, n->values, false, &n->weights);
}

void network_free(network *n)
{
    nn_weights_free(n->weights);
    free(n->values);
    denoiser_free(n->net);
    *n = (network){ 0 };
}
