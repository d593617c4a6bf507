/* `ddpm convert`: a model in another form, with the same numbers. */
#include "api/checkpoint_parts.h"
#include "api/tool.h"
#include "io/crc32c.h"
#include "io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLAGS_SIZE = 1024, MAX_ENDING = 12 };

/* One call. */
typedef struct { const settings *s; const model_file *m; const char *out; const tool_events *ev; checkpoint_source src; } conversion;

/* --- the forms ---------------------------------------------------------------------------- */

static ddpm_status add_all(const conversion *c, names_style style, tensor_set *set)
{
    stored_tensor *list = NULL;
    int count = 0;
    DDPM_TRY(stored_list(c->src.s, c->src.layout, style, &list, &count));
    const ddpm_status s = tensor_set_add(set, list, count, "", c->src.values, c->src.bf16);
    free(list);
    return s;
}

static ddpm_status refuse(const conversion *c, const char *whose, const char *reason)
{
    return ddpm_fail(DDPM_EINVAL, "%s cannot become a model of %s: %s; --format safetensors keeps all of it", model_describe(c->m)->path, whose, reason);
}

/* Improved-diffusion tells raw from averaged weights by the file's name alone. */
static ddpm_status check_name(const conversion *c)
{
    weights_said said = { .weights = "", .step = -1 };
    const char *have = model_describe(c->m)->weights;
    model_torch_name(c->out, &said);
    if (!said.weights[0] || !strcmp(have, "unknown") || !strncmp(said.weights, have, 3)) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "%s is the name of %s weights, but those of %s are %s", c->out, said.weights, model_describe(c->m)->path, have);
}

static ddpm_status write_torch(const conversion *c, names_style style)
{
    tensor_set set = { 0 };
    DDPM_TRY(check_name(c));
    ddpm_status s = add_all(c, style, &set);
    if (s == DDPM_OK) s = tensor_set_write_torch(&set, c->out);
    tensor_set_free(&set);
    return s;
}

static ddpm_status write_openai(const conversion *c)
{
    char reason[REASON_SIZE];
    openai_reason(c->src.s, reason);
    if (reason[0]) return refuse(c, "improved-diffusion", reason);
    return write_torch(c, NAMES_OPENAI);
}

static ddpm_status write_ermongroup(const conversion *c)
{
    char reason[REASON_SIZE];
    ermongroup_reason(c->src.s, reason);
    if (reason[0]) return refuse(c, "ermongroup", reason);
    return write_torch(c, NAMES_ERMONGROUP);
}

/* The description goes into the file, so that it cannot be lost. */
static ddpm_status write_safetensors(const conversion *c)
{
    char *text = NULL;
    tensor_set set = { 0 };
    DDPM_TRY(describe_make(&c->src, &text));
    safetensors_meta meta[3] = { { "format", "pt" }, { KEY_DESCRIPTION, text } };
    const extra_crc extra = { KEY_DESCRIPTION, crc32c(0, text, strlen(text)) };
    ddpm_status s = add_all(c, NAMES_OPENAI, &set);
    if (s == DDPM_OK) s = tensor_set_write(&set, c->out, meta, 2, KEY_WEIGHTS_CRC, &extra, 1);
    tensor_set_free(&set);
    free(text);
    return s;
}

static ddpm_status write_folder(const conversion *c)
{
    char reason[REASON_SIZE];
    diffusers_reason(c->src.s, reason);
    if (reason[0] && c->s->v.format == FORMAT_DIFFUSERS) return refuse(c, "diffusers", reason);
    if (reason[0]) tool_message(c->ev, "diffusers will not open it: %s", reason);
    return checkpoint_write(c->out, &c->src);
}

static int format_of(const settings *s, const char *out)
{
    if (s->v.format != FORMAT_AUTO) return s->v.format;
    if (file_has_ending(out, ".safetensors")) return FORMAT_SAFETENSORS;
    if (file_has_ending(out, ".pt") || file_has_ending(out, ".pth")) return FORMAT_OPENAI;
    return file_has_ending(out, ".ckpt") ? FORMAT_ERMONGROUP : FORMAT_FOLDER;
}

