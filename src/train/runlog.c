#include "train/runlog.h"

#include "io/file.h"
#include "io/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 4096, MAX_LOG = 1 << 30 };

struct runlog {
    char    jsonl[PATH_SIZE], csv[PATH_SIZE];
    events *board;
    int64_t evaluated;               /* step of the last evaluation; -1: none */
};

const run_validation RUN_NOT_VALIDATED = { -1, -1, -1, -1 };

static const char CSV_HEADER[] = "step,samples,loss,mse,vb,loss_q0,loss_q1,loss_q2,loss_q3,grad_norm,lr,images_per_s,dropped,val_loss,grad_norm_sq,grad_noise_trace,"
                                 "top1,top5,val_top1,val_top5,val_clean_top1,eval,eval_low,eval_high\n";

const char *run_activity_name(run_activity a)
{
    static const char *const names[RUN_ACTIVITIES] = { [DOING_STEP] = "step", [DOING_WAIT] = "wait", [DOING_VALIDATE] = "validate", [DOING_SAVE] = "save",
                                                       [DOING_DRAW] = "draw", [DOING_EVALUATE] = "evaluate", [DOING_LOG] = "log" };
    return names[a];
}

/* Length of the leading whole lines whose step is at most `step`; `marker`: what stands before a line's
 * step; NULL: nothing does. */
static size_t kept(const char *text, size_t len, int64_t step, const char *marker)
{
    size_t at = 0;
    while (at < len) {
        const char *end = memchr(text + at, '\n', len - at);
        if (!end) break;
        const char *value = marker ? memmem(text + at, (size_t)(end - text) - at, marker, strlen(marker)) : text + at;
        const long long s = value ? strtoll(value + (marker ? strlen(marker) : 0), NULL, 10) : 0;   /* a header has none */
        if (s > step) break;
        at = (size_t)(end - text) + 1;
    }
    return at;
}

static ddpm_status trim(const char *path, int64_t step, const char *marker)
{
    uint8_t *text = NULL;
    size_t len = 0;
    if (!file_exists(path)) return DDPM_OK;
    DDPM_TRY(file_read_all(path, MAX_LOG, &text, &len));
    const size_t keep = kept((const char *)text, len, step, marker);
    const ddpm_status s = keep == len ? DDPM_OK : file_write_atomic(path, text, keep);
    free(text);
    return s;
}

/* Step of the last evaluation in a log; -1: none. */
static ddpm_status find_evaluation(const char *path, int64_t *step)
{
    static const char marker[] = "{\"step\":";
    uint8_t *text = NULL;
    size_t len = 0;
    *step = -1;
    if (!file_exists(path)) return DDPM_OK;
    DDPM_TRY(file_read_all(path, MAX_LOG, &text, &len));
    const char *at = (const char *)text, *end = at + len;
    for (const char *line_end; at < end && (line_end = memchr(at, '\n', (size_t)(end - at))); at = line_end + 1) {
        const size_t line = (size_t)(line_end - at);
        if (line > sizeof marker && !memcmp(at, marker, sizeof marker - 1) && memmem(at, line, "\"eval\":", 7)) *step = strtoll(at + sizeof marker - 1, NULL, 10);
    }
    free(text);
    return DDPM_OK;
}

/* A table of an earlier version has fewer columns; its lines stay as they are, shorter than the header. */
static ddpm_status renew_header(const char *path)
{
    uint8_t *text = NULL;
    size_t len = 0;
    if (!file_exists(path)) return file_append(path, CSV_HEADER, sizeof CSV_HEADER - 1);
    DDPM_TRY(file_read_all(path, MAX_LOG, &text, &len));
    const uint8_t *end = memchr(text, '\n', len);
    const size_t old = end ? (size_t)(end - text) + 1 : len, header = sizeof CSV_HEADER - 1;
    ddpm_status s = DDPM_OK;
    if (old != header || memcmp(text, CSV_HEADER, header) != 0) {
        char *joined = malloc(header + len - old);
        if (joined) {
            memcpy(joined, CSV_HEADER, header);
            memcpy(joined + header, text + old, len - old);
        }
        s = joined ? file_write_atomic(path, joined, header + len - old) : ddpm_fail(DDPM_ENOMEM, "no memory for %s", path);
        free(joined);
    }
    free(text);
    return s;
}

