#include "api/eval_report.h"
#include "api/outliers.h"
#include "api/tool.h"

#include <stdio.h>

static void describe(const eval_side *s, char *text, size_t size)
{
    if (s->kind == SIDE_IMAGES) image_set_describe(s->set, text, size);
    else if (s->kind == SIDE_FEATURES) snprintf(text, size, "%zu features of %lld images", s->dims, (long long)s->count);
    else if (s->count) snprintf(text, size, "statistics of %lld images", (long long)s->count);
    else snprintf(text, size, "statistics of %zu features", s->dims);
}

static ddpm_status open_sides(comparison *c, const char *samples, const char *reference)
{
    char text[2][512];
    DDPM_TRY(side_open(&c->samples, samples, c->request));
    DDPM_TRY(side_open(&c->reference, reference, c->request));
    DDPM_TRY(comparison_prepare(c));
    describe(&c->samples, text[0], sizeof text[0]);
    describe(&c->reference, text[1], sizeof text[1]);
    tool_message(c->s.ev, "samples %s: %s; reference %s: %s", samples, text[0], reference, text[1]);
    return DDPM_OK;
}

static ddpm_status read_samples(comparison *c)
{
    const bool some = settings_origin(c->request, "num_samples") > ORIGIN_DEFAULT;
    const uint64_t seed = (uint64_t)c->s.v->seed;
    eval_side *s = &c->samples;
    if (s->kind == SIDE_IMAGES) return side_read(s, c->space, &c->s, some ? c->s.v->num_samples : INT64_MAX, seed, "samples");
    return s->kind == SIDE_FEATURES && some ? side_choose(s, seed, (size_t)c->s.v->num_samples) : DDPM_OK;
}

static ddpm_status go_on(void *ctx, int64_t done, int64_t all)
{
    (void)done;
    (void)all;
    return eval_stopped(ctx);
}

/* The picture of --outliers; *found NULL where there is none. */
static ddpm_status draw_outliers(comparison *c, json **found)
{
    const settings_values *v = c->s.v;
    const eval_side *a = &c->samples, *b = &c->reference;
    const outlier_set samples = { a->set, a->rows, a->index }, reference = { b->set, b->rows, b->index };
    const metric_work work = { c->s.threads, go_on, &c->s };
    *found = NULL;
    if (!v->outliers[0]) return DDPM_OK;
    DDPM_TRY(outliers_write(v->outliers, &samples, &reference, PRECISION_K, v->rows, feature_space_name(c->space), &work, found));
    tool_message(c->s.ev, "outliers: %s", v->outliers);
    return DDPM_OK;
}

static ddpm_status report(comparison *c, json *outliers, char **text, json **summary)
{
    ddpm_status status = eval_report_text(c, text);
    if (status == DDPM_OK && summary) status = eval_report_document(c, summary);
    if (status != DDPM_OK || !summary || !outliers) json_free(outliers);
    else status = json_put(*summary, "outliers", outliers);
    return status;
}

ddpm_status tool_eval(settings *request, const char *samples, const char *reference, const tool_events *ev, char **text, json **summary)
{
    comparison c;
    json *outliers = NULL;
    ddpm_status status = comparison_begin(&c, request, NULL, ev);
    if (status == DDPM_OK) status = open_sides(&c, samples, reference);
    if (status == DDPM_OK) status = comparison_read_reference(&c);
    if (status == DDPM_OK) status = read_samples(&c);
    if (status == DDPM_OK) status = comparison_measure(&c);
    if (status == DDPM_OK) status = draw_outliers(&c, &outliers);
    if (status == DDPM_OK) status = report(&c, outliers, text, summary);
    comparison_end(&c);
    return status;
}
