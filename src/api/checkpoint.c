#include "api/checkpoint_parts.h"

#include "base/checked.h"
#include "base/log.h"
#include "io/file.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of the JSON files and of the headers, per tensor. */
enum { FILES_ALLOWANCE = 1 << 20, HEADER_ALLOWANCE = 512, STEP_DIGITS = 8 };

ddpm_status checkpoint_join(char path[MODEL_PATH_SIZE], const char *dir, const char *name)
{
    if (snprintf(path, MODEL_PATH_SIZE, "%s/%s", dir, name) < MODEL_PATH_SIZE) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "the path %.60s... is too long", dir);
}

bool checkpoint_has(const char *dir, const char *name)
{
    char path[MODEL_PATH_SIZE];
    return checkpoint_join(path, dir, name) == DDPM_OK && file_exists(path);
}

void checkpoint_path(const char *run, int64_t step, bool best, char path[MODEL_PATH_SIZE])
{
    const int n = best ? snprintf(path, MODEL_PATH_SIZE, "%s/checkpoints/best", run)
                       : snprintf(path, MODEL_PATH_SIZE, "%s/checkpoints/step-%0*lld", run, STEP_DIGITS, (long long)step);
    if (n >= MODEL_PATH_SIZE) path[0] = 0;         /* writing to "" fails with a sentence */
}

/* --- the folder a checkpoint lies in ------------------------------------------------------ */

/* A path as the folder above and the last name. */
typedef struct { char parent[MODEL_PATH_SIZE], name[MODEL_PATH_SIZE]; } split_path;

static ddpm_status split(const char *path, split_path *sp)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    const char *slash = memrchr(path, '/', n);
    const size_t dir = slash ? (size_t)(slash - path) : 0, from = slash ? dir + 1 : 0;
    if (n == from || n + 64 >= MODEL_PATH_SIZE) return ddpm_fail(DDPM_EINVAL, "\"%.60s\" cannot be the name of a checkpoint", path);
    snprintf(sp->name, sizeof sp->name, "%.*s", (int)(n - from), path + from);
    if (!slash) snprintf(sp->parent, sizeof sp->parent, ".");
    else snprintf(sp->parent, sizeof sp->parent, "%.*s", dir ? (int)dir : 1, path);
    return DDPM_OK;
}

/* The end ".KIND-PID" of a name with a process that is gone, or NULL. */
static char *dead_suffix(char *name, const char *kind)
{
    char mark[16];
    snprintf(mark, sizeof mark, ".%s-", kind);
    char *at = strstr(name, mark), *end;
    if (!at || at == name) return NULL;
    const char *number = at + strlen(mark);
    errno = 0;
    const long pid = strtol(number, &end, 10);
    if (errno || end == number || *end || pid <= 0 || pid > INT32_MAX) return NULL;
    return pid != getpid() && kill((pid_t)pid, 0) != 0 && errno == ESRCH ? at : NULL;
}

/* An older folder that was set aside comes back if its successor never arrived. */
static void restore(const char *parent, char *name, const char *suffix)
{
    char from[MODEL_PATH_SIZE], to[MODEL_PATH_SIZE], base[MODEL_PATH_SIZE];
    snprintf(base, sizeof base, "%.*s", (int)(suffix - name), name);
    if (checkpoint_has(parent, base)) {
        if (dir_remove_tree(parent, name) != DDPM_OK) log_warn("%s", ddpm_last_error());
    } else if (checkpoint_join(from, parent, name) == DDPM_OK && checkpoint_join(to, parent, base) == DDPM_OK && rename(from, to) == 0) {
        log_warn("%s was left by a process that died; it is in place again", to);
    }
}

static void clear_leftovers(const char *parent)
{
    char **names = NULL;
    int count = 0;
    if (dir_list(parent, &names, &count) != DDPM_OK) return;
    for (int i = 0; i < count; i++) {
        const char *old = dead_suffix(names[i], "old");
        if (old) restore(parent, names[i], old);
        else if ((dead_suffix(names[i], "tmp") || dead_suffix(names[i], "new")) && dir_remove_tree(parent, names[i]) != DDPM_OK)
            log_warn("%s", ddpm_last_error());
    }
    dir_list_free(names, count);
}

/* --- what it holds -------------------------------------------------------------------------- */

