/* Models in single files: PyTorch's and safetensors, with or without a configuration beside them. */
#include "api/checkpoint_parts.h"

#include "io/crc32c.h"
#include "io/file.h"
#include "io/torch_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SNIFF_SIZE = 512 };

/* --- which container ------------------------------------------------------------------------ */

typedef enum { CONTAINER_OTHER, CONTAINER_TORCH, CONTAINER_SAFETENSORS } container;

/* Told from the first bytes; a name says nothing. */
static container container_of(const char *path)
{
    uint8_t bytes[SNIFF_SIZE];
    FILE *f = fopen(path, "rb");
    if (!f) return CONTAINER_OTHER;
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    if (torch_sniff(bytes, n)) return CONTAINER_TORCH;
    uint64_t header = 0;
    if (n > sizeof header) memcpy(&header, bytes, sizeof header);
    return header && header <= SAFETENSORS_MAX_HEADER && bytes[sizeof header] == '{' ? CONTAINER_SAFETENSORS : CONTAINER_OTHER;
}

bool single_is_model(const char *path) { return container_of(path) != CONTAINER_OTHER; }

static ddpm_status open_any(container c, const char *path, int weights, weights_said *said, uint8_t **bytes, safetensors **st)
{
    if (c == CONTAINER_TORCH) return model_torch_weights(path, weights, said, bytes, st);
    return safetensors_open(path, st);
}

ddpm_status weights_open(const char *path, uint8_t **bytes, safetensors **st)
{
    weights_said unused = { .step = -1 };
    return open_any(container_of(path), path, WEIGHTS_EMA, &unused, bytes, st);
}

names_style weights_style(const safetensors *st)
{
    /* More than one of a style, so that a file that lacks one is told what it lacks. */
    static const struct { const char *name; names_style style; } marks[] = {
        { "time_embed.0.weight", NAMES_OPENAI }, { "input_blocks.0.0.weight", NAMES_OPENAI },
        { "temb.dense.0.weight", NAMES_ERMONGROUP }, { "down.0.block.0.conv1.weight", NAMES_ERMONGROUP },
        { "mid_block.attentions.0.query.weight", NAMES_DIFFUSERS_OLD },
        { "time_embedding.linear_1.weight", NAMES_DIFFUSERS }, { "time_embedding.linear_2.weight", NAMES_DIFFUSERS },
    };
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (safetensors_find(st, marks[i].name)) return marks[i].style;
    return NAMES_COUNT;
}

/* --- what is said about the model ------------------------------------------------------------ */

