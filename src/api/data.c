/* `ddpm data`: data sets decoded once into a file that later commands map. */
#include "api/tool.h"
#include "base/clock.h"
#include "base/pool.h"
#include "data/pack.h"
#include "io/file.h"

#include <stdlib.h>
#include <string.h>

/* One call. `per` of what is counted are one `unit`; `kept` says what is left of work that is stopped. */
typedef struct { const char *what, *unit; int64_t per; const char *kept; const tool_events *ev; double begin; int64_t before; } work;

static ddpm_status watch_step(void *ctx, int64_t done, int64_t total)
{
    work *w = ctx;
    done /= w->per;
    total /= w->per;
    const bool line = total && tool_quarter(w->before, done, total);
    tool_tell_progress(w->ev, (tool_progress){ .what = w->what, .unit = w->unit, .done = done, .total = total, .line = line }, w->begin);
    w->before = done;
    if (tool_request(w->ev) != RUN_SAVE_AND_STOP) return DDPM_OK;
    return ddpm_fail(DDPM_ESTOPPED, "stopped after %lld of %lld %s; %s", (long long)done, (long long)total, w->unit, w->kept);
}

/* Full disks are best met before the work. */
static ddpm_status check_space(const dataset *d, const char *out)
{
    const char *slash = strrchr(out, '/');
    char *parent = slash ? strndup(out, slash == out ? 1 : (size_t)(slash - out)) : strdup(".");
    if (!parent) return ddpm_fail(DDPM_ENOMEM, "no memory for a path");
    const ddpm_status s = dir_need_bytes(parent, (uint64_t)dataset_count(d) * dataset_image_bytes(d));
    free(parent);
    return s;
}

static void report(const tool_events *ev, const dataset *d, const char *out, const pack_result *r, json **summary)
{
    tool_message(ev, "wrote %s: %lld images %dx%dx%d, %.1f MB, SHA-256 %s", out, (long long)r->images, dataset_height(d), dataset_width(d), dataset_channels(d),
                 (double)r->bytes / 1e6, r->sha256);
    if (r->skipped) tool_message(ev, "%lld bad images are not in it; --strict stops at the first", (long long)r->skipped);
    if (!summary) return;
    json *o = *summary = json_new_object();
    json_put_string(o, "schema", "ddpm-data-1");
    json_put_string(o, "action", "pack");
    json_put_string(o, "output", out);
    json_put_int(o, "images", r->images);
    json_put_int(o, "skipped", r->skipped);
    json_put_int(o, "height", dataset_height(d));
    json_put_int(o, "width", dataset_width(d));
    json_put_int(o, "channels", dataset_channels(d));
    json_put_int(o, "classes", dataset_n_classes(d));
    json_put_int(o, "bytes", (int64_t)r->bytes);
    json_put_string(o, "sha256", r->sha256);
}

static ddpm_status pack_opened(const settings *s, dataset *d, const char *out, const tool_events *ev, json **summary)
{
    char text[512];
    pool *threads = NULL;
    pack_result r;
    work w = { .what = "pack", .unit = "images", .per = 1, .kept = "nothing is written", .ev = ev };
    const pack_watch watch = { watch_step, &w };
    dataset_describe(d, text, sizeof text);
    tool_message(ev, "packing %s", text);
    DDPM_TRY(check_space(d, out));
    DDPM_TRY(pool_new(s->v.threads ? s->v.threads : pool_default_threads(), &threads));
    w.begin = clock_now();
    const ddpm_status status = dataset_pack(d, out, threads, s->v.strict, &watch, &r);
    pool_free(threads);
    if (status == DDPM_OK) report(ev, d, out, &r, summary);
    return status;
}

/* The set is opened before there are threads: a database is read by a child of this process. */
ddpm_status tool_data_pack(settings *s, const char *data, const char *out, const tool_events *ev, json **summary)
{
    dataset *d = NULL;
    dataset_options o = settings_dataset(s);
    o.stream = true;
    DDPM_TRY(pack_check_name(out));
    DDPM_TRY(file_check_target(out));
    DDPM_TRY(dataset_open(data, &o, &d));
    const ddpm_status status = pack_opened(s, d, out, ev, summary);
    dataset_close(d);
    return status;
}

static ddpm_status not_packed(const char *path) { return ddpm_fail(DDPM_EINVAL, "%s is no packed data set; `ddpm data pack` makes them", path); }

static ddpm_status verify_opened(const dataset *d, const char *path, const tool_events *ev, json **summary)
{
    work w = { .what = "verify", .unit = "MB", .per = 1000000, .kept = "nothing is known yet", .ev = ev, .begin = clock_now() };
    const pack_watch watch = { watch_step, &w };
    const packed_about *about = pack_about(d);
    if (!about) return not_packed(path);
    DDPM_TRY(dataset_verify(d, &watch));
    tool_message(ev, "%s is undamaged: %lld images, SHA-256 %s", path, (long long)dataset_count(d), about->sha256);
    json *o = *summary = json_new_object();
    json_put_string(o, "schema", "ddpm-data-1");
    json_put_string(o, "action", "verify");
    json_put_string(o, "path", path);
    json_put_int(o, "images", dataset_count(d));
    json_put_int(o, "bytes", (int64_t)about->bytes);
    return json_put_string(o, "sha256", about->sha256);
}

ddpm_status tool_data_verify(const char *path, const tool_events *ev, json **summary)
{
    dataset *d = NULL;
    if (file_is_dir(path)) return not_packed(path);
    DDPM_TRY(dataset_open(path, NULL, &d));
    const ddpm_status status = verify_opened(d, path, ev, summary);
    dataset_close(d);
    return status;
}
