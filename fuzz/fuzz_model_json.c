/* JSON that describes models, from text to settings: ddpm.json, the configurations of diffusers, an index of shards. The input is
 * one document, or a network's and a scheduler's with a line "---" between them. */
#include "api/checkpoint_parts.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char LINE[] = "\n---\n";

/* What was accepted must have passed every check that a network is built after. */
static void check(ddpm_status s, const settings *model)
{
    if (s != DDPM_OK && s != DDPM_EFORMAT && s != DDPM_EINVAL) abort();
    const unet_config c = settings_unet(model);
    if (s == DDPM_OK && unet_check(&c) != DDPM_OK) abort();
}

static void read_diffusers(const json *net, const json *scheduler, bool old_names, settings *s)
{
    const diffusers_files files = { net, scheduler, "config.json", "scheduler_config.json", old_names };
    const ddpm_status status = diffusers_read_json(&files, NULL, s);
    if (status == DDPM_OK) check(status, s);
}

static void read_one(const char *text, size_t len, const json *o)
{
    model_description *d = calloc(1, sizeof *d);
    shard_index x = { 0 };
    if (!d) abort();
    if (shard_index_read(o, "index.json", &x) == DDPM_OK)
        for (int i = 0; i < x.n_tensors; i++)
            if (x.tensors[i].file >= x.n_files || strchr(x.files[x.tensors[i].file], '/')) abort();
    shard_index_free(&x);
    if (describe_text(text, len, "ddpm.json", d) == DDPM_OK) check(DDPM_OK, &d->s);
    describe_free(d);
    free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *line = memmem(text, size, LINE, sizeof LINE - 1);
    const size_t first = line ? (size_t)(line - text) : size, rest = line ? first + sizeof LINE - 1 : size;
    json *net = NULL, *scheduler = NULL;
    settings *s = malloc(sizeof *s);
    if (!s) abort();
    if (json_parse(text, first, "input", &net) == DDPM_OK && (!line || json_parse(text + rest, size - rest, "input", &scheduler) == DDPM_OK)) {
        if (!line) read_one(text, first, net);
        read_diffusers(net, scheduler, size % 2, s);
    }
    json_free(net);
    json_free(scheduler);
    free(s);
    return 0;
}