/* A folder that is called like a file is what somebody gets who hoped for another form. */
static ddpm_status check_ending(const settings *s, const char *out)
{
    static const char *const ours[] = { ".safetensors", ".pt", ".pth", ".ckpt" };
    const int format = format_of(s, out);
    const char *slash = strrchr(out, '/'), *name = slash ? slash + 1 : out, *dot = strrchr(name, '.');
    const size_t letters = dot ? strspn(dot + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") : 0;
    if ((format != FORMAT_FOLDER && format != FORMAT_DIFFUSERS) || !letters || letters > MAX_ENDING || dot[1 + letters]) return DDPM_OK;
    bool refused = s->v.format == FORMAT_AUTO;      /* any other ending is a folder's, for those who ask for a folder */
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) refused = refused || file_has_ending(out, ours[i]);
    if (!refused) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "%s would be a folder, but is called like a file; files end in .safetensors, .pt or .pth (improved-diffusion) or .ckpt (ermongroup), "
                     "and a folder has a name without such an ending", out);
}

static ddpm_status write_form(const conversion *c)
{
    switch (format_of(c->s, c->out)) {
    case FORMAT_OPENAI:      return write_openai(c);
    case FORMAT_ERMONGROUP:  return write_ermongroup(c);
    case FORMAT_SAFETENSORS: return write_safetensors(c);
    default:                 return write_folder(c);
    }
}

/* --- the weights --------------------------------------------------------------------------- */

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

static ddpm_status convert(conversion *c)
{
    const model_description *d = model_describe(c->m);
    nn_graph *g = NULL;
    float *values = NULL;
    ddpm_status status = read_weights(c->m, &g, &values);
    if (status == DDPM_OK) {
        c->src = (checkpoint_source){ .s = &d->s, .class_names = d->class_names, .n_class_names = d->n_class_names, .provenance = d->provenance,
                                      .weights = d->weights, .step = d->step, .layout = &g->params, .values = values,
                                      .bf16 = c->s->v.dtype == DTYPE_BF16, .best_val = -1 };
        status = write_form(c);
    }
    free(values);
    nn_graph_free(g);
    return status;
}

/* State dicts describe nothing: what has to be said beside them. "": the form says it itself. */
static void form_flags(const conversion *c, char flags[FLAGS_SIZE])
{
    const int format = format_of(c->s, c->out);
    const settings *s = &model_describe(c->m)->s;
    flags[0] = 0;
    if (format == FORMAT_OPENAI) openai_flags(s, flags, FLAGS_SIZE);
    if (format == FORMAT_ERMONGROUP) ermongroup_options(s, flags, FLAGS_SIZE);
    if (flags[0]) tool_message(c->ev, "it holds weights and nothing else; the %s: %s", format == FORMAT_OPENAI ? "flags are" : "options for this program are", flags);
}

static ddpm_status summarise(const conversion *c, json **summary)
{
    static const char *const forms[] = { [FORMAT_FOLDER] = "folder", [FORMAT_DIFFUSERS] = "diffusers", [FORMAT_OPENAI] = "openai",
                                         [FORMAT_ERMONGROUP] = "ermongroup", [FORMAT_SAFETENSORS] = "safetensors" };
    const model_description *d = model_describe(c->m);
    tool_message(c->ev, "wrote %s: %s weights of %s as %s", c->out, d->weights, d->path, c->s->v.dtype == DTYPE_BF16 ? "bf16" : "f32");
    char flags[FLAGS_SIZE];
    form_flags(c, flags);
    if (!summary) return DDPM_OK;
    json *o = *summary = json_new_object();
    json_put_string(o, "schema", "ddpm-convert-1");
    json_put_string(o, "model", d->path);
    json_put_string(o, "weights", d->weights);
    json_put_string(o, "format", forms[format_of(c->s, c->out)]);
    if (flags[0]) json_put_string(o, "flags", flags);
    return json_put_string(o, "output", c->out);
}

ddpm_status tool_convert(settings *s, const char *model, const char *out, const tool_events *ev, json **summary)
{
    model_file *m = NULL;
    if (file_exists(out)) return ddpm_fail(DDPM_EINVAL, "%s exists already; give a new name", out);
    DDPM_TRY(check_ending(s, out));
    DDPM_TRY(model_open_with(model, s->v.weights, s, &m));
    conversion c = { .s = s, .m = m, .out = out, .ev = ev };
    ddpm_status status = convert(&c);
    if (status == DDPM_OK) status = summarise(&c, summary);
    model_close(m);
    return status;
}
