#include "api/comparison.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/compare_kinds.h"
#include "api/outliers.h"
#include "base/clock.h"
#include "io/file.h"
#include "metrics/linalg.h"

enum { SLOW_DIMS = 1500 };

/* --- begin and end ---------------------------------------------------------------------------------- */

/* Networks that measure compute in f32 unless a precision was asked for; the precision of the caller's engine is of another network. */
static ddpm_status open_engine(comparison *c, const engine *e)
{
    const settings *s = c->request;
    if (!e) DDPM_TRY(engine_new(s, &c->own));
    c->e = e ? *e : c->own;
    if (!e && (s->v.precision != PRECISION_AUTO || s->v.use_fp16)) return DDPM_OK;
    c->e.precision = PRECISION_F32;
    c->e.dtype = NN_F32;
    return DDPM_OK;
}

ddpm_status comparison_begin(comparison *c, const settings *request, const engine *e, const tool_events *ev)
{
    *c = (comparison){ .s = { .v = &request->v, .ev = ev, .begin = clock_now() }, .request = request };
    DDPM_TRY(eval_metrics_parse(request->v.metrics, &c->wanted));
    DDPM_TRY(eval_check_replicates(&c->s));
    if (request->v.save_stats[0]) DDPM_TRY(file_check_target(request->v.save_stats));
    DDPM_TRY(open_engine(c, e));
    c->s.threads = c->e.threads;
    return DDPM_OK;
}

void comparison_end(comparison *c)
{
    frechet_targets_free(&c->targets);
    free(c->nearest);
    side_close(&c->samples);
    side_close(&c->reference);
    image_set_close(c->fit_data);
    feature_space_free(c->space);
    engine_free(&c->own);
    *c = (comparison){ 0 };
}

/* --- preparing ----------------------------------------------------------------------------------------- */

static ddpm_status open_space(comparison *c)
{
    const eval_side *of = c->samples.kind == SIDE_IMAGES ? &c->samples : &c->reference;
    statistics *stored = &c->reference.stored;
    if (of->kind != SIDE_IMAGES) return DDPM_OK;
    if (stored->map.axes) DDPM_TRY(feature_space_open_map(&stored->map, stored->fitted, of->h, of->w, of->c, &c->e, &c->space));
    else DDPM_TRY(feature_space_open(c->s.v->features, c->request, of->h, of->w, of->c, &c->e, &c->space));
    if (!c->s.v->fit_data[0]) return DDPM_OK;
    if (!feature_space_unfitted(c->space))
        return ddpm_fail(DDPM_EINVAL, "--fit_data is for the axes of --features pcaK; %s has none", feature_space_name(c->space));
    return eval_open_images(c->s.v->fit_data, c->request, &c->fit_data);
}

static ddpm_status check_sizes(comparison *c)
{
    const eval_side *a = &c->samples, *b = &c->reference;
    if (c->fit_data && (image_set_height(c->fit_data) != a->h || image_set_width(c->fit_data) != a->w || image_set_channels(c->fit_data) != a->c))
        return ddpm_fail(DDPM_EINVAL, "the images of %s are not of the size %dx%dx%d of the others, so axes fitted to them do not fit", c->s.v->fit_data,
                         a->h, a->w, a->c);
    if (a->kind != SIDE_IMAGES || b->kind != SIDE_IMAGES || (a->h == b->h && a->w == b->w && a->c == b->c)) return DDPM_OK;
    if (feature_space_of_pixels(c->space))
        return ddpm_fail(DDPM_EINVAL, "the images of %s are %dx%dx%d (height, width, channels), those of %s %dx%dx%d; pixels can be compared of one size only",
                         a->word, a->h, a->w, a->c, b->word, b->h, b->w, b->c);
    eval_warn(&c->s, "the images of %s are %dx%dx%d, those of %s %dx%dx%d: the network sees both resized, which is part of the distance", a->word, a->h, a->w, a->c,
              b->word, b->h, b->w, b->c);
    return DDPM_OK;
}

