#include "api/checkpoint.h"
#include "api/eval_report.h"
#include "api/features_parts.h"
#include "api/outliers.h"
#include "api/tool.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>

static void describe(const eval_side *s, char *text, size_t size)
{
    if (s->kind == SIDE_IMAGES) image_set_describe(s->set, text, size);
    else if (s->kind == SIDE_FEATURES) snprintf(text, size, "%zu features of %lld images", s->dims, (long long)s->count);
    else if (s->count) snprintf(text, size, "statistics of %lld images", (long long)s->count);
    else snprintf(text, size, "statistics of %zu features", s->dims);
}

/* A data set without a part gives its training part. */
static bool same_word(const char *a, const char *b)
{
    const size_t n = strlen(a);
    return !strncmp(a, b, n) && (!b[n] || !strcmp(b + n, ":train"));
}

/* What can be measured, but may not be what was meant. */
static void warn_of_words(comparison *c, const char *samples, const char *reference)
{
    if (!c->samples.set) return;
    if (model_is_bundled(samples))
        tool_message(c->s.ev, "%s is taken as the data set of that name; the bundled model is drawn from and measured with --sweep \"steps=50\", or by "
                              "`ddpm sample %s -n N -o X.npz`", samples, samples);
    if (c->reference.set && (same_word(samples, reference) || same_word(reference, samples)))
        eval_warn(&c->s, "SAMPLES and REFERENCE are the same images (%s), whose distance is no floor; that is what held-out images get, as by `ddpm eval "
                         "fashion:test fashion:train`", samples);
}

static ddpm_status open_sides(comparison *c, const char *samples, const char *reference)
{
    char text[2][512];
    if (c->s.v->merge && !features_are_parts(samples) && !features_are_parts(reference))
        return ddpm_fail(DDPM_EINVAL, "--merge takes a folder of the files of `ddpm features --part`; neither %s nor %s holds an .npz", samples, reference);
    DDPM_TRY(side_open(&c->samples, samples, c->request));
    DDPM_TRY(side_open(&c->reference, reference, c->request));
    DDPM_TRY(comparison_prepare(c));
    describe(&c->samples, text[0], sizeof text[0]);
    describe(&c->reference, text[1], sizeof text[1]);
    tool_message(c->s.ev, "samples %s: %s; reference %s: %s", samples, text[0], reference, text[1]);
    warn_of_words(c, samples, reference);
    return DDPM_OK;
}

static ddpm_status read_samples(comparison *c)
{
    const bool some = settings_origin(c->request, "num_samples") > ORIGIN_DEFAULT;
    const uint64_t seed = (uint64_t)c->s.v->seed;
    eval_side *s = &c->samples;
    const int64_t there = s->kind == SIDE_IMAGES ? image_set_count(s->set) : s->count;
    if (some && s->kind != SIDE_STATISTICS && c->s.v->num_samples > there)
        eval_warn(&c->s, "-n %d: %s has only %lld %s, all of which are measured", c->s.v->num_samples, s->word, (long long)there,
                  s->kind == SIDE_IMAGES ? "images" : "rows");
    if (s->kind == SIDE_IMAGES) return side_read(s, c->space, &c->s, some ? c->s.v->num_samples : INT64_MAX, seed, "samples");
    return s->kind == SIDE_FEATURES && some ? side_choose(s, seed, (size_t)c->s.v->num_samples) : DDPM_OK;
}

/* The picture of --outliers; *found NULL where there is none. */
static ddpm_status draw_outliers(comparison *c, json **found)
{
    const settings_values *v = c->s.v;
    const eval_side *a = &c->samples, *b = &c->reference;
    const outlier_set samples = { a->set, a->rows, a->index }, reference = { b->set, b->rows, b->index };
    eval_watch w = { .s = &c->s, .what = "outliers", .unit = "blocks", .begin = clock_now() };
    const metric_work work = { c->s.threads, eval_watch_step, &w };
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
