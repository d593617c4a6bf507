#include "api/checkpoint.h"
#include "api/tool.h"
#include "io/file.h"

#include <stdlib.h>

/* The network's layout and the model's values in it; *values is malloc'ed. */
static ddpm_status read_weights(const model_file *m, nn_graph **g, float **values)
{
    const unet_config c = settings_unet(&model_describe(m)->s);
    *g = nn_graph_new(NN_F32);
    if (!*g) return ddpm_fail(DDPM_ENOMEM, "no memory for the network's graph");
    unet_build(*g, &c, 1, false, false);
    DDPM_TRY(nn_graph_status(*g));
    *values = calloc((*g)->params.len, sizeof **values);
    if (!*values) return ddpm_fail(DDPM_ENOMEM, "no memory for %zu parameters", nn_params_total(&(*g)->params));
    return model_load(m, &(*g)->params, *values);
}

static ddpm_status convert(const settings *s, const model_file *m, const char *out)
{
    const model_description *d = model_describe(m);
    nn_graph *g = NULL;
    float *values = NULL;
    ddpm_status status = read_weights(m, &g, &values);
    if (status == DDPM_OK) {
        const checkpoint_source src = { .s = &d->s, .class_names = d->class_names, .n_class_names = d->n_class_names, .provenance = d->provenance,
                                        .weights = d->weights, .step = d->step, .layout = &g->params, .values = values,
                                        .bf16 = s->v.dtype == DTYPE_BF16, .best_val = -1 };
        status = checkpoint_write(out, &src);
    }
    free(values);
    nn_graph_free(g);
    return status;
}

ddpm_status tool_convert(settings *s, const char *model, const char *out, const tool_events *ev, json **summary)
{
    model_file *m = NULL;
    if (file_exists(out)) return ddpm_fail(DDPM_EINVAL, "%s exists already; give a new name", out);
    DDPM_TRY(model_open(model, s->v.weights, &m));
    ddpm_status status = convert(s, m, out);
    const model_description *d = model_describe(m);
    if (status == DDPM_OK) {
        tool_message(ev, "wrote %s: %s weights of %s as %s", out, d->weights, d->path, s->v.dtype == DTYPE_BF16 ? "bf16" : "f32");
        if (summary) {
            json *o = json_new_object();
            json_put_string(o, "schema", "ddpm-convert-1");
            json_put_string(o, "model", d->path);
            json_put_string(o, "weights", d->weights);
            status = json_put_string(o, "output", out);
            *summary = o;
        }
    }
    model_close(m);
    return status;
}