/* The folder of a file. */
static void folder_of(const char *path, char dir[MODEL_PATH_SIZE])
{
    const char *slash = strrchr(path, '/');
    if (!slash) snprintf(dir, MODEL_PATH_SIZE, ".");
    else snprintf(dir, MODEL_PATH_SIZE, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

/* config.json beside the file, when it is a network's of diffusers or one of ours; *config NULL: neither is there. */
static ddpm_status read_beside(const char *dir, char path[MODEL_PATH_SIZE], json **config, bool *of_diffusers)
{
    *config = NULL;
    DDPM_TRY(checkpoint_join(path, dir, "config.json"));
    if (!file_exists(path)) return DDPM_OK;
    DDPM_TRY(json_read_file(path, config));
    *of_diffusers = json_kind_of(json_get(*config, "_class_name")) == JSON_KIND_STRING;
    if (*of_diffusers || json_kind_of(json_get(*config, "values")) == JSON_KIND_OBJECT) return DDPM_OK;
    json_free(*config);
    *config = NULL;
    return DDPM_OK;
}

static ddpm_status describe_diffusers(const char *dir, const char *config, const settings *request, model_file *m)
{
    static const char *const places[] = { "scheduler_config.json", "../" FILE_SCHEDULER };
    char scheduler[MODEL_PATH_SIZE] = "";
    for (int i = 0; i < 2 && !scheduler[0]; i++)
        if (checkpoint_has(dir, places[i])) DDPM_TRY(checkpoint_join(scheduler, dir, places[i]));
    return diffusers_read(config, scheduler[0] ? scheduler : NULL, m->style == NAMES_DIFFUSERS_OLD, request, &m->d.s);
}

/* What our configuration says counts like what the user says, but less. */
static ddpm_status describe_ours(const char *config, const settings *request, model_file *m)
{
    settings *both = malloc(sizeof *both);
    if (!both) return ddpm_fail(DDPM_ENOMEM, "no memory for a configuration");
    if (request) *both = *request;
    else settings_defaults(both);
    ddpm_status s = settings_read_file(both, config, ORIGIN_CONFIG);
    if (s == DDPM_OK) s = model_infer(m->st, m->style, both, &m->d);
    free(both);
    return s == DDPM_EINVAL && !request ? DDPM_EFORMAT : s;
}

/* The description that our own safetensors carry. */
static ddpm_status describe_own(const char *path, const char *text, model_file *m)
{
    const extra_crc extra = { KEY_DESCRIPTION, crc32c(0, text, strlen(text)) };
    DDPM_TRY(tensors_check(m->st, KEY_WEIGHTS_CRC, &extra, 1));
    return describe_text(text, strlen(text), path, &m->d);
}

static ddpm_status describe(const char *path, const settings *request, model_file *m)
{
    char dir[MODEL_PATH_SIZE], config[MODEL_PATH_SIZE];
    json *beside = NULL;
    bool foreign = false;
    const char *own = safetensors_metadata(m->st, KEY_DESCRIPTION);
    if (own) return describe_own(path, own, m);
    if (safetensors_metadata(m->st, KEY_WEIGHTS_CRC))
        return ddpm_fail(DDPM_EINVAL, "%s is part of a checkpoint of this program, whose " FILE_DDPM " says what it is; give the folder around it", path);
    folder_of(path, dir);
    DDPM_TRY(read_beside(dir, config, &beside, &foreign));
    const bool any = beside != NULL, diffusers = m->style == NAMES_DIFFUSERS || m->style == NAMES_DIFFUSERS_OLD;
    json_free(beside);
    if (diffusers && any && foreign) return describe_diffusers(dir, config, request, m);
    if (diffusers)
        return ddpm_fail(DDPM_EINVAL, "%s has the names of diffusers, which do not show heads, norms and embedding; put the network's config.json beside it, "
                         "and scheduler_config.json", path);
    return any && !foreign ? describe_ours(config, request, m) : model_infer(m->st, m->style, request, &m->d);
}

/* Somebody who asks for one kind of weights must not get the other. */
static ddpm_status check_asked(const char *path, int weights, const settings *request, const model_description *d)
{
    const bool asked = request && settings_origin(request, "weights") != ORIGIN_DEFAULT, raw = !strcmp(d->weights, "raw"), ema = !strncmp(d->weights, "ema", 3);
    if (weights == WEIGHTS_RAW && ema)
        return ddpm_fail(DDPM_EINVAL, "%s holds averaged weights (%s), not raw ones; those are in another file, model*.pt for improved-diffusion", path, d->weights);
    if (weights == WEIGHTS_EMA && raw && asked)
        return ddpm_fail(DDPM_EINVAL, "%s holds raw weights, not averaged ones; those are in another file, ema_*.pt for improved-diffusion", path);
    return DDPM_OK;
}

/* The weights, with what the file says of them. */
static ddpm_status open_weights(const char *path, int weights, model_file *m)
{
    static const char *const names[] = { [NAMES_OPENAI] = "improved-diffusion", [NAMES_ERMONGROUP] = "ermongroup", [NAMES_DIFFUSERS] = "diffusers",
                                         [NAMES_DIFFUSERS_OLD] = "diffusers of 2022" };
    const container c = container_of(path);
    weights_said said = { .weights = "unknown", .step = -1 };
    m->prefix = "";
    snprintf(m->d.path, sizeof m->d.path, "%s", path);
    DDPM_TRY(open_any(c, path, weights, &said, &m->bytes, &m->st));
    snprintf(m->d.weights, sizeof m->d.weights, "%s", said.weights);
    m->d.step = said.step;
    m->style = weights_style(m->st);
    if (m->style == NAMES_COUNT) return ddpm_fail(DDPM_EFORMAT, "%s: its tensors have neither improved-diffusion's nor ermongroup's nor diffusers' names", path);
    snprintf(m->d.kind, sizeof m->d.kind, "%s (%s)", c == CONTAINER_TORCH ? "PyTorch file" : "safetensors file", names[m->style]);
    return DDPM_OK;
}

ddpm_status single_open(const char *path, int weights, const settings *request, model_file *m)
{
    DDPM_TRY(open_weights(path, weights, m));
    DDPM_TRY(describe(path, request, m));
    return check_asked(path, weights, request, &m->d);
}

static ddpm_status glimpse_of(const model_file *m, const settings *request, model_glimpse *g)
{
    if (m->style != NAMES_OPENAI && m->style != NAMES_ERMONGROUP) return ddpm_fail(DDPM_EINVAL, "%s: the names of its tensors do not show a network", m->d.path);
    *g = (model_glimpse){ .step = m->d.step };
    snprintf(g->form, sizeof g->form, "%s", m->d.kind);
    snprintf(g->weights, sizeof g->weights, "%s", m->d.weights);
    for (int i = 0; i < safetensors_count(m->st); i++) {
        const safetensors_tensor *t = safetensors_at(m->st, i);
        int64_t len = 1;
        for (int k = 0; k < t->ndim; k++) len *= t->shape[k];
        g->parameters += len;
    }
    return model_infer_glimpse(m->st, m->style, request, g);
}

ddpm_status single_glimpse(const char *path, int weights, const settings *request, model_glimpse *g)
{
    model_file *m = calloc(1, sizeof *m);
    if (!m) return ddpm_fail(DDPM_ENOMEM, "no memory to open %s", path);
    ddpm_status s = open_weights(path, weights, m);
    if (s == DDPM_OK) s = glimpse_of(m, request, g);
    model_close(m);
    return s;
}