static ddpm_status write_weights(const char *dir, const checkpoint_source *src, uint32_t config_crc)
{
    char path[MODEL_PATH_SIZE];
    stored_tensor *list = NULL;
    int count;
    tensor_set set = { 0 };
    safetensors_meta meta[2] = { { "format", "pt" } };
    const extra_crc extra = { FILE_DDPM, config_crc };
    DDPM_TRY(checkpoint_join(path, dir, FILE_WEIGHTS));
    DDPM_TRY(stored_list(src->s, src->layout, NAMES_DIFFUSERS, &list, &count));
    ddpm_status s = tensor_set_add(&set, list, count, "", src->values, src->bf16);
    if (s == DDPM_OK) s = tensor_set_write(&set, path, meta, 1, KEY_WEIGHTS_CRC, &extra, 1);
    tensor_set_free(&set);
    free(list);
    return s;
}

static ddpm_status write_files(const char *dir, const checkpoint_source *src)
{
    char path[MODEL_PATH_SIZE];
    uint32_t crc = 0;
    DDPM_TRY(checkpoint_join(path, dir, "unet"));
    DDPM_TRY(dir_make(path));
    DDPM_TRY(checkpoint_join(path, dir, "scheduler"));
    DDPM_TRY(dir_make(path));
    DDPM_TRY(diffusers_write(dir, src->s));
    DDPM_TRY(describe_write(dir, src, &crc));
    DDPM_TRY(write_weights(dir, src, crc));
    return src->state ? state_write(dir, src, crc) : DDPM_OK;
}

/* A fifth more than will be written. */
static ddpm_status check_space(const char *parent, const checkpoint_source *src)
{
    const size_t slabs = src->state ? 3 + (size_t)src->state->n_ema : 0, numbers = nn_params_total(src->layout);
    size_t bytes, header, total;
    const bool fits = checked_mul(numbers, 4 * slabs + (src->bf16 ? 2 : 4), &bytes) &&
                      checked_mul((size_t)src->layout->count * HEADER_ALLOWANCE, slabs + 1, &header) &&
                      checked_add(bytes, header + FILES_ALLOWANCE, &total) && checked_add(total, total / 5, &total);
    if (!fits) return ddpm_fail(DDPM_EINVAL, "a checkpoint of %zu parameters is too large", numbers);
    return dir_need_bytes(parent, total);
}

/* --- putting it in place ------------------------------------------------------------------------ */

/* `ready` is durable. An older `dir` steps aside first and comes back if the rename fails. */
static ddpm_status replace(const char *ready, const char *dir, const split_path *sp)
{
    char old[MODEL_PATH_SIZE], old_name[MODEL_PATH_SIZE];
    if (!file_exists(dir)) return dir_publish(ready, dir);
    if (snprintf(old_name, sizeof old_name, "%s.old-%ld", sp->name, (long)getpid()) >= MODEL_PATH_SIZE)
        return ddpm_fail(DDPM_EINVAL, "the path %.60s... is too long", dir);
    DDPM_TRY(checkpoint_join(old, sp->parent, old_name));
    DDPM_TRY(dir_remove_tree(sp->parent, old_name));
    if (rename(dir, old) != 0) return file_fail("cannot set aside the older folder", dir);
    const ddpm_status s = dir_publish(ready, dir);
    if (s == DDPM_OK) {
        if (dir_remove_tree(sp->parent, old_name) != DDPM_OK) log_warn("%s", ddpm_last_error());
    } else if (!file_exists(dir) && rename(old, dir) != 0) {
        log_warn("the older checkpoint is now called %s", old);
    }
    return s;
}

static ddpm_status write_and_replace(const char *dir, const split_path *sp, const checkpoint_source *src, const char *tmp, const char *ready)
{
    DDPM_TRY(write_files(tmp, src));
    DDPM_TRY(dir_publish(tmp, ready));
    return replace(ready, dir, sp);
}

