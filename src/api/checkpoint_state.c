#include "api/checkpoint_parts.h"

#include "io/crc32c.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The counters, in the order in which their checksum runs over them. */
enum { META_FORMAT, META_STEP, META_UPDATES, META_DROPPED, META_IN_ROW, META_BEST, META_SEED, META_CONFIG, META_COUNT };
static const char *const META[META_COUNT] = { "format", "step", "updates", "dropped", "dropped_in_row", "best_val", "seed", "config_crc32c" };

enum { VALUE_SIZE = 40, PREFIX_SIZE = 64, MAX_SLABS = 3 + OPTIM_MAX_EMA };

static uint32_t meta_crc(const char *const values[META_COUNT])
{
    uint32_t crc = 0;
    for (int i = 0; i < META_COUNT; i++) {
        crc = crc32c(crc, META[i], strlen(META[i]) + 1);
        crc = crc32c(crc, values[i], strlen(values[i]) + 1);
    }
    return crc;
}

/* Numbers in files have a point whatever locale the program has set; json prints them so. */
static ddpm_status real_text(double value, char *text, size_t size)
{
    json *number = json_new_real(value);
    char *printed = json_text(number, JSON_COMPACT);
    const bool ok = printed && snprintf(text, size, "%s", printed) < (int)size;
    free(printed);
    json_free(number);
    return ok ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory to print a number");
}

/* The slabs and the prefixes of their tensors' names. */
typedef struct { int count; char prefix[MAX_SLABS][PREFIX_SIZE]; float *slab[MAX_SLABS]; } slab_list;

static ddpm_status list_slabs(const settings *s, const trainer_state *state, slab_list *l)
{
    *l = (slab_list){ 3, { "raw/", "m/", "v/" }, { state->value, state->m, state->v } };
    if (state->n_ema != s->v.ema_rate.n)
        return ddpm_fail(DDPM_EINVAL, "there are %d averages for %d entries of ema_rate", state->n_ema, s->v.ema_rate.n);
    for (int k = 0; k < state->n_ema; k++) {
        char rate[VALUE_SIZE];
        DDPM_TRY(real_text(s->v.ema_rate.v[k], rate, sizeof rate));
        snprintf(l->prefix[l->count], PREFIX_SIZE, "ema_%s/", rate);
        l->slab[l->count++] = state->ema[k];
    }
    return DDPM_OK;
}

/* The loss history of importance-sampled timesteps: [T, SECOND_MOMENT_HISTORY] and [T]. */
#define HISTORY "lsm_history"
#define COUNT   "lsm_count"
enum { HISTORY_TENSORS = 2 };

/* --- writing --------------------------------------------------------------------------- */

static ddpm_status fill_meta(const checkpoint_source *src, uint32_t config_crc, char text[META_COUNT][VALUE_SIZE])
{
    const trainer_state *state = src->state;
    snprintf(text[META_FORMAT], VALUE_SIZE, "%s", STATE_FORMAT);
    snprintf(text[META_STEP], VALUE_SIZE, "%" PRId64, state->step);
    snprintf(text[META_UPDATES], VALUE_SIZE, "%" PRId64, state->updates);
    snprintf(text[META_DROPPED], VALUE_SIZE, "%" PRId64, state->dropped);
    snprintf(text[META_IN_ROW], VALUE_SIZE, "%" PRId64, state->dropped_in_row);
    snprintf(text[META_SEED], VALUE_SIZE, "%" PRId64, src->s->v.seed);
    snprintf(text[META_CONFIG], VALUE_SIZE, "%08" PRIx32, config_crc);
    return real_text(src->best_val >= 0 && isfinite(src->best_val) ? src->best_val : -1, text[META_BEST], VALUE_SIZE);
}

static ddpm_status write_set(tensor_set *set, const char *path, const checkpoint_source *src, uint32_t config_crc)
{
    char text[META_COUNT][VALUE_SIZE];
    const char *values[META_COUNT];
    safetensors_meta meta[META_COUNT + 1];
    DDPM_TRY(fill_meta(src, config_crc, text));
    for (int i = 0; i < META_COUNT; i++) {
        values[i] = text[i];
        meta[i] = (safetensors_meta){ META[i], text[i] };
    }
    const extra_crc extra = { "__metadata__", meta_crc(values) };
    return tensor_set_write(set, path, meta, META_COUNT, KEY_STATE_CRC, &extra, 1);
}