ddpm_status runlog_open(const char *dir, int64_t step, runlog **out)
{
    *out = NULL;
    runlog *l = calloc(1, sizeof *l);
    if (!l) return ddpm_fail(DDPM_ENOMEM, "no memory for the log");
    snprintf(l->jsonl, sizeof l->jsonl, "%s/log.jsonl", dir);
    snprintf(l->csv, sizeof l->csv, "%s/progress.csv", dir);
    ddpm_status s = trim(l->jsonl, step, "\"step\":");
    if (s == DDPM_OK) s = find_evaluation(l->jsonl, &l->evaluated);
    if (s == DDPM_OK) s = trim(l->csv, step, NULL);
    if (s == DDPM_OK) s = renew_header(l->csv);
    char board[PATH_SIZE];
    snprintf(board, sizeof board, "%s/tb", dir);
    if (s == DDPM_OK) s = events_open(board, step + 1, &l->board);
    if (s != DDPM_OK) {
        runlog_close(l);
        return s;
    }
    *out = l;
    return DDPM_OK;
}

/* A number of the CSV; empty when there is none. */
static void field(char *line, size_t size, double x, bool present)
{
    const size_t used = strlen(line);
    if (present) snprintf(line + used, size - used, ",%.6g", x);
    else snprintf(line + used, size - used, ",");
}

static ddpm_status write_csv(const runlog *l, const log_entry *e)
{
    const step_report *m = &e->mean;
    char line[1024];
    snprintf(line, sizeof line, "%lld,%lld,%.6g,%.6g,%.6g", (long long)e->step, (long long)e->samples, m->loss, m->mse, m->vb);
    for (int q = 0; q < TRAIN_QUARTILES; q++) field(line, sizeof line, m->quartile_loss[q], m->quartile_count[q] > 0);
    field(line, sizeof line, m->grad_norm, true);
    field(line, sizeof line, m->lr, true);
    field(line, sizeof line, e->images_per_s, true);
    field(line, sizeof line, (double)e->dropped, true);
    field(line, sizeof line, e->val.loss, e->val.loss >= 0);
    field(line, sizeof line, m->noise.norm_sq, m->noise_count > 0);
    field(line, sizeof line, m->noise.trace, m->noise_count > 0);
    field(line, sizeof line, m->top1, m->classifier);
    field(line, sizeof line, m->top5, m->classifier);
    field(line, sizeof line, e->val.top1, e->val.top1 >= 0);
    field(line, sizeof line, e->val.top5, e->val.top5 >= 0);
    field(line, sizeof line, e->val.clean_top1, e->val.clean_top1 >= 0);
    strncat(line, ",,,\n", sizeof line - strlen(line) - 1);
    return file_append(l->csv, line, strlen(line));
}

static json *quartile_list(const step_report *m, const double value[TRAIN_QUARTILES])
{
    json *list = json_new_array();
    for (int q = 0; q < TRAIN_QUARTILES; q++) json_append(list, m->quartile_count[q] ? json_new_real(value[q]) : json_new_null());
    return list;
}

/* What a training of this kind measures beside its loss. */
static void put_parts(json *o, const step_report *m)
{
    if (!m->classifier) {
        json_put_real(o, "mse", m->mse);
        json_put_real(o, "vb", m->vb);
        return;
    }
    json_put_real(o, "top1", m->top1);
    json_put_real(o, "top5", m->top5);
    json_put(o, "top1_quartiles", quartile_list(m, m->quartile_top1));
}

static void put_validation(json *o, const run_validation *v)
{
    if (v->loss >= 0) json_put_real(o, "val_loss", v->loss);
    if (v->top1 >= 0) json_put_real(o, "val_top1", v->top1);
    if (v->top5 >= 0) json_put_real(o, "val_top5", v->top5);
    if (v->clean_top1 >= 0) json_put_real(o, "val_clean_top1", v->clean_top1);
}

static json *entry_json(const log_entry *e)
{
    const step_report *m = &e->mean;
    json *o = json_new_object();
    json_put_int(o, "step", e->step);
    json_put_int(o, "samples", e->samples);
    json_put_real(o, "loss", m->loss);
    put_parts(o, m);
    json_put(o, "loss_quartiles", quartile_list(m, m->quartile_loss));
    json_put_real(o, "grad_norm", m->grad_norm);
    if (m->noise_count) {
        json_put_real(o, "grad_norm_sq", m->noise.norm_sq);
        json_put_real(o, "grad_noise_trace", m->noise.trace);
    }
    json_put_real(o, "lr", m->lr);
    json_put_real(o, "images_per_s", e->images_per_s);
    for (int a = 0; a < RUN_ACTIVITIES; a++) {
        char key[32];
        snprintf(key, sizeof key, "%s_share", run_activity_name((run_activity)a));
        json_put_real(o, key, e->share[a]);
    }
    json_put_real(o, "seconds", e->seconds);
    json_put_int(o, "dropped", e->dropped);
    put_validation(o, &e->val);
    return o;
}