ddpm_status checkpoint_write(const char *dir, const checkpoint_source *src)
{
    split_path sp;
    char tmp[MODEL_PATH_SIZE], ready[MODEL_PATH_SIZE], tmp_name[MODEL_PATH_SIZE], ready_name[MODEL_PATH_SIZE];
    DDPM_TRY(split(dir, &sp));
    DDPM_TRY(dir_make(sp.parent));
    clear_leftovers(sp.parent);
    DDPM_TRY(check_space(sp.parent, src));
    const int a = snprintf(tmp_name, sizeof tmp_name, "%s.tmp-%ld", sp.name, (long)getpid());
    const int b = snprintf(ready_name, sizeof ready_name, "%s.new-%ld", sp.name, (long)getpid());
    if (a >= MODEL_PATH_SIZE || b >= MODEL_PATH_SIZE) return ddpm_fail(DDPM_EINVAL, "the path %.60s... is too long", dir);
    DDPM_TRY(checkpoint_join(tmp, sp.parent, tmp_name));
    DDPM_TRY(checkpoint_join(ready, sp.parent, ready_name));
    DDPM_TRY(dir_remove_tree(sp.parent, tmp_name));
    DDPM_TRY(dir_remove_tree(sp.parent, ready_name));
    const ddpm_status s = write_and_replace(dir, &sp, src, tmp, ready);
    if (s == DDPM_OK) return DDPM_OK;
    char why[1024];                                   /* clearing up must not replace the reason */
    snprintf(why, sizeof why, "%s", ddpm_last_error());
    if (dir_remove_tree(sp.parent, tmp_name) != DDPM_OK || dir_remove_tree(sp.parent, ready_name) != DDPM_OK) log_warn("%s", ddpm_last_error());
    return ddpm_fail(s, "the checkpoint %s was not written: %s", dir, why);
}

/* --- the checkpoints of a run ---------------------------------------------------------------------- */

static bool step_of(const char *name, int64_t *step)
{
    char *end;
    if (strncmp(name, "step-", 5) || strlen(name) < 5 + STEP_DIGITS || name[5] < '0' || name[5] > '9') return false;
    errno = 0;
    *step = strtoll(name + 5, &end, 10);
    return !errno && !*end;
}

static int compare_steps(const void *a, const void *b)
{
    int64_t x = 0, y = 0;
    step_of(*(char *const *)a, &x);
    step_of(*(char *const *)b, &y);
    return (x > y) - (x < y);
}

/* The folders step-* of a run, oldest first; none is fine. Freed by dir_list_free(names, *count). */
static ddpm_status list_steps(const char *run, char folder[MODEL_PATH_SIZE], char ***names, int *count)
{
    *names = NULL;
    *count = 0;
    DDPM_TRY(checkpoint_join(folder, run, "checkpoints"));
    if (!file_is_dir(folder)) return DDPM_OK;
    int all = 0;
    DDPM_TRY(dir_list(folder, names, &all));
    for (int i = 0; i < all; i++) {
        int64_t step;
        if (step_of((*names)[i], &step)) {
            char *name = (*names)[i];
            (*names)[i] = (*names)[*count];
            (*names)[(*count)++] = name;
        }
    }
    for (int i = *count; i < all; i++) free((*names)[i]);
    if (*count > 1) qsort(*names, (size_t)*count, sizeof **names, compare_steps);
    return DDPM_OK;
}

ddpm_status checkpoint_newest(const char *run, char path[MODEL_PATH_SIZE])
{
    char folder[MODEL_PATH_SIZE], **names;
    int count;
    ddpm_status s = list_steps(run, folder, &names, &count);
    bool found = false;
    for (int i = count - 1; i >= 0 && s == DDPM_OK && !found; i--) {
        s = checkpoint_join(path, folder, names[i]);
        if (s != DDPM_OK) break;
        const ddpm_status valid = checkpoint_validate(path);
        found = valid == DDPM_OK;
        if (!found) log_warn("checkpoint %s is skipped: %s", path, ddpm_last_error());
        if (valid == DDPM_ENOMEM) s = valid;
    }
    dir_list_free(names, count);
    if (!found) path[0] = 0;
    return s;
}

ddpm_status checkpoint_prune(const char *run, int64_t step, int keep)
{
    char folder[MODEL_PATH_SIZE], **names;
    int count, own = 0;
    int64_t at;
    ddpm_status s = list_steps(run, folder, &names, &count);
    while (own < count && step_of(names[own], &at) && at <= step) own++;
    for (int i = 0; i < own - keep && s == DDPM_OK; i++) {
        char from[MODEL_PATH_SIZE], to[MODEL_PATH_SIZE], doomed[64];
        /* Under a name that says so: half a checkpoint must not look like one. */
        snprintf(doomed, sizeof doomed, "%.40s.tmp-%ld", names[i], (long)getpid());
        s = checkpoint_join(from, folder, names[i]);
        if (s == DDPM_OK) s = checkpoint_join(to, folder, doomed);
        if (s == DDPM_OK) s = rename(from, to) == 0 ? DDPM_OK : file_fail("cannot set aside", from);
        if (s == DDPM_OK) s = dir_remove_tree(folder, doomed);
    }
    dir_list_free(names, count);
    return s;
}