static ddpm_status add_history(tensor_set *set, const second_moment *m, int64_t **counts)
{
    const int64_t T = m->T;
    *counts = malloc((size_t)T * sizeof **counts);
    if (!*counts) return ddpm_fail(DDPM_ENOMEM, "no memory for the loss history of %lld timesteps", (long long)T);
    for (int64_t t = 0; t < T; t++) (*counts)[t] = m->count[t];
    const safetensors_tensor history = { .name = HISTORY, .dtype = ST_F64, .ndim = 2, .shape = { T, SECOND_MOMENT_HISTORY }, .data = m->history,
                                         .bytes = (size_t)T * SECOND_MOMENT_HISTORY * sizeof *m->history };
    const safetensors_tensor count = { .name = COUNT, .dtype = ST_I64, .ndim = 1, .shape = { T }, .data = *counts, .bytes = (size_t)T * sizeof **counts };
    DDPM_TRY(tensor_set_add_plain(set, &history));
    return tensor_set_add_plain(set, &count);
}

ddpm_status state_write(const char *dir, const checkpoint_source *src, uint32_t config_crc)
{
    char path[MODEL_PATH_SIZE];
    slab_list slabs;
    stored_tensor *list = NULL;
    int64_t *counts = NULL;
    int count;
    tensor_set set = { 0 };
    DDPM_TRY(checkpoint_join(path, dir, FILE_STATE));
    DDPM_TRY(list_slabs(src->s, src->state, &slabs));
    DDPM_TRY(stored_list(src->s, src->state->params, NAMES_OPENAI, &list, &count));
    ddpm_status s = DDPM_OK;
    for (int k = 0; k < slabs.count && s == DDPM_OK; k++) s = tensor_set_add(&set, list, count, slabs.prefix[k], slabs.slab[k], false);
    if (s == DDPM_OK && src->state->moments) s = add_history(&set, src->state->moments, &counts);
    if (s == DDPM_OK) s = write_set(&set, path, src, config_crc);
    tensor_set_free(&set);
    free(counts);
    free(list);
    return s;
}

/* --- reading --------------------------------------------------------------------------- */

ddpm_status state_open(const char *dir, safetensors **out)
{
    char path[MODEL_PATH_SIZE];
    const char *values[META_COUNT];
    safetensors *st = NULL;
    *out = NULL;
    DDPM_TRY(checkpoint_join(path, dir, FILE_STATE));
    DDPM_TRY(safetensors_open(path, &st));
    ddpm_status s = DDPM_OK;
    for (int i = 0; i < META_COUNT && s == DDPM_OK; i++)
        if (!(values[i] = safetensors_metadata(st, META[i]))) s = ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" is missing in its metadata; the file is damaged", path, META[i]);
    if (s == DDPM_OK && strcmp(values[META_FORMAT], STATE_FORMAT))
        s = ddpm_fail(DDPM_EFORMAT, "%s: its format is \"%.60s\", this program reads \"%s\"", path, values[META_FORMAT], STATE_FORMAT);
    if (s == DDPM_OK) {
        const extra_crc extra = { "__metadata__", meta_crc(values) };
        s = tensors_check(st, KEY_STATE_CRC, &extra, 1);
    }
    if (s != DDPM_OK) safetensors_close(st);
    else *out = st;
    return s;
}

static ddpm_status read_counter(const safetensors *st, int key, int64_t *value)
{
    const char *text = safetensors_metadata(st, META[key]);
    char *end;
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < 0) return ddpm_fail(DDPM_EFORMAT, "%s: \"%s\" is \"%.40s\", not a count", safetensors_path(st), META[key], text);
    *value = v;
    return DDPM_OK;
}