/* Whether a distance of so many numbers gets an interval. */
static bool resampled(const comparison *c, unsigned metric, size_t dims)
{
    const bool given = settings_origin(c->request, "bootstrap") > ORIGIN_DEFAULT;
    return c->wanted & metric && c->s.v->bootstrap && c->samples.kind != SIDE_STATISTICS && (given || dims <= EVAL_INTERVAL_DIMS);
}

/* What each side has to keep of its images for what is wanted. */
static ddpm_status begin_side(comparison *c, eval_side *side)
{
    const bool of_samples = side == &c->samples;
    unsigned keep = 0;
    if (side->kind != SIDE_IMAGES) return DDPM_OK;
    side->dims = feature_space_dims(c->space);
    side->spatial_dims = feature_space_spatial(c->space);
    if (c->wanted & METRICS_OF_ROWS || (of_samples && (c->wanted & METRIC_FID_INF || resampled(c, METRIC_FD, side->dims)))) keep |= KEEP_ROWS;
    if (of_samples && c->wanted & METRIC_IS) keep |= KEEP_LOGITS;
    if (c->wanted & (of_samples ? METRIC_FD : METRIC_FD | METRIC_FID_INF)) keep |= KEEP_MOMENTS;
    if (c->wanted & METRIC_SFID) keep |= KEEP_SPATIAL;
    if (of_samples && resampled(c, METRIC_SFID, side->spatial_dims)) keep |= KEEP_SPATIAL_ROWS;
    if (c->s.v->outliers[0]) keep |= KEEP_ROWS | KEEP_INDEX;
    return side_begin(side, c->space, keep, c->s.threads);
}

static ddpm_status check_outliers(const comparison *c)
{
    if (c->samples.set && c->reference.set) return outliers_check(c->s.v->outliers, c->samples.set, c->reference.set);
    return ddpm_fail(DDPM_EINVAL, "--outliers shows images; give images as SAMPLES and REFERENCE");
}

ddpm_status comparison_prepare(comparison *c)
{
    DDPM_TRY(compare_check_kinds(c));
    DDPM_TRY(open_space(c));
    DDPM_TRY(check_sizes(c));
    DDPM_TRY(compare_choose_metrics(c));
    if (c->s.v->outliers[0]) DDPM_TRY(check_outliers(c));
    DDPM_TRY(begin_side(c, &c->reference));
    return begin_side(c, &c->samples);
}

/* --- the reference -------------------------------------------------------------------------------------- */

static ddpm_status add_to_fit(void *ctx, const uint8_t *images, const int64_t *index, int n)
{
    (void)index;
    return feature_space_fit_add(ctx, images, n);
}

/* The axes depend on the images they are fitted to and on nothing else, so that results of other seeds have the same axes. */
ddpm_status comparison_fit(const eval_session *s, image_set *from, feature_space *space, int64_t *bad)
{
    const int64_t all = image_set_count(from);
    image_walk w = { .count = s->v->fit_count < all ? s->v->fit_count : all, .strict = s->v->strict };
    if (!feature_space_unfitted(space)) return DDPM_OK;
    DDPM_TRY(eval_walk(s, from, &w, feature_space_batch(space), "principal components", add_to_fit, space));
    *bad += w.bad;
    if (image_set_bytes(from) > SLOW_DIMS) tool_message(s->ev, "axes of %zu dimensions: this takes a while and cannot be interrupted", image_set_bytes(from));
    const ddpm_status status = feature_space_fit(space);
    return status == DDPM_OK ? status
                             : ddpm_context(status, "--features %s, fitted to %lld images of %s: ", feature_space_name(space),
                                            (long long)feature_space_fit_count(space), image_set_word(from));
}

/* Only a covariance minds how many dimensions there are. */
static ddpm_status check_number(comparison *c, const eval_side *side)
{
    if (side->kind == SIDE_STATISTICS) return DDPM_OK;
    return eval_check_number(&c->s, side->word, side->count, c->wanted & METRIC_FD ? side->dims : 0, side->kind == SIDE_IMAGES ? "images" : "rows");
}