static ddpm_status write_board(const runlog *l, const log_entry *e)
{
    static const char *const quartile[TRAIN_QUARTILES] = { "train/loss_q0", "train/loss_q1", "train/loss_q2", "train/loss_q3" };
    const step_report *m = &e->mean;
    const run_validation *v = &e->val;
    const events_scalar always[] = { { "train/loss", m->loss }, { "train/grad_norm", m->grad_norm }, { "train/lr", m->lr },
                                     { "speed/images_per_s", e->images_per_s }, { "speed/wait_share", e->share[DOING_WAIT] } };
    const events_scalar image[] = { { "train/mse", m->mse }, { "train/vb", m->vb } }, guess[] = { { "train/top1", m->top1 }, { "train/top5", m->top5 } };
    const events_scalar held_out[] = { { "val/loss", v->loss }, { "val/top1", v->top1 }, { "val/top5", v->top5 }, { "val/clean_top1", v->clean_top1 } };
    events_scalar list[11 + TRAIN_QUARTILES];
    int n = 0;
    for (int k = 0; k < 5; k++) list[n++] = always[k];
    for (int k = 0; k < 2; k++) list[n++] = (m->classifier ? guess : image)[k];
    for (int k = 0; k < 4; k++) if (held_out[k].value >= 0) list[n++] = held_out[k];
    for (int q = 0; q < TRAIN_QUARTILES; q++) if (m->quartile_count[q]) list[n++] = (events_scalar){ quartile[q], m->quartile_loss[q] };
    return events_scalars(l->board, e->step, list, n);
}

/* Takes the tree over. */
static ddpm_status append_line(const runlog *l, json *o)
{
    char *text = json_text(o, JSON_COMPACT);
    json_free(o);
    if (!text) return ddpm_fail(DDPM_ENOMEM, "no memory for a log line");
    const size_t len = strlen(text);
    text[len] = '\n';                /* the line end replaces the terminator: one write, one line */
    const ddpm_status s = file_append(l->jsonl, text, len + 1);
    free(text);
    return s;
}

ddpm_status runlog_write(runlog *l, const log_entry *e)
{
    DDPM_TRY(append_line(l, entry_json(e)));
    DDPM_TRY(write_csv(l, e));
    return write_board(l, e);
}

/* --- evaluations -------------------------------------------------------------------------- */

static json *evaluation_json(const log_evaluation *e)
{
    json *o = json_new_object(), *of = json_new_object(), *list = json_new_array();
    for (int i = 0; i < e->count; i++) {
        const log_measure *m = &e->measure[i];
        json *one = json_new_object();
        json_put_string(one, "key", m->key);
        json_put_string(one, "name", m->name);
        json_put_real(one, "value", m->value);
        json_put(one, "interval", json_new_interval(m->low, m->high));
        json_append(list, one);
    }
    json_put_int(o, "step", e->step);
    json_put_int(o, "samples", e->samples);
    json_put_string(of, "features", e->features);
    json_put_int(of, "images", e->images);
    json_put_int(of, "reference_images", e->reference);
    json_put_int(of, "sampling_steps", e->sampling_steps);
    json_put(of, "metrics", list);
    json_put_real(of, "seconds", e->seconds);
    json_put(o, "eval", of);
    return o;
}

/* A row with the last columns alone. */
static ddpm_status write_evaluation(const runlog *l, const log_evaluation *e)
{
    char line[1024];
    int columns = 0;
    for (const char *p = CSV_HEADER; *p; p++) columns += *p == ',';
    snprintf(line, sizeof line, "%lld,%lld", (long long)e->step, (long long)e->samples);
    for (int i = 2; i <= columns - 3; i++) field(line, sizeof line, 0, false);
    field(line, sizeof line, e->measure[0].value, true);
    field(line, sizeof line, e->measure[0].low, isfinite(e->measure[0].low));
    field(line, sizeof line, e->measure[0].high, isfinite(e->measure[0].high));
    strncat(line, "\n", sizeof line - strlen(line) - 1);
    return file_append(l->csv, line, strlen(line));
}

static ddpm_status write_scalars(const runlog *l, const log_evaluation *e)
{
    for (int i = 0; i < e->count; i++) {
        char tag[128];
        snprintf(tag, sizeof tag, "eval/%s", e->measure[i].key);
        DDPM_TRY(events_scalars(l->board, e->step, &(events_scalar){ tag, e->measure[i].value }, 1));
    }
    return DDPM_OK;
}

ddpm_status runlog_evaluation(runlog *l, const log_evaluation *e)
{
    DDPM_TRY(append_line(l, evaluation_json(e)));
    l->evaluated = e->step;
    DDPM_TRY(write_evaluation(l, e));
    return write_scalars(l, e);
}

int64_t runlog_evaluated(const runlog *l) { return l->evaluated; }

ddpm_status runlog_grid(runlog *l, int64_t step, const events_png *grid) { return events_image(l->board, step, "samples", grid); }

void runlog_close(runlog *l)
{
    if (!l) return;
    events_close(l->board);
    free(l);
}