static ddpm_status read_best(const safetensors *st, double *best)
{
    const char *text = safetensors_metadata(st, META[META_BEST]);
    json *number = NULL, *array = NULL;
    char list[VALUE_SIZE + 8];
    if (snprintf(list, sizeof list, "[%s]", text) >= (int)sizeof list) list[0] = 0;
    DDPM_TRY(json_parse(list, strlen(list), safetensors_path(st), &array));
    number = json_at(array, 0);
    const bool ok = json_as_real(number, best);
    json_free(array);
    if (!ok) return ddpm_fail(DDPM_EFORMAT, "%s: \"best_val\" is \"%.40s\", not a number", safetensors_path(st), text);
    if (*best < 0) *best = -1;
    return DDPM_OK;
}

/* Averages in the file that the run does not ask for would be lost silently. */
static ddpm_status check_count(const safetensors *st, int tensors, const settings *s)
{
    if (safetensors_count(st) == tensors) return DDPM_OK;
    char rates[OPTION_TEXT_SIZE];
    options_print(settings_options, &s->v, options_find(settings_options, "ema_rate"), rates);
    return ddpm_fail(DDPM_EINVAL, "%s holds %d tensors, this run needs %d: it was made with another network or other averages than --ema_rate %s",
                     safetensors_path(st), safetensors_count(st), tensors, rates);
}

static ddpm_status need_plain(const safetensors *st, const char *name, safetensors_dtype dtype, size_t bytes, const safetensors_tensor **t)
{
    DDPM_TRY(safetensors_need(st, name, t));
    if ((*t)->dtype == dtype && (*t)->bytes == bytes) return DDPM_OK;
    return ddpm_fail(DDPM_EFORMAT, "%s: tensor \"%s\" is not of the type and size that this number of timesteps needs", safetensors_path(st), name);
}

static ddpm_status read_history(const safetensors *st, second_moment *m)
{
    const size_t T = (size_t)m->T;
    const safetensors_tensor *history, *count;
    DDPM_TRY(need_plain(st, HISTORY, ST_F64, T * SECOND_MOMENT_HISTORY * sizeof *m->history, &history));
    DDPM_TRY(need_plain(st, COUNT, ST_I64, T * sizeof(int64_t), &count));
    memcpy(m->history, history->data, history->bytes);
    for (size_t t = 0; t < T; t++) {
        int64_t n;
        bool good = true;
        memcpy(&n, (const char *)count->data + t * sizeof n, sizeof n);
        for (int j = 0; j < SECOND_MOMENT_HISTORY; j++) good = good && isfinite(m->history[t * SECOND_MOMENT_HISTORY + (size_t)j]);
        if (!good || n < 0 || n > SECOND_MOMENT_HISTORY)
            return ddpm_fail(DDPM_EFORMAT, "%s: the loss history of timestep %zu is not one of up to %d numbers", safetensors_path(st), t, SECOND_MOMENT_HISTORY);
        m->count[t] = (int)n;
    }
    return DDPM_OK;
}

static ddpm_status fill_state(const safetensors *st, const settings *s, const stored_tensor *list, int count, trainer_state *state, double *best)
{
    slab_list slabs;
    DDPM_TRY(list_slabs(s, state, &slabs));
    DDPM_TRY(check_count(st, count * slabs.count + (state->moments ? HISTORY_TENSORS : 0), s));
    for (int k = 0; k < slabs.count; k++) DDPM_TRY(tensors_read(st, list, count, slabs.prefix[k], slabs.slab[k], state->params->len));
    if (state->moments) DDPM_TRY(read_history(st, state->moments));
    DDPM_TRY(read_counter(st, META_STEP, &state->step));
    DDPM_TRY(read_counter(st, META_UPDATES, &state->updates));
    DDPM_TRY(read_counter(st, META_DROPPED, &state->dropped));
    DDPM_TRY(read_counter(st, META_IN_ROW, &state->dropped_in_row));
    return read_best(st, best);
}

ddpm_status checkpoint_read_state(const char *dir, const settings *s, trainer_state *state, double *best_val)
{
    safetensors *st = NULL;
    stored_tensor *list = NULL;
    int count;
    DDPM_TRY(state_open(dir, &st));
    ddpm_status status = stored_list(s, state->params, NAMES_OPENAI, &list, &count);
    if (status == DDPM_OK) status = fill_state(st, s, list, count, state, best_val);
    free(list);
    safetensors_close(st);
    return status;
}