ddpm_status comparison_read_reference(comparison *c)
{
    eval_side *r = &c->reference;
    if (c->space && feature_space_unfitted(c->space)) {
        image_set *from = c->fit_data ? c->fit_data : r->set;
        if (!from) return ddpm_fail(DDPM_EINVAL, "--features %s: %s holds no images to fit the axes to; --fit_data names some", feature_space_name(c->space), r->word);
        DDPM_TRY(comparison_fit(&c->s, from, c->space, &c->fit_bad));
    }
    DDPM_TRY(compare_check_space(c));
    if (r->kind == SIDE_IMAGES) DDPM_TRY(side_read(r, c->space, &c->s, INT64_MAX, 0, "reference"));
    DDPM_TRY(check_number(c, r));
    DDPM_TRY(frechet_targets_new(r, &c->s, c->space, c->wanted, c->s.v->save_stats, &c->targets));
    if (c->samples.kind != SIDE_STATISTICS) DDPM_TRY(frechet_check_spatial(&c->targets, c->samples.word, c->samples.spatial_dims));
    if (c->space && c->samples.kind == SIDE_IMAGES && !feature_space_of_pixels(c->space))
        return feature_space_resize(c->space, c->samples.h, c->samples.w, c->samples.c);
    return DDPM_OK;
}

/* --- measuring ---------------------------------------------------------------------------------------------- */

static ddpm_status check_numbers(comparison *c)
{
    const eval_side *a = &c->samples, *b = &c->reference;
    DDPM_TRY(check_number(c, a));
    if (a->count && b->count && a->count != b->count && c->wanted & ~(unsigned)METRIC_IS)
        eval_warn(&c->s, "the sets are of %lld and %lld rows, and these values depend on both numbers; compare only values of the same numbers", (long long)a->count,
                  (long long)b->count);
    return DDPM_OK;
}

/* Names of Inception's features say their input: "-pytorch", "-tensorflow-bf16". */
static const char *input_of(const comparison *c)
{
    if (!features_are_inception(c->name)) return "";
    return strstr(c->name, "-pytorch") ? "pytorch-fid" : strstr(c->name, "-tensorflow") ? "TensorFlow" : "";
}

static void describe_frechet(comparison *c)
{
    const bool of_files = c->samples.kind == SIDE_STATISTICS, pixels = c->space && feature_space_of_pixels(c->space);
    eval_frechet *f = &c->frechet;
    const int64_t a = c->samples.count, b = c->reference.count;
    const int64_t least = !b || (a && a < b) ? a : b;
    *f = (eval_frechet){ .have = c->wanted & METRICS_FRECHET, .inception = features_are_inception(c->name), .input = input_of(c), .of_files = of_files,
                         .dims = c->samples.dims, .n_samples = a, .n_least = least ? least : INT64_MAX, .replicates = resampled(c, METRIC_FD, c->samples.dims) ? c->s.v->bootstrap : 0,
                         .spatial_replicates = resampled(c, METRIC_SFID, c->samples.spatial_dims) ? c->s.v->bootstrap : 0 };
    if (pixels) snprintf(f->in, sizeof f->in, "%s", feature_space_name(c->space));
    if (pixels) snprintf(f->key, sizeof f->key, "frechet_%s", f->in);
    else snprintf(f->key, sizeof f->key, "%s", of_files ? "frechet" : f->inception ? "frechet_inception_distance" : "frechet_distance");
}

ddpm_status comparison_measure(comparison *c)
{
    eval_rows rows = { &c->samples.rows, &c->reference.rows, &c->samples.logits, NULL };
    DDPM_TRY(check_numbers(c));
    describe_frechet(c);
    c->metrics = (eval_metrics){ .inception = c->frechet.inception };
    DDPM_TRY(eval_metrics_prepare(&c->s, &rows, c->wanted, &c->metrics));
    DDPM_TRY(eval_frechet_measure(&c->samples, &c->s, &c->targets, &c->frechet));
    if (c->frechet.alike) eval_warn(&c->s, "all of %s has the same features: its covariance is 0", c->samples.word);
    if (c->wanted & (METRIC_PR | METRIC_DC) && !c->nearest) DDPM_TRY(eval_metrics_nearest(&c->s, rows.reference, c->wanted, &c->nearest));
    rows.nearest = c->nearest;
    return eval_metrics_measure(&c->s, &rows, &c->metrics);
}
